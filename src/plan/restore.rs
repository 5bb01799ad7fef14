//! What to do next for a VitessRestore.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::accept::{self, Attached, Problem};
use super::draft::{ACCEPTED, AT_ONCE, Asked, Draft, ENGINE_RUNNING, PATIENTLY, WATCH_ENGINE, whole_seconds};
use super::observed::{Observed, seconds_since};
use super::run::{self, Stage};
use super::{Action, Plan, Requeue, launch, pod_start, recovery, report, retry};
use crate::api::{
    EngineJob, GoDuration, JobPurpose, Phase, Trigger, VitessBackupStorage, VitessRestore, VitessRestoreSpec,
    VitessRestoreStatus, VolumeTarget,
};
use crate::backup::failure::Reason;
use crate::backup::report::{Outcome, Verdict};
use crate::progress::Step;
use crate::resources::names::Lock;
use crate::topo::TabletAlias;

/// The plan for this restore. `now` is the only clock.
pub fn next(restore: &VitessRestore, seen: &Observed, now: Timestamp) -> Plan<VitessRestoreStatus> {
    if restore.spec.trigger == Trigger::PodStart {
        return pod_start::next(restore, seen, now);
    }
    let VitessRestoreStatus { run, next_lookup_time, waiting_since, lookups, started_empty, pods: _ } =
        restore.status.clone().unwrap_or_default();
    let mut draft = Draft::new("VitessRestore", &restore.metadata, run, seen, now);
    let VitessRestoreSpec { retries, cancel, waiting_deadlines, .. } = &restore.spec;
    let waiting = waiting_deadlines.clone().unwrap_or_default();
    draft.asked = Asked { retries: *retries, cancel: *cancel, waiting };
    let mut next = Next { spec: &restore.spec, draft, next_lookup_time, waiting_since, lookups, started_empty };
    let requeue = next.decide();
    let Next { spec: _, draft, next_lookup_time, waiting_since, lookups, started_empty } = next;
    let finished = draft.finish(requeue);
    let status = finished.status.map(|run| VitessRestoreStatus {
        run,
        next_lookup_time,
        waiting_since,
        lookups,
        started_empty,
        pods: Vec::new(),
    });
    Plan { actions: finished.actions, status, requeue: finished.requeue, events: finished.events }
}

#[allow(clippy::struct_field_names)] // nextLookupTime is the API's word
struct Next<'a> {
    spec: &'a VitessRestoreSpec,
    draft: Draft<'a>,
    next_lookup_time: Option<Time>,
    waiting_since: Option<Time>,
    lookups: Option<i32>,
    started_empty: Option<bool>,
}

/// What to restore onto, found and free to use.
enum Target<'a> {
    Tablet(Box<Attached>),
    Volume(&'a VolumeTarget),
}

impl<'a> Next<'a> {
    fn decide(&mut self) -> Requeue {
        if self.draft.deleted_at().is_some() {
            let (template, attached) = (self.spec.pod_template.as_ref(), self.is_attached());
            if let Some(wait) = run::delete(&mut self.draft, template, attached) {
                return wait;
            }
            run::settle(&mut self.draft);
            return Requeue::After(PATIENTLY);
        }
        if self.draft.phase().is_final() {
            return run::settle(&mut self.draft);
        }
        if self.spec.cancel {
            let (template, attached) = (self.spec.pod_template.as_ref(), self.is_attached());
            if let Some(wait) = run::cancel(&mut self.draft, template, attached) {
                self.next_lookup_time = None;
                return wait;
            }
        }
        if self.draft.status.failure.is_some() {
            return recovery::next(&mut self.draft, self.spec.pod_template.as_ref());
        }
        match self.draft.status.job.clone() {
            Some(job) => self.watch(&job),
            None => self.prepare(),
        }
    }

    fn is_attached(&self) -> bool {
        launch::targets(self.spec.target.as_ref()).0.is_some()
    }

    fn waits(&self) -> bool {
        self.spec.wait_for_backup_interval > GoDuration::default()
    }

