//! The lines by which an engine run speaks to whoever launched it: one JSON object a line on stdout.
//!
//! `step` and `progress` lines come while it runs (progress at most once a second); exactly one `outcome` line comes last.
//! The outcome also goes to the termination message when it fits Kubernetes's 4096 bytes, without `manifest` when that makes
//! it fit. Readers ignore lines that are not JSON objects (a shell or MySQL may print too) and unknown fields.

use serde::{Deserialize, Serialize};

use crate::backup::failure::Failure;
use crate::backup::inventory::{Found, Seal, ShardFound, Totals};
use crate::backup::topology::{Descriptor, ListedTopologyBackup};
use crate::progress::{Progress, Step};

/// The largest termination message that the kubelet keeps, in bytes.
pub const TERMINATION_MESSAGE_LIMIT: usize = 4096;

/// The warning of a recovery that had nothing to put back.
pub const NOTHING_TO_RECOVER: &str = "no interrupted run was found: nothing was done";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub enum Line {
    Step {
        time: jiff::Timestamp,
        step: Step,
    },
    Progress(ProgressLine),
    Note {
        time: jiff::Timestamp,
        text: String,
    },
    /// `list` only: one line for each backup, oldest first, before the outcome.
    Backup(Box<ListedBackup>),
    /// `inventory` only: one backup of a bucket that has changed.
    Found(Box<Found>),
    /// `inventory` only: the bucket's backups were all told before this line.
    Bucket(Seal),
    /// `inventory` only, when anything has changed: one line for each shard.
    Shard(Box<ShardFound>),
    /// `list --topology` only: likewise.
    TopologyBackup(Box<ListedTopologyBackup>),
    Outcome(Box<Outcome>),
}

/// One backup of a shard, as `list` finds it in storage. What is unknown is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedBackup {
    /// The directory's name below `<keyspace>/<shard>`, whatever it looks like.
    pub name: String,
    /// The MANIFEST is there and decodes.
    pub complete: bool,
    /// Why it is not complete, one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The MANIFEST's BackupMethod; `builtin` when the MANIFEST is older than the field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    #[serde(default)]
    pub incremental: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tablet_alias: Option<String>,
    /// The MANIFEST's BackupTime, else the time in the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_time: Option<jiff::Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_time: Option<jiff::Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purged_position: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mysql_version: Option<String>,
    /// Bytes as stored, of all its objects.
    pub size_bytes: u64,
    /// Number of stored objects, MANIFEST included.
    pub objects: u64,
    /// The MANIFEST as stored, all but its FileEntries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgressLine {
    pub time: jiff::Timestamp,
    pub step: Step,
    #[serde(flatten)]
    pub progress: Progress,
    /// Over the last seconds, in bytes before compression.
    pub bytes_per_second: u64,
    /// Absent while nothing can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    Backup,
    Restore,
    List,
    Inventory,
    Remove,
    Verify,
    Recover,
    TopologyBackup,
    TopologyRestore,
    TopologyExport,
    TopologyImport,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Done, read back and checked.
    Succeeded,
    /// Restore only: no backup exists and none was to be waited for; nothing was touched.
    StartedEmpty,
    /// Restore only: no backup exists yet and the caller asked to be told (`--no-backup report`); nothing was touched.
    NoBackup,
    /// Restore on pod start only: the tablet has data; nothing was touched.
    DataPresent,
    /// See `failure`.
    Failed,
}

