//! The words of Vitess's topology: keyspace, shard, cell, tablet alias. Strings with rules, parsed once.

mod alias;
mod shard;

pub use alias::{ParseAliasError, TabletAlias};
pub use shard::{KeyspaceShard, ParseShardError};
