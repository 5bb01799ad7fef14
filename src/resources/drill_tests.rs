use serde_json::{Value, json};

use super::*;
use crate::api::VitessBackupStorageSpec;
use crate::resources::storage::in_pod;

fn settings() -> Settings {
    Settings::new("operator:1")
}

fn tablet() -> Tablet {
    let pod = serde_json::from_value(json!({
        "metadata": {"name": "tablet-101", "labels": {
            "planetscale.com/keyspace": "commerce", "planetscale.com/shard": "0",
            "planetscale.com/cell": "zone1", "planetscale.com/tablet-uid": "101",
        }},
        "spec": {
            "imagePullSecrets": [{"name": "registry"}],
            "containers": [
                {"name": "vttablet", "image": "vttablet:24", "command": ["vttablet"]},
                {"name": "mysqld", "image": "vitess:24", "command": ["mysqlctld"], "env": [
                    {"name": "VT_MYSQL_ROOT", "value": "/opt/mysql"}, {"name": "PASSWORD", "value": "secret"},
                ]},
            ],
        },
    }));
    Tablet::read(&pod.unwrap(), &settings()).unwrap()
}

fn storage() -> StorageInPod {
    let spec: VitessBackupStorageSpec =
        serde_json::from_value(json!({"file": {"persistentVolumeClaim": {"claimName": "backups"}}})).unwrap();
    in_pod(&spec)
}

fn built(image: DrillImage, scratch: &Value, template: &Value) -> Value {
    let scratch: Option<Scratch> = serde_json::from_value(scratch.clone()).unwrap();
    let template: PodTemplate = serde_json::from_value(template.clone()).unwrap();
    let args = vec!["verify".to_owned()];
    serde_json::to_value(pod(&settings(), &storage(), image, scratch.as_ref(), args, &template)).unwrap()
}

#[test]
fn the_image_is_the_one_that_is_named_else_the_tablets() {
    let image = |named, tablet: Option<&Tablet>| DrillImage::of(named, tablet, &settings()).map(|found| found.image);
    assert_eq!(image(Some("mysql:9"), Some(&tablet())).as_deref(), Some("mysql:9"));
    assert_eq!(image(None, Some(&tablet())).as_deref(), Some("vitess:24"));
    assert_eq!(image(Some("mysql:9"), None).as_deref(), Some("mysql:9"));
    assert_eq!(image(None, None), None);
}

#[test]
fn a_drills_pod_has_the_storage_and_a_scratch_and_nothing_of_a_tablet() {
    let image = DrillImage::of(None, Some(&tablet()), &settings()).unwrap();
    let security = json!({
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
    });
    assert_eq!(
        built(
            image,
            &json!({"emptyDir": {"sizeLimit": "100Gi"}}),
            &json!({"securityContext": {"runAsUser": 1001, "runAsGroup": 1002}})
        ),
        json!({
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 300,
            "imagePullSecrets": [{"name": "registry"}],
            "securityContext": {
                "runAsUser": 1001, "runAsGroup": 1002, "fsGroup": 1002, "runAsNonRoot": true,
                "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
            },
            "initContainers": [{
                "name": "install", "image": "operator:1", "imagePullPolicy": "IfNotPresent",
                "args": ["install-binary", "/vitess-backup-bin/vitess-backup"],
                "securityContext": security,
                "volumeMounts": [{"name": "vitess-backup-binary", "mountPath": "/vitess-backup-bin"}],
            }],
            "containers": [{
                "name": "engine", "image": "vitess:24",
                "command": ["/vitess-backup-bin/vitess-backup"], "args": ["verify"],
                "env": [{"name": "VT_MYSQL_ROOT", "value": "/opt/mysql"}],
                "securityContext": security,
                "terminationMessagePath": "/dev/termination-log",
                "volumeMounts": [
                    {"name": "vitess-backup-storage", "mountPath": "/backup-storage"},
                    {"name": "vitess-backup-scratch", "mountPath": "/vitess-backup-scratch"},
                    {"name": "vitess-backup-binary", "mountPath": "/vitess-backup-bin"},
                    {"name": "vitess-backup-tmp", "mountPath": "/tmp"},
                ],
            }],
            "volumes": [
                {"name": "vitess-backup-storage", "persistentVolumeClaim": {"claimName": "backups"}},
                {"name": "vitess-backup-scratch", "emptyDir": {"sizeLimit": "100Gi"}},
                {"name": "vitess-backup-binary", "emptyDir": {}},
                {"name": "vitess-backup-tmp", "emptyDir": {}},
            ],
        })
    );
}

#[test]
fn a_scratch_may_be_a_volume_of_its_own_that_goes_with_the_pod() {
    let image = DrillImage { image: "mysql:9".into(), ..DrillImage::default() };
    let pod = built(image, &json!({"ephemeral": {"storageClassName": "fast", "size": "1Ti"}}), &json!({}));
    assert_eq!(
        pod["volumes"][1],
        json!({"name": "vitess-backup-scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "resources": {"requests": {"storage": "1Ti"}},
        }}}})
    );
    assert_eq!(pod["securityContext"]["fsGroup"], 999);
}
