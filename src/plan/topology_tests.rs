use serde_json::json;

use super::super::draft::ENGINE_RUNNING;
use super::super::world::{World, failed, object, outcome};
use super::*;
use crate::backup::failure::Reason;
use crate::backup::report::Operation;
use crate::backup::topology::Part;
use crate::progress::Step;

fn backup(changes: &serde_json::Value) -> World<VitessTopologyBackup> {
    let mut spec = json!({"storage": {"name": "backups"}, "etcd": {"endpoints": ["etcd:2379"]}});
    for (key, value) in changes.as_object().unwrap() {
        spec[key] = value.clone();
        if value.is_null() {
            spec.as_object_mut().unwrap().remove(key);
        }
    }
    World::with(object(KIND, spec))
}

fn status(world: &World<VitessTopologyBackup>) -> VitessTopologyBackupStatus {
    world.object.status.clone().unwrap()
}

fn phase(world: &World<VitessTopologyBackup>) -> Phase {
    status(world).run.phase.unwrap()
}

const NAME: &str = "2026-11-22.100000.global.etcd";

fn made() -> Outcome {
    let time = "2026-11-22T10:00:09Z".parse().unwrap();
    Outcome {
        backup_name: Some(NAME.into()),
        size_bytes: Some(20_512),
        files: Some(1),
        warnings: vec!["near its quota".into()],
        topology: Some(Descriptor {
            name: NAME.into(),
            server: TopologyServer::Etcd,
            cell: "global".into(),
            endpoint: "etcd:2379".into(),
            method: "snapshot".into(),
            server_version: Some("3.5.16".into()),
            member: Some("8e9e05c5".into()),
            cluster: None,
            point: Point { revision: Some(42), ..Point::default() },
            stale: false,
            start_time: time,
            finished_time: time,
            size_bytes: 20_512,
            in_use_bytes: None,
            quota_bytes: Some(2_147_483_648),
            sha256: "00ff".into(),
            parts: vec![Part { name: "snapshot.db".into(), size_bytes: 20_512, sha256: "00ff".into() }],
        }),
        ..outcome(Operation::TopologyBackup, Verdict::Succeeded)
    }
}

#[test]
fn a_backup_goes_from_pending_to_succeeded_and_tells_what_it_has() {
    let mut world = backup(&json!({}));
    world.settle();
    assert_eq!(phase(&world), Phase::Running);
    assert_eq!(
        world.args(),
        [
            "topology",
            "backup",
            "--topo-implementation=etcd2",
            "--topo-server-address=etcd:2379",
            "--cell=global",
            "--backup-time=2026-11-22T10:00:00Z",
            "--backup-storage-implementation=file",
            "--file-backup-storage-root=/backup-storage/demo",
            "--report=json",
            "--termination-log=/dev/termination-log",
            "--deadline=6h",
        ]
    );
    assert_eq!(status(&world).run.backup_name.as_deref(), Some(NAME), "known before the engine says so");
    world.engine_runs(Step::TakingSnapshot);
    assert_eq!(status(&world).run.progress.unwrap().summary.as_deref(), Some("TakingSnapshot"));
    world.engine_ends(made());
    let done = status(&world);
    assert_eq!(
        (phase(&world), done.server.as_deref(), done.at.as_deref()),
        (Phase::Succeeded, Some("etcd"), Some("revision 42"))
    );
    assert_eq!(
        (done.revision, done.sha256.as_deref(), done.member.as_deref()),
        (Some(42), Some("00ff"), Some("8e9e05c5"))
    );
    assert_eq!((done.run.size.as_deref(), done.run.warnings.len()), (Some("20.0Ki"), 1));
    assert_eq!(done.quota_bytes, Some(2_147_483_648));
    world.assert_condition("Complete", "True", "Succeeded");
    world.has_settled();
}

