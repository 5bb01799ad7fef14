//! The scenarios that all services share.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use vitess_backup::backup::failure::Reason;
use vitess_backup::storage::{BackupHandle, PutError, Removed, StorageError, StoredObject};
use vitess_backup::topo::KeyspaceShard;

use crate::{NAME, services, shard};

type Chunks = Vec<Result<Bytes, &'static str>>;

fn object(name: &str, size: u64) -> StoredObject {
    StoredObject { name: name.to_owned(), size }
}

/// Bytes that differ from place to place, in chunks of an odd size, each of another part of one pattern.
fn chunks(total: usize) -> Chunks {
    const CHUNK: usize = 300_007;
    static PATTERN: LazyLock<Bytes> =
        LazyLock::new(|| (0..2 * CHUNK).map(|at| u8::try_from((at * 7 + at / 251) % 251).unwrap()).collect());
    let starts = (0..total).step_by(CHUNK);
    starts.map(|at| PATTERN.slice(at % 1009..at % 1009 + CHUNK.min(total - at))).map(Ok).collect()
}

fn whole(chunks: &Chunks) -> Vec<u8> {
    chunks.iter().map(|chunk| chunk.clone().unwrap()).collect::<Vec<_>>().concat()
}

async fn read(backup: &BackupHandle, name: &str) -> (u64, Vec<u8>) {
    let (size, body) = backup.get_stream(name).await.unwrap();
    (size, body.try_collect::<Vec<_>>().await.unwrap().concat())
}

#[tokio::test]
async fn a_shard_that_nobody_backed_up_has_no_backups() {
    for service in services() {
        assert_eq!(service.storage.list_backups(&shard()).await.unwrap(), [""; 0], "{}", service.name);
        let backup = service.storage.backup(&shard(), NAME).unwrap();
        assert_eq!(backup.objects().await.unwrap(), []);
    }
}

#[tokio::test]
async fn objects_read_back_as_they_were_stored() {
    for service in services() {
        let backup = service.storage.begin_backup(&shard(), NAME).await.unwrap();
        backup.put("MANIFEST", Bytes::from_static(b"{}")).await.unwrap();
        backup.put("1", Bytes::new()).await.unwrap();
        assert_eq!(backup.get("MANIFEST", 2).await.unwrap(), "{}");
        assert_eq!(read(&backup, "1").await, (0, Vec::new()));
        assert_eq!(backup.objects().await.unwrap(), [object("1", 0), object("MANIFEST", 2)], "{}", service.name);
        assert_eq!((backup.name(), backup.directory()), (NAME, &shard()));
    }
}

#[tokio::test]
async fn streams_of_any_length_read_back() {
    for service in services() {
        let backup = service.storage.begin_backup(&shard(), NAME).await.unwrap();
        // None, one part of either service, just around a part, and many parts.
        for (index, total) in [0, 1, 1 << 20, (8 << 20) - 1, 8 << 20, (8 << 20) + 1, 40 << 20].into_iter().enumerate() {
            let chunks = chunks(total);
            let expected = whole(&chunks);
            let name = index.to_string();
            assert_eq!(backup.put_stream(&name, stream::iter(chunks)).await.unwrap(), total as u64);
            let (size, stored) = read(&backup, &name).await;
            assert_eq!(size, total as u64, "{}", service.name);
            assert!(stored == expected, "{} bytes differ in {}", total, service.name);
        }
        assert_eq!(backup.objects().await.unwrap().len(), 7);
    }
}

#[tokio::test]
async fn an_object_stored_again_takes_the_place_of_the_first() {
    for service in services() {
        let backup = service.storage.begin_backup(&shard(), NAME).await.unwrap();
        backup.put("0", Bytes::from_static(b"a long first attempt")).await.unwrap();
        backup.put("0", Bytes::from_static(b"second")).await.unwrap();
        assert_eq!(read(&backup, "0").await, (6, b"second".to_vec()));
        backup.put_stream("0", stream::iter(chunks(20 << 20))).await.unwrap();
        assert_eq!(backup.objects().await.unwrap(), [object("0", 20 << 20)], "{}", service.name);
    }
}

