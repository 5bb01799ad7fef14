//! What a VitessBackup and a VitessRestore tell about their run, in the same words.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pod_template::EngineSecurityContext;
use super::schema;
use crate::duration::GoDuration;

/// How far a run is. It never goes back; only that of a record of storage (Incomplete) follows what is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Something is missing or busy: see the conditions.
    #[default]
    Pending,
    /// Restores only: there is no backup yet; see nextLookupTime.
    WaitingForBackup,
    Running,
    /// Records only: what is in storage has no MANIFEST, or none that can be read. It is being made, or was left half-made.
    Incomplete,
    Succeeded,
    Failed,
    Cancelled,
}

impl Phase {
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// The part of the status that backups and restores share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RunStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// `Ready`, `Reconciling` and `Stalled` are kstatus's: Ready when the run succeeded, Stalled when it failed or only
    /// another object helps, Reconciling otherwise. `Accepted`: the spec and all that it names can be used.
    /// `EngineRunning`: an engine pod runs. `Complete`: the run succeeded. `Whole`: False when a backup was allowed to
    /// lack some of the tablet's data. `Replicating`: what became of the tablet's replication. `TabletRecovered`:
    /// whether a tablet was put back after an engine died. `Removed`: whether the data was removed, while an object
    /// with deletionPolicy Delete goes. `InStorage`: False when an inventory did not find the backup any more.
    /// `Verified`: whether what is in storage was found whole, see status.verification; Unknown while that is being
    /// found out, and when it could not be. `PodsRestored`: with
    /// trigger PodStart, whether every pod that names the object is through.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The backup's name in storage, `<time>.<tablet alias>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_name: Option<String>,
    /// The VitessBackupStorage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_name: Option<String>,
    /// `<keyspace>/<shard>`, also the backup's directory in storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<String>,
    /// The tablet that is backed up or restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tablet_alias: Option<String>,
    /// The engine that made the backup: the MANIFEST's BackupMethod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// The replication position of the backup, as in its MANIFEST.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// The GTIDs that the server had purged, as in the MANIFEST.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purged_position: Option<String>,
    #[schemars(description = "When the run was started, which is also the time in the name of a backup.")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    #[schemars(description = "When the run ended.")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_time: Option<Time>,
    /// Bytes as stored, MANIFEST included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
    /// sizeBytes for people, such as 392.1Mi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// How many files of the tablet the backup holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<i64>,
    /// How long mysqld was down for the run, in seconds, rounded up. Absent when it was not: a backup by the xtrabackup
    /// engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub downtime_seconds: Option<i64>,
    /// Backups: Clone when mysqld was down only while its files were cloned, InPlace when it was for the whole copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy_mode: Option<String>,
    /// Why that mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy_mode_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressStatus>,
    /// The backup's MANIFEST, all but its list of files.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub manifest: Option<serde_json::Map<String, serde_json::Value>>,
    /// What a person should know although the run succeeded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Why the run failed and what to do. Kept when the pod is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureStatus>,
    /// The Job that runs now, or whose end is still to be dealt with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<EngineJob>,
    /// As whom the engine ran: the pod that removes the data must be able to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ran_as: Option<Identity>,
    /// The run's place in the line, while others hold or want the tablet, the shard or the volume before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueStatus>,
    /// The tries that failed and were followed by another one (spec.retries), oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    #[schemars(description = "When the next try begins. Only between two tries.")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try_time: Option<Time>,
    /// How many Jobs were made for the backup or the restore itself: tries, other tablets of the shard, looks for a backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launches: Option<i32>,
}

/// A place in the line for what only one run may work on at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueStatus {
    /// 1: next. Those who hold what is waited for are not counted.
    pub position: i32,
    #[schemars(description = "Since when the run waits; who waits longest goes first.")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// What the run needs, such as `tablet zone1-0000000101` and `shard commerce/0`.
    pub wants: Vec<String>,
}

/// A try that failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Attempt {
    /// From 1.
    pub number: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tablet_alias: Option<String>,
    #[schemars(description = "When it was over, with the tablet put back.")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_time: Option<Time>,
    pub failure: FailureStatus,
}

/// How long each state of waiting may last. Past it the run fails with reason DeadlineExceeded; nothing was touched then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WaitingDeadlines {
    /// For what the spec names to be there and usable: as long as the condition Accepted is False. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::positive_duration")]
    pub accepted: Option<GoDuration>,
    /// For its turn, while other runs hold the tablet, the shard or the volume (status.queue). Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::positive_duration")]
    pub turn: Option<GoDuration>,
    /// For the engine's pod to start: a node with room, an image that can be pulled. Default: 15m.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::positive_duration")]
    pub engine_start: Option<GoDuration>,
}

/// How far the engine is, as of its last report (at most once a second).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProgressStatus {
    /// For people: the percentage while files are copied, else the step, or what the run waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// What the engine does now, such as StoppingMysqld or CopyingFiles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// 0 to 100, of bytesTotal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<i32>,
    /// Bytes of the tablet's files, before compression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_done: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files_done: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files_total: Option<i64>,
}

/// A failure as a person meets it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FailureStatus {
    /// One word, such as TabletIsPrimary, StorageDenied or EngineLost.
    pub reason: String,
    /// What failed, on what, and why.
    pub message: String,
    /// What to do next.
    pub remedy: String,
    /// The last lines of the engine's log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
}

/// What a Job of a run is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum JobPurpose {
    #[default]
    Backup,
    Restore,
    /// Puts a tablet back after an engine died.
    Recover,
    /// Removes a backup's data.
    Remove,
    /// Lists what is in a storage.
    Inventory,
    /// Checks a backup that is there.
    Verify,
}

/// The Job that does the work now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EngineJob {
    pub name: String,
    pub purpose: JobPurpose,
    /// From 1: which try, or for a restore that waits, which look.
    pub number: i32,
    /// Absent until the Job was seen: a Job that was seen and is gone is lost, one that was not is launched (again).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    #[schemars(description = "When the Job was asked for.")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch_time: Option<Time>,
}

/// User and groups of an engine pod.
pub type Identity = EngineSecurityContext;
