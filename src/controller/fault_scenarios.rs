//! An operator that is stopped after any of its writes and started again ends every run as one that was left alone: the same
//! objects are there, and the same engines have run, each once.
//!
//! The API server is the fake one, and what Kubernetes does with Jobs by itself is in [`Cluster::kubernetes`]. An operator's own
//! memory goes with it, so a stop between two writes is no different from one right after the first.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::core::DeserializeGuard;
use serde_json::{Value, json};

use super::fake_server::FakeServer;
use super::kinds::Run;
use super::{Context, Error, reconcile};
use crate::api::{VitessBackup, VitessRestore, VitessTopologyBackup};
use crate::backup::failure::Reason;
use crate::backup::report::{Operation, Outcome};
use crate::plan::world::{failed, refused, succeeded, tablet_pod};
use crate::resources::settings::Settings;
use crate::telemetry::metrics::Metrics;

const GROUP: &str = "/apis/backup.vitess.io/v1alpha1/namespaces/demo";
const JOBS: &str = "/apis/batch/v1/namespaces/demo/jobs";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/demo/leases";
const PODS: &str = "/api/v1/namespaces/demo/pods";
const BACKUP: &str = "/apis/backup.vitess.io/v1alpha1/namespaces/demo/vitessbackups/nightly";
const TOPOLOGY: &str = "/apis/backup.vitess.io/v1alpha1/namespaces/demo/vitesstopologybackups/topology";
/// More writes, and more looks, than any of these stories takes.
const MANY: u64 = 200;

/// What becomes of an engine, by the name of its Job.
type Ends = fn(&str) -> End;

enum End {
    /// It tells how it ended.
    Told(Box<Outcome>),
    /// It is killed.
    Killed,
    /// Its pod never starts.
    NeverStarts,
}

/// A story: what there is, what becomes of its engines, and what somebody does when all is quiet.
#[derive(Clone, Copy)]
struct Story {
    objects: fn() -> Vec<(&'static str, &'static str, Value)>,
    ends: Ends,
    afterwards: Option<fn(&FakeServer)>,
}

/// When the operator is stopped.
#[derive(Clone, Copy, Debug)]
enum Stops {
    Never,
    /// Once, after so many writes.
    After(u64),
    /// After each write.
    Always,
}

struct Cluster {
    server: FakeServer,
    context: Arc<Context>,
    stops: Stops,
    ends: Ends,
    /// The Jobs whose engines were started, in order.
    engines: Vec<String>,
}

fn context(server: &FakeServer) -> Arc<Context> {
    Context::new(server.client(), Settings::new("operator:1"), Arc::new(Metrics::default()), Some("operator-0".into()))
}

impl Cluster {
    /// A storage, the tablets 101 and 102, and the story's own objects.
    fn of(story: Story, stops: Stops) -> Self {
        let server = FakeServer::default();
        server.put("/api/v1/namespaces/demo", json!({"metadata": {}}));
        for claim in ["vitess-backups", "data-101", "data-102", "new"] {
            let path = format!("/api/v1/namespaces/demo/persistentvolumeclaims/{claim}");
            server.put(&path, json!({"metadata": {}, "spec": {"accessModes": ["ReadWriteOnce"]}}));
        }
        for uid in [101, 102] {
            server.put(&format!("{PODS}/tablet-{uid}"), serde_json::to_value(tablet_pod(uid)).unwrap());
        }
        let storage = json!({"file": {"persistentVolumeClaim": {"claimName": "vitess-backups"}}});
        let storage = [("VitessBackupStorage", "backups", storage)];
        for (kind, name, spec) in storage.into_iter().chain((story.objects)()) {
            let path = format!("{GROUP}/{}s/{name}", kind.to_lowercase());
            let meta = json!({"uid": format!("{:0<8}-{kind}", name.replace('-', "")), "generation": 1});
            let version = "backup.vitess.io/v1alpha1";
            server.put(&path, json!({"apiVersion": version, "kind": kind, "metadata": meta, "spec": spec}));
        }
        server.stop_after(match stops {
            Stops::Never => None,
            Stops::After(writes) => Some(writes),
            Stops::Always => Some(1),
        });
        Self { context: context(&server), server, stops, ends: story.ends, engines: Vec::new() }
    }

