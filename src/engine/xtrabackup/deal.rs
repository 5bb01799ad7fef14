//! The stream of `xtrabackup --backup` into storage: dealt to stripes as Vitess does, each compressed and stored by itself.

use std::io;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use futures::future::try_join_all;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::ChildStdout;
use tokio::sync::mpsc;
use tokio::time::{Duration, sleep};
use tokio_stream::wrappers::ReceiverStream;

use crate::backup::bytes::ByteSize;
use crate::codec::{self, CodecError, Compression, Tally};
use crate::engine::builtin::Limits;
use crate::engine::store::Expected;
use crate::engine::xtrabackup::process::{self, RunError};
use crate::engine::xtrabackup::tools::Invocation;
use crate::engine::{EngineError, kill_point};
use crate::progress::Monitor;
use crate::storage::{BackupHandle, PutError};

/// Where the stream goes, and how.
pub struct Deal<'a> {
    pub handle: &'a BackupHandle,
    /// One name for each stripe.
    pub objects: &'a [String],
    /// StripeBlockSize, in bytes; means nothing where there is one object.
    pub block: usize,
    pub compression: &'a Compression,
    pub limits: &'a Limits,
    /// Bytes that the stream will have, about.
    pub expected: u64,
    pub monitor: &'a dyn Monitor,
}

/// What was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dealt {
    /// Of the stream, before compression.
    pub bytes: u64,
    /// In the stripes' order.
    pub objects: Vec<Expected>,
}

/// What each of the stripes may hold in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Portion {
    /// Bytes that are compressed at once.
    piece: usize,
    /// Pieces in flight.
    parallel: usize,
    /// The most that all stripes then hold.
    all: u64,
}

impl Deal<'_> {
    /// Runs the program and stores its stream. No object is visible before the program has ended well.
    ///
    /// # Errors
    /// Storage's, `Compression`; how the program ended when it did not end well.
    pub async fn carry_out(&self, invocation: &Invocation, hear: impl FnMut(&str)) -> Result<Dealt, RunError> {
        let portion = self.portion();
        if portion.all > self.limits.available() {
            self.monitor.note(&format!(
                "the memory limit of {} is too small for {} stripes: they need up to {}",
                self.limits.memory,
                self.objects.len(),
                ByteSize(portion.all)
            ));
        }
        let bandwidth = self.limits.bandwidth();
        let (lanes, stripes): (Vec<_>, Vec<_>) = self
            .objects
            .iter()
            .map(|object| {
                let (to, from) = mpsc::channel(1);
                let body = codec::compress(self.compression, ReceiverStream::new(from), portion.parallel);
                (Lane { to, pending: BytesMut::new() }, (object, bandwidth.over(body)))
            })
            .unzip();
        let stored = try_join_all(stripes.into_iter().map(|(object, body)| self.store(object, body)));
        let produced = async {
            let take = async |stdout: ChildStdout| {
                widen(&stdout);
                let mut dealer = Dealer { lanes, block: self.block, piece: portion.piece, monitor: self.monitor };
                let bytes = dealer.deal(stdout).await?;
                // Kept open: whether the stream is whole, only the program's end tells.
                Ok((bytes, dealer))
            };
            process::produce(invocation, take, hear).await.map(|(bytes, _)| bytes)
        };
        let stored = async { stored.await.map_err(RunError::Engine) };
        let (bytes, objects) = tokio::try_join!(produced, stored)?;
        Ok(Dealt { bytes, objects })
    }

    async fn store<S>(&self, object: &str, body: S) -> Result<Expected, EngineError>
    where
        S: futures::Stream<Item = Result<Bytes, CodecError>>,
    {
        let tally = Tally::new();
        let body = tally.over(body).inspect_ok(|bytes| self.monitor.advanced(0, bytes.len() as u64));
        let expected = self.expected / (self.objects.len() as u64).max(1);
        let size = self.handle.put_stream_expecting(object, expected, body).await.map_err(|error| match error {
            PutError::Storage(error) => error.into(),
            PutError::Body(error) => EngineError::Compression { path: object.into(), cause: error.to_string() },
        })?;
        self.monitor.file_done();
        Ok(Expected { object: object.to_owned(), file: object.to_owned(), size, hash: tally.hex() })
    }

    /// As much as the memory limit allows to each: smaller pieces rather than more memory.
    fn portion(&self) -> Portion {
        let stripes = self.objects.len().max(1);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        portion(self.compression, self.handle.stream_memory(), stripes, cores, self.limits.available())
    }
}

fn portion(compression: &Compression, upload: u64, stripes: usize, cores: usize, available: u64) -> Portion {
    const SMALLEST: usize = 64 << 10;
    let cost = |piece: usize, parallel: usize| {
        // One is being filled and one waits.
        let one = compression.stream_memory_with(parallel, piece as u64) + 2 * piece as u64 + upload;
        one.saturating_mul(stripes as u64)
    };
    let mut piece = compression.block_size();
    while piece > SMALLEST && cost(piece, 1) > available {
        piece /= 2;
    }
    let most = cores.div_ceil(stripes).max(1);
    let parallel = (1..=most).rev().find(|&parallel| cost(piece, parallel) <= available).unwrap_or(1);
    Portion { piece, parallel, all: cost(piece, parallel) }
}

