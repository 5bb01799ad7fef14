//! Compressing: each block by itself, several at a time, in order.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use zstd::bulk::Compressor;
use zstd::zstd_safe::{self, CParameter};

use super::cores::on_a_core;
use super::{Codec, CodecError, Compression, external, gzip, lz4};

/// zstd's window is at most 4 MiB: what Vitess's own writer uses at level 1, far below the 512 MiB that its reader takes.
const ZSTD_WINDOW_LOG: u32 = 22;

/// Compresses blocks of about [`Compression::block_size`] into a stream that Vitess's readers take.
///
/// Runs on tokio's pool for blocking work, with at most `parallel` blocks in flight, which also bounds the memory, see
/// [`Compression::stream_memory`]; over all streams no more blocks at a time than there are cores. An external command gets
/// one stream and does what it likes. Stops at the first error.
pub fn compress<'a, S>(
    compression: &Compression,
    blocks: S,
    parallel: usize,
) -> BoxStream<'a, Result<Bytes, CodecError>>
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'a,
{
    if let Some(command) = &compression.external_compressor {
        return external::run(command.clone(), blocks.map_err(|source| CodecError::Read { source }));
    }
    let (codec, level) = (compression.codec, compression.level);
    if codec == Codec::None {
        return blocks.map_err(|source| CodecError::Read { source }).boxed();
    }
    let writers = Writers { codec, level, idle: Arc::default() };
    let compressed = move |block: io::Result<Bytes>| {
        let writers = writers.clone();
        async move {
            let block = block.map_err(|source| CodecError::Read { source })?;
            let written = on_a_core(move || writers.write(&block)).await?;
            written.map_err(|source| CodecError::Compress { codec, source })
        }
    };
    at_least_one(blocks).map(compressed).buffered(parallel.max(1)).boxed()
}

/// Leaves empty blocks out; when nothing else came, ends with one.
fn at_least_one<'a, S>(blocks: S) -> impl Stream<Item = io::Result<Bytes>> + Send + 'a
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'a,
{
    futures::stream::unfold((Box::pin(blocks), false), |(mut blocks, seen)| async move {
        loop {
            match blocks.next().await {
                Some(Ok(block)) if block.is_empty() => {}
                Some(block) => return Some((block, (blocks, true))),
                None if seen => return None,
                None => return Some((Ok(Bytes::new()), (blocks, true))),
            }
        }
    })
    .fuse()
}

/// The writers of one stream, at most as many as blocks are in flight, each used for one block after the other.
#[derive(Clone)]
struct Writers {
    codec: Codec,
    level: i32,
    idle: Arc<Mutex<Vec<Writer>>>,
}

/// With what it needs for a block; nothing else knows which library writes one.
enum Writer {
    Gzip(gzip::Writer),
    Zstd { compressor: Compressor<'static>, scratch: Vec<u8> },
    Lz4 { scratch: Vec<u8> },
}

impl Writers {
    fn write(&self, block: &[u8]) -> io::Result<Bytes> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut writer = idle.map_or_else(|| Writer::new(self.codec, self.level), Ok)?;
        let written = writer.write(block)?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(writer);
        Ok(written)
    }
}

impl Writer {
    fn new(codec: Codec, level: i32) -> io::Result<Self> {
        match codec {
            Codec::Gzip(_) => gzip::Writer::new(level).map(Self::Gzip),
            Codec::Zstd => {
                let mut compressor = Compressor::new(level)?;
                compressor.set_parameter(CParameter::WindowLog(ZSTD_WINDOW_LOG))?;
                compressor.set_parameter(CParameter::ChecksumFlag(true))?;
                Ok(Self::Zstd { compressor, scratch: Vec::new() })
            }
            Codec::Lz4 => Ok(Self::Lz4 { scratch: Vec::new() }),
            Codec::None | Codec::External => Err(io::Error::other("no blocks are written here")),
        }
    }

    /// One member or frame, in a buffer of its size.
    fn write(&mut self, block: &[u8]) -> io::Result<Bytes> {
        match self {
            Self::Gzip(writer) => writer.member(block),
            Self::Zstd { compressor, scratch } => {
                scratch.clear();
                scratch.reserve(zstd_safe::compress_bound(block.len()));
                compressor.compress_to_buffer(block, scratch)?;
                Ok(Bytes::copy_from_slice(scratch))
            }
            Self::Lz4 { scratch } => lz4::write_frame(block, scratch),
        }
    }
}
