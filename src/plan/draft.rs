//! A plan in the making: the status as it will be, and what goes with it.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};

use super::observed::Observed;
use super::{Action, Event, Requeue, kstatus};
use crate::api::{EngineJob, FailureStatus, JobPurpose, Phase, ProgressStatus, RunStatus, WaitingDeadlines};
use crate::resources::job::Owner;
use crate::resources::names;

/// The condition types.
pub const ACCEPTED: &str = "Accepted";
pub const ENGINE_RUNNING: &str = "EngineRunning";
pub const COMPLETE: &str = "Complete";
/// Of a backup that was knowingly made without some of the tablet's data: False.
pub const WHOLE: &str = "Whole";
pub const REPLICATING: &str = "Replicating";
pub const TABLET_RECOVERED: &str = "TabletRecovered";
pub const REMOVED: &str = "Removed";
/// Whether what is in storage was found whole.
pub const VERIFIED: &str = "Verified";

/// The reason of [`ENGINE_RUNNING`] when the pod did not start in time, and the Job is deleted next.
pub const NOT_STARTED: &str = "NotStarted";

/// How soon to look at an engine that runs, whose end is watched besides.
pub const WATCH_ENGINE: Duration = Duration::from_secs(2);
/// How many of those that run are looked at in a second, whatever their number: each look reads a log and writes a status.
const LOOKS_PER_SECOND: u32 = 20;
/// How old the progress of one may become for that.
const OLDEST_PROGRESS: Duration = Duration::from_secs(30);
/// How soon to go on with what only had to be written down first.
pub const AT_ONCE: Duration = Duration::from_millis(100);
/// How soon to look again at what is watched anyway.
pub const PATIENTLY: Duration = Duration::from_secs(30);

/// What a spec asks of its run, whatever it is for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub retries: i32,
    /// To stop.
    pub cancel: bool,
    pub waiting: WaitingDeadlines,
}

/// The run that is planned for, and what the plan has so far.
pub struct Draft<'a> {
    pub owner: Owner,
    pub seen: &'a Observed,
    pub now: Timestamp,
    pub status: RunStatus,
    pub asked: Asked,
    pub actions: Vec<Action>,
    pub events: Vec<Event>,
    generation: Option<i64>,
    deleted_at: Option<Timestamp>,
    skip_removal: bool,
    force_removal: bool,
    had_finalizers: Vec<String>,
    finalizers: Vec<String>,
}

impl<'a> Draft<'a> {
    pub fn new(kind: &'static str, meta: &ObjectMeta, status: RunStatus, seen: &'a Observed, now: Timestamp) -> Self {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let annotation = |key: &str| meta.annotations.as_ref().and_then(|all| all.get(key)).map(String::as_str);
        let had_finalizers = meta.finalizers.clone().unwrap_or_default();
        Self {
            owner: Owner { kind, namespace: text(&meta.namespace), name: text(&meta.name), uid: text(&meta.uid) },
            seen,
            now,
            status: RunStatus { observed_generation: meta.generation, ..status },
            asked: Asked::default(),
            actions: Vec::new(),
            events: Vec::new(),
            generation: meta.generation,
            deleted_at: meta.deletion_timestamp.as_ref().map(|time| time.0),
            skip_removal: annotation(names::ANNOTATION_SKIP_REMOVAL) == Some("true"),
            force_removal: annotation(names::ANNOTATION_FORCE_REMOVAL) == Some("true"),
            finalizers: had_finalizers.clone(),
            had_finalizers,
        }
    }

    pub fn phase(&self) -> Phase {
        self.status.phase.unwrap_or_default()
    }

    pub fn deleted_at(&self) -> Option<Timestamp> {
        self.deleted_at
    }

    pub fn skips_removal(&self) -> bool {
        self.skip_removal
    }

    /// Whether a shard's only complete backup may be removed.
    pub fn forces_removal(&self) -> bool {
        self.force_removal
    }

    /// Moves on. Phases never go back: an earlier one is not taken.
    pub fn enter(&mut self, phase: Phase) {
        if self.status.phase.is_none_or(|current| current < phase && !current.is_final()) {
            self.status.phase = Some(phase);
        }
    }

    /// Says that no engine runs yet, and that one will.
    pub fn about_to_launch(&mut self) {
        self.condition(ENGINE_RUNNING, "False", "Launching", "the engine's Job is about to be made");
    }

    /// How soon to look at an engine that runs: the later, the more of them there are.
    pub fn watch_engine(&self) -> Duration {
        let engines = u32::try_from(self.seen.engines).unwrap_or(u32::MAX);
        let all = Duration::from_secs(engines.into()) / LOOKS_PER_SECOND;
        all.clamp(WATCH_ENGINE, OLDEST_PROGRESS)
    }

    /// Sets a condition; its time changes only when its status does.
    pub fn condition(&mut self, kind: &str, status: &str, reason: &str, message: impl Into<String>) {
        let generation = self.generation;
        let time = Time(whole_seconds(self.now));
        set_condition(&mut self.status.conditions, time, generation, kind, status, reason, message.into());
    }

    /// Shows in the Progress column what a run waits for that has no engine yet.
    pub fn waits_for(&mut self, reason: &str) {
        let summary = Some(reason.to_owned());
        self.status.progress = Some(ProgressStatus { summary, ..ProgressStatus::default() });
    }

    pub fn has_condition(&self, kind: &str, status: &str) -> bool {
        self.find_condition(kind).is_some_and(|condition| condition.status == status)
    }

