//! A topology server's keys below a root, the same for all three: what Vitess calls files.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::access::{Access, Endpoint};
use super::error::{TopologyError, first_of};
use super::{consul, etcd, zookeeper};
use crate::backup::topology::TopologyServer;

/// What stands under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub value: Vec<u8>,
    /// Changes with every write, in the server's own counting; see [`Tree::write`].
    pub version: i64,
    /// It goes when the client that made it does: a lock, an election.
    pub ephemeral: bool,
}

/// Keys below a root by their path without it: `keyspaces/commerce/Keyspace`.
pub type Nodes = BTreeMap<String, Node>;

/// A connection to a server, as a tree of keys.
#[async_trait]
pub trait Tree: Send + Sync {
    /// Every file below `root`, which may be missing: then there is none.
    ///
    /// # Errors
    /// What the server says.
    async fn read(&self, root: &str) -> Result<Nodes, TopologyError>;

    /// Writes `path` below `root`. `before` is the version that was read, `None`: it must not be there.
    ///
    /// # Errors
    /// `Changed` when it is another one now; what the server says.
    async fn write(&self, root: &str, path: &str, value: &[u8], before: Option<i64>) -> Result<(), TopologyError>;

    /// The server's own version, where it tells.
    fn server_version(&self) -> Option<String>;
}

/// Connects to the first endpoint that answers.
///
/// # Errors
/// What they say.
pub async fn open(server: TopologyServer, access: &Access) -> Result<Box<dyn Tree>, TopologyError> {
    first_of(&access.endpoints, |endpoint| open_one(server, access, endpoint)).await
}

async fn open_one(
    server: TopologyServer,
    access: &Access,
    endpoint: &Endpoint,
) -> Result<Box<dyn Tree>, TopologyError> {
    Ok(match server {
        TopologyServer::Etcd => Box::new(etcd::EtcdTree::open(access, endpoint).await?),
        TopologyServer::Consul => Box::new(consul::ConsulTree::open(access, endpoint).await?),
        TopologyServer::Zookeeper => Box::new(zookeeper::ZookeeperTree::open(access, endpoint).await?),
    })
}

/// A root as this server's plugin of Vitess understands it: Consul's keys never begin with a slash, ZooKeeper's always do,
/// and etcd's as the root is written.
pub fn root_of(server: TopologyServer, root: &str) -> String {
    match server {
        TopologyServer::Etcd => root.trim_end_matches('/').to_owned(),
        TopologyServer::Consul | TopologyServer::Zookeeper => root_for(server, root),
    }
}

/// A root of another kind of server as people write it for this one.
pub fn root_for(server: TopologyServer, root: &str) -> String {
    let bare = root.trim_matches('/');
    match server {
        TopologyServer::Consul => bare.to_owned(),
        TopologyServer::Etcd | TopologyServer::Zookeeper => format!("/{bare}"),
    }
}

/// `root/path`.
pub fn join(root: &str, path: &str) -> String {
    format!("{}/{path}", root.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_read_as_the_plugin_of_the_server_does() {
        for (server, root, spelled) in [
            (TopologyServer::Etcd, "vitess/global", "vitess/global"),
            (TopologyServer::Etcd, "/vitess/global/", "/vitess/global"),
            (TopologyServer::Etcd, "/", ""),
            (TopologyServer::Zookeeper, "vitess/global", "/vitess/global"),
            (TopologyServer::Consul, "/vitess/global", "vitess/global"),
        ] {
            assert_eq!(root_of(server, root), spelled);
        }
        assert_eq!(join("", "cells/zone1/CellInfo"), "/cells/zone1/CellInfo");
    }

    #[test]
    fn a_root_is_spelled_for_another_kind_of_server() {
        for (server, root, spelled) in [
            (TopologyServer::Etcd, "vitess/global", "/vitess/global"),
            (TopologyServer::Zookeeper, "/vitess/zone1/", "/vitess/zone1"),
            (TopologyServer::Consul, "/vitess/global", "vitess/global"),
        ] {
            assert_eq!(root_for(server, root), spelled);
        }
        assert_eq!(join("/vitess/global", "cells/zone1/CellInfo"), "/vitess/global/cells/zone1/CellInfo");
        assert_eq!(join("/", "a"), "/a");
    }
}
