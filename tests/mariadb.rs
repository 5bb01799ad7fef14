//! Real MariaDB 10.11: asked and told through our client, and restored onto by the command, which then has it replicate.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's own functions may fail the test")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::mysql::PATIENCE;
use support::{ground, mariadb};
use tempfile::TempDir;
use vitess_backup::backup::failure::Reason;
use vitess_backup::mysqld::{
    IoState, Layout, Mysql, MysqlRoot, MysqldControl, OwnProcess, ReplicaStatus, ReplicationSource, SemiSync,
};

const FIXTURE: &str = "xtrabackup-maria-pargzip.tar.zst";
const BACKUP: &str = "2026-11-22.153817.zone1-0000000200";
const POSITION: &str = "0-1673791492-24";

/// A tablet directory laid out as Vitess does it. Its mariadbd, whoever started it, is killed on drop.
struct Maria {
    layout: Layout,
    /// VTDATAROOT.
    _root: TempDir,
}

impl Maria {
    /// Empty directories and our own my.cnf.
    async fn new(uid: u32) -> Self {
        let root = tempfile::Builder::new().prefix("vbo-maria-").tempdir().unwrap();
        let layout = mariadb::lay_out(root.path(), uid).await;
        Self { layout, _root: root }
    }

    /// Runs, has Vitess's users, and nothing else.
    async fn installed(uid: u32) -> Self {
        let tablet = Self::new(uid).await;
        mariadb::install(&tablet.directory());
        tablet.control().await.start(&[]).await.unwrap_or_else(|error| panic!("{error}\n{}", tablet.log()));
        tablet
    }

    fn directory(&self) -> PathBuf {
        self.layout.tablet_dir.clone()
    }

    async fn control(&self) -> OwnProcess {
        let layout = Layout::read(&self.directory()).await.unwrap();
        OwnProcess::new(layout, MysqlRoot::at(ground::mariadb()), "vt_dba").with_start_timeout(PATIENCE)
    }

    fn mysql(&self) -> Mysql {
        Mysql::new(self.directory().join("mysql.sock"), "vt_dba")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory().join("error.log")).unwrap_or_default()
    }

    async fn sql(&self, statement: &str) {
        self.mysql().execute(statement).await.unwrap_or_else(|error| panic!("{error}"));
    }

    /// All rows, values between `|`.
    async fn rows(&self, statement: &str) -> Vec<String> {
        let rows = self.mysql().query(statement).await.unwrap_or_else(|error| panic!("{error}"));
        let values = |row: &vitess_backup::mysqld::Row| {
            (0..).map_while(|place| row.at(place).map(str::to_owned)).collect::<Vec<_>>().join("|")
        };
        rows.iter().map(values).collect()
    }

    async fn position(&self) -> String {
        self.mysql().position().await.unwrap().to_string()
    }

    fn as_source(&self) -> ReplicationSource {
        ReplicationSource {
            host: "127.0.0.1".to_owned(),
            port: self.layout.port,
            user: "vt_repl".to_owned(),
            connect_retry: 1,
            ..ReplicationSource::default()
        }
    }

    async fn status_when(&self, expected: impl Fn(&ReplicaStatus) -> bool) -> ReplicaStatus {
        let (mysql, begun) = (self.mysql(), Instant::now());
        loop {
            let status = mysql.replica_status().await.unwrap().unwrap();
            if expected(&status) {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "{status:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Has it replicate, and waits until it has all that the source has.
    async fn replicate_from(&self, source: &Self, login: &ReplicationSource) {
        let mysql = self.mysql();
        mysql.change_replication_source(login).await.unwrap();
        mysql.start_replica().await.unwrap();
        let goal = source.mysql().position().await.unwrap();
        self.status_when(|status| status.running() && status.executed == goal).await;
    }

    /// Runs `vitess-backup` with a storage that has the fixture's backup; gives all that it printed, and the outcome.
    fn run(&self, backups: &Path, arguments: &str) -> (String, Value) {
        let output = Command::new("timeout")
            .args(["300", env!("CARGO_BIN_EXE_vitess-backup")])
            .args(arguments.split_whitespace())
            .args([
                "--keyspace",
                "maria",
                "--shard",
                "0",
                "--mysqld",
                "own",
                "--catch-up-timeout",
                "60s",
                "--tablet-dir",
            ])
            .arg(self.directory())
            .args(["--backup-storage-implementation", "file", "--report", "json", "--file-backup-storage-root"])
            .arg(backups)
            .env("VT_MYSQL_ROOT", ground::mariadb())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let last = out.lines().last().unwrap_or_else(|| panic!("no outcome of {arguments}:\n{log}"));
        (out.clone().into_owned(), serde_json::from_str(last).unwrap())
    }

    /// A restore that succeeds.
    fn restore(&self, backups: &Path, arguments: &str) -> (String, Value) {
        let tools = ground::mariadb().join("xtrabackup");
        let (printed, outcome) =
            self.run(backups, &format!("restore --xtrabackup-root-path {} {arguments}", tools.display()));
        assert_eq!(outcome["verdict"], "Succeeded", "{printed}\n{}", self.log());
        assert_eq!(outcome["backupName"], BACKUP);
        assert!(!self.directory().join("restore_in_progress").exists());
        (printed, outcome)
    }
}

impl Drop for Maria {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}:\n{}", self.directory().display(), self.log());
        }
        let pid = fs::read_to_string(self.directory().join("mysql.pid")).unwrap_or_default();
        let cmdline = fs::read_to_string(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
        if cmdline.contains(&self.directory().display().to_string()) {
            let _ = Command::new("kill").args(["-s", "KILL", pid.trim()]).status();
        }
    }
}

