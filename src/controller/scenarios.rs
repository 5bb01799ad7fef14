//! The shell against a fake API server, which also checks every request against the operator's role.

use std::sync::Arc;

use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::fake_server::FakeServer;
use super::precedence::Look;
use super::shelf::Shelf;
use super::watched::Feed;
use super::{Context, Error, reconcile};
use crate::api::{VitessBackup, VitessBackupStorage, VitessRestore, VitessTopologyBackup};
use crate::plan::world::{UID, succeeded, tablet_pod};
use crate::resources::settings::Settings;
use crate::telemetry::metrics::Metrics;

const BACKUP: &str = "/apis/backup.vitess.io/v1alpha1/namespaces/demo/vitessbackups/nightly";
const STORAGE: &str = "/apis/backup.vitess.io/v1alpha1/namespaces/demo/vitessbackupstorages/backups";
const JOBS: &str = "/apis/batch/v1/namespaces/demo/jobs";
const JOB: &str = "/apis/batch/v1/namespaces/demo/jobs/nightly-11112222-backup-1";
const POD: &str = "/api/v1/namespaces/demo/pods/nightly-11112222-backup-1-x";
const TABLET_LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/demo/leases/vitess-backup-tablet-zone1-0000000101";

struct Shell {
    server: FakeServer,
    context: Arc<Context>,
}

/// One that has just started.
fn operator(server: &FakeServer) -> Arc<Context> {
    let metrics = Arc::new(Metrics::default());
    Context::new(server.client(), Settings::new("operator:1"), metrics, Some("operator-0".into()))
}

impl Shell {
    /// A namespace with a storage, its claim, a tablet, and a VitessBackup of it.
    fn with_a_backup() -> Self {
        let server = FakeServer::default();
        let context = operator(&server);
        let claim = json!({"metadata": {}, "spec": {"accessModes": ["ReadWriteOnce"]}});
        server.put("/api/v1/namespaces/demo/persistentvolumeclaims/vitess-backups", claim.clone());
        server.put("/api/v1/namespaces/demo/persistentvolumeclaims/data-101", claim);
        server.put("/api/v1/namespaces/demo/pods/tablet-101", serde_json::to_value(tablet_pod(101)).unwrap());
        server.put(
            STORAGE,
            json!({
                "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessBackupStorage", "metadata": {"generation": 1},
                "spec": {"file": {"persistentVolumeClaim": {"claimName": "vitess-backups"}}},
            }),
        );
        server.put(
            BACKUP,
            json!({
                "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessBackup",
                "metadata": {"uid": UID, "generation": 1},
                "spec": {"storage": {"name": "backups"}, "tablet": "zone1-0000000101", "deletionPolicy": "Retain"},
            }),
        );
        Self { server, context }
    }

    fn stored(&self) -> Arc<DeserializeGuard<VitessBackup>> {
        Arc::new(serde_json::from_value(self.server.get(BACKUP).unwrap()).unwrap())
    }

    async fn reconcile(&self) -> Result<(), Error> {
        reconcile::run::<VitessBackup>(self.stored(), self.context.clone()).await.map(|_| ())
    }

    /// A backup that was taken, and asks to be verified.
    fn with_a_backup_to_verify() -> Self {
        let shell = Self::with_a_backup();
        let mut object = shell.server.get(BACKUP).unwrap();
        object["spec"]["verify"] = json!("Objects");
        object["status"] = json!({
            "phase": "Succeeded", "backupName": "2026-11-22.100000.zone1-0000000101", "shard": "commerce/0",
            "tabletAlias": "zone1-0000000101",
        });
        shell.server.put(BACKUP, object);
        shell
    }

    /// Reconciles until nothing is written any more.
    async fn settle(&self) {
        for _ in 0..10 {
            self.server.requests();
            self.reconcile().await.unwrap();
            if self.server.writes().is_empty() {
                return;
            }
        }
        panic!("does not settle");
    }

    fn status(&self) -> Value {
        self.server.get(BACKUP).unwrap()["status"].clone()
    }

