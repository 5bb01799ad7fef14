//! Decompressing: whatever Vitess reads, in parts at a time where its members and frames can be told apart, else on one
//! thread in step with reading and writing.

use std::error::Error as StdError;
use std::io::{self, BufRead, Read};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::sync::mpsc;

use super::lz4::Lz4Frames;
use super::parallel::in_parts;
use super::pipe::{Inlet, Outlet, Piece, through};
use super::{Codec, CodecError, Decompression, external};

/// The largest zstd window that Vitess's reader takes (512 MiB); as much memory may one such object need.
const ZSTD_WINDOW_LOG_MAX: u32 = 29;

/// Bytes of output in one chunk; only the last one is smaller.
const CHUNK: u64 = 1 << 20;

/// Decompresses a stored object.
///
/// Reads many-membered gzip, many-framed zstd (windows up to 2^29) and lz4 (linked blocks as well, which Vitess refuses),
/// skippable frames included. An object that ends early, has anything after its last member or frame, or is empty though
/// compressed, ends in an error. Members and frames of up to 4 MiB are decompressed up to `parallel` at a time, over all
/// streams no more than there are cores; from the first larger or doubtful one on, one thread reads the rest. Memory is
/// bounded whatever the ratio, see [`Decompression::stream_memory`].
pub fn decompress<'a, S, E>(
    decompression: &Decompression,
    stored: S,
    parallel: usize,
) -> BoxStream<'a, Result<Bytes, CodecError>>
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'a,
    E: Into<Box<dyn StdError + Send + Sync>> + Send + 'a,
{
    let stored = stored.map_err(|source: E| CodecError::Stored { source: source.into() });
    match decompression.codec {
        Codec::None => stored.boxed(),
        Codec::External => external::run(decompression.external_decompressor.clone(), stored),
        codec => in_parts(codec, stored, parallel, move |rest| through(rest, move |from, to| start(codec, from, to))),
    }
}

fn start(codec: Codec, from: mpsc::Receiver<Bytes>, to: Outlet) {
    tokio::task::spawn_blocking(move || {
        let last = match read_all(codec, Inlet::new(from), &to) {
            Ok(()) => Piece::Done,
            Err(source) if source.kind() == io::ErrorKind::UnexpectedEof => {
                Piece::Failed(CodecError::Truncated { codec })
            }
            Err(source) => Piece::Failed(CodecError::Damaged { codec, source }),
        };
        // Nobody listens: nobody needs to know.
        let _ = to.blocking_send(last);
    });
}

fn read_all(codec: Codec, mut stored: Inlet, to: &Outlet) -> io::Result<()> {
    if stored.fill_buf()?.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match codec {
        Codec::Gzip(_) => send_all(MultiGzDecoder::new(stored), to),
        Codec::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(stored)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            send_all(decoder, to)
        }
        Codec::Lz4 => send_all(Lz4Frames::new(stored), to),
        Codec::None | Codec::External => Err(io::Error::other("there is nothing to decompress here")),
    }
}

fn send_all(mut decoded: impl Read, to: &Outlet) -> io::Result<()> {
    loop {
        let mut chunk = Vec::with_capacity(1 << 20);
        decoded.by_ref().take(CHUNK).read_to_end(&mut chunk)?;
        let is_last = (chunk.len() as u64) < CHUNK;
        // A closed channel means that nobody listens any more.
        if !chunk.is_empty() && to.blocking_send(Piece::Bytes(chunk.into())).is_err() || is_last {
            return Ok(());
        }
    }
}