fn storage() -> TempDir {
    let backups = TempDir::new().unwrap();
    support::unpack_fixture(FIXTURE, backups.path());
    backups
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_is_read_back() {
    let tablet = Maria::installed(101).await;
    let mysql = tablet.mysql();
    assert!(mysql.version().await.unwrap().is_mariadb());

    // super_read_only is not there: read_only takes its place when it is to be on.
    mysql.set_read_only(false).await.unwrap();
    for (on, expected) in [(false, false), (true, true), (false, true)] {
        mysql.set_super_read_only(on).await.unwrap();
        assert_eq!((mysql.read_only().await.unwrap(), mysql.super_read_only().await.unwrap()), (expected, false));
    }
    mysql.set_read_only(false).await.unwrap();
    assert!(!mysql.read_only().await.unwrap());

    assert_eq!(mysql.semi_sync().await.unwrap(), Some(SemiSync { source: false, replica: false }));
    for wanted in [SemiSync { source: true, replica: false }, SemiSync { source: false, replica: true }] {
        mysql.set_semi_sync(wanted).await.unwrap();
        assert_eq!(mysql.semi_sync().await.unwrap(), Some(wanted));
    }

    assert_eq!(tablet.position().await, "MariaDB/");
    tablet.sql("CREATE DATABASE vt_maria").await;
    assert_eq!(tablet.position().await, "MariaDB/0-101-1");
    assert_eq!(mysql.server_uuid_if_any().await.unwrap(), None);
    for error in [mysql.server_uuid().await.unwrap_err(), mysql.gtid_executed().await.unwrap_err()] {
        assert_eq!(error.failure().reason, Reason::MysqlFailed);
        assert!(error.to_string().contains(" is not possible with Ver 10."), "{error}");
    }
    assert_eq!(mysql.replica_status().await.unwrap(), None);
    assert_eq!(mysql.replication_source().await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn replication_is_set_up_read_stopped_and_forgotten() {
    let (primary, replica) = tokio::join!(Maria::installed(111), Maria::installed(112));
    primary.sql("CREATE USER secretive@'%' IDENTIFIED BY 'it''s a \\\\ # secret'").await;
    primary.sql("GRANT REPLICATION SLAVE ON *.* TO secretive@'%'").await;
    primary.sql("CREATE DATABASE vt_maria").await;

    let mysql = replica.mysql();
    let mut source = primary.as_source();
    source.user = "secretive".to_owned();
    source.password = r"it's a \ # secret".to_owned();
    mysql.change_replication_source(&source).await.unwrap();
    let status = mysql.replica_status().await.unwrap().unwrap();
    assert_eq!((status.io_state, status.sql_running, status.started()), (IoState::Stopped, false, false));
    assert!(status.auto_position && status.retrieved.is_empty() && status.executed.is_empty());
    assert_eq!(status.seconds_behind, None);
    assert_eq!(mysql.replication_source().await.unwrap(), Some(source.clone()));
    source.password.clear();
    assert_eq!(status.source, source);

    mysql.start_replica().await.unwrap();
    let executed = primary.mysql().position().await.unwrap();
    assert_eq!(executed.to_string(), "MariaDB/0-111-3");
    let caught_up = |status: &ReplicaStatus| status.running() && status.executed == executed;
    let status = replica.status_when(|status| caught_up(status) && status.seconds_behind == Some(0)).await;
    assert_eq!(status.retrieved, executed);
    assert_eq!((status.last_io_error.as_str(), status.last_sql_error.as_str()), ("", ""));
    assert_eq!(mysql.position().await.unwrap(), executed);
    assert!(mysql.databases().await.unwrap().contains(&"vt_maria".to_owned()));

    // What is fetched while the applier stands still is not applied.
    mysql.execute("STOP SLAVE SQL_THREAD").await.unwrap();
    primary.sql("CREATE TABLE vt_maria.t (id INT PRIMARY KEY)").await;
    let more = primary.mysql().position().await.unwrap();
    let status = replica.status_when(|status| status.retrieved == more).await;
    assert_eq!((status.executed, status.io_state, status.sql_running), (executed.clone(), IoState::Running, false));
    mysql.stop_replica().await.unwrap();
    let status = mysql.replica_status().await.unwrap().unwrap();
    assert_eq!((status.io_state, status.sql_running), (IoState::Stopped, false));
    mysql.start_replica().await.unwrap();
    replica.status_when(|status| status.running() && status.executed == more).await;

    // What cannot be applied shows.
    for statement in ["SET sql_log_bin = 0", "DROP TABLE vt_maria.t", "SET sql_log_bin = 1"] {
        mysql.execute(statement).await.unwrap();
    }
    primary.sql("INSERT INTO vt_maria.t VALUES (1)").await;
    let status = replica.status_when(|status| !status.sql_running).await;
    assert!(status.last_sql_error.contains("vt_maria.t"), "{status:?}");
    assert!(!status.started());

    // A source out of reach is waited for.
    mysql.stop_replica().await.unwrap();
    let nowhere = ReplicationSource { port: 1, ..primary.as_source() };
    mysql.change_replication_source(&nowhere).await.unwrap();
    mysql.start_replica().await.unwrap();
    let status = replica.status_when(|status| !status.last_io_error.is_empty()).await;
    assert_eq!((status.io_state, status.running(), status.started()), (IoState::Connecting, false, true));

    mysql.stop_replica().await.unwrap();
    mysql.reset_replica_all().await.unwrap();
    assert_eq!(mysql.replica_status().await.unwrap(), None);
    assert_eq!(mysql.replication_source().await.unwrap(), None);
    let error = mysql.start_replica().await.unwrap_err();
    assert_eq!(error.failure().reason, Reason::MysqlFailed);

    // Told that it has all but the last two, and where from: it goes on there, without a password.
    let position = "0-111-3".parse().unwrap();
    mysql.set_gtid_slave_pos(&position).await.unwrap();
    let known = ["gtid_slave_pos", "gtid_binlog_pos", "gtid_binlog_state", "gtid_current_pos"];
    for variable in known {
        assert_eq!(replica.rows(&format!("SELECT @@GLOBAL.{variable}")).await, ["0-111-3"], "{variable}");
    }
    replica.replicate_from(&primary, &primary.as_source()).await;
    assert_eq!(replica.rows("SELECT id FROM vt_maria.t").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_tablet_runs_and_stands_at_the_backups_position() {
    let (tablet, backups) = (Maria::new(201).await, storage());
    let (printed, outcome) = tablet.restore(backups.path(), "");
    assert_eq!(outcome["position"], format!("MariaDB/{POSITION}"), "{outcome:#}");
    assert_eq!(outcome["replication"], "NotConfigured");
    assert!(!printed.contains("UpgradingMysqld"), "{printed}");
    for variable in ["gtid_slave_pos", "gtid_binlog_pos"] {
        assert_eq!(tablet.rows(&format!("SELECT @@GLOBAL.{variable}")).await, [POSITION]);
    }
    assert_eq!(tablet.rows("SELECT COUNT(*) FROM _vt.reparent_journal").await, ["1"]);
    assert_eq!(tablet.mysql().replica_status().await.unwrap(), None);
    tablet.control().await.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_does_not_tell_its_version_is_upgraded_by_mariadbs_own_program() {
    let (tablet, backups) = (Maria::new(201).await, storage());
    let manifest = backups.path().join("maria/0").join(BACKUP).join("MANIFEST");
    let mut json: Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    json["MySQLVersion"] = "".into();
    fs::write(&manifest, json.to_string()).unwrap();
    let (printed, _) = tablet.restore(backups.path(), "");
    assert!(printed.contains("UpgradingMysqld"), "{printed}");
    // What mariadb-upgrade leaves behind when it has done its work.
    let upgraded =
        ["mysql_upgrade_info", "mariadb_upgrade_info"].map(|name| tablet.directory().join("data").join(name));
    let upgraded = upgraded.iter().find_map(|path| fs::read_to_string(path).ok()).unwrap();
    assert!(upgraded.starts_with("10.11."), "{upgraded}");
    assert_eq!(tablet.rows("SELECT @@GLOBAL.gtid_slave_pos").await, [POSITION]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_replaced_follows_its_source_again_and_has_its_rows() {
    const ROWS: &str = "SELECT id, v FROM vt_maria.t ORDER BY id";
    let (primary, replica, backups) = (Maria::new(201).await, Maria::new(202).await, storage());
    primary.restore(backups.path(), "");
    replica.restore(backups.path(), "");
    primary.mysql().set_read_only(false).await.unwrap();
    primary.sql("CREATE USER secretive@'%' IDENTIFIED BY 'secret'").await;
    primary.sql("GRANT REPLICATION SLAVE ON *.* TO secretive@'%'").await;
    primary.sql("CREATE TABLE vt_maria.t (id INT PRIMARY KEY, v VARCHAR(100))").await;
    primary.sql("INSERT INTO vt_maria.t SELECT seq, REPEAT('a', 50) FROM vt_maria.seq_1_to_1000").await;
    let login =
        ReplicationSource { user: "secretive".to_owned(), password: "secret".to_owned(), ..primary.as_source() };
    // The source's binary logs begin at the backup's position.
    replica.replicate_from(&primary, &login).await;
    let mysql = replica.mysql();
    assert!(mysql.read_only().await.unwrap());
    mysql.set_semi_sync(SemiSync { source: false, replica: true }).await.unwrap();
    assert_eq!(replica.rows(ROWS).await.len(), 1000);

    // The builtin engine has no place for MariaDB's positions, says so, and disturbs nothing.
    let (_, outcome) = replica.run(backups.path(), "backup zone1-0000000201");
    assert_eq!(outcome["failure"]["reason"], "MysqlFailed", "{outcome:#}");
    assert!(outcome["failure"]["message"].as_str().unwrap().starts_with("server_uuid is not possible with Ver 10."));
    assert!(mysql.replica_status().await.unwrap().unwrap().running());

    // Damage that only a restore mends, and what the source has by now that the backup has not.
    for statement in ["SET sql_log_bin = 0", "DROP TABLE _vt.reparent_journal", "SET sql_log_bin = 1"] {
        mysql.execute(statement).await.unwrap();
    }
    primary.sql("INSERT INTO vt_maria.t VALUES (1001, 'since')").await;
    let (_, outcome) = replica.restore(backups.path(), "--existing-data replace");
    assert_eq!(outcome["replication"], "CaughtUp", "{outcome:#}");

    let status = mysql.replica_status().await.unwrap().unwrap();
    assert!(status.running() && status.auto_position, "{status:?}");
    assert_eq!(mysql.replication_source().await.unwrap(), Some(login));
    assert_eq!(mysql.position().await.unwrap(), primary.mysql().position().await.unwrap());
    assert_eq!(mysql.semi_sync().await.unwrap(), Some(SemiSync { source: false, replica: true }));
    assert!(mysql.read_only().await.unwrap());
    assert_eq!(replica.rows(ROWS).await, primary.rows(ROWS).await);
    assert_eq!(replica.rows("SELECT COUNT(*) FROM _vt.reparent_journal").await, ["1"]);
    // And what comes later arrives.
    primary.sql("DELETE FROM vt_maria.t WHERE id <= 500").await;
    let goal = primary.mysql().position().await.unwrap();
    replica.status_when(|status| status.executed == goal).await;
    assert_eq!(replica.rows(ROWS).await, primary.rows(ROWS).await);
}
