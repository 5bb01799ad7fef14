//! Backups and restores of real tablets: mysqld 9.7 under mysqlctld 0.24.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's own functions may fail the test")]

mod engine_support;
mod support;

use engine_support::{Notes, Shard, checksums};
use support::mysql::Tablet;
use vitess_backup::backup::failure::Reason;
use vitess_backup::backup::manifest::{Manifest, Method};
use vitess_backup::backup::report::ReplicationOutcome;
use vitess_backup::engine::builtin::{self, ExistingData, RestoreEnd};
use vitess_backup::engine::{Done, EngineError, Interrupt};

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_backed_up_put_back_and_restored_elsewhere_and_onto_itself() {
    let shard = Shard::start().await;
    let storage = shard.storage();
    let before = shard.settings().await;

    let notes = Notes::default();
    let done = shard.backup(&notes).await.unwrap();
    assert_eq!(done.replication, Some(ReplicationOutcome::CaughtUp));
    assert_eq!(done.warnings, Vec::<String>::new(), "{notes:?}");
    assert_eq!(shard.settings().await, before, "read-only, semi-sync and threads are as they were");
    assert!(!shard.replica.tablet_dir().join("vitess-backup.journal").exists());
    assert_eq!(done.files, notes.files_done());
    assert_eq!(done.data_bytes, notes.bytes_done());

    let handle = storage.backup(&shard.name, &done.name).unwrap();
    let manifest = Manifest::decode(&handle.get("MANIFEST", u64::MAX).await.unwrap()).unwrap();
    assert_eq!(manifest, done.manifest);
    assert_eq!(manifest.tablet_alias, "zone1-0000000102");
    assert_eq!(manifest.server_uuid, shard.replica.value("SELECT @@server_uuid").await);
    assert!(
        manifest.position.starts_with("MySQL56/") && manifest.mysql_version.starts_with("Ver 9.7."),
        "{manifest:?}"
    );
    let Method::Builtin(part) = &manifest.method else { panic!() };
    assert_eq!(part.file_entries.len() as u64, done.files);
    assert!(part.file_entries.iter().any(|entry| entry.name == "aside.ibd"), "a general tablespace in datadir");
    assert_eq!(manifest.unknown["EmptyDirectories"], serde_json::json!(["vt_empty"]));
    assert_eq!(done.stored_bytes, handle.objects().await.unwrap().iter().map(|object| object.size).sum::<u64>());

    // Elsewhere: a tablet that was just initialised and has no data of the keyspace.
    let mut other = Tablet::at_rest(103).await;
    other.start_container().await;
    let restored = restore(&shard, &other, ExistingData::Refuse).await.unwrap();
    assert_eq!(restored.replication, Some(ReplicationOutcome::NotConfigured));
    assert!(restored.warnings.iter().any(|warning| warning.contains("ReparentTablet")), "{:?}", restored.warnings);
    assert_eq!(format!("MySQL56/{}", other.mysql().gtid_executed().await.unwrap()), manifest.position);
    assert_eq!(other.mysql().gtid_purged().await.unwrap(), other.mysql().gtid_executed().await.unwrap());
    assert!(other.mysql().replica_status().await.unwrap().is_none(), "the source of the tablet backed up is not kept");
    assert!(other.mysql().super_read_only().await.unwrap());
    assert!(other.mysql().databases().await.unwrap().contains(&"vt_empty".to_owned()));
    assert_ne!(other.value("SELECT @@server_uuid").await, manifest.server_uuid);
    other.replicate_from(&shard.primary).await;
    shard.stop_writing().await;
    other.wait_caught_up(&shard.primary).await;
    assert_eq!(checksums(&other).await, checksums(&shard.primary).await);

    // Onto itself: refused while it has data, unless that is to be replaced; the source is remembered.
    let refused = restore(&shard, &shard.replica, ExistingData::Refuse).await.unwrap_err();
    assert_eq!(refused.failure().reason, Reason::DataPresent);
    assert_eq!(shard.settings().await, before);
    shard.replica.make_writable().await;
    shard.replica.sql("CREATE TABLE vt_commerce.stray (id INT PRIMARY KEY)").await;
    let restored = restore(&shard, &shard.replica, ExistingData::Replace).await.unwrap();
    assert_eq!(restored.replication, Some(ReplicationOutcome::CaughtUp), "{:?}", restored.warnings);
    assert_eq!(shard.settings().await, before);
    shard.replica.wait_caught_up(&shard.primary).await;
    assert_eq!(checksums(&shard.replica).await, checksums(&shard.primary).await);
    assert!(!shard.replica.tablet_dir().join("restore_in_progress").exists());
}

