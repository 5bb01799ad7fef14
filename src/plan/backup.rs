//! What to do next for a VitessBackup.

use jiff::Timestamp;

use super::accept::{self, Attached};
use super::draft::{ACCEPTED, AT_ONCE, Draft, ENGINE_RUNNING, PATIENTLY, WATCH_ENGINE};
use super::observed::Observed;
use super::run::{self, Stage};
use super::{Action, Plan, Requeue, launch, recovery, removal, report};
use crate::api::{
    DeletionPolicy, EngineJob, FailureStatus, JobPurpose, Phase, Tried, VitessBackup, VitessBackupSpec,
    VitessBackupStatus,
};
use crate::backup::report::{Outcome, Verdict};
use crate::resources::names::{self, Lock};
use crate::resources::tablet::Tablet;

/// The engine's answer when a primary may not be backed up.
const PRIMARY: &str = "TabletIsPrimary";

/// The plan for this backup. `now` is the only clock.
pub fn next(backup: &VitessBackup, seen: &Observed, now: Timestamp) -> Plan<VitessBackupStatus> {
    let VitessBackupStatus { run, tried } = backup.status.clone().unwrap_or_default();
    let draft = Draft::new("VitessBackup", &backup.metadata, run, seen, now);
    let mut next = Next { spec: &backup.spec, draft, tried };
    let requeue = next.decide();
    let Next { spec: _, draft, tried } = next;
    let finished = draft.finish(requeue);
    Plan {
        actions: finished.actions,
        status: finished.status.map(|run| VitessBackupStatus { run, tried }),
        requeue: finished.requeue,
        events: finished.events,
    }
}

struct Next<'a> {
    spec: &'a VitessBackupSpec,
    draft: Draft<'a>,
    tried: Vec<Tried>,
}

