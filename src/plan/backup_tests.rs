use std::time::Duration;

use serde_json::json;

use super::super::draft::ENGINE_RUNNING;
use super::super::observed::{EngineSeen, Holder, ServerSeen};
use super::super::world::{UID, World, failed, object, outcome, refused, succeeded, tablet_pod};
use super::*;
use crate::backup::failure::Reason;
use crate::backup::report::{Operation, ReplicationOutcome};
use crate::progress::Step;

fn of_tablet() -> World<VitessBackup> {
    World::with(object("VitessBackup", json!({"storage": {"name": "backups"}, "tablet": "zone1-0000000101"})))
}

fn of_shard() -> World<VitessBackup> {
    World::with(object("VitessBackup", json!({"storage": {"name": "backups"}, "shard": "commerce/0"})))
}

fn with_data_removed() -> World<VitessBackup> {
    let spec = json!({"storage": {"name": "backups"}, "tablet": "zone1-0000000101", "deletionPolicy": "Delete"});
    World::with(object("VitessBackup", spec))
}

fn phase(world: &World<VitessBackup>) -> Phase {
    world.object.status.as_ref().unwrap().run.phase.unwrap()
}

fn failure(world: &World<VitessBackup>) -> FailureStatus {
    world.object.status.as_ref().unwrap().run.failure.clone().unwrap()
}

#[test]
fn a_backup_of_a_tablet_goes_from_pending_to_succeeded_and_gives_back_what_it_held() {
    let mut world = of_tablet();
    world.step();
    let locked = (phase(&world), world.seen.locks.len(), world.made.len());
    assert_eq!(
        locked,
        (Phase::Pending, 2, 0),
        "what is about to be made is written down first, with the locks in hand"
    );
    assert_eq!(world.object.metadata.finalizers, Some(vec![names::FINALIZER_RUN.to_owned()]));
    let run = world.object.status.clone().unwrap().run;
    assert_eq!(run.job.unwrap().name, "nightly-11112222-backup-1");
    assert_eq!(run.backup_name.as_deref(), Some("2026-11-22.100000.zone1-0000000101"));
    world.settle();
    assert_eq!((phase(&world), world.made.len()), (Phase::Running, 1));
    assert_eq!(
        world.args(),
        [
            "backup",
            "zone1-0000000101",
            "--keyspace=commerce",
            "--shard=0",
            "--tablet-dir=/vt/vtdataroot/vt_0000000101",
            "--mysqld=mysqlctld",
            "--mysqlctl-socket=/vt/vtdataroot/vt_0000000101/mysqlctl.sock",
            "--backup-storage-implementation=file",
            "--file-backup-storage-root=/backup-storage/demo",
            "--backup-engine-implementation=builtin",
            "--backup-time=2026-11-22T10:00:00Z",
            "--report=json",
            "--termination-log=/dev/termination-log",
            "--deadline=6h",
        ]
    );
    world.engine_runs(Step::CopyingFiles);
    world.assert_condition(ENGINE_RUNNING, "True", "Running");
    world.engine_ends(succeeded(Operation::Backup));

    let run = world.object.status.clone().unwrap().run;
    assert_eq!(run.phase, Some(Phase::Succeeded));
    assert_eq!((run.size.as_deref(), run.size_bytes, run.files), (Some("392.0Mi"), Some(411_041_792), Some(120)));
    assert_eq!((run.downtime_seconds, run.copy_mode), (Some(3), None), "an engine before copyMode");
    assert_eq!(run.manifest.unwrap()["BackupMethod"], "builtin");
    assert_eq!(run.observed_generation, Some(1));
    world.assert_condition("Complete", "True", "Succeeded");
    world.assert_condition("Replicating", "True", "CaughtUp");
    assert_eq!(world.told(), ["Accepted", "EngineLaunched", "EngineStarted", "Succeeded"]);
    world.has_settled();
    let before = world.object.clone();
    assert_eq!(world.step(), Requeue::OnChange);
    assert_eq!(world.object, before, "an ended run is left alone");
}

