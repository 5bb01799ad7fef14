//! Asking a vtctld, over plaintext gRPC, what Vitess's own Backup and RestoreFromBackup do in the topology: the tablet's
//! type, and its replication source.
//!
//! The messages are written out by hand from Vitess's `vtctldata.proto` and `topodata.proto`, so that building needs no
//! protoc.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};

use crate::engine::EngineError;
use crate::progress::Monitor;
use crate::topo::TabletAlias;

/// Which vtctld, and which tablet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vtctld {
    /// `host:port` of its gRPC service.
    pub server: String,
    pub alias: TabletAlias,
}

/// `topodata.TabletType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, prost::Enumeration)]
#[repr(i32)]
pub enum TabletType {
    Unknown = 0,
    Primary = 1,
    Replica = 2,
    Rdonly = 3,
    Spare = 4,
    Experimental = 5,
    Backup = 6,
    Restore = 7,
    Drained = 8,
}

/// `topodata.TabletAlias`.
#[derive(Clone, PartialEq, prost::Message)]
struct Alias {
    #[prost(string, tag = "1")]
    cell: String,
    #[prost(uint32, tag = "2")]
    uid: u32,
}

/// `topodata.Tablet`, as far as it matters here.
#[derive(Clone, PartialEq, prost::Message)]
struct Tablet {
    #[prost(enumeration = "TabletType", tag = "8")]
    r#type: i32,
}

