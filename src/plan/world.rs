//! A small world for plan tests: it carries plans out on values, so that a test tells a story in a few lines.

#![allow(clippy::needless_pass_by_value)] // json!(…) at the call is what a test wants to read

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::{Value, json};

use super::observed::{EngineSeen, Holder, JobSeen, LivePod, Observed, Told};
use super::{Action, Event, Plan, Requeue};
use crate::api::{
    RunStatus, VitessBackup, VitessBackupStatus, VitessRestore, VitessRestoreStatus, VitessTopologyBackup,
    VitessTopologyBackupStatus,
};
use crate::backup::failure::{Failure, Reason};
use crate::backup::report::{Operation, Outcome, ReplicationOutcome, Verdict};
use crate::progress::Step;
use crate::resources::settings::Settings;

pub const UID: &str = "11112222-3333-4444-5555-666677778888";

/// A run's object as the world needs it.
pub trait Run {
    type Status: serde::Serialize + Clone + PartialEq + std::fmt::Debug;
    fn plan(&self, seen: &Observed, now: Timestamp) -> Plan<Self::Status>;
    fn meta(&mut self) -> &mut ObjectMeta;
    fn set_status(&mut self, status: Self::Status);
    fn run(&self) -> RunStatus;
}

impl Run for VitessBackup {
    type Status = VitessBackupStatus;
    fn plan(&self, seen: &Observed, now: Timestamp) -> Plan<VitessBackupStatus> {
        super::backup::next(self, seen, now)
    }
    fn meta(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
    fn set_status(&mut self, status: VitessBackupStatus) {
        self.status = Some(status);
    }
    fn run(&self) -> RunStatus {
        self.status.clone().unwrap_or_default().run
    }
}

impl Run for VitessRestore {
    type Status = VitessRestoreStatus;
    fn plan(&self, seen: &Observed, now: Timestamp) -> Plan<VitessRestoreStatus> {
        super::restore::next(self, seen, now)
    }
    fn meta(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
    fn set_status(&mut self, status: VitessRestoreStatus) {
        self.status = Some(status);
    }
    fn run(&self) -> RunStatus {
        self.status.clone().unwrap_or_default().run
    }
}

impl Run for VitessTopologyBackup {
    type Status = VitessTopologyBackupStatus;
    fn plan(&self, seen: &Observed, now: Timestamp) -> Plan<VitessTopologyBackupStatus> {
        super::topology::next(self, seen, now)
    }
    fn meta(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
    fn set_status(&mut self, status: VitessTopologyBackupStatus) {
        self.status = Some(status);
    }
    fn run(&self) -> RunStatus {
        self.status.clone().unwrap_or_default().run
    }
}

pub struct World<K> {
    pub object: K,
    pub seen: Observed,
    pub now: Timestamp,
    pub events: Vec<Event>,
    /// Every Job that was ever made.
    pub made: Vec<Job>,
    /// Whether the object is gone: deleted, and no finalizer left.
    pub gone: bool,
}

impl<K: Run> World<K> {
    /// A storage on a claim, and the three tablets 100, 101 and 102 of commerce/0.
    pub fn with(object: K) -> Self {
        let mut seen = Observed::nothing(Arc::new(Settings::new("operator:1")));
        seen.storage = Some(
            serde_json::from_value(json!({
                "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessBackupStorage", "metadata": {"name": "backups"},
                "spec": {"file": {"persistentVolumeClaim": {"claimName": "vitess-backups"}, "root": "/demo/"}},
            }))
            .unwrap(),
        );
        seen.tablets = [102, 100, 101].map(tablet_pod).to_vec();
        let mut world = Self {
            object,
            seen,
            now: "2026-11-22T10:00:00.25Z".parse().unwrap(),
            events: Vec::new(),
            made: Vec::new(),
            gone: false,
        };
        for name in ["vitess-backups", "data-100", "data-101", "data-102"] {
            world.add_claim(name);
        }
        world
    }

    pub fn add_claim(&mut self, name: &str) {
        self.seen.claims.insert(name.to_owned(), PersistentVolumeClaim::default());
    }