    pub fn find_condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| condition.type_ == kind)
    }

    pub fn event(&mut self, reason: &'static str, note: impl Into<String>) {
        self.events.push(Event { warning: false, reason, note: note.into() });
    }

    pub fn warning(&mut self, reason: &'static str, note: impl Into<String>) {
        self.events.push(Event { warning: true, reason, note: note.into() });
    }

    pub fn time(&self) -> Time {
        Time(whole_seconds(self.now))
    }

    pub fn add_finalizer(&mut self, finalizer: &str) {
        if !self.has_finalizer(finalizer) {
            self.finalizers.push(finalizer.to_owned());
        }
    }

    pub fn remove_finalizer(&mut self, finalizer: &str) {
        self.finalizers.retain(|present| present != finalizer);
    }

    pub fn has_finalizer(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|present| present == finalizer)
    }

    /// Notes the Job of a new try or look; its number was never used before.
    pub fn intend_next(&mut self, purpose: JobPurpose) {
        let number = self.status.launches.unwrap_or(0) + 1;
        self.status.launches = Some(number);
        self.intend(purpose, number);
    }

    /// Notes the Job that is to be made; it is made when this is on the object.
    pub fn intend(&mut self, purpose: JobPurpose, number: i32) {
        let name = names::job_name(&self.owner.name, &self.owner.uid, purpose, number);
        self.status.job = Some(EngineJob { name, purpose, number, uid: None, launch_time: Some(self.time()) });
        if self.find_condition(ENGINE_RUNNING).is_some_and(|known| known.reason == NOT_STARTED) {
            // That was said of the one before.
            self.about_to_launch();
        }
        // What was waited for is there; what an engine copied before it was lost stays to be seen.
        if matches!(purpose, JobPurpose::Backup | JobPurpose::Restore) {
            self.status.progress = None;
        }
    }

    /// Ends the run badly as far as its status goes; what is to be put back comes first (see `run`).
    pub fn note_failure(&mut self, failure: FailureStatus) {
        self.status.failure = Some(failure);
    }

    /// Finalizers, actions and events of the plan; `None` for the status when the object goes with this plan.
    pub fn finish(mut self, requeue: Requeue) -> Finished {
        let time = self.time();
        kstatus::of_run(&mut self.status, &time, self.generation);
        let goes = self.deleted_at.is_some() && self.finalizers.is_empty();
        if self.finalizers != self.had_finalizers {
            let set = Action::SetFinalizers(self.finalizers.clone());
            // A finalizer comes before what it guards, and goes after it.
            if self.finalizers.len() > self.had_finalizers.len() {
                self.actions.insert(0, set);
            } else {
                self.actions.push(set);
            }
        }
        Finished { actions: self.actions, events: self.events, status: (!goes).then_some(self.status), requeue }
    }
}

/// What a finished draft gives to the plan of its kind.
pub struct Finished {
    pub actions: Vec<Action>,
    pub events: Vec<Event>,
    pub status: Option<RunStatus>,
    pub requeue: Requeue,
}

/// Sets one condition in a list; `lastTransitionTime` changes only when the status does.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    now: Time,
    generation: Option<i64>,
    kind: &str,
    status: &str,
    reason: &str,
    message: String,
) {
    let known = conditions.iter().position(|condition| condition.type_ == kind);
    let kept = known.map(|at| &conditions[at]).filter(|condition| condition.status == status);
    let condition = Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: kept.map_or(now, |condition| condition.last_transition_time.clone()),
        observed_generation: generation,
    };
    match known {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
}

/// The API server keeps whole seconds; a fraction would make every comparison find a change.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::settings::Settings;

    #[test]
    fn phases_never_go_back() {
        let seen = Observed::nothing(std::sync::Arc::new(Settings::new("image")));
        let mut draft =
            Draft::new("VitessBackup", &ObjectMeta::default(), RunStatus::default(), &seen, Timestamp::UNIX_EPOCH);
        for (wanted, had) in [
            (Phase::Pending, Phase::Pending),
            (Phase::Running, Phase::Running),
            (Phase::WaitingForBackup, Phase::Running),
            (Phase::Succeeded, Phase::Succeeded),
            (Phase::Failed, Phase::Succeeded),
        ] {
            draft.enter(wanted);
            assert_eq!(draft.phase(), had);
        }
    }

    #[test]
    fn the_more_engines_run_the_less_often_each_is_looked_at() {
        let mut seen = Observed::nothing(std::sync::Arc::new(Settings::new("image")));
        for (engines, seconds) in [(0, 2), (40, 2), (200, 10), (500, 25), (100_000, 30)] {
            seen.engines = engines;
            let draft =
                Draft::new("VitessBackup", &ObjectMeta::default(), RunStatus::default(), &seen, Timestamp::UNIX_EPOCH);
            assert_eq!(draft.watch_engine(), Duration::from_secs(seconds), "{engines}");
        }
    }

    #[test]
    fn the_time_of_a_condition_changes_with_its_status_only() {
        let seen = Observed::nothing(std::sync::Arc::new(Settings::new("image")));
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut draft = Draft::new("VitessBackup", &ObjectMeta::default(), RunStatus::default(), &seen, start);
        draft.condition(ACCEPTED, "False", "A", "a");
        draft.now = "2026-01-01T00:01:00Z".parse().unwrap();
        draft.condition(ACCEPTED, "False", "B", "b");
        assert_eq!(draft.status.conditions[0].last_transition_time.0, start);
        assert_eq!(draft.status.conditions[0].reason, "B");
        draft.condition(ACCEPTED, "True", "C", "c");
        assert_eq!(draft.status.conditions[0].last_transition_time.0, draft.now);
    }
}
