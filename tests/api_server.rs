//! What a real API server makes of our CustomResourceDefinitions: which specs it refuses, and with which words; of the chart's
//! roles: who may do what; and what the operator makes of definitions that are older than it.
//!
//! Needs a cluster (KUBECONFIG) in which namespaces, roles and bindings may be created, and fails without one; `make test-e2e`
//! starts the test ground and runs it there. Objects of our kinds are created as dry runs, in a namespace of the test's own.
//! Older definitions are nothing for a cluster that others use: they have an API server of their own, of the test ground's
//! programs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

#[path = "api_server/definitions.rs"]
mod definitions;
#[path = "api_server/rights.rs"]
mod rights;
mod support;

use std::path::Path;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use vitess_backup::api;

const NAMESPACE: &str = "api-server-test";

struct Server {
    client: Client,
}

impl Server {
    async fn with_our_definitions() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client =
            Client::try_default().await.expect("a cluster, by KUBECONFIG: run make test-e2e, which starts one");
        // The chart has installed them: applied from here, Helm could no longer upgrade them.
        let definitions = Api::all(client.clone());
        for crd in api::custom_resource_definitions() {
            let established = kube::runtime::conditions::is_crd_established();
            let name = crd.name_any();
            let wait = kube::runtime::wait::await_condition(definitions.clone(), &name, established);
            let waited = tokio::time::timeout(std::time::Duration::from_secs(30), wait).await;
            waited.expect("the chart's definitions: run make test-e2e").expect("a definition that is established");
        }
        make_namespace(&client, NAMESPACE).await;
        Self { client }
    }

    fn api(&self, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(api::GROUP, api::VERSION, kind));
        Api::namespaced_with(self.client.clone(), NAMESPACE, &resource)
    }

    /// The API server's words, or nothing when it would take the object.
    async fn refusal(&self, kind: &str, spec: Value) -> Option<String> {
        let object = object(kind, "one", spec);
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        match self.api(kind).create(&dry_run, &object).await {
            Ok(_) => None,
            Err(kube::Error::Api(status)) => Some(status.message.clone()),
            Err(error) => panic!("{error}"),
        }
    }
}

async fn make_namespace(client: &Client, name: &str) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let apply = PatchParams::apply("api-server-test").force();
    Api::<Namespace>::all(client.clone()).patch(name, &apply, &Patch::Apply(namespace)).await.unwrap();
}

#[allow(clippy::needless_pass_by_value)] // callers write the value in place
fn object(kind: &str, name: &str, spec: Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": format!("{}/{}", api::GROUP, api::VERSION),
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }))
    .unwrap()
}

/// `base` with `changes` laid over it; null removes a field.
#[allow(clippy::needless_pass_by_value)] // callers write the value in place
fn with(base: &Value, changes: Value) -> Value {
    let mut spec = base.clone();
    for (key, value) in changes.as_object().unwrap() {
        if value.is_null() {
            spec.as_object_mut().unwrap().remove(key);
        } else {
            spec[key] = value.clone();
        }
    }
    spec
}

async fn assert_refused(server: &Server, kind: &str, base: &Value, cases: Vec<(Value, &str)>) {
    assert_eq!(server.refusal(kind, base.clone()).await, None, "the base that cases are made from must be good");
    for (changes, words) in cases {
        let refusal = server.refusal(kind, with(base, changes.clone())).await;
        let message = refusal.unwrap_or_else(|| panic!("{kind} with {changes} was taken; expected: {words}"));
        assert!(message.contains(words), "{kind} with {changes}: expected {words:?} in {message:?}");
    }
}

#[tokio::test]
async fn the_operator_finds_that_the_clusters_definitions_lack_nothing() {
    let server = Server::with_our_definitions().await;
    let lacking = vitess_backup::controller::definitions::lacking(&server.client).await.unwrap();
    assert_eq!(lacking, std::collections::BTreeMap::new());
}

#[tokio::test]
async fn every_example_is_accepted() {
    let server = Server::with_our_definitions().await;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let written: Value = serde_saphyr::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        if written["kind"] == "StatefulSet" {
            let set: StatefulSet = serde_json::from_value(written).unwrap();
            let dry_run = PostParams { dry_run: true, ..PostParams::default() };
            Api::namespaced(server.client.clone(), NAMESPACE).create(&dry_run, &set).await.unwrap();
            continue;
        }
        let refusal = server.refusal(written["kind"].as_str().unwrap(), written["spec"].clone()).await;
        assert_eq!(refusal, None, "{}", path.display());
    }
}

