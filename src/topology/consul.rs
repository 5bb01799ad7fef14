//! Consul over its HTTP API: `/v1/snapshot`, and the keys below `/v1/kv`.

use std::fmt::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;

use super::access::{Access, Endpoint};
use super::check::ConsulArchive;
use super::connect::{base_url, explain, http_client, says_tls, with_causes};
use super::error::TopologyError;
use super::tree::{Node, Nodes, Tree, join};
use super::{Body, Facts, Snapshot, SnapshotPart};
use crate::backup::topology::{Point, TopologyServer};

pub const TITLE: &str = "Consul";
/// The object of a backup.
pub const OBJECT: &str = "snapshot.tgz";
const METHOD: &str = "Consul's /v1/snapshot";
const TOKEN: &str = "X-Consul-Token";
/// The most of an answer in words that is kept.
const WORDS: usize = 500;

/// A Consul agent.
struct Agent {
    http: reqwest::Client,
    access: Access,
    endpoint: Endpoint,
}

impl Agent {
    fn new(access: &Access, endpoint: &Endpoint) -> Result<Self, TopologyError> {
        Ok(Self { http: http_client(access)?, access: access.clone(), endpoint: endpoint.clone() })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", base_url(&self.access, &self.endpoint)));
        match &self.access.credentials.token {
            Some(token) => request.header(TOKEN, token),
            None => request,
        }
    }

    /// Sends; an answer that is no success is an error. A key that is not there is a success of its own, 404.
    async fn ask(&self, call: &'static str, request: RequestBuilder) -> Result<Response, TopologyError> {
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Err(explain(TITLE, &self.access, &self.endpoint, with_causes(&error)).await),
        };
        let status = response.status();
        if status.is_success() || (status == StatusCode::NOT_FOUND && response.headers().contains_key("X-Consul-Index"))
        {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        Err(failed(&self.endpoint, call, status, &text))
    }

    /// The version, where the token may ask for it.
    async fn version(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Config {
            #[serde(rename = "Version")]
            version: String,
        }
        #[derive(Deserialize)]
        struct Oneself {
            #[serde(rename = "Config")]
            config: Config,
        }
        let asked = self.ask("tell its version", self.request(Method::GET, "/v1/agent/self")).await.ok()?;
        let oneself: Oneself = serde_json::from_slice(&asked.bytes().await.ok()?).ok()?;
        Some(oneself.config.version)
    }
}

/// Sorts what Consul answered.
fn failed(endpoint: &Endpoint, call: &'static str, status: StatusCode, text: &str) -> TopologyError {
    let (server, endpoint) = (TITLE, endpoint.to_string());
    let words: String = text.trim().chars().take(WORDS).collect();
    let cause = if words.is_empty() { status.to_string() } else { format!("{words} ({status})") };
    if says_tls(&words) {
        return TopologyError::Tls { server, endpoint, cause };
    }
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) || words.contains("ACL not found") {
        return TopologyError::Denied { server, endpoint, cause };
    }
    if words.contains("No cluster leader") || words.contains("leadership lost") || words.contains("not ready to serve")
    {
        return TopologyError::NoQuorum { server, endpoint, cause };
    }
    if matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
        return TopologyError::NotSupported { server, endpoint, cause };
    }
    TopologyError::Failed { server, endpoint, call, cause }
}

/// Asks an agent for a snapshot; nothing of it has come when this returns. Without `stale` the leader makes it, and it has
/// all that was written before.
///
/// # Errors
/// As [`TopologyError`] tells them apart.
pub async fn snapshot(access: &Access, endpoint: &Endpoint, stale: bool) -> Result<Snapshot, TopologyError> {
    let agent = Agent::new(access, endpoint)?;
    let server_version = agent.version().await;
    let path = if stale { "/v1/snapshot?stale" } else { "/v1/snapshot" };
    let response = agent.ask("send its snapshot", agent.request(Method::GET, path)).await?;
    let number = |name: &str| response.headers().get(name)?.to_str().ok()?.parse::<u64>().ok();
    let facts = Facts {
        server: TopologyServer::Consul,
        endpoint: endpoint.to_string(),
        method: METHOD,
        server_version,
        member: None,
        cluster: None,
        point: Point { index: number("X-Consul-Index"), ..Point::default() },
        stale,
        in_use_bytes: None,
        quota_bytes: None,
        warnings: Vec::new(),
    };
    let expected = response.content_length().unwrap_or(0);
    let body = body(TITLE, endpoint.to_string(), response);
    let part = SnapshotPart { name: OBJECT.to_owned(), expected, body, check: Box::<ConsulArchive>::default() };
    Ok(Snapshot { facts, parts: vec![part] })
}

/// The chunks of an HTTP answer; one that ends before its end is an error.
pub(super) fn body(server: &'static str, endpoint: String, response: Response) -> Body {
    let state = (Box::pin(response.bytes_stream()), endpoint, 0_u64);
    futures::stream::try_unfold(state, move |(mut chunks, endpoint, received)| async move {
        match chunks.next().await {
            None => Ok(None),
            Some(Ok(chunk)) => {
                let received = received + chunk.len() as u64;
                Ok(Some((chunk, (chunks, endpoint, received))))
            }
            Some(Err(error)) => {
                Err(TopologyError::BrokenOff { server, endpoint, received, cause: with_causes(&error) })
            }
        }
    })
    .boxed()
}

