//! What Vitess's paths mean (source: Vitess's `topo/server.go` and the files beside it).

use super::schema::{self, Message};

/// Below which root a path stands: that of the global topology, or that of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    Global,
    Cell,
}

/// What stands under a path.
#[derive(Clone, Copy, Debug)]
pub enum Class {
    Record(&'static Message),
    Text,
    /// A lock, an election, or serving data, which Vitess makes anew (RebuildKeyspaceGraph, RebuildVSchemaGraph).
    Ephemeral,
    /// A path of the other area, where the two roots overlap.
    Elsewhere,
    /// Of a later Vitess, or not Vitess's.
    Unknown,
}

/// Sorts a path, given without its root.
pub fn class(area: Area, path: &str) -> Class {
    let parts: Vec<&str> = path.split('/').collect();
    let global = match parts[..] {
        ["cells", _, "CellInfo"] => Some(Class::Record(&schema::CELL_INFO)),
        ["cells_aliases", _, "CellsAlias"] => Some(Class::Record(&schema::CELLS_ALIAS)),
        ["keyspaces", _, "Keyspace"] => Some(Class::Record(&schema::KEYSPACE)),
        ["keyspaces", _, "VSchema"] => Some(Class::Record(&schema::VSCHEMA)),
        ["keyspaces", _, "shards", _, "Shard"] => Some(Class::Record(&schema::SHARD)),
        ["RoutingRules"] => Some(Class::Record(&schema::ROUTING_RULES)),
        ["ShardRoutingRules"] => Some(Class::Record(&schema::SHARD_ROUTING_RULES)),
        ["routing_rules", "keyspace", "Rules"] => Some(Class::Record(&schema::KEYSPACE_ROUTING_RULES)),
        ["MirrorRules"] => Some(Class::Record(&schema::MIRROR_RULES)),
        ["ExternalClusters", "vitess", _] => Some(Class::Record(&schema::EXTERNAL_VITESS_CLUSTER)),
        ["metadata", _] => Some(Class::Text),
        _ => None,
    };
    let of_cell = match parts[..] {
        ["tablets", _, "Tablet"] => Some(Class::Record(&schema::TABLET)),
        ["keyspaces", _, "shards", _, "ShardReplication"] => Some(Class::Record(&schema::SHARD_REPLICATION)),
        ["keyspaces", _, "SrvKeyspace"] | ["SrvVSchema"] => Some(Class::Ephemeral),
        _ => None,
    };
    let (own, other) = match area {
        Area::Global => (global, of_cell),
        Area::Cell => (of_cell, global),
    };
    match (own, other) {
        (Some(class), _) => class,
        (None, Some(_)) => Class::Elsewhere,
        (None, None) if is_passing(&parts) => Class::Ephemeral,
        (None, None) => Class::Unknown,
    }
}

/// Locks are `<what is locked>/locks/…` in etcd and ZooKeeper and `<what is locked>/Lock` in Consul.
fn is_passing(parts: &[&str]) -> bool {
    parts.first() == Some(&"elections")
        || parts.starts_with(&["internal", "named_locks"])
        || parts.contains(&"locks")
        || parts.last() == Some(&"Lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(area: Area, path: &str) -> String {
        match class(area, path) {
            Class::Record(message) => message.name.to_owned(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn records_are_told_from_locks_and_from_what_makes_itself_anew() {
        for (area, path, expected) in [
            (Area::Global, "keyspaces/commerce/Keyspace", "topodata.Keyspace"),
            (Area::Global, "keyspaces/locks/Keyspace", "topodata.Keyspace"),
            (Area::Global, "keyspaces/commerce/VSchema", "vschema.Keyspace"),
            (Area::Global, "keyspaces/commerce/shards/-80/Shard", "topodata.Shard"),
            (Area::Global, "cells/zone1/CellInfo", "topodata.CellInfo"),
            (Area::Global, "cells_aliases/region1/CellsAlias", "topodata.CellsAlias"),
            (Area::Global, "RoutingRules", "vschema.RoutingRules"),
            (Area::Global, "routing_rules/keyspace/Rules", "vschema.KeyspaceRoutingRules"),
            (Area::Global, "metadata/key", "Text"),
            (Area::Global, "keyspaces/commerce/locks/694d8f", "Ephemeral"),
            (Area::Global, "keyspaces/commerce/shards/0/Lock", "Ephemeral"),
            (Area::Global, "elections/vtctld/locks/1", "Ephemeral"),
            (Area::Global, "internal/named_locks/x/locks/1", "Ephemeral"),
            (Area::Global, "tablets/zone1-0000000101/Tablet", "Elsewhere"),
            (Area::Global, "new/Thing", "Unknown"),
            (Area::Cell, "tablets/zone1-0000000101/Tablet", "topodata.Tablet"),
            (Area::Cell, "keyspaces/commerce/shards/0/ShardReplication", "topodata.ShardReplication"),
            (Area::Cell, "keyspaces/commerce/SrvKeyspace", "Ephemeral"),
            (Area::Cell, "SrvVSchema", "Ephemeral"),
            (Area::Cell, "keyspaces/commerce/Keyspace", "Elsewhere"),
        ] {
            assert_eq!(told(area, path), expected, "{path}");
        }
    }
}
