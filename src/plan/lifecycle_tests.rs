//! Cancelling, trying again, waiting in line and for how long; for both kinds of run.

#![allow(clippy::needless_pass_by_value)] // json!(…) at the call is what a test wants to read

use std::time::Duration;

use serde_json::{Value, json};

use super::Requeue;
use super::observed::{EngineSeen, Holder, Waiting};
use super::world::{UID, World, failed, object, outcome, refused, succeeded};
use crate::api::{Phase, RunStatus, VitessBackup, VitessRestore};
use crate::backup::failure::Reason;
use crate::backup::report::{NOTHING_TO_RECOVER, Operation, Outcome, ReplicationOutcome, Verdict};
use crate::progress::Step;

const ENGINE_RUNNING: &str = "EngineRunning";

fn backup(fields: Value) -> World<VitessBackup> {
    let spec = json!({"storage": {"name": "backups"}, "tablet": "zone1-0000000101"});
    World::with(object("VitessBackup", with(spec, &fields)))
}

fn restore(fields: Value) -> World<VitessRestore> {
    let spec = json!({
        "storage": {"name": "backups"}, "shard": "commerce/0", "target": {"tablet": "zone1-0000000102"},
        "existingData": "Replace",
    });
    World::with(object("VitessRestore", with(spec, &fields)))
}

fn with(mut spec: Value, fields: &Value) -> Value {
    spec.as_object_mut().unwrap().extend(fields.as_object().cloned().unwrap());
    spec
}

fn run(world: &World<VitessBackup>) -> RunStatus {
    world.object.status.clone().unwrap().run
}

fn restored(world: &World<VitessRestore>) -> RunStatus {
    world.object.status.clone().unwrap().run
}

fn reason(run: &RunStatus) -> String {
    run.failure.clone().unwrap().reason
}

fn put_back() -> Outcome {
    Outcome { replication: Some(ReplicationOutcome::CaughtUp), ..outcome(Operation::Recover, Verdict::Succeeded) }
}

// --- cancelling --------------------------------------------------------------------------------------------------------

#[test]
fn a_backup_that_is_cancelled_half_way_is_stopped_and_its_tablet_put_back() {
    let mut world = backup(json!({"retries": 3}));
    world.settle();
    world.engine_runs(Step::CopyingFiles);
    let job = world.job_name();
    world.object.spec.cancel = true;
    world.live_pod(&job);
    world.settle();
    assert!(!world.seen.jobs.contains_key(&job), "the engine is told to stop");
    world.assert_condition(ENGINE_RUNNING, "False", "Stopping");
    world.assert_condition("TabletRecovered", "Unknown", "EngineStopping");
    assert_eq!((run(&world).phase, world.made.len()), (Some(Phase::Running), 1), "two engines on one tablet never");
    world.seen.live_pods.clear();
    world.settle();
    assert_eq!(world.args()[0], "recover");
    world.engine_ends(put_back());
    assert_eq!((run(&world).phase, reason(&run(&world))), (Some(Phase::Cancelled), "Cancelled".to_owned()));
    world.assert_condition("Complete", "False", "Cancelled");
    world.assert_condition("TabletRecovered", "True", "Recovered");
    assert_eq!(run(&world).attempts, [], "a run that was told to stop is not tried again");
    assert!(world.told().contains(&"Cancelled"), "{:?}", world.told());
    world.has_settled();
    assert_eq!(world.step(), Requeue::OnChange);
    assert_eq!(world.made.len(), 2);
}

#[test]
fn whoever_stops_a_run_is_told_of_no_accident() {
    let half_way = || {
        let mut world = backup(json!({}));
        world.settle();
        world.engine_runs(Step::CopyingFiles);
        world
    };
    let told = |world: &World<VitessBackup>, reason: &str| {
        let event = world.events.iter().find(|event| event.reason == reason).cloned().unwrap();
        (if event.warning { "Warning" } else { "Normal" }, event.note)
    };
    let as_it_was =
        |why: &str| ("Normal", format!("the run was cancelled ({why}): seeing that the tablet is as it was"));
    let nothing_to_do =
        || Outcome { warnings: vec![NOTHING_TO_RECOVER.to_owned()], ..outcome(Operation::Recover, Verdict::Succeeded) };

    let mut world = half_way();
    world.object.spec.cancel = true;
    world.settle();
    assert_eq!(told(&world, "Recovering"), as_it_was("spec.cancel was set"));
    world.engine_ends(nothing_to_do());
    let text = "the engine that was told to stop had left the tablet as it should be";
    assert_eq!(told(&world, "TabletRecovered"), ("Normal", text.to_owned()));
    assert_eq!(world.condition("TabletRecovered").2, text);

    let mut world = half_way();
    world.delete();
    world.settle();
    assert_eq!(told(&world, "Recovering"), as_it_was("the object was deleted while its run was under way"));
    world.engine_ends(put_back());
    let text = "the run was stopped half-way, and what it had begun on the tablet is undone";
    assert_eq!(told(&world, "TabletRecovered"), ("Normal", text.to_owned()));

    // An engine that dies is one, also when the run is cancelled after that.
    let mut world = half_way();
    world.engine_dies();
    let accident = "the engine was lost or failed half-way: putting the tablet back";
    assert_eq!(told(&world, "Recovering"), ("Warning", accident.to_owned()));
    world.object.spec.cancel = true;
    world.engine_ends(nothing_to_do());
    assert_eq!(told(&world, "TabletRecovered"), ("Normal", "an engine found the tablet as it should be".to_owned()));
}

