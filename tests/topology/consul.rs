//! Consul: the snapshot and its way back, keys, and what can be wrong.

use std::fs;

use vitess_backup::backup::failure::Reason;
use vitess_backup::backup::topology::TopologyServer::Consul as CONSUL;
use vitess_backup::engine::topology::{Done, to_server};
use vitess_backup::progress::Quiet;
use vitess_backup::topology::tree::{self, Nodes, Tree};
use vitess_backup::topology::{Access, Credentials, TlsFiles, TopologyError};

use crate::machine::Machine;
use crate::proxy::Proxy;
use crate::servers::{CONSUL_TOKEN, Consul, get};
use crate::support::mysql::free_port;
use crate::tls::Authority;
use crate::{Case, access};

const ROOT: &str = "vitess/global";

fn with_token(access: &Access, token: &str) -> Access {
    Access { credentials: Credentials { user: None, token: Some(token.to_owned()) }, ..access.clone() }
}

/// As whom everything is allowed.
fn managing(endpoint: &str) -> Access {
    with_token(&access(endpoint), CONSUL_TOKEN)
}

async fn keys(consul: &Consul) -> Box<dyn Tree> {
    tree::open(CONSUL, &managing(&consul.endpoint)).await.unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test]
async fn a_snapshot_comes_back_in_place_of_what_there_is() {
    let (consul, case) = (Consul::start(), Case::new());
    let keys = keys(&consul).await;
    keys.write(ROOT, "cells/zone1/CellInfo", b"one", None).await.unwrap();
    let Done { descriptor, .. } = case.backup(CONSUL, &managing(&consul.endpoint)).await;
    assert!(descriptor.point.index.unwrap() > 0, "{descriptor:?}");
    assert!(descriptor.server_version.as_ref().unwrap().starts_with("1."), "{descriptor:?}");
    assert_eq!((descriptor.parts[0].name.as_str(), descriptor.stale), ("snapshot.tgz", false));

    keys.write(ROOT, "cells/zone2/CellInfo", b"two", None).await.unwrap();
    let later = case.backup(CONSUL, &managing(&consul.endpoint)).await.descriptor;
    assert!(later.point.index > descriptor.point.index, "{later:?}");
    let restored = to_server(&case.storage, &descriptor.name, &managing(&consul.endpoint), &Quiet).await;
    assert_eq!(restored.unwrap_or_else(|error| panic!("{error}")).descriptor, descriptor);
    let found = keys.read(ROOT).await.unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), ["cells/zone1/CellInfo"]);
}

#[tokio::test]
async fn a_snapshot_makes_a_new_server_what_the_lost_one_was() {
    let (mut lost, case) = (Consul::start(), Case::new());
    keys(&lost).await.write(ROOT, "cells/zone1/CellInfo", b"one", None).await.unwrap();
    let name = case.backup(CONSUL, &managing(&lost.endpoint)).await.descriptor.name;
    lost.process.kill();
    let new = Consul::start();
    to_server(&case.storage, &name, &managing(&new.endpoint), &Quiet).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(keys(&new).await.read(ROOT).await.unwrap()["cells/zone1/CellInfo"].value, b"one");
}

#[tokio::test]
async fn keys_are_read_written_and_never_overwritten_unseen() {
    let consul = Consul::start();
    let keys = keys(&consul).await;
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
    let (consul, case) = (Consul::start(), Case::new());
    case.refused(CONSUL, &access(&consul.endpoint), Reason::TopologyDenied).await;
    let wrong = with_token(&access(&consul.endpoint), "00000000-1111-2222-3333-444444444444");
    case.refused(CONSUL, &wrong, Reason::TopologyDenied).await;
}

#[tokio::test]
async fn a_server_without_leader_gives_a_snapshot_only_when_a_stale_one_is_asked_for() {
    let (consul, case) = (Consul::leaderless(), Case::new());
    case.refused(CONSUL, &access(&consul.endpoint), Reason::TopologyNoQuorum).await;
    let opened = tree::open(CONSUL, &access(&consul.endpoint)).await;
    assert_eq!(opened.err().map(|error| error.failure().reason), Some(Reason::TopologyNoQuorum));
    let stale =
        case.try_backup(CONSUL, &access(&consul.endpoint), true).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(stale.descriptor.stale, "{stale:?}");
}

