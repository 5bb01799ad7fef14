//! Topology servers: etcd, ZooKeeper and Consul, each asked in its own way for a snapshot of all it has, and all three alike
//! for the records that Vitess keeps in them.
//!
//! * [`access`]: endpoints, TLS and credentials; [`connect`]: a connection, or why there is none.
//! * [`etcd`], [`consul`], [`zookeeper`]: the servers. What a backup stores of one is a [`Snapshot`].
//! * [`check`]: whether a snapshot is whole, by the checksum that the server put into it.
//! * [`tree`]: a server's keys below a root; [`records`]: what Vitess's keys mean, as JSON that a person can read.
//!
//! (`topo` is something else: the words keyspace, shard and tablet alias.)

pub mod access;
pub mod check;
pub mod connect;
pub mod consul;
mod error;
pub mod etcd;
pub mod records;
pub mod tree;
pub mod zookeeper;

use bytes::Bytes;
use futures::stream::BoxStream;

pub use access::{Access, Credentials, Endpoint, TlsFiles};
pub use error::TopologyError;

use crate::backup::topology::{Point, TopologyServer};
use check::Check;

/// What a server tells of itself when a snapshot is taken of it. What is unknown is absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub server: TopologyServer,
    /// `host:port`, or a directory.
    pub endpoint: String,
    pub method: &'static str,
    pub server_version: Option<String>,
    pub member: Option<String>,
    pub cluster: Option<String>,
    pub point: Point,
    pub stale: bool,
    pub in_use_bytes: Option<u64>,
    pub quota_bytes: Option<u64>,
    /// One sentence each.
    pub warnings: Vec<String>,
}

/// Bytes on their way from a server, in chunks.
pub type Body = BoxStream<'static, Result<Bytes, TopologyError>>;

/// One object of a snapshot, which is read once.
pub struct SnapshotPart {
    pub name: String,
    /// About how many bytes it will have; 0: nobody knows.
    pub expected: u64,
    pub body: Body,
    pub check: Box<dyn Check>,
}

/// A snapshot that is about to come.
pub struct Snapshot {
    pub facts: Facts,
    pub parts: Vec<SnapshotPart>,
}
