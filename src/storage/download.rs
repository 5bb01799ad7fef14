//! Reading an object as ranges side by side, in order, in bounded memory.
//!
//! One connection to an object store gives what its window and the distance allow; several give several times that. Each
//! range is asked for again from where it broke off.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt, Result};
use tokio_util::task::AbortOnDropHandle;

use super::error::is_unreachable;
use super::parts::DownloadLimits;

/// How often in a row a range may break off without a byte of progress.
const TRIES: usize = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// An object's size in bytes, and its body. A body of another length than the size is for the caller to notice.
pub(super) async fn open(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    limits: DownloadLimits,
) -> Result<(u64, BoxStream<'static, Result<Bytes>>)> {
    let first = GetOptions { range: Some(GetRange::Bounded(0..limits.range)), ..GetOptions::default() };
    let opened = match store.get_opts(path, first).await {
        Ok(opened) => opened,
        Err(error @ (Error::NotFound { .. } | Error::PermissionDenied { .. } | Error::Unauthenticated { .. })) => {
            return Err(error);
        }
        Err(error) if is_unreachable(&error) => return Err(error),
        // An empty object has no ranges.
        Err(error) => match store.head(path).await {
            Ok(meta) if meta.size == 0 => return Ok((0, futures::stream::empty().boxed())),
            _ => return Err(error),
        },
    };
    let size = opened.meta.size;
    let source = Source { store: store.clone(), path: path.clone(), meta: Arc::new(opened.meta.clone()) };
    let mut opened = Some(opened);
    let starts = (0..size).step_by(usize::try_from(limits.range).unwrap_or(usize::MAX));
    let ranges = starts.map(move |start| start..size.min(start + limits.range));
    let body = futures::stream::iter(ranges)
        .map(move |range| {
            // A task of its own, so that it goes on while the ranges before it are taken.
            let task = tokio::spawn(source.clone().read(range, opened.take()));
            let task = AbortOnDropHandle::new(task);
            async move { task.await.map_err(|source| Error::JoinError { source })? }
        })
        .buffered(limits.in_flight)
        .map_ok(|chunks: Vec<Bytes>| futures::stream::iter(chunks.into_iter().map(Ok)))
        .try_flatten();
    Ok((size, body.boxed()))
}

#[derive(Clone)]
struct Source {
    store: Arc<dyn ObjectStore>,
    path: Path,
    meta: Arc<ObjectMeta>,
}

impl Source {
    /// The range's bytes; fewer when the object ends before.
    async fn read(self, range: Range<u64>, opened: Option<GetResult>) -> Result<Vec<Bytes>> {
        let pauses = || {
            let backoff = ExponentialBuilder::default().with_min_delay(FIRST_PAUSE).with_max_delay(LONGEST_PAUSE);
            backoff.with_jitter().with_max_times(TRIES).build()
        };
        let (mut chunks, mut at, mut opened, mut pause) = (Vec::new(), range.start, opened, pauses());
        let mut ended = Ok(());
        loop {
            let got = match opened.take() {
                Some(opened) => Ok(opened),
                None => self.ask(at..range.end).await,
            };
            let got = match got {
                Ok(got) => got,
                // The store has tried it again as often as makes sense. What there is of a shorter object is no range.
                Err(error) => return if ended.is_ok() && at > range.start { Ok(chunks) } else { Err(error) },
            };
            let before = at;
            let mut body = got.into_stream();
            ended = loop {
                match body.next().await {
                    Some(Ok(chunk)) => {
                        at += chunk.len() as u64;
                        chunks.push(chunk);
                    }
                    Some(Err(error)) => break Err(error),
                    None => break Ok(()),
                }
            };
            if at >= range.end {
                return Ok(chunks);
            }
            if at > before {
                pause = pauses();
            }
            match pause.next() {
                Some(time) => tokio::time::sleep(time).await,
                None => return ended.map(|()| chunks),
            }
        }
    }

    async fn ask(&self, range: Range<u64>) -> Result<GetResult> {
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let got = self.store.get_opts(&self.path, options).await?;
        let changed = got.meta.size != self.meta.size || got.meta.e_tag != self.meta.e_tag;
        if changed {
            let source = "it was replaced while it was read".into();
            return Err(Error::Generic { store: "object storage", source });
        }
        Ok(got)
    }
}
