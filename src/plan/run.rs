//! One run, whatever it is for: watching its Job, ending it, and giving back what it held.

use std::time::Duration;

use jiff::Timestamp;

use super::draft::{
    ACCEPTED, AT_ONCE, COMPLETE, Draft, ENGINE_RUNNING, NOT_STARTED, PATIENTLY, TABLET_RECOVERED, WATCH_ENGINE,
};
use super::observed::{EngineSeen, JobSeen, seconds_since};
use super::{Action, Requeue, queue, recovery, report, retry};
use crate::api::{EngineJob, FailureStatus, GoDuration, JobPurpose, Phase, PodTemplate, ProgressStatus};
use crate::backup::failure::Reason;
use crate::backup::report::Outcome;
use crate::resources::names::{self, Lock};

/// How long a pod may take to start: pulling an image, waiting for room on the node.
const START_LIMIT: Duration = Duration::from_secs(15 * 60);
/// How soon to look again at an engine whose node is silent; its pod is watched besides.
const UNREACHABLE: Duration = Duration::from_secs(10);

/// What the Job of `status.job` asks for.
pub enum Stage {
    /// It is to be made now.
    Launch,
    Wait(Requeue),
    /// The engine has spoken its last word.
    Ended {
        outcome: Box<Outcome>,
        log_tail: Vec<String>,
    },
    /// It never ran, so that nothing was touched.
    NeverStarted(FailureStatus),
    /// It ended without a word.
    Lost(FailureStatus),
}

/// Looks at the Job of `status.job`; the conditions and progress that follow from it are set.
pub fn stage(draft: &mut Draft<'_>, job: &EngineJob) -> Stage {
    let Some(seen) = draft.seen.jobs.get(&job.name) else {
        if job.uid.is_some() {
            if let Some(message) = did_not_start(draft) {
                return Stage::NeverStarted(never_started(message));
            }
            return gone(draft, &format!("Job {} is gone, and nobody saw its end", job.name));
        }
        let wait = job.launch_time.as_ref().map_or(0, |time| seconds_since(draft.now, time.0));
        if wait > 0 {
            return Stage::Wait(Requeue::After(Duration::from_secs(wait)));
        }
        return Stage::Launch;
    };
    let JobSeen { uid, owner_uid, expires: _, engine } = seen.clone();
    if owner_uid.as_deref() != Some(&draft.owner.uid) {
        let message = format!("Job {} exists and is not this run's: delete it, and the run goes on", job.name);
        warn_once(draft, "JobNameTaken", "JobNameTaken", &message);
        draft.condition(ENGINE_RUNNING, "False", "JobNameTaken", message);
        return Stage::Wait(Requeue::After(PATIENTLY));
    }
    if job.uid.as_ref().is_some_and(|known| *known != uid) {
        return gone(draft, &format!("Job {} was deleted and another one made under its name", job.name));
    }
    if job.uid.is_none() {
        draft.event("EngineLaunched", format!("Job {} runs the engine", job.name));
        draft.status.job = Some(EngineJob { uid: Some(uid), ..job.clone() });
    }
    let ran = job.uid.is_some() && draft.find_condition(ENGINE_RUNNING).is_some_and(|known| known.status != "False");
    match engine {
        EngineSeen::Starting { .. } if ran => {
            // A pod does not start twice: the one that ran is gone, and the Job has not said so yet.
            draft.actions.push(Action::DeleteJob(job.name.clone()));
            gone(draft, &format!("the pod of Job {} is gone, and nobody saw its end", job.name))
        }
        EngineSeen::Starting { reason, message } => starting(draft, job, &reason, &message),
        EngineSeen::Running { told } => {
            if !ran {
                draft.event("EngineStarted", format!("the engine of Job {} runs", job.name));
            }
            draft.condition(ENGINE_RUNNING, "True", "Running", format!("the engine of Job {} runs", job.name));
            let before = draft.status.progress.take();
            draft.status.progress = report::progress(&told, before.clone()).or(before);
            Stage::Wait(Requeue::After(draft.watch_engine()))
        }
        EngineSeen::Unreachable { node } => {
            unreachable(draft, &node);
            Stage::Wait(Requeue::After(UNREACHABLE))
        }
        EngineSeen::Ended { outcome: Some(outcome), how: _, log_tail } => {
            draft.condition(ENGINE_RUNNING, "False", "Ended", format!("the engine of Job {} has ended", job.name));
            Stage::Ended { outcome, log_tail }
        }
        EngineSeen::Ended { outcome: None, how, log_tail } => {
            draft.condition(ENGINE_RUNNING, "False", "EngineLost", how.clone());
            Stage::Lost(lost(&how, log_tail))
        }
    }
}

