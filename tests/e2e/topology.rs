//! The topology server of the cluster's own Vitess.

use serde_json::Value;

use crate::backup::{condition, storage_yaml};
use crate::ground::{Afterwards, Ground};

const STORAGE: &str = "--backup-storage-implementation file --file-backup-storage-root /backup-storage";
const KIND: &str = "vitesstopologybackups.backup.vitess.io";

fn yaml(name: &str, server: &str, deletion_policy: &str) -> String {
    format!(
        "apiVersion: backup.vitess.io/v1alpha1\nkind: VitessTopologyBackup\nmetadata: {{name: {name}}}\nspec:\n  \
         storage: {{name: main}}\n  {server}\n  deletionPolicy: {deletion_policy}\n  deadline: 5m\n"
    )
}

fn etcd(endpoint: &str) -> String {
    format!("etcd: {{endpoints: [\"{endpoint}\"]}}")
}

/// Lists what the shard's volume has of topology servers' backups.
fn listed(ground: &Ground) -> String {
    ground.lib(&format!("vitess_backup list {STORAGE} --topology"))
}

/// A backup that has to succeed; its status and its name in storage.
fn take(ground: &Ground, name: &str, server: &str, deletion_policy: &str) -> (Value, String) {
    ground.delete(KIND, name);
    ground.apply(&yaml(name, server, deletion_policy));
    let status = ground.wait_succeeded(KIND, name)["status"].clone();
    let in_storage = status["backupName"].as_str().expect("a backup name").to_owned();
    assert!(listed(ground).lines().any(|line| line.starts_with(&in_storage) && line.contains(" complete ")), "{name}");
    (status, in_storage)
}

/// Deletes an object with its data, of which there may be no other.
fn remove(ground: &Ground, name: &str, in_storage: &str) {
    ground.kubectl(&["annotate", KIND, name, "backup.vitess.io/force-removal=true"]);
    ground.delete(KIND, name);
    let left = listed(ground);
    assert!(!left.contains(in_storage), "{left}");
}

/// Restores an etcd's backup by hand, as docs/topology.md says; the file is what the object's status tells.
fn assert_restores_to(ground: &Ground, in_storage: &str, sha256: &str) {
    // In a folder of the shard's volume, to be read from a tablet, which has the volume at /backups.
    let tidy_up = || ground.lib("tablet_exec 101 'rm -rf /backups/restored-topology' vttablet");
    tidy_up();
    let onto = "--output-dir /backup-storage/restored-topology";
    ground.lib(&format!("vitess_backup topology restore {onto} {STORAGE} {in_storage}"));
    let sum = ground.lib("tablet_exec 101 'sha256sum /backups/restored-topology/snapshot.db' vttablet");
    tidy_up();
    assert_eq!(sum.split_whitespace().next(), Some(sha256), "{in_storage}");
}

/// A server that is there until what this gives is dropped.
fn server_up<'a>(ground: &'a Ground, name: &str) -> Afterwards<'a> {
    ground.lib_and_afterwards(&format!("topology_server_up {name}"), &[&format!("topology_server_down {name}")])
}

#[test]
fn the_etcd_of_vitess_is_backed_up_listed_and_removed_with_its_object() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    let (status, name) = take(&ground, "topology", &etcd("etcd:2379"), "Delete");
    assert!(name.ends_with(".global.etcd"), "{name}");
    assert_eq!(status["server"], "etcd");
    assert!(status["revision"].as_i64().expect("a revision") > 1, "{status:#}");
    assert_eq!(status["at"], format!("revision {}", status["revision"]), "{status:#}");
    assert_eq!(status["sha256"].as_str().map(str::len), Some(64), "{status:#}");
    assert!(status["sizeBytes"].as_u64().expect("a size") > 16_384, "{status:#}");
    assert!(status["quotaBytes"].as_u64().expect("a limit") > 1 << 30, "{status:#}");
    assert!(!status["member"].as_str().unwrap_or_default().is_empty(), "{status:#}");
    assert_eq!(condition(&serde_json::json!({"status": status}), "Complete")["status"], "True", "{status:#}");

    assert_restores_to(&ground, &name, status["sha256"].as_str().unwrap_or_default());

    // Vitess lists the backups of its keyspaces, and the place of these can be none.
    let refused = ground.try_lib("vtctldclient CreateKeyspace vitess.topology").expect_err("no name for a keyspace");
    assert!(refused.contains("invalid character . in name vitess.topology"), "{refused}");
    let header = ground.kubectl(&["get", KIND]).lines().next().unwrap_or_default().to_owned();
    for column in ["NAME", "SERVER", "CELL", "PHASE", "PROGRESS", "SIZE", "AT", "AGE"] {
        assert!(header.contains(column), "{column} is a column: {header}");
    }
    remove(&ground, "topology", &name);
}

