//! What to do next for a VitessTopologyBackup.

use jiff::Timestamp;

use super::accept;
use super::draft::{ACCEPTED, AT_ONCE, Draft, PATIENTLY, WATCH_ENGINE};
use super::observed::Observed;
use super::run::{self, Stage};
use super::{Action, Plan, Requeue, launch, removal, report};
use crate::api::{
    DeletionPolicy, EngineJob, FailureStatus, JobPurpose, Phase, VitessBackupStorage, VitessTopologyBackup,
    VitessTopologyBackupSpec, VitessTopologyBackupStatus,
};
use crate::backup::report::{Outcome, Verdict};
use crate::backup::topology::{Descriptor, Point, TopologyBackupName, TopologyServer};
use crate::resources::names::{self, Lock};
use crate::resources::topology;

/// The kind, as runs of it are labelled.
pub const KIND: &str = "VitessTopologyBackup";

/// The plan for this backup. `now` is the only clock.
pub fn next(backup: &VitessTopologyBackup, seen: &Observed, now: Timestamp) -> Plan<VitessTopologyBackupStatus> {
    let mut status = backup.status.clone().unwrap_or_default();
    let draft = Draft::new(KIND, &backup.metadata, std::mem::take(&mut status.run), seen, now);
    let mut next = Next { spec: &backup.spec, draft, status };
    let requeue = next.decide();
    let Next { spec: _, draft, status } = next;
    let finished = draft.finish(requeue);
    Plan {
        actions: finished.actions,
        status: finished.status.map(|run| VitessTopologyBackupStatus { run, ..status }),
        requeue: finished.requeue,
        events: finished.events,
    }
}

struct Next<'a> {
    spec: &'a VitessTopologyBackupSpec,
    draft: Draft<'a>,
    /// All but the run, which is the draft's.
    status: VitessTopologyBackupStatus,
}

