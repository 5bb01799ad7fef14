//! Backups that Vitess's xtrabackup engine made over a real MariaDB with mariabackup, restored by us with real mariabackup
//! and mbstream: mariadbd starts on them and has the rows. And what is wrong with others is told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's own functions may fail the test")]

mod engine_support;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use engine_support::SmallDisk;
use serde_json::Value;
use support::ground;
use support::mysql::{PATIENCE, free_port};
use tempfile::TempDir;

const SINGLE: (&str, &str) = ("xtrabackup-maria-pargzip.tar.zst", "2026-11-22.153817.zone1-0000000200");
const STRIPED: (&str, &str) = ("xtrabackup-maria-stripes3-zstd.tar.zst", "2026-11-22.153925.zone1-0000000200");

/// A tablet directory laid out as Vitess does it, for MariaDB, with some old data, and a storage with one backup.
struct Case {
    root: TempDir,
    backup: &'static str,
}

impl Case {
    fn new((archive, backup): (&str, &'static str)) -> Self {
        let case = Self { root: engine_support::open_directory(), backup };
        support::unpack_fixture(archive, &case.root.path().join("backups"));
        for directory in ["data", "innodb/data", "innodb/logs", "bin-logs", "relay-logs", "tmp"] {
            fs::create_dir_all(case.tablet_dir().join(directory)).unwrap();
        }
        fs::write(case.old_data(), "old").unwrap();
        let (at, maria) = (case.tablet_dir().display().to_string(), ground::mariadb().join("root/usr"));
        let port = free_port();
        let my_cnf = format!(
            "[mysqld]\nuser = root\nserver-id = 201\nport = {port}\nbind-address = 127.0.0.1\nskip-name-resolve\n\
             datadir = {at}/data\ninnodb_data_home_dir = {at}/innodb/data\ninnodb_log_group_home_dir = {at}/innodb/logs\n\
             log-bin = {at}/bin-logs/vt-0000000201-bin\nrelay-log = {at}/relay-logs/vt-0000000201-relay-bin\n\
             relay-log-index = {at}/relay-logs/vt-0000000201-relay-bin.index\ntmpdir = {at}/tmp\nsocket = {at}/mysql.sock\n\
             pid-file = {at}/mysql.pid\nlog-error = {at}/error.log\nlc-messages-dir = {maria}/share/mysql\n\
             plugin-dir = {maria}/lib/mysql/plugin\n",
            maria = maria.display()
        );
        fs::write(case.tablet_dir().join("my.cnf"), my_cnf).unwrap();
        case
    }

    fn tablet_dir(&self) -> PathBuf {
        self.root.path().join("vt_0000000201")
    }

    /// What a restore that is refused in time leaves alone.
    fn old_data(&self) -> PathBuf {
        self.tablet_dir().join("data/old.ibd")
    }

    fn object(&self, name: &str) -> PathBuf {
        self.root.path().join("backups/maria/0").join(self.backup).join(name)
    }

    /// Runs `vitess-backup`; gives the exit code and the outcome.
    fn run(&self, arguments: &str) -> (i32, Value) {
        let backups = self.root.path().join("backups");
        let output = Command::new(env!("CARGO_BIN_EXE_vitess-backup"))
            .args(arguments.split_whitespace())
            .args(["--backup-storage-implementation", "file", "--report", "json", "--file-backup-storage-root"])
            .arg(backups)
            .env("VT_MYSQL_ROOT", ground::mariadb())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let last = out.lines().last().unwrap_or_else(|| panic!("no outcome of {arguments}:\n{log}"));
        (output.status.code().unwrap(), serde_json::from_str(last).unwrap())
    }

    fn restore(&self, arguments: &str) -> (i32, Value) {
        let tablet_dir = self.tablet_dir();
        self.run(&format!(
            "restore --keyspace maria --shard 0 --mysqld stopped --existing-data replace --tablet-dir {} {arguments}",
            tablet_dir.display()
        ))
    }

    fn restore_with_tools(&self, arguments: &str) -> (i32, Value) {
        self.restore(&format!("--xtrabackup-root-path {}/xtrabackup {arguments}", ground::mariadb().display()))
    }

    /// What a refused or failed run said.
    fn failure((code, outcome): &(i32, Value)) -> (i32, &str, &str) {
        assert_eq!(outcome["verdict"], "Failed", "{outcome}");
        let text = |key: &str| outcome["failure"][key].as_str().unwrap();
        assert!(!text("remedy").is_empty());
        (*code, text("reason"), text("message"))
    }

    fn is_untouched(&self) -> bool {
        fs::read_to_string(self.old_data()).is_ok_and(|text| text == "old")
            && !self.tablet_dir().join("restore_in_progress").exists()
    }

    /// Nothing of the stream that was taken apart is left.
    fn is_tidy(&self) -> bool {
        fs::read_dir(self.tablet_dir().join("tmp")).unwrap().count() == 0
    }
}

/// mariadbd on the restored files, killed on drop.
struct Server<'a> {
    case: &'a Case,
    process: Child,
}

