//! The drill (`verify --level restore`) with a real mysqld, 9.7: a good backup passes and leaves nothing; what is wrong inside
//! a backup whose every hash is right is found; and so is what the user's assertions ask for.
//!
//! `VBO_MATRIX=whole` (`make test-all`) kills the drill at the beginning of every step.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's own functions may fail the test")]

mod engine_support;
mod support;

use std::fs;
use std::path::Path;

use engine_support::process::{command, run, run_killed_at};
use engine_support::{Notes, SmallDisk, backup_options, engine_tablet, storage_in};
use serde_json::{Value, json};
use support::matrix;
use support::mysql::Tablet;
use tempfile::TempDir;
use vitess_backup::engine::Interrupt;
use vitess_backup::engine::builtin::{self, BackupOptions};

/// A page of InnoDB's, in bytes.
const PAGE: u64 = 16 << 10;

/// A tablet with a backup, and a place for drills.
struct Case {
    tablet: Tablet,
    backups: TempDir,
    scratch: TempDir,
    name: String,
}

impl Case {
    /// With tables of some pages; `before` may change the files while nothing runs.
    async fn new(before: impl FnOnce(&Tablet)) -> Self {
        let mut tablet = Tablet::at_rest(101).await;
        tablet.start_container().await;
        tablet.make_writable().await;
        for statement in [
            "CREATE DATABASE vt_commerce",
            "CREATE TABLE vt_commerce.customer (id BIGINT PRIMARY KEY AUTO_INCREMENT, v VARBINARY(2000))",
            "CREATE TABLE vt_commerce.parted (id BIGINT PRIMARY KEY, v INT) PARTITION BY HASH (id) PARTITIONS 3",
            "CREATE VIEW vt_commerce.seen AS SELECT id FROM vt_commerce.customer",
            "INSERT INTO vt_commerce.parted VALUES (1, 1), (2, 2), (3, 3)",
            "INSERT INTO vt_commerce.customer (v) VALUES (RANDOM_BYTES(1000)), (RANDOM_BYTES(1000))",
            // What must not run in a drill.
            "CREATE EVENT vt_commerce.purge ON SCHEDULE EVERY 1 HOUR STARTS NOW() + INTERVAL 1 HOUR DO DELETE FROM vt_commerce.parted",
        ] {
            tablet.sql(statement).await;
        }
        for _ in 0..9 {
            tablet
                .sql("INSERT INTO vt_commerce.customer (v) SELECT RANDOM_BYTES(1000) FROM vt_commerce.customer")
                .await;
        }
        tablet.sql("ANALYZE TABLE vt_commerce.customer").await;
        tablet.stop_container();
        before(&tablet);
        tablet.start_container().await;
        let backups = engine_support::open_directory();
        let engine_tablet = engine_tablet(&"commerce/0".parse().unwrap(), &tablet);
        let (storage, options) =
            (storage_in(backups.path()), BackupOptions { allow_primary: true, ..backup_options() });
        let done = builtin::backup(&engine_tablet, &storage, &options, &Interrupt::new(), &Notes::default()).await;
        let name = done.unwrap().name;
        tablet.stop_container();
        Self { tablet, backups, scratch: engine_support::open_directory(), name }
    }

    fn arguments(&self, scratch: &Path) -> String {
        format!(
            "verify --level restore --scratch-dir {} --backup-storage-implementation file --file-backup-storage-root {} \
             commerce/0 {}",
            scratch.display(),
            self.backups.path().display(),
            self.name
        )
    }

    /// A drill with these assertions; its exit code and outcome. Nothing of it is left.
    fn drill(&self, assertions: &[&str]) -> (i32, Value) {
        let mut command =
            command(&format!("{} --assertion-timeout 5s --report json", self.arguments(self.scratch.path())));
        command.args(assertions.iter().map(|assertion| format!("--assertion={assertion}")));
        let output = command.output().unwrap();
        let out = String::from_utf8_lossy(&output.stdout);
        let last = out.lines().last().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        self.assert_nothing_left();
        (output.status.code().unwrap(), serde_json::from_str(last).unwrap())
    }

    fn assert_nothing_left(&self) {
        let left: Vec<_> = fs::read_dir(self.scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(processes_in(self.scratch.path()), Vec::<i32>::new());
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        for process in processes_in(self.scratch.path()) {
            let _ = std::process::Command::new("kill").args(["-s", "KILL", &process.to_string()]).status();
        }
    }
}

/// Those with that directory's my.cnf among their arguments.
fn processes_in(scratch: &Path) -> Vec<i32> {
    let named = format!("--defaults-file={}/", scratch.display());
    let of_scratch = |process: &i32| {
        let cmdline = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&cmdline).contains(&named)
    };
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    all.filter(of_scratch).collect()
}

