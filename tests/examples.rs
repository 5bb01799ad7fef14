//! Every file in examples/ is an object of ours that loses nothing when it is read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use k8s_openapi::api::apps::v1::StatefulSet;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use vitess_backup::api::{VitessBackup, VitessBackupStorage, VitessRestore, VitessTopologyBackup};

const EXAMPLES: [&str; 23] = [
    "backup-generate-name.yaml",
    "backup-patient.yaml",
    "backup-record.yaml",
    "backup-shard.yaml",
    "backup-tablet.yaml",
    "backup-verify.yaml",
    "backup-xtrabackup.yaml",
    "pod-start-statefulset.yaml",
    "restore-at-or-before.yaml",
    "restore-into-volume.yaml",
    "restore-latest.yaml",
    "restore-on-pod-start.yaml",
    "restore-wait.yaml",
    "storage-azblob.yaml",
    "storage-ceph.yaml",
    "storage-file.yaml",
    "storage-gcs.yaml",
    "storage-s3-compatible.yaml",
    "storage-s3.yaml",
    "topology-consul.yaml",
    "topology-etcd.yaml",
    "topology-zookeeper-volume.yaml",
    "topology-zookeeper.yaml",
];

#[test]
fn every_example_is_read_without_loss() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut found: Vec<String> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    found.sort();
    assert_eq!(found, EXAMPLES, "list new examples here");
    for name in EXAMPLES {
        let text = std::fs::read_to_string(directory.join(name)).unwrap();
        let written: Value = serde_saphyr::from_str(&text).unwrap();
        let ours = written["apiVersion"] == "backup.vitess.io/v1alpha1";
        assert_eq!(ours, written["kind"] != "StatefulSet", "{name}");
        let read = match written["kind"].as_str().unwrap() {
            "VitessBackupStorage" => round_trip::<VitessBackupStorage>(&written),
            "VitessBackup" => round_trip::<VitessBackup>(&written),
            "VitessRestore" => round_trip::<VitessRestore>(&written),
            "StatefulSet" => round_trip::<StatefulSet>(&written),
            "VitessTopologyBackup" => round_trip::<VitessTopologyBackup>(&written),
            other => panic!("{name}: {other} is no kind of ours"),
        };
        assert_kept(&written, &read, name);
    }
}

fn round_trip<K: DeserializeOwned + Serialize>(value: &Value) -> Value {
    let object: K = serde_json::from_value(value.clone()).unwrap();
    serde_json::to_value(object).unwrap()
}

/// All that was written is in what was read; defaults may have been added.
fn assert_kept(written: &Value, read: &Value, place: &str) {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            for (key, value) in written {
                let place = format!("{place}.{key}");
                assert_kept(value, read.get(key).unwrap_or_else(|| panic!("{place} is not known")), &place);
            }
        }
        // Kubernetes's own lists of objects get kinds.
        (Value::Array(written), Value::Array(read)) if written.len() == read.len() => {
            written.iter().zip(read).for_each(|(written, read)| assert_kept(written, read, place));
        }
        _ => assert_eq!(written, read, "{place}"),
    }
}
