//! What can go wrong in a run, and what a person is told about it: reason, message, remedy.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::backup::choose::{PassedOver, Why};
use crate::backup::failure::{Failure, Reason};
use crate::backup::topology::DIRECTORY;
use crate::engine::Cause;
use crate::mysqld::{LayoutError, MysqldError};
use crate::storage::StorageError;
use crate::topo::{KeyspaceShard, ParseShardError};
use crate::topology::TopologyError;

/// A failed run. Messages are one sentence without a full stop: the verb that failed, the thing, the cause.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("{0}")]
    InvalidArguments(String),
    #[error(transparent)]
    Shard(#[from] ParseShardError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Mysqld(#[from] MysqldError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error("{} came", match .0 { Cause::Signal(name) => (*name).to_owned(), Cause::Deadline(after) => format!("the deadline of {} s", after.as_secs()) })]
    Interrupted(Cause),

    // The tablet.
    #[error("{tablet} is a primary: {evidence}")]
    TabletIsPrimary { tablet: String, evidence: String },
    #[error("{tablet} {}, and at most {} s were allowed", lag_words(*.behind), .limit.as_secs())]
    TabletLagging { tablet: String, behind: Option<u64>, limit: Duration },
    #[error("{what}")]
    DataPresent { what: String },
    #[error("another run holds the tablet ({} is locked)", path.display())]
    TabletBusy { path: PathBuf },
    #[error("another drill works in {}", path.display())]
    ScratchBusy { path: PathBuf },
    #[error("cannot use the tablet's directory ({}): {source}", path.display())]
    TabletDir { path: PathBuf, source: io::Error },
    #[error("cannot understand the journal of an earlier run, {}: {cause}", path.display())]
    JournalUnreadable { path: PathBuf, cause: String },
    #[error("an earlier restore of {backup} did not end and the tablet's data is not whole")]
    RestoreInterrupted { backup: String },
    /// A restore that failed after the tablet's old data was gone.
    #[error("{cause}; the tablet's data is not whole")]
    RestoreCutShort { cause: Box<EngineError> },
    #[error("an earlier run did not end: {what}")]
    InterruptedRun { what: String },
    #[error(
        "replication went on while the backup was being made: the position noted was {noted}, the data stands at {found}"
    )]
    PositionMoved { noted: String, found: String },
    /// `run` says how the run itself went.
    #[error("the tablet could not be put back as it was: {cause}; {run}")]
    NotPutBack { cause: Box<EngineError>, run: String },
    #[error("someone started mysqld while this run worked on its files: {evidence}")]
    MysqldStartedMeanwhile { evidence: String },
    #[error("replication does not run: {cause}")]
    ReplicationNotRestarted { cause: String },
    #[error("vtctld at {server} could not do what was asked for {alias}: {cause}")]
    Vtctld { server: String, alias: String, cause: String },
    #[error("{} of the tablet's files cannot be carried by Vitess's format: {}", .0.len(), .0.join("; "))]
    FilesNotCarried(Vec<String>),
    #[error("innodb_data_home_dir, innodb_log_group_home_dir and datadir are not apart in my.cnf: {} is in {}", inner.display(), outer.display())]
    DirectoriesOverlap { inner: PathBuf, outer: PathBuf },
    #[error("the tablet's files cannot be cloned: {cause}")]
    CloneImpossible { cause: String },
    #[error("{} has {available} bytes free and the backup needs at least {needed}", path.display())]
    NoSpace { path: PathBuf, needed: u64, available: u64 },
    #[error("cannot read {}: {source}", path.display())]
    FileUnreadable { path: PathBuf, source: io::Error },
    #[error("{} changed while it was being read: {expected} bytes before, {found} now", path.display())]
    FileChanged { path: PathBuf, expected: u64, found: u64 },
    #[error("cannot write {}: {source}", path.display())]
    FileUnwritable { path: PathBuf, source: io::Error },

    // The backup.
    #[error("none of the backups of {} can be restored: {}", of(.shard), list(.passed_over))]
    NoCompleteBackup { shard: KeyspaceShard, passed_over: Vec<PassedOver> },
    #[error("there is no backup {name} of {}", of(.shard))]
    BackupNotFound { shard: KeyspaceShard, name: String },
    /// The tablet cannot start empty either: a restore was cut short on it.
    #[error("an earlier restore of the tablet was cut short, and {shard} has no backup to start over with")]
    NothingToRestore { shard: KeyspaceShard },
    #[error("backup {} cannot be restored: {}", .0.name, .0.why)]
    BackupUnusable(PassedOver),
    #[error("the MANIFEST of backup {backup} cannot be used: {cause}")]
    ManifestUnusable { backup: String, cause: String },
    /// The newest backup that could have been restored is damaged.
    #[error("{cause}; {}", match older { Some(name) => format!("the next older complete backup is {name}"), None => "there is no older complete backup".to_owned() })]
    BackupDamaged { cause: Box<EngineError>, older: Option<String> },
    #[error("backup {backup} cannot be decompressed: {cause}")]
    CompressionUnknown { backup: String, cause: String },
    #[error("the engine {engine:?} is not one that this version has")]
    EngineNotSupported { engine: String },
    #[error(
        "backup {backup} was made by Vitess's mysqlshell engine: storage holds its MANIFEST only, the dump is at {location}"
    )]
    DumpElsewhere { backup: String, location: String },
    #[error("{file} of backup {backup} (object {object}) hashes to {found}, and its MANIFEST says {expected}")]
    HashMismatch { backup: String, object: String, file: String, expected: String, found: String },
    #[error("{file} of backup {backup} (object {object}) has no hash in the MANIFEST, so it cannot be checked")]
    HashAbsent { backup: String, object: String, file: String },
    #[error("backup {backup} lacks {} of its objects: {}", .objects.len(), .objects.iter().take(5).cloned().collect::<Vec<_>>().join(", "))]
    ObjectsMissing { backup: String, objects: Vec<String> },
    #[error("object {object} of backup {backup} has {found} bytes in storage, and {expected} were written")]
    ObjectSize { backup: String, object: String, expected: u64, found: u64 },
    #[error("cannot decompress {file} of backup {backup} (object {object}): {cause}")]
    Decompression { backup: String, object: String, file: String, cause: String },
    #[error(
        "the stripes of backup {backup} do not fit together: object {object} goes on where the stream has ended, so that another one is cut short"
    )]
    StripesUneven { backup: String, object: String },
    #[error("the stream of backup {backup} (object {object}) is not whole: {cause}")]
    StreamDamaged { backup: String, object: String, cause: String },
    #[error("storage has objects of backup {backup} that its MANIFEST does not name: {}", .objects.iter().take(5).cloned().collect::<Vec<_>>().join(", "))]
    ObjectsUnexpected { backup: String, objects: Vec<String> },
    /// More than one object is.
    #[error("{} things are wrong with backup {backup}: {first}; {}", .others.len() + 1, some(.others))]
    SeveralDamaged { backup: String, first: Box<EngineError>, others: Vec<String> },
    #[error("{} of the tables of backup {backup} are not whole: {}", .tables.len(), some(.tables))]
    TablesCorrupt { backup: String, tables: Vec<String> },
    #[error("{} of the assertions about backup {backup} failed: {}", .failed.len(), some(.failed))]
    AssertionsFailed { backup: String, failed: Vec<String> },
    #[error("cannot find {program} in {place}")]
    XtrabackupNotFound { program: &'static str, place: String },
    #[error("the xtrabackup engine was not told as which MySQL user to log in")]
    XtrabackupUserMissing,
    #[error("{version} cannot write a tar stream")]
    TarNotSupported { version: String },
    #[error("the backup's position cannot be told: {cause}")]
    PositionUnknown { cause: String },
    /// A program that did not end well: `line` is the telling one of its stderr.
    #[error("{command} failed: {line} ({status})")]
    Xtrabackup { reason: Reason, command: &'static str, line: String, status: String },
    #[error("cannot compress {}: {cause}", path.display())]
    Compression { path: PathBuf, cause: String },
    #[error("a backup {name} of {} exists and is complete", of(.shard))]
    BackupExists { shard: KeyspaceShard, name: String },
    #[error("{name} is the only complete backup of {}", of(.shard))]
    LastGoodBackup { shard: KeyspaceShard, name: String },

    #[error("{0}")]
    Internal(String),
    #[error("a step of the engine panicked; the log has the details")]
    Panicked,
}

/// Whose backups they are: the directory of topology servers' backups is no shard.
fn of(shard: &KeyspaceShard) -> String {
    let (first, second) = DIRECTORY;
    if (shard.keyspace(), shard.shard()) == (first, second) {
        "the topology server".to_owned()
    } else {
        shard.to_string()
    }
}

fn list(passed_over: &[PassedOver]) -> String {
    some(passed_over)
}

/// The first ones, and how many more there are.
fn some(all: &[impl ToString]) -> String {
    const SHOWN: usize = 5;
    let mut text = all.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join("; ");
    if all.len() > SHOWN {
        let _ = write!(text, "; and {} more", all.len() - SHOWN);
    }
    text
}

impl EngineError {
    pub fn invalid(text: &str) -> Self {
        Self::InvalidArguments(text.to_owned())
    }

    pub fn internal(error: &dyn std::fmt::Display) -> Self {
        Self::Internal(error.to_string())
    }

    /// A write that failed; a full file system is told apart.
    pub fn unwritable(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::FileUnwritable { path: path.into(), source }
    }

    pub fn unreadable(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::FileUnreadable { path: path.into(), source }
    }

    /// The damage of one backup's objects as one error; `None`: there is none.
    pub fn several(backup: &str, damage: Vec<Self>) -> Option<Self> {
        let mut all = damage.into_iter();
        let first = Box::new(all.next()?);
        let others: Vec<String> = all.map(|error| error.to_string()).collect();
        if others.is_empty() {
            Some(*first)
        } else {
            Some(Self::SeveralDamaged { backup: backup.to_owned(), first, others })
        }
    }

    /// What is reported to the user.
    pub fn failure(&self) -> Failure {
        let failure = match self {
            Self::Storage(error) => error.failure(),
            Self::Mysqld(error) => error.failure(),
            Self::Topology(error) => error.failure(),
            Self::NotPutBack { cause: of, .. } | Self::SeveralDamaged { first: of, .. } => {
                Failure { message: self.to_string(), ..of.failure() }
            }
            Self::RestoreCutShort { cause } => {
                let cause = cause.failure();
                let remedy = format!("{} {}", sentence(&cause.remedy), self.remedy());
                Failure { message: self.to_string(), remedy, ..cause }
            }
            Self::BackupDamaged { cause, older } => {
                let cause = cause.failure();
                let remedy = match older {
                    Some(name) => format!(
                        "{} To go on with the older backup say so: --backup-name {name} or --fallback \
                         (in a VitessRestore backup.name or fallback: true)",
                        sentence(&cause.remedy)
                    ),
                    None => cause.remedy,
                };
                Failure { reason: cause.reason, message: self.to_string(), remedy }
            }
            _ => Failure { reason: self.reason(), message: self.to_string(), remedy: self.remedy() },
        };
        Failure { remedy: sentence(&failure.remedy), ..failure }
    }

    /// How far behind its source the tablet was, in seconds, when that is what is wrong and known.
    pub fn lag(&self) -> Option<u64> {
        match self {
            Self::TabletLagging { behind, .. } => *behind,
            _ => None,
        }
    }

    /// The fault is the stored backup's: another backup may well do.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::HashMismatch { .. }
            | Self::HashAbsent { .. }
            | Self::ObjectsMissing { .. }
            | Self::ObjectSize { .. }
            | Self::Decompression { .. }
            | Self::StripesUneven { .. }
            | Self::StreamDamaged { .. }
            | Self::ObjectsUnexpected { .. }
            | Self::SeveralDamaged { .. }
            | Self::ManifestUnusable { .. }
            | Self::Storage(StorageError::NotFound { .. }) => true,
            Self::BackupUnusable(PassedOver { why, .. }) => matches!(why, Why::ManifestUnreadable(_)),
            _ => false,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::InvalidArguments(_) | Self::Shard(_) => Reason::InvalidArguments,
            Self::Storage(error) => error.failure().reason,
            Self::Mysqld(error) => error.failure().reason,
            Self::Topology(error) => error.failure().reason,
            Self::NotPutBack { cause, .. }
            | Self::RestoreCutShort { cause }
            | Self::SeveralDamaged { first: cause, .. }
            | Self::BackupDamaged { cause, older: _ } => cause.reason(),
            Self::ObjectsUnexpected { .. } => Reason::ObjectUnexpected,
            Self::TablesCorrupt { .. } => Reason::TableCorrupt,
            Self::AssertionsFailed { .. } => Reason::AssertionFailed,
            Self::MysqldStartedMeanwhile { .. } => Reason::MysqldStartedMeanwhile,
            Self::Layout(_) | Self::TabletDir { .. } => Reason::TabletDirInvalid,
            Self::Interrupted(Cause::Signal(_)) => Reason::Cancelled,
            Self::Interrupted(Cause::Deadline(_)) => Reason::DeadlineExceeded,
            Self::TabletIsPrimary { .. } => Reason::TabletIsPrimary,
            Self::TabletLagging { .. } => Reason::TabletLagging,
            Self::DataPresent { .. } => Reason::DataPresent,
            Self::TabletBusy { .. } | Self::ScratchBusy { .. } => Reason::TabletBusy,
            Self::JournalUnreadable { .. } | Self::RestoreInterrupted { .. } | Self::InterruptedRun { .. } => {
                Reason::InterruptedRun
            }
            Self::PositionMoved { .. } | Self::ReplicationNotRestarted { .. } | Self::Vtctld { .. } => {
                Reason::ReplicationNotRestarted
            }
            Self::FilesNotCarried(_) | Self::DirectoriesOverlap { .. } => Reason::FilesNotCarried,
            Self::CloneImpossible { .. } => Reason::CloneNotSupported,
            Self::NoSpace { .. } => Reason::NoSpace,
            Self::FileUnwritable { source, .. } if source.kind() == io::ErrorKind::StorageFull => Reason::NoSpace,
            Self::FileUnwritable { .. } => Reason::FileUnwritable,
            Self::FileUnreadable { .. } | Self::FileChanged { .. } => Reason::FileUnreadable,
            Self::NoCompleteBackup { .. } => Reason::NoCompleteBackup,
            Self::BackupNotFound { .. } => Reason::BackupNotFound,
            Self::NothingToRestore { .. } => Reason::NoBackupFound,
            Self::BackupUnusable(passed_over) => match passed_over.why {
                Why::ManifestUnreadable(_) => Reason::ManifestUnreadable,
                Why::EngineNotAllowed(_) => Reason::EngineNotAllowed,
                Why::VersionIncompatible(_) => Reason::VersionIncompatible,
                Why::Incomplete | Why::Incremental | Why::TooNew(_) | Why::TimeUnknown(_) => Reason::NoCompleteBackup,
            },
            Self::ManifestUnusable { .. } | Self::CompressionUnknown { .. } => Reason::ManifestUnreadable,
            Self::EngineNotSupported { .. } | Self::DumpElsewhere { .. } => Reason::EngineNotSupported,
            Self::HashMismatch { .. } | Self::HashAbsent { .. } => Reason::HashMismatch,
            Self::ObjectsMissing { .. } | Self::ObjectSize { .. } => Reason::ObjectMissing,
            Self::Decompression { .. } | Self::StripesUneven { .. } | Self::StreamDamaged { .. } => {
                Reason::DecompressionFailed
            }
            Self::XtrabackupNotFound { .. } => Reason::XtrabackupNotFound,
            Self::XtrabackupUserMissing => Reason::XtrabackupUserMissing,
            Self::TarNotSupported { .. } => Reason::TarNotSupported,
            Self::PositionUnknown { .. } => Reason::XtrabackupFailed,
            Self::Xtrabackup { reason, .. } => *reason,
            Self::BackupExists { .. } => Reason::BackupExists,
            Self::LastGoodBackup { .. } => Reason::LastGoodBackup,
            Self::Compression { .. } | Self::Internal(_) | Self::Panicked => Reason::Internal,
        }
    }

    /// For what only backups of the xtrabackup engine can meet.
    fn xtrabackup_remedy(&self) -> &'static str {
        match self {
            Self::StripesUneven { .. } => {
                "A stored stripe was cut short: restore another backup (--backup-name; in a VitessRestore backup.name), and check the storage"
            }
            Self::XtrabackupNotFound { .. } => {
                "Use a tablet image that has XtraBackup of the MySQL version's series, or say where it is (--xtrabackup-root-path; in a VitessBackup or VitessRestore xtrabackup.rootPath)"
            }
            Self::PositionUnknown { .. } => {
                "Switch the binary log and GTIDs on (log_bin, gtid_mode=ON), without which Vitess cannot use a backup"
            }
            other => xtrabackup_remedy_of(other.reason()),
        }
    }

    /// For what only a verification finds.
    fn verification_remedy(&self) -> &'static str {
        match self {
            Self::StreamDamaged { .. } => {
                "A stored object is damaged, or MANIFEST and objects do not belong together: use another backup, and check the storage"
            }
            Self::ObjectsUnexpected { .. } => {
                "MANIFEST and objects do not belong together: use another backup, and find out what changes objects in the storage"
            }
            Self::TablesCorrupt { .. } => {
                "Take a new backup; where it is the same, run CHECK TABLE on the tablet that was backed up and rebuild it from another replica"
            }
            _ => {
                "See whether the backup lacks the data or the assertion asks for too much; where it is the backup, take a new one"
            }
        }
    }

    #[allow(clippy::too_many_lines, reason = "a table")]
    fn remedy(&self) -> String {
        let remedy = match self {
            Self::InvalidArguments(_) | Self::Shard(_) => "Correct the arguments; --help lists them",
            Self::Layout(_) | Self::TabletDir { .. } => {
                "Point --tablet-dir at the directory that holds the tablet's my.cnf, and run as the user that owns it"
            }
            Self::Interrupted(Cause::Signal(_)) => "Run it again when you want it done",
            Self::Interrupted(Cause::Deadline(_)) => {
                "Allow more time (--deadline; in an object deadline), or see in the log which step took so long"
            }
            Self::TabletIsPrimary { .. } => {
                "Choose a replica, or allow the primary (--allow-primary; in a VitessBackup allowPrimary: true): with the builtin engine the shard takes no writes meanwhile"
            }
            Self::TabletLagging { .. } => {
                "Wait until it has caught up, choose another tablet, or allow more (--max-replication-lag; in a VitessBackup maxReplicationLag)"
            }
            Self::DataPresent { .. } => {
                "Choose another tablet, or have its data replaced (--existing-data replace; in a VitessRestore existingData: Replace): what it holds now is then lost"
            }
            Self::TabletBusy { .. } | Self::ScratchBusy { .. } => "Wait until the other run has ended",
            Self::JournalUnreadable { .. } => "See that mysqld runs and replicates, then remove the file by hand",
            Self::RestoreInterrupted { .. } | Self::RestoreCutShort { .. } => {
                "Run the restore again with --existing-data replace (in a VitessRestore existingData: Replace); until then the tablet cannot start"
            }
            Self::InterruptedRun { .. } => "Run `vitess-backup recover` for the tablet, then start over",
            Self::PositionMoved { .. } => {
                "Keep VTOrc from starting replication on a tablet that is being backed up (tablet type BACKUP), and take the backup again"
            }
            Self::MysqldStartedMeanwhile { .. } => {
                "Find out what started it (a container of mysqlctld that started again, a person), then run it again"
            }
            Self::ReplicationNotRestarted { .. } => {
                "See SHOW REPLICA STATUS on the tablet; `vtctldclient ReparentTablet <alias>` sets its source anew"
            }
            Self::Vtctld { .. } => {
                "See that vtctld and the tablet's vttablet answer; `vtctldclient GetTablet`, `ChangeTabletType` and `ReparentTablet` do by hand what is left to do"
            }
            Self::FilesNotCarried(_) => {
                "Move these tables into the data directory, or leave them out knowingly (--allow-incomplete; in a VitessBackup builtin.allowIncomplete: true)"
            }
            Self::DirectoriesOverlap { .. } => {
                "Give mysqld the directories of Vitess's my.cnf (data, innodb/data, innodb/logs), or back it up with Vitess's xtrabackup engine"
            }
            Self::CloneImpossible { .. } => {
                "Keep the whole tablet directory on one XFS (with reflink) or Btrfs file system with space to spare, or copy in place (--copy-mode in-place; in a VitessBackup builtin.copyMode: InPlace)"
            }
            Self::NoSpace { .. } => "Make the volume larger or free space on it",
            Self::FileUnwritable { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "Make the volume larger or free space on it, then run the restore again"
            }
            Self::FileUnwritable { .. } => "See that the user this runs as may write there, then run it again",
            Self::FileUnreadable { .. } => {
                "See that the user this runs as may read it; an input/output error means a failing disk"
            }
            Self::FileChanged { .. } => "Find out what writes to a stopped mysqld's files, then take the backup again",
            Self::NoCompleteBackup { .. } => {
                "Take a backup; see what is there (`vitess-backup list`; in a cluster `kubectl get vitessbackups.backup.vitess.io`), and remove what is broken"
            }
            Self::BackupNotFound { .. } => {
                "See `vitess-backup list` for the names, or in a cluster the column BACKUP of `kubectl get vitessbackups.backup.vitess.io -o wide`"
            }
            Self::NothingToRestore { .. } => {
                "Take a backup of the shard, or name the storage that has one; to start empty after all, remove what is in the tablet's directory"
            }
            Self::BackupUnusable(passed_over) => unusable_remedy(&passed_over.why),
            Self::ManifestUnusable { .. } => "Restore another backup (--backup-name; in a VitessRestore backup.name)",
            Self::CompressionUnknown { .. } => {
                "Give the command that decompresses it (--external-decompressor), or restore another backup (--backup-name; in a VitessRestore backup.name)"
            }
            Self::EngineNotSupported { .. } => {
                "Restore it with Vitess itself, or choose a backup of another engine (--restore-from-backup-allowed-engines builtin; in a VitessRestore allowedBackupEngines)"
            }
            Self::DumpElsewhere { .. } => {
                "Restore it with Vitess's mysqlshell engine or MySQL Shell's util.loadDump, or choose a backup of another engine (--restore-from-backup-allowed-engines builtin; in a VitessRestore allowedBackupEngines)"
            }
            Self::HashMismatch { .. } => {
                "The stored object is damaged: restore another backup (--backup-name; in a VitessRestore backup.name), and check the storage"
            }
            Self::HashAbsent { .. } => {
                "Vitess 22 and 23 could leave a hash out (issue 19336) and refuse such a backup too: restore another one"
            }
            Self::ObjectsMissing { .. } | Self::ObjectSize { .. } => {
                "The backup is damaged: use another one, and find out what changes objects in the storage"
            }
            Self::Decompression { .. } => {
                "The stored object is damaged or was compressed in another way: restore another backup, and check the storage"
            }
            Self::StripesUneven { .. }
            | Self::XtrabackupNotFound { .. }
            | Self::XtrabackupUserMissing
            | Self::TarNotSupported { .. }
            | Self::PositionUnknown { .. }
            | Self::Xtrabackup { .. } => self.xtrabackup_remedy(),
            Self::StreamDamaged { .. }
            | Self::ObjectsUnexpected { .. }
            | Self::TablesCorrupt { .. }
            | Self::AssertionsFailed { .. } => self.verification_remedy(),
            Self::BackupExists { .. } => {
                "Take it again under another time (--backup-time; an object is created again), or remove that backup first"
            }
            Self::LastGoodBackup { .. } => {
                "Take another backup first, or remove it all the same (--force; on an object the annotation backup.vitess.io/force-removal=true)"
            }
            Self::Compression { .. } => {
                "Choose another --compression-engine-name or --compression-level (in a VitessBackup compression)"
            }
            Self::Storage(_)
            | Self::Mysqld(_)
            | Self::Topology(_)
            | Self::NotPutBack { .. }
            | Self::BackupDamaged { .. }
            | Self::SeveralDamaged { .. }
            | Self::Internal(_)
            | Self::Panicked => "This is a bug: report it with the log",
        };
        remedy.to_owned()
    }
}