impl Next<'_> {
    fn decide(&mut self) -> Requeue {
        if self.draft.deleted_at().is_some() {
            return self.going();
        }
        if self.draft.phase().is_final() {
            return run::settle(&mut self.draft);
        }
        if self.draft.status.failure.is_some() {
            return recovery::next(&mut self.draft, self.spec.pod_template.as_ref());
        }
        match self.draft.status.job.clone() {
            Some(job) => self.watch(&job),
            None => self.prepare(),
        }
    }

    /// Looks for all that the backup needs, takes the locks, and notes the Job that is to be made.
    fn prepare(&mut self) -> Requeue {
        self.draft.status.storage_name = Some(self.spec.storage.name.clone());
        if let Some(shard) = &self.spec.shard {
            self.draft.status.shard = Some(shard.to_string());
        }
        if let Some(alias) = &self.spec.tablet {
            self.draft.status.tablet_alias = Some(alias.to_string());
        }
        run::sweep(&mut self.draft);
        if let Err(problem) = accept::storage(self.draft.seen, &self.spec.storage.name) {
            return run::wait_for(&mut self.draft, ACCEPTED, problem);
        }
        let attached = match self.choose() {
            Ok(attached) => attached,
            Err(Stop::Wait(problem)) => return run::wait_for(&mut self.draft, ACCEPTED, problem),
            Err(Stop::Fail(failure)) => {
                self.draft.note_failure(failure);
                return run::fail(&mut self.draft);
            }
        };
        let tablet = &attached.tablet;
        if let Err(problem) = accept::stream(self.draft.seen, self.spec, &tablet.shard) {
            return run::wait_for(&mut self.draft, ACCEPTED, problem);
        }
        run::accept(&mut self.draft, format!("tablet {} is backed up", tablet.alias));
        self.draft.status.shard = Some(tablet.shard.to_string());
        self.draft.status.tablet_alias = Some(tablet.alias.to_string());
        if let Some(wait) = run::lock(&mut self.draft, &[Lock::shard(&tablet.shard), Lock::tablet(&tablet.alias)]) {
            if self.spec.deletion_policy == DeletionPolicy::Delete {
                self.draft.add_finalizer(names::FINALIZER_REMOVE_BACKUP);
            }
            return wait;
        }
        let started = super::draft::whole_seconds(self.draft.now);
        self.draft.status.start_time = Some(self.draft.time());
        self.draft.status.backup_name = Some(names::backup_name(started, &tablet.alias));
        self.draft.intend(JobPurpose::Backup, self.try_number());
        self.draft.condition(ENGINE_RUNNING, "False", "Launching", "the engine's Job is about to be made");
        Requeue::After(AT_ONCE)
    }

    fn try_number(&self) -> i32 {
        i32::try_from(self.tried.len()).unwrap_or(i32::MAX - 1) + 1
    }

    /// The tablet that the spec names, or the next of its shard.
    fn choose(&self) -> Result<Attached, Stop> {
        let seen = self.draft.seen;
        if let Some(alias) = &self.spec.tablet {
            let attached = accept::tablet(seen, alias).map_err(Stop::Wait)?;
            ready(&attached.tablet).map_err(Stop::Wait)?;
            accept::running(&attached).map_err(Stop::Wait)?;
            return Ok(attached);
        }
        let Some(shard) = &self.spec.shard else {
            let text = "the spec names neither tablet nor shard: create the object again with one of them";
            return Err(Stop::Wait(("SpecInvalid", text.to_owned())));
        };
        let candidates = accept::of_shard(seen, shard);
        if candidates.is_empty() {
            let text = format!(
                "no pod of a replica or rdonly tablet of {shard} in this namespace (by the labels {} and {}): start one, or \
                 correct spec.shard",
                seen.settings.tablet_labels.keyspace, seen.settings.tablet_labels.shard
            );
            return Err(Stop::Wait(("TabletNotFound", text)));
        }
        let tried = |alias: &str| self.tried.iter().filter(|tried| tried.tablet_alias == alias).count();
        let mut problems = Vec::new();
        for tablet in &candidates {
            let alias = tablet.alias.to_string();
            if tried(&alias) > 0 {
                continue;
            }
            match usable(seen, tablet, &self.draft.owner.uid) {
                Ok(attached) => return Ok(attached),
                Err(problem) => problems.push(problem),
            }
        }
        if let Some((reason, _)) = problems.first() {
            let all: Vec<&str> = problems.iter().map(|(_, message)| message.as_str()).collect();
            return Err(Stop::Wait((reason, format!("no tablet of {shard} can be backed up now: {}", all.join("; ")))));
        }
        // All were tried. A primary is what is left when the spec allows it, once.
        let again = candidates.iter().any(|tablet| tried(&tablet.alias.to_string()) > 1);
        let is_primary = |tablet: &&Tablet| {
            let alias = tablet.alias.to_string();
            self.tried.iter().any(|tried| tried.tablet_alias == alias && tried.reason == PRIMARY)
        };
        match candidates.iter().find(is_primary).filter(|_| self.spec.allow_primary && !again) {
            Some(tablet) => usable(seen, tablet, &self.draft.owner.uid).map_err(Stop::Wait),
            None => Err(Stop::Fail(self.none_left())),
        }
    }

    /// The failure of a shard none of whose tablets could be backed up: that of the last one that was no primary.
    fn none_left(&self) -> FailureStatus {
        let telling = self.tried.iter().rev().find(|tried| tried.reason != PRIMARY).or(self.tried.last());
        let tried: Vec<String> = self.tried.iter().map(|t| format!("{} ({})", t.tablet_alias, t.reason)).collect();
        FailureStatus {
            reason: telling.map_or_else(|| PRIMARY.to_owned(), |tried| tried.reason.clone()),
            message: format!(
                "no tablet of the shard could be backed up; tried {}: {}",
                tried.join(", "),
                telling.map(|tried| tried.message.clone()).unwrap_or_default()
            ),
            remedy: "bring up a replica or rdonly tablet whose mysqlctld answers, or set allowPrimary: true, and create the \
                     object again"
                .to_owned(),
            log_tail: Vec::new(),
        }
    }

    fn watch(&mut self, job: &EngineJob) -> Requeue {
        let stage = run::stage(&mut self.draft, job);
        if self.draft.status.job.as_ref().is_some_and(|job| job.uid.is_some()) {
            self.draft.enter(Phase::Running);
        }
        match stage {
            Stage::Launch => self.launch(job),
            Stage::Wait(requeue) => requeue,
            Stage::Ended { outcome, log_tail } => self.ended(&outcome, &log_tail),
            Stage::NeverStarted(failure) => {
                self.draft.note_failure(failure);
                run::fail(&mut self.draft)
            }
            Stage::Lost(failure) => {
                self.draft.note_failure(failure);
                recovery::begin(&mut self.draft)
            }
        }
    }

    fn launch(&mut self, job: &EngineJob) -> Requeue {
        let seen = self.draft.seen;
        let alias = self.draft.status.tablet_alias.as_deref().and_then(|alias| alias.parse().ok());
        let found = match (accept::storage(seen, &self.spec.storage.name), alias) {
            (Ok(stored), Some(alias)) => accept::tablet(seen, &alias).map(|attached| (stored, attached)),
            (Err(problem), _) => Err(problem),
            (Ok(_), None) => Err(("TabletNotFound", "no tablet was chosen".to_owned())),
        };
        let (stored, attached) = match found {
            Ok(found) => found,
            Err(problem) => {
                // It went between the choice and the launch, and nothing was made yet: choose again.
                self.draft.status.job = None;
                return run::wait_for(&mut self.draft, ACCEPTED, problem);
            }
        };
        // With shard, a tablet is tried a second time only because it is a primary that may be taken.
        let second_time = self.tried.iter().any(|tried| tried.tablet_alias == attached.tablet.alias.to_string());
        let allow_primary = self.spec.allow_primary && (self.spec.tablet.is_some() || second_time);
        let made = launch::backup(&self.draft, self.spec, &attached, stored, job, allow_primary);
        self.draft.status.ran_as = Some(launch::identity(&attached));
        self.draft.actions.push(Action::CreateJob(Box::new(made)));
        Requeue::After(WATCH_ENGINE)
    }

    fn ended(&mut self, outcome: &Outcome, log_tail: &[String]) -> Requeue {
        report::replication(&mut self.draft, outcome);
        if outcome.verdict != Verdict::Failed {
            report::succeeded(&mut self.draft, outcome);
            report::not_carried(&mut self.draft, outcome);
            let name = self.draft.status.backup_name.clone().unwrap_or_default();
            return run::succeed(&mut self.draft, &format!("backup {name} is complete"));
        }
        let failure = report::failure(outcome, log_tail);
        let recover = recovery::is_needed(outcome);
        // Answers given before anything is touched: another tablet of the shard may do.
        let next_one =
            matches!(failure.reason.as_str(), PRIMARY | "SocketUnreachable" | "TabletDirInvalid" | "TabletBusy");
        if self.spec.shard.is_some() && next_one && !recover {
            let alias = self.draft.status.tablet_alias.clone().unwrap_or_default();
            self.draft.event("TryingNextTablet", format!("{alias}: {}: {}", failure.reason, failure.message));
            self.tried.push(Tried { tablet_alias: alias, reason: failure.reason, message: failure.message });
            self.draft.status.job = None;
            self.draft.status.backup_name = None;
            self.draft.status.progress = None;
            return Requeue::After(AT_ONCE);
        }
        self.draft.note_failure(failure);
        if recover { recovery::begin(&mut self.draft) } else { run::fail(&mut self.draft) }
    }

    /// The object is being deleted: end the run, put the tablet back, remove the data if that was asked for.
    fn going(&mut self) -> Requeue {
        if let Some(wait) = run::cancel(&mut self.draft, self.spec.pod_template.as_ref(), true) {
            return wait;
        }
        if self.draft.has_finalizer(names::FINALIZER_REMOVE_BACKUP) {
            let template = self.spec.pod_template.as_ref();
            if let Some(wait) = removal::next(&mut self.draft, template, &self.spec.storage.name) {
                return wait;
            }
        }
        run::settle(&mut self.draft);
        Requeue::After(PATIENTLY)
    }
}

/// Why no tablet was chosen.
enum Stop {
    /// It may still come.
    Wait(accept::Problem),
    Fail(FailureStatus),
}

/// A tablet that has only just begun has no mysqld to back up yet; it will be ready by itself.
fn ready(tablet: &Tablet) -> Result<(), accept::Problem> {
    if tablet.ready {
        return Ok(());
    }
    let text =
        format!("pod {} of tablet {} is not ready: the backup starts when it is", tablet.pod_name(), tablet.alias);
    Err(("TabletNotReady", text))
}

/// A tablet that `BackupShard` may take now: ready, attachable, and nobody else's at the moment.
fn usable(seen: &Observed, tablet: &Tablet, uid: &str) -> Result<Attached, accept::Problem> {
    ready(tablet)?;
    if let Some(problem) = accept::busy(seen, &Lock::tablet(&tablet.alias), uid) {
        return Err(problem);
    }
    let attached = accept::attach(seen, tablet.clone())?;
    accept::running(&attached)?;
    Ok(attached)
}

#[cfg(test)]
#[path = "backup_tests.rs"]
mod tests;
