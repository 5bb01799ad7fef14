//! A Vitess whose topology server is destroyed: it goes on with what was restored.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;
use vitess_backup::api::VitessTopologyBackupSpec;
use vitess_backup::backup::topology::TopologyServer::Etcd as ETCD;
use vitess_backup::resources;
use vitess_backup::resources::storage::StorageInPod;

use crate::servers::{Etcd, Zookeeper, built};
use crate::support::container::Container;
use crate::support::ground::ground;
use crate::support::mysql::{PATIENCE, Tablet, free_port, own};
use crate::support::vitess::{CELL, Seat, Topology, Vttablet, client, vtctldclient};
use crate::{Case, project, started, transfer};

const ALIAS: &str = "zone1-0000000101";

/// Vitess over a topology: a vtctld, and a vttablet over a mysqld that is to be the primary of `commerce/0`.
struct Vitess {
    vtctld: Container,
    address: String,
    vttablet: Vttablet,
    log: PathBuf,
    tablet: Tablet,
    backups: TempDir,
}

impl Vitess {
    async fn start(topology: &[String]) -> Self {
        let backups = TempDir::new().unwrap();
        own(backups.path());
        Self::over(Tablet::start(101).await, backups, topology)
    }

    fn over(tablet: Tablet, backups: TempDir, topology: &[String]) -> Self {
        let (log, port) = (tablet.vtdataroot().join("vtctld.log"), free_port());
        let vtctld = launch_vtctld(topology, port, &log);
        let mut vttablet = Vttablet::start_with(&Seat::of(&tablet, "commerce"), topology, backups.path(), "");
        vttablet.wait_listening();
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "vtctld does not listen: {}", std::fs::read_to_string(&log).unwrap());
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { vtctld, address: format!("127.0.0.1:{port}"), vttablet, log, tablet, backups }
    }

    /// The same tablet and mysqld with other programs of Vitess's, over another topology.
    fn moved(self, topology: &[String]) -> Self {
        let Self { vtctld, vttablet, tablet, backups, .. } = self;
        drop((vtctld, vttablet));
        Self::over(tablet, backups, topology)
    }

    /// What the vtctld answers, or complains of.
    fn ask(&self, command: &str) -> Result<String, String> {
        vtctldclient(&self.address, &["--action-timeout=10s".to_owned()], command)
    }

    /// Asks until there is an answer.
    fn until_answered(&self, command: &str) -> String {
        let begun = Instant::now();
        loop {
            match self.ask(command) {
                Ok(answer) => return answer,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{command}: {error}\n{}", self.logs()),
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Has the tablet made the primary of its shard.
    fn elect(&self) {
        self.until_answered(&format!("PingTablet {ALIAS}"));
        self.until_answered(&format!("PlannedReparentShard --new-primary {ALIAS} commerce/0"));
    }

    /// vtctld finds the primary in the topology and reaches it there; both write to the topology.
    fn assert_serves(&mut self) {
        let tablets = self.until_answered("GetTablets --keyspace commerce --shard 0 --tablet-type primary");
        assert!(tablets.contains(ALIAS), "{tablets}");
        let rows = self.until_answered(&format!("ExecuteFetchAsDBA --json {ALIAS} select+6*7"));
        assert!(rows.contains("42"), "{rows}");
        self.until_answered("RebuildKeyspaceGraph commerce");
        // The vttablet writes its record.
        self.until_answered(&format!("ChangeTabletTags {ALIAS} tried=again"));
        assert!(self.ask(&format!("GetTablet {ALIAS}")).unwrap().contains("again"));
        assert!(self.vttablet.is_running() && self.vtctld.is_running(), "{}", self.logs());
    }

    fn logs(&self) -> String {
        let vtctld = std::fs::read_to_string(&self.log).unwrap_or_default();
        format!("--- vtctld\n{vtctld}\n--- vttablet\n{}", self.vttablet.log())
    }
}

fn launch_vtctld(topology: &[String], port: u16, log: &std::path::Path) -> Container {
    let program = ground().vitess_bin.join("vtctld").display().to_string();
    let mut line = vec![program];
    line.extend(topology.iter().cloned());
    line.extend([
        format!("--cell={CELL}"),
        "--service-map=grpc-vtctl,grpc-vtctld".to_owned(),
        format!("--port={}", free_port()),
        format!("--grpc-port={port}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--grpc-bind-address=127.0.0.1".to_owned(),
        "--log-format=text".to_owned(),
        "--logtostderr".to_owned(),
        "--config-file-not-found-handling=ignore".to_owned(),
    ]);
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    Container::run(&line, &[("HOME", std::path::Path::new("/tmp"))], log)
}

/// Runs the command line that the pod of an object for this etcd has.
fn back_up_as_an_objects_pod(case: &Case, cell: &Etcd) {
    let spec = json!({"storage": {"name": "backups"}, "cell": CELL, "etcd": {"endpoints": [cell.endpoint]}});
    let spec: VitessTopologyBackupSpec = serde_json::from_value(spec).unwrap();
    let root = format!("--file-backup-storage-root={}", case.root.path().join("backups").display());
    let storage = vec!["--backup-storage-implementation=file".to_owned(), root];
    let mut pod = StorageInPod { args: storage, ..StorageInPod::default() };
    let mut args = resources::topology::backup(&spec, ETCD, started(), &mut pod);
    // A file that only a pod has.
    args.retain(|arg| !arg.starts_with("--termination-log="));
    transfer::run(0, &args.join(" "));
}

/// The cell has an etcd of its own, apart from that of the global topology.
#[tokio::test]
async fn a_cells_destroyed_etcd_is_restored_and_vtctld_and_the_tablet_go_on_serving() {
    let (topology, cell, case) = (Topology::start(), Etcd::start(), Case::new());
    topology.client(&format!("UpdateCellInfo --server-address {} {CELL}", cell.endpoint)).unwrap();
    topology.client("CreateKeyspace --durability-policy=none commerce").unwrap();
    let mut vitess = Vitess::start(&topology.flags()).await;
    vitess.elect();
    vitess.assert_serves();
    let before = vitess.ask(&format!("GetTablet {ALIAS}")).unwrap();
    back_up_as_an_objects_pod(&case, &cell);
    let listed = case.listed().await;
    assert!(listed.len() == 1 && listed[0].complete, "{listed:?}");
    let name = listed[0].name.clone();
    assert!(name.ends_with(".zone1.etcd"), "{name}");
    // Vitess goes on, so that its watchers know of revisions that the snapshot has not.
    vitess.assert_serves();

    let port = cell.endpoint.rsplit(':').next().unwrap().parse().unwrap();
    drop(cell);
    vitess.ask(&format!("GetTablet {ALIAS}")).expect_err("nothing of the cell is there any more");

    let snapshot = case.fetch(&name).await.join("snapshot.db");
    let mut restored = Etcd::launch_on(port, "http", &[], |directory| {
        let script = Command::new(project().join("scripts/restore-etcd.sh"))
            .env("PATH", format!("{}:/usr/bin:/bin", built("etcd").display()))
            .args(["--bump-revision", "1000000000"])
            .arg(&snapshot)
            .arg(directory.join("data"))
            .output()
            .unwrap();
        assert!(script.status.success(), "{}", String::from_utf8_lossy(&script.stderr));
    });
    restored.wait_healthy();
    assert_eq!(vitess.until_answered(&format!("GetTablet {ALIAS}")), before);
    vitess.assert_serves();
}

#[tokio::test]
async fn a_destroyed_etcd_is_replaced_by_a_zookeeper_that_was_filled_from_an_export() {
    let (mut topology, directory) = (Topology::start(), TempDir::new().unwrap());
    topology.client("CreateKeyspace --durability-policy=none commerce").unwrap();
    let mut vitess = Vitess::start(&topology.flags()).await;
    vitess.elect();
    vitess.assert_serves();
    let file = transfer::export(&topology, &directory);
    topology.destroy();

    let zookeeper = Zookeeper::start("zookeeper39");
    transfer::run(0, &format!("topology import {} {file}", zookeeper.our_flags()));
    let flags = zookeeper.flags();
    // The tablets' records are there before any vttablet has started over it.
    assert!(client(&flags, "GetTablets").unwrap().contains(ALIAS));
    for command in ["RebuildKeyspaceGraph commerce", "RebuildVSchemaGraph"] {
        client(&flags, command).unwrap_or_else(|error| panic!("{error}"));
    }
    let mut vitess = vitess.moved(&flags);
    vitess.assert_serves();
}
