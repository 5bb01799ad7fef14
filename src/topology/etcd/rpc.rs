//! etcd's gRPC services, as far as backups need them. The messages are written out by hand from etcd's `rpc.proto` and
//! `kv.proto`, so that building needs no protoc.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Uri};
use tonic::{Code, Request, Streaming};

use super::TITLE;
use crate::topology::access::{Access, Endpoint};
use crate::topology::connect::{base_url, connect, explain, says_tls, with_causes};
use crate::topology::error::TopologyError;

/// `ResponseHeader`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Header {
    #[prost(uint64, tag = "1")]
    pub cluster_id: u64,
    #[prost(uint64, tag = "2")]
    pub member_id: u64,
    #[prost(int64, tag = "3")]
    pub revision: i64,
    #[prost(uint64, tag = "4")]
    pub raft_term: u64,
}

/// `SnapshotRequest`, `StatusRequest`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SnapshotResponse {
    #[prost(uint64, tag = "2")]
    pub remaining_bytes: u64,
    #[prost(bytes = "vec", tag = "3")]
    pub blob: Vec<u8>,
}

/// `StatusResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Status {
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    #[prost(string, tag = "2")]
    pub version: String,
    #[prost(int64, tag = "3")]
    pub db_size: i64,
    #[prost(uint64, tag = "4")]
    pub leader: u64,
    #[prost(string, repeated, tag = "8")]
    pub errors: Vec<String>,
    #[prost(int64, tag = "9")]
    pub db_size_in_use: i64,
    /// Since 3.6.
    #[prost(int64, tag = "12")]
    pub db_size_quota: i64,
}

