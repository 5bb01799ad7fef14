use std::time::Duration;

use serde_json::json;

use super::super::world::{World, failed, object, outcome, succeeded};
use super::*;
use crate::backup::report::Operation;

fn restore(changes: &serde_json::Value) -> World<VitessRestore> {
    let mut spec = json!({
        "storage": {"name": "backups"}, "shard": "commerce/0", "target": {"tablet": "zone1-0000000102"},
        "existingData": "Replace",
    });
    for (key, value) in changes.as_object().unwrap() {
        spec[key] = value.clone();
    }
    World::with(object("VitessRestore", spec))
}

fn status(world: &World<VitessRestore>) -> VitessRestoreStatus {
    world.object.status.clone().unwrap()
}

fn phase(world: &World<VitessRestore>) -> Phase {
    status(world).run.phase.unwrap()
}

#[test]
fn a_restore_onto_a_tablet_goes_from_pending_to_succeeded() {
    let mut world = restore(&json!({"vtctld": {"address": "vtctld:15999"}}));
    world.settle();
    assert_eq!(phase(&world), Phase::Running);
    assert_eq!(
        world.args(),
        [
            "restore",
            "--keyspace=commerce",
            "--shard=0",
            "--tablet-dir=/vt/vtdataroot/vt_0000000102",
            "--mysqld=mysqlctld",
            "--mysqlctl-socket=/vt/vtdataroot/vt_0000000102/mysqlctl.sock",
            "--backup-storage-implementation=file",
            "--file-backup-storage-root=/backup-storage/demo",
            "--existing-data=replace",
            "--no-backup=empty",
            "--vtctld-server=vtctld:15999",
            "--tablet-alias=zone1-0000000102",
            "--report=json",
            "--termination-log=/dev/termination-log",
            "--deadline=6h",
        ]
    );
    world.engine_ends(succeeded(Operation::Restore));
    assert_eq!((phase(&world), status(&world).started_empty), (Phase::Succeeded, Some(false)));
    world.assert_condition("Complete", "True", "Succeeded");
    world.assert_condition("Replicating", "True", "CaughtUp");
    world.has_settled();
}

#[test]
fn the_backup_is_chosen_by_name_or_by_time() {
    let mut named =
        restore(&json!({"backup": {"name": "2021-04-29.133050.zone1-0000000101"}, "existingData": "Refuse"}));
    named.settle();
    assert!(named.args().contains(&"--backup-name=2021-04-29.133050.zone1-0000000101".to_owned()));
    assert!(named.args().contains(&"--existing-data=refuse".to_owned()));
    let mut dated = restore(&json!({"backup": {"atOrBefore": "2021-04-29.133050"}}));
    dated.settle();
    assert!(dated.args().contains(&"--restore-from-backup-ts=2021-04-29.133050".to_owned()));
}

#[test]
fn without_a_backup_and_without_an_interval_it_starts_empty_and_says_so() {
    let mut world = restore(&json!({}));
    world.settle();
    world.engine_ends(outcome(Operation::Restore, Verdict::StartedEmpty));
    assert_eq!((phase(&world), status(&world).started_empty), (Phase::Succeeded, Some(true)));
    assert!(world.condition("Complete").2.contains("commerce/0 has no backup in storage backups"));
    world.has_settled();
}

#[test]
fn with_an_interval_it_looks_again_until_there_is_a_backup() {
    let mut world = restore(&json!({"waitForBackupInterval": "10s"}));
    world.settle();
    assert!(world.args().contains(&"--no-backup=report".to_owned()));
    world.engine_runs(Step::ChoosingBackup);
    assert_eq!(phase(&world), Phase::Pending, "looking is not running yet");

    world.engine_ends(outcome(Operation::Restore, Verdict::NoBackup));
    let waiting = status(&world);
    assert_eq!(phase(&world), Phase::WaitingForBackup);
    assert_eq!((waiting.lookups, waiting.started_empty), (Some(1), None));
    assert_eq!(waiting.next_lookup_time.unwrap().0.to_string(), "2026-11-22T10:00:10Z");
    assert_eq!(world.seen.locks.len(), 0, "the tablet is anybody's between looks");
    assert_eq!(world.seen.jobs.len(), 0, "looks do not pile up");
    assert!(matches!(world.step(), Requeue::After(wait) if wait <= Duration::from_secs(10)));
    assert_eq!(world.made.len(), 1);

    world.pass(Duration::from_secs(10));
    world.settle();
    assert_eq!(world.job_name(), "nightly-11112222-restore-2");
    assert_eq!((phase(&world), status(&world).next_lookup_time), (Phase::WaitingForBackup, None));
    world.engine_ends(outcome(Operation::Restore, Verdict::NoBackup));
    assert_eq!(status(&world).lookups, Some(2));

    world.pass(Duration::from_secs(10));
    world.settle();
    world.engine_runs(Step::ClearingData);
    assert_eq!(phase(&world), Phase::Running);
    world.engine_ends(succeeded(Operation::Restore));
    assert_eq!(phase(&world), Phase::Succeeded);
    assert_eq!(world.told().iter().filter(|reason| **reason == "WaitingForBackup").count(), 1);
    world.has_settled();
}

