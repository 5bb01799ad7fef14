//! Crash safety: a small file in the tablet's directory that says what a run is about to disturb and how things were
//! before. Whatever kills the engine, the next run reads it and puts the tablet back.
//!
//! The file is `vitess-backup.journal`, JSON, replaced as a whole (written beside, fsynced, renamed, directory fsynced)
//! before each step that disturbs the tablet, and removed at the end. It holds no credentials.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::backup::report::Operation;
use crate::engine::{EngineError, TabletType, Vtctld, kill_point};
use crate::mysqld::{ReplicationSource, SemiSync};
use crate::topo::KeyspaceShard;

pub const FILE_NAME: &str = "vitess-backup.journal";
const LOCK_NAME: &str = "vitess-backup.lock";
/// Raised when an older engine could not understand a newer journal.
const FORMAT: u32 = 1;

/// What a run writes down before it disturbs a tablet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    pub format: u32,
    pub operation: Operation,
    pub started: jiff::Timestamp,
    /// The step that is about to begin, or has begun.
    pub step: JournalStep,
    /// How the tablet was before the run. Absent when nothing could be asked (mysqld was down).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<TabletState>,
    /// Backup: what is being written, so that a half-written one can be removed. Restore: what is being restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<NamedBackup>,
    /// Backup: the tablet's type in the topology before it became BACKUP, and who can be asked to put it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tablet_type: Option<TypeBefore>,
    /// Backup: the tablet's files are cloned beside them, or are about to be; the clone is to be removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clone: bool,
    /// Restore: Vitess's own marker was there before the run.
    #[serde(default)]
    pub marker_before: bool,
}

/// In the order of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum JournalStep {
    /// Replication is about to be stopped, and a primary to be made read-only.
    StoppingReplication,
    StoppingMysqld,
    /// Backup: mysqld is down and its files are being read or cloned.
    CopyingFiles,
    /// Backup: mysqld, read-only, semi-sync and replication are being put back.
    PuttingBack,
    /// Backup: the tablet is as it was; only the backup in storage is not finished, and the clone, when there is one, is
    /// still there. mysqld is not to be touched again.
    PutBack,
    /// Restore: from here on the tablet's data is gone until a restore ends well.
    ClearingData,
    /// Restore: all files are in place.
    StartingMysqld,
    /// Restore: position and replication are being set.
    SettingPosition,
}

/// How a tablet's mysqld was, as far as a run disturbs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TabletState {
    pub mysqld_running: bool,
    pub read_only: bool,
    pub super_read_only: bool,
    /// `None`: the plugin is not loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semi_sync: Option<SemiSync>,
    /// `None`: no replication source was configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<Replication>,
}

/// A replica's threads, and its source without the password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replication {
    /// Running or trying to connect.
    pub io_started: bool,
    pub sql_running: bool,
    pub source: ReplicationSource,
    /// The source wants a password, which is not kept here.
    pub has_password: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TypeBefore {
    pub vtctld: Vtctld,
    pub tablet_type: TabletType,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedBackup {
    pub shard: KeyspaceShard,
    pub name: String,
}

impl Entry {
    pub fn new(operation: Operation, started: jiff::Timestamp, step: JournalStep) -> Self {
        Self {
            format: FORMAT,
            operation,
            started,
            step,
            before: None,
            backup: None,
            tablet_type: None,
            clone: false,
            marker_before: false,
        }
    }
}

/// The journal of one tablet, held by one run: while it lives, no other run may touch the tablet.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    /// Held for its advisory lock, which the kernel gives up when the process ends in whatever way.
    _lock: File,
}

impl Journal {
    /// Takes the tablet for this run. `directory` is the tablet's.
    ///
    /// # Errors
    /// `TabletBusy` when another run holds it, `TabletDir` when the directory cannot be written.
    pub fn hold(directory: &Path) -> Result<Self, EngineError> {
        let path = directory.join(LOCK_NAME);
        let unusable = |source| EngineError::TabletDir { path: path.clone(), source };
        let lock =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).map_err(unusable)?;
        give_to_tablets_user(&lock, directory).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { directory: directory.to_owned(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(EngineError::TabletBusy { path: path.clone() }),
            Err(fs::TryLockError::Error(source)) => Err(unusable(source)),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.join(FILE_NAME)
    }

    /// What an earlier run left, if it did not end.
    ///
    /// # Errors
    /// `JournalUnreadable` when there is a journal that cannot be understood: better to stop than to guess.
    pub fn read(&self) -> Result<Option<Entry>, EngineError> {
        Self::peek(&self.directory)
    }

    /// As [`Self::read`], without taking the tablet.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn peek(directory: &Path) -> Result<Option<Entry>, EngineError> {
        let path = directory.join(FILE_NAME);
        let unreadable = |cause: String| EngineError::JournalUnreadable { path: path.clone(), cause };
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        let entry: Entry = serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
        if entry.format > FORMAT {
            return Err(unreadable(format!("it has format {}, and this engine knows {FORMAT}", entry.format)));
        }
        Ok(Some(entry))
    }