    /// One reconcile: the plan, carried out.
    pub fn step(&mut self) -> Requeue {
        let plan = self.object.plan(&self.seen, self.now);
        for action in plan.actions {
            self.act(action);
        }
        if let Some(status) = plan.status {
            assert_can_be_applied("status", &serde_json::to_value(&status).unwrap());
            self.object.set_status(status);
        }
        self.events.extend(plan.events);
        let meta = self.object.meta();
        self.gone = meta.deletion_timestamp.is_some() && meta.finalizers.as_ref().is_none_or(Vec::is_empty);
        plan.requeue
    }

    /// Reconciles until nothing changes any more.
    pub fn settle(&mut self) -> Requeue {
        for _ in 0..20 {
            let state = |world: &mut Self| {
                let jobs = (world.seen.jobs.len(), world.made.len());
                (world.object.run(), world.object.meta().finalizers.clone(), world.seen.locks.clone(), jobs)
            };
            let before = state(self);
            let requeue = self.step();
            let after = state(self);
            if self.gone || before == after {
                return requeue;
            }
        }
        panic!("does not settle: {:#?}", self.object.run());
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::SetFinalizers(finalizers) => self.object.meta().finalizers = Some(finalizers),
            Action::AcquireLock(lock) => {
                let holder = Holder { name: "this run".into(), uid: UID.into(), lives: true };
                assert!(!self.seen.locks.get(&lock.lease).is_some_and(|held| held.lives), "{lock:?} is taken");
                self.seen.locks.insert(lock.lease, holder);
            }
            Action::ReleaseLock(lease) => {
                assert_eq!(self.seen.locks.remove(&lease).map(|holder| holder.uid).as_deref(), Some(UID));
            }
            Action::CreateJob(job) => {
                let name = job.metadata.name.clone().unwrap();
                let engine = EngineSeen::Starting { reason: "Starting".into(), message: "starting".into() };
                let uid = format!("uid of {name}");
                let owner_uid = Some(UID.to_owned());
                let seen = JobSeen { uid, owner_uid, expires: false, engine };
                assert!(self.seen.jobs.insert(name, seen).is_none(), "a Job is made once");
                self.made.push(*job);
            }
            Action::DeleteJob(name) => {
                self.seen.jobs.remove(&name);
            }
            Action::ExpireJob(name) => self.seen.jobs.get_mut(&name).unwrap().expires = true,
        }
    }

    /// The engine of the newest Job runs.
    pub fn engine_runs(&mut self, step: Step) {
        self.set_engine(EngineSeen::Running { told: Told { step: Some(step), progress: None } });
        self.settle();
    }

    /// The engine of the newest Job ends with this outcome.
    pub fn engine_ends(&mut self, outcome: Outcome) {
        let outcome = Some(Box::new(outcome));
        self.set_engine(EngineSeen::Ended { outcome, how: "exit code".into(), log_tail: vec!["last words".into()] });
        self.settle();
    }

    /// The engine of the newest Job is killed.
    pub fn engine_dies(&mut self) {
        let how = "the engine ended with exit code 137 (Error, signal 9)".to_owned();
        self.set_engine(EngineSeen::Ended { outcome: None, how, log_tail: vec!["last words".into()] });
        self.settle();
    }

    fn set_engine(&mut self, engine: EngineSeen) {
        let name = self.job_name();
        self.seen.jobs.get_mut(&name).unwrap_or_else(|| panic!("Job {name} is gone")).engine = engine;
    }

    pub fn job_name(&self) -> String {
        self.made.last().and_then(|job| job.metadata.name.clone()).expect("a Job")
    }

    /// The newest Job's command line.
    pub fn args(&self) -> Vec<String> {
        self.made.last().unwrap().spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0]
            .args
            .clone()
            .unwrap()
    }

    pub fn condition(&self, kind: &str) -> (String, String, String) {
        let run = self.object.run();
        let found = run.conditions.into_iter().find(|condition| condition.type_ == kind);
        found.map(|c| (c.status, c.reason, c.message)).unwrap_or_default()
    }

    pub fn assert_condition(&self, kind: &str, status: &str, reason: &str) {
        let (found_status, found_reason, message) = self.condition(kind);
        assert_eq!((found_status.as_str(), found_reason.as_str()), (status, reason), "{kind}: {message}");
    }