    /// Plays a story to its end.
    async fn play(story: Story, stops: Stops) -> Self {
        let mut cluster = Self::of(story, stops);
        cluster.go_on().await;
        if let Some(act) = story.afterwards {
            act(&cluster.server);
            cluster.go_on().await;
        }
        cluster
    }

    /// Until there is nothing left to do for anybody.
    async fn go_on(&mut self) {
        for _ in 0..MANY {
            self.settle().await;
            if !self.kubernetes() {
                return;
            }
        }
        panic!("does not come to an end with {:?}: {:#?}", self.stops, self.server.everything());
    }

    /// The operator looks at everything until it has nothing to write, and is started again whenever it is stopped.
    async fn settle(&mut self) {
        for _ in 0..MANY {
            let before = self.server.written();
            let looked = self.look_at_all().await;
            if self.server.has_stopped() {
                self.context = self.another_operator();
                continue;
            }
            match looked {
                Ok(()) if self.server.written() == before => return,
                Ok(()) => {}
                Err(error) if error.is_outdated() => {}
                Err(error) => panic!("{error}"),
            }
        }
        let writes = self.server.writes();
        let last = &writes[writes.len().saturating_sub(20)..];
        panic!("does not settle with {:?}: {last:#?} {:#?}", self.stops, self.server.everything());
    }

    fn another_operator(&self) -> Arc<Context> {
        self.server.stop_after(matches!(self.stops, Stops::Always).then_some(1));
        context(&self.server)
    }

    async fn look_at_all(&self) -> Result<(), Error> {
        self.look::<VitessBackup>("vitessbackups").await?;
        self.look::<VitessRestore>("vitessrestores").await?;
        self.look::<VitessTopologyBackup>("vitesstopologybackups").await
    }

    async fn look<K: Run>(&self, resource: &str) -> Result<(), Error> {
        for object in self.server.below(&format!("{GROUP}/{resource}")) {
            let object: DeserializeGuard<K> = serde_json::from_value(object).unwrap();
            reconcile::run::<K>(Arc::new(object), self.context.clone()).await?;
        }
        Ok(())
    }

    /// What Kubernetes does by itself: new Jobs get a pod, whose engine comes to its end, and pods whose Job is gone are told to
    /// stop and then go. Time passes where a run waits for it. Whether anything happened.
    fn kubernetes(&mut self) -> bool {
        let before = self.server.everything();
        let jobs = self.server.below(JOBS);
        let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
        for job in &jobs {
            let path = format!("{PODS}/{}-x", name(job));
            if self.server.get(&path).is_none() {
                self.start(&path, job);
            } else if self.server.get(&path).is_some_and(|pod| pod["status"]["phase"] == "Running") {
                self.end(&path, &name(job));
            }
        }
        for pod in self.server.below(PODS) {
            let path = format!("{PODS}/{}", name(&pod));
            let Some(job) = pod["metadata"]["labels"]["batch.kubernetes.io/job-name"].as_str() else { continue };
            if jobs.iter().any(|known| name(known) == job) {
                continue;
            }
            if pod["metadata"]["deletionTimestamp"].is_null() {
                let end = jiff::Timestamp::now() + std::time::Duration::from_secs(60);
                self.server.change(&path, |pod| pod["metadata"]["deletionTimestamp"] = json!(end));
            } else {
                self.server.remove(&path);
            }
        }
        self.pass_time();
        self.server.everything() != before
    }

