//! Runs that are killed, at every change of their journal and in the middle of the copy, or told to stop: the tablet serves
//! and replicates again, and no half backup is shown as good.
//!
//! `VBO_MATRIX=whole` (`make test-all`) adds more places of the copy, the beginning of every step, and recoveries killed from
//! every state. The places are random; `VBO_SEED` repeats those of an earlier run, whose seed is printed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's own functions may fail the test")]

mod engine_support;
mod support;

use engine_support::process::{Running, run_killed_at, run_to};
use engine_support::{Notes, Shard, checksums};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::matrix;
use vitess_backup::engine::catalogue;
use vitess_backup::mysqld::Evidence;

/// `copy:<byte>`, at random in a copy of so many bytes.
fn places_in_the_copy(bytes: u64) -> Vec<String> {
    let mut random = StdRng::seed_from_u64(matrix::seed());
    let count = if matrix::is_whole() { 10 } else { 3 };
    (0..count).map(|_| format!("copy:{}", random.random_range(1..=bytes))).collect()
}

/// Calls `check` after a kill at `<what>:1`, `<what>:2` … until a run ends by itself; gives how many kills there were.
async fn at_each(what: &str, arguments: &str, mut check: impl AsyncFnMut(&str)) -> usize {
    let mut count = 0;
    loop {
        let point = format!("{what}:{}", count + 1);
        if !run_killed_at(&point, arguments) {
            return count;
        }
        check(&point).await;
        count += 1;
    }
}

impl Shard {
    fn recover_arguments(&self) -> String {
        format!("recover {}", self.tablet_arguments(&self.replica))
    }

    async fn names(&self, complete: bool) -> Vec<String> {
        let listed = catalogue::list(&self.storage(), &self.name, &Notes::default()).await.unwrap();
        listed.into_iter().filter(|backup| backup.complete == complete).map(|backup| backup.name).collect()
    }

    fn journal_exists(&self) -> bool {
        self.replica.tablet_dir().join("vitess-backup.journal").exists()
    }

    fn marker_exists(&self) -> bool {
        self.replica.tablet_dir().join("restore_in_progress").exists()
    }

    async fn mysqld_lives(&self) -> bool {
        Evidence::gather(&self.replica.layout()).await.unwrap().alive()
    }

    /// What lies in storage, whatever it is called.
    fn stored(&self) -> Vec<String> {
        let below = |entry: std::fs::DirEntry| entry.file_name().into_string().unwrap();
        let shard = self.backups.path().join("commerce/0");
        let mut names: Vec<String> = std::fs::read_dir(shard).unwrap().map(|entry| below(entry.unwrap())).collect();
        names.sort_unstable();
        names
    }

    /// After a recovery nothing tells of the backup that was killed, unless it was complete.
    async fn assert_as_before(&self, before: &[String], at: &str) {
        self.replica.wait_replicating().await;
        assert_eq!(self.settings().await, before, "{at}");
        self.replica.wait_caught_up(&self.primary).await;
        assert!(!self.journal_exists() && !self.marker_exists(), "{at}");
        assert_eq!(self.names(false).await, Vec::<String>::new(), "{at}");
        assert_eq!(self.stored(), self.names(true).await, "{at}");
    }