/// A pipe has 64 KiB at first; with more, xtrabackup waits for us less often. The kernel may refuse, and then it stays.
fn widen(stdout: &ChildStdout) {
    const WIDTH: usize = 1 << 20;
    let _ = rustix::pipe::fcntl_setpipe_size(stdout, WIDTH);
}

struct Lane {
    to: mpsc::Sender<io::Result<Bytes>>,
    pending: BytesMut,
}

impl Lane {
    async fn flush(&mut self) -> Result<(), EngineError> {
        const GRACE: Duration = Duration::from_secs(5);
        if self.pending.is_empty() || self.to.send(Ok(self.pending.split().freeze())).await.is_ok() {
            return Ok(());
        }
        // Whoever no longer takes it has failed, and is about to say of what.
        sleep(GRACE).await;
        Err(EngineError::Internal("a stripe was given up before the end of the stream".to_owned()))
    }
}

/// Deals a stream out in blocks, in turn.
struct Dealer<'a> {
    lanes: Vec<Lane>,
    block: usize,
    /// A lane hands its bytes on when it has so many.
    piece: usize,
    monitor: &'a dyn Monitor,
}

impl Dealer<'_> {
    /// Reads to the end; gives the bytes of the stream.
    async fn deal(&mut self, mut from: impl AsyncRead + Unpin) -> Result<u64, EngineError> {
        let block = if self.lanes.len() > 1 { self.block } else { usize::MAX };
        let mut total = 0;
        'all: loop {
            for lane in &mut self.lanes {
                let mut left = block;
                while left > 0 {
                    let most = left.min(self.piece - lane.pending.len());
                    if lane.pending.capacity() == lane.pending.len() {
                        lane.pending.reserve(self.piece - lane.pending.len());
                    }
                    let read = (&mut from).take(most as u64).read_buf(&mut lane.pending).await;
                    let read = read.map_err(|error| EngineError::Internal(format!("cannot read a pipe: {error}")))?;
                    if read == 0 {
                        break 'all;
                    }
                    left -= read;
                    total += read as u64;
                    self.monitor.advanced(read as u64, 0);
                    kill_point::copied(read as u64);
                    if lane.pending.len() >= self.piece {
                        lane.flush().await?;
                    }
                }
            }
        }
        for lane in &mut self.lanes {
            lane.flush().await?;
        }
        Ok(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Codec, GzipFlavour};
    use crate::progress::Quiet;
    use futures::StreamExt;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn dealt(stream: &[u8], stripes: usize, block: usize, piece: usize) -> Vec<Vec<u8>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (lanes, ends): (Vec<_>, Vec<_>) = (0..stripes)
                .map(|_| {
                    let (to, from) = mpsc::channel(1);
                    (Lane { to, pending: BytesMut::new() }, ReceiverStream::new(from))
                })
                .unzip();
            let dealing = async move {
                let mut dealer = Dealer { lanes, block, piece, monitor: &Quiet };
                dealer.deal(stream).await.unwrap()
            };
            let collected = ends.into_iter().map(|end| async move {
                let parts: Vec<_> = end.map(Result::unwrap).collect().await;
                assert!(parts.iter().all(|part| !part.is_empty() && part.len() <= piece));
                parts.concat()
            });
            let (total, collected) = tokio::join!(dealing, futures::future::join_all(collected));
            assert_eq!(total, stream.len() as u64);
            collected
        })
    }

    proptest! {
        /// As Vitess's reader expects it: a block of each stripe in turn.
        #[test]
        fn a_stream_is_dealt_in_blocks_of_exactly_the_size(
            stream in prop::collection::vec(any::<u8>(), 0..400),
            stripes in 1_usize..6,
            block in 1_usize..50,
            piece in 1_usize..60,
        ) {
            let mut expected = vec![Vec::new(); stripes];
            for (index, bytes) in stream.chunks(block).enumerate() {
                expected[if stripes > 1 { index % stripes } else { 0 }].extend_from_slice(bytes);
            }
            prop_assert_eq!(dealt(&stream, stripes, block, piece), expected);
        }
    }

    #[test]
    fn many_stripes_have_smaller_pieces_and_a_lone_one_all_cores() {
        let gzip = Compression::new(Codec::Gzip(GzipFlavour::Pargzip), 1).unwrap();
        let of = |stripes| portion(&gzip, 0, stripes, 4, 200 * MIB);
        assert_eq!((of(1).piece, of(1).parallel), (1 << 20, 4));
        assert_eq!((of(2).piece, of(2).parallel), (1 << 20, 2));
        assert_eq!((of(8).piece, of(8).parallel), (1 << 20, 1));
        let many = of(64);
        assert!(many.piece < 1 << 20 && many.all <= 200 * MIB, "{many:?}");
        let too_many = of(1000);
        assert_eq!((too_many.piece, too_many.parallel), (64 << 10, 1));
        assert!(too_many.all > 200 * MIB);
    }
}
