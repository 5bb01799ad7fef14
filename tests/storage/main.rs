//! What every storage service must do, as Vitess users and the engine rely on it: each scenario runs against each service.
//!
//! A new service adds itself to [`services`] and passes; what only file storage has is in `file`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's own functions may fail the test")]

mod conformance;
mod credentials;
#[path = "../engine_support/mod.rs"]
mod engine_support;
mod faults;
mod file;
mod inventory;
mod proxy;
mod remote;
mod servers;
mod services;
#[path = "../support/mod.rs"]
mod support;
mod tables;
mod tls;
mod vitess;

use std::any::Any;
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use tempfile::TempDir;

use servers::{Program, Server};
use vitess_backup::storage::{BackupStorage, Location, Network};
use vitess_backup::topo::KeyspaceShard;

const NAME: &str = "2024-01-02.030405.zone1-0000000101";

struct Service {
    name: &'static str,
    storage: BackupStorage,
    _keeps_alive: Box<dyn Any>,
}

/// Each service, empty; all but the first two are real servers. With `VBO_MATRIX=whole` a real Ceph is among them, which takes
/// half a minute to start; else a server of S3 stands in for it, with which its client is the same.
fn services() -> Vec<Service> {
    let (directory, storage) = file_storage();
    let prefix = Path::parse("some/root").unwrap();
    let memory = BackupStorage::over(Arc::new(InMemory::new()), prefix, "memory".to_owned());
    // Ceph has a bucket for each keyspace and no root, so that each test has a server or a user to itself.
    let ceph = Server::start(Program::Versitygw);
    let mut services = vec![
        Service { name: "files", storage, _keeps_alive: Box::new(directory) },
        Service { name: "objects in memory", storage: memory, _keeps_alive: Box::new(()) },
        shared("S3: versitygw", Program::Versitygw),
        shared("S3: s3s-fs", Program::S3s),
        shared("Azure Blob: azurite", Program::Azurite),
        shared("GCS: s3s-fs", Program::S3sAnonymous),
        Service { name: "Ceph: versitygw", storage: ceph.as_ceph(), _keeps_alive: Box::new(ceph) },
    ];
    if support::matrix::is_whole() {
        let gateway = servers::shared(Program::Radosgw);
        let location = gateway.ceph_location(&gateway.new_user_of_the_gateway(), false, Network::default());
        let storage = BackupStorage::open(&Location::Ceph(location)).unwrap();
        services.push(Service { name: "Ceph: radosgw", storage, _keeps_alive: Box::new(()) });
    }
    let expected =
        tables::SERVERS.iter().chain(tables::MORE_SERVERS.iter().take_while(|_| support::matrix::is_whole()));
    assert!(services.iter().map(|service| &service.name).eq(expected), "the table of docs/storage.md has others");
    services
}

fn shared(name: &'static str, program: Program) -> Service {
    let storage = servers::shared(program).storage(&servers::fresh_root());
    Service { name, storage, _keeps_alive: Box::new(()) }
}

fn file_storage() -> (TempDir, BackupStorage) {
    let directory = TempDir::new().unwrap();
    let storage = BackupStorage::open(&Location::File { root: directory.path().join("backups") }).unwrap();
    (directory, storage)
}

fn shard() -> KeyspaceShard {
    KeyspaceShard::new("commerce", "-80").unwrap()
}
