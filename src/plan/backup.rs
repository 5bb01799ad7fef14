//! What to do next for a VitessBackup.

use jiff::Timestamp;

use super::accept::{self, Attached};
use super::choice::{self, Choice, Known, Stop};
use super::draft::{ACCEPTED, AT_ONCE, Asked, Draft, PATIENTLY, WATCH_ENGINE};
use super::observed::Observed;
use super::run::{self, Stage};
use super::verification::{self, Request};
use super::{Action, Plan, Requeue, launch, records, recovery, removal, report, retry};
use crate::api::{
    DeletionPolicy, EngineJob, FailureStatus, JobPurpose, Phase, Tried, VerificationStatus, VitessBackup,
    VitessBackupSpec, VitessBackupStatus,
};
use crate::backup::report::{Outcome, Verdict};
use crate::resources::names::{self, Lock};

/// The plan for this backup. `now` is the only clock.
pub fn next(backup: &VitessBackup, seen: &Observed, now: Timestamp) -> Plan<VitessBackupStatus> {
    let VitessBackupStatus { run, tablet_choice, tried, tablet_image, verification } =
        backup.status.clone().unwrap_or_default();
    let mut draft = Draft::new("VitessBackup", &backup.metadata, run, seen, now);
    let VitessBackupSpec { retries, cancel, waiting_deadlines, .. } = &backup.spec;
    let waiting = waiting_deadlines.clone().unwrap_or_default();
    draft.asked = Asked { retries: *retries, cancel: *cancel, waiting };
    let request = Request::of(backup);
    let mut next = Next { spec: &backup.spec, draft, tablet_choice, tried, tablet_image, request, verification };
    let requeue = next.decide();
    let Next { spec: _, draft, tablet_choice, mut tried, tablet_image, request: _, verification } = next;
    if draft.status.next_try_time.is_some() {
        // The next try asks every tablet again; what they answered is in the attempt's message.
        tried.clear();
    }
    let finished = draft.finish(requeue);
    let whole = |run| VitessBackupStatus { run, tablet_choice, tried, tablet_image, verification };
    Plan {
        actions: finished.actions,
        status: finished.status.map(whole),
        requeue: finished.requeue,
        events: finished.events,
    }
}

struct Next<'a> {
    spec: &'a VitessBackupSpec,
    draft: Draft<'a>,
    tablet_choice: Option<String>,
    tried: Vec<Tried>,
    tablet_image: Option<String>,
    request: Option<Request>,
    verification: Option<VerificationStatus>,
}

