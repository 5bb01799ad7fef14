//! Schemas of the strings that have rules, with the CEL rule and the message that says what to do.
//!
//! Every string with a CEL rule has a `maxLength`: the API server refuses rules whose worst-case cost it cannot bound.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::json;

/// Of a spec that stays as it is; where it has `cancel`, that field is left out (see `but_for_cancel`).
pub const UNCHANGED: &str = "self == oldSelf";
/// Of a record, what says which backup it is of stays; how it is to be removed may change.
pub const SAME_BACKUP: &str = "self == oldSelf || (has(self.backupName) && has(oldSelf.backupName) && \
    self.backupName == oldSelf.backupName && self.storage == oldSelf.storage && has(self.shard) && has(oldSelf.shard) && \
    self.shard == oldSelf.shard)";
pub const IMMUTABLE_BACKUP: &str = "the spec of a VitessBackup cannot be changed: delete the object and create a new one \
     (only cancel can be set, to stop the run)";
pub const IMMUTABLE_RESTORE: &str = "the spec of a VitessRestore cannot be changed: delete the object and create a new \
     one (only cancel can be set, to stop the run; of trigger PodStart all but trigger and shard can be changed)";
/// A run that was told to stop stops.
pub const STAYS_CANCELLED: &str = "!(has(oldSelf.cancel) && oldSelf.cancel) || (has(self.cancel) && self.cancel)";
pub const CANCELLED: &str = "cancel cannot be taken back: create a new object to run again";
pub const IMMUTABLE_TOPOLOGY_BACKUP: &str =
    "the spec of a VitessTopologyBackup cannot be changed: delete the object and create a new one";

/// One CEL rule and its message.
pub fn rule(rule: &str, message: &str) -> serde_json::Value {
    json!({"rule": rule, "message": message})
}

/// `zone1-0000000101`. The rule is that of [`crate::topo::TabletAlias`].
pub fn tablet_alias(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 120,
        "x-kubernetes-validations": [rule(
            r"self.matches('^[-_a-zA-Z0-9]+-[0-9]{1,10}$') && int(self.substring(self.lastIndexOf('-') + 1)) <= 4294967295",
            "not a tablet alias: write <cell>-<uid>, for example zone1-0000000101 (a cell of letters, digits, '-' and '_'; a uid up to 4294967295)",
        )],
    })
}

/// `commerce/-80`. The rule is that of [`crate::topo::KeyspaceShard`].
pub fn keyspace_shard(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 200,
        "x-kubernetes-validations": [rule(
            r"self.matches('^[-_.a-zA-Z0-9]+/[-_a-zA-Z0-9]+$') && !self.startsWith('./') && !self.startsWith('../')",
            "not a shard: write <keyspace>/<shard>, for example commerce/0 or commerce/-80",
        )],
    })
}

const DURATION: &str = r"self.matches('^(0|([0-9]+([.][0-9]+)?(ns|us|µs|ms|s|m|h))+)$')";

/// A duration that must be more than nothing.
pub fn positive_duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 32,
        "x-kubernetes-validations": [rule(
            &format!("{DURATION} && self != '0' && duration(self) > duration('0s')"),
            "not a positive duration: write a number and a unit, for example 30m, 1h30m or 6h",
        )],
    })
}

/// A duration; nothing is allowed.
pub fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 32,
        "x-kubernetes-validations": [rule(
            DURATION,
            "not a non-negative duration: write a number and a unit, for example 30s or 1m30s; 0s means no limit",
        )],
    })
}

/// `0s`, or at least a second: each look for a backup is a pod.
pub fn interval(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 32,
        "x-kubernetes-validations": [
            rule(DURATION, "not a non-negative duration: write a number and a unit, for example 10s or 1m30s; 0s means not to wait"),
            rule(
                &format!("!{DURATION} || self == '0' || duration(self) == duration('0s') || duration(self) >= duration('1s')"),
                "too short: every look for a backup starts a pod; write 0s (do not wait) or at least 1s",
            ),
        ],
    })
}

/// `0s`, or at least ten seconds: each inventory is a pod.
pub fn inventory_interval(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 32,
        "x-kubernetes-validations": [
            rule(DURATION, "not a non-negative duration: write a number and a unit, for example 5m or 1h; 0s means never"),
            rule(
                &format!("!{DURATION} || self == '0' || duration(self) == duration('0s') || duration(self) >= duration('10s')"),
                "too short: every inventory is a pod; write 0s (never) or at least 10s",
            ),
        ],
    })
}

/// Bytes a second. The rule is that of [`crate::backup::bytes::ByteSize`], and more than nothing.
pub fn bandwidth(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 20,
        "x-kubernetes-validations": [rule(
            r"self.matches('^[0-9]{1,15}([.][0-9]{1,3})?(k|Ki|M|Mi|G|Gi)?$') && self.matches('^[0-9.]*[1-9]')",
            "not a number of bytes a second: write for example 50Mi (50 MiB a second) or 100M; leave it out for no limit",
        )],
    })
}