async fn restore(shard: &Shard, tablet: &Tablet, existing_data: ExistingData) -> Result<Box<Done>, EngineError> {
    let options = engine_support::restore_options(existing_data);
    let notes = Notes::default();
    let end =
        builtin::restore(&shard.engine_tablet(tablet), &shard.storage(), &options, &Interrupt::new(), &notes).await;
    match end? {
        RestoreEnd::Restored(done) => Ok(done),
        RestoreEnd::NoBackup => panic!("no backup was found: {notes:?}"),
    }
}

async fn backup(
    shard: &Shard,
    tablet: &Tablet,
    change: impl FnOnce(&mut builtin::BackupOptions),
) -> Result<Done, EngineError> {
    let mut options = engine_support::backup_options();
    change(&mut options);
    builtin::backup(&shard.engine_tablet(tablet), &shard.storage(), &options, &Interrupt::new(), &Notes::default())
        .await
}

async fn started_at(tablet: &Tablet) -> u64 {
    let up: u64 = tablet.sql("SHOW GLOBAL STATUS LIKE 'Uptime'").await[0].at(1).unwrap().parse().unwrap();
    jiff::Timestamp::now().as_second().unsigned_abs() - up
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_is_refused_untouched_and_when_it_is_allowed_it_takes_writes_again_afterwards() {
    let shard = Shard::start().await;
    let before = (engine_support::settings(&shard.primary).await, started_at(&shard.primary).await);
    let refused = backup(&shard, &shard.primary, |_| {}).await.unwrap_err();
    assert_eq!(refused.failure().reason, Reason::TabletIsPrimary);
    assert!(started_at(&shard.primary).await.abs_diff(before.1) <= 1, "it was not restarted");
    assert_eq!(engine_support::settings(&shard.primary).await, before.0);

    let done = backup(&shard, &shard.primary, |options| {
        options.allow_primary = true;
        options.upgrade_safe = true;
    });
    let done = done.await.unwrap();
    assert_eq!(done.replication, Some(ReplicationOutcome::LeftStopped));
    assert!(done.manifest.upgrade_safe);
    assert!(done.warnings[0].contains("is a primary"), "{:?}", done.warnings);
    assert_eq!(engine_support::settings(&shard.primary).await, before.0);
    shard.primary.sql("INSERT INTO vt_commerce.customer (email) VALUES ('after')").await;
    // A restore never goes over a primary by mistake.
    let refused = restore(&shard, &shard.primary, ExistingData::Replace).await.unwrap_err();
    assert_eq!(refused.failure().reason, Reason::TabletIsPrimary);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mysqld_that_does_not_stop_in_time_is_left_serving() {
    let shard = Shard::start().await;
    let before = shard.settings().await;
    let mut tablet = shard.engine_tablet(&shard.replica);
    tablet.shutdown_timeout = std::time::Duration::from_millis(1);
    let options = engine_support::backup_options();
    let notes = Notes::default();
    let failed = builtin::backup(&tablet, &shard.storage(), &options, &Interrupt::new(), &notes).await.unwrap_err();
    assert!(matches!(failed.failure().reason, Reason::MysqldNotStopped | Reason::MysqlctlFailed), "{failed}");
    assert_eq!(shard.settings().await, before);
    assert_eq!(shard.storage().list_backups(&shard.name).await.unwrap(), Vec::<String>::new());
    assert!(!shard.replica.tablet_dir().join("vitess-backup.journal").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn replication_that_was_stopped_stays_stopped_and_the_backup_says_so() {
    let shard = Shard::start().await;
    shard.replica.mysql().stop_replica().await.unwrap();
    let before = shard.settings().await;
    // Where another replica of the shard may do better, it is not taken.
    let started = started_at(&shard.replica).await;
    let lag = Some(std::time::Duration::from_secs(30));
    let refused = backup(&shard, &shard.replica, |options| options.max_lag = lag).await.unwrap_err();
    assert_eq!(refused.failure().reason, Reason::TabletLagging, "{refused}");
    assert_eq!(refused.lag(), None, "nobody knows how far behind it is");
    assert!(started_at(&shard.replica).await.abs_diff(started) <= 1, "it was not restarted");
    let done = shard.backup(&Notes::default()).await.unwrap();
    assert_eq!(done.replication, Some(ReplicationOutcome::LeftStopped));
    assert!(done.warnings[0].contains("replication was not running"), "{:?}", done.warnings);
    assert_eq!(shard.settings().await, before);
    // One thread of the two is put back as one.
    shard.replica.sql("START REPLICA IO_THREAD").await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let before = shard.settings().await;
    assert!(before.last().unwrap().contains("threads Running false"), "{before:?}");
    shard.backup(&Notes::default()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(shard.settings().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_fills_up_leaves_nothing_and_the_tablet_serving() {
    let shard = Shard::start().await;
    let before = shard.settings().await;
    let small = engine_support::SmallDisk::mount(shard.backups.path());
    let failed = backup(&shard, &shard.replica, |_| {}).await.unwrap_err();
    assert_eq!(failed.failure().reason, Reason::NoSpace, "{failed}");
    assert_eq!(shard.settings().await, before);
    assert_eq!(shard.storage().list_backups(&shard.name).await.unwrap(), Vec::<String>::new());
    drop(small);
    // A storage that is not there at all is found out before anything is touched.
    let started = started_at(&shard.replica).await;
    let nowhere = engine_support::storage_in(std::path::Path::new("/nonexistent/at/all"));
    let tablet = shard.engine_tablet(&shard.replica);
    let options = engine_support::backup_options();
    let failed = builtin::backup(&tablet, &nowhere, &options, &Interrupt::new(), &Notes::default()).await.unwrap_err();
    assert_eq!(failed.failure().reason, Reason::StorageMisconfigured, "{failed}");
    assert!(started_at(&shard.replica).await.abs_diff(started) <= 1, "it was not restarted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tablespace_that_a_backup_has_no_place_for_is_found_out_before_anything_is_touched() {
    let elsewhere = engine_support::open_directory();
    let shard = Shard::start_with(&format!("innodb_directories = {}\n", elsewhere.path().display())).await;
    let far = format!(
        "CREATE TABLE vt_commerce.far (id BIGINT PRIMARY KEY) DATA DIRECTORY = '{}'",
        elsewhere.path().display()
    );
    // On the replica it fails: the two share this machine's directories.
    shard.primary.sql(&far).await;
    let started = started_at(&shard.primary).await;
    let allow_primary = |options: &mut builtin::BackupOptions| options.allow_primary = true;
    let refused = backup(&shard, &shard.primary, allow_primary).await.unwrap_err();
    assert_eq!(refused.failure().reason, Reason::FilesNotCarried, "{refused}");
    assert!(refused.to_string().contains("vt_commerce/far.ibd"), "{refused}");
    assert!(started_at(&shard.primary).await.abs_diff(started) <= 1, "it was not restarted");
    let done = backup(&shard, &shard.primary, |options| {
        options.allow_primary = true;
        options.allow_incomplete = true;
    });
    let done = done.await.unwrap();
    assert!(done.not_carried.iter().any(|what| what.contains("vt_commerce/far.ibd")), "{:?}", done.not_carried);
    assert_eq!(done.manifest.unknown["NotCarried"], serde_json::json!(done.not_carried));
}

/// The data is gone, mysqld cannot start, and mysqlctld's container starts again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_tablet_whose_data_was_destroyed_is_restored() {
    let mut shard = Shard::start().await;
    shard.backup(&Notes::default()).await.unwrap();
    shard.replica.kill_mysqld();
    let layout = shard.replica.layout();
    for directory in [&layout.datadir, &layout.innodb_data_home_dir, &layout.innodb_log_group_home_dir] {
        std::fs::remove_dir_all(directory).unwrap();
        std::fs::create_dir(directory).unwrap();
    }
    std::fs::write(layout.datadir.join("remains"), "x").unwrap();
    let refused = restore(&shard, &shard.replica, ExistingData::Refuse).await.unwrap_err();
    assert_eq!(refused.failure().reason, Reason::DataPresent);
    assert!(!shard.replica.tablet_dir().join("restore_in_progress").exists());

    let tablet = shard.engine_tablet(&shard.replica);
    let (storage, interrupt, notes) = (shard.storage(), Interrupt::new(), Notes::default());
    let options = engine_support::restore_options(ExistingData::Replace);
    let kubelet = async {
        while !shard.replica.tablet_dir().join("restore_in_progress").exists() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        shard.replica.launch_mysqlctld();
    };
    let (end, ()) = tokio::join!(builtin::restore(&tablet, &storage, &options, &interrupt, &notes), kubelet);
    let RestoreEnd::Restored(done) = end.unwrap() else { panic!("{notes:?}") };
    assert_eq!(done.replication, Some(ReplicationOutcome::NotConfigured), "nobody could be asked for the source");
    assert!(!shard.replica.tablet_dir().join("restore_in_progress").exists());
    shard.replica.replicate_from(&shard.primary).await;
    shard.stop_writing().await;
    shard.replica.wait_caught_up(&shard.primary).await;
    assert_eq!(checksums(&shard.replica).await, checksums(&shard.primary).await);
}
