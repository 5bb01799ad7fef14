//! Storing a stream of unknown length in bounded memory.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload, Result};
use tokio::task::JoinSet;

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
    let mut upload: Option<Running> = None;
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
        Some(running) => running.complete(part).await,
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
struct Running {
    upload: Option<Box<dyn MultipartUpload>>,
    parts: JoinSet<Result<()>>,
}

impl Running {
    async fn begin(store: &dyn ObjectStore, path: &Path) -> Result<Self> {
        Ok(Self { upload: Some(store.put_multipart(path).await?), parts: JoinSet::new() })
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

    async fn complete(mut self, mut last: Part) -> Result<()> {
        if last.length > 0 {
            self.put(last.take(), usize::MAX).await?;
        }
        while !self.parts.is_empty() {
            self.wait_for_one().await?;
        }
        if let Some(upload) = &mut self.upload {
            upload.complete().await?;
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

impl Drop for Running {
    fn drop(&mut self) {
        self.parts.abort_all();
        if let (Some(mut upload), Ok(runtime)) = (self.upload.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                let _ = upload.abort().await;
            });
        }
    }
}