#[tokio::test]
async fn several_objects_are_stored_at_the_same_time() {
    for service in services() {
        let backup = service.storage.begin_backup(&shard(), NAME).await.unwrap();
        let put = |index: usize| {
            let backup = backup.clone();
            async move { backup.put_stream(&index.to_string(), stream::iter(chunks(index << 20))).await.unwrap() }
        };
        let sizes: Vec<u64> = stream::iter(0..12_usize).map(put).buffered(4).collect().await;
        assert_eq!(sizes, (0..12).map(|index| index << 20).collect::<Vec<u64>>());
        for index in 0..12 {
            assert!(read(&backup, &index.to_string()).await.1 == whole(&chunks(index << 20)), "{}", service.name);
        }
    }
}

#[tokio::test]
async fn a_body_that_fails_leaves_nothing() {
    for service in services() {
        let backup = service.storage.begin_backup(&shard(), NAME).await.unwrap();
        for total in [0, 1 << 20, 30 << 20] {
            let mut body = chunks(total);
            body.push(Err("the disk is on fire"));
            body.extend(chunks(5));
            let error = backup.put_stream("0", stream::iter(body)).await.unwrap_err();
            assert!(matches!(error, PutError::Body("the disk is on fire")), "{error:?}");
            assert_eq!(backup.objects().await.unwrap(), [], "{}", service.name);
            assert!(matches!(backup.get_stream("0").await.err().unwrap(), StorageError::NotFound { .. }));
        }
    }
}

#[tokio::test]
async fn a_failed_body_leaves_the_object_that_was_there() {
    for service in services() {
        let backup = service.storage.begin_backup(&shard(), NAME).await.unwrap();
        backup.put("0", Bytes::from_static(b"first")).await.unwrap();
        let mut body = chunks(20 << 20);
        body.push(Err("no"));
        backup.put_stream("0", stream::iter(body)).await.unwrap_err();
        assert_eq!(read(&backup, "0").await, (5, b"first".to_vec()), "{}", service.name);
    }
}

#[tokio::test]
async fn a_put_that_is_dropped_leaves_nothing() {
    for service in services() {
        let backup = service.storage.begin_backup(&shard(), NAME).await.unwrap();
        let body = stream::iter(chunks(30 << 20)).chain(stream::pending());
        let put = backup.put_stream("0", body);
        tokio::time::timeout(Duration::from_millis(300), put).await.expect_err("the body never ends");
        assert_eq!(backup.objects().await.unwrap(), [], "{}", service.name);
    }
}

#[tokio::test]
async fn a_name_is_begun_once() {
    for service in services() {
        let begun = service.storage.begin_backup(&shard(), NAME).await.unwrap();
        begun.put("0", Bytes::from_static(b"x")).await.unwrap();
        let error = service.storage.begin_backup(&shard(), NAME).await.unwrap_err();
        assert!(matches!(error, StorageError::Exists { .. }), "{error:?} in {}", service.name);
        assert_eq!(error.failure().reason, Reason::BackupExists);
        assert!(error.to_string().contains(&format!("commerce/-80/{NAME}")), "{error}");
        begun.remove().await.unwrap();
        service.storage.begin_backup(&shard(), NAME).await.unwrap();
    }
}