/// The last word of a run. What is unknown or does not apply is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    pub operation: Operation,
    pub verdict: Verdict,
    pub start_time: jiff::Timestamp,
    pub finished_time: jiff::Timestamp,
    /// `<keyspace>/<shard>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tablet_alias: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_name: Option<String>,
    /// `builtin`, `xtrabackup`: the MANIFEST's BackupMethod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purged_position: Option<String>,
    /// Bytes as stored, MANIFEST included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Bytes of the tablet's files, before compression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// How long mysqld was down for this run, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downtime_seconds: Option<f64>,
    /// Backup: whether mysqld was down for the whole copy or only for a clone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_mode: Option<CopyMode>,
    /// Why that mode, one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_mode_reason: Option<String>,
    /// What became of the tablet's replication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<ReplicationOutcome>,
    /// The MANIFEST as stored, all but its FileEntries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<serde_json::Map<String, serde_json::Value>>,
    /// Topology backups and restores: the descriptor of the backup in storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<Descriptor>,
    /// What a person should know although the run succeeded, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Backup only: what of the tablet's data it does not have, one sentence each. It was allowed (`--allow-incomplete`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_carried: Vec<String>,
    /// Inventory only: what there is in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Totals>,
    /// Verify only: what was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// Backup only: it failed before anything of the tablet was disturbed or copied, so that another tablet may be tried.
    #[serde(default, skip_serializing_if = "is_false")]
    pub untouched: bool,
    /// How far behind its source the tablet was, in seconds, when that was why it failed and is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// What a verification that succeeded has looked at; without tables when it looked at the stored objects alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Verification {
    /// Tables that `CHECK TABLE` found whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<u64>,
    /// Rows in them, about: as the storage engines' statistics have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Assertions that held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assertions: Option<u64>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}

/// How a tablet's files were copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopyMode {
    /// From a clone: mysqld was down only while that was made.
    Clone,
    /// mysqld was down for the whole copy.
    InPlace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplicationOutcome {
    /// Runs again and has caught up.
    CaughtUp,
    /// Runs again; the run ended before it had caught up (see `warnings`).
    Running,
    /// It was not running before either, or the tablet is a primary.
    LeftStopped,
    /// The tablet has no source that could be known here; Vitess sets one when the tablet joins its shard.
    NotConfigured,
    /// Should run and does not.
    NotRestarted,
}

impl Outcome {
    /// Of a run that has only begun: nothing known, nothing wrong.
    pub fn begun(operation: Operation, time: jiff::Timestamp) -> Self {
        Self {
            operation,
            verdict: Verdict::Succeeded,
            start_time: time,
            finished_time: time,
            shard: None,
            tablet_alias: None,
            backup_name: None,
            engine: None,
            position: None,
            purged_position: None,
            size_bytes: None,
            data_bytes: None,
            files: None,
            downtime_seconds: None,
            copy_mode: None,
            copy_mode_reason: None,
            replication: None,
            manifest: None,
            topology: None,
            warnings: Vec::new(),
            not_carried: Vec::new(),
            inventory: None,
            verification: None,
            untouched: false,
            lag_seconds: None,
            failure: None,
        }
    }

    /// The termination message: the whole outcome if it fits, else without the MANIFEST, else with the long texts cut.
    pub fn termination_message(&self) -> String {
        let text = |outcome: &Self| serde_json::to_string(outcome).unwrap_or_default();
        let whole = text(self);
        if whole.len() <= TERMINATION_MESSAGE_LIMIT {
            return whole;
        }
        let mut short = self.clone();
        short.manifest = None;
        let without_manifest = text(&short);
        if without_manifest.len() <= TERMINATION_MESSAGE_LIMIT {
            return without_manifest;
        }
        // Long GTID sets and long error chains: the log has them whole.
        short.position = None;
        short.purged_position = None;
        // A ZooKeeper with very many transaction logs; their sum stays.
        short.topology.iter_mut().for_each(|descriptor| descriptor.parts.clear());
        short.warnings.clear();
        // Never to none: that some data is missing must not get lost.
        short.not_carried = self.not_carried.iter().take(3).map(|what| what.chars().take(300).collect()).collect();
        if let Some(failure) = &mut short.failure {
            failure.message = failure.message.chars().take(500).collect();
            failure.remedy = failure.remedy.chars().take(300).collect();
        }
        text(&short)
    }
}
