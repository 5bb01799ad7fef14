//! What the shell needs to know of each kind of run.

use std::fmt::Debug;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::Context;
use super::held::{Held, Stores};
use crate::api::{
    EngineJob, Phase, RunStatus, Trigger, VitessBackup, VitessBackupStatus, VitessRestore, VitessRestoreStatus,
    VitessTopologyBackup, VitessTopologyBackupStatus,
};
use crate::plan::observed::Observed;
use crate::plan::records::Noted;
use crate::plan::{self, Plan, accept};
use crate::resources::names::{FINALIZER_RUN, Lock};
use crate::resources::topology;

/// A VitessBackup, a VitessRestore or a VitessTopologyBackup.
pub trait Run:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    const KIND: &'static str;
    /// Which objects the controller of runs watches, as a label selector: not records, of which there may be thousands.
    const SELECTOR: Option<&'static str>;
    /// Whether a run that has ended may have changed what is in its storage.
    const STORES: bool;
    type Status: Clone + PartialEq + Serialize + Send + Sync;

    fn status(&self) -> Option<&Self::Status>;
    fn run(status: &Self::Status) -> &RunStatus;
    fn run_mut(status: &mut Self::Status) -> &mut RunStatus;
    fn storage_name(&self) -> &str;
    /// `<keyspace>/<shard>`, as soon as it is known.
    fn shard(&self) -> Option<String>;
    /// Claims that other pods may use too: which a restore is to fill, or which a ZooKeeper's files are read from.
    fn shared_claims(&self) -> Vec<&str>;
    /// The Job that verifies a backup which is there.
    fn verification_job(&self) -> Option<&EngineJob>;
    /// Whether such a verification is under way, or is wanted.
    fn verifies(&self) -> bool;
    /// Whether it is a backup that asks XtraBackup for a tar stream, which not every server's can write.
    fn streams_tar(&self) -> bool;
    /// Whether nothing is ever launched for it: the record of a backup that exists.
    fn is_record(&self) -> bool;
    fn plan(&self, seen: &Observed, now: Timestamp) -> Plan<Self::Status>;

    /// What its plan may look at of tablets and locks, as locks of these: a tablet, a shard with all its tablets, a volume.
    fn wants(&self) -> Vec<Lock>;

    /// The backup in storage that it stands for.
    fn noted(&self) -> Option<Noted> {
        None
    }

    /// What the controllers hold of this kind.
    fn held(context: &Context) -> &Stores<Held<Self>>;

    /// Whether nothing is launched for it and pods that start follow it.
    fn follows_pods(&self) -> bool {
        false
    }

    fn phase(&self) -> Phase {
        self.status().and_then(|status| Self::run(status).phase).unwrap_or_default()
    }

    /// Whether the run has not ended, or has not given back what it held.
    fn lives(&self) -> bool {
        let finalizers = self.meta().finalizers.iter().flatten();
        !(self.is_record() || self.phase().is_final())
            || finalizers.into_iter().any(|finalizer| finalizer == FINALIZER_RUN)
    }

    /// Whether it waits for something that is not its own Job.
    fn waits(&self) -> bool {
        if self.follows_pods() {
            return self.phase() == Phase::Pending;
        }
        !self.is_record()
            && !self.phase().is_final()
            && self.status().is_none_or(|status| Self::run(status).job.is_none())
    }

    /// Whether another run that gives something back may be what it waits for, as its last look said.
    fn waits_for_others(&self) -> bool {
        self.status().map(Self::run).is_some_and(|run| {
            let accepted = run.conditions.iter().find(|condition| condition.type_ == plan::ACCEPTED);
            run.queue.is_some() || accepted.is_some_and(|condition| condition.status != "True")
        })
    }
}

impl Run for VitessBackup {
    const KIND: &'static str = "VitessBackup";
    const SELECTOR: Option<&'static str> = Some("backup.vitess.io/origin!=inventory");
    const STORES: bool = true;
    type Status = VitessBackupStatus;

    fn status(&self) -> Option<&VitessBackupStatus> {
        self.status.as_ref()
    }

    fn run(status: &VitessBackupStatus) -> &RunStatus {
        &status.run
    }

    fn run_mut(status: &mut VitessBackupStatus) -> &mut RunStatus {
        &mut status.run
    }

    fn storage_name(&self) -> &str {
        &self.spec.storage.name
    }

    fn shard(&self) -> Option<String> {
        let known = self.status.as_ref().and_then(|status| status.run.shard.clone());
        known.or_else(|| self.spec.shard.as_ref().map(ToString::to_string))
    }