const VITESS_TIME: &str = r"self.matches('^[0-9]{4}-[0-9]{2}-[0-9]{2}[.][0-9]{6}$')";
const RFC_3339: &str =
    r"self.matches('^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?(Z|[-+][0-9]{2}:[0-9]{2})$')";

/// `2021-04-29.133050`, as Vitess names backups, or RFC 3339.
///
/// The second and third rules are there for the 30th of February: `timestamp()` refuses what no calendar has.
pub fn backup_time(_: &mut SchemaGenerator) -> Schema {
    let wrong = "not a time: write it in UTC as Vitess does, 2021-04-29.133050, or in RFC 3339, 2021-04-29T13:30:50Z";
    let piece = |from: u8, to: u8| format!("self.substring({from}, {to})");
    let vitess_time = format!(
        "timestamp({} + 'T' + {} + ':' + {} + ':' + {} + 'Z')",
        piece(0, 10),
        piece(11, 13),
        piece(13, 15),
        piece(15, 17)
    );
    json_schema!({
        "type": "string",
        "maxLength": 40,
        "x-kubernetes-validations": [
            rule(&format!("{VITESS_TIME} || {RFC_3339}"), wrong),
            rule(&format!("!{VITESS_TIME} || {vitess_time}.getFullYear() >= 0"), wrong),
            rule(&format!("!{RFC_3339} || timestamp(self).getFullYear() >= 0"), wrong),
        ],
    })
}

/// The name of a backup as it stands in storage.
pub fn backup_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
        "x-kubernetes-validations": [rule(
            "!self.contains('/') && self != '.' && self != '..'",
            "not the name of a backup: write it as listed, for example 2021-04-29.133050.zone1-0000000101, without keyspace and shard",
        )],
    })
}

/// `host:port`.
pub fn host_port(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 300,
        "x-kubernetes-validations": [rule(
            r"self.matches('^(\\[[0-9a-fA-F:.]+\\]|[-_.a-zA-Z0-9]+):[0-9]{1,5}$')",
            "not an address: write host:port of vtctld's gRPC port, for example vtctld.vitess.svc:15999",
        )],
    })
}

/// `global`, or the name of a cell as [`crate::backup::topology::TopologyBackupName`] takes it.
pub fn cell(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 64,
        "x-kubernetes-validations": [rule(
            "self.matches('^[-_a-zA-Z0-9]+$')",
            "not a cell: letters, digits, '-' and '_' only; leave it out for the server of the global topology",
        )],
    })
}

/// Addresses of a topology server.
pub fn endpoints(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 16,
        "items": {
            "type": "string",
            "maxLength": 300,
            "x-kubernetes-validations": [rule(
                r"self.matches('^(https?://)?(\\[[0-9a-fA-F:.]+\\]|[-_.a-zA-Z0-9]+):[0-9]{1,5}$')",
                "not an endpoint: write host:port, http://host:port or https://host:port, for example etcd.vitess.svc:2379",
            )],
        },
    })
}

/// A directory inside a volume.
pub fn directory(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 1024,
        "x-kubernetes-validations": [rule(
            "!self.split('/').exists(part, part == '..')",
            "not a directory inside the volume: remove '..' from the path",
        )],
    })
}

/// A directory of the tablet's image, where XtraBackup's programs are.
pub fn program_directory(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 1024,
        "x-kubernetes-validations": [rule(
            "self.startsWith('/')",
            "xtrabackup.rootPath is not an absolute path: write the directory of the tablet's image that has xtrabackup and xbstream, for example /opt/xtrabackup/bin",
        )],
    })
}

/// An object of this namespace, by name.
pub fn object_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 253,
        "x-kubernetes-validations": [rule(
            "self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",
            "not the name of a Kubernetes object: lower-case letters, digits, '-' and '.' only",
        )],
    })
}

/// A key of a Secret.
pub fn secret_key(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 253,
        "x-kubernetes-validations": [rule(
            "self.matches('^[-._a-zA-Z0-9]+$') && self != '.' && !self.startsWith('..')",
            "not a key of a Secret: letters, digits, '-', '_' and '.' only",
        )],
    })
}

/// The URL of a storage server.
pub fn endpoint(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 300,
        "x-kubernetes-validations": [rule(
            r"self.matches('^https?://[^/?#@]+(/[^?#@]*)?$')",
            "not an endpoint: write https://host or http://host:port, without user, query and fragment",
        )],
    })
}

/// An object whose fields a later version defines; this version refuses it by a rule of the enclosing object.
pub fn later_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Any JSON object, kept as it is.
pub fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Conditions merge by type under server-side apply.
pub fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let condition = generator.subschema_for::<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition>();
    json_schema!({
        "type": "array",
        "items": condition,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}
