//! Putting a tablet back after its engine died, or after a run that could not do so itself.
//!
//! The engine's journal in the tablet directory says what to put back; a pod attached to the same tablet reads it
//! (`vitess-backup recover`). Tries and time are bounded: what cannot be put back is said, never waited for for ever.

use std::time::Duration;

use super::accept;
use super::draft::{AT_ONCE, Draft, PATIENTLY, TABLET_RECOVERED, WATCH_ENGINE};
use super::observed::seconds_since;
use super::run::{self, Stage};
use super::{Action, Requeue, launch, report};
use crate::api::{EngineJob, JobPurpose, Phase, PodTemplate};
use crate::backup::failure::Reason;
use crate::backup::report::{NOTHING_TO_RECOVER, Outcome, ReplicationOutcome, Verdict};
use crate::topo::TabletAlias;

const TRIES: i32 = 3;
/// From the loss of the engine to giving up.
const LIMIT: Duration = Duration::from_secs(45 * 60);

/// Whether a run that failed left its tablet as it should not be.
pub fn is_needed(outcome: &Outcome) -> bool {
    let reason = outcome.failure.as_ref().map(|failure| failure.reason);
    outcome.replication == Some(ReplicationOutcome::NotRestarted)
        || matches!(reason, Some(Reason::InterruptedRun | Reason::MysqldNotStarted | Reason::ReplicationNotRestarted))
}

/// Begins; the failure is on the status already, so that it is not lost whatever comes of this.
pub fn begin(draft: &mut Draft<'_>) -> Requeue {
    draft.enter(Phase::Running);
    draft.condition(TABLET_RECOVERED, "Unknown", "Recovering", "an engine that puts the tablet back is about to run");
    match told_to_stop(draft) {
        Some(why) => {
            let note = format!("the run was cancelled ({why}): seeing that the tablet is as it was");
            draft.event("Recovering", note);
        }
        None => draft.warning("Recovering", "the engine was lost or failed half-way: putting the tablet back"),
    }
    let number = before(draft) + 1;
    draft.intend(JobPurpose::Recover, number);
    Requeue::After(AT_ONCE)
}

/// Why the run was told to stop: by a person, so that nothing went wrong. An engine that something else told to stop (a node
/// that is drained) says that it was cancelled too, and is an accident.
fn told_to_stop<'a>(draft: &'a Draft<'_>) -> Option<&'a str> {
    let by_a_person = draft.asked.cancel || draft.deleted_at().is_some();
    let failure = draft.status.failure.as_ref().filter(|_| by_a_person)?;
    (failure.reason == format!("{:?}", Reason::Cancelled)).then_some(failure.message.as_str())
}

/// How many recoveries earlier tries of the run can have had: each Job of a run has a name of its own.
fn before(draft: &Draft<'_>) -> i32 {
    i32::try_from(draft.status.attempts.len()).unwrap_or(0) * TRIES
}

/// Goes on; ends the run when the tablet is back, or cannot be brought back.
pub fn next(draft: &mut Draft<'_>, template: Option<&PodTemplate>) -> Requeue {
    let Some(job) = draft.status.job.clone().filter(|job| job.purpose == JobPurpose::Recover) else {
        return begin(draft);
    };
    if let Some(pod) = draft.seen.live_pods.iter().find(|live| live.job != job.name) {
        let message = format!("waiting for engine pod {} to end", pod.pod);
        draft.condition(TABLET_RECOVERED, "Unknown", "EngineStopping", message);
        return Requeue::After(WATCH_ENGINE);
    }
    if is_over(draft) && job.uid.is_none() {
        let known =
            draft.find_condition(TABLET_RECOVERED).map(|condition| condition.message.clone()).unwrap_or_default();
        return give_up(draft, "DeadlineExceeded", &format!("gave up after {} minutes: {known}", LIMIT.as_secs() / 60));
    }
    match run::stage(draft, &job) {
        Stage::Launch => launch_recover(draft, template, &job),
        Stage::Wait(requeue) => requeue,
        Stage::Ended { outcome, log_tail } => {
            report::replication(draft, &outcome);
            if outcome.verdict != Verdict::Failed {
                let told = recovered(draft, &outcome);
                draft.condition(TABLET_RECOVERED, "True", "Recovered", told.clone());
                draft.event("TabletRecovered", told);
                return run::fail(draft);
            }
            let failure = report::failure(&outcome, &log_tail);
            if failure.reason == format!("{:?}", Reason::InterruptedRun) {
                // The tablet's data is not whole: no further try mends that, another restore does.
                return not_recovered(draft, &failure.reason, report::in_one_sentence(&failure));
            }
            again(draft, &job, &failure.reason, &report::in_one_sentence(&failure))
        }
        Stage::NeverStarted(failure) | Stage::Lost(failure) => again(draft, &job, &failure.reason, &failure.message),
    }
}

