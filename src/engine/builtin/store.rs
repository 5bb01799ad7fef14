//! What a backup does in storage beside copying: clearing the way, reading back, taking back.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::sleep;

use crate::backup::manifest;
use crate::engine::EngineError;
use crate::engine::builtin::copy::Stored;
use crate::engine::catalogue::{self, Look};
use crate::progress::{Monitor, Step};
use crate::storage::{BackupHandle, BackupStorage};
use crate::topo::KeyspaceShard;

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

/// Reads the MANIFEST back and compares every object's presence and size with what was written. Gives all bytes stored.
///
/// # Errors
/// `ManifestUnusable`, `ObjectsMissing`, `ObjectSize`.
pub async fn check_stored(handle: &BackupHandle, text: &[u8], stored: &[Stored]) -> Result<u64, EngineError> {
    let backup = || handle.name().to_owned();
    if handle.get(manifest::OBJECT, manifest::SIZE_LIMIT).await? != text {
        let cause = "it reads back other than it was written".to_owned();
        return Err(EngineError::ManifestUnusable { backup: backup(), cause });
    }
    let found: HashMap<String, u64> =
        handle.objects().await?.into_iter().map(|object| (object.name, object.size)).collect();
    let mut missing = Vec::new();
    for (index, one) in stored.iter().enumerate() {
        let object = index.to_string();
        match found.get(&object) {
            None => missing.push(object),
            Some(&size) if size != one.size => {
                return Err(EngineError::ObjectSize { backup: backup(), object, expected: one.size, found: size });
            }
            Some(_) => {}
        }
    }
    if !missing.is_empty() {
        return Err(EngineError::ObjectsMissing { backup: backup(), objects: missing });
    }
    Ok(found.values().sum())
}