#[test]
fn a_backup_that_was_allowed_to_lack_files_says_so_in_a_condition_an_event_and_its_warnings() {
    let far = "/far/t.ibd is outside of the directories that a backup has places for".to_owned();
    let mut world = of_tablet();
    world.settle();
    world.engine_ends(Outcome {
        warnings: vec!["w".to_owned()],
        not_carried: vec![far.clone()],
        ..succeeded(Operation::Backup)
    });
    let run = world.object.status.clone().unwrap().run;
    assert_eq!(run.phase, Some(Phase::Succeeded));
    assert_eq!(run.warnings, ["w".to_owned(), far.clone()]);
    world.assert_condition("Complete", "True", "Succeeded");
    world.assert_condition("Whole", "False", "FilesNotCarried");
    let whole = run.conditions.iter().find(|condition| condition.type_ == "Whole").unwrap();
    assert_eq!(whole.message, format!("a restore of this backup lacks: {far}"));
    assert!(world.told().contains(&"FilesNotCarried"), "{:?}", world.told());
    // One that has everything says nothing of the kind.
    let mut world = of_tablet();
    world.settle();
    world.engine_ends(succeeded(Operation::Backup));
    let run = world.object.status.clone().unwrap().run;
    assert!(run.conditions.iter().all(|condition| condition.type_ != "Whole"));
}

#[test]
fn what_is_missing_is_a_condition_that_heals_by_itself() {
    let mut world = of_tablet();
    let storage = world.seen.storage.take();
    world.settle();
    world.assert_condition(ACCEPTED, "False", "StorageNotFound");
    // A spec cannot be changed: no remedy asks for that.
    let otherwise = "or delete this object and create it with the right";
    let message = world.condition(ACCEPTED).2;
    assert!(message.ends_with(&format!("create it, {otherwise} spec.storage.name")), "{message}");
    assert_eq!(phase(&world), Phase::Pending);
    let run = world.object.status.clone().unwrap().run;
    assert_eq!(run.progress.unwrap().summary.as_deref(), Some("StorageNotFound"), "it shows in kubectl get");
    world.seen.storage = storage;
    let claim = world.seen.claims.remove("vitess-backups").unwrap();
    world.settle();
    world.assert_condition(ACCEPTED, "False", "VolumeNotFound");
    world.seen.claims.insert("vitess-backups".into(), claim);
    world.seen.tablets.clear();
    world.settle();
    world.assert_condition(ACCEPTED, "False", "TabletNotFound");
    let message = world.condition(ACCEPTED).2;
    assert!(message.contains("planetscale.com/tablet-uid=101"), "{message}");
    assert!(message.ends_with(&format!("start it, {otherwise} alias")), "{message}");
    assert_eq!(world.made.len(), 0);
    world.seen.tablets.push(tablet_pod(101));
    world.settle();
    world.assert_condition(ACCEPTED, "True", "Accepted");
    assert_eq!(world.made.len(), 1);
    assert_eq!(world.object.status.clone().unwrap().run.progress, None);
    assert_eq!(world.told(), ["StorageNotFound", "VolumeNotFound", "TabletNotFound", "Accepted", "EngineLaunched"]);
}

#[test]
fn a_volume_that_only_one_pod_may_mount_is_not_accepted() {
    let mut world = of_tablet();
    let claim = serde_json::from_value(json!({"spec": {"accessModes": ["ReadWriteOncePod"]}})).unwrap();
    world.seen.claims.insert("data-101".into(), claim);
    world.settle();
    world.assert_condition(ACCEPTED, "False", "VolumeNotShared");
}

#[test]
fn a_second_run_on_a_busy_tablet_waits_and_says_for_whom() {
    let mut world = of_tablet();
    let holder = Holder { name: "VitessRestore other".into(), uid: "other".into(), lives: true };
    let lease = "vitess-backup-tablet-zone1-0000000101".to_owned();
    world.seen.locks.insert(lease.clone(), holder);
    world.settle();
    assert_eq!((phase(&world), world.made.len()), (Phase::Pending, 0));
    let (_, reason, message) = world.condition(ENGINE_RUNNING);
    assert_eq!(reason, "Busy");
    assert!(message.contains("tablet zone1-0000000101 is busy with VitessRestore other"), "{message}");
    world.seen.locks.get_mut(&lease).unwrap().lives = false;
    world.settle();
    assert_eq!(world.made.len(), 1, "a lock whose holder has ended is taken over");
}