    fn condition(&self, kind: &str) -> Value {
        let conditions = self.status()["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default()
    }

    /// The engine's pod, in this state.
    fn engine(&self, phase: &str, state: &Value) {
        let status = json!({
            "phase": phase,
            "containerStatuses": [{
                "name": "engine", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state,
            }],
        });
        let labels =
            json!({"backup.vitess.io/run-uid": UID, "batch.kubernetes.io/job-name": "nightly-11112222-backup-1"});
        self.server.put(POD, json!({"metadata": {"labels": labels}, "spec": {"containers": []}, "status": status}));
    }
}

/// The watches of the shell's namespace.
struct Watches {
    feed: Feed,
}

impl Watches {
    fn begin(shell: &Shell) -> Self {
        let watches = Self { feed: shell.context.watched.watch(&shell.context.client, None, &shell.context.settings) };
        watches.catch_up(shell);
        watches
    }

    /// Has them see what there is now.
    fn catch_up(&self, shell: &Shell) {
        fn list<O: kube::Resource + serde::Serialize + DeserializeOwned>(shelf: &Shelf<O>, found: Vec<Value>) {
            shelf.take(Event::Init);
            for object in found {
                shelf.take(Event::InitApply(serde_json::from_value(object).unwrap()));
            }
            shelf.take(Event::InitDone);
        }
        let (kept, server) = (self.feed.kept(), &shell.server);
        let labelled = |object: &Value, label: &str| object["metadata"]["labels"].get(label).is_some();
        let pods = |label: &str| -> Vec<Value> {
            let all = server.below("/api/v1/namespaces/demo/pods").into_iter();
            all.filter(|pod| labelled(pod, label)).collect()
        };
        list(&kept.jobs, server.below(JOBS));
        list(&kept.engines, pods("backup.vitess.io/run-uid"));
        list(&kept.tablets, pods("planetscale.com/component"));
        list(&kept.locks, server.below("/apis/coordination.k8s.io/v1/namespaces/demo/leases"));
        list(&kept.claims, server.below("/api/v1/namespaces/demo/persistentvolumeclaims"));
    }
}

#[tokio::test]
async fn a_run_asks_for_nothing_that_a_watch_has_but_its_storage_and_its_log() {
    let shell = Shell::with_a_backup();
    let watches = Watches::begin(&shell);
    let mut asked = Vec::new();
    let mut look = async || {
        shell.server.requests();
        shell.reconcile().await.unwrap();
        asked.extend(shell.server.requests());
        watches.catch_up(&shell);
    };
    for _ in 0..3 {
        look().await;
    }
    shell.engine("Running", &json!({"running": {}}));
    watches.catch_up(&shell);
    look().await;
    let whole = serde_json::to_string(&succeeded(crate::backup::report::Operation::Backup)).unwrap();
    shell.engine("Succeeded", &json!({"terminated": {"exitCode": 0, "reason": "Completed", "message": whole}}));
    watches.catch_up(&shell);
    for _ in 0..3 {
        look().await;
    }
    assert_eq!(shell.status()["phase"], "Succeeded");
    assert_eq!(shell.server.get(TABLET_LEASE), None, "the lock is given back");
    assert_eq!(shell.server.get(JOB).unwrap()["spec"]["ttlSecondsAfterFinished"], 60);
    let reads: Vec<&String> = asked.iter().filter(|line| line.starts_with("GET ")).collect();
    let may = |line: &str| ["/log", STORAGE].iter().any(|end| line.ends_with(end));
    assert!(reads.iter().all(|line| may(line)), "{reads:#?}");
    assert!(asked.len() <= 23, "{} requests for one run: {asked:#?}", asked.len());
}

#[tokio::test]
async fn a_run_that_has_just_been_launched_steps_aside_while_others_wait_for_their_engines() {
    let shell = Shell::with_a_backup();
    let watches = Watches::begin(&shell);
    for _ in 0..2 {
        shell.reconcile().await.unwrap();
        watches.catch_up(&shell);
    }
    assert_ne!(shell.server.get(JOB), None);
    shell.server.requests();
    let others: Vec<_> = (0..4).map(|_| shell.context.precedence.turn(Look::Launching, 0)).collect();
    let another_young = shell.context.precedence.turn(Look::Young, 0);
    shell.reconcile().await.unwrap();
    assert_eq!(shell.server.requests(), Vec::<String>::new());
    drop((others, another_young));
    shell.reconcile().await.unwrap();
    assert_eq!(shell.status()["job"]["uid"], shell.server.get(JOB).unwrap()["metadata"]["uid"], "it is looked at now");
}

#[tokio::test]
async fn whether_a_plan_still_holds_is_asked_before_a_job_is_made_from_what_another_operator_wrote() {
    let mut shell = Shell::with_a_backup();
    shell.reconcile().await.unwrap();
    assert_eq!(shell.server.get(JOB), None, "it is written down first");
    let planned = shell.stored();
    shell.context = operator(&shell.server);
    shell.server.requests();
    reconcile::run::<VitessBackup>(planned.clone(), shell.context.clone()).await.unwrap();
    let asked = shell.server.requests();
    assert_eq!(asked.iter().filter(|line| line.starts_with("GET ") && line.ends_with(BACKUP)).count(), 1, "{asked:#?}");
    assert_ne!(shell.server.get(JOB), None);
}

#[tokio::test]
async fn a_job_that_a_watch_has_not_seen_is_asked_for_before_it_counts_as_lost() {
    let shell = Shell::with_a_backup();
    shell.settle().await;
    assert_eq!(shell.status()["phase"], "Running");
    let watches = Watches::begin(&shell);
    watches.feed.kept().jobs.take(Event::Delete(serde_json::from_value(shell.server.get(JOB).unwrap()).unwrap()));
    shell.settle().await;
    assert_eq!((&shell.status()["phase"], shell.status().get("failure")), (&json!("Running"), None));
    shell.server.remove(JOB);
    shell.settle().await;
    assert_eq!(shell.status()["failure"]["reason"], "EngineLost", "{:#}", shell.status());
}

#[tokio::test]
async fn what_a_watch_has_not_seen_yet_is_asked_for_before_somebody_is_warned_that_it_is_missing() {
    let shell = Shell::with_a_backup();
    let tablet = shell.server.get("/api/v1/namespaces/demo/pods/tablet-101").unwrap();
    let watches = Watches::begin(&shell);
    watches.feed.kept().tablets.take(Event::Delete(serde_json::from_value(tablet).unwrap()));
    shell.reconcile().await.unwrap();
    assert_eq!(shell.condition("Accepted")["status"], "True");
}

/// Beside its Job nothing is made, and no lock is taken.
#[tokio::test]
async fn a_backup_that_is_there_is_verified_by_a_job_whose_outcome_is_read_and_stays() {
    const VERIFY: &str = "/apis/batch/v1/namespaces/demo/jobs/nightly-11112222-verify-1";
    let shell = Shell::with_a_backup_to_verify();
    shell.reconcile().await.unwrap();
    assert_eq!(shell.server.writes(), [format!("PATCH {BACKUP}/status")]);
    shell.reconcile().await.unwrap();
    assert_eq!(shell.server.writes(), [format!("POST {JOBS}")]);
    assert_eq!(shell.server.get(VERIFY).unwrap()["metadata"]["ownerReferences"][0]["uid"], UID);

    let outcome = serde_json::to_string(&succeeded(crate::backup::report::Operation::Verify)).unwrap();
    let labels = json!({"backup.vitess.io/run-uid": UID, "batch.kubernetes.io/job-name": "nightly-11112222-verify-1"});
    let state = json!({"terminated": {"exitCode": 0, "message": outcome}});
    let status = json!({"phase": "Succeeded", "containerStatuses": [{
        "name": "engine", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state,
    }]});
    let pod = "/api/v1/namespaces/demo/pods/nightly-11112222-verify-1-x";
    shell.server.put(pod, json!({"metadata": {"labels": labels}, "spec": {"containers": []}, "status": status}));
    shell.settle().await;
    assert_eq!(shell.condition("Verified")["status"], "True", "{:#}", shell.status());
    assert_eq!(shell.status()["verification"]["files"], 120);
    assert_eq!(shell.status()["phase"], "Succeeded");
    assert_eq!(shell.server.get(VERIFY).unwrap()["spec"]["ttlSecondsAfterFinished"], 60);
}

#[tokio::test]
async fn a_topology_backup_is_launched_with_the_rights_that_the_role_has() {
    const TOPOLOGY: &str = "/apis/backup.vitess.io/v1alpha1/namespaces/demo/vitesstopologybackups/topology";
    let shell = Shell::with_a_backup();
    shell.server.put(
        TOPOLOGY,
        json!({
            "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessTopologyBackup",
            "metadata": {"uid": UID, "generation": 1},
            "spec": {"storage": {"name": "backups"}, "etcd": {"endpoints": ["etcd:2379"]}, "deletionPolicy": "Delete"},
        }),
    );
    for _ in 0..4 {
        let stored: DeserializeGuard<VitessTopologyBackup> =
            serde_json::from_value(shell.server.get(TOPOLOGY).unwrap()).unwrap();
        reconcile::run::<VitessTopologyBackup>(Arc::new(stored), shell.context.clone()).await.unwrap();
    }
    let job = shell.server.get(&format!("{JOBS}/topology-11112222-backup-1")).unwrap();
    assert_eq!(job["metadata"]["ownerReferences"][0]["kind"], "VitessTopologyBackup");
    assert_eq!(job["spec"]["template"]["spec"]["containers"][0]["args"][0], "topology");
    let object = shell.server.get(TOPOLOGY).unwrap();
    assert_eq!(object["status"]["phase"], "Running");
    let finalizers = json!(["backup.vitess.io/run", "backup.vitess.io/remove-backup"]);
    assert_eq!(object["metadata"]["finalizers"], finalizers);
}

#[tokio::test]
async fn a_backup_is_locked_then_written_down_then_launched() {
    let shell = Shell::with_a_backup();
    shell.reconcile().await.unwrap();
    assert_eq!(
        shell.server.writes(),
        [
            format!("PATCH {BACKUP}"),
            "POST /apis/coordination.k8s.io/v1/namespaces/demo/leases".to_owned(),
            "POST /apis/coordination.k8s.io/v1/namespaces/demo/leases".to_owned(),
            format!("PATCH {BACKUP}/status"),
        ]
    );
    assert_eq!(shell.server.get(BACKUP).unwrap()["metadata"]["finalizers"], json!(["backup.vitess.io/run"]));
    let lease = shell.server.get(TABLET_LEASE).unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], format!("VitessBackup/nightly/{UID}"));
    assert_eq!(shell.status()["job"]["name"], "nightly-11112222-backup-1");

    shell.reconcile().await.unwrap();
    assert_eq!(shell.server.writes(), [format!("POST {JOBS}")]);
    assert_eq!(shell.server.get(JOB).unwrap()["metadata"]["ownerReferences"][0]["uid"], UID);

    shell.reconcile().await.unwrap();
    assert_eq!(shell.status()["phase"], "Running");
    shell.server.requests();
    shell.reconcile().await.unwrap();
    assert_eq!(shell.server.writes(), Vec::<String>::new(), "nothing changed, nothing is written");
}

