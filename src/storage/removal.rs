//! Removing objects, again where a service had trouble with some of them.
//!
//! S3 and Azure take many at once, and may answer that all went well but for a few. `object_store` tries a whole request
//! again, and never those few.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, Result};

use super::client::SAME_REQUEST;
use super::error::{is_denied, is_gone, is_no_bucket};

/// How often what is left is tried again.
const TRIES: usize = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Removes the objects; that one is gone already is fine.
///
/// # Errors
/// What the service said last. Some of the objects may be removed then.
pub(super) async fn delete(store: &dyn ObjectStore, objects: Vec<Path>) -> Result<()> {
    let backoff = ExponentialBuilder::default().with_min_delay(FIRST_PAUSE).with_max_delay(LONGEST_PAUSE);
    let mut pauses = backoff.with_jitter().with_max_times(TRIES).build();
    let mut left: BTreeSet<Path> = objects.into_iter().collect();
    let begun = Instant::now();
    loop {
        let paths: Vec<_> = left.iter().cloned().map(Ok).collect();
        let mut outcomes = store.delete_stream(futures::stream::iter(paths).boxed());
        let mut trouble = None;
        while let Some(outcome) = outcomes.next().await {
            match outcome {
                Ok(removed) => {
                    left.remove(&removed);
                }
                // Somebody else is removing it too.
                Err(error) if is_gone(&error) => {}
                Err(error) if is_denied(&error) || is_no_bucket(&error) => return Err(error),
                Err(error) => trouble = Some(error),
            }
        }
        let Some(error) = trouble else { return Ok(()) };
        match pauses.next() {
            // A service that was out of reach for so long has been asked often enough.
            Some(pause) if begun.elapsed() < SAME_REQUEST => tokio::time::sleep(pause).await,
            _ => return Err(error),
        }
    }
}
