//! Backups from a clone of the files: real tablets on a real XFS, whose mysqld is down for a moment only.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's own functions may fail the test")]

mod engine_support;
mod support;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use engine_support::process::{Running, run_to};
use engine_support::{Disk, Notes, Shard, checksums};
use support::mysql::{PATIENCE, Tablet};
use vitess_backup::backup::bytes::ByteSize;
use vitess_backup::backup::failure::Reason;
use vitess_backup::backup::manifest::Manifest;
use vitess_backup::backup::report::{CopyMode, ReplicationOutcome};
use vitess_backup::engine::builtin::{self, BackupOptions, CopyChoice, ExistingData, RestoreEnd};
use vitess_backup::engine::{Done, EngineError, Interrupt, catalogue};
use vitess_backup::progress::{Monitor, Step};
use vitess_backup::replication::{GtidSet, Position};

/// The stored files are above 16 MiB: with this they take their time.
const SLOW: ByteSize = ByteSize(1 << 20);

impl Shard {
    fn clone_dir(&self) -> PathBuf {
        self.replica.tablet_dir().join(builtin::CLONE_DIRECTORY)
    }

    async fn backup_with(
        &self,
        monitor: &dyn Monitor,
        change: impl FnOnce(&mut BackupOptions),
    ) -> Result<Done, EngineError> {
        let mut options = engine_support::backup_options();
        change(&mut options);
        let tablet = self.engine_tablet(&self.replica);
        builtin::backup(&tablet, &self.storage(), &options, &Interrupt::new(), monitor).await
    }

    /// Nothing of a run is left: no clone, no journal, no backup, whole or half.
    async fn assert_nothing_is_left(&self, context: &str) {
        assert!(!self.clone_dir().exists(), "{context}: the clone stayed");
        assert!(!self.replica.tablet_dir().join("vitess-backup.journal").exists(), "{context}: the journal stayed");
        let names = self.storage().list_backups(&self.name).await.unwrap();
        assert_eq!(names, Vec::<String>::new(), "{context}");
    }

