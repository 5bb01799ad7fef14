//! vitess-backup-operator: backups and restores of Vitess shards on Kubernetes, in Vitess's own format.
//!
//! # The house
//!
//! Three storeys, and a rule of who may import whom (`tests/layers.rs` reads every `use crate::` line and checks it):
//!
//! * **Vocabulary** (`topo`, `duration`, `replication`, `backup`, `progress`): the words of Vitess and MySQL as parsed types. No
//!   async, no I/O, nothing imported from above.
//! * **Engine half** (`storage`, `mysqld`, `topology`, `codec`, then `engine` over them): knows MySQL, topology servers and
//!   storage, nothing of Kubernetes.
//! * **Kubernetes half** (`api`, `plan`, `resources`: pure; `controller` over them; `telemetry`): knows Kubernetes and
//!   nothing of MySQL. `api`, `plan` and `resources` import neither the clock, nor randomness, nor `kube::Client`.
//!
//! The halves meet in two places only: the command line of the engine pod (`cli`), and the [`backup::report`] lines that
//! the engine writes to stdout and the controller reads. Nothing imports `cli`.

/// Serialises a type as its `Display` writes it and reads it back with its `FromStr`; up here because the whole vocabulary
/// uses it.
macro_rules! serde_as_text {
    ($($type:ty),+) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

pub mod api;
pub mod backup;
pub mod cli;
pub mod codec;
pub mod controller;
pub mod duration;
pub mod engine;
pub mod mysqld;
pub mod plan;
pub mod progress;
pub mod replication;
pub mod resources;
pub mod storage;
pub mod telemetry;
pub mod topo;
pub mod topology;
