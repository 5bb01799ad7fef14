//! What there is to back up, and what was backed up before: tablets' pods as they are in a real shard, and VitessBackups that
//! have ended.

use std::path::Path;

use futures::{StreamExt, stream};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, Pod, ServiceAccount};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind, TypeMeta};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use vitess_backup::api::{Phase, VitessBackup, custom_resource_definitions};
use vitess_backup::resources::names::{STATUS_MANAGER, backup_name};
use vitess_backup::topo::TabletAlias;

use crate::kubelet::NODE;
use crate::within;

pub const NAMESPACE: &str = "vitess";
/// Where Jobs are made that no operator knows of.
pub const FLOOR: &str = "floor";
/// What a Job's controller labels its pods with.
pub const JOB_OF: &str = "batch.kubernetes.io/job-name";
/// Where the operator is.
pub const OWN_NAMESPACE: &str = "vitess-backup-operator";
const MANIFEST: &str = "tests/e2e/ground/vitess/manifests/tablet.yaml";
/// How many requests are under way when objects are made.
const AT_A_TIME: usize = 16;
/// A primary and two replicas.
pub const TABLETS: u32 = 3;

/// The objects of a namespace that backups are made in.
pub struct Fleet {
    pub client: Client,
    /// The pod of the tablet zone1-0000000100 of commerce/0, as its StatefulSet has it.
    pod: Value,
}

impl Fleet {
    /// Installs our definitions, the operator's account with its rights, a storage, and this many shards.
    pub async fn make(client: Client, shards: u32) -> Self {
        install(&client).await;
        make_namespace(&client, NAMESPACE).await;
        let fleet = Self { client, pod: tablet_template() };
        fleet.claim("vitess-backups", "ReadWriteMany").await;
        apply_file(&fleet.client, NAMESPACE, Path::new("examples/storage-file.yaml")).await;
        let tablets = (0..shards * TABLETS).map(|tablet| fleet.tablet(tablet));
        stream::iter(tablets).buffer_unordered(AT_A_TIME).collect::<()>().await;
        fleet
    }

    /// The namespace of Jobs that no operator knows of.
    pub async fn make_floor(&self) {
        make_namespace(&self.client, FLOOR).await;
    }

