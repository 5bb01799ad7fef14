//! Private tablets: a directory laid out by Vitess's own mysqlctld, with a real mysqld.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::OnceCell;
use vitess_backup::mysqld::{
    Layout, Mysql, MysqlRoot, Mysqlctld, OwnProcess, ReplicaStatus, ReplicationSource, Row, ServerVersion, SourceTls,
};

use super::container::{self, Container, GROUP, USER};
use super::ground::{Ground, ground};

/// How long anything that a test waits for may take. Generous: CI machines have few cores and many tests.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A port below those that the kernel gives to outgoing connections: one of these could be taken by any of them between
/// now and the start of mysqld, or while mysqld is down. As it is free again whenever mysqld is down, it is this process's
/// by the name of an abstract socket, which the kernel keeps until the process ends.
pub fn free_port() -> u16 {
    static HELD: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    let mut held = HELD.lock().expect("no test panics in here");
    let begin = u16::try_from(std::process::id() % 100).expect("below 100") * 100;
    for port in (0..10_000).map(|next| 20_000 + (begin + next) % 10_000) {
        let name = SocketAddr::from_abstract_name(format!("vitess-backup-test-port-{port}")).expect("a short name");
        if let Ok(name) = UnixListener::bind_addr(&name)
            && TcpListener::bind(("127.0.0.1", port)).is_ok()
        {
            held.push(name);
            return port;
        }
    }
    panic!("no port from 20000 to 29999 is free");
}

/// A tablet in a directory of its own, with a TCP port of its own on 127.0.0.1. Everything ends and goes away on drop.
///
/// Directory and files belong to `nobody` and are readable for root, who runs the tests: `mysql.sock` is open to all,
/// `mysqlctl.sock` to its owner and root.
pub struct Tablet {
    pub uid: u32,
    pub port: u16,
    container: Option<Container>,
    layout: Layout,
    /// VTDATAROOT.
    root: TempDir,
}

impl Tablet {
    /// A tablet whose mysqlctld and mysqld are running, with Vitess's users (`vt_dba` …) and nothing else: super_read_only
    /// is on, `gtid_executed` is empty, replication has no source.
    pub async fn start(uid: u32) -> Self {
        let mut tablet = Self::at_rest(uid).await;
        tablet.start_container().await;
        tablet
    }

    /// The same tablet with nothing running: files as a clean shutdown left them.
    pub async fn at_rest(uid: u32) -> Self {
        Self::at_rest_in(uid, &std::env::temp_dir()).await
    }

    /// As [`Self::at_rest`], in this directory.
    pub async fn at_rest_in(uid: u32, directory: &Path) -> Self {
        Self::with_files_of(uid, &seed().await.join(SEED_TABLET), directory).await
    }

    /// A tablet at rest in this directory, with the files of another one's, which was stopped cleanly.
    pub async fn with_files_of(uid: u32, other: &Path, directory: &Path) -> Self {
        let tablet = Self::empty_in(uid, directory);
        run("cp", &["-a", "--reflink=auto", &text(other), &text(tablet.tablet_dir())]);
        // Names in its binary log index are of the other tablet.
        for directory in ["bin-logs", "relay-logs"] {
            std::fs::remove_dir_all(tablet.tablet_dir().join(directory)).expect("the copy can be changed");
            std::fs::create_dir(tablet.tablet_dir().join(directory)).expect("the copy can be changed");
        }
        for file in [tablet.layout.datadir.join("auto.cnf"), tablet.layout.error_log.clone()] {
            std::fs::remove_file(file).expect("a tablet that ran has a server UUID and a log");
        }
        tablet.layout.write_my_cnf(Some(&version()), &[extra_my_cnf(tablet.root.path())]).await.expect("my.cnf");
        own(tablet.tablet_dir());
        tablet
    }

    /// An empty VTDATAROOT: not even the tablet directory is there.
    pub fn empty(uid: u32) -> Self {
        Self::empty_in(uid, &std::env::temp_dir())
    }

