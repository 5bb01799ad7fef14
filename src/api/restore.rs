//! VitessRestore: one restore onto one tablet, or into the volume of one that does not run yet.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backup::{StorageReference, Vtctld, six_hours};
use super::pod_template::PodTemplate;
use super::run::{FailureStatus, RunStatus, WaitingDeadlines};
use super::schema;
use super::xtrabackup::XtrabackupRestoreOptions;
use crate::duration::GoDuration;
use crate::topo::{KeyspaceShard, TabletAlias};

/// One restore, as Vitess's `RestoreFromBackup` makes it, of a backup that Vitess or this operator took; or, with trigger
/// PodStart, how a shard's tablets restore when their pods start, as vttablet's `--restore-from-backup` makes it.
/// Create the object to restore; its status tells how it went. The spec of a restore of trigger Now cannot be changed,
/// but for cancel.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "backup.vitess.io",
    version = "v1alpha1",
    kind = "VitessRestore",
    plural = "vitessrestores",
    namespaced,
    status = "VitessRestoreStatus",
    category = "vitess-backup",
    derive = "PartialEq",
    printcolumn(name = "Shard", type_ = "string", json_path = ".spec.shard"),
    printcolumn(name = "Tablet", type_ = "string", json_path = ".status.tabletAlias"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress.summary"),
    printcolumn(name = "Backup", type_ = "string", json_path = ".status.backupName"),
    printcolumn(name = "Next-Lookup", type_ = "string", json_path = ".status.nextLookupTime", priority = 1),
    printcolumn(name = "Position", type_ = "string", json_path = ".status.position", priority = 1),
    printcolumn(name = "Failure", type_ = "string", json_path = ".status.failure.reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    schema::rule(schema::STAYS_CANCELLED, schema::CANCELLED),
    schema::rule(
        "!has(self.waitForBackupDeadline) || (has(self.waitForBackupInterval) && self.waitForBackupInterval.matches('[1-9]'))",
        "waitForBackupDeadline ends waiting for a backup: set waitForBackupInterval too, or remove it",
    ),
    schema::rule(
        "self.trigger == 'Now' || !(has(self.cancel) && self.cancel || has(self.waitingDeadlines) || has(self.waitForBackupDeadline)) && (!has(self.retries) || self.retries == 0)",
        "cancel, retries, waitingDeadlines and waitForBackupDeadline belong to trigger Now: remove them (a pod tries again by itself, and stops when it is deleted)",
    ),
    schema::rule(
        "self == oldSelf || (self.trigger == 'PodStart' && oldSelf.trigger == 'PodStart' && self.shard == oldSelf.shard)",
        schema::IMMUTABLE_RESTORE,
    ),
    schema::rule(
        "self.trigger == 'PodStart' || has(self.target)",
        "say what to restore onto: set target to a tablet (its alias) or a persistentVolumeClaim",
    ),
    schema::rule(
        "self.trigger == 'Now' || !has(self.target)",
        "with trigger PodStart the pods say that they are meant, by the label backup.vitess.io/restore: remove target",
    ),
    schema::rule(
        "self.trigger == 'Now' || !has(self.vtctld)",
        "with trigger PodStart vttablet itself sets the replication source when it starts: remove vtctld",
    ),
    schema::rule(
        "!(has(self.fallback) && self.fallback && has(self.backup.name))",
        "fallback chooses an older backup by itself, and backup.name asks for just one: remove one of the two",
    ),
    schema::rule(
        "self.trigger == 'PodStart' || !has(self.bootstrap)",
        "bootstrap belongs to trigger PodStart: remove it",
    ),
    schema::rule(
        "!has(self.bootstrap) || !has(self.bootstrap.keyspace) || self.shard.startsWith(self.bootstrap.keyspace + '/')",
        "bootstrap.keyspace is the tablets' keyspace, and they restore backups of their own shard: make it the keyspace of shard",
    ),
    schema::rule(
        "!has(self.bootstrap) || !has(self.bootstrap.shard) || self.shard.endsWith('/' + self.bootstrap.shard)",
        "bootstrap.shard is the tablets' shard, and they restore backups of their own: make it that of shard",
    ),
]))]
pub struct VitessRestoreSpec {
    pub storage: StorageReference,
    /// Whose backups to look at.
    #[schemars(schema_with = "schema::keyspace_shard")]
    pub shard: KeyspaceShard,
    /// Now: the operator restores as soon as it sees the object. PodStart: nothing is launched; each pod that names this
    /// object by the label (or annotation) backup.vitess.io/restore restores when it starts and has no data. Of such an
    /// object all but trigger and shard may be changed; pods that the webhook sees made later follow it.
    #[serde(default)]
    pub trigger: Trigger,
    /// What to restore onto.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<RestoreTarget>,
    /// What to do when the target holds data: refuse, or replace it. A tablet that exists holds data. With trigger PodStart
    /// only another keyspace's data is meant: a tablet's own is never replaced.
    #[serde(default)]
    pub existing_data: ExistingData,
    /// Which backup. Default: the latest complete one.
    #[serde(default)]
    pub backup: BackupSelector,
    /// When the newest complete backup turns out damaged: restore the next older one instead, and say so in a warning.
    /// Without it the failure names that older one. Not together with backup.name.
    #[serde(default)]
    pub fallback: bool,
    /// When the shard has no complete backup: look again at this interval until there is one. 0s (the default): with no
    /// backup at all start empty, and say so in status.startedEmpty; with incomplete ones only, fail.
    #[serde(default)]
    #[schemars(schema_with = "schema::interval")]
    pub wait_for_backup_interval: GoDuration,
    /// How long a backup is waited for. Default: for ever. Past it the restore fails; nothing was touched. Not with trigger
    /// PodStart: a pod waits as long as it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::positive_duration")]
    pub wait_for_backup_deadline: Option<GoDuration>,
    /// What the tablets are that start, as vttablet's --init-keyspace, --init-shard and --init-tablet-type. Only with trigger
    /// PodStart, and only to say what shard and the pods' own flags do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<Bootstrap>,
    /// Consider only backups that these engines made. Default: all. This version restores those of builtin and
    /// xtrabackup; the latter needs xtrabackup and xbstream in the tablet's image, in PATH or xtrabackup.rootPath.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 32)))]
    pub allowed_backup_engines: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xtrabackup: Option<XtrabackupRestoreOptions>,
    /// How many files are restored at a time. Default 4, as in Vitess.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 128))]
    pub concurrency: Option<i32>,
    /// How many bytes a second may come from storage, over all files together: a quantity such as 50Mi. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bandwidth")]
    pub bandwidth_limit: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vtctld: Option<Vtctld>,
    /// How long one restore may take in all, each try by itself; waiting for a backup does not count. A pod that waits for a
    /// backup when it starts has no deadline.
    #[serde(default = "six_hours")]
    #[schemars(schema_with = "schema::positive_duration")]
    pub deadline: GoDuration,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_deadlines: Option<WaitingDeadlines>,
    /// How often a restore that failed is tried again, with each failed try in status.attempts. What another try cannot mend
    /// (a damaged backup, data that is in the way) fails at once.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10))]
    pub retries: i32,
    /// Set it to true to stop the run: the engine is told to stop and the phase is Cancelled. A restore that was replacing data
    /// leaves a tablet without usable data, as the condition TabletRecovered then says. The one field that can be set
    /// later; it cannot be taken back.
    #[serde(default)]
    pub cancel: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Trigger {
    #[default]
    Now,
    PodStart,
}

/// What a tablet is that starts for the first time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bootstrap {
    /// The keyspace of shard, as --init-keyspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub keyspace: Option<String>,
    /// The shard of shard, as --init-shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub shard: Option<String>,
    /// As --init-tablet-type. Default: what the pod's own flags say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tablet_type: Option<BootstrapType>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BootstrapType {
    Replica,
    Rdonly,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExistingData {
    #[default]
    Refuse,
    Replace,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [schema::rule(
    "has(self.tablet) != has(self.persistentVolumeClaim)",
    "name exactly one target: tablet (the alias of a tablet that exists) or persistentVolumeClaim (the volume of one that does not run yet)",
)]))]
pub struct RestoreTarget {
    /// The alias of a tablet that exists. Its mysqld is stopped, its data replaced, and it replicates again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::tablet_alias")]
    pub tablet: Option<TabletAlias>,
    /// The volume of a tablet that does not run yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<VolumeTarget>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeTarget {
    /// A claim in this namespace.
    #[schemars(schema_with = "schema::object_name")]
    pub claim_name: String,
    /// The uid of the tablet that will use it: data goes to `<root>/vt_<ten digits>`.
    #[schemars(range(min = 0, max = 4_294_967_295_u32))]
    pub tablet_uid: u32,
    /// The directory inside the volume that the tablet will have as VTDATAROOT. Default: the volume's own root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::directory")]
    pub root: Option<String>,
}

