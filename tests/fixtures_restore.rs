//! Backups that Vitess made, restored by us: mysqld 9.7 starts on each and has the rows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's own functions may fail the test")]

mod engine_support;
mod support;

use std::collections::HashMap;

use engine_support::checksums;
use engine_support::process::run_to;
use support::mysql::{PATIENCE, Tablet};
use vitess_backup::mysqld::MysqldControl;

/// Every archive of a builtin backup, with its keyspace and shard and the full backup's name.
const ARCHIVES: [(&str, &str, &str); 7] = [
    ("pargzip.tar.zst", "--keyspace commerce --shard 0", "--backup-name 2026-11-22.152636.zone1-0000000101"),
    ("pgzip.tar.zst", "--keyspace commerce --shard 0", "--backup-name 2026-11-22.152648.zone1-0000000101"),
    ("zstd.tar.zst", "--keyspace commerce --shard 0", "--restore-from-backup-ts 2026-11-22.152700"),
    ("lz4.tar.zst", "--keyspace commerce --shard 0", "--backup-name 2026-11-22.152709.zone1-0000000101"),
    ("nocompress.tar.zst", "--keyspace commerce --shard 0", ""),
    // The latest are incremental: the full one before them is taken.
    ("chain-zstd.tar.zst", "--keyspace commerce --shard 0", ""),
    ("vtbackup-initial-pargzip.tar.zst", "--keyspace fresh --shard 0", ""),
];

fn restore(tablet: &Tablet, archive: &str, shard: &str, which: &str) -> serde_json::Value {
    let backups = tempfile::tempdir().unwrap();
    support::unpack_fixture(archive, backups.path());
    run_to(
        0,
        &format!(
            "restore {shard} {which} --tablet-dir {} --mysqld own --existing-data replace \
             --backup-storage-implementation file --file-backup-storage-root {}",
            tablet.tablet_dir().display(),
            backups.path().display()
        ),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_builtin_backup_that_vitess_made_is_restored_and_mysqld_starts_on_it() {
    let tablet = Tablet::at_rest(101).await;
    let mut rows_at: HashMap<String, Vec<(String, String)>> = HashMap::new();
    for (archive, shard, which) in ARCHIVES {
        let outcome = restore(&tablet, archive, shard, which);
        assert_eq!(outcome["verdict"], "Succeeded", "{archive}: {outcome}");
        assert_eq!(outcome["replication"], "NotConfigured", "{archive}: {outcome}");
        let position = outcome["position"].as_str().unwrap().to_owned();
        let executed = tablet.mysql().gtid_executed().await.unwrap();
        assert_eq!(format!("MySQL56/{executed}"), position, "{archive}");
        assert_eq!(executed, tablet.mysql().gtid_purged().await.unwrap(), "{archive}");
        assert!(tablet.mysql().replica_status().await.unwrap().is_none(), "{archive}");
        if archive.starts_with("vtbackup") {
            continue; // made of an empty keyspace
        }
        // Backups of one position are of the same rows.
        let rows = checksums(&tablet).await;
        assert!(rows.iter().all(|(_, sum)| sum != "NULL"), "{archive}: {rows:?}");
        assert_eq!(*rows_at.entry(position).or_insert_with(|| rows.clone()), rows, "{archive}");
    }
    assert!(rows_at.len() < ARCHIVES.len() - 1, "some were of one position: {rows_at:?}");
    tablet.own_process().shutdown(PATIENCE).await.unwrap();
}
