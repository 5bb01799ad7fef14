//! A tablet's pod before its containers start: a volume, a storage, and the init container.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::engine_support::open_directory;
use crate::support::container::{command_as_user, signal};
use crate::support::ground::ground;
use crate::support::mysql::{PATIENCE, Tablet, own};
use crate::support::unpack_fixture;

/// A backup that Vitess made of commerce/0, and the only one in its archive.
pub const ARCHIVE: &str = "lz4.tar.zst";
pub const BACKUP: &str = "2026-11-22.152709.zone1-0000000101";
/// Another one of the same shard, nine seconds older.
pub const OLDER_ARCHIVE: &str = "zstd.tar.zst";
pub const OLDER_BACKUP: &str = "2026-11-22.152700.zone1-0000000101";

/// The binary under test, where every user can reach it.
pub fn binary() -> &'static PathBuf {
    static BINARY: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = BINARY.get_or_init(|| {
        let directory = open_directory();
        let path = directory.path().join("vitess-backup");
        std::fs::copy(env!("CARGO_BIN_EXE_vitess-backup"), &path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        (directory, path)
    });
    path
}

/// A tablet's volume, empty at first, and a storage.
pub struct Pod {
    pub tablet: Tablet,
    pub backups: TempDir,
}

impl Pod {
    /// An empty volume and an empty storage.
    pub fn new(uid: u32) -> Self {
        Self { tablet: Tablet::empty(uid), backups: open_directory() }
    }

    /// The same, with a backup in the storage.
    pub fn with_backup(uid: u32) -> Self {
        let pod = Self::new(uid);
        pod.store_backup();
        pod
    }

    /// As an engine leaves it to be seen by those who look meanwhile: the MANIFEST comes last, and whole.
    pub fn store_backup(&self) {
        self.store_backup_of(ARCHIVE);
    }

    /// The same with another archive's backup.
    pub fn store_backup_of(&self, archive: &str) {
        let aside = tempfile::tempdir_in(self.backups.path().parent().unwrap()).unwrap();
        unpack_fixture(archive, aside.path());
        own(aside.path());
        let shard = self.shard();
        std::fs::create_dir_all(&shard).unwrap();
        for backup in std::fs::read_dir(aside.path().join("commerce/0")).unwrap().map(Result::unwrap) {
            let place = shard.join(backup.file_name());
            std::fs::create_dir(&place).unwrap();
            own(self.backups.path());
            let mut files: Vec<_> =
                std::fs::read_dir(backup.path()).unwrap().map(|file| file.unwrap().path()).collect();
            files.sort_by_key(|file| file.ends_with("MANIFEST"));
            for file in files {
                std::fs::rename(&file, place.join(file.file_name().unwrap())).unwrap();
            }
        }
    }

    /// Where the shard's backups are.
    pub fn shard(&self) -> PathBuf {
        self.backups.path().join("commerce/0")
    }

