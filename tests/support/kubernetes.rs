//! Kubernetes without a node: etcd and the API server, both real, each a process of this machine that ends with its value.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::time::{Instant, sleep};

use super::ground::first_line_of;
use super::mysql::free_port;

/// Go collects garbage when the heap has grown by this many per cent. By default it is 100, and costs an API server with little in
/// its heap a quarter of its time; one with much memory to spare, as here, is given this.
const COLLECT_AT: &str = "400";

/// A process that ends with this value.
pub struct Process {
    child: Child,
    pub name: &'static str,
    log: PathBuf,
}

impl Process {
    /// Starts a program whose output goes to `<folder>/<name>.log`.
    pub fn start(mut command: Command, name: &'static str, folder: &Path) -> Self {
        let path = folder.join(format!("{name}.log"));
        let log = File::options().create(true).append(true).open(&path).expect("a log can be written");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log can be written")).stderr(log);
        Self { child: command.spawn().unwrap_or_else(|error| panic!("{name}: {error}")), name, log: path }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("a log can be read")
    }

    /// How it ended, when it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("one's own child can be waited for")
    }

    /// Tells it to stop, and waits until it has.
    pub fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it can be told");
        let ended = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            self.ended().is_some()
        });
        assert!(ended, "{} does not stop", self.name);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An API server with an etcd of its own.
pub struct ApiServer {
    /// May do everything.
    pub client: Client,
    /// The kubeconfig of who may do everything.
    pub admin: PathBuf,
    /// Keys and kubeconfigs of everybody.
    pub pki: PathBuf,
    /// Kubernetes's programs, kubectl among them.
    pub programs: PathBuf,
    // In the order in which they end.
    pub processes: [Process; 2],
}

impl ApiServer {
    /// Starts both, with their files in `folder`. What the user `audited` asks is written down in `audit.log` there, one line
    /// for each request; who is audited is measured, against programs compiled as releases are.
    pub async fn start(folder: &Path, audited: Option<&str>) -> Self {
        let programs = first_line_of("kubernetes/build.sh", if audited.is_some() { &["measured"] } else { &[] });
        let pki = folder.join("pki");
        let port = free_port();
        let mut keys = program(&programs, "kube");
        keys.args(["pki", "-node-ip", "127.0.0.1", "-service-ip", "10.96.0.1", "-node-name", "node1", "-dir"])
            .arg(&pki);
        assert!(keys.status().is_ok_and(|status| status.success()), "keys can be made");
        for entry in std::fs::read_dir(&pki).expect("the keys are there").flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "kubeconfig") {
                let text = std::fs::read_to_string(entry.path()).expect("a kubeconfig");
                std::fs::write(entry.path(), text.replace(":6443", &format!(":{port}"))).expect("a kubeconfig");
            }
        }
        let etcd = etcd(program(&programs, "etcd"), folder);
        let api_server = api_server(program(&programs, "kube-apiserver"), folder, &pki, port, &etcd.1, audited);
        let admin = pki.join("admin.kubeconfig");
        let client = client(&admin).await;
        // It answers before the roles are there that others need.
        let ready = || http::Request::get("/readyz").body(Vec::new()).expect("a request");
        within("the API server", 120, async || client.request_text(ready()).await.is_ok()).await;
        Self { client, admin, pki, programs, processes: [api_server, etcd.0] }
    }

    /// One of Kubernetes's programs.
    pub fn program(&self, name: &str) -> Command {
        program(&self.programs, name)
    }
}

fn program(programs: &Path, name: &str) -> Command {
    let mut command = Command::new(programs.join(name));
    command.env_remove("KUBECONFIG").env("GOGC", COLLECT_AT);
    command
}

async fn client(kubeconfig: &Path) -> Client {
    let read = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.expect("a configuration");
    Client::try_from(config).expect("a client")
}

fn etcd(mut command: Command, folder: &Path) -> (Process, String) {
    let (clients, peers) = (url("http", free_port()), url("http", free_port()));
    // As on the test ground: it survives the death of any process, and what it holds is worth nothing afterwards.
    command.args([
        "--name",
        "default",
        "--unsafe-no-fsync",
        "--log-level",
        "warn",
        "--quota-backend-bytes",
        "4294967296",
    ]);
    command.arg("--data-dir").arg(folder.join("etcd"));
    command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
    command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
    command.args(["--initial-cluster", &format!("default={peers}")]);
    (Process::start(command, "etcd", folder), clients)
}

fn api_server(
    mut command: Command,
    folder: &Path,
    pki: &Path,
    port: u16,
    etcd: &str,
    audited: Option<&str>,
) -> Process {
    let file = |name: &str| pki.join(name).to_string_lossy().into_owned();
    command.args([
        &format!("--etcd-servers={etcd}"),
        &format!("--secure-port={port}"),
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        "--service-cluster-ip-range=10.96.0.0/24",
        "--authorization-mode=RBAC",
        "--allow-privileged=true",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        &format!("--client-ca-file={}", file("ca.crt")),
        &format!("--tls-cert-file={}", file("apiserver.crt")),
        &format!("--tls-private-key-file={}", file("apiserver.key")),
        &format!("--kubelet-client-certificate={}", file("apiserver-kubelet-client.crt")),
        &format!("--kubelet-client-key={}", file("apiserver-kubelet-client.key")),
        &format!("--service-account-key-file={}", file("service-accounts.pub")),
        &format!("--service-account-signing-key-file={}", file("service-accounts.key")),
    ]);
    if let Some(user) = audited {
        let policy = folder.join("audit.yaml");
        let rules = format!(
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n\
             - level: Metadata\n  users: [{user}]\n- level: None\n"
        );
        std::fs::write(&policy, rules).expect("the policy can be written");
        command.arg(format!("--audit-policy-file={}", policy.display()));
        command.arg(format!("--audit-log-path={}", folder.join("audit.log").display()));
    }
    Process::start(command, "kube-apiserver", folder)
}

fn url(scheme: &str, port: u16) -> String {
    format!("{scheme}://127.0.0.1:{port}")
}

/// Waits until it is so.
pub async fn within(what: &str, seconds: u64, mut is_so: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(seconds);
    while !is_so().await {
        assert!(Instant::now() < until, "gave up waiting for {what}");
        sleep(Duration::from_millis(100)).await;
    }
}
