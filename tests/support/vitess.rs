//! A vttablet on this machine, with etcd for its topology: Vitess's own code at work on a tablet's files.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::container::{Container, command_as_user};
use super::ground::{etcd, ground};
use super::mysql::{PATIENCE, Tablet, free_port};

const CELL: &str = "zone1";

/// A topology with one cell and nothing in it.
pub struct Topology {
    server: Child,
    address: String,
    directory: TempDir,
}

impl Topology {
    pub fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let (clients, peers) = (free_port(), free_port());
        let address = format!("127.0.0.1:{clients}");
        let log = std::fs::File::create(directory.path().join("etcd.log")).unwrap();
        let server = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(etcd())
            .args(["--data-dir", &directory.path().join("data").display().to_string()])
            .args(["--listen-client-urls", &format!("http://{address}")])
            .args(["--advertise-client-urls", &format!("http://{address}")])
            .args(["--listen-peer-urls", &format!("http://127.0.0.1:{peers}")])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let topology = Self { server, address, directory };
        topology.add_cell();
        topology
    }

    fn flags(&self) -> [String; 3] {
        [
            "--topo-implementation=etcd2".to_owned(),
            format!("--topo-global-server-address={}", self.address),
            "--topo-global-root=/vitess/global".to_owned(),
        ]
    }

    /// Tries until etcd answers.
    fn add_cell(&self) {
        let begun = Instant::now();
        loop {
            let mut command = command_as_user(&ground().vitess_bin.join("vtctldclient"));
            command.env("HOME", "/tmp").args(["--server", "internal"]).args(self.flags());
            command.args(["AddCellInfo", "--root", "/vitess/zone1", "--server-address", &self.address, CELL]);
            let done = command.output().unwrap();
            if done.status.success() {
                return;
            }
            let log = std::fs::read_to_string(self.directory.path().join("etcd.log")).unwrap_or_default();
            let told = String::from_utf8_lossy(&done.stderr);
            assert!(begun.elapsed() < PATIENCE, "etcd did not answer: {told}\n{log}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A vttablet over a tablet's mysqlctld.
pub struct Vttablet {
    container: Container,
    log: PathBuf,
}

impl Vttablet {
    /// Starts one that restores from the backups of `shard` below `backups`, if the tablet has no data of the keyspace.
    pub fn restore_from_backup(tablet: &Tablet, topology: &Topology, backups: &Path, keyspace: &str) -> Self {
        let vttablet = ground().vitess_bin.join("vttablet").display().to_string();
        let (http, grpc) = (free_port(), free_port());
        let mut program = vec![vttablet];
        program.extend(topology.flags());
        program.extend([
            format!("--tablet-path={CELL}-{:010}", tablet.uid),
            "--tablet-hostname=127.0.0.1".to_owned(),
            format!("--init-keyspace={keyspace}"),
            "--init-shard=0".to_owned(),
            "--init-tablet-type=replica".to_owned(),
            format!("--port={http}"),
            format!("--grpc-port={grpc}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--grpc-bind-address=127.0.0.1".to_owned(),
            "--service-map=grpc-queryservice,grpc-tabletmanager".to_owned(),
            format!("--mysqlctl-socket={}", tablet.mysqlctl_socket().display()),
            "--restore-from-backup".to_owned(),
            "--backup-storage-implementation=file".to_owned(),
            format!("--file-backup-storage-root={}", backups.display()),
            "--log-format=text".to_owned(),
            "--logtostderr".to_owned(),
            "--config-file-not-found-handling=ignore".to_owned(),
        ]);
        let program: Vec<&str> = program.iter().map(String::as_str).collect();
        let root = tablet.vtdataroot();
        let extra = root.join("extra.cnf");
        let environment = [
            ("VTDATAROOT", root),
            ("VTROOT", root),
            ("HOME", root),
            ("VT_MYSQL_ROOT", ground().mysql_root.as_path()),
            ("EXTRA_MY_CNF", &extra),
        ];
        let log = root.join("vttablet.log");
        Self { container: Container::run(&program, &environment, &log), log }
    }

    /// Waits until it has restored a backup and set this position: it starts mysqld twice and more.
    pub async fn wait_restored(&mut self, tablet: &Tablet, position: &str) {
        let begun = Instant::now();
        loop {
            let marker = tablet.tablet_dir().join("restore_in_progress").exists();
            let stands = tablet.mysql().gtid_executed().await.map(|set| format!("MySQL56/{set}"));
            if !marker && self.log().contains("Restore: copying") && stands.as_deref().ok() == Some(position) {
                return;
            }
            assert!(self.container.is_running(), "vttablet ended:\n{}", self.log());
            assert!(begun.elapsed() < 4 * PATIENCE, "vttablet did not restore ({stands:?}):\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}
