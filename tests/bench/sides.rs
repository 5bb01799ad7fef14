//! Vitess and us, each at one backup or one restore, measured alike.

use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vitess_backup::codec::Codec;

use crate::data::{size, text};
use crate::support::container::{Container, command_as_user};
use crate::support::ground::{answer_of, ground};
use crate::support::mysql::{PATIENCE, Tablet, free_port, own, run};
use crate::watch::{Stat, Watch};

pub const KEYSPACE: &str = "bench";
const CELL: &str = "zone1";
const STORAGE: &str = "--backup-storage-implementation file --file-backup-storage-root";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Vitess,
    Ours,
    /// Ours, held to one core.
    OursOnOneCore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Backup,
    Restore,
}

/// One run. Times in seconds, sizes in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub operation: Operation,
    pub side: Side,
    pub codec: Codec,
    /// From mysqld's end to its next start.
    pub copy: f64,
    /// The same, and what the disk then needs to have all of it.
    pub durable: f64,
    /// Of the process that copies.
    pub cpu: f64,
    pub down: f64,
    /// From the command to its end.
    pub whole: f64,
    /// What was read by a backup, or written by a restore.
    pub data: u64,
    pub stored: u64,
    pub peak: u64,
}

/// A tablet with a running mysqlctld, a storage, and both engines.
pub struct Stage {
    pub tablet: Tablet,
    storage: tempfile::TempDir,
    binary: PathBuf,
    topology: Topology,
}

impl Stage {
    /// `binary` is the release binary.
    pub fn new(tablet: Tablet, binary: &Path) -> Self {
        let storage = tempfile::Builder::new().prefix("vbo-bench-").tempdir().expect("a temporary directory");
        let programs = storage.path().join("programs");
        for directory in [programs.clone(), storage.path().join("backups")] {
            std::fs::create_dir(&directory).expect("a temporary directory can be filled");
        }
        // Where the tablets' user can reach them, and no other build replaces them.
        let etcd = answer_of("mysql.sh", "rootfs").join("usr/bin/etcd");
        for (program, name) in [(binary, "vitess-backup"), (&etcd, "etcd")] {
            run("cp", &[&text(program), &text(&programs.join(name))]);
        }
        own(storage.path());
        let topology = Topology::start(storage.path());
        Self { tablet, binary: programs.join("vitess-backup"), storage, topology }
    }

    pub fn backups(&self) -> PathBuf {
        self.storage.path().join("backups")
    }

    /// Takes every backup away.
    pub fn clear(&self) {
        run("rm", &["-rf", &text(&self.backups().join(KEYSPACE))]);
    }

    /// Runs it and sees that mysqld serves afterwards, with the data there.
    pub async fn measure(&self, operation: Operation, side: Side, codec: Codec) -> Sample {
        // What it reads is in memory, what ran before is on disk.
        let source = match operation {
            Operation::Backup => self.tablet.tablet_dir().to_owned(),
            Operation::Restore => self.backups(),
        };
        read_all(&source);
        run("sync", &[]);
        let mut sample = match side {
            Side::Vitess => self.vitess(operation, codec),
            Side::Ours | Side::OursOnOneCore => self.ours(operation, side, codec),
        };
        let begun = Instant::now();
        run("sync", &["--file-system", &text(self.storage.path())]);
        sample.durable += begun.elapsed().as_secs_f64();
        self.tablet.mysql().wait_ready(PATIENCE).await.unwrap_or_else(|error| panic!("{error}"));
        let rows = self.tablet.value("SELECT note FROM vt_bench.small_00").await;
        assert_eq!(rows, "small", "{operation:?} by {side:?} with {codec}");
        sample
    }

