//! The vocabulary layer of `vitess_backup`, built by itself: it needs nothing else, so that this takes seconds, and every
//! edge in what is built is one that the fuzzer should look for.

#[path = "../../../src/backup/mod.rs"]
pub mod backup;
#[path = "../../../src/progress/mod.rs"]
pub mod progress;
#[path = "../../../src/replication/mod.rs"]
pub mod replication;
#[path = "../../../src/topo/mod.rs"]
pub mod topo;

pub mod entry;
