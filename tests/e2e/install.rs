//! The chart goes and comes back on a cluster where backups are.

use std::time::Duration;

use serde_json::Value;

use crate::backup::{storage_yaml, take};
use crate::ground::Ground;

const BACKUPS: &str = "vitessbackups.backup.vitess.io";
const OPERATOR: &str = "vitess-backup-operator";

/// The definitions of our kinds, each with its uid: one that is made anew has another.
fn definitions(ground: &Ground) -> Vec<String> {
    let columns = "custom-columns=NAME:.metadata.name,UID:.metadata.uid";
    let all = ground.kubectl(&["get", "customresourcedefinitions", "--no-headers", "-o", columns]);
    all.lines().filter(|line| line.contains(".backup.vitess.io ")).map(str::to_owned).collect()
}

#[test]
fn helm_uninstall_leaves_definitions_objects_and_data_and_the_chart_installed_again_goes_on_with_them() {
    let ground = Ground::take_alone();
    let root = format!("/uninstalled-{}", std::process::id());
    ground.apply(&storage_yaml("uninstalled", &root));
    take(&ground, "uninstalled", "uninstalled", 101);
    let settled = |object: &Value| object["metadata"].get("finalizers").is_none();
    let before = ground.wait(BACKUPS, "uninstalled", Duration::from_secs(60), "settled", settled);
    let defined = definitions(&ground);
    assert!(defined.len() >= 4, "{defined:?}");

    let uninstalled = ground.lib_and_afterwards("uninstall_operator", &["install_operator_again"]);
    let left = ground.kubectl(&["get", "deployments,pods,services", "-n", OPERATOR, "-o", "name"]);
    assert_eq!(left, "", "the operator is gone");
    assert_eq!(definitions(&ground), defined);
    let is_as_before = || {
        let now = ground.get(BACKUPS, "uninstalled").expect("the backup's object");
        assert_eq!((&now["metadata"]["uid"], &now["status"]), (&before["metadata"]["uid"], &before["status"]));
        let name = now["status"]["backupName"].as_str().expect("a backup name");
        let stored = ground.lib(&format!("tablet_exec 101 'ls /backups{root}/commerce/0/{name}' vttablet"));
        assert!(stored.lines().any(|file| file == "MANIFEST"), "{stored}");
    };
    is_as_before();

    drop(uninstalled);
    ground.lib("both_operators_ready");
    assert_eq!(definitions(&ground), defined);
    take(&ground, "installed-again", "uninstalled", 101);
    is_as_before();
    for name in ["uninstalled", "installed-again"] {
        ground.delete(BACKUPS, name);
    }
    ground.delete("vitessbackupstorages.backup.vitess.io", "uninstalled");
}
