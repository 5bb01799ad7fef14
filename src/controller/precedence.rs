//! Whose turn it is when more is asked of the API server than it can do: runs that have no engine yet, and Jobs that have no pod,
//! go before runs whose engine has just been launched, of which nothing is to be told but that it starts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::time::sleep;

use super::kinds::Run;
use crate::plan::observed::seconds_since;

/// How many have to wait for their engines before anything steps aside for them.
const MANY: usize = 4;
/// How many looks at young runs go on all the same at a time: each writes a status, which costs the API server more than a pod.
const YOUNG_AT_A_TIME: usize = 1;
/// How soon to try again.
pub const LATER: Duration = Duration::from_secs(1);
/// Who was launched longer ago than this, in seconds, steps aside no more.
const YOUNG: u64 = 30;

#[derive(Debug, Default)]
pub struct Precedence {
    launching: AtomicUsize,
    young: AtomicUsize,
}

/// Counts a look for as long as it lasts.
#[derive(Debug)]
pub struct Turn<'a>(Option<&'a AtomicUsize>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(counted) = self.0 {
            counted.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What a look is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The run has no engine.
    Launching,
    /// Its engine was launched a moment ago.
    Young,
    /// Any other: never to be kept waiting.
    Other,
}

impl Look {
    /// `has_engine` says whether the Job of the run is there.
    pub fn at<K: Run>(run: &K, now: Timestamp, has_engine: bool) -> Self {
        if run.is_record() || run.follows_pods() || run.phase().is_final() {
            return Self::Other;
        }
        if run.meta().deletion_timestamp.is_some()
            || run.status().is_some_and(|status| K::run(status).failure.is_some())
        {
            return Self::Other;
        }
        let job = run.status().and_then(|status| K::run(status).job.as_ref());
        if !has_engine && job.is_none_or(|job| job.uid.is_none()) {
            return Self::Launching;
        }
        // A change that nobody has looked at yet: to cancel, say.
        if run.status().is_some_and(|status| K::run(status).observed_generation != run.meta().generation) {
            return Self::Other;
        }
        let launched = job.and_then(|job| job.launch_time.as_ref()).map(|time| seconds_since(time.0, now));
        if launched.is_some_and(|seconds| seconds < YOUNG) { Self::Young } else { Self::Other }
    }
}

impl Precedence {
    /// `None` when the look is to step aside. `podless` is how many Jobs wait for their pods.
    pub fn turn(&self, look: Look, podless: usize) -> Option<Turn<'_>> {
        let counted = match look {
            Look::Other => return Some(Turn(None)),
            Look::Launching => &self.launching,
            Look::Young => &self.young,
        };
        let under_way = counted.fetch_add(1, Ordering::Relaxed);
        let turn = Turn(Some(counted));
        let waits = look == Look::Young && under_way >= YOUNG_AT_A_TIME && self.is_contended(podless);
        (!waits).then_some(turn)
    }

    /// Whether many runs wait for their engines.
    pub fn is_contended(&self, podless: usize) -> bool {
        self.launching.load(Ordering::Relaxed) + podless >= MANY
    }

    /// Waits until that is over, or has gone on for long.
    pub async fn calm(&self, podless: impl Fn() -> usize) {
        let begun = Instant::now();
        while self.is_contended(podless()) && begun.elapsed().as_secs() < YOUNG {
            sleep(LATER).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::VitessBackup;

    #[test]
    fn who_has_just_been_launched_steps_aside_for_who_has_not_and_nobody_else_does() {
        let precedence = Precedence::default();
        let young: Vec<_> = (0..4).map(|_| precedence.turn(Look::Young, 0)).collect();
        assert!(young.iter().all(Option::is_some), "while nothing is launched");
        let launching: Vec<_> = (0..100).map(|_| precedence.turn(Look::Launching, 0)).collect();
        assert!(launching.iter().all(Option::is_some));
        assert!(precedence.turn(Look::Young, 0).is_none());
        assert!(precedence.turn(Look::Other, 0).is_some());
        drop(young);
        let again: Vec<_> = (0..YOUNG_AT_A_TIME).map(|_| precedence.turn(Look::Young, 0)).collect();
        assert!(again.iter().all(Option::is_some), "some always go on");
        assert!(precedence.turn(Look::Young, 0).is_none());
        drop(launching);
        assert!(precedence.turn(Look::Young, 0).is_some());
        assert!(precedence.turn(Look::Young, MANY).is_none(), "Jobs wait for their pods");
    }

    #[test]
    fn a_look_is_told_by_what_the_run_has() {
        let now: Timestamp = "2026-11-22T10:00:20Z".parse().unwrap();
        let look = |status: serde_json::Value, has_engine| {
            let run: VitessBackup = serde_json::from_value(json!({
                "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessBackup",
                "metadata": {"name": "b", "namespace": "n", "uid": "u"},
                "spec": {"storage": {"name": "s"}, "shard": "commerce/0"},
                "status": status,
            }))
            .unwrap();
            Look::at(&run, now, has_engine)
        };
        let job = |uid: Option<&str>, time: &str| json!({"name": "j", "purpose": "Backup", "number": 1, "uid": uid, "launchTime": time});
        assert_eq!(look(json!({}), false), Look::Launching);
        let soon = "2026-11-22T10:00:00Z";
        assert_eq!(look(json!({"phase": "Pending", "job": job(None, soon)}), false), Look::Launching);
        assert_eq!(look(json!({"phase": "Pending", "job": job(None, soon)}), true), Look::Young);
        assert_eq!(look(json!({"phase": "Running", "job": job(Some("j"), soon)}), true), Look::Young);
        assert_eq!(look(json!({"phase": "Running", "job": job(Some("j"), "2026-11-22T09:59:49Z")}), true), Look::Other);
        let changed = json!({"phase": "Running", "job": job(Some("j"), soon), "observedGeneration": 1});
        assert_eq!(look(changed, true), Look::Other, "its spec is another one");
        let failed = json!({"phase": "Running", "job": job(None, soon), "failure": {"reason": "EngineLost", "message": "", "remedy": ""}});
        assert_eq!(look(failed, false), Look::Other, "a tablet may have to be put back");
        assert_eq!(look(json!({"phase": "Succeeded"}), false), Look::Other);
    }
}
