//! Kubernetes without a node: etcd, the API server, the controllers of Jobs and the scheduler, all real, each a process of
//! this machine that ends with the measurement.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::machine::say;
use crate::support::ground::first_line_of;
use crate::support::mysql::free_port;
use crate::within;

/// Whose requests are written down, one line each.
pub const OPERATOR: &str = "system:serviceaccount:vitess-backup-operator:vitess-backup-operator";

/// More than 20 requests a second, which is where they begin to wait by default, so that the measurement is one of the operator.
const CLIENT_LIMITS: [&str; 2] = ["--kube-api-qps=300", "--kube-api-burst=600"];

/// Go collects garbage when the heap has grown by this many per cent. By default it is 100, and costs an API server with little in
/// its heap a quarter of its time; one with much memory to spare, as here, is given this.
const COLLECT_AT: &str = "400";

/// A process that ends with this value.
pub struct Process {
    child: Child,
    name: &'static str,
}

impl Process {
    /// Starts a program whose output goes to `<folder>/<name>.log`.
    pub fn start(mut command: Command, name: &'static str, folder: &Path) -> Self {
        let log = File::options().create(true).append(true).open(folder.join(format!("{name}.log")));
        let log = log.expect("a log can be written");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log can be written")).stderr(log);
        Self { child: command.spawn().unwrap_or_else(|error| panic!("{name}: {error}")), name }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to stop, and waits until it has.
    pub fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it can be told");
        let ended = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            matches!(self.child.try_wait(), Ok(Some(_)))
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

pub struct ControlPlane {
    /// May do everything.
    pub client: Client,
    folder: PathBuf,
    admin: PathBuf,
    // In the order in which they end.
    processes: [Process; 4],
}

impl ControlPlane {
    /// Starts it, with its files in `folder`.
    pub async fn start(folder: &Path) -> Self {
        let programs = first_line_of("kubernetes/build.sh", &["measured"]);
        let program = |name: &str| {
            let mut command = Command::new(programs.join(name));
            command.env_remove("KUBECONFIG").env("GOGC", COLLECT_AT);
            command
        };
        let pki = folder.join("pki");
        let port = free_port();
        let mut keys = program("kube");
        keys.args(["pki", "-node-ip", "127.0.0.1", "-service-ip", "10.96.0.1", "-node-name", "node1", "-dir"])
            .arg(&pki);
        assert!(keys.status().is_ok_and(|status| status.success()), "keys can be made");
        for entry in std::fs::read_dir(&pki).expect("the keys are there").flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "kubeconfig") {
                let text = std::fs::read_to_string(entry.path()).expect("a kubeconfig");
                std::fs::write(entry.path(), text.replace(":6443", &format!(":{port}"))).expect("a kubeconfig");
            }
        }
        let etcd = etcd(program("etcd"), folder);
        let api_server = api_server(program("kube-apiserver"), folder, &pki, port, &etcd.1);
        let admin = pki.join("admin.kubeconfig");
        let client = client(&admin).await;
        // It answers before the roles are there that the others need.
        let ready = || http::Request::get("/readyz").body(Vec::new()).expect("a request");
        within("the API server", 120, async || client.request_text(ready()).await.is_ok()).await;
        let controllers = controllers(program("kube-controller-manager"), folder, &pki);
        let scheduler = scheduler(program("kube-scheduler"), folder, &pki);
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
        within("the controllers", 60, async || accounts.get("default").await.is_ok()).await;
        say("the control plane is up");
        let processes = [scheduler, controllers, api_server, etcd.0];
        Self { client, folder: folder.to_owned(), admin, processes }
    }

    /// A kubeconfig with the same cluster and this token.
    pub fn kubeconfig_of(&self, token: &str) -> PathBuf {
        let mut config = Kubeconfig::read_from(&self.admin).expect("the administrator's kubeconfig");
        let user = serde_json::from_value(serde_json::json!({"token": token})).expect("a user");
        config.auth_infos.iter_mut().for_each(|named| named.auth_info = Some(Clone::clone(&user)));
        let path = self.folder.join("operator.kubeconfig");
        std::fs::write(&path, serde_json::to_string(&config).expect("JSON, which is YAML")).expect("it can be written");
        path
    }

    /// What it consists of, by name and process id.
    pub fn processes(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.processes.iter().rev().map(|process| (process.name, process.id()))
    }

    /// Where the API server writes down what the operator asks.
    pub fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }
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

fn api_server(mut command: Command, folder: &Path, pki: &Path, port: u16, etcd: &str) -> Process {
    let policy = folder.join("audit.yaml");
    let rules = format!(
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n\
         - level: Metadata\n  users: [{OPERATOR}]\n- level: None\n"
    );
    std::fs::write(&policy, rules).expect("the policy can be written");
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
        &format!("--audit-policy-file={}", policy.display()),
        &format!("--audit-log-path={}", folder.join("audit.log").display()),
        &format!("--client-ca-file={}", file("ca.crt")),
        &format!("--tls-cert-file={}", file("apiserver.crt")),
        &format!("--tls-private-key-file={}", file("apiserver.key")),
        &format!("--kubelet-client-certificate={}", file("apiserver-kubelet-client.crt")),
        &format!("--kubelet-client-key={}", file("apiserver-kubelet-client.key")),
        &format!("--service-account-key-file={}", file("service-accounts.pub")),
        &format!("--service-account-signing-key-file={}", file("service-accounts.key")),
    ]);
    Process::start(command, "kube-apiserver", folder)
}

fn controllers(mut command: Command, folder: &Path, pki: &Path) -> Process {
    let kubeconfig = pki.join("kube-controller-manager.kubeconfig").display().to_string();
    command.args([
        &format!("--kubeconfig={kubeconfig}"),
        &format!("--authentication-kubeconfig={kubeconfig}"),
        &format!("--authorization-kubeconfig={kubeconfig}"),
        &format!("--service-account-private-key-file={}", pki.join("service-accounts.key").display()),
        &format!("--root-ca-file={}", pki.join("ca.crt").display()),
        "--use-service-account-credentials=true",
        // Nobody tells the nodes' health, and nobody makes volumes.
        "--controllers=job-controller,ttl-after-finished-controller,garbage-collector-controller,serviceaccount-controller,\
         namespace-controller,root-ca-certificate-publisher-controller",
        "--bind-address=127.0.0.1",
        &format!("--secure-port={}", free_port()),
        "--leader-elect=false",
    ]);
    command.args(CLIENT_LIMITS);
    Process::start(command, "kube-controller-manager", folder)
}

fn scheduler(mut command: Command, folder: &Path, pki: &Path) -> Process {
    let kubeconfig = pki.join("kube-scheduler.kubeconfig").display().to_string();
    command.args([
        &format!("--kubeconfig={kubeconfig}"),
        &format!("--authentication-kubeconfig={kubeconfig}"),
        &format!("--authorization-kubeconfig={kubeconfig}"),
        "--bind-address=127.0.0.1",
        &format!("--secure-port={}", free_port()),
        "--leader-elect=false",
    ]);
    command.args(CLIENT_LIMITS);
    Process::start(command, "kube-scheduler", folder)
}

fn url(scheme: &str, port: u16) -> String {
    format!("{scheme}://127.0.0.1:{port}")
}
