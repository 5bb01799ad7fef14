//! Files into storage: several at a time, each read in blocks, compressed, hashed and stored in one stream.
//!
//! A file is read once and from its beginning to its end. The kernel is told so, and is asked for the next block while one
//! is compressed; blocks that were read leave its cache at once, so that a backup does not push out what a serving host
//! reads all the time. O_DIRECT would spare that cache too, and was decided against: it wants aligned buffers and lengths,
//! fails on some file systems, and reads nothing ahead, for which there would have to be more threads and more memory.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::sync::mpsc;

use crate::backup::manifest::FileEntry;
use crate::codec::{self, CodecError, Compression, Tally};
use crate::engine::EngineError;
use crate::engine::builtin::bandwidth::Bandwidth;
use crate::engine::builtin::files::SourceFile;
use crate::engine::builtin::limits::{Limits, Share};
use crate::engine::store::Expected;
use crate::progress::Monitor;
use crate::storage::{self, BackupHandle, PutError};

/// One file as it is in storage.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// For the MANIFEST, hash included.
    pub entry: FileEntry,
    /// Bytes as stored.
    pub size: u64,
}

/// What must be found in storage, by the files' places in the list.
pub fn expected(stored: &[Stored]) -> Vec<Expected> {
    let one = |(index, Stored { entry, size }): (usize, &Stored)| Expected {
        object: index.to_string(),
        file: entry.name.clone(),
        size: *size,
        hash: entry.hash.clone(),
    };
    stored.iter().enumerate().map(one).collect()
}

/// Stores every file as the object that its place in the list names, within the limits. The result is in the list's order.
///
/// # Errors
/// The first failure; what was stored until then stays, for the caller to remove.
pub async fn upload(
    handle: &BackupHandle,
    files: &[SourceFile],
    compression: &Compression,
    limits: &Limits,
    monitor: &dyn Monitor,
) -> Result<Vec<Stored>, EngineError> {
    let (budget, bandwidth) = (&limits.budget(), &limits.bandwidth());
    let cores = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    let total = files.iter().map(|file| file.size).sum();
    let share = |file: &SourceFile| {
        budget.share(file.size, total, cores, |blocks| memory(handle, compression, file.size, blocks))
    };
    // The largest first, so that none of them is left alone at the end; names go by place in the list all the same.
    let mut order: Vec<usize> = (0..files.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(files[index].size));
    if let Some(&largest) = order.first() {
        budget.tell(share(&files[largest]), files.len(), limits.memory, monitor);
    }
    let mut stored: Vec<(usize, Stored)> = futures::stream::iter(order)
        .map(|index| async move {
            let share = share(&files[index]);
            let _held = budget.hold(share).await?;
            let one = upload_one(handle, index, &files[index], compression, share, bandwidth, monitor).await?;
            monitor.file_done();
            Ok::<_, EngineError>((index, one))
        })
        .buffer_unordered(limits.concurrency.max(1))
        .try_collect()
        .await?;
    stored.sort_unstable_by_key(|(index, _)| *index);
    Ok(stored.into_iter().map(|(_, one)| one).collect())
}

/// The most bytes that the stream of a file holds: blocks being read, waiting, compressed and stored.
fn memory(handle: &BackupHandle, compression: &Compression, size: u64, blocks: usize) -> u64 {
    /// What a codec sets up for a file of whatever size.
    const WORKSPACE: u64 = 1 << 20;
    let block = compression.block_size() as u64;
    let whole = compression.stream_memory(blocks) + 3 * block + handle.stream_memory();
    whole.min(WORKSPACE.saturating_add(size.saturating_mul(6)))
}

async fn upload_one(
    handle: &BackupHandle,
    index: usize,
    file: &SourceFile,
    compression: &Compression,
    share: Share,
    bandwidth: &Bandwidth,
    monitor: &dyn Monitor,
) -> Result<Stored, EngineError> {
    let read = AtomicU64::new(0);
    let blocks = blocks(&file.path, compression.block_size()).inspect_ok(|block| {
        read.fetch_add(block.len() as u64, Ordering::Relaxed);
        monitor.advanced(block.len() as u64, 0);
    });
    let written = Tally::new();
    let compressed = bandwidth.over(codec::compress(compression, blocks, share.blocks));
    let body = written.over(compressed).inspect_ok(|bytes| monitor.advanced(0, bytes.len() as u64));
    let size = handle.put_stream_expecting(&index.to_string(), file.size, body).await;
    let size = size.map_err(|error| failed(file, error))?;
    let found = read.into_inner();
    if found != file.size {
        return Err(EngineError::FileChanged { path: file.path.clone(), expected: file.size, found });
    }
    let entry = FileEntry {
        base: file.base.clone(),
        name: file.name.clone(),
        hash: written.hex(),
        parent_path: String::new(),
        unknown: serde_json::Map::new(),
    };
    Ok(Stored { entry, size })
}

fn failed(file: &SourceFile, error: PutError<CodecError>) -> EngineError {
    match error {
        PutError::Storage(error) => error.into(),
        PutError::Body(CodecError::Read { source }) => EngineError::unreadable(&file.path, source),
        PutError::Body(error) => EngineError::Compression { path: file.path.clone(), cause: error.to_string() },
    }
}

/// A file's bytes in blocks of that size, the last one smaller; one block is read ahead on a thread for blocking work, and
/// the kernel reads the one after it.
fn blocks(path: &Path, size: usize) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    let (to, from) = mpsc::channel(1);
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || {
        let sent = File::open(&path).and_then(|file| read_blocks(&file, size, &to));
        if let Err(error) = sent {
            // When nobody listens any more, nobody needs the error either.
            let _ = to.blocking_send(Err(error));
        }
    });
    tokio_stream::wrappers::ReceiverStream::new(from)
}

fn read_blocks(file: &File, size: usize, to: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
    storage::read_from_begin_to_end(file);
    let mut offset = 0;
    loop {
        let block = storage::read_block(file, size)?;
        storage::leave_behind(file, offset, block.len());
        offset += block.len() as u64;
        if block.len() == size {
            storage::read_ahead(file, offset, size);
        }
        if block.is_empty() || to.blocking_send(Ok(block)).is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_comes_in_blocks_and_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for (length, expected) in [(0, vec![]), (7, vec![7]), (8, vec![8]), (19, vec![8, 8, 3])] {
            std::fs::write(&path, vec![1; length]).unwrap();
            let read: Vec<Bytes> = blocks(&path, 8).try_collect().await.unwrap();
            assert_eq!(read.iter().map(Bytes::len).collect::<Vec<_>>(), expected);
        }
    }

    #[tokio::test]
    async fn a_missing_file_is_an_error_in_the_stream() {
        let read: Result<Vec<Bytes>, _> = blocks(Path::new("/nonexistent/file"), 8).try_collect().await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
