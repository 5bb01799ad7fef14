//! Runs that are killed or told to stop: the tablet serves and replicates again, and no half backup is shown as good.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's own functions may fail the test")]

mod engine_support;
mod support;

use engine_support::process::{Running, run_to};
use engine_support::{Notes, Shard, checksums};
use vitess_backup::engine::catalogue;

impl Shard {
    fn recover_arguments(&self) -> String {
        format!("recover {}", self.tablet_arguments(&self.replica))
    }

    /// Starts a run and kills it in this step of its journal.
    fn kill_at(&self, arguments: &str, step: &str) {
        // A step may be over before it was seen: then the run went well and is tried again.
        for _ in 0..5 {
            let mut running = Running::start(arguments, &self.replica);
            if running.reach(step) {
                return running.kill();
            }
        }
        panic!("{step} was never seen");
    }

    async fn names(&self, complete: bool) -> Vec<String> {
        let listed = catalogue::list(&self.storage(), &self.name, &Notes::default()).await.unwrap();
        listed.into_iter().filter(|backup| backup.complete == complete).map(|backup| backup.name).collect()
    }

    fn journal_exists(&self) -> bool {
        self.replica.tablet_dir().join("vitess-backup.journal").exists()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_killed_at_any_step_is_recovered_from() {
    let shard = Shard::start().await;
    let before = shard.settings().await;
    for step in ["StoppingReplication", "StoppingMysqld", "CopyingFiles", "PuttingBack", "PutBack"] {
        shard.kill_at(&shard.backup_arguments(), step);
        assert!(shard.journal_exists(), "{step}");

        let outcome = run_to(0, &shard.recover_arguments());
        assert_eq!(outcome["verdict"], "Succeeded", "{step}: {outcome}");
        shard.replica.wait_replicating().await;
        assert_eq!(shard.settings().await, before, "{step}");
        assert_eq!(shard.names(false).await, Vec::<String>::new(), "{step}");
        assert!(!shard.journal_exists(), "{step}");

        let again = run_to(0, &shard.recover_arguments());
        assert_eq!(again["warnings"], serde_json::json!(["no interrupted run was found: nothing was done"]));
    }
    shard.replica.wait_caught_up(&shard.primary).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_backup_puts_right_what_a_killed_one_left() {
    let mut shard = Shard::start().await;
    let before = shard.settings().await;
    shard.kill_at(&shard.backup_arguments(), "CopyingFiles");
    // The whole pod went: mysqlctld too, and it comes back without a mysqld that anyone asked it to stop.
    shard.replica.kill_container();
    shard.replica.start_container().await;
    let outcome = run_to(0, &shard.backup_arguments());
    assert_eq!(outcome["replication"], "CaughtUp", "{outcome}");
    assert_eq!(shard.settings().await, before);
    assert_eq!(shard.names(true).await, [outcome["backupName"].as_str().unwrap()]);
    assert_eq!(shard.names(false).await, Vec::<String>::new());
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

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_killed_at_any_step_is_simply_run_again() {
    let shard = Shard::start().await;
    let before = shard.settings().await;
    run_to(0, &shard.backup_arguments());

    // Before the old data goes, recovery gives the tablet back as it was.
    shard.kill_at(&shard.restore_arguments(), "StoppingMysqld");
    run_to(0, &shard.recover_arguments());
    shard.replica.wait_replicating().await;
    assert_eq!(shard.settings().await, before);
    assert!(!shard.replica.tablet_dir().join("restore_in_progress").exists());

    for step in ["ClearingData", "StartingMysqld", "SettingPosition"] {
        shard.kill_at(&shard.restore_arguments(), step);
        assert!(shard.replica.tablet_dir().join("restore_in_progress").exists(), "{step}");
        let outcome = run_to(5, &shard.recover_arguments());
        assert_eq!(outcome["failure"]["reason"], "InterruptedRun", "{step}: {outcome}");
        let outcome = run_to(5, &shard.backup_arguments());
        assert_eq!(outcome["failure"]["reason"], "InterruptedRun", "{step}: {outcome}");
    }
    // The last of them left a journal that knows the source from before the first.
    let outcome = run_to(0, &shard.restore_arguments());
    assert_eq!(outcome["replication"], "CaughtUp", "{outcome}");
    assert_eq!(shard.settings().await, before);
    assert!(!shard.replica.tablet_dir().join("restore_in_progress").exists());
    shard.stop_writing().await;
    shard.replica.wait_caught_up(&shard.primary).await;
    assert_eq!(checksums(&shard.replica).await, checksums(&shard.primary).await);
}
