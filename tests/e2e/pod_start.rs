//! Restoring when a tablet's pod starts: by a pod template, by the webhook, and not at all.

use std::time::{Duration, Instant};

use crate::backup::{backup_yaml, condition, storage_yaml, take};
use crate::ground::{Afterwards, Ground, project};
use serde_json::Value;

const BACKUPS: &str = "vitessbackups.backup.vitess.io";
const RESTORES: &str = "vitessrestores.backup.vitess.io";
const STATEFULSET: &str = include_str!("../../examples/pod-start-statefulset.yaml");
const RESTORE: &str = include_str!("../../examples/restore-on-pod-start.yaml");
const PLANETSCALE: &str = include_str!("ground/vitess/manifests/tablet-planetscale.yaml");

/// The pods of examples/pod-start-statefulset.yaml are the tablets 110 and 111.
const PODS_OF_THE_EXAMPLE: &str = "tablet_pod() { case $1 in 11?) echo zone1-replica-$(($1 - 110)) ;; \
                                   *) printf 'zone1-%010d-0\\n' \"$1\" ;; esac; }; ";
/// The sockets of a tablet in planetscale's layout are not in its directory.
const SOCKETS_OF_PLANETSCALE: &str = "tablet_dir() { case $1 in 112) echo /vt/socket ;; \
                                      *) printf '/vt/vtdataroot/vt_%010d\\n' \"$1\" ;; esac; }; ";

/// What the init containers may add to a pod's start, in seconds, beyond the restore itself.
const ADDED: i64 = 2;
/// The kubelet's times are cut to whole seconds, so that their difference may be up to a second too much.
const ROUNDING: i64 = 1;

/// Names the images as this cluster has them.
fn with_images(ground: &Ground, yaml: &str) -> String {
    let reference = |image: &str| ground.lib(&format!("image_ref {image}")).trim().to_owned();
    yaml.replace("localhost/vitess-tablet:24.0.0-mysql9.7", &reference("vitess-tablet:24.0.0-mysql9.7"))
        .replace("localhost/vitess-backup-operator:0.1.0", &reference("vitess-backup-operator:dev"))
}

fn restore_yaml(name: &str, shard: &str, storage: &str, more: &str) -> String {
    format!(
        "apiVersion: backup.vitess.io/v1alpha1\nkind: VitessRestore\nmetadata: {{name: {name}}}\nspec:\n  \
         storage: {{name: {storage}}}\n  shard: {shard}\n  trigger: PodStart\n{more}"
    )
}

/// A pod that never runs: its image is nowhere.
fn pod_yaml(name: &str, labels: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{{labels}}}}}\nspec:\n  \
         securityContext: {{runAsNonRoot: true, runAsUser: 999, seccompProfile: {{type: RuntimeDefault}}}}\n  \
         containers: [{{name: a, image: none, securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}}}]\n"
    )
}

/// What the VitessRestore tells of a pod.
fn pod_of<'a>(restore: &'a Value, name: &str) -> &'a Value {
    let pods = restore["status"]["pods"].as_array().into_iter().flatten();
    pods.into_iter().find(|pod| pod["name"] == name).unwrap_or(&Value::Null)
}

fn wait_told(ground: &Ground, restore: &str, pod: &str, phase: &str) -> Value {
    let told = |object: &Value| pod_of(object, pod)["phase"] == phase;
    let what = format!("telling that pod {pod} is {phase}");
    ground.wait(RESTORES, restore, Duration::from_secs(240), &what, told)
}

