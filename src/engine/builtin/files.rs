//! Which files of a stopped mysqld make a full backup.
//!
//! The walk is Vitess's `findFilesToBackup`, in its order: everything in innodb_data_home_dir; the redo log (the entries of
//! `#innodb_redo` where MySQL >= 8.0.30 made it, else everything in innodb_log_group_home_dir); `mysql.ibd`; then each
//! directory of datadir that holds table files. What that walk would silently leave out follows it: a MANIFEST entry may
//! name any file below its base, so tablespaces at the top of datadir, undo tablespaces there and the files of other
//! directories become `Data` entries that Vitess restores like the rest. Directories without a file (a schema without
//! tables) have no entry; their names are kept apart. What cannot be carried at all is said.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::backup::manifest::Base;
use crate::engine::EngineError;
use crate::mysqld::Layout;

/// The directory in innodb_log_group_home_dir that holds the redo log from MySQL 8.0.30 on.
const DYNAMIC_REDO_LOG: &str = "#innodb_redo";
/// The data dictionary of MySQL 8.
const DATA_DICTIONARY: &str = "mysql.ibd";
/// The suffix of MySQL 5.7's links to tablespaces elsewhere.
const LINK: &str = ".isl";
/// How deep a directory in datadir is followed; MySQL itself nests no deeper than one.
const DEPTH: usize = 8;

/// The directories that my.cnf names.
#[derive(Clone, Copy, Debug)]
pub struct Roots<'a> {
    pub innodb_data_home_dir: &'a Path,
    pub innodb_log_group_home_dir: &'a Path,
    pub datadir: &'a Path,
}

impl<'a> Roots<'a> {
    pub fn of(layout: &'a Layout) -> Self {
        Self {
            innodb_data_home_dir: &layout.innodb_data_home_dir,
            innodb_log_group_home_dir: &layout.innodb_log_group_home_dir,
            datadir: &layout.datadir,
        }
    }
}

/// One file to back up; its place in the list is its object's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    pub base: Base,
    /// Relative to the base, with `/`.
    pub name: String,
    pub path: PathBuf,
    /// Bytes, when the list was made.
    pub size: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub files: Vec<SourceFile>,
    /// Directories in datadir without any file, relative to it: schemas without tables.
    pub empty_directories: Vec<String>,
    /// What should be in a backup and cannot be, one sentence each.
    pub not_carried: Vec<String>,
}

impl Selection {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// Lists the files. Blocking; mysqld must be down.
///
/// # Errors
/// `FileUnreadable` when a directory cannot be read; `DirectoriesOverlap` when two of them hold the same files.
pub fn select(roots: Roots<'_>) -> Result<Selection, EngineError> {
    let Roots { innodb_data_home_dir, innodb_log_group_home_dir, datadir } = roots;
    apart(&[innodb_data_home_dir, innodb_log_group_home_dir, datadir])?;
    let mut selection = Selection::default();
    selection.flat(&Base::InnoDBData, innodb_data_home_dir, "")?;
    if innodb_log_group_home_dir.join(DYNAMIC_REDO_LOG).is_dir() {
        selection.flat(&Base::InnoDBLog, innodb_log_group_home_dir, DYNAMIC_REDO_LOG)?;
    } else {
        selection.flat(&Base::InnoDBLog, innodb_log_group_home_dir, "")?;
    }
    let top = entries(datadir)?;
    if let Some(entry) = top.iter().find(|entry| entry.name == DATA_DICTIONARY) {
        selection.entry(&Base::Data, "", entry);
    }
    for entry in top.iter().filter(|entry| entry.kind == Kind::Directory) {
        if is_schema(&entry.path)? {
            selection.deep(datadir, &entry.name, DEPTH)?;
        }
    }
    for entry in &top {
        selection.left_out_by_vitess(datadir, entry)?;
    }
    Ok(selection)
}

/// Vitess's format tells files apart by the directory that my.cnf names; where one lies in another (all three are datadir in
/// a MySQL without Vitess's my.cnf), the same file would be in the backup twice.
fn apart(directories: &[&Path]) -> Result<(), EngineError> {
    let resolve = |path: &Path| path.canonicalize().map_err(|source| EngineError::unreadable(path, source));
    let resolved = directories.iter().map(|path| resolve(path)).collect::<Result<Vec<_>, _>>()?;
    for (place, outer) in resolved.iter().enumerate() {
        let mut others = resolved.iter().enumerate().filter(|(other, _)| *other != place);
        if let Some((_, inner)) = others.find(|(_, inner)| inner.starts_with(outer)) {
            return Err(EngineError::DirectoriesOverlap { inner: inner.clone(), outer: outer.clone() });
        }
    }
    Ok(())
}

/// Vitess's `isDbDir`.
fn is_schema(directory: &Path) -> Result<bool, EngineError> {
    let table_file = |entry: &Entry| {
        entry.name == "db.opt" || [".frm", ".sst", ".ibd", ".sdi"].iter().any(|suffix| has_suffix(&entry.name, suffix))
    };
    Ok(entries(directory)?.iter().any(table_file))
}

/// MySQL writes its suffixes in lower case and knows no other.
fn has_suffix(name: &str, suffix: &str) -> bool {
    name.ends_with(suffix)
}

/// A tablespace at the top of datadir: a general tablespace, or an undo tablespace when innodb_undo_directory is datadir; or
/// the link to one elsewhere.
fn is_tablespace(name: &str) -> bool {
    let implicit_undo = name
        .strip_prefix("undo_")
        .or_else(|| name.strip_prefix("undo"))
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()));
    let explicit = [".ibd", ".ibu", LINK].iter().any(|suffix| has_suffix(name, suffix));
    name != DATA_DICTIONARY && (explicit || implicit_undo)
}

