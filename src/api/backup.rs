//! VitessBackup: one backup of one tablet.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pod_template::PodTemplate;
use super::run::{RunStatus, WaitingDeadlines};
use super::schema;
use super::verify::{Drill, VerificationStatus, Verify};
use super::xtrabackup::XtrabackupOptions;
use crate::duration::GoDuration;
use crate::topo::{KeyspaceShard, TabletAlias};

/// One backup, as Vitess's `Backup <tablet alias>` and `BackupShard <keyspace/shard>` make it, in Vitess's own format.
/// Create the object to take the backup; its status tells how it went. A spec cannot be changed, but for cancel.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "backup.vitess.io",
    version = "v1alpha1",
    kind = "VitessBackup",
    plural = "vitessbackups",
    namespaced,
    status = "VitessBackupStatus",
    category = "vitess-backup",
    derive = "PartialEq",
    printcolumn(name = "Shard", type_ = "string", json_path = ".status.shard"),
    printcolumn(name = "Tablet", type_ = "string", json_path = ".status.tabletAlias"),
    printcolumn(name = "Engine", type_ = "string", json_path = ".status.engine"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress.summary"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.size"),
    printcolumn(name = "Position", type_ = "string", json_path = ".status.position", priority = 1),
    printcolumn(name = "Backup", type_ = "string", json_path = ".status.backupName", priority = 1),
    printcolumn(name = "Started", type_ = "date", json_path = ".status.startTime", priority = 1),
    printcolumn(name = "Failure", type_ = "string", json_path = ".status.failure.reason", priority = 1),
    printcolumn(
        name = "Verified",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Verified\")].status",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    schema::rule(schema::SAME_BACKUP, schema::IMMUTABLE_BACKUP),
    schema::rule(schema::STAYS_CANCELLED, schema::CANCELLED),
    schema::rule(
        "has(self.tablet) != has(self.shard)",
        "name exactly one of tablet (an alias such as zone1-0000000101) and shard (<keyspace>/<shard>, such as commerce/0)",
    ),
    schema::rule(
        "self.engine != 'xtrabackup' || has(self.backupName) || (has(self.xtrabackup) && has(self.xtrabackup.user))",
        "engine xtrabackup needs xtrabackup.user: set it to the MySQL user that XtraBackup logs in as, one identified by auth_socket",
    ),
    schema::rule(
        "!has(self.xtrabackup) || self.engine == 'xtrabackup'",
        "xtrabackup has the options of engine xtrabackup: set engine: xtrabackup, or remove xtrabackup",
    ),
    schema::rule(
        "!has(self.builtin) || self.engine == 'builtin'",
        "builtin has the options of engine builtin: set engine: builtin, or remove builtin",
    ),
    schema::rule(
        "!has(self.drill) || self.verify == 'Restore'",
        "drill has the options of verify: Restore: set verify: Restore, or remove drill",
    ),
    schema::rule(
        "self.mode == 'Attached'",
        "this version of the operator works on the tablet's own volume only: set mode: Attached",
    ),
    schema::rule(
        "!has(self.incrementalFrom)",
        "this version of the operator makes full backups only: remove incrementalFrom",
    ),
    schema::rule(
        "!has(self.backupName) || has(self.shard)",
        "backupName makes this the record of a backup that exists, of which nothing is launched: set shard (<keyspace>/<shard>) and not tablet, or remove backupName to take a new backup",
    ),
]))]
pub struct VitessBackupSpec {
    pub storage: StorageReference,
    /// Back up this tablet: its alias, `<cell>-<uid>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::tablet_alias")]
    pub tablet: Option<TabletAlias>,
    /// Back up this shard: the first of its ready tablets that is no primary and not further behind than maxReplicationLag,
    /// rdonly before replica before spare. Where all are further behind, the one that is least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::keyspace_shard")]
    pub shard: Option<KeyspaceShard>,
    /// Whether a primary may be backed up. With engine builtin it does not serve while mysqld is down. With shard: only
    /// when no other tablet can be.
    #[serde(default)]
    pub allow_primary: bool,
    /// With shard: how far behind its source a tablet may be to be taken while another one may do better; MySQL itself is
    /// asked. 0s: as far as it likes.
    #[serde(default = "half_a_minute")]
    #[schemars(schema_with = "schema::duration")]
    pub max_replication_lag: GoDuration,
    /// Attached: the engine works on the tablet's own volume.
    #[serde(default)]
    pub mode: BackupMode,
    /// builtin, the default as in Vitess, copies mysqld's files while it is down. xtrabackup has Percona XtraBackup copy them
    /// while mysqld runs and the tablet serves, which is what Vitess recommends for production: take it where a tablet
    /// must go on serving and replicating. It needs XtraBackup in the tablet's image and a MySQL user, xtrabackup.user.
    #[serde(default)]
    pub engine: BackupEngine,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builtin: Option<BuiltinOptions>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xtrabackup: Option<XtrabackupOptions>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// How many files are read, compressed and stored at a time. Default 4, as in Vitess. The xtrabackup engine makes one
    /// stream: see xtrabackup.stripes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 128))]
    pub concurrency: Option<i32>,
    /// How many bytes a second may go to storage, over all files together: a quantity such as 50Mi. Default: no limit.
    /// With copyMode InPlace a limit keeps mysqld down for longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bandwidth")]
    pub bandwidth_limit: Option<String>,
    /// Not in this version: refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub incremental_from: Option<String>,
    /// Makes the object a record of a backup that exists: nothing is launched, and its status is what the inventory of the
    /// storage finds. The operator makes such records itself of all backups that no VitessBackup stands for. Of a record
    /// deletionPolicy can be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::backup_name")]
    pub backup_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vtctld: Option<Vtctld>,
    /// What deleting the object does to the data in storage: Retain leaves it; Delete removes it, as RemoveBackup does, but
    /// for a shard's only complete backup, which is removed when the annotation backup.vitess.io/force-removal is "true".
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Whether the backup is verified once it is there. The verdict is the condition Verified, the details are
    /// status.verification; the phase stays Succeeded whatever comes of it. The annotation backup.vitess.io/verify-at asks for
    /// another verification, by any new value; its level is that of spec.verify (of None: Objects), or that of the annotation
    /// backup.vitess.io/verify.
    #[serde(default)]
    pub verify: Verify,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<Drill>,
    /// How long the engine may take in all, each try by itself. Past it the run is stopped, the tablet is put back and the
    /// run (or the try) has failed.
    #[serde(default = "six_hours")]
    #[schemars(schema_with = "schema::positive_duration")]
    pub deadline: GoDuration,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_deadlines: Option<WaitingDeadlines>,
    /// How often a backup that failed is tried again, with the tablet put back in between and each failed try in
    /// status.attempts. What another try cannot mend (a primary, a wrong option) fails at once.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10))]
    pub retries: i32,
    /// Set it to true to stop the run: the engine is told to stop, the tablet is put back and the phase is Cancelled. The one
    /// field that can be set later; it cannot be taken back.
    #[serde(default)]
    pub cancel: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
}

