//! Vitess and us, each at one backup or one restore, measured alike.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vitess_backup::codec::Codec;

use crate::data::{size, text};
use crate::proc::{Stat, peak_of};
use crate::support::container::command_as_user;
use crate::support::ground::ground;
use crate::support::mysql::{PATIENCE, Tablet, own, run};
use crate::support::vitess::{CELL, Seat, Topology, Vttablet};
use crate::watch::Watch;

pub const KEYSPACE: &str = "bench";

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

/// One run. Times in seconds, sizes in bytes. While mysqld runs all through, the copy is the whole command.
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

/// A storage, the release binary, and a topology for Vitess's side.
pub struct Depot {
    directory: tempfile::TempDir,
    pub binary: PathBuf,
    pub topology: Topology,
}

impl Depot {
    /// `binary` is the release binary.
    pub fn new(binary: &Path) -> Self {
        let directory = tempfile::Builder::new().prefix("vbo-bench-").tempdir().expect("a temporary directory");
        std::fs::create_dir(directory.path().join("backups")).expect("a temporary directory can be filled");
        // Where the tablets' user can reach it, and no other build replaces it.
        let program = directory.path().join("vitess-backup");
        run("cp", &[&text(binary), &text(&program)]);
        own(directory.path());
        let topology = Topology::start();
        let keyspace = format!("CreateKeyspace --durability-policy=none {KEYSPACE}");
        topology.client(&keyspace).unwrap_or_else(|error| panic!("{error}"));
        Self { directory, binary: program, topology }
    }

    pub fn backups(&self) -> PathBuf {
        self.directory.path().join("backups")
    }

    /// Takes every backup away.
    pub fn clear(&self) {
        run("rm", &["-rf", &text(&self.backups().join(KEYSPACE))]);
    }

    /// Of our side; a vttablet has them by itself.
    pub fn storage_flags(&self) -> String {
        format!("--backup-storage-implementation file --file-backup-storage-root {}", self.backups().display())
    }

    /// What will be read is in memory, what ran before is on disk.
    pub fn settle(&self, operation: Operation, tablet_dir: &Path) {
        read_all(&match operation {
            Operation::Backup => tablet_dir.to_owned(),
            Operation::Restore => self.backups(),
        });
        run("sync", &[]);
    }

    /// How long the disk then needs to have all of it, in seconds.
    pub fn sync(&self) -> f64 {
        let begun = Instant::now();
        run("sync", &["--file-system", &text(self.directory.path())]);
        begun.elapsed().as_secs_f64()
    }

    /// `vitess-backup` with these arguments, which is to succeed. `seen` is told of its process.
    pub fn ours<T>(
        &self,
        arguments: &str,
        on_one_core: bool,
        mysql_root: &Path,
        seen: impl FnOnce(u32) -> T,
    ) -> (Ran, T) {
        let mut process = command_as_user(&self.binary);
        if on_one_core {
            let all = process;
            process = Command::new("taskset");
            process.args(["--cpu-list", "0"]).arg(all.get_program()).args(all.get_args());
        }
        let log = self.directory.path().join("vitess-backup.log");
        process.args(arguments.split_whitespace()).env("VT_MYSQL_ROOT", mysql_root);
        process.stdin(Stdio::null()).stdout(Stdio::null());
        process.stderr(File::create(&log).expect("the log can be written"));
        let begun = Instant::now();
        let mut child = process.spawn().expect("vitess-backup runs");
        let told = seen(child.id());
        let mut peak = 0;
        // Its CPU time can be read until somebody waits for it.
        let cpu = loop {
            peak = peak.max(peak_of(child.id()).unwrap_or(0));
            match Stat::of(child.id()) {
                Some(stat) if stat.is_over => break stat.cpu,
                Some(_) => std::thread::sleep(Duration::from_millis(5)),
                None => panic!("nobody else waits for our child"),
            }
        };
        let whole = begun.elapsed();
        let status = child.wait().expect("a child can be waited for");
        assert!(status.success(), "{arguments}: {status}\n{}", read(&log));
        (Ran { whole, cpu, peak }, told)
    }