/// Directories that mysqld makes anew, or that belong to another of its directories, and those of a file system. Named one
/// by one: MyRocks keeps its tables in `#rocksdb` (MariaDB) or `.rocksdb`, and what we do not know is data.
fn is_scratch(name: &str) -> bool {
    matches!(name, "#innodb_temp" | DYNAMIC_REDO_LOG | "#clone" | "#binlog_cache_files" | "lost+found")
}

impl Selection {
    /// Everything directly in `root/sub`.
    fn flat(&mut self, base: &Base, root: &Path, sub: &str) -> Result<(), EngineError> {
        for entry in entries(&root.join(sub))? {
            if entry.kind == Kind::Directory && is_scratch(&entry.name) {
                continue;
            }
            self.entry(base, sub, &entry);
        }
        Ok(())
    }

    /// Everything in `datadir/sub` and below it.
    fn deep(&mut self, datadir: &Path, sub: &str, depth: usize) -> Result<(), EngineError> {
        let inside = entries(&datadir.join(sub))?;
        if inside.is_empty() {
            self.empty_directories.push(sub.to_owned());
        }
        for entry in inside {
            if entry.kind == Kind::Directory && depth > 0 {
                self.deep(datadir, &format!("{sub}/{}", entry.name), depth - 1)?;
            } else {
                self.entry(&Base::Data, sub, &entry);
            }
        }
        Ok(())
    }

    fn left_out_by_vitess(&mut self, datadir: &Path, entry: &Entry) -> Result<(), EngineError> {
        match entry.kind {
            Kind::Directory if is_scratch(&entry.name) || is_schema(&entry.path)? => {}
            Kind::Directory => self.deep(datadir, &entry.name, DEPTH)?,
            Kind::File { .. } | Kind::Broken(_) if is_tablespace(&entry.name) => self.entry(&Base::Data, "", entry),
            // auto.cnf, TLS keys, logs: this server's own, not its data's.
            Kind::File { .. } | Kind::Broken(_) | Kind::Special => {}
        }
        Ok(())
    }

    fn entry(&mut self, base: &Base, sub: &str, entry: &Entry) {
        let name = if sub.is_empty() { entry.name.clone() } else { format!("{sub}/{}", entry.name) };
        match &entry.kind {
            Kind::File { .. } if has_suffix(&entry.name, LINK) => self.not_carried.push(format!(
                "{} points to a tablespace outside of the data directory (DATA DIRECTORY), where a backup has no place for it",
                entry.path.display()
            )),
            Kind::File { size } => {
                self.files.push(SourceFile { base: base.clone(), name, path: entry.path.clone(), size: *size });
            }
            Kind::Directory => self.not_carried.push(format!("{} is a directory", entry.path.display())),
            Kind::Broken(cause) => self.not_carried.push(format!("{} cannot be read: {cause}", entry.path.display())),
            // mysqld's own sockets.
            Kind::Special => {}
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    path: PathBuf,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    File {
        size: u64,
    },
    Directory,
    /// A socket, a pipe, a device.
    Special,
    /// A name that is not UTF-8, or a symlink to nowhere.
    Broken(String),
}

/// A directory's entries, symlinks followed as Vitess follows them, sorted by name as bytes.
fn entries(directory: &Path) -> Result<Vec<Entry>, EngineError> {
    let unreadable = |source: io::Error| EngineError::FileUnreadable { path: directory.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = match (entry.file_name().to_str(), fs::metadata(&path)) {
            (None, _) => Kind::Broken("its name is not UTF-8".to_owned()),
            (_, Err(error)) => Kind::Broken(error.to_string()),
            (_, Ok(metadata)) if metadata.is_dir() => Kind::Directory,
            (_, Ok(metadata)) if metadata.is_file() => Kind::File { size: metadata.len() },
            (_, Ok(_)) => Kind::Special,
        };
        found.push(Entry { name, path, kind });
    }
    found.sort_unstable_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
    Ok(found)
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