impl Status {
    /// Why the member cannot speak for the cluster, if so.
    pub fn trouble(&self) -> Option<String> {
        let told = self.errors.iter().find(|error| error.contains("no leader")).cloned();
        told.or_else(|| (self.leader == 0).then(|| "the member knows of no leader".to_owned()))
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct AuthenticateRequest {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    password: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AuthenticateResponse {
    #[prost(string, tag = "2")]
    token: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    range_end: Vec<u8>,
    #[prost(int64, tag = "3")]
    limit: i64,
    #[prost(int64, tag = "4")]
    revision: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
    #[prost(bool, tag = "3")]
    more: bool,
}

/// `mvccpb.KeyValue`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KeyValue {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    #[prost(bytes = "vec", tag = "5")]
    pub value: Vec<u8>,
    #[prost(int64, tag = "6")]
    pub lease: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `Compare` of a key's mod revision: its `result` EQUAL is 0, its `target` MOD is 2. The revision stands in a `oneof`, where
/// 0 is written too, and means that there is no such key.
#[derive(Clone, PartialEq, prost::Message)]
struct Compare {
    #[prost(int32, tag = "2")]
    target: i32,
    #[prost(bytes = "vec", tag = "3")]
    key: Vec<u8>,
    #[prost(int64, optional, tag = "6")]
    mod_revision: Option<i64>,
}

const MOD_REVISION: i32 = 2;

#[derive(Clone, PartialEq, prost::Message)]
struct RequestOp {
    #[prost(message, optional, tag = "2")]
    put: Option<PutRequest>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TxnRequest {
    #[prost(message, repeated, tag = "1")]
    compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    success: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TxnResponse {
    #[prost(bool, tag = "2")]
    succeeded: bool,
}

/// How many keys are asked for at a time; Vitess's are small.
const PAGE: i64 = 500;
/// An answer may be larger than tonic's 4 MiB.
const LARGEST_MESSAGE: usize = 256 << 20;

/// One member of an etcd cluster.
pub struct Client {
    channel: Channel,
    endpoint: String,
    token: Option<AsciiMetadataValue>,
    stall: Duration,
}

impl Client {
    /// Connects, logs in when there is a user, and asks the member how it is.
    ///
    /// # Errors
    /// As [`TopologyError`] tells them apart.
    pub async fn connect(access: &Access, endpoint: &Endpoint) -> Result<(Self, Status), TopologyError> {
        match Self::open(access, endpoint).await {
            // TLS that does not fit shows at the first call only.
            Err(TopologyError::Unreachable { cause, .. }) => Err(explain(TITLE, access, endpoint, cause).await),
            opened => opened,
        }
    }

    async fn open(access: &Access, endpoint: &Endpoint) -> Result<(Self, Status), TopologyError> {
        let channel = channel(access, endpoint).await?;
        let mut client = Self { channel, endpoint: endpoint.to_string(), token: None, stall: access.stall };
        if let Some((name, password)) = &access.credentials.user {
            client.token = client.log_in(name, password).await?;
        }
        let status = client.status().await?;
        Ok((client, status))
    }

    /// `None` when the cluster asks nobody who they are, as etcd's own client has it.
    async fn log_in(&self, name: &str, password: &str) -> Result<Option<AsciiMetadataValue>, TopologyError> {
        let request = AuthenticateRequest { name: name.to_owned(), password: password.to_owned() };
        match self.unary::<_, AuthenticateResponse>("etcdserverpb.Auth/Authenticate", request).await {
            Ok(answer) => Ok(answer.token.parse().ok()),
            Err(status) if status.message().contains("authentication is not enabled") => Ok(None),
            Err(status) => Err(failed(&self.endpoint, "log in", &status, None)),
        }
    }

    async fn status(&self) -> Result<Status, TopologyError> {
        let answer = self.unary("etcdserverpb.Maintenance/Status", Empty {}).await;
        answer.map_err(|status| failed(&self.endpoint, "tell its status", &status, None))
    }

    pub async fn snapshot(&self) -> Result<Streaming<SnapshotResponse>, TopologyError> {
        let fail = |status: &tonic::Status| failed(&self.endpoint, "send its snapshot", status, None);
        let mut grpc = self.grpc().await.map_err(|status| fail(&status))?;
        let codec = tonic_prost::ProstCodec::<Empty, SnapshotResponse>::default();
        let path = PathAndQuery::from_static("/etcdserverpb.Maintenance/Snapshot");
        let asking = grpc.server_streaming(self.request(Empty {}), path, codec);
        match timeout(self.stall, asking).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(fail(&status)),
            Err(_) => Err(fail(&late(self.stall))),
        }
    }

    /// All keys that begin with `prefix`, as of one revision.
    pub async fn range(&self, prefix: &[u8]) -> Result<Vec<KeyValue>, TopologyError> {
        let range_end = after(prefix);
        let (mut key, mut revision, mut found) = (prefix.to_vec(), 0, Vec::new());
        loop {
            let request = RangeRequest { key, range_end: range_end.clone(), limit: PAGE, revision };
            let answer: Result<RangeResponse, _> = self.unary("etcdserverpb.KV/Range", request).await;
            let answer = answer.map_err(|status| failed(&self.endpoint, "list keys", &status, None))?;
            revision = answer.header.map_or(revision, |header| if revision == 0 { header.revision } else { revision });
            found.extend(answer.kvs);
            let Some(last) = found.last().filter(|_| answer.more) else { return Ok(found) };
            key = [last.key.as_slice(), &[0]].concat();
        }
    }

    /// Writes the key when its last change was at this revision (0: when it is not there); whether it was.
    pub async fn put_if(&self, key: &[u8], value: &[u8], mod_revision: i64) -> Result<bool, TopologyError> {
        let request = TxnRequest {
            compare: vec![Compare { target: MOD_REVISION, key: key.to_vec(), mod_revision: Some(mod_revision) }],
            success: vec![RequestOp { put: Some(PutRequest { key: key.to_vec(), value: value.to_vec() }) }],
        };
        let answer: Result<TxnResponse, _> = self.unary("etcdserverpb.KV/Txn", request).await;
        let answer = answer.map_err(|status| failed(&self.endpoint, "write a key", &status, None))?;
        Ok(answer.succeeded)
    }

    fn request<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.clone());
        }
        request
    }

    async fn grpc(&self) -> Result<tonic::client::Grpc<Channel>, tonic::Status> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone()).max_decoding_message_size(LARGEST_MESSAGE);
        grpc.ready().await.map_err(|error| tonic::Status::from_error(error.into()))?;
        Ok(grpc)
    }

    async fn unary<Q, A>(&self, method: &'static str, message: Q) -> Result<A, tonic::Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let path = PathAndQuery::try_from(format!("/{method}")).map_err(|e| tonic::Status::internal(e.to_string()))?;
        let asking = async {
            let mut grpc = self.grpc().await?;
            let codec = tonic_prost::ProstCodec::<Q, A>::default();
            grpc.unary(self.request(message), path, codec).await.map(tonic::Response::into_inner)
        };
        timeout(self.stall, asking).await.unwrap_or_else(|_| Err(late(self.stall)))
    }
}

fn late(after: Duration) -> tonic::Status {
    tonic::Status::deadline_exceeded(format!("no answer within {} s", after.as_secs()))
}

/// One connection and no other: when it breaks, the calls fail, and the next endpoint is asked.
async fn channel(access: &Access, endpoint: &Endpoint) -> Result<Channel, TopologyError> {
    let connection = Mutex::new(Some(connect(TITLE, access, endpoint, b"h2").await?));
    let wrong = |error: &dyn std::fmt::Display| TopologyError::Unreachable {
        server: TITLE,
        endpoint: endpoint.to_string(),
        cause: error.to_string(),
    };
    // What the server is told of scheme and host: a client certificate counts only with https.
    let origin: Uri = base_url(access, endpoint).parse().map_err(|error| wrong(&error))?;
    let dialled = tonic::transport::Endpoint::from_shared(format!("http://{endpoint}"));
    let dialled = dialled.map_err(|error| wrong(&error))?.origin(origin);
    let connector = tower::service_fn(move |_: Uri| {
        let taken = connection.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move { taken.map(TokioIo::new).ok_or_else(|| std::io::Error::other("the connection was lost")) }
    });
    match timeout(access.connect_timeout, dialled.connect_with_connector(connector)).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(explain(TITLE, access, endpoint, with_causes(&error)).await),
        Err(_) => Err(explain(TITLE, access, endpoint, "it does not speak HTTP/2".to_owned()).await),
    }
}