    /// A Job of its own. Nobody runs its pod, which stays.
    pub async fn make_job(&self, name: &str) {
        let job: Job = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"backoffLimit": 0, "template": {"spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "engine", "image": "registry.example/vitess-backup-operator:bench"}],
            }}},
        }))
        .expect("a Job");
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), FLOOR);
        jobs.create(&PostParams::default(), &job).await.unwrap_or_else(|error| panic!("Job {name}: {error}"));
    }

    pub fn backups(&self) -> Api<VitessBackup> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Applies a backup of a shard, as `kubectl apply --server-side` does.
    pub async fn apply(&self, name: &str, shard: u32) {
        let backup = json!({
            "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessBackup", "metadata": {"name": name},
            "spec": {"storage": {"name": "backups"}, "shard": shard_name(shard), "compression": {"engine": "zstd"}},
        });
        let applied = self.backups().patch(name, &PatchParams::apply("benchmark"), &Patch::Apply(backup)).await;
        applied.unwrap_or_else(|error| panic!("VitessBackup {name}: {error}"));
    }

    /// How many backups whose names begin so have succeeded.
    pub async fn succeeded(&self, stem: &str) -> usize {
        let all = self.backups().list(&ListParams::default()).await.expect("they can be listed");
        let phase = |backup: &VitessBackup| backup.status.as_ref().and_then(|status| status.run.phase);
        all.iter().filter(|one| one.name_any().starts_with(stem) && phase(one) == Some(Phase::Succeeded)).count()
    }

    /// Makes VitessBackups as this one was when it had ended, of other times and shards. No operator may look meanwhile.
    pub async fn make_ended(&self, like: &VitessBackup, numbers: std::ops::Range<u32>, shards: u32) {
        let made = numbers.map(|number| self.make_one_ended(like, number, number % shards));
        stream::iter(made).buffer_unordered(AT_A_TIME).collect::<()>().await;
    }

    async fn make_one_ended(&self, like: &VitessBackup, number: u32, shard: u32) {
        let mut backup = VitessBackup::new(&format!("ended-{number:05}"), like.spec.clone());
        backup.spec.shard = Some(shard_name(shard).parse().expect("a shard"));
        let backups = self.backups();
        let made = backups.create(&PostParams::default(), &backup).await.expect("a VitessBackup can be made");
        let mut status = like.status.clone().expect("one that has ended has a status");
        let begun = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1) * i32::try_from(number).unwrap_or(1);
        let alias = alias(shard * TABLETS);
        status.run.shard = Some(shard_name(shard));
        status.run.tablet_alias = Some(alias.to_string());
        status.run.backup_name = Some(backup_name(begun, &alias));
        status.run.observed_generation = made.metadata.generation;
        let written = json!({
            "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessBackup",
            "metadata": {"name": made.name_any()}, "status": status,
        });
        let parameters = PatchParams::apply(STATUS_MANAGER);
        backups
            .patch_status(&made.name_any(), &parameters, &Patch::Apply(written))
            .await
            .expect("its status can be written");
    }

    async fn tablet(&self, number: u32) {
        let (alias, shard) = (alias(number), number / TABLETS);
        let name = format!("{alias}-0");
        let claim = format!("vtdataroot-{name}");
        self.claim(&claim, "ReadWriteOnce").await;
        let text = self.pod.to_string();
        let uid = alias.uid().to_string();
        let text =
            text.replace("zone1-0000000100", &alias.to_string()).replace("vt_0000000100", &alias.directory_name());
        let text = text.replace("tablet-uid=100", &format!("tablet-uid={uid}"));
        let text = text.replace("--init-shard=0", &format!("--init-shard={}", shard_range(shard)));
        let mut pod: Value = serde_json::from_str(&text).expect("JSON that was changed within its strings");
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["labels"]["planetscale.com/tablet-uid"] = json!(uid);
        pod["spec"]["nodeName"] = json!(NODE);
        let own = json!({"name": "vtdataroot", "persistentVolumeClaim": {"claimName": claim}});
        pod["spec"]["volumes"].as_array_mut().expect("its volumes").push(own);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        pods.patch(&name, &PatchParams::apply("statefulset"), &Patch::Apply(pod)).await.expect("a pod can be made");
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let containers = ["mysqld", "vttablet"].map(|name| {
            json!({
                "name": name, "ready": true, "started": true, "restartCount": 0, "lastState": {},
                "image": "localhost/vitess-tablet:24.0.0-mysql9.7", "imageID": "localhost/vitess-tablet@sha256:2cba42cd67e7",
                "containerID": "containerd://0c9a8b7d6e5f4", "state": {"running": {"startedAt": now}},
            })
        });
        let conditions = ["Initialized", "Ready", "ContainersReady", "PodScheduled"];
        let conditions = conditions.map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": now}));
        let status = json!({"status": {
            "phase": "Running", "startTime": now, "hostIP": "127.0.0.1", "podIP": "10.244.0.8",
            "podIPs": [{"ip": "10.244.0.8"}], "conditions": conditions, "containerStatuses": containers,
        }});
        let own = PatchParams { field_manager: Some("kubelet".to_owned()), ..PatchParams::default() };
        pods.patch_status(&name, &own, &Patch::Merge(status)).await.expect("a pod can be made ready");
    }

    /// A claim that is bound, to a volume that nobody needs.
    async fn claim(&self, name: &str, mode: &str) {
        let volume = format!("{NAMESPACE}-{name}");
        let size = json!({"storage": "10Gi"});
        let claim: PersistentVolumeClaim = serde_json::from_value(json!({
            "metadata": {"name": name, "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
            "spec": {
                "accessModes": [mode], "resources": {"requests": size}, "volumeName": volume, "storageClassName": "",
            },
        }))
        .expect("a claim");
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), NAMESPACE);
        let created = claims.create(&PostParams::default(), &claim).await.expect("a claim can be made");
        let bound = json!({"status": {"phase": "Bound", "accessModes": [mode], "capacity": size}});
        claims.patch_status(name, &PatchParams::default(), &Patch::Merge(bound)).await.expect("it can be bound");
        let volume: PersistentVolume = serde_json::from_value(json!({
            "metadata": {"name": volume},
            "spec": {
                "accessModes": [mode], "capacity": size, "hostPath": {"path": "/nowhere"}, "storageClassName": "",
                "claimRef": {
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": NAMESPACE, "name": name, "uid": created.uid(),
                },
            },
        }))
        .expect("a volume");
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        volumes.create(&PostParams::default(), &volume).await.expect("a volume can be made");
    }
}

