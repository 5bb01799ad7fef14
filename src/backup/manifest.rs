//! The MANIFEST: what makes a directory in storage a backup.
//!
//! Sources: Vitess `mysqlctl` (`BackupManifest`, `builtinBackupManifest`, `FileEntry`, `xtraBackupManifest`,
//! `IncrementalBackupDetails`) and Go's `encoding/json` for what that reads and writes. A writer emits every field of its
//! method in Vitess's order. A reader is as lenient as Go: keys match in any case, `null` is the zero value, bytes after
//! the JSON value are ignored, unknown keys are kept; but a wrong type makes the backup incomplete for Vitess, so it is an
//! error here too. Unlike Go we do not take a bare `null` for a MANIFEST.
//!
//! Positions and times stay text: Vitess decodes them later, each where it is used (`replication::Position`,
//! [`super::name::parse_time`]).

mod decode;
mod encode;
mod entry;

use jiff::Timestamp;
use serde_json::{Map, Value};

pub use decode::ManifestError;
pub use entry::{Base, EntryPathError, FileEntry};

/// The name of the object, and the name that marks a complete backup.
pub const OBJECT: &str = "MANIFEST";

/// The most bytes that we take for a MANIFEST: about two million file entries.
pub const SIZE_LIMIT: u64 = 256 << 20;

/// A MANIFEST. Text fields are "" where a writer left them out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    /// As in storage; "" before Vitess 19.
    pub backup_name: String,
    /// `builtin`, `xtrabackup`, …; "" means builtin (see [`Manifest::engine`]), but an allow-list compares the raw text.
    pub backup_method: String,
    /// `MySQL56/<gtid set>`: where the restored server stands.
    pub position: String,
    pub purged_position: String,
    /// Incremental backups only.
    pub from_position: String,
    pub from_backup: String,
    pub incremental: bool,
    /// When the backup began, RFC 3339; see [`Manifest::began`].
    pub backup_time: String,
    /// When the MANIFEST was written, RFC 3339.
    pub finished_time: String,
    pub server_uuid: String,
    pub tablet_alias: String,
    pub hostname: String,
    pub keyspace: String,
    pub shard: String,
    /// `Ver 8.0.36 MySQL Community Server - GPL`; "" turns the version check off.
    pub mysql_version: String,
    pub upgrade_safe: bool,
    /// `null` except in incremental backups.
    pub incremental_details: Option<IncrementalDetails>,
    /// What only the method knows.
    pub method: Method,
    /// Fields that no known Vitess writes for this method, in their order.
    pub unknown: Map<String, Value>,
}

/// The part of a MANIFEST that depends on BackupMethod.
#[derive(Clone, Debug, PartialEq)]
pub enum Method {
    Builtin(Builtin),
    Xtrabackup(Xtrabackup),
    /// A method that we cannot read; its fields are in [`Manifest::unknown`].
    Other,
}

/// What the builtin engine adds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Builtin {
    /// `pargzip`, `pgzip`, `lz4`, `zstd`, `external`; "" means pgzip. Says nothing when `skip_compress`.
    pub compression_engine: String,
    /// The index in this list is the name of the object.
    pub file_entries: Vec<FileEntry>,
    pub skip_compress: bool,
    /// A command line. Never run it unless the operator asked for just that.
    pub external_decompressor: String,
}

/// What the xtrabackup engine adds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Xtrabackup {
    pub compression_engine: String,
    pub file_name: String,
    pub extra_command_line_params: String,
    /// `xbstream` or `tar`; "" in MANIFESTs older than Vitess 5.
    pub stream_mode: String,
    /// 0: one object, named `file_name`.
    pub num_stripes: i32,
    /// In bytes.
    pub stripe_block_size: i32,
    pub skip_compress: bool,
    pub external_decompressor: String,
}

/// The span of the binary logs in an incremental backup; times are RFC 3339.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncrementalDetails {
    pub first_timestamp: String,
    pub first_timestamp_binlog: String,
    pub last_timestamp: String,
    pub last_timestamp_binlog: String,
}

impl Default for Method {
    fn default() -> Self {
        Self::Builtin(Builtin::default())
    }
}

impl Manifest {
    /// # Errors
    /// When `stored` does not begin with a JSON object, or a known field has another type than Vitess gives it.
    pub fn decode(stored: &[u8]) -> Result<Self, ManifestError> {
        decode::manifest(stored)
    }

    /// The bytes that Vitess would store: `json.MarshalIndent` with two spaces, HTML characters escaped, no newline at the end.
    pub fn encode(&self) -> Vec<u8> {
        encode::text(&encode::fields(self)).into_bytes()
    }

    /// Every field but FileEntries, in Vitess's order and spelling: what goes to `status.manifest`.
    pub fn summary(&self) -> Map<String, Value> {
        let mut fields = encode::fields(self);
        fields.shift_remove("FileEntries");
        fields
    }

    /// The engine that made the backup and must restore it.
    pub fn engine(&self) -> &str {
        if self.backup_method.is_empty() { "builtin" } else { &self.backup_method }
    }

    /// BackupTime, by which Vitess chooses a backup for a given time; `None` when absent or not RFC 3339.
    pub fn began(&self) -> Option<Timestamp> {
        self.backup_time.parse().ok()
    }

    /// A time as MANIFESTs have it: RFC 3339 in UTC, whole seconds, `Z`.
    pub fn time_text(time: Timestamp) -> String {
        Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
    }

    /// TransformHook, gone since Vitess 16: the data went through a script of the operator's before it was stored, so
    /// that no reader of today can restore it. `None` when absent or empty.
    pub fn transform_hook(&self) -> Option<&str> {
        let hook = self.unknown.iter().find(|(key, _)| key.eq_ignore_ascii_case("TransformHook"))?.1;
        hook.as_str().filter(|hook| !hook.is_empty())
    }
}

#[cfg(test)]
mod round_trips;
#[cfg(test)]
mod tests;