#[test]
fn a_shards_backup_takes_the_first_tablet_that_is_no_primary() {
    let mut world = of_shard();
    world.settle();
    assert_eq!(world.args()[1], "zone1-0000000100");
    world.engine_ends(refused(Reason::TabletIsPrimary));
    assert_eq!(world.args()[1], "zone1-0000000101");
    assert!(!world.args().contains(&"--allow-primary".to_owned()));
    assert_eq!(phase(&world), Phase::Running, "and the phase did not go back");
    assert_eq!(world.job_name(), "nightly-11112222-backup-2");
    let leases: Vec<&String> = world.seen.locks.keys().collect();
    assert_eq!(leases.len(), 2, "the first tablet is free again: {leases:?}");
    assert_eq!(world.seen.jobs.len(), 1, "the first try's Job is gone");
    world.engine_ends(succeeded(Operation::Backup));
    assert_eq!(phase(&world), Phase::Succeeded);
    let tried = &world.object.status.as_ref().unwrap().tried;
    assert_eq!((tried.len(), tried[0].reason.as_str()), (1, "TabletIsPrimary"));
}

#[test]
fn a_shards_backup_skips_tablets_that_are_not_ready_busy_or_of_another_kind() {
    let mut world = of_shard();
    let set = |world: &mut World<VitessBackup>, name: &str, change: &dyn Fn(&mut k8s_openapi::api::core::v1::Pod)| {
        let pod = world.seen.tablets.iter_mut().find(|pod| pod.metadata.name.as_deref() == Some(name)).unwrap();
        change(pod);
    };
    set(&mut world, "tablet-100", &|pod| pod.status.as_mut().unwrap().conditions = None);
    let holder = Holder { name: "VitessRestore r".into(), uid: "r".into(), lives: true };
    world.seen.locks.insert("vitess-backup-tablet-zone1-0000000101".into(), holder);
    set(&mut world, "tablet-102", &|pod| {
        pod.metadata.labels.as_mut().unwrap().insert("planetscale.com/tablet-type".into(), "drained".into());
    });
    let busy = world.seen.locks.clone();
    world.seen.locks.clear();
    set(&mut world, "tablet-101", &|pod| pod.status.as_mut().unwrap().conditions = None);
    world.settle();
    let (_, reason, message) = world.condition(ACCEPTED);
    assert_eq!(reason, "TabletNotReady");
    assert!(message.contains("tablet-100") && message.contains("tablet-101"), "{message}");
    assert!(!message.contains("tablet-102"), "a drained tablet is no candidate: {message}");
    // What is only busy is stood in line for.
    let ready = tablet_pod(101).status;
    set(&mut world, "tablet-101", &|pod| pod.status.clone_from(&ready));
    world.seen.locks = busy;
    world.settle();
    world.assert_condition(ENGINE_RUNNING, "False", "Busy");
    assert!(world.condition(ENGINE_RUNNING).2.contains("VitessRestore r"), "{}", world.condition(ENGINE_RUNNING).2);
    let queue = world.object.status.clone().unwrap().run.queue.unwrap();
    assert_eq!(queue.wants, ["shard commerce/0", "tablet zone1-0000000101"]);
    world.seen.locks.clear();
    world.settle();
    assert_eq!(world.args()[1], "zone1-0000000101");
}

#[test]
fn a_shard_of_primaries_only_fails_and_says_so_unless_a_primary_may_be_taken() {
    let run = |allow_primary: bool| {
        let spec = json!({"storage": {"name": "backups"}, "shard": "commerce/0", "allowPrimary": allow_primary});
        let mut world: World<VitessBackup> = World::with(object("VitessBackup", spec));
        for _ in 0..3 {
            world.settle();
            world.engine_ends(refused(Reason::TabletIsPrimary));
        }
        world
    };
    let mut denied = run(false);
    assert_eq!(phase(&denied), Phase::Failed);
    assert_eq!(failure(&denied).reason, "TabletIsPrimary");
    assert!(failure(&denied).remedy.contains("allowPrimary"), "{:?}", failure(&denied));
    denied.has_settled();

    let mut allowed = run(true);
    allowed.settle();
    assert_eq!((allowed.made.len(), allowed.args()[1].as_str()), (4, "zone1-0000000100"));
    assert!(allowed.args().contains(&"--allow-primary".to_owned()));
    allowed.engine_ends(refused(Reason::TabletIsPrimary));
    assert_eq!(phase(&allowed), Phase::Failed, "once is enough");
}