#[test]
fn a_run_that_only_waits_is_cancelled_at_once() {
    // Cancelled from the beginning, for a thing that is missing, and with the locks in hand.
    for steps in [0, 1] {
        let mut world = backup(json!({}));
        for _ in 0..steps {
            world.step();
        }
        world.object.spec.cancel = true;
        world.settle();
        assert_eq!((run(&world).phase, world.made.len()), (Some(Phase::Cancelled), 0), "after {steps} steps");
        world.has_settled();
    }
    let mut world = backup(json!({}));
    world.seen.storage = None;
    world.settle();
    world.object.spec.cancel = true;
    world.settle();
    assert_eq!((run(&world).phase, world.made.len()), (Some(Phase::Cancelled), 0));
}

#[test]
fn an_engine_that_ended_before_it_could_be_told_to_stop_has_done_its_work() {
    let mut world = backup(json!({}));
    world.settle();
    world.object.spec.cancel = true;
    world.engine_ends(succeeded(Operation::Backup));
    assert_eq!((run(&world).phase, world.made.len()), (Some(Phase::Succeeded), 1));
    world.has_settled();
}

#[test]
fn cancelling_a_run_that_has_ended_changes_nothing() {
    let mut world = backup(json!({}));
    world.settle();
    world.engine_ends(failed(Operation::Backup, Reason::StorageDenied));
    let before = run(&world);
    world.object.spec.cancel = true;
    world.settle();
    assert_eq!(run(&world), before);
}

#[test]
fn a_restore_that_is_cancelled_says_what_became_of_the_tablet() {
    let mut world = restore(json!({}));
    world.settle();
    world.engine_runs(Step::ClearingData);
    world.object.spec.cancel = true;
    world.settle();
    assert_eq!(world.args()[0], "recover");
    world.engine_ends(failed(Operation::Recover, Reason::InterruptedRun));
    assert_eq!(restored(&world).phase, Some(Phase::Cancelled));
    world.assert_condition("TabletRecovered", "False", "InterruptedRun");
    world.has_settled();
}

#[test]
fn a_restore_that_waits_for_a_backup_is_cancelled_at_once() {
    let mut world = restore(json!({"waitForBackupInterval": "10s"}));
    world.settle();
    world.engine_ends(outcome(Operation::Restore, Verdict::NoBackup));
    assert_eq!(restored(&world).phase, Some(Phase::WaitingForBackup));
    world.object.spec.cancel = true;
    world.settle();
    assert_eq!((restored(&world).phase, world.made.len()), (Some(Phase::Cancelled), 1));
    assert_eq!(world.object.status.clone().unwrap().next_lookup_time, None);
    world.has_settled();
}

#[test]
fn a_restore_into_a_volume_is_cancelled_when_its_pod_is_gone() {
    let target = json!({"persistentVolumeClaim": {"claimName": "data-102", "tabletUid": 102}});
    let mut world = restore(json!({"target": target}));
    world.settle();
    world.engine_runs(Step::CopyingFiles);
    let job = world.job_name();
    world.object.spec.cancel = true;
    world.live_pod(&job);
    world.settle();
    assert_eq!(restored(&world).phase, Some(Phase::Running));
    world.seen.live_pods.clear();
    world.settle();
    assert_eq!((restored(&world).phase, world.made.len()), (Some(Phase::Cancelled), 1));
    world.has_settled();
}

// --- trying again ------------------------------------------------------------------------------------------------------

