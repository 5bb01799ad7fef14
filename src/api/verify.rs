//! How a backup is verified once it is there, and what came of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pod_template::Amount;
use super::run::{EngineJob, FailureStatus, ProgressStatus};
use super::schema;
use super::xtrabackup::XtrabackupRestoreOptions;
use crate::duration::GoDuration;

/// How deep a verification looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Verify {
    #[default]
    None,
    /// Every stored object is read: its size, its hash, that it decompresses; and whether the MANIFEST makes sense.
    Objects,
    /// A drill: the backup is restored to scratch, a mysqld is started on it, every table is checked (CHECK TABLE) and the
    /// assertions of spec.drill are asked.
    Restore,
}

/// How a backup is tried out: verify: Restore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Drill {
    /// What must be true of the restored data.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "assertions")]
    pub assertions: Vec<Assertion>,
    /// How long one assertion may take. Default 1m.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::positive_duration")]
    pub assertion_timeout: Option<GoDuration>,
    /// The image with the mysqld that is started on the data, and with XtraBackup for a backup of that engine. Default: the
    /// image of the tablet that was backed up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub image: Option<String>,
    /// Where the backup is restored to. Default: an emptyDir without a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scratch: Option<Scratch>,
    /// Lines for the my.cnf of that mysqld: what the data needs to be started on, such as innodb_page_size or
    /// lower_case_table_names, or more memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16384))]
    pub my_cnf: Option<String>,
    /// For a backup that the xtrabackup engine made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xtrabackup: Option<XtrabackupRestoreOptions>,
}

/// A statement that must give exactly one row, whose first value must be true or not 0. It is asked in a transaction that
/// reads only, as a MySQL user that may write nothing; names without a schema are of vt_<keyspace>.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Assertion {
    /// What the assertion is called in the condition when it fails.
    #[schemars(schema_with = "assertion_name")]
    pub name: String,
    #[schemars(description = "One statement, such as SELECT COUNT(*) > 0 FROM customer.", length(min = 1, max = 8192))]
    pub sql: String,
}

/// The volume of a drill; it goes with the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [schema::rule(
    "has(self.emptyDir) != has(self.ephemeral)",
    "name exactly one of scratch.emptyDir (space of the node's) and scratch.ephemeral (a volume of its own)",
)]))]
pub struct Scratch {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_dir: Option<ScratchEmptyDir>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ephemeral: Option<ScratchVolume>,
}

/// Space on the node's own disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ScratchEmptyDir {
    /// The kubelet stops a pod that takes more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_limit: Option<Amount>,
}

/// A volume that is provisioned for the drill and deleted with its pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScratchVolume {
    /// Default: the cluster's own default class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_name")]
    pub storage_class_name: Option<String>,
    /// How large it is.
    pub size: Amount,
}

/// The verification that runs, or the last one that did. status.conditions has its verdict as Verified.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VerificationStatus {
    /// Objects or Restore.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Verify>,
    /// The value of the annotation backup.vitess.io/verify-at that asked for it; empty when spec.verify did.
    pub request: String,
    #[schemars(description = "When it was first launched.")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    #[schemars(description = "When it ended; absent while it runs.")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_time: Option<Time>,
    /// How many engine pods were launched for it.
    pub tries: i32,
    /// How many were launched for verifications of this backup in all.
    pub launched: i32,
    /// The Job that runs now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<EngineJob>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressStatus>,
    /// Objects that were read, or files that were restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<i64>,
    /// Bytes of all objects, as stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
    /// Tables that CHECK TABLE found whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<i64>,
    /// Rows in them, about: as InnoDB's statistics have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<i64>,
    /// Assertions that held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assertions: Option<i64>,
    /// What could not be checked, and what a person should know besides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What is damaged, or why nobody knows, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureStatus>,
}

fn assertion_name(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 63,
        "x-kubernetes-validations": [schema::rule(
            r"self.matches('^[-_.a-zA-Z0-9]+$')",
            "not a name for an assertion: letters, digits, '-', '_' and '.' only",
        )],
    })
}

/// Names are unique.
fn assertions(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let assertion = generator.subschema_for::<Assertion>();
    schemars::json_schema!({
        "type": "array",
        "items": assertion,
        "maxItems": 100,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    })
}
