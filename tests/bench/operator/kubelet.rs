//! A node without a kubelet: pods that are bound to it go through the states that a kubelet would write, an engine's log is
//! there to be read, and nothing runs.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::routing::get;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use vitess_backup::api::JobPurpose;
use vitess_backup::backup::inventory::Totals;
use vitess_backup::backup::report::{CopyMode, Line, Operation, Outcome, ProgressLine, ReplicationOutcome};
use vitess_backup::progress::{Progress, Step};
use vitess_backup::resources::names::{LABEL_PURPOSE, backup_name, purpose_text};
use vitess_backup::resources::pod::ENGINE_CONTAINER;
use vitess_backup::topo::TabletAlias;

pub const NODE: &str = "node1";
/// How long a pod's volumes, its sandbox and its init container take.
const PREPARING: Duration = Duration::from_millis(500);
const INSTALLING: Duration = Duration::from_millis(500);
/// How long an engine runs that nobody holds.
const RUN: Duration = Duration::from_secs(10);
const LISTING: Duration = Duration::from_secs(1);
/// As large as what an engine reads.
const BYTES: u64 = 400 << 30;

/// What runs on the node.
pub struct Kubelet {
    client: Client,
    /// When each pod's engine began.
    begun: Mutex<HashMap<(String, String), Instant>>,
    running: AtomicUsize,
    /// How many backups may end; the others run on.
    may_end: watch::Sender<u64>,
    ended: Mutex<u64>,
}

impl Kubelet {
    /// Makes the node and begins to serve it. Backups end after a while until they are held.
    pub async fn start(client: Client) -> Arc<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let port = listener.local_addr().expect("it has a number").port();
        make_node(&client, port).await;
        let kubelet = Arc::new(Self {
            client,
            begun: Mutex::default(),
            running: AtomicUsize::new(0),
            may_end: watch::channel(u64::MAX).0,
            ended: Mutex::default(),
        });
        let logs =
            Router::new().route("/containerLogs/{namespace}/{pod}/{container}", get(log)).with_state(kubelet.clone());
        let tls = Tls { tcp: listener, acceptor: acceptor() };
        tokio::spawn(async move { axum::serve(tls, logs).await.expect("logs are served") });
        tokio::spawn(kubelet.clone().keep());
        kubelet
    }

    /// From now on backups run until they may end.
    pub fn hold(&self) {
        let ended = *self.ended.lock().expect("nobody panicked");
        self.may_end.send_replace(ended);
    }

    /// One more may end.
    pub fn let_end(&self, backups: u64) {
        self.may_end.send_modify(|may_end| *may_end = may_end.saturating_add(backups));
    }

    /// How many engines run.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn keep(self: Arc<Self>) {
        let here = watcher::Config::default().fields(&format!("spec.nodeName={NODE}")).labels(LABEL_PURPOSE);
        let mut pods = watcher(Api::<Pod>::all(self.client.clone()), here).default_backoff().applied_objects().boxed();
        while let Some(pod) = pods.next().await {
            let Ok(pod) = pod else { continue };
            let place = (pod.namespace().unwrap_or_default(), pod.name_any());
            if pod.metadata.deletion_timestamp.is_some() {
                let at_once = DeleteParams::default().grace_period(0);
                let _ = self.pods(&place.0).delete(&place.1, &at_once).await;
                continue;
            }
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            let is_new = phase == Some("Pending")
                && self.begun.lock().expect("nobody panicked").insert(place, Instant::now()).is_none();
            if is_new {
                tokio::spawn(self.clone().live(pod));
            }
        }
    }

    /// All that becomes of a pod.
    async fn live(self: Arc<Self>, pod: Pod) {
        let name = pod.name_any();
        let place = (pod.namespace().unwrap_or_default(), name.clone());
        let pods = self.pods(&place.0);
        let write = async |status: Value| {
            let patch = Patch::Strategic(json!({"status": status}));
            let written = pods.patch_status(&name, &PatchParams::default(), &patch).await;
            if let Err(error) = written {
                eprintln!("pod {name}: {error}");
            }
        };
        sleep(PREPARING).await;
        let has_init = pod.spec.as_ref().is_some_and(|spec| spec.init_containers.is_some());
        if has_init {
            write(preparing()).await;
            sleep(INSTALLING).await;
        }
        write(running(has_init)).await;
        self.begun.lock().expect("nobody panicked").insert(place.clone(), Instant::now());
        self.running.fetch_add(1, Ordering::Relaxed);
        let started = jiff::Timestamp::now();
        let is_backup = pod.labels().get(LABEL_PURPOSE).map(String::as_str) == Some(purpose_text(JobPurpose::Backup));
        if is_backup {
            sleep(RUN).await;
            self.wait_to_end().await;
        } else {
            sleep(LISTING).await;
        }
        let outcome = if is_backup { backed_up(&pod, started) } else { listed(started) };
        write(ended(&outcome.termination_message())).await;
        self.running.fetch_sub(1, Ordering::Relaxed);
        self.begun.lock().expect("nobody panicked").remove(&place);
    }

    async fn wait_to_end(&self) {
        let mut allowed = self.may_end.subscribe();
        loop {
            let may_end = *allowed.borrow_and_update();
            {
                let mut ended = self.ended.lock().expect("nobody panicked");
                if *ended < may_end {
                    *ended += 1;
                    return;
                }
            }
            allowed.changed().await.expect("the node goes on");
        }
    }
}

