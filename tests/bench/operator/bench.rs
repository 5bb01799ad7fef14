//! `make bench-operator`: the operator with thousands of backups, against a real API server and a node on which nothing runs;
//! `docs/benchmarks.md` tells the method. Settings come from the environment:
//!
//! | variable | what |
//! |---|---|
//! | `BENCH_BINARY` | the release binary; `make bench-operator` gives it |
//! | `BENCH_ENDED` | how many VitessBackups have ended, by default 10000 |
//! | `BENCH_RUNNING` | how many are applied and run at once, by default 500 |
//! | `BENCH_RATE` | how many are applied in a second, by default 50 |
//! | `BENCH_SECONDS` | how long the operator is looked at while nothing happens, by default 60 |
//! | `BENCH_REPORT` | the page that gets the tables; without it they are only printed |
//! | `BENCH_KEEP` | a folder that keeps the logs of everything |
//! | `TMPDIR` | where etcd's data are; `make bench-operator` sets it to `BENCH_DIR`, by default `/dev/shm` |

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed measurement ends the run")]
#![allow(clippy::missing_panics_doc, reason = "nobody else calls what is here")]

mod control_plane;
mod fleet;
mod kubelet;
#[path = "../machine.rs"]
mod machine;
mod measure;
#[path = "../proc.rs"]
mod proc;
mod report;
#[path = "../../support/mod.rs"]
mod support;
#[path = "../tables.rs"]
mod tables;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use tokio::time::{Instant, sleep, sleep_until};
use vitess_backup::resources::names::{ANNOTATION_RUN, LABEL_RUN_KIND};

use control_plane::ControlPlane;
use fleet::{Fleet, NAMESPACE};
use kubelet::Kubelet;
use machine::{publish, say, setting};
use measure::{Audit, Meter, Operator};
use report::{Floor, Load, Report, Size, percentile, total};
use support::kubernetes::within;

/// How long the operator has to come to rest.
const REST: Duration = Duration::from_secs(15);

fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(bench());
}

struct Choice {
    binary: PathBuf,
    ended: u32,
    running: u32,
    rate: u32,
    seconds: Duration,
}

impl Choice {
    fn given() -> Self {
        let number = |name: &str, default: u32| -> u32 {
            setting(name, &default.to_string()).parse().unwrap_or_else(|_| panic!("{name} is a number"))
        };
        let binary = PathBuf::from(setting("BENCH_BINARY", ""));
        assert!(binary.is_file(), "BENCH_BINARY is to name the release binary: use `make bench-operator`");
        Self {
            binary,
            ended: number("BENCH_ENDED", 10_000),
            running: number("BENCH_RUNNING", 500),
            rate: number("BENCH_RATE", 50),
            seconds: Duration::from_secs(number("BENCH_SECONDS", 60).into()),
        }
    }
}

async fn bench() {
    let (choice, begun) = (Choice::given(), Instant::now());
    let kept = setting("BENCH_KEEP", "");
    let temporary = tempfile::tempdir().expect("a folder");
    let folder = if kept.is_empty() { temporary.path().to_owned() } else { PathBuf::from(kept) };
    std::fs::create_dir_all(&folder).expect("a folder");
    let plane = ControlPlane::start(&folder).await;
    let kubelet = Kubelet::start(plane.client.clone()).await;
    let fleet = Fleet::make(plane.client.clone(), choice.running + 1).await;
    say(&format!("{} tablets are there", (choice.running + 1) * fleet::TABLETS));
    let kubeconfig = plane.kubeconfig_of(&fleet::token(&plane.client).await);
    let mut stage = Stage {
        folder,
        kubeconfig,
        audit: Audit::at(plane.audit_log()),
        seen: Seen::begin(&plane.client),
        fleet,
        kubelet,
        probes: 0,
        choice,
        plane,
    };
    let floor = stage.floor().await;
    let (sizes, operator) = stage.grow().await;
    let idle = stage.idle(&operator).await;
    let load = stage.load(&operator).await;
    operator.stop();
    let Stage { choice, plane, .. } = &stage;
    let version = plane.client.apiserver_version().await.expect("the API server answers").git_version;
    let tablets = (choice.running + 1) * fleet::TABLETS;
    let header = report::header(&choice.binary, version, tablets, begun.elapsed());
    let report = Report { header, sizes, idle, idle_for: choice.seconds, floor, load };
    publish("the operator", &tables::of_operator(), &report.to_string());
}