#[tokio::test]
async fn a_tar_stream_is_refused_by_what_another_backup_of_the_shard_tells_and_no_job_is_made() {
    let shell = Shell::with_a_backup();
    shell.server.change(BACKUP, |backup| {
        backup["spec"]["engine"] = json!("xtrabackup");
        backup["spec"]["xtrabackup"] = json!({"user": "vt_backup", "streamMode": "tar"});
    });
    let backups = BACKUP.strip_suffix("nightly").unwrap();
    shell.server.put(
        &format!("{backups}yesterday"),
        json!({
            "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessBackup", "metadata": {"uid": "another"},
            "spec": {"storage": {"name": "backups"}, "shard": "commerce/0"},
            "status": {
                "phase": "Succeeded", "shard": "commerce/0", "finishedTime": "2026-11-21T10:00:00Z",
                "manifest": {"MySQLVersion": "Ver 8.4.5 MySQL Community Server - GPL"},
            },
        }),
    );
    let unreadable =
        json!({"apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessBackup", "metadata": {}, "spec": 1});
    shell.server.put(&format!("{backups}broken"), unreadable);
    shell.settle().await;
    let accepted = shell.condition("Accepted");
    assert_eq!((&accepted["status"], &accepted["reason"]), (&json!("False"), &json!("TarNotSupported")));
    assert!(accepted["message"].as_str().unwrap().contains("VitessBackup yesterday"), "{accepted}");
    assert_eq!(shell.server.get(JOB), None);
}