    fn ours(&self, operation: Operation, side: Side, codec: Codec) -> Sample {
        let alias = self.alias();
        let (command, compression) = match operation {
            Operation::Backup => (format!("backup {alias} --concurrency 4"), compression(codec)),
            Operation::Restore => ("restore --existing-data replace --restore-concurrency 4".to_owned(), String::new()),
        };
        let (tablet_dir, backups) = (text(self.tablet.tablet_dir()), text(&self.backups()));
        let arguments = format!(
            "{command} {compression} --allow-primary --keyspace {KEYSPACE} --shard 0 --tablet-dir {tablet_dir} {STORAGE} {backups}"
        );
        let mut process = command_as_user(&self.binary);
        if side == Side::OursOnOneCore {
            let all = process;
            process = Command::new("taskset");
            process.args(["--cpu-list", "0"]).arg(all.get_program()).args(all.get_args());
        }
        let log = self.storage.path().join("vitess-backup.log");
        process.args(arguments.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::null());
        process.stderr(File::create(&log).expect("the log can be written"));
        let begun = Instant::now();
        let mut child = process.spawn().expect("vitess-backup runs");
        let watch = self.watch(child.id());
        // Its CPU time can be read until somebody waits for it.
        let cpu = loop {
            match Stat::of(child.id()) {
                Some(stat) if stat.is_over => break stat.cpu,
                Some(_) => std::thread::sleep(Duration::from_millis(5)),
                None => panic!("nobody else waits for our child"),
            }
        };
        let whole = begun.elapsed();
        let status = child.wait().expect("a child can be waited for");
        assert!(status.success(), "{arguments}: {status}\n{}", read(&log));
        self.sample(operation, side, codec, watch, whole, cpu)
    }

    fn vitess(&self, operation: Operation, codec: Codec) -> Sample {
        let vttablet = self.topology.vttablet(&self.tablet, &self.backups(), codec);
        let worker = vttablet.process("vttablet").expect("vttablet runs");
        let command = match operation {
            Operation::Backup => format!("Backup --concurrency 4 {}", self.alias()),
            Operation::Restore => format!("RestoreFromBackup {}", self.alias()),
        };
        let cpu = || Stat::of(worker).expect("vttablet goes on").cpu;
        let before = cpu();
        let begun = Instant::now();
        let watch = self.watch(worker);
        let answer = self.topology.client(&command);
        let (whole, used) = (begun.elapsed(), cpu().saturating_sub(before));
        assert!(answer.is_ok(), "{}", answer.unwrap_err());
        self.sample(operation, Side::Vitess, codec, watch, whole, used)
    }

    fn watch(&self, worker: u32) -> Watch {
        let mysqlctld = self.tablet.mysqlctld_pid().expect("mysqlctld runs");
        Watch::begin(self.tablet.mysql_socket(), mysqlctld, worker)
    }

    fn sample(
        &self,
        operation: Operation,
        side: Side,
        codec: Codec,
        watch: Watch,
        whole: Duration,
        cpu: Duration,
    ) -> Sample {
        // mysqld was back before the command ended; let it be seen that it stays.
        std::thread::sleep(Duration::from_millis(200));
        let seen = watch.end();
        let tablet = self.tablet.tablet_dir();
        Sample {
            operation,
            side,
            codec,
            copy: seen.at_rest.as_secs_f64(),
            durable: seen.at_rest.as_secs_f64(),
            cpu: cpu.as_secs_f64(),
            down: seen.down.as_secs_f64(),
            whole: whole.as_secs_f64(),
            data: size(&tablet.join("data")) + size(&tablet.join("innodb")),
            stored: size(&self.backups()),
            peak: seen.peak,
        }
    }

    fn alias(&self) -> String {
        alias(self.tablet.uid)
    }
}

fn alias(uid: u32) -> String {
    format!("{CELL}-{uid:010}")
}

/// The same flags for both.
fn compression(codec: Codec) -> String {
    match codec {
        Codec::None => "--backup-storage-compress=false".to_owned(),
        codec => format!("--compression-engine-name={codec}"),
    }
}

