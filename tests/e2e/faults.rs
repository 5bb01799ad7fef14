//! What goes wrong around a run: its operator is killed, the API server goes away, two operators act at once. The run ends as if
//! nothing had been, and its engine has run once.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::backup::{backup_yaml, condition, storage_yaml, take};
use crate::ground::{Afterwards, Ground};
use crate::matrix;
use crate::restore::{claim_yaml, restore_yaml};

const BACKUPS: &str = "vitessbackups.backup.vitess.io";
const RESTORES: &str = "vitessrestores.backup.vitess.io";
const TOPOLOGY: &str = "vitesstopologybackups.backup.vitess.io";
const MINUTE: Duration = Duration::from_secs(60);
const SIGKILL: i32 = 9;

/// Operators of a test's own, in the build that tests can kill (`vitess_backup::engine::kill_point`). Those of the chart are away
/// meanwhile.
struct Operators<'a> {
    ground: &'a Ground,
    image: String,
    _charts_come_back: Afterwards<'a>,
}

impl<'a> Operators<'a> {
    fn instead_of_the_charts(ground: &'a Ground) -> Self {
        let charts_come_back = ground.lib_and_afterwards("stop_operators", &["start_operators"]);
        let image = ground.lib("image_ref vitess-backup-operator:dev").trim().to_owned();
        Self { ground, image, _charts_come_back: charts_come_back }
    }

    /// Starts one that acts without asking whether another does, and ends after so many writes.
    fn start(&self, name: &str, kill_after: Option<u64>) -> Operator {
        let log = NamedTempFile::new().expect("a file for the operator's log");
        let mut command = Ground::command(env!("CARGO_BIN_EXE_vitess-backup"), &["operator"]);
        command.args(["--leader-election", "false", "--admin-address", "127.0.0.1:0", "--pod-name", name]);
        command.args(["--watch-namespaces", &self.ground.namespace, "--operator-image", &self.image]);
        command.args(["--log", "info,vitess_backup::cli::writes=debug"]);
        if let Some(writes) = kill_after {
            command.env("VITESS_BACKUP_TEST_KILL", format!("write:{writes}"));
        }
        Operator { process: spawn(command.stderr(log.reopen().expect("the log can be written"))), log }
    }