fn failure(outcome: &Value) -> (&str, &str) {
    let text = |key: &str| outcome["failure"][key].as_str().unwrap_or_else(|| panic!("{outcome:#}"));
    assert!(!text("remedy").is_empty());
    (text("reason"), text("message"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_backup_passes_also_after_drills_that_were_killed_and_each_failed_assertion_is_named() {
    let case = Case::new(|_| ()).await;
    let tablet_before = listing(case.tablet.tablet_dir());

    let points: Vec<String> = if matrix::is_whole() {
        (1..=9).map(|step| format!("step:{step}")).chain(["copy:1".to_owned(), "copy:30000000".to_owned()]).collect()
    } else {
        // While files are copied, and when mysqld runs.
        ["copy:1000000", "step:9"].map(str::to_owned).to_vec()
    };
    for point in points {
        assert!(run_killed_at(&point, &case.arguments(case.scratch.path())), "{point}");
        assert_eq!(fs::read_dir(case.scratch.path()).unwrap().count(), usize::from(point != "step:1"), "{point}");
        if point == "step:9" {
            assert_eq!(processes_in(case.scratch.path()).len(), 1, "mysqld goes on when the engine is killed");
        }
    }

    let (code, outcome) = case.drill(&[
        "customers=SELECT COUNT(*) = 1024 FROM vt_commerce.customer",
        "in the keyspace's database=SELECT COUNT(*) FROM parted",
        "no network=SELECT @@skip_networking",
        "no events=SELECT @@event_scheduler = 'DISABLED'",
        "read only=SELECT @@super_read_only",
    ]);
    assert_eq!((code, &outcome["verdict"]), (0, &json!("Succeeded")), "{outcome:#}");
    let found = &outcome["verification"];
    assert_eq!(found["assertions"], 5, "{outcome:#}");
    // Ours, and those of mysql and sys.
    assert!(found["tables"].as_u64().unwrap() > 20, "{outcome:#}");
    assert!(found["rows"].as_u64().unwrap() > 500, "{outcome:#}");
    assert_eq!((&outcome["backupName"], &outcome["engine"]), (&json!(case.name), &json!("builtin")));
    assert_eq!(outcome.get("warnings"), None, "{outcome:#}");
    assert_eq!(listing(case.tablet.tablet_dir()), tablet_before, "nothing of the tablet was touched");

    let begun = std::time::Instant::now();
    let (code, outcome) = case.drill(&[
        "holds=SELECT 1",
        "false=SELECT COUNT(*) > 9999 FROM customer",
        "null=SELECT NULL",
        "many rows=SELECT id FROM customer",
        "no rows=SELECT id FROM customer WHERE id < 0",
        "broken=SELECT nothing FROM nowhere",
        "insert=INSERT INTO customer (v) VALUES ('x')",
        "drop=DROP TABLE customer",
        "file=SELECT 1 INTO OUTFILE 'x'",
        "unlocks=SET GLOBAL super_read_only = OFF",
        "two=SELECT 1; SELECT 1",
        "slow=SELECT COUNT(*) FROM customer WHERE SLEEP(600)",
    ]);
    assert!(begun.elapsed().as_secs() < 300, "an assertion has a time limit");
    let (reason, message) = failure(&outcome);
    assert_eq!((code, reason), (6, "AssertionFailed"), "{message}");
    assert!(message.contains("11 of the assertions") && message.contains(&case.name), "{message}");
    for words in [
        "false: it gives \"0\"",
        "null: it gives NULL",
        "many rows: it gives more than one row",
        "no rows: it gives no row",
    ] {
        assert!(message.contains(words), "{message}");
    }
}

/// Names and sizes of all files.
fn listing(directory: &Path) -> Vec<(std::path::PathBuf, u64)> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
            } else {
                files.push((entry.path(), entry.metadata().unwrap().len()));
            }
        }
    }
    files.sort();
    files
}

/// The last page of the table with rows in it, damaged before the backup is taken: the hash is that of the damage.
fn damage_a_page(tablet: &Tablet) {
    let path = tablet.layout().datadir.join("vt_commerce/customer.ibd");
    let mut bytes = fs::read(&path).unwrap();
    // Pages of an index, by the type in their header (FIL_PAGE_INDEX); the first ones are the root and the dictionary's.
    let is_index = |page: &u64| {
        let at = usize::try_from(page * PAGE).unwrap();
        bytes[at + 24..at + 26] == [0x45, 0xbf]
    };
    let page = (10..bytes.len() as u64 / PAGE).rfind(is_index).expect("there are leaves");
    let at = usize::try_from(page * PAGE + PAGE / 2).unwrap();
    for byte in &mut bytes[at..at + 64] {
        *byte ^= 0xff;
    }
    fs::write(&path, bytes).unwrap();
    // With it mysqld would read the page as it starts.
    fs::remove_file(tablet.layout().innodb_data_home_dir.join("ib_buffer_pool")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_damaged_before_the_backup_is_found_although_every_hash_is_right() {
    let case = Case::new(damage_a_page).await;
    let objects = run(&case.arguments(case.scratch.path()).replace("--level restore", "--level objects"));
    assert_eq!(objects.status.code(), Some(0), "{}", String::from_utf8_lossy(&objects.stderr));
    let (code, outcome) = case.drill(&["customers=SELECT COUNT(*) FROM customer"]);
    let (reason, message) = failure(&outcome);
    assert_eq!((code, reason), (6, "TableCorrupt"), "{message}");
    assert!(message.contains("vt_commerce.customer") && message.contains(&case.name), "{message}");
    assert!(!message.contains("parted"), "{message}");

    // Where there is no space, nothing is begun.
    let disk = SmallDisk::mount(case.scratch.path());
    let output = run(&format!("{} --report json", case.arguments(case.scratch.path())));
    let out = String::from_utf8_lossy(&output.stdout);
    let outcome: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    let (reason, message) = failure(&outcome);
    assert_eq!((output.status.code(), reason), (Some(6), "NoSpace"), "{message}");
    case.assert_nothing_left();
    assert!(!out.contains("CopyingFiles"), "{out}");
    drop(disk);
}
