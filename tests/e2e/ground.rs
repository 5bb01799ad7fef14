//! The test ground as tests see it: a real cluster with a real Vitess shard, reached as a person reaches it, through
//! `kubectl`. Started by `tests/e2e/up.sh` when it is not up; a test that cannot have it fails.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;
use tokio::runtime::Runtime;

/// The namespaces of what a scenario takes for itself: a shard `commerce/0`, of which there are two, or the one shard
/// `maria/0`. Several, because a scenario waits for mysqld and for pods more than it works.
const PLACES: [&str; 3] = ["vitess-demo", "vitess-beside", "vitess-demo"];
const SHARDS: [usize; 2] = [0, 1];
const MARIA: usize = 2;
/// How many scenarios are under way at a time: two cores, on which other tests run as well, have no time for more.
const AT_A_TIME: usize = 2;
static TAKEN: Mutex<Taken> = Mutex::new(Taken { places: [false; PLACES.len()], want_all: 0 });
static CHANGED: Condvar = Condvar::new();
/// The shard of the first namespace is part of the ground, the second is brought up for who takes it first.
static BESIDE: OnceLock<()> = OnceLock::new();
static API: OnceLock<(Runtime, Client)> = OnceLock::new();
static ENVIRONMENT: OnceLock<Vec<(String, String)>> = OnceLock::new();
/// The shard over MariaDB, which only the scenarios of the xtrabackup engine need.
static MARIADB: OnceLock<()> = OnceLock::new();

pub struct Ground {
    pub namespace: String,
    /// The [`PLACES`] that this test has.
    taken: Vec<usize>,
}

struct Taken {
    places: [bool; PLACES.len()],
    /// How many scenarios wait for all places: nobody takes one before them.
    want_all: usize,
}

impl Drop for Ground {
    fn drop(&mut self) {
        let mut all = whole(&TAKEN);
        for place in &self.taken {
            all.places[*place] = false;
        }
        CHANGED.notify_all();
    }
}

/// What is made good again when this is dropped, also when the scenario fails: calls of the ground's own `scenario.sh`.
pub struct Afterwards<'a> {
    ground: &'a Ground,
    calls: Vec<String>,
}

impl Drop for Afterwards<'_> {
    fn drop(&mut self) {
        for call in &self.calls {
            if let Err(error) = self.ground.try_lib(call) {
                eprintln!("{call}: {error}");
            }
        }
    }
}

