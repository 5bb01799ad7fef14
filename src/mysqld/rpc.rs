//! Vitess's `mysqlctl.MysqlCtl` service, as far as backups and restores need it: plaintext gRPC on a unix socket.
//!
//! The messages are written out by hand from Vitess's `mysqlctl.proto` and `vttime.proto`, so that building needs no protoc.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status};

use super::error::MysqldError;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StartRequest {
    #[prost(string, repeated, tag = "1")]
    pub mysqld_args: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ShutdownRequest {
    #[prost(bool, tag = "1")]
    pub wait_for_mysqld: bool,
    #[prost(message, optional, tag = "2")]
    pub mysql_shutdown_timeout: Option<VttimeDuration>,
}

/// `vttime.Duration`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct VttimeDuration {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// Every request and response without fields that matter here.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct VersionStringResponse {
    #[prost(string, tag = "1")]
    pub version: String,
}

impl From<Duration> for VttimeDuration {
    fn from(duration: Duration) -> Self {
        Self {
            seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
        }
    }
}

/// Calls a mysqlctld. Each call has a connection of its own: they are rare, and mysqlctld may have been restarted.
#[derive(Clone, Debug)]
pub(super) struct MysqlctlClient {
    socket: PathBuf,
    /// How long to wait for a mysqlctld that is not there, as its container may be just starting.
    pub(super) patience: Duration,
}

impl MysqlctlClient {
    pub(super) fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), patience: Duration::from_secs(30) }
    }

    /// Calls `method` for at most `limit`, once mysqlctld can be connected to.
    ///
    /// Vitess's client calls again whatever was broken off; but a mysqlctld that goes away in mid-call did so because its
    /// mysqld died, and would die again.
    pub(super) async fn call<Q, A>(&self, method: &'static str, request: Q, limit: Duration) -> Result<A, MysqldError>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let channel = self.connect().await?;
        let socket = self.socket.clone();
        let status = match timeout(limit, unary(channel, method, request)).await {
            Err(_) => return Err(MysqldError::MysqlctldTimeout { socket, call: method, waited: limit }),
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(status)) => status,
        };
        let broken_off = status.code() == Code::Unavailable || status.source().is_some();
        Err(if broken_off {
            MysqldError::MysqlctldLost { socket, call: method, last: with_causes(status.message(), &status) }
        } else {
            MysqldError::MysqlctldFailed { socket, call: method, message: status.message().to_owned() }
        })
    }

    /// Tries every 100 ms, until patience is at an end.
    async fn connect(&self) -> Result<Channel, MysqldError> {
        let begun = Instant::now();
        loop {
            let error = match timeout(self.patience.max(Duration::from_secs(1)), channel(&self.socket)).await {
                Ok(Ok(channel)) => return Ok(channel),
                Ok(Err(error)) => with_causes(&error.to_string(), &error),
                Err(_) => "no answer".to_owned(),
            };
            if begun.elapsed() >= self.patience {
                let socket = self.socket.clone();
                return Err(MysqldError::MysqlctldUnreachable { socket, waited: self.patience, last: error });
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn unary<Q, A>(channel: Channel, method: &'static str, request: Q) -> Result<A, Status>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let path = PathAndQuery::try_from(format!("/mysqlctl.MysqlCtl/{method}"));
    let path = path.map_err(|error| Status::internal(error.to_string()))?;
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let codec = tonic_prost::ProstCodec::<Q, A>::default();
    grpc.unary(Request::new(request), path, codec).await.map(tonic::Response::into_inner)
}

async fn channel(socket: &Path) -> Result<Channel, tonic::transport::Error> {
    let socket = socket.to_path_buf();
    // The name is only for the :authority header; a unix socket has none.
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://localhost").connect_with_connector(connector).await
}

/// The outermost error is often only "transport error".
fn with_causes(outermost: &str, error: &dyn Error) -> String {
    let mut text = outermost.to_owned();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
