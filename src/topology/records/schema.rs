//! The protobufs that Vitess keeps in its topology, as tables: field numbers, names and types of `topodata.proto`,
//! `vschema.proto` and what those import, as of Vitess 24. What later versions add is kept by its number (see `wire`).

/// A message.
#[derive(Debug)]
pub struct Message {
    pub name: &'static str,
    /// In ascending order of number.
    pub fields: &'static [Field],
}

#[derive(Debug)]
pub struct Field {
    pub number: u32,
    pub name: &'static str,
    pub kind: Kind,
    pub shape: Shape,
}

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Bool,
    Int32,
    Int64,
    Uint32,
    Float,
    Double,
    Text,
    Bytes,
    Enum(&'static [(i32, &'static str)]),
    Message(&'static Message),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Absent when it has its default.
    One,
    /// `optional`: a default is something else than nothing.
    Optional,
    /// Of texts and messages only, so that nothing is packed.
    Repeated,
    /// By texts.
    Map,
}

const fn one(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, shape: Shape::One }
}

const fn many(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, shape: Shape::Repeated }
}

const fn map(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, shape: Shape::Map }
}

use Kind::{Bool, Bytes, Double, Float, Int32, Int64, Text, Uint32};

static TIME: Message =
    Message { name: "vttime.Time", fields: &[one(1, "seconds", Int64), one(2, "nanoseconds", Int32)] };

static KEY_RANGE: Message =
    Message { name: "topodata.KeyRange", fields: &[one(1, "start", Bytes), one(2, "end", Bytes)] };

static TABLET_ALIAS: Message =
    Message { name: "topodata.TabletAlias", fields: &[one(1, "cell", Text), one(2, "uid", Uint32)] };

const TABLET_TYPE: Kind = Kind::Enum(&[
    (0, "UNKNOWN"),
    (1, "PRIMARY"),
    (2, "REPLICA"),
    (3, "RDONLY"),
    (4, "SPARE"),
    (5, "EXPERIMENTAL"),
    (6, "BACKUP"),
    (7, "RESTORE"),
    (8, "DRAINED"),
]);

pub static TABLET: Message = Message {
    name: "topodata.Tablet",
    fields: &[
        one(1, "alias", Kind::Message(&TABLET_ALIAS)),
        one(2, "hostname", Text),
        map(4, "port_map", Int32),
        one(5, "keyspace", Text),
        one(6, "shard", Text),
        one(7, "key_range", Kind::Message(&KEY_RANGE)),
        one(8, "type", TABLET_TYPE),
        one(9, "db_name_override", Text),
        map(10, "tags", Text),
        one(12, "mysql_hostname", Text),
        one(13, "mysql_port", Int32),
        one(14, "primary_term_start_time", Kind::Message(&TIME)),
        one(16, "default_conn_collation", Uint32),
        one(17, "tablet_start_time", Kind::Message(&TIME)),
        one(18, "tablet_shutdown_time", Kind::Message(&TIME)),
    ],
};

static SOURCE_SHARD: Message = Message {
    name: "topodata.Shard.SourceShard",
    fields: &[
        one(1, "uid", Int32),
        one(2, "keyspace", Text),
        one(3, "shard", Text),
        one(4, "key_range", Kind::Message(&KEY_RANGE)),
        many(5, "tables", Text),
    ],
};

static TABLET_CONTROL: Message = Message {
    name: "topodata.Shard.TabletControl",
    fields: &[
        one(1, "tablet_type", TABLET_TYPE),
        many(2, "cells", Text),
        many(4, "denied_tables", Text),
        one(5, "frozen", Bool),
        one(6, "allow_reads", Bool),
    ],
};

static VTORC_STATE: Message =
    Message { name: "vtorcdata.State", fields: &[one(1, "disable_emergency_reparent", Bool)] };

pub static SHARD: Message = Message {
    name: "topodata.Shard",
    fields: &[
        one(1, "primary_alias", Kind::Message(&TABLET_ALIAS)),
        one(2, "key_range", Kind::Message(&KEY_RANGE)),
        many(4, "source_shards", Kind::Message(&SOURCE_SHARD)),
        many(6, "tablet_controls", Kind::Message(&TABLET_CONTROL)),
        one(7, "is_primary_serving", Bool),
        one(8, "primary_term_start_time", Kind::Message(&TIME)),
        one(9, "vtorc_state", Kind::Message(&VTORC_STATE)),
    ],
};

static THROTTLED_APP_RULE: Message = Message {
    name: "topodata.ThrottledAppRule",
    fields: &[
        one(1, "name", Text),
        one(2, "ratio", Double),
        one(3, "expires_at", Kind::Message(&TIME)),
        one(4, "exempt", Bool),
    ],
};

static METRIC_NAMES: Message =
    Message { name: "topodata.ThrottlerConfig.MetricNames", fields: &[many(1, "names", Text)] };