#[test]
fn a_failure_is_kept_with_its_remedy_and_log() {
    let mut world = of_tablet();
    world.settle();
    world.engine_ends(failed(Operation::Backup, Reason::StorageDenied));
    assert_eq!(phase(&world), Phase::Failed);
    let expected = FailureStatus {
        reason: "StorageDenied".into(),
        message: "it failed".into(),
        remedy: "mend it".into(),
        log_tail: vec!["last words".into()],
    };
    assert_eq!(failure(&world), expected);
    world.assert_condition("Complete", "False", "StorageDenied");
    world.has_settled();
    assert_eq!(world.made.len(), 1, "nothing was left to put back");
}

#[test]
fn a_killed_engine_ends_in_engine_lost_with_the_tablet_put_back() {
    let mut world = of_tablet();
    world.settle();
    world.engine_runs(Step::CopyingFiles);
    world.engine_dies();
    assert_eq!(phase(&world), Phase::Running, "not over before the tablet is back");
    assert_eq!(world.job_name(), "nightly-11112222-recover-1");
    assert_eq!(world.args()[..2], ["recover", "--tablet-dir=/vt/vtdataroot/vt_0000000101"]);
    assert_eq!(world.made.last().unwrap().metadata.owner_references, None, "it outlives a foreground deletion");
    world.assert_condition("TabletRecovered", "Unknown", "Recovering");
    let put_back =
        Outcome { replication: Some(ReplicationOutcome::CaughtUp), ..outcome(Operation::Recover, Verdict::Succeeded) };
    world.engine_ends(put_back);
    assert_eq!((phase(&world), failure(&world).reason.as_str()), (Phase::Failed, "EngineLost"));
    assert!(failure(&world).message.contains("exit code 137"), "{}", failure(&world).message);
    world.assert_condition("TabletRecovered", "True", "Recovered");
    world.assert_condition("Replicating", "True", "CaughtUp");
    world.has_settled();
}

#[test]
fn a_job_that_somebody_deleted_is_an_engine_lost_and_recovery_waits_for_its_pod() {
    let mut world = of_tablet();
    world.settle();
    world.engine_runs(Step::CopyingFiles);
    let job = world.job_name();
    world.seen.jobs.clear();
    world.live_pod(&job);
    world.settle();
    assert_eq!(failure(&world).reason, "EngineLost");
    world.assert_condition("TabletRecovered", "Unknown", "EngineStopping");
    assert_eq!(world.made.len(), 1, "two engines on one tablet never");
    world.seen.live_pods.clear();
    world.settle();
    assert_eq!(world.job_name(), "nightly-11112222-recover-1");
}

#[test]
fn recovery_gives_up_after_three_tries_and_says_what_is_left_to_do() {
    let mut world = of_tablet();
    world.settle();
    world.engine_dies();
    for number in 1..=3 {
        assert_eq!(world.job_name(), format!("nightly-11112222-recover-{number}"));
        world.engine_ends(failed(Operation::Recover, Reason::MysqldNotStarted));
    }
    assert_eq!((phase(&world), failure(&world).reason.as_str()), (Phase::Failed, "EngineLost"));
    world.assert_condition("TabletRecovered", "False", "MysqldNotStarted");
    assert!(world.condition("TabletRecovered").2.contains("check the tablet by hand"));
    world.has_settled();
}

#[test]
fn recovery_of_a_tablet_that_does_not_come_back_ends_too() {
    let mut world = of_tablet();
    world.settle();
    world.seen.tablets.clear();
    world.engine_dies();
    world.assert_condition("TabletRecovered", "Unknown", "TabletNotFound");
    let message = world.condition("TabletRecovered").2;
    assert_eq!(message, "tablet zone1-0000000101 has no pod that stays: it is put back when it has one");
    assert_eq!(phase(&world), Phase::Running);
    world.pass(Duration::from_secs(46 * 60));
    world.settle();
    assert_eq!(phase(&world), Phase::Failed);
    world.assert_condition("TabletRecovered", "False", "DeadlineExceeded");
}

#[test]
fn an_engine_that_could_not_restart_the_tablet_is_followed_by_one_that_tries_again() {
    let mut world = of_tablet();
    world.settle();
    world.engine_ends(failed(Operation::Backup, Reason::MysqldNotStarted));
    assert_eq!(world.args()[0], "recover");
    world.engine_ends(outcome(Operation::Recover, Verdict::Succeeded));
    assert_eq!(
        (phase(&world), failure(&world).reason.as_str()),
        (Phase::Failed, "MysqldNotStarted"),
        "the cause is kept"
    );
}