#[tokio::test]
async fn backups_are_listed_by_name_and_only_those_of_the_shard() {
    for service in services() {
        let other = KeyspaceShard::new("commerce", "80-").unwrap();
        let longer = KeyspaceShard::new("commerce", "-8080").unwrap();
        let stray = ["9999-junk", "2024-01-02.030405.zone-1-0000000101", "A", "a b#1~%41{é}"];
        for name in stray.into_iter().chain([NAME, "2023-12-31.235959.zone1-0000000101"]) {
            let backup = service.storage.begin_backup(&shard(), name).await.unwrap();
            backup.put("0", Bytes::from_static(b"x")).await.unwrap();
        }
        service.storage.begin_backup(&other, "2025-01-01.000000.z-1").await.unwrap();
        service.storage.begin_backup(&longer, "2025-01-01.000000.z-1").await.unwrap();
        let expected = [
            "2023-12-31.235959.zone1-0000000101",
            "2024-01-02.030405.zone-1-0000000101",
            NAME,
            "9999-junk",
            "A",
            "a b#1~%41{é}",
        ];
        assert_eq!(service.storage.list_backups(&shard()).await.unwrap(), expected, "{}", service.name);
        for name in expected {
            let backup = service.storage.backup(&shard(), name).unwrap();
            assert_eq!(backup.get("0", 1).await.unwrap(), "x", "{name}");
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    for service in services() {
        let backup = service.storage.begin_backup(&shard(), NAME).await.unwrap();
        backup.put("0", Bytes::from_static(b"x")).await.unwrap();
        let error = backup.get("MANIFEST", 10).await.unwrap_err();
        assert!(matches!(error, StorageError::NotFound { .. }), "{error:?} in {}", service.name);
        assert_eq!(error.failure().reason, Reason::ObjectMissing);
        let message = error.to_string();
        assert!(message.starts_with("cannot read object \"MANIFEST\" of backup commerce/-80/2024"), "{message}");
        assert!(message.ends_with("it does not exist"), "{message}");
    }
}

#[tokio::test]
async fn an_object_above_the_limit_is_refused() {
    for service in services() {
        let backup = service.storage.begin_backup(&shard(), NAME).await.unwrap();
        backup.put("MANIFEST", Bytes::from(vec![b' '; 11])).await.unwrap();
        let error = backup.get("MANIFEST", 10).await.unwrap_err();
        assert!(matches!(error, StorageError::TooLarge { size: 11, limit: 10, .. }), "{error:?} in {}", service.name);
        assert_eq!(backup.get("MANIFEST", 11).await.unwrap().len(), 11);
    }
}

#[tokio::test]
async fn a_name_that_is_no_plain_name_is_refused() {
    for service in services() {
        for name in ["", ".", "..", "a/b", "/", "../other", "a\nb", "a\0"] {
            let error = service.storage.backup(&shard(), name).unwrap_err();
            assert!(matches!(error, StorageError::Name { kind: "backup", .. }), "{name:?}: {error:?}");
            assert!(service.storage.begin_backup(&shard(), name).await.is_err(), "{name:?}");
        }
        let backup = service.storage.begin_backup(&shard(), NAME).await.unwrap();
        for name in ["", ".", "..", "a/b", "../x", "a\0"] {
            let error = backup.put(name, Bytes::new()).await.unwrap_err();
            assert!(matches!(error, StorageError::Name { kind: "object", .. }), "{name:?}: {error:?}");
            assert_eq!(error.failure().reason, Reason::InvalidArguments);
            assert!(backup.get(name, 1).await.is_err() && backup.get_stream(name).await.is_err(), "{name:?}");
            let body = stream::iter([Ok::<_, &str>(Bytes::new())]);
            assert!(matches!(backup.put_stream(name, body).await, Err(PutError::Storage(StorageError::Name { .. }))));
        }
        assert_eq!(backup.objects().await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_removal_takes_one_backup_and_no_other() {
    for service in services() {
        let neighbours = [format!("{NAME}2"), NAME[..NAME.len() - 1].to_owned()];
        for name in neighbours.iter().map(String::as_str).chain([NAME]) {
            let backup = service.storage.begin_backup(&shard(), name).await.unwrap();
            backup.put("0", Bytes::from_static(b"12345")).await.unwrap();
            backup.put("MANIFEST", Bytes::from_static(b"{}")).await.unwrap();
        }
        let backup = service.storage.backup(&shard(), NAME).unwrap();
        assert_eq!(backup.remove().await.unwrap(), Removed { objects: 2, bytes: 7 }, "{}", service.name);
        let mut left = neighbours.to_vec();
        left.sort();
        assert_eq!(service.storage.list_backups(&shard()).await.unwrap(), left);
        for name in left {
            assert_eq!(service.storage.backup(&shard(), &name).unwrap().objects().await.unwrap().len(), 2);
        }
    }
}

#[tokio::test]
async fn a_removal_can_be_repeated() {
    for service in services() {
        let backup = service.storage.begin_backup(&shard(), NAME).await.unwrap();
        backup.put("7", Bytes::from_static(b"12345")).await.unwrap();
        assert_eq!(backup.remove().await.unwrap(), Removed { objects: 1, bytes: 5 }, "{}", service.name);
        assert_eq!(backup.remove().await.unwrap(), Removed::default());
        let never = service.storage.backup(&KeyspaceShard::new("never", "0").unwrap(), NAME).unwrap();
        assert_eq!(never.remove().await.unwrap(), Removed::default());
    }
}
