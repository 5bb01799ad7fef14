//! A backup of a topology server in storage: its name, and the descriptor that says what it is.
//!
//! Each backup is a directory `vitess.topology/backups/<name>` below the storage's root, at the depth at which Vitess keeps
//! a shard's backups. Vitess lists `<keyspace>/<shard>` for keyspaces and shards of its topology only, and a keyspace's name
//! has letters, digits, `-` and `_` (`validateObjectName` in its `topo` package): none can be called `vitess.topology`. With
//! Ceph, where a keyspace is a bucket, the name is one that S3 takes.
//!
//! The descriptor, object [`OBJECT`], is written when everything else is stored and checked, and removed first. A directory
//! without one is a backup that is being made, or one that was cut short: it is never shown as complete.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::name::parse_time;

/// The two levels of the directory, in the places of keyspace and shard.
pub const DIRECTORY: (&str, &str) = ("vitess.topology", "backups");
/// The descriptor's name in a backup's directory.
pub const OBJECT: &str = "TOPOLOGY.json";
/// The most bytes that a descriptor may have.
pub const SIZE_LIMIT: u64 = 1 << 20;
/// The cell that stands for Vitess's global topology.
pub const GLOBAL: &str = "global";

/// The kinds of topology servers that Vitess has plugins for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TopologyServer {
    Etcd,
    Zookeeper,
    Consul,
}

impl TopologyServer {
    /// What Vitess's `--topo-implementation` calls it.
    pub fn implementation(self) -> &'static str {
        match self {
            Self::Etcd => "etcd2",
            Self::Zookeeper => "zk2",
            Self::Consul => "consul",
        }
    }

    /// Its own name, for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Zookeeper => "ZooKeeper",
            Self::Consul => "Consul",
        }
    }
}

impl fmt::Display for TopologyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Etcd => "etcd",
            Self::Zookeeper => "zookeeper",
            Self::Consul => "consul",
        })
    }
}

impl FromStr for TopologyServer {
    type Err = ParseTopologyNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "etcd" => Ok(Self::Etcd),
            "zookeeper" => Ok(Self::Zookeeper),
            "consul" => Ok(Self::Consul),
            _ => Err(ParseTopologyNameError(text.to_owned())),
        }
    }
}

/// The state that a snapshot has, in the server's own words; one of the three is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// etcd: the snapshot has at least this revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// Consul: the Raft index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// ZooKeeper: the last transaction, `0x…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zxid: Option<String>,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.revision, &self.index, &self.zxid) {
            (Some(revision), ..) => write!(f, "revision {revision}"),
            (_, Some(index), _) => write!(f, "index {index}"),
            (.., Some(zxid)) => write!(f, "zxid {zxid}"),
            _ => Ok(()),
        }
    }
}

/// One stored object of a backup. `sha256` in lower-case hex, of the object as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    pub name: String,
    pub size_bytes: u64,
    pub sha256: String,
}

/// What a backup of a topology server is: the JSON of [`OBJECT`]. What is unknown is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub name: String,
    pub server: TopologyServer,
    /// `global`, or the cell whose server it is.
    pub cell: String,
    /// Where it was taken, `host:port` or a directory.
    pub endpoint: String,
    /// How it was taken, one sentence.
    pub method: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
    /// In the server's own spelling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    #[serde(flatten)]
    pub point: Point,
    /// Taken of one server without asking the leader, so that it may lack the newest writes.
    #[serde(default)]
    pub stale: bool,
    pub start_time: jiff::Timestamp,
    pub finished_time: jiff::Timestamp,
    /// Bytes of all parts.
    pub size_bytes: u64,
    /// etcd: bytes of its database that are in use, and the most that it may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_use_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// Of the only part; of several, that of their lines `<sha256>  <name>\n`, as sha256sum writes them.
    pub sha256: String,
    pub parts: Vec<Part>,
}

impl Descriptor {
    /// As it is stored: JSON with a line for each field.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// # Errors
    /// The words of what is wrong, for a descriptor that another program wrote or that is damaged.
    pub fn decode(stored: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(stored).map_err(|error| error.to_string())
    }
}

/// `2026-11-27.060000.global.etcd`: when it was begun in UTC, of which cell's server, and what that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyBackupName {
    text: String,
    cell: String,
    server: TopologyServer,
}

