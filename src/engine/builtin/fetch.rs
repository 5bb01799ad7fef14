//! Objects out of storage: several at a time, each hashed, decompressed and written in one stream.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;

use crate::codec::{self, CodecError, Decompression, Tally};
use crate::engine::EngineError;
use crate::engine::builtin::bandwidth::Bandwidth;
use crate::engine::builtin::limits::Limits;
use crate::engine::builtin::target::TargetFile;
use crate::mysqld::Owner;
use crate::progress::Monitor;
use crate::storage::{BackupHandle, StorageError, ToDisk};

/// What a download did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Bytes written to files.
    pub written: u64,
}

/// What a stream holds beside its codec: a chunk from storage, and those on their way to the file.
pub(super) const CHUNKS: u64 = 5 << 20;

/// Writes every file within the limits, durable when it returns: its bytes, and its name in its directory.
///
/// # Errors
/// The first failure. Nothing is removed.
pub async fn download(
    handle: &BackupHandle,
    files: &[TargetFile],
    decompression: &Decompression,
    limits: &Limits,
    owner: Option<Owner>,
    data_bytes: Option<u64>,
    monitor: &dyn Monitor,
) -> Result<Fetched, EngineError> {
    for directory in parents(files) {
        make_directory(&directory, owner)?;
    }
    let mut order: Vec<&TargetFile> = files.iter().collect();
    order.sort_by_key(|file| std::cmp::Reverse(file.stored));
    let estimate = &Estimate::new(files, data_bytes);
    let (budget, bandwidth) = (&limits.budget(), &limits.bandwidth());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = |file: &TargetFile| {
        budget.share(file.stored, estimate.stored_total, cores, |blocks| decompression.stream_memory(blocks) + CHUNKS)
    };
    if let Some(largest) = order.first() {
        budget.tell(share(largest), files.len(), limits.memory, monitor);
    }
    let written: Vec<u64> = futures::stream::iter(order)
        .map(|file| async move {
            let share = share(file);
            let _held = budget.hold(share).await?;
            let stream = Stream { decompression, blocks: share.blocks, bandwidth, owner };
            let written = download_one(handle, file, stream, estimate, monitor).await?;
            monitor.file_done();
            monitor.totals(estimate.total(), files.len() as u64);
            Ok::<_, EngineError>(written)
        })
        .buffer_unordered(limits.concurrency.max(1))
        .try_collect()
        .await?;
    for directory in parents(files) {
        crate::engine::journal::sync_directory(&directory)
            .map_err(|source| EngineError::unwritable(directory, source))?;
    }
    Ok(Fetched { written: written.iter().sum() })
}

/// How many bytes there will be in all. Vitess's MANIFESTs do not tell; then what the bytes so far grew by stands for the
/// rest.
struct Estimate {
    known: Option<u64>,
    stored_total: u64,
    stored: AtomicU64,
    written: AtomicU64,
}

impl Estimate {
    fn new(files: &[TargetFile], known: Option<u64>) -> Self {
        let stored_total = files.iter().map(|file| file.stored).sum();
        Self { known, stored_total, stored: AtomicU64::new(0), written: AtomicU64::new(0) }
    }

    fn total(&self) -> u64 {
        self.known.unwrap_or_else(|| {
            let stored = u128::from(self.stored.load(Ordering::Relaxed));
            let grown = u128::from(self.stored_total) * u128::from(self.written.load(Ordering::Relaxed));
            u64::try_from(grown.checked_div(stored).unwrap_or(0)).unwrap_or(u64::MAX)
        })
    }
}

/// How one file is read and written.
#[derive(Clone, Copy)]
struct Stream<'a> {
    decompression: &'a Decompression,
    /// Decompressed at a time.
    blocks: usize,
    bandwidth: &'a Bandwidth,
    owner: Option<Owner>,
}

async fn download_one(
    handle: &BackupHandle,
    file: &TargetFile,
    stream: Stream<'_>,
    estimate: &Estimate,
    monitor: &dyn Monitor,
) -> Result<u64, EngineError> {
    let Stream { decompression, blocks, bandwidth, owner } = stream;
    let (_, body) = handle.get_stream(&file.object).await?;
    let read = Tally::new();
    let stored = read.over(bandwidth.over(body)).inspect_ok(|bytes| {
        estimate.stored.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        monitor.advanced(0, bytes.len() as u64);
    });
    let plain = codec::decompress(decompression, stored, blocks);
    let plain = plain.inspect_ok(|bytes| {
        estimate.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        monitor.advanced(bytes.len() as u64, 0);
    });
    let written = match write(&file.path, plain.boxed(), owner).await {
        Ok(written) => written,
        Err(WriteError::File(source)) => return Err(EngineError::unwritable(&file.path, source)),
        Err(WriteError::Body(error)) => return Err(body_failed(handle, &file.object, &file.name, error)),
    };
    file.check_hash(handle.name(), &read.hex())?;
    Ok(written)
}

