//! Taking backups of a tablet that exists, and what deleting their objects does.

use std::time::Duration;

use crate::ground::Ground;
use serde_json::Value;

const BACKUPS: &str = "vitessbackups.backup.vitess.io";

/// A VitessBackup of one tablet in the builtin engine, as `examples/` has it.
pub fn backup_yaml(name: &str, storage: &str, uid: u32, deletion_policy: &str) -> String {
    format!(
        "apiVersion: backup.vitess.io/v1alpha1\nkind: VitessBackup\nmetadata: {{name: {name}}}\nspec:\n  \
         storage: {{name: {storage}}}\n  tablet: zone1-{uid:010}\n  engine: builtin\n  \
         deletionPolicy: {deletion_policy}\n"
    )
}

/// A VitessBackupStorage of file type on the shard's own volume for backups. It is not listed: see `inventory`.
pub fn storage_yaml(name: &str, root: &str) -> String {
    format!(
        "apiVersion: backup.vitess.io/v1alpha1\nkind: VitessBackupStorage\nmetadata: {{name: {name}}}\nspec:\n  \
         file: {{persistentVolumeClaim: {{claimName: vitess-backups}}, root: {root}}}\n  inventoryInterval: 0s\n"
    )
}

/// Takes a backup and gives its finished object.
pub fn take(ground: &Ground, name: &str, storage: &str, uid: u32) -> Value {
    ground.delete(BACKUPS, name);
    ground.apply(&backup_yaml(name, storage, uid, "Retain"));
    ground.wait_succeeded(BACKUPS, name)
}

pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    object["status"]["conditions"]
        .as_array()
        .and_then(|conditions| conditions.iter().find(|condition| condition["type"] == kind))
        .unwrap_or(&Value::Null)
}

#[test]
fn a_tablet_is_backed_up_and_serves_again_with_its_replication_caught_up() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    let before = ground.sql(101, "SELECT @@global.gtid_executed");
    let backup = take(&ground, "of-a-tablet", "main", 101);

    let status = &backup["status"];
    let name = status["backupName"].as_str().expect("a backup name");
    assert!(name.ends_with(".zone1-0000000101"), "{name}");
    assert_eq!(status["tabletAlias"], "zone1-0000000101");
    assert_eq!(status["storageName"], "main");
    assert_eq!(status["engine"], "builtin");
    assert_eq!(condition(&backup, "Complete")["status"], "True", "{status:#}");
    assert_eq!(condition(&backup, "Replicating")["status"], "True", "{status:#}");
    assert!(status["sizeBytes"].as_u64().expect("a size") > 1_000_000, "{status:#}");
    assert!(status["files"].as_u64().expect("files") > 50, "{status:#}");
    assert!(status["startTime"].as_str() < status["finishedTime"].as_str());

    // The MANIFEST is there, all but its per-file list, and says what the status says.
    let manifest = &status["manifest"];
    assert_eq!(manifest["BackupName"], name);
    assert_eq!(manifest["BackupMethod"], "builtin");
    assert_eq!(manifest["Position"], status["position"]);
    assert_eq!(manifest["Keyspace"], "commerce");
    assert_eq!(manifest["Shard"], "0");
    assert!(manifest.get("FileEntries").is_none(), "{manifest:#}");
    assert!(!status["position"].as_str().expect("a position").is_empty());
    assert!(!before.is_empty());

    // Vitess itself sees it, and the tablet is as it was.
    assert!(ground.lib("vtctldclient GetBackups commerce/0").contains(name));
    assert!(ground.replicates(101));
    assert_eq!(ground.sql(101, "SELECT @@global.super_read_only"), "1");
    ground.assert_same_rows_as_primary(101);

    // And nothing is left to do in the tablet's directory.
    let left = ground.lib("tablet_exec 101 'ls /vt/vtdataroot/vt_0000000101'");
    assert!(!left.contains("vitess-backup.journal"), "{left}");
    assert!(!left.contains("restore_in_progress"), "{left}");

    // What people see.
    let listed = ground.kubectl(&["get", BACKUPS]);
    let header = listed.lines().next().unwrap_or_default();
    for column in ["NAME", "SHARD", "TABLET", "ENGINE", "PHASE", "PROGRESS", "SIZE", "AGE"] {
        assert!(header.contains(column), "{column} is a column: {header}");
    }
    assert!(ground.kubectl(&["get", BACKUPS, "-o", "wide"]).contains("MySQL56/"), "the position is a wide column");
    let events = ground.kubectl(&["events", "--for", &format!("{BACKUPS}/of-a-tablet")]);
    assert!(events.contains("Succeeded"), "each transition is an event: {events}");
}

#[test]
fn deleting_the_object_removes_the_data_with_policy_delete_and_leaves_it_with_retain() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    let kept = take(&ground, "kept", "main", 101);
    let kept_name = kept["status"]["backupName"].as_str().expect("a name").to_owned();

    ground.apply(&backup_yaml("removed", "main", 101, "Delete"));
    let removed = ground.wait_succeeded(BACKUPS, "removed");
    let removed_name = removed["status"]["backupName"].as_str().expect("a name").to_owned();
    assert!(ground.lib("vtctldclient GetBackups commerce/0").contains(&removed_name));

    ground.delete(BACKUPS, "removed");
    ground.delete(BACKUPS, "kept");
    let listed = ground.lib("vtctldclient GetBackups commerce/0");
    assert!(!listed.contains(&removed_name), "{listed}");
    assert!(listed.contains(&kept_name), "{listed}");
    let volume = ground.lib("tablet_exec 101 'ls /backups/commerce/0' vttablet");
    assert!(!volume.contains(&removed_name), "no directory is left either: {volume}");
}