    /// Looks for all that the restore needs, takes the lock, and notes the Job that is to be made.
    fn prepare(&mut self) -> Requeue {
        self.draft.status.storage_name = Some(self.spec.storage.name.clone());
        self.draft.status.shard = Some(self.spec.shard.to_string());
        if let Some(pause) = retry::pause_left(&mut self.draft) {
            return pause;
        }
        run::sweep(&mut self.draft);
        if let Some(over) = self.waited_long_enough() {
            return over;
        }
        if let Some(pause) = self.until_next_lookup() {
            // Between looks the tablet is anybody's.
            run::release_locks(&mut self.draft);
            return pause;
        }
        let found = accept::storage(self.draft.seen, &self.spec.storage.name).and_then(|_| self.target());
        let (lock, message) = match found {
            Ok(Target::Tablet(attached)) => {
                let alias = &attached.tablet.alias;
                self.draft.status.tablet_alias = Some(alias.to_string());
                (Lock::tablet(alias), format!("tablet {alias} is restored"))
            }
            Ok(Target::Volume(volume)) => {
                (Lock::volume(&volume.claim_name), format!("the volume of claim {} is filled", volume.claim_name))
            }
            Err(problem) => return run::wait_for(&mut self.draft, ACCEPTED, problem),
        };
        run::accept(&mut self.draft, message);
        if let Some(wait) = run::lock(&mut self.draft, &[lock]) {
            return wait;
        }
        let now = self.draft.time();
        self.draft.status.start_time.get_or_insert(now);
        self.next_lookup_time = None;
        self.draft.intend_next(JobPurpose::Restore);
        self.draft.about_to_launch();
        Requeue::After(AT_ONCE)
    }

    fn until_next_lookup(&self) -> Option<Requeue> {
        let at = self.next_lookup_time.as_ref()?;
        let wait = Duration::try_from(at.0.duration_since(self.draft.now)).ok().filter(|wait| !wait.is_zero())?;
        Some(Requeue::After(self.wait_left().map_or(wait, |left| wait.min(left))))
    }

    /// How much longer a backup is waited for; `None`: for ever, or none is waited for.
    fn wait_left(&self) -> Option<Duration> {
        let GoDuration(limit) = self.spec.wait_for_backup_deadline?;
        let since = self.waiting_since.as_ref()?.0;
        Some(limit.saturating_sub(Duration::from_secs(seconds_since(since, self.draft.now))))
    }

    /// Ends the run when no backup came in time.
    fn waited_long_enough(&mut self) -> Option<Requeue> {
        if !self.wait_left()?.is_zero() {
            return None;
        }
        let limit = self.spec.wait_for_backup_deadline.unwrap_or_default().0;
        let text = format!("{} has no backup in storage {}", self.spec.shard, self.spec.storage.name);
        self.next_lookup_time = None;
        Some(run::wait_is_over(&mut self.draft, "waitForBackupDeadline", limit, &text))
    }

