//! Failures as users meet them: a reason from a closed list, one sentence, and what to do next.

use serde::{Deserialize, Serialize};

/// Why a run failed. The names are an interface: they are `status.failure.reason`, condition reasons and metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    // What was asked for
    InvalidArguments,
    TabletIsPrimary,
    DataPresent,
    // What is in storage
    NoBackupFound,
    NoCompleteBackup,
    BackupNotFound,
    ManifestUnreadable,
    EngineNotSupported,
    EngineNotAllowed,
    VersionIncompatible,
    HashMismatch,
    ObjectMissing,
    ObjectUnexpected,
    DecompressionFailed,
    /// `CHECK TABLE` found it in a backup that was restored for a look.
    TableCorrupt,
    AssertionFailed,
    BackupExists,
    LastGoodBackup,
    // Storage itself
    StorageUnreachable,
    StorageDenied,
    StorageMisconfigured,
    // The tablet
    SocketUnreachable,
    MysqlctlFailed,
    MysqlFailed,
    MysqldNotStopped,
    MysqldNotStarted,
    MysqldStartedMeanwhile,
    ReplicationNotRestarted,
    TabletDirInvalid,
    /// Another run holds the tablet.
    TabletBusy,
    /// Further behind its source than was allowed.
    TabletLagging,
    FilesNotCarried,
    CloneNotSupported,
    NoSpace,
    FileUnreadable,
    FileUnwritable,
    InterruptedRun,
    // XtraBackup
    XtrabackupUserMissing,
    XtrabackupNotFound,
    TarNotSupported,
    UnsupportedServerVersion,
    /// Its user may not log in, or lacks a privilege.
    XtrabackupDenied,
    /// mysqld cannot be reached, or went away while it was backed up.
    ServerGone,
    XtrabackupFailed,
    PrepareFailed,
    // The topology server
    TopologyUnreachable,
    /// Its TLS and ours do not go together.
    TopologyTlsFailed,
    TopologyDenied,
    /// It has no leader, or no quorum.
    TopologyNoQuorum,
    /// It broke off while the snapshot came.
    TopologyBrokenOff,
    /// The snapshot is not whole, by its own checksum.
    TopologySnapshotDamaged,
    TopologyNotSupported,
    TopologyFailed,
    /// Something else wrote what an import was about to write.
    TopologyChanged,
    // The run
    DeadlineExceeded,
    Cancelled,
    EngineLost,
    Internal,
}

/// What is written to `status.failure`, and to the last report line of a failed run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    pub reason: Reason,
    /// One sentence: the verb that failed, the thing, the cause.
    pub message: String,
    /// What a person should do next, in the imperative.
    pub remedy: String,
}

impl Reason {
    /// The exit code of a command that fails for this reason; the list is documented in README and `--help`.
    ///
    /// 2 bad usage, 3 no usable backup, 4 storage, 5 MySQL, mysqlctld or the topology server, 6 data refused, 7 cancelled or deadline, 70 a bug.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::InvalidArguments | Self::TabletDirInvalid | Self::XtrabackupUserMissing | Self::TarNotSupported => 2,
            Self::NoBackupFound | Self::NoCompleteBackup | Self::BackupNotFound => 3,
            Self::StorageUnreachable | Self::StorageDenied | Self::StorageMisconfigured | Self::BackupExists => 4,
            Self::SocketUnreachable
            | Self::MysqlctlFailed
            | Self::MysqlFailed
            | Self::MysqldNotStopped
            | Self::MysqldNotStarted
            | Self::MysqldStartedMeanwhile
            | Self::ReplicationNotRestarted
            | Self::XtrabackupNotFound
            | Self::XtrabackupFailed
            | Self::UnsupportedServerVersion
            | Self::XtrabackupDenied
            | Self::ServerGone
            | Self::TabletIsPrimary
            | Self::TabletBusy
            | Self::TabletLagging
            | Self::InterruptedRun
            | Self::TopologyUnreachable
            | Self::TopologyTlsFailed
            | Self::TopologyDenied
            | Self::TopologyNoQuorum
            | Self::TopologyBrokenOff
            | Self::TopologyNotSupported
            | Self::TopologyFailed
            | Self::TopologyChanged => 5,
            Self::DataPresent
            | Self::ManifestUnreadable
            | Self::EngineNotSupported
            | Self::EngineNotAllowed
            | Self::VersionIncompatible
            | Self::HashMismatch
            | Self::ObjectMissing
            | Self::ObjectUnexpected
            | Self::DecompressionFailed
            | Self::TableCorrupt
            | Self::AssertionFailed
            | Self::PrepareFailed
            | Self::TopologySnapshotDamaged
            | Self::LastGoodBackup
            | Self::FilesNotCarried
            | Self::CloneNotSupported
            | Self::NoSpace
            | Self::FileUnreadable
            | Self::FileUnwritable => 6,
            Self::DeadlineExceeded | Self::Cancelled => 7,
            Self::EngineLost | Self::Internal => 70,
        }
    }
}