static THROTTLER_CONFIG: Message = Message {
    name: "topodata.ThrottlerConfig",
    fields: &[
        one(1, "enabled", Bool),
        one(2, "threshold", Double),
        one(3, "custom_query", Text),
        one(4, "check_as_check_self", Bool),
        map(5, "throttled_apps", Kind::Message(&THROTTLED_APP_RULE)),
        map(6, "app_checked_metrics", Kind::Message(&METRIC_NAMES)),
        map(7, "metric_thresholds", Double),
    ],
};

static THROTTLE_THRESHOLD: Message =
    Message { name: "querythrottler.ThrottleThreshold", fields: &[one(1, "above", Double), one(2, "throttle", Int32)] };

static METRIC_RULE: Message =
    Message { name: "querythrottler.MetricRule", fields: &[many(1, "thresholds", Kind::Message(&THROTTLE_THRESHOLD))] };

static METRIC_RULE_SET: Message =
    Message { name: "querythrottler.MetricRuleSet", fields: &[map(1, "metric_rules", Kind::Message(&METRIC_RULE))] };

static STATEMENT_RULE_SET: Message = Message {
    name: "querythrottler.StatementRuleSet",
    fields: &[map(1, "statement_rules", Kind::Message(&METRIC_RULE_SET))],
};

static TABLET_STRATEGY_CONFIG: Message = Message {
    name: "querythrottler.TabletStrategyConfig",
    fields: &[map(1, "tablet_rules", Kind::Message(&STATEMENT_RULE_SET))],
};

static QUERY_THROTTLER_CONFIG: Message = Message {
    name: "querythrottler.Config",
    fields: &[
        one(1, "enabled", Bool),
        one(2, "strategy", Kind::Enum(&[(0, "UNKNOWN"), (1, "TABLET_THROTTLER")])),
        one(3, "tablet_strategy_config", Kind::Message(&TABLET_STRATEGY_CONFIG)),
        one(4, "dry_run", Bool),
    ],
};

pub static KEYSPACE: Message = Message {
    name: "topodata.Keyspace",
    fields: &[
        one(5, "keyspace_type", Kind::Enum(&[(0, "NORMAL"), (1, "SNAPSHOT")])),
        one(6, "base_keyspace", Text),
        one(7, "snapshot_time", Kind::Message(&TIME)),
        one(8, "durability_policy", Text),
        one(9, "throttler_config", Kind::Message(&THROTTLER_CONFIG)),
        one(10, "sidecar_db_name", Text),
        one(11, "vtorc_state", Kind::Message(&VTORC_STATE)),
        one(12, "query_throttler_config", Kind::Message(&QUERY_THROTTLER_CONFIG)),
    ],
};

static SHARD_REPLICATION_NODE: Message =
    Message { name: "topodata.ShardReplication.Node", fields: &[one(1, "tablet_alias", Kind::Message(&TABLET_ALIAS))] };

pub static SHARD_REPLICATION: Message =
    Message { name: "topodata.ShardReplication", fields: &[many(1, "nodes", Kind::Message(&SHARD_REPLICATION_NODE))] };

pub static CELL_INFO: Message =
    Message { name: "topodata.CellInfo", fields: &[one(1, "server_address", Text), one(2, "root", Text)] };

pub static CELLS_ALIAS: Message = Message { name: "topodata.CellsAlias", fields: &[many(2, "cells", Text)] };

static TOPO_CONFIG: Message = Message {
    name: "topodata.TopoConfig",
    fields: &[one(1, "topo_type", Text), one(2, "server", Text), one(3, "root", Text)],
};

pub static EXTERNAL_VITESS_CLUSTER: Message =
    Message { name: "topodata.ExternalVitessCluster", fields: &[one(1, "topo_config", Kind::Message(&TOPO_CONFIG))] };

static ROUTING_RULE: Message =
    Message { name: "vschema.RoutingRule", fields: &[one(1, "from_table", Text), many(2, "to_tables", Text)] };

pub static ROUTING_RULES: Message =
    Message { name: "vschema.RoutingRules", fields: &[many(1, "rules", Kind::Message(&ROUTING_RULE))] };

static SHARD_ROUTING_RULE: Message = Message {
    name: "vschema.ShardRoutingRule",
    fields: &[one(1, "from_keyspace", Text), one(2, "to_keyspace", Text), one(3, "shard", Text)],
};

pub static SHARD_ROUTING_RULES: Message =
    Message { name: "vschema.ShardRoutingRules", fields: &[many(1, "rules", Kind::Message(&SHARD_ROUTING_RULE))] };

static KEYSPACE_ROUTING_RULE: Message = Message {
    name: "vschema.KeyspaceRoutingRule",
    fields: &[one(1, "from_keyspace", Text), one(2, "to_keyspace", Text)],
};

pub static KEYSPACE_ROUTING_RULES: Message = Message {
    name: "vschema.KeyspaceRoutingRules",
    fields: &[many(1, "rules", Kind::Message(&KEYSPACE_ROUTING_RULE))],
};

static MIRROR_RULE: Message = Message {
    name: "vschema.MirrorRule",
    fields: &[one(1, "from_table", Text), one(2, "to_table", Text), one(3, "percent", Float)],
};