/// The topology that vttablet needs, in an etcd.
struct Topology {
    _etcd: Container,
    flags: String,
    log: PathBuf,
}

impl Topology {
    fn start(root: &Path) -> Self {
        let (client, peer) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
        let etcd = format!(
            "{0}/programs/etcd --data-dir {0}/etcd --listen-client-urls http://{client} \
             --advertise-client-urls http://{client} --listen-peer-urls http://{peer}",
            root.display()
        );
        let etcd: Vec<&str> = etcd.split_whitespace().collect();
        let container = Container::run(&etcd, &[("HOME", root)], &root.join("etcd.log"));
        wait_for_port(&client);
        let flags = format!(
            "--topo-implementation etcd2 --topo-global-server-address {client} --topo-global-root /vitess/global"
        );
        let topology = Self { _etcd: container, flags, log: root.join("vttablet.log") };
        for command in [
            format!("AddCellInfo --root /vitess/{CELL} --server-address {client} {CELL}"),
            format!("CreateKeyspace --durability-policy=none {KEYSPACE}"),
        ] {
            topology.client(&command).unwrap_or_else(|error| panic!("{error}"));
        }
        topology
    }

    /// Runs vtctldclient with a vtctld inside.
    fn client(&self, command: &str) -> Result<(), String> {
        let arguments = format!("--server internal {} {command}", self.flags);
        let output = Command::new(ground().vitess_bin.join("vtctldclient"))
            .args(arguments.split_whitespace())
            .stdin(Stdio::null())
            .output()
            .expect("vtctldclient runs");
        if output.status.success() {
            return Ok(());
        }
        Err(format!("vtctldclient {command}: {}\n{}", String::from_utf8_lossy(&output.stderr), read(&self.log)))
    }

    /// A fresh vttablet of the tablet, started and at rest.
    fn vttablet(&self, tablet: &Tablet, backups: &Path, codec: Codec) -> Container {
        let (port, grpc_port) = (free_port(), free_port());
        let command = format!(
            "{}/vttablet {} {STORAGE} {} {} --tablet-path {} --tablet-hostname 127.0.0.1 --init-keyspace {KEYSPACE} \
             --init-shard 0 --init-tablet-type replica --mysqlctl-socket {} --port {port} --grpc-port {grpc_port} \
             --service-map grpc-queryservice,grpc-tabletmanager --bind-address 127.0.0.1 --grpc-bind-address 127.0.0.1 \
             --log-format text --logtostderr --config-file-not-found-handling ignore",
            ground().vitess_bin.display(),
            self.flags,
            backups.display(),
            compression(codec),
            alias(tablet.uid),
            tablet.mysqlctl_socket().display(),
        );
        let command: Vec<&str> = command.split_whitespace().collect();
        let root = tablet.vtdataroot();
        let environment =
            [("VTDATAROOT", root), ("VTROOT", root), ("HOME", root), ("VT_MYSQL_ROOT", &ground().mysql_root)];
        let _ = std::fs::remove_file(&self.log);
        let container = Container::run(&command, &environment, &self.log);
        wait_for_port(&format!("127.0.0.1:{grpc_port}"));
        // Its start is not to count.
        std::thread::sleep(Duration::from_secs(1));
        container
    }
}

fn wait_for_port(address: &str) {
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(begun.elapsed() < PATIENCE, "nothing listens on {address}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Into memory.
fn read_all(path: &Path) {
    let entries = std::fs::read_dir(path).expect("a folder can be read");
    for entry in entries.map(|entry| entry.expect("a folder can be read")) {
        let kind = entry.file_type().expect("an entry has a type");
        if kind.is_dir() {
            read_all(&entry.path());
        } else if kind.is_file() {
            let mut file = File::open(entry.path()).expect("a file can be opened");
            std::io::copy(&mut file, &mut std::io::sink()).expect("a file can be read");
        }
    }
}

fn read(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(6000)..]).into_owned()
}
