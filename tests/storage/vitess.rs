//! Vitess itself and this program, with the same flags on the same bucket: each lists and restores what the other stored. In
//! GCS this program restores Vitess's, which speaks the JSON API there; of the XML API the server at hand takes no uploads.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin;
use tempfile::TempDir;
use tokio_util::task::AbortOnDropHandle;

use crate::engine_support::checksums;
use crate::servers::{BUCKET, Program, Server};
use crate::support::container::{Container, command_as_user};
use crate::support::ground::ground;
use crate::support::mysql::free_port;
use crate::support::mysql::{Tablet, own};
use crate::support::vitess::{Seat, Topology, Vttablet};

const PATIENCE: Duration = Duration::from_secs(300);

const ROWS: [&str; 3] = [
    "CREATE DATABASE vt_commerce",
    "CREATE TABLE vt_commerce.customer (id BIGINT PRIMARY KEY AUTO_INCREMENT, email VARCHAR(128))",
    "INSERT INTO vt_commerce.customer (email) VALUES (UUID()), (UUID()), (UUID())",
];

/// etcd, vtctld and an empty bucket.
struct Vitess {
    /// Vitess's flags for its storage.
    storage: Vec<String>,
    /// Where that is, and who we are to it.
    identity: Vec<(&'static str, PathBuf)>,
    _server: Server,
    folder: TempDir,
    topology: Topology,
    vtctld: String,
    processes: Vec<Container>,
}

impl Vitess {
    fn with_s3() -> Self {
        let server = Server::start(Program::Versitygw);
        let storage = [
            "--backup-storage-implementation=s3",
            &format!("--s3-backup-aws-endpoint=http://{}", server.address()),
            "--s3-backup-aws-region=us-east-1",
            &format!("--s3-backup-storage-bucket={BUCKET}"),
            "--s3-backup-storage-root=root",
            "--s3-backup-force-path-style",
        ];
        let storage = storage.map(str::to_owned).to_vec();
        let keys = [("AWS_ACCESS_KEY_ID", "test".into()), ("AWS_SECRET_ACCESS_KEY", "testsecret".into())];
        Self::start(server, folder(), storage, keys.to_vec())
    }

    /// Vitess's library wants an identity of Google's even for an emulator: `tokens` gives one to whoever asks.
    fn with_gcs(tokens: &str) -> Self {
        let (server, folder) = (Server::start(Program::FakeGcs), folder());
        let storage = [
            "--backup-storage-implementation=gcs",
            &format!("--gcs-backup-storage-bucket={BUCKET}"),
            "--gcs-backup-storage-root=root",
        ];
        let storage = storage.map(str::to_owned).to_vec();
        let user = folder.path().join("credentials.json");
        let text = format!(
            r#"{{"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c", "token_uri": "{tokens}"}}"#
        );
        std::fs::write(&user, text).unwrap();
        let identity =
            vec![("STORAGE_EMULATOR_HOST", server.address().into()), ("GOOGLE_APPLICATION_CREDENTIALS", user)];
        Self::start(server, folder, storage, identity)
    }

