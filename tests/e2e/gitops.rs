//! What tools see that know nothing of backups: conditions to wait for, manifests that are applied again and again, metrics.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::backup::{condition, storage_yaml};
use crate::ground::{Ground, project};

const BACKUPS: &str = "vitessbackups.backup.vitess.io";
const RESTORES: &str = "vitessrestores.backup.vitess.io";
const STORAGES: &str = "vitessbackupstorages.backup.vitess.io";

fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().expect("a resourceVersion").to_owned()
}

/// `kubectl create -f` of a manifest, as `kubectl` prints the object's name.
fn create(ground: &Ground, yaml: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("manifest.yaml");
    std::fs::write(&path, yaml).expect("a manifest");
    let created = ground.kubectl(&["create", "-f", &path.to_string_lossy(), "-o", "name"]);
    created.trim().rsplit('/').next().expect("kind/name").to_owned()
}

/// The page that Prometheus would read, of the operator that leads.
fn metrics(ground: &Ground) -> String {
    let operator = "vitess-backup-operator";
    let pods = ground.kubectl(&[
        "get",
        "pods",
        "-n",
        operator,
        "-l",
        &format!("app.kubernetes.io/name={operator}"),
        "-o",
        "name",
    ]);
    let pages = pods.lines().filter_map(|pod| pod.strip_prefix("pod/")).filter_map(|pod| {
        let path = format!("/api/v1/namespaces/{operator}/pods/{pod}:8080/proxy/metrics");
        ground.try_kubectl(&["get", "--raw", &path]).ok()
    });
    pages.into_iter().find(|page| page.contains("vitess_backup_leader 1\n")).expect("an operator that leads")
}

/// `kubectl describe` reads like a story: conditions in whole sentences, and below them each transition in its turn.
fn assert_is_described_in_order(ground: &Ground, object: &str, backup: &Value) {
    const TRANSITIONS: [&str; 4] = ["Accepted", "EngineLaunched", "EngineStarted", "Succeeded"];
    let described = ground.kubectl(&["describe", object]);
    let (state, events) = described.split_once("\nEvents:").expect("events below the status");
    for kind in ["Accepted", "EngineRunning", "Complete"] {
        let message = condition(backup, kind)["message"].as_str().expect("a sentence");
        assert!(state.contains(message), "{kind}, {message:?}: {described}");
    }
    let reasons = events.lines().filter_map(|line| line.split_whitespace().nth(1));
    let told: Vec<&str> = reasons.filter(|reason| TRANSITIONS.contains(reason)).collect();
    assert_eq!(told, TRANSITIONS, "{described}");
    let name = backup["status"]["backupName"].as_str().expect("a backup name");
    assert!(events.contains(&format!("backup {name} is complete")), "{described}");
}

#[test]
fn a_backup_with_a_generated_name_is_waited_for_by_its_conditions_and_is_in_the_metrics() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    ground.kubectl(&["wait", "--for=condition=Ready", &format!("{STORAGES}/main"), "--timeout=30s"]);
    let manifest = "apiVersion: backup.vitess.io/v1alpha1\nkind: VitessBackup\nmetadata: {generateName: pipeline-}\nspec:\n  \
                    storage: {name: main}\n  tablet: zone1-0000000101\n";
    let name = create(&ground, manifest);
    assert!(name.starts_with("pipeline-") && name.len() > "pipeline-".len(), "{name}");
    let object = format!("{BACKUPS}/{name}");
    ground.kubectl(&["wait", "--for=condition=Complete", &object, "--timeout=300s"]);
    ground.kubectl(&["wait", "--for=condition=Ready", &object, "--timeout=5s"]);

    let backup = ground.get(BACKUPS, &name).expect("the backup");
    assert_eq!(backup["status"]["observedGeneration"], backup["metadata"]["generation"]);
    assert_eq!(condition(&backup, "Reconciling"), &Value::Null, "{:#}", backup["status"]);
    assert_eq!(condition(&backup, "Stalled"), &Value::Null, "{:#}", backup["status"]);

    assert_is_described_in_order(&ground, &object, &backup);

    let finished = backup["status"]["finishedTime"].as_str().expect("an end");
    let finished: jiff::Timestamp = finished.parse().expect("a time");
    let shard = format!(r#"kind="VitessBackup",namespace="{}",keyspace="commerce",shard="0""#, ground.namespace);
    let page = metrics(&ground);
    let series = format!("vitess_backup_last_success_timestamp_seconds{{{shard}}} {}.0", finished.as_second());
    assert!(page.lines().any(|line| line == series), "no {series} in\n{page}");
    let failed = format!("vitess_backup_last_run_failed{{{shard}}} 0");
    assert!(page.lines().any(|line| line == failed), "no {failed} in\n{page}");
    ground.delete(BACKUPS, &name);
}