    fn start(&mut self, path: &str, job: &Value) {
        let job_name = job["metadata"]["name"].as_str().unwrap();
        let mut labels = job["metadata"]["labels"].clone();
        labels["batch.kubernetes.io/job-name"] = json!(job_name);
        let (phase, state) = match (self.ends)(job_name) {
            End::NeverStarts => {
                ("Pending", json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}))
            }
            End::Told(_) | End::Killed => {
                self.engines.push(job_name.to_owned());
                ("Running", json!({"running": {}}))
            }
        };
        let progress = json!({
            "event": "progress", "time": "2026-11-22T10:00:01Z", "step": "CopyingFiles", "bytesDone": 30, "bytesTotal": 40,
            "storedBytes": 7, "filesDone": 1, "filesTotal": 2, "bytesPerSecond": 5, "etaSeconds": 2,
        });
        self.server.set_log(path.rsplit('/').next().unwrap(), &format!("{progress}\n"));
        let meta = json!({"labels": labels, "uid": format!("{job_name}-x")});
        self.server.put(path, json!({"metadata": meta, "spec": {"containers": []}, "status": status(phase, &state)}));
    }

    fn end(&self, path: &str, job: &str) {
        let (phase, state) = match (self.ends)(job) {
            End::Told(outcome) => {
                let message = serde_json::to_string(&outcome).unwrap();
                ("Succeeded", json!({"terminated": {"exitCode": 0, "reason": "Completed", "message": message}}))
            }
            End::Killed => ("Failed", json!({"terminated": {"exitCode": 137, "reason": "Error", "signal": 9}})),
            End::NeverStarts => return,
        };
        self.server.change(path, |pod| pod["status"] = status(phase, &state));
    }

    /// A pause before the next try is over, and so is the time in which a pod may start.
    fn pass_time(&self) {
        const LONG_AGO: &str = "2020-01-01T00:00:00Z";
        for (path, object) in self.server.everything() {
            if !object["status"]["nextTryTime"].is_null() {
                self.server.change(&path, |object| object["status"]["nextTryTime"] = json!(LONG_AGO));
            }
            let job = &object["status"]["job"];
            let pod = job["name"].as_str().and_then(|job| self.server.get(&format!("{PODS}/{job}-x")));
            if pod.is_some_and(|pod| pod["status"]["phase"] == "Pending") && job["launchTime"] != LONG_AGO {
                self.server.change(&path, |object| object["status"]["job"]["launchTime"] = json!(LONG_AGO));
            }
        }
    }

    /// All that is there in the end, but for its versions, its times, and what is named after them.
    fn end_state(&self) -> BTreeMap<String, Value> {
        let mut all = self.server.everything();
        all.retain(|path, _| !path.contains("/events/"));
        for object in all.values_mut() {
            object["metadata"]["resourceVersion"] = Value::Null;
            // A map by type to Kubernetes.
            if let Some(conditions) = object["status"]["conditions"].as_array_mut() {
                conditions.sort_by_key(|condition| condition["type"].to_string());
            }
            forget_times(object);
        }
        all
    }

    fn object(&self, path: &str) -> Value {
        self.server.get(path).unwrap_or_default()
    }

    /// No lock is held and no engine at work, and objects can be deleted.
    fn assert_all_is_given_back(&self, when: &str) {
        assert_eq!(self.server.below(LEASES), Vec::<Value>::new(), "{when}: locks are given back");
        for pod in self.server.below(PODS) {
            let is_engine = !pod["metadata"]["labels"]["batch.kubernetes.io/job-name"].is_null();
            assert!(!is_engine || pod["status"]["phase"] != "Running", "{when}: an engine still runs: {pod:#}");
        }
        for (path, object) in self.server.everything() {
            let finalizers = object["metadata"]["finalizers"].to_string();
            assert!(!finalizers.contains("backup.vitess.io/run"), "{when}: {path} still has {finalizers}");
        }
    }
}

fn status(phase: &str, state: &Value) -> Value {
    let engine =
        json!({"name": "engine", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state});
    json!({"phase": phase, "containerStatuses": [engine]})
}

