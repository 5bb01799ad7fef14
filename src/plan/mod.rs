//! Decisions, as pure functions of (object, observed, now).
//!
//! Nothing here touches the network, the clock or randomness. A plan is a value that a person can print: what to do, the
//! status to write, when to look again, and what to tell. The controller carries plans out: finalizers first, then
//! actions in their order, then the status, then the events.

pub mod accept;
pub mod backup;
mod choice;
pub mod definitions;
mod draft;
pub mod inventory;
pub mod kstatus;
mod launch;
#[cfg(test)]
mod lifecycle_tests;
pub mod observed;
pub mod pod_start;
mod queue;
#[cfg(test)]
mod recorded;
pub mod records;
mod recovery;
mod removal;
mod report;
pub mod restore;
mod retry;
mod run;
#[cfg(test)]
mod shard_tests;
pub mod storage;
pub mod topology;
pub mod verification;
pub mod waiting;
#[cfg(test)]
pub(crate) mod world;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub use draft::{ACCEPTED, TABLET_RECOVERED};

use crate::api::{Phase, RunStatus};
use crate::resources::names::Lock;

/// What to do next for one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan<S> {
    pub actions: Vec<Action>,
    /// The whole status; nothing when the object is about to go.
    pub status: Option<S>,
    pub requeue: Requeue,
    pub events: Vec<Event>,
}

impl<S> Plan<S> {
    /// Whether it must not be made from what a watch had a moment ago: it warns somebody (also that a run is lost or has
    /// failed), or stops an engine.
    pub fn is_grave(&self) -> bool {
        let stops = |action: &Action| matches!(action, Action::DeleteJob(_));
        self.events.iter().any(|event| event.warning) || self.actions.iter().any(stops)
    }
}

/// One thing to do. Each may be done again after a crash without harm.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Exactly these finalizers of ours and all of others.
    SetFinalizers(Vec<String>),
    /// Take the lock, unless a run holds it that lives.
    AcquireLock(Lock),
    /// Give the Lease of this name back, if it is this run's.
    ReleaseLock(String),
    CreateJob(Box<Job>),
    /// The Job and its pod, which is told to stop and has time to tidy up.
    DeleteJob(String),
    /// Let the Job go a while after its end: its outcome is on the object.
    ExpireJob(String),
}

/// When to look again although nothing was seen to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    After(Duration),
    /// All that could make a difference is watched.
    OnChange,
}

/// Something to tell whoever runs `kubectl describe`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub warning: bool,
    pub reason: &'static str,
    pub note: String,
}

/// Whether a plan's events tell that a backup was removed from storage.
pub fn has_removed(events: &[Event]) -> bool {
    events.iter().any(|event| event.reason == removal::BACKUP_REMOVED)
}

/// What a status says when the API server would not take the Job that was planned: it is tried again.
/// Whoever is told of it is told once.
pub fn refused(status: &mut RunStatus, generation: Option<i64>, now: Timestamp, words: &str) -> Option<Event> {
    const REASON: &str = "JobRefused";
    let note = format!("the API server refuses the engine's Job: {words}");
    let now = Time(draft::whole_seconds(now));
    // What runs when the run has ended is its verification.
    let ended = status.phase == Some(Phase::Succeeded) && status.job.is_none();
    let (kind, value) = if ended { (draft::VERIFIED, "Unknown") } else { (draft::ENGINE_RUNNING, "False") };
    let before = status.conditions.iter().find(|condition| condition.type_ == kind);
    let known = before.is_some_and(|condition| condition.reason == REASON);
    draft::set_condition(&mut status.conditions, now.clone(), generation, kind, value, REASON, note.clone());
    kstatus::of_run(status, &now, generation);
    (!known).then_some(Event { warning: true, reason: REASON, note })
}