/// With room for everything, and ready.
async fn make_node(client: &Client, port: u16) {
    let nodes: Api<Node> = Api::all(client.clone());
    let node = serde_json::from_value(json!({"metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE}}}));
    nodes.create(&PostParams::default(), &node.expect("a node")).await.expect("the node can be made");
    let room = json!({"cpu": "10000", "memory": "10000Gi", "pods": "100000", "ephemeral-storage": "10000Gi"});
    let status = json!({"status": {
        "capacity": room, "allocatable": room,
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}],
    }});
    let own = PatchParams::default();
    nodes.patch_status(NODE, &own, &Patch::Merge(status)).await.expect("the node can be made ready");
    // A new node is tainted until the node controller, which is not there, has seen it ready.
    nodes.patch(NODE, &own, &Patch::Merge(json!({"spec": {"taints": null}}))).await.expect("the taint can be removed");
}

fn conditions(initialized: bool, ready: bool) -> Value {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let one = |kind: &str, is: bool| {
        let status = if is { "True" } else { "False" };
        json!({"type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": now})
    };
    json!([
        one("PodReadyToStartContainers", true),
        one("Initialized", initialized),
        one("Ready", ready),
        one("ContainersReady", ready),
        one("PodScheduled", true)
    ])
}

fn container(name: &str, state: &Value) -> Value {
    let ready = state.get("running").is_some();
    json!({
        "name": name, "ready": ready, "started": ready, "restartCount": 0, "state": state, "lastState": {},
        "image": "registry.example/vitess-tablet:24.0.0",
        "imageID": "registry.example/vitess-tablet@sha256:2cba42cd67e7bd4e3f2f9a4a4ed70a3e3f7d9d23b9e64a0e4e4cd8cf6e58f5b8",
        "containerID": "containerd://0c9a8b7d6e5f40312233445566778899aabbccddeeff00112233445566778899",
    })
}

fn preparing() -> Value {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    json!({
        "phase": "Pending", "startTime": now, "hostIP": "127.0.0.1", "podIP": "10.244.0.9", "podIPs": [{"ip": "10.244.0.9"}],
        "conditions": conditions(false, false),
        "initContainerStatuses": [container("install", &json!({"running": {"startedAt": now}}))],
        "containerStatuses": [container(ENGINE_CONTAINER, &json!({"waiting": {"reason": "PodInitializing"}}))],
    })
}

fn running(has_init: bool) -> Value {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut status = json!({
        "phase": "Running", "startTime": now, "hostIP": "127.0.0.1", "podIP": "10.244.0.9",
        "podIPs": [{"ip": "10.244.0.9"}], "conditions": conditions(true, true),
        "containerStatuses": [container(ENGINE_CONTAINER, &json!({"running": {"startedAt": now}}))],
    });
    if has_init {
        let done = json!({"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}});
        status["initContainerStatuses"] = json!([container("install", &done)]);
    }
    status
}

fn ended(message: &str) -> Value {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let over = json!({"terminated": {
        "exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now, "message": message,
    }});
    json!({
        "phase": "Succeeded", "conditions": conditions(true, false),
        "containerStatuses": [container(ENGINE_CONTAINER, &over)],
    })
}

/// The engine's command line.
fn arguments(pod: &Pod) -> Vec<String> {
    pod.spec.as_ref().and_then(|spec| spec.containers.first()?.args.clone()).unwrap_or_default()
}

/// The outcome of a backup as the builtin engine has it.
fn backed_up(pod: &Pod, started: jiff::Timestamp) -> Outcome {
    let args = arguments(pod);
    let text = |flag: &str| {
        let found = args.iter().find_map(|argument| argument.strip_prefix(flag)?.strip_prefix('='));
        found.unwrap_or_default().to_owned()
    };
    let shard = format!("{}/{}", text("--keyspace"), text("--shard"));
    let alias: TabletAlias = args[1].parse().expect("an engine is told its tablet");
    let time = started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let position = "MySQL56/3e11fa47-71ca-11e1-9e33-c80aa9429562:1-918273,4f22ab58-82db-22f2-af44-d91bba530673:1-64512";
    let begun = text("--backup-time").parse().expect("and its time");
    let name = backup_name(begun, &alias);
    let manifest = json!({
        "BackupName": name, "BackupMethod": "builtin", "Position": position, "PurgedPosition": position, "FromPosition": "",
        "FromBackup": "", "Incremental": false, "BackupTime": time, "FinishedTime": time,
        "ServerUUID": "3e11fa47-71ca-11e1-9e33-c80aa9429562", "TabletAlias": alias.to_string(),
        "Keyspace": text("--keyspace"), "Shard": text("--shard"),
        "MySQLVersion": "/usr/sbin/mysqld  Ver 8.4.5 for Linux on x86_64 (MySQL Community Server - GPL)",
        "UpgradeSafe": false, "IncrementalDetails": null, "CompressionEngine": "zstd", "SkipCompress": false,
        "ExternalDecompressor": "",
    });
    Outcome {
        finished_time: jiff::Timestamp::now(),
        shard: Some(shard),
        tablet_alias: Some(alias.to_string()),
        backup_name: Some(name),
        engine: Some("builtin".to_owned()),
        position: Some(position.to_owned()),
        purged_position: Some(position.to_owned()),
        size_bytes: Some(BYTES / 3),
        data_bytes: Some(BYTES),
        files: Some(1834),
        downtime_seconds: Some(7.4),
        copy_mode: Some(CopyMode::InPlace),
        copy_mode_reason: Some("the tablet's file system (ext4) does not clone files".to_owned()),
        replication: Some(ReplicationOutcome::CaughtUp),
        manifest: manifest.as_object().cloned(),
        ..Outcome::begun(Operation::Backup, started)
    }
}

/// The outcome of an inventory that found what is known.
fn listed(started: jiff::Timestamp) -> Outcome {
    let totals = Totals { backups: 1, bytes: BYTES, shards: 1, ..Totals::default() };
    Outcome {
        finished_time: jiff::Timestamp::now(),
        inventory: Some(totals),
        ..Outcome::begun(Operation::Inventory, started)
    }
}

/// The end of an engine's log: a line of progress for each second.
async fn log(
    State(kubelet): State<Arc<Kubelet>>,
    Path((namespace, pod, _)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
) -> String {
    let begun = kubelet.begun.lock().expect("nobody panicked").get(&(namespace, pod)).copied();
    let seconds = begun.map_or(0, |begun| begun.elapsed().as_secs());
    let now = jiff::Timestamp::now();
    let asked = query.as_deref().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("tailLines="));
    let first = seconds.saturating_sub(asked.and_then(|lines| lines.parse().ok()).unwrap_or(u64::MAX));
    let lines = (first..seconds).map(|second| {
        let done = (second * (200 << 20)).min(BYTES);
        let progress = Progress {
            bytes_done: done,
            bytes_total: BYTES,
            stored_bytes: done / 3,
            files_done: second.min(1834),
            files_total: 1834,
        };
        let line = ProgressLine {
            time: now,
            step: Step::CopyingFiles,
            progress,
            bytes_per_second: 200 << 20,
            eta_seconds: Some((BYTES - done) / (200 << 20)),
        };
        serde_json::to_string(&Line::Progress(line)).unwrap_or_default() + "\n"
    });
    lines.collect()
}

/// TLS that nobody checks: the API server is told no authority of kubelets.
struct Tls {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

fn acceptor() -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(vec![NODE.to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![made.cert.der().clone()], key).expect("a certificate with its key");
    TlsAcceptor::from(Arc::new(config))
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<tokio::net::TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let Ok((stream, address)) = self.tcp.accept().await else { continue };
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}