fn gone(draft: &mut Draft<'_>, how: &str) -> Stage {
    draft.condition(ENGINE_RUNNING, "False", "EngineLost", how);
    Stage::Lost(lost(how, Vec::new()))
}

/// Nothing can be done for a tablet whose node is silent: the engine may well be at work there.
fn unreachable(draft: &mut Draft<'_>, node: &str) {
    let message = format!(
        "node {node} of the engine's pod does not answer: the run goes on when it does again; when the node is gone for good, \
         delete it (kubectl delete node {node}), and the tablet is put back where its volume goes"
    );
    if draft.find_condition(ENGINE_RUNNING).is_none_or(|known| known.reason != "NodeUnreachable") {
        draft.warning("NodeUnreachable", message.clone());
    }
    draft.condition(ENGINE_RUNNING, "Unknown", "NodeUnreachable", message);
}

fn starting(draft: &mut Draft<'_>, job: &EngineJob, reason: &str, message: &str) -> Stage {
    if let Some(message) = did_not_start(draft) {
        draft.actions.push(Action::DeleteJob(job.name.clone()));
        return Stage::NeverStarted(never_started(message));
    }
    // What a person can do something about: no node has room, an image cannot be pulled.
    if !matches!(reason, "Starting" | "NoPodYet") {
        warn_once(draft, reason, "EngineNotStarting", &format!("{reason}: {message}"));
    }
    let asked = draft.asked.waiting.engine_start.filter(|_| is_the_runs_own(job.purpose));
    let limit = asked.map_or(START_LIMIT, |GoDuration(limit)| limit);
    let waited = job.launch_time.as_ref().map_or(0, |time| seconds_since(time.0, draft.now));
    if waited < limit.as_secs() {
        draft.condition(ENGINE_RUNNING, "False", reason, message);
        return Stage::Wait(Requeue::After(draft.watch_engine()));
    }
    // The Job is deleted when this is written down: of one that is gone without it an engine may have run.
    let message = format!("the engine's pod did not start within {}: {reason}: {message}", GoDuration(limit));
    draft.condition(ENGINE_RUNNING, "False", NOT_STARTED, message);
    Stage::Wait(Requeue::After(AT_ONCE))
}

/// What was written down of an engine that did not start in time.
fn did_not_start(draft: &Draft<'_>) -> Option<String> {
    let known = draft.find_condition(ENGINE_RUNNING).filter(|known| known.reason == NOT_STARTED)?;
    Some(known.message.clone())
}

fn never_started(message: String) -> FailureStatus {
    FailureStatus {
        reason: format!("{:?}", Reason::EngineLost),
        message,
        remedy: "nothing was touched: put right what keeps the pod from starting, and create the object again"
            .to_owned(),
        log_tail: Vec::new(),
    }
}

/// Not for tidying up after one.
fn is_the_runs_own(purpose: JobPurpose) -> bool {
    matches!(purpose, JobPurpose::Backup | JobPurpose::Restore)
}

/// Tells of a condition's reason when the condition does not have it yet.
fn warn_once(draft: &mut Draft<'_>, condition_reason: &str, event: &'static str, note: &str) {
    if draft.find_condition(ENGINE_RUNNING).is_none_or(|known| known.reason != condition_reason) {
        draft.warning(event, note);
    }
}

fn lost(how: &str, log_tail: Vec<String>) -> FailureStatus {
    FailureStatus {
        reason: format!("{:?}", Reason::EngineLost),
        message: format!("the engine ended without a word of how: {how}"),
        remedy: "see the condition TabletRecovered for the state of the tablet; then create the object again"
            .to_owned(),
        log_tail,
    }
}

/// All that the spec names is there.
pub fn accept(draft: &mut Draft<'_>, message: String) {
    draft.enter(Phase::Pending);
    if !draft.has_condition(ACCEPTED, "True") {
        draft.event("Accepted", message.clone());
    }
    draft.condition(ACCEPTED, "True", "Accepted", message);
}

/// Waits for what is missing, and says so in a condition.
pub fn wait_for(draft: &mut Draft<'_>, condition: &str, problem: (&'static str, String)) -> Requeue {
    let (reason, message) = problem;
    draft.enter(Phase::Pending);
    draft.status.queue = None;
    if draft.find_condition(condition).is_none_or(|known| known.reason != reason) {
        draft.warning(reason, message.clone());
    }
    draft.condition(condition, "False", reason, message.clone());
    draft.waits_for(reason);
    let since = draft.find_condition(condition).map_or(draft.now, |known| known.last_transition_time.0);
    let limit = draft.asked.waiting.accepted;
    no_longer_than(draft, ("accepted", limit), since, PATIENTLY, &message)
}

