//! Files into storage: several at a time, each read in blocks, compressed, hashed and stored in one stream.

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
use crate::engine::builtin::files::SourceFile;
use crate::progress::Monitor;
use crate::storage::{self, BackupHandle, PutError};

/// How many files at a time, and how many blocks of one file are compressed at a time.
#[derive(Clone, Copy, Debug)]
pub struct Parallel {
    pub files: usize,
    pub blocks: usize,
}

/// One file as it is in storage.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// For the MANIFEST, hash included.
    pub entry: FileEntry,
    /// Bytes as stored.
    pub size: u64,
}

/// Stores every file as the object that its place in the list names. The result is in the list's order.
///
/// # Errors
/// The first failure; what was stored until then stays, for the caller to remove.
pub async fn upload(
    handle: &BackupHandle,
    files: &[SourceFile],
    compression: &Compression,
    parallel: Parallel,
    monitor: &dyn Monitor,
) -> Result<Vec<Stored>, EngineError> {
    // The largest first, so that none of them is left alone at the end; names go by place in the list all the same.
    let mut order: Vec<usize> = (0..files.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(files[index].size));
    let mut stored: Vec<(usize, Stored)> = futures::stream::iter(order)
        .map(|index| async move {
            let one = upload_one(handle, index, &files[index], compression, parallel.blocks, monitor).await?;
            monitor.file_done();
            Ok::<_, EngineError>((index, one))
        })
        .buffer_unordered(parallel.files.max(1))
        .try_collect()
        .await?;
    stored.sort_unstable_by_key(|(index, _)| *index);
    Ok(stored.into_iter().map(|(_, one)| one).collect())
}

async fn upload_one(
    handle: &BackupHandle,
    index: usize,
    file: &SourceFile,
    compression: &Compression,
    parallel_blocks: usize,
    monitor: &dyn Monitor,
) -> Result<Stored, EngineError> {
    let read = AtomicU64::new(0);
    let blocks = blocks(&file.path, compression.block_size()).inspect_ok(|block| {
        read.fetch_add(block.len() as u64, Ordering::Relaxed);
        monitor.advanced(block.len() as u64, 0);
    });
    let written = Tally::new();
    let compressed = codec::compress(compression, blocks, parallel_blocks);
    let body = written.over(compressed).inspect_ok(|bytes| monitor.advanced(0, bytes.len() as u64));
    let size = handle.put_stream(&index.to_string(), body).await.map_err(|error| failed(file, error))?;
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

/// A file's bytes in blocks of that size, the last one smaller; one block is read ahead on a thread for blocking work.
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
    loop {
        let block = storage::read_block(file, size)?;
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
