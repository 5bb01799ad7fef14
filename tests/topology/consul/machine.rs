//! An answering machine: the part of Consul's HTTP API that is used here, with the words and the snapshot of a real one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::servers::CONSUL_TOKEN;

/// A snapshot that Consul 1.14.11 made.
pub const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/consul/snapshot.tgz");

pub fn archive() -> Vec<u8> {
    std::fs::read(RECORDED).unwrap_or_else(|error| panic!("{RECORDED}: {error}"))
}

pub struct Machine {
    pub endpoint: String,
    state: Arc<Mutex<Known>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Default)]
struct Known {
    snapshot: Vec<u8>,
    breaks_off: bool,
    leaderless: bool,
    /// What was there when a snapshot was last asked for.
    saved: BTreeMap<String, (Vec<u8>, i64)>,
    keys: BTreeMap<String, (Vec<u8>, i64)>,
    index: i64,
    asked: Vec<String>,
}

type Shared = State<Arc<Mutex<Known>>>;

impl Machine {
    pub async fn start() -> Self {
        Self::with(archive()).await
    }

    pub async fn with(snapshot: Vec<u8>) -> Self {
        Self::of(Known { snapshot, ..Known::default() }).await
    }

    pub async fn without_leader() -> Self {
        Self::of(Known { leaderless: true, ..Known::default() }).await
    }

    async fn of(known: Known) -> Self {
        let state = Arc::new(Mutex::new(Known { index: 20, ..known }));
        let routes = Router::new()
            .route("/v1/snapshot", get(save).put(restore))
            .route("/v1/agent/self", get(oneself))
            .route("/v1/status/leader", get(leader))
            .route("/v1/kv/{*key}", get(read).put(write))
            .with_state(Arc::clone(&state));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { endpoint, state, server }
    }

    /// The queries of the snapshots that were asked for.
    pub fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap().asked.clone()
    }
}

fn answer(status: u16, body: impl Into<Body>) -> Response<Body> {
    Response::builder().status(status).header("X-Consul-Index", "20").body(body.into()).unwrap()
}

/// Why nothing else is answered.
fn refusal(known: &Known, headers: &HeaderMap) -> Option<Response<Body>> {
    let refused =
        |status: StatusCode, words: &'static str| Response::builder().status(status).body(Body::from(words)).unwrap();
    match headers.get("X-Consul-Token").and_then(|token| token.to_str().ok()) {
        _ if known.leaderless => Some(refused(StatusCode::INTERNAL_SERVER_ERROR, "No cluster leader")),
        Some(CONSUL_TOKEN) => None,
        Some(_) => Some(refused(StatusCode::FORBIDDEN, "ACL not found")),
        None => Some(refused(
            StatusCode::FORBIDDEN,
            "Permission denied: anonymous token lacks permission 'operator:write'. The anonymous token is used implicitly \
             when a request does not specify a token.",
        )),
    }
}

async fn save(State(state): Shared, RawQuery(query): RawQuery, headers: HeaderMap) -> Response<Body> {
    let mut known = state.lock().unwrap();
    if let Some(refusal) = refusal(&known, &headers) {
        return refusal;
    }
    known.asked.push(query.unwrap_or_default());
    known.saved = known.keys.clone();
    if known.breaks_off {
        let half = Bytes::from(known.snapshot[..known.snapshot.len() / 2].to_vec());
        let chunks = [Ok(half), Err(std::io::Error::other("it died"))];
        return answer(200, Body::from_stream(futures::stream::iter(chunks)));
    }
    answer(200, known.snapshot.clone())
}

async fn restore(State(state): Shared, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let mut known = state.lock().unwrap();
    if let Some(refusal) = refusal(&known, &headers) {
        return refusal;
    }
    assert_eq!(body, known.snapshot, "what was saved comes back");
    known.keys = known.saved.clone();
    answer(200, "")
}

async fn oneself(State(state): Shared, headers: HeaderMap) -> Response<Body> {
    let known = state.lock().unwrap();
    refusal(&known, &headers).unwrap_or_else(|| answer(200, json!({"Config": {"Version": "1.14.11"}}).to_string()))
}

async fn leader(State(state): Shared) -> Response<Body> {
    answer(200, if state.lock().unwrap().leaderless { "\"\"" } else { "\"127.0.0.1:8300\"" })
}

async fn read(State(state): Shared, Path(prefix): Path<String>, headers: HeaderMap) -> Response<Body> {
    let known = state.lock().unwrap();
    if let Some(refusal) = refusal(&known, &headers) {
        return refusal;
    }
    let below = known.keys.iter().filter(|(key, _)| key.starts_with(&prefix));
    let pairs: Vec<_> = below
        .map(|(key, (value, index))| {
            let value = if value.is_empty() { serde_json::Value::Null } else { STANDARD.encode(value).into() };
            json!({"LockIndex": 0, "Key": key, "Flags": 0, "Value": value, "CreateIndex": 9, "ModifyIndex": index})
        })
        .collect();
    if pairs.is_empty() { answer(404, "") } else { answer(200, json!(pairs).to_string()) }
}

async fn write(
    State(state): Shared,
    Path(key): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let mut known = state.lock().unwrap();
    if let Some(refusal) = refusal(&known, &headers) {
        return refusal;
    }
    let query = query.unwrap_or_default();
    let expected: i64 = query.strip_prefix("cas=").expect("always a comparison").parse().unwrap();
    if known.keys.get(&key).map_or(0, |(_, index)| *index) != expected {
        return answer(200, "false");
    }
    known.index += 1;
    let index = known.index;
    known.keys.insert(key, (body.to_vec(), index));
    answer(200, "true")
}
