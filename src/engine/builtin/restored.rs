//! What a restore is asked for, and what it gives.

use std::time::Duration;

use crate::backup::choose::Wanted;
use crate::engine::Done;
use crate::engine::Vtctld;
use crate::engine::builtin::limits::Limits;
use crate::engine::xtrabackup::XtrabackupOptions;

/// Vitess's file in the tablet's directory that says that its data is not whole.
pub const MARKER: &str = "restore_in_progress";

#[derive(Clone, Debug)]
pub struct RestoreOptions {
    pub wanted: Wanted,
    /// When the backup turns out damaged, take the next older one. Not for a named backup.
    pub fallback: bool,
    pub existing_data: ExistingData,
    /// Raw BackupMethods; empty: any.
    pub allowed_engines: Vec<String>,
    pub limits: Limits,
    pub allow_primary: bool,
    pub vtctld: Option<Vtctld>,
    pub external_decompressor: Option<String>,
    /// Run the command that the MANIFEST names.
    pub external_decompressor_use_manifest: bool,
    /// For backups of that engine.
    pub xtrabackup: XtrabackupOptions,
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
    Restored(Box<Done>),
    /// There is no backup at all; nothing was touched.
    NoBackup,
}
