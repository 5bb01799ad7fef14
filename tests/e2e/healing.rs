//! What is missing is a condition that heals; what is killed is put back.

use std::time::{Duration, Instant};

use crate::backup::{backup_yaml, condition, storage_yaml};
use crate::ground::Ground;
use serde_json::Value;

const BACKUPS: &str = "vitessbackups.backup.vitess.io";
const MINUTE: Duration = Duration::from_secs(60);

fn not_accepted(reason: &'static str) -> impl Fn(&Value) -> bool {
    move |object| {
        let accepted = condition(object, "Accepted");
        accepted["status"] == "False" && accepted["reason"] == reason
    }
}

#[test]
fn a_missing_storage_object_is_a_condition_that_heals() {
    let ground = Ground::take();
    ground.delete("vitessbackupstorages.backup.vitess.io", "comes-later");
    ground.delete(BACKUPS, "early");
    ground.apply(&backup_yaml("early", "comes-later", 101, "Retain"));
    let waiting = ground.wait(BACKUPS, "early", MINUTE, "told of", not_accepted("StorageNotFound"));
    assert_eq!(waiting["status"]["phase"], "Pending");
    let message = condition(&waiting, "Accepted")["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("comes-later"), "the object is named: {message}");

    ground.apply(&storage_yaml("comes-later", "/comes-later"));
    ground.wait_succeeded(BACKUPS, "early");
}

#[test]
fn a_missing_tablet_is_a_condition_that_heals() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    ground.lib("remove_tablet 103");
    ground.delete(BACKUPS, "no-tablet");
    ground.apply(&backup_yaml("no-tablet", "main", 103, "Retain"));
    let waiting = ground.wait(BACKUPS, "no-tablet", MINUTE, "told of", not_accepted("TabletNotFound"));
    let message = condition(&waiting, "Accepted")["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("zone1-0000000103"), "the tablet is named: {message}");

    ground.lib("add_tablet 103 --restore-from-backup");
    ground.wait_succeeded(BACKUPS, "no-tablet");
    ground.lib("remove_tablet 103");
}

#[test]
fn a_missing_storage_volume_is_a_condition_that_heals() {
    let ground = Ground::take();
    ground.delete(BACKUPS, "no-volume");
    ground.kubectl(&["delete", "persistentvolumeclaim", "late-volume", "--ignore-not-found"]);
    ground.apply(&storage_yaml("late-volume", "/").replace("vitess-backups", "late-volume"));
    ground.apply(&backup_yaml("no-volume", "late-volume", 101, "Retain"));
    let waiting = ground.wait(BACKUPS, "no-volume", MINUTE, "told of", not_accepted("VolumeNotFound"));
    let message = condition(&waiting, "Accepted")["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("late-volume"), "the claim is named: {message}");

    ground.apply(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: late-volume}\nspec:\n  \
         accessModes: [ReadWriteOnce]\n  resources: {requests: {storage: 1Gi}}\n",
    );
    ground.wait_succeeded(BACKUPS, "no-volume");
    ground.delete(BACKUPS, "no-volume");
    ground.delete("vitessbackupstorages.backup.vitess.io", "late-volume");
    ground.delete("persistentvolumeclaim", "late-volume");
}

#[test]
fn an_engine_pod_killed_in_the_middle_ends_in_engine_lost_with_the_tablet_put_back() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    ground.delete(BACKUPS, "killed");
    let before = ground.lib("vtctldclient GetBackups commerce/0");
    // A twentieth of a core stretches the copying to seconds, so that the kill surely falls into it.
    let slow = "  podTemplate: {resources: {limits: {cpu: 50m}}}\n";
    ground.apply(&format!("{}{slow}", backup_yaml("killed", "main", 102, "Retain")));

    // The worst moment: mysqld is down and files are being copied.
    let copying = |object: &Value| object["status"]["progress"]["step"] == "CopyingFiles";
    let running = ground.wait(BACKUPS, "killed", MINUTE * 2, "copying files", copying);
    let uid = running["metadata"]["uid"].as_str().expect("a uid");
    let killed = Instant::now();
    ground.lib(&format!("kill_engine {uid}"));
    let told = |object: &Value| object["status"]["failure"]["reason"] == "EngineLost";
    ground.wait(BACKUPS, "killed", MINUTE, "told of as lost", told);
    assert!(killed.elapsed() < MINUTE, "it was noticed after {:?}", killed.elapsed());

    let lost = ground.wait_finished(BACKUPS, "killed");
    assert_eq!(lost["status"]["phase"], "Failed", "{:#}", lost["status"]);
    assert_eq!(lost["status"]["failure"]["reason"], "EngineLost", "{:#}", lost["status"]);
    assert!(!lost["status"]["failure"]["remedy"].as_str().unwrap_or_default().is_empty());
    assert_eq!(condition(&lost, "TabletRecovered")["status"], "True", "{:#}", lost["status"]);
    assert!(ground.replicates(102), "mysqld runs and replicates again");
    assert_eq!(ground.sql(102, "SELECT @@global.super_read_only"), "1");
    let after = ground.lib("vtctldclient GetBackups commerce/0");
    assert_eq!(after, before, "no half backup is left");
    ground.assert_same_rows_as_primary(102);
}