#[tokio::test]
async fn each_writer_has_a_field_manager_of_its_own() {
    let shell = Shell::with_a_backup();
    shell.settle().await;
    let whole = serde_json::to_string(&succeeded(crate::backup::report::Operation::Backup)).unwrap();
    shell.engine("Succeeded", &json!({"terminated": {"exitCode": 0, "reason": "Completed", "message": whole}}));
    shell.settle().await;
    let leases = "POST /apis/coordination.k8s.io/v1/namespaces/demo/leases".to_owned();
    let expected = [
        (leases, "vitess-backup-operator-locks"),
        (format!("PATCH {BACKUP}"), "vitess-backup-operator-finalizers"),
        (format!("PATCH {BACKUP}/status"), "vitess-backup-operator"),
        (format!("PATCH {JOB}"), "vitess-backup-operator-jobs"),
        (format!("POST {JOBS}"), "vitess-backup-operator-jobs"),
    ];
    let expected = expected.map(|(line, manager)| (line, manager.to_owned()));
    assert_eq!(shell.server.managers(), expected.into());
}

#[tokio::test]
async fn a_plan_from_an_old_object_overwrites_nothing() {
    let shell = Shell::with_a_backup();
    let old = shell.stored();
    shell.settle().await;
    let before = shell.status();
    let error = reconcile::run::<VitessBackup>(old.clone(), operator(&shell.server)).await.unwrap_err();
    assert!(error.is_outdated(), "{error}");
    assert_eq!(shell.status(), before);
    shell.server.requests();
    reconcile::run::<VitessBackup>(old, shell.context.clone()).await.unwrap();
    assert_eq!(shell.server.requests(), Vec::<String>::new(), "who wrote what is newer need not ask");
}

