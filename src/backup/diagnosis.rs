//! The diagnosis of each failure: what it means and what to do, in words for people. `docs/troubleshooting.md` is written from
//! this table (`make docs`); the message and the remedy of a particular failure name the things that it is about.

use super::failure::Reason;

/// What a failure means, and what to do, in one or two sentences each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    pub means: &'static str,
    pub remedy: &'static str,
}

/// Every reason, in the groups in which people look for them.
pub const GROUPS: &[(&str, &[Reason])] = &[
    ("What was asked for", &[Reason::InvalidArguments, Reason::TabletIsPrimary, Reason::DataPresent]),
    (
        "What is in storage",
        &[
            Reason::NoBackupFound,
            Reason::NoCompleteBackup,
            Reason::BackupNotFound,
            Reason::ManifestUnreadable,
            Reason::EngineNotSupported,
            Reason::EngineNotAllowed,
            Reason::VersionIncompatible,
            Reason::HashMismatch,
            Reason::ObjectMissing,
            Reason::ObjectUnexpected,
            Reason::DecompressionFailed,
            Reason::TableCorrupt,
            Reason::AssertionFailed,
            Reason::BackupExists,
            Reason::LastGoodBackup,
        ],
    ),
    ("Storage itself", &[Reason::StorageUnreachable, Reason::StorageDenied, Reason::StorageMisconfigured]),
    (
        "The tablet",
        &[
            Reason::SocketUnreachable,
            Reason::MysqlctlFailed,
            Reason::MysqlFailed,
            Reason::MysqldNotStopped,
            Reason::MysqldNotStarted,
            Reason::MysqldStartedMeanwhile,
            Reason::ReplicationNotRestarted,
            Reason::TabletDirInvalid,
            Reason::TabletBusy,
            Reason::TabletLagging,
            Reason::FilesNotCarried,
            Reason::CloneNotSupported,
            Reason::NoSpace,
            Reason::FileUnreadable,
            Reason::FileUnwritable,
            Reason::InterruptedRun,
        ],
    ),
    (
        "XtraBackup",
        &[
            Reason::XtrabackupUserMissing,
            Reason::XtrabackupNotFound,
            Reason::TarNotSupported,
            Reason::UnsupportedServerVersion,
            Reason::XtrabackupDenied,
            Reason::ServerGone,
            Reason::XtrabackupFailed,
            Reason::PrepareFailed,
        ],
    ),
    (
        "The topology server",
        &[
            Reason::TopologyUnreachable,
            Reason::TopologyTlsFailed,
            Reason::TopologyDenied,
            Reason::TopologyNoQuorum,
            Reason::TopologyBrokenOff,
            Reason::TopologySnapshotDamaged,
            Reason::TopologyNotSupported,
            Reason::TopologyFailed,
            Reason::TopologyChanged,
        ],
    ),
    ("The run", &[Reason::DeadlineExceeded, Reason::Cancelled, Reason::EngineLost, Reason::Internal]),
];

