//! A stored stream read through for a verification: nothing is written, and no program of XtraBackup's is needed.

use futures::TryStreamExt;

use crate::codec::Tally;
use crate::engine::EngineError;
use crate::engine::builtin::Limits;
use crate::engine::xtrabackup::fill::{check_hash, open};
use crate::engine::xtrabackup::stored::StoredStream;
use crate::engine::xtrabackup::tools::StreamMode;
use crate::engine::xtrabackup::xbstream::{Walk, Wrong};
use crate::progress::{Monitor, Quiet};
use crate::storage::BackupHandle;

const TAR_NOT_TAKEN_APART: &str =
    "what the tar stream holds was not looked at: that it decompresses is all that was checked";

/// Reads all of it: objects, stripes, and where it is an xbstream stream its chunks with their checksums. Gives its bytes
/// before compression; `warnings` gets what could not be checked.
///
/// # Errors
/// `HashMismatch`, `Decompression`, `StripesUneven`, `StreamDamaged`; `SeveralDamaged` when more than one object is; storage's.
pub async fn read_through(
    handle: &BackupHandle,
    stream: &StoredStream,
    limits: &Limits,
    warnings: &mut Vec<String>,
    monitor: &dyn Monitor,
) -> Result<u64, EngineError> {
    // How much the stream holds, nobody says.
    monitor.totals(0, stream.objects.len() as u64);
    let mut walk = Some(Walk::default()).filter(|_| stream.mode == StreamMode::Xbstream);
    let mut wrong = None;
    let mut read = 0;
    let mut begin = Vec::new();
    let mut bytes = open(handle, stream, limits, monitor);
    let whole = loop {
        match bytes.try_next().await {
            Ok(Some(part)) => {
                read += part.len() as u64;
                begin.extend_from_slice(&part[..part.len().min(8 - begin.len())]);
                // What is wrong with an object itself tells more: all of them are read before that is said.
                if wrong.is_none()
                    && let Some(walk) = &mut walk
                {
                    wrong = walk.feed(&part).err();
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    drop(bytes);
    if let Err(error) = whole {
        return Err(culprits(handle, stream, limits, error).await);
    }
    if stream.mode == StreamMode::Tar {
        if begin == *b"XBSTCK01" {
            let cause = "StreamMode is tar, and the stream is one of xbstream".to_owned();
            return Err(EngineError::ManifestUnusable { backup: handle.name().to_owned(), cause });
        }
        warnings.push(TAR_NOT_TAKEN_APART.to_owned());
    }
    let ended = match (wrong, walk) {
        (Some(wrong), _) => Err(wrong),
        (None, Some(walk)) => walk.end(),
        (None, None) => Ok(None),
    };
    let damaged = |Wrong { at, what }: Wrong| {
        let objects: Vec<&str> = stream.objects.iter().map(|object| object.name.as_str()).collect();
        let (backup, object) = (handle.name().to_owned(), objects.join(", "));
        EngineError::StreamDamaged { backup, object, cause: format!("at byte {at} {what}") }
    };
    warnings.extend(ended.map_err(damaged)?);
    stream.objects.iter().for_each(|_| monitor.file_done());
    Ok(read)
}

/// Reads every object as it is stored and compares its hash, where the MANIFEST tells it.
///
/// # Errors
/// `HashMismatch`, `SeveralDamaged`; storage's.
pub async fn read_stored(
    handle: &BackupHandle,
    stream: &StoredStream,
    limits: &Limits,
    monitor: &dyn Monitor,
) -> Result<(), EngineError> {
    let bandwidth = limits.bandwidth();
    let stored = stream.stored_bytes();
    monitor.totals(stored, stream.objects.len() as u64);
    let mut damage = Vec::new();
    for object in &stream.objects {
        let tally = Tally::new();
        let read = async {
            let (_, body) = handle.get_stream(&object.name).await?;
            let body = tally.over(bandwidth.over(body)).inspect_ok(|part| {
                monitor.advanced(part.len() as u64, part.len() as u64);
            });
            body.try_for_each(async |_| Ok(())).await?;
            check_hash(handle, object, &tally)
        };
        match read.await {
            Ok(_) => monitor.file_done(),
            Err(error) if error.is_damage() => damage.push(error),
            Err(error) => return Err(error),
        }
    }
    EngineError::several(handle.name(), damage).map_or(Ok(()), Err)
}

/// The stream ended with an error. Which of its objects are not what was stored, their hashes tell, where there are any.
async fn culprits(handle: &BackupHandle, stream: &StoredStream, limits: &Limits, error: EngineError) -> EngineError {
    if !error.is_damage() {
        return error;
    }
    match read_stored(handle, stream, limits, &Quiet).await {
        Err(found) if found.is_damage() => found,
        _ => error,
    }
}
