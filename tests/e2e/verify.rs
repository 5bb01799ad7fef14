//! Verifying backups: a drill after a backup, and a backup that was damaged in storage.

use std::time::Duration;

use crate::backup::{condition, storage_yaml, take};
use crate::ground::Ground;
use serde_json::Value;

const BACKUPS: &str = "vitessbackups.backup.vitess.io";
const LIMIT: Duration = Duration::from_secs(300);

/// Waits for a verdict on the backup's newest request.
fn wait_verified(ground: &Ground, name: &str, request: &str) -> Value {
    ground.wait(BACKUPS, name, LIMIT, "verified", |object| {
        let verification = &object["status"]["verification"];
        verification["request"] == request && verification["finishedTime"].is_string()
    })
}

#[test]
fn a_backup_that_is_to_be_tried_out_ends_verified_with_its_assertions() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    ground.delete(BACKUPS, "tried-out");
    ground.apply(
        "apiVersion: backup.vitess.io/v1alpha1\nkind: VitessBackup\nmetadata: {name: tried-out}\nspec:\n  \
         storage: {name: main}\n  tablet: zone1-0000000101\n  verify: Restore\n  drill:\n    \
         myCnf: innodb_buffer_pool_size = 64M\n    assertions:\n    \
         - {name: there-are-customers, sql: SELECT COUNT(*) > 0 FROM customer}\n    \
         - {name: nobody-can-write, sql: SELECT @@super_read_only AND @@skip_networking}\n",
    );
    ground.wait_succeeded(BACKUPS, "tried-out");
    let backup = wait_verified(&ground, "tried-out", "");
    let (status, verified) = (&backup["status"], condition(&backup, "Verified"));
    assert_eq!((&verified["status"], &verified["reason"]), (&"True".into(), &"Restored".into()), "{status:#}");
    assert!(verified["message"].as_str().unwrap_or_default().contains("2 assertions hold"), "{verified:#}");
    let verification = &status["verification"];
    assert_eq!((&verification["level"], &verification["tries"]), (&"Restore".into(), &1.into()), "{verification:#}");
    assert!(verification["tables"].as_u64().expect("a count of tables") > 20, "{verification:#}");
    assert_eq!(verification["assertions"], 2, "{verification:#}");
    assert_eq!(status["phase"], "Succeeded");
    // The tablet never noticed.
    assert!(ground.replicates(101));
    let shown = ground.kubectl(&["get", BACKUPS, "tried-out", "-o", "wide"]);
    assert!(
        shown.lines().next().is_some_and(|header| header.contains("VERIFIED")) && shown.contains("True"),
        "{shown}"
    );
}

#[test]
fn a_backup_that_was_damaged_in_storage_is_not_verified_and_the_object_named() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    let backup = take(&ground, "damaged", "main", 102);
    let name = backup["status"]["backupName"].as_str().expect("a name");
    let ask = |value: &str| {
        let annotation = format!("backup.vitess.io/verify-at={value}");
        ground.kubectl(&["annotate", "--overwrite", BACKUPS, "damaged", &annotation]);
        wait_verified(&ground, "damaged", value)
    };
    let whole = ask("before");
    assert_eq!(condition(&whole, "Verified")["status"], "True", "{:#}", whole["status"]);
    assert_eq!(whole["status"]["verification"]["level"], "Objects");

    // Another byte in the middle of object 0, of the same length.
    let object = format!("/backups/commerce/0/{name}/0");
    ground.lib(&format!(
        "tablet_exec 102 'at=$(($(stat -c %s {object}) / 2)); old=$(od -An -tu1 -j $at -N 1 {object}); \
         printf \"\\\\x$(printf %x $((old ^ 1)))\" | dd of={object} bs=1 seek=$at conv=notrunc status=none' vttablet"
    ));
    let damaged = ask("after");
    let verified = condition(&damaged, "Verified");
    assert_eq!((&verified["status"], &verified["reason"]), (&"False".into(), &"HashMismatch".into()), "{verified:#}");
    let message = verified["message"].as_str().unwrap_or_default();
    assert!(message.contains("(object 0)") && message.contains(name), "{message}");
    assert_eq!(damaged["status"]["phase"], "Succeeded");
    assert_eq!(damaged["status"]["verification"]["failure"]["reason"], "HashMismatch");
    let events = ground.kubectl(&["events", "--for", &format!("{BACKUPS}/damaged")]);
    assert!(events.contains("VerificationFailed"), "{events}");

    ground.delete(BACKUPS, "damaged");
    ground.lib(&format!("tablet_exec 102 'rm -r /backups/commerce/0/{name}' vttablet"));
}
