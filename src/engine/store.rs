//! What a backup of any engine does in storage beside copying: clearing the way, reading back, taking back.

use std::collections::HashMap;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use tokio::time::sleep;

use crate::backup::manifest::{self, Manifest};
use crate::codec::Tally;
use crate::engine::EngineError;
use crate::engine::builtin::Limits;
use crate::engine::catalogue::{self, Look};
use crate::engine::journal::{Entry, Journal, NamedBackup};
use crate::progress::{Monitor, Step};
use crate::storage::{BackupHandle, BackupStorage};
use crate::topo::KeyspaceShard;

/// An object as it was stored, and must be found again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub object: String,
    /// What it holds, for messages.
    pub file: String,
    /// Bytes as stored.
    pub size: u64,
    /// CRC-32 of the stored bytes, 8 lower-case hex digits.
    pub hash: String,
}

/// Sees that a backup may be stored under this name. What an earlier try of the same run left there, incomplete, goes.
///
/// # Errors
/// `BackupExists` when a complete backup has the name.
pub async fn make_way(
    storage: &BackupStorage,
    shard: &KeyspaceShard,
    name: &str,
    monitor: &dyn Monitor,
) -> Result<(), EngineError> {
    if !storage.list_backups(shard).await?.iter().any(|listed| listed == name) {
        return Ok(());
    }
    let handle = storage.backup(shard, name)?;
    match catalogue::look(&handle).await? {
        Look::Complete(_) => Err(EngineError::BackupExists { shard: shard.clone(), name: name.to_owned() }),
        Look::Missing | Look::Unreadable(_) => {
            monitor.note(&format!("removing what an earlier try left of backup {name}"));
            handle.remove().await?;
            Ok(())
        }
    }
}

/// Begins a backup once the journal says so: what is begun must be known, or nobody would remove it. Not to be cut short.
///
/// # Errors
/// What storage says, and then the journal is gone again; `FileUnwritable`.
pub async fn begin(storage: &BackupStorage, journal: &Journal, entry: &Entry) -> Result<BackupHandle, EngineError> {
    let Some(NamedBackup { shard, name }) = &entry.backup else {
        return Err(EngineError::Internal("a journal names no backup that could be begun".to_owned()));
    };
    journal.write(entry)?;
    match storage.begin_backup(shard, name).await {
        Ok(handle) => Ok(handle),
        Err(error) => {
            journal.remove()?;
            Err(error.into())
        }
    }
}

/// Removes a backup that is not to be; true when it is gone. Trouble is noted: there is an error to tell already.
///
/// Writes that were cut short may still be under way for a moment, so that a first try can find the directory filled again.
pub async fn discard(handle: &BackupHandle, monitor: &dyn Monitor) -> bool {
    const TRIES: u32 = 5;
    const PAUSE: Duration = Duration::from_millis(200);
    monitor.step(Step::RemovingBackup);
    let mut tries = 1;
    loop {
        match handle.remove().await {
            Ok(_) => return true,
            Err(_) if tries < TRIES => tries += 1,
            Err(error) => {
                monitor.note(&format!(
                    "{error}; it stays incomplete until `vitess-backup recover` or `remove` takes it away"
                ));
                return false;
            }
        }
        sleep(PAUSE).await;
    }
}

/// Compares the hash of an object's stored bytes; `file` is what it holds, for the message.
///
/// # Errors
/// `HashMismatch`.
pub fn check_hash(backup: &str, object: &str, file: &str, expected: &str, found: &str) -> Result<(), EngineError> {
    if found == expected {
        return Ok(());
    }
    let [backup, object, file, expected, found] = [backup, object, file, expected, found].map(str::to_owned);
    Err(EngineError::HashMismatch { backup, object, file, expected, found })
}

/// Reads every object back and compares its hash with what was written. Storage that lies is found out while the backup
/// has no MANIFEST, so that nobody takes it for a good one.
///
/// # Errors
/// `HashMismatch`, and what storage says.
pub async fn check_hashes(handle: &BackupHandle, expected: &[Expected], limits: &Limits) -> Result<(), EngineError> {
    /// More readers would only hold more memory.
    const AT_A_TIME: usize = 8;
    let bandwidth = &limits.bandwidth();
    let check = |expected: &Expected| {
        let Expected { object, file, size: _, hash } = expected.clone();
        async move {
            let (_, body) = handle.get_stream(&object).await?;
            let read = Tally::new();
            read.over(bandwidth.over(body)).try_for_each(async |_| Ok(())).await?;
            check_hash(handle.name(), &object, &file, &hash, &read.hex())
        }
    };
    let checks = futures::stream::iter(expected.iter().map(check));
    checks.buffer_unordered(limits.concurrency.clamp(1, AT_A_TIME)).try_collect().await
}

/// The MANIFEST goes last, when all else is durable; then everything is looked at again. Gives all bytes stored.
///
/// # Errors
/// Those of [`check_stored`], and what storage says.
pub async fn seal(
    handle: &BackupHandle,
    manifest: &Manifest,
    expected: &[Expected],
    monitor: &dyn Monitor,
) -> Result<u64, EngineError> {
    monitor.step(Step::WritingManifest);
    let text = manifest.encode();
    handle.put(manifest::OBJECT, text.clone().into()).await?;
    monitor.step(Step::Verifying);
    check_stored(handle, &text, expected).await
}

