//! What tools look at that know nothing of our kinds: the conditions `Ready`, `Reconciling` and `Stalled`, as kstatus
//! (sigs.k8s.io/cli-utils, which Flux, kpt and `kubectl wait` scripts follow) defines them. They say nothing new: all of it
//! is derived here, of every plan's status, from the phase and the other conditions.
//!
//! `Ready` is always there. `Reconciling` and `Stalled` stand only while they are true, as kstatus asks. A run that has
//! succeeded is Ready for ever; one that has failed is Stalled for ever, because its spec cannot change.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::draft::{ACCEPTED, COMPLETE, ENGINE_RUNNING, TABLET_RECOVERED, set_condition};
use super::inventory::REACHABLE;
use super::pod_start::{NO_PODS, PODS_RESTORED};
use crate::api::{FailureStatus, Phase, RunStatus};

pub const READY: &str = "Ready";
pub const RECONCILING: &str = "Reconciling";
pub const STALLED: &str = "Stalled";

/// Reasons of `Accepted=False` that no waiting mends: only another spec does.
pub(super) const HOPELESS: [&str; 4] = ["SpecInvalid", "StorageInvalid", "ShardMismatch", "TarNotSupported"];

/// What an object is, in kstatus's words, with reason and message.
struct Verdict {
    state: State,
    reason: String,
    message: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// All that was asked for is done.
    Current,
    /// It will be, or is being waited for.
    InProgress,
    /// It will not be without a person.
    Failed,
}

/// Sets the three conditions of a run.
pub fn of_run(status: &mut RunStatus, now: &Time, generation: Option<i64>) {
    let verdict = judge_run(status);
    set(&mut status.conditions, now, generation, verdict);
}

/// Sets the three conditions of a storage.
pub fn of_storage(conditions: &mut Vec<Condition>, now: &Time, generation: Option<i64>) {
    let verdict = judge_storage(conditions);
    set(conditions, now, generation, verdict);
}

fn judge_run(status: &RunStatus) -> Verdict {
    let conditions = &status.conditions;
    match status.phase.unwrap_or_default() {
        Phase::Succeeded => Verdict::from(State::Current, find(conditions, COMPLETE), "Succeeded"),
        Phase::Failed | Phase::Cancelled => {
            let FailureStatus { reason, message, remedy, log_tail: _ } = status.failure.clone().unwrap_or_default();
            Verdict { state: State::Failed, reason, message: format!("{message}; {remedy}") }
        }
        // What was cut short in storage, as an inventory found it: somebody removes it, or its maker ends it.
        Phase::Incomplete => Verdict::from(State::Failed, find(conditions, COMPLETE), "Incomplete"),
        Phase::Running if let Some(pods) = find(conditions, PODS_RESTORED) => judge_pods(pods),
        Phase::Pending | Phase::WaitingForBackup | Phase::Running => judge_unfinished(conditions),
    }
}

/// A restore of trigger PodStart is done when it is in force and nothing is under way: no pipeline waits for pods that may
/// never come.
fn judge_pods(pods: &Condition) -> Verdict {
    let state = match (pods.status.as_str(), pods.reason.as_str()) {
        ("True", _) | (_, NO_PODS) => State::Current,
        ("False", _) => State::Failed,
        _ => State::InProgress,
    };
    Verdict::from(state, Some(pods), "Progressing")
}

fn judge_unfinished(conditions: &[Condition]) -> Verdict {
    if let Some(accepted) = find(conditions, ACCEPTED).filter(|accepted| accepted.status == "False") {
        let state = if HOPELESS.contains(&accepted.reason.as_str()) { State::Failed } else { State::InProgress };
        return Verdict::from(state, Some(accepted), "NotAccepted");
    }
    // A tablet that is being put back is what matters then, whatever became of the engine before.
    let recovering = find(conditions, TABLET_RECOVERED).filter(|recovered| recovered.status == "Unknown");
    Verdict::from(State::InProgress, recovering.or_else(|| find(conditions, ENGINE_RUNNING)), "Progressing")
}

