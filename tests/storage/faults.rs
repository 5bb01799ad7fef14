//! What storage does on a bad day, between us and a real server: what can be survived is, and the rest is named.

use std::io::Cursor;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http::Method;
use rstest::rstest;
use tempfile::TempDir;

use vitess_backup::backup::failure::Reason;
use vitess_backup::storage::{BackupStorage, Network, PutError, Removed, StorageError};

use crate::proxy::{Ends, Fault, Faults, Link, Proxy};
use crate::servers::{self, BUCKET, Program, Server};
use crate::{NAME, shard};

/// A minute's patience in a second's.
fn hasty() -> Network {
    Network {
        retries: 5,
        longest_pause: Duration::from_millis(100),
        stall: Duration::from_millis(700),
        ..Network::default()
    }
}

async fn proxied(faults: Faults, ends: Ends) -> (Proxy, BackupStorage) {
    let server = servers::shared(Program::Versitygw);
    let proxy = Proxy::before(&server.address(), faults, ends).await;
    let location = server.location_at(&proxy.address, &servers::fresh_root(), hasty());
    (proxy, BackupStorage::open(&location).unwrap())
}

fn body(total: usize) -> Vec<u8> {
    (0..total).map(|at| u8::try_from((at * 7 + at / 251) % 251).unwrap()).collect()
}

fn chunks(whole: &[u8]) -> impl futures::Stream<Item = Result<Bytes, &'static str>> {
    stream::iter(whole.chunks(1 << 20).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect::<Vec<_>>())
}

/// The first of a pair of equal requests, so that the second try finds it well.
fn odd(number: usize, fault: Fault) -> Fault {
    if number % 2 == 1 { fault } else { Fault::None }
}

#[rstest]
#[case::a_server_error(|number: usize, _: &Method| odd(number, Fault::Status(500)), Ends::Closed)]
#[case::unavailable(|number: usize, _: &Method| odd(number, Fault::Status(503)), Ends::Closed)]
#[case::throttled(|number: usize, _: &Method| odd(number, Fault::Status(429)), Ends::Closed)]
#[case::never_answered(|number: usize, _: &Method| if number % 5 == 1 { Fault::Stall } else { Fault::None }, Ends::Closed)]
#[case::a_body_that_stops(|number: usize, method: &Method| on_get(number, method, Fault::StallAfter(1_000_000)), Ends::Closed)]
#[case::a_body_cut_short(|number: usize, method: &Method| on_get(number, method, Fault::BreakAfter(1_000_000)), Ends::Closed)]
#[case::a_connection_reset(|number: usize, method: &Method| on_get(number, method, Fault::BreakAfter(1_000_000)), Ends::Reset)]
#[case::slow(|_: usize, _: &Method| Fault::Slow, Ends::Closed)]
#[tokio::test]
async fn what_can_be_survived_is(#[case] faults: Faults, #[case] ends: Ends) {
    let (proxy, storage) = proxied(faults, ends).await;
    let whole = body(20 << 20);
    let backup = storage.begin_backup(&shard(), NAME).await.unwrap();
    assert_eq!(backup.put_stream("0", chunks(&whole)).await.unwrap(), whole.len() as u64);
    backup.put("MANIFEST", Bytes::from_static(b"{}")).await.unwrap();
    let (size, read) = backup.get_stream("0").await.unwrap();
    assert_eq!(size, whole.len() as u64);
    assert!(read.try_collect::<Vec<_>>().await.unwrap().concat() == whole, "the bytes differ");
    assert_eq!(storage.list_backups(&shard()).await.unwrap(), [NAME]);
    assert_eq!(backup.remove().await.unwrap(), Removed { objects: 2, bytes: whole.len() as u64 + 2 });
    assert!(proxy.requests.load(Ordering::Relaxed) > 10, "all of it went through the proxy");
}

fn on_get(number: usize, method: &Method, fault: Fault) -> Fault {
    if *method == Method::GET { odd(number, fault) } else { Fault::None }
}

