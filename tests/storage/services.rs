//! What is each service's own: where Vitess keeps things in it, encryption, credentials, buckets that are not there.

use std::sync::Mutex;

use bytes::Bytes;
use futures::{StreamExt, stream};

use vitess_backup::backup::failure::Reason;
use vitess_backup::storage::{BackupStorage, Location, Network, ServerSideEncryption, StorageError};
use vitess_backup::topo::KeyspaceShard;

use crate::proxy::{Ends, Fault, Proxy};
use crate::servers::{self, BUCKET, Program, Server};
use crate::support::matrix;
use crate::{NAME, shard};

#[tokio::test]
async fn keys_in_s3_are_vitesss_with_and_without_root() {
    let server = Server::start(Program::Versitygw);
    for (root, folder) in [("", ""), ("a/b", "a/b/"), ("/c/", "c/")] {
        let backup = server.storage(root).begin_backup(&shard(), NAME).await.unwrap();
        backup.put("MANIFEST", Bytes::from_static(b"{}")).await.unwrap();
        let chunk = Ok::<_, &str>(Bytes::from(vec![7; 20 << 20]));
        backup.put_stream("0", stream::iter([chunk])).await.unwrap();
        for (object, size) in [("MANIFEST", 2), ("0", 20 << 20)] {
            let file = server.data().join(format!("{BUCKET}/{folder}commerce/-80/{NAME}/{object}"));
            assert_eq!(std::fs::metadata(&file).unwrap().len(), size, "{}", file.display());
        }
    }
}

#[tokio::test]
async fn ceph_has_a_bucket_for_each_keyspace_with_the_whole_key_in_it() {
    let server = Server::start(Program::Versitygw);
    let shard = "My_Commerce/-80".parse().unwrap();
    let storage = server.as_ceph();
    assert_eq!(storage.list_backups(&shard).await.unwrap(), [""; 0]);
    let backup = storage.begin_backup(&shard, NAME).await.unwrap();
    let chunk = Ok::<_, &str>(Bytes::from(vec![7; 9 << 20]));
    backup.put_stream("0", stream::iter([chunk])).await.unwrap();
    let file = server.data().join(format!("my-commerce/My_Commerce/-80/{NAME}/0"));
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 9 << 20);
    assert_eq!(storage.list_backups(&shard).await.unwrap(), [NAME]);
}

/// What an object is under, where its place is not to be seen from outside.
#[tokio::test]
async fn names_in_azure_and_gcs_are_vitesss() {
    for program in [Program::Azurite, Program::S3sAnonymous] {
        let root = servers::fresh_root();
        let server = servers::shared(program);
        let backup = server.storage(&root).begin_backup(&shard(), NAME).await.unwrap();
        backup.put("MANIFEST", Bytes::from_static(b"{}")).await.unwrap();
        // Seen from one level above and from two: each part of the name is a level of its own.
        let (above, last) = root.split_once('/').unwrap();
        let keyspace = KeyspaceShard::new(last, "commerce").unwrap();
        assert_eq!(server.storage(above).list_backups(&keyspace).await.unwrap(), ["-80"], "{program:?}");
        let top = KeyspaceShard::new(above, last).unwrap();
        assert_eq!(server.storage("").list_backups(&top).await.unwrap(), ["commerce"], "{program:?}");
        assert_eq!(server.storage(&root).list_backups(&shard()).await.unwrap(), [NAME], "{program:?}");
    }
}

/// By the JSON API, as Google's own library and so Vitess does; fake-gcs-server has of the XML API what reads and removes.
#[tokio::test]
async fn what_googles_library_stored_in_gcs_is_listed_read_and_removed() {
    let root = servers::fresh_root();
    let server = servers::shared(Program::FakeGcs);
    let storage = server.storage(&root);
    assert_eq!(storage.list_backups(&shard()).await.unwrap(), [""; 0]);
    for (object, body) in [("MANIFEST", "{}"), ("0", "zero")] {
        server.upload_as_others(&format!("{root}/commerce/-80/{NAME}/{object}"), body);
    }
    assert_eq!(storage.list_backups(&shard()).await.unwrap(), [NAME]);
    let backup = storage.backup(&shard(), NAME).unwrap();
    assert_eq!(backup.get("0", 4).await.unwrap(), "zero");
    backup.remove().await.unwrap();
    assert_eq!(storage.list_backups(&shard()).await.unwrap(), [""; 0]);
}

/// Names that Vitess and we never give, and that nobody can name in a path: an empty part, a `..`, a line break.
const STRAYS: [&str; 5] = ["/x", "x//y", "../x", "line\nbreak", "{NAME}//x"];