    /// Has an operator do what there is to do until `done`, killed after so many writes, and then by another one: one that is
    /// killed after as many where `each` says so, else one that is not. Gives the writes after which one was killed.
    fn killed(&self, writes: u64, each: bool, done: impl Fn(&Ground) -> bool) -> Vec<String> {
        let begun = Instant::now();
        let mut killed = Vec::new();
        let mut operator = self.start("killed", Some(writes));
        loop {
            if let Some(ended) = operator.process.try_wait().expect("the operator can be waited for") {
                assert_eq!(ended.signal(), Some(SIGKILL), "it ends by the kill alone: {ended}\n{}", operator.log());
                killed.extend(operator.writes().pop());
                operator = self.start("killed", Some(writes).filter(|_| each));
            } else if done(self.ground) {
                return killed;
            }
            assert!(begun.elapsed() < 4 * MINUTE, "killed after {killed:#?}, and not done\n{}", operator.log());
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// One of them; it is gone when this is dropped.
struct Operator {
    process: Child,
    log: NamedTempFile,
}

impl Operator {
    fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).expect("the log can be read")
    }

    /// What it has changed through the API server, such as `POST /apis/batch/v1/namespaces/vitess-demo/jobs`.
    fn writes(&self) -> Vec<String> {
        let log = self.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let written = lines.filter(|line| line["message"] == "written");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        written.map(|line| format!("{} {}", text(&line["method"]), text(&line["path"]))).collect()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

/// Every engine pod that there is or was since this began to look.
struct Engines {
    watch: Child,
    seen: NamedTempFile,
}

impl Engines {
    fn watch(ground: &Ground) -> Self {
        let seen = NamedTempFile::new().expect("a file for what is seen");
        let columns = r"custom-columns=RUN:.metadata.labels.backup\.vitess\.io/run-uid,POD:.metadata.name";
        let mut command =
            Ground::command("kubectl", &["-n", &ground.namespace, "get", "pods", "--watch", "--no-headers"]);
        command.args(["-l", "backup.vitess.io/run-uid", "-o", columns]);
        Self { watch: spawn(command.stdout(seen.reopen().expect("the file can be written"))), seen }
    }

    /// The engine pods that this object ever had.
    fn of(&self, object: &Value) -> BTreeSet<String> {
        let uid = object["metadata"]["uid"].as_str().expect("a uid");
        let seen = std::fs::read_to_string(self.seen.path()).expect("what was seen can be read");
        let pairs = seen.lines().filter_map(|line| line.split_once(' '));
        pairs.filter(|(run, _)| *run == uid).map(|(_, pod)| pod.trim().to_owned()).collect()
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        end(&mut self.watch);
    }
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).spawn().unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"))
}

fn end(process: &mut Child) {
    let _ = process.kill();
    let _ = process.wait();
}

/// The run has ended and given back what it held.
fn is_over(kind: &'static str, name: &'static str) -> impl Fn(&Ground) -> bool {
    move |ground| {
        let object = ground.get(kind, name).unwrap_or_default();
        let finalizers = object["metadata"]["finalizers"].to_string();
        matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Cancelled"))
            && !finalizers.contains("backup.vitess.io/run")
    }
}

/// The object is there no more; an API server that does not answer says nothing.
fn is_gone(kind: &'static str, name: &'static str) -> impl Fn(&Ground) -> bool {
    move |ground| {
        ground.try_kubectl(&["get", kind, name, "--ignore-not-found", "-o", "name"]).is_ok_and(|it| it.is_empty())
    }
}

/// Until the run has given back all that it held, and nobody has to tidy up after it.
fn wait_settled(ground: &Ground, kind: &str, name: &str) -> Value {
    ground.wait(kind, name, MINUTE, "settled", |object| object["metadata"].get("finalizers").is_none())
}

/// What a backup comes to whose operator nobody kills.
fn left_alone(ground: &Ground, name: &str, storage: &str) -> Value {
    take(ground, name, storage, 101);
    end_state(&wait_settled(ground, BACKUPS, name))
}

/// What of a finished run does not depend on when it was, and how much it had to do.
fn end_state(object: &Value) -> Value {
    let status = &object["status"];
    let keys = |value: &Value| -> Vec<String> {
        let all = value.as_object().expect("an object");
        // Whether an operator saw the engine at work is chance.
        all.keys().filter(|key| *key != "progress").cloned().collect()
    };
    let conditions = status["conditions"].as_array().expect("conditions").iter();
    let mut conditions: Vec<String> =
        conditions.map(|one| format!("{}={} ({})", one["type"], one["status"], one["reason"])).collect();
    conditions.sort();
    serde_json::json!({
        "phase": status["phase"], "launches": status["launches"], "conditions": conditions, "has": keys(status),
        "manifest": keys(&status["manifest"]), "ranAs": status["ranAs"], "finalizers": object["metadata"]["finalizers"],
        "tablet": status["tabletAlias"],
    })
}

/// No run of the namespace holds anything.
fn assert_no_lock_is_held(ground: &Ground) {
    let leases = ground.kubectl(&["get", "leases", "-l", "backup.vitess.io/lock", "-o", "name"]);
    assert_eq!(leases, "", "locks are given back");
}

fn assert_serves_as_a_replica(ground: &Ground, uid: u32) {
    assert!(ground.replicates(uid), "mysqld of tablet {uid} runs and replicates");
    assert_eq!(ground.sql(uid, "SELECT @@global.super_read_only"), "1");
    let left = ground.lib(&format!("tablet_exec {uid} 'ls /vt/vtdataroot/vt_{uid:010}'"));
    assert!(!left.contains("vitess-backup.journal") && !left.contains("restore_in_progress"), "{left}");
}

/// Each takes a minute or two, with the ground for itself: `make test` draws one, `make test-all` (`VBO_MATRIX=whole`) goes
/// through all of them.
#[test]
fn a_run_that_something_goes_wrong_around_ends_as_if_nothing_had_been_and_its_engine_has_run_once() {
    let faults: [(&str, fn()); 5] = [
        (
            "killed after each write",
            an_operator_that_is_killed_after_each_of_its_writes_ends_its_runs_as_one_that_is_left_alone,
        ),
        (
            "killed once",
            an_operator_that_is_killed_once_after_any_of_its_writes_is_followed_by_one_that_goes_on_from_there,
        ),
        (
            "API server away",
            an_api_server_that_is_away_for_a_minute_leaves_runs_under_way_to_end_well_and_to_be_reported,
        ),
        ("two operators", two_operators_that_both_act_launch_one_engine_for_each_run),
        // Not drawn while it fails: the node controller takes up to 55 s, and a look that reads the silent node's log 10 s more.
        ("node silent", a_node_that_falls_silent_is_noticed_within_a_minute_and_its_run_goes_on_when_it_speaks_again),
    ];
    let drawn = faults[..4].choose(&mut StdRng::seed_from_u64(matrix::seed())).filter(|_| !matrix::is_whole());
    for (fault, run) in drawn.map_or(&faults[..], std::slice::from_ref) {
        println!("the fault: {fault}");
        run();
    }
}

/// A name that no two rounds share, kept for as long as the tests run.
fn name(text: String) -> &'static str {
    text.leak()
}

/// A backup, a restore of it, and the removal of its data, of which each write is the last that its operator made.
fn an_operator_that_is_killed_after_each_of_its_writes_ends_its_runs_as_one_that_is_left_alone() {
    let ground = Ground::take_alone();
    let root = format!("/killed-{}", std::process::id());
    ground.apply(&storage_yaml("killed", &root));
    ground.delete(BACKUPS, "killed-each");
    ground.delete(RESTORES, "killed-each");
    let mut alone = left_alone(&ground, "left-alone", "killed");
    // Its data is to go with it.
    alone["finalizers"] = serde_json::json!(["backup.vitess.io/remove-backup"]);

    let operators = Operators::instead_of_the_charts(&ground);
    let engines = Engines::watch(&ground);
    ground.apply(&backup_yaml("killed-each", "killed", 101, "Delete"));
    let writes = operators.killed(1, true, is_over(BACKUPS, "killed-each"));
    println!("an operator was killed after each of\n{}", writes.join("\n"));
    // Every kind of write that a run takes was the last of one of them.
    let object = format!("/apis/backup.vitess.io/v1alpha1/namespaces/{}/vitessbackups/killed-each", ground.namespace);
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", ground.namespace);
    let jobs = format!("/apis/batch/v1/namespaces/{}/jobs", ground.namespace);
    for expected in [
        format!("PATCH {object}"),
        format!("PATCH {object}/status"),
        format!("POST {leases}"),
        format!("DELETE {leases}/"),
        format!("POST {jobs}"),
        format!("PATCH {jobs}/"),
    ] {
        let matches =
            |write: &&String| if expected.ends_with('/') { write.starts_with(&expected) } else { **write == expected };
        assert!(writes.iter().any(|write| matches(&write)), "none was killed after {expected}");
    }
    let backup = ground.get(BACKUPS, "killed-each").expect("the backup");
    assert_eq!(end_state(&backup), alone, "{:#}", backup["status"]);
    assert_eq!(engines.of(&backup).len(), 1, "{:?}", engines.of(&backup));
    assert_serves_as_a_replica(&ground, 101);

    let target = "{tablet: zone1-0000000102}";
    let more = "  existingData: Replace\n  vtctld: {address: \"vtctld:15999\"}\n";
    ground.apply(&restore_yaml("killed-each", "killed", target, "{latest: {}}", more));
    let writes = operators.killed(1, true, is_over(RESTORES, "killed-each"));
    println!("and for a restore after each of\n{}", writes.join("\n"));
    let restore = ground.get(RESTORES, "killed-each").expect("the restore");
    let status = &restore["status"];
    assert_eq!((&status["phase"], &status["launches"]), (&"Succeeded".into(), &1.into()), "{status:#}");
    assert_eq!(status["backupName"], backup["status"]["backupName"], "{status:#}");
    assert_eq!(condition(&restore, "Replicating")["status"], "True", "{status:#}");
    assert!(status.get("failure").is_none(), "{status:#}");
    assert_eq!(engines.of(&restore).len(), 1, "{:?}", engines.of(&restore));
    assert_serves_as_a_replica(&ground, 102);
    ground.assert_same_rows_as_primary(102);

    let stored = || ground.lib(&format!("tablet_exec 101 'ls /backups{root}/commerce/0' vttablet"));
    let name = backup["status"]["backupName"].as_str().expect("a backup name");
    assert!(stored().contains(name), "{}", stored());
    ground.kubectl(&["delete", BACKUPS, "killed-each", "--wait=false"]);
    let writes = operators.killed(1, true, is_gone(BACKUPS, "killed-each"));
    println!("and for the removal of its data after each of\n{}", writes.join("\n"));
    assert!(writes.contains(&format!("POST {jobs}")), "none was killed after the engine's launch: {writes:?}");
    let left = stored();
    assert_eq!(left.lines().count(), 1, "{left}");
    assert!(!left.contains(name), "the directory is gone too: {left}");
    assert_eq!(engines.of(&backup).len(), 2, "one made it and one removed it: {:?}", engines.of(&backup));
    assert_no_lock_is_held(&ground);
}

/// One place is drawn, or all are gone through.
fn an_operator_that_is_killed_once_after_any_of_its_writes_is_followed_by_one_that_goes_on_from_there() {
    /// A backup takes more.
    const LIKELY: u64 = 14;
    let ground = Ground::take_alone();
    ground.apply(&storage_yaml("killed-once", &format!("/killed-once-{}", std::process::id())));
    let alone = left_alone(&ground, "once-left-alone", "killed-once");
    let operators = Operators::instead_of_the_charts(&ground);
    let engines = Engines::watch(&ground);
    let mut place = if matrix::is_whole() { 1 } else { 1 + matrix::seed() % LIKELY };
    loop {
        let object = name(format!("killed-once-{place}"));
        ground.delete(BACKUPS, object);
        ground.apply(&backup_yaml(object, "killed-once", 101, "Retain"));
        let killed = operators.killed(place, false, is_over(BACKUPS, object));
        println!("killed after {place} writes, the last being {killed:?}");
        let backup = ground.get(BACKUPS, object).expect("the backup");
        assert_eq!(end_state(&backup), alone, "killed after {place} writes: {:#}", backup["status"]);
        assert_eq!(engines.of(&backup).len(), 1, "killed after {place} writes: {:?}", engines.of(&backup));
        assert_serves_as_a_replica(&ground, 101);
        if killed.is_empty() {
            assert!(place > LIKELY, "no operator was killed: a backup takes fewer than {place} writes");
            break;
        }
        if !matrix::is_whole() {
            break;
        }
        place += 1;
    }
    assert_no_lock_is_held(&ground);
    ground.assert_same_rows_as_primary(101);
}

/// One engine ends while nobody can be told of it, and another is at work all the time.
fn an_api_server_that_is_away_for_a_minute_leaves_runs_under_way_to_end_well_and_to_be_reported() {
    const AWAY: u64 = 60;
    let ground = Ground::take_alone();
    ground.apply(&storage_yaml("outage", &format!("/outage-{}", std::process::id())));
    for (kind, name) in [(BACKUPS, "through-outage"), (RESTORES, "in-outage"), ("persistentvolumeclaim", "in-outage")] {
        ground.delete(kind, name);
    }
    let first = take(&ground, "before-outage", "outage", 101);
    let size = first["status"]["sizeBytes"].as_u64().expect("a size");
    let slowly = |seconds: u64| format!("  bandwidthLimit: {}Ki\n", size / seconds / 1024);
    ground.apply(&format!("{}{}", backup_yaml("through-outage", "outage", 102, "Retain"), slowly(AWAY + 30)));
    ground.apply(&claim_yaml("in-outage"));
    let target = "{persistentVolumeClaim: {claimName: in-outage, tabletUid: 182}}";
    ground.apply(&restore_yaml("in-outage", "outage", target, "{latest: {}}", &slowly(AWAY / 2)));
    let copies = |object: &Value| object["status"]["progress"]["step"] == "CopyingFiles";
    let restoring = ground.wait(RESTORES, "in-outage", MINUTE, "copying files", copies);
    let backing_up = ground.wait(BACKUPS, "through-outage", MINUTE, "copying files", copies);

    let gone = Timestamp::now();
    ground.lib(&format!("api_server_away {AWAY}"));
    let (back, waited) = (Timestamp::now(), Instant::now());
    let engine_end = |object: &Value| -> Option<Timestamp> {
        let engine = format!("backup.vitess.io/run-uid={}", object["metadata"]["uid"].as_str().expect("a uid"));
        let path = "jsonpath={.items[*].status.containerStatuses[0].state.terminated.finishedAt}";
        let pods = ground.kubectl(&["get", "pods", "-l", &engine, "-o", "name"]);
        assert_eq!(pods.lines().count(), 1, "one engine: {pods}");
        ground.kubectl(&["get", "pods", "-l", &engine, "-o", path]).trim().parse().ok()
    };
    assert_eq!(engine_end(&backing_up), None, "the backup is still under way when the API server is back");

    let restored = ground.wait_succeeded(RESTORES, "in-outage");
    let told_after = waited.elapsed();
    println!("what had ended meanwhile was told {told_after:?} after the API server was back");
    assert!(told_after < MINUTE, "{told_after:?}");
    let ended = engine_end(&restored).expect("the engine has ended");
    assert!(gone < ended && ended < back, "the engine ended at {ended}, and nobody answered from {gone} to {back}");
    assert_eq!(restored["status"]["startTime"], restoring["status"]["startTime"]);
    assert_eq!(restored["status"]["backupName"], first["status"]["backupName"]);
    assert!(restored["status"]["manifest"]["BackupMethod"] == "builtin", "{:#}", restored["status"]);

    let backed_up = ground.wait_succeeded(BACKUPS, "through-outage");
    assert!(engine_end(&backed_up).is_some_and(|ended| ended > back), "it outlasted the outage");
    assert_eq!(backed_up["status"]["startTime"], backing_up["status"]["startTime"], "it was not begun anew");
    assert_eq!(backed_up["status"]["backupName"], backing_up["status"]["backupName"]);
    for done in [&restored, &backed_up] {
        let status = &done["status"];
        assert_eq!(status["launches"], 1, "one engine: {status:#}");
        assert!(status.get("failure").is_none() && status.get("attempts").is_none(), "{status:#}");
        assert_eq!(condition(done, "Complete")["status"], "True", "{status:#}");
    }
    assert_eq!(condition(&backed_up, "Replicating")["status"], "True", "{:#}", backed_up["status"]);
    let name = backed_up["status"]["backupName"].as_str().expect("a name");
    let volume =
        ground.lib(&format!("tablet_exec 101 'ls /backups/outage-{}/commerce/0/{name}' vttablet", std::process::id()));
    assert!(volume.lines().any(|file| file == "MANIFEST"), "{volume}");
    wait_settled(&ground, BACKUPS, "through-outage");
    wait_settled(&ground, RESTORES, "in-outage");
    assert_no_lock_is_held(&ground);
    assert_serves_as_a_replica(&ground, 102);
    ground.assert_same_rows_as_primary(102);
    ground.lib("both_operators_ready");
    for (kind, name) in [(RESTORES, "in-outage"), ("persistentvolumeclaim", "in-outage")] {
        ground.delete(kind, name);
    }
}

/// The kubelet says nothing for a while, as when the node has lost its network; every pod goes on.
fn a_node_that_falls_silent_is_noticed_within_a_minute_and_its_run_goes_on_when_it_speaks_again() {
    const SILENT: u64 = 75;
    let ground = Ground::take_alone();
    ground.apply(&storage_yaml("silence", &format!("/silence-{}", std::process::id())));
    ground.delete(BACKUPS, "through-silence");
    let size = take(&ground, "before-silence", "silence", 101)["status"]["sizeBytes"].as_u64().expect("a size");
    let slowly = format!("  bandwidthLimit: {}Ki\n", size / (SILENT + 30) / 1024);
    ground.apply(&format!("{}{slowly}", backup_yaml("through-silence", "silence", 102, "Retain")));
    let copies = |object: &Value| object["status"]["progress"]["step"] == "CopyingFiles";
    let copying = ground.wait(BACKUPS, "through-silence", MINUTE, "copying files", copies);

    let (silent, speaks_again) = (Instant::now(), ground.lib_and_afterwards("freeze_kubelet", &["thaw_kubelet"]));
    let is_noticed = |object: &Value| condition(object, "EngineRunning")["reason"] == "NodeUnreachable";
    let noticed = ground.wait(BACKUPS, "through-silence", MINUTE, "known to be silent", is_noticed);
    println!("noticed {:?} after the kubelet's last word", silent.elapsed());
    let told = condition(&noticed, "EngineRunning");
    assert_eq!((&told["status"], &noticed["status"]["phase"]), (&"Unknown".into(), &"Running".into()), "{told:#}");
    let message = told["message"].as_str().expect("a message");
    assert!(message.contains("kubectl delete node"), "it says what to do when the node is gone for good: {message}");
    std::thread::sleep(Duration::from_secs(SILENT).saturating_sub(silent.elapsed()));
    let waits = ground.get(BACKUPS, "through-silence").expect("the backup");
    assert_eq!((&waits["status"]["phase"], waits["status"].get("failure")), (&"Running".into(), None), "{waits:#}");

    drop(speaks_again);
    let done = ground.wait_succeeded(BACKUPS, "through-silence");
    let status = &done["status"];
    assert_eq!(status["launches"], 1, "one engine: {status:#}");
    assert_eq!(status["backupName"], copying["status"]["backupName"]);
    assert!(status.get("failure").is_none() && status.get("attempts").is_none(), "{status:#}");
    assert_eq!(condition(&done, "Replicating")["status"], "True", "{status:#}");
    wait_settled(&ground, BACKUPS, "through-silence");
    assert_no_lock_is_held(&ground);
    ground.lib("both_operators_ready");
    for uid in [101, 102] {
        ground.lib(&format!("wait_serving {uid}"));
        assert_serves_as_a_replica(&ground, uid);
    }
    ground.assert_same_rows_as_primary(102);
}

/// Two backups of tablets and one of their shard, which take turns, and one of the topology server.
fn two_operators_that_both_act_launch_one_engine_for_each_run() {
    let ground = Ground::take_alone();
    ground.apply(&storage_yaml("twice", &format!("/twice-{}", std::process::id())));
    let runs = [(BACKUPS, "twice-101"), (BACKUPS, "twice-102"), (BACKUPS, "twice-shard"), (TOPOLOGY, "twice-topology")];
    for (kind, name) in runs {
        ground.delete(kind, name);
    }
    let operators = Operators::instead_of_the_charts(&ground);
    let engines = Engines::watch(&ground);
    ground.apply(&backup_yaml("twice-101", "twice", 101, "Retain"));
    ground.apply(&backup_yaml("twice-102", "twice", 102, "Retain"));
    let of_shard = backup_yaml("twice-shard", "twice", 101, "Retain");
    ground.apply(&of_shard.replace("tablet: zone1-0000000101", "shard: commerce/0"));
    ground.apply(
        "apiVersion: backup.vitess.io/v1alpha1\nkind: VitessTopologyBackup\nmetadata: {name: twice-topology}\nspec:\n  \
         storage: {name: twice}\n  etcd: {endpoints: [\"etcd:2379\"]}\n",
    );
    let both = ["one", "other"].map(|name| operators.start(name, None));
    let mut names = BTreeSet::new();
    for (kind, name) in runs {
        let done = ground.wait_succeeded(kind, name);
        wait_settled(&ground, kind, name);
        // Of a shard another tablet may be tried, by an engine of its own.
        let left = done["status"]["tried"].as_array().map_or(0, Vec::len);
        assert!(left == 0 || name == "twice-shard", "{name}: {:#}", done["status"]);
        let pods = engines.of(&done);
        let jobs: BTreeSet<&str> = pods.iter().filter_map(|pod| pod.rsplit_once('-')).map(|(job, _)| job).collect();
        assert_eq!((pods.len(), jobs.len()), (1 + left, 1 + left), "{name}: {pods:?}: {:#}", done["status"]);
        assert_eq!(done["status"]["job"], Value::Null, "{name}: {:#}", done["status"]);
        assert_eq!(done["status"].get("attempts"), None, "{name}: {:#}", done["status"]);
        if kind == BACKUPS {
            assert_eq!(done["status"]["launches"], 1 + left, "{name}: {:#}", done["status"]);
            names.insert(done["status"]["backupName"].as_str().expect("a name").to_owned());
        }
    }
    for operator in &both {
        assert!(!operator.writes().is_empty(), "both acted:\n{}", operator.log());
    }
    let volume = ground.lib(&format!("tablet_exec 101 'ls /backups/twice-{}/commerce/0' vttablet", std::process::id()));
    let stored: BTreeSet<String> = volume.lines().map(str::to_owned).collect();
    assert_eq!(stored, names, "three backups, and nothing half done beside them");
    assert_no_lock_is_held(&ground);
    for uid in [101, 102] {
        assert_serves_as_a_replica(&ground, uid);
    }
    ground.assert_same_rows_as_primary(102);
}
