//! VitessBackupStorage: where backups live.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inventory::{InventoryStatus, ShardStatus};
use super::pod_template::PodTemplate;
use super::schema;
use crate::duration::GoDuration;

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
        name = "Reachable",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Reachable")].status"#,
        description = "Whether the last inventory could list it"
    ),
    printcolumn(name = "Backups", type_ = "integer", json_path = ".status.backups"),
    printcolumn(name = "Incomplete", type_ = "integer", json_path = ".status.incomplete"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.size"),
    printcolumn(
        name = "Inventory",
        type_ = "date",
        json_path = ".status.lastInventoryTime",
        description = "How long ago it was last listed"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Accepted")].reason"#,
        description = "Why it can be used, or why not"
    ),
    printcolumn(
        name = "Cause",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Reachable")].reason"#,
        description = "Why it is reachable, or why not",
        priority = 1
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
        "!has(self.credentialsSecret) || has(self.s3) || has(self.gcs) || has(self.azblob)",
        "credentialsSecret is for s3, gcs and azblob: files need no credentials, and those of ceph are in its configSecret",
    ),
]))]
pub struct VitessBackupStorageSpec {
    /// A directory of a volume, as Vitess's `--backup-storage-implementation=file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileStorage>,
    /// A bucket of S3, or of a server that speaks like it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Storage>,
    /// A bucket of Google Cloud Storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gcs: Option<GcsStorage>,
    /// A container of Azure Blob Storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azblob: Option<AzblobStorage>,
    /// Ceph's object gateway as Vitess uses it: a bucket for each keyspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceph: Option<CephStorage>,
    /// A Secret of this namespace with the credentials, which only engine pods get. Its keys: for s3 `AWS_ACCESS_KEY_ID` and
    /// `AWS_SECRET_ACCESS_KEY` (and `AWS_SESSION_TOKEN`), or `credentials`, a file as in ~/.aws; for gcs
    /// `credentials.json`, a service account's key; for azblob `VT_AZBLOB_ACCOUNT_KEY`. Absent: the identity of the pod
    /// (see serviceAccountName), of its node, or what the tablet's own container has in its environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<SecretName>,
    /// The service account that engine pods run as, for an identity without keys: IRSA or Pod Identity on EKS, Workload
    /// Identity on GKE and AKS. It needs no rights in Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_name")]
    pub service_account_name: Option<String>,
    /// How often what is in storage is listed, and mirrored in status and in VitessBackup objects; it is besides after each
    /// run that changed it. At least 10s: each inventory is a pod. 0s: never.
    #[serde(default = "five_minutes")]
    #[schemars(schema_with = "schema::inventory_interval")]
    pub inventory_interval: GoDuration,
    /// For pods that need this storage and no tablet: those that remove a backup, where the podTemplate of the VitessBackup
    /// comes before it, and those that list the storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
}

pub(super) fn five_minutes() -> GoDuration {
    GoDuration(std::time::Duration::from_secs(300))
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

/// As Vitess's `--s3-backup-…` flags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [schema::rule(
    "(has(self.serverSideEncryption) && self.serverSideEncryption == 'sse_c') == has(self.sseCustomerKeySecret)",
    "serverSideEncryption sse_c and sseCustomerKeySecret belong together: set both or neither",
)]))]
pub struct S3Storage {
    #[schemars(length(min = 1, max = 255))]
    pub bucket: String,
    /// Default: us-east-1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub region: Option<String>,
    /// The server when it is not AWS: `https://host` or `http://host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::endpoint")]
    pub endpoint: Option<String>,
    /// What all keys begin with: `--s3-backup-storage-root`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::directory")]
    pub root: Option<String>,
    /// Name the bucket in the path and not in the host's name: what most servers other than AWS need.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force_path_style: bool,
    /// A Secret with the certificate of the server's authority; key `ca.crt` if none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<SecretKey>,
    /// Take any certificate.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls_skip_verify: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_side_encryption: Option<ServerSideEncryption>,
    /// The customer's key of sse_c, 32 bytes as they are or in base64; key `key` if none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sse_customer_key_secret: Option<SecretKey>,
}

/// `--s3-backup-server-side-encryption`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServerSideEncryption {
    #[serde(rename = "AES256")]
    Aes256,
    #[serde(rename = "aws:kms")]
    AwsKms,
    /// With a key of your own, in sseCustomerKeySecret.
    #[serde(rename = "sse_c")]
    SseC,
}

/// As Vitess's `--gcs-backup-…` flags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GcsStorage {
    #[schemars(length(min = 1, max = 255))]
    pub bucket: String,
    /// What all names begin with: `--gcs-backup-storage-root`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::directory")]
    pub root: Option<String>,
}

/// As Vitess's `--azblob-backup-…` flags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AzblobStorage {
    /// The storage account.
    #[schemars(length(min = 1, max = 64))]
    pub account: String,
    #[schemars(length(min = 1, max = 255))]
    pub container: String,
    /// What all names begin with: `--azblob-backup-storage-root`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::directory")]
    pub root: Option<String>,
    /// The account's URL, when it is not in Azure's public cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::endpoint")]
    pub endpoint: Option<String>,
}

/// As Vitess's `--ceph-backup-storage-config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CephStorage {
    /// A Secret with Vitess's file of accessKey, secretKey, endPoint and useSSL; key `ceph_backup_config.json` if none is
    /// given.
    pub config_secret: SecretKey,
    /// A Secret with the certificate of the gateway's authority; key `ca.crt` if none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<SecretKey>,
}

/// A Secret of this namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretName {
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
}

/// One key of a Secret of this namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::secret_key")]
    pub key: Option<String>,
}

/// Whether this storage can be used, and what is in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VitessBackupStorageStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Accepted`: whether runs can use this storage. `Reachable`: whether the last inventory could list it, and if not, why
    /// and what to do. `StraysFound`: True when there are things in it that are no backups, and which. `Ready`,
    /// `Reconciling` and `Stalled` say whether it can be used to tools that know kstatus.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// How many complete backups there are, of all shards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backups: Option<i64>,
    /// Bytes as stored, of all backups, incomplete ones too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// bytes for people, such as 392.1Mi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// How many backups have no MANIFEST: they are being made, or were left half-made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<i64>,
    #[schemars(description = "When the storage was last listed whole.")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_inventory_time: Option<Time>,
    /// What each shard has, in order of shards.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<ShardStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inventory: Option<InventoryStatus>,
}