#[test]
fn an_etcd_that_is_not_there_is_a_failure_with_a_remedy() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    ground.delete(KIND, "nowhere");
    ground.apply(&yaml("nowhere", &etcd("etcd:1"), "Retain"));
    let failed = ground.wait_finished(KIND, "nowhere");
    assert_eq!(failed["status"]["phase"], "Failed", "{:#}", failed["status"]);
    let failure = &failed["status"]["failure"];
    assert_eq!(failure["reason"], "TopologyUnreachable", "{failure:#}");
    assert!(failure["message"].as_str().unwrap_or_default().contains("etcd:1"), "{failure:#}");
    assert!(failure["remedy"].as_str().unwrap_or_default().contains("host and port"), "{failure:#}");
    ground.delete(KIND, "nowhere");
}

/// One pod of ZooKeeper 3.9, backed up by its admin server and, while it runs, by the files of its ReadWriteOnce volume.
#[test]
fn a_zookeeper_is_backed_up_by_its_admin_server_and_by_its_volume_and_restored() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    let _zookeeper = server_up(&ground, "zookeeper");
    ground.lib("zookeeper_cli create /before one");
    let admin = "zookeeper: {endpoints: [\"zookeeper:8080\"], credentialsSecret: {name: zookeeper-admin}}";
    let (status, name) = take(&ground, "zookeeper-admin", admin, "Delete");
    assert!(name.ends_with(".global.zookeeper"), "{name}");
    assert_eq!(status["server"], "zookeeper");
    assert!(status["serverVersion"].as_str().is_some_and(|version| version.starts_with("3.9.")), "{status:#}");
    let zxid = status["zxid"].as_str().expect("a zxid");
    assert_eq!(status["at"], format!("zxid {zxid}"), "{status:#}");

    // Another user's files, on a volume that its pod has mounted.
    let files = "zookeeper: {dataDirectory: {claimName: data-zookeeper-0, dataDir: zookeeper}}";
    let (status, of_files) = take(&ground, "zookeeper-files", files, "Delete");
    let number = |zxid: &Value| u64::from_str_radix(zxid.as_str().unwrap_or_default().trim_start_matches("0x"), 16);
    assert!(number(&status["zxid"]).expect("a zxid") >= number(&zxid.into()).expect("a zxid"), "{status:#}");
    assert_eq!(status["files"], 2, "a snapshot and a log: {status:#}");

    ground.lib("zookeeper_cli create /after two");
    let restore = format!(
        "BY_HAND_SECRET=zookeeper-admin vitess_backup topology restore {STORAGE} --topo-server-address zookeeper:8080 \
         --topo-credentials-dir /by-hand-secret"
    );
    let refused = ground.try_lib(&format!("{restore} {name}")).expect_err("nobody said --existing-data replace");
    assert!(refused.contains("replaces everything"), "{refused}");
    ground.lib(&format!("{restore} --existing-data replace {name}"));
    let found = ground.lib("zookeeper_cli ls /");
    assert!(found.contains("before") && !found.contains("after"), "{found}");

    // There is another complete one, so that nothing has to be forced.
    ground.delete(KIND, "zookeeper-admin");
    assert!(!listed(&ground).contains(&name), "{}", listed(&ground));
    remove(&ground, "zookeeper-files", &of_files);
}

#[test]
fn a_consul_is_backed_up_with_its_token_and_restored() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    let _consul = server_up(&ground, "consul");
    ground.lib("consul_cli kv put vitess/before one");
    let consul = "consul: {endpoints: [\"consul:8500\"], credentialsSecret: {name: consul-token}}";
    let (status, name) = take(&ground, "consul", consul, "Delete");
    assert!(name.ends_with(".global.consul"), "{name}");
    assert_eq!((&status["server"], &status["at"]), (&"consul".into(), &format!("index {}", status["index"]).into()));
    assert!(status["serverVersion"].as_str().is_some_and(|version| version.starts_with("1.14.")), "{status:#}");

    ground.delete(KIND, "consul-denied");
    ground.apply(&yaml("consul-denied", "consul: {endpoints: [\"consul:8500\"]}", "Delete"));
    let denied = ground.wait_finished(KIND, "consul-denied");
    assert_eq!(denied["status"]["failure"]["reason"], "TopologyDenied", "{:#}", denied["status"]);
    ground.delete(KIND, "consul-denied");

    ground.lib("consul_cli kv put vitess/after two");
    ground.lib(&format!(
        "BY_HAND_SECRET=consul-token vitess_backup topology restore {STORAGE} --topo-server-address consul:8500 \
         --topo-credentials-dir /by-hand-secret --existing-data replace {name}"
    ));
    assert_eq!(ground.lib("consul_cli kv get vitess/before").trim(), "one");
    let gone = ground.try_lib("consul_cli kv get vitess/after").expect_err("it came after the snapshot");
    assert!(gone.contains("No key exists"), "{gone}");
    remove(&ground, "consul", &name);
}
