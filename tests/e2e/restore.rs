//! Restoring: onto a tablet that exists, onto an empty volume, now, later, or not at all.

use std::time::Duration;

use crate::backup::{condition, storage_yaml, take};
use crate::ground::Ground;
use serde_json::Value;

const RESTORES: &str = "vitessrestores.backup.vitess.io";

/// A VitessRestore; `target` and `backup` are YAML flow values.
pub fn restore_yaml(name: &str, storage: &str, target: &str, backup: &str, more: &str) -> String {
    format!(
        "apiVersion: backup.vitess.io/v1alpha1\nkind: VitessRestore\nmetadata: {{name: {name}}}\nspec:\n  \
         storage: {{name: {storage}}}\n  shard: commerce/0\n  target: {target}\n  backup: {backup}\n{more}"
    )
}

/// Replaces a tablet's data with a backup, re-attached to its shard by vtctld, and gives the finished object.
pub fn onto_tablet(ground: &Ground, name: &str, storage: &str, uid: u32, backup: &str) -> Value {
    ground.delete(RESTORES, name);
    ground.apply(&restore_yaml(
        name,
        storage,
        &format!("{{tablet: zone1-{uid:010}}}"),
        backup,
        "  existingData: Replace\n  vtctld: {address: \"vtctld:15999\"}\n",
    ));
    ground.wait_succeeded(RESTORES, name)
}

/// `PersistentVolumeClaim` of a tablet that does not run yet.
pub fn claim_yaml(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}}}\nspec:\n  accessModes: [ReadWriteOnce]\n  \
         resources: {{requests: {{storage: 2Gi}}}}\n"
    )
}

#[test]
fn a_replica_whose_data_was_destroyed_is_restored_and_catches_up() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    let backup = take(&ground, "before-disaster", "main", 101);

    ground.lib("destroy_data 102");
    assert!(!ground.replicates(102), "the replica is really gone");
    let restore = onto_tablet(&ground, "after-disaster", "main", 102, "{latest: {}}");

    assert_eq!(restore["status"]["backupName"], backup["status"]["backupName"]);
    assert_eq!(restore["status"]["position"], backup["status"]["position"]);
    assert_eq!(restore["status"]["manifest"]["BackupMethod"], "builtin");
    assert_eq!(condition(&restore, "Replicating")["status"], "True", "{:#}", restore["status"]);
    assert!(ground.replicates(102));
    ground.assert_same_rows_as_primary(102);
    ground.lib("wait_serving 102");
}

#[test]
fn the_named_backup_and_the_latest_at_or_before_a_time_are_what_is_restored() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("times", "/times"));
    let older = take(&ground, "older", "times", 101);
    let newer = take(&ground, "newer", "times", 101);
    let name = |object: &Value| object["status"]["backupName"].as_str().expect("a name").to_owned();
    assert!(name(&older) < name(&newer));

    let named = onto_tablet(&ground, "named", "times", 102, &format!("{{name: {}}}", name(&older)));
    assert_eq!(named["status"]["backupName"], name(&older).as_str());
    ground.assert_same_rows_as_primary(102);

    // The time in the older one's own name is still "at" it, and before the newer one.
    let at = name(&older).split('.').take(2).collect::<Vec<_>>().join(".");
    let timed = onto_tablet(&ground, "timed", "times", 102, &format!("{{atOrBefore: \"{at}\"}}"));
    assert_eq!(timed["status"]["backupName"], name(&older).as_str());

    let latest = onto_tablet(&ground, "latest", "times", 102, "{latest: {}}");
    assert_eq!(latest["status"]["backupName"], name(&newer).as_str());
    ground.assert_same_rows_as_primary(102);
}

#[test]
fn data_that_is_present_is_not_replaced_unless_asked() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    take(&ground, "for-refusal", "main", 101);
    ground.delete(RESTORES, "refused");
    ground.apply(&restore_yaml("refused", "main", "{tablet: zone1-0000000102}", "{latest: {}}", ""));
    let refused = ground.wait_finished(RESTORES, "refused");
    assert_eq!(refused["status"]["phase"], "Failed");
    let failure = &refused["status"]["failure"];
    assert_eq!(failure["reason"], "DataPresent", "{failure:#}");
    assert!(failure["remedy"].as_str().expect("a remedy").contains("Replace"), "{failure:#}");
    assert!(ground.replicates(102), "and the tablet never noticed");
}

#[test]
fn with_no_backup_and_no_interval_the_tablet_starts_empty() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("nothing-there", "/nothing-there"));
    ground.apply(&claim_yaml("starts-empty"));
    ground.delete(RESTORES, "starts-empty");
    ground.apply(&restore_yaml(
        "starts-empty",
        "nothing-there",
        "{persistentVolumeClaim: {claimName: starts-empty, tabletUid: 180}}",
        "{latest: {}}",
        "  waitForBackupInterval: 0s\n",
    ));
    let restore = ground.wait_succeeded(RESTORES, "starts-empty");
    assert_eq!(restore["status"]["startedEmpty"], true, "{:#}", restore["status"]);
    assert!(restore["status"].get("backupName").is_none(), "{:#}", restore["status"]);
    ground.delete(RESTORES, "starts-empty");
    ground.delete("persistentvolumeclaim", "starts-empty");
}

#[test]
fn with_an_interval_it_waits_looks_again_and_restores_when_a_backup_appears() {
    let ground = Ground::take();
    let root = format!("/wait-{}", std::process::id());
    ground.apply(&storage_yaml("waited-for", &root));
    ground.apply(&claim_yaml("waits"));
    ground.delete(RESTORES, "waits");
    ground.apply(&restore_yaml(
        "waits",
        "waited-for",
        "{persistentVolumeClaim: {claimName: waits, tabletUid: 181}}",
        "{latest: {}}",
        "  waitForBackupInterval: 5s\n",
    ));
    let is_waiting = |object: &Value| object["status"]["phase"] == "WaitingForBackup";
    let waiting = ground.wait(RESTORES, "waits", Duration::from_secs(120), "waiting", is_waiting);
    let first = waiting["status"]["nextLookupTime"].as_str().expect("a time").to_owned();
    ground.wait(RESTORES, "waits", Duration::from_secs(120), "looking again", |object| {
        object["status"]["nextLookupTime"].as_str().is_some_and(|next| next > first.as_str())
    });

    let backup = take(&ground, "appears", "waited-for", 101);
    let restore = ground.wait_succeeded(RESTORES, "waits");
    assert_eq!(restore["status"]["backupName"], backup["status"]["backupName"]);
    assert!(restore["status"]["startedEmpty"] != true);
    ground.delete(RESTORES, "waits");
    ground.delete("persistentvolumeclaim", "waits");
}

#[test]
fn a_new_tablet_starts_on_a_volume_that_was_restored_before_it_ran() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    take(&ground, "for-a-new-tablet", "main", 101);
    ground.lib("remove_tablet 103");
    // The claim's name is what the tablet's own StatefulSet will look for.
    let claim = ground.lib("tablet_claim 103").trim().to_owned();
    ground.apply(&claim_yaml(&claim));
    ground.delete(RESTORES, "new-tablet");
    ground.apply(&restore_yaml(
        "new-tablet",
        "main",
        &format!("{{persistentVolumeClaim: {{claimName: {claim}, tabletUid: 103}}}}"),
        "{latest: {}}",
        "",
    ));
    ground.wait_succeeded(RESTORES, "new-tablet");
    ground.lib("add_tablet 103");
    ground.lib("wait_serving 103");
    ground.assert_same_rows_as_primary(103);
    ground.lib("remove_tablet 103");
}