/// Which backup to restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    schema::rule(
        "[has(self.latest), has(self.name), has(self.atOrBefore), has(self.toTimestamp), has(self.toPosition)].filter(set, set).size() == 1",
        "say in exactly one way which backup to restore: latest: {}, name, or atOrBefore",
    ),
    schema::rule(
        "!has(self.toTimestamp) && !has(self.toPosition)",
        "this version of the operator restores no point in time between backups: use atOrBefore",
    ),
]))]
pub struct BackupSelector {
    /// The latest complete backup: `latest: {}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<Latest>,
    /// The backup of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::backup_name")]
    pub name: Option<String>,
    /// The latest complete backup that was started at or before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::backup_time")]
    pub at_or_before: Option<String>,
    /// Not in this version: refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub to_timestamp: Option<String>,
    /// Not in this version: refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub to_position: Option<String>,
}

impl Default for BackupSelector {
    fn default() -> Self {
        Self { latest: Some(Latest {}), name: None, at_or_before: None, to_timestamp: None, to_position: None }
    }
}

/// Nothing to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Latest {}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(description = "How the restore went.")]
pub struct VitessRestoreStatus {
    #[serde(flatten)]
    pub run: RunStatus,
    /// When storage is looked at next. Only in phase WaitingForBackup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_lookup_time: Option<Time>,
    #[schemars(description = "When storage was first looked at and had no backup.")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<Time>,
    /// How often storage was looked at and had no backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookups: Option<i32>,
    /// Whether there was no backup and none was waited for: nothing was restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_empty: Option<bool>,
    /// Trigger PodStart: the pods that name this object, by name; those that need a look first when they are more than 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub pods: Vec<PodRestore>,
}

/// What the init container of a tablet's pod did, by its last words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodRestore {
    /// The pod.
    pub name: String,
    pub phase: PodRestorePhase,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tablet_alias: Option<String>,
    /// The backup that the tablet's data came from, also when the pod was started again since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_name: Option<String>,
    /// The backup's replication position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    #[schemars(description = "When the init container began.")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    #[schemars(description = "When it ended.")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_time: Option<Time>,
    /// How long it ran, in seconds, rounded up; waiting for a backup included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<i64>,
    /// How often the kubelet started it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<i32>,
    /// Why it failed last, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureStatus>,
}

/// How far a pod's restore is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum PodRestorePhase {
    /// It ended badly; the kubelet starts it again.
    Failed,
    /// The init container has not started, or the pod has none that restores.
    #[default]
    Pending,
    /// It restores, or waits for a backup: see its log.
    Running,
    /// There was no backup and none was waited for.
    StartedEmpty,
    /// A backup was restored.
    Restored,
    /// The tablet had data.
    DataPresent,
    /// The pod is not there now.
    Gone,
}