#[tokio::test]
async fn of_an_archive_that_is_cut_or_changed_nothing_is_kept() {
    let (consul, case) = (Consul::start(), Case::new());
    let name = case.backup(CONSUL, &managing(&consul.endpoint)).await.descriptor.name;
    let whole = fs::read(case.stored(&name, "snapshot.tgz")).unwrap();
    let good = Machine::that_sends(whole.clone()).await;
    Case::new().backup(CONSUL, &access(&good.endpoint)).await;
    let mut changed = whole.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    for damaged in [whole[..whole.len() - 20].to_vec(), changed, b"not an archive".to_vec()] {
        let machine = Machine::that_sends(damaged).await;
        Case::new().refused(CONSUL, &access(&machine.endpoint), Reason::TopologySnapshotDamaged).await;
    }
    let dies = Machine::that_dies_after(whole[..whole.len() / 2].to_vec()).await;
    Case::new().refused(CONSUL, &access(&dies.endpoint), Reason::TopologyBrokenOff).await;
}

#[tokio::test]
async fn of_a_server_that_dies_in_the_middle_nothing_is_kept() {
    let (consul, case) = (Consul::start(), Case::new());
    let keys = keys(&consul).await;
    // What gzip makes no smaller.
    let noise = fs::read(env!("CARGO_BIN_EXE_vitess-backup")).unwrap();
    for (number, value) in noise.chunks(100_000).skip(20).take(20).enumerate() {
        keys.write(ROOT, &format!("metadata/{number}"), value, None).await.unwrap();
    }
    let pid = consul.process.pid().to_string();
    let dies = Proxy::start(&consul.endpoint, 100_000, move || {
        std::process::Command::new("kill").args(["-KILL", &pid]).status().unwrap();
    });
    case.refused(CONSUL, &managing(&dies.address), Reason::TopologyBrokenOff).await;
}

#[tokio::test]
async fn tls_that_does_not_fit_is_told_apart_and_tls_that_fits_works() {
    let (authority, other) = (Authority::new(), Authority::new());
    let settings = format!(
        "tls {{ defaults {{ ca_file = \"{0}/ca.crt\" cert_file = \"{0}/tls.crt\" key_file = \"{0}/tls.key\" \
         verify_incoming = true }} internal_rpc {{ verify_incoming = false }} }}",
        authority.path().display()
    );
    let mut consul = Consul::launch(1, &settings);
    let address = consul.endpoint.clone();
    consul.process.wait("led", || get(&address, "/v1/kv/none").is_some_and(|text| text.contains("HTTP/1.1 404")));
    let with = |tls: TlsFiles| Access { tls, ..access(&consul.secure) };
    let stranger = TlsFiles { ca: Some(other.file("ca.crt")), ..TlsFiles::in_directory(authority.path()) };
    Case::new().refused(CONSUL, &with(stranger), Reason::TopologyTlsFailed).await;
    let anonymous = TlsFiles { ca: Some(authority.file("ca.crt")), identity: None };
    Case::new().refused(CONSUL, &with(anonymous), Reason::TopologyTlsFailed).await;
    let plain = access(consul.secure.trim_start_matches("https://"));
    Case::new().refused(CONSUL, &plain, Reason::TopologyTlsFailed).await;
    let tls = TlsFiles::in_directory(authority.path());
    let secure = Access { tls: tls.clone(), ..access(&format!("https://{}", consul.endpoint)) };
    Case::new().refused(CONSUL, &secure, Reason::TopologyTlsFailed).await;
    Case::new().backup(CONSUL, &with(tls)).await;
}

#[tokio::test]
async fn a_dead_endpoint_is_passed_over_and_a_stale_snapshot_says_so() {
    let (consul, case) = (Consul::start(), Case::new());
    let both = managing(&format!("127.0.0.1:{},{}", free_port(), consul.endpoint));
    let Done { descriptor, .. } = case.try_backup(CONSUL, &both, true).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((descriptor.endpoint.as_str(), descriptor.stale), (consul.endpoint.as_str(), true));
}
