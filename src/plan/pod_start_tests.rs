use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::plan::Event;
use crate::resources::settings::Settings;

const NOW: &str = "2026-11-27T06:00:00Z";
const REFUSED: &str = r#"{"operation":"Restore","verdict":"Failed","startTime":"2026-11-27T05:00:00Z","finishedTime":"2026-11-27T05:00:01Z","failure":{"reason":"NoCompleteBackup","message":"only incomplete ones","remedy":"Take a backup."}}"#;
const RESTORED: &str = r#"{"operation":"Restore","verdict":"Succeeded","startTime":"2026-11-27T05:00:00.2Z","finishedTime":"2026-11-27T05:00:07.3Z","tabletAlias":"zone1-0000000102","backupName":"2026-11-27.040000.zone1-0000000101","position":"MySQL56/a:1-9"}"#;
const PRESENT: &str = r#"{"operation":"Restore","verdict":"DataPresent","startTime":"2026-11-27T05:10:00Z","finishedTime":"2026-11-27T05:10:00.01Z"}"#;

fn restore(status: Option<VitessRestoreStatus>) -> VitessRestore {
    let mut restore: VitessRestore = serde_json::from_value(json!({
        "apiVersion": "backup.vitess.io/v1alpha1",
        "kind": "VitessRestore",
        "metadata": {"name": "commerce", "namespace": "demo", "uid": "u", "generation": 3},
        "spec": {"storage": {"name": "main"}, "shard": "commerce/0", "trigger": "PodStart", "waitForBackupInterval": "10s"},
    }))
    .unwrap();
    restore.status = status;
    restore
}

fn pod(name: &str, status: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"containers": [], "initContainers": [
            {"name": "other"},
            {"name": "vitess-backup-restore", "args": ["restore", "--on-pod-start"]},
        ]},
        "status": {"initContainerStatuses": [
            {"name": "vitess-backup-restore", "image": "", "imageID": "", "ready": false, "restartCount": status["restarts"].as_i64().unwrap_or(0),
             "state": status["state"], "lastState": status["last"]},
        ]},
    }))
    .unwrap()
}

fn ended(message: &str) -> Value {
    json!({"terminated": {"exitCode": 0, "message": message, "startedAt": "2026-11-27T05:00:00Z", "finishedAt": "2026-11-27T05:00:08Z"}})
}

fn seen(pods: Vec<Pod>) -> Observed {
    let mut seen = Observed::nothing(Arc::new(Settings::new("image")));
    seen.storage = serde_json::from_value(json!({
        "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessBackupStorage", "metadata": {"name": "main"},
        "spec": {"s3": {"bucket": "b"}},
    }))
    .unwrap();
    seen.starting_pods = pods;
    seen
}

fn plan(pods: Vec<Pod>, before: Option<VitessRestoreStatus>) -> (VitessRestoreStatus, Vec<Event>, Requeue) {
    let Plan { actions, status, requeue, events } = next(&restore(before), &seen(pods), NOW.parse().unwrap());
    assert_eq!(actions, [], "nothing is ever launched");
    (status.unwrap(), events, requeue)
}

fn condition<'a>(status: &'a VitessRestoreStatus, kind: &str) -> (&'a str, &'a str, &'a str) {
    let found = status.run.conditions.iter().find(|condition| condition.type_ == kind).unwrap();
    (&found.status, &found.reason, &found.message)
}

fn summary(status: &VitessRestoreStatus) -> Option<&str> {
    status.run.progress.as_ref()?.summary.as_deref()
}

#[test]
fn an_object_without_pods_is_accepted_and_says_what_is_missing() {
    let (status, events, requeue) = plan(Vec::new(), None);
    assert_eq!(condition(&status, ACCEPTED).0, "True");
    assert_eq!((condition(&status, PODS_RESTORED).0, condition(&status, PODS_RESTORED).1), ("Unknown", "NoPods"));
    assert_eq!((status.run.phase, status.run.observed_generation), (Some(Phase::Running), Some(3)));
    assert_eq!((&status.pods, summary(&status), events, requeue), (&vec![], None, vec![], Requeue::OnChange));
}

#[test]
fn without_its_storage_it_is_not_accepted() {
    let mut seen = seen(Vec::new());
    seen.storage = None;
    let plan = next(&restore(None), &seen, NOW.parse().unwrap());
    let status = plan.status.unwrap();
    assert_eq!((condition(&status, ACCEPTED).0, condition(&status, ACCEPTED).1), ("False", "StorageNotFound"));
    assert_eq!((status.run.phase, plan.requeue), (Some(Phase::Pending), Requeue::After(PATIENTLY)));
}