    fn start(server: Server, folder: TempDir, storage: Vec<String>, identity: Vec<(&'static str, PathBuf)>) -> Self {
        let mut vitess = Self {
            storage,
            identity,
            _server: server,
            folder,
            topology: Topology::start(),
            vtctld: format!("127.0.0.1:{}", free_port()),
            processes: Vec::new(),
        };
        let port = vitess.vtctld.rsplit_once(':').unwrap().1.to_owned();
        let mut line = vec![ground().vitess_bin.join("vtctld").to_str().unwrap().to_owned()];
        line.extend(vitess.flags(&["--cell", "zone1", "--service-map", "grpc-vtctld", "--grpc-port", &port]));
        line.extend(["--port".to_owned(), free_port().to_string()]);
        line.extend(vitess.storage.clone());
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

    fn environment(&self) -> Vec<(&str, &Path)> {
        let places = [
            ("HOME", self.folder.path()),
            ("VTDATAROOT", self.folder.path()),
            ("VTROOT", self.folder.path()),
            ("VT_MYSQL_ROOT", &ground().mysql_root),
        ];
        self.identity.iter().map(|(name, value)| (*name, value.as_path())).chain(places).collect()
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
        arguments.extend(self.storage.clone());
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
        command.arg(arguments[0]).args(&self.storage).args(&arguments[1..]);
        command.env("VT_MYSQL_ROOT", &ground().mysql_root);
        command.envs(self.identity.iter().map(|(name, value)| (name, value))).output().unwrap()
    }

    /// One over the tablet that restores the newest backup of the bucket. Its library finds who it is in the tablet's home.
    fn vttablet_that_restores(&self, tablet: &Tablet) -> Vttablet {
        let home = tablet.vtdataroot().join(".aws");
        std::fs::create_dir(&home).unwrap();
        let keys = "[default]\naws_access_key_id = test\naws_secret_access_key = testsecret\n";
        std::fs::write(home.join("credentials"), keys).unwrap();
        own(&home);
        let flags = format!("--restore-from-backup {}", self.storage.join(" "));
        let mut vttablet = Vttablet::start(&Seat::of(tablet, "commerce"), &self.topology, self.folder.path(), &flags);
        vttablet.wait_listening();
        vttablet
    }

    /// By Vitess's own account.
    fn listed(&self) -> Vec<String> {
        let output = self.vtctldclient(&["GetBackups", "commerce/0"]);
        assert!(output.status.success(), "{}", told(&output));
        let printed = String::from_utf8_lossy(&output.stdout);
        printed.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }
}

/// Which the tablets' user can read and write.
fn folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("vbo-vitess-").tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    own(folder.path());
    folder
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn restores_the_first_backup_of(vitess: &Vitess) {
    let log = vitess.vtbackup(&["--initial-backup"]);
    assert!(log.contains("Initial backup successful."), "{log}");
    let theirs = vitess.listed();
    assert_eq!(theirs.len(), 1, "{theirs:?}");
    let output = vitess.vitess_backup(&["list", "commerce/0"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains(&theirs[0]), "{}", told(&output));
    let output = vitess.vitess_backup(&["verify", "commerce/0", &theirs[0]]);
    assert!(output.status.success(), "{}", told(&output));
    let target = TempDir::new().unwrap();
    let directory = format!("--tablet-dir={}", target.path().join("vt_0000000103").display());
    let restore = ["restore", "--keyspace=commerce", "--shard=0", &directory, "--mysqld=stopped"];
    let output = vitess.vitess_backup(&restore);
    assert!(output.status.success(), "{}", told(&output));
    assert!(target.path().join("vt_0000000103/data/mysql.ibd").is_file());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_program_lists_restores_and_removes_what_vitess_stored_in_gcs() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", free_port())).await.unwrap();
    let tokens = format!("http://{}/token", listener.local_addr().unwrap());
    let token = async || {
        let json = r#"{"access_token": "t", "token_type": "Bearer", "expires_in": 3600}"#;
        ([(http::header::CONTENT_TYPE, "application/json")], json)
    };
    let _serving = AbortOnDropHandle::new(tokio::spawn(async move {
        axum::serve(listener, axum::Router::new().fallback(token)).await.unwrap();
    }));
    tokio::task::block_in_place(|| {
        let vitess = Vitess::with_gcs(&tokens);
        restores_the_first_backup_of(&vitess);
        let name = &vitess.listed()[0];
        let output = vitess.vitess_backup(&["remove", "--force", "commerce/0", name]);
        assert!(output.status.success(), "{}", told(&output));
        assert_eq!(vitess.listed(), [""; 0]);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vitess_and_this_program_list_and_restore_each_others_backups_in_s3() {
    let vitess = Vitess::with_s3();
    restores_the_first_backup_of(&vitess);

    let tablet = Tablet::start(101).await;
    tablet.make_writable().await;
    for statement in ROWS {
        tablet.sql(statement).await;
    }
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

    // What vtbackup restored goes with it; a vttablet's mysqld can be asked for the rows.
    let rows = checksums(&tablet).await;
    let position = format!("MySQL56/{}", tablet.mysql().gtid_executed().await.unwrap());
    let theirs = Tablet::start(102).await;
    let mut vttablet = vitess.vttablet_that_restores(&theirs);
    vttablet.wait_restored(&theirs, &position).await;
    assert!(vttablet.log().contains(&both[1]), "{}", vttablet.log());
    assert_eq!(checksums(&theirs).await, rows, "Vitess restored ours");

    // And the way back, with the rows in it.
    vitess.until_it_answers(|vitess| vitess.vtctldclient(&["Backup", "zone1-0000000102"]));
    let newest = vitess.listed().pop().unwrap();
    assert!(newest.ends_with("zone1-0000000102"), "{newest}");
    let ours = Tablet::at_rest(103).await;
    let directory = format!("--tablet-dir={}", ours.tablet_dir().display());
    let wanted = format!("--backup-name={newest}");
    let restore = ["restore", "--keyspace=commerce", "--shard=0", &directory, &wanted, "--existing-data=replace"];
    let output = vitess.vitess_backup(&[&restore[..], &["--mysqld=own"]].concat());
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(checksums(&ours).await, rows, "we restored Vitess's");
}