#[test]
fn a_backup_that_failed_is_tried_again_after_a_pause_and_each_failed_try_is_told() {
    let mut world = backup(json!({"retries": 2}));
    world.settle();
    world.engine_ends(failed(Operation::Backup, Reason::StorageUnreachable));
    let status = run(&world);
    assert_eq!((status.phase, status.failure.clone(), world.made.len()), (Some(Phase::Running), None, 1));
    assert_eq!(status.attempts.len(), 1);
    assert_eq!(status.attempts[0].number, 1);
    assert_eq!(status.attempts[0].tablet_alias.as_deref(), Some("zone1-0000000101"));
    assert_eq!(status.attempts[0].failure.reason, "StorageUnreachable");
    assert_eq!(status.attempts[0].failure.log_tail, ["last words"]);
    assert_eq!(status.next_try_time.unwrap().0.to_string(), "2026-11-22T10:00:10Z");
    assert_eq!(status.progress.unwrap().summary.as_deref(), Some("Retrying (1)"));
    world.assert_condition(ENGINE_RUNNING, "False", "Retrying");
    assert!(world.condition(ENGINE_RUNNING).2.starts_with("try 1 of 3 failed: StorageUnreachable: it failed"));
    assert_eq!(world.seen.locks.len(), 0, "meanwhile the tablet is anybody's");
    assert!(matches!(world.step(), Requeue::After(wait) if wait <= Duration::from_secs(10)));

    world.pass(Duration::from_secs(10));
    world.settle();
    assert_eq!(world.job_name(), "nightly-11112222-backup-2");
    assert_eq!(run(&world).backup_name.as_deref(), Some("2026-11-22.100010.zone1-0000000101"), "a name of its own");
    assert_eq!(run(&world).next_try_time, None);
    world.engine_ends(succeeded(Operation::Backup));
    assert_eq!((run(&world).phase, run(&world).attempts.len()), (Some(Phase::Succeeded), 1));
    assert_eq!(world.told().iter().filter(|told| **told == "Retrying").count(), 1);
    world.has_settled();
}

#[test]
fn when_all_tries_have_failed_the_last_failure_is_the_runs_and_the_others_stay_to_be_read() {
    let mut world = backup(json!({"retries": 1}));
    world.settle();
    world.engine_ends(failed(Operation::Backup, Reason::StorageUnreachable));
    world.pass(Duration::from_secs(10));
    world.settle();
    world.engine_ends(failed(Operation::Backup, Reason::StorageDenied));
    let status = run(&world);
    assert_eq!((status.phase, reason(&status)), (Some(Phase::Failed), "StorageDenied".to_owned()));
    assert_eq!(status.attempts.len(), 1);
    assert!(world.condition("Complete").2.starts_with("after 2 tries: it failed"), "{}", world.condition("Complete").2);
    world.has_settled();
}

#[test]
fn what_another_try_cannot_mend_fails_at_once() {
    for reason in [Reason::TabletIsPrimary, Reason::InvalidArguments, Reason::FilesNotCarried] {
        let mut world = backup(json!({"retries": 5}));
        world.settle();
        world.engine_ends(refused(reason));
        assert_eq!((run(&world).phase, world.made.len()), (Some(Phase::Failed), 1), "{reason:?}");
    }
}

#[test]
fn a_lost_engine_is_tried_again_when_the_tablet_is_back_and_never_when_it_is_not() {
    let mut world = backup(json!({"retries": 1}));
    world.settle();
    world.engine_dies();
    assert_eq!(world.job_name(), "nightly-11112222-recover-1");
    world.engine_ends(put_back());
    assert_eq!(run(&world).attempts[0].failure.reason, "EngineLost");
    world.pass(Duration::from_secs(10));
    world.settle();
    assert_eq!(world.job_name(), "nightly-11112222-backup-2");
    // Each Job of a run has a name of its own, those that put a tablet back too.
    world.engine_dies();
    assert_eq!(world.job_name(), "nightly-11112222-recover-4");
    for _ in 0..3 {
        world.engine_ends(failed(Operation::Recover, Reason::MysqldNotStarted));
    }
    assert_eq!((run(&world).phase, world.job_name().as_str()), (Some(Phase::Failed), "nightly-11112222-recover-6"));

    let mut world = backup(json!({"retries": 1}));
    world.settle();
    world.engine_dies();
    for _ in 0..3 {
        world.engine_ends(failed(Operation::Recover, Reason::MysqldNotStarted));
    }
    assert_eq!((run(&world).phase, run(&world).attempts.len()), (Some(Phase::Failed), 0));
    world.has_settled();
}