#[test]
fn a_pod_that_never_starts_fails_the_run_without_touching_the_tablet() {
    let mut world = of_tablet();
    world.settle();
    let name = world.job_name();
    world.seen.jobs.get_mut(&name).unwrap().engine =
        EngineSeen::Starting { reason: "ErrImagePull".into(), message: "not found".into() };
    world.settle();
    world.assert_condition(ENGINE_RUNNING, "False", "ErrImagePull");
    world.pass(Duration::from_secs(15 * 60));
    world.settle();
    assert_eq!(phase(&world), Phase::Failed);
    assert!(failure(&world).message.contains("ErrImagePull: not found"), "{:?}", failure(&world));
    assert_eq!((world.made.len(), world.seen.jobs.len()), (1, 0));
}

#[test]
fn a_job_of_somebody_else_under_our_name_is_not_adopted() {
    let mut world = of_tablet();
    world.settle();
    let name = world.job_name();
    world.seen.jobs.get_mut(&name).unwrap().owner_uid = Some("another object".into());
    world.settle();
    world.assert_condition(ENGINE_RUNNING, "False", "JobNameTaken");
}

#[test]
fn deleting_an_object_that_retains_its_data_lets_it_go_at_once() {
    let mut world = of_tablet();
    world.settle();
    world.engine_ends(succeeded(Operation::Backup));
    world.delete();
    world.settle();
    assert!(world.gone);
    assert_eq!(world.made.len(), 1, "the data stays");
}

#[test]
fn deleting_an_object_with_its_data_removes_the_data_first() {
    let mut world = with_data_removed();
    world.settle();
    world.engine_ends(succeeded(Operation::Backup));
    assert_eq!(world.object.metadata.finalizers, Some(vec![names::FINALIZER_REMOVE_BACKUP.to_owned()]));
    world.delete();
    world.settle();
    assert!(!world.gone);
    let args = world.args();
    assert_eq!(args[0], "remove");
    assert!(!args.contains(&"--force".to_owned()), "a shard's only complete backup stays: {args:?}");
    assert_eq!(args[args.len() - 2..], ["commerce/0", "2026-11-22.100000.zone1-0000000101"]);
    let pod = world.made.last().unwrap().spec.clone().unwrap().template.spec.unwrap();
    assert_eq!(pod.security_context.unwrap().run_as_user, Some(4242), "as whoever wrote the files");
    assert_eq!(pod.containers[0].image.as_deref(), Some("operator:1"));
    world.engine_ends(outcome(Operation::Remove, Verdict::Succeeded));
    assert!(world.gone);
    assert!(world.told().contains(&"BackupRemoved"));
}

#[test]
fn a_removal_that_fails_is_tried_again_ever_more_seldom_and_can_be_skipped() {
    let mut world = with_data_removed();
    world.settle();
    world.engine_ends(succeeded(Operation::Backup));
    world.delete();
    world.settle();
    world.engine_ends(failed(Operation::Remove, Reason::StorageDenied));
    world.assert_condition("Removed", "False", "StorageDenied");
    assert!(world.condition("Removed").2.contains("backup.vitess.io/skip-removal=true"));
    assert_eq!(world.made.len(), 2, "not at once");
    world.pass(Duration::from_secs(20));
    world.settle();
    assert_eq!(world.job_name(), "nightly-11112222-remove-2");
    let skip = [(names::ANNOTATION_SKIP_REMOVAL.to_owned(), "true".to_owned())].into();
    world.object.metadata.annotations = Some(skip);
    world.settle();
    assert!(world.gone);
    assert!(world.told().contains(&"DataLeft"));
}