/// A text that is no name of a topology backup.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not of the form <date>.<time>.<cell>.<etcd, zookeeper or consul>, for example 2026-11-27.060000.global.etcd"
)]
pub struct ParseTopologyNameError(String);

impl TopologyBackupName {
    /// # Errors
    /// For a cell that Vitess would not take: empty, or with other than letters, digits, `-` and `_`.
    pub fn new(started: jiff::Timestamp, cell: &str, server: TopologyServer) -> Result<Self, ParseTopologyNameError> {
        format!("{}.{cell}.{server}", started.strftime("%Y-%m-%d.%H%M%S")).parse()
    }

    pub fn cell(&self) -> &str {
        &self.cell
    }

    pub fn server(&self) -> TopologyServer {
        self.server
    }
}

impl fmt::Display for TopologyBackupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for TopologyBackupName {
    type Err = ParseTopologyNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseTopologyNameError(text.to_owned());
        let parts: Vec<&str> = text.split('.').collect();
        let [date, time, cell, server] = parts[..] else { return Err(wrong()) };
        parse_time(&format!("{date}.{time}")).map_err(|_| wrong())?;
        let is_cell = !cell.is_empty() && cell.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        if !is_cell {
            return Err(wrong());
        }
        Ok(Self { text: text.to_owned(), cell: cell.to_owned(), server: server.parse().map_err(|_| wrong())? })
    }
}

/// A backup of a topology server as `list --topology` finds it in storage, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedTopologyBackup {
    pub name: String,
    /// The descriptor is there and can be read, and so is every part of the size that it tells.
    pub complete: bool,
    /// Why it is not complete, one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Bytes as stored, of all its objects.
    pub size_bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<Descriptor>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_time_cell_and_server_and_reads_as_it_is_written() {
        let started = "2026-11-27T06:00:00.5Z".parse().unwrap();
        let name = TopologyBackupName::new(started, "zone1", TopologyServer::Zookeeper).unwrap();
        assert_eq!(name.to_string(), "2026-11-27.060000.zone1.zookeeper");
        assert_eq!((name.cell(), name.server()), ("zone1", TopologyServer::Zookeeper));
        assert_eq!(name.to_string().parse(), Ok(name));
        for wrong in [
            "",
            "2026-11-27.060000.zone1-0000000101",
            "x.y.global.etcd",
            "2026-11-27.060000..etcd",
            "2026-11-27.060000.a.zk",
        ] {
            assert!(wrong.parse::<TopologyBackupName>().is_err(), "{wrong}");
        }
        assert!(TopologyBackupName::new(started, "a.b", TopologyServer::Etcd).is_err());
    }

    #[test]
    fn the_directory_can_be_no_keyspace_of_vitess() {
        let (keyspace, shard) = DIRECTORY;
        // As Vitess's validateObjectName.
        let taken = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        assert!(!taken(keyspace));
        assert!(
            crate::topo::KeyspaceShard::new(keyspace, shard).is_ok(),
            "storage has it as a directory like any other"
        );
    }

    #[test]
    fn a_descriptor_is_json_that_says_where_the_snapshot_stands() {
        let time: jiff::Timestamp = "2026-11-27T06:00:00Z".parse().unwrap();
        let descriptor = Descriptor {
            name: "2026-11-27.060000.global.etcd".into(),
            server: TopologyServer::Etcd,
            cell: GLOBAL.into(),
            endpoint: "etcd:2379".into(),
            method: "maintenance snapshot".into(),
            server_version: Some("3.5.16".into()),
            member: Some("8e9e05c52164694d".into()),
            cluster: None,
            point: Point { revision: Some(42), ..Point::default() },
            stale: false,
            start_time: time,
            finished_time: time,
            size_bytes: 20_512,
            in_use_bytes: Some(16_384),
            quota_bytes: None,
            sha256: "00ff".into(),
            parts: vec![Part { name: "snapshot.db".into(), size_bytes: 20_512, sha256: "00ff".into() }],
        };
        let text = String::from_utf8(descriptor.encode()).unwrap();
        assert!(text.contains("\"revision\": 42") && text.contains("\"server\": \"etcd\""), "{text}");
        assert_eq!(Descriptor::decode(text.as_bytes()), Ok(descriptor.clone()));
        assert_eq!(descriptor.point.to_string(), "revision 42");
        assert!(Descriptor::decode(b"{}").unwrap_err().contains("missing field"));
    }
}