/// Looks again in a while, or fails the run when it has waited for longer than its spec allows. `limit` has the name of the
/// deadline in the spec's waitingDeadlines.
pub fn no_longer_than(
    draft: &mut Draft<'_>,
    (name, limit): (&str, Option<GoDuration>),
    since: Timestamp,
    pause: Duration,
    message: &str,
) -> Requeue {
    let Some(GoDuration(limit)) = limit else { return Requeue::After(pause) };
    let left = limit.saturating_sub(Duration::from_secs(seconds_since(since, draft.now)));
    if !left.is_zero() {
        return Requeue::After(pause.min(left));
    }
    wait_is_over(draft, &format!("waitingDeadlines.{name}"), limit, message)
}

/// Fails a run that waited for too long; there is nothing to put back, and another try would wait as long.
pub fn wait_is_over(draft: &mut Draft<'_>, deadline: &str, limit: Duration, message: &str) -> Requeue {
    draft.note_failure(FailureStatus {
        reason: format!("{:?}", Reason::DeadlineExceeded),
        message: format!("waited for {}, as long as spec.{deadline} allows: {message}", GoDuration(limit)),
        remedy: "nothing was touched: put right what was waited for or allow more time, and create the object again"
            .to_owned(),
        log_tail: Vec::new(),
    });
    draft.status.queue = None;
    end(draft)
}

/// Ends the run well. What it held is given back next, see [`settle`].
pub fn succeed(draft: &mut Draft<'_>, message: &str) -> Requeue {
    draft.enter(Phase::Succeeded);
    draft.status.finished_time = Some(draft.time());
    draft.status.job = None;
    draft.condition(COMPLETE, "True", "Succeeded", message);
    if draft.has_condition(TABLET_RECOVERED, "False") {
        draft.condition(TABLET_RECOVERED, "True", "Superseded", "a later try left the tablet as it should be");
    }
    draft.event("Succeeded", message);
    Requeue::After(AT_ONCE)
}

/// Tries again when the spec has a try left, else ends the run badly, with the failure that is on the status. All that can
/// be put back has been.
pub fn fail(draft: &mut Draft<'_>) -> Requeue {
    retry::after(draft).unwrap_or_else(|| end(draft))
}

/// Ends the run badly.
fn end(draft: &mut Draft<'_>) -> Requeue {
    let FailureStatus { reason, message, remedy, log_tail: _ } = draft.status.failure.clone().unwrap_or_default();
    let cancelled = reason == format!("{:?}", Reason::Cancelled);
    draft.enter(if cancelled { Phase::Cancelled } else { Phase::Failed });
    draft.status.finished_time = Some(draft.time());
    draft.status.job = None;
    draft.status.queue = None;
    draft.status.next_try_time = None;
    let copied = draft.status.progress.take().map(|progress| ProgressStatus { summary: None, ..progress });
    // Of a run that only waited nothing is left, and an empty object cannot be applied over one that was not.
    draft.status.progress = copied.filter(|progress| *progress != ProgressStatus::default());
    let message = match draft.status.attempts.len() {
        0 => message,
        failed => format!("after {} tries: {message}", failed + 1),
    };
    draft.condition(COMPLETE, "False", &reason, format!("{message}; {remedy}"));
    draft.warning(if cancelled { "Cancelled" } else { "Failed" }, format!("{reason}: {message}; {remedy}"));
    Requeue::After(AT_ONCE)
}

/// Takes what only one run may have at a time, and gives back what is wanted no longer; `None` when all of it is this run's, or
/// will be before the status is written: a lock that cannot be had ends the reconcile.
///
/// The run's finalizer comes with the locks: from here on somebody has to tidy up before the object goes.
pub fn lock(draft: &mut Draft<'_>, wanted: &[Lock]) -> Option<Requeue> {
    let uid = draft.owner.uid.clone();
    let has_all = wanted.iter().all(|lock| draft.seen.holds(lock, &uid));
    if !has_all && let Some(wait) = queue::wait(draft, wanted) {
        return Some(wait);
    }
    draft.status.queue = None;
    let stale = draft
        .seen
        .locks
        .iter()
        .filter(|(lease, holder)| holder.uid == uid && !wanted.iter().any(|lock| lock.lease == **lease));
    let releases: Vec<Action> = stale.map(|(lease, _)| Action::ReleaseLock(lease.clone())).collect();
    draft.actions.extend(releases);
    let missing = wanted.iter().filter(|lock| !draft.seen.holds(lock, &uid));
    draft.actions.extend(missing.cloned().map(Action::AcquireLock));
    draft.add_finalizer(names::FINALIZER_RUN);
    None
}

