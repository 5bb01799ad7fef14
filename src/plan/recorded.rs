//! Objects as the plans write them, one for each thing that they can say to tools: recorded in `config/argocd/testdata`,
//! where tests/gitops.rs holds Argo CD's health script and kstatus against them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::inventory;
use super::storage::{self, Seen};
use super::world::{World, failed, object, outcome, succeeded};
use crate::api::{VitessBackup, VitessBackupStorage, VitessRestore, VitessTopologyBackup};
use crate::backup::failure::Reason;
use crate::backup::report::{Operation, Verdict};
use crate::progress::Step;

fn backup() -> World<VitessBackup> {
    World::with(object("VitessBackup", json!({"storage": {"name": "backups"}, "shard": "commerce/0"})))
}

fn restore(changes: &Value) -> World<VitessRestore> {
    let mut spec = json!({
        "storage": {"name": "backups"}, "shard": "commerce/0", "target": {"tablet": "zone1-0000000102"},
        "existingData": "Replace",
    });
    for (key, value) in changes.as_object().unwrap() {
        spec[key] = value.clone();
    }
    World::with(object("VitessRestore", spec))
}

fn storage(spec: &Value) -> VitessBackupStorage {
    let mut storage: VitessBackupStorage = object("VitessBackupStorage", spec.clone());
    let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
    let settings = std::sync::Arc::new(crate::resources::settings::Settings::new("operator:1"));
    let seen = Seen { claims: BTreeMap::new(), inventory: inventory::Seen::nothing(settings) };
    storage.status = storage::next(&storage, &seen, now).status;
    storage
}

fn value(object: &impl Serialize) -> Value {
    serde_json::to_value(object).unwrap()
}

/// An object that the operator has not seen, with the status that the definition gives it.
fn unseen() -> Value {
    let mut object = value(&backup().object);
    object["status"] = json!({"observedGeneration": -1});
    object
}

fn backups() -> Vec<(&'static str, Value)> {
    let mut waits = backup();
    waits.seen.tablets.clear();
    waits.settle();
    let mut runs = backup();
    runs.settle();
    runs.engine_runs(Step::CopyingFiles);
    let mut done = backup();
    done.settle();
    done.engine_ends(succeeded(Operation::Backup));
    let mut broken = backup();
    broken.settle();
    broken.engine_ends(failed(Operation::Backup, Reason::StorageDenied));
    let mut killed = backup();
    killed.settle();
    killed.engine_dies();
    vec![
        ("backup-unseen", unseen()),
        ("backup-waits", value(&waits.object)),
        ("backup-runs", value(&runs.object)),
        ("backup-succeeded", value(&done.object)),
        ("backup-failed", value(&broken.object)),
        ("backup-recovers-its-tablet", value(&killed.object)),
    ]
}

fn restores() -> Vec<(&'static str, Value)> {
    let mut waits = restore(&json!({"waitForBackupInterval": "10s"}));
    waits.settle();
    waits.engine_ends(outcome(Operation::Restore, Verdict::NoBackup));
    let mut done = restore(&json!({}));
    done.settle();
    done.engine_ends(succeeded(Operation::Restore));
    let mut hopeless = restore(&json!({"shard": "customer/0"}));
    hopeless.settle();
    vec![
        ("restore-waits-for-a-backup", value(&waits.object)),
        ("restore-succeeded", value(&done.object)),
        ("restore-of-another-shard", value(&hopeless.object)),
    ]
}

fn topology_backups() -> Vec<(&'static str, Value)> {
    let spec = json!({"storage": {"name": "backups"}, "etcd": {"endpoints": ["etcd:2379"]}});
    let backup = || World::<VitessTopologyBackup>::with(object("VitessTopologyBackup", spec.clone()));
    let mut runs = backup();
    runs.settle();
    runs.engine_runs(Step::TakingSnapshot);
    let mut done = backup();
    done.settle();
    done.engine_ends(outcome(Operation::TopologyBackup, Verdict::Succeeded));
    let mut broken = backup();
    broken.settle();
    broken.engine_ends(failed(Operation::TopologyBackup, Reason::TopologyNoQuorum));
    vec![
        ("topology-backup-runs", value(&runs.object)),
        ("topology-backup-succeeded", value(&done.object)),
        ("topology-backup-failed", value(&broken.object)),
    ]
}

fn storages() -> Vec<(&'static str, Value)> {
    vec![
        ("storage-ready", value(&storage(&json!({"s3": {"bucket": "backups"}})))),
        (
            "storage-without-its-claim",
            value(&storage(&json!({"file": {"persistentVolumeClaim": {"claimName": "vitess-backups"}}}))),
        ),
        ("storage-invalid", value(&storage(&json!({})))),
    ]
}

#[cfg(test)]
mod tests {
    use super::{backups, restores, storages, topology_backups};

    #[test]
    fn the_recorded_objects_are_what_the_plans_write() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/argocd/testdata");
        let mut expected = Vec::new();
        for (name, object) in [backups(), restores(), topology_backups(), storages()].concat() {
            let (file, text) = (format!("{name}.yaml"), serde_saphyr::to_string(&object).unwrap());
            let path = folder.join(&file);
            if std::env::var_os("VBO_RECORD").is_some() {
                std::fs::write(&path, &text).unwrap();
            }
            let stored = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(stored == text, "{} differs: run this test with VBO_RECORD=1\n{text}", path.display());
            expected.push(file);
        }
        let mut found: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }
}