    /// Starts a backup that stores slowly, and waits until mysqld runs again and the clone is being stored.
    fn storing_slowly(&self) -> Running {
        let mut running = Running::start(&format!("{} --bandwidth-limit 1MiB", self.backup_arguments()), &self.replica);
        assert!(running.reach("PutBack"));
        let object = |entry: std::fs::DirEntry| entry.path().read_dir().unwrap().next().is_some();
        let begun = Instant::now();
        let shard = self.backups.path().join("commerce/0");
        while !shard.read_dir().is_ok_and(|mut backups| backups.next().is_some_and(|backup| object(backup.unwrap()))) {
            assert!(begun.elapsed() < PATIENCE, "nothing is being stored");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(self.clone_dir().join("0").exists(), "the files are stored from a clone");
        running
    }
}

async fn rows(tablet: &Tablet) -> u64 {
    tablet.value("SELECT COUNT(*) FROM vt_commerce.customer").await.parse().unwrap()
}

async fn up_seconds(tablet: &Tablet) -> u64 {
    tablet.sql("SHOW GLOBAL STATUS LIKE 'Uptime'").await[0].at(1).unwrap().parse().unwrap()
}

/// Transactions of all servers.
fn transactions(set: &GtidSet) -> u64 {
    set.iter().flat_map(|(_, intervals)| intervals).map(|interval| interval.end - interval.start + 1).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_from_a_clone_is_of_one_moment_and_mysqld_runs_while_it_is_stored() {
    let disk = Disk::xfs();
    let shard = Shard::start_in(disk.path(), "").await;
    let before = shard.settings().await;
    let notes = Notes::default();

    let begun = Instant::now();
    let done = shard.backup_with(&notes, |options| {
        options.copy_mode = CopyChoice::Clone;
        options.limits.bandwidth = SLOW;
    });
    let done = done.await.unwrap();
    let took = begun.elapsed();

    let how = done.how.expect("a backup says how");
    assert_eq!((how.mode, done.replication), (CopyMode::Clone, Some(ReplicationOutcome::CaughtUp)), "{how:?}");
    assert_eq!(done.warnings, Vec::<String>::new(), "{notes:?}");
    // A machine with much else to do takes long to start a mysqld; what counts is that storing is not part of it.
    let cloning = notes.began(Step::StartingMysqld) - notes.began(Step::CloningFiles);
    let storing = notes.began(Step::WritingManifest) - notes.began(Step::CopyingFiles);
    println!(
        "down for {:?} of {took:?}, cloned in {cloning:?}, {} bytes stored in {storing:?}",
        done.downtime, done.stored_bytes
    );
    assert!(storing > Duration::from_secs(15), "storing was to be slow: {storing:?}");
    assert!(cloning < storing / 4, "cloned in {cloning:?}, stored in {storing:?}");
    let downtime = done.downtime.unwrap();
    assert!(downtime + storing < took, "down for {downtime:?}, storing for {storing:?}, in all {took:?}");
    assert!(notes.began(Step::RestartingReplication) < notes.began(Step::CopyingFiles));
    let up = up_seconds(&shard.replica).await;
    assert!(up >= storing.as_secs(), "mysqld ran while the files were stored: {up} s");
    assert_eq!((done.files, done.data_bytes), (notes.files_done(), notes.bytes_done()));
    assert_eq!(shard.settings().await, before, "read-only, semi-sync and threads are as they were");
    assert!(!shard.clone_dir().exists());
    assert!(!shard.replica.tablet_dir().join("vitess-backup.journal").exists());

    // The restored rows are those of the position: every transaction since the tables were made is one row.
    let mut other = Tablet::at_rest(103).await;
    other.start_container().await;
    let options = engine_support::restore_options(ExistingData::Refuse);
    let tablet = shard.engine_tablet(&other);
    let end = builtin::restore(&tablet, &shard.storage(), &options, &Interrupt::new(), &Notes::default()).await;
    let RestoreEnd::Restored(restored) = end.unwrap() else { panic!("no backup was found") };
    assert_eq!(restored.name, done.name);
    let Ok(Position::Mysql56(position)) = done.manifest.position.parse() else { panic!("{}", done.manifest.position) };
    assert_eq!(other.mysql().gtid_executed().await.unwrap(), position);
    let restored_rows = rows(&other).await;
    shard.stop_writing().await;
    let (all, all_rows) = (shard.primary.mysql().gtid_executed().await.unwrap(), rows(&shard.primary).await);
    assert_eq!(restored_rows, transactions(&position) - (transactions(&all) - all_rows));
    assert!(rows(&shard.replica).await > restored_rows + 100, "the replica took writes while its clone was stored");
    other.replicate_from(&shard.primary).await;
    other.wait_caught_up(&shard.primary).await;
    assert_eq!(checksums(&other).await, checksums(&shard.primary).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_while_its_clone_is_stored_leaves_nothing_and_mysqld_is_not_touched_again() {
    let disk = Disk::xfs();
    let shard = Shard::start_in(disk.path(), "").await;
    let before = shard.settings().await;
    let started = async || jiff::Timestamp::now().as_second().unsigned_abs() - up_seconds(&shard.replica).await;

    // Told to stop.
    let running = shard.storing_slowly();
    let mysqld = started().await;
    running.terminate(7, "SIGTERM");
    shard.assert_nothing_is_left("SIGTERM").await;
    assert!(started().await.abs_diff(mysqld) <= 1, "mysqld was restarted");
    assert_eq!(shard.settings().await, before);
    let outcome = run_to(7, &format!("{} --bandwidth-limit 1MiB --deadline 12s", shard.backup_arguments()));
    assert_eq!(outcome["failure"]["reason"], "DeadlineExceeded", "{outcome}");
    shard.assert_nothing_is_left("deadline").await;

    // Killed, and recovered from.
    let running = shard.storing_slowly();
    let mysqld = started().await;
    running.kill();
    let journal = std::fs::read_to_string(shard.replica.tablet_dir().join("vitess-backup.journal")).unwrap();
    assert!(journal.contains("\"clone\": true"), "{journal}");
    assert!(shard.clone_dir().exists());
    let recovered = run_to(0, &format!("recover {}", shard.tablet_arguments(&shard.replica)));
    assert_eq!(recovered["verdict"], "Succeeded", "{recovered}");
    shard.assert_nothing_is_left("recover").await;
    assert!(started().await.abs_diff(mysqld) <= 1, "mysqld was restarted");
    assert_eq!(shard.settings().await, before);

    // Killed, and the next run tidies up: a backup, then a restore.
    shard.storing_slowly().kill();
    let outcome = run_to(0, &shard.backup_arguments());
    assert_eq!((&outcome["copyMode"], shard.clone_dir().exists()), (&serde_json::json!("Clone"), false), "{outcome}");
    let complete: Vec<bool> = catalogue::list(&shard.storage(), &shard.name, &Notes::default())
        .await
        .unwrap()
        .iter()
        .map(|backup| backup.complete)
        .collect();
    assert_eq!(complete, [true]);
    let mut running = Running::start(&format!("{} --bandwidth-limit 1MiB", shard.backup_arguments()), &shard.replica);
    assert!(running.reach("PutBack"));
    running.kill();
    assert!(shard.clone_dir().exists());
    let outcome = run_to(0, &shard.restore_arguments());
    assert_eq!(outcome["replication"], "CaughtUp", "{outcome}");
    assert!(!shard.clone_dir().exists());
    assert_eq!(shard.settings().await, before);
}

/// Puts a file out of a clone's reach once it is too late to choose another way.
struct Obstacle(Notes, PathBuf);

impl Monitor for Obstacle {
    fn step(&self, step: Step) {
        self.0.step(step);
        if step == Step::StoppingMysqld {
            let elsewhere = engine_support::open_directory().keep().join("far.MYD");
            std::fs::write(&elsewhere, "on another file system").unwrap();
            std::fs::create_dir_all(&self.1).unwrap();
            std::os::unix::fs::symlink(elsewhere, self.1.join("far.MYD")).unwrap();
            support::mysql::own(&self.1);
        }
    }

    fn totals(&self, bytes: u64, files: u64) {
        self.0.totals(bytes, files);
    }

    fn advanced(&self, bytes: u64, stored: u64) {
        self.0.advanced(bytes, stored);
    }

    fn file_done(&self) {
        self.0.file_done();
    }

    fn note(&self, text: &str) {
        self.0.note(text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_that_fails_after_all_becomes_a_copy_in_place_or_a_failure_as_was_asked() {
    let disk = Disk::xfs();
    let shard = Shard::start_in(disk.path(), "").await;
    let before = shard.settings().await;
    let odd = shard.replica.layout().datadir.join("vt_odd");
    let obstacle = Obstacle(Notes::default(), odd.clone());
    let failed = shard.backup_with(&obstacle, |options| options.copy_mode = CopyChoice::Clone).await.unwrap_err();
    assert_eq!(failed.failure().reason, Reason::CloneNotSupported, "{failed}");
    assert!(failed.to_string().contains("vt_odd/far.MYD: it is on another file system"), "{failed}");
    shard.assert_nothing_is_left("failed").await;
    assert_eq!(shard.settings().await, before);

    std::fs::remove_dir_all(&odd).unwrap();
    let done = shard.backup_with(&obstacle, |options| options.copy_mode = CopyChoice::Auto).await.unwrap();
    let how = done.how.expect("a backup says how");
    assert_eq!(how.mode, CopyMode::InPlace);
    assert!(how.reason.contains("vt_odd/far.MYD: it is on another file system"), "{how:?}");
    assert!(!shard.clone_dir().exists());
    let handle = shard.storage().backup(&shard.name, &done.name).unwrap();
    assert_eq!(Manifest::decode(&handle.get("MANIFEST", u64::MAX).await.unwrap()).unwrap(), done.manifest);
    assert_eq!(shard.settings().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_files_cannot_be_cloned_the_copy_is_in_place_and_the_reason_is_told() {
    let disk = Disk::ext4();
    let shard = Shard::start_in(disk.path(), "").await;
    let before = (shard.settings().await, up_seconds(&shard.replica).await);
    let refused = run_to(6, &format!("{} --copy-mode clone", shard.backup_arguments()));
    assert_eq!(refused["failure"]["reason"], "CloneNotSupported", "{refused}");
    assert!(refused["failure"]["message"].as_str().unwrap().contains("does not clone files"), "{refused}");
    shard.assert_nothing_is_left("refused").await;
    assert!(up_seconds(&shard.replica).await >= before.1, "mysqld was not touched");
    assert_eq!(shard.settings().await, before.0);

    let outcome = run_to(0, &format!("{} --verify hash", shard.backup_arguments()));
    assert_eq!(outcome["copyMode"], "InPlace", "{outcome}");
    assert!(outcome["copyModeReason"].as_str().unwrap().contains("does not clone files"), "{outcome}");
    assert!(outcome["downtimeSeconds"].as_f64().unwrap() > 0.0, "{outcome}");
    assert!(!shard.clone_dir().exists());
    let asked = run_to(0, &format!("{} --copy-mode in-place", shard.backup_arguments()));
    assert_eq!(asked["copyModeReason"], "copying in place was asked for", "{asked}");
}