/// Puts zeros for the digits of everything that has a date in it.
fn forget_times(value: &mut Value) {
    match value {
        Value::String(text)
            if text.contains("20") && text.contains('-') && text.contains(|c: char| c.is_ascii_digit()) =>
        {
            let dated = text.split("20").skip(1).any(|rest| {
                let rest = rest.as_bytes();
                rest.len() > 7 && rest[2] == b'-' && rest[5] == b'-' && rest[0].is_ascii_digit()
            });
            if dated {
                *text = text.replace(|c: char| c.is_ascii_digit(), "0");
            }
        }
        Value::Array(all) => all.iter_mut().for_each(forget_times),
        Value::Object(all) => all.values_mut().for_each(forget_times),
        _ => {}
    }
}

/// Plays the story with the operator left alone, then stopped once after each write, then after every one; all of it has to end
/// in the same way. Gives the first.
async fn assert_stops_change_nothing(story: Story) -> Cluster {
    let alone = Cluster::play(story, Stops::Never).await;
    let writes = alone.server.written();
    assert!(writes > 8, "a story of {writes} writes");
    alone.assert_all_is_given_back("left alone");
    let expected = alone.end_state();
    for stops in (1..=writes).map(Stops::After).chain([Stops::Always]) {
        let stopped = Cluster::play(story, stops).await;
        assert_eq!(stopped.engines, alone.engines, "{stops:?}: each engine runs once");
        let found = stopped.end_state();
        let paths = |all: &BTreeMap<String, Value>| all.keys().cloned().collect::<Vec<_>>();
        assert_eq!(paths(&found), paths(&expected), "{stops:?}");
        for (path, object) in &expected {
            let mut differences = Vec::new();
            compare(path, object, &found[path], &mut differences);
            assert_eq!(differences, Vec::<String>::new(), "{stops:?}");
        }
    }
    alone
}

/// Says where two values differ.
fn compare(place: &str, expected: &Value, found: &Value, differences: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            let keys: std::collections::BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
            for key in keys {
                let of = |all: &serde_json::Map<String, Value>| all.get(key).cloned().unwrap_or_default();
                compare(&format!("{place}.{key}"), &of(expected), &of(found), differences);
            }
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            for (index, (expected, found)) in expected.iter().zip(found).enumerate() {
                compare(&format!("{place}[{index}]"), expected, found, differences);
            }
        }
        _ if expected == found => {}
        _ => differences.push(format!("{place}: {expected} → {found}")),
    }
}

fn told(outcome: Outcome) -> End {
    End::Told(Box::new(outcome))
}

/// All goes well.
fn well(job: &str) -> End {
    let operation = match job {
        job if job.contains("-restore-") => Operation::Restore,
        job if job.contains("-recover-") => Operation::Recover,
        job if job.contains("-remove-") => Operation::Remove,
        job if job.contains("-verify-") => Operation::Verify,
        _ => Operation::Backup,
    };
    told(succeeded(operation))
}

fn one_backup() -> Vec<(&'static str, &'static str, Value)> {
    let spec = json!({"storage": {"name": "backups"}, "tablet": "zone1-0000000101", "deletionPolicy": "Delete"});
    vec![("VitessBackup", "nightly", spec)]
}

fn restore_onto(target: &Value) -> Vec<(&'static str, &'static str, Value)> {
    let spec = json!({
        "storage": {"name": "backups"}, "shard": "commerce/0", "target": target, "backup": {"latest": {}},
        "existingData": "Replace",
    });
    vec![("VitessRestore", "fill", spec)]
}

/// `backup-1` of `nightly-11112222-backup-1`.
fn names(engines: &[String]) -> Vec<&str> {
    let stem = |name: &str| name.rmatch_indices('-').nth(1).map_or(0, |(at, _)| at + 1);
    engines.iter().map(|name| &name[stem(name)..]).collect()
}

#[tokio::test]
async fn a_backup_its_verification_and_the_removal_of_its_data() {
    let mut story = Story {
        objects: || {
            let mut objects = one_backup();
            objects[0].2["verify"] = json!("Objects");
            objects
        },
        ends: well,
        afterwards: None,
    };
    let alone = assert_stops_change_nothing(story).await;
    assert_eq!(names(&alone.engines), ["backup-1", "verify-1"]);
    assert_eq!(alone.object(BACKUP)["status"]["phase"], "Succeeded");

    story.afterwards = Some(|server| server.delete(BACKUP));
    let alone = assert_stops_change_nothing(story).await;
    assert_eq!(names(&alone.engines), ["backup-1", "verify-1", "remove-1"]);
    assert_eq!(alone.object(BACKUP), Value::Null);
}