/// A scenario that failed has said so itself; the next one starts from what it checks on its own.
fn whole<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for one of these places.
fn take(wanted: &[usize]) -> Vec<usize> {
    let free = |taken: &Taken| {
        let has_room = taken.want_all == 0 && taken.places.iter().filter(|place| **place).count() < AT_A_TIME;
        wanted.iter().copied().find(|place| has_room && !taken.places[*place])
    };
    let mut taken = whole(&TAKEN);
    loop {
        if let Some(place) = free(&taken) {
            taken.places[place] = true;
            return vec![place];
        }
        taken = CHANGED.wait(taken).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Waits for all of them.
fn take_all() -> Vec<usize> {
    let mut taken = whole(&TAKEN);
    taken.want_all += 1;
    while taken.places.contains(&true) {
        taken = CHANGED.wait(taken).unwrap_or_else(PoisonError::into_inner);
    }
    taken.want_all -= 1;
    taken.places.fill(true);
    (0..PLACES.len()).collect()
}

/// The directory of the project.
pub fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// `KUBECONFIG`, `PATH` and the rest, as the ground's own scripts export them.
fn environment() -> &'static [(String, String)] {
    ENVIRONMENT.get_or_init(|| {
        let up = Command::new(project().join("tests/e2e/up.sh"))
            .stdin(Stdio::null())
            .status()
            .expect("tests/e2e/up.sh can be started");
        assert!(up.success(), "tests/e2e/up.sh could not bring the test ground up: {up}");
        let script = format!(". '{}/tests/e2e/ground/env.sh' && env -0", project().display());
        let output = Command::new("bash").args(["-c", &script]).output().expect("bash runs");
        assert!(output.status.success(), "env.sh failed: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout)
            .split('\0')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    })
}

/// To the API server, as `kubectl` does.
fn connect() -> (Runtime, Client) {
    let path = environment().iter().find(|(name, _)| name == "KUBECONFIG").map(|(_, path)| path.as_str());
    let file = Kubeconfig::read_from(path.expect("env.sh exports KUBECONFIG")).expect("a kubeconfig");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = Runtime::new().expect("a runtime");
    let client = runtime.block_on(async {
        let config =
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.expect("a configuration");
        Client::try_from(config).expect("a client")
    });
    (runtime, client)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Ground {
    /// A shard, for this test alone until it is dropped. The operator is everybody's.
    pub fn take() -> Self {
        Self::with(take(&SHARDS))
    }

    /// The whole ground: no other test is under way. For what happens to the operator or to the cluster.
    pub fn take_alone() -> Self {
        Self::with(take_all())
    }

    /// The shard `maria/0`: tablets 200 (the primary) and 201.
    pub fn take_maria() -> Self {
        let ground = Self::with(take(&[MARIA]));
        MARIADB.get_or_init(|| ground.bring_up("mariadb/shard-up.sh"));
        ground
    }

    fn with(taken: Vec<usize>) -> Self {
        let ground = Self { namespace: PLACES[taken[0]].to_owned(), taken };
        environment();
        if ground.taken[0] == 1 {
            BESIDE.get_or_init(|| ground.bring_up("vitess/shard-up.sh"));
        }
        ground
    }

    fn bring_up(&self, script: &str) {
        let path = project().join("tests/e2e/ground").join(script);
        let up = Self::command(&path.to_string_lossy(), &[&self.namespace]).status();
        let up = up.unwrap_or_else(|error| panic!("{script} cannot be started: {error}"));
        assert!(up.success(), "{script} could not bring its shard up: {up}");
    }

    /// A program of this machine, in the ground's own environment.
    pub fn command(program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(environment().iter().cloned()).stdin(Stdio::null());
        command
    }

    fn run(program: &str, arguments: &[&str]) -> Output {
        Self::command(program, arguments)
            .output()
            .unwrap_or_else(|error| panic!("{program} cannot be started: {error}"))
    }

    /// What `kubectl <arguments>` prints, in the shard's namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments).unwrap_or_else(|error| panic!("kubectl {}: {error}", arguments.join(" ")))
    }

    /// What it prints, or what it complains of.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let whole: Vec<&str> = ["-n", &self.namespace].into_iter().chain(arguments.iter().copied()).collect();
        let output = Self::run("kubectl", &whole);
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    pub fn try_apply(&self, yaml: &str) -> Result<String, String> {
        use std::io::Write;
        let mut child = Self::command("kubectl", &["-n", &self.namespace, "apply", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl can be started");
        child.stdin.take().expect("stdin is piped").write_all(yaml.as_bytes()).expect("kubectl reads its input");
        let output = child.wait_with_output().expect("kubectl ends");
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    pub fn apply(&self, yaml: &str) {
        self.try_apply(yaml).unwrap_or_else(|error| panic!("kubectl apply refused:\n{yaml}\n{error}"));
    }

    /// The object as it is now, of a kind of ours by its full name or a `pod`. Not by `kubectl`, which takes a tenth of a second
    /// of a core for each look.
    pub fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let resource = match kind.split_once('.') {
            Some((plural, group)) => ApiResource {
                group: group.to_owned(),
                version: "v1alpha1".to_owned(),
                api_version: format!("{group}/v1alpha1"),
                kind: plural.to_owned(),
                plural: plural.to_owned(),
            },
            None => ApiResource::erase::<Pod>(&()),
        };
        let (runtime, client) = API.get_or_init(connect);
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &self.namespace, &resource);
        let found = runtime.block_on(api.get_opt(name)).ok().flatten()?;
        Some(serde_json::to_value(found).expect("JSON"))
    }

    /// Deletes an object if it is there, and waits until it is gone.
    pub fn delete(&self, kind: &str, name: &str) {
        self.kubectl(&["delete", kind, name, "--ignore-not-found", "--timeout=180s"]);
    }

    /// Polls until `ready` says yes.
    ///
    /// # Panics
    /// After `limit`, with the object as last seen.
    pub fn wait(&self, kind: &str, name: &str, limit: Duration, what: &str, ready: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let object = self.get(kind, name).unwrap_or(Value::Null);
            if ready(&object) {
                return object;
            }
            assert!(
                begun.elapsed() < limit,
                "{kind}/{name}: still not {what} after {limit:?}; status {:#}\n{}",
                object["status"],
                Self::operator_log()
            );
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Waits for a final phase and gives the object.
    pub fn wait_finished(&self, kind: &str, name: &str) -> Value {
        self.wait(kind, name, Duration::from_secs(300), "finished", |object| {
            matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Cancelled"))
        })
    }

    /// Waits for a final phase, which has to be Succeeded.
    pub fn wait_succeeded(&self, kind: &str, name: &str) -> Value {
        let object = self.wait_finished(kind, name);
        assert_eq!(
            object["status"]["phase"],
            "Succeeded",
            "{kind}/{name}: {:#}\n{}",
            object["status"],
            Self::operator_log()
        );
        object
    }

    fn operator_log() -> String {
        let log = Self::run(
            "kubectl",
            &[
                "-n",
                "vitess-backup-operator",
                "logs",
                "-l",
                "app.kubernetes.io/name=vitess-backup-operator",
                "--tail=30",
            ],
        );
        format!("--- operator log\n{}", text(&log.stdout))
    }

    /// Runs a function of the ground's own `scenario.sh`.
    pub fn lib(&self, call: &str) -> String {
        self.try_lib(call).unwrap_or_else(|error| panic!("{call}: {error}"))
    }

    /// Runs the first function, and the others when what this gives is dropped, whatever becomes of the first.
    pub fn lib_and_afterwards(&self, call: &str, afterwards: &[&str]) -> Afterwards<'_> {
        let afterwards = Afterwards { ground: self, calls: afterwards.iter().map(|call| (*call).to_owned()).collect() };
        self.lib(call);
        afterwards
    }

    /// What it prints, or what it complains of.
    pub fn try_lib(&self, call: &str) -> Result<String, String> {
        let ground = project().join("tests/e2e/ground");
        let script = format!(". '{0}/env.sh'; . '{0}/scenario.sh'; {call}", ground.display());
        let mut bash = Self::command("bash", &["-euo", "pipefail", "-c", &script]);
        let output = bash.env("VITESS_NAMESPACE", &self.namespace).output().expect("bash can be started");
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(format!("{}{}", text(&output.stdout), text(&output.stderr)))
        }
    }

    /// Answers of a tablet's own mysqld, tab-separated, as vt_dba.
    pub fn sql(&self, uid: u32, statement: &str) -> String {
        self.lib(&format!("tablet_sql {uid} {statement:?}")).trim().to_owned()
    }

    /// The same, of one number.
    pub fn number(&self, uid: u32, statement: &str) -> u64 {
        let answer = self.sql(uid, statement);
        answer.parse().unwrap_or_else(|_| panic!("{statement}: {answer:?} is not a number"))
    }

    /// Both replication threads of the tablet run.
    pub fn replicates(&self, uid: u32) -> bool {
        self.try_lib(&format!("replicating {uid}")).is_ok()
    }

    /// Waits until the tablet has everything that the primary had when this was called, then compares every table's
    /// checksum with the writer held still.
    pub fn assert_same_rows_as_primary(&self, uid: u32) {
        self.lib("pause_writer");
        self.lib(&format!("wait_caught_up {uid}"));
        let primary = self.lib("tablet_checksums 100");
        let replica = self.lib(&format!("tablet_checksums {uid}"));
        self.lib("resume_writer");
        assert!(primary.lines().count() >= 5, "the primary has tables to compare: {primary:?}");
        assert!(!primary.contains("NULL"), "every table can be read: {primary}");
        assert_eq!(replica, primary, "checksums of tablet {uid} and of the primary");
    }
}