#[tokio::test]
async fn a_wrong_storage_is_refused_with_what_to_do() {
    let server = Server::with_our_definitions().await;
    let base = json!({"file": {"persistentVolumeClaim": {"claimName": "backups"}, "root": "/a/b..c"}});
    let cases = vec![
        (json!({"file": null}), "name exactly one place to store backups"),
        (json!({"s3": {"bucket": "b"}}), "name exactly one place to store backups"),
        (
            json!({"file": null, "s3": {"bucket": "b", "endpoint": "minio:9000"}}),
            "write https://host or http://host:port",
        ),
        (json!({"file": null, "s3": {"bucket": "b", "serverSideEncryption": "sse_c"}}), "set both or neither"),
        (json!({"file": null, "s3": {"bucket": "b", "serverSideEncryption": "DES"}}), "Unsupported value"),
        (json!({"file": null, "s3": {"bucket": ""}}), "should be at least 1 chars long"),
        (json!({"file": null, "gcs": {}}), "bucket: Required value"),
        (json!({"file": null, "azblob": {"account": "a"}}), "container: Required value"),
        (json!({"file": null, "ceph": {"configSecret": {"name": "a", "key": "../x"}}}), "not a key of a Secret"),
        (json!({"credentialsSecret": {"name": "keys"}}), "credentialsSecret is for s3, gcs and azblob"),
        (json!({"file": null, "ceph": {}}), "configSecret: Required value"),
        (json!({"file": {}}), "name exactly one volume"),
        (
            json!({"file": {"hostPath": {"path": "/a"}, "nfs": {"server": "s", "path": "/a"}}}),
            "name exactly one volume",
        ),
        (json!({"file": {"hostPath": {"path": "/a"}, "root": "/a/../b"}}), "remove '..' from the path"),
        (json!({"file": {"persistentVolumeClaim": {"claimName": "Backups"}}}), "not the name of a Kubernetes object"),
        (json!({"inventoryInterval": "9s"}), "write 0s (never) or at least 10s"),
        (json!({"inventoryInterval": "often"}), "not a non-negative duration"),
        (json!({"inventoryInterval": "-1m"}), "not a non-negative duration"),
    ];
    assert_refused(&server, "VitessBackupStorage", &base, cases).await;
    for good in ["0", "0s", "10s", "1h30m"].map(|interval| json!({"inventoryInterval": interval})) {
        assert_eq!(server.refusal("VitessBackupStorage", with(&base, good.clone())).await, None, "{good}");
    }
}