    pub fn delete(&mut self) {
        let now = Time(self.now);
        self.object.meta().deletion_timestamp = Some(now);
    }

    pub fn told(&self) -> Vec<&'static str> {
        self.events.iter().map(|event| event.reason).collect()
    }

    pub fn live_pod(&mut self, job: &str) {
        self.seen.live_pods = vec![LivePod { pod: format!("{job}-x"), job: job.to_owned() }];
    }

    pub fn has_settled(&mut self) {
        assert_eq!(self.seen.locks, BTreeMap::new(), "locks are given back");
        assert_eq!(self.object.meta().finalizers.clone().unwrap_or_default(), Vec::<String>::new());
        assert!(self.seen.jobs.values().all(|job| job.expires), "Jobs may go");
        assert_eq!(self.object.run().job, None);
    }
}

/// Server-side apply makes null of an object that has lost all that it had, and the definitions refuse that.
fn assert_can_be_applied(path: &str, value: &Value) {
    match value {
        Value::Object(fields) => {
            assert!(!fields.is_empty(), "{path} is empty");
            fields.iter().for_each(|(field, value)| assert_can_be_applied(&format!("{path}.{field}"), value));
        }
        Value::Array(items) => items.iter().for_each(|item| assert_can_be_applied(path, item)),
        _ => {}
    }
}

#[allow(clippy::needless_pass_by_value)] // callers write the value in place
pub fn object<K: serde::de::DeserializeOwned>(kind: &str, spec: Value) -> K {
    serde_json::from_value(json!({
        "apiVersion": "backup.vitess.io/v1alpha1", "kind": kind,
        "metadata": {"name": "nightly", "namespace": "demo", "uid": UID, "generation": 1},
        "spec": spec,
    }))
    .unwrap()
}

pub fn tablet_pod(uid: u32) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": format!("tablet-{uid}"), "namespace": "demo", "labels": {
            "planetscale.com/component": "vttablet", "planetscale.com/keyspace": "commerce", "planetscale.com/shard": "0",
            "planetscale.com/cell": "zone1", "planetscale.com/tablet-uid": uid.to_string(),
            "planetscale.com/tablet-type": "replica",
        }},
        "spec": {
            "nodeName": "node1",
            "securityContext": {"runAsUser": 4242, "fsGroup": 4243},
            "containers": [{
                "name": "mysqld", "image": "vitess:24", "command": ["mysqlctld"],
                "volumeMounts": [{"name": "data", "mountPath": "/vt/vtdataroot"}],
            }],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": format!("data-{uid}")}}],
        },
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{
                "name": "mysqld", "image": "vitess:24", "imageID": "", "ready": true, "restartCount": 0,
                "state": {"running": {}},
            }],
        },
    }))
    .unwrap()
}

pub fn outcome(operation: Operation, verdict: Verdict) -> Outcome {
    let time = "2026-11-22T10:00:09Z".parse().unwrap();
    Outcome { verdict, ..Outcome::begun(operation, time) }
}

pub fn succeeded(operation: Operation) -> Outcome {
    Outcome {
        backup_name: Some("2026-11-22.100000.zone1-0000000101".into()),
        engine: Some("builtin".into()),
        position: Some("MySQL56/3e11fa47-71ca-11e1-9e33-c80aa9429562:1-9".into()),
        size_bytes: Some(411_041_792),
        files: Some(120),
        downtime_seconds: Some(2.1),
        replication: Some(ReplicationOutcome::CaughtUp),
        manifest: json!({"BackupMethod": "builtin"}).as_object().cloned(),
        ..outcome(operation, Verdict::Succeeded)
    }
}

pub fn failed(operation: Operation, reason: Reason) -> Outcome {
    let failure = Failure { reason, message: "it failed".into(), remedy: "mend it".into() };
    Outcome { failure: Some(failure), ..outcome(operation, Verdict::Failed) }
}

/// An engine that would not touch the tablet.
pub fn refused(reason: Reason) -> Outcome {
    Outcome { untouched: true, ..failed(Operation::Backup, reason) }
}