#[tokio::test]
async fn strays_in_gcs_and_azure_break_no_listing() {
    for program in [Program::FakeGcs, Program::Azurite] {
        let root = servers::fresh_root();
        let server = servers::shared(program);
        let folder = format!("{root}/commerce/-80");
        let whole = ["MANIFEST", "0"].map(|object| format!("{folder}/{NAME}/{object}"));
        // What consoles leave of a folder, and a file beside the backups.
        let harmless = ["", "README", "2024-01-01.000000.zone1-1/0"].map(|name| format!("{folder}/{name}"));
        let strays = STRAYS.map(|name| format!("{folder}/{}", name.replace("{NAME}", NAME)));
        for name in whole.iter().chain(&harmless).chain(&strays) {
            server.upload_as_others(name, "{}");
        }
        let storage = server.storage(&root);
        let mut listed = storage.list_backups(&shard()).await.unwrap();
        listed.retain(|name| name != "x");
        assert_eq!(listed, ["2024-01-01.000000.zone1-1", NAME], "{program:?}");
        let backup = storage.backup(&shard(), NAME).unwrap();
        let objects = backup.objects().await.unwrap();
        assert_eq!(objects.iter().map(|object| object.name.as_str()).collect::<Vec<_>>(), ["0", "MANIFEST"]);
        assert_eq!(backup.remove().await.unwrap().objects, 2, "{program:?}");
        assert_eq!(backup.objects().await.unwrap(), []);
    }
}

/// What a file browser or a console leaves in a folder of its own name.
#[tokio::test]
async fn the_mark_of_a_folder_is_no_object_of_a_backup() {
    for program in [Program::FakeGcs, Program::Azurite] {
        let root = servers::fresh_root();
        let server = servers::shared(program);
        let folder = format!("{root}/commerce/-80/{NAME}");
        for name in [format!("{folder}/"), format!("{folder}/0")] {
            server.upload_as_others(&name, "");
        }
        let backup = server.storage(&root).backup(&shard(), NAME).unwrap();
        let objects = backup.objects().await.unwrap();
        assert_eq!(objects.iter().map(|object| object.name.as_str()).collect::<Vec<_>>(), ["0"], "{program:?}");
        assert_eq!(backup.remove().await.unwrap().objects, 1, "{program:?}");
    }
}

/// An emulator, like a public bucket, takes no token for none, and an empty one for a wrong one.
#[tokio::test]
async fn without_credentials_no_empty_token_goes_to_gcs() {
    static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let server = servers::shared(Program::S3sAnonymous);
    let watched = Proxy::watching(
        &server.address(),
        |_| Fault::None,
        Ends::Closed,
        |request| {
            let sent = request.headers.get(http::header::AUTHORIZATION);
            SEEN.lock().unwrap().push(format!("{} {sent:?}", request.method));
        },
    )
    .await;
    let location = server.location_at(&watched.address, &servers::fresh_root(), Network::default());
    let backup = BackupStorage::open(&location).unwrap().begin_backup(&shard(), NAME).await.unwrap();
    let chunk = Ok::<_, &str>(Bytes::from(vec![7; 9 << 20]));
    backup.put_stream("0", stream::iter([chunk])).await.unwrap();
    backup.put("MANIFEST", Bytes::from_static(b"{}")).await.unwrap();
    backup.get("MANIFEST", 2).await.unwrap();
    backup.remove().await.unwrap();
    let mut seen = SEEN.lock().unwrap().clone();
    seen.sort();
    seen.dedup();
    assert_eq!(seen, ["DELETE None", "GET None", "HEAD None", "POST None", "PUT None"]);
}

#[tokio::test]
async fn wrong_keys_are_denied_and_a_missing_bucket_is_misconfigured() {
    let server = servers::shared(Program::Versitygw);
    let Location::S3(right) = server.location("") else { panic!("S3") };
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("credentials");
    std::fs::write(&file, "[default]\naws_access_key_id = test\naws_secret_access_key = wrong\n").unwrap();
    let wrong = vitess_backup::storage::S3Location { credentials_file: Some(file), ..right.clone() };
    let error = BackupStorage::open(&Location::S3(wrong)).unwrap().list_backups(&shard()).await.unwrap_err();
    assert_eq!(error.failure().reason, Reason::StorageDenied, "{error}");

    let missing = vitess_backup::storage::S3Location { bucket: "no-such-bucket".to_owned(), ..right.clone() };
    let storage = BackupStorage::open(&Location::S3(missing)).unwrap();
    let listed = storage.list_backups(&shard()).await.unwrap_err();
    let stored = storage.backup(&shard(), NAME).unwrap().put("0", Bytes::new()).await.unwrap_err();
    for error in [listed, stored] {
        assert!(matches!(error, StorageError::Misconfigured { .. }), "{error:?}");
        assert_eq!(error.failure().reason, Reason::StorageMisconfigured);
        assert!(error.to_string().contains("no-such-bucket"), "{error}");
    }

    let gone = vitess_backup::storage::S3Location { credentials_file: Some("/no/such/file".into()), ..right };
    let error = BackupStorage::open(&Location::S3(gone)).unwrap_err();
    assert!(error.to_string().contains("the credentials file /no/such/file cannot be read"), "{error}");
}

