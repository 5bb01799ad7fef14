//! What the tests of the engine share.

#![allow(dead_code, reason = "every test binary uses a part of this")]

pub mod process;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::mysql::Tablet;
use vitess_backup::backup::choose::Wanted;
use vitess_backup::codec::{Codec, Compression};
use vitess_backup::engine::builtin::{self, BackupOptions, CopyChoice, ExistingData, Limits, RestoreOptions, Verify};
use vitess_backup::engine::xtrabackup::XtrabackupOptions;
use vitess_backup::engine::{Done, EngineError, Interrupt, MysqldAccess, Tablet as EngineTablet};
use vitess_backup::progress::{Monitor, Step};
use vitess_backup::storage::{BackupStorage, Location};
use vitess_backup::topo::{KeyspaceShard, TabletAlias};

/// A monitor that remembers.
#[derive(Debug, Default)]
pub struct Notes {
    pub steps: Mutex<Vec<Step>>,
    /// When each of them began.
    times: Mutex<Vec<(Step, Instant)>>,
    pub texts: Mutex<Vec<String>>,
    bytes: AtomicU64,
    stored: AtomicU64,
    files: AtomicU64,
}

impl Notes {
    /// When a step began that came once.
    pub fn began(&self, step: Step) -> Instant {
        let times = self.times.lock().unwrap();
        let [(_, began)] = *times.iter().filter(|(seen, _)| *seen == step).collect::<Vec<_>>() else {
            panic!("{step:?} came not once: {times:?}")
        };
        *began
    }

    pub fn bytes_done(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn files_done(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }
}

impl Monitor for Notes {
    fn step(&self, step: Step) {
        self.steps.lock().unwrap().push(step);
        self.times.lock().unwrap().push((step, Instant::now()));
    }

    fn totals(&self, _bytes: u64, _files: u64) {}

    fn advanced(&self, bytes: u64, stored: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.stored.fetch_add(stored, Ordering::Relaxed);
    }

    fn file_done(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    fn note(&self, text: &str) {
        self.texts.lock().unwrap().push(text.to_owned());
    }
}

/// A primary with tables and a replica of it, and an empty storage.
pub struct Shard {
    pub name: KeyspaceShard,
    pub primary: Tablet,
    pub replica: Tablet,
    pub backups: TempDir,
    writing: std::sync::Arc<AtomicBool>,
    writer: tokio::sync::Mutex<Option<tokio::task::JoinHandle<()>>>,
}

const TABLES: &[&str] = &[
    "CREATE DATABASE vt_commerce",
    "CREATE DATABASE vt_empty",
    "CREATE TABLE vt_commerce.customer (id BIGINT PRIMARY KEY AUTO_INCREMENT, email VARCHAR(128))",
    "CREATE TABLE vt_commerce.parted (id BIGINT PRIMARY KEY, v INT) PARTITION BY HASH (id) PARTITIONS 3",
    "CREATE TABLE vt_commerce.isam (id BIGINT PRIMARY KEY, v INT) ENGINE = MyISAM",
    "CREATE TABLESPACE aside ADD DATAFILE 'aside.ibd'",
    "CREATE TABLE vt_commerce.aside (id BIGINT PRIMARY KEY, v TEXT) TABLESPACE aside",
    "CREATE TABLE vt_commerce.bulk (id BIGINT PRIMARY KEY AUTO_INCREMENT, v VARBINARY(2000))",
    "INSERT INTO vt_commerce.parted VALUES (1, 1), (2, 2), (3, 3)",
    "INSERT INTO vt_commerce.isam VALUES (1, 1), (2, 2)",
    "INSERT INTO vt_commerce.aside VALUES (1, 'one')",
    "INSERT INTO vt_commerce.bulk (v) VALUES (RANDOM_BYTES(1000)), (RANDOM_BYTES(1000)), (RANDOM_BYTES(1000)), (RANDOM_BYTES(1000))",
];

impl Shard {
    /// Tables, some megabytes in them, replication caught up, and a client that goes on writing.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// As [`Self::start`], with more lines for every my.cnf.
    pub async fn start_with(my_cnf: &str) -> Self {
        Self::start_in(&std::env::temp_dir(), my_cnf).await
    }