#[tokio::test]
async fn a_wrong_backup_is_refused_with_what_to_do() {
    let server = Server::with_our_definitions().await;
    let base = json!({"storage": {"name": "backups"}, "tablet": "zone1-101"});
    let only_one = "name exactly one of tablet";
    let alias = "write <cell>-<uid>, for example zone1-0000000101";
    let shard = "write <keyspace>/<shard>, for example commerce/0";
    let duration = "for example 30m, 1h30m or 6h";
    let cases = vec![
        (json!({"verify": "Sometimes"}), "Unsupported value"),
        (json!({"drill": {}}), "set verify: Restore, or remove drill"),
        (json!({"verify": "Objects", "drill": {}}), "set verify: Restore, or remove drill"),
        (json!({"verify": "Restore", "drill": {"scratch": {}}}), "name exactly one of scratch.emptyDir"),
        (
            json!({"verify": "Restore", "drill": {"scratch": {"ephemeral": {"storageClassName": "fast"}}}}),
            "size: Required value",
        ),
        (
            json!({"verify": "Restore", "drill": {"assertions": [{"name": "a b", "sql": "SELECT 1"}]}}),
            "not a name for an assertion",
        ),
        (
            json!({"verify": "Restore", "drill": {"assertions": [{"name": "a", "sql": "x"}, {"name": "a", "sql": "y"}]}}),
            "Duplicate value",
        ),
        (json!({"shard": "commerce/0"}), only_one),
        (json!({"tablet": null}), only_one),
        (json!({"tablet": null, "shard": null}), only_one),
        (json!({"tablet": "zone1"}), alias),
        (json!({"tablet": "zone.1-101"}), alias),
        (json!({"tablet": "zone1-4294967296"}), alias),
        (json!({"tablet": ""}), alias),
        (json!({"tablet": null, "shard": "commerce"}), shard),
        (json!({"tablet": null, "shard": "commerce/0/1"}), shard),
        (json!({"tablet": null, "shard": "../0"}), shard),
        (json!({"engine": "mydumper"}), "supported values: \"builtin\", \"xtrabackup\""),
        (json!({"engine": "xtrabackup"}), "engine xtrabackup needs xtrabackup.user"),
        (json!({"engine": "xtrabackup", "xtrabackup": {}}), "engine xtrabackup needs xtrabackup.user"),
        (by_xtrabackup(json!({"user": ""})), "should be at least 1 chars long"),
        (json!({"xtrabackup": {"user": "x"}}), "set engine: xtrabackup, or remove xtrabackup"),
        (
            json!({"engine": "xtrabackup", "xtrabackup": {"user": "x"}, "builtin": {"upgradeSafe": true}}),
            "set engine: builtin, or remove builtin",
        ),
        (by_xtrabackup(json!({"streamMode": "cpio"})), "supported values: \"xbstream\", \"tar\""),
        (by_xtrabackup(json!({"rootPath": "bin"})), "xtrabackup.rootPath is not an absolute path"),
        (by_xtrabackup(json!({"rootPath": ""})), "xtrabackup.rootPath is not an absolute path"),
        (by_xtrabackup(json!({"stripes": -1})), "greater than or equal to 0"),
        (by_xtrabackup(json!({"stripes": 1001})), "less than or equal to 1000"),
        (by_xtrabackup(json!({"stripes": 2, "stripeBlockSize": 1023})), "xtrabackup.stripeBlockSize is too small"),
        (by_xtrabackup(json!({"backupFlags": "x".repeat(4097)})), "may not be more than 4096"),
        (json!({"mode": "Detached"}), "set mode: Attached"),
        (json!({"mode": "Delegated"}), "set mode: Attached"),
        (json!({"incrementalFrom": "auto"}), "makes full backups only: remove incrementalFrom"),
        (json!({"backupName": "2021-04-29.133050.zone1-0000000101"}), "remove backupName to take a new backup"),
        (json!({"tablet": null, "shard": "commerce/0", "backupName": "a/b"}), "not the name of a backup"),
        (json!({"tablet": null, "shard": "commerce/0", "backupName": ""}), "should be at least 1 chars long"),
        (json!({"compression": {"engine": "gzip"}}), "supported values: \"pargzip\", \"pgzip\", \"zstd\", \"lz4\""),
        (json!({"compression": {"engine": "external"}}), "set compression.engine to pargzip, pgzip, zstd or lz4"),
        (json!({"compression": {"level": 23}}), "less than or equal to 22"),
        (json!({"concurrency": 0}), "greater than or equal to 1"),
        (json!({"bandwidthLimit": "fast"}), "write for example 50Mi"),
        (json!({"bandwidthLimit": "0.0Mi"}), "write for example 50Mi"),
        (json!({"bandwidthLimit": "50MiB/s"}), "write for example 50Mi"),
        (json!({"builtin": {"copyMode": "Snapshot"}}), "supported values: \"Auto\", \"Clone\", \"InPlace\""),
        (json!({"deadline": "-1h"}), duration),
        (json!({"deadline": "0s"}), duration),
        (json!({"deadline": "0"}), duration),
        (json!({"deadline": "soon"}), duration),
        (json!({"deadline": "99999999999999999999h"}), duration),
        (json!({"maxReplicationLag": "-30s"}), "0s means no limit"),
        (json!({"retries": -1}), "greater than or equal to 0"),
        (json!({"retries": 11}), "less than or equal to 10"),
        (json!({"waitingDeadlines": {"turn": "0s"}}), duration),
        (json!({"waitingDeadlines": {"accepted": "soon"}}), duration),
        (json!({"cancel": "yes"}), "must be of type boolean"),
        (json!({"deletionPolicy": "Keep"}), "supported values: \"Retain\", \"Delete\""),
        (json!({"vtctld": {"address": "vtctld"}}), "write host:port of vtctld's gRPC port"),
        (json!({"vtctld": {"address": "vtctld:15999", "tlsSecret": {"name": "x"}}}), "remove vtctld.tlsSecret"),
        (json!({"storage": {"name": ""}}), "should be at least 1 chars long"),
        (json!({"storage": null}), "spec.storage: Required value"),
        (json!({"podTemplate": {"resources": {"requests": {"cpu": "lots"}}}}), "should match"),
    ];
    assert_refused(&server, "VitessBackup", &base, cases).await;
    for good in [
        by_xtrabackup(json!({})),
        by_xtrabackup(json!({"stripes": 1000, "stripeBlockSize": 1024})),
        by_xtrabackup(json!({"streamMode": "tar", "rootPath": "/opt/xtrabackup/bin", "backupFlags": "--a='b c'"})),
        json!({"tablet": null, "shard": "commerce/-80", "backupName": "2021-04-29.133050.zone1-0000000101"}),
        json!({"tablet": null, "shard": "commerce/0", "backupName": "x y", "engine": "xtrabackup", "deletionPolicy": "Delete"}),
        json!({"retries": 10, "maxReplicationLag": "0s", "cancel": true}),
        json!({"waitingDeadlines": {"accepted": "1h", "turn": "2h", "engineStart": "5m"}}),
        with(&by_xtrabackup(json!({})), json!({"concurrency": 4, "vtctld": {"address": "vtctld:15999"}})),
    ] {
        assert_eq!(server.refusal("VitessBackup", with(&base, good.clone())).await, None, "{good}");
    }
}

