//! Removing a backup's data before its object goes (deletionPolicy Delete).
//!
//! The rules are those of `vitess-backup remove`: a shard's only complete backup stays, and its object with it, until there is
//! another one or the annotation `backup.vitess.io/force-removal: "true"` says otherwise.
//!
//! A namespace that is being deleted takes no new Jobs, and a storage object that is gone cannot be asked: then the data
//! stays, a Warning event says so, and the object goes. A removal that fails is tried again, ever more seldom; the
//! annotation `backup.vitess.io/skip-removal: "true"` lets the object go without it.

use std::time::Duration;

use super::accept;
use super::draft::{AT_ONCE, Draft, PATIENTLY, REMOVED, WATCH_ENGINE};
use super::observed::seconds_since;
use super::run::{self, Stage};
use super::topology::KIND as TOPOLOGY_BACKUP;
use super::{Action, Requeue, launch, report};
use crate::api::{EngineJob, JobPurpose, PodTemplate};
use crate::backup::report::{Outcome, Verdict};
use crate::resources::names::{ANNOTATION_FORCE_REMOVAL, ANNOTATION_SKIP_REMOVAL, FINALIZER_REMOVE_BACKUP};

/// Of the event that tells it.
pub const BACKUP_REMOVED: &str = "BackupRemoved";
/// How long a storage object that is gone is waited for.
const STORAGE_LIMIT: Duration = Duration::from_secs(10 * 60);
const LONGEST_PAUSE: u64 = 600;
/// How long it may take until it is seen that the namespace is being deleted: nothing else wakes an object that waits.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The engine's answer when the backup is the only one that the shard could be restored from.
const LAST_GOOD: &str = "LastGoodBackup";

/// Goes on with the removal; `None` when there is nothing left to wait for and the finalizer is lifted.
pub fn next(draft: &mut Draft<'_>, template: Option<&PodTemplate>, storage_name: &str) -> Option<Requeue> {
    let of = match draft.owner.kind {
        TOPOLOGY_BACKUP => Some("the topology server".to_owned()),
        _ => draft.status.shard.clone(),
    };
    let named = draft.status.backup_name.clone().zip(of);
    let Some((backup_name, shard)) = named else {
        return lift(draft, None);
    };
    let what = format!("backup {backup_name} of {shard}");
    if draft.skips_removal() {
        return lift(draft, Some(format!("{what} stays in storage: skip-removal is set")));
    }
    if draft.seen.namespace_terminating {
        return lift(
            draft,
            Some(format!("{what} stays in storage: its namespace is being deleted and takes no new pods")),
        );
    }
    let seen = draft.seen;
    let stored = match accept::storage(seen, storage_name) {
        Ok(stored) => stored,
        Err((reason, message)) => {
            // It is not the name that is wrong: the backup was made there.
            let gone = format!("VitessBackupStorage {storage_name} does not exist any more");
            let message = if seen.storage.is_none() { gone } else { message };
            return without_storage(draft, &what, reason, &message);
        }
    };
    if draft.forces_removal()
        && draft.find_condition(REMOVED).is_some_and(|known| known.reason == LAST_GOOD)
        && let Some(job) = &mut draft.status.job
    {
        // What it waited for has come.
        job.launch_time = None;
    }
    let Some(job) = draft.status.job.clone().filter(|job| job.purpose == JobPurpose::Remove) else {
        draft.event("Removing", format!("{what} is being removed from storage"));
        draft.condition(REMOVED, "False", "Removing", format!("{what} is being removed"));
        draft.intend(JobPurpose::Remove, 1);
        return Some(Requeue::After(AT_ONCE));
    };
    match run::stage(draft, &job) {
        Stage::Launch => {
            let made = launch::remove(draft, stored, template, &job, &shard, &backup_name);
            draft.actions.push(Action::CreateJob(Box::new(made)));
            Some(Requeue::After(WATCH_ENGINE))
        }
        Stage::Wait(Requeue::After(wait)) => Some(Requeue::After(wait.min(LONGEST_WAIT))),
        Stage::Wait(Requeue::OnChange) => Some(Requeue::OnChange),
        Stage::Ended { outcome, .. } if is_gone(&outcome) => {
            draft.event(BACKUP_REMOVED, format!("{what} is removed from storage"));
            lift(draft, None)
        }
        Stage::Ended { outcome, log_tail } => {
            let failure = report::failure(&outcome, &log_tail);
            let message = if failure.reason == LAST_GOOD {
                format!("{}: take another backup, and the removal goes on by itself", failure.message)
            } else {
                report::in_one_sentence(&failure)
            };
            Some(again(draft, &job, &failure.reason, &message))
        }
        Stage::NeverStarted(failure) | Stage::Lost(failure) => {
            Some(again(draft, &job, &failure.reason, &failure.message))
        }
    }
}

/// Waits for a storage that cannot be used, and lets the object go when that has taken too long.
fn without_storage(draft: &mut Draft<'_>, what: &str, reason: &str, message: &str) -> Option<Requeue> {
    let since = draft.deleted_at().unwrap_or(draft.now);
    if seconds_since(since, draft.now) > STORAGE_LIMIT.as_secs() {
        return lift(draft, Some(format!("{what} stays in storage: {message}")));
    }
    let minutes = STORAGE_LIMIT.as_secs() / 60;
    let message = format!(
        "{what} cannot be removed: {message}; put that right, or this object goes {minutes} minutes after its deletion and the \
         data stays"
    );
    draft.condition(REMOVED, "False", reason, message);
    Some(Requeue::After(PATIENTLY))
}

fn is_gone(outcome: &Outcome) -> bool {
    use crate::backup::failure::Reason::{BackupNotFound, NoBackupFound};
    let reason = outcome.failure.as_ref().map(|failure| failure.reason);
    outcome.verdict != Verdict::Failed || matches!(reason, Some(BackupNotFound | NoBackupFound))
}

fn again(draft: &mut Draft<'_>, job: &EngineJob, reason: &str, message: &str) -> Requeue {
    let pause = (10 << job.number.clamp(0, 10)).min(LONGEST_PAUSE);
    let force = if reason == LAST_GOOD {
        format!("to remove it all the same, annotate this object with {ANNOTATION_FORCE_REMOVAL}=true; ")
    } else {
        String::new()
    };
    let message = format!(
        "the data was not removed: {message}; trying again in {pause} s ({force}to let this object go and leave the data, \
         annotate it with {ANNOTATION_SKIP_REMOVAL}=true)"
    );
    draft.condition(REMOVED, "False", reason, message.clone());
    draft.warning("RemovalFailed", message);
    draft.actions.push(Action::DeleteJob(job.name.clone()));
    draft.intend(JobPurpose::Remove, job.number + 1);
    if let Some(next) = &mut draft.status.job {
        let at = draft.now + Duration::from_secs(pause);
        next.launch_time = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(super::draft::whole_seconds(at)));
    }
    Requeue::After(Duration::from_secs(pause).min(LONGEST_WAIT))
}

fn lift(draft: &mut Draft<'_>, left: Option<String>) -> Option<Requeue> {
    if let Some(note) = left {
        draft.warning("DataLeft", note);
    }
    draft.remove_finalizer(FINALIZER_REMOVE_BACKUP);
    None
}