#[test]
fn a_manifest_that_is_applied_again_changes_nothing_and_every_writer_has_its_own_field_manager() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    ground.delete(BACKUPS, "again");
    let manifest = crate::backup::backup_yaml("again", "main", 101, "Retain");
    ground.apply(&manifest);
    ground.wait_succeeded(BACKUPS, "again");
    // Whatever the operator still has to give back is given back.
    let first = ground.wait(BACKUPS, "again", std::time::Duration::from_secs(30), "settled", |object| {
        object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)
    });
    for _ in 0..2 {
        ground.apply(&manifest);
        ground.apply(&storage_yaml("main", "/"));
    }
    // And the operator, which looked at it again, had nothing to write.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let later = ground.get(BACKUPS, "again").expect("the backup");
    assert_eq!(version(&later), version(&first), "{:#}", later["metadata"]);

    let shown = ground.kubectl(&["get", BACKUPS, "again", "-o", "json", "--show-managed-fields"]);
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let managers: Vec<(&str, &str)> = shown["metadata"]["managedFields"]
        .as_array()
        .expect("managed fields")
        .iter()
        .map(|entry| (entry["manager"].as_str().unwrap_or_default(), entry["subresource"].as_str().unwrap_or_default()))
        .collect();
    assert!(managers.contains(&("vitess-backup-operator", "status")), "{managers:?}");
    assert!(!managers.iter().any(|(manager, _)| manager.is_empty() || *manager == "unknown"), "{managers:?}");

    let changed = manifest.replace("zone1-0000000101", "zone1-0000000102");
    let refusal = ground.try_apply(&changed).expect_err("a spec cannot be changed");
    assert!(refusal.contains("delete the object and create a new one"), "{refusal}");
}

#[test]
fn a_run_that_only_another_spec_can_help_is_stalled_and_says_so_to_whoever_waits() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    ground.delete(RESTORES, "elsewhere");
    ground.apply(
        "apiVersion: backup.vitess.io/v1alpha1\nkind: VitessRestore\nmetadata: {name: elsewhere}\nspec:\n  \
         storage: {name: main}\n  shard: customer/0\n  target: {tablet: zone1-0000000102}\n  existingData: Replace\n",
    );
    ground.kubectl(&["wait", "--for=condition=Stalled", &format!("{RESTORES}/elsewhere"), "--timeout=30s"]);
    let restore = ground.get(RESTORES, "elsewhere").expect("the restore");
    let ready = condition(&restore, "Ready");
    assert_eq!((&ready["status"], &ready["reason"]), (&"False".into(), &"ShardMismatch".into()));
    ground.delete(RESTORES, "elsewhere");
}

#[test]
fn the_kustomize_base_and_the_overlay_of_the_documents_build_and_the_api_server_takes_them() {
    let ground = Ground::take();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let copied = Command::new("cp").arg("-r").arg(project().join("config")).arg(folder.path()).status();
    assert!(copied.expect("cp").success());
    let page = include_str!("../../docs/gitops.md");
    let overlay = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an overlay");
    std::fs::create_dir(folder.path().join("overlay")).expect("a folder");
    std::fs::write(folder.path().join("overlay/kustomization.yaml"), overlay).expect("an overlay");
    let path = |name: &str| Path::new(folder.path()).join(name).to_string_lossy().into_owned();

    let built = ground.kubectl(&["kustomize", &path("overlay")]);
    let image = "registry.example/vitess-backup-operator:1";
    assert!(built.contains(&format!("image: {image}\n")), "{built}");
    assert!(built.contains(&format!("value: {image}\n")), "engine pods get the same: {built}");
    let dry_run = [
        "apply",
        "-n",
        "vitess-backup-operator",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "--kustomize",
    ];
    let taken = ground.kubectl(&[&dry_run[..], &[path("config").as_str()]].concat());
    assert!(taken.contains("deployment.apps/vitess-backup-operator serverside-applied"), "{taken}");
}
