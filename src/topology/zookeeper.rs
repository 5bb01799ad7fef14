//! ZooKeeper: the admin server's snapshot and restore commands (3.9 and later), the files of an older one's data directory,
//! and the znodes over its own protocol.

mod files;
mod wire;

use async_trait::async_trait;
use futures::future::BoxFuture;
use reqwest::{Method, RequestBuilder, Response, StatusCode};

pub use files::{DataDirectories, data_directory};

use super::access::{Access, Endpoint};
use super::check::ZookeeperSnapshot;
use super::connect::{base_url, explain, http_client, says_tls, with_causes};
use super::consul::{body, patient};
use super::error::TopologyError;
use super::tree::{Node, Nodes, Tree, join};
use super::{Body, Facts, Snapshot, SnapshotPart};
use crate::backup::topology::{Point, TopologyServer};
use wire::{Client, Stat};

pub const TITLE: &str = "ZooKeeper";
const METHOD: &str = "ZooKeeper's admin server, command snapshot";
/// The most of an answer in words that is kept.
const WORDS: usize = 500;

/// Asks the admin server (port 8080 unless `admin.serverPort` says another) for a snapshot.
///
/// # Errors
/// `NotSupported` by a server before 3.9, or one that has it switched off; and as [`TopologyError`] tells them apart.
pub async fn snapshot(access: &Access, endpoint: &Endpoint) -> Result<Snapshot, TopologyError> {
    let http = http_client(access)?;
    let server_version = version(&http, access, endpoint).await;
    let url = format!("{}/commands/snapshot?streaming=true", base_url(access, endpoint));
    let request = authorised(http.get(url), access);
    let response = ask(access, endpoint, "send its snapshot", request).await?;
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let Some(zxid) = header("last_zxid") else {
        let text = response.text().await.unwrap_or_default();
        return Err(failed(endpoint, "send its snapshot", StatusCode::OK, &text));
    };
    let expected = header("snapshot_size").and_then(|size| size.parse().ok()).unwrap_or(0);
    let facts = Facts {
        server: TopologyServer::Zookeeper,
        endpoint: endpoint.to_string(),
        method: METHOD,
        server_version,
        member: None,
        cluster: None,
        point: Point { zxid: Some(zxid.clone()), ..Point::default() },
        stale: false,
        in_use_bytes: None,
        quota_bytes: None,
        warnings: Vec::new(),
    };
    let part = SnapshotPart {
        name: format!("snapshot.{}", zxid.trim_start_matches("0x")),
        expected,
        body: body(TITLE, endpoint.to_string(), response),
        check: Box::<ZookeeperSnapshot>::default(),
    };
    Ok(Snapshot { facts, parts: vec![part] })
}

/// Gives a snapshot back to one server by the admin server's command `restore`: all that it has is replaced by it.
///
/// # Errors
/// As [`TopologyError`] tells them apart.
pub async fn restore(access: &Access, endpoint: &Endpoint, length: u64, snapshot: Body) -> Result<(), TopologyError> {
    let http = patient(access)?;
    let url = format!("{}/commands/restore", base_url(access, endpoint));
    let request = authorised(http.request(Method::POST, url), access)
        .header(reqwest::header::CONTENT_TYPE, "application/octet-stream")
        .header(reqwest::header::CONTENT_LENGTH, length)
        .body(reqwest::Body::wrap_stream(snapshot));
    let response = ask(access, endpoint, "take the snapshot", request).await?;
    let text = response.text().await.unwrap_or_default();
    if text.contains("last_zxid") {
        return Ok(());
    }
    Err(failed(endpoint, "take the snapshot", StatusCode::OK, &text))
}

/// The command wants to know who asks even where everybody may do everything.
fn authorised(request: RequestBuilder, access: &Access) -> RequestBuilder {
    let (name, password) = access.credentials.user.clone().unwrap_or_else(|| ("vitess-backup".into(), "none".into()));
    request.header(reqwest::header::AUTHORIZATION, format!("digest {name}:{password}"))
}

async fn version(http: &reqwest::Client, access: &Access, endpoint: &Endpoint) -> Option<String> {
    let url = format!("{}/commands/srvr", base_url(access, endpoint));
    let answer = http.get(url).send().await.ok()?.bytes().await.ok()?;
    let answer: serde_json::Value = serde_json::from_slice(&answer).ok()?;
    let told = answer.get("version")?.as_str()?;
    Some(told.split([',', '-']).next().unwrap_or(told).to_owned())
}

async fn ask(
    access: &Access,
    endpoint: &Endpoint,
    call: &'static str,
    request: RequestBuilder,
) -> Result<Response, TopologyError> {
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => return Err(explain(TITLE, access, endpoint, with_causes(&error)).await),
    };
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = response.text().await.unwrap_or_default();
    Err(failed(endpoint, call, status, &text))
}

