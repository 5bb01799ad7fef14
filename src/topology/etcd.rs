//! etcd v3 over gRPC: the maintenance snapshot, and the keys.

mod rpc;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;

use super::access::{Access, Endpoint};
use super::check::EtcdDatabase;
use super::connect::{base_url, http_client};
use super::error::TopologyError;
use super::tree::{Node, Nodes, Tree, join};
use super::{Body, Facts, Snapshot, SnapshotPart};
use crate::backup::topology::{Point, TopologyServer};
use rpc::{Client, SnapshotResponse, Status};

pub const TITLE: &str = "etcd";
/// The object of a backup.
pub const OBJECT: &str = "snapshot.db";
const METHOD: &str = "etcd's maintenance Snapshot call";
const METRICS_LIMIT: Duration = Duration::from_secs(5);

/// Asks a member for a snapshot; nothing of it has come when this returns.
///
/// A member serves its snapshot also when it has no leader, and what it has may then be old: that is refused unless `stale`.
///
/// # Errors
/// As [`TopologyError`] tells them apart.
pub async fn snapshot(access: &Access, endpoint: &Endpoint, stale: bool) -> Result<Snapshot, TopologyError> {
    let (client, mut status) = Client::connect(access, endpoint).await?;
    if let Some(cause) = status.trouble()
        && !stale
    {
        return Err(TopologyError::NoQuorum { server: TITLE, endpoint: endpoint.to_string(), cause });
    }
    if status.db_size_quota == 0 {
        status.db_size_quota = quota(access, endpoint).await.unwrap_or(0);
    }
    let facts = facts(endpoint, &status, stale && status.trouble().is_some());
    // More than what the member has in its file cannot come, but for the hash.
    let expected = u64::try_from(status.db_size).unwrap_or(0);
    let streaming = client.snapshot().await?;
    let part = SnapshotPart {
        name: OBJECT.to_owned(),
        expected,
        body: body(streaming, endpoint.to_string(), access.stall),
        check: Box::<EtcdDatabase>::default(),
    };
    Ok(Snapshot { facts, parts: vec![part] })
}

/// How large the database may become, by the member's metrics: before 3.6 its status does not tell. Where metrics have an
/// address of their own, nobody knows.
async fn quota(access: &Access, endpoint: &Endpoint) -> Option<i64> {
    let brief = Access { stall: METRICS_LIMIT.min(access.stall), ..access.clone() };
    let url = format!("{}/metrics", base_url(access, endpoint));
    let answer = http_client(&brief).ok()?.get(url).timeout(METRICS_LIMIT).send().await.ok()?;
    quota_in(&answer.error_for_status().ok()?.text().await.ok()?)
}

#[allow(clippy::cast_possible_truncation, reason = "a number of bytes, which Prometheus writes as a float")]
fn quota_in(metrics: &str) -> Option<i64> {
    let value = metrics.lines().find_map(|line| line.strip_prefix("etcd_server_quota_backend_bytes "))?;
    Some(value.trim().parse::<f64>().ok()? as i64)
}

fn facts(endpoint: &Endpoint, status: &Status, stale: bool) -> Facts {
    let header = status.header.unwrap_or_default();
    let bytes = |number: i64| u64::try_from(number).ok().filter(|bytes| *bytes > 0);
    let (in_use, quota) = (bytes(status.db_size_in_use), bytes(status.db_size_quota));
    let mut warnings: Vec<String> = status.errors.iter().map(|error| format!("etcd says of itself: {error}")).collect();
    if let (Some(size), Some(quota)) = (bytes(status.db_size), quota)
        && size / 4 > quota / 5
    {
        warnings.push(format!(
            "etcd's database has {size} bytes of the {quota} that its quota allows: compact and defragment it, or raise \
             --quota-backend-bytes"
        ));
    }
    Facts {
        server: TopologyServer::Etcd,
        endpoint: endpoint.to_string(),
        method: METHOD,
        server_version: Some(status.version.clone()).filter(|version| !version.is_empty()),
        member: Some(format!("{:x}", header.member_id)),
        cluster: Some(format!("{:x}", header.cluster_id)),
        point: Point { revision: Some(header.revision), ..Point::default() },
        stale,
        in_use_bytes: in_use,
        quota_bytes: quota,
        warnings,
    }
}

