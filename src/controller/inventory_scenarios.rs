//! Inventories against the fake API server: what is written, and what is not.

use std::sync::Arc;

use kube::core::DeserializeGuard;
use serde_json::{Value, json};

use super::fake_server::FakeServer;
use super::{Context, reconcile};
use crate::api::VitessBackupStorage;
use crate::backup::inventory::{Digest, Found, Seal, ShardFound, Totals, bucket_of};
use crate::backup::report::{Line, Operation, Outcome};
use crate::plan::world::tablet_pod;
use crate::resources::settings::Settings;
use crate::telemetry::metrics::Metrics;

const STORAGE: &str = "/apis/backup.vitess.io/v1alpha1/namespaces/demo/vitessbackupstorages/main";
const BACKUPS: &str = "/apis/backup.vitess.io/v1alpha1/namespaces/demo/vitessbackups";
const UID: &str = "11112222-3333-4444-5555-666677778888";
const SHARD: &str = "commerce/0";

struct Shell {
    server: FakeServer,
    context: Arc<Context>,
    number: u32,
}

fn found(name: &str, bytes: u64) -> Found {
    let backup = json!({
        "name": name, "complete": true, "engine": "builtin", "backupTime": "2026-11-22T10:00:00Z", "sizeBytes": bytes,
        "objects": 3, "manifest": {"BackupMethod": "builtin"},
    });
    Found { shard: SHARD.into(), has_manifest: true, files: None, backup: serde_json::from_value(backup).unwrap() }
}

fn names(number: u64) -> Vec<String> {
    (0..number).map(|n| format!("2026-11-22.{n:06}.zone1-0000000101")).collect()
}

impl Shell {
    fn new() -> Self {
        let server = FakeServer::default();
        let metrics = Arc::new(Metrics::default());
        let context = Context::new(server.client(), Settings::new("operator:1"), metrics, None);
        server
            .put("/api/v1/namespaces/demo/persistentvolumeclaims/vitess-backups", json!({"metadata": {}, "spec": {}}));
        server.put("/api/v1/namespaces/demo/pods/tablet-101", serde_json::to_value(tablet_pod(101)).unwrap());
        server.put(
            STORAGE,
            json!({
                "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessBackupStorage",
                "metadata": {"generation": 1, "uid": UID},
                "spec": {
                    "file": {"persistentVolumeClaim": {"claimName": "vitess-backups"}}, "inventoryInterval": "10s",
                },
            }),
        );
        Self { server, context, number: 0 }
    }

    async fn reconcile(&self) {
        let stored: DeserializeGuard<VitessBackupStorage> =
            serde_json::from_value(self.server.get(STORAGE).unwrap()).unwrap();
        reconcile::storage(Arc::new(stored), self.context.clone()).await.unwrap();
    }

    fn status(&self) -> Value {
        self.server.get(STORAGE).unwrap()["status"].clone()
    }

    fn condition(&self, kind: &str) -> Value {
        let conditions = self.status()["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default()
    }

    /// Makes the next inventory due, and goes on until its Job is made; gives the Job's arguments.
    async fn launch(&mut self) -> Vec<String> {
        self.number += 1;
        self.server.change(STORAGE, |storage| {
            if let Some(time) = storage["status"]["inventory"].get_mut("launchTime") {
                *time = json!("2020-01-01T00:00:00Z");
            }
        });
        self.reconcile().await;
        self.reconcile().await;
        let job = self.server.get(&self.job()).unwrap();
        let args = job["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap().clone();
        args.iter().map(|arg| arg.as_str().unwrap().to_owned()).collect()
    }

    fn job(&self) -> String {
        format!("/apis/batch/v1/namespaces/demo/jobs/main-11112222-inventory-{}", self.number)
    }

    /// The engine's pod ends, having told what differs between storage and what is known.
    fn end(&self, there: &[Found], known: &Digest, cut_after: usize) {
        let digest = digest(there);
        let changed = digest.changed(known);
        let mut lines = Vec::new();
        for bucket in &changed {
            let of_bucket = there.iter().filter(|one| one.trace().bucket() == *bucket);
            lines.extend(of_bucket.map(|one| Line::Found(Box::new(one.clone()))));
            lines.push(Line::Bucket(Seal { bucket: *bucket, digest: digest.of_bucket(*bucket) }));
        }
        let shard = ShardFound { shard: SHARD.into(), backups: there.len() as u64, ..ShardFound::default() };
        let shards: u64 = u64::from(!changed.is_empty());
        lines.extend((shards > 0).then(|| Line::Shard(Box::new(shard))));
        let log: Vec<String> =
            lines.iter().take(cut_after).map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
        let outcome = Outcome {
            inventory: Some(Totals {
                backups: there.len() as u64,
                shards: 1,
                buckets_told: changed.len() as u64,
                shards_told: shards,
                ..Totals::default()
            }),
            ..Outcome::begun(Operation::Inventory, "2026-11-22T10:00:00Z".parse().unwrap())
        };
        let message = serde_json::to_string(&outcome).unwrap();
        let pod = format!("inventory-{}-x", self.number);
        self.server.set_log(&pod, &log.concat());
        let name = self.job().rsplit('/').next().unwrap().to_owned();
        let labels = json!({"backup.vitess.io/run-uid": UID, "batch.kubernetes.io/job-name": name});
        let status = json!({"phase": "Succeeded", "containerStatuses": [{
            "name": "engine", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 0, "reason": "Completed", "message": message}},
        }]});
        self.server.put(
            &format!("/api/v1/namespaces/demo/pods/{pod}"),
            json!({"metadata": {"labels": labels}, "spec": {"containers": []}, "status": status}),
        );
    }

