//! What a backup is asked for, and what it gives.

use std::time::Duration;

use crate::backup::manifest::Manifest;
use crate::backup::report::{Outcome, ReplicationOutcome};
use crate::codec::Compression;
use crate::engine::Vtctld;
use crate::engine::builtin::clone::{CopyChoice, HowCopied};
use crate::engine::builtin::limits::Limits;

#[derive(Clone, Debug)]
pub struct BackupOptions {
    pub allow_primary: bool,
    /// Shut mysqld down with innodb_fast_shutdown=0.
    pub upgrade_safe: bool,
    /// Go on although some files cannot be carried.
    pub allow_incomplete: bool,
    pub copy_mode: CopyChoice,
    pub limits: Limits,
    pub compression: Compression,
    pub verify: Verify,
    /// For the MANIFEST's ExternalDecompressor.
    pub manifest_external_decompressor: Option<String>,
    /// Who sets the tablet's type to BACKUP meanwhile, so that VTOrc and vtgate leave it alone.
    pub vtctld: Option<Vtctld>,
    /// The time in the name, to the second.
    pub backup_time: jiff::Timestamp,
}

/// How what was stored is looked at again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Every object's presence and size.
    #[default]
    Size,
    /// Also every object's bytes, read back and hashed before the MANIFEST is written.
    Hash,
}

/// A backup that was made, read back and found whole.
#[derive(Clone, Debug)]
pub struct BackupDone {
    pub name: String,
    pub manifest: Manifest,
    /// Bytes as stored, MANIFEST included.
    pub stored_bytes: u64,
    /// Bytes of the files before compression.
    pub data_bytes: u64,
    pub files: u64,
    pub downtime: Duration,
    pub how: HowCopied,
    pub replication: ReplicationOutcome,
    pub warnings: Vec<String>,
}

impl BackupDone {
    /// Writes it into the outcome.
    pub fn fill(self, outcome: &mut Outcome) {
        let Self { name, manifest, stored_bytes, data_bytes, files, downtime, how, replication, warnings } = self;
        outcome.backup_name = Some(name);
        outcome.engine = Some(manifest.engine().to_owned());
        outcome.position = Some(manifest.position.clone());
        outcome.purged_position = Some(manifest.purged_position.clone());
        outcome.manifest = Some(manifest.summary());
        outcome.size_bytes = Some(stored_bytes);
        outcome.data_bytes = Some(data_bytes);
        outcome.files = Some(files);
        outcome.downtime_seconds = Some(downtime.as_secs_f64());
        outcome.copy_mode = Some(how.mode);
        outcome.copy_mode_reason = Some(how.reason);
        outcome.replication = Some(replication);
        outcome.warnings.extend(warnings);
    }
}
