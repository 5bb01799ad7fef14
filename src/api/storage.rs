//! VitessBackupStorage: where backups live.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pod_template::PodTemplate;
use super::schema;

/// Where backups live. A VitessBackup or VitessRestore of the same namespace names it in spec.storage.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "backup.vitess.io",
    version = "v1alpha1",
    kind = "VitessBackupStorage",
    plural = "vitessbackupstorages",
    namespaced,
    status = "VitessBackupStorageStatus",
    category = "vitess-backup",
    derive = "PartialEq",
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Accepted")].status"#,
        description = "Whether the operator can use this storage"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Accepted")].reason"#,
        description = "Why, or why not"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    schema::rule(
        "[has(self.file), has(self.s3), has(self.gcs), has(self.azblob), has(self.ceph)].filter(set, set).size() == 1",
        "name exactly one place to store backups: one of file, s3, gcs, azblob and ceph",
    ),
    schema::rule(
        "!has(self.s3) && !has(self.gcs) && !has(self.azblob) && !has(self.ceph)",
        "this version of the operator stores backups in files only: use file (a persistentVolumeClaim, nfs or hostPath)",
    ),
]))]
pub struct VitessBackupStorageSpec {
    /// A directory of a volume, as Vitess's `--backup-storage-implementation=file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileStorage>,
    /// Not in this version: refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::later_object")]
    pub s3: Option<serde_json::Value>,
    /// Not in this version: refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::later_object")]
    pub gcs: Option<serde_json::Value>,
    /// Not in this version: refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::later_object")]
    pub azblob: Option<serde_json::Value>,
    /// Not in this version: refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::later_object")]
    pub ceph: Option<serde_json::Value>,
    /// For pods that need this storage and no tablet: those that remove a backup. The podTemplate of a VitessBackup
    /// comes before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
}

/// A volume that engine pods mount, and the directory in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [schema::rule(
    "[has(self.persistentVolumeClaim), has(self.nfs), has(self.hostPath)].filter(set, set).size() == 1",
    "name exactly one volume: one of persistentVolumeClaim, nfs and hostPath",
)]))]
pub struct FileStorage {
    /// A claim in this namespace. When tablets run on several nodes it must be ReadWriteMany.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<PersistentVolumeClaimSource>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nfs: Option<NfsSource>,
    /// A directory of each node. Of use on a single node, or where every node mounts the same file system there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_path: Option<HostPathSource>,
    /// The directory inside the volume that holds `<keyspace>/<shard>/<backup name>`: what Vitess's
    /// `--file-backup-storage-root` points at. Default: the volume's own root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::directory")]
    pub root: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PersistentVolumeClaimSource {
    #[schemars(schema_with = "schema::object_name")]
    pub claim_name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NfsSource {
    /// Host name or address of the NFS server.
    #[schemars(length(min = 1))]
    pub server: String,
    /// The exported path.
    #[schemars(length(min = 1))]
    pub path: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostPathSource {
    /// An absolute path on the node. The directory must exist.
    #[schemars(length(min = 1))]
    pub path: String,
}

/// Whether this storage can be used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VitessBackupStorageStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Accepted`: whether runs can use this storage, and if not, what to do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}