pub static MIRROR_RULES: Message =
    Message { name: "vschema.MirrorRules", fields: &[many(1, "rules", Kind::Message(&MIRROR_RULE))] };

static VINDEX: Message =
    Message { name: "vschema.Vindex", fields: &[one(1, "type", Text), map(2, "params", Text), one(3, "owner", Text)] };

static COLUMN_VINDEX: Message = Message {
    name: "vschema.ColumnVindex",
    fields: &[one(1, "column", Text), one(2, "name", Text), many(3, "columns", Text)],
};

static AUTO_INCREMENT: Message =
    Message { name: "vschema.AutoIncrement", fields: &[one(1, "column", Text), one(2, "sequence", Text)] };

/// `query.Type`.
const QUERY_TYPE: Kind = Kind::Enum(&[
    (0, "NULL_TYPE"),
    (257, "INT8"),
    (770, "UINT8"),
    (259, "INT16"),
    (772, "UINT16"),
    (261, "INT24"),
    (774, "UINT24"),
    (263, "INT32"),
    (776, "UINT32"),
    (265, "INT64"),
    (778, "UINT64"),
    (1035, "FLOAT32"),
    (1036, "FLOAT64"),
    (2061, "TIMESTAMP"),
    (2062, "DATE"),
    (2063, "TIME"),
    (2064, "DATETIME"),
    (785, "YEAR"),
    (18, "DECIMAL"),
    (6163, "TEXT"),
    (10260, "BLOB"),
    (6165, "VARCHAR"),
    (10262, "VARBINARY"),
    (6167, "CHAR"),
    (10264, "BINARY"),
    (2073, "BIT"),
    (2074, "ENUM"),
    (2075, "SET"),
    (28, "TUPLE"),
    (2077, "GEOMETRY"),
    (2078, "JSON"),
    (31, "EXPRESSION"),
    (4128, "HEXNUM"),
    (4129, "HEXVAL"),
    (4130, "BITNUM"),
    (2083, "VECTOR"),
    (36, "RAW"),
    (37, "ROW_TUPLE"),
]);

static COLUMN: Message = Message {
    name: "vschema.Column",
    fields: &[
        one(1, "name", Text),
        one(2, "type", QUERY_TYPE),
        one(3, "invisible", Bool),
        one(4, "default", Text),
        one(5, "collation_name", Text),
        one(6, "size", Int32),
        one(7, "scale", Int32),
        Field { number: 8, name: "nullable", kind: Bool, shape: Shape::Optional },
        many(9, "values", Text),
    ],
};

static TABLE: Message = Message {
    name: "vschema.Table",
    fields: &[
        one(1, "type", Text),
        many(2, "column_vindexes", Kind::Message(&COLUMN_VINDEX)),
        one(3, "auto_increment", Kind::Message(&AUTO_INCREMENT)),
        many(4, "columns", Kind::Message(&COLUMN)),
        one(5, "pinned", Text),
        one(6, "column_list_authoritative", Bool),
        one(7, "source", Text),
    ],
};

static MULTI_TENANT_SPEC: Message = Message {
    name: "vschema.MultiTenantSpec",
    fields: &[one(1, "tenant_id_column_name", Text), one(2, "tenant_id_column_type", QUERY_TYPE)],
};

pub static VSCHEMA: Message = Message {
    name: "vschema.Keyspace",
    fields: &[
        one(1, "sharded", Bool),
        map(2, "vindexes", Kind::Message(&VINDEX)),
        map(3, "tables", Kind::Message(&TABLE)),
        one(4, "require_explicit_routing", Bool),
        one(
            5,
            "foreign_key_mode",
            Kind::Enum(&[(0, "unspecified"), (1, "disallow"), (2, "unmanaged"), (3, "managed")]),
        ),
        one(6, "multi_tenant_spec", Kind::Message(&MULTI_TENANT_SPEC)),
    ],
};

/// The messages that stand under a path of their own.
static RECORDS: [&Message; 12] = [
    &TABLET,
    &SHARD,
    &KEYSPACE,
    &SHARD_REPLICATION,
    &CELL_INFO,
    &CELLS_ALIAS,
    &EXTERNAL_VITESS_CLUSTER,
    &ROUTING_RULES,
    &SHARD_ROUTING_RULES,
    &KEYSPACE_ROUTING_RULES,
    &MIRROR_RULES,
    &VSCHEMA,
];

/// The record of this name.
pub fn message(name: &str) -> Option<&'static Message> {
    RECORDS.iter().find(|message| message.name == name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &Message) {
        let numbers: Vec<u32> = message.fields.iter().map(|field| field.number).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{}: {numbers:?}", message.name);
        for field in message.fields {
            let simple = matches!(field.kind, Kind::Text | Kind::Message(_));
            assert!(field.shape != Shape::Repeated || simple, "{}.{} would be packed", message.name, field.name);
            if let Kind::Message(inner) = field.kind {
                check(inner);
            }
        }
    }

    #[test]
    fn the_fields_of_each_message_stand_in_order_and_none_is_packed() {
        for message in RECORDS {
            check(message);
        }
    }
}