    fn shared_claims(&self) -> Vec<&str> {
        Vec::new()
    }

    fn verification_job(&self) -> Option<&EngineJob> {
        self.status.as_ref()?.verification.as_ref()?.job.as_ref()
    }

    fn verifies(&self) -> bool {
        plan::verification::is_due(self)
    }

    fn streams_tar(&self) -> bool {
        accept::streams_tar(&self.spec)
    }

    fn wants(&self) -> Vec<Lock> {
        let run = self.status.as_ref().map(|status| &status.run);
        let shard = run.and_then(|run| run.shard.as_ref()?.parse().ok());
        let alias = run.and_then(|run| run.tablet_alias.as_ref()?.parse().ok());
        let shards = self.spec.shard.iter().chain(&shard).map(Lock::shard);
        self.spec.tablet.iter().chain(&alias).map(Lock::tablet).chain(shards).collect()
    }

    fn noted(&self) -> Option<Noted> {
        Some(Noted::of(self))
    }

    fn held(context: &Context) -> &Stores<Held<Self>> {
        &context.backups
    }

    fn is_record(&self) -> bool {
        self.spec.backup_name.is_some()
    }

    fn plan(&self, seen: &Observed, now: Timestamp) -> Plan<VitessBackupStatus> {
        plan::backup::next(self, seen, now)
    }
}

impl Run for VitessRestore {
    const KIND: &'static str = "VitessRestore";
    const SELECTOR: Option<&'static str> = None;
    const STORES: bool = false;
    type Status = VitessRestoreStatus;

    fn status(&self) -> Option<&VitessRestoreStatus> {
        self.status.as_ref()
    }

    fn run(status: &VitessRestoreStatus) -> &RunStatus {
        &status.run
    }

    fn run_mut(status: &mut VitessRestoreStatus) -> &mut RunStatus {
        &mut status.run
    }

    fn storage_name(&self) -> &str {
        &self.spec.storage.name
    }

    fn shard(&self) -> Option<String> {
        Some(self.spec.shard.to_string())
    }

    fn shared_claims(&self) -> Vec<&str> {
        let volume = self.spec.target.as_ref().and_then(|target| target.persistent_volume_claim.as_ref());
        volume.into_iter().map(|volume| volume.claim_name.as_str()).collect()
    }

    fn verification_job(&self) -> Option<&EngineJob> {
        None
    }

    fn verifies(&self) -> bool {
        false
    }

    fn streams_tar(&self) -> bool {
        false
    }

    fn is_record(&self) -> bool {
        false
    }

    fn wants(&self) -> Vec<Lock> {
        let tablet = self.spec.target.as_ref().and_then(|target| target.tablet.as_ref());
        tablet.map(Lock::tablet).into_iter().chain(self.shared_claims().into_iter().map(Lock::volume)).collect()
    }

    fn held(context: &Context) -> &Stores<Held<Self>> {
        &context.restores
    }

    fn plan(&self, seen: &Observed, now: Timestamp) -> Plan<VitessRestoreStatus> {
        plan::restore::next(self, seen, now)
    }

    fn follows_pods(&self) -> bool {
        self.spec.trigger == Trigger::PodStart
    }
}

impl Run for VitessTopologyBackup {
    const KIND: &'static str = plan::topology::KIND;
    const SELECTOR: Option<&'static str> = None;
    const STORES: bool = false;
    type Status = VitessTopologyBackupStatus;

    fn status(&self) -> Option<&VitessTopologyBackupStatus> {
        self.status.as_ref()
    }

    fn run(status: &VitessTopologyBackupStatus) -> &RunStatus {
        &status.run
    }

    fn run_mut(status: &mut VitessTopologyBackupStatus) -> &mut RunStatus {
        &mut status.run
    }

    fn storage_name(&self) -> &str {
        &self.spec.storage.name
    }

    fn shard(&self) -> Option<String> {
        None
    }

    fn shared_claims(&self) -> Vec<&str> {
        topology::claims(&self.spec)
    }

    fn verification_job(&self) -> Option<&EngineJob> {
        None
    }

    fn verifies(&self) -> bool {
        false
    }

    fn is_record(&self) -> bool {
        false
    }

    fn streams_tar(&self) -> bool {
        false
    }

    fn wants(&self) -> Vec<Lock> {
        vec![plan::topology::lock(&self.spec)]
    }

    fn held(context: &Context) -> &Stores<Held<Self>> {
        &context.topology_backups
    }

    fn plan(&self, seen: &Observed, now: Timestamp) -> Plan<VitessTopologyBackupStatus> {
        plan::topology::next(self, seen, now)
    }
}
