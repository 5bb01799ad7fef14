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
/// `FileUnreadable` when a directory cannot be read.
pub fn select(roots: Roots<'_>) -> Result<Selection, EngineError> {
    let Roots { innodb_data_home_dir, innodb_log_group_home_dir, datadir } = roots;
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

/// A tablespace at the top of datadir: a general tablespace, or an undo tablespace when innodb_undo_directory is datadir.
fn is_tablespace(name: &str) -> bool {
    let implicit_undo = name
        .strip_prefix("undo_")
        .or_else(|| name.strip_prefix("undo"))
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()));
    name != DATA_DICTIONARY && (has_suffix(name, ".ibd") || has_suffix(name, ".ibu") || implicit_undo)
}

/// Directories that mysqld makes anew at every start, and those that are a file system's own.
fn is_scratch(name: &str) -> bool {
    name.starts_with('#') || name == "lost+found"
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
            Kind::File { .. } if has_suffix(&entry.name, ".isl") => self.not_carried.push(format!(
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
mod tests {
    use super::*;
    use rstest::rstest;

    struct Tree(tempfile::TempDir);

    impl Tree {
        /// Makes files (and, for names that end in `/`, directories) below a tablet's directory as Vitess's my.cnf lays it out.
        fn of(names: &[&str]) -> Self {
            let tree = Self(tempfile::tempdir().unwrap());
            for name in ["innodb/data/", "innodb/logs/", "data/"].iter().chain(names) {
                let path = tree.0.path().join(name);
                if name.ends_with('/') {
                    fs::create_dir_all(path).unwrap();
                } else {
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(path, name).unwrap();
                }
            }
            tree
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn select(&self) -> Selection {
            select(Roots {
                innodb_data_home_dir: &self.path("innodb/data"),
                innodb_log_group_home_dir: &self.path("innodb/logs"),
                datadir: &self.path("data"),
            })
            .unwrap()
        }
    }

    fn names(selection: &Selection) -> Vec<String> {
        selection.files.iter().map(|file| format!("{:?} {}", file.base, file.name)).collect()
    }

    const MYSQL_57: &[&str] = &[
        "innodb/data/ibdata1",
        "innodb/data/ib_buffer_pool",
        "innodb/logs/ib_logfile0",
        "innodb/logs/ib_logfile1",
        "data/auto.cnf",
        "data/mysql/user.frm",
        "data/mysql/user.MYD",
        "data/performance_schema/db.opt",
        "data/vt_commerce/db.opt",
        "data/vt_commerce/customer.frm",
        "data/vt_commerce/customer.ibd",
        "data/server-cert.pem",
    ];

    const MYSQL_8029: &[&str] = &[
        "innodb/data/#ib_16384_0.dblwr",
        "innodb/data/ibdata1",
        "innodb/data/undo_001",
        "innodb/logs/ib_logfile0",
        "data/#innodb_temp/temp_1.ibt",
        "data/auto.cnf",
        "data/mysql.ibd",
        "data/mysql/general_log.CSV",
        "data/mysql/general_log_213.sdi",
        "data/sys/sys_config.ibd",
        "data/vt_commerce/customer.ibd",
    ];

    const MYSQL_97: &[&str] = &[
        "innodb/data/ibdata1",
        "innodb/data/undo_001",
        "innodb/logs/#innodb_redo/#ib_redo10",
        "innodb/logs/#innodb_redo/#ib_redo11_tmp",
        "data/#innodb_temp/temp_1.ibt",
        "data/auto.cnf",
        "data/mysql.ibd",
        "data/mysql/general_log_213.sdi",
        "data/_vt/heartbeat.ibd",
        "data/vt_commerce/customer.ibd",
        "data/mysql_upgrade_history",
    ];

    #[rstest]
    #[case(MYSQL_57, &[
        "InnoDBData ib_buffer_pool", "InnoDBData ibdata1", "InnoDBLog ib_logfile0", "InnoDBLog ib_logfile1",
        "Data mysql/user.MYD", "Data mysql/user.frm", "Data performance_schema/db.opt",
        "Data vt_commerce/customer.frm", "Data vt_commerce/customer.ibd", "Data vt_commerce/db.opt",
    ])]
    #[case(MYSQL_8029, &[
        "InnoDBData #ib_16384_0.dblwr", "InnoDBData ibdata1", "InnoDBData undo_001", "InnoDBLog ib_logfile0",
        "Data mysql.ibd", "Data mysql/general_log.CSV", "Data mysql/general_log_213.sdi", "Data sys/sys_config.ibd",
        "Data vt_commerce/customer.ibd",
    ])]
    #[case(MYSQL_97, &[
        "InnoDBData ibdata1", "InnoDBData undo_001",
        "InnoDBLog #innodb_redo/#ib_redo10", "InnoDBLog #innodb_redo/#ib_redo11_tmp",
        "Data mysql.ibd", "Data _vt/heartbeat.ibd", "Data mysql/general_log_213.sdi", "Data vt_commerce/customer.ibd",
    ])]
    fn the_files_of_each_mysql_are_found_in_vitess_order(#[case] tree: &[&str], #[case] expected: &[&str]) {
        let selection = Tree::of(tree).select();
        assert_eq!(names(&selection), expected);
        assert!(selection.empty_directories.is_empty() && selection.not_carried.is_empty(), "{selection:?}");
    }

    #[test]
    fn sizes_are_those_on_disk_and_paths_lead_to_the_files() {
        let selection = Tree::of(MYSQL_97).select();
        let first = &selection.files[0];
        assert_eq!(first.size, "innodb/data/ibdata1".len() as u64);
        assert!(first.path.ends_with("innodb/data/ibdata1"));
        assert_eq!(selection.bytes(), selection.files.iter().map(|file| file.size).sum::<u64>());
    }

    #[test]
    fn when_both_redo_layouts_are_there_the_new_one_counts_as_in_vitess() {
        let tree = Tree::of(&["innodb/logs/#innodb_redo/#ib_redo1", "innodb/logs/ib_logfile0"]);
        assert_eq!(names(&tree.select()), ["InnoDBLog #innodb_redo/#ib_redo1"]);
    }

    #[test]
    fn what_vitess_would_silently_leave_out_is_carried_after_the_rest() {
        let tree = Tree::of(&[
            "data/mysql.ibd",
            "data/archive.ibd",
            "data/undo_001",
            "data/undo_extra.ibu",
            "data/undo_notes.txt",
            "data/vt_commerce/customer.ibd",
            "data/vt_commerce/nested/part.ibd",
            "data/vt_odd/customer.MYD",
            "data/mysqld-auto.cnf",
        ]);
        assert_eq!(
            names(&tree.select()),
            [
                "Data mysql.ibd",
                "Data vt_commerce/customer.ibd",
                "Data vt_commerce/nested/part.ibd",
                "Data archive.ibd",
                "Data undo_001",
                "Data undo_extra.ibu",
                "Data vt_odd/customer.MYD",
            ]
        );
    }

    #[test]
    fn schemas_without_tables_are_kept_by_name() {
        let selection = Tree::of(&["data/vt_empty/", "data/#innodb_temp/", "data/lost+found/"]).select();
        assert_eq!(selection.empty_directories, ["vt_empty"]);
        assert!(selection.files.is_empty());
    }

    #[test]
    fn a_directory_among_innodbs_files_is_not_carried_and_said() {
        let selection = Tree::of(&["innodb/data/ibdata1", "innodb/data/odd/x.ibd"]).select();
        assert_eq!(names(&selection), ["InnoDBData ibdata1"]);
        assert!(selection.not_carried[0].ends_with("innodb/data/odd is a directory"), "{selection:?}");
    }

    #[test]
    fn a_tablespace_outside_of_datadir_is_not_carried_and_said() {
        let selection = Tree::of(&["data/vt_commerce/far.isl", "data/vt_commerce/db.opt"]).select();
        assert_eq!(names(&selection), ["Data vt_commerce/db.opt"]);
        assert!(selection.not_carried[0].contains("DATA DIRECTORY"), "{selection:?}");
    }

    #[test]
    fn symlinks_are_followed_as_in_vitess_and_one_to_nowhere_is_said() {
        let tree = Tree::of(&["data/vt_commerce/customer.ibd", "far/moved.ibd"]);
        std::os::unix::fs::symlink(tree.path("far"), tree.path("data/vt_far")).unwrap();
        std::os::unix::fs::symlink(tree.path("nowhere"), tree.path("data/vt_commerce/gone.ibd")).unwrap();
        let selection = tree.select();
        assert_eq!(names(&selection), ["Data vt_commerce/customer.ibd", "Data vt_far/moved.ibd"]);
        assert!(selection.not_carried[0].contains("gone.ibd cannot be read"), "{selection:?}");
    }

    #[test]
    fn a_missing_directory_is_an_error_and_not_an_empty_backup() {
        let tree = Tree::of(&[]);
        fs::remove_dir_all(tree.path("innodb/logs")).unwrap();
        let found = select(Roots {
            innodb_data_home_dir: &tree.path("innodb/data"),
            innodb_log_group_home_dir: &tree.path("innodb/logs"),
            datadir: &tree.path("data"),
        });
        assert!(matches!(found, Err(EngineError::FileUnreadable { .. })), "{found:?}");
    }
}
