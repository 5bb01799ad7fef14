//! The record of a backup that was found in storage: a VitessBackup that nobody wrote.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::PartialObjectMeta;

use super::names;
use crate::api::{
    DeletionPolicy, GROUP, StorageReference, VERSION, VitessBackup, VitessBackupSpec, VitessBackupStorage,
};
use crate::topo::KeyspaceShard;

/// What the name of a record is made of.
pub fn record_of(storage: &str, shard: &str, backup_name: &str) -> String {
    format!("{storage}/{shard}/{backup_name}")
}

/// A record, without its status. It goes with the storage's object; the data does not.
pub fn record(storage: &VitessBackupStorage, shard: &KeyspaceShard, backup_name: &str) -> VitessBackup {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let storage_name = text(&storage.metadata.name);
    let record_of = record_of(&storage_name, &shard.to_string(), backup_name);
    let labels = [
        ("app.kubernetes.io/managed-by", names::OPERATOR.to_owned()),
        (names::LABEL_ORIGIN, names::ORIGIN_INVENTORY.to_owned()),
        (names::LABEL_STORAGE, names::label_value(&storage_name)),
        (names::LABEL_KEYSPACE, names::label_value(shard.keyspace())),
        (names::LABEL_SHARD, names::shard_label(shard.shard())),
    ];
    let spec = VitessBackupSpec {
        storage: StorageReference { name: storage_name.clone() },
        shard: Some(shard.clone()),
        backup_name: Some(backup_name.to_owned()),
        deletion_policy: DeletionPolicy::Retain,
        max_replication_lag: crate::api::half_a_minute(),
        deadline: crate::api::six_hours(),
        ..VitessBackupSpec::default()
    };
    let owner = OwnerReference {
        api_version: format!("{GROUP}/{VERSION}"),
        kind: "VitessBackupStorage".to_owned(),
        name: storage_name,
        uid: text(&storage.metadata.uid),
        controller: Some(true),
        block_owner_deletion: None,
    };
    let mut record = VitessBackup::new(&names::record_name(&record_of), spec);
    record.metadata = ObjectMeta {
        namespace: storage.metadata.namespace.clone(),
        labels: Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        annotations: Some(BTreeMap::from([(names::ANNOTATION_RECORD_OF.to_owned(), record_of)])),
        owner_references: Some(vec![owner]),
        ..record.metadata
    };
    record
}

/// Whether the operator made the object for an inventory. A copy that somebody made has another name, and is theirs.
pub fn is_record(meta: &ObjectMeta) -> bool {
    let is = |map: &Option<BTreeMap<String, String>>, key: &str| map.as_ref().and_then(|map| map.get(key).cloned());
    let made = is(&meta.labels, names::LABEL_ORIGIN).as_deref() == Some(names::ORIGIN_INVENTORY);
    let named = is(&meta.annotations, names::ANNOTATION_RECORD_OF).map(|record_of| names::record_name(&record_of));
    made && named.is_some() && named == meta.name
}

/// Takes what a watch of records has no use for out of one, and says whether it calls for a look: it is being deleted and
/// something is to be done first, or its deletionPolicy was changed, or it is to be verified, or it is no record at all.
pub fn slim(object: &mut PartialObjectMeta<VitessBackup>) {
    let calls = calls_for_a_look(&object.metadata);
    let ObjectMeta { name, namespace, uid, resource_version, .. } = std::mem::take(&mut object.metadata);
    let annotations = calls.then(|| BTreeMap::from([(CALLS.to_owned(), String::new())]));
    object.metadata = ObjectMeta { name, namespace, uid, resource_version, annotations, ..ObjectMeta::default() };
    object.types = None;
}

const CALLS: &str = "calls";

/// Of a record that was made slim: whether it calls for a look.
pub fn calls(object: &PartialObjectMeta<VitessBackup>) -> bool {
    object.metadata.annotations.is_some()
}

fn calls_for_a_look(meta: &ObjectMeta) -> bool {
    let finalizers = meta.finalizers.iter().flatten().count();
    let going = meta.deletion_timestamp.is_some() && finalizers > 0;
    let verify = meta.annotations.iter().flatten().any(|(key, _)| key == names::ANNOTATION_VERIFY_AT);
    going || verify || meta.generation.is_some_and(|generation| generation > 1) || !is_record(meta)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NAME: &str = "2021-04-29.133050.zone1-0000000101";

    fn storage() -> VitessBackupStorage {
        serde_json::from_value(json!({
            "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessBackupStorage",
            "metadata": {"name": "main", "namespace": "demo", "uid": "storage-uid"},
            "spec": {"file": {"persistentVolumeClaim": {"claimName": "vitess-backups"}}},
        }))
        .unwrap()
    }

    #[test]
    fn a_record_is_a_whole_object_that_goes_with_its_storage() {
        let made = record(&storage(), &"commerce/-80".parse().unwrap(), NAME);
        let name = made.metadata.name.clone().unwrap();
        assert_eq!(
            serde_json::to_value(&made).unwrap(),
            json!({
                "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessBackup",
                "metadata": {
                    "name": name, "namespace": "demo",
                    "labels": {
                        "app.kubernetes.io/managed-by": "vitess-backup-operator",
                        "backup.vitess.io/origin": "inventory", "backup.vitess.io/storage": "main",
                        "backup.vitess.io/keyspace": "commerce", "backup.vitess.io/shard": "x-80",
                    },
                    "annotations": {"backup.vitess.io/record-of": format!("main/commerce/-80/{NAME}")},
                    "ownerReferences": [{
                        "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessBackupStorage", "name": "main",
                        "uid": "storage-uid", "controller": true,
                    }],
                },
                "spec": {
                    "storage": {"name": "main"}, "shard": "commerce/-80", "allowPrimary": false,
                    "maxReplicationLag": "30s", "mode": "Attached", "engine": "builtin", "backupName": NAME,
                    "deletionPolicy": "Retain", "verify": "None", "deadline": "6h", "retries": 0, "cancel": false,
                },
            })
        );
        assert!(is_record(&made.metadata));
    }

    #[test]
    fn a_record_calls_for_a_look_when_there_is_something_to_do_and_a_copy_always_does() {
        let made = record(&storage(), &"commerce/0".parse().unwrap(), NAME).metadata;
        let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH);
        let finalizers = Some(vec![names::FINALIZER_REMOVE_BACKUP.to_owned()]);
        let mut to_be_verified = made.annotations.clone().unwrap();
        to_be_verified.insert(names::ANNOTATION_VERIFY_AT.to_owned(), "again".to_owned());
        for (meta, expected) in [
            (ObjectMeta { generation: Some(1), ..made.clone() }, false),
            (ObjectMeta { generation: Some(2), ..made.clone() }, true),
            (ObjectMeta { deletion_timestamp: Some(now.clone()), ..made.clone() }, false),
            (ObjectMeta { deletion_timestamp: Some(now), finalizers, ..made.clone() }, true),
            (ObjectMeta { annotations: Some(to_be_verified), ..made.clone() }, true),
            (ObjectMeta { name: Some("copy".into()), ..made }, true),
        ] {
            let mut object = PartialObjectMeta { types: None, metadata: meta, _phantom: std::marker::PhantomData };
            slim(&mut object);
            assert_eq!(calls(&object), expected, "{:?}", object.metadata);
        }
    }
}