#[test]
fn a_shards_only_complete_backup_is_removed_when_a_person_says_so_on_the_object() {
    let mut world = with_data_removed();
    world.settle();
    world.engine_ends(succeeded(Operation::Backup));
    world.delete();
    world.settle();
    world.engine_ends(failed(Operation::Remove, Reason::LastGoodBackup));
    world.assert_condition("Removed", "False", "LastGoodBackup");
    let message = world.condition("Removed").2;
    assert_eq!(
        message,
        "the data was not removed: it failed: take another backup, and the removal goes on by itself; trying again in 20 s \
         (to remove it all the same, annotate this object with backup.vitess.io/force-removal=true; to let this object go and \
         leave the data, annotate it with backup.vitess.io/skip-removal=true)"
    );
    assert!(!world.gone && world.made.len() == 2);
    let force = [(names::ANNOTATION_FORCE_REMOVAL.to_owned(), "true".to_owned())].into();
    world.object.metadata.annotations = Some(force);
    world.settle();
    assert_eq!(world.made.len(), 3, "at once");
    assert!(world.args().contains(&"--force".to_owned()));
    world.engine_ends(outcome(Operation::Remove, Verdict::Succeeded));
    assert!(world.gone);
}

#[test]
fn a_removal_that_waits_sees_within_a_minute_that_its_namespace_is_being_deleted() {
    let mut world = with_data_removed();
    world.settle();
    world.engine_ends(succeeded(Operation::Backup));
    world.delete();
    world.settle();
    for number in 1..8 {
        world.engine_ends(failed(Operation::Remove, Reason::StorageUnreachable));
        let requeue = world.step();
        assert!(matches!(requeue, Requeue::After(wait) if wait <= Duration::from_secs(60)), "{requeue:?}");
        world.pass(Duration::from_secs(10 << number));
        world.settle();
    }
    world.engine_ends(failed(Operation::Remove, Reason::StorageUnreachable));
    world.seen.namespace_terminating = true;
    world.settle();
    assert!(world.gone);
}

#[test]
fn a_record_launches_nothing_and_takes_its_data_along_only_when_it_is_told_to() {
    let record = |policy: &str| {
        let spec = json!({
            "storage": {"name": "backups"}, "shard": "commerce/0", "deletionPolicy": policy,
            "backupName": "2026-11-22.100000.zone1-0000000101",
        });
        World::<VitessBackup>::with(object("VitessBackup", spec))
    };
    let mut world = record("Retain");
    assert_eq!(world.settle(), Requeue::OnChange);
    world.assert_condition("Complete", "Unknown", "NotListedYet");
    assert_eq!(phase(&world), Phase::Pending);
    world.delete();
    world.settle();
    assert!(world.gone && world.made.is_empty());

    let mut world = record("Delete");
    world.settle();
    world.object.spec.deletion_policy = DeletionPolicy::Retain;
    world.settle();
    assert_eq!(world.object.metadata.finalizers, Some(vec![]), "a policy that was taken back");
    world.object.spec.deletion_policy = DeletionPolicy::Delete;
    world.settle();
    world.delete();
    world.settle();
    assert_eq!(world.args()[0], "remove");
    world.engine_ends(outcome(Operation::Remove, Verdict::Succeeded));
    assert!(world.gone);
}

#[test]
fn data_that_is_gone_already_does_not_keep_the_object() {
    let mut world = with_data_removed();
    world.settle();
    world.engine_ends(succeeded(Operation::Backup));
    world.delete();
    world.settle();
    world.engine_ends(failed(Operation::Remove, Reason::BackupNotFound));
    assert!(world.gone);
}

#[test]
fn neither_a_terminating_namespace_nor_a_storage_that_is_gone_keeps_the_object_for_ever() {
    let ended = || {
        let mut world = with_data_removed();
        world.settle();
        world.engine_ends(succeeded(Operation::Backup));
        world.delete();
        world
    };
    let mut world = ended();
    world.seen.namespace_terminating = true;
    world.settle();
    assert!(world.gone && world.made.len() == 1);
    assert!(world.told().contains(&"DataLeft"));

    let mut world = ended();
    world.seen.storage = None;
    world.settle();
    assert!(!world.gone);
    world.assert_condition("Removed", "False", "StorageNotFound");
    let message = world.condition("Removed").2;
    assert!(message.contains("VitessBackupStorage backups does not exist any more; put that right"), "{message}");
    world.pass(Duration::from_secs(11 * 60));
    world.settle();
    assert!(world.gone);
    assert!(world.told().contains(&"DataLeft"));
}