    fn empty_in(uid: u32, directory: &Path) -> Self {
        let root = tempfile::Builder::new().prefix("vbo-tablet-").tempdir_in(directory).expect("a temporary directory");
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755)).expect("permissions");
        std::fs::write(extra_my_cnf(root.path()), EXTRA_MY_CNF).expect("extra.cnf");
        own(root.path());
        let port = free_port();
        let layout = Layout::vitess_default_for_uid(&root.path().join(format!("vt_{uid:010}")), uid);
        Self { uid, port, container: None, layout: Layout { port, ..layout }, root }
    }

    /// `<VTDATAROOT>/vt_<uid>`.
    pub fn tablet_dir(&self) -> &Path {
        &self.layout.tablet_dir
    }

    pub fn vtdataroot(&self) -> &Path {
        self.root.path()
    }

    /// As mysqlctld laid it out; server_id may have changed since ([`Layout::read`]).
    pub fn layout(&self) -> Layout {
        self.layout.clone()
    }

    pub fn mysql_socket(&self) -> &Path {
        &self.layout.socket
    }

    pub fn mysqlctl_socket(&self) -> PathBuf {
        self.tablet_dir().join("mysqlctl.sock")
    }

    pub fn mysqlctld(&self) -> Mysqlctld {
        Mysqlctld::new(self.layout(), self.mysqlctl_socket(), "vt_dba")
    }

    pub fn own_process(&self) -> OwnProcess {
        OwnProcess::new(self.layout(), MysqlRoot::at(&ground().mysql_root), "vt_dba")
    }

    /// SQL as `vt_dba`.
    pub fn mysql(&self) -> Mysql {
        Mysql::new(self.mysql_socket(), "vt_dba")
    }

    pub async fn sql(&self, statement: &str) -> Vec<Row> {
        self.mysql().query(statement).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The first value of the first row, NULL as an empty text.
    pub async fn value(&self, statement: &str) -> String {
        self.sql(statement).await.first().and_then(|row| row.at(0)).unwrap_or_default().to_owned()
    }

    /// Starts mysqlctld, as the kubelet starts a container, and waits until both sockets answer.
    pub async fn start_container(&mut self) {
        self.launch_mysqlctld();
        self.mysql().wait_ready(PATIENCE).await.unwrap_or_else(|error| panic!("{error}\n{}", self.logs()));
        self.wait_mysqlctl_socket().await;
    }

    /// Starts mysqlctld and waits for nothing.
    pub fn launch_mysqlctld(&mut self) {
        self.container = None;
        let Ground { vitess_bin, mysql_root } = ground();
        let (mysqlctld, socket) = (text(&vitess_bin.join("mysqlctld")), text(&self.mysqlctl_socket()));
        let (uid, port) = (self.uid.to_string(), self.port.to_string());
        let program = [
            &mysqlctld,
            "--tablet-uid",
            &uid,
            "--mysql-port",
            &port,
            "--socket-file",
            &socket,
            "--log-format",
            "text",
            "--logtostderr",
            "--config-file-not-found-handling",
            "ignore",
        ];
        let extra = extra_my_cnf(self.root.path());
        let environment = [
            ("VTDATAROOT", self.root.path()),
            ("VTROOT", self.root.path()), // where hooks would be
            ("HOME", self.root.path()),
            ("VT_MYSQL_ROOT", mysql_root),
            ("EXTRA_MY_CNF", &extra),
        ];
        self.container = Some(Container::run(&program, &environment, &self.mysqlctld_log()));
    }

    /// Waits until mysqlctld takes calls.
    pub async fn wait_mysqlctl_socket(&self) {
        let begun = tokio::time::Instant::now();
        while let Err(error) = tokio::net::UnixStream::connect(self.mysqlctl_socket()).await {
            assert!(begun.elapsed() < PATIENCE, "mysqlctld did not open its socket: {error}\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops mysqlctld, which shuts mysqld down first.
    pub fn stop_container(&mut self) {
        container::signal(self.mysqlctld_pid().expect("mysqlctld is running"), "TERM");
        self.container().wait_ended(PATIENCE);
        assert!(!self.layout.pid_file.exists(), "mysqld was not shut down:\n{}", self.logs());
        self.container = None;
    }

    /// Kills mysqlctld and mysqld at once, as the end of a pod without grace does.
    pub fn kill_container(&mut self) {
        self.container = None;
    }

    pub fn container(&mut self) -> &mut Container {
        self.container.as_mut().expect("the tablet's container was started")
    }

    /// The number of the container's mysqld, as seen from here.
    pub fn mysqld_pid(&self) -> Option<u32> {
        self.container.as_ref().and_then(|container| container.process("mysqld"))
    }

    /// The number of the container's mysqlctld, as seen from here.
    pub fn mysqlctld_pid(&self) -> Option<u32> {
        self.container.as_ref().and_then(|container| container.process("mysqlctld"))
    }

    /// SIGKILL to the container's mysqld; mysqlctld goes with it.
    pub fn kill_mysqld(&mut self) {
        container::signal(self.mysqld_pid().expect("mysqld is running"), "KILL");
        self.container().wait_ended(PATIENCE);
    }

    /// Lets the tablet write, as a primary.
    pub async fn make_writable(&self) {
        self.mysql().set_read_only(false).await.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Makes the tablet replicate from `primary`, as Vitess does, and waits until both threads run.
    pub async fn replicate_from(&self, primary: &Self) {
        let mysql = self.mysql();
        let done = async {
            mysql.stop_replica().await?;
            mysql.change_replication_source(&primary.as_source()).await?;
            mysql.start_replica().await
        };
        done.await.unwrap_or_else(|error| panic!("{error}"));
        self.wait_replicating().await;
    }

    /// This tablet as a replication source for others.
    pub fn as_source(&self) -> ReplicationSource {
        ReplicationSource {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            user: "vt_repl".to_owned(),
            password: String::new(),
            connect_retry: 1,
            tls: SourceTls::default(),
        }
    }

    pub async fn wait_replicating(&self) {
        let begun = tokio::time::Instant::now();
        loop {
            let status = self.mysql().replica_status().await.unwrap_or_else(|error| panic!("{error}"));
            if status.as_ref().is_some_and(ReplicaStatus::running) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "replication did not start: {status:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the tablet has executed all that `primary` has by now.
    pub async fn wait_caught_up(&self, primary: &Self) {
        let goal = primary.mysql().gtid_executed().await.unwrap_or_else(|error| panic!("{error}"));
        let seconds = PATIENCE.as_secs();
        let reached = self.value(&format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{goal}', {seconds})")).await;
        assert_eq!(reached, "0", "{:?}", self.mysql().replica_status().await);
    }

    fn mysqlctld_log(&self) -> PathBuf {
        self.root.path().join("mysqlctld.log")
    }

    /// What mysqlctld and mysqld have to say, for a failed test's message.
    pub fn logs(&self) -> String {
        [self.mysqlctld_log(), self.layout.error_log.clone()].map(|path| tail(&path)).join("\n")
    }
}

impl Drop for Tablet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("tablet {}:\n{}", self.uid, self.logs());
        }
        self.container = None;
        // A mysqld that OwnProcess started goes on by design. Its number is from our namespace, unlike a container's.
        if let Ok(pid) = std::fs::read_to_string(&self.layout.pid_file) {
            let cmdline = std::fs::read_to_string(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
            if cmdline.contains(&text(&self.layout.my_cnf)) {
                let _ = Command::new("kill").args(["-s", "KILL", pid.trim()]).status();
            }
        }
    }
}

const EXTRA_MY_CNF: &str = "\
bind-address = 127.0.0.1
innodb_buffer_pool_size = 64M
innodb_redo_log_capacity = 16M
innodb_flush_log_at_trx_commit = 2
sync_binlog = 0
performance_schema_instrument = 'memory/%=OFF'
";

fn extra_my_cnf(root: &Path) -> PathBuf {
    root.join("extra.cnf")
}

const SEED_UID: u32 = 1;
const SEED_TABLET: &str = "vt_0000000001";

/// A tablet as mysqlctld initialises it (10 seconds), stopped cleanly: kept for all tests and runs with these programs.
async fn seed() -> &'static Path {
    static SEED: OnceCell<PathBuf> = OnceCell::const_new();
    SEED.get_or_init(async || {
        let Ground { vitess_bin, mysql_root } = ground();
        let mut key = DefaultHasher::new();
        (vitess_bin, mysql_root, EXTRA_MY_CNF).hash(&mut key);
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tablet-seed-{:016x}", key.finish()));
        if !kept.exists() {
            let mut tablet = Tablet::empty(SEED_UID);
            tablet.start_container().await;
            tablet.stop_container();
            let part = kept.with_extension(std::process::id().to_string());
            run("cp", &["-a", &text(tablet.vtdataroot()), &text(&part)]);
            if std::fs::rename(&part, &kept).is_err() {
                std::fs::remove_dir_all(&part).expect("another run was faster, and ours can go");
            }
        }
        kept
    })
    .await
}

/// Of the ground's mysqld.
pub fn version() -> ServerVersion {
    let output = Command::new(ground().mysql_root.join("sbin/mysqld")).arg("--version").output().expect("mysqld runs");
    ServerVersion::parse(&String::from_utf8_lossy(&output.stdout)).expect("mysqld tells its version")
}

/// Gives a tree to the tablets' user.
pub fn own(path: &Path) {
    run("chown", &["-R", &format!("{USER}:{GROUP}"), &text(path)]);
}

pub fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().expect("a usual program runs");
    assert!(status.success(), "{program} {arguments:?} failed");
}

fn text(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}

fn tail(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let from = bytes.len().saturating_sub(3000);
    format!("--- {}\n{}", path.display(), String::from_utf8_lossy(&bytes[from..]))
}
