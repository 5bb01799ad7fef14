//! Compressing: each block by itself, several at a time, in order.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::GzBuilder;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use zstd::zstd_safe::CParameter;

use super::{Codec, CodecError, Compression, external};

/// zstd's window is at most 4 MiB: what Vitess's own writer uses at level 1, far below the 512 MiB that its reader takes.
const ZSTD_WINDOW_LOG: u32 = 22;

/// Compresses blocks of about [`Compression::block_size`] into a stream that Vitess's readers take.
///
/// Runs on tokio's pool for blocking work, with at most `parallel` blocks in flight, which also bounds the memory: about
/// two blocks each. An external command gets one stream and does what it likes. Stops at the first error.
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
    let compressed = move |block: io::Result<Bytes>| async move {
        let block = block.map_err(|source| CodecError::Read { source })?;
        let task = tokio::task::spawn_blocking(move || one(codec, level, &block));
        task.await.map_err(|_| CodecError::Stopped)?.map_err(|source| CodecError::Compress { codec, source })
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

/// One member or frame. The seam for a faster gzip (ISA-L): nothing else knows which library writes it.
fn one(codec: Codec, level: i32, block: &[u8]) -> io::Result<Bytes> {
    match codec {
        Codec::None => Ok(Bytes::copy_from_slice(block)),
        Codec::Gzip(_) => gzip_member(level, block),
        Codec::Zstd => zstd_frame(level, block),
        Codec::Lz4 => lz4_frame(block),
        Codec::External => Err(io::Error::other("an external command has no blocks")),
    }
}

fn gzip_member(level: i32, block: &[u8]) -> io::Result<Bytes> {
    let level = flate2::Compression::new(level.unsigned_abs());
    let mut encoder = GzBuilder::new().write(Vec::with_capacity(block.len() / 2 + 64), level);
    encoder.write_all(block)?;
    Ok(encoder.finish()?.into())
}

fn zstd_frame(level: i32, block: &[u8]) -> io::Result<Bytes> {
    let mut compressor = zstd::bulk::Compressor::new(level)?;
    compressor.set_parameter(CParameter::WindowLog(ZSTD_WINDOW_LOG))?;
    compressor.set_parameter(CParameter::ChecksumFlag(true))?;
    compressor.compress(block).map(Bytes::from)
}

fn lz4_frame(block: &[u8]) -> io::Result<Bytes> {
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max4MB).content_checksum(true);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::with_capacity(block.len() / 2 + 64));
    encoder.write_all(block)?;
    Ok(encoder.finish().map_err(io::Error::from)?.into())
}
