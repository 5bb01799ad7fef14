//! The MANIFEST of a backup that was made.

use crate::backup::manifest::{Builtin, FileEntry, Manifest, Method};
use crate::engine::builtin::check::Checked;
use crate::engine::builtin::copy::Stored;
use crate::engine::builtin::files::Selection;
use crate::engine::builtin::options::BackupOptions;
use crate::engine::builtin::{DATA_BYTES, EMPTY_DIRECTORIES, METHOD, NOT_CARRIED, STORED_BYTES};
use crate::replication::{GtidSet, Position};
use crate::storage::BackupHandle;
use crate::topo::TabletAlias;

/// What a MANIFEST is made from.
pub struct Made<'a> {
    pub handle: &'a BackupHandle,
    pub alias: &'a TabletAlias,
    pub options: &'a BackupOptions,
    pub checked: &'a Checked,
    pub selection: &'a Selection,
    /// In the selection's order.
    pub stored: &'a [Stored],
    pub position: GtidSet,
    pub purged: GtidSet,
    pub not_carried: &'a [String],
}

/// `finished` is when all was stored.
pub fn manifest(made: Made<'_>, finished: jiff::Timestamp) -> Manifest {
    let Made { handle, alias, options, checked, selection, stored, position, purged, not_carried } = made;
    let compression = &options.compression;
    let mut unknown = serde_json::Map::new();
    unknown.insert(DATA_BYTES.to_owned(), selection.bytes().into());
    if !selection.empty_directories.is_empty() {
        unknown.insert(EMPTY_DIRECTORIES.to_owned(), selection.empty_directories.clone().into());
    }
    if !not_carried.is_empty() {
        unknown.insert(NOT_CARRIED.to_owned(), not_carried.into());
    }
    Manifest {
        backup_name: handle.name().to_owned(),
        backup_method: METHOD.to_owned(),
        position: Position::from(position).to_string(),
        purged_position: Position::from(purged).to_string(),
        from_position: String::new(),
        from_backup: String::new(),
        incremental: false,
        backup_time: Manifest::time_text(options.backup_time),
        finished_time: Manifest::time_text(finished),
        server_uuid: checked.server_uuid.to_string(),
        tablet_alias: alias.to_string(),
        hostname: hostname(),
        keyspace: handle.directory().keyspace().to_owned(),
        shard: handle.directory().shard().to_owned(),
        mysql_version: checked.version.text().to_owned(),
        upgrade_safe: options.upgrade_safe,
        incremental_details: None,
        method: Method::Builtin(Builtin {
            compression_engine: compression.codec().engine_name().to_owned(),
            file_entries: stored.iter().map(entry).collect(),
            skip_compress: compression.skip_compress(),
            external_decompressor: options.manifest_external_decompressor.clone().unwrap_or_default(),
        }),
        unknown,
    }
}

/// A stored file with its size in storage.
fn entry(stored: &Stored) -> FileEntry {
    let Stored { entry, size } = stored;
    let mut entry = entry.clone();
    entry.unknown.insert(STORED_BYTES.to_owned(), (*size).into());
    entry
}

/// As Vitess's `Hostname`, "" when unknown.
pub fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}