impl Reason {
    #[allow(clippy::too_many_lines, reason = "a table")]
    pub fn diagnosis(self) -> Diagnosis {
        let (means, remedy) = match self {
            Self::InvalidArguments => (
                "The engine was asked for something that cannot be: a bad name, shard, time or option.",
                "Correct what the message names.",
            ),
            Self::TabletIsPrimary => (
                "The tablet is the shard's primary, and would stop serving. Labels can be wrong; MySQL itself was \
                 asked.",
                "Choose a replica, or set `allowPrimary: true` of the VitessBackup (`--allow-primary`).",
            ),
            Self::DataPresent => (
                "The target of a restore holds data already.",
                "Choose another target, or set `existingData: Replace`: what is there is then lost.",
            ),
            Self::NoBackupFound => (
                "The shard has no backup at all.",
                "Take one; or set `waitForBackupInterval`; check `shard` and the storage's root.",
            ),
            Self::NoCompleteBackup => (
                "There are backups, but none that can be restored (cut short, damaged, of another engine, too new for \
                 the time asked). A tablet never starts empty in this case.",
                "`vitess-backup list` says what is wrong with each; take a new backup.",
            ),
            Self::BackupNotFound => (
                "There is no backup of that name.",
                "Take the name from the column BACKUP of `kubectl get vitessbackups.backup.vitess.io -o wide`, or from \
                 `vitess-backup list`.",
            ),
            Self::ManifestUnreadable => (
                "The backup's MANIFEST is damaged, or was not written by Vitess or this operator.",
                "Restore another backup.",
            ),
            Self::EngineNotSupported => (
                "The backup was made by an engine that this version does not have.",
                "Restore it with Vitess, or choose a backup of another engine.",
            ),
            Self::EngineNotAllowed => {
                ("The backup's engine is not in `allowedBackupEngines`.", "Add it there, or choose another backup.")
            }
            Self::VersionIncompatible => (
                "The tablet's MySQL cannot start on data of the backup's MySQL version.",
                "Use a tablet of a version that can: the same, or the next when the backup was made with \
                 `upgradeSafe`.",
            ),
            Self::HashMismatch => (
                "A stored file is not what was backed up: its hash is not the MANIFEST's.",
                "Restore another backup, and check the storage for silent damage.",
            ),
            Self::ObjectMissing => (
                "An object of the backup is gone from storage, or has another size.",
                "Use another backup, and find out what deletes or rewrites objects there.",
            ),
            Self::DecompressionFailed => (
                "A stored file cannot be decompressed, the stripes of an xtrabackup backup do not fit together, or its \
                 stream is not whole.",
                "Restore another backup, and check the storage.",
            ),
            Self::ObjectUnexpected => (
                "A verification found an object that the backup's engine could have made and that its MANIFEST does not \
                 name.",
                "MANIFEST and objects do not belong together: use another backup, and find out what writes there.",
            ),
            Self::TableCorrupt => (
                "A drill restored the backup, and `CHECK TABLE` found a table that is not whole, or mysqld died of it.",
                "Take a new backup; where it is the same, check the table on the tablet and rebuild the tablet from \
                 another replica.",
            ),
            Self::AssertionFailed => (
                "A drill restored the backup, and something that you hold to be true of the data is not.",
                "See whether the backup lacks the data, or the assertion asks for too much.",
            ),
            Self::BackupExists => (
                "A complete backup of exactly that name exists; names are made of the time in seconds.",
                "Take the backup again.",
            ),
            Self::LastGoodBackup => (
                "The backup to remove is the shard's only complete one.",
                "Take another first; or annotate the object that is being deleted with \
                 `backup.vitess.io/force-removal=true` (`--force`).",
            ),
            Self::StorageUnreachable => (
                "Storage does not answer, or broke off.",
                "See that the volume is mounted, or that the server runs and its endpoint and certificate are right; \
                 then again.",
            ),
            Self::StorageDenied => (
                "Storage is there and refuses.",
                "Give the engine access: for files the tablet's user and fsGroup, else its credentials or service \
                 account; [storage.md](storage.md) says which rights.",
            ),
            Self::StorageMisconfigured => (
                "The storage object names something that is not there: a volume, a bucket, a container, a file of \
                 credentials.",
                "Check its fields against [storage.md](storage.md).",
            ),
            Self::SocketUnreachable => (
                "mysqld's or mysqlctld's socket cannot be reached.",
                "Both sockets must be on a volume that the engine pod can share; see [What a tablet needs](operations.md#what-a-tablet-needs).",
            ),
            Self::MysqlctlFailed => (
                "mysqlctld answered with an error, or died while asked.",
                "Read its log and `error.log` in the tablet directory.",
            ),
            Self::MysqlFailed => {
                ("A statement failed.", "Read `error.log`; check the privileges of the user (`vt_dba`).")
            }
            Self::MysqldNotStopped => (
                "mysqld did not shut down cleanly in time.",
                "Read `error.log`; allow a longer `deadline` for a large buffer pool.",
            ),
            Self::MysqldNotStarted => ("mysqld did not come up.", "Read `error.log` in the tablet directory."),
            Self::MysqldStartedMeanwhile => (
                "mysqld was started by someone else while the run worked on its files: mysqlctld's container started \
                 again, or a person did it. A backup was given up and removed, and the tablet put back.",
                "Find out why (an out-of-memory kill, a liveness probe, a node drain), then run it again.",
            ),
            Self::ReplicationNotRestarted => (
                "The data is right, but the tablet does not replicate.",
                "`SHOW REPLICA STATUS` says why; `vtctldclient ReparentTablet` sets the source anew.",
            ),
            Self::TabletDirInvalid => (
                "The directory is not a tablet's: no usable `my.cnf`.",
                "Name the directory that mysqlctl or mysqlctld made.",
            ),
            Self::TabletBusy => {
                ("Another run holds the tablet, or another drill the scratch directory.", "Wait until it has ended.")
            }
            Self::TabletLagging => (
                "The tablet is further behind its source than `maxReplicationLag` (`--max-replication-lag`) allows, or does \
                 not replicate. With `shard` the next tablet was tried.",
                "Wait until it has caught up, choose another tablet, or allow more.",
            ),
            Self::FilesNotCarried => (
                "The tablet has files outside of what Vitess's format carries, so a restore would lose them.",
                "Move these tables into the data directory, or set `builtin.allowIncomplete: true`; the backup then \
                 has the condition `Whole=False`, which names them.",
            ),
            Self::CloneNotSupported => (
                "`builtin.copyMode: Clone` was asked for, and the tablet's files cannot be cloned; the message names \
                 one and says why. The tablet is as it was.",
                "Use an XFS (with reflink) or Btrfs volume for the whole tablet directory with space to spare, or set \
                 `copyMode: Auto`.",
            ),
            Self::NoSpace => {
                ("The volume of the target, or of the storage, is too small.", "Make it larger, or remove old backups.")
            }
            Self::FileUnreadable => (
                "A file of the tablet cannot be read, or changed while mysqld was down.",
                "Check its owner; an input/output error means a failing disk.",
            ),
            Self::FileUnwritable => {
                ("A file cannot be written.", "Check that the volume is writable for the engine's user.")
            }
            Self::InterruptedRun => (
                "An earlier run was killed and its traces are still there.",
                "The operator cleans up by itself; by hand: `vitess-backup recover`.",
            ),
            Self::XtrabackupUserMissing => (
                "A backup by xtrabackup was asked for without a MySQL user.",
                "Set `xtrabackup.user`; [xtrabackup.md](xtrabackup.md) says what it needs.",
            ),
            Self::XtrabackupNotFound => (
                "xtrabackup or xbstream is not in `PATH`, nor in `xtrabackup.rootPath`. Nothing was touched.",
                "Use a tablet image that has them, or set `xtrabackup.rootPath` (`--xtrabackup-root-path`).",
            ),
            Self::TarNotSupported => (
                "XtraBackup 8.0 and later writes no tar streams.",
                "Create the object again with `streamMode: xbstream`.",
            ),
            Self::UnsupportedServerVersion => (
                "XtraBackup does not know the server's version.",
                "Upgrade XtraBackup in the tablet's image; or, at your own risk, `backupFlags: \
                 --no-server-version-check`.",
            ),
            Self::XtrabackupDenied => (
                "mysqld refused XtraBackup's user, or that user lacks a privilege.",
                "Set the user up as [xtrabackup.md](xtrabackup.md) says.",
            ),
            Self::ServerGone => (
                "mysqld cannot be reached, or went away while XtraBackup copied its files.",
                "Read `error.log` in the tablet directory; take the backup again when mysqld runs.",
            ),
            Self::XtrabackupFailed => (
                "`xtrabackup --backup` failed, or at a restore xbstream (or tar) could not take the stream apart, or \
                 `xtrabackup --move-back` failed. The message has the telling line of its stderr, the log its end.",
                "Use XtraBackup of the series of the server, and of the one that made the backup.",
            ),
            Self::PrepareFailed => (
                "`xtrabackup --prepare` failed, likewise.",
                "As before; see also `xtrabackup.prepareFlags` (`--xtrabackup-prepare-flags`).",
            ),
            Self::TopologyUnreachable => (
                "The topology server does not answer.",
                "See that it runs, and that the endpoints are those of its clients (of ZooKeeper's admin server for \
                 snapshots); then again.",
            ),
            Self::TopologyTlsFailed => (
                "Its TLS and ours do not go together: only one side speaks it, or a certificate is missing or of \
                 another authority.",
                "`https://` and the right `ca.crt`; `tls.crt` and `tls.key` where it asks for a client's; `http://` \
                 where it has no TLS.",
            ),
            Self::TopologyDenied => (
                "It refuses the user or the token.",
                "etcd: a user with the role root; Consul: a token that may manage; ZooKeeper: a digest user with \
                 all rights on `/`.",
            ),
            Self::TopologyNoQuorum => (
                "It has no leader, so that what one of its servers has may be old.",
                "Bring up more of its servers; to save what one has, `stale: true` (`--stale`).",
            ),
            Self::TopologyBrokenOff => (
                "It died, or the connection did, while the snapshot came. Nothing was kept.",
                "See its log, and take the backup again.",
            ),
            Self::TopologySnapshotDamaged => (
                "The snapshot is cut short or changed, by the checksum that the server put into it.",
                "Take a new backup; to restore, use another one, and check the storage.",
            ),
            Self::TopologyNotSupported => (
                "The server cannot do what was asked: a ZooKeeper before 3.9, or a command that is switched off.",
                "[topology.md](topology.md) has the way for each server.",
            ),
            Self::TopologyFailed => ("It answered with an error of its own.", "See its log for this moment."),
            Self::TopologyChanged => (
                "Somebody else wrote a record that an import was about to write. What was written before it stays.",
                "Stop what writes to the topology, and import again.",
            ),
            Self::DeadlineExceeded => (
                "`deadline` passed; the tablet was put back.",
                "The log says which step took so long; allow more time.",
            ),
            Self::Cancelled => (
                "`cancel` was set, the object was deleted, or the pod was asked to stop; the tablet was put back.",
                "Create a new object when you want it done.",
            ),
            Self::EngineLost => (
                "The engine's pod vanished without a last word: killed, evicted, out of memory, node gone.",
                "`TabletRecovered` says whether the tablet was put back; see [An engine was killed](operations.md#an-engine-was-killed).",
            ),
            Self::Internal => ("A bug.", "Report it with the log."),
        };
        Diagnosis { means, remedy }
    }
}