    /// Durable when it returns.
    pub fn write(&self, entry: &Entry) -> Result<(), EngineError> {
        let path = self.path();
        self.replace(&path, entry).map_err(|source| EngineError::FileUnwritable { path, source })?;
        kill_point::journal_changed();
        Ok(())
    }

    fn replace(&self, path: &Path, entry: &Entry) -> io::Result<()> {
        let beside = path.with_extension("journal.new");
        let mut file = File::create(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(entry)?)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        sync_directory(&self.directory)
    }

    /// The run is over and the tablet needs nothing more.
    pub fn remove(&self) -> Result<(), EngineError> {
        let path = self.path();
        match fs::remove_file(&path).and_then(|()| sync_directory(&self.directory)) {
            Ok(()) => {
                kill_point::journal_changed();
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(EngineError::FileUnwritable { path, source }),
        }
    }
}

/// A lock that root made by hand must not keep the tablet's own user out later.
fn give_to_tablets_user(file: &File, directory: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = fs::metadata(directory)?;
    std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()))
}

/// Makes the names in a directory durable.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            before: Some(TabletState {
                mysqld_running: true,
                read_only: true,
                super_read_only: true,
                semi_sync: Some(SemiSync { source: false, replica: true }),
                replication: Some(Replication {
                    io_started: true,
                    sql_running: true,
                    source: ReplicationSource {
                        host: "primary.example".into(),
                        port: 3306,
                        user: "vt_repl".into(),
                        ..ReplicationSource::default()
                    },
                    has_password: false,
                }),
            }),
            backup: Some(NamedBackup {
                shard: "commerce/-80".parse().unwrap(),
                name: "2024-01-02.030405.zone1-0000000101".into(),
            }),
            ..Entry::new(Operation::Backup, "2024-01-02T03:04:05Z".parse().unwrap(), JournalStep::StoppingReplication)
        }
    }

    #[test]
    fn a_journal_reads_back_as_it_was_written_and_is_gone_when_removed() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::hold(directory.path()).unwrap();
        assert_eq!(journal.read().unwrap(), None);
        journal.write(&entry()).unwrap();
        journal.write(&Entry { step: JournalStep::PuttingBack, ..entry() }).unwrap();
        assert_eq!(journal.read().unwrap(), Some(Entry { step: JournalStep::PuttingBack, ..entry() }));
        journal.remove().unwrap();
        journal.remove().unwrap();
        assert_eq!(journal.read().unwrap(), None);
    }

    #[test]
    fn a_second_run_on_the_tablet_is_refused_while_the_first_lives() {
        let directory = tempfile::tempdir().unwrap();
        let first = Journal::hold(directory.path()).unwrap();
        let second = Journal::hold(directory.path());
        assert!(matches!(second, Err(EngineError::TabletBusy { .. })), "{second:?}");
        drop(first);
        Journal::hold(directory.path()).unwrap();
    }

    #[test]
    fn a_damaged_journal_stops_the_run() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::hold(directory.path()).unwrap();
        for text in ["", "{", r#"{"format": 2}"#] {
            fs::write(directory.path().join(FILE_NAME), text).unwrap();
            let read = journal.read();
            assert!(matches!(read, Err(EngineError::JournalUnreadable { .. })), "{text}: {read:?}");
        }
    }

    #[test]
    fn a_journal_of_a_later_format_is_not_guessed_at() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::hold(directory.path()).unwrap();
        journal.write(&Entry { format: FORMAT + 1, ..entry() }).unwrap();
        assert!(journal.read().unwrap_err().to_string().contains("format 2"));
    }

    #[test]
    fn the_steps_are_in_the_order_of_a_run() {
        assert!(JournalStep::CopyingFiles < JournalStep::PuttingBack);
        assert!(JournalStep::StoppingMysqld < JournalStep::ClearingData);
    }
}