#[tokio::test]
async fn what_cannot_be_survived_is_named() {
    let cases: [(Faults, Reason); 4] = [
        (|_: usize, _: &Method| Fault::Status(503), Reason::StorageUnreachable),
        (|_: usize, _: &Method| Fault::Stall, Reason::StorageUnreachable),
        (|_: usize, _: &Method| Fault::Status(403), Reason::StorageDenied),
        (|_: usize, _: &Method| Fault::Status(401), Reason::StorageDenied),
    ];
    for (faults, reason) in cases {
        let (_proxy, storage) = proxied(faults, Ends::Closed).await;
        let backup = storage.backup(&shard(), NAME).unwrap();
        let said = |error: StorageError| error.failure().reason;
        assert_eq!(said(storage.list_backups(&shard()).await.unwrap_err()), reason);
        assert_eq!(said(backup.get_stream("0").await.err().unwrap()), reason);
        assert_eq!(said(backup.put("0", Bytes::new()).await.unwrap_err()), reason);
        let PutError::Storage(error) = backup.put_stream("0", chunks(&body(9 << 20))).await.unwrap_err() else {
            panic!("the body is well")
        };
        assert_eq!(said(error), reason);
    }
    let nobody = servers::shared(Program::Versitygw).location_at("127.0.0.1:9", "", hasty());
    let error = BackupStorage::open(&nobody).unwrap().list_backups(&shard()).await.unwrap_err();
    assert_eq!(error.failure().reason, Reason::StorageUnreachable);
}

#[tokio::test]
async fn a_right_that_is_taken_away_in_the_middle_is_denied_and_not_unreachable() {
    // The second range of the object, and the tries after it.
    let (_proxy, storage) = proxied(
        |number, method| if *method == Method::GET && number > 8 { Fault::Status(403) } else { Fault::None },
        Ends::Closed,
    )
    .await;
    let backup = storage.backup(&shard(), NAME).unwrap();
    backup.put_stream("0", chunks(&body(40 << 20))).await.unwrap();
    let error = match backup.get_stream("0").await {
        Ok((_, read)) => read.try_collect::<Vec<_>>().await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.failure().reason, Reason::StorageDenied, "{error}");
}

#[tokio::test]
async fn an_object_that_is_replaced_while_it_is_read_is_an_error() {
    let storage = servers::shared(Program::Versitygw).storage(&servers::fresh_root());
    let backup = storage.backup(&shard(), NAME).unwrap();
    backup.put_stream("0", chunks(&body(80 << 20))).await.unwrap();
    let (_, mut read) = backup.get_stream("0").await.unwrap();
    read.next().await.unwrap().unwrap();
    backup.put_stream("0", chunks(&body(20 << 20))).await.unwrap();
    let rest = read.try_collect::<Vec<_>>().await;
    assert!(rest.is_err(), "{} chunks of two objects", rest.unwrap().len());
}

/// Where the window lets one connection have 25 MB/s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_distance_ranges_side_by_side_are_four_times_one_stream() {
    let megabytes: usize = std::env::var("VBO_LINK_MB").map_or(64, |text| text.parse().unwrap());
    let server = Server::start(Program::Versitygw);
    let near = server.storage("link");
    let part = Bytes::from(body(1 << 20));
    let parts = stream::iter((0..megabytes).map(move |_| Ok::<_, &str>(part.clone())));
    near.backup(&shard(), NAME).unwrap().put_stream("0", parts).await.unwrap();

    let link = Link::before(&server.address(), Duration::from_millis(20), 512 << 10).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let signed = signed_url(&server, &link.address, &format!("link/commerce/-80/{NAME}/0")).await;
    let begun = Instant::now();
    let mut answer = client.get(signed).send().await.unwrap().error_for_status().unwrap();
    let mut alone = 0;
    while let Some(chunk) = answer.chunk().await.unwrap() {
        alone += chunk.len();
    }
    let one_stream = begun.elapsed();
    assert_eq!(alone, megabytes << 20);

    let far = BackupStorage::open(&server.location_at(&link.address, "link", Network::default())).unwrap();
    let begun = Instant::now();
    let (_, read) = far.backup(&shard(), NAME).unwrap().get_stream("0").await.unwrap();
    let read = read.try_fold(0, |sum, chunk| std::future::ready(Ok(sum + chunk.len()))).await.unwrap();
    let ranges = begun.elapsed();
    assert_eq!(read, megabytes << 20);
    println!("{megabytes} MiB over 20 ms: one stream {one_stream:.2?}, ranges {ranges:.2?}");
    assert!(one_stream >= ranges * 4, "one stream {one_stream:?}, ranges {ranges:?}");
}

