//! Each service from YAML to what a pod gets, whole.

use serde_json::{Value, json};

use super::*;
use crate::api::VitessBackupStorage;

fn of(spec: &Value) -> StorageInPod {
    let storage: VitessBackupStorage = serde_json::from_value(json!({
        "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessBackupStorage",
        "metadata": {"name": "backups"}, "spec": spec,
    }))
    .unwrap();
    in_pod(&storage.spec)
}

/// What a pod gets, as it would stand in YAML.
fn shown(pod: &StorageInPod) -> Value {
    let StorageInPod { volumes, mounts, env, args, service_account_name } = pod;
    json!({"volumes": volumes, "mounts": mounts, "env": env, "args": args, "account": service_account_name})
}

fn from_secret(name: &str) -> Value {
    json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "keys", "key": name, "optional": true}}})
}

#[test]
fn s3_gets_its_keys_its_certificate_and_its_customer_key_from_secrets() {
    let pod = of(&json!({
        "s3": {
            "bucket": "b", "region": "eu-west-1", "endpoint": "https://minio:9000", "root": "a/b", "forcePathStyle": true,
            "tlsSkipVerify": true, "caSecret": {"name": "ca"}, "serverSideEncryption": "sse_c",
            "sseCustomerKeySecret": {"name": "customer", "key": "mine"},
        },
        "credentialsSecret": {"name": "keys"},
    }));
    let expected = json!({
        "volumes": [
            {"name": "vitess-backup-ca", "secret": {"secretName": "ca"}},
            {"name": "vitess-backup-customer-key", "secret": {"secretName": "customer"}},
            {"name": "vitess-backup-credentials", "secret": {"secretName": "keys"}},
        ],
        "mounts": [
            {"name": "vitess-backup-ca", "mountPath": "/backup-storage-ca", "readOnly": true},
            {"name": "vitess-backup-customer-key", "mountPath": "/backup-storage-customer-key", "readOnly": true},
            {"name": "vitess-backup-credentials", "mountPath": "/backup-storage-credentials", "readOnly": true},
        ],
        "env": [
            from_secret("AWS_ACCESS_KEY_ID"),
            from_secret("AWS_SECRET_ACCESS_KEY"),
            from_secret("AWS_SESSION_TOKEN"),
            {"name": "AWS_SHARED_CREDENTIALS_FILE", "value": "/backup-storage-credentials/credentials"},
        ],
        "args": [
            "--backup-storage-implementation=s3",
            "--s3-backup-storage-bucket=b",
            "--s3-backup-aws-region=eu-west-1",
            "--s3-backup-aws-endpoint=https://minio:9000",
            "--s3-backup-storage-root=a/b",
            "--s3-backup-force-path-style",
            "--s3-backup-tls-skip-verify-cert",
            "--backup-storage-ca-file=/backup-storage-ca/ca.crt",
            "--s3-backup-server-side-encryption=sse_c:/backup-storage-customer-key/mine",
        ],
        "account": null,
    });
    assert_eq!(shown(&pod), expected);
}

#[test]
fn an_identity_without_keys_is_a_service_account_and_nothing_else() {
    let pod = of(&json!({"s3": {"bucket": "b", "serverSideEncryption": "aws:kms"}, "serviceAccountName": "backups"}));
    let args = [
        "--backup-storage-implementation=s3",
        "--s3-backup-storage-bucket=b",
        "--s3-backup-server-side-encryption=aws:kms",
    ];
    assert_eq!(shown(&pod), json!({"volumes": [], "mounts": [], "env": [], "args": args, "account": "backups"}));
}

#[test]
fn gcs_azblob_and_ceph_get_what_their_flags_say() {
    let gcs = of(&json!({"gcs": {"bucket": "b", "root": "r"}, "credentialsSecret": {"name": "keys"}}));
    assert_eq!(
        shown(&gcs),
        json!({
            "volumes": [{"name": "vitess-backup-credentials", "secret": {"secretName": "keys"}}],
            "mounts": [{"name": "vitess-backup-credentials", "mountPath": "/backup-storage-credentials", "readOnly": true}],
            "env": [{"name": "GOOGLE_APPLICATION_CREDENTIALS", "value": "/backup-storage-credentials/credentials.json"}],
            "args": [
                "--backup-storage-implementation=gcs", "--gcs-backup-storage-bucket=b", "--gcs-backup-storage-root=r",
            ],
            "account": null,
        })
    );
    let azblob = of(&json!({
        "azblob": {"account": "a", "container": "c", "root": "r", "endpoint": "https://a.blob.core.usgovcloudapi.net"},
        "credentialsSecret": {"name": "keys"},
    }));
    assert_eq!(
        shown(&azblob),
        json!({
            "volumes": [], "mounts": [],
            "env": AZBLOB_VARIABLES.map(from_secret),
            "args": [
                "--backup-storage-implementation=azblob", "--azblob-backup-account-name=a",
                "--azblob-backup-container-name=c", "--azblob-backup-storage-root=r",
                "--azblob-backup-endpoint=https://a.blob.core.usgovcloudapi.net",
            ],
            "account": null,
        })
    );
    let ceph = of(&json!({"ceph": {"configSecret": {"name": "ceph"}, "caSecret": {"name": "ca", "key": "x.pem"}}}));
    assert_eq!(
        shown(&ceph),
        json!({
            "volumes": [
                {"name": "vitess-backup-ceph", "secret": {"secretName": "ceph"}},
                {"name": "vitess-backup-ca", "secret": {"secretName": "ca"}},
            ],
            "mounts": [
                {"name": "vitess-backup-ceph", "mountPath": "/backup-storage-ceph", "readOnly": true},
                {"name": "vitess-backup-ca", "mountPath": "/backup-storage-ca", "readOnly": true},
            ],
            "env": [],
            "args": [
                "--backup-storage-implementation=ceph",
                "--ceph-backup-storage-config=/backup-storage-ceph/ceph_backup_config.json",
                "--backup-storage-ca-file=/backup-storage-ca/x.pem",
            ],
            "account": null,
        })
    );
}

#[test]
fn an_identity_that_was_injected_into_the_tablets_pod_stays_there() {
    let storage = of(&json!({"s3": {"bucket": "b"}, "credentialsSecret": {"name": "keys"}}));
    for dropped in ["AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ACCESS_KEY_ID", "AWS_SHARED_CREDENTIALS_FILE"] {
        assert!(is_identity(dropped, &storage), "{dropped}");
    }
    assert!(!is_identity("AWS_REGION", &storage));
    // Keys that the tablet's own container has are taken along when the storage names no others.
    assert!(!is_identity("AWS_ACCESS_KEY_ID", &of(&json!({"s3": {"bucket": "b"}}))));
}
