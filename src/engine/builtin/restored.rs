//! What a restore is asked for, and what it gives.

use std::time::Duration;

use crate::backup::choose::Wanted;
use crate::backup::manifest::Manifest;
use crate::backup::report::{Outcome, ReplicationOutcome};
use crate::engine::Vtctld;
use crate::engine::builtin::limits::Limits;

/// Vitess's file in the tablet's directory that says that its data is not whole.
pub const MARKER: &str = "restore_in_progress";

#[derive(Clone, Debug)]
pub struct RestoreOptions {
    pub wanted: Wanted,
    pub existing_data: ExistingData,
    /// Raw BackupMethods; empty: any.
    pub allowed_engines: Vec<String>,
    pub limits: Limits,
    pub allow_primary: bool,
    pub vtctld: Option<Vtctld>,
    pub external_decompressor: Option<String>,
    /// Run the command that the MANIFEST names.
    pub external_decompressor_use_manifest: bool,
    /// How long to wait for a mysqlctld that does not answer.
    pub mysqlctld_timeout: Duration,
}

/// What to do when the tablet has data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExistingData {
    Refuse,
    Replace,
}

pub enum RestoreEnd {
    Restored(Box<RestoreDone>),
    /// There is no backup at all; nothing was touched.
    NoBackup,
}

/// A restored tablet.
#[derive(Clone, Debug)]
pub struct RestoreDone {
    pub name: String,
    pub manifest: Manifest,
    /// Bytes as stored, of the files.
    pub stored_bytes: u64,
    /// Bytes written.
    pub data_bytes: u64,
    pub files: u64,
    pub downtime: Duration,
    pub replication: ReplicationOutcome,
    pub warnings: Vec<String>,
}

impl RestoreDone {
    /// Writes it into the outcome.
    pub fn fill(self, outcome: &mut Outcome) {
        let Self { name, manifest, stored_bytes, data_bytes, files, downtime, replication, warnings } = self;
        outcome.backup_name = Some(name);
        outcome.engine = Some(manifest.engine().to_owned());
        outcome.position = Some(manifest.position.clone());
        outcome.purged_position = Some(manifest.purged_position.clone());
        outcome.manifest = Some(manifest.summary());
        outcome.size_bytes = Some(stored_bytes);
        outcome.data_bytes = Some(data_bytes);
        outcome.files = Some(files);
        outcome.downtime_seconds = Some(downtime.as_secs_f64());
        outcome.replication = Some(replication);
        outcome.warnings.extend(warnings);
    }
}