/// The first key behind all that begin with `prefix`.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // etcd's word for no end.
    vec![0]
}

/// Sorts what etcd answered. `received`: so many bytes of a stream were there already.
pub fn failed(endpoint: &str, call: &'static str, status: &tonic::Status, received: Option<u64>) -> TopologyError {
    let (server, endpoint) = (TITLE, endpoint.to_owned());
    let told = with_causes(status);
    let cause = if status.message().is_empty() { told.clone() } else { status.message().to_owned() };
    let says = |words: &[&str]| words.iter().any(|word| cause.contains(word));
    let denied = matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated)
        || says(&[
            "authentication failed",
            "user name is empty",
            "permission denied",
            "invalid auth token",
            "not granted",
        ]);
    if denied {
        return TopologyError::Denied { server, endpoint, cause };
    }
    if let Some(received) = received {
        return TopologyError::BrokenOff { server, endpoint, received, cause: told };
    }
    if says(&["no leader", "not enough started members", "leader changed", "request timed out"]) {
        return TopologyError::NoQuorum { server, endpoint, cause };
    }
    if says_tls(&told) {
        return TopologyError::Tls { server, endpoint, cause: told };
    }
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Unknown | Code::Cancelled => {
            TopologyError::Unreachable { server, endpoint, cause: told }
        }
        Code::Unimplemented => TopologyError::NotSupported { server, endpoint, cause },
        _ => TopologyError::Failed { server, endpoint, call, cause },
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn messages_are_on_the_wire_as_etcd_has_them() {
        let compare = Compare { target: MOD_REVISION, key: b"k".to_vec(), mod_revision: Some(0) };
        // field 2 = 2; field 3 = "k"; field 6 = 0, which a oneof writes though it is zero.
        assert_eq!(compare.encode_to_vec(), b"\x10\x02\x1a\x01k\x30\x00");
        let put = RequestOp { put: Some(PutRequest { key: b"k".to_vec(), value: b"v".to_vec() }) };
        assert_eq!(put.encode_to_vec(), b"\x12\x06\x0a\x01k\x12\x01v");
        // A member's answer with fields that are not known here (5: raftIndex, 11: storageVersion).
        let stored = b"\x0a\x04\x10\x07\x18\x2a\x12\x053.5.9\x18\x80\x20\x20\x07\x28\x09\x5a\x03abc";
        let status = Status::decode(stored.as_slice()).unwrap();
        let header = status.header.unwrap();
        assert_eq!((header.member_id, header.revision, status.leader), (7, 42, 7));
        assert_eq!((status.version.as_str(), status.db_size), ("3.5.9", 4096));
    }

    #[test]
    fn a_prefix_ends_before_the_next_key_that_does_not_begin_with_it() {
        assert_eq!(after(b"/vitess/"), b"/vitess0");
        assert_eq!(after(b"a\xff"), b"b");
        assert_eq!(after(b"\xff\xff"), b"\0");
    }

    #[test]
    fn what_etcd_answers_is_told_apart() {
        use crate::backup::failure::Reason;
        let reason = |status: tonic::Status, received| failed("e:1", "log in", &status, received).failure().reason;
        for (status, received, expected) in [
            (
                tonic::Status::invalid_argument("etcdserver: authentication failed, invalid user ID or password"),
                None,
                Reason::TopologyDenied,
            ),
            (tonic::Status::permission_denied("etcdserver: permission denied"), Some(0), Reason::TopologyDenied),
            (tonic::Status::invalid_argument("etcdserver: user name is empty"), None, Reason::TopologyDenied),
            (tonic::Status::unavailable("etcdserver: no leader"), None, Reason::TopologyNoQuorum),
            (tonic::Status::unavailable("connection reset"), None, Reason::TopologyUnreachable),
            (tonic::Status::unavailable("connection reset"), Some(9), Reason::TopologyBrokenOff),
            (tonic::Status::unavailable("received fatal alert: CertificateRequired"), None, Reason::TopologyTlsFailed),
            (
                tonic::Status::resource_exhausted("etcdserver: mvcc: database space exceeded"),
                None,
                Reason::TopologyFailed,
            ),
        ] {
            assert_eq!(reason(status, received), expected);
        }
    }
}
