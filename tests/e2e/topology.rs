//! The topology server of the cluster's own Vitess.

use crate::backup::{condition, storage_yaml};
use crate::ground::Ground;

const KIND: &str = "vitesstopologybackups.backup.vitess.io";

fn yaml(name: &str, endpoint: &str, deletion_policy: &str) -> String {
    format!(
        "apiVersion: backup.vitess.io/v1alpha1\nkind: VitessTopologyBackup\nmetadata: {{name: {name}}}\nspec:\n  \
         storage: {{name: main}}\n  etcd: {{endpoints: [\"{endpoint}\"]}}\n  deletionPolicy: {deletion_policy}\n  \
         deadline: 5m\n"
    )
}

#[test]
fn the_etcd_of_vitess_is_backed_up_listed_and_removed_with_its_object() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    ground.delete(KIND, "topology");
    ground.apply(&yaml("topology", "etcd:2379", "Delete"));
    let backup = ground.wait_succeeded(KIND, "topology");

    let status = &backup["status"];
    let name = status["backupName"].as_str().expect("a backup name");
    assert!(name.ends_with(".global.etcd"), "{name}");
    assert_eq!(status["server"], "etcd");
    assert!(status["revision"].as_i64().expect("a revision") > 1, "{status:#}");
    assert_eq!(status["at"], format!("revision {}", status["revision"]), "{status:#}");
    assert_eq!(status["sha256"].as_str().map(str::len), Some(64), "{status:#}");
    assert!(status["sizeBytes"].as_u64().expect("a size") > 16_384, "{status:#}");
    assert!(!status["member"].as_str().unwrap_or_default().is_empty(), "{status:#}");
    assert_eq!(condition(&backup, "Complete")["status"], "True", "{status:#}");

    let storage = "--backup-storage-implementation file --file-backup-storage-root /backup-storage";
    let listed = ground.lib(&format!("vitess_backup list {storage} --topology"));
    let line = listed.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{listed}"));
    assert!(line.contains("complete") && !line.contains("incomplete"), "{listed}");
    assert!(!ground.lib("vtctldclient GetBackups commerce/0").contains("etcd"), "Vitess sees no backup in it");
    let header = ground.kubectl(&["get", KIND]).lines().next().unwrap_or_default().to_owned();
    for column in ["NAME", "SERVER", "CELL", "PHASE", "PROGRESS", "SIZE", "AT", "AGE"] {
        assert!(header.contains(column), "{column} is a column: {header}");
    }

    let gone = name.to_owned();
    ground.delete(KIND, "topology");
    let listed = ground.lib(&format!("vitess_backup list {storage} --topology"));
    assert!(!listed.contains(&gone), "{listed}");
}

#[test]
fn an_etcd_that_is_not_there_is_a_failure_with_a_remedy() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    ground.delete(KIND, "nowhere");
    ground.apply(&yaml("nowhere", "etcd:1", "Retain"));
    let failed = ground.wait_finished(KIND, "nowhere");
    assert_eq!(failed["status"]["phase"], "Failed", "{:#}", failed["status"]);
    let failure = &failed["status"]["failure"];
    assert_eq!(failure["reason"], "TopologyUnreachable", "{failure:#}");
    assert!(failure["message"].as_str().unwrap_or_default().contains("etcd:1"), "{failure:#}");
    assert!(failure["remedy"].as_str().unwrap_or_default().contains("host and port"), "{failure:#}");
    ground.delete(KIND, "nowhere");
}
