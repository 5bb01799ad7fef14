//! A stream through a worker that runs beside it: a thread or a process.

use std::io::{self, BufRead, Read};

use bytes::{Buf, Bytes};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;

use super::CodecError;

/// Chunks that wait on either side of the worker; with the chunk size it bounds the memory.
const WAITING: usize = 2;

/// What a worker hands out. A worker that ends without `Done` has died.
pub(super) enum Piece {
    Bytes(Bytes),
    Failed(CodecError),
    Done,
}

pub(super) type Outlet = mpsc::Sender<Piece>;

/// Sends `input` through `worker`, which is started at the first poll and must be able to go on by itself.
///
/// The end of the worker's input means that the input is over, or that nobody listens any more: then sending fails, and
/// the worker must end.
pub(super) fn through<'a, S, W>(input: S, worker: W) -> BoxStream<'a, Result<Bytes, CodecError>>
where
    S: Stream<Item = Result<Bytes, CodecError>> + Send + 'a,
    W: FnOnce(mpsc::Receiver<Bytes>, Outlet) + Send + 'a,
{
    let state = State::NotStarted { input: Box::pin(input), worker };
    futures::stream::unfold(state, |state| async move {
        let mut running = match state {
            State::Over => return None,
            State::Running(running) => running,
            State::NotStarted { input, worker } => {
                let (to, received) = mpsc::channel(WAITING);
                let (sent, from) = mpsc::channel(WAITING);
                worker(received, sent);
                Running { input, waiting: None, to: Some(to), from }
            }
        };
        match running.next().await {
            Some(Ok(bytes)) => Some((Ok(bytes), State::Running(running))),
            Some(Err(error)) => Some((Err(error), State::Over)),
            None => None,
        }
    })
    .boxed()
}

enum State<S, W> {
    NotStarted { input: std::pin::Pin<Box<S>>, worker: W },
    Running(Running<S>),
    Over,
}

struct Running<S> {
    input: std::pin::Pin<Box<S>>,
    /// Read, and not yet taken by the worker.
    waiting: Option<Bytes>,
    /// `None` once the input is over.
    to: Option<mpsc::Sender<Bytes>>,
    from: mpsc::Receiver<Piece>,
}

impl<S> Running<S> {
    /// The next output; reads on meanwhile, as far as the worker keeps up.
    async fn next(&mut self) -> Option<Result<Bytes, CodecError>>
    where
        S: Stream<Item = Result<Bytes, CodecError>>,
    {
        loop {
            let may_read = self.to.is_some() && self.waiting.is_none();
            let event = tokio::select! {
                biased;
                piece = self.from.recv() => Event::Output(piece),
                taken = hand_over(self.to.as_ref(), &mut self.waiting), if !may_read && self.to.is_some() => Event::Taken(taken),
                chunk = self.input.next(), if may_read => Event::Input(chunk),
            };
            match event {
                Event::Output(Some(Piece::Bytes(bytes))) => return Some(Ok(bytes)),
                Event::Output(Some(Piece::Failed(error))) | Event::Input(Some(Err(error))) => return Some(Err(error)),
                Event::Output(Some(Piece::Done)) => return None,
                Event::Output(None) => return Some(Err(CodecError::Stopped)),
                Event::Input(Some(Ok(bytes))) => self.waiting = Some(bytes).filter(|bytes| !bytes.is_empty()),
                // Without a sender the worker sees the end of its input; its last word is still to come.
                Event::Input(None) | Event::Taken(false) => self.to = None,
                Event::Taken(true) => {}
            }
        }
    }
}

enum Event {
    Output(Option<Piece>),
    /// Whether the worker still takes input.
    Taken(bool),
    Input(Option<Result<Bytes, CodecError>>),
}

/// Loses nothing when it is dropped half-way: the bytes are taken only once there is room for them.
async fn hand_over(to: Option<&mpsc::Sender<Bytes>>, waiting: &mut Option<Bytes>) -> bool {
    let Some(to) = to else { return false };
    let Ok(permit) = to.reserve().await else { return false };
    if let Some(bytes) = waiting.take() {
        permit.send(bytes);
    }
    true
}

/// The worker's input as a reader, for a thread that may block.
pub(super) struct Inlet {
    from: mpsc::Receiver<Bytes>,
    current: Bytes,
    ended: bool,
}

impl Inlet {
    pub(super) fn new(from: mpsc::Receiver<Bytes>) -> Self {
        Self { from, current: Bytes::new(), ended: false }
    }

    /// Whether a reader has met the end of the input, that is: has asked for bytes after the last one.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }
}

impl Read for Inlet {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(into.len());
        into[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Inlet {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.is_empty() && !self.ended {
            match self.from.blocking_recv() {
                Some(bytes) => self.current = bytes,
                None => self.ended = true,
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, amount: usize) {
        self.current.advance(amount);
    }
}