struct Stage {
    choice: Choice,
    folder: PathBuf,
    kubeconfig: PathBuf,
    audit: Audit,
    seen: Seen,
    fleet: Fleet,
    kubelet: Arc<Kubelet>,
    probes: u32,
    plane: ControlPlane,
}

impl Stage {
    /// Measures the control plane, ourselves and the operator, if there is one.
    fn meter(&self, operator: Option<&Operator>) -> Meter {
        let others = operator.map(|operator| ("the operator", operator.id()));
        let others = others.into_iter().chain([("the benchmark, which is the kubelet too", std::process::id())]);
        Meter::start(self.plane.processes().chain(others))
    }

    /// From a Job's creation to its pod while no operator runs: as many Jobs as there will be backups, at their rate.
    async fn floor(&self) -> Floor {
        let Choice { running, .. } = self.choice;
        self.fleet.make_floor().await;
        let of_job = |pod: &PartialObjectMeta<Pod>| pod.labels().get(fleet::JOB_OF).cloned();
        let pods = watch::<Pod>(&self.fleet.client, fleet::FLOOR, fleet::JOB_OF, of_job);
        let meter = self.meter(None);
        let (made, _) = self.at_the_rate(async |name: &str, _| self.fleet.make_job(name).await).await;
        within("the pods of Jobs", 300, async || pods.lock().expect("nobody panicked").len() >= running as usize).await;
        let cost = meter.read();
        let pods = pods.lock().expect("nobody panicked");
        let to_pod: Vec<Duration> = made.iter().map(|(name, made)| pods[name] - *made).collect();
        say(&format!("without an operator 99 of 100 Jobs have a pod after {:.3} s", percentile(&to_pod, 99)));
        Floor { to_pod, cost }
    }

    /// Restarts the operator with ever more backups that have ended; it runs when the last are there.
    async fn grow(&mut self) -> (Vec<Size>, Operator) {
        let ended = self.choice.ended;
        let (first, _) = self.start().await;
        self.rest(&first).await;
        let like = self.fleet.backups().get("probe-1").await.expect("the first probe is there");
        first.stop();
        let (mut sizes, mut there) = (Vec::new(), 0);
        loop {
            let wanted = [ended / 4, ended / 2, ended][sizes.len()];
            self.fleet.make_ended(&like, there..wanted, self.choice.running + 1).await;
            there = wanted;
            let (operator, acts_after) = self.start().await;
            self.rest(&operator).await;
            let (resident, peak) = operator.memory();
            say(&format!(
                "{wanted} ended: acts after {:.2} s, {} MiB resident, {} MiB at most",
                acts_after.as_secs_f64(),
                resident >> 20,
                peak >> 20
            ));
            sizes.push(Size { ended: wanted, acts_after, resident, peak });
            if sizes.len() == 3 {
                return (sizes, operator);
            }
            operator.stop();
        }
    }

    /// Starts the operator while a backup waits for it; and how long it takes until that one's Job is there.
    async fn start(&mut self) -> (Operator, Duration) {
        self.probes += 1;
        let name = format!("probe-{}", self.probes);
        self.fleet.apply(&name, self.choice.running).await;
        let operator = Operator::start(&self.choice.binary, &self.kubeconfig, &self.folder, self.probes);
        within("the operator to act", 300, async || self.seen.job(&name).is_some()).await;
        let acts = self.seen.job(&name).expect("it was seen");
        let acts_after = acts - operator.started;
        (operator, acts_after)
    }

    /// Until nothing is under way.
    async fn rest(&self, operator: &Operator) {
        within("the operator to come to rest", 300, async || {
            let left = operator.metric("vitess_backup_queue_runs", "").await;
            left == 0.0 && self.kubelet.running() == 0
        })
        .await;
        sleep(REST).await;
    }

    /// CPU time, in percent of a core, while nothing happens.
    async fn idle(&self, operator: &Operator) -> f64 {
        let before = operator.cpu();
        sleep(self.choice.seconds).await;
        let idle = percent(operator.cpu().saturating_sub(before), self.choice.seconds);
        say(&format!("idle: {idle:.2} % of a core"));
        idle
    }