/// Waits until the pod's init container has said this.
fn wait_said(ground: &Ground, pod: &str, what: &str) {
    let begun = Instant::now();
    loop {
        let log = ground.try_kubectl(&["logs", pod, "-c", "vitess-backup-restore"]);
        if log.as_ref().is_ok_and(|log| log.contains(what)) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "pod {pod} did not say {what:?}: {log:?}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// From the start of the first of our two init containers to the end of the second, in the kubelet's whole seconds.
fn init_containers_took(pod: &Value) -> i64 {
    let time = |container: &str, field: &str| -> jiff::Timestamp {
        let all = pod["status"]["initContainerStatuses"].as_array().unwrap();
        let status = all.iter().find(|status| status["name"] == container).unwrap();
        status["state"]["terminated"][field].as_str().unwrap().parse().unwrap()
    };
    time("vitess-backup-restore", "finishedAt").duration_since(time("vitess-backup-install", "startedAt")).as_secs()
}

/// A VTOrc that watches the shard, until what this gives is dropped.
fn start_vtorc(ground: &Ground) -> Afterwards<'_> {
    ground.lib_and_afterwards("start_vtorc", &["stop_vtorc"])
}

#[test]
fn a_shard_grows_from_two_to_four_tablets_started_at_once_while_its_first_backup_is_made() {
    let ground = Ground::take();
    let root = format!("/grow-{}", std::process::id());
    ground.lib("remove_example_tablets");
    ground.delete(RESTORES, "commerce");
    let aside = ground.lib_and_afterwards("put_aside 102", &["bring_back 102"]);
    ground.apply(&storage_yaml("growing", &root));
    ground.apply(&RESTORE.replace("{name: backups}", "{name: growing}"));

    // The first backup takes its time.
    ground.delete(BACKUPS, "first");
    ground.apply(&format!("{}  bandwidthLimit: 640Ki\n", backup_yaml("first", "growing", 101, "Retain")));
    let copies = |object: &Value| object["status"]["progress"]["bytesDone"].as_i64().is_some_and(|done| done > 0);
    ground.wait(BACKUPS, "first", Duration::from_secs(120), "copying", copies);
    let set = STATEFULSET.replace("root=/backups", &format!("root=/backups{root}"));
    ground.apply(&with_images(&ground, &set));
    let pods = ["zone1-replica-0", "zone1-replica-1"];
    for pod in pods {
        wait_said(&ground, pod, "looking again in 10s");
    }
    let backup = ground.get(BACKUPS, "first").unwrap();
    assert_eq!(backup["status"]["phase"], "Running", "both wait while it is made: {:#}", backup["status"]);
    for pod in pods {
        wait_told(&ground, "commerce", pod, "Running");
    }

    let backup = ground.wait_succeeded(BACKUPS, "first");
    for pod in pods {
        let restore = wait_told(&ground, "commerce", pod, "Restored");
        let told = pod_of(&restore, pod);
        assert_eq!(told["backupName"], backup["status"]["backupName"], "{told:#}");
        assert_eq!(told["position"], backup["status"]["position"], "{told:#}");
        let restored = told["durationSeconds"].as_i64().unwrap_or_default();
        assert!(restored > 0, "{told:#}");
        // The engine's own time is rounded up.
        let took = init_containers_took(&ground.get("pod", pod).unwrap());
        assert!(took < restored + ADDED + ROUNDING, "{took} s for a restore, waiting included, of {restored} s");
        ground.kubectl(&["wait", "pod", pod, "--for=condition=Ready", "--timeout=240s"]);
    }
    let restore = ground.get(RESTORES, "commerce").unwrap();
    assert_eq!(condition(&restore, "PodsRestored")["status"], "True", "{:#}", restore["status"]);
    assert_eq!(restore["status"]["progress"]["summary"], "2 restored");

    // No thread of theirs stands still that a VTOrc would have to start.
    let vtorc = start_vtorc(&ground);
    for uid in [110, 111] {
        ground.lib(&format!("wait_vtorc_content {uid}"));
    }
    drop(vtorc);

    // The writer wrote all the time: what came after the backup is there too.
    ground.lib(&format!("{PODS_OF_THE_EXAMPLE} same_rows 100 101 110 111"));
    ground.lib("vtctldclient ValidateShard --ping-tablets commerce/0");
    let uuids = ground.lib(&format!(
        "{PODS_OF_THE_EXAMPLE} for uid in 100 101 110 111; do tablet_sql $uid 'select @@server_uuid'; done | sort -u | wc -l"
    ));
    assert_eq!(uuids.trim(), "4", "four servers");
    ground.lib("remove_example_tablets");
    ground.delete(RESTORES, "commerce");
    drop(aside);
}

#[test]
fn a_labelled_pod_in_planetscales_layout_is_injected_restored_by_what_git_says_now_and_serves() {
    let ground = Ground::take();
    let root = format!("/planetscale-{}", std::process::id());
    ground.apply(&storage_yaml("planetscale", &root));
    let older = take(&ground, "planetscale-older", "planetscale", 101);
    take(&ground, "planetscale-newer", "planetscale", 101);
    ground.lib("remove_tablet 112");
    ground.delete(RESTORES, "planetscale");
    ground.apply(&restore_yaml("planetscale", "commerce/0", "planetscale", "  backup: {latest: {}}\n"));
    // And then somebody changes it in Git.
    let name = older["status"]["backupName"].as_str().expect("a name").to_owned();
    let at = name.split('.').take(2).collect::<Vec<_>>().join(".");
    ground.apply(&restore_yaml(
        "planetscale",
        "commerce/0",
        "planetscale",
        &format!("  backup: {{atOrBefore: \"{at}\"}}\n"),
    ));

    let vtorc = start_vtorc(&ground);
    ground.apply(&with_images(&ground, PLANETSCALE));
    ground.lib("wait_serving 112");
    let pod = ground.get("pod", "zone1-0000000112-0").unwrap();
    let init: Vec<&str> =
        pod["spec"]["initContainers"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(init, ["init-vt-root", "vitess-backup-install", "vitess-backup-restore"]);
    let restore = wait_told(&ground, "planetscale", "zone1-0000000112-0", "Restored");
    let told = pod_of(&restore, "zone1-0000000112-0");
    assert_eq!(told["backupName"], name.as_str(), "{told:#}");
    assert_eq!(told["tabletAlias"], "zone1-0000000112", "{told:#}");
    // A backup of it could not reach its sockets, which the condition says together with what to do.
    ground.delete(BACKUPS, "planetscale-attached");
    ground.apply(&backup_yaml("planetscale-attached", "planetscale", 112, "Retain"));
    let told = |object: &Value| condition(object, "Accepted")["reason"] == "SocketNotShared";
    let waiting = ground.wait(BACKUPS, "planetscale-attached", Duration::from_secs(60), "told of its sockets", told);
    let message = condition(&waiting, "Accepted")["message"].as_str().unwrap_or_default();
    for words in ["zone1-0000000112", "/vt/socket/mysqlctl.sock", "emptyDir", "--socket-file of mysqlctld"] {
        assert!(message.contains(words), "{words}: {message}");
    }
    ground.delete(BACKUPS, "planetscale-attached");
    // Its vttablet has --restore-from-backup too and found data: replication is VTOrc's to start then.
    ground.lib(&format!("{SOCKETS_OF_PLANETSCALE} await 120 'replication by vtorc' replicating 112"));
    ground.lib(&format!("{SOCKETS_OF_PLANETSCALE} same_rows 100 112"));
    ground.lib("wait_vtorc_content 112");
    ground.lib("vtctldclient ValidateShard --ping-tablets commerce/0");

    // Started again it has data, and its init containers cost next to nothing.
    ground.kubectl(&["delete", "pod", "zone1-0000000112-0", "--wait=true", "--timeout=180s"]);
    let restore = wait_told(&ground, "planetscale", "zone1-0000000112-0", "DataPresent");
    assert_eq!(pod_of(&restore, "zone1-0000000112-0")["backupName"], name.as_str(), "where the data came from");
    let pod = ground.get("pod", "zone1-0000000112-0").unwrap();
    let took = init_containers_took(&pod);
    assert!(took < ADDED + ROUNDING, "two init containers took {took} s");
    ground.lib("wait_serving 112");
    ground.lib(&format!("{SOCKETS_OF_PLANETSCALE} wait_caught_up 112"));
    ground.lib("wait_vtorc_content 112");
    drop(vtorc);
    ground.lib("remove_tablet 112");
    ground.delete(RESTORES, "planetscale");
}

#[test]
fn a_shard_without_a_backup_starts_empty_and_can_be_initialised() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("nothing-there", "/nothing-there"));
    ground.lib("remove_tablet 113");
    ground.delete(RESTORES, "fresh");
    ground.apply(&restore_yaml("fresh", "fresh/0", "nothing-there", "  bootstrap: {tabletType: replica}\n"));
    ground.lib("ensure_keyspace fresh");
    let manifest = ground.lib("tablet_manifest 113");
    let manifest = manifest.replace("--init-keyspace=commerce", "--init-keyspace=fresh").replace(
        "planetscale.com/keyspace: commerce",
        "planetscale.com/keyspace: fresh\n        backup.vitess.io/restore: fresh",
    );
    ground.apply(&manifest);
    let restore = wait_told(&ground, "fresh", "zone1-0000000113-0", "StartedEmpty");
    assert_eq!(restore["status"]["progress"]["summary"], "1 started empty", "{:#}", restore["status"]);

    ground.lib("await 180 'tablet 113 in the topology' vtctldclient GetTablet zone1-0000000113");
    ground.lib(
        "await 120 'PlannedReparentShard' vtctldclient PlannedReparentShard --new-primary zone1-0000000113 fresh/0",
    );
    ground.lib("wait_serving 113");
    ground.sql(113, "CREATE TABLE vt_fresh.first (id INT PRIMARY KEY)");
    ground.sql(113, "INSERT INTO vt_fresh.first VALUES (1)");
    assert_eq!(ground.number(113, "SELECT COUNT(*) FROM vt_fresh.first"), 1);
    ground.lib("remove_tablet 113 || true; vtctldclient DeleteKeyspace --recursive --force fresh || true");
    ground.delete(RESTORES, "fresh");
}

