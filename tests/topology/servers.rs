//! Real topology servers, each in a directory and on ports of its own, gone with the test.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vitess_backup::topology::Access;

use crate::access;
use crate::support::ground::first_line_of;
use crate::support::mysql::{PATIENCE, free_port};
use crate::support::vitess::topology_flags;

/// What `tests/e2e/ground/topology/build.sh` prints for a server.
pub fn built(server: &str) -> PathBuf {
    // One at a time: they wait for each other's locks otherwise, and say so again and again.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    first_line_of("topology/build.sh", &[server])
}

/// A server's process, killed on drop.
pub struct Process {
    child: Child,
    pub directory: TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Process {
    /// `prepare` writes what the program needs into its directory and gives the command line.
    fn start(prepare: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let directory = TempDir::new().unwrap();
        let line = prepare(directory.path());
        let child = launch(directory.path(), &line);
        Self { child, directory }
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Polls until `ready`.
    pub fn wait(&mut self, what: &str, mut ready: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !ready() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended ({ended:?}) before it was {what}:\n{}", self.log());
            assert!(begun.elapsed() < PATIENCE, "it is not {what}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// What is to be started, and who waits for it.
type Asked = (Command, mpsc::Sender<Child>);

/// From a thread that lives as long as the tests do: the kernel ends the process with the thread that started it.
fn launch(directory: &Path, line: &[String]) -> Child {
    static LAUNCHER: std::sync::OnceLock<Mutex<mpsc::Sender<Asked>>> = std::sync::OnceLock::new();
    let launcher = LAUNCHER.get_or_init(|| {
        let (asks, asked) = mpsc::channel::<Asked>();
        std::thread::spawn(move || {
            for (mut command, answer) in asked {
                answer.send(command.spawn().expect("a server can be started")).unwrap();
            }
        });
        Mutex::new(asks)
    });
    let log = File::options().create(true).append(true).open(directory.join("log")).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).args(line).current_dir(directory);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let (answer, child) = mpsc::channel();
    launcher.lock().unwrap().send((command, answer)).unwrap();
    child.recv().unwrap()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

// --- etcd ------------------------------------------------------------------------------------------------------------

pub struct Etcd {
    pub process: Process,
    pub endpoint: String,
}

impl Etcd {
    pub fn start() -> Self {
        let mut etcd = Self::launch(free_port(), "http", &[]);
        etcd.wait_healthy();
        etcd
    }

    /// `scheme` of its clients' port; with these flags besides.
    pub fn launch(port: u16, scheme: &str, flags: &[String]) -> Self {
        Self::launch_on(port, scheme, flags, |_| {})
    }

    /// The same, once `fill` has put something into its directory; `data` there is its data directory.
    pub fn launch_on(port: u16, scheme: &str, flags: &[String], fill: impl FnOnce(&Path)) -> Self {
        let (address, peers) = (format!("{scheme}://127.0.0.1:{port}"), free_port());
        let process = Process::start(|directory| {
            fill(directory);
            let mut line = vec![text(&built("etcd").join("etcd"))];
            line.extend(["--data-dir", "data", "--listen-client-urls", &address].map(str::to_owned));
            line.extend(["--advertise-client-urls".to_owned(), address.clone()]);
            if !flags.iter().any(|flag| flag.starts_with("--listen-peer-urls")) {
                line.push(format!("--listen-peer-urls=http://127.0.0.1:{peers}"));
            }
            line.extend_from_slice(flags);
            line
        });
        Self { process, endpoint: format!("127.0.0.1:{port}") }
    }

    pub fn wait_healthy(&mut self) {
        let endpoint = self.endpoint.clone();
        self.process.wait("healthy", || etcdctl(&endpoint, &["endpoint", "health"]).is_ok());
    }

    pub fn access(&self) -> Access {
        access(&self.endpoint)
    }

    pub fn ctl(&self, arguments: &[&str]) -> String {
        etcdctl(&self.endpoint, arguments).unwrap_or_else(|error| panic!("etcdctl {arguments:?}: {error}"))
    }
}

/// What etcdctl answers, or complains of.
pub fn etcdctl(endpoint: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(built("etcd").join("etcdctl"));
    command.env("ETCDCTL_API", "3").args(["--endpoints", endpoint, "--command-timeout", "5s"]).args(arguments);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

// --- ZooKeeper -------------------------------------------------------------------------------------------------------

pub struct Zookeeper {
    pub process: Process,
    /// Of clients, and of the admin server.
    pub endpoint: String,
    pub admin: String,
}

impl Zookeeper {
    /// `version`: `zookeeper39` or `zookeeper38`.
    pub fn start(version: &str) -> Self {
        Self::start_on(version, |_| {})
    }

    /// Once `fill` has put something into its directory; `data` there is its dataDir.
    pub fn start_on(version: &str, fill: impl FnOnce(&Path)) -> Self {
        let mut zookeeper = Self::launch(version, "", fill);
        zookeeper.wait_serving();
        zookeeper
    }

    pub fn wait_serving(&mut self) {
        let endpoint = self.endpoint.clone();
        self.process.wait("serving", || four_letters(&endpoint, "srvr").is_some_and(|text| text.contains("Mode:")));
        let admin = self.admin.clone();
        self.process.wait("listening", || TcpStream::connect(&admin).is_ok());
    }

    /// With these lines in its configuration besides.
    pub fn launch(version: &str, settings: &str, fill: impl FnOnce(&Path)) -> Self {
        let (clients, admin) = (free_port(), free_port());
        let process = Process::start(|directory| {
            fs::create_dir_all(directory.join("data")).unwrap();
            fill(directory);
            let lines = format!(
                "tickTime=500\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort={clients}\nclientPortAddress=127.0.0.1\n\
                 admin.serverPort={admin}\nadmin.serverAddress=127.0.0.1\n4lw.commands.whitelist=*\n{settings}\n",
                directory.join("data").display()
            );
            fs::write(directory.join("zoo.cfg"), lines).unwrap();
            let jars = built(version);
            let mut line: Vec<String> =
                ["java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-Dzookeeper.admin.rateLimiterIntervalInMS=0"]
                    .map(str::to_owned)
                    .into();
            line.extend(["-cp".to_owned(), format!("{}/*", jars.display())]);
            line.extend(["org.apache.zookeeper.server.quorum.QuorumPeerMain".to_owned(), "zoo.cfg".to_owned()]);
            line
        });
        Self { process, endpoint: format!("127.0.0.1:{clients}"), admin: format!("127.0.0.1:{admin}") }
    }

    pub fn data(&self) -> PathBuf {
        self.process.directory.path().join("data")
    }

    /// What every program of Vitess's is told of it.
    pub fn flags(&self) -> Vec<String> {
        topology_flags("zk2", &self.endpoint, "/vitess/global")
    }

    /// What `vitess-backup topology` is told of it.
    pub fn our_flags(&self) -> String {
        format!("--topo-implementation zk2 --topo-server-address {} --topo-root /vitess/global", self.endpoint)
    }
}

/// What a ZooKeeper answers to a four-letter word.
pub fn four_letters(endpoint: &str, word: &str) -> Option<String> {
    let mut stream = TcpStream::connect(endpoint).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(word.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

// --- Consul ----------------------------------------------------------------------------------------------------------

pub struct Consul {
    pub process: Process,
    pub endpoint: String,
    pub secure: String,
    /// Where others join it.
    serf: String,
}

/// The management token of every Consul here.
pub const CONSUL_TOKEN: &str = "6a253b9c-3c1b-4bd1-9d4f-0b3f9c0d7a55";

impl Consul {
    /// One server that leads itself, with ACLs that let nobody in without a token.
    pub fn start() -> Self {
        Self::start_with_policy("deny")
    }

    /// The same, with `allow` or `deny` for who has no token.
    pub fn start_with_policy(policy: &str) -> Self {
        let acl = format!(
            "acl {{ enabled = true default_policy = \"{policy}\" tokens {{ initial_management = \"{CONSUL_TOKEN}\" }} }}"
        );
        let mut consul = Self::launch(1, &acl);
        let endpoint = consul.endpoint.clone();
        consul.process.wait("led", || {
            get(&endpoint, "/v1/status/leader").is_some_and(|text| text.contains(':'))
                && get(&endpoint, "/v1/kv/none").is_some_and(|text| text.contains("HTTP/1.1 404"))
        });
        consul
    }

    /// One server of two, the other of which is gone: it has data and no leader.
    pub fn leaderless() -> Self {
        let mut consul = Self::launch(2, "");
        let other = Self::launch(2, &format!("retry_join = [\"{}\"]", consul.serf));
        let endpoint = consul.endpoint.clone();
        consul.process.wait("led", || get(&endpoint, "/v1/kv/none").is_some_and(|text| text.contains("HTTP/1.1 404")));
        drop(other);
        consul.process.wait("alone", || {
            get(&endpoint, "/v1/status/leader").is_some_and(|text| text.trim_end().ends_with("\"\""))
        });
        consul
    }

    /// What every program of Vitess's is told of it.
    pub fn flags(&self) -> Vec<String> {
        topology_flags("consul", &self.endpoint, "vitess/global")
    }

    /// One server of so many, with these settings besides.
    pub fn launch(expect: u8, settings: &str) -> Self {
        let [http, https, serf, server] = std::array::from_fn(|_| free_port());
        let process = Process::start(|directory| {
            let lines = format!(
                "server = true\nbootstrap_expect = {expect}\nnode_name = \"of-{http}\"\nbind_addr = \"127.0.0.1\"\n\
                 client_addr = \"127.0.0.1\"\ndisable_update_check = true\ndata_dir = \"data\"\nlog_level = \"warn\"\n\
                 performance {{ raft_multiplier = 1 }}\nconnect {{ enabled = false }}\n\
                 ports {{ http = {http} https = {https} serf_lan = {serf} server = {server} serf_wan = -1 dns = -1 grpc = -1 \
                 grpc_tls = -1 }}\n{settings}\n"
            );
            fs::write(directory.join("consul.hcl"), lines).unwrap();
            [&text(&built("consul")), "agent", "-config-file=consul.hcl"].map(str::to_owned).into()
        });
        let [endpoint, serf] = [http, serf].map(|port| format!("127.0.0.1:{port}"));
        Self { process, endpoint, secure: format!("https://127.0.0.1:{https}"), serf }
    }
}

/// An HTTP answer, head and body.
pub fn get(endpoint: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(endpoint).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let host = format!("Host: {endpoint}\r\nX-Consul-Token: {CONSUL_TOKEN}\r\nConnection: close\r\n\r\n");
    stream.write_all(format!("GET {path} HTTP/1.1\r\n{host}").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
