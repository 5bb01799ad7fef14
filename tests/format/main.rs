//! The format, as `docs/format.md` tells it: artefacts of Vitess, MANIFESTs of every era, what a reader must bear, and what
//! no bytes may do. No mysqld is needed here: the files are at rest.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's own functions may fail the test")]

mod eras;
mod fixtures;
mod mutations;
mod reader;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use vitess_backup::backup::choose::Wanted;
use vitess_backup::engine::builtin::{self, ExistingData, Limits, RestoreEnd, RestoreOptions};
use vitess_backup::engine::xtrabackup::XtrabackupOptions;
use vitess_backup::engine::{Done, EngineError, Interrupt, MysqldAccess, Tablet};
use vitess_backup::progress::Quiet;
use vitess_backup::storage::{BackupStorage, Location};

// What the shared entry functions of tests/fuzz find under `crate`.
use vitess_backup::{backup, replication, topo};

const NAME: &str = "2024-01-02.030405.zone1-0000000101";

/// A storage with one backup of commerce/0, and an empty volume to restore it to.
struct Volume(TempDir);

impl Volume {
    fn new() -> Self {
        let volume = Self(TempDir::new().unwrap());
        fs::create_dir_all(volume.backup()).unwrap();
        volume
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("backups")
    }

    fn backup(&self) -> PathBuf {
        self.root().join("commerce/0").join(NAME)
    }

    fn tablet_dir(&self) -> PathBuf {
        self.0.path().join("vt_0000000101")
    }

    fn put(&self, object: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.backup().join(object), bytes).unwrap();
    }

    /// Stores the MANIFEST and an object for each of its files, which holds the file's name; hashes that are "00000000" are
    /// filled in.
    fn fill(&self, mut manifest: Value, pack: impl Fn(&[u8]) -> Vec<u8>) {
        for (index, entry) in manifest["FileEntries"].as_array_mut().unwrap().iter_mut().enumerate() {
            let stored = pack(entry["Name"].as_str().unwrap_or_default().as_bytes());
            if entry["Hash"] == "00000000" {
                entry["Hash"] = format!("{:08x}", crc32fast::hash(&stored)).into();
            }
            self.put(&index.to_string(), stored);
        }
        self.put_manifest(manifest);
    }

    /// Without its MySQLVersion, so that it does not matter what mysqld this machine may have.
    fn put_manifest(&self, mut manifest: Value) {
        if manifest.get("MySQLVersion").is_some() {
            manifest["MySQLVersion"] = "".into();
        }
        self.put("MANIFEST", serde_json::to_vec(&manifest).unwrap());
    }

    fn storage(&self) -> BackupStorage {
        BackupStorage::open(&Location::File { root: self.root() }).unwrap()
    }

    fn options() -> RestoreOptions {
        RestoreOptions {
            wanted: Wanted::Latest,
            existing_data: ExistingData::Refuse,
            allowed_engines: Vec::new(),
            fallback: false,
            limits: Limits::default(),
            allow_primary: false,
            vtctld: None,
            external_decompressor: None,
            external_decompressor_use_manifest: false,
            xtrabackup: XtrabackupOptions::default(),
            mysqlctld_timeout: Duration::from_secs(1),
            before_start: None,
        }
    }

    async fn restore_with(&self, options: &RestoreOptions) -> Result<RestoreEnd, EngineError> {
        let tablet = Tablet {
            shard: Some("commerce/0".parse().unwrap()),
            alias: None,
            directory: self.tablet_dir(),
            mysqld: MysqldAccess::Stopped,
            mysql_socket: None,
            dba_user: "vt_dba".to_owned(),
            shutdown_timeout: Duration::from_secs(1),
            catch_up_timeout: Duration::from_secs(1),
        };
        builtin::restore(&tablet, &self.storage(), options, &Interrupt::new(), &Quiet).await
    }

    async fn restored(&self) -> Box<Done> {
        match self.restore_with(&Self::options()).await {
            Ok(RestoreEnd::Restored(done)) => done,
            Ok(RestoreEnd::NoBackup) => panic!("no backup was found"),
            Err(error) => panic!("{error}"),
        }
    }

    async fn refused(&self) -> EngineError {
        match self.restore_with(&Self::options()).await {
            Ok(_) => panic!("it was restored"),
            Err(error) => error,
        }
    }

    fn is_untouched(&self) -> bool {
        !self.tablet_dir().join("data").exists() && !self.tablet_dir().join("restore_in_progress").exists()
    }

    /// What was restored as this file of the tablet.
    fn file(&self, name: &str) -> String {
        let path = self.tablet_dir().join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

fn fixtures_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
