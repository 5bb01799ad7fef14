//! What a MANIFEST asks a restore to write, checked before anything is touched.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use crate::backup::choose::{PassedOver, Why};
use crate::backup::manifest::{Base, Builtin, FileEntry, Manifest, Method};
use crate::codec::Decompression;
use crate::engine::builtin::{DATA_BYTES, EMPTY_DIRECTORIES, NOT_CARRIED, STORED_BYTES};
use crate::engine::{EngineError, store};
use crate::mysqld::{Layout, ServerVersion};
use crate::replication::Position;
use crate::storage::StoredObject;

/// One file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetFile {
    /// The object's name: the entry's place in the MANIFEST.
    pub object: String,
    /// As the MANIFEST has it.
    pub name: String,
    pub path: PathBuf,
    /// CRC-32 of the stored bytes, 8 lower-case hex digits.
    pub hash: String,
    /// Bytes as stored.
    pub stored: u64,
}

impl TargetFile {
    /// # Errors
    /// `HashMismatch`.
    pub fn check_hash(&self, backup: &str, found: &str) -> Result<(), EngineError> {
        store::check_hash(backup, &self.object, &self.name, &self.hash, found)
    }
}

/// All that a restore of one backup writes.
#[derive(Clone, Debug)]
pub struct Target {
    pub files: Vec<TargetFile>,
    /// Schemas without tables, absolute.
    pub empty_directories: Vec<PathBuf>,
    pub position: Option<Position>,
    /// Bytes of all files before compression, when the MANIFEST says (ours do).
    pub data_bytes: Option<u64>,
}

impl Target {
    /// Bytes of all files as stored.
    pub fn stored_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.stored).sum()
    }

    /// The least space that the files will take.
    pub fn least_bytes(&self) -> u64 {
        self.data_bytes.unwrap_or_else(|| self.stored_bytes())
    }
}

/// What a backup was made without, as its MANIFEST says; ours do.
pub fn not_carried(manifest: &Manifest) -> impl Iterator<Item = &str> {
    let named = manifest.unknown.get(NOT_CARRIED).and_then(|value| value.as_array());
    named.into_iter().flatten().filter_map(|what| what.as_str())
}

/// The builtin part of a MANIFEST.
///
/// # Errors
/// `EngineNotSupported` for another engine's, `ManifestUnusable` for what no reader of today can restore.
pub fn builtin_of<'a>(backup: &str, manifest: &'a Manifest) -> Result<&'a Builtin, EngineError> {
    if manifest.engine() == "mysqlshell" {
        let location = manifest.unknown.get("BackupLocation").and_then(|place| place.as_str());
        let location = location.unwrap_or("a place that the MANIFEST does not tell").to_owned();
        return Err(EngineError::DumpElsewhere { backup: backup.to_owned(), location });
    }
    let Method::Builtin(builtin) = &manifest.method else {
        return Err(EngineError::EngineNotSupported { engine: manifest.engine().to_owned() });
    };
    refuse_hook(backup, manifest)?;
    if let Some(entry) = builtin.file_entries.iter().find(|entry| has_chunks(entry)) {
        let cause = format!("file {:?} is stored in chunks, which this version cannot read", entry.name);
        return Err(unusable(backup, &cause));
    }
    Ok(builtin)
}

/// The redo log in its directory (MySQL 8.0.30 on) is nothing to an older mysqld, which would start on the data without it.
/// MANIFESTs older than Vitess 18 do not tell the version, so that only the files do.
///
/// # Errors
/// `BackupUnusable`, version incompatible.
pub fn check_redo_log(backup: &str, builtin: &Builtin, server: &ServerVersion) -> Result<(), EngineError> {
    let in_directory = |entry: &&FileEntry| entry.base == Base::InnoDBLog && entry.name.starts_with("#innodb_redo/");
    match builtin.file_entries.iter().find(in_directory) {
        Some(entry) if !server.has_redo_directory() => Err(EngineError::BackupUnusable(PassedOver {
            name: backup.to_owned(),
            why: Why::VersionIncompatible(format!(
                "its redo log is laid out as MySQL 8.0.30 and later have it ({}), and the tablet's is {server}",
                entry.name
            )),
        })),
        _ => Ok(()),
    }
}

/// Chunked files are of a Vitess to come; an empty list means that the file is stored whole.
fn has_chunks(entry: &FileEntry) -> bool {
    entry.unknown.iter().any(|(key, value)| {
        let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        key.eq_ignore_ascii_case("Chunks") && !empty
    })
}

fn unusable(backup: &str, cause: &str) -> EngineError {
    EngineError::ManifestUnusable { backup: backup.to_owned(), cause: cause.to_owned() }
}

/// What went through an operator's script before it was stored, nobody can read any more, whatever the engine.
///
/// # Errors
/// `ManifestUnusable`.
pub fn refuse_hook(backup: &str, manifest: &Manifest) -> Result<(), EngineError> {
    let Some(hook) = manifest.transform_hook() else { return Ok(()) };
    let cause = format!("its files went through the script {hook:?} (TransformHook, gone since Vitess 16)");
    Err(unusable(backup, &cause))
}

/// The MANIFEST's Position.
///
/// # Errors
/// `ManifestUnusable`.
pub fn position(backup: &str, manifest: &Manifest) -> Result<Option<Position>, EngineError> {
    Position::decode(&manifest.position)
        .map_err(|error| unusable(backup, &format!("its position cannot be read: {error}")))
}