/// How long a server may work on a snapshot that it was sent.
const RESTORING: Duration = Duration::from_secs(30 * 60);

/// Gives an archive of `length` bytes back: everything that the datacenter has is replaced by it.
///
/// # Errors
/// As [`TopologyError`] tells them apart.
pub async fn restore(access: &Access, endpoint: &Endpoint, length: u64, archive: Body) -> Result<(), TopologyError> {
    let agent = Agent { http: patient(access)?, access: access.clone(), endpoint: endpoint.clone() };
    let request = agent.request(Method::PUT, "/v1/snapshot");
    let request = request.header(reqwest::header::CONTENT_LENGTH, length).body(reqwest::Body::wrap_stream(archive));
    agent.ask("take the snapshot", request).await.map(|_| ())
}

/// A client that waits for a server to think.
pub(super) fn patient(access: &Access) -> Result<reqwest::Client, TopologyError> {
    http_client(&Access { stall: RESTORING, ..access.clone() })
}

/// The keys of a Consul.
pub struct ConsulTree {
    agent: Agent,
    version: Option<String>,
}

/// One of `/v1/kv`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Pair {
    key: String,
    /// In base64; `null` for an empty one.
    value: Option<String>,
    modify_index: i64,
    #[serde(default)]
    session: Option<String>,
}

impl ConsulTree {
    /// # Errors
    /// What the agent says.
    pub async fn open(access: &Access, endpoint: &Endpoint) -> Result<Self, TopologyError> {
        let agent = Agent::new(access, endpoint)?;
        let leader = agent.ask("name its leader", agent.request(Method::GET, "/v1/status/leader")).await?;
        if leader.text().await.unwrap_or_default().trim().trim_matches('"').is_empty() {
            let cause = "No cluster leader".to_owned();
            return Err(TopologyError::NoQuorum { server: TITLE, endpoint: endpoint.to_string(), cause });
        }
        let version = agent.version().await;
        Ok(Self { agent, version })
    }
}

#[async_trait]
impl Tree for ConsulTree {
    async fn read(&self, root: &str) -> Result<Nodes, TopologyError> {
        let prefix = join(root, "");
        let path = format!("/v1/kv/{}?recurse&consistent", escaped(&prefix));
        let response = self.agent.ask("list keys", self.agent.request(Method::GET, &path)).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(Nodes::new());
        }
        let wrong = |cause: String| TopologyError::Failed {
            server: TITLE,
            endpoint: self.agent.endpoint.to_string(),
            call: "list keys",
            cause,
        };
        let body: Bytes = response.bytes().await.map_err(|error| wrong(with_causes(&error)))?;
        let pairs: Vec<Pair> = serde_json::from_slice(&body).map_err(|error| wrong(error.to_string()))?;
        let mut nodes = Nodes::new();
        for Pair { key, value, modify_index, session } in pairs {
            // A key that ends with a slash is what Consul's own page makes of a folder.
            let Some(path) = key.strip_prefix(&prefix).filter(|path| !path.is_empty() && !path.ends_with('/')) else {
                continue;
            };
            let value = STANDARD.decode(value.unwrap_or_default()).map_err(|error| wrong(error.to_string()))?;
            nodes.insert(path.to_owned(), Node { value, version: modify_index, ephemeral: session.is_some() });
        }
        Ok(nodes)
    }

    async fn write(&self, root: &str, path: &str, value: &[u8], before: Option<i64>) -> Result<(), TopologyError> {
        let key = join(root, path);
        let url = format!("/v1/kv/{}?cas={}", escaped(&key), before.unwrap_or(0));
        let request = self.agent.request(Method::PUT, &url).body(value.to_vec());
        let answer = self.agent.ask("write a key", request).await?.text().await.unwrap_or_default();
        if answer.trim() == "true" { Ok(()) } else { Err(TopologyError::Changed { server: TITLE, path: key }) }
    }

    fn server_version(&self) -> Option<String> {
        self.version.clone()
    }
}

/// A key in a URL: all but letters, digits, `-._~` and `/` as `%XX`.
fn escaped(key: &str) -> String {
    key.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/') {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::failure::Reason;

    #[test]
    fn what_consul_answers_is_told_apart() {
        let endpoint: Endpoint = "consul:8500".parse().unwrap();
        for (status, text, reason) in [
            (
                403,
                "Permission denied: token with AccessorID 'x' lacks permission 'operator:write'",
                Reason::TopologyDenied,
            ),
            (403, "ACL not found", Reason::TopologyDenied),
            (500, "No cluster leader", Reason::TopologyNoQuorum),
            (400, "Client sent an HTTP request to an HTTPS server.", Reason::TopologyTlsFailed),
            (404, "404 page not found", Reason::TopologyNotSupported),
            (500, "disk full", Reason::TopologyFailed),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let failure = failed(&endpoint, "send its snapshot", status, text).failure();
            assert_eq!(failure.reason, reason, "{text}");
            assert!(failure.message.contains("consul:8500") && failure.message.contains(text), "{}", failure.message);
        }
    }

    #[test]
    fn keys_are_escaped_for_a_url() {
        assert_eq!(escaped("vitess/global/keyspaces/a b/-80"), "vitess/global/keyspaces/a%20b/-80");
    }
}
