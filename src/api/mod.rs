//! The custom resources of `backup.vitess.io/v1alpha1`: types, `kubectl explain` texts and CEL rules. No behaviour.
//!
//! What the API server can check is a CEL rule whose message says what to do. Fields that a later version gives a meaning
//! to are in the schema when a spec that sets them must not be taken for one that does not; setting them is refused.

// kube's printcolumn attribute is meant to be repeated.
#![allow(clippy::duplicated_attributes)]

mod backup;
mod inventory;
mod pod_template;
mod restore;
mod run;
mod schema;
mod storage;
mod topology;
mod verify;
mod xtrabackup;

pub use crate::duration::{GoDuration, ParseDurationError};
pub use backup::{
    BackupEngine, BackupMode, BuiltinOptions, Compression, CompressionEngine, CopyMode, DeletionPolicy,
    StorageReference, Tried, VitessBackup, VitessBackupSpec, VitessBackupStatus, Vtctld,
};
pub(crate) use backup::{half_a_minute, six_hours};
pub use inventory::{InventoryStatus, ShardStatus};
pub use pod_template::{Amount, EngineResources, EngineSecurityContext, PodTemplate};
pub use restore::{
    BackupSelector, Bootstrap, BootstrapType, ExistingData, Latest, PodRestore, PodRestorePhase, RestoreTarget,
    Trigger, VitessRestore, VitessRestoreSpec, VitessRestoreStatus, VolumeTarget,
};
pub use run::{
    Attempt, EngineJob, FailureStatus, Identity, JobPurpose, Phase, ProgressStatus, QueueStatus, RunStatus,
    WaitingDeadlines,
};
pub use storage::{
    AzblobStorage, CephStorage, FileStorage, GcsStorage, HostPathSource, NfsSource, PersistentVolumeClaimSource,
    S3Storage, SecretKey, SecretName, ServerSideEncryption, VitessBackupStorage, VitessBackupStorageSpec,
    VitessBackupStorageStatus,
};
pub use topology::{
    ConsulServer, EtcdServer, VitessTopologyBackup, VitessTopologyBackupSpec, VitessTopologyBackupStatus,
    ZookeeperDataDirectory, ZookeeperServer,
};
pub use verify::{Assertion, Drill, Scratch, ScratchEmptyDir, ScratchVolume, VerificationStatus, Verify};
pub use xtrabackup::{StreamMode, XtrabackupOptions, XtrabackupRestoreOptions};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

/// The API group. Labels, annotations and finalizers of this project use it as their prefix.
pub const GROUP: &str = "backup.vitess.io";
pub const VERSION: &str = "v1alpha1";

/// Every CustomResourceDefinition, in the order in which they should be installed.
pub fn custom_resource_definitions() -> Vec<CustomResourceDefinition> {
    [VitessBackupStorage::crd(), VitessBackup::crd(), VitessRestore::crd(), VitessTopologyBackup::crd()]
        .into_iter()
        .map(described)
        .collect()
}

/// The status of an object that the operator has not seen yet: of no generation, so that kstatus, `kubectl wait` and
/// whoever else compares `observedGeneration` with the object's own does not take it for one that is done.
const UNSEEN: i64 = -1;

/// Puts right what the derive macro cannot: the kind's own text (that of its spec), the status of an object that is new,
/// and the leaves of the schema.
fn described(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let Some(root) = version.schema.as_mut().and_then(|validation| validation.open_api_v3_schema.as_mut()) else {
            continue;
        };
        if let Some(spec) = root.properties.as_mut().and_then(|properties| properties.get_mut("spec")) {
            but_for_cancel(spec);
        }
        let unseen = serde_json::json!({"observedGeneration": UNSEEN});
        if let Some(status) = root.properties.as_mut().and_then(|properties| properties.get_mut("status")) {
            status.default = Some(JSON(unseen));
        }
        let spec = root.properties.as_ref().and_then(|properties| properties.get("spec"));
        root.description = spec.and_then(|spec| spec.description.clone()).or_else(|| root.description.take());
        plain(root);
    }
    crd
}

/// Spells the rule that a spec stays as it is out for every field but `cancel`, the one that may be set later: CEL has no way
/// to compare all but one, and a list written by hand would forget the next field. The API server goes through that list only
/// when something has changed: it runs the rule at every write of a status as well, and each field named in it costs as much
/// as the spec has fields.
fn but_for_cancel(spec: &mut JSONSchemaProps) {
    let Some(properties) = spec.properties.as_ref().filter(|properties| properties.contains_key("cancel")) else {
        return;
    };
    let same = |name: &String| {
        format!("has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || self.{name} == oldSelf.{name})")
    };
    let fields: Vec<String> = properties.keys().filter(|name| *name != "cancel").map(same).collect();
    for validation in spec.x_kubernetes_validations.iter_mut().flatten() {
        if validation.rule.contains(schema::UNCHANGED) {
            let but_for_cancel = format!("({} || {})", schema::UNCHANGED, fields.join(" && "));
            validation.rule = validation.rule.replace(schema::UNCHANGED, &but_for_cancel);
        }
    }
}

/// An absent field is absent: `null` is refused, because CEL's `has()` takes a null for a value. And integers have the
/// formats that Kubernetes knows.
fn plain(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if let Some(values) = &mut schema.enum_ {
        values.retain(|value| !value.0.is_null());
    }
    if let Some("uint32" | "uint64" | "uint" | "int") = schema.format.as_deref() {
        schema.format = Some("int64".to_owned());
    }
    schema.properties.iter_mut().flat_map(|properties| properties.values_mut()).for_each(plain);
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => plain(item),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(plain),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        plain(values);
    }
}