pub(crate) fn six_hours() -> GoDuration {
    GoDuration(std::time::Duration::from_secs(6 * 3600))
}

/// As vttablet's --degraded-threshold.
pub(crate) fn half_a_minute() -> GoDuration {
    GoDuration(std::time::Duration::from_secs(30))
}

/// A VitessBackupStorage of the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageReference {
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BackupMode {
    #[default]
    Attached,
    /// Not in this version: refused.
    Detached,
    /// Not in this version: refused.
    Delegated,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BackupEngine {
    #[default]
    Builtin,
    Xtrabackup,
}

/// What the builtin engine takes besides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BuiltinOptions {
    /// Shut mysqld down slowly (innodb_fast_shutdown=0), so that the backup can be restored by a newer MySQL.
    pub upgrade_safe: bool,
    /// Take the backup although the tablet has files that Vitess's format does not carry.
    pub allow_incomplete: bool,
    /// Clone: mysqld is down only while its files are cloned, which takes seconds whatever their size, and runs while the
    /// clone is stored. The tablet's file system must be able to (XFS with reflink, Btrfs) and have space for what mysqld
    /// changes meanwhile. InPlace: mysqld is down until all is stored, as with Vitess. Auto, the default: Clone where that
    /// is possible. status.copyMode says which it was, and status.copyModeReason why.
    pub copy_mode: CopyMode,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CopyMode {
    #[default]
    Auto,
    Clone,
    InPlace,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [schema::rule(
    "!has(self.engine) || self.engine != 'external'",
    "this version of the operator runs no external compressor: set compression.engine to pargzip, pgzip, zstd or lz4",
)]))]
pub struct Compression {
    /// False stores files as they are.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Default pargzip, as in Vitess.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<CompressionEngine>,
    /// Default 1, as in Vitess. Which levels there are depends on the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 22))]
    pub level: Option<i32>,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CompressionEngine {
    Pargzip,
    Pgzip,
    Zstd,
    Lz4,
    /// Not in this version: refused.
    External,
}

/// A vtctld to tell. With it the engine sets the tablet's type in the topology to BACKUP or RESTORE first and back
/// afterwards, as Vitess's own Backup does, so that VTOrc and vtgate leave the tablet alone. A backup by the xtrabackup
/// engine tells nobody, since the tablet goes on serving.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [schema::rule(
    "!has(self.tlsSecret)",
    "this version of the operator speaks to vtctld without TLS only: remove vtctld.tlsSecret",
)]))]
pub struct Vtctld {
    /// host:port of vtctld's gRPC port.
    #[schemars(schema_with = "schema::host_port")]
    pub address: String,
    /// Not in this version: refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::later_object")]
    pub tls_secret: Option<serde_json::Value>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    #[default]
    Retain,
    Delete,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(description = "How the backup went.")]
pub struct VitessBackupStatus {
    #[serde(flatten)]
    pub run: RunStatus,
    /// Why tabletAlias was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tablet_choice: Option<String>,
    /// With spec.shard: the tablets that were tried and left, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<Tried>,
    /// The image of the tablet that was backed up: a drill's mysqld comes from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tablet_image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<VerificationStatus>,
}

/// A tablet that could not be backed up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Tried {
    pub tablet_alias: String,
    pub reason: String,
    pub message: String,
    /// How far behind its source it was, where that was the reason and is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<i64>,
}