#[test]
fn a_shards_only_good_backup_stays_when_its_object_is_deleted_until_a_person_annotates_it() {
    let ground = Ground::take();
    // What an earlier run left there would count as a backup that is still good.
    let root = format!("/only-good-{}", std::process::id());
    // Nor may an object that an earlier run left be waited for: it would stay.
    let _ = ground.try_kubectl(&["annotate", BACKUPS, "only-good", "backup.vitess.io/skip-removal=true"]);
    ground.delete(BACKUPS, "only-good");
    ground.apply(&storage_yaml("only-good", &root));
    ground.apply(&backup_yaml("only-good", "only-good", 101, "Delete"));
    let backup = ground.wait_succeeded(BACKUPS, "only-good");
    let name = backup["status"]["backupName"].as_str().expect("a name").to_owned();
    let stored = || ground.lib(&format!("tablet_exec 101 'ls /backups{root}/commerce/0 || true' vttablet"));

    ground.kubectl(&["delete", BACKUPS, "only-good", "--wait=false"]);
    let refused = ground.wait(BACKUPS, "only-good", Duration::from_secs(120), "refused", |object| {
        condition(object, "Removed")["reason"] == "LastGoodBackup"
    });
    let removed = condition(&refused, "Removed");
    assert_eq!(removed["status"], "False", "{removed:#}");
    let annotation = "backup.vitess.io/force-removal=true";
    assert!(removed["message"].as_str().unwrap_or_default().contains(annotation), "{removed:#}");
    assert!(refused["metadata"]["deletionTimestamp"].is_string(), "{:#}", refused["metadata"]);
    assert!(refused["metadata"]["finalizers"].to_string().contains("backup.vitess.io/remove-backup"));
    assert!(stored().contains(&name), "the data stays");

    ground.kubectl(&["annotate", BACKUPS, "only-good", annotation]);
    // Waits until it is gone.
    ground.delete(BACKUPS, "only-good");
    assert!(ground.get(BACKUPS, "only-good").is_none());
    assert!(!stored().contains(&name), "and the data has gone with it");
}

#[test]
fn the_command_line_lists_in_chronological_order_and_removes() {
    let ground = Ground::take();
    // What an earlier run left there would count as a backup that is still good.
    let root = format!("/by-hand-{}", std::process::id());
    ground.apply(&storage_yaml("by-hand", &root));
    let first = take(&ground, "by-hand-1", "by-hand", 101);
    let second = take(&ground, "by-hand-2", "by-hand", 102);
    let name = |backup: &Value| backup["status"]["backupName"].as_str().expect("a name").to_owned();

    let storage = format!("--backup-storage-implementation file --file-backup-storage-root /backup-storage{root}");
    let listed = ground.lib(&format!("vitess_backup list {storage} commerce/0"));
    let (one, two) = (listed.find(&name(&first)), listed.find(&name(&second)));
    assert!(one.is_some() && one < two, "oldest first: {listed}");

    ground.lib(&format!("vitess_backup remove {storage} commerce/0 {}", name(&first)));
    let refused = ground.try_lib(&format!("vitess_backup remove {storage} commerce/0 {}", name(&second)));
    let complaint = refused.expect_err("the only good backup is not removed without --force");
    assert!(complaint.contains("--force"), "{complaint}");
    let listed = ground.lib(&format!("vitess_backup list {storage} commerce/0"));
    assert!(!listed.contains(&name(&first)) && listed.contains(&name(&second)), "{listed}");
}

#[test]
fn progress_can_be_watched_and_phases_never_go_back() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    ground.delete(BACKUPS, "watched");
    ground.apply(&backup_yaml("watched", "main", 102, "Retain"));
    let rank = |phase: &str| ["", "Pending", "Running", "Succeeded"].iter().position(|known| *known == phase);
    let (mut last, mut steps) = (0, Vec::new());
    let begun = std::time::Instant::now();
    while last < 3 {
        assert!(begun.elapsed() < Duration::from_secs(300), "never finished: {steps:?}");
        let object = ground.get(BACKUPS, "watched").expect("the object is there");
        let phase = object["status"]["phase"].as_str().unwrap_or_default();
        let now = rank(phase).unwrap_or_else(|| panic!("phase {phase:?}: {:#}", object["status"]));
        assert!(now >= last, "phase went back to {phase}");
        last = now;
        if let Some(step) = object["status"]["progress"]["step"].as_str()
            && steps.last().map(String::as_str) != Some(step)
        {
            steps.push(step.to_owned());
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    assert!(steps.len() >= 2, "the engine's steps showed while it ran: {steps:?}");
    let progress = &ground.get(BACKUPS, "watched").expect("the object is there")["status"]["progress"];
    assert_eq!(progress["percent"], 100, "{progress:#}");
    assert_eq!(progress["bytesDone"], progress["bytesTotal"], "{progress:#}");
}