impl Next<'_> {
    fn decide(&mut self) -> Requeue {
        if self.draft.deleted_at().is_some() {
            return self.going();
        }
        if self.draft.phase().is_final() {
            return run::settle(&mut self.draft);
        }
        match self.draft.status.job.clone() {
            Some(job) => self.watch(&job),
            None => self.prepare(),
        }
    }

    /// Looks for all that the backup needs, takes the lock, and notes the Job that is to be made.
    fn prepare(&mut self) -> Requeue {
        self.draft.status.storage_name = Some(self.spec.storage.name.clone());
        run::sweep(&mut self.draft);
        let (ran_as, server) = match self.accept() {
            Ok((stored, server)) => (launch::topology_identity(self.spec, stored), server),
            Err(problem) => return run::wait_for(&mut self.draft, ACCEPTED, problem),
        };
        self.status.server = Some(server.to_string());
        self.draft.enter(Phase::Pending);
        let message = format!("{} of {} is backed up", server.title(), place(self.spec));
        self.draft.condition(ACCEPTED, "True", "Accepted", message);
        if let Some(wait) = run::lock(&mut self.draft, &[lock(self.spec)]) {
            return wait;
        }
        let started = self.draft.status.start_time.get_or_insert(self.draft.time()).0;
        let Ok(name) = TopologyBackupName::new(started, &self.spec.cell, server) else {
            let text = format!("spec.cell {:?} is no cell: create the object again with another one", self.spec.cell);
            return run::wait_for(&mut self.draft, ACCEPTED, ("SpecInvalid", text));
        };
        self.draft.status.backup_name = Some(name.to_string());
        self.draft.status.ran_as = Some(ran_as);
        if self.spec.deletion_policy == DeletionPolicy::Delete {
            self.draft.add_finalizer(names::FINALIZER_REMOVE_BACKUP);
        }
        self.draft.intend(JobPurpose::Backup, 1);
        self.draft.about_to_launch();
        Requeue::After(AT_ONCE)
    }

    /// The storage and the server, when they can be used.
    fn accept(&self) -> Result<(&VitessBackupStorage, TopologyServer), accept::Problem> {
        let seen = self.draft.seen;
        let stored = accept::storage(seen, &self.spec.storage.name)?;
        let Some(server) = self.spec.server() else {
            let text = "the spec names no topology server: create the object again with etcd, zookeeper or consul";
            return Err(("SpecInvalid", text.to_owned()));
        };
        if let Some(claim) = topology::claims(self.spec).into_iter().find(|claim| !seen.claims.contains_key(*claim)) {
            let text = format!(
                "claim {claim} does not exist: delete this object and create it with the right \
                 spec.zookeeper.dataDirectory, which names the claims of a ZooKeeper's pod"
            );
            return Err(("VolumeNotFound", text));
        }
        self.shared()?;
        Ok((stored, server))
    }

    /// That a pod of ours can mount what the server's pod has mounted.
    fn shared(&self) -> Result<(), accept::Problem> {
        let (seen, claims) = (self.draft.seen, topology::claims(self.spec));
        let alone = claims.iter().find(|claim| seen.is_for_one_pod(claim));
        match alone.and_then(|claim| Some((claim, seen.user_of(&[*claim])?))) {
            None => Ok(()),
            Some((claim, pod)) => {
                let pod = pod.metadata.name.as_deref().unwrap_or_default();
                let text = format!(
                    "claim {claim} is ReadWriteOncePod and pod {pod} has it, so that no engine can mount it: use ReadWriteOnce"
                );
                Err(("VolumeNotShared", text))
            }
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
            Stage::NeverStarted(failure) => self.fail(failure),
            Stage::Lost(failure) => {
                let remedy =
                    "the topology server was only read from, and what was stored is not complete: create the object \
                              again"
                        .to_owned();
                self.fail(FailureStatus { remedy, ..failure })
            }
        }
    }

    fn launch(&mut self, job: &EngineJob) -> Requeue {
        let (ran_as, made) = match self.accept() {
            Ok((stored, server)) => {
                let made = launch::topology_backup(&self.draft, self.spec, server, stored, job);
                (launch::topology_identity(self.spec, stored), made)
            }
            Err(problem) => {
                // It went between the choice and the launch, and nothing was made yet: look again.
                self.draft.status.job = None;
                return run::wait_for(&mut self.draft, ACCEPTED, problem);
            }
        };
        self.draft.status.ran_as = Some(ran_as);
        self.draft.actions.push(Action::CreateJob(Box::new(made)));
        Requeue::After(WATCH_ENGINE)
    }

    fn ended(&mut self, outcome: &Outcome, log_tail: &[String]) -> Requeue {
        if outcome.verdict == Verdict::Failed {
            return self.fail(report::failure(outcome, log_tail));
        }
        report::succeeded(&mut self.draft, outcome);
        if let Some(descriptor) = &outcome.topology {
            self.describe(descriptor);
        }
        let name = self.draft.status.backup_name.clone().unwrap_or_default();
        run::succeed(&mut self.draft, &format!("backup {name} is complete"))
    }

    fn describe(&mut self, descriptor: &Descriptor) {
        let Descriptor { server, endpoint, server_version, member, point, sha256, quota_bytes, .. } =
            descriptor.clone();
        let at = Some(point.to_string()).filter(|text| !text.is_empty());
        let Point { revision, index, zxid } = point;
        let signed = |number: u64| i64::try_from(number).ok();
        self.status = VitessTopologyBackupStatus {
            run: std::mem::take(&mut self.status.run),
            server: Some(server.to_string()),
            server_version,
            endpoint: Some(endpoint),
            member,
            at,
            revision,
            index: index.and_then(signed),
            zxid,
            sha256: Some(sha256),
            quota_bytes: quota_bytes.and_then(signed),
        };
    }

    fn fail(&mut self, failure: FailureStatus) -> Requeue {
        self.draft.note_failure(failure);
        run::fail(&mut self.draft)
    }

    /// The object is being deleted: end the run, remove the data if that was asked for.
    fn going(&mut self) -> Requeue {
        let template = self.spec.pod_template.as_ref();
        if let Some(wait) = run::delete(&mut self.draft, template, false) {
            return wait;
        }
        if self.draft.has_finalizer(names::FINALIZER_REMOVE_BACKUP)
            && let Some(wait) = removal::next(&mut self.draft, template, &self.spec.storage.name)
        {
            return wait;
        }
        run::settle(&mut self.draft);
        Requeue::After(PATIENTLY)
    }
}

/// One backup per server at a time.
pub fn lock(spec: &VitessTopologyBackupSpec) -> Lock {
    Lock::topology(&place(spec))
}

/// How the server is reached, in words; also what its lock is named after.
fn place(spec: &VitessTopologyBackupSpec) -> String {
    let endpoints = spec.etcd.as_ref().map(|etcd| &etcd.endpoints);
    let endpoints = endpoints.or(spec.consul.as_ref().map(|consul| &consul.endpoints));
    let zookeeper = spec.zookeeper.as_ref();
    let directory = zookeeper.and_then(|zookeeper| zookeeper.data_directory.as_ref());
    match (endpoints.or(zookeeper.map(|zookeeper| &zookeeper.endpoints)), directory) {
        (_, Some(directory)) => format!("claim {}", directory.claim_name),
        (Some(endpoints), None) => endpoints.join(","),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
#[path = "topology_tests.rs"]
mod tests;