    /// As [`Self::start_with`], with the replica in this directory.
    pub async fn start_in(directory: &Path, my_cnf: &str) -> Self {
        let mut primary = Tablet::at_rest(101).await;
        let mut replica = Tablet::at_rest_in(102, directory).await;
        for tablet in [&primary, &replica] {
            let extra = tablet.vtdataroot().join("extra.cnf");
            let lines = std::fs::read_to_string(&extra).unwrap();
            std::fs::write(extra, lines + my_cnf).unwrap();
        }
        primary.start_container().await;
        replica.start_container().await;
        primary.make_writable().await;
        for statement in TABLES {
            primary.sql(statement).await;
        }
        for _ in 0..12 {
            primary.sql("INSERT INTO vt_commerce.bulk (v) SELECT RANDOM_BYTES(1000) FROM vt_commerce.bulk").await;
        }
        replica.replicate_from(&primary).await;
        replica.wait_caught_up(&primary).await;
        let shard = Self {
            name: "commerce/0".parse().unwrap(),
            primary,
            replica,
            backups: open_directory(),
            writing: std::sync::Arc::new(AtomicBool::new(true)),
            writer: tokio::sync::Mutex::new(None),
        };
        shard.write_on().await;
        shard
    }

    /// Has a client write until [`Self::stop_writing`].
    pub async fn write_on(&self) {
        self.writing.store(true, Ordering::Relaxed);
        let mysql = self.primary.mysql();
        let writing = self.writing.clone();
        let writer = tokio::spawn(async move {
            while writing.load(Ordering::Relaxed) {
                // The primary may be stopped by the test.
                let _ = mysql.execute("INSERT INTO vt_commerce.customer (email) VALUES (UUID())").await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        *self.writer.lock().await = Some(writer);
    }

    pub async fn stop_writing(&self) {
        self.writing.store(false, Ordering::Relaxed);
        if let Some(writer) = self.writer.lock().await.take() {
            writer.await.unwrap();
        }
    }

    pub fn storage(&self) -> BackupStorage {
        storage_in(self.backups.path())
    }

    pub fn engine_tablet(&self, tablet: &Tablet) -> EngineTablet {
        engine_tablet(&self.name, tablet)
    }

    /// Backs the replica up.
    pub async fn backup(&self, monitor: &dyn Monitor) -> Result<Done, EngineError> {
        let tablet = self.engine_tablet(&self.replica);
        builtin::backup(&tablet, &self.storage(), &backup_options(), &Interrupt::new(), monitor).await
    }

    /// What a run must leave as it was on the replica.
    pub async fn settings(&self) -> Vec<String> {
        settings(&self.replica).await
    }
}

pub async fn settings(tablet: &Tablet) -> Vec<String> {
    let mysql = tablet.mysql();
    let status = mysql.replica_status().await.unwrap();
    vec![
        format!("read_only {}", mysql.read_only().await.unwrap()),
        format!("super_read_only {}", mysql.super_read_only().await.unwrap()),
        format!("semi-sync {:?}", mysql.semi_sync().await.unwrap()),
        format!("innodb_fast_shutdown {:?}", mysql.global_variable("innodb_fast_shutdown").await.unwrap()),
        match status {
            Some(status) => format!(
                "follows {}:{} as {}, threads {:?} {}",
                status.source.host, status.source.port, status.source.user, status.io_state, status.sql_running
            ),
            None => "follows nobody".to_owned(),
        },
    ]
}

pub fn engine_tablet(shard: &KeyspaceShard, tablet: &Tablet) -> EngineTablet {
    EngineTablet {
        shard: Some(shard.clone()),
        alias: Some(TabletAlias::new("zone1", tablet.uid).unwrap()),
        directory: tablet.tablet_dir().to_owned(),
        mysqld: MysqldAccess::Mysqlctld { socket: tablet.mysqlctl_socket() },
        mysql_socket: None,
        dba_user: "vt_dba".to_owned(),
        // As Vitess's default: on two busy cores a replica's mysqld was seen to take 62 s to stop.
        shutdown_timeout: Duration::from_secs(300),
        catch_up_timeout: Duration::from_secs(60),
    }
}

pub fn backup_options() -> BackupOptions {
    BackupOptions {
        allow_primary: false,
        max_lag: None,
        upgrade_safe: false,
        allow_incomplete: false,
        copy_mode: CopyChoice::Auto,
        limits: Limits::default(),
        verify: Verify::Size,
        compression: Compression::new(Codec::Zstd, 1).unwrap(),
        manifest_external_decompressor: None,
        vtctld: None,
        backup_time: jiff::Timestamp::now(),
    }
}

pub fn restore_options(existing_data: ExistingData) -> RestoreOptions {
    RestoreOptions {
        xtrabackup: XtrabackupOptions::default(),
        wanted: Wanted::Latest,
        fallback: false,
        existing_data,
        allowed_engines: Vec::new(),
        limits: Limits::default(),
        allow_primary: false,
        vtctld: None,
        external_decompressor: None,
        external_decompressor_use_manifest: false,
        mysqlctld_timeout: Duration::from_secs(60),
        before_start: None,
    }
}

pub fn storage_in(root: &Path) -> BackupStorage {
    BackupStorage::open(&Location::File { root: root.to_owned() }).unwrap()
}

/// A temporary directory that other users may use too.
pub fn open_directory() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let directory = TempDir::new().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    directory
}

/// A file system of 4 MiB over a directory, until it is dropped.
pub struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    pub fn mount(at: &Path) -> Self {
        let options = ["-t", "tmpfs", "-o", "size=4m,mode=0777", "none"];
        let mounted = std::process::Command::new("mount").args(options).arg(at).status().unwrap();
        assert!(mounted.success(), "a tmpfs can be mounted");
        Self(at.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a write that was given up may still hold a file open for a moment.
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A file system of 1 GiB in a file, until it is dropped.
pub struct Disk(TempDir);

impl Disk {
    /// Clones files.
    pub fn xfs() -> Self {
        Self::mount("mkfs.xfs", &["-q", "-m", "reflink=1"])
    }

    /// Does not.
    pub fn ext4() -> Self {
        Self::mount("mkfs.ext4", &["-q"])
    }

    fn mount(program: &str, arguments: &[&str]) -> Self {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(1 << 30).unwrap();
        let at = TempDir::new().unwrap();
        let (image_path, at_path) = (image.path().to_str().unwrap(), at.path().to_str().unwrap());
        run(program, &[arguments, &[image_path]].concat());
        run("mount", &["-o", "loop", image_path, at_path]);
        std::fs::set_permissions(at.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        // The image's name goes here and its blocks with the mount.
        Self(at)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: something may still hold a file open for a moment. The loop device goes with the mount.
        let _ = std::process::Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn run(program: &str, arguments: &[&str]) {
    let status = std::process::Command::new(program).args(arguments).status();
    let status = status.unwrap_or_else(|error| panic!("{program}: {error} (see scripts/bootstrap.sh)"));
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

/// CHECKSUM TABLE of every table that is not MySQL's own.
pub async fn checksums(tablet: &Tablet) -> Vec<(String, String)> {
    let statement = "SELECT CONCAT(table_schema, '.', table_name) FROM information_schema.tables \
        WHERE table_type = 'BASE TABLE' AND table_schema LIKE 'vt\\_%' ORDER BY 1";
    let mut sums = Vec::new();
    for row in tablet.sql(statement).await {
        let table = row.at(0).unwrap().to_owned();
        let sum = tablet.sql(&format!("CHECKSUM TABLE {table}")).await[0].at(1).unwrap_or("no such table").to_owned();
        sums.push((table, sum));
    }
    assert!(!sums.is_empty(), "there are no tables");
    sums
}
