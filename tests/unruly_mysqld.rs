//! A mysqld that does other than the engine expects: it is started behind the engine's back while its files are copied, or
//! it does not stop in time. Real ones, 9.7.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's own functions may fail the test")]

mod engine_support;
mod support;

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use engine_support::{Shard, backup_options, restore_options};
use support::container;
use support::ground::ground;
use support::mysql::{PATIENCE, own};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use vitess_backup::backup::failure::Reason;
use vitess_backup::engine::builtin::{self, ExistingData};
use vitess_backup::engine::{Done, EngineError, Interrupt, MysqldAccess};
use vitess_backup::mysqld::{Evidence, MysqldControl};
use vitess_backup::progress::{Monitor, Step};

/// Holds a run up, once, where it is told to, until it is told to go on.
struct Gate {
    at: At,
    bytes: AtomicU64,
    reached: Notify,
    /// 0: not there yet, 1: there, 2: go on.
    state: Mutex<u8>,
    changed: Condvar,
}

#[derive(PartialEq)]
enum At {
    Step(Step),
    /// So many bytes of the copy.
    Copied(u64),
}

impl Gate {
    fn new(at: At) -> Arc<Self> {
        let (bytes, reached) = (AtomicU64::new(0), Notify::new());
        Arc::new(Self { at, bytes, reached, state: Mutex::new(0), changed: Condvar::new() })
    }

    /// Whoever comes here, from whatever thread, waits.
    fn hold(&self) {
        let mut state = self.state.lock().unwrap();
        if *state == 0 {
            *state = 1;
            self.reached.notify_one();
        }
        while *state == 1 {
            state = self.changed.wait(state).unwrap();
        }
    }

    async fn reached(&self) {
        tokio::time::timeout(PATIENCE, self.reached.notified()).await.expect("the run comes there");
    }

    fn open(&self) {
        *self.state.lock().unwrap() = 2;
        self.changed.notify_all();
    }
}

impl Monitor for Gate {
    fn step(&self, step: Step) {
        if self.at == At::Step(step) {
            self.hold();
        }
    }

    fn totals(&self, _bytes: u64, _files: u64) {}

    fn advanced(&self, bytes: u64, _stored: u64) {
        let done = self.bytes.fetch_add(bytes, Ordering::SeqCst) + bytes;
        if matches!(self.at, At::Copied(at) if done >= at) {
            self.hold();
        }
    }

    fn file_done(&self) {}

    fn note(&self, text: &str) {
        println!("{text}");
    }
}

impl Shard {
    fn start_backup(&self, gate: &Arc<Gate>, limit: Duration, own: bool) -> JoinHandle<Result<Done, EngineError>> {
        let mut tablet = self.engine_tablet(&self.replica);
        tablet.shutdown_timeout = limit;
        if own {
            tablet.mysqld = MysqldAccess::Own;
        }
        let (storage, gate) = (self.storage(), gate.clone());
        tokio::spawn(async move {
            builtin::backup(&tablet, &storage, &backup_options(), &Interrupt::new(), gate.as_ref()).await
        })
    }

    async fn assert_as_before(&self, before: &[String]) {
        assert_eq!(self.settings().await, before);
        self.replica.wait_replicating().await;
        self.replica.wait_caught_up(&self.primary).await;
        assert!(!self.replica.tablet_dir().join("vitess-backup.journal").exists());
        assert_eq!(self.storage().list_backups(&self.name).await.unwrap(), Vec::<String>::new());
    }

    async fn mysqld_lives(&self) -> bool {
        Evidence::gather(&self.replica.layout()).await.unwrap().alive()
    }
}

