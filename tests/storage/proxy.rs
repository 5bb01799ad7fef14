//! What stands between us and a storage server on a bad day: an HTTP proxy with faults, and a link with distance.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::serve::ListenerExt;
use futures::{StreamExt, TryStreamExt, stream};
use http::{Method, StatusCode, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::support::mysql::free_port;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    None,
    /// Answered with this status, and never passed on.
    Status(u16),
    /// Never answered.
    Stall,
    /// Passed on and done, and the answer is lost.
    Lose,
    /// The answer's body stops after so many bytes, and nothing more comes.
    StallAfter(usize),
    /// The connection goes after so many bytes of the body.
    BreakAfter(usize),
    /// The body has at most so many bytes, and the answer says that this is all.
    CutTo(usize),
    /// A body in small pieces with pauses.
    Slow,
}

/// A request that comes to the proxy.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Of all requests, counted from 0.
    pub number: usize,
    /// How often this very request came before.
    pub times: usize,
    pub method: &'a Method,
    /// The first byte of the range that is asked for.
    pub begin: Option<u64>,
}

impl Asked<'_> {
    /// The whole range of an object, and not the rest of one that broke off.
    pub fn is_whole_range(&self) -> bool {
        *self.method == Method::GET && self.begin.is_some_and(|begin| begin % (4 << 20) == 0)
    }
}

pub type Faults = fn(&Asked<'_>) -> Fault;

/// Looks at the head of each request.
pub type Watch = fn(&http::request::Parts);

/// Gone when dropped, with all its connections.
pub struct Proxy {
    pub address: String,
    pub requests: Arc<AtomicUsize>,
    /// Bytes of the requests' bodies, and of the answers' as far as they were passed on.
    pub taken: Arc<AtomicUsize>,
    pub passed_on: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Clone)]
struct Before {
    server: String,
    faults: Faults,
    watch: Watch,
    requests: Arc<AtomicUsize>,
    taken: Arc<AtomicUsize>,
    passed_on: Arc<AtomicUsize>,
    seen: Arc<Mutex<HashMap<String, usize>>>,
    client: reqwest::Client,
}

impl Before {
    fn fault(&self, parts: &http::request::Parts) -> Fault {
        let range = parts.headers.get(header::RANGE).and_then(|range| range.to_str().ok());
        let same = format!("{} {} {}", parts.method, parts.uri, range.unwrap_or_default());
        let mut seen = self.seen.lock().unwrap();
        let times = seen.entry(same).or_default();
        let asked = Asked {
            number: self.requests.fetch_add(1, Ordering::Relaxed),
            times: *times,
            method: &parts.method,
            begin: range.and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse().ok()),
        };
        *times += 1;
        (self.faults)(&asked)
    }
}

/// How a broken connection ends: with an end, or with a reset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ends {
    Closed,
    Reset,
}

impl Proxy {
    pub async fn before(server: &str, faults: Faults, ends: Ends) -> Self {
        Self::watching(server, faults, ends, |_| ()).await
    }

    pub async fn watching(server: &str, faults: Faults, ends: Ends, watch: Watch) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind(("127.0.0.1", free_port())).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let listener = listener.tap_io(move |connection| {
            #[allow(deprecated, reason = "waits for nothing when it is 0")]
            connection.set_linger((ends == Ends::Reset).then_some(Duration::ZERO)).unwrap();
        });
        let [requests, taken, passed_on] = [(); 3].map(|()| Arc::new(AtomicUsize::new(0)));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let state = Before {
            server: server.to_owned(),
            faults,
            watch,
            requests: requests.clone(),
            taken: taken.clone(),
            passed_on: passed_on.clone(),
            seen: Arc::default(),
            client,
        };
        let router = axum::Router::new().fallback(pass).with_state(state);
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        }));
        Self { address, requests, taken, passed_on, _task: task }
    }
}