#[test]
fn a_restore_that_was_cut_short_is_simply_run_again() {
    let mut world = restore(json!({"retries": 1}));
    world.settle();
    world.engine_runs(Step::CopyingFiles);
    world.engine_dies();
    world.engine_ends(failed(Operation::Recover, Reason::InterruptedRun));
    assert_eq!(restored(&world).attempts.len(), 1);
    world.pass(Duration::from_secs(10));
    world.settle();
    assert_eq!(world.job_name(), "nightly-11112222-restore-2");
    world.engine_ends(succeeded(Operation::Restore));
    assert_eq!(restored(&world).phase, Some(Phase::Succeeded));
}

#[test]
fn a_run_is_cancelled_and_deleted_between_two_tries_without_another_engine() {
    let between = || {
        let mut world = backup(json!({"retries": 1}));
        world.settle();
        world.engine_ends(failed(Operation::Backup, Reason::StorageUnreachable));
        world
    };
    let mut world = between();
    world.object.spec.cancel = true;
    world.settle();
    assert_eq!((run(&world).phase, world.made.len()), (Some(Phase::Cancelled), 1));
    world.has_settled();
    let mut world = between();
    world.delete();
    world.settle();
    assert!(world.gone && world.made.len() == 1);
}

#[test]
fn the_next_try_of_a_shard_takes_another_tablet_first() {
    let spec = json!({"storage": {"name": "backups"}, "shard": "commerce/0", "retries": 1});
    let mut world: World<VitessBackup> = World::with(object("VitessBackup", spec));
    world.settle();
    assert_eq!(world.args()[1], "zone1-0000000100");
    world.engine_ends(failed(Operation::Backup, Reason::FileUnreadable));
    world.pass(Duration::from_secs(10));
    world.settle();
    assert_eq!(world.args()[1], "zone1-0000000101");
}

// --- waiting -----------------------------------------------------------------------------------------------------------

fn holder(name: &str) -> Holder {
    Holder { name: name.into(), uid: name.into(), lives: true }
}

fn waiting(name: &str, since: &str, wants: &[&str]) -> Waiting {
    let wants = wants.iter().map(|want| (*want).to_owned()).collect();
    Waiting { name: format!("VitessBackup {name}"), uid: name.into(), since: since.parse().unwrap(), wants }
}

const TABLET_LEASE: &str = "vitess-backup-tablet-zone1-0000000101";
const EARLIER: &str = "2026-11-22T09:59:00Z";
const LATER: &str = "2026-11-22T10:01:00Z";

#[test]
fn who_waits_longest_goes_first_and_the_place_in_the_line_shows() {
    let mut world = backup(json!({}));
    world.seen.locks.insert(TABLET_LEASE.into(), holder("VitessRestore r"));
    world.seen.queue = vec![
        waiting("a", EARLIER, &["shard commerce/0", "tablet zone1-0000000101"]),
        waiting("b", LATER, &["tablet zone1-0000000101"]),
        waiting("c", EARLIER, &["tablet zone1-0000000999"]),
        waiting(UID, EARLIER, &["tablet zone1-0000000101"]),
    ];
    world.settle();
    let status = run(&world);
    let queue = status.queue.unwrap();
    assert_eq!(queue.position, 2, "only who came before and wants the same counts");
    assert_eq!(queue.since.unwrap().0.to_string(), "2026-11-22T10:00:00Z");
    assert_eq!(status.progress.unwrap().summary.as_deref(), Some("Queued (2)"));
    let message = world.condition(ENGINE_RUNNING).2;
    assert!(message.contains("busy with VitessRestore r") && message.ends_with("(number 2 in the line)"), "{message}");

    // It is free, and the one ahead has not taken it yet.
    world.seen.locks.clear();
    world.pass(Duration::from_secs(10));
    world.settle();
    assert!(world.condition(ENGINE_RUNNING).2.contains("VitessBackup a has waited for longer"));
    assert_eq!(world.made.len(), 0);
    world.seen.queue.remove(0);
    world.settle();
    assert_eq!((world.made.len(), run(&world).queue), (1, None));
    assert_eq!(world.told().iter().filter(|told| **told == "Waiting").count(), 1);
}

#[test]
fn who_could_not_go_now_keeps_nobody_waiting() {
    let mut world = backup(json!({}));
    world.seen.queue = vec![waiting("a", EARLIER, &["shard commerce/0", "tablet zone1-0000000100"])];
    world.seen.locks.insert("vitess-backup-tablet-zone1-0000000100".into(), holder("VitessRestore r"));
    world.settle();
    assert_eq!(world.made.len(), 1);
}