#[test]
fn a_pod_that_names_no_restore_that_exists_is_refused_and_others_are_not_asked_about() {
    let ground = Ground::take();
    let refused = ground.try_apply(&pod_yaml("asked", "backup.vitess.io/restore: nobody")).unwrap_err();
    let text = format!("VitessRestore nobody, which does not exist in namespace {}", ground.namespace);
    assert!(refused.contains(&text), "{refused}");
    ground.apply(&pod_yaml("asked", "a: b"));
    ground.delete("pod", "asked");
}

#[test]
fn while_the_webhook_is_down_a_labelled_pod_is_refused_or_made_and_told_of_as_the_policy_says() {
    let ground = Ground::take_alone();
    ground.delete("pod", "unasked");
    ground.delete(RESTORES, "unasked");
    ground.apply(&storage_yaml("unasked", "/unasked"));
    ground.apply(&restore_yaml("unasked", "commerce/0", "unasked", "  backup: {latest: {}}\n"));
    let pod = pod_yaml("unasked", "backup.vitess.io/restore: unasked");

    let down = ground.lib_and_afterwards("stop_operators", &["webhook_policy Fail", "start_operators"]);
    let refused = ground.try_apply(&pod).unwrap_err();
    let names_it = refused.contains("failed calling webhook") && refused.contains("restore.backup.vitess.io");
    assert!(names_it, "{refused}");
    assert!(ground.get("pod", "unasked").is_none());
    // Pods without the label are nobody's business.
    ground.apply(&pod_yaml("unlabelled", "a: b"));
    ground.delete("pod", "unlabelled");

    ground.lib("webhook_policy Ignore");
    let begun = Instant::now();
    // The API server sees the change a moment later.
    while let Err(refused) = ground.try_apply(&pod) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{refused}");
        std::thread::sleep(Duration::from_millis(500));
    }
    let made = ground.get("pod", "unasked").unwrap();
    assert!(made["spec"].get("initContainers").is_none(), "{:#}", made["spec"]);
    drop(down);

    let restore = wait_told(&ground, "unasked", "unasked", "Failed");
    let failure = &pod_of(&restore, "unasked")["failure"];
    assert_eq!(failure["reason"], "NotInjected", "{failure:#}");
    assert_eq!(condition(&restore, "PodsRestored")["status"], "False", "{:#}", restore["status"]);
    ground.delete("pod", "unasked");
    ground.delete(RESTORES, "unasked");
}

#[test]
fn the_image_is_under_15_mb_compressed() {
    let _ground = Ground::take();
    let script = format!("gzip -c \"$(make -s -C '{}' print-image-archive)\" | wc -c", project().display());
    let output = std::process::Command::new("bash").args(["-euo", "pipefail", "-c", &script]).output().unwrap();
    let bytes: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or_else(|_| panic!("{output:?}"));
    assert!(bytes > 1_000_000 && bytes < 15_000_000, "{bytes} bytes");
}
