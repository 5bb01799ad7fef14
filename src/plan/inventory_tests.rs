use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::json;

use super::super::storage::{Seen as StorageSeen, next};
use super::*;
use crate::backup::failure::{Failure, Reason};
use crate::backup::report::Operation;

const UID: &str = "11112222-3333-4444-5555-666677778888";

/// A storage on a claim, and what happens to it.
struct World {
    storage: VitessBackupStorage,
    seen: StorageSeen,
    now: Timestamp,
    made: Vec<Job>,
    deleted: Vec<String>,
    events: Vec<Event>,
}

impl World {
    fn every(interval: &str) -> Self {
        let storage = serde_json::from_value(json!({
            "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessBackupStorage",
            "metadata": {"name": "main", "namespace": "demo", "uid": UID, "generation": 1},
            "spec": {
                "file": {"persistentVolumeClaim": {"claimName": "vitess-backups"}, "root": "/demo"},
                "inventoryInterval": interval,
            },
        }))
        .unwrap();
        let settings = Arc::new(Settings::new("operator:1"));
        let claims = BTreeMap::from([("vitess-backups".to_owned(), PersistentVolumeClaim::default())]);
        Self {
            storage,
            seen: StorageSeen { claims, inventory: Seen::nothing(settings) },
            now: "2026-11-22T10:00:00.25Z".parse().unwrap(),
            made: Vec::new(),
            deleted: Vec::new(),
            events: Vec::new(),
        }
    }

    fn step(&mut self) -> Requeue {
        let plan = next(&self.storage, &self.seen, self.now);
        for action in plan.actions {
            match action {
                Action::CreateJob(job) => self.made.push(*job),
                Action::DeleteJob(name) => self.deleted.push(name),
                other => panic!("{other:?}"),
            }
        }
        self.storage.status = plan.status;
        self.events.extend(plan.events);
        plan.requeue
    }

    /// Notes the Job, makes it, and sees it in this state.
    fn launched(&mut self, engine: EngineSeen) -> Requeue {
        self.step();
        self.step();
        self.see(engine)
    }

    fn see(&mut self, engine: EngineSeen) -> Requeue {
        let name = self.made.last().unwrap().metadata.name.clone().unwrap();
        let job = JobSeen { uid: format!("uid of {name}"), owner_uid: Some(UID.into()), expires: false, engine };
        self.seen.inventory.job = Some(job);
        let requeue = self.step();
        if self.inventory().job.is_none() {
            self.seen.inventory.job = None;
            self.seen.inventory.taken = None;
            self.seen.inventory.over = vec![name];
        }
        requeue
    }

    /// The engine has told this much, and all of it has arrived.
    fn ends(&mut self, totals: &Totals, shards: &[ShardFound]) {
        let taken = Taken {
            buckets: totals.buckets_told,
            shards: shards.to_vec(),
            made: totals.buckets_told,
            ..Taken::default()
        };
        self.ends_with(totals, taken);
    }

    fn ends_with(&mut self, totals: &Totals, taken: Taken) {
        self.launched(running());
        self.seen.inventory.taken = Some(taken);
        self.see(ended(Outcome { inventory: Some(totals.clone()), ..outcome() }));
    }

    fn fails(&mut self, reason: Reason) {
        self.launched(running());
        let failure = Failure { reason, message: "it failed".into(), remedy: "mend it".into() };
        self.see(ended(Outcome { verdict: Verdict::Failed, failure: Some(failure), ..outcome() }));
    }

    fn status(&self) -> VitessBackupStorageStatus {
        self.storage.status.clone().unwrap()
    }

    fn inventory(&self) -> InventoryStatus {
        self.status().inventory.unwrap_or_default()
    }

    fn condition(&self, kind: &str) -> (String, String, String) {
        let found = self.status().conditions.into_iter().find(|condition| condition.type_ == kind);
        found.map(|found| (found.status, found.reason, found.message)).unwrap_or_default()
    }

    fn assert_condition(&self, kind: &str, status: &str, reason: &str) {
        let (found_status, found_reason, message) = self.condition(kind);
        assert_eq!((found_status.as_str(), found_reason.as_str()), (status, reason), "{kind}: {message}");
    }

    fn args(&self) -> Vec<String> {
        let spec = self.made.last().unwrap().spec.clone().unwrap().template.spec.unwrap();
        spec.containers[0].args.clone().unwrap()
    }
}