#[tokio::test]
async fn progress_comes_from_the_log_and_the_outcome_too_when_the_termination_message_is_short() {
    let shell = Shell::with_a_backup();
    shell.settle().await;
    shell.engine("Running", &json!({"running": {}}));
    let time = "2026-11-22T10:00:01Z";
    let progress = json!({
        "event": "progress", "time": time, "step": "CopyingFiles", "bytesDone": 30, "bytesTotal": 40, "storedBytes": 7,
        "filesDone": 1, "filesTotal": 2, "bytesPerSecond": 5, "etaSeconds": 2,
    });
    shell.server.set_log("nightly-11112222-backup-1-x", &format!("mysqld says hello\n{progress}\n"));
    shell.settle().await;
    assert_eq!(shell.status()["progress"]["summary"], "75%");
    assert_eq!(shell.status()["progress"]["etaSeconds"], 2);
    assert_eq!(shell.condition("EngineRunning")["status"], "True");

    let whole = succeeded(crate::backup::report::Operation::Backup);
    let mut short = whole.clone();
    short.manifest = None;
    let mut line = serde_json::to_value(&whole).unwrap();
    line["event"] = json!("outcome");
    shell.server.set_log("nightly-11112222-backup-1-x", &format!("{progress}\n{line}\n"));
    let message = serde_json::to_string(&short).unwrap();
    shell.engine("Succeeded", &json!({"terminated": {"exitCode": 0, "reason": "Completed", "message": message}}));
    shell.settle().await;
    assert_eq!(shell.status()["phase"], "Succeeded");
    assert_eq!(shell.status()["manifest"], json!({"BackupMethod": "builtin"}));
    assert_eq!(shell.server.get(JOB).unwrap()["spec"]["ttlSecondsAfterFinished"], 60);
    assert_eq!(shell.server.get(TABLET_LEASE), None, "the lock is given back");
    assert_eq!(shell.server.get(BACKUP).unwrap()["metadata"]["finalizers"], json!([]));

    shell.server.requests();
    shell.reconcile().await.unwrap();
    assert_eq!(shell.server.requests(), Vec::<String>::new(), "an ended run costs nothing");
    assert!(
        shell
            .context
            .metrics
            .text()
            .unwrap()
            .contains(r#"runs_total{kind="VitessBackup",phase="Succeeded",reason="None"} 1"#)
    );
}

#[tokio::test]
async fn a_job_that_was_made_before_a_crash_is_taken_on() {
    let shell = Shell::with_a_backup();
    shell.reconcile().await.unwrap();
    let before = shell.server.get(BACKUP).unwrap();
    shell.reconcile().await.unwrap();
    // The operator dies after making the Job, before it could write anything more.
    shell.server.put(BACKUP, before);
    shell.settle().await;
    assert_eq!(shell.status()["job"]["uid"], "uid of nightly-11112222-backup-1");
    assert_eq!(shell.status()["phase"], "Running");
}

#[tokio::test]
async fn a_job_that_the_api_server_refuses_is_a_condition_and_is_tried_again() {
    let shell = Shell::with_a_backup();
    shell.server.fail(&format!("POST {JOBS}"), 403, "Forbidden", "exceeded quota: compute");
    for _ in 0..4 {
        shell.reconcile().await.unwrap();
    }
    let condition = shell.condition("EngineRunning");
    assert_eq!(condition["reason"], "JobRefused");
    assert_eq!(condition["message"], "the API server refuses the engine's Job: exceeded quota: compute");
    assert_eq!(shell.status()["phase"], "Pending");
}

#[tokio::test]
async fn a_lock_is_taken_over_only_from_a_run_that_is_gone_with_its_pods() {
    let shell = Shell::with_a_backup();
    let labels = json!({"backup.vitess.io/lock": "true"});
    let held = json!({"metadata": {"labels": labels}, "spec": {"holderIdentity": "VitessRestore/other/other-uid"}});
    shell.server.put(TABLET_LEASE, held);
    let pod = "/api/v1/namespaces/demo/pods/other-engine";
    let labels = json!({"backup.vitess.io/run-uid": "other-uid"});
    shell.server.put(pod, json!({"metadata": {"labels": labels}, "status": {"phase": "Running"}}));
    shell.settle().await;
    assert_eq!(shell.condition("EngineRunning")["reason"], "Busy");
    assert_eq!(shell.server.get(TABLET_LEASE).unwrap()["spec"]["holderIdentity"], "VitessRestore/other/other-uid");

    shell.server.remove(pod);
    shell.settle().await;
    let holder = shell.server.get(TABLET_LEASE).unwrap()["spec"]["holderIdentity"].clone();
    assert_eq!(holder, format!("VitessBackup/nightly/{UID}"));
}

#[tokio::test]
async fn a_run_that_is_cancelled_stops_its_engine_and_puts_the_tablet_back_when_the_pod_is_gone() {
    let shell = Shell::with_a_backup();
    shell.settle().await;
    shell.engine("Running", &json!({"running": {}}));
    shell.settle().await;
    shell.server.change(BACKUP, |backup| {
        backup["spec"]["cancel"] = json!(true);
        backup["metadata"]["generation"] = json!(2);
    });
    shell.settle().await;
    assert_eq!(shell.server.get(JOB), None, "the engine is told to stop");
    assert_eq!(shell.condition("TabletRecovered")["reason"], "EngineStopping");
    assert_eq!(shell.status()["observedGeneration"], 2);
    let recover = "/apis/batch/v1/namespaces/demo/jobs/nightly-11112222-recover-1";
    assert_eq!(shell.server.get(recover), None);
    shell.server.remove(POD);
    shell.settle().await;
    assert_eq!(shell.server.get(recover).unwrap()["spec"]["ttlSecondsAfterFinished"], 60);
    assert_eq!(shell.status()["phase"], "Running", "not over before the tablet is back");
}

#[tokio::test]
async fn a_silent_node_shows_and_does_not_end_the_run() {
    let shell = Shell::with_a_backup();
    shell.settle().await;
    shell.engine("Running", &json!({"running": {}}));
    shell.settle().await;
    shell.server.change(POD, |pod| {
        pod["spec"]["nodeName"] = json!("node1");
        pod["status"]["conditions"] = json!([{"type": "Ready", "status": "False"}]);
    });
    shell.settle().await;
    let condition = shell.condition("EngineRunning");
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("Unknown"), &json!("NodeUnreachable")));
    assert!(condition["message"].as_str().unwrap().starts_with("node node1 of the engine's pod"), "{condition}");
    assert_eq!(shell.status()["phase"], "Running");
    // A container that is only just starting is not ready either, and its node is well.
    shell.server.change(POD, |pod| pod["status"]["containerStatuses"][0]["ready"] = json!(false));
    shell.settle().await;
    assert_eq!(shell.condition("EngineRunning")["status"], "True");
}

