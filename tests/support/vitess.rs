//! Vitess's own code at work on a tablet's files, on this machine: vttablet, with etcd for its topology.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::container::{Container, command_as_user};
use super::ground::{etcd, ground};
use super::mysql::{PATIENCE, Tablet, free_port};

pub const CELL: &str = "zone1";

/// A topology with one cell and nothing in it.
pub struct Topology {
    server: Child,
    address: String,
    peers: u16,
    directory: TempDir,
}

impl Topology {
    pub fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let (clients, peers) = (free_port(), free_port());
        let address = format!("127.0.0.1:{clients}");
        let server = launch(&directory.path().join("data"), &address, peers);
        let topology = Self { server, address, peers, directory };
        topology.add_cell();
        topology
    }

    /// `host:port` of its clients.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// etcd's data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Kills etcd and removes all that it had.
    pub fn destroy(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        std::fs::remove_dir_all(self.data()).unwrap();
    }

    /// Starts etcd again on what is in its data directory.
    pub fn start_again(&mut self) {
        self.server = launch(&self.data(), &self.address, self.peers);
    }

    /// What every program of Vitess's is told of it.
    pub fn flags(&self) -> Vec<String> {
        topology_flags("etcd2", &self.address, "/vitess/global")
    }

    /// What vtctldclient answers, with a vtctld inside; what it complains of otherwise.
    pub fn client(&self, command: &str) -> Result<String, String> {
        client(&self.flags(), command)
    }

    /// Tries until etcd answers.
    fn add_cell(&self) {
        let begun = Instant::now();
        let command = format!("AddCellInfo --root /vitess/{CELL} --server-address {} {CELL}", self.address);
        while let Err(told) = self.client(&command) {
            let log = std::fs::read_to_string(self.directory.path().join("etcd.log")).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "etcd did not answer: {told}\n{log}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// etcd on this data directory, which may be missing.
fn launch(data: &Path, address: &str, peers: u16) -> Child {
    let log = std::fs::File::create(data.with_file_name("etcd.log")).unwrap();
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(etcd())
        .args(["--data-dir", &data.display().to_string()])
        .args(["--listen-client-urls", &format!("http://{address}")])
        .args(["--advertise-client-urls", &format!("http://{address}")])
        .args(["--listen-peer-urls", &format!("http://127.0.0.1:{peers}")])
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

/// What every program of Vitess's is told of a topology: the name of its plugin, `host:port`, and the global root.
pub fn topology_flags(implementation: &str, address: &str, root: &str) -> Vec<String> {
    vec![
        format!("--topo-implementation={implementation}"),
        format!("--topo-global-server-address={address}"),
        format!("--topo-global-root={root}"),
    ]
}

/// What vtctldclient answers with these flags for the topology, and a vtctld inside; what it complains of otherwise.
pub fn client(topology: &[String], command: &str) -> Result<String, String> {
    vtctldclient("internal", topology, command)
}

/// What vtctldclient answers that asks this server, with these flags; what it complains of otherwise.
pub fn vtctldclient(server: &str, flags: &[String], command: &str) -> Result<String, String> {
    let mut client = command_as_user(&ground().vitess_bin.join("vtctldclient"));
    client.env("HOME", "/tmp").args(["--server", server]).args(flags);
    let output = client.args(command.split_whitespace()).stdin(Stdio::null()).output().expect("vtctldclient runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(format!("vtctldclient {command}: {}", text(&output.stderr)))
}

impl Drop for Topology {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The tablet that a vttablet is started over.
pub struct Seat<'a> {
    pub uid: u32,
    pub keyspace: &'a str,
    pub vtdataroot: &'a Path,
    pub mysql_root: &'a Path,
    /// Without it vttablet starts and stops mysqld by itself.
    pub mysqlctl_socket: Option<PathBuf>,
}

impl<'a> Seat<'a> {
    pub fn of(tablet: &'a Tablet, keyspace: &'a str) -> Self {
        Self {
            uid: tablet.uid,
            keyspace,
            vtdataroot: tablet.vtdataroot(),
            mysql_root: &ground().mysql_root,
            mysqlctl_socket: Some(tablet.mysqlctl_socket()),
        }
    }
}

/// A vttablet.
pub struct Vttablet {
    container: Container,
    grpc_port: u16,
    log: PathBuf,
}

impl Vttablet {
    /// Starts one, with a file storage in `backups`.
    pub fn start(seat: &Seat, topology: &Topology, backups: &Path, flags: &str) -> Self {
        Self::start_with(seat, &topology.flags(), backups, flags)
    }

    /// The same with these flags for the topology, which may be of another kind.
    pub fn start_with(seat: &Seat, topology: &[String], backups: &Path, flags: &str) -> Self {
        let vttablet = ground().vitess_bin.join("vttablet").display().to_string();
        let (http, grpc_port) = (free_port(), free_port());
        let mut program = vec![vttablet];
        program.extend(topology.iter().cloned());
        program.extend([
            format!("--tablet-path={CELL}-{:010}", seat.uid),
            "--tablet-hostname=127.0.0.1".to_owned(),
            format!("--init-keyspace={}", seat.keyspace),
            "--init-shard=0".to_owned(),
            "--init-tablet-type=replica".to_owned(),
            format!("--port={http}"),
            format!("--grpc-port={grpc_port}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--grpc-bind-address=127.0.0.1".to_owned(),
            "--service-map=grpc-queryservice,grpc-tabletmanager".to_owned(),
            "--backup-storage-implementation=file".to_owned(),
            format!("--file-backup-storage-root={}", backups.display()),
            "--log-format=text".to_owned(),
            "--logtostderr".to_owned(),
            "--config-file-not-found-handling=ignore".to_owned(),
        ]);
        program.extend(seat.mysqlctl_socket.iter().map(|socket| format!("--mysqlctl-socket={}", socket.display())));
        program.extend(flags.split_whitespace().map(str::to_owned));
        let program: Vec<&str> = program.iter().map(String::as_str).collect();
        let root = seat.vtdataroot;
        let extra = root.join("extra.cnf");
        let environment = [
            ("VTDATAROOT", root),
            ("VTROOT", root),
            ("HOME", root),
            ("VT_MYSQL_ROOT", seat.mysql_root),
            ("EXTRA_MY_CNF", &extra),
        ];
        let log = root.join("vttablet.log");
        let _ = std::fs::remove_file(&log);
        Self { container: Container::run(&program, &environment, &log), grpc_port, log }
    }

    /// Starts one that restores from the backups of `shard` below `backups`, if the tablet has no data of the keyspace.
    pub fn restore_from_backup(tablet: &Tablet, topology: &Topology, backups: &Path, keyspace: &str) -> Self {
        Self::start(&Seat::of(tablet, keyspace), topology, backups, "--restore-from-backup")
    }

    /// Waits until it takes calls.
    pub fn wait_listening(&mut self) {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.grpc_port)).is_err() {
            assert!(self.container.is_running(), "vttablet ended:\n{}", self.log());
            assert!(begun.elapsed() < PATIENCE, "vttablet does not listen:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
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

    pub fn is_running(&mut self) -> bool {
        self.container.is_running()
    }

    /// Its process, as seen from here.
    pub fn pid(&self) -> u32 {
        self.container.process("vttablet").expect("vttablet runs")
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}