/// `GetTabletRequest` and `ReparentTabletRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct TabletRequest {
    #[prost(message, optional, tag = "1")]
    tablet: Option<Alias>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GetTabletResponse {
    #[prost(message, optional, tag = "1")]
    tablet: Option<Tablet>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ReparentTabletResponse {
    #[prost(message, optional, tag = "3")]
    primary: Option<Alias>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ChangeTabletTypeRequest {
    #[prost(message, optional, tag = "1")]
    tablet_alias: Option<Alias>,
    #[prost(enumeration = "TabletType", tag = "2")]
    db_type: i32,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct ChangeTabletTypeResponse {}

/// What vtctld answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reparented {
    /// The tablet follows this one now.
    Under(String),
    /// The shard has no primary, or the tablet is it: Vitess too leaves such a tablet as it is.
    NotNow(String),
}

/// One call: vtctld asks the tablet's vttablet, which may wait for its own lock.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long to ask for what must be put back. A vttablet that is being started again needs a while.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_secs(2);

impl Vtctld {
    /// The tablet's type in the topology.
    ///
    /// # Errors
    /// `Vtctld`.
    pub async fn tablet_type(&self) -> Result<TabletType, EngineError> {
        let request = TabletRequest { tablet: Some(self.wire_alias()) };
        let answer: GetTabletResponse = self.call("GetTablet", request).await.map_err(|status| self.failed(&status))?;
        Ok(answer.tablet.map_or(TabletType::Unknown, |tablet| tablet.r#type()))
    }

    /// Changes the tablet's type, through its vttablet.
    ///
    /// # Errors
    /// `Vtctld`, also for a change that Vitess does not allow.
    pub async fn change_type(&self, to: TabletType) -> Result<(), EngineError> {
        let request = ChangeTabletTypeRequest { tablet_alias: Some(self.wire_alias()), db_type: to.into() };
        let changed: Result<ChangeTabletTypeResponse, Status> = self.call("ChangeTabletType", request).await;
        changed.map(|_| ()).map_err(|status| self.failed(&status))
    }

    /// Gives a tablet that is of type BACKUP the type it had before; one that has become something else is left alone.
    ///
    /// # Errors
    /// `Vtctld` when it cannot be had within 2 minutes.
    pub async fn put_back_type(&self, before: TabletType, monitor: &dyn Monitor) -> Result<(), EngineError> {
        let begun = Instant::now();
        loop {
            let tried = async {
                match self.tablet_type().await? {
                    TabletType::Backup => self.change_type(before).await,
                    _ => Ok(()),
                }
            };
            match tried.await {
                Ok(()) => return Ok(()),
                Err(error) if begun.elapsed() >= PATIENCE => return Err(error),
                Err(error) => monitor.note(&format!("{error}; trying again")),
            }
            sleep(PAUSE).await;
        }
    }

    /// Has the tablet follow its shard's primary; asks once.
    ///
    /// # Errors
    /// `Vtctld`: it may work later. A vttablet whose mysqld was away may be waiting to be started again.
    pub async fn reparent(&self) -> Result<Reparented, EngineError> {
        let request = TabletRequest { tablet: Some(self.wire_alias()) };
        let answer: Result<ReparentTabletResponse, Status> = self.call("ReparentTablet", request).await;
        match answer {
            Ok(answer) => {
                let alias = |alias: Alias| format!("{}-{:010}", alias.cell, alias.uid);
                Ok(Reparented::Under(answer.primary.map(alias).unwrap_or_default()))
            }
            Err(status) if status.code() == Code::FailedPrecondition => {
                Ok(Reparented::NotNow(status.message().to_owned()))
            }
            Err(status) => Err(self.failed(&status)),
        }
    }

    async fn call<Q, A>(&self, method: &str, request: Q) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.server))
            .map_err(|error| Status::invalid_argument(format!("{:?} is not HOST:PORT: {error}", self.server)))?;
        let path = PathAndQuery::try_from(format!("/vtctlservice.Vtctld/{method}"))
            .map_err(|error| Status::internal(error.to_string()))?;
        let channel = endpoint.connect_timeout(Duration::from_secs(10)).connect_lazy();
        let mut grpc = tonic::client::Grpc::new(channel);
        let answer = async {
            grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
            let codec = tonic_prost::ProstCodec::<Q, A>::default();
            grpc.unary(Request::new(request), path, codec).await.map(tonic::Response::into_inner)
        };
        let late = |_| Err(Status::deadline_exceeded(format!("no answer within {} s", CALL_TIMEOUT.as_secs())));
        timeout(CALL_TIMEOUT, answer).await.unwrap_or_else(late)
    }

    fn wire_alias(&self) -> Alias {
        Alias { cell: self.alias.cell().to_owned(), uid: self.alias.uid() }
    }

    fn failed(&self, status: &Status) -> EngineError {
        EngineError::Vtctld { server: self.server.clone(), alias: self.alias.to_string(), cause: describe(status) }
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

    fn vtctld(server: &str) -> Vtctld {
        Vtctld { server: server.to_owned(), alias: TabletAlias::new("zone1", 101).unwrap() }
    }

    #[test]
    fn the_requests_are_on_the_wire_as_vitess_has_them() {
        let alias = || Some(vtctld("x").wire_alias());
        // field 1 (message, 9 bytes): field 1 (text "zone1"), field 2 (varint 101)
        let tablet = b"\x0a\x09\x0a\x05zone1\x10\x65";
        assert_eq!(TabletRequest { tablet: alias() }.encode_to_vec(), tablet);
        let change = ChangeTabletTypeRequest { tablet_alias: alias(), db_type: TabletType::Backup.into() };
        assert_eq!(change.encode_to_vec(), [tablet.as_slice(), b"\x10\x06"].concat());
        // A Tablet with alias (field 1), hostname (2) and type (8): what we do not know is passed over.
        let stored = b"\x0a\x13\x0a\x09\x0a\x05zone1\x10\x65\x12\x04host\x40\x03";
        let answer = GetTabletResponse::decode(stored.as_slice()).unwrap();
        assert_eq!(answer.tablet.unwrap().r#type(), TabletType::Rdonly);
    }

    #[tokio::test]
    async fn a_vtctld_that_is_not_there_is_named_with_what_went_wrong() {
        let error = vtctld("127.0.0.1:1").tablet_type().await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("127.0.0.1:1") && text.contains("zone1-0000000101") && text.contains("refused"),
            "{text}"
        );
        let error = vtctld("no port").reparent().await.unwrap_err();
        assert!(error.to_string().contains("is not HOST:PORT"), "{error}");
    }
}