#[tokio::test]
async fn a_backup_of_a_shard_of_which_one_tablet_refuses() {
    let story = Story {
        objects: || vec![("VitessBackup", "nightly", json!({"storage": {"name": "backups"}, "shard": "commerce/0"}))],
        ends: |job| {
            if job.ends_with("-backup-1") { told(refused(Reason::TabletIsPrimary)) } else { well(job) }
        },
        afterwards: None,
    };
    let alone = assert_stops_change_nothing(story).await;
    assert_eq!(names(&alone.engines), ["backup-1", "backup-2"]);
    assert_eq!(alone.object(BACKUP)["status"]["tabletAlias"], "zone1-0000000102");
}

#[tokio::test]
async fn a_backup_whose_engine_is_killed_and_whose_tablet_is_put_back() {
    let ends = |job: &str| if job.ends_with("-backup-1") { End::Killed } else { well(job) };
    let story = Story { objects: one_backup, ends, afterwards: None };
    let alone = assert_stops_change_nothing(story).await;
    assert_eq!(names(&alone.engines), ["backup-1", "recover-1"]);
    assert_eq!(alone.object(BACKUP)["status"]["failure"]["reason"], "EngineLost");
}

#[tokio::test]
async fn a_backup_that_fails_and_is_tried_again() {
    let story = Story {
        objects: || {
            let mut objects = one_backup();
            objects[0].2["retries"] = json!(2);
            objects
        },
        ends: |job| match job {
            job if job.ends_with("-backup-1") => told(failed(Operation::Backup, Reason::StorageUnreachable)),
            job if job.ends_with("-backup-2") => told(failed(Operation::Backup, Reason::MysqldNotStarted)),
            job => well(job),
        },
        afterwards: None,
    };
    let alone = assert_stops_change_nothing(story).await;
    assert_eq!(names(&alone.engines), ["backup-1", "backup-2", "recover-4", "backup-3"]);
    assert_eq!(alone.object(BACKUP)["status"]["phase"], "Succeeded");
}

#[tokio::test]
async fn a_backup_whose_pod_never_starts() {
    let story = Story { objects: one_backup, ends: |_| End::NeverStarts, afterwards: None };
    let alone = assert_stops_change_nothing(story).await;
    assert_eq!(names(&alone.engines), Vec::<&str>::new());
    let failure = alone.object(BACKUP)["status"]["failure"].clone();
    assert!(failure["message"].as_str().unwrap().contains("did not start within"), "{failure:#}");
}

#[tokio::test]
async fn two_backups_of_one_shard_that_take_turns() {
    let story = Story {
        objects: || {
            let mut objects = one_backup();
            let spec = json!({"storage": {"name": "backups"}, "tablet": "zone1-0000000102"});
            objects.push(("VitessBackup", "second", spec));
            objects
        },
        ends: well,
        afterwards: None,
    };
    let alone = assert_stops_change_nothing(story).await;
    assert_eq!(alone.engines, ["nightly-nightly0-backup-1", "second-second00-backup-1"]);
}

#[tokio::test]
async fn a_restore_onto_a_tablet_and_one_into_a_volume() {
    let tablet = || restore_onto(&json!({"tablet": "zone1-0000000102"}));
    let volume = || restore_onto(&json!({"persistentVolumeClaim": {"claimName": "new", "tabletUid": 103}}));
    for objects in [tablet as fn() -> _, volume] {
        let alone = assert_stops_change_nothing(Story { objects, ends: well, afterwards: None }).await;
        assert_eq!(names(&alone.engines), ["restore-1"]);
        assert_eq!(alone.object(&format!("{GROUP}/vitessrestores/fill"))["status"]["phase"], "Succeeded");
    }
}

