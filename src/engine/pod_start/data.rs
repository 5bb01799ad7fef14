//! What is on a tablet's volume before its mysqld runs, by a look at the files. Nothing is started for it.
//!
//! Vitess restores when `restore_in_progress` is there or the keyspace's database is not (`mysqlctl.ShouldRestore`), and asks
//! mysqld for the databases. Here mysqld does not run yet; a database is a directory in datadir.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use crate::backup::report::Operation;
use crate::engine::journal::{Journal, JournalStep};
use crate::engine::{EngineError, builtin::MARKER};

/// What there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// No mysqld ever ran here.
    None,
    /// One was initialised, and no keyspace's data came to it.
    Initialised,
    /// The keyspace's database is there.
    Present,
    /// Databases of others are there and the keyspace's is not: another keyspace's tablet, perhaps.
    Foreign(Vec<String>),
    /// A restore was cut short when the old data had gone.
    Interrupted,
}

/// Databases that MySQL, Vitess or a distribution makes by itself.
const SYSTEM: [&str; 6] = ["mysql", "performance_schema", "sys", "information_schema", "_vt", "test"];

/// Looks at the tablet's directory for `database`. Blocking, and quick: two directories are listed at most.
///
/// # Errors
/// `FileUnreadable`, `JournalUnreadable`.
pub fn look(tablet_dir: &Path, datadir: &Path, database: &str) -> Result<Data, EngineError> {
    if was_interrupted(tablet_dir)? {
        return Ok(Data::Interrupted);
    }
    let names = match names_in(datadir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Data::None),
        Err(error) => return Err(EngineError::unreadable(datadir, error)),
    };
    let file_name = file_name(database);
    let directories: Vec<&String> = names.iter().filter(|name| datadir.join(name).is_dir()).collect();
    if directories.iter().any(|name| **name == file_name || *name == database) {
        return Ok(Data::Present);
    }
    let foreign = |name: &str| !SYSTEM.contains(&name) && !name.starts_with(['#', '.']) && name != "lost+found";
    let foreign: Vec<String> = directories.iter().filter(|name| foreign(name)).map(|name| (*name).clone()).collect();
    Ok(match (names.iter().all(|name| name == "lost+found"), foreign.is_empty()) {
        (true, _) => Data::None,
        (false, true) => Data::Initialised,
        (false, false) => Data::Foreign(foreign),
    })
}

/// By Vitess's marker, or by the journal of a run of ours that was killed between the end of the one and of the other. A
/// restore that wrote the marker and had not begun to remove anything leaves whole data.
fn was_interrupted(tablet_dir: &Path) -> Result<bool, EngineError> {
    let marker = tablet_dir.join(MARKER).exists();
    let entry = Journal::peek(tablet_dir)?.filter(|entry| entry.operation == Operation::Restore);
    Ok(match entry {
        Some(entry) if entry.step >= JournalStep::ClearingData => true,
        Some(entry) => marker && entry.marker_before,
        None => marker,
    })
}

fn names_in(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = fs::read_dir(directory)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

/// The directory of a database. Source: MySQL's `tablename_to_filename`: letters, digits and `_` as they are, all else as
/// `@` and four hex digits.
fn file_name(database: &str) -> String {
    database.chars().fold(String::new(), |mut name, c| {
        if c.is_ascii_alphanumeric() || c == '_' {
            name.push(c);
        } else {
            let _ = write!(name, "@{:04x}", u32::from(c));
        }
        name
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::journal::Entry;
    use rstest::rstest;
    use std::path::PathBuf;

    /// A tablet's directory with these directories in its datadir.
    fn tablet(directories: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let tablet = tempfile::tempdir().unwrap();
        let datadir = tablet.path().join("data");
        for name in directories {
            fs::create_dir_all(datadir.join(name)).unwrap();
        }
        (tablet, datadir)
    }

    fn foreign(names: &[&str]) -> Data {
        Data::Foreign(names.iter().map(ToString::to_string).collect())
    }

    #[rstest]
    #[case::nothing(&[], Data::None)]
    #[case::a_file_systems_own(&["lost+found"], Data::None)]
    #[case::only_mysqls(&["mysql", "sys", "performance_schema", "#innodb_temp", "_vt"], Data::Initialised)]
    #[case::the_keyspaces(&["mysql", "vt_com@002dmerce"], Data::Present)]
    #[case::the_keyspaces_beside_others(&["mysql", "vt_com@002dmerce", "vt_customer"], Data::Present)]
    #[case::anothers(&["mysql", "vt_customer", "shop"], foreign(&["shop", "vt_customer"]))]
    fn a_volume_is_known_by_its_directories(#[case] directories: &[&str], #[case] expected: Data) {
        let (tablet, datadir) = tablet(directories);
        assert_eq!(look(tablet.path(), &datadir, "vt_com-merce").unwrap(), expected);
    }

    #[test]
    fn half_an_initialisation_is_no_data() {
        let (tablet, datadir) = tablet(&["#innodb_temp"]);
        fs::write(datadir.join("ibdata1"), "x").unwrap();
        assert_eq!(look(tablet.path(), &datadir, "vt_commerce").unwrap(), Data::Initialised);
    }

    #[rstest]
    #[case::vitess_was_killed(true, None, Data::Interrupted)]
    #[case::ours_was_killed(true, Some(JournalStep::ClearingData), Data::Interrupted)]
    #[case::ours_was_killed_at_its_very_end(false, Some(JournalStep::SettingPosition), Data::Interrupted)]
    #[case::ours_had_only_written_the_marker(true, Some(JournalStep::StoppingMysqld), Data::Present)]
    fn a_restore_that_was_cut_short_is_known(
        #[case] marker: bool,
        #[case] step: Option<JournalStep>,
        #[case] expected: Data,
    ) {
        let (tablet, datadir) = tablet(&["mysql", "vt_commerce"]);
        if marker {
            fs::write(tablet.path().join(MARKER), "").unwrap();
        }
        if let Some(step) = step {
            let journal = Journal::hold(tablet.path()).unwrap();
            journal.write(&Entry::new(Operation::Restore, jiff::Timestamp::UNIX_EPOCH, step)).unwrap();
        }
        assert_eq!(look(tablet.path(), &datadir, "vt_commerce").unwrap(), expected);
    }

    #[test]
    fn a_backup_that_was_killed_leaves_data() {
        let (tablet, datadir) = tablet(&["vt_commerce"]);
        let journal = Journal::hold(tablet.path()).unwrap();
        let entry = Entry::new(Operation::Backup, jiff::Timestamp::UNIX_EPOCH, JournalStep::CopyingFiles);
        journal.write(&entry).unwrap();
        assert_eq!(look(tablet.path(), &datadir, "vt_commerce").unwrap(), Data::Present);
    }
}