    async fn assert_rows_match(&self, at: &str) {
        self.stop_writing().await;
        self.replica.wait_caught_up(&self.primary).await;
        assert_eq!(checksums(&self.replica).await, checksums(&self.primary).await, "{at}");
        self.write_on().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_killed_after_any_journal_write_or_in_its_copy_is_recovered_from() {
    let shard = Shard::start().await;
    let before = shard.settings().await;
    let backup = shard.quick_backup_arguments();
    let first = run_to(0, &backup);
    let good = [first["backupName"].as_str().unwrap().to_owned()];

    let recovers = async |at: &str| {
        // What may be offered for a restore before anyone has cleared up: the good one, or one that is complete.
        let complete = shard.names(true).await;
        for name in complete.iter().filter(|name| !good.contains(name)) {
            run_to(0, &format!("verify {} commerce/0 {name}", shard.storage_arguments()));
        }
        let outcome = run_to(0, &shard.recover_arguments());
        assert_eq!(outcome["verdict"], "Succeeded", "{at}: {outcome}");
        shard.assert_as_before(&before, at).await;
        assert_eq!(shard.names(true).await, complete, "{at}");
        let again = run_to(0, &shard.recover_arguments());
        assert_eq!(again["warnings"], serde_json::json!(["no interrupted run was found: nothing was done"]), "{at}");
    };
    // Five steps and the journal's end, at least.
    assert!(at_each("journal", &backup, &recovers).await >= 6);
    for place in places_in_the_copy(first["dataBytes"].as_u64().unwrap()) {
        assert!(run_killed_at(&place, &backup), "{place}");
        assert!(shard.journal_exists() && !shard.mysqld_lives().await, "{place}: killed in the copy");
        recovers(&place).await;
    }
    if matrix::is_whole() {
        assert!(at_each("step", &backup, &recovers).await >= 8);
    }
    shard.assert_rows_match("at the end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_killed_after_any_journal_write_or_in_its_copy_is_simply_run_again() {
    let shard = Shard::start().await;
    let before = shard.settings().await;
    let made = run_to(0, &shard.quick_backup_arguments());
    let restore = shard.restore_arguments();

    let completes = async |at: &str| {
        let outcome = run_to(0, &restore);
        assert_eq!(outcome["replication"], "CaughtUp", "{at}: {outcome}");
        shard.assert_as_before(&before, at).await;
        shard.assert_rows_match(at).await;
    };
    assert!(at_each("journal", &restore, &completes).await >= 5);
    for place in places_in_the_copy(made["dataBytes"].as_u64().unwrap()) {
        assert!(run_killed_at(&place, &restore), "{place}");
        assert!(shard.journal_exists() && shard.marker_exists() && !shard.mysqld_lives().await, "{place}");
        completes(&place).await;
    }
    if matrix::is_whole() {
        assert!(at_each("step", &restore, &completes).await >= 8);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_that_is_killed_itself_is_simply_run_again() {
    let shard = Shard::start().await;
    let before = shard.settings().await;
    run_to(0, &shard.quick_backup_arguments());
    // mysqld is down and its files are being copied.
    let mut states = vec!["journal:3"];
    if matrix::is_whole() {
        states.extend(["journal:1", "journal:2", "journal:4", "journal:5"]);
    }
    let mut kills = 0;
    for state in states {
        for point in ["journal:1", "journal:2", "step:1", "step:2", "step:3", "step:4"] {
            assert!(run_killed_at(state, &shard.quick_backup_arguments()), "{state}");
            kills += usize::from(run_killed_at(point, &shard.recover_arguments()));
            run_to(0, &shard.recover_arguments());
            shard.assert_as_before(&before, &format!("the backup killed at {state}, its recovery at {point}")).await;
        }
    }
    // From the copy on there is mysqld to be started, replication too, a half backup to be removed.
    assert!(kills >= 6, "{kills}");
    // A restore whose data was not touched yet.
    for point in ["journal:1", "step:2", "step:3"] {
        assert!(run_killed_at("journal:1", &shard.restore_arguments()));
        assert!(run_killed_at(point, &shard.recover_arguments()), "{point}");
        run_to(0, &shard.recover_arguments());
        shard.assert_as_before(&before, &format!("a restore's recovery killed at {point}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn once_the_old_data_is_gone_only_another_restore_is_let_onto_the_tablet() {
    let shard = Shard::start().await;
    let before = shard.settings().await;
    run_to(0, &shard.quick_backup_arguments());
    // The last of these knows the source only from the journals of the others.
    for point in ["journal:2", "journal:3", "journal:4"] {
        assert!(run_killed_at(point, &shard.restore_arguments()), "{point}");
        assert!(shard.marker_exists(), "{point}");
        for refused in [shard.recover_arguments(), shard.quick_backup_arguments()] {
            let outcome = run_to(5, &refused);
            assert_eq!(outcome["failure"]["reason"], "InterruptedRun", "{point}: {outcome}");
        }
    }
    // Its data is none that would have to be replaced.
    let outcome = run_to(0, &shard.restore_arguments().replace("--existing-data replace", ""));
    assert_eq!(outcome["replication"], "CaughtUp", "{outcome}");
    shard.assert_as_before(&before, "restored").await;
    shard.assert_rows_match("restored").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_backup_puts_right_what_a_killed_one_left() {
    let mut shard = Shard::start().await;
    let before = shard.settings().await;
    assert!(run_killed_at("copy:1", &shard.backup_arguments()));
    // The whole pod went: mysqlctld too, and it comes back with a mysqld that nobody asked it for.
    shard.replica.kill_container();
    shard.replica.start_container().await;
    let outcome = run_to(0, &shard.backup_arguments());
    assert_eq!(outcome["replication"], "CaughtUp", "{outcome}");
    shard.assert_as_before(&before, "after the next").await;
    assert_eq!(shard.names(true).await, [outcome["backupName"].as_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_told_to_stop_puts_the_tablet_back_and_leaves_nothing() {
    let shard = Shard::start().await;
    let before = shard.settings().await;
    for step in ["StoppingReplication", "StoppingMysqld", "CopyingFiles", "PutBack"] {
        let mut running = Running::start(&shard.backup_arguments(), &shard.replica);
        assert!(running.reach(step), "{step}");
        running.terminate(7, step);
        assert_eq!(shard.settings().await, before, "{step}");
        assert_eq!(shard.names(true).await, Vec::<String>::new(), "{step}");
        assert_eq!(shard.names(false).await, Vec::<String>::new(), "{step}");
        assert!(!shard.journal_exists(), "{step}");
    }
    let outcome = run_to(7, &format!("{} --deadline 1s", shard.backup_arguments()));
    assert_eq!(outcome["failure"]["reason"], "DeadlineExceeded", "{outcome}");
    assert_eq!(shard.settings().await, before);
    assert_eq!(shard.names(true).await, Vec::<String>::new());
}
