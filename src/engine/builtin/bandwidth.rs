//! How fast stored bytes may flow, over all streams of a run together: a token bucket.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, TryStreamExt};
use tokio::time::{Instant, sleep_until};

/// How far a flow that was slower may catch up.
const BURST: Duration = Duration::from_millis(100);

/// A limit in bytes a second, or none. Clones share it.
#[derive(Clone, Debug)]
pub struct Bandwidth(Option<Arc<Bucket>>);

#[derive(Debug)]
struct Bucket {
    bytes_per_second: u64,
    /// When all that was let through so far has had its time.
    paid_until: Mutex<Instant>,
}

impl Bandwidth {
    /// 0: no limit.
    pub fn new(bytes_per_second: u64) -> Self {
        let bucket = Bucket { bytes_per_second, paid_until: Mutex::new(Instant::now()) };
        Self((bytes_per_second > 0).then(|| Arc::new(bucket)))
    }

    /// Returns when so many more bytes may flow.
    pub async fn pass(&self, bytes: u64) {
        if let Some(bucket) = &self.0 {
            sleep_until(bucket.pay(bytes)).await;
        }
    }

    /// The same stream, each chunk of which comes when it may flow.
    pub fn over<B, E, S>(&self, stream: S) -> impl Stream<Item = Result<B, E>> + use<B, E, S>
    where
        B: AsRef<[u8]>,
        S: Stream<Item = Result<B, E>>,
    {
        let limit = self.clone();
        stream.and_then(move |chunk| {
            let limit = limit.clone();
            async move {
                limit.pass(chunk.as_ref().len() as u64).await;
                Ok(chunk)
            }
        })
    }
}

impl Bucket {
    fn pay(&self, bytes: u64) -> Instant {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let price = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        *paid_until = (*paid_until).max(earliest) + price;
        *paid_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures::StreamExt;

    const KIB: u64 = 1024;

    #[tokio::test(start_paused = true)]
    async fn a_stream_takes_the_time_that_its_bytes_cost() {
        let limit = Bandwidth::new(100 * KIB);
        let chunks = futures::stream::iter((0..50).map(|_| Ok::<_, ()>(Bytes::from(vec![0; 10 * 1024]))));
        let begun = Instant::now();
        assert_eq!(limit.over(chunks).count().await, 50);
        assert_eq!(begun.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn streams_share_one_limit() {
        let limit = Bandwidth::new(100 * KIB);
        let begun = Instant::now();
        let one = || async {
            for _ in 0..10 {
                limit.pass(10 * KIB).await;
            }
        };
        futures::future::join_all((0..8).map(|_| one())).await;
        assert_eq!(begun.elapsed().as_secs(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_not_saved_up_for_a_flood() {
        let limit = Bandwidth::new(100 * KIB);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let begun = Instant::now();
        limit.pass(1000 * KIB).await;
        assert!(begun.elapsed() + BURST >= Duration::from_secs(10), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nothing_waits() {
        let begun = Instant::now();
        Bandwidth::new(0).pass(u64::MAX).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_chunk_larger_than_a_second_of_the_limit_comes_after_its_whole_time() {
        let limit = Bandwidth::new(KIB);
        let begun = Instant::now();
        limit.pass(10 * KIB).await;
        assert_eq!(begun.elapsed().as_secs(), 10);
    }
}
