//! The operator seen from outside: its process, what it asks the API server, and what it says of itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::fleet::OWN_NAMESPACE;
use crate::proc::{Stat, peak_of, resident_of};
use crate::support::kubernetes::Process;
use crate::support::mysql::free_port;

/// The operator as a process of this machine.
pub struct Operator {
    process: Process,
    admin: u16,
    pub started: Instant,
}

impl Operator {
    pub fn start(binary: &Path, kubeconfig: &Path, folder: &Path, number: u32) -> Self {
        let admin = free_port();
        let mut command = Command::new(binary);
        command.arg("operator").env("KUBECONFIG", kubeconfig);
        command.args(["--operator-image", "registry.example/vitess-backup-operator:bench"]);
        command.args(["--pod-namespace", OWN_NAMESPACE, "--pod-name", &format!("operator-{number}")]);
        command.args(["--admin-address", &format!("127.0.0.1:{admin}")]);
        Self { process: Process::start(command, "operator", folder), admin, started: Instant::now() }
    }

    pub fn stop(self) {
        self.process.stop();
    }

    /// VmRSS and VmHWM in bytes.
    pub fn memory(&self) -> (u64, u64) {
        let pid = self.process.id();
        resident_of(pid).zip(peak_of(pid)).expect("the operator runs")
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// All that it has used so far, on all its threads.
    pub fn cpu(&self) -> Duration {
        cpu_of(self.id())
    }

    /// The sum of a metric over all series that have these labels.
    pub async fn metric(&self, name: &str, labels: &str) -> f64 {
        let text = self.scrape().await.unwrap_or_default();
        let series = text.lines().filter(|line| line.starts_with(name) && line.contains(labels));
        series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    async fn scrape(&self) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin)).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }
}

/// CPU time that a process has used so far, on all its threads.
fn cpu_of(pid: u32) -> Duration {
    Stat::of(pid).filter(|stat| !stat.is_over).expect("it runs").cpu
}

/// The CPU time of several processes from a moment on.
pub struct Meter(Vec<(&'static str, u32, Duration)>);

impl Meter {
    pub fn start(processes: impl Iterator<Item = (&'static str, u32)>) -> Self {
        Self(processes.map(|(name, pid)| (name, pid, cpu_of(pid))).collect())
    }

    /// What each has used since.
    pub fn read(&self) -> Vec<(&'static str, Duration)> {
        self.0.iter().map(|(name, pid, before)| (*name, cpu_of(*pid).saturating_sub(*before))).collect()
    }
}

/// What the API server wrote down of the operator's requests.
pub struct Audit {
    path: PathBuf,
}

/// How many requests of each kind, `<verb> <resource>`.
pub type Requests = BTreeMap<String, u64>;

impl Audit {
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it ends now.
    pub fn mark(&self) -> usize {
        std::fs::metadata(&self.path).map_or(0, |found| usize::try_from(found.len()).unwrap_or(usize::MAX))
    }

    /// What was asked between two marks. A watch counts when it ends, as every request does.
    pub fn between(&self, from: usize, to: usize) -> Requests {
        let text = std::fs::read(&self.path).unwrap_or_default();
        let mut requests = Requests::new();
        for line in text[from..to].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let event: Value = serde_json::from_slice(line).expect("an audit event");
            if event["stage"] != "ResponseComplete" {
                continue;
            }
            let reference = &event["objectRef"];
            let resource =
                reference["resource"].as_str().unwrap_or_else(|| event["requestURI"].as_str().unwrap_or_default());
            let resource = match reference["subresource"].as_str() {
                Some(part) => format!("{resource}/{part}"),
                None => resource.to_owned(),
            };
            *requests.entry(format!("{} {resource}", event["verb"].as_str().unwrap_or_default())).or_default() += 1;
        }
        requests
    }
}
