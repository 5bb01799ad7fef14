//! What of the objects goes into the metrics.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;
use serde_json::Value;

use super::held::Held;
use super::kinds::Run;
use crate::api::{Phase, RunStatus, VitessBackup, VitessBackupStorage};
use crate::plan::inventory::REACHABLE;
use crate::plan::{ACCEPTED, TABLET_RECOVERED};
use crate::telemetry::census::{Census, Inventory, RunSeen, RunState, StorageSeen, Success};
use crate::telemetry::metrics::{RunEnded, Source};

/// Counts the runs of one store at each scrape.
pub fn runs<K: Run>(store: &Store<Held<K>>) -> Source {
    let store = store.clone();
    Box::new(move |census| {
        for found in store.state() {
            let namespace = found.namespace().unwrap_or_default();
            match &*found {
                Held::Ended(ended) => ended.counted.add::<K>(census, &namespace),
                Held::Whole(object) => {
                    if let Ok(object) = &object.0 {
                        Counted::of(object).add::<K>(census, &namespace);
                    }
                }
            }
        }
    })
}

/// Counts the storages of one store at each scrape.
pub fn storages(store: &Store<DeserializeGuard<VitessBackupStorage>>) -> Source {
    let store = store.clone();
    Box::new(move |census| {
        for found in store.state() {
            let Ok(object) = &found.0 else { continue };
            add_storage(census, object);
        }
    })
}

/// What of a run is counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    shard: Option<String>,
    tablet_alias: Option<String>,
    state: RunState,
    tablet_recovered: Option<bool>,
}

impl Counted {
    pub fn of<K: Run>(object: &K) -> Self {
        let unseen = RunStatus::default();
        let status = object.status().map_or(&unseen, K::run);
        let created = object.meta().creation_timestamp.as_ref().map(|time| time.0);
        let finished = status.finished_time.as_ref().map(|time| time.0);
        let phase = status.phase.unwrap_or_default();
        let state = match (phase, finished) {
            (Phase::Succeeded, Some(_)) => success(status).map_or(RunState::Ended, RunState::Succeeded),
            (Phase::Failed, Some(finished)) => RunState::Failed { finished },
            _ if phase.is_final() => RunState::Ended,
            _ => RunState::Unfinished { phase: text(phase), created },
        };
        let recovered = status.conditions.iter().find(|condition| condition.type_ == TABLET_RECOVERED);
        Self {
            shard: status.shard.clone(),
            tablet_alias: status.tablet_alias.clone(),
            state,
            tablet_recovered: recovered.map(|condition| condition.status != "False"),
        }
    }

    fn add<K: Run>(&self, census: &mut Census, namespace: &str) {
        let Self { shard, tablet_alias, state, tablet_recovered } = self;
        census.add_run(&RunSeen {
            kind: K::KIND,
            namespace,
            shard: shard.as_deref(),
            tablet_alias: tablet_alias.as_deref(),
            state: state.clone(),
            tablet_recovered: *tablet_recovered,
        });
    }
}

fn add_storage(census: &mut Census, object: &VitessBackupStorage) {
    let namespace = object.namespace().unwrap_or_default();
    let reachable = object.status.as_ref().and_then(|status| reachable(&status.conditions));
    let written = object.status.as_ref().and_then(|status| serde_json::to_value(status).ok()).unwrap_or_default();
    add_newest(census, &namespace, &written);
    census.add_storage(namespace, object.name_any(), StorageSeen { reachable, inventory: inventory(&written) });
}

/// No run can use what is not accepted, whatever was reached before.
fn reachable(conditions: &[Condition]) -> Option<bool> {
    let says = |kind: &str, status: &str| conditions.iter().any(|one| one.type_ == kind && one.status == status);
    if says(ACCEPTED, "False") || says(REACHABLE, "False") {
        return Some(false);
    }
    says(REACHABLE, "True").then_some(true)
}

/// The newest backup of each shard that the last inventory found, whoever made it, and whether there is an object of it or
/// not.
fn add_newest(census: &mut Census, namespace: &str, status: &Value) {
    let shards = status.get("shards").and_then(Value::as_array);
    for seen in shards.into_iter().flatten() {
        let text = |name: &str| seen.get(name).and_then(Value::as_str);
        let Some(finished) = text("latestBackupTime").and_then(|time| time.parse().ok()) else { continue };
        let success = Success { finished, duration_seconds: None, size_bytes: None, downtime_seconds: None };
        census.add_run(&RunSeen {
            kind: VitessBackup::KIND,
            namespace,
            shard: text("shard"),
            tablet_alias: None,
            state: RunState::Succeeded(success),
            tablet_recovered: None,
        });
    }
}

/// What the last inventory wrote into the status, by the names that the API gives it; nothing when there was none.
fn inventory(status: &Value) -> Option<Inventory> {
    let number = |name: &str| status.get(name)?.as_i64();
    Some(Inventory {
        backups: number("backups")?,
        incomplete: number("incomplete").unwrap_or(0),
        bytes: number("bytes").unwrap_or(0),
    })
}

/// A run whose status has just become final.
pub fn ended<'a>(kind: &'static str, status: &'a RunStatus) -> RunEnded<'a> {
    RunEnded {
        kind,
        phase: text(status.phase.unwrap_or_default()),
        reason: status.failure.as_ref().map(|failure| failure.reason.as_str()),
        engine: status.engine.as_deref(),
        success: success(status),
    }
}