async fn pass(State(before): State<Before>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    (before.watch)(&parts);
    let fault = before.fault(&parts);
    // Read in any case, as servers do.
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    before.taken.fetch_add(body.len(), Ordering::Relaxed);
    match fault {
        Fault::Status(status) => {
            let xml = "<Error><Code>Injected</Code><Message>by the test</Message></Error>";
            return Response::builder().status(status).body(Body::from(xml)).unwrap();
        }
        Fault::Stall => std::future::pending().await,
        _ => {}
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let url = format!("http://{}{path}", before.server);
    let asked = before.client.request(parts.method, url).headers(parts.headers).body(body).send().await;
    let Ok(answer) = asked else {
        return Response::builder().status(StatusCode::BAD_GATEWAY).body(Body::empty()).unwrap();
    };
    let mut response = Response::builder().status(answer.status());
    *response.headers_mut().unwrap() = answer.headers().clone();
    match fault {
        Fault::Lose => {
            let lost = stream::once(async { Err::<Bytes, _>(std::io::Error::other("by the test")) });
            response.headers_mut().unwrap().insert(header::CONTENT_LENGTH, 1_000.into());
            return response.body(Body::from_stream(lost)).unwrap();
        }
        Fault::CutTo(bytes) => {
            let mut whole = answer.bytes().await.unwrap();
            whole.truncate(bytes);
            response.headers_mut().unwrap().insert(header::CONTENT_LENGTH, whole.len().into());
            return response.body(Body::from(whole)).unwrap();
        }
        _ => {}
    }
    let body = answer.bytes_stream().map_err(std::io::Error::other);
    let body = match fault {
        Fault::StallAfter(bytes) => Body::from_stream(first(body, bytes).chain(stream::pending())),
        Fault::BreakAfter(bytes) => {
            let end = stream::once(async {
                // What was sent must have left before the connection goes.
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(std::io::Error::other("by the test"))
            });
            Body::from_stream(first(body, bytes).chain(end))
        }
        Fault::Slow => Body::from_stream(body.then(|chunk| async {
            tokio::time::sleep(Duration::from_millis(2)).await;
            chunk
        })),
        _ => Body::from_stream(body),
    };
    let passed_on = before.passed_on.clone();
    let counted = body.into_data_stream().inspect_ok(move |chunk| {
        passed_on.fetch_add(chunk.len(), Ordering::Relaxed);
    });
    response.body(Body::from_stream(counted)).unwrap()
}

fn first(
    body: impl futures::Stream<Item = std::io::Result<Bytes>>,
    bytes: usize,
) -> impl futures::Stream<Item = std::io::Result<Bytes>> {
    body.scan(bytes, |left, chunk| {
        let chunk = chunk.map(|mut chunk| {
            chunk.truncate(*left);
            *left -= chunk.len();
            chunk
        });
        std::future::ready(Some(chunk).filter(|chunk| chunk.as_ref().is_ok_and(|chunk| !chunk.is_empty())))
    })
}

/// A link of a given length: what enters leaves after half a round trip, and each connection has at most a window of bytes
/// on the way, as TCP does.
pub struct Link {
    pub address: String,
    _task: AbortOnDropHandle<()>,
}

impl Link {
    pub async fn before(server: &str, round_trip: Duration, window: usize) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", free_port())).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server: SocketAddr = server.parse().unwrap();
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let far = TcpStream::connect(server).await.unwrap();
                    for connection in [&near, &far] {
                        connection.set_nodelay(true).unwrap();
                    }
                    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
                    tokio::join!(
                        relay(near_read, far_write, round_trip, window),
                        relay(far_read, near_write, round_trip, window)
                    );
                });
            }
        }));
        Self { address, _task: task }
    }
}

/// A window's worth each round trip: it travels for half of it, and the word that it came for the other half.
async fn relay(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    round_trip: Duration,
    window: usize,
) {
    let mut buffer = vec![0; window];
    loop {
        let Ok(mut read @ 1..) = from.read(&mut buffer).await else { return };
        let arrives = tokio::time::Instant::now() + round_trip / 2;
        // What else comes while the first bytes travel.
        while read < window {
            match tokio::time::timeout_at(arrives, from.read(&mut buffer[read..])).await {
                Ok(Ok(more @ 1..)) => read += more,
                _ => break,
            }
        }
        tokio::time::sleep_until(arrives).await;
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        if read == window {
            tokio::time::sleep(round_trip / 2).await;
        }
    }
}