#[test]
fn only_incomplete_backups_are_waited_out_with_an_interval_and_a_failure_without() {
    let mut world = restore(&json!({}));
    world.settle();
    world.engine_ends(failed(Operation::Restore, Reason::NoCompleteBackup));
    assert_eq!(
        (phase(&world), status(&world).run.failure.unwrap().reason.as_str()),
        (Phase::Failed, "NoCompleteBackup")
    );
    assert_eq!(status(&world).started_empty, None, "never empty where there is something");
    world.has_settled();

    let mut world = restore(&json!({"waitForBackupInterval": "10s"}));
    world.settle();
    world.engine_ends(failed(Operation::Restore, Reason::NoCompleteBackup));
    assert_eq!(phase(&world), Phase::WaitingForBackup);
    world.assert_condition(ENGINE_RUNNING, "False", "NoCompleteBackupYet");
    world.pass(Duration::from_secs(10));
    world.settle();
    world.engine_ends(succeeded(Operation::Restore));
    assert_eq!((phase(&world), status(&world).run.failure), (Phase::Succeeded, None));
}

#[test]
fn a_volume_is_filled_by_the_operators_own_image_when_it_is_there_and_free() {
    let mut world = restore(
        &json!({"target": {"persistentVolumeClaim": {"claimName": "empty", "tabletUid": 103, "root": "/a/"}}, "existingData": "Refuse"}),
    );
    world.settle();
    world.assert_condition(ACCEPTED, "False", "VolumeNotFound");
    world.add_claim("empty");
    world.seen.claim_users = vec![super::super::world::tablet_pod(103)];
    world.settle();
    world.assert_condition(ACCEPTED, "False", "VolumeInUse");
    world.seen.claim_users.clear();
    world.settle();
    let args = world.args();
    assert!(args.contains(&"--tablet-dir=/vt/vtdataroot/a/vt_0000000103".to_owned()), "{args:?}");
    assert!(args.contains(&"--mysqld=stopped".to_owned()));
    let pod = world.made.last().unwrap().spec.clone().unwrap().template.spec.unwrap();
    assert_eq!(pod.containers[0].image.as_deref(), Some("operator:1"));
    assert_eq!(pod.security_context.unwrap().fs_group, Some(999));
    assert!(world.seen.locks.contains_key("vitess-backup-volume-empty"));
    world.engine_dies();
    assert_eq!(phase(&world), Phase::Failed, "there is no tablet to put back");
    assert!(status(&world).run.failure.unwrap().remedy.contains("existingData: Replace"));
    world.has_settled();
}

#[test]
fn a_tablet_of_another_shard_is_refused() {
    let mut world = restore(&json!({"shard": "customer/0"}));
    world.settle();
    world.assert_condition(ACCEPTED, "False", "ShardMismatch");
    assert_eq!(world.made.len(), 0);
}

#[test]
fn a_restore_cut_short_ends_in_engine_lost_after_a_recovery() {
    let mut world = restore(&json!({}));
    world.settle();
    world.engine_runs(Step::CopyingFiles);
    world.engine_dies();
    assert_eq!(world.args()[0], "recover");
    world.engine_ends(failed(Operation::Recover, Reason::InterruptedRun));
    assert_eq!((phase(&world), status(&world).run.failure.unwrap().reason.as_str()), (Phase::Failed, "EngineLost"));
    world.assert_condition("TabletRecovered", "False", "InterruptedRun");
}

#[test]
fn deleting_a_restore_into_a_volume_stops_its_engine_and_lets_it_go() {
    let mut world = restore(&json!({"target": {"persistentVolumeClaim": {"claimName": "empty", "tabletUid": 103}}}));
    world.add_claim("empty");
    world.settle();
    world.engine_runs(Step::CopyingFiles);
    let job = world.job_name();
    world.delete();
    world.live_pod(&job);
    world.settle();
    assert!(!world.gone && world.seen.jobs.is_empty());
    world.seen.live_pods.clear();
    world.settle();
    assert!(world.gone);
    assert_eq!(phase(&world), Phase::Cancelled);
}
