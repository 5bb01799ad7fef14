//! A server that is not right: it answers as Consul and ZooKeeper's admin server do when they are asked for a snapshot, with
//! what a test gives it.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::Response;
use axum::routing::{MethodRouter, get};
use futures::StreamExt;

pub struct Machine {
    pub endpoint: String,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Machine {
    /// Sends these bytes, to their end.
    pub async fn that_sends(snapshot: Vec<u8>) -> Self {
        Self::with(move || Body::from(snapshot.clone())).await
    }

    /// Sends these bytes and breaks off, not before they are on their way.
    pub async fn that_dies_after(sent: Vec<u8>) -> Self {
        Self::with(move || {
            let chunks = [Ok(Bytes::from(sent.clone())), Err(std::io::Error::other("it died"))];
            let paced = futures::stream::iter(chunks).then(async |chunk| {
                if chunk.is_err() {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                chunk
            });
            Body::from_stream(paced)
        })
        .await
    }

    async fn with(body: impl Fn() -> Body + Clone + Send + Sync + 'static) -> Self {
        // ZooKeeper's tells in the head where its snapshot stands.
        let answer: MethodRouter =
            get(move || async move { Response::builder().header("last_zxid", "0x10").body(body()).unwrap() });
        let routes = Router::new().route("/v1/snapshot", answer.clone()).route("/commands/snapshot", answer);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { endpoint, server }
    }
}