    async fn inventory(&mut self, there: &[Found], known: &Digest) {
        self.launch().await;
        self.end(there, known, usize::MAX);
        self.reconcile().await;
    }

    /// The records by backup name, as stored.
    fn records(&self) -> Vec<Value> {
        self.server.below(BACKUPS).into_iter().filter(|one| one["metadata"]["labels"].is_object()).collect()
    }
}

fn digest(there: &[Found]) -> Digest {
    Digest::of(there.iter().map(Found::trace))
}

#[tokio::test]
async fn what_is_in_storage_appears_as_records_and_a_second_inventory_writes_none_of_them() {
    let mut shell = Shell::new();
    let there: Vec<Found> = names(40).iter().map(|name| found(name, 7)).collect();
    shell.inventory(&there, &Digest::default()).await;
    assert_eq!(shell.condition("Reachable")["status"], "True");
    assert_eq!((&shell.status()["backups"], &shell.status()["shards"][0]["backups"]), (&json!(40), &json!(40)));
    let records = shell.records();
    assert_eq!(records.len(), 40);
    assert!(records.iter().all(|record| record["status"]["phase"] == "Succeeded"), "{:#}", records[0]);
    assert_eq!(records[0]["spec"]["deletionPolicy"], "Retain");
    assert_eq!(records[0]["metadata"]["ownerReferences"][0]["uid"], UID);

    shell.reconcile().await;
    assert_eq!(shell.server.get(&shell.job()), None, "its Job is gone");
    let args = shell.launch().await;
    assert!(args.contains(&format!("--known={}", digest(&there))), "{args:?}");
    shell.server.requests();
    shell.end(&there, &digest(&there), usize::MAX);
    shell.reconcile().await;
    assert_eq!(shell.server.writes(), [format!("PATCH {STORAGE}/status")]);
    assert_eq!(shell.records(), records, "no object is rewritten");
    assert_eq!(shell.status()["shards"][0]["backups"], 40);
}

#[tokio::test]
async fn what_is_gone_from_storage_goes_from_the_cluster_and_what_is_new_comes() {
    let mut shell = Shell::new();
    let names = names(3);
    let before = [found(&names[0], 7), found(&names[1], 7)];
    shell.inventory(&before, &Digest::default()).await;
    let after = [found(&names[1], 8), found(&names[2], 7)];
    shell.inventory(&after, &digest(&before)).await;
    let told = |record: &Value| (record["spec"]["backupName"].clone(), record["status"]["sizeBytes"].clone());
    let records: Vec<_> = shell.records().iter().map(told).collect();
    assert_eq!(records, [(json!(names[1]), json!(8)), (json!(names[2]), json!(7))]);
}

#[tokio::test]
async fn an_inventory_that_was_cut_short_removes_nothing() {
    let mut shell = Shell::new();
    let names = names(6);
    let before: Vec<Found> = names.iter().map(|name| found(name, 7)).collect();
    shell.inventory(&before, &Digest::default()).await;
    shell.launch().await;
    shell.end(&[], &digest(&before), 1);
    shell.reconcile().await;
    assert_eq!(shell.records().len(), 6);
    let reachable = shell.condition("Reachable");
    assert_eq!((&reachable["status"], &reachable["reason"]), (&json!("Unknown"), &json!("InventoryCutShort")));
    shell.server.change(STORAGE, |storage| storage["status"]["inventory"]["endTime"] = json!("2020-01-01T00:00:00Z"));
    shell.inventory(&[], &digest(&before)).await;
    assert_eq!(shell.records().len(), 0, "the next one, which arrived whole, does");
}