/// Which headers S3 gets. The servers here take them and encrypt nothing; with the whole matrix, Ceph's own gateway
/// is asked to.
#[tokio::test]
async fn encryption_is_asked_for_where_s3_wants_to_hear_of_it() {
    static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let server = servers::shared(Program::Versitygw);
    let watched = Proxy::watching(
        &server.address(),
        |_| Fault::None,
        Ends::Closed,
        |request| {
            let mut names: Vec<String> = request
                .headers
                .iter()
                .filter(|(name, _)| name.as_str().contains("server-side-encryption"))
                .map(|(name, value)| format!("{}={}", name.as_str(), value.to_str().unwrap()))
                .collect();
            names.sort();
            let query = request.uri.query().unwrap_or_default();
            let kind = ["uploads", "partNumber", "uploadId", "list-type", "delete"]
                .into_iter()
                .find(|kind| query.contains(kind));
            SEEN.lock().unwrap().push(format!("{} {} {}", request.method, kind.unwrap_or("object"), names.join(" ")));
        },
    )
    .await;
    let directory = tempfile::TempDir::new().unwrap();
    let key = directory.path().join("key");
    std::fs::write(&key, [b'k'; 32]).unwrap();
    let customer = "x-amz-server-side-encryption-customer-algorithm=AES256 \
                    x-amz-server-side-encryption-customer-key-md5=mT2HRsMGJ5IX5C+0rreZ8Q== \
                    x-amz-server-side-encryption-customer-key=a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";
    for (encryption, on_writes, on_parts_and_reads) in [
        (ServerSideEncryption::Aes256, "x-amz-server-side-encryption=AES256", ""),
        (ServerSideEncryption::AwsKms, "x-amz-server-side-encryption=aws:kms", ""),
        (ServerSideEncryption::CustomerKey(key), customer, customer),
    ] {
        let Location::S3(s3) = server.location_at(&watched.address, &servers::fresh_root(), Network::default()) else {
            panic!("S3")
        };
        let s3 = vitess_backup::storage::S3Location { server_side_encryption: Some(encryption), ..s3 };
        let backup = BackupStorage::open(&Location::S3(s3)).unwrap().backup(&shard(), NAME).unwrap();
        SEEN.lock().unwrap().clear();
        // Whether the server can do it is not asked here.
        let _ = backup.put("MANIFEST", Bytes::from_static(b"{}")).await;
        let chunk = Ok::<_, &str>(Bytes::from(vec![7; 9 << 20]));
        let _ = backup.put_stream("0", stream::iter([chunk])).await;
        if let Ok((_, mut body)) = backup.get_stream("MANIFEST").await {
            body.next().await;
        }
        let seen = SEEN.lock().unwrap().clone();
        for (kind, expected) in [
            ("PUT object", on_writes),
            ("POST uploads", on_writes),
            ("PUT partNumber", on_parts_and_reads),
            ("POST uploadId", ""),
            ("HEAD object", on_parts_and_reads),
            ("GET object", on_parts_and_reads),
        ] {
            let found = seen.iter().find(|line| line.starts_with(&format!("{kind} ")));
            let Some(found) = found else { panic!("{kind}: {seen:?}") };
            assert_eq!(found.strip_prefix(&format!("{kind} ")), Some(expected), "{seen:?}");
        }
    }
    if matrix::is_whole() {
        a_customers_key_opens_what_it_closed().await;
    }
}

/// Ceph's gateway encrypts with the key that comes along, and gives nothing out without it.
async fn a_customers_key_opens_what_it_closed() {
    let gateway = servers::shared(Program::Radosgw);
    let user = gateway.new_user_of_the_gateway();
    let ceph = BackupStorage::open(&Location::Ceph(gateway.ceph_location(&user, false, Network::default()))).unwrap();
    // Its bucket comes with the first object.
    ceph.backup(&shard(), "first").unwrap().put("0", Bytes::new()).await.unwrap();
    let directory = tempfile::TempDir::new().unwrap();
    let credentials = directory.path().join("credentials");
    let keys = format!("[default]\naws_access_key_id = {user}\naws_secret_access_key = testsecret\n");
    std::fs::write(&credentials, keys).unwrap();
    let with = |key: Option<u8>| {
        let Location::S3(s3) = gateway.location("root") else { panic!("S3") };
        let file = directory.path().join(format!("key-{key:?}"));
        std::fs::write(&file, [key.unwrap_or_default(); 32]).unwrap();
        let s3 = vitess_backup::storage::S3Location {
            bucket: "commerce".to_owned(),
            credentials_file: Some(credentials.clone()),
            server_side_encryption: key.map(|_| ServerSideEncryption::CustomerKey(file)),
            ..s3
        };
        BackupStorage::open(&Location::S3(s3)).unwrap().backup(&shard(), NAME).unwrap()
    };
    let long = Bytes::from(vec![7; 20 << 20]);
    with(Some(1)).put_stream("0", stream::iter([Ok::<_, &str>(long.clone())])).await.unwrap();
    with(Some(1)).put("MANIFEST", Bytes::from_static(b"{}")).await.unwrap();
    assert_eq!(with(Some(1)).get("0", 20 << 20).await.unwrap(), long);
    assert_eq!(with(Some(1)).get("MANIFEST", 2).await.unwrap(), "{}");
    for other in [None, Some(2)] {
        with(other).get("0", 20 << 20).await.unwrap_err();
        with(other).get("MANIFEST", 2).await.unwrap_err();
    }
    with(Some(1)).remove().await.unwrap();
}