/// A volume's name, the Secret that it is, and where it is mounted.
type Mounted = (&'static str, Option<&'static str>, &'static str);

fn assert_newest_pod_has(world: &World<VitessTopologyBackup>, expected: &[Mounted]) {
    let pod = world.made.last().unwrap().spec.clone().unwrap().template.spec.unwrap();
    assert_eq!((pod.containers.len(), pod.init_containers), (1, None));
    let engine = &pod.containers[0];
    assert_eq!(engine.image.as_deref(), Some("operator:1"));
    assert_eq!((&engine.env, &engine.env_from), (&None, &None), "nor by any variable");
    assert_eq!(pod.automount_service_account_token, Some(false));
    let volumes: Vec<_> = pod
        .volumes
        .iter()
        .flatten()
        .map(|volume| (volume.name.as_str(), volume.secret.as_ref().and_then(|secret| secret.secret_name.as_deref())))
        .collect();
    let expected_volumes: Vec<_> = expected.iter().map(|(name, secret, _)| (*name, *secret)).collect();
    assert_eq!(volumes, expected_volumes);
    let mounts: Vec<_> =
        engine.volume_mounts.iter().flatten().map(|mount| (mount.name.as_str(), mount.mount_path.as_str())).collect();
    let expected_mounts: Vec<_> = expected.iter().map(|(name, _, path)| (*name, *path)).collect();
    assert_eq!(mounts, expected_mounts);
}

#[test]
fn the_pod_is_the_operators_own_image_with_the_secrets_and_no_others_get_them() {
    let storage: Mounted = ("vitess-backup-storage", None, "/backup-storage");
    let tls: Mounted = ("vitess-topology-tls", Some("etcd-tls"), "/topology-tls");
    let credentials: Mounted = ("vitess-topology-credentials", Some("etcd-root"), "/topology-credentials");
    let (tls_secret, credentials_secret) = (json!({"name": "etcd-tls"}), json!({"name": "etcd-root"}));
    for (tls_secret, credentials_secret, expected) in [
        (None, None, vec![storage]),
        (Some(&tls_secret), None, vec![storage, tls]),
        (None, Some(&credentials_secret), vec![storage, credentials]),
        (Some(&tls_secret), Some(&credentials_secret), vec![storage, tls, credentials]),
    ] {
        let etcd = json!({
            "endpoints": ["etcd:2379"], "tlsSecret": tls_secret, "credentialsSecret": credentials_secret,
        });
        let mut world = backup(&json!({"etcd": etcd, "deletionPolicy": "Delete"}));
        world.settle();
        assert_newest_pod_has(&world, &expected);
        // Who removes the data has no business with the server.
        world.engine_ends(made());
        world.delete();
        world.settle();
        assert_newest_pod_has(&world, &[storage]);
    }
}

#[test]
fn a_failure_is_on_the_object_with_its_reason_and_remedy() {
    let mut world = backup(&json!({}));
    world.settle();
    world.engine_ends(failed(Operation::TopologyBackup, Reason::TopologyNoQuorum));
    assert_eq!(phase(&world), Phase::Failed);
    let failure = status(&world).run.failure.unwrap();
    assert_eq!((failure.reason.as_str(), failure.remedy.as_str()), ("TopologyNoQuorum", "mend it"));
    world.has_settled();
}

#[test]
fn an_engine_that_is_lost_leaves_nothing_to_put_back() {
    let mut world = backup(&json!({}));
    world.settle();
    world.engine_runs(Step::TakingSnapshot);
    world.engine_dies();
    assert_eq!(phase(&world), Phase::Failed);
    let failure = status(&world).run.failure.unwrap();
    assert_eq!(failure.reason, "EngineLost");
    assert!(failure.remedy.contains("only read from"), "{}", failure.remedy);
    assert_eq!(world.made.len(), 1, "no engine that recovers anything");
    world.has_settled();
}

#[test]
fn one_backup_of_a_server_runs_at_a_time() {
    let mut world = backup(&json!({}));
    let holder =
        super::super::observed::Holder { name: "VitessTopologyBackup other".into(), uid: "x".into(), lives: true };
    let lock = Lock::topology("etcd:2379");
    world.seen.locks.insert(lock.lease.clone(), holder);
    world.settle();
    world.assert_condition(ENGINE_RUNNING, "False", "Busy");
    world.seen.locks.clear();
    world.settle();
    assert_eq!(phase(&world), Phase::Running);
}

#[test]
fn what_is_missing_is_waited_for() {
    let mut world = backup(&json!({"etcd": null, "zookeeper": {"dataDirectory": {"claimName": "data-zk-0"}}}));
    world.settle();
    world.assert_condition(ACCEPTED, "False", "VolumeNotFound");
    world.add_claim("data-zk-0");
    world.settle();
    assert!(world.args().contains(&"--zookeeper-data-dir=/topology-data".to_owned()), "{:?}", world.args());

    let mut world = backup(&json!({}));
    world.seen.storage = None;
    world.settle();
    world.assert_condition(ACCEPTED, "False", "StorageNotFound");
}

#[test]
fn an_older_zookeepers_files_are_read_where_its_pod_is() {
    let mut world = backup(&json!({"etcd": null, "zookeeper": {"dataDirectory": {"claimName": "data-zk-0"}}}));
    let claim = |modes: &str| serde_json::from_value(json!({"spec": {"accessModes": [modes]}})).unwrap();
    let server = |claim: &str, node: &str| {
        serde_json::from_value(json!({
            "metadata": {"name": "zk-0"},
            "spec": {"nodeName": node, "containers": [], "volumes": [
                {"name": "data", "persistentVolumeClaim": {"claimName": claim}},
            ]},
        }))
        .unwrap()
    };
    world.seen.claims.insert("data-zk-0".into(), claim("ReadWriteOncePod"));
    world.seen.claim_users = vec![server("log-zk-0", "node1"), server("data-zk-0", "node2")];
    world.settle();
    world.assert_condition(ACCEPTED, "False", "VolumeNotShared");
    assert!(world.condition(ACCEPTED).2.contains("pod zk-0"));

    world.seen.claims.insert("data-zk-0".into(), claim("ReadWriteOnce"));
    world.settle();
    let pod = world.made.last().unwrap().spec.clone().unwrap().template.spec.unwrap();
    let affinity = serde_json::to_string(&pod.affinity.unwrap()).unwrap();
    assert!(affinity.contains("node2") && !affinity.contains("node1"), "{affinity}");
    assert_eq!(pod.security_context.unwrap().fs_group, None, "or the kubelet would take the volume from the server");
}

#[test]
fn deleting_it_removes_the_data_with_policy_delete_and_leaves_it_with_retain() {
    let mut kept = backup(&json!({}));
    kept.settle();
    kept.engine_ends(made());
    kept.delete();
    kept.settle();
    assert!(kept.gone);
    assert_eq!(kept.made.len(), 1);

    let mut removed = backup(&json!({"deletionPolicy": "Delete"}));
    removed.settle();
    removed.engine_ends(made());
    removed.delete();
    removed.settle();
    assert!(!removed.gone);
    assert_eq!(
        removed.args(),
        [
            "remove",
            "--backup-storage-implementation=file",
            "--file-backup-storage-root=/backup-storage/demo",
            "--report=json",
            "--termination-log=/dev/termination-log",
            "--deadline=30m",
            &format!("--topology={NAME}"),
        ]
    );
    removed.engine_ends(outcome(Operation::Remove, Verdict::Succeeded));
    assert!(removed.gone);
}

#[test]
fn the_only_complete_backup_of_a_server_is_removed_when_the_annotation_says_so() {
    let mut world = backup(&json!({"deletionPolicy": "Delete"}));
    world.settle();
    world.engine_ends(made());
    world.delete();
    world.settle();
    world.engine_ends(failed(Operation::Remove, Reason::LastGoodBackup));
    world.assert_condition("Removed", "False", "LastGoodBackup");
    let annotation = (names::ANNOTATION_FORCE_REMOVAL.to_owned(), "true".to_owned());
    world.object.metadata.annotations = Some([annotation].into());
    world.settle();
    assert!(world.args().contains(&"--force".to_owned()), "{:?}", world.args());
    world.engine_ends(outcome(Operation::Remove, Verdict::Succeeded));
    assert!(world.gone);
}

#[test]
fn deleting_it_while_it_runs_stops_the_engine() {
    let mut world = backup(&json!({}));
    world.settle();
    world.engine_runs(Step::TakingSnapshot);
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