/// The blobs of the answers, until there are no more.
fn body(streaming: tonic::Streaming<SnapshotResponse>, endpoint: String, stall: Duration) -> Body {
    let state = (streaming, endpoint, 0_u64);
    futures::stream::try_unfold(state, move |(mut streaming, endpoint, received)| async move {
        let broken = |endpoint: &str, cause: String| TopologyError::BrokenOff {
            server: TITLE,
            endpoint: endpoint.to_owned(),
            received,
            cause,
        };
        let next = tokio::time::timeout(stall, streaming.message()).await;
        let next = next.map_err(|_| broken(&endpoint, format!("nothing came for {} s", stall.as_secs())))?;
        match next {
            Ok(Some(SnapshotResponse { blob, .. })) => {
                let received = received + blob.len() as u64;
                Ok(Some((Bytes::from(blob), (streaming, endpoint, received))))
            }
            Ok(None) => Ok(None),
            Err(status) => Err(rpc::failed(&endpoint, "send its snapshot", &status, Some(received))),
        }
    })
    .boxed()
}

/// The keys of an etcd.
pub struct EtcdTree {
    client: Client,
    version: String,
}

impl EtcdTree {
    /// # Errors
    /// What the server says.
    pub async fn open(access: &Access, endpoint: &Endpoint) -> Result<Self, TopologyError> {
        let (client, status) = Client::connect(access, endpoint).await?;
        if let Some(cause) = status.trouble() {
            return Err(TopologyError::NoQuorum { server: TITLE, endpoint: endpoint.to_string(), cause });
        }
        Ok(Self { client, version: status.version })
    }
}

#[async_trait]
impl Tree for EtcdTree {
    async fn read(&self, root: &str) -> Result<Nodes, TopologyError> {
        let prefix = join(root, "");
        let mut nodes = Nodes::new();
        for pair in self.client.range(prefix.as_bytes()).await? {
            let Ok(key) = String::from_utf8(pair.key) else { continue };
            let Some(path) = key.strip_prefix(&prefix) else { continue };
            let node = Node { value: pair.value, version: pair.mod_revision, ephemeral: pair.lease != 0 };
            nodes.insert(path.to_owned(), node);
        }
        Ok(nodes)
    }

    async fn write(&self, root: &str, path: &str, value: &[u8], before: Option<i64>) -> Result<(), TopologyError> {
        let key = join(root, path);
        let written = self.client.put_if(key.as_bytes(), value, before.unwrap_or(0)).await?;
        if written { Ok(()) } else { Err(TopologyError::Changed { server: TITLE, path: key }) }
    }

    fn server_version(&self) -> Option<String> {
        Some(self.version.clone()).filter(|version| !version.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::rpc::Header;
    use super::*;

    #[test]
    fn a_snapshot_tells_member_revision_version_and_how_near_the_database_is_to_its_limit() {
        let endpoint: Endpoint = "etcd:2379".parse().unwrap();
        let header = Header { cluster_id: 0xcdf8_181e, member_id: 0x8e9e_05c5, revision: 42, raft_term: 2 };
        let status = Status {
            header: Some(header),
            version: "3.5.16".into(),
            db_size: 1_900,
            leader: 0x8e9e_05c5,
            db_size_in_use: 1_200,
            db_size_quota: 2_000,
            ..Status::default()
        };
        assert_eq!(status.trouble(), None);
        let facts = facts(&endpoint, &status, false);
        assert_eq!(facts.point.revision, Some(42));
        assert_eq!((facts.member.as_deref(), facts.cluster.as_deref()), (Some("8e9e05c5"), Some("cdf8181e")));
        assert_eq!((facts.in_use_bytes, facts.quota_bytes), (Some(1_200), Some(2_000)));
        assert!(facts.warnings[0].contains("of the 2000 that its quota allows"), "{:?}", facts.warnings);
        let small = Status { db_size: 100, ..status.clone() };
        assert_eq!(super::facts(&endpoint, &small, false).warnings, [""; 0]);
    }

    #[test]
    fn the_quota_stands_among_the_metrics_of_older_members() {
        let metrics = "# HELP etcd_server_quota_backend_bytes Current backend storage quota size in bytes.\n\
                       # TYPE etcd_server_quota_backend_bytes gauge\netcd_server_quota_backend_bytes 2.147483648e+09\n";
        assert_eq!(quota_in(metrics), Some(2_147_483_648));
        assert_eq!(quota_in("# nothing\n"), None);
    }

    #[test]
    fn a_member_without_leader_is_in_trouble() {
        assert_eq!(Status::default().trouble().as_deref(), Some("the member knows of no leader"));
        let told = Status { errors: vec!["etcdserver: no leader".into()], ..Status::default() };
        assert_eq!(told.trouble().as_deref(), Some("etcdserver: no leader"));
    }
}