/// How the run went, when it succeeded.
fn success(status: &RunStatus) -> Option<Success> {
    let finished = status.finished_time.as_ref().filter(|_| status.phase == Some(Phase::Succeeded))?.0;
    let started = status.start_time.as_ref().map(|time| time.0);
    Some(Success {
        finished,
        duration_seconds: started.map(|started| finished.duration_since(started).as_secs_f64()),
        size_bytes: status.size_bytes,
        downtime_seconds: status.downtime_seconds,
    })
}

fn text(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "Pending",
        Phase::WaitingForBackup => "WaitingForBackup",
        Phase::Running => "Running",
        Phase::Succeeded => "Succeeded",
        Phase::Failed => "Failed",
        Phase::Cancelled => "Cancelled",
        Phase::Incomplete => "Incomplete",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::telemetry::census::ShardSeen;

    fn backup(status: &Value) -> VitessBackup {
        serde_json::from_value(json!({
            "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessBackup",
            "metadata": {"name": "nightly", "namespace": "demo", "creationTimestamp": "2026-11-22T09:00:00Z"},
            "spec": {"storage": {"name": "backups"}, "shard": "commerce/0"},
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn what_an_object_says_is_in_the_census() {
        let succeeded = json!({
            "phase": "Succeeded", "shard": "commerce/0", "tabletAlias": "zone1-0000000101",
            "startTime": "2026-11-22T10:00:00Z", "finishedTime": "2026-11-22T10:01:30Z",
            "sizeBytes": 7, "downtimeSeconds": 3,
        });
        let failed = json!({
            "phase": "Failed", "shard": "commerce/0", "tabletAlias": "zone1-0000000101",
            "finishedTime": "2026-11-22T11:00:00Z",
            "conditions": [{
                "type": "TabletRecovered", "status": "False", "reason": "x", "message": "",
                "lastTransitionTime": "2026-11-22T11:00:00Z",
            }],
        });
        let mut census = Census::default();
        for status in [&succeeded, &failed, &json!({"phase": "Cancelled", "shard": "commerce/0"}), &json!({})] {
            Counted::of(&backup(status)).add::<VitessBackup>(&mut census, "demo");
        }
        let success = Success {
            finished: "2026-11-22T10:01:30Z".parse().unwrap(),
            duration_seconds: Some(90.0),
            size_bytes: Some(7),
            downtime_seconds: Some(3),
        };
        let expected = ShardSeen { success: Some(success), failed: "2026-11-22T11:00:00Z".parse().ok() };
        assert_eq!(census.shards.values().collect::<Vec<_>>(), [&expected]);
        assert_eq!(census.tablets_not_recovered(), [("demo", 1)].into());
        let queue = &census.queue[&("VitessBackup", "Pending")];
        assert_eq!((queue.runs, queue.oldest), (1, "2026-11-22T09:00:00Z".parse().ok()));
    }

    #[test]
    fn a_storage_is_reachable_as_its_conditions_say_and_not_told_of_while_they_do_not() {
        let object = |conditions: &[(&str, &str)]| -> VitessBackupStorage {
            let condition = |&(kind, status): &(&str, &str)| {
                json!({
                    "type": kind, "status": status, "reason": "x", "message": "",
                    "lastTransitionTime": "2026-11-22T11:00:00Z",
                })
            };
            let conditions: Vec<Value> = conditions.iter().map(condition).collect();
            serde_json::from_value(json!({
                "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessBackupStorage", "metadata": {"name": "backups"},
                "spec": {"s3": {"bucket": "b"}}, "status": {"conditions": conditions},
            }))
            .unwrap()
        };
        let reachable = |conditions: &[(&str, &str)]| {
            let mut census = Census::default();
            add_storage(&mut census, &object(conditions));
            census.storages.into_values().map(|seen| seen.reachable).collect::<Vec<_>>()
        };
        let accepted = ("Accepted", "True");
        for (status, expected) in [("True", Some(true)), ("False", Some(false)), ("Unknown", None)] {
            assert_eq!(reachable(&[accepted, ("Reachable", status)]), [expected], "{status}");
        }
        assert_eq!(reachable(&[accepted, ("Ready", "True")]), [None], "it is not listed");
        assert_eq!(reachable(&[("Accepted", "False"), ("Reachable", "True")]), [Some(false)], "its volume has gone");
        let listed = json!({"backups": 7, "incomplete": 1, "bytes": 99, "size": "99"});
        assert_eq!(inventory(&listed), Some(Inventory { backups: 7, incomplete: 1, bytes: 99 }));
        assert_eq!(inventory(&json!({})), None, "never listed");
    }

    #[test]
    fn a_backup_that_the_inventory_found_counts_when_it_is_newer_than_those_of_objects() {
        let mut census = Census::default();
        let status = json!({"shards": [
            {"shard": "commerce/0", "backups": 2, "latestBackupTime": "2026-11-23T10:00:00Z"},
            {"shard": "customer/-80", "backups": 0},
        ]});
        add_newest(&mut census, "demo", &status);
        let shards: Vec<_> = census.shards.iter().map(|(key, seen)| (key.keyspace.as_str(), seen.success)).collect();
        let finished = "2026-11-23T10:00:00Z".parse().unwrap();
        let success = Success { finished, duration_seconds: None, size_bytes: None, downtime_seconds: None };
        assert_eq!(shards, [("commerce", Some(success))]);
    }
}