    fn target(&self) -> Result<Target<'a>, Problem> {
        match launch::targets(self.spec.target.as_ref()) {
            (Some(alias), _) => self.tablet(alias).map(|attached| Target::Tablet(Box::new(attached))),
            (None, Some(volume)) => self.volume(volume).map(|()| Target::Volume(volume)),
            (None, None) => {
                let text =
                    "spec.target names nothing: create the object again with a tablet or a persistentVolumeClaim";
                Err(("SpecInvalid", text.to_owned()))
            }
        }
    }

    fn tablet(&self, alias: &TabletAlias) -> Result<Attached, Problem> {
        let attached = accept::tablet(self.draft.seen, alias)?;
        let (own, wanted) = (&attached.tablet.shard, &self.spec.shard);
        if own != wanted {
            let text = format!(
                "tablet {alias} belongs to {own}, and a backup of {wanted} would replace its data with another shard's: \
                 create the object again with a tablet of {wanted}, or with shard: {own}"
            );
            return Err(("ShardMismatch", text));
        }
        Ok(attached)
    }

    fn volume(&self, volume: &VolumeTarget) -> Result<(), Problem> {
        let claim = &volume.claim_name;
        if !self.draft.seen.claims.contains_key(claim) {
            let text = format!(
                "claim {claim} does not exist: create the PersistentVolumeClaim, or delete this object and create it with the \
                 right spec.target.persistentVolumeClaim.claimName"
            );
            return Err(("VolumeNotFound", text));
        }
        if let Some(pod) = self.draft.seen.claim_users.first() {
            let pod = pod.metadata.name.as_deref().unwrap_or_default();
            let text = format!(
                "pod {pod} uses claim {claim}: stop it (scale its StatefulSet to 0), or restore its tablet instead"
            );
            return Err(("VolumeInUse", text));
        }
        Ok(())
    }

    fn watch(&mut self, job: &EngineJob) -> Requeue {
        let stage = run::stage(&mut self.draft, job);
        let runs = self.draft.status.job.as_ref().is_some_and(|job| job.uid.is_some());
        // A look that finds nothing is not a run: with an interval the phase moves on when a backup was chosen.
        if runs && (!self.waits() || self.has_chosen()) {
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
                self.put_back_or_fail(true)
            }
        }
    }

    fn has_chosen(&self) -> bool {
        let step = self.draft.status.progress.as_ref().and_then(|progress| progress.step.as_deref());
        let early = [Step::Checking, Step::ChoosingBackup].map(|step| format!("{step:?}"));
        step.is_some_and(|step| !early.iter().any(|early| early == step))
    }

    fn launch(&mut self, job: &EngineJob) -> Requeue {
        let seen = self.draft.seen;
        let stored = accept::storage(seen, &self.spec.storage.name);
        let found: Result<(&VitessBackupStorage, Target<'_>), Problem> =
            stored.and_then(|stored| self.target().map(|target| (stored, target)));
        let (stored, target) = match found {
            Ok(found) => found,
            Err(problem) => {
                // It went between the choice and the launch, and nothing was made yet: look again.
                self.draft.status.job = None;
                return run::wait_for(&mut self.draft, ACCEPTED, problem);
            }
        };
        let onto = match &target {
            Target::Tablet(attached) => launch::Onto::Tablet(attached),
            Target::Volume(volume) => launch::Onto::Volume(volume),
        };
        let made = launch::restore(&self.draft, self.spec, &onto, stored, job);
        self.draft.actions.push(Action::CreateJob(Box::new(made)));
        Requeue::After(WATCH_ENGINE)
    }

    fn ended(&mut self, outcome: &Outcome, log_tail: &[String]) -> Requeue {
        report::replication(&mut self.draft, outcome);
        match outcome.verdict {
            Verdict::Succeeded => {
                self.started_empty = Some(false);
                report::succeeded(&mut self.draft, outcome);
                let name = self.draft.status.backup_name.clone().unwrap_or_default();
                run::succeed(&mut self.draft, &format!("backup {name} is restored"))
            }
            Verdict::NoBackup if self.waits() => {
                let text = format!("{} has no backup in storage {} yet", self.spec.shard, self.spec.storage.name);
                self.wait_for_backup("NoBackupYet", &text)
            }
            // One may be under way; Vitess goes on waiting too.
            Verdict::Failed if self.waits() && none_is_complete(outcome) => {
                let text = outcome.failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default();
                self.wait_for_backup("NoCompleteBackupYet", &text)
            }
            // DataPresent is what a run at a pod's start says, and this is none.
            Verdict::StartedEmpty | Verdict::NoBackup | Verdict::DataPresent => {
                self.started_empty = Some(true);
                self.draft.status.warnings.clone_from(&outcome.warnings);
                self.draft.status.progress = None;
                let message = format!(
                    "{} has no backup in storage {}: nothing was restored, and the target is as it was",
                    self.spec.shard, self.spec.storage.name
                );
                run::succeed(&mut self.draft, &message)
            }
            Verdict::Failed => {
                self.draft.note_failure(report::failure(outcome, log_tail));
                self.put_back_or_fail(recovery::is_needed(outcome))
            }
        }
    }

    fn wait_for_backup(&mut self, reason: &str, text: &str) -> Requeue {
        let interval = self.spec.wait_for_backup_interval.0;
        let next = whole_seconds(self.draft.now + interval);
        let message = format!("{text}: storage is looked at again at {next}");
        if self.lookups.is_none() {
            self.draft.event("WaitingForBackup", message.clone());
        }
        self.draft.condition(ENGINE_RUNNING, "False", reason, message);
        self.draft.enter(Phase::WaitingForBackup);
        self.draft.status.job = None;
        self.draft.status.progress = None;
        self.lookups = Some(self.lookups.unwrap_or(0) + 1);
        let now = self.draft.time();
        self.waiting_since.get_or_insert(now);
        self.next_lookup_time = Some(Time(next));
        run::release_locks(&mut self.draft);
        Requeue::After(Duration::from_secs(seconds_since(self.draft.now, next).max(1)))
    }

    /// A tablet may have to be put back; files at rest are as they are, and the restore is run again.
    fn put_back_or_fail(&mut self, needed: bool) -> Requeue {
        if needed && self.is_attached() {
            return recovery::begin(&mut self.draft);
        }
        if let Some(failure) = self.draft.status.failure.as_mut().filter(|_| needed) {
            "the volume may hold half a restore: create the object again, with existingData: Replace"
                .clone_into(&mut failure.remedy);
        }
        run::fail(&mut self.draft)
    }
}

fn none_is_complete(outcome: &Outcome) -> bool {
    outcome.failure.as_ref().is_some_and(|failure| failure.reason == Reason::NoCompleteBackup)
}

#[cfg(test)]
#[path = "restore_tests.rs"]
mod tests;