    /// A backup without a MANIFEST.
    pub fn store_half_a_backup(&self) {
        let folder = self.shard().join("2026-11-30.000000.zone1-0000000101");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("0"), "half").unwrap();
        own(self.backups.path());
    }

    /// A volume that a mysqld ran on, with these databases beside its own.
    pub async fn initialised(uid: u32, databases: &[&str]) -> Self {
        let pod = Self { tablet: Tablet::at_rest(uid).await, backups: open_directory() };
        for database in databases {
            std::fs::create_dir(pod.tablet.layout().datadir.join(database)).unwrap();
        }
        own(pod.tablet.tablet_dir());
        pod
    }

    pub fn marker(&self) -> PathBuf {
        self.tablet.tablet_dir().join("restore_in_progress")
    }

    /// The tablet's own flags, as vttablet and mysqlctld have them.
    pub fn flags(&self) -> String {
        format!(
            "--restore_from_backup --init_keyspace commerce --init_shard 0 --init_tablet_type replica \
             --tablet-path zone1-{:010} --mysql_port {} --backup_storage_implementation file \
             --file_backup_storage_root {}",
            self.tablet.uid,
            self.tablet.port,
            self.backups.path().display()
        )
    }

    fn command(&self, flags: &str) -> Command {
        self.program(&format!("restore --on-pod-start {flags} --report json"))
    }

    /// The binary with these words, blank-separated, and the environment of the tablet's containers.
    fn program(&self, words: &str) -> Command {
        let root = self.tablet.vtdataroot();
        let mut command = command_as_user(binary());
        command.args(words.split_whitespace());
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("VTDATAROOT", root)
            .env("VT_MYSQL_ROOT", &ground().mysql_root)
            .env("EXTRA_MY_CNF", root.join("extra.cnf"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the init container with these flags behind the tablet's own.
    pub fn start(&self, more: &str) -> Ran {
        self.start_with(&format!("{} {more}", self.flags()))
    }

    /// The same with these flags only.
    pub fn start_with(&self, flags: &str) -> Ran {
        Self::run(self.command(flags))
    }

    /// The same with variables.
    pub fn start_in(&self, flags: &str, environment: &[(&str, &Path)]) -> Ran {
        let mut command = self.command(flags);
        command.envs(environment.iter().copied());
        Self::run(command)
    }

    /// Runs it with variables only.
    pub fn start_by(&self, variables: &[(&str, &Path)]) -> Ran {
        let mut command = self.program("restore");
        command.envs(variables.iter().copied());
        Self::run(command)
    }

    fn run(mut command: Command) -> Ran {
        let begun = Instant::now();
        let output = command.output().unwrap();
        Ran::of(output.status.code(), &output.stdout, &output.stderr, begun.elapsed())
    }

    /// Begins, and goes on beside the test.
    pub fn begin(&self, more: &str) -> Beginning {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = self.command(&format!("{} {more}", self.flags()));
        let child = command.stdout(log.reopen().unwrap()).spawn().unwrap();
        Beginning { child, log, begun: Instant::now() }
    }
}

/// An init container that runs.
pub struct Beginning {
    child: Child,
    log: tempfile::NamedTempFile,
    begun: Instant,
}

impl Beginning {
    fn text(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    /// Waits until it has said this so often.
    pub fn wait_said(&self, what: &str, times: usize) {
        let begun = Instant::now();
        while self.text().matches(what).count() < times {
            assert!(begun.elapsed() < PATIENCE, "it did not say {what:?} {times} times:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn terminate(&self) {
        signal(self.child.id(), "TERM");
    }

    pub fn end(self) -> Ran {
        let Self { child, log, begun } = self;
        let output = child.wait_with_output().unwrap();
        let stdout = std::fs::read(log.path()).unwrap();
        Ran::of(output.status.code(), &stdout, &output.stderr, begun.elapsed())
    }
}

/// An init container that has ended.
#[derive(Debug)]
pub struct Ran {
    code: Option<i32>,
    /// What it noted, one sentence each.
    pub notes: Vec<String>,
    pub outcome: Value,
    pub log: String,
    pub took: Duration,
}

impl Ran {
    fn of(code: Option<i32>, stdout: &[u8], stderr: &[u8], took: Duration) -> Self {
        let lines = String::from_utf8_lossy(stdout).into_owned();
        let events: Vec<Value> = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let notes = events.iter().filter(|event| event["event"] == "note");
        Self {
            code,
            notes: notes.map(|note| note["text"].as_str().unwrap().to_owned()).collect(),
            outcome: events.last().filter(|event| event["event"] == "outcome").cloned().unwrap_or_default(),
            log: String::from_utf8_lossy(stderr).into_owned(),
            took,
        }
    }

    /// It ended with this code and, where it came so far, this verdict.
    pub fn exits_with(self, code: i32, verdict: &str) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert_eq!(self.outcome["verdict"].as_str().unwrap_or_default(), verdict, "{self:#?}");
        self
    }

    pub fn fails_with(self, code: i32, reason: &str) -> Self {
        let ran = self.exits_with(code, "Failed");
        assert_eq!(ran.outcome["failure"]["reason"], reason, "{ran:#?}");
        assert!(!ran.outcome["failure"]["remedy"].as_str().unwrap().is_empty(), "{ran:#?}");
        ran
    }
}

/// The tablet's containers start; everything is as Vitess's own restore leaves it.
pub async fn assert_as_vitess_leaves_it(tablet: &mut Tablet, position: &Value) {
    tablet.start_container().await;
    let mysql = tablet.mysql();
    let executed = mysql.gtid_executed().await.unwrap();
    assert_eq!(format!("MySQL56/{executed}"), *position);
    assert_eq!(executed, mysql.gtid_purged().await.unwrap(), "executed and purged are the backup's position");
    assert!(mysql.super_read_only().await.unwrap(), "as my.cnf has it, until Vitess makes it a primary");
    let semi_sync = mysql.semi_sync().await.unwrap().expect("the plugins are loaded");
    assert!(!semi_sync.source && !semi_sync.replica, "vttablet switches it on by the durability policy");
    assert_eq!(mysql.replica_status().await.unwrap(), None, "the source of the tablet that was backed up is forgotten");
    assert_eq!(tablet.value("SELECT COUNT(*) > 0 FROM vt_commerce.customer").await, "1");
    let uuid = tablet.value("SELECT @@server_uuid").await;
    assert!(!executed.to_string().contains(&uuid), "a server of its own: {uuid}");
    let log = std::fs::read_to_string(&tablet.layout().error_log).unwrap();
    assert!(!log.contains("not shutdown normally"), "it was stopped cleanly:\n{log}");
}
