//! Asking a vtctld, over plaintext gRPC, to set a tablet's replication source: what Vitess does after RestoreFromBackup.
//!
//! The messages are written out by hand from Vitess's `vtctldata.proto` and `topodata.proto`, so that building needs no
//! protoc.

use std::time::Duration;

use tokio::time::timeout;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};

use crate::engine::EngineError;
use crate::topo::TabletAlias;

/// Which vtctld, and which tablet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vtctld {
    /// `host:port` of its gRPC service.
    pub server: String,
    pub alias: TabletAlias,
}

/// `topodata.TabletAlias`.
#[derive(Clone, PartialEq, prost::Message)]
struct Alias {
    #[prost(string, tag = "1")]
    cell: String,
    #[prost(uint32, tag = "2")]
    uid: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ReparentTabletRequest {
    #[prost(message, optional, tag = "1")]
    tablet: Option<Alias>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ReparentTabletResponse {
    #[prost(string, tag = "1")]
    keyspace: String,
    #[prost(string, tag = "2")]
    shard: String,
    #[prost(message, optional, tag = "3")]
    primary: Option<Alias>,
}

/// What vtctld answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reparented {
    /// The tablet follows this one now.
    Under(String),
    /// The shard has no primary, or the tablet is it: Vitess too leaves such a tablet as it is.
    NotNow(String),
}

const PATH: &str = "/vtctlservice.Vtctld/ReparentTablet";
/// One call: vtctld asks the tablet's vttablet, which may wait for its own lock.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

impl Vtctld {
    /// Has the tablet follow its shard's primary; asks once.
    ///
    /// # Errors
    /// `Vtctld`: it may work later. A vttablet whose mysqld was away may be waiting to be started again.
    pub async fn reparent(&self) -> Result<Reparented, EngineError> {
        let status = match timeout(CALL_TIMEOUT, self.call()).await {
            Ok(Ok(answer)) => {
                let primary =
                    answer.primary.map_or_else(String::new, |alias| format!("{}-{:010}", alias.cell, alias.uid));
                return Ok(Reparented::Under(primary));
            }
            Ok(Err(status)) if status.code() == Code::FailedPrecondition => {
                return Ok(Reparented::NotNow(status.message().to_owned()));
            }
            Ok(Err(status)) => status,
            Err(_) => Status::deadline_exceeded(format!("no answer within {} s", CALL_TIMEOUT.as_secs())),
        };
        let cause = describe(&status);
        Err(EngineError::Vtctld { server: self.server.clone(), alias: self.alias.to_string(), cause })
    }

    async fn call(&self) -> Result<ReparentTabletResponse, Status> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.server))
            .map_err(|error| Status::invalid_argument(format!("{:?} is not HOST:PORT: {error}", self.server)))?;
        let channel = endpoint.connect_timeout(Duration::from_secs(10)).connect_lazy();
        let mut grpc = tonic::client::Grpc::new(channel);
        grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let alias = Alias { cell: self.alias.cell().to_owned(), uid: self.alias.uid() };
        let request = Request::new(ReparentTabletRequest { tablet: Some(alias) });
        let codec = tonic_prost::ProstCodec::<ReparentTabletRequest, ReparentTabletResponse>::default();
        grpc.unary(request, PathAndQuery::from_static(PATH), codec).await.map(tonic::Response::into_inner)
    }
}

/// gRPC statuses hide what really happened in their sources.
fn describe(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = if text.is_empty() { next } else { format!("{text}: {next}") };
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn the_request_is_on_the_wire_as_vitess_has_it() {
        let alias = Alias { cell: "zone1".to_owned(), uid: 101 };
        let request = ReparentTabletRequest { tablet: Some(alias) };
        // field 1 (message, 9 bytes): field 1 (text "zone1"), field 2 (varint 101)
        assert_eq!(request.encode_to_vec(), b"\x0a\x09\x0a\x05zone1\x10\x65");
    }
}