impl<'a> Server<'a> {
    fn start(case: &'a Case) -> Self {
        let process = Command::new(ground::mariadb().join("sbin/mysqld"))
            .arg(format!("--defaults-file={}", case.tablet_dir().join("my.cnf").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self { case, process };
        let begun = Instant::now();
        while server.try_sql("SELECT 1").is_err() {
            let log = || fs::read_to_string(case.tablet_dir().join("error.log")).unwrap_or_default();
            assert!(server.process.try_wait().unwrap().is_none(), "mariadbd ended:\n{}", log());
            assert!(begun.elapsed() < PATIENCE, "mariadbd did not start:\n{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
        server
    }

    fn try_sql(&self, statement: &str) -> Result<String, String> {
        let output = Command::new(ground::mariadb().join("bin/mariadb"))
            .args(["--no-defaults", "-u", "vt_dba", "-N", "-B", "-e", statement, "-S"])
            .arg(self.case.tablet_dir().join("mysql.sock"))
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    fn sql(&self, statement: &str) -> String {
        self.try_sql(statement).unwrap_or_else(|error| panic!("{statement}: {error}"))
    }

    /// Every table of Vitess's sidecar database (the keyspace itself was empty) with its rows, each checked.
    fn rows(&self) -> BTreeMap<String, u64> {
        let databases = self.sql("SHOW DATABASES");
        assert!(databases.lines().any(|name| name == "vt_maria"), "{databases}");
        let tables = self.sql("SELECT table_name FROM information_schema.tables WHERE table_schema = '_vt'");
        let each = |form: &dyn Fn(&str) -> String, between| tables.lines().map(form).collect::<Vec<_>>().join(between);
        let checked = self.sql(&format!("CHECK TABLE {}", each(&|table| format!("_vt.{table}"), ", ")));
        assert!(checked.lines().all(|line| line.ends_with("status\tOK")), "{checked}");
        let counts = each(&|table| format!("SELECT '{table}', COUNT(*) FROM _vt.{table}"), " UNION ALL ");
        let row = |line: &str| line.split_once('\t').map(|(table, count)| (table.to_owned(), count.parse().unwrap()));
        self.sql(&counts).lines().filter_map(row).collect()
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn backups_of_one_object_and_of_three_stripes_are_restored_and_mariadb_starts_on_them() {
    for (fixture, objects, position) in
        [(SINGLE, 1, "MariaDB/0-1673791492-24"), (STRIPED, 3, "MariaDB/0-1673791492-32")]
    {
        let case = Case::new(fixture);
        // What a killed run would have left.
        let left = case.tablet_dir().join("tmp/xtrabackup-restore/ibdata1");
        fs::create_dir(left.parent().unwrap()).unwrap();
        fs::write(left, "left").unwrap();
        let (code, outcome) = case.restore_with_tools("");
        assert_eq!((code, &outcome["verdict"]), (0, &Value::from("Succeeded")), "{outcome:#}");
        assert_eq!((&outcome["engine"], &outcome["files"]), (&Value::from("xtrabackup"), &Value::from(objects)));
        assert_eq!(outcome["backupName"], fixture.1);
        assert_eq!(outcome["position"], position, "{outcome:#}");
        assert!(!case.old_data().exists() && case.is_tidy());
        assert!(!case.tablet_dir().join("restore_in_progress").exists());
        let server = Server::start(&case);
        let rows = server.rows();
        assert_eq!((rows.len(), rows["reparent_journal"]), (20, 1), "{rows:?}");
    }
}

#[test]
fn without_the_programs_nothing_is_touched() {
    let case = Case::new(SINGLE);
    let nowhere = case.root.path().join("nowhere");
    let ended = case.restore(&format!("--xtrabackup-root-path {}", nowhere.display()));
    let (code, reason, message) = Case::failure(&ended);
    assert_eq!((code, reason), (5, "XtrabackupNotFound"));
    assert_eq!(message, format!("cannot find xbstream in {}", nowhere.display()));
    assert!(case.is_untouched());
}

#[test]
fn a_stripe_that_is_not_there_is_named_and_nothing_is_touched() {
    let case = Case::new(STRIPED);
    fs::remove_file(case.object("backup.xbstream.zst-001")).unwrap();
    let ended = case.restore_with_tools("");
    let (code, reason, message) = Case::failure(&ended);
    assert_eq!((code, reason), (6, "ObjectMissing"));
    assert!(message.contains("backup.xbstream.zst-001"), "{message}");
    assert!(case.is_untouched());
}

#[test]
fn a_stripe_that_was_cut_short_ends_the_restore_which_can_be_run_again_with_a_whole_one() {
    let case = Case::new(STRIPED);
    let whole = fs::read(case.object("backup.xbstream.zst-002")).unwrap();
    fs::write(case.object("backup.xbstream.zst-002"), &whole[..whole.len() / 2]).unwrap();
    let verified = case.run(&format!("verify maria/0 {}", case.backup));
    assert_eq!(Case::failure(&verified).1, "DecompressionFailed");
    let ended = case.restore_with_tools("");
    let (code, reason, message) = Case::failure(&ended);
    assert_eq!((code, reason), (6, "DecompressionFailed"), "{message}");
    assert!(message.contains("backup.xbstream.zst-002"), "{message}");
    assert!(case.tablet_dir().join("restore_in_progress").exists() && case.is_tidy());

    fs::write(case.object("backup.xbstream.zst-002"), whole).unwrap();
    let (code, outcome) = case.restore_with_tools("");
    assert_eq!(code, 0, "{outcome:#}");
    assert_eq!(Server::start(&case).rows()["reparent_journal"], 1);
}

#[test]
fn a_prepare_that_fails_is_told_with_its_line() {
    let case = Case::new(SINGLE);
    let ended = case.restore_with_tools("--xtrabackup-prepare-flags=--no-such-flag");
    let (code, reason, message) = Case::failure(&ended);
    assert_eq!((code, reason), (6, "PrepareFailed"), "{message}");
    assert!(message.contains("no-such-flag"), "{message}");
    assert!(case.tablet_dir().join("restore_in_progress").exists() && case.is_tidy());
}

#[test]
fn a_full_disk_is_told_as_one() {
    let case = Case::new(SINGLE);
    let disk = SmallDisk::mount(&case.tablet_dir().join("tmp"));
    let ended = case.restore_with_tools("");
    let (code, reason, message) = Case::failure(&ended);
    assert_eq!((code, reason), (6, "NoSpace"), "{message}");
    assert!(message.contains("tmp/xtrabackup-restore"), "{message}");
    drop(disk);
}

#[test]
fn verifying_reads_every_object_and_says_what_cannot_be_checked() {
    for (fixture, objects) in [(SINGLE, 1), (STRIPED, 3)] {
        let case = Case::new(fixture);
        let (code, outcome) = case.run(&format!("verify maria/0 {}", case.backup));
        assert_eq!((code, &outcome["files"]), (0, &Value::from(objects)), "{outcome:#}");
        let warnings = outcome["warnings"].as_array().unwrap();
        assert!(warnings.iter().any(|warning| warning.as_str().unwrap().contains("have no hashes")), "{outcome:#}");
    }
}