/// Reads the MANIFEST back and compares every object's presence and size with what was written. Gives all bytes stored.
///
/// # Errors
/// `ManifestUnusable`, `ObjectsMissing`, `ObjectSize`.
async fn check_stored(handle: &BackupHandle, text: &[u8], expected: &[Expected]) -> Result<u64, EngineError> {
    let backup = || handle.name().to_owned();
    if handle.get(manifest::OBJECT, manifest::SIZE_LIMIT).await? != text {
        let cause = "it reads back other than it was written".to_owned();
        return Err(EngineError::ManifestUnusable { backup: backup(), cause });
    }
    let found: HashMap<String, u64> =
        handle.objects().await?.into_iter().map(|object| (object.name, object.size)).collect();
    let mut missing = Vec::new();
    for Expected { object, file: _, size, hash: _ } in expected {
        let (object, expected) = (object.clone(), *size);
        match found.get(&object) {
            None => missing.push(object),
            Some(&found) if found != expected => {
                return Err(EngineError::ObjectSize { backup: backup(), object, expected, found });
            }
            Some(_) => {}
        }
    }
    if !missing.is_empty() {
        return Err(EngineError::ObjectsMissing { backup: backup(), objects: missing });
    }
    Ok(found.values().sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Quiet;
    use crate::storage::Location;

    const NAME: &str = "2024-01-02.030405.zone1-0000000101";

    struct Case {
        _root: tempfile::TempDir,
        storage: BackupStorage,
        shard: KeyspaceShard,
    }

    impl Case {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let storage = BackupStorage::open(&Location::File { root: root.path().to_owned() }).unwrap();
            Self { _root: root, storage, shard: "commerce/0".parse().unwrap() }
        }

        /// A backup of these objects.
        async fn stored(&self, name: &str, objects: &[(&str, &str)]) -> BackupHandle {
            let handle = self.storage.begin_backup(&self.shard, name).await.unwrap();
            for (object, body) in objects {
                handle.put(object, (*body).to_owned().into()).await.unwrap();
            }
            handle
        }

        async fn make_way(&self) -> Result<(), EngineError> {
            make_way(&self.storage, &self.shard, NAME, &Quiet).await
        }

        async fn names(&self) -> Vec<String> {
            self.storage.list_backups(&self.shard).await.unwrap()
        }
    }

    fn written(sizes: &[u64]) -> Vec<Expected> {
        let one = |(index, &size): (usize, &u64)| Expected {
            object: index.to_string(),
            file: "ibdata1".into(),
            size,
            hash: String::new(),
        };
        sizes.iter().enumerate().map(one).collect()
    }

    #[tokio::test]
    async fn what_an_earlier_try_left_under_this_very_name_makes_way() {
        let case = Case::new();
        case.make_way().await.unwrap();
        let neighbour = format!("{NAME}2");
        case.stored(NAME, &[("0", "half")]).await;
        case.stored(&neighbour, &[("0", "half")]).await;
        case.make_way().await.unwrap();
        assert_eq!(case.names().await, [neighbour]);
    }

    #[tokio::test]
    async fn a_complete_backup_never_makes_way() {
        let case = Case::new();
        let manifest = String::from_utf8(Manifest::default().encode()).unwrap();
        case.stored(NAME, &[("0", "whole"), ("MANIFEST", &manifest)]).await;
        let refused = case.make_way().await;
        assert!(matches!(refused, Err(EngineError::BackupExists { .. })), "{refused:?}");
        assert_eq!(case.names().await, [NAME]);
    }

    #[tokio::test]
    async fn what_was_stored_is_looked_at_again() {
        let case = Case::new();
        let handle = case.stored(NAME, &[("0", "four"), ("1", "seven77"), ("MANIFEST", "text")]).await;
        assert_eq!(check_stored(&handle, b"text", &written(&[4, 7])).await.unwrap(), 15);
        let missing = check_stored(&handle, b"text", &written(&[4, 7, 1])).await.unwrap_err();
        assert!(matches!(missing, EngineError::ObjectsMissing { ref objects, .. } if *objects == ["2"]), "{missing}");
        let short = check_stored(&handle, b"text", &written(&[4, 8])).await.unwrap_err();
        assert!(matches!(short, EngineError::ObjectSize { expected: 8, found: 7, .. }), "{short}");
        let other = check_stored(&handle, b"other", &written(&[4, 7])).await.unwrap_err();
        assert!(matches!(other, EngineError::ManifestUnusable { .. }), "{other}");
    }

    #[tokio::test]
    async fn a_stored_byte_that_is_another_is_found_by_its_hash() {
        let case = Case::new();
        let handle = case.stored(NAME, &[("0", "four"), ("1", "seven77")]).await;
        let mut crc = written(&[4, 7]);
        for (one, body) in crc.iter_mut().zip(["four", "seven77"]) {
            one.hash = format!("{:08x}", crc32fast::hash(body.as_bytes()));
        }
        check_hashes(&handle, &crc, &Limits::default()).await.unwrap();
        handle.put("1", "seven78".into()).await.unwrap();
        let other = check_hashes(&handle, &crc, &Limits::default()).await.unwrap_err();
        assert!(matches!(other, EngineError::HashMismatch { ref object, .. } if object == "1"), "{other}");
    }

    #[tokio::test]
    async fn a_backup_that_is_not_to_be_is_gone_with_all_its_objects() {
        let case = Case::new();
        let handle = case.stored(NAME, &[("0", "half")]).await;
        assert!(discard(&handle, &Quiet).await);
        assert_eq!(case.names().await, Vec::<String>::new());
        assert!(discard(&handle, &Quiet).await, "again is fine");
    }
}