#[tokio::test]
async fn a_backup_of_the_topology_server_and_the_removal_of_its_data() {
    let mut story = Story {
        objects: || {
            let spec = json!({"storage": {"name": "backups"}, "etcd": {"endpoints": ["etcd:2379"]}, "deletionPolicy": "Delete"});
            vec![("VitessTopologyBackup", "topology", spec)]
        },
        ends: well,
        afterwards: None,
    };
    let alone = assert_stops_change_nothing(story).await;
    assert_eq!(names(&alone.engines), ["backup-1"]);
    assert_eq!(alone.object(TOPOLOGY)["status"]["phase"], "Succeeded");
    story.afterwards = Some(|server| server.delete(TOPOLOGY));
    let alone = assert_stops_change_nothing(story).await;
    assert_eq!(names(&alone.engines), ["backup-1", "remove-1"]);
    assert_eq!(alone.object(TOPOLOGY), Value::Null);
}

/// Has somebody act after each write of the story in turn, with the operator stopped after that write or one of the next, and
/// gives what came of it to `check`.
async fn act_at_each_write(story: Story, act: fn(&FakeServer), check: fn(&Cluster, &str)) {
    let writes = Cluster::play(story, Stops::Never).await.server.written();
    for write in 1..=writes {
        let stops = (write..write + 6).map(Stops::After).chain([Stops::Never, Stops::Always]);
        for stops in stops {
            let mut cluster = Cluster::of(story, stops);
            cluster.server.then(write, act);
            cluster.go_on().await;
            if cluster.server.written() < write {
                // One that is stopped all the time sees less of what an engine does, and tells less.
                assert!(!matches!(stops, Stops::Never), "nobody acted after write {write}");
                continue;
            }
            let when = format!("somebody acts after write {write}, {stops:?}: {:#?}", cluster.server.writes());
            cluster.assert_all_is_given_back(&when);
            let mut engines = cluster.engines.clone();
            engines.sort();
            engines.dedup();
            assert_eq!(engines.len(), cluster.engines.len(), "{when}: {:?}", cluster.engines);
            check(&cluster, &when);
        }
    }
}

#[tokio::test]
async fn a_backup_that_is_cancelled_at_any_time_leaves_its_tablet_as_it_should_be() {
    let story = Story { objects: one_backup, ends: well, afterwards: None };
    let cancel = |server: &FakeServer| {
        server.change(BACKUP, |backup| {
            backup["spec"]["cancel"] = json!(true);
            backup["metadata"]["generation"] = json!(2);
        });
    };
    act_at_each_write(story, cancel, |cluster, when| {
        let status = cluster.object(BACKUP)["status"].clone();
        match status["phase"].as_str().unwrap() {
            "Succeeded" => assert_eq!(names(&cluster.engines), ["backup-1"], "{when}"),
            "Cancelled" if cluster.engines.is_empty() => {}
            "Cancelled" => {
                // A Job that is deleted before it has a pod never was an engine.
                let engines = names(&cluster.engines);
                assert!(engines == ["backup-1", "recover-1"] || engines == ["recover-1"], "{when}: {status:#}");
                assert!(status.to_string().contains("TabletRecovered"), "{when}: {status:#}");
            }
            phase => panic!("{when}: {phase}: {status:#}"),
        }
    })
    .await;
}

#[tokio::test]
async fn a_backup_that_is_deleted_at_any_time_leaves_its_tablet_as_it_should_be_and_no_data() {
    let story = Story { objects: one_backup, ends: well, afterwards: None };
    act_at_each_write(
        story,
        |server| server.delete(BACKUP),
        |cluster, when| {
            assert_eq!(cluster.object(BACKUP), Value::Null, "{when}");
            let engines = names(&cluster.engines);
            let known: [&[&str]; 5] = [
                &[],
                &["remove-1"],
                &["recover-1", "remove-1"],
                &["backup-1", "remove-1"],
                &["backup-1", "recover-1", "remove-1"],
            ];
            assert!(known.contains(&engines.as_slice()), "{when}: {engines:?}");
        },
    )
    .await;
}