    /// A fresh vttablet, started and at rest.
    pub fn vttablet(&self, seat: &Seat, flags: &str) -> Vttablet {
        let mut vttablet = Vttablet::start(seat, &self.topology, &self.backups(), flags);
        vttablet.wait_listening();
        // Its start is not to count.
        std::thread::sleep(Duration::from_secs(1));
        vttablet
    }

    /// A command of vtctldclient's to this vttablet; its answer.
    pub fn vitess<T>(
        &self,
        vttablet: &Vttablet,
        command: &str,
        seen: impl FnOnce(u32) -> T,
    ) -> (Ran, T, Result<String, String>) {
        let worker = vttablet.pid();
        let cpu = || Stat::of(worker).expect("vttablet goes on").cpu;
        let before = cpu();
        let begun = Instant::now();
        let told = seen(worker);
        let answer = self.topology.client(command);
        let (whole, cpu) = (begun.elapsed(), cpu().saturating_sub(before));
        (Ran { whole, cpu, peak: peak_of(worker).unwrap_or(0) }, told, answer)
    }
}

/// A process at work: how long the command took, and what that process itself used, without its children.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    pub whole: Duration,
    pub cpu: Duration,
    /// Bytes
    pub peak: u64,
}

/// A tablet with a running mysqlctld, for the builtin engines.
pub struct Stage {
    pub tablet: Tablet,
    pub depot: Depot,
}

impl Stage {
    /// Runs it and sees that mysqld serves afterwards, with the data there.
    pub async fn measure(&self, operation: Operation, side: Side, codec: Codec) -> Sample {
        self.depot.settle(operation, self.tablet.tablet_dir());
        let mut sample = match side {
            Side::Vitess => self.vitess(operation, codec),
            Side::Ours | Side::OursOnOneCore => self.ours(operation, side, codec),
        };
        sample.durable += self.depot.sync();
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
        let arguments = format!(
            "{command} {compression} --allow-primary --keyspace {KEYSPACE} --shard 0 --tablet-dir {} {}",
            self.tablet.tablet_dir().display(),
            self.depot.storage_flags()
        );
        let (ran, watch) =
            self.depot.ours(&arguments, side == Side::OursOnOneCore, &ground().mysql_root, |pid| self.watch(pid));
        self.sample(operation, side, codec, watch, ran)
    }

    fn vitess(&self, operation: Operation, codec: Codec) -> Sample {
        let vttablet = self.depot.vttablet(&Seat::of(&self.tablet, KEYSPACE), &compression(codec));
        let command = match operation {
            Operation::Backup => format!("Backup --concurrency 4 {}", self.alias()),
            Operation::Restore => format!("RestoreFromBackup {}", self.alias()),
        };
        let (ran, watch, answer) = self.depot.vitess(&vttablet, &command, |pid| self.watch(pid));
        assert!(answer.is_ok(), "{}\n{}", answer.unwrap_err(), vttablet.log());
        self.sample(operation, Side::Vitess, codec, watch, ran)
    }

    fn watch(&self, worker: u32) -> Watch {
        let mysqlctld = self.tablet.mysqlctld_pid().expect("mysqlctld runs");
        Watch::begin(self.tablet.mysql_socket(), mysqlctld, worker)
    }

    fn sample(&self, operation: Operation, side: Side, codec: Codec, watch: Watch, ran: Ran) -> Sample {
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
            cpu: ran.cpu.as_secs_f64(),
            down: seen.down.as_secs_f64(),
            whole: ran.whole.as_secs_f64(),
            data: size(&tablet.join("data")) + size(&tablet.join("innodb")),
            stored: size(&self.depot.backups()),
            peak: seen.peak,
        }
    }

    fn alias(&self) -> String {
        alias(self.tablet.uid)
    }
}

pub fn alias(uid: u32) -> String {
    format!("{CELL}-{uid:010}")
}

/// The same flags for both.
pub fn compression(codec: Codec) -> String {
    match codec {
        Codec::None => "--backup-storage-compress=false".to_owned(),
        codec => format!("--compression-engine-name={codec}"),
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
