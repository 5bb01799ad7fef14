//! What a backup is asked for.

use crate::codec::Compression;
use crate::engine::Vtctld;
use crate::engine::builtin::clone::CopyChoice;
use crate::engine::builtin::limits::Limits;

#[derive(Clone, Debug)]
pub struct BackupOptions {
    pub allow_primary: bool,
    /// How far behind its source a replica may be; `None`: as far as it likes.
    pub max_lag: Option<std::time::Duration>,
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