/// The body of an object that failed: storage's fault, or the bytes'. `file` is what the object holds.
pub fn body_failed(handle: &BackupHandle, object: &str, file: &str, error: CodecError) -> EngineError {
    let decompression = |cause: String| EngineError::Decompression {
        backup: handle.name().to_owned(),
        object: object.to_owned(),
        file: file.to_owned(),
        cause,
    };
    match error {
        CodecError::Stored { source } => match source.downcast::<StorageError>() {
            Ok(error) => EngineError::Storage(*error),
            Err(other) => decompression(other.to_string()),
        },
        other => decompression(other.to_string()),
    }
}

/// The directories that the files are in, each once.
fn parents(files: &[TargetFile]) -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = files.iter().filter_map(|file| Some(file.path.parent()?.to_owned())).collect();
    directories.sort_unstable();
    directories.dedup();
    directories
}

/// Makes a directory and what is missing above it, as Vitess does: mode 0770 before umask.
pub fn make_directory(path: &Path, owner: Option<Owner>) -> Result<(), EngineError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    let failed = |source| EngineError::unwritable(path, source);
    fs::DirBuilder::new().recursive(true).mode(0o770).create(path).map_err(failed)?;
    if let Some(owner) = owner {
        for made in missing {
            chown(made, Some(owner.uid), Some(owner.gid)).map_err(failed)?;
        }
    }
    Ok(())
}

/// Gives a directory to the tablet's user, whoever made it.
pub fn give(path: &Path, owner: Option<Owner>) -> Result<(), EngineError> {
    match owner {
        Some(owner) => {
            chown(path, Some(owner.uid), Some(owner.gid)).map_err(|source| EngineError::unwritable(path, source))
        }
        None => Ok(()),
    }
}

enum WriteError {
    File(io::Error),
    Body(CodecError),
}

/// Writes a stream to a new file on a thread for blocking work, and fsyncs it. Gives the bytes written.
async fn write(
    path: &Path,
    mut body: BoxStream<'_, Result<Bytes, CodecError>>,
    owner: Option<Owner>,
) -> Result<u64, WriteError> {
    let (to, from) = mpsc::channel(2);
    let path = path.to_owned();
    let writer = tokio::task::spawn_blocking(move || write_blocks(&path, from, owner));
    let mut failed = None;
    while let Some(bytes) = body.next().await {
        match bytes {
            // A writer that is gone has an error to tell.
            Ok(bytes) => {
                if to.send(bytes).await.is_err() {
                    break;
                }
            }
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    drop(to);
    let written = writer.await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)));
    match failed {
        Some(error) => Err(WriteError::Body(error)),
        None => written.map_err(WriteError::File),
    }
}

fn write_blocks(path: &Path, mut from: mpsc::Receiver<Bytes>, owner: Option<Owner>) -> io::Result<u64> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o660).open(path)?;
    if let Some(owner) = owner {
        fchown(&file, Some(owner.uid), Some(owner.gid))?;
    }
    let mut written = 0;
    let mut to_disk = ToDisk::default();
    while let Some(bytes) = from.blocking_recv() {
        file.write_all(&bytes)?;
        written += bytes.len() as u64;
        to_disk.written_up_to(&file, written);
    }
    file.sync_all()?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(stored: u64) -> TargetFile {
        TargetFile { object: "0".into(), name: "x".into(), path: "/x".into(), hash: String::new(), stored }
    }

    fn estimate(known: Option<u64>) -> Estimate {
        let estimate = Estimate::new(&[file(10), file(30), file(0)], known);
        estimate.stored.store(10, Ordering::Relaxed);
        estimate.written.store(50, Ordering::Relaxed);
        estimate
    }

    #[test]
    fn an_unknown_total_is_estimated_from_what_came_and_right_in_the_end() {
        let estimate = estimate(None);
        assert_eq!(estimate.total(), 200);
        estimate.stored.store(40, Ordering::Relaxed);
        estimate.written.store(110, Ordering::Relaxed);
        assert_eq!(estimate.total(), 110);
        assert_eq!(Estimate::new(&[], None).total(), 0);
    }

    #[test]
    fn a_known_total_stays() {
        assert_eq!(estimate(Some(123)).total(), 123);
    }
}