/// Ends a run whose object is being deleted; `None` when it has ended, or never began. `attached` says whether there is a
/// tablet to put back.
pub fn delete(draft: &mut Draft<'_>, template: Option<&PodTemplate>, attached: bool) -> Option<Requeue> {
    let began = draft.has_finalizer(names::FINALIZER_RUN) && !draft.phase().is_final();
    if !began || draft.seen.namespace_terminating {
        return None;
    }
    let message = "the object was deleted while its run was under way";
    Some(stop(draft, template, attached, message, "create it again to run again"))
}

/// Ends a run that was told to stop (`spec.cancel`); `None` when its engine has ended already: then its outcome counts.
pub fn cancel(draft: &mut Draft<'_>, template: Option<&PodTemplate>, attached: bool) -> Option<Requeue> {
    let current = draft.status.job.as_ref().filter(|job| is_the_runs_own(job.purpose));
    let seen = current.and_then(|job| draft.seen.jobs.get(&job.name));
    if draft.status.failure.is_none()
        && seen.is_some_and(|job| matches!(job.engine, EngineSeen::Ended { outcome: Some(_), .. }))
    {
        return None;
    }
    Some(stop(draft, template, attached, "spec.cancel was set", "create a new object to run again"))
}

fn stop(draft: &mut Draft<'_>, template: Option<&PodTemplate>, attached: bool, message: &str, remedy: &str) -> Requeue {
    if draft.status.failure.is_none() {
        draft.note_failure(FailureStatus {
            reason: format!("{:?}", Reason::Cancelled),
            message: message.to_owned(),
            remedy: remedy.to_owned(),
            log_tail: Vec::new(),
        });
        draft.status.queue = None;
        let launched = !draft.seen.jobs.is_empty() || draft.status.job.as_ref().is_some_and(|job| job.uid.is_some());
        // Between two tries nothing runs, and the tablet was put back.
        if !launched || draft.status.next_try_time.is_some() {
            return end(draft);
        }
        // Jobs are deleted when this is written down: an operator that is stopped in between would else find nothing left that
        // tells of an engine.
        draft.condition(ENGINE_RUNNING, "False", "Stopping", "the engine is told to stop");
        return if attached { recovery::begin(draft) } else { Requeue::After(AT_ONCE) };
    }
    if stop_engines(draft) {
        return Requeue::After(WATCH_ENGINE);
    }
    if attached {
        return recovery::next(draft, template);
    }
    if draft.seen.live_pods.is_empty() && draft.seen.jobs.is_empty() {
        end(draft);
    }
    Requeue::After(WATCH_ENGINE)
}

/// Deletes the Jobs of engines that have not ended, but for the one that puts the tablet back; whether there are any.
fn stop_engines(draft: &mut Draft<'_>) -> bool {
    let recovers = draft.status.job.as_ref().filter(|job| job.purpose == JobPurpose::Recover).map(|job| &job.name);
    let at_work = draft
        .seen
        .jobs
        .iter()
        .filter(|(name, job)| Some(*name) != recovers && !matches!(job.engine, EngineSeen::Ended { .. }));
    let deletions: Vec<Action> = at_work.map(|(name, _)| Action::DeleteJob(name.clone())).collect();
    let any = !deletions.is_empty();
    draft.actions.extend(deletions);
    any
}

/// Gives back what an ended run held: Jobs may go after a while, locks are free, the object can be deleted.
pub fn settle(draft: &mut Draft<'_>) -> Requeue {
    if !draft.has_finalizer(names::FINALIZER_RUN) {
        return Requeue::OnChange;
    }
    for (name, job) in &draft.seen.jobs {
        if !job.expires {
            draft.actions.push(Action::ExpireJob(name.clone()));
        }
    }
    release_locks(draft);
    draft.remove_finalizer(names::FINALIZER_RUN);
    Requeue::OnChange
}

/// Gives back every lock that this run holds.
pub fn release_locks(draft: &mut Draft<'_>) {
    let own = draft.seen.locks.iter().filter(|(_, holder)| holder.uid == draft.owner.uid);
    let leases: Vec<Action> = own.map(|(lease, _)| Action::ReleaseLock(lease.clone())).collect();
    draft.actions.extend(leases);
}

/// Deletes the Jobs of tries and looks that are over, so that a restore that waits for days does not leave one for each look.
pub fn sweep(draft: &mut Draft<'_>) {
    let current = draft.status.job.as_ref().map(|job| job.name.as_str());
    let over = draft.seen.jobs.keys().filter(|name| Some(name.as_str()) != current);
    let deletions: Vec<Action> = over.map(|name| Action::DeleteJob(name.clone())).collect();
    draft.actions.extend(deletions);
}