#[test]
fn each_state_of_waiting_has_a_deadline_of_its_own() {
    let deadlines = json!({"waitingDeadlines": {"accepted": "10m", "turn": "20m", "engineStart": "5m"}, "retries": 2});
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);

    let mut world = backup(deadlines.clone());
    world.seen.storage = None;
    world.settle();
    world.pass(minutes(9));
    assert_eq!(world.settle(), Requeue::After(Duration::from_secs(30)));
    world.pass(minutes(1));
    world.settle();
    let status = run(&world);
    assert_eq!((status.phase, reason(&status)), (Some(Phase::Failed), "DeadlineExceeded".to_owned()));
    let message = status.failure.unwrap().message;
    assert!(message.starts_with("waited for 10m, as long as spec.waitingDeadlines.accepted allows: Vit"), "{message}");
    assert_eq!(status.attempts, [], "another try would wait as long");

    let mut world = backup(deadlines.clone());
    world.seen.locks.insert(TABLET_LEASE.into(), holder("VitessRestore r"));
    world.settle();
    world.pass(minutes(19));
    world.settle();
    assert_eq!(run(&world).phase, Some(Phase::Pending));
    world.pass(minutes(1));
    world.settle();
    assert_eq!((run(&world).phase, run(&world).queue), (Some(Phase::Failed), None));
    assert!(run(&world).failure.unwrap().message.contains("spec.waitingDeadlines.turn"));

    let mut world = backup(with(deadlines, &json!({"retries": 0})));
    world.settle();
    world.pass(minutes(5));
    world.settle();
    assert_eq!((run(&world).phase, reason(&run(&world))), (Some(Phase::Failed), "EngineLost".to_owned()));
    assert!(run(&world).failure.unwrap().message.contains("did not start within 5m"));
}

#[test]
fn a_backup_is_waited_for_no_longer_than_the_spec_says() {
    let mut world = restore(json!({"waitForBackupInterval": "40s", "waitForBackupDeadline": "1m"}));
    world.settle();
    world.engine_ends(outcome(Operation::Restore, Verdict::NoBackup));
    assert!(matches!(world.step(), Requeue::After(wait) if wait <= Duration::from_secs(40)));
    world.pass(Duration::from_secs(40));
    world.settle();
    assert_eq!(world.made.len(), 2);
    world.engine_ends(outcome(Operation::Restore, Verdict::NoBackup));
    assert!(matches!(world.step(), Requeue::After(wait) if wait <= Duration::from_secs(20)), "not the whole interval");
    world.pass(Duration::from_secs(20));
    world.settle();
    let status = restored(&world);
    assert_eq!((status.phase, reason(&status), world.made.len()), (Some(Phase::Failed), "DeadlineExceeded".into(), 2));
    assert!(status.failure.unwrap().message.contains("spec.waitForBackupDeadline"));
    world.has_settled();
}

// --- vanishing ---------------------------------------------------------------------------------------------------------

#[test]
fn a_pod_that_ran_and_is_gone_is_lost_even_when_its_job_has_not_said_so_yet() {
    let mut world = backup(json!({}));
    world.settle();
    world.engine_runs(Step::CopyingFiles);
    // Long after a pod that had never started would have been given up as untouched.
    world.pass(Duration::from_secs(3600));
    let job = world.job_name();
    world.seen.jobs.get_mut(&job).unwrap().engine =
        EngineSeen::Starting { reason: "NoPodYet".into(), message: "no pod".into() };
    world.settle();
    assert_eq!(reason(&run(&world)), "EngineLost");
    assert!(run(&world).failure.unwrap().message.contains("its end"), "{:?}", run(&world).failure);
    assert!(!world.seen.jobs.contains_key(&job), "no second pod of it");
    assert_eq!(world.args()[0], "recover");
}

#[test]
fn a_silent_node_is_told_of_and_the_run_goes_on_when_it_speaks_again() {
    let mut world = backup(json!({}));
    world.settle();
    world.engine_runs(Step::CopyingFiles);
    let job = world.job_name();
    world.seen.jobs.get_mut(&job).unwrap().engine = EngineSeen::Unreachable { node: "node1".into() };
    world.settle();
    world.assert_condition(ENGINE_RUNNING, "Unknown", "NodeUnreachable");
    assert!(world.condition(ENGINE_RUNNING).2.contains("kubectl delete node node1"));
    assert_eq!(world.told().iter().filter(|told| **told == "NodeUnreachable").count(), 1);
    assert_eq!((run(&world).phase, world.made.len()), (Some(Phase::Running), 1), "the engine may be at work there");
    world.engine_runs(Step::CopyingFiles);
    world.assert_condition(ENGINE_RUNNING, "True", "Running");
    world.engine_ends(succeeded(Operation::Backup));
    assert_eq!(run(&world).phase, Some(Phase::Succeeded));
}