async fn signed_url(server: &Server, address: &str, key: &str) -> String {
    use object_store::signer::Signer;
    let store = object_store::aws::AmazonS3Builder::new()
        .with_bucket_name(BUCKET)
        .with_endpoint(format!("http://{address}"))
        .with_access_key_id("test")
        .with_secret_access_key("testsecret")
        .build()
        .unwrap();
    let path = object_store::path::Path::parse(key).unwrap();
    assert!(server.data().is_dir());
    store.signed_url(Method::GET, &path, Duration::from_secs(600)).await.unwrap().to_string()
}

const VITESS_BACKUP: &str = "2026-11-22.152700.zone1-0000000101";

/// A backup that Vitess made, in the server's bucket, as Vitess's S3 plugin would have put it there.
fn stored_by_vitess() -> Server {
    let server = Server::start(Program::Versitygw);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vitess/zstd.tar.zst");
    let plain = zstd::stream::read::Decoder::new(Cursor::new(std::fs::read(path).unwrap())).unwrap();
    tar::Archive::new(plain).unpack(server.data().join(BUCKET).join("root")).unwrap();
    server
}

fn vitess_backup(server: &Server, address: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitess-backup"));
    let endpoint = format!("--s3_backup_aws_endpoint=http://{address}");
    let storage = ["--backup_storage_implementation=s3", "--s3_backup_storage_bucket=vitess-backups"];
    command.arg(arguments[0]).args(storage).args(["--s3_backup_storage_root=root", "--s3_backup_force_path_style"]);
    command.arg(endpoint).args(&arguments[1..]).env("AWS_SHARED_CREDENTIALS_FILE", server.credentials_file());
    command.output().unwrap()
}

#[rstest]
#[case::nothing_wrong(|_: usize, _: &Method| Fault::None, 0, "")]
#[case::unavailable(|number: usize, _: &Method| odd(number, Fault::Status(503)), 0, "")]
#[case::bodies_cut_short(|number: usize, method: &Method| on_get(number, method, Fault::BreakAfter(2_000)), 0, "")]
#[case::denied_in_the_middle(|number: usize, _: &Method| if number > 20 { Fault::Status(403) } else { Fault::None }, 4, "denies it")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_of_vitesss_own_backup_over_s3(#[case] faults: Faults, #[case] code: i32, #[case] says: &str) {
    let server = stored_by_vitess();
    let proxy = Proxy::before(&server.address(), faults, Ends::Closed).await;
    let target = TempDir::new().unwrap();
    let tablet_dir = target.path().join("vt_0000000101");
    let directory = format!("--tablet-dir={}", tablet_dir.display());
    let restore = ["restore", "--keyspace=commerce", "--shard=0", &directory, "--mysqld=stopped"];
    let output = tokio::task::block_in_place(|| vitess_backup(&server, &proxy.address, &restore));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{told}");
    assert!(told.contains(says), "{told}");
    assert!(code != 0 || tablet_dir.join("data/mysql.ibd").is_file());
}

#[test]
fn a_bit_that_flipped_in_storage_is_a_hash_that_differs() {
    let server = stored_by_vitess();
    let verify = ["verify", "commerce/0", VITESS_BACKUP];
    let output = vitess_backup(&server, &server.address(), &verify);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let object = server.data().join(BUCKET).join("root/commerce/0").join(VITESS_BACKUP).join("3");
    let mut bytes = std::fs::read(&object).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&object, bytes).unwrap();
    let output = vitess_backup(&server, &server.address(), &verify);
    assert_eq!(output.status.code(), Some(6), "{}", String::from_utf8_lossy(&output.stderr));
}