    /// Applies backups, lets them run, and lets them end.
    async fn load(&self, operator: &Operator) -> Load {
        let Choice { running, rate, seconds, .. } = self.choice;
        self.kubelet.hold();
        let (from, meter) = (self.audit.mark(), self.meter(Some(operator)));
        let (applied, applied_in) =
            self.at_the_rate(async |name: &str, number| self.fleet.apply(name, number).await).await;
        say(&format!("{running} were applied in {:.1} s", applied_in.as_secs_f64()));
        within("their pods", 300, async || applied.iter().all(|(name, _)| self.seen.pod(name).is_some())).await;
        let cost = meter.read();
        within("all to run", 300, async || {
            operator.metric("vitess_backup_queue_runs", "phase=\"Running\"").await >= f64::from(running)
                && self.kubelet.running() >= running as usize
        })
        .await;
        let to = |seen: &dyn Fn(&str) -> Option<Instant>| -> Vec<Duration> {
            applied.iter().map(|(name, applied)| seen(name).expect("it runs") - *applied).collect()
        };
        let (to_job, to_pod) = (to(&|name| self.seen.job(name)), to(&|name| self.seen.pod(name)));
        say(&format!("99 of 100 have a pod after {:.3} s", percentile(&to_pod, 99)));
        sleep(REST).await;
        let (held_from, cpu) = (self.audit.mark(), operator.cpu());
        sleep(seconds).await;
        let (held_to, cpu) = (self.audit.mark(), percent(operator.cpu().saturating_sub(cpu), seconds));
        let (resident, _) = operator.memory();
        say(&format!("{running} running: {} MiB resident, {cpu:.2} % of a core", resident >> 20));
        for _ in 0..running {
            self.kubelet.let_end(1);
            sleep(Duration::from_secs(1) / rate).await;
        }
        self.rest(operator).await;
        let requests = self.audit.between(from, self.audit.mark());
        let held = total(&self.audit.between(held_from, held_to));
        let succeeded = self.fleet.succeeded("run-").await;
        assert_eq!(succeeded, running as usize, "all that were applied have succeeded");
        let (_, peak) = operator.memory();
        let requests_per_second = f64::from(u32::try_from(held).unwrap_or(u32::MAX)) / seconds.as_secs_f64();
        Load {
            runs: running,
            rate,
            to_job,
            to_pod,
            cost,
            applied_in,
            resident,
            cpu,
            requests_per_second,
            peak,
            requests,
            held,
            held_for: seconds,
        }
    }

    /// One after the other at the rate, whatever becomes of them; when each was made.
    async fn at_the_rate(&self, one: impl AsyncFn(&str, u32)) -> (Vec<(String, Instant)>, Duration) {
        let begun = Instant::now();
        let each = async |number: u32| {
            sleep_until(begun + Duration::from_secs(1) * number / self.choice.rate).await;
            let (name, made) = (format!("run-{number:04}"), Instant::now());
            one(&name, number).await;
            (name, made)
        };
        let made = futures::future::join_all((0..self.choice.running).map(each)).await;
        (made, begun.elapsed())
    }
}

/// When the first Job and the first pod of each run were seen.
struct Seen {
    jobs: Arc<Mutex<HashMap<String, Instant>>>,
    pods: Arc<Mutex<HashMap<String, Instant>>>,
}

impl Seen {
    fn begin(client: &Client) -> Self {
        let of_backups = format!("{LABEL_RUN_KIND}=VitessBackup");
        Self {
            jobs: watch::<Job>(client, NAMESPACE, &of_backups, |job| job.annotations().get(ANNOTATION_RUN).cloned()),
            pods: watch::<Pod>(client, NAMESPACE, &of_backups, |pod| pod.annotations().get(ANNOTATION_RUN).cloned()),
        }
    }

    fn job(&self, run: &str) -> Option<Instant> {
        self.jobs.lock().expect("nobody panicked").get(run).copied()
    }

    fn pod(&self, run: &str) -> Option<Instant> {
        self.pods.lock().expect("nobody panicked").get(run).copied()
    }
}

/// When the first object of each name was seen.
fn watch<K>(
    client: &Client,
    namespace: &str,
    labels: &str,
    name: fn(&PartialObjectMeta<K>) -> Option<String>,
) -> Arc<Mutex<HashMap<String, Instant>>>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
{
    let times: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
    let (noted, api) = (times.clone(), Api::<PartialObjectMeta<K>>::namespaced(client.clone(), namespace));
    let labelled = watcher::Config::default().labels(labels);
    tokio::spawn(async move {
        let mut found = watcher(api, labelled).default_backoff().applied_objects().boxed();
        while let Some(object) = found.next().await {
            let Ok(object) = object else { continue };
            if let Some(name) = name(&object) {
                noted.lock().expect("nobody panicked").entry(name).or_insert_with(Instant::now);
            }
        }
    });
    times
}

fn percent(cpu: Duration, of: Duration) -> f64 {
    cpu.as_secs_f64() / of.as_secs_f64() * 100.0
}