fn judge_storage(conditions: &[Condition]) -> Verdict {
    let accepted = find(conditions, ACCEPTED);
    let refused = [accepted, find(conditions, REACHABLE)].into_iter().flatten().find(|found| found.status == "False");
    match refused {
        Some(refused) if HOPELESS.contains(&refused.reason.as_str()) => {
            Verdict::from(State::Failed, Some(refused), "NotAccepted")
        }
        // A volume or a server that is away may come: it is looked for again.
        Some(refused) => Verdict::from(State::InProgress, Some(refused), "NotAccepted"),
        None if accepted.is_some() => Verdict::from(State::Current, accepted, "Accepted"),
        None => Verdict::from(State::InProgress, None, "Progressing"),
    }
}

impl Verdict {
    /// With the words of a condition that says it already.
    fn from(state: State, condition: Option<&Condition>, otherwise: &str) -> Self {
        let words = condition.map(|condition| (condition.reason.clone(), condition.message.clone()));
        let (reason, message) = words.unwrap_or_else(|| (otherwise.to_owned(), String::new()));
        Self { state, reason, message }
    }
}

fn set(conditions: &mut Vec<Condition>, now: &Time, generation: Option<i64>, verdict: Verdict) {
    let Verdict { state, reason, message } = verdict;
    // The API server wants a reason in every condition.
    let reason = if reason.is_empty() { "Unknown".to_owned() } else { reason };
    let ready = if state == State::Current { "True" } else { "False" };
    set_condition(conditions, now.clone(), generation, READY, ready, &reason, message.clone());
    for (kind, holds) in [(RECONCILING, state == State::InProgress), (STALLED, state == State::Failed)] {
        if holds {
            set_condition(conditions, now.clone(), generation, kind, "True", &reason, message.clone());
        } else {
            conditions.retain(|condition| condition.type_ != kind);
        }
    }
}

fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const NOW: &str = "2026-01-01T00:00:00Z";

    fn conditions(all: &[(&str, &str, &str)]) -> Vec<Condition> {
        let mut conditions = Vec::new();
        for (kind, status, reason) in all {
            let message = format!("about {kind}");
            set_condition(&mut conditions, Time(NOW.parse().unwrap()), Some(1), kind, status, reason, message);
        }
        conditions
    }

    /// `Ready=False Busy, …` of the three, in their order.
    fn derived(conditions: &[Condition]) -> Vec<String> {
        let of = |kind: &&str| find(conditions, kind).map(|c| format!("{kind}={} {}", c.status, c.reason));
        [READY, RECONCILING, STALLED].iter().filter_map(of).collect()
    }

    fn run(phase: Phase, all: &[(&str, &str, &str)]) -> RunStatus {
        let failed = matches!(phase, Phase::Failed | Phase::Cancelled);
        let failure = failed.then(|| FailureStatus { reason: "HashMismatch".into(), ..FailureStatus::default() });
        RunStatus { phase: Some(phase), conditions: conditions(all), failure, ..RunStatus::default() }
    }

    #[rstest]
    #[case(Phase::Pending, &[], &["Ready=False Progressing", "Reconciling=True Progressing"])]
    #[case(
        Phase::Pending,
        &[("Accepted", "False", "TabletNotFound")],
        &["Ready=False TabletNotFound", "Reconciling=True TabletNotFound"]
    )]
    #[case(
        Phase::Pending,
        &[("Accepted", "False", "ShardMismatch")],
        &["Ready=False ShardMismatch", "Stalled=True ShardMismatch"]
    )]
    #[case(
        Phase::Pending,
        &[("Accepted", "True", "Accepted"), ("EngineRunning", "False", "Busy")],
        &["Ready=False Busy", "Reconciling=True Busy"]
    )]
    #[case(
        Phase::WaitingForBackup,
        &[("Accepted", "True", "Accepted"), ("EngineRunning", "False", "NoBackupYet")],
        &["Ready=False NoBackupYet", "Reconciling=True NoBackupYet"]
    )]
    #[case(
        Phase::Running,
        &[("EngineRunning", "True", "Running")],
        &["Ready=False Running", "Reconciling=True Running"]
    )]
    #[case(
        Phase::Running,
        &[("EngineRunning", "False", "EngineLost"), ("TabletRecovered", "Unknown", "Recovering")],
        &["Ready=False Recovering", "Reconciling=True Recovering"]
    )]
    #[case(
        Phase::Succeeded,
        &[("EngineRunning", "False", "Ended"), ("Complete", "True", "Succeeded")],
        &["Ready=True Succeeded"]
    )]
    #[case(
        Phase::Failed,
        &[("EngineRunning", "False", "Ended"), ("Complete", "False", "HashMismatch")],
        &["Ready=False HashMismatch", "Stalled=True HashMismatch"]
    )]
    #[case(
        Phase::Incomplete,
        &[("Complete", "False", "Incomplete")],
        &["Ready=False Incomplete", "Stalled=True Incomplete"]
    )]
    #[case(
        Phase::Running,
        &[("Accepted", "True", "Accepted"), ("PodsRestored", "Unknown", "NoPods")],
        &["Ready=True NoPods"]
    )]
    #[case(
        Phase::Running,
        &[("Accepted", "True", "Accepted"), ("PodsRestored", "Unknown", "PodsStarting")],
        &["Ready=False PodsStarting", "Reconciling=True PodsStarting"]
    )]
    #[case(
        Phase::Running,
        &[("Accepted", "True", "Accepted"), ("PodsRestored", "False", "PodFailed")],
        &["Ready=False PodFailed", "Stalled=True PodFailed"]
    )]
    #[case(
        Phase::Running,
        &[("Accepted", "True", "Accepted"), ("PodsRestored", "True", "AllStarted")],
        &["Ready=True AllStarted"]
    )]
    #[case(Phase::Cancelled, &[], &["Ready=False HashMismatch", "Stalled=True HashMismatch"])]
    fn a_run_is_ready_when_it_succeeded_stalled_when_only_a_person_can_help_and_else_reconciling(
        #[case] phase: Phase,
        #[case] given: &[(&str, &str, &str)],
        #[case] expected: &[&str],
    ) {
        let mut status = run(phase, given);
        of_run(&mut status, &Time(NOW.parse().unwrap()), Some(1));
        assert_eq!(derived(&status.conditions), expected);
    }

    #[rstest]
    #[case(&[], &["Ready=False Progressing", "Reconciling=True Progressing"])]
    #[case(&[("Accepted", "True", "VolumeFound")], &["Ready=True VolumeFound"])]
    #[case(&[("Accepted", "True", "Configured"), ("Reachable", "True", "Listed")], &["Ready=True Configured"])]
    #[case(
        &[("Accepted", "True", "Configured"), ("Reachable", "False", "StorageDenied")],
        &["Ready=False StorageDenied", "Reconciling=True StorageDenied"]
    )]
    #[case(
        &[("Accepted", "False", "VolumeNotFound")],
        &["Ready=False VolumeNotFound", "Reconciling=True VolumeNotFound"]
    )]
    #[case(
        &[("Accepted", "False", "StorageInvalid")],
        &["Ready=False StorageInvalid", "Stalled=True StorageInvalid"]
    )]
    fn a_storage_is_ready_when_runs_can_use_it(#[case] given: &[(&str, &str, &str)], #[case] expected: &[&str]) {
        let mut conditions = conditions(given);
        of_storage(&mut conditions, &Time(NOW.parse().unwrap()), Some(1));
        assert_eq!(derived(&conditions), expected);
    }

    #[test]
    fn deriving_again_changes_nothing_and_what_no_longer_holds_goes() {
        let mut status = run(Phase::Running, &[("EngineRunning", "True", "Running")]);
        let later = || Time("2026-01-01T01:00:00Z".parse().unwrap());
        of_run(&mut status, &Time(NOW.parse().unwrap()), Some(1));
        let once = status.clone();
        of_run(&mut status, &later(), Some(1));
        assert_eq!(status, once, "times change with the status only");
        assert_eq!(find(&status.conditions, READY).unwrap().message, "about EngineRunning");
        status.phase = Some(Phase::Succeeded);
        of_run(&mut status, &later(), Some(1));
        assert_eq!(derived(&status.conditions), ["Ready=True Succeeded"]);
    }
}