const MIDDLE: u64 = 20 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_backup_whose_mysqld_is_started_by_mysqlctld_meanwhile_fails_and_the_tablet_is_put_back() {
    let mut shard = Shard::start().await;
    let before = shard.settings().await;
    let gate = Gate::new(At::Copied(MIDDLE));
    let backup = shard.start_backup(&gate, PATIENCE, false);
    gate.reached().await;
    assert!(!shard.mysqld_lives().await);
    // As when the kubelet starts the container again: mysqlctld finds a tablet and starts its mysqld.
    shard.replica.kill_container();
    shard.replica.start_container().await;
    gate.open();
    let failure = backup.await.unwrap().unwrap_err().failure();
    assert_eq!(failure.reason, Reason::MysqldStartedMeanwhile, "{failure:?}");
    assert!(failure.message.contains("its socket accepts connections"), "{failure:?}");
    shard.assert_as_before(&before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_mysqld_that_came_and_went_while_its_files_were_copied_is_found_out() {
    let shard = Shard::start().await;
    let before = shard.settings().await;
    let gate = Gate::new(At::Copied(MIDDLE));
    let backup = shard.start_backup(&gate, PATIENCE, false);
    gate.reached().await;
    let stranger = shard.replica.own_process();
    stranger.start(&[]).await.unwrap();
    stranger.shutdown(PATIENCE).await.unwrap();
    assert!(!shard.mysqld_lives().await);
    gate.open();
    let failure = backup.await.unwrap().unwrap_err().failure();
    assert_eq!(failure.reason, Reason::MysqldStartedMeanwhile, "{failure:?}");
    assert!(failure.message.contains("was written to"), "{failure:?}");
    shard.assert_as_before(&before).await;
}

/// As of a log that a mysqld which came and went has purged or renamed: it showed when the file was to be opened.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_file_that_went_while_others_were_copied_tells_of_a_mysqld_too() {
    let shard = Shard::start().await;
    let before = shard.settings().await;
    // The smallest come last.
    let small = shard.replica.layout().datadir.join("vt_commerce/small.MYD");
    std::fs::write(&small, "x").unwrap();
    own(small.parent().unwrap());
    let gate = Gate::new(At::Copied(MIDDLE));
    let backup = shard.start_backup(&gate, PATIENCE, false);
    gate.reached().await;
    std::fs::remove_file(&small).unwrap();
    gate.open();
    let failure = backup.await.unwrap().unwrap_err().failure();
    assert_eq!(failure.reason, Reason::MysqldStartedMeanwhile, "{failure:?}");
    assert!(failure.message.contains("small.MYD was written to"), "{failure:?}");
    shard.assert_as_before(&before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_restore_whose_mysqld_is_started_meanwhile_is_not_called_done_and_may_be_run_again() {
    let shard = Shard::start().await;
    let open = Gate::new(At::Copied(u64::MAX));
    shard.start_backup(&open, PATIENCE, false).await.unwrap().unwrap();
    let (tablet, storage) = (shard.engine_tablet(&shard.replica), shard.storage());
    let restore = |gate: Arc<Gate>| {
        let (tablet, storage) = (tablet.clone(), storage.clone());
        // On a thread of its own: a restore's future stays on one.
        tokio::task::spawn_blocking(move || {
            let (options, interrupt) = (restore_options(ExistingData::Replace), Interrupt::new());
            let run = builtin::restore(&tablet, &storage, &options, &interrupt, gate.as_ref());
            tokio::runtime::Handle::current().block_on(run)
        })
    };
    // The old data is about to go.
    let gate = Gate::new(At::Step(Step::ClearingData));
    let cut = restore(gate.clone());
    gate.reached().await;
    let stranger = shard.replica.own_process();
    stranger.start(&[]).await.unwrap();
    let pid = std::fs::read_to_string(shard.replica.layout().pid_file).unwrap().trim().parse().unwrap();
    gate.open();
    let Err(error) = cut.await.unwrap() else { panic!("it was called done") };
    let failure = error.failure();
    assert_eq!(failure.reason, Reason::MysqldStartedMeanwhile, "{failure:?}");
    assert!(failure.message.contains("the tablet's data is not whole"), "{failure:?}");
    assert!(shard.replica.tablet_dir().join("restore_in_progress").exists());
    // It may well have died of it, or look for its redo log for ever.
    if stranger.shutdown(Duration::from_secs(20)).await.is_err() && shard.mysqld_lives().await {
        container::signal(pid, "KILL");
        let _ = stranger.shutdown(PATIENCE).await;
    }

    restore(open).await.unwrap().unwrap();
    shard.replica.wait_replicating().await;
    shard.replica.wait_caught_up(&shard.primary).await;
}

/// Vitess issues 20604 and 13360: there the tablet stays down.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_mysqld_that_takes_too_long_to_stop_under_mysqlctld_is_put_back() {
    let shard = Shard::start().await;
    let mysqld = shard.replica.mysqld_pid().unwrap();
    stops_too_late(&shard, mysqld, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_mysqld_that_takes_too_long_to_stop_as_our_own_process_is_put_back() {
    // The engine finds its mysqld by the environment, which only a process of its own can be given.
    if std::env::var_os("VT_MYSQL_ROOT").is_none() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_mysqld_that_takes_too_long_to_stop_as_our_own_process_is_put_back", "--nocapture"])
            .env("VT_MYSQL_ROOT", &ground().mysql_root)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let mut shard = Shard::start().await;
    let mysqlctld = shard.replica.container().process("mysqlctld").unwrap();
    container::signal(mysqlctld, "TERM");
    shard.replica.container().wait_ended(PATIENCE);
    let own = shard.replica.own_process();
    own.start(&[]).await.unwrap();
    shard.replica.mysql().start_replica().await.unwrap();
    shard.replica.wait_replicating().await;
    let pid = std::fs::read_to_string(shard.replica.layout().pid_file).unwrap();
    stops_too_late(&shard, pid.trim().parse().unwrap(), true).await;
}

async fn stops_too_late(shard: &Shard, mysqld: u32, own: bool) {
    let before = shard.settings().await;
    let gate = Gate::new(At::Step(Step::StoppingMysqld));
    let backup = shard.start_backup(&gate, Duration::from_secs(2), own);
    gate.reached().await;
    container::signal(mysqld, "STOP");
    gate.open();
    // Long after the limit, while the engine is at putting the tablet back.
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert!(!backup.is_finished(), "nothing can be put back while mysqld does not move");
    container::signal(mysqld, "CONT");
    let failure = backup.await.unwrap().unwrap_err().failure();
    assert!(matches!(failure.reason, Reason::MysqldNotStopped | Reason::MysqlctlFailed), "{failure:?}");
    assert!(!failure.message.contains("could not be put back"), "{failure:?}");
    shard.assert_as_before(&before).await;
}
