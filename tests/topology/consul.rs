//! Consul: the snapshot and its way back, keys, and what can be wrong.

pub mod machine;

use std::fs;

use vitess_backup::backup::failure::Reason;
use vitess_backup::backup::topology::TopologyServer::Consul as CONSUL;
use vitess_backup::engine::topology::{Done, to_server};
use vitess_backup::progress::Quiet;
use vitess_backup::topology::tree::{self, Nodes, Tree};
use vitess_backup::topology::{Access, Credentials, TlsFiles, TopologyError};

use crate::servers::{CONSUL_TOKEN, Consul, get};
use crate::support::mysql::free_port;
use crate::tls::Authority;
use crate::{Case, access, whole_matrix};
use machine::Machine;

const ROOT: &str = "vitess/global";

/// A Consul that leads itself and lets nobody in without a token.
pub enum Server {
    Real(Consul),
    Recorded(Machine),
}

impl Server {
    pub async fn start() -> Self {
        if whole_matrix() { Self::Real(Consul::start()) } else { Self::Recorded(Machine::start().await) }
    }

    pub fn endpoint(&self) -> &str {
        match self {
            Self::Real(consul) => &consul.endpoint,
            Self::Recorded(machine) => &machine.endpoint,
        }
    }

    pub fn access(&self) -> Access {
        with_token(&access(self.endpoint()), CONSUL_TOKEN)
    }

    pub async fn tree(&self) -> Box<dyn Tree> {
        tree::open(CONSUL, &self.access()).await.unwrap_or_else(|error| panic!("{error}"))
    }
}

fn with_token(access: &Access, token: &str) -> Access {
    Access { credentials: Credentials { user: None, token: Some(token.to_owned()) }, ..access.clone() }
}

#[tokio::test]
async fn a_snapshot_comes_back_in_place_of_what_there_is() {
    let (server, case) = (Server::start().await, Case::new());
    let keys = server.tree().await;
    keys.write(ROOT, "cells/zone1/CellInfo", b"one", None).await.unwrap();
    let Done { descriptor, .. } = case.backup(CONSUL, &server.access()).await;
    assert!(descriptor.point.index.unwrap() > 0, "{descriptor:?}");
    assert!(descriptor.server_version.as_ref().unwrap().starts_with("1."), "{descriptor:?}");
    assert_eq!(descriptor.parts[0].name, "snapshot.tgz");

    keys.write(ROOT, "cells/zone2/CellInfo", b"two", None).await.unwrap();
    let restored = to_server(&case.storage, &descriptor.name, &server.access(), &Quiet).await;
    assert_eq!(restored.unwrap_or_else(|error| panic!("{error}")).descriptor, descriptor);
    let found = server.tree().await.read(ROOT).await.unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), ["cells/zone1/CellInfo"]);
}

#[tokio::test]
async fn keys_are_read_written_and_never_overwritten_unseen() {
    let server = Server::start().await;
    let keys = server.tree().await;
    assert_eq!(keys.read("vitess/other").await.unwrap(), Nodes::new());
    keys.write(ROOT, "a b/c", b"one", None).await.unwrap();
    let version = keys.read(ROOT).await.unwrap()["a b/c"].version;
    keys.write(ROOT, "a b/c", b"", Some(version)).await.unwrap();
    for before in [None, Some(version)] {
        let stale = keys.write(ROOT, "a b/c", b"three", before).await;
        assert!(matches!(stale, Err(TopologyError::Changed { .. })), "{stale:?}");
    }
    assert_eq!(keys.read(ROOT).await.unwrap()["a b/c"].value, b"");
}

#[tokio::test]
async fn who_may_not_is_told_so() {
    let (server, case) = (Server::start().await, Case::new());
    case.refused(CONSUL, &access(server.endpoint()), Reason::TopologyDenied).await;
    let wrong = with_token(&server.access(), "00000000-1111-2222-3333-444444444444");
    case.refused(CONSUL, &wrong, Reason::TopologyDenied).await;
}

