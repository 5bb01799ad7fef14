//! Vitess itself and this program, with the same flags on the same bucket: each lists and restores what the other stored.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin;
use tempfile::TempDir;

use crate::servers::{BUCKET, Program, Server, free_port};
use crate::support::container::{Container, command_as_user};
use crate::support::ground::ground;
use crate::support::mysql::{Tablet, own};
use crate::support::vitess::Topology;

const PATIENCE: Duration = Duration::from_secs(300);

/// etcd, vtctld and an empty bucket.
struct Vitess {
    server: Server,
    folder: TempDir,
    topology: Topology,
    vtctld: String,
    processes: Vec<Container>,
}

impl Vitess {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("vbo-vitess-").tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        own(folder.path());
        let server = Server::start(Program::Versitygw);
        let mut vitess = Self {
            server,
            folder,
            topology: Topology::start(),
            vtctld: format!("127.0.0.1:{}", free_port()),
            processes: Vec::new(),
        };
        let port = vitess.vtctld.rsplit_once(':').unwrap().1.to_owned();
        let mut line = vec![ground().vitess_bin.join("vtctld").to_str().unwrap().to_owned()];
        line.extend(vitess.flags(&["--cell", "zone1", "--service-map", "grpc-vtctld", "--grpc-port", &port]));
        line.extend(["--port".to_owned(), free_port().to_string()]);
        line.extend(vitess.storage_flags());
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        let log = vitess.folder.path().join("vtctld.log");
        vitess.processes.push(Container::run(&line, &vitess.environment(), &log));
        vitess.until_it_answers(|vitess| {
            vitess.vtctldclient(&["CreateKeyspace", "--durability-policy=none", "commerce"])
        });
        vitess
    }

    fn flags(&self, more: &[&str]) -> Vec<String> {
        self.topology.flags().into_iter().chain(more.iter().map(|word| (*word).to_owned())).collect()
    }

    /// The same words for both.
    fn storage_flags(&self) -> Vec<String> {
        vec![
            "--backup-storage-implementation=s3".to_owned(),
            format!("--s3-backup-aws-endpoint=http://{}", self.server.address()),
            "--s3-backup-aws-region=us-east-1".to_owned(),
            format!("--s3-backup-storage-bucket={BUCKET}"),
            "--s3-backup-storage-root=root".to_owned(),
            "--s3-backup-force-path-style".to_owned(),
        ]
    }

    fn environment(&self) -> Vec<(&str, &Path)> {
        vec![
            ("AWS_ACCESS_KEY_ID", Path::new("test")),
            ("AWS_SECRET_ACCESS_KEY", Path::new("testsecret")),
            ("HOME", self.folder.path()),
            ("VTDATAROOT", self.folder.path()),
            ("VTROOT", self.folder.path()),
            ("VT_MYSQL_ROOT", &ground().mysql_root),
        ]
    }

    fn run(&self, program: &str, arguments: &[String]) -> Output {
        let mut command = command_as_user(&ground().vitess_bin.join(program));
        command.args(arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").envs(self.environment());
        command.output().unwrap()
    }

    fn vtctldclient(&self, arguments: &[&str]) -> Output {
        let words: Vec<String> =
            ["--server", &self.vtctld].iter().chain(arguments).map(|word| (*word).to_owned()).collect();
        self.run("vtctldclient", &words)
    }

    fn until_it_answers(&self, ask: impl Fn(&Self) -> Output) {
        let begun = Instant::now();
        loop {
            let output = ask(self);
            if output.status.success() {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{}", told(&output));
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Whatever vtbackup's exit code; gives all that it logged.
    fn vtbackup(&self, more: &[&str]) -> String {
        let port = free_port().to_string();
        let mut arguments = self.flags(&["--init-keyspace", "commerce", "--init-shard", "0", "--mysql-port", &port]);
        arguments.extend(["--logtostderr", "--log-format", "text", "--min-retention-time", "0"].map(str::to_owned));
        arguments.extend(["--port".to_owned(), free_port().to_string()]);
        arguments.extend(self.storage_flags());
        arguments.extend(more.iter().map(|word| (*word).to_owned()));
        // Beyond the restore there is nothing for it to do here, and it has no limit of its own.
        let program = ground().vitess_bin.join("vtbackup");
        let mut command = Command::new("timeout");
        command.arg("240").args(["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(program);
        command.args(arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").envs(self.environment());
        let output = command.output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn vitess_backup(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(cargo_bin("vitess-backup"));
        command.arg(arguments[0]).args(self.storage_flags()).args(&arguments[1..]);
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "testsecret").output().unwrap()
    }

    /// By Vitess's own account.
    fn listed(&self) -> Vec<String> {
        let output = self.vtctldclient(&["GetBackups", "commerce/0"]);
        assert!(output.status.success(), "{}", told(&output));
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vitess_and_this_program_list_and_restore_each_others_backups_in_s3() {
    let vitess = Vitess::start();

    let log = vitess.vtbackup(&["--initial-backup"]);
    assert!(log.contains("Initial backup successful."), "{log}");
    let theirs = vitess.listed();
    assert_eq!(theirs.len(), 1, "{theirs:?}");
    let output = vitess.vitess_backup(&["verify", "commerce/0", &theirs[0]]);
    assert!(output.status.success(), "{}", told(&output));
    let target = TempDir::new().unwrap();
    let directory = format!("--tablet-dir={}", target.path().join("vt_0000000103").display());
    let restore = ["restore", "--keyspace=commerce", "--shard=0", &directory, "--mysqld=stopped"];
    let output = vitess.vitess_backup(&restore);
    assert!(output.status.success(), "{}", told(&output));
    assert!(target.path().join("vt_0000000103/data/mysql.ibd").is_file());

    let tablet = Tablet::start(101).await;
    tablet.make_writable().await;
    tablet.sql("CREATE DATABASE vt_commerce").await;
    let directory = format!("--tablet-dir={}", tablet.tablet_dir().display());
    let backup = ["backup", "zone1-0000000101", "--keyspace=commerce", "--shard=0", &directory, "--allow-primary"];
    let output = vitess.vitess_backup(&backup);
    assert!(output.status.success(), "{}", told(&output));
    let both = vitess.listed();
    assert_eq!(both.len(), 2, "{both:?}");
    assert!(both[1].ends_with("zone1-0000000101"), "{both:?}");

    // It restores the newest, starts mysqld on it, and then misses a primary to catch up with.
    let log = vitess.vtbackup(&[]);
    assert!(log.contains("Successfully restored from backup at replication position"), "{log}");
    assert!(log.contains(&both[1]), "{log}");
}