/// The changes that make a spec one for the xtrabackup engine, with these options besides the user.
fn by_xtrabackup(options: Value) -> Value {
    json!({"engine": "xtrabackup", "xtrabackup": with(&json!({"user": "vt_backup"}), options)})
}

#[tokio::test]
async fn a_wrong_restore_is_refused_with_what_to_do() {
    let server = Server::with_our_definitions().await;
    let base = json!({"storage": {"name": "backups"}, "shard": "commerce/0", "target": {"tablet": "zone1-0000000102"}});
    let selector = "say in exactly one way which backup to restore";
    let time = "2021-04-29.133050, or in RFC 3339";
    let volume = json!({"claimName": "volume", "tabletUid": 103});
    let cases = vec![
        (json!({"shard": null}), "spec.shard: Required value"),
        (json!({"shard": "commerce/"}), "write <keyspace>/<shard>"),
        (json!({"target": null}), "set target to a tablet (its alias) or a persistentVolumeClaim"),
        (json!({"target": {}}), "name exactly one target"),
        (json!({"target": {"tablet": "zone1-1", "persistentVolumeClaim": volume}}), "name exactly one target"),
        (json!({"target": {"tablet": "one"}}), "write <cell>-<uid>"),
        (json!({"target": {"persistentVolumeClaim": {"claimName": "v"}}}), "tabletUid: Required value"),
        (
            json!({"target": {"persistentVolumeClaim": {"claimName": "v", "tabletUid": -1}}}),
            "greater than or equal to 0",
        ),
        (
            json!({"target": {"persistentVolumeClaim": {"claimName": "v", "tabletUid": 1, "root": "../x"}}}),
            "remove '..' from the path",
        ),
        (json!({"backup": {}}), selector),
        (json!({"backup": {"latest": {}, "name": "x"}}), selector),
        (json!({"backup": {"name": "commerce/0/x"}}), "without keyspace and shard"),
        (json!({"backup": {"name": ".."}}), "without keyspace and shard"),
        (json!({"backup": {"atOrBefore": "yesterday"}}), time),
        (json!({"backup": {"atOrBefore": "2021-04-29 13:30:50"}}), time),
        (json!({"backup": {"atOrBefore": "2021-13-29.133050"}}), time),
        (json!({"backup": {"atOrBefore": "2021-02-30.133050"}}), time),
        (json!({"backup": {"atOrBefore": "2021-02-30T13:30:50Z"}}), time),
        (json!({"backup": {"toTimestamp": "2021-04-29T13:30:50Z"}}), "use atOrBefore"),
        (json!({"backup": {"toPosition": "MySQL56/x:1"}}), "use atOrBefore"),
        (json!({"bandwidthLimit": "0"}), "write for example 50Mi"),
        (json!({"waitForBackupInterval": "-10s"}), "not a non-negative duration"),
        (json!({"waitForBackupInterval": "10"}), "not a non-negative duration"),
        (json!({"waitForBackupInterval": "10ms"}), "write 0s (do not wait) or at least 1s"),
        (json!({"waitForBackupDeadline": "1h"}), "set waitForBackupInterval too"),
        (json!({"waitForBackupDeadline": "1h", "waitForBackupInterval": "0s"}), "set waitForBackupInterval too"),
        (json!({"waitForBackupDeadline": "0s", "waitForBackupInterval": "10s"}), "for example 30m, 1h30m or 6h"),
        (json!({"retries": 11}), "less than or equal to 10"),
        (json!({"trigger": "PodStart"}), "remove target"),
        (json!({"trigger": "Later"}), "supported values: \"Now\", \"PodStart\""),
        (json!({"bootstrap": {"keyspace": "commerce"}}), "bootstrap belongs to trigger PodStart"),
        (json!({"existingData": "Keep"}), "supported values: \"Refuse\", \"Replace\""),
        (json!({"xtrabackup": {"rootPath": "./bin"}}), "xtrabackup.rootPath is not an absolute path"),
        (json!({"xtrabackup": {"streamMode": "zip"}}), "supported values: \"xbstream\", \"tar\""),
    ];
    assert_refused(&server, "VitessRestore", &base, cases).await;
    for good in [
        json!({"backup": {"atOrBefore": "2021-04-29T13:30:50+02:00"}}),
        json!({"backup": {"name": "2021-04-29.133050.zone1-0000000101"}}),
        json!({"bandwidthLimit": "50Mi"}),
        json!({"bandwidthLimit": "0.5G"}),
        json!({"waitForBackupInterval": "0"}),
        json!({"waitForBackupInterval": "1m30s"}),
        json!({"target": {"persistentVolumeClaim": volume}}),
        json!({"waitForBackupDeadline": "1h", "waitForBackupInterval": "10s"}),
        json!({"retries": 1, "waitingDeadlines": {"turn": "1h"}}),
        json!({"shard": "commerce/-"}),
        json!({"xtrabackup": {}}),
        json!({"xtrabackup": {"rootPath": "/opt", "streamMode": "tar", "prepareFlags": "--a", "restoreFlags": "--b"}}),
    ] {
        assert_eq!(server.refusal("VitessRestore", with(&base, good.clone())).await, None, "{good}");
    }
}

