//! VitessTopologyBackup: one backup of one topology server.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backup::{DeletionPolicy, StorageReference, six_hours};
use super::pod_template::PodTemplate;
use super::run::RunStatus;
use super::schema;
use super::storage::SecretName;
use crate::backup::topology::{GLOBAL, TopologyServer};
use crate::duration::GoDuration;

/// One backup of a topology server, by the server's own method, of all that it has.
/// Create the object to take the backup; its status tells how it went. A spec cannot be changed.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "backup.vitess.io",
    version = "v1alpha1",
    kind = "VitessTopologyBackup",
    plural = "vitesstopologybackups",
    namespaced,
    status = "VitessTopologyBackupStatus",
    category = "vitess-backup",
    derive = "PartialEq",
    printcolumn(name = "Server", type_ = "string", json_path = ".status.server"),
    printcolumn(name = "Cell", type_ = "string", json_path = ".spec.cell"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress.summary"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.size"),
    printcolumn(name = "At", type_ = "string", json_path = ".status.at"),
    printcolumn(name = "Backup", type_ = "string", json_path = ".status.backupName", priority = 1),
    printcolumn(name = "Failure", type_ = "string", json_path = ".status.failure.reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    schema::rule("self == oldSelf", schema::IMMUTABLE_TOPOLOGY_BACKUP),
    schema::rule(
        "[has(self.etcd), has(self.zookeeper), has(self.consul)].filter(set, set).size() == 1",
        "name exactly one topology server: one of etcd, zookeeper and consul",
    ),
]))]
pub struct VitessTopologyBackupSpec {
    pub storage: StorageReference,
    /// The cell whose server it is, part of the backup's name. Default global: the server of the global topology, which often
    /// has the cells' too.
    #[serde(default = "global")]
    #[schemars(schema_with = "schema::cell")]
    pub cell: String,
    /// etcd v3, Vitess's topo implementation etcd2: its maintenance snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<EtcdServer>,
    /// ZooKeeper, zk2: the snapshot command of its admin server (3.9 and later), or the files of a server's volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zookeeper: Option<ZookeeperServer>,
    /// Consul: /v1/snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consul: Option<ConsulServer>,
    /// What deleting the object does to the data in storage: Retain leaves it; Delete removes it. The server's only complete
    /// backup is removed when the annotation backup.vitess.io/force-removal is "true".
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// How long the engine may take in all. Past it the run has failed, and nothing is left of it.
    #[serde(default = "six_hours")]
    #[schemars(schema_with = "schema::positive_duration")]
    pub deadline: GoDuration,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
}

fn global() -> String {
    GLOBAL.to_owned()
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EtcdServer {
    /// Client addresses: host:port, http://host:port or https://host:port. The first that has a leader is asked, and the next
    /// one when it fails.
    #[schemars(schema_with = "schema::endpoints")]
    pub endpoints: Vec<String>,
    /// A Secret of this namespace with ca.crt, and tls.crt with tls.key where etcd asks for a client's certificate. Only the
    /// engine's pod gets it. With it endpoints without http:// or https:// are spoken to with TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_secret: Option<SecretName>,
    /// A Secret with username and password of a user with the role root, where etcd asks who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<SecretName>,
    /// Also of a member that has no leader, which may lack the newest writes: to save what is left of a cluster.
    #[serde(default)]
    pub stale: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsulServer {
    /// Addresses of the HTTP API: host:port, http://host:port or https://host:port; the next one is asked when one fails.
    #[schemars(schema_with = "schema::endpoints")]
    pub endpoints: Vec<String>,
    /// A Secret of this namespace with ca.crt, and tls.crt with tls.key where Consul asks for a client's certificate. Only the
    /// engine's pod gets it. With it endpoints without http:// or https:// are spoken to with TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_secret: Option<SecretName>,
    /// A Secret with token, an ACL token that may manage: a snapshot has the ACLs too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<SecretName>,
    /// Have the server that is asked make the snapshot, without its leader. It may lack the newest writes.
    #[serde(default)]
    pub stale: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    schema::rule(
        "has(self.endpoints) != has(self.dataDirectory)",
        "name exactly one of endpoints (admin servers, ZooKeeper 3.9 and later) and dataDirectory (a server's volume)",
    ),
    schema::rule(
        "has(self.endpoints) || (!has(self.tlsSecret) && !has(self.credentialsSecret))",
        "tlsSecret and credentialsSecret are for endpoints: remove them, the files of a volume need neither",
    ),
]))]
pub struct ZookeeperServer {
    /// Addresses of admin servers (port 8080): host:port, http://host:port or https://host:port; the next one is asked when one
    /// fails. ZooKeeper 3.9 and later.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::endpoints")]
    pub endpoints: Vec<String>,
    /// A Secret of this namespace with ca.crt, and tls.crt with tls.key where the admin server asks for a client's certificate.
    /// Only the engine's pod gets it. With it endpoints without http:// or https:// are spoken to with TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_secret: Option<SecretName>,
    /// A Secret with username and password of a digest user that has all rights on /. Without it everybody must have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<SecretName>,
    /// For older servers: the newest snapshot of a running server's volume, with the transaction logs that follow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_directory: Option<ZookeeperDataDirectory>,
}

/// Where the files of a ZooKeeper are. The engine's pod reads them beside the server: on its node, unless the claim is
/// ReadWriteMany, and with the groups of its pod; podTemplate.securityContext has it read as somebody else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ZookeeperDataDirectory {
    /// The claim of the server's volume.
    #[schemars(schema_with = "schema::object_name")]
    pub claim_name: String,
    /// ZooKeeper's dataDir inside the volume. Default: the volume's own root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::directory")]
    pub data_dir: Option<String>,
    /// Its dataLogDir inside logClaimName's volume, or inside the same one where there is none. Default: logClaimName's own
    /// root; without one as dataDir.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::directory")]
    pub data_log_dir: Option<String>,
    /// The claim of the transaction logs, where they have a volume of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_name")]
    pub log_claim_name: Option<String>,
}

impl VitessTopologyBackupSpec {
    /// Which server the spec names; `None` for one that names none, which the API server refuses.
    pub fn server(&self) -> Option<TopologyServer> {
        match (&self.etcd, &self.zookeeper, &self.consul) {
            (Some(_), ..) => Some(TopologyServer::Etcd),
            (_, Some(_), _) => Some(TopologyServer::Zookeeper),
            (.., Some(_)) => Some(TopologyServer::Consul),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(description = "How the backup went.")]
pub struct VitessTopologyBackupStatus {
    #[serde(flatten)]
    pub run: RunStatus,
    /// etcd, zookeeper or consul.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
    /// Of whom the snapshot was had: host:port, or a directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// etcd: the member's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// The state that the snapshot has, for people: revision, index or zxid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// etcd: the snapshot has at least this revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// Consul: the Raft index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<i64>,
    /// ZooKeeper: the last transaction, 0x….
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zxid: Option<String>,
    /// Of the snapshot as stored; of several files, that of their list as sha256sum prints it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// etcd: how large its database may become, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<i64>,
}