/// Sorts what the admin server answered: JSON with an `error` in it, or a page of its web server's.
fn failed(endpoint: &Endpoint, call: &'static str, status: StatusCode, text: &str) -> TopologyError {
    let (server, endpoint) = (TITLE, endpoint.to_string());
    let told = serde_json::from_str::<serde_json::Value>(text).ok();
    let error = told.as_ref().and_then(|answer| answer.get("error")?.as_str()).map(str::to_owned);
    let words: String = error.unwrap_or_else(|| text.trim().to_owned()).chars().take(WORDS).collect();
    let cause = if words.is_empty() { status.to_string() } else { format!("{words} ({status})") };
    if says_tls(&words) {
        return TopologyError::Tls { server, endpoint, cause };
    }
    if words.contains("not currently serving requests") {
        return TopologyError::NoQuorum { server, endpoint, cause };
    }
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => TopologyError::Denied { server, endpoint, cause },
        StatusCode::TOO_MANY_REQUESTS => {
            let cause = format!(
                "it takes such a command only once in a while (admin.rateLimiterIntervalInMS, 5 minutes by default): {status}"
            );
            TopologyError::Failed { server, endpoint, call, cause }
        }
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::SERVICE_UNAVAILABLE => {
            TopologyError::NotSupported { server, endpoint, cause }
        }
        _ if words.contains("Unknown command") => TopologyError::NotSupported { server, endpoint, cause },
        _ => TopologyError::Failed { server, endpoint, call, cause },
    }
}

/// The znodes of a ZooKeeper.
pub struct ZookeeperTree {
    client: tokio::sync::Mutex<Client>,
}

impl ZookeeperTree {
    /// # Errors
    /// What the server says.
    pub async fn open(access: &Access, endpoint: &Endpoint) -> Result<Self, TopologyError> {
        Ok(Self { client: tokio::sync::Mutex::new(Client::connect(access, endpoint).await?) })
    }
}

/// Every file at or below `path`: a znode without children. One that is empty is one too, for a record of nothing but
/// defaults has no bytes; whether it means something its path tells.
fn walk<'a>(
    client: &'a mut Client,
    root: &'a str,
    path: String,
    nodes: &'a mut Nodes,
) -> BoxFuture<'a, Result<(), TopologyError>> {
    Box::pin(async move {
        let full = if path.is_empty() { root.to_owned() } else { join(root, &path) };
        let Some((children, _)) = client.children(&full).await? else { return Ok(()) };
        for child in &children {
            let below = if path.is_empty() { child.clone() } else { format!("{path}/{child}") };
            walk(client, root, below, nodes).await?;
        }
        if children.is_empty()
            && !path.is_empty()
            && let Some((value, Stat { version, ephemeral_owner, .. })) = client.data(&full).await?
        {
            nodes.insert(path, Node { value, version: version.into(), ephemeral: ephemeral_owner != 0 });
        }
        Ok(())
    })
}

#[async_trait]
impl Tree for ZookeeperTree {
    async fn read(&self, root: &str) -> Result<Nodes, TopologyError> {
        let mut client = self.client.lock().await;
        client.sync(root).await?;
        let mut nodes = Nodes::new();
        walk(&mut client, root, String::new(), &mut nodes).await?;
        Ok(nodes)
    }

    async fn write(&self, root: &str, path: &str, value: &[u8], before: Option<i64>) -> Result<(), TopologyError> {
        let full = join(root, path);
        let mut client = self.client.lock().await;
        let written = match before.map(i32::try_from) {
            Some(version) => client.set(&full, value, version.unwrap_or(-1)).await?,
            None => client.create_with_parents(&full, value).await?,
        };
        if written { Ok(()) } else { Err(TopologyError::Changed { server: TITLE, path: full }) }
    }

    fn server_version(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::failure::Reason;

    #[test]
    fn what_the_admin_server_answers_is_told_apart() {
        let endpoint: Endpoint = "zk:8080".parse().unwrap();
        for (status, text, reason) in [
            (401, r#"{"command":"snapshot","error":"Not authenticated"}"#, Reason::TopologyDenied),
            (403, r#"{"command":"snapshot","error":"Not authorized"}"#, Reason::TopologyDenied),
            (200, r#"{"command":"snapshot","error":"Unknown command: snapshot"}"#, Reason::TopologyNotSupported),
            (503, r#"{"command":"snapshot","error":null}"#, Reason::TopologyNotSupported),
            (
                200,
                r#"{"command":"snapshot","error":"This ZooKeeper instance is not currently serving requests"}"#,
                Reason::TopologyNoQuorum,
            ),
            (429, "", Reason::TopologyFailed),
            (500, "<html>oops</html>", Reason::TopologyFailed),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let failure = failed(&endpoint, "send its snapshot", status, text).failure();
            assert_eq!(failure.reason, reason, "{status} {text}: {}", failure.message);
        }
        let often = failed(&endpoint, "send its snapshot", StatusCode::TOO_MANY_REQUESTS, "").to_string();
        assert!(often.contains("rateLimiterIntervalInMS"), "{often}");
    }
}