impl Next<'_> {
    fn decide(&mut self) -> Requeue {
        if self.draft.deleted_at().is_some() {
            return self.going();
        }
        if self.spec.backup_name.is_some() {
            let stands = records::stand(&mut self.draft, self.spec);
            return self.verify().unwrap_or(stands);
        }
        if self.draft.phase().is_final() {
            let held = self.draft.has_finalizer(names::FINALIZER_RUN);
            let settled = run::settle(&mut self.draft);
            // What the run held is given back first.
            return if held { settled } else { self.verify().unwrap_or(settled) };
        }
        if self.spec.cancel
            && let Some(wait) = run::cancel(&mut self.draft, self.spec.pod_template.as_ref(), true)
        {
            return wait;
        }
        if self.draft.status.failure.is_some() {
            return recovery::next(&mut self.draft, self.spec.pod_template.as_ref());
        }
        match self.draft.status.job.clone() {
            Some(job) => self.watch(&job),
            None => self.prepare(),
        }
    }

    /// Verifies the backup that is there, when that was asked for.
    fn verify(&mut self) -> Option<Requeue> {
        if self.draft.phase() != Phase::Succeeded {
            return None;
        }
        let Self { spec, draft, tablet_image, request, verification, tablet_choice: _, tried: _ } = self;
        let next = verification::Next { draft, spec, tablet_image: tablet_image.as_deref(), verification };
        verification::next(request.as_ref(), next)
    }

    /// Looks for all that the backup needs, takes the locks, and notes the Job that is to be made.
    fn prepare(&mut self) -> Requeue {
        self.draft.status.storage_name = Some(self.spec.storage.name.clone());
        self.draft.status.engine = Some(report::engine_name(self.spec.engine).to_owned());
        if let Some(shard) = &self.spec.shard {
            self.draft.status.shard = Some(shard.to_string());
        }
        if let Some(alias) = &self.spec.tablet {
            self.draft.status.tablet_alias = Some(alias.to_string());
        }
        if let Some(pause) = retry::pause_left(&mut self.draft) {
            return pause;
        }
        run::sweep(&mut self.draft);
        if let Err(problem) = accept::storage(self.draft.seen, &self.spec.storage.name) {
            return run::wait_for(&mut self.draft, ACCEPTED, problem);
        }
        let Choice { attached, why } = match self.known().choose() {
            Ok(choice) => choice,
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
        run::accept(&mut self.draft, format!("tablet {} is backed up: {why}", tablet.alias));
        self.tablet_choice = Some(why);
        self.draft.status.shard = Some(tablet.shard.to_string());
        self.draft.status.tablet_alias = Some(tablet.alias.to_string());
        if let Some(wait) = run::lock(&mut self.draft, &[Lock::shard(&tablet.shard), Lock::tablet(&tablet.alias)]) {
            return wait;
        }
        if self.spec.deletion_policy == DeletionPolicy::Delete {
            self.draft.add_finalizer(names::FINALIZER_REMOVE_BACKUP);
        }
        let started = super::draft::whole_seconds(self.draft.now);
        self.draft.status.start_time = Some(self.draft.time());
        self.draft.status.backup_name = Some(names::backup_name(started, &tablet.alias));
        self.note_engine(&attached);
        self.draft.intend_next(JobPurpose::Backup);
        self.draft.about_to_launch();
        Requeue::After(AT_ONCE)
    }

    /// As whom and from which image the engine runs, which whoever removes or verifies the backup will want to know. It is written
    /// down before the Job is made: an operator that is stopped right after that finds a Job and does not launch.
    fn note_engine(&mut self, attached: &Attached) {
        self.draft.status.ran_as = Some(launch::identity(attached));
        self.tablet_image.clone_from(&attached.attachment.container.image);
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
            // The pod of another tablet may start: it runs on another node.
            Stage::NeverStarted(failure) if self.spec.shard.is_some() => self.leave_tablet(failure, None),
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
        let terms = self.known().terms(&attached.tablet.alias);
        let made = launch::backup(&self.draft, self.spec, &attached, stored, job, terms);
        self.note_engine(&attached);
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
        if self.spec.shard.is_some() && outcome.untouched && !recover && choice::another_may_do(&failure.reason) {
            return self.leave_tablet(failure, outcome.lag_seconds.and_then(|lag| i64::try_from(lag).ok()));
        }
        self.draft.note_failure(failure);
        if recover { recovery::begin(&mut self.draft) } else { run::fail(&mut self.draft) }
    }

    /// It could not be backed up, and nothing of it was touched: another tablet of the shard may do.
    fn leave_tablet(&mut self, failure: FailureStatus, lag_seconds: Option<i64>) -> Requeue {
        let alias = self.draft.status.tablet_alias.clone().unwrap_or_default();
        let FailureStatus { reason, message, .. } = failure;
        self.draft.event("TryingNextTablet", format!("{alias}: {reason}: {message}"));
        self.tried.push(Tried { tablet_alias: alias, reason, message, lag_seconds });
        self.draft.status.job = None;
        self.draft.status.backup_name = None;
        self.draft.status.progress = None;
        Requeue::After(AT_ONCE)
    }

    fn known(&self) -> Known<'_> {
        Known {
            spec: self.spec,
            seen: self.draft.seen,
            uid: &self.draft.owner.uid,
            tried: &self.tried,
            attempts: &self.draft.status.attempts,
        }
    }

    /// The object is being deleted: end the run, put the tablet back, remove the data if that was asked for.
    fn going(&mut self) -> Requeue {
        if let Some(wait) = run::delete(&mut self.draft, self.spec.pod_template.as_ref(), true) {
            return wait;
        }
        if self.spec.backup_name.is_some() {
            records::name(&mut self.draft, self.spec);
        }
        if let Some(job) = self.verification.as_mut().and_then(|verification| verification.job.take()) {
            self.draft.actions.push(Action::DeleteJob(job.name));
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

#[cfg(test)]
#[path = "backup_tests.rs"]
mod tests;