fn launch_recover(draft: &mut Draft<'_>, template: Option<&PodTemplate>, job: &EngineJob) -> Requeue {
    let alias: Option<TabletAlias> = draft.status.tablet_alias.as_ref().and_then(|alias| alias.parse().ok());
    let Some(alias) = alias else {
        return give_up(draft, "TabletNotFound", "no tablet is known to have been touched");
    };
    match accept::tablet(draft.seen, &alias) {
        Ok(attached) => {
            let template = template.cloned().unwrap_or_default();
            let made = launch::recover(draft, &attached, draft.seen.storage.as_ref(), &template, job);
            draft.actions.push(Action::CreateJob(Box::new(made)));
            Requeue::After(WATCH_ENGINE)
        }
        Err((reason, message)) => {
            // The run has been on it, so that the alias is right.
            let away = format!("tablet {alias} has no pod that stays: it is put back when it has one");
            let message = if reason == "TabletNotFound" { away } else { message };
            draft.condition(TABLET_RECOVERED, "Unknown", reason, message);
            Requeue::After(PATIENTLY)
        }
    }
}

fn again(draft: &mut Draft<'_>, job: &EngineJob, reason: &str, message: &str) -> Requeue {
    let tries = job.number - before(draft);
    if tries >= TRIES || is_over(draft) {
        return give_up(draft, reason, &format!("{message} (try {tries} of {TRIES})"));
    }
    draft.condition(TABLET_RECOVERED, "Unknown", reason, message);
    draft.intend(JobPurpose::Recover, job.number + 1);
    Requeue::After(AT_ONCE)
}

fn give_up(draft: &mut Draft<'_>, reason: &str, message: &str) -> Requeue {
    not_recovered(draft, reason, format!("{message}: check the tablet by hand (is mysqld up, does it replicate?)"))
}

fn not_recovered(draft: &mut Draft<'_>, reason: &str, message: String) -> Requeue {
    draft.condition(TABLET_RECOVERED, "False", reason, message.clone());
    draft.warning("TabletNotRecovered", message);
    run::fail(draft)
}

fn is_over(draft: &Draft<'_>) -> bool {
    let since = draft.find_condition(TABLET_RECOVERED).map(|condition| condition.last_transition_time.0);
    since.is_some_and(|since| seconds_since(since, draft.now) > LIMIT.as_secs())
}

fn recovered(draft: &Draft<'_>, outcome: &Outcome) -> String {
    let nothing_to_do = outcome.warnings.iter().any(|warning| warning == NOTHING_TO_RECOVER);
    let text = match (told_to_stop(draft).is_some(), nothing_to_do) {
        (true, true) => "the engine that was told to stop had left the tablet as it should be",
        (true, false) => "the run was stopped half-way, and what it had begun on the tablet is undone",
        (false, true) => "an engine found the tablet as it should be",
        (false, false) => "an engine put right what the run had left half-done",
    };
    let rest = outcome.warnings.iter().filter(|warning| *warning != NOTHING_TO_RECOVER);
    rest.fold(text.to_owned(), |text, warning| text + "; " + warning)
}
