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
use vitess_backup::engine::{EngineError, Interrupt};

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_backed_up_put_back_and_restored_elsewhere_and_onto_itself() {
    let shard = Shard::start().await;
    let storage = shard.storage();
    let before = shard.settings().await;

    let notes = Notes::default();
    let done = shard.backup(&notes).await.unwrap();
    assert_eq!(done.replication, ReplicationOutcome::CaughtUp);
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
    assert_eq!(restored.replication, ReplicationOutcome::NotConfigured);
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
    assert_eq!(restored.replication, ReplicationOutcome::CaughtUp, "{:?}", restored.warnings);
    assert_eq!(shard.settings().await, before);
    shard.replica.wait_caught_up(&shard.primary).await;
    assert_eq!(checksums(&shard.replica).await, checksums(&shard.primary).await);
    assert!(!shard.replica.tablet_dir().join("restore_in_progress").exists());
}

async fn restore(
    shard: &Shard,
    tablet: &Tablet,
    existing_data: ExistingData,
) -> Result<Box<builtin::RestoreDone>, EngineError> {
    let options = engine_support::restore_options(existing_data);
    let notes = Notes::default();
    let end =
        builtin::restore(&shard.engine_tablet(tablet), &shard.storage(), &options, &Interrupt::new(), &notes).await;
    match end? {
        RestoreEnd::Restored(done) => Ok(done),
        RestoreEnd::NoBackup => panic!("no backup was found: {notes:?}"),
    }
}
