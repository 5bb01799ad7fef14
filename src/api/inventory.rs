//! What an inventory leaves on a VitessBackupStorage.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::run::EngineJob;

/// What one shard has in a storage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ShardStatus {
    /// `<keyspace>/<shard>`.
    pub shard: String,
    /// How many complete backups.
    pub backups: i64,
    #[schemars(description = "The newest complete backup.")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_backup_name: Option<String>,
    #[schemars(description = "When it was begun.")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_backup_time: Option<Time>,
    /// The replication position that it restores to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_position: Option<String>,
    #[schemars(
        description = "The time of the oldest complete full backup: no earlier state of the shard can be restored."
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_restorable_time: Option<Time>,
}

/// How far the operator is with listing a storage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InventoryStatus {
    /// How many inventories were begun.
    pub number: i32,
    /// The Job that lists the storage now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<EngineJob>,
    #[schemars(description = "When the last one was begun.")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch_time: Option<Time>,
    #[schemars(description = "When the last one ended, well or badly.")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Time>,
    /// The generation of the spec that the last one was begun for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// How many have failed since the last that did not.
    #[serde(skip_serializing_if = "is_zero")]
    pub failures: i32,
    /// The last one left something for the next, which follows at once.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the shape of serde's predicate")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}