#[test]
fn each_pod_tells_what_its_init_container_did() {
    let pods = vec![
        pod("t-3", &json!({"state": {"waiting": {"reason": "PodInitializing"}}})),
        pod("t-1", &json!({"state": {"running": {"startedAt": "2026-11-27T05:59:00Z"}}})),
        pod("t-0", &json!({"state": ended(RESTORED), "restarts": 2})),
    ];
    let (status, ..) = plan(pods, None);
    let time = |text: &str| Some(Time(text.parse().unwrap()));
    let expected = [
        PodRestore {
            name: "t-0".to_owned(),
            phase: PodRestorePhase::Restored,
            tablet_alias: Some("zone1-0000000102".to_owned()),
            backup_name: Some("2026-11-27.040000.zone1-0000000101".to_owned()),
            position: Some("MySQL56/a:1-9".to_owned()),
            start_time: time("2026-11-27T05:00:00Z"),
            finished_time: time("2026-11-27T05:00:08Z"),
            duration_seconds: Some(8),
            restarts: Some(2),
            failure: None,
        },
        PodRestore {
            name: "t-1".to_owned(),
            phase: PodRestorePhase::Running,
            start_time: time("2026-11-27T05:59:00Z"),
            ..PodRestore::default()
        },
        PodRestore { name: "t-3".to_owned(), ..PodRestore::default() },
    ];
    assert_eq!(status.pods, expected);
    assert_eq!(summary(&status), Some("1 restoring, 1 pending, 1 restored"));
    assert_eq!(condition(&status, PODS_RESTORED), ("Unknown", "PodsStarting", "pod t-1 is not through yet"));
}

#[test]
fn a_pod_that_failed_between_two_tries_is_failed_and_told_once() {
    let failing = || {
        pod(
            "t-0",
            &json!({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "last": ended(REFUSED), "restarts": 4}),
        )
    };
    let (status, events, _) = plan(vec![failing()], None);
    assert_eq!(status.pods[0].phase, PodRestorePhase::Failed);
    assert_eq!(status.pods[0].failure.as_ref().unwrap().reason, "NoCompleteBackup");
    let words = "pod t-0: NoCompleteBackup: only incomplete ones. Take a backup.";
    assert_eq!(condition(&status, PODS_RESTORED), ("False", "PodFailed", words));
    let expected = Event { warning: true, reason: "PodRestoreFailed", note: words.to_owned() };
    assert_eq!(events, [expected]);
    let (_, events, _) = plan(vec![failing()], Some(status));
    assert_eq!(events, []);
}

#[test]
fn a_pod_that_starts_again_with_data_keeps_where_its_data_came_from() {
    let (status, ..) = plan(vec![pod("t-0", &json!({"state": ended(RESTORED)}))], None);
    // Gone for a moment, and not begun for another.
    let (status, ..) = plan(Vec::new(), Some(status));
    assert_eq!(status.pods[0].phase, PodRestorePhase::Gone);
    assert_eq!(condition(&status, PODS_RESTORED).1, "NoPods");
    assert_eq!(status.run.progress, None, "who is gone is not counted");
    let (status, ..) = plan(vec![pod("t-0", &json!({}))], Some(status));
    assert_eq!(status.pods[0].phase, PodRestorePhase::Pending);
    let (status, ..) = plan(vec![pod("t-0", &json!({"state": ended(PRESENT)}))], Some(status));
    let pod = &status.pods[0];
    assert_eq!(pod.phase, PodRestorePhase::DataPresent);
    assert_eq!(pod.backup_name.as_deref(), Some("2026-11-27.040000.zone1-0000000101"));
    assert_eq!(pod.duration_seconds, Some(1));
    assert_eq!(condition(&status, PODS_RESTORED).0, "True");
}

#[test]
fn an_init_container_that_died_without_a_word_is_a_failure() {
    let killed = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
    let (status, ..) = plan(vec![pod("t-0", &json!({"state": killed}))], None);
    let failure = status.pods[0].failure.as_ref().unwrap();
    assert_eq!(failure.reason, "EngineLost");
    assert!(failure.message.contains("exit code 137, OOMKilled"), "{failure:?}");
}

#[test]
fn a_pod_that_the_webhook_did_not_reach_is_a_failure() {
    let bare: Pod = serde_json::from_value(json!({"metadata": {"name": "t-0"}, "spec": {"containers": []}})).unwrap();
    let (status, ..) = plan(vec![bare], None);
    assert_eq!(status.pods[0].failure.as_ref().unwrap().reason, "NotInjected");
}

#[test]
fn of_very_many_pods_those_that_need_a_look_are_listed() {
    let mut pods: Vec<Pod> =
        (0..LIMIT + 20).map(|n| pod(&format!("a-{n:03}"), &json!({"state": ended(RESTORED)}))).collect();
    pods.push(pod("z", &json!({"state": ended(REFUSED)})));
    let (status, ..) = plan(pods, None);
    assert_eq!((status.pods.len(), status.pods[0].name.as_str()), (LIMIT, "z"));
    assert_eq!(summary(&status), Some("1 failed, 120 restored"));
}