#[tokio::test]
async fn an_operator_that_was_stopped_in_the_middle_takes_in_the_rest_and_writes_nothing_twice() {
    let mut shell = Shell::new();
    let there: Vec<Found> = names(12).iter().map(|name| found(name, 7)).collect();
    shell.launch().await;
    shell.end(&there, &Digest::default(), usize::MAX);
    // It had made some records, one of them without its status.
    shell.server.fail(&format!("PATCH {STORAGE}/status"), 500, "InternalError", "etcd is away");
    let stored: DeserializeGuard<VitessBackupStorage> =
        serde_json::from_value(shell.server.get(STORAGE).unwrap()).unwrap();
    reconcile::storage(Arc::new(stored), shell.context.clone()).await.unwrap_err();
    let bare = format!("{BACKUPS}/{}", shell.records()[0]["metadata"]["name"].as_str().unwrap());
    shell.server.change(&bare, |record| drop(record.as_object_mut().unwrap().remove("status")));
    shell.server.recover();
    shell.server.requests();
    shell.reconcile().await;
    assert_eq!(shell.server.writes(), [format!("PATCH {bare}/status"), format!("PATCH {STORAGE}/status")]);
    assert_eq!(shell.records().len(), 12);
}

#[tokio::test]
async fn a_run_of_a_person_keeps_its_object_and_is_told_that_its_backup_is_gone() {
    let mut shell = Shell::new();
    let name = &names(1)[0];
    let time = "2026-11-22T10:00:00Z";
    shell.server.put(
        &format!("{BACKUPS}/nightly"),
        json!({
            "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessBackup", "metadata": {"uid": "run-uid"},
            "spec": {"storage": {"name": "main"}, "shard": SHARD},
            "status": {
                "phase": "Succeeded", "shard": SHARD, "backupName": name, "sizeBytes": 7, "finishedTime": time,
                "conditions": [{
                    "type": "Complete", "status": "True", "reason": "Succeeded", "message": "",
                    "lastTransitionTime": time,
                }],
            },
        }),
    );
    shell.inventory(&[found(name, 7)], &Digest::default()).await;
    assert_eq!(shell.server.below(BACKUPS).len(), 1, "no record beside it");
    shell.inventory(&[], &digest(&[found(name, 7)])).await;
    let run = shell.server.get(&format!("{BACKUPS}/nightly")).unwrap();
    assert_eq!(run["status"]["conditions"][1]["reason"], "GoneFromStorage", "{run:#}");
    assert_eq!(run["status"]["phase"], "Succeeded");
}

#[tokio::test]
async fn records_that_the_api_server_refuses_are_said_and_do_not_stop_the_others() {
    let mut shell = Shell::new();
    shell.server.fail(&format!("POST {BACKUPS}"), 403, "Forbidden", "exceeded quota: records");
    shell.inventory(&[found(&names(1)[0], 7)], &Digest::default()).await;
    assert_eq!(shell.condition("Reachable")["status"], "True");
    let events = shell.server.below("/apis/events.k8s.io/v1/namespaces/demo/events");
    assert!(events.iter().any(|event| event["reason"] == "RecordRefused"), "{events:?}");
}

#[tokio::test]
async fn a_record_whose_policy_was_changed_is_looked_at_and_takes_its_data_along() {
    let mut shell = Shell::new();
    let name = &names(1)[0];
    shell.inventory(&[found(name, 7)], &Digest::default()).await;
    let path = format!("{BACKUPS}/{}", shell.records()[0]["metadata"]["name"].as_str().unwrap());
    shell.server.change(&path, |record| record["spec"]["deletionPolicy"] = json!("Delete"));
    let look = || async {
        let record = serde_json::from_value(shell.server.get(&path).unwrap()).unwrap();
        reconcile::record(Arc::new(record), shell.context.clone()).await.unwrap();
    };
    look().await;
    let finalizers = shell.server.get(&path).unwrap()["metadata"]["finalizers"].clone();
    assert_eq!(finalizers, json!(["backup.vitess.io/remove-backup"]));
    shell.server.change(&path, |record| record["metadata"]["deletionTimestamp"] = json!("2026-11-22T10:00:00Z"));
    let namespace = json!({"metadata": {}});
    shell.server.put("/api/v1/namespaces/demo", namespace);
    look().await;
    look().await;
    let jobs = shell.server.below("/apis/batch/v1/namespaces/demo/jobs");
    let removal = jobs.iter().find(|job| job["metadata"]["labels"]["backup.vitess.io/purpose"] == "remove");
    let args = removal.unwrap()["spec"]["template"]["spec"]["containers"][0]["args"].clone();
    assert_eq!(args.as_array().unwrap().last(), Some(&json!(name)), "{args}");
    assert_ne!(bucket_of(SHARD, name), bucket_of(SHARD, "another"), "names of this test are dealt apart");
}

#[tokio::test]
async fn a_run_that_ends_wakes_its_storage() {
    use futures::StreamExt;

    let shell = Shell::new();
    let news = shell.context.touched.news();
    let now = "2026-11-22T10:00:00Z".parse().unwrap();
    shell.context.touched.touch("demo", "main", now);
    assert_eq!(Box::pin(news).next().await, Some(("demo".to_owned(), "main".to_owned())));
    assert_eq!(shell.context.touched.last("demo", "main"), Some(now));
    assert_eq!(shell.context.touched.last("demo", "other"), None);
}