fn running() -> EngineSeen {
    EngineSeen::Running { told: crate::plan::observed::Told::default() }
}

fn ended(outcome: Outcome) -> EngineSeen {
    EngineSeen::Ended { outcome: Some(Box::new(outcome)), how: "exit code".into(), log_tail: Vec::new() }
}

fn outcome() -> Outcome {
    Outcome::begun(Operation::Inventory, "2026-11-22T10:00:01Z".parse().unwrap())
}

fn totals() -> Totals {
    Totals {
        backups: 2,
        incomplete: 1,
        bytes: 3 << 20,
        shards: 1,
        buckets_told: 3,
        shards_told: 1,
        ..Totals::default()
    }
}

fn shard() -> ShardFound {
    ShardFound {
        shard: "commerce/0".into(),
        backups: 2,
        incomplete: 1,
        bytes: 3 << 20,
        latest_backup_name: Some("2026-11-22.090000.zone1-0000000101".into()),
        latest_backup_time: Some("2026-11-22T09:00:00Z".parse().unwrap()),
        latest_position: Some("MySQL56/x:1-9".into()),
        first_restorable_time: Some("2026-11-21T09:00:00Z".parse().unwrap()),
    }
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

#[test]
fn a_storage_is_listed_at_once_then_at_its_interval_and_its_status_says_what_is_there() {
    let mut world = World::every("5m");
    assert_eq!(world.step(), Requeue::After(AT_ONCE));
    assert_eq!(world.made.len(), 0, "what is about to be made is written down first");
    world.assert_condition(REACHABLE, "Unknown", "Listing");
    let mut world = World::every("5m");
    world.ends(&totals(), &[shard()]);
    world.assert_condition(REACHABLE, "True", "Listed");
    world.assert_condition(STRAYS, "False", "NothingElse");
    let mut status = serde_json::to_value(world.status()).unwrap();
    status.as_object_mut().unwrap().remove("conditions");
    assert_eq!(
        status,
        json!({
            "observedGeneration": 1, "backups": 2, "incomplete": 1, "bytes": 3 << 20, "size": "3.0Mi",
            "lastInventoryTime": "2026-11-22T10:00:00Z",
            "shards": [{
                "shard": "commerce/0", "backups": 2, "latestBackupName": "2026-11-22.090000.zone1-0000000101",
                "latestBackupTime": "2026-11-22T09:00:00Z", "latestPosition": "MySQL56/x:1-9",
                "firstRestorableTime": "2026-11-21T09:00:00Z",
            }],
            "inventory": {
                "number": 1, "launchTime": "2026-11-22T10:00:00Z", "endTime": "2026-11-22T10:00:00Z", "generation": 1,
            },
        })
    );
    assert!(matches!(world.step(), Requeue::After(wait) if wait > seconds(299) && wait <= seconds(300)));
    assert_eq!(world.deleted, ["main-11112222-inventory-1"], "its pod would count as a user of the volume");
    world.now += seconds(300);
    world.step();
    assert_eq!(world.inventory().job.unwrap().name, "main-11112222-inventory-2");
}

#[test]
fn the_job_reads_only_and_runs_as_who_wrote_without_giving_itself_the_volume() {
    let mut world = World::every("5m");
    let ran_as = json!({"runAsUser": 4242, "runAsGroup": 4240, "fsGroup": 4243});
    let run: crate::api::VitessBackup = serde_json::from_value(json!({
        "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessBackup", "metadata": {"name": "nightly"},
        "spec": {"storage": {"name": "main"}, "shard": "commerce/0"},
        "status": {"phase": "Succeeded", "finishedTime": "2026-11-22T09:00:00Z", "ranAs": ran_as},
    }))
    .unwrap();
    world.seen.inventory.cluster.note("main", &run);
    world.launched(running());
    let job = world.made[0].clone();
    insta::assert_snapshot!(serde_saphyr::to_string(&serde_json::to_value(job).unwrap()).unwrap());
}

#[test]
fn what_is_known_is_handed_over_when_the_status_tells_of_an_inventory() {
    let mut world = World::every("5m");
    let record: crate::api::VitessBackup = serde_json::from_value(json!({
        "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessBackup", "metadata": {"name": "x"},
        "spec": {"storage": {"name": "main"}, "shard": "commerce/0", "backupName": "y"},
    }))
    .unwrap();
    world.seen.inventory.cluster.note("main", &record);
    let known = format!("--known={}", world.seen.inventory.cluster.digest());
    world.ends(&totals(), &[shard()]);
    assert!(!world.args().iter().any(|arg| arg.starts_with("--known")), "a status that was lost is told whole");
    world.now += seconds(300);
    world.ends(&Totals { buckets_told: 0, shards_told: 0, ..totals() }, &[]);
    assert!(world.args().contains(&known), "{:?}", world.args());
    assert_eq!(world.status().shards.len(), 1, "nothing has changed, and what was told stays");
}

#[test]
fn a_storage_that_cannot_be_listed_says_why_and_what_to_do_and_heals() {
    let mut world = World::every("5m");
    world.fails(Reason::StorageDenied);
    world.assert_condition(REACHABLE, "False", "StorageDenied");
    assert_eq!(world.condition(REACHABLE).2, "it failed; mend it");
    assert_eq!(world.events.iter().filter(|event| event.reason == "Unreachable").count(), 1);
    assert!(matches!(world.step(), Requeue::After(wait) if wait <= seconds(20)), "sooner than at its interval");
    world.now += seconds(20);
    world.fails(Reason::StorageDenied);
    assert_eq!(world.events.iter().filter(|event| event.reason == "Unreachable").count(), 1, "told once");
    assert!(matches!(world.step(), Requeue::After(wait) if wait > seconds(20) && wait <= seconds(40)));
    world.now += seconds(40);
    world.ends(&totals(), &[shard()]);
    world.assert_condition(REACHABLE, "True", "Listed");
    assert_eq!(world.inventory().failures, 0);
    assert_eq!(world.events.iter().filter(|event| event.reason == "Reachable").count(), 1);
}

#[test]
fn a_storage_that_cannot_be_reached_is_not_reachable_by_that_reason_and_heals() {
    let mut world = World::every("5m");
    world.fails(Reason::StorageUnreachable);
    world.assert_condition(REACHABLE, "False", "StorageUnreachable");
    assert_eq!(world.condition(REACHABLE).2, "it failed; mend it");
    let event = world.events.iter().find(|event| event.reason == "Unreachable").unwrap();
    assert_eq!(event.note, "StorageUnreachable: it failed; mend it");
    world.step();
    world.now += seconds(20);
    world.ends(&totals(), &[shard()]);
    world.assert_condition(REACHABLE, "True", "Listed");
}

#[test]
fn pauses_between_failures_grow_up_to_the_interval() {
    let pauses: Vec<u64> = (1..7).map(|failures| retry(failures, seconds(300)).as_secs()).collect();
    assert_eq!(pauses, [20, 40, 80, 160, 300, 300]);
    assert_eq!(retry(i32::MAX, seconds(10)), seconds(20));
}

#[test]
fn an_inventory_that_did_not_arrive_whole_changes_nothing_of_the_status() {
    for taken in [
        Taken { buckets: 2, shards: vec![shard()], ..Taken::default() },
        Taken { buckets: 3, ..Taken::default() },
        Taken { buckets: 3, shards: vec![shard()], problem: Some("gone".into()), ..Taken::default() },
    ] {
        assert!(!taken.is_whole(&totals()));
        let mut world = World::every("5m");
        world.ends_with(&totals(), taken);
        world.assert_condition(REACHABLE, "Unknown", "InventoryCutShort");
        assert_eq!(world.status().last_inventory_time, None);
    }
}

#[test]
fn a_run_that_changed_the_storage_is_followed_by_an_inventory() {
    let mut world = World::every("1h");
    world.ends(&totals(), &[shard()]);
    world.now += seconds(60);
    world.seen.inventory.touched = Some(world.now);
    world.step();
    assert_eq!(world.inventory().number, 2);
    let mut world = World::every("1h");
    world.seen.inventory.touched = Some(world.now - seconds(60));
    world.ends(&totals(), &[shard()]);
    world.step();
    assert_eq!(world.inventory().number, 1, "that run was before the inventory");
}

#[test]
fn what_one_pod_left_the_next_tells_at_once_unless_records_are_refused() {
    let more = Totals { more: true, ..totals() };
    let mut world = World::every("1h");
    world.ends(&more, &[shard()]);
    world.step();
    assert_eq!(world.inventory().number, 2);
    let mut world = World::every("1h");
    let taken = Taken {
        buckets: 3,
        shards: vec![shard()],
        refused: 5,
        refusal: Some("exceeded quota".into()),
        ..Taken::default()
    };
    world.ends_with(&more, taken);
    world.step();
    assert_eq!(world.inventory().number, 1);
    let event = world.events.iter().find(|event| event.reason == "RecordRefused").unwrap();
    assert_eq!(event.note, "the API server refuses 5 records of backups: exceeded quota");
}

#[test]
fn strays_are_named() {
    let mut world = World::every("5m");
    let strays = vec!["lost+found".to_owned(), "commerce/0/notes.txt".to_owned()];
    world.ends(&Totals { strays: 12, stray_names: strays, ..totals() }, &[shard()]);
    world.assert_condition(STRAYS, "True", "StraysFound");
    assert_eq!(world.condition(STRAYS).2, "no backups, and left alone: lost+found, commerce/0/notes.txt and 10 more");
}

#[test]
fn no_inventories_with_an_interval_of_0s_or_a_storage_that_is_not_accepted() {
    let mut world = World::every("0s");
    world.seen.inventory.touched = Some(world.now);
    assert_eq!(world.step(), Requeue::OnChange);
    world.assert_condition(REACHABLE, "Unknown", "InventoryOff");
    let mut world = World::every("5m");
    world.launched(running());
    world.seen.claims.clear();
    world.step();
    world.assert_condition(REACHABLE, "Unknown", "NotAccepted");
    assert_eq!(world.deleted, ["main-11112222-inventory-1"]);
}

#[test]
fn a_pod_that_is_killed_or_stuck_or_does_not_start_ends_the_inventory_and_another_follows() {
    let mut world = World::every("5m");
    world.launched(EngineSeen::Ended { outcome: None, how: "exit code 137".into(), log_tail: Vec::new() });
    world.assert_condition(REACHABLE, "Unknown", "EngineLost");

    let mut world = World::every("5m");
    world.launched(running());
    world.now += seconds(27 * 60);
    world.see(running());
    world.assert_condition(REACHABLE, "False", "DeadlineExceeded");
    world.step();
    assert_eq!(world.deleted, ["main-11112222-inventory-1"]);
    world.now += seconds(20);
    world.seen.inventory.live_pods = vec![LivePod { pod: "hangs".into(), job: "main-11112222-inventory-1".into() }];
    world.step();
    world.assert_condition(REACHABLE, "False", "InventoryStuck");
    assert_eq!(world.inventory().number, 1, "pods do not pile up");
    world.seen.inventory.live_pods.clear();
    world.step();
    assert_eq!(world.inventory().number, 2);

    let mut world = World::every("5m");
    let starting = || EngineSeen::Starting { reason: "FailedMount".into(), message: "no such export".into() };
    world.launched(starting());
    world.assert_condition(REACHABLE, "Unknown", "Listing");
    world.now += seconds(61);
    world.see(starting());
    world.assert_condition(REACHABLE, "False", "PodNotStarted");
    assert!(world.condition(REACHABLE).2.contains("FailedMount: no such export"));
    world.now += seconds(600);
    world.see(starting());
    assert_eq!(world.inventory().job, None);
}

#[test]
fn a_job_that_was_made_before_a_crash_is_taken_on_and_one_of_somebody_else_is_not() {
    let mut world = World::every("5m");
    world.step();
    world.step();
    assert_eq!(world.inventory().job.unwrap().uid, None, "the operator died before it saw the Job");
    world.see(running());
    assert_eq!(world.inventory().job.unwrap().uid.as_deref(), Some("uid of main-11112222-inventory-1"));
    world.seen.inventory.job.as_mut().unwrap().owner_uid = Some("another".into());
    world.step();
    world.assert_condition(REACHABLE, "Unknown", "EngineLost");
}

#[test]
fn a_spec_that_was_changed_is_tried_at_once() {
    let mut world = World::every("1h");
    world.fails(Reason::StorageUnreachable);
    world.storage.metadata.generation = Some(2);
    world.step();
    assert_eq!(world.inventory().number, 2);
}

#[test]
fn a_job_that_is_refused_is_said() {
    let mut status = World::every("5m").storage.status.unwrap_or_default();
    refused(&mut status, Some(1), "2026-11-22T10:00:00Z".parse().unwrap(), "exceeded quota");
    assert_eq!(status.conditions[0].reason, "JobRefused");
    assert_eq!(status.conditions[0].message, "the API server refuses the Job that lists the storage: exceeded quota");
}