#[tokio::test]
async fn a_server_without_leader_gives_no_snapshot() {
    let real;
    let machine;
    let endpoint = if whole_matrix() {
        let mut consul = Consul::launch(2, "");
        let address = consul.endpoint.clone();
        consul
            .process
            .wait("alone", || get(&address, "/v1/status/leader").is_some_and(|text| text.trim_end().ends_with("\"\"")));
        real = consul;
        &real.endpoint
    } else {
        machine = Machine::without_leader().await;
        &machine.endpoint
    };
    let case = Case::new();
    case.refused(CONSUL, &with_token(&access(endpoint), CONSUL_TOKEN), Reason::TopologyNoQuorum).await;
    let opened = tree::open(CONSUL, &with_token(&access(endpoint), CONSUL_TOKEN)).await;
    assert_eq!(opened.err().map(|error| error.failure().reason), Some(Reason::TopologyNoQuorum));
}

#[tokio::test]
async fn tls_that_does_not_fit_is_told_apart() {
    let machine = Machine::start().await;
    let authority = Authority::new();
    let tls = TlsFiles::in_directory(authority.path());
    let secure = Access { tls, ..with_token(&access(&format!("https://{}", machine.endpoint)), CONSUL_TOKEN) };
    Case::new().refused(CONSUL, &secure, Reason::TopologyTlsFailed).await;
}

/// Only with the real one: the answering machine has no TLS.
async fn tls_of_a_real_server() {
    let (authority, other) = (Authority::new(), Authority::new());
    let settings = format!(
        "tls {{ defaults {{ ca_file = \"{0}/ca.crt\" cert_file = \"{0}/tls.crt\" key_file = \"{0}/tls.key\" \
         verify_incoming = true }} internal_rpc {{ verify_incoming = false }} }}",
        authority.path().display()
    );
    let mut consul = Consul::launch(1, &settings);
    let address = consul.endpoint.clone();
    consul.process.wait("led", || get(&address, "/v1/kv/none").is_some_and(|text| text.contains("HTTP/1.1 404")));
    let with = |tls: TlsFiles| Access { tls, ..with_token(&access(&consul.secure), CONSUL_TOKEN) };
    let stranger = TlsFiles { ca: Some(other.file("ca.crt")), ..TlsFiles::in_directory(authority.path()) };
    Case::new().refused(CONSUL, &with(stranger), Reason::TopologyTlsFailed).await;
    let anonymous = TlsFiles { ca: Some(authority.file("ca.crt")), identity: None };
    Case::new().refused(CONSUL, &with(anonymous), Reason::TopologyTlsFailed).await;
    let plain = access(consul.secure.trim_start_matches("https://"));
    Case::new().refused(CONSUL, &with_token(&plain, CONSUL_TOKEN), Reason::TopologyTlsFailed).await;
    Case::new().backup(CONSUL, &with(TlsFiles::in_directory(authority.path()))).await;
}

#[tokio::test]
async fn a_stale_snapshot_is_asked_for_as_such_and_says_so() {
    let (server, case) = (Server::start().await, Case::new());
    let stale = case.try_backup(CONSUL, &server.access(), true).await.unwrap();
    assert!(stale.descriptor.stale);
    assert!(!Case::new().backup(CONSUL, &server.access()).await.descriptor.stale);
    if let Server::Recorded(machine) = &server {
        assert_eq!(machine.asked(), ["stale", ""]);
    } else {
        tls_of_a_real_server().await;
        renew_recording(&case, &stale.descriptor.name);
    }
}

/// What the answering machine says was said by a real one: `VBO_RECORD=consul` writes it anew.
fn renew_recording(case: &Case, name: &str) {
    if std::env::var_os("VBO_RECORD").is_some_and(|what| what == "consul") {
        fs::copy(case.stored(name, "snapshot.tgz"), machine::RECORDED).unwrap();
    }
}

#[tokio::test]
async fn a_dead_endpoint_is_passed_over() {
    let (server, case) = (Server::start().await, Case::new());
    let both = access(&format!("127.0.0.1:{},{}", free_port(), server.endpoint()));
    let Done { descriptor, .. } = case.backup(CONSUL, &with_token(&both, CONSUL_TOKEN)).await;
    assert_eq!(descriptor.endpoint, server.endpoint());
}
