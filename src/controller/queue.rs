//! Who waits for what, of all runs that this operator looks at. It is read from the objects and kept here, so that no
//! reconcile has to list every run of a namespace to know the line.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::api::QueueStatus;
use crate::plan::observed::Waiting;

/// A waiting run is looked at every ten seconds. One that was not for this long is gone, or cannot be read: it keeps nobody.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub struct Queue(Mutex<HashMap<String, Place>>);

#[derive(Debug)]
struct Place {
    namespace: String,
    waiting: Waiting,
    seen: Instant,
}

impl Queue {
    /// Notes the place that a run has now, or that it has none.
    pub fn note(&self, namespace: &str, name: String, uid: &str, place: Option<&QueueStatus>) {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((place, since)) = place.and_then(|place| Some((place, place.since.as_ref()?.0))) else {
            places.remove(uid);
            return;
        };
        let waiting = Waiting { name, uid: uid.to_owned(), since, wants: place.wants.clone() };
        places.insert(uid.to_owned(), Place { namespace: namespace.to_owned(), waiting, seen: Instant::now() });
    }

    /// Who waits in this namespace.
    pub fn of(&self, namespace: &str) -> Vec<Waiting> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|_, place| place.seen.elapsed() < FORGOTTEN_AFTER);
        let here = places.values().filter(|place| place.namespace == namespace);
        here.map(|place| place.waiting.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    #[test]
    fn a_run_is_in_the_line_of_its_namespace_until_it_has_its_turn() {
        let queue = Queue::default();
        let since = Some(Time("2026-11-22T10:00:00Z".parse().unwrap()));
        let place = QueueStatus { position: 1, since, wants: vec!["shard commerce/0".into()] };
        queue.note("demo", "VitessBackup a".into(), "uid-a", Some(&place));
        queue.note("other", "VitessBackup b".into(), "uid-b", Some(&place));
        let waiting: Vec<String> = queue.of("demo").into_iter().map(|waiting| waiting.name).collect();
        assert_eq!(waiting, ["VitessBackup a"]);
        queue.note("demo", "VitessBackup a".into(), "uid-a", None);
        assert_eq!(queue.of("demo"), []);
    }
}