#[test]
fn deleting_an_object_whose_engine_runs_stops_it_and_puts_the_tablet_back() {
    let mut world = of_tablet();
    world.settle();
    world.engine_runs(Step::CopyingFiles);
    let job = world.job_name();
    world.delete();
    world.live_pod(&job);
    world.settle();
    assert!(!world.seen.jobs.contains_key(&job), "the engine is told to stop");
    assert!(!world.gone);
    world.seen.live_pods.clear();
    world.settle();
    assert_eq!(world.args()[0], "recover");
    world.engine_ends(outcome(Operation::Recover, Verdict::Succeeded));
    assert!(world.gone);
    assert_eq!(phase(&world), Phase::Cancelled);
    assert_eq!(world.seen.locks.len(), 0);
}

#[test]
fn deleting_an_object_that_waits_lets_it_go_at_once() {
    let mut world = with_data_removed();
    world.seen.storage = None;
    world.settle();
    world.delete();
    world.settle();
    assert!(world.gone && world.made.is_empty());

    // and one that holds its locks, and had not launched yet
    let mut world = of_tablet();
    world.step();
    world.delete();
    world.settle();
    assert!(world.gone && world.made.is_empty());
    assert_eq!(world.seen.locks.len(), 0);
}

#[test]
fn a_terminating_namespace_does_not_wait_for_a_run() {
    let mut world = of_tablet();
    world.settle();
    world.engine_runs(Step::CopyingFiles);
    world.seen.namespace_terminating = true;
    world.delete();
    world.settle();
    assert!(world.gone);
}

#[test]
fn a_tablet_that_vanishes_before_the_launch_is_waited_for() {
    let mut world = of_tablet();
    world.step();
    assert!(world.object.status.as_ref().unwrap().run.job.is_some());
    world.seen.tablets.clear();
    world.settle();
    assert_eq!((phase(&world), world.made.len()), (Phase::Pending, 0));
    world.seen.tablets.push(tablet_pod(101));
    world.settle();
    assert_eq!(world.made.len(), 1);
}

#[test]
fn the_name_of_a_run_that_is_launched_late_is_that_of_its_launch() {
    let mut world = of_tablet();
    let storage = world.seen.storage.take();
    world.settle();
    world.pass(Duration::from_secs(3600));
    world.seen.storage = storage;
    world.settle();
    let run = world.object.status.as_ref().unwrap().run.clone();
    assert_eq!(run.backup_name.as_deref(), Some("2026-11-22.110000.zone1-0000000101"));
    assert_eq!(world.seen.locks.values().map(|holder| holder.uid.as_str()).collect::<Vec<_>>(), [UID, UID]);
}

fn by_xtrabackup(stream_mode: &str, place: (&str, &str)) -> World<VitessBackup> {
    let spec = json!({
        "storage": {"name": "backups"}, (place.0): place.1, "engine": "xtrabackup",
        "xtrabackup": {"user": "vt_backup", "streamMode": stream_mode},
    });
    World::with(object("VitessBackup", spec))
}

fn server(backup: &str, shard: &str, finished: &str, mysql_version: &str) -> ServerSeen {
    ServerSeen {
        backup: backup.into(),
        shard: shard.into(),
        finished: finished.parse().unwrap(),
        mysql_version: mysql_version.into(),
    }
}

#[test]
fn a_backup_by_xtrabackup_succeeds_without_downtime_and_without_a_word_of_replication() {
    let mut world = by_xtrabackup("xbstream", ("tablet", "zone1-0000000101"));
    world.settle();
    let args = world.args();
    assert_eq!(
        args[9..args.len() - 3],
        [
            "--backup-engine-implementation=xtrabackup",
            "--xtrabackup-user=vt_backup",
            "--xtrabackup-stream-mode=xbstream",
            "--backup-time=2026-11-22T10:00:00Z",
        ]
    );
    world.engine_runs(Step::CopyingFiles);
    world.engine_ends(Outcome {
        engine: Some("xtrabackup".into()),
        downtime_seconds: None,
        replication: None,
        ..succeeded(Operation::Backup)
    });
    let run = world.object.status.clone().unwrap().run;
    assert_eq!((run.phase, run.engine.as_deref()), (Some(Phase::Succeeded), Some("xtrabackup")));
    assert_eq!((run.downtime_seconds, run.copy_mode), (None, None));
    assert!(run.conditions.iter().all(|condition| condition.type_ != "Replicating"), "{:?}", run.conditions);
    world.has_settled();
}