#[tokio::test]
async fn a_wrong_topology_backup_is_refused_with_what_to_do() {
    let server = Server::with_our_definitions().await;
    let base = json!({"storage": {"name": "backups"}, "etcd": {"endpoints": ["etcd:2379"]}});
    let (only_one, endpoint) =
        ("name exactly one topology server", "write host:port, http://host:port or https://host:port");
    let cases = vec![
        (json!({"etcd": null}), only_one),
        (json!({"consul": {"endpoints": ["consul:8500"]}}), only_one),
        (json!({"etcd": {}}), "endpoints: Required value"),
        (json!({"etcd": {"endpoints": []}}), "should have at least 1 items"),
        (json!({"etcd": {"endpoints": ["etcd"]}}), endpoint),
        (json!({"etcd": {"endpoints": ["ftp://etcd:2379"]}}), endpoint),
        (json!({"etcd": {"endpoints": ["user@etcd:2379"]}}), endpoint),
        (json!({"etcd": null, "zookeeper": {}}), "name exactly one of endpoints"),
        (
            json!({"etcd": null, "zookeeper": {"endpoints": ["zk:8080"], "dataDirectory": {"claimName": "x"}}}),
            "name exactly one of endpoints",
        ),
        (
            json!({"etcd": null, "zookeeper": {"dataDirectory": {"claimName": "x"}, "tlsSecret": {"name": "y"}}}),
            "tlsSecret and credentialsSecret are for endpoints",
        ),
        (
            json!({"etcd": null, "zookeeper": {"dataDirectory": {"claimName": "x", "dataDir": "../y"}}}),
            "remove '..' from the path",
        ),
        (json!({"cell": "zone.1"}), "not a cell: letters, digits"),
        (json!({"cell": ""}), "should be at least 1 chars long"),
        (json!({"deadline": "0s"}), "for example 30m, 1h30m or 6h"),
        (json!({"storage": null}), "spec.storage: Required value"),
    ];
    assert_refused(&server, "VitessTopologyBackup", &base, cases).await;
    for good in [
        json!({"etcd": {"endpoints": ["https://etcd:2379", "[::1]:2379"], "stale": true}}),
        json!({"etcd": null, "consul": {"endpoints": ["consul:8500"], "credentialsSecret": {"name": "token"}}}),
        json!({"etcd": null, "zookeeper": {"dataDirectory": {"claimName": "data-zookeeper-0"}}, "cell": "zone1"}),
    ] {
        assert_eq!(server.refusal("VitessTopologyBackup", with(&base, good.clone())).await, None, "{good}");
    }
}

