//! The codecs from outside: what they write, what they read, what they refuse.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's own functions may fail the test")]

mod damage;
mod external;
mod framing;
mod parallel;
mod reading;
mod streams;

use std::io;

use bytes::Bytes;
use futures::{TryStreamExt, stream};

use vitess_backup::codec::{Codec, CodecError, Compression, Decompression, GzipFlavour, compress, decompress};

const GZIP: Codec = Codec::Gzip(GzipFlavour::Pargzip);
const COMPRESSED: [Codec; 3] = [GZIP, Codec::Zstd, Codec::Lz4];

/// Bytes that compress about as database pages do: words of few kinds and some noise. The same for the same length.
fn sample(length: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut bytes = Vec::with_capacity(length + 16);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        match state % 4 {
            0 => bytes.extend_from_slice(&state.to_le_bytes()),
            1 => bytes.extend_from_slice(b"rows and pages "),
            2 => bytes.extend_from_slice(b"of InnoDB tables"),
            _ => bytes.extend_from_slice(&[0; 16]),
        }
    }
    bytes.truncate(length);
    bytes
}

/// What is stored for a file that is read in blocks of that size.
async fn stored(codec: Codec, file: &[u8], block: usize) -> Vec<u8> {
    let compression = Compression::new(codec, 1).unwrap();
    let blocks: Vec<io::Result<Bytes>> = file.chunks(block).map(|block| Ok(Bytes::copy_from_slice(block))).collect();
    compress(&compression, stream::iter(blocks), 3).try_collect::<Vec<_>>().await.unwrap().concat()
}

/// What comes out of stored bytes that arrive in chunks of that size.
async fn read_in(codec: Codec, stored: &[u8], chunk: usize) -> Result<Vec<u8>, CodecError> {
    read_with(codec, stored, chunk, 3).await
}

async fn read_with(codec: Codec, stored: &[u8], chunk: usize, parallel: usize) -> Result<Vec<u8>, CodecError> {
    let decompression = Decompression::new(codec.engine_name(), codec == Codec::None, None).unwrap();
    let chunks: Vec<Result<Bytes, io::Error>> =
        stored.chunks(chunk).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    Ok(decompress(&decompression, stream::iter(chunks), parallel).try_collect::<Vec<_>>().await?.concat())
}

async fn read(codec: Codec, stored: &[u8]) -> Result<Vec<u8>, CodecError> {
    read_in(codec, stored, 64 << 10).await
}