#[test]
fn what_xtrabackup_failed_for_is_a_condition_an_event_and_the_failure() {
    for reason in [
        Reason::XtrabackupUserMissing,
        Reason::XtrabackupNotFound,
        Reason::TarNotSupported,
        Reason::UnsupportedServerVersion,
        Reason::XtrabackupDenied,
        Reason::ServerGone,
        Reason::XtrabackupFailed,
    ] {
        let mut world = by_xtrabackup("xbstream", ("tablet", "zone1-0000000101"));
        world.settle();
        world.engine_ends(failed(Operation::Backup, reason));
        assert_eq!((phase(&world), failure(&world).reason), (Phase::Failed, format!("{reason:?}")));
        world.assert_condition("Complete", "False", &format!("{reason:?}"));
        assert!(world.told().contains(&"Failed"), "{:?}", world.told());
        world.has_settled();
        assert_eq!(world.made.len(), 1, "the tablet was left alone: nothing to put back");
    }
}

#[test]
fn a_tar_stream_of_a_shard_that_is_known_to_run_mysql_8_is_refused_before_a_pod_starts() {
    let mysql_8 = "Ver 8.0.36 MySQL Community Server - GPL";
    for place in [("tablet", "zone1-0000000101"), ("shard", "commerce/0")] {
        let mut world = by_xtrabackup("tar", place);
        world.seen.servers = vec![
            server("newest", "commerce/0", "2026-11-21T10:00:00Z", mysql_8),
            server("older", "commerce/0", "2026-11-20T10:00:00Z", "Ver 5.7.44 MySQL Community Server (GPL)"),
        ];
        world.settle();
        world.assert_condition(ACCEPTED, "False", &format!("{:?}", Reason::TarNotSupported));
        let message = world.condition(ACCEPTED).2;
        assert!(message.contains("VitessBackup newest") && message.contains(mysql_8), "{message}");
        assert!(message.ends_with("set streamMode: xbstream"), "{message}");
        assert_eq!((phase(&world), world.made.len(), world.seen.locks.len()), (Phase::Pending, 0, 0));
        assert_eq!(world.told(), ["TarNotSupported"]);
    }
}

#[test]
fn a_tar_stream_is_left_to_the_engine_where_nothing_speaks_against_it() {
    let (mysql_8, mysql_5) = ("Ver 8.0.36 MySQL Community Server - GPL", "Ver 5.7.44 MySQL Community Server (GPL)");
    let (early, late) = ("2026-11-20T10:00:00Z", "2026-11-21T10:00:00Z");
    for servers in [
        vec![],
        vec![server("a", "commerce/-80", early, mysql_8)],
        vec![server("a", "commerce/0", early, mysql_8), server("b", "commerce/0", late, mysql_5)],
        vec![server("a", "commerce/0", late, "Ver 11.8.3-MariaDB-0+deb13u1 Debian 13")],
    ] {
        let mut world = by_xtrabackup("tar", ("tablet", "zone1-0000000101"));
        world.seen.servers.clone_from(&servers);
        world.settle();
        assert_eq!(world.made.len(), 1, "{servers:?}");
    }
    let mut world = by_xtrabackup("xbstream", ("tablet", "zone1-0000000101"));
    world.seen.servers = vec![server("a", "commerce/0", late, mysql_8)];
    world.settle();
    assert_eq!(world.made.len(), 1);
}

#[test]
fn a_server_is_known_by_the_manifest_of_a_backup_that_succeeded() {
    let read = |status: serde_json::Value| {
        let mut backup: VitessBackup =
            object("VitessBackup", json!({"storage": {"name": "backups"}, "shard": "commerce/0"}));
        backup.status = serde_json::from_value(status).unwrap();
        ServerSeen::of(&backup)
    };
    let status = |phase: &str, version: &str| {
        json!({
            "phase": phase, "shard": "commerce/0", "finishedTime": "2026-11-21T10:00:00Z",
            "manifest": {"MySQLVersion": version},
        })
    };
    let expected = server("nightly", "commerce/0", "2026-11-21T10:00:00Z", "Ver 8.0.36");
    assert_eq!(read(status("Succeeded", "Ver 8.0.36")), Some(expected));
    assert_eq!(read(status("Failed", "Ver 8.0.36")), None);
    assert_eq!(read(status("Succeeded", "")), None);
    assert_eq!(read(json!({"phase": "Succeeded", "shard": "commerce/0"})), None);
    assert_eq!(read(json!(null)), None);
}
