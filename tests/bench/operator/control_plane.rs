//! Kubernetes without a node: etcd, the API server, the controllers of Jobs and the scheduler, all real, each a process of
//! this machine that ends with the measurement.

use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Client;
use kube::api::Api;
use kube::config::Kubeconfig;

use crate::machine::say;
use crate::support::kubernetes::{ApiServer, Process, within};
use crate::support::mysql::free_port;

/// Whose requests are written down, one line each.
pub const OPERATOR: &str = "system:serviceaccount:vitess-backup-operator:vitess-backup-operator";

/// More than 20 requests a second, which is where they begin to wait by default, so that the measurement is one of the operator.
const CLIENT_LIMITS: [&str; 2] = ["--kube-api-qps=300", "--kube-api-burst=600"];

pub struct ControlPlane {
    /// May do everything.
    pub client: Client,
    folder: PathBuf,
    // In the order in which they end.
    processes: [Process; 2],
    server: ApiServer,
}

impl ControlPlane {
    /// Starts it, with its files in `folder`.
    pub async fn start(folder: &Path) -> Self {
        let server = ApiServer::start(folder, Some(OPERATOR)).await;
        let client = server.client.clone();
        let controllers = controllers(server.program("kube-controller-manager"), folder, &server.pki);
        let scheduler = scheduler(server.program("kube-scheduler"), folder, &server.pki);
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
        within("the controllers", 60, async || accounts.get("default").await.is_ok()).await;
        say("the control plane is up");
        Self { client, folder: folder.to_owned(), processes: [scheduler, controllers], server }
    }

    /// A kubeconfig with the same cluster and this token.
    pub fn kubeconfig_of(&self, token: &str) -> PathBuf {
        let mut config = Kubeconfig::read_from(&self.server.admin).expect("the administrator's kubeconfig");
        let user = serde_json::from_value(serde_json::json!({"token": token})).expect("a user");
        config.auth_infos.iter_mut().for_each(|named| named.auth_info = Some(Clone::clone(&user)));
        let path = self.folder.join("operator.kubeconfig");
        std::fs::write(&path, serde_json::to_string(&config).expect("JSON, which is YAML")).expect("it can be written");
        path
    }

    /// What it consists of, by name and process id.
    pub fn processes(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.server
            .processes
            .iter()
            .rev()
            .chain(self.processes.iter().rev())
            .map(|process| (process.name, process.id()))
    }

    /// Where the API server writes down what the operator asks.
    pub fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }
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