/// How the objects are to be decompressed: by the MANIFEST's CompressionEngine and SkipCompress, and for the engine
/// `external` by this command.
///
/// # Errors
/// `CompressionUnknown`.
pub fn decompression(
    backup: &str,
    engine: &str,
    skip_compress: bool,
    external: Option<&str>,
) -> Result<Decompression, EngineError> {
    Decompression::new(engine, skip_compress, external)
        .map_err(|error| EngineError::CompressionUnknown { backup: backup.to_owned(), cause: error.to_string() })
}

/// The objects that the MANIFEST needs, by name, with where each file belongs below its base; `root` maps the bases.
///
/// # Errors
/// `ManifestUnusable` for a path that leaves its base, an unknown base or two entries for one file; `HashAbsent`;
/// `ObjectsMissing`, `ObjectSize` (only our own MANIFESTs tell the sizes).
pub fn files(
    backup: &str,
    builtin: &Builtin,
    objects: &[StoredObject],
    root: impl Fn(&Base) -> Option<PathBuf>,
) -> Result<Vec<TargetFile>, EngineError> {
    let sizes: HashMap<&str, u64> = objects.iter().map(|object| (object.name.as_str(), object.size)).collect();
    let mut paths = HashSet::new();
    let mut files = Vec::new();
    let mut missing = Vec::new();
    for (index, entry) in builtin.file_entries.iter().enumerate() {
        // Vitess skips these, and the index counts.
        if entry.name.is_empty() {
            continue;
        }
        let relative = entry.path_below_base().map_err(|error| unusable(backup, &error.to_string()))?;
        let base = root(&entry.base).ok_or_else(|| {
            unusable(backup, &format!("file {:?} has the unknown base {:?}", entry.name, entry.base.as_str()))
        })?;
        let path = base.join(relative);
        if !paths.insert(path.clone()) {
            return Err(unusable(backup, &format!("it names the file {} twice", path.display())));
        }
        let object = index.to_string();
        if entry.hash.is_empty() {
            return Err(EngineError::HashAbsent { backup: backup.to_owned(), object, file: entry.name.clone() });
        }
        match sizes.get(object.as_str()) {
            Some(&found) if size_of(entry).is_some_and(|expected| expected != found) => {
                let expected = size_of(entry).unwrap_or_default();
                return Err(EngineError::ObjectSize { backup: backup.to_owned(), object, expected, found });
            }
            Some(&stored) => {
                files.push(TargetFile { object, name: entry.name.clone(), path, hash: entry.hash.clone(), stored });
            }
            None => missing.push(object),
        }
    }
    if missing.is_empty() {
        Ok(files)
    } else {
        Err(EngineError::ObjectsMissing { backup: backup.to_owned(), objects: missing })
    }
}

/// Bytes of its object, when the MANIFEST says (ours do).
fn size_of(entry: &FileEntry) -> Option<u64> {
    entry.unknown.get(STORED_BYTES)?.as_u64()
}

/// Checks a backup against the tablet that it is to be restored onto.
pub fn plan(
    backup: &str,
    manifest: &Manifest,
    objects: &[StoredObject],
    layout: &Layout,
) -> Result<Target, EngineError> {
    let builtin = builtin_of(backup, manifest)?;
    let files = files(backup, builtin, objects, |base| match base {
        Base::InnoDBData => Some(layout.innodb_data_home_dir.clone()),
        Base::InnoDBLog => Some(layout.innodb_log_group_home_dir.clone()),
        Base::Data => Some(layout.datadir.clone()),
        Base::BinLog => layout.log_bin.parent().map(Path::to_owned),
        Base::Other(_) => None,
    })?;
    Ok(Target {
        files,
        empty_directories: empty_directories(backup, manifest, layout)?,
        position: position(backup, manifest)?,
        data_bytes: manifest.unknown.get(DATA_BYTES).and_then(serde_json::Value::as_u64),
    })
}

fn empty_directories(backup: &str, manifest: &Manifest, layout: &Layout) -> Result<Vec<PathBuf>, EngineError> {
    let named = manifest.unknown.get(EMPTY_DIRECTORIES).and_then(|value| value.as_array());
    let listed = named.into_iter().flatten().filter_map(|name| name.as_str());
    listed
        .map(|name| {
            let plain = !name.is_empty()
                && !name.contains('\0')
                && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
            if plain {
                return Ok(layout.datadir.join(name));
            }
            Err(unusable(backup, &format!("directory {name:?} of {EMPTY_DIRECTORIES} is not a plain path")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redo_log_of_mysql_8_0_30_is_refused_by_every_server_that_does_not_know_it() {
        let builtin = |name: &str| Builtin {
            file_entries: vec![FileEntry { base: Base::InnoDBLog, name: name.to_owned(), ..FileEntry::default() }],
            ..Builtin::default()
        };
        let check = |name: &str, server: &str| {
            check_redo_log("b", &builtin(name), &ServerVersion::parse(server).unwrap())
                .map_err(|error| error.to_string())
        };
        for server in ["Ver 5.7.44", "Ver 8.0.29", "Ver 10.11.6-MariaDB"] {
            let message = check("#innodb_redo/#ib_redo9", server).unwrap_err();
            assert!(message.contains("8.0.30") && message.contains(server), "{message}");
            assert_eq!(check("ib_logfile0", server), Ok(()));
        }
        for server in ["Ver 8.0.30", "Ver 8.4.0", "Ver 9.7.4"] {
            assert_eq!(check("#innodb_redo/#ib_redo9", server), Ok(()));
            assert_eq!(check("ib_logfile0", server), Ok(()), "it upgrades the old layout");
        }
    }
}
