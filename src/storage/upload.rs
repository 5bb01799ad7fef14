//! Storing a stream of unknown length in bounded memory.
//!
//! A part that could not be stored is tried again by `object_store`, for as long as its signature is good; one that is so
//! large, or a link so slow, that it takes longer than that is begun anew here, with a new signature. When the answer to the
//! completion is lost, the second try finds no upload to complete: whether it is complete is then looked up.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use object_store::path::Path;
use object_store::retry::{RetryContext, RetryPolicy};
use object_store::{
    Error, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutPayload, Result,
};
use tokio::task::JoinSet;

use super::client::SAME_REQUEST;
use super::error::is_unreachable;
use super::parts::Plan;

/// Which of the two sides failed.
pub(super) enum UploadError<E> {
    Body(E),
    Store(object_store::Error),
}

/// Stores the stream; returns its length. A stream that fits one part is stored by one put.
pub(super) async fn store<S, E>(
    store: &dyn ObjectStore,
    path: &Path,
    body: S,
    plan: Plan,
) -> Result<u64, UploadError<E>>
where
    S: Stream<Item = Result<Bytes, E>>,
{
    let mut body = std::pin::pin!(body);
    let mut part = Part::default();
    let mut upload: Option<Running<'_>> = None;
    let (mut stored, mut number) = (0, 0);
    while let Some(chunk) = body.next().await {
        let mut chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => {
                if let Some(running) = upload {
                    running.abort().await;
                }
                return Err(UploadError::Body(error));
            }
        };
        stored += chunk.len() as u64;
        // Exactly as planned, because some services take only parts of one size.
        while let Some(rest) = part.fill(&mut chunk, plan.size(number)) {
            let running = match &mut upload {
                Some(running) => running,
                None => upload.insert(Running::begin(store, path).await.map_err(UploadError::Store)?),
            };
            running.put(part.take(), plan.in_flight(number)).await.map_err(UploadError::Store)?;
            number += 1;
            chunk = rest;
        }
    }
    match upload {
        None => store.put(path, part.take()).await.map(|_| ()),
        Some(running) => running.complete(part, stored).await,
    }
    .map_err(UploadError::Store)?;
    Ok(stored)
}

#[derive(Default)]
struct Part {
    chunks: Vec<Bytes>,
    length: usize,
}

impl Part {
    /// Takes of the chunk what is missing to `size` bytes. The rest comes back when the part is full, and may be empty.
    fn fill(&mut self, chunk: &mut Bytes, size: u64) -> Option<Bytes> {
        let missing = usize::try_from(size).unwrap_or(usize::MAX) - self.length;
        let rest = (chunk.len() >= missing).then(|| chunk.split_off(missing));
        self.length += chunk.len();
        self.chunks.extend((!chunk.is_empty()).then(|| std::mem::take(chunk)));
        rest
    }

    fn take(&mut self) -> PutPayload {
        self.length = 0;
        std::mem::take(&mut self.chunks).into_iter().collect()
    }
}

/// A multipart upload that is aborted when it is dropped before it is complete.
struct Running<'a> {
    store: &'a dyn ObjectStore,
    path: &'a Path,
    /// What was under the name before; nothing, or not known.
    before: Result<Option<ObjectMeta>, Unknown>,
    upload: Option<Box<dyn MultipartUpload>>,
    parts: JoinSet<Result<()>>,
}

/// What is stored may not be looked at.
#[derive(Clone, Copy, Debug)]
struct Unknown;

impl<'a> Running<'a> {
    async fn begin(store: &'a dyn ObjectStore, path: &'a Path) -> Result<Self> {
        let before = match store.head(path).await {
            Ok(meta) => Ok(Some(meta)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) if is_unreachable(&error) => return Err(error),
            Err(_) => Err(Unknown),
        };
        let options = PutMultipartOptions::default().with_retry_policy(Arc::new(SlowParts));
        let upload = store.put_multipart_opts(path, options).await?;
        Ok(Self { store, path, before, upload: Some(upload), parts: JoinSet::new() })
    }

    /// Sends a part off, once fewer than `in_flight` are under way.
    async fn put(&mut self, part: PutPayload, in_flight: usize) -> Result<()> {
        while self.parts.len() >= in_flight.max(1) {
            self.wait_for_one().await?;
        }
        if let Some(upload) = &mut self.upload {
            // A task of its own, so that the part goes on while the body's next chunks are made.
            self.parts.spawn(upload.put_part(part));
        }
        Ok(())
    }

    async fn wait_for_one(&mut self) -> Result<()> {
        match self.parts.join_next().await {
            Some(joined) => joined.map_err(|source| object_store::Error::JoinError { source })?,
            None => Ok(()),
        }
    }

    /// `stored` is the length of all parts, in bytes.
    async fn complete(mut self, mut last: Part, stored: u64) -> Result<()> {
        if last.length > 0 {
            self.put(last.take(), usize::MAX).await?;
        }
        while !self.parts.is_empty() {
            self.wait_for_one().await?;
        }
        let Some(upload) = &mut self.upload else { return Ok(()) };
        if let Err(error) = upload.complete().await
            && !is_complete(self.store, self.path, &self.before, stored).await
        {
            return Err(error);
        }
        self.upload = None;
        Ok(())
    }

    async fn abort(mut self) {
        self.parts.shutdown().await;
        if let Some(mut upload) = self.upload.take() {
            // What remains of a failed abort is the service's to clean; the caller has the first error to report.
            let _ = upload.abort().await;
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.parts.abort_all();
        if let (Some(mut upload), Ok(runtime)) = (self.upload.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                let _ = upload.abort().await;
            });
        }
    }
}

/// Whether the object is there although its completion is said to have failed: of that length, and not the one before.
async fn is_complete(
    store: &dyn ObjectStore,
    path: &Path,
    before: &Result<Option<ObjectMeta>, Unknown>,
    stored: u64,
) -> bool {
    let (Ok(before), Ok(now)) = (before, store.head(path).await) else { return false };
    let of = |meta: &ObjectMeta| (meta.e_tag.clone(), meta.last_modified);
    now.size == stored && before.as_ref().map(of) != Some(of(&now))
}

/// Begins a part anew that took longer than one request may be repeated.
#[derive(Debug)]
struct SlowParts;

#[async_trait]
impl RetryPolicy for SlowParts {
    async fn retry(&self, context: RetryContext) -> bool {
        is_worth_a_new_request(context.attempt, context.elapsed)
    }
}

/// Whether the tries before this one, `attempt` in number, ended because they took too long and not because there were enough.
fn is_worth_a_new_request(attempt: usize, elapsed: Duration) -> bool {
    const ATTEMPTS: usize = 5;
    let attempts = u32::try_from(attempt).unwrap_or(u32::MAX);
    attempt < ATTEMPTS && elapsed > SAME_REQUEST.saturating_mul(attempts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_part_that_took_long_is_begun_anew() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        assert!(!is_worth_a_new_request(1, minutes(1)), "the service said no often enough");
        assert!(is_worth_a_new_request(1, minutes(4)));
        assert!(!is_worth_a_new_request(2, minutes(5)) && is_worth_a_new_request(2, minutes(60)));
        assert!(!is_worth_a_new_request(5, minutes(600)));
    }
}
