//! Which storages runs have changed. It is held in memory only: an operator that starts anew lists them at their interval.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use futures::Stream;
use jiff::Timestamp;
use tokio::sync::broadcast::{self, error::RecvError};

/// A storage: its namespace and its name.
pub type Place = (String, String);

pub struct Touched {
    times: Mutex<HashMap<Place, Timestamp>>,
    news: broadcast::Sender<Place>,
}

impl Default for Touched {
    fn default() -> Self {
        // A watch that is this far behind has been woken for its storages more than once.
        Self { times: Mutex::default(), news: broadcast::channel(256).0 }
    }
}

impl Touched {
    /// A run of this namespace has changed what is in that storage.
    pub fn touch(&self, namespace: &str, storage: &str, now: Timestamp) {
        let place = (namespace.to_owned(), storage.to_owned());
        self.times.lock().unwrap_or_else(PoisonError::into_inner).insert(place.clone(), now);
        // Nobody listens where no storages are watched.
        let _ = self.news.send(place);
    }

    pub fn last(&self, namespace: &str, storage: &str) -> Option<Timestamp> {
        let place = (namespace.to_owned(), storage.to_owned());
        self.times.lock().unwrap_or_else(PoisonError::into_inner).get(&place).copied()
    }

    /// The storages that are touched from now on.
    pub fn news(&self) -> impl Stream<Item = Place> + Send + 'static {
        futures::stream::unfold(self.news.subscribe(), |mut news| async move {
            loop {
                match news.recv().await {
                    Ok(place) => return Some((place, news)),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        })
    }
}