#[tokio::test]
async fn a_wrong_restore_on_pod_start_is_refused_with_what_to_do() {
    let server = Server::with_our_definitions().await;
    let base = json!({"storage": {"name": "backups"}, "shard": "commerce/-80", "trigger": "PodStart"});
    let cases = vec![
        (json!({"trigger": "Now"}), "set target to a tablet (its alias) or a persistentVolumeClaim"),
        (json!({"target": {"tablet": "zone1-1"}}), "by the label backup.vitess.io/restore: remove target"),
        (json!({"vtctld": {"address": "vtctld:15999"}}), "remove vtctld"),
        (json!({"bootstrap": {"keyspace": "customer"}}), "make it the keyspace of shard"),
        (json!({"bootstrap": {"shard": "80-"}}), "make it that of shard"),
        (json!({"cancel": true}), "belong to trigger Now"),
        (json!({"retries": 1}), "belong to trigger Now"),
        (json!({"bootstrap": {"tabletType": "primary"}}), "supported values: \"replica\", \"rdonly\""),
    ];
    assert_refused(&server, "VitessRestore", &base, cases).await;
    for good in [
        json!({"bootstrap": {"keyspace": "commerce", "shard": "-80", "tabletType": "rdonly"}}),
        json!({"backup": {"atOrBefore": "2021-04-29.133050"}, "waitForBackupInterval": "10s"}),
    ] {
        assert_eq!(server.refusal("VitessRestore", with(&base, good.clone())).await, None, "{good}");
    }
}

