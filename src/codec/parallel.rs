//! Decompressing several parts of one stream at a time, in order, and the rest in sequence.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use tokio_util::task::AbortOnDropHandle;

use super::buffers::Buffers;
use super::cores::on_a_core;
use super::cut::{Cut, Cutter};
use super::{Codec, CodecError, gzip, lz4};

type Plain<'a> = BoxStream<'a, Result<Bytes, CodecError>>;

/// Decompresses what can be cut into parts with at most `parallel` parts in memory, and gives the stored bytes from the
/// first part on that is not what it seemed to `in_sequence`, which has the last word on what they are.
pub(super) fn in_parts<'a, S>(
    codec: Codec,
    stored: S,
    parallel: usize,
    in_sequence: impl FnOnce(Plain<'a>) -> Plain<'a> + Send + 'a,
) -> Plain<'a>
where
    S: Stream<Item = Result<Bytes, CodecError>> + Send + 'a,
{
    let parts = Parts {
        stored: stored.boxed(),
        has_ended: false,
        pending: BytesMut::new(),
        cutter: Some(Cutter::new(codec)),
        under_way: VecDeque::new(),
        parallel: parallel.max(1),
        decoders: Decoders { codec, idle: Arc::default(), buffers: Buffers::default() },
        were_any: false,
    };
    futures::stream::unfold(State::InParts(Box::new(parts), in_sequence), |state| async move {
        let mut in_order = match state {
            State::Over => return None,
            State::InOrder(in_order) => in_order,
            State::InParts(mut parts, in_sequence) => match parts.next().await {
                Ok(Step::Bytes(bytes)) => return Some((Ok(bytes), State::InParts(parts, in_sequence))),
                Ok(Step::Over) => return None,
                Ok(Step::Rest(rest)) => in_sequence(rest),
                Err(error) => return Some((Err(error), State::Over)),
            },
        };
        let next = in_order.next().await?;
        Some((next, State::InOrder(in_order)))
    })
    .boxed()
}

enum State<'a, F> {
    InParts(Box<Parts<'a>>, F),
    InOrder(Plain<'a>),
    Over,
}

struct Parts<'a> {
    stored: Plain<'a>,
    has_ended: bool,
    /// Read, and not cut yet.
    pending: BytesMut,
    /// `None` once the next part cannot be cut.
    cutter: Option<Cutter>,
    under_way: VecDeque<Part>,
    parallel: usize,
    decoders: Decoders,
    were_any: bool,
}

struct Part {
    stored: Bytes,
    plain: AbortOnDropHandle<Result<Option<Bytes>, CodecError>>,
}

enum Step<'a> {
    Bytes(Bytes),
    /// The stored bytes from here on.
    Rest(Plain<'a>),
    Over,
}

impl<'a> Parts<'a> {
    async fn next(&mut self) -> Result<Step<'a>, CodecError> {
        loop {
            self.cut();
            let has_room = self.under_way.len() < self.parallel;
            let may_read = self.cutter.is_some() && !self.has_ended && has_room;
            if self.under_way.is_empty() && !may_read {
                let is_over = self.were_any && self.has_ended && self.pending.is_empty();
                return Ok(if is_over { Step::Over } else { Step::Rest(self.rest()) });
            }
            let read = tokio::select! {
                biased;
                done = first(&mut self.under_way), if !self.under_way.is_empty() => match done? {
                    Some(bytes) => {
                        self.under_way.pop_front();
                        if bytes.is_empty() {
                            continue;
                        }
                        return Ok(Step::Bytes(bytes));
                    }
                    None => return Ok(Step::Rest(self.rest())),
                },
                read = self.stored.next(), if may_read => read,
            };
            match read.transpose()? {
                Some(bytes) => self.pending.extend_from_slice(&bytes),
                None => self.has_ended = true,
            }
        }
    }

    /// Starts as many parts as are there and have room.
    fn cut(&mut self) {
        while self.under_way.len() < self.parallel
            && let Some(cutter) = &mut self.cutter
        {
            if self.pending.is_empty() && self.has_ended {
                self.cutter = None;
                return;
            }
            match cutter.next(&self.pending, self.has_ended) {
                Cut::Part { stored, plain } => {
                    let stored = self.pending.split_to(stored).freeze();
                    let plain = AbortOnDropHandle::new(tokio::spawn(self.decoders.clone().read(stored.clone(), plain)));
                    self.under_way.push_back(Part { stored, plain });
                    self.were_any = true;
                }
                Cut::More => return,
                Cut::Unknown => self.cutter = None,
            }
        }
    }

    /// What is stored from the first part on that was not handed out.
    fn rest(&mut self) -> Plain<'a> {
        let stored = std::mem::replace(&mut self.stored, futures::stream::empty().boxed());
        let parts = std::mem::take(&mut self.under_way).into_iter().map(|part| part.stored);
        let read: Vec<_> = parts.chain([self.pending.split().freeze()]).map(Ok).collect();
        futures::stream::iter(read).chain(stored).boxed()
    }
}

async fn first(under_way: &mut VecDeque<Part>) -> Result<Option<Bytes>, CodecError> {
    match under_way.front_mut() {
        Some(part) => (&mut part.plain).await.map_err(|_| CodecError::Stopped)?,
        None => Err(CodecError::Stopped),
    }
}

/// The decoders of one stream, at most as many as parts are under way, each used for one part after the other.
#[derive(Clone)]
struct Decoders {
    codec: Codec,
    idle: Arc<Mutex<Vec<Decoder>>>,
    buffers: Buffers,
}

enum Decoder {
    Gzip(libdeflater::Decompressor),
    Zstd(zstd::bulk::Decompressor<'static>),
    Lz4,
}

impl Decoders {
    /// `None`: these bytes are not a member or frame that holds so much.
    async fn read(self, stored: Bytes, plain: usize) -> Result<Option<Bytes>, CodecError> {
        on_a_core(move || {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut decoder = match idle {
                Some(decoder) => decoder,
                None => Decoder::new(self.codec)?,
            };
            let content = decoder.read(&stored, plain, &self.buffers);
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(decoder);
            content
        })
        .await
        .map(|content| content.filter(|content| content.len() <= plain))
    }
}

impl Decoder {
    fn new(codec: Codec) -> Option<Self> {
        match codec {
            Codec::Gzip(_) => Some(Self::Gzip(libdeflater::Decompressor::new())),
            Codec::Zstd => zstd::bulk::Decompressor::new().ok().map(Self::Zstd),
            Codec::Lz4 => Some(Self::Lz4),
            Codec::None | Codec::External => None,
        }
    }

    fn read(&mut self, stored: &[u8], plain: usize, buffers: &Buffers) -> Option<Bytes> {
        match self {
            Self::Gzip(decompressor) => gzip::read_member(decompressor, stored, plain, buffers),
            Self::Zstd(decompressor) => {
                let mut content = buffers.take(plain);
                let read = decompressor.decompress_to_buffer(stored, &mut content[..plain]);
                if read.is_ok_and(|length| length == plain) {
                    return Some(buffers.lend(content, plain));
                }
                buffers.give_back(content);
                None
            }
            Self::Lz4 => lz4::read_frame(stored, plain, buffers),
        }
    }
}
