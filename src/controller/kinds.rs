//! What the shell needs to know of each kind of run.

use std::fmt::Debug;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::{
    Phase, RunStatus, VitessBackup, VitessBackupStatus, VitessRestore, VitessRestoreStatus, VitessTopologyBackup,
    VitessTopologyBackupStatus,
};
use crate::plan::observed::Observed;
use crate::plan::{self, Plan, accept};
use crate::resources::names::FINALIZER_RUN;

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
    type Status: Clone + PartialEq + Serialize + Send + Sync;

    fn status(&self) -> Option<&Self::Status>;
    fn run(status: &Self::Status) -> &RunStatus;
    fn run_mut(status: &mut Self::Status) -> &mut RunStatus;
    fn storage_name(&self) -> &str;
    /// The claim that a restore is to fill.
    fn target_claim(&self) -> Option<&str>;
    /// Whether it is a backup that asks XtraBackup for a tar stream, which not every server's can write.
    fn streams_tar(&self) -> bool;
    fn plan(&self, seen: &Observed, now: Timestamp) -> Plan<Self::Status>;

    fn phase(&self) -> Phase {
        self.status().and_then(|status| Self::run(status).phase).unwrap_or_default()
    }

    /// Whether the run has not ended, or has not given back what it held.
    fn lives(&self) -> bool {
        let finalizers = self.meta().finalizers.iter().flatten();
        !self.phase().is_final() || finalizers.into_iter().any(|finalizer| finalizer == FINALIZER_RUN)
    }

    /// Whether it waits for something that is not its own Job.
    fn waits(&self) -> bool {
        !self.phase().is_final() && self.status().is_none_or(|status| Self::run(status).job.is_none())
    }
}

impl Run for VitessBackup {
    const KIND: &'static str = "VitessBackup";
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

    fn target_claim(&self) -> Option<&str> {
        None
    }

    fn streams_tar(&self) -> bool {
        accept::streams_tar(&self.spec)
    }

    fn plan(&self, seen: &Observed, now: Timestamp) -> Plan<VitessBackupStatus> {
        plan::backup::next(self, seen, now)
    }
}

impl Run for VitessRestore {
    const KIND: &'static str = "VitessRestore";
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

    fn target_claim(&self) -> Option<&str> {
        let volume = self.spec.target.as_ref()?.persistent_volume_claim.as_ref()?;
        Some(&volume.claim_name)
    }

    fn streams_tar(&self) -> bool {
        false
    }

    fn plan(&self, seen: &Observed, now: Timestamp) -> Plan<VitessRestoreStatus> {
        plan::restore::next(self, seen, now)
    }
}

impl Run for VitessTopologyBackup {
    const KIND: &'static str = plan::topology::KIND;
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

    fn target_claim(&self) -> Option<&str> {
        None
    }

    fn streams_tar(&self) -> bool {
        false
    }

    fn plan(&self, seen: &Observed, now: Timestamp) -> Plan<VitessTopologyBackupStatus> {
        plan::topology::next(self, seen, now)
    }
}