#[tokio::test]
async fn who_came_first_goes_first_when_a_tablet_is_free_again() {
    let shell = Shell::with_a_backup();
    let labels = json!({"backup.vitess.io/lock": "true"});
    let held = json!({"metadata": {"labels": labels}, "spec": {"holderIdentity": "VitessRestore/other/other-uid"}});
    shell.server.put(TABLET_LEASE, held);
    let pod = "/api/v1/namespaces/demo/pods/other-engine";
    let labels = json!({"backup.vitess.io/run-uid": "other-uid"});
    shell.server.put(pod, json!({"metadata": {"labels": labels}, "status": {"phase": "Running"}}));
    let second = BACKUP.replace("nightly", "second");
    let mut object = shell.server.get(BACKUP).unwrap();
    object["metadata"] = json!({"uid": "another-uid", "generation": 1});
    shell.server.put(&second, object);
    let look_at_second = || async {
        let stored: DeserializeGuard<VitessBackup> =
            serde_json::from_value(shell.server.get(&second).unwrap()).unwrap();
        reconcile::run::<VitessBackup>(Arc::new(stored), shell.context.clone()).await.unwrap();
        shell.server.get(&second).unwrap()["status"]["queue"]["position"].clone()
    };
    shell.reconcile().await.unwrap();
    assert_eq!(shell.status()["queue"]["position"], 1);
    assert_eq!(look_at_second().await, 2);

    shell.server.remove(pod);
    assert_eq!(look_at_second().await, 2, "it is free, and not for this one");
    shell.settle().await;
    assert_eq!(shell.status()["phase"], "Running");
    assert_eq!(shell.status().get("queue"), None);
    assert_eq!(look_at_second().await, 1);
}

