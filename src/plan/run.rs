//! One run, whatever it is for: watching its Job, ending it, and giving back what it held.

use std::time::Duration;

use super::draft::{ACCEPTED, AT_ONCE, COMPLETE, Draft, ENGINE_RUNNING, PATIENTLY, WATCH_ENGINE};
use super::observed::{EngineSeen, JobSeen, seconds_since};
use super::{Action, Requeue, accept, recovery, report};
use crate::api::{EngineJob, FailureStatus, Phase, PodTemplate};
use crate::backup::failure::Reason;
use crate::backup::report::Outcome;
use crate::resources::names::{self, Lock};

/// How long a pod may take to start: pulling an image, waiting for room on the node.
const START_LIMIT: Duration = Duration::from_secs(15 * 60);
/// How soon to look whether another run has given back what this one waits for; Leases are watched besides.
const BUSY: Duration = Duration::from_secs(10);

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
            let how = format!("Job {} is gone, and nobody saw its end", job.name);
            return Stage::Lost(lost(&how, Vec::new()));
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
        let how = format!("Job {} was deleted and another one made under its name", job.name);
        return Stage::Lost(lost(&how, Vec::new()));
    }
    if job.uid.is_none() {
        draft.event("EngineLaunched", format!("Job {} runs the engine", job.name));
        draft.status.job = Some(EngineJob { uid: Some(uid), ..job.clone() });
    }
    match engine {
        EngineSeen::Starting { reason, message } => starting(draft, job, &reason, &message),
        EngineSeen::Running { told } => {
            if !draft.has_condition(ENGINE_RUNNING, "True") {
                draft.event("EngineStarted", format!("the engine of Job {} runs", job.name));
            }
            draft.condition(ENGINE_RUNNING, "True", "Running", format!("the engine of Job {} runs", job.name));
            let before = draft.status.progress.take();
            draft.status.progress = report::progress(&told, before.clone()).or(before);
            Stage::Wait(Requeue::After(WATCH_ENGINE))
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

fn starting(draft: &mut Draft<'_>, job: &EngineJob, reason: &str, message: &str) -> Stage {
    // What a person can do something about: no node has room, an image cannot be pulled.
    if !matches!(reason, "Starting" | "NoPodYet") {
        warn_once(draft, reason, "EngineNotStarting", &format!("{reason}: {message}"));
    }
    draft.condition(ENGINE_RUNNING, "False", reason, message);
    let waited = job.launch_time.as_ref().map_or(0, |time| seconds_since(time.0, draft.now));
    if waited < START_LIMIT.as_secs() {
        return Stage::Wait(Requeue::After(WATCH_ENGINE));
    }
    draft.actions.push(Action::DeleteJob(job.name.clone()));
    Stage::NeverStarted(FailureStatus {
        reason: format!("{:?}", Reason::EngineLost),
        message: format!(
            "the engine's pod did not start within {} minutes: {reason}: {message}",
            START_LIMIT.as_secs() / 60
        ),
        remedy: "nothing was touched: put right what keeps the pod from starting, and create the object again"
            .to_owned(),
        log_tail: Vec::new(),
    })
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
    if draft.find_condition(condition).is_none_or(|known| known.reason != reason) {
        draft.warning(reason, message.clone());
    }
    draft.condition(condition, "False", reason, message);
    draft.waits_for(reason);
    Requeue::After(PATIENTLY)
}

/// Ends the run well. What it held is given back next, see [`settle`].
pub fn succeed(draft: &mut Draft<'_>, message: &str) -> Requeue {
    draft.enter(Phase::Succeeded);
    draft.status.finished_time = Some(draft.time());
    draft.status.job = None;
    draft.condition(COMPLETE, "True", "Succeeded", message);
    draft.event("Succeeded", message);
    Requeue::After(AT_ONCE)
}

/// Ends the run badly, with the failure that is on the status. All that can be put back has been.
pub fn fail(draft: &mut Draft<'_>) -> Requeue {
    let FailureStatus { reason, message, remedy, log_tail: _ } = draft.status.failure.clone().unwrap_or_default();
    let cancelled = reason == format!("{:?}", Reason::Cancelled);
    draft.enter(if cancelled { Phase::Cancelled } else { Phase::Failed });
    draft.status.finished_time = Some(draft.time());
    draft.status.job = None;
    if let Some(progress) = &mut draft.status.progress {
        progress.summary = None;
    }
    draft.condition(COMPLETE, "False", &reason, format!("{message}; {remedy}"));
    draft.warning(if cancelled { "Cancelled" } else { "Failed" }, format!("{reason}: {message}; {remedy}"));
    Requeue::After(AT_ONCE)
}

/// Takes what only one run may have at a time, and gives back what is wanted no longer; `None` when all of it is this run's.
///
/// The run's finalizer comes with the locks: from here on somebody has to tidy up before the object goes.
pub fn lock(draft: &mut Draft<'_>, wanted: &[Lock]) -> Option<Requeue> {
    let uid = draft.owner.uid.clone();
    if let Some((_, message)) = wanted.iter().find_map(|lock| accept::busy(draft.seen, lock, &uid)) {
        if draft.find_condition(ENGINE_RUNNING).is_none_or(|known| known.reason != "Busy") {
            draft.event("Waiting", message.clone());
        }
        draft.condition(ENGINE_RUNNING, "False", "Busy", message);
        draft.waits_for("Busy");
        return Some(Requeue::After(BUSY));
    }
    let stale = draft
        .seen
        .locks
        .iter()
        .filter(|(lease, holder)| holder.uid == uid && !wanted.iter().any(|lock| lock.lease == **lease));
    let releases: Vec<Action> = stale.map(|(lease, _)| Action::ReleaseLock(lease.clone())).collect();
    draft.actions.extend(releases);
    let missing: Vec<Lock> = wanted.iter().filter(|lock| !draft.seen.holds(lock, &uid)).cloned().collect();
    if missing.is_empty() {
        return None;
    }
    draft.add_finalizer(names::FINALIZER_RUN);
    draft.actions.extend(missing.into_iter().map(Action::AcquireLock));
    Some(Requeue::After(AT_ONCE))
}

/// Ends a run whose object is being deleted; `None` when it has ended, or never began. `attached` says whether there is a
/// tablet to put back.
pub fn cancel(draft: &mut Draft<'_>, template: Option<&PodTemplate>, attached: bool) -> Option<Requeue> {
    let began = draft.has_finalizer(names::FINALIZER_RUN) && !draft.phase().is_final();
    if !began || draft.seen.namespace_terminating {
        return None;
    }
    if draft.status.failure.is_none() {
        draft.note_failure(FailureStatus {
            reason: format!("{:?}", Reason::Cancelled),
            message: "the object was deleted while its run was under way".to_owned(),
            remedy: "create it again to run again".to_owned(),
            log_tail: Vec::new(),
        });
        let jobs: Vec<Action> = draft.seen.jobs.keys().map(|name| Action::DeleteJob(name.clone())).collect();
        let launched = !jobs.is_empty() || draft.status.job.as_ref().is_some_and(|job| job.uid.is_some());
        draft.actions.extend(jobs);
        if !launched {
            fail(draft);
            return Some(Requeue::After(AT_ONCE));
        }
        if attached {
            return Some(recovery::begin(draft));
        }
    }
    if attached {
        return Some(recovery::next(draft, template));
    }
    if draft.seen.live_pods.is_empty() && draft.seen.jobs.is_empty() {
        fail(draft);
    }
    Some(Requeue::After(WATCH_ENGINE))
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
