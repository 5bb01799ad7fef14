//! Topology servers, real ones: what is backed up of them is restored, with their own programs and without; what goes wrong
//! with them is told apart; and Vitess goes on with what comes back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's own functions may fail the test")]

mod consul;
mod etcd;
mod machine;
mod proxy;
mod servers;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod transfer;
mod vitess;
mod zookeeper;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};

use tempfile::TempDir;
use vitess_backup::backup::failure::{Failure, Reason};
use vitess_backup::backup::topology::{ListedTopologyBackup, TopologyServer};
use vitess_backup::engine::topology::{self, BackupOptions, Done};
use vitess_backup::engine::{EngineError, Interrupt};
use vitess_backup::progress::Quiet;
use vitess_backup::storage::{BackupStorage, Location};
use vitess_backup::topology::access::endpoints;
use vitess_backup::topology::{Access, Credentials};

/// A storage in a directory.
struct Case {
    root: TempDir,
    storage: BackupStorage,
}

impl Case {
    fn new() -> Self {
        let root = TempDir::new().unwrap();
        let storage = BackupStorage::open(&Location::File { root: root.path().join("backups") }).unwrap();
        Self { root, storage }
    }

    async fn try_backup(&self, server: TopologyServer, access: &Access, stale: bool) -> Result<Done, EngineError> {
        let options = BackupOptions {
            server,
            access: access.clone(),
            cell: "global".to_owned(),
            started: started(),
            stale,
            data_directories: None,
        };
        self.run(&options).await
    }

    async fn run(&self, options: &BackupOptions) -> Result<Done, EngineError> {
        topology::backup(&self.storage, options, &Interrupt::new(), &Quiet).await
    }

    async fn backup(&self, server: TopologyServer, access: &Access) -> Done {
        self.try_backup(server, access, false).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// A backup that must fail for this reason, with a remedy, and leave nothing behind.
    async fn refused(&self, server: TopologyServer, access: &Access, reason: Reason) -> Failure {
        let error = self.try_backup(server, access, false).await.expect_err("this cannot be backed up");
        let failure = error.failure();
        assert_eq!(failure.reason, reason, "{failure:?}");
        assert!(failure.remedy.len() > 20, "{failure:?}");
        assert_eq!(self.listed().await, [], "{failure:?}");
        failure
    }

    async fn listed(&self) -> Vec<ListedTopologyBackup> {
        topology::list(&self.storage, &Quiet).await.unwrap()
    }

    /// Writes the files of a backup into a new directory.
    async fn fetch(&self, name: &str) -> PathBuf {
        let directory = self.root.path().join(format!("fetched-{name}"));
        topology::to_directory(&self.storage, name, &directory, &Quiet).await.unwrap_or_else(|error| panic!("{error}"));
        directory
    }

    /// Where a part of a backup is stored.
    fn stored(&self, name: &str, part: &str) -> PathBuf {
        self.root.path().join("backups/vitess.topology/backups").join(name).join(part)
    }
}

/// Another second for every backup: it is part of the name.
fn started() -> jiff::Timestamp {
    static NEXT: AtomicI64 = AtomicI64::new(1_795_759_200);
    jiff::Timestamp::from_second(NEXT.fetch_add(1, Ordering::Relaxed)).unwrap()
}

fn access(address: &str) -> Access {
    Access::to(endpoints(address).unwrap())
}

fn with_user(access: &Access, name: &str, password: &str) -> Access {
    let credentials = Credentials { user: Some((name.to_owned(), password.to_owned())), token: None };
    Access { credentials, ..access.clone() }
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