fn lag_words(behind: Option<u64>) -> String {
    behind.map_or_else(
        || "does not replicate, so that nobody knows how far it is behind its source".to_owned(),
        |seconds| format!("is {seconds} s behind its source"),
    )
}

fn xtrabackup_remedy_of(reason: Reason) -> &'static str {
    match reason {
        Reason::XtrabackupUserMissing => {
            "Name a MySQL user that logs in through the socket without a password (--xtrabackup-user; in a VitessBackup xtrabackup.user); docs/xtrabackup.md lists its privileges"
        }
        Reason::TarNotSupported => {
            "Use the stream mode xbstream (--xtrabackup-stream-mode; in a VitessBackup xtrabackup.streamMode)"
        }
        Reason::UnsupportedServerVersion => {
            "Use XtraBackup of the server's series that is as new as the server, or at your own risk give it --no-server-version-check (--xtrabackup-backup-flags; in a VitessBackup xtrabackup.backupFlags)"
        }
        Reason::XtrabackupDenied => {
            "Let the user log in through the socket without a password (auth_socket) and grant it what docs/xtrabackup.md lists"
        }
        Reason::ServerGone => "See in mysqld's error log why it went away, then take the backup again",
        Reason::PrepareFailed => {
            "See the end of the program's stderr in the log; XtraBackup must be of the series that made the backup (2.4, 8.0, 8.4), and --xtrabackup-prepare-flags must be flags of --prepare"
        }
        _ => {
            "See the end of the program's stderr in the log; XtraBackup must be of the server's series (2.4, 8.0, 8.4), and the same for a backup and its restore"
        }
    }
}

/// Capitalised, with a full stop: remedies come from several modules and are shown alike.
fn sentence(remedy: &str) -> String {
    let mut letters = remedy.trim_end_matches('.').chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

fn unusable_remedy(why: &Why) -> &'static str {
    match why {
        Why::Incomplete => "Restore another backup; remove this one when no run is writing it any more",
        Why::ManifestUnreadable(_) => "Restore another backup (--backup-name; in a VitessRestore backup.name)",
        Why::EngineNotAllowed(_) => {
            "Add its engine to --restore-from-backup-allowed-engines (in a VitessRestore allowedBackupEngines), or restore another backup"
        }
        Why::Incremental => "Restore the full backup that it continues",
        Why::VersionIncompatible(_) => "Restore it onto a tablet of a MySQL version that can start on its data",
        Why::TooNew(_) | Why::TimeUnknown(_) => {
            "Ask for a later time, or name the backup (--backup-name; in a VitessRestore backup.name)"
        }
    }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