fn alias(number: u32) -> TabletAlias {
    TabletAlias::new("zone1", 100 + number).expect("an alias")
}

/// Key ranges of two bytes, one for each shard.
fn shard_range(shard: u32) -> String {
    format!("{shard:04x}-{:04x}", shard + 1)
}

fn shard_name(shard: u32) -> String {
    format!("commerce/{}", shard_range(shard))
}

/// The template of the StatefulSet that the test ground runs a tablet with.
fn tablet_template() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(MANIFEST);
    documents(&path).into_iter().find(|document| document["kind"] == "StatefulSet").expect("a tablet's StatefulSet")["spec"]
        ["template"]
        .clone()
}

fn documents(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.split("\n---\n")
        .map(|one| serde_saphyr::from_str(one).expect("YAML"))
        .filter(|one: &Value| !one.is_null())
        .collect()
}

/// Our definitions, and what of `config/operator.yaml` is not the operator's own pod.
async fn install(client: &Client) {
    let definitions = Api::all(client.clone());
    for crd in custom_resource_definitions() {
        definitions.create(&PostParams::default(), &crd).await.expect("a definition can be made");
    }
    for crd in custom_resource_definitions() {
        let name = crd.name_any();
        let established = kube::runtime::conditions::is_crd_established();
        kube::runtime::wait::await_condition(definitions.clone(), &name, established).await.expect("it is established");
    }
    make_namespace(client, OWN_NAMESPACE).await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/operator.yaml");
    for document in documents(&path) {
        let kind = document["kind"].as_str().unwrap_or_default();
        if kind.contains("Role") || kind == "ServiceAccount" {
            apply_document(client, OWN_NAMESPACE, document).await;
        }
    }
}

/// A token of the operator's account, good for the whole measurement.
pub async fn token(client: &Client) -> String {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), OWN_NAMESPACE);
    let asked =
        serde_json::from_value(json!({"spec": {"audiences": [], "expirationSeconds": 86400}})).expect("a request");
    let made = accounts.create_token_request("vitess-backup-operator", &PostParams::default(), &asked).await;
    made.expect("a token can be had").status.and_then(|status| status.token).expect("it is there")
}

async fn make_namespace(client: &Client, name: &str) {
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).expect("a namespace");
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await.expect("a namespace can be made");
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), name);
    within("the default service account", 30, async || accounts.get("default").await.is_ok()).await;
}

async fn apply_file(client: &Client, namespace: &str, path: &Path) {
    for document in documents(&Path::new(env!("CARGO_MANIFEST_DIR")).join(path)) {
        apply_document(client, namespace, document).await;
    }
}

async fn apply_document(client: &Client, namespace: &str, document: Value) {
    let object: DynamicObject = serde_json::from_value(document).expect("an object");
    let TypeMeta { api_version, kind } = object.types.clone().expect("its kind");
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
    let api: Api<DynamicObject> = if kind.starts_with("Cluster") {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::namespaced_with(client.clone(), namespace, &resource)
    };
    let applied = api.patch(&object.name_any(), &PatchParams::apply("benchmark").force(), &Patch::Apply(&object)).await;
    applied.unwrap_or_else(|error| panic!("{kind} {}: {error}", object.name_any()));
}
