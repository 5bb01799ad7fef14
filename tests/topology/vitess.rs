//! A Vitess whose topology server is destroyed: it goes on with what was restored.

use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vitess_backup::backup::topology::TopologyServer::Etcd as ETCD;

use crate::servers::{Zookeeper, built};
use crate::support::mysql::{PATIENCE, Tablet, own};
use crate::support::vitess::{Seat, Topology, Vttablet, client};
use crate::{Case, access, project, transfer};

const ALIAS: &str = "zone1-0000000101";

/// A tablet that serves as the primary of `commerce/0`.
struct Shard {
    tablet: Tablet,
    backups: TempDir,
}

impl Shard {
    async fn new() -> Self {
        let backups = TempDir::new().unwrap();
        own(backups.path());
        Self { tablet: Tablet::start(101).await, backups }
    }

    fn vttablet(&self, topology: &[String]) -> Vttablet {
        let seat = Seat::of(&self.tablet, "commerce");
        let mut vttablet = Vttablet::start_with(&seat, topology, self.backups.path(), "");
        vttablet.wait_listening();
        vttablet
    }
}

/// Asks until the answer is one.
fn until(what: &str, vttablet: &Vttablet, ask: impl Fn() -> Result<String, String>) -> String {
    let begun = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{what}: {error}\n{}", vttablet.log()),
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// vtctld finds the tablet in the topology, reaches it there, and changes something in both.
fn serves(flags: &[String], vttablet: &Vttablet) {
    let ask = |command: &str| client(flags, command);
    until("vtctld reaches the tablet", vttablet, || ask(&format!("PingTablet {ALIAS}")));
    let tablets = ask("GetTablets --keyspace commerce --shard 0").unwrap();
    assert!(tablets.contains(ALIAS), "{tablets}");
    until("the tablet answers", vttablet, || ask(&format!("ExecuteFetchAsDBA {ALIAS} select+1")));
    until("the tablet's record is written", vttablet, || ask(&format!("RefreshState {ALIAS}")));
}

fn furnish(topology: &Topology) {
    topology.client("CreateKeyspace --durability-policy=none commerce").unwrap();
}

#[tokio::test]
async fn a_destroyed_etcd_is_restored_and_vtctld_and_the_tablet_go_on_serving() {
    let (mut topology, shard, case) = (Topology::start(), Shard::new().await, Case::new());
    furnish(&topology);
    let mut vttablet = shard.vttablet(&topology.flags());
    serves(&topology.flags(), &vttablet);
    let before = topology.client("GetTablet zone1-0000000101").unwrap();
    let name = case.backup(ETCD, &access(topology.address())).await.descriptor.name;

    topology.destroy();
    assert!(topology.client("GetKeyspaces").is_err(), "nothing is there any more");
    let snapshot = case.fetch(&name).await.join("snapshot.db");
    let script = Command::new(project().join("scripts/restore-etcd.sh"))
        .env("PATH", format!("{}:/usr/bin:/bin", built("etcd").display()))
        .args(["--bump-revision", "1000000000"])
        .args([&snapshot, &topology.data()])
        .output()
        .unwrap();
    assert!(script.status.success(), "{}", String::from_utf8_lossy(&script.stderr));
    topology.start_again();
    serves(&topology.flags(), &vttablet);
    assert_eq!(topology.client("GetTablet zone1-0000000101").unwrap(), before);
    assert!(vttablet.is_running(), "{}", vttablet.log());
    topology.client("CreateKeyspace another").unwrap();
}

#[tokio::test]
async fn a_destroyed_etcd_is_replaced_by_a_zookeeper_that_was_filled_from_an_export() {
    let (mut topology, shard, directory) = (Topology::start(), Shard::new().await, TempDir::new().unwrap());
    furnish(&topology);
    let vttablet = shard.vttablet(&topology.flags());
    serves(&topology.flags(), &vttablet);
    let file = transfer::export(&topology, &directory);
    topology.destroy();
    drop(vttablet);

    let zookeeper = Zookeeper::start("zookeeper39");
    let address = &zookeeper.endpoint;
    let import = Command::new(env!("CARGO_BIN_EXE_vitess-backup"))
        .args(["topology", "import", "--topo-implementation", "zk2", "--topo-root", "/vitess/global"])
        .args(["--topo-server-address", address, &file])
        .output()
        .unwrap();
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    let flags = [
        "--topo-implementation=zk2".to_owned(),
        format!("--topo-global-server-address={address}"),
        "--topo-global-root=/vitess/global".to_owned(),
    ];
    // The tablets' records are there before any vttablet has started over it.
    assert!(client(&flags, "GetTablets").unwrap().contains(ALIAS));
    for command in ["RebuildKeyspaceGraph commerce", "RebuildVSchemaGraph"] {
        client(&flags, command).unwrap_or_else(|error| panic!("{error}"));
    }
    let vttablet = shard.vttablet(&flags);
    serves(&flags, &vttablet);
}