#[tokio::test]
async fn a_restore_on_pod_start_can_be_changed_but_for_its_trigger_and_shard() {
    let server = Server::with_our_definitions().await;
    let api = server.api("VitessRestore");
    let name = "changing";
    let spec = json!({"storage": {"name": "backups"}, "shard": "commerce/0", "trigger": "PodStart"});
    let apply = PatchParams::apply("api-server-test").force();
    api.patch(name, &apply, &Patch::Apply(object("VitessRestore", name, spec))).await.unwrap();
    let change = async |spec: Value| {
        let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await;
        patched.map_err(|error| error.to_string())
    };
    let time = json!({"backup": {"latest": null, "atOrBefore": "2021-04-29.133050"}, "waitForBackupInterval": "10s"});
    change(time).await.unwrap();
    for frozen in [json!({"shard": "commerce/-80"}), json!({"trigger": "Now", "target": {"tablet": "zone1-1"}})] {
        let error = change(frozen.clone()).await.unwrap_err();
        assert!(error.contains("cannot be changed"), "{frozen}: {error}");
    }
    api.delete(name, &kube::api::DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn a_spec_cannot_be_changed_but_for_cancel_and_metadata_can() {
    let server = Server::with_our_definitions().await;
    let backup = json!({"storage": {"name": "backups"}, "tablet": "zone1-101"});
    let restore = json!({"storage": {"name": "backups"}, "shard": "commerce/0", "target": {"tablet": "zone1-102"}});
    let topology = json!({"storage": {"name": "backups"}, "etcd": {"endpoints": ["etcd:2379"]}});
    for (kind, spec) in [("VitessBackup", backup), ("VitessRestore", restore), ("VitessTopologyBackup", topology)] {
        let api = server.api(kind);
        let apply = PatchParams::apply("api-server-test").force();
        let name = "immutable";
        api.patch(name, &apply, &Patch::Apply(object(kind, name, spec))).await.unwrap();
        let change = |patch: Value| {
            let api = api.clone();
            async move { api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await }
        };
        let error = change(json!({"spec": {"deadline": "7h"}})).await.unwrap_err().to_string();
        assert!(error.contains("cannot be changed: delete the object and create a new one"), "{kind}: {error}");
        let error = change(json!({"spec": {"podTemplate": {}}})).await.unwrap_err().to_string();
        assert!(error.contains("cannot be changed: delete the object and create a new one"), "{kind}: {error}");
        change(json!({"metadata": {"labels": {"a": "b"}}})).await.unwrap();
        let error = change(json!({"spec": {"podTemplate": {"labels": {"a": "b"}}}})).await.unwrap_err().to_string();
        assert!(error.contains("cannot be changed"), "{kind}: {error}");
        if kind == "VitessTopologyBackup" {
            api.delete(name, &kube::api::DeleteParams::default()).await.unwrap();
            continue;
        }
        // To stop the run is what may be asked for later, alone and for good.
        let error = change(json!({"spec": {"cancel": true, "deadline": "7h"}})).await.unwrap_err().to_string();
        assert!(error.contains("cannot be changed"), "{kind}: {error}");
        let cancelled = change(json!({"spec": {"cancel": true}})).await.unwrap();
        assert_eq!(cancelled.data["spec"]["cancel"], true, "{kind}");
        assert_eq!(cancelled.metadata.generation, Some(2), "{kind}: the operator sees it");
        for back in [json!(false), json!(null)] {
            let error = change(json!({"spec": {"cancel": back}})).await.unwrap_err().to_string();
            assert!(error.contains("cancel cannot be taken back: create a new object"), "{kind}: {error}");
        }
        api.delete(name, &kube::api::DeleteParams::default()).await.unwrap();
    }
}

#[tokio::test]
async fn of_a_record_the_deletion_policy_can_be_changed_and_what_it_is_of_cannot() {
    let server = Server::with_our_definitions().await;
    let api = server.api("VitessBackup");
    let apply = PatchParams::apply("api-server-test").force();
    let name = "2021-04-29.133050.zone1-0000000101";
    let spec = json!({"storage": {"name": "backups"}, "shard": "commerce/0", "backupName": name});
    api.patch("record", &apply, &Patch::Apply(object("VitessBackup", "record", spec))).await.unwrap();
    let change = |spec: Value| {
        let api = api.clone();
        async move { api.patch("record", &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await }
    };
    change(json!({"deletionPolicy": "Delete"})).await.unwrap();
    change(json!({"deletionPolicy": "Retain"})).await.unwrap();
    for wrong in [
        json!({"backupName": "2021-04-30.133050.zone1-0000000101"}),
        json!({"backupName": null}),
        json!({"shard": "commerce/-80"}),
        json!({"storage": {"name": "other"}}),
        json!({"shard": null, "tablet": "zone1-101"}),
    ] {
        let error = change(wrong.clone()).await.unwrap_err().to_string();
        assert!(error.contains("cannot be changed: delete the object and create a new one"), "{wrong}: {error}");
    }
    api.delete("record", &kube::api::DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn an_object_that_is_new_is_of_no_generation_yet_and_may_have_a_generated_name() {
    let server = Server::with_our_definitions().await;
    let backup = json!({"storage": {"name": "backups"}, "tablet": "zone1-101"});
    let restore = json!({"storage": {"name": "backups"}, "shard": "commerce/0", "target": {"tablet": "zone1-102"}});
    let storage = json!({"s3": {"bucket": "backups"}});
    for (kind, spec) in [("VitessBackup", backup), ("VitessRestore", restore), ("VitessBackupStorage", storage)] {
        let mut new = object(kind, "", spec);
        new.metadata.name = None;
        new.metadata.generate_name = Some("nightly-".to_owned());
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let made = server.api(kind).create(&dry_run, &new).await.unwrap();
        assert!(made.name_any().starts_with("nightly-") && made.name_any().len() > 8, "{kind}: {}", made.name_any());
        assert_eq!(made.data["status"], json!({"observedGeneration": -1}), "{kind}");
    }
}
