//! Vitess's own programs on tablets that were restored before they started: a shard grows by two, one of which restores by
//! itself too and one does not, and Vitess finds nothing to complain of.

use std::time::Duration;

use serde_json::Value;
use vitess_backup::replication::GtidSet;

use crate::engine_support::process::run_to;
use crate::engine_support::{checksums, open_directory};
use crate::pod::Pod;
use crate::support::mysql::{PATIENCE, Tablet};
use crate::support::vitess::{Seat, Topology, Vttablet};

const PRIMARY: &str = "zone1-0000000401";

/// A shard of one tablet, its primary, with rows in it. Nobody has to acknowledge them, because there is nobody yet.
async fn shard(topology: &Topology, backups: &std::path::Path) -> (Tablet, Vttablet) {
    topology.client("CreateKeyspace --durability-policy=none commerce").unwrap();
    let primary = Tablet::start(401).await;
    let mut vttablet = Vttablet::start(&Seat::of(&primary, "commerce"), topology, backups, "");
    vttablet.wait_listening();
    let begun = std::time::Instant::now();
    // vttablet listens before it can be asked for its replication status.
    while let Err(told) = topology.client(&format!("PlannedReparentShard --new-primary {PRIMARY} commerce/0")) {
        assert!(begun.elapsed() < PATIENCE, "{told}\n{}", vttablet.log());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    for statement in [
        "CREATE DATABASE IF NOT EXISTS vt_commerce",
        "CREATE TABLE vt_commerce.customer (id BIGINT PRIMARY KEY AUTO_INCREMENT, email VARCHAR(128))",
        "INSERT INTO vt_commerce.customer (email) VALUES (UUID()), (UUID()), (UUID())",
    ] {
        primary.sql(statement).await;
    }
    (primary, vttablet)
}

async fn wait_replicating(tablet: &Tablet, vttablet: &Vttablet) {
    let begun = std::time::Instant::now();
    loop {
        let status = tablet.mysql().replica_status().await.unwrap();
        if status.as_ref().is_some_and(vitess_backup::mysqld::ReplicaStatus::running) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "no replication: {status:?}\n{}", vttablet.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What vttablet makes of a tablet that was restored before it started, where the keyspace's policy is semi_sync.
async fn assert_left_as_vitess_has_a_replica(tablet: &Tablet, position: &Value) {
    let mysql = tablet.mysql();
    assert!(mysql.super_read_only().await.unwrap());
    let semi_sync = mysql.semi_sync().await.unwrap().expect("the plugins are loaded");
    assert!(semi_sync.replica && !semi_sync.source, "it acknowledges: {semi_sync:?}");
    let of_backup: GtidSet = position.as_str().and_then(|text| text.strip_prefix("MySQL56/")).unwrap().parse().unwrap();
    let purged = mysql.gtid_purged().await.unwrap();
    assert!(!of_backup.is_empty() && purged.contains(&of_backup), "{purged} of {of_backup}");
}

#[tokio::test(flavor = "multi_thread")]
async fn vttablet_neither_restores_again_nor_refuses_and_validate_is_content() {
    let (topology, backups) = (Topology::start(), open_directory());
    let (primary, _primary_vttablet) = shard(&topology, backups.path()).await;
    let stored = run_to(
        0,
        &format!(
            "backup {PRIMARY} --keyspace commerce --shard 0 --tablet-dir {} --allow-primary \
             --backup-storage-implementation file --file-backup-storage-root {}",
            primary.tablet_dir().display(),
            backups.path().display()
        ),
    );
    crate::support::mysql::own(backups.path());
    primary.sql("INSERT INTO vt_commerce.customer (email) VALUES (UUID())").await;
    // Not before: a primary is told when it is made one, and this one would wait for a replica to acknowledge.
    topology.client("SetKeyspaceDurabilityPolicy --durability-policy=semi_sync commerce").unwrap();

    let flags = format!("--file_backup_storage_root {}", backups.path().display());
    let mut grown = Vec::new();
    for (uid, own_flags) in [(402, "--restore-from-backup --wait-for-backup-interval=10s"), (403, "")] {
        let mut pod = Pod::new(uid);
        let ran = pod.start(&flags).exits_with(0, "Succeeded");
        assert_eq!(ran.outcome["backupName"], stored["backupName"]);
        pod.tablet.start_container().await;
        let seat = Seat::of(&pod.tablet, "commerce");
        let mut vttablet = Vttablet::start(&seat, &topology, backups.path(), own_flags);
        vttablet.wait_listening();
        grown.push((pod, vttablet));
    }
    primary.sql("INSERT INTO vt_commerce.customer (email) VALUES (UUID())").await;
    // With its own --restore-from-backup vttablet leaves replication to VTOrc whenever it finds data; this is what that does.
    topology.client("ReparentTablet zone1-0000000402").unwrap();
    for (pod, vttablet) in &grown {
        wait_replicating(&pod.tablet, vttablet).await;
        pod.tablet.wait_caught_up(&primary).await;
        assert_eq!(checksums(&pod.tablet).await, checksums(&primary).await);
        assert!(!vttablet.log().contains("Restore: copying"), "it restored again:\n{}", vttablet.log());
        assert_left_as_vitess_has_a_replica(&pod.tablet, &stored["position"]).await;
        let uuid = pod.tablet.value("SELECT @@server_uuid").await;
        assert_ne!(uuid, primary.value("SELECT @@server_uuid").await);
    }
    let (_, own_restore) = &grown[0];
    assert!(own_restore.log().contains("no existing data is present"), "it looked:\n{}", own_restore.log());
    let told = topology.client("ValidateShard --ping-tablets commerce/0").unwrap();
    assert!(told.contains("no issues found"), "{told}");
    let told = topology.client("Validate --ping-tablets").unwrap();
    assert!(told.contains("no issues found"), "{told}");
    // With VTOrc's own test for a replica that may be promoted: no transactions of its own.
    topology.client("PlannedReparentShard --new-primary zone1-0000000402 commerce/0").unwrap();
    let semi_sync = grown[0].0.tablet.mysql().semi_sync().await.unwrap().expect("the plugins are loaded");
    assert!(semi_sync.source, "the new primary waits for the other, which acknowledges");
}