#[tokio::test]
async fn a_failing_api_server_fails_the_reconcile_and_nothing_else() {
    let shell = Shell::with_a_backup();
    shell.server.fail(&format!("GET {JOBS}"), 500, "InternalError", "etcd is away");
    let error = shell.reconcile().await.unwrap_err();
    assert!(!error.is_outdated());
    assert!(error.to_string().starts_with("cannot list Jobs: "), "{error}");
    assert_eq!(shell.server.writes(), Vec::<String>::new());
    assert!(shell.context.metrics.text().unwrap().contains(r#"reconcile_failures_total{kind="VitessBackup"} 1"#));
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_told_so_and_keeps_its_status() {
    let shell = Shell::with_a_backup();
    shell.server.change(BACKUP, |object| {
        object["spec"]["concurrency"] = json!("many");
        object["status"] = json!({"phase": "Succeeded"});
    });
    shell.reconcile().await.unwrap();
    assert_eq!(shell.server.requests(), ["POST /apis/events.k8s.io/v1/namespaces/demo/events"]);
    assert_eq!(shell.status(), json!({"phase": "Succeeded"}));
}

#[tokio::test]
async fn a_storage_says_whether_its_claim_is_there() {
    let shell = Shell::with_a_backup();
    let reconcile = || async {
        let stored: DeserializeGuard<VitessBackupStorage> =
            serde_json::from_value(shell.server.get(STORAGE).unwrap()).unwrap();
        reconcile::storage(Arc::new(stored), shell.context.clone()).await.unwrap();
        shell.server.get(STORAGE).unwrap()["status"]["conditions"][0].clone()
    };
    assert_eq!(reconcile().await["status"], "True");
    shell.server.remove("/api/v1/namespaces/demo/persistentvolumeclaims/vitess-backups");
    assert_eq!(reconcile().await["reason"], "VolumeNotFound");
    shell.server.requests();
    reconcile().await;
    assert_eq!(shell.server.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_restore_into_a_volume_looks_for_pods_that_use_it() {
    let shell = Shell::with_a_backup();
    let path = "/apis/backup.vitess.io/v1alpha1/namespaces/demo/vitessrestores/fill";
    shell.server.put(
        path,
        json!({
            "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessRestore", "metadata": {"uid": UID, "generation": 1},
            "spec": {
                "storage": {"name": "backups"}, "shard": "commerce/0",
                "target": {"persistentVolumeClaim": {"claimName": "data-101", "tabletUid": 101}},
            },
        }),
    );
    let stored: DeserializeGuard<VitessRestore> = serde_json::from_value(shell.server.get(path).unwrap()).unwrap();
    reconcile::run::<VitessRestore>(Arc::new(stored), shell.context.clone()).await.unwrap();
    let condition = shell.server.get(path).unwrap()["status"]["conditions"][0].clone();
    assert_eq!(condition["reason"], "VolumeInUse");
    assert!(condition["message"].as_str().unwrap().contains("pod tablet-101 uses claim data-101"), "{condition}");
}

#[tokio::test]
async fn a_deleted_object_in_a_terminating_namespace_goes() {
    let shell = Shell::with_a_backup();
    shell.settle().await;
    let namespace = "/api/v1/namespaces/demo";
    shell.server.put(namespace, json!({"metadata": {"deletionTimestamp": "2026-11-22T10:00:00Z"}}));
    shell.server.change(BACKUP, |object| object["metadata"]["deletionTimestamp"] = json!("2026-11-22T10:00:00Z"));
    shell.reconcile().await.unwrap();
    assert_eq!(shell.server.get(BACKUP), None);
}

/// Its watch may have been silent for minutes while another operator led, or no leader is elected at all.
#[tokio::test]
async fn a_run_is_not_launched_again_by_an_operator_that_has_not_heard_of_its_end() {
    let shell = Shell::with_a_backup();
    shell.reconcile().await.unwrap();
    shell.reconcile().await.unwrap();
    let old = shell.stored();
    shell.settle().await;
    let whole = serde_json::to_string(&succeeded(crate::backup::report::Operation::Backup)).unwrap();
    shell.engine("Succeeded", &json!({"terminated": {"exitCode": 0, "reason": "Completed", "message": whole}}));
    shell.settle().await;
    // Its time has come.
    shell.server.remove(JOB);
    shell.server.remove(POD);

    shell.server.requests();
    let error = reconcile::run::<VitessBackup>(old, operator(&shell.server)).await.unwrap_err();
    assert!(error.is_outdated(), "{error}");
    assert_eq!(shell.server.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn pods_that_follow_a_restore_are_gathered_by_label_and_by_annotation() {
    const RESTORE: &str = "/apis/backup.vitess.io/v1alpha1/namespaces/demo/vitessrestores/commerce";
    let shell = Shell::with_a_backup();
    shell.server.put(
        RESTORE,
        json!({
            "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessRestore", "metadata": {"uid": "r", "generation": 1},
            "spec": {"storage": {"name": "backups"}, "shard": "commerce/0", "trigger": "PodStart"},
        }),
    );
    let labelled = |name: &str| {
        json!({
            "metadata": {"labels": {"backup.vitess.io/restore": name}},
            "spec": {"containers": [], "initContainers": [{"name": "vitess-backup-restore"}]},
        })
    };
    shell.server.put("/api/v1/namespaces/demo/pods/new-0", labelled("commerce"));
    shell.server.put("/api/v1/namespaces/demo/pods/other-0", labelled("customer"));
    shell.server.change("/api/v1/namespaces/demo/pods/tablet-101", |pod| {
        pod["metadata"]["annotations"] = json!({"backup.vitess.io/restore": "commerce"});
    });
    let stored: DeserializeGuard<VitessRestore> = serde_json::from_value(shell.server.get(RESTORE).unwrap()).unwrap();
    reconcile::run::<VitessRestore>(Arc::new(stored), shell.context.clone()).await.unwrap();
    let status = shell.server.get(RESTORE).unwrap()["status"].clone();
    let pods: Vec<(&str, &str)> = status["pods"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pod| (pod["name"].as_str().unwrap(), pod["phase"].as_str().unwrap()))
        .collect();
    assert_eq!(pods, [("new-0", "Pending"), ("tablet-101", "Failed")], "{status:#}");
    assert_eq!(status["phase"], "Running");
    assert!(!shell.server.writes().iter().any(|write| write.contains("/jobs")), "nothing is launched");
}
