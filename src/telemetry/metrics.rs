//! Metrics in the OpenMetrics text format. Labels have few values: shards, storages and namespaces, closed lists of kinds,
//! phases and reasons, and never the name of a run. `docs/metrics.md` is written from [`METRICS`] (`make docs`).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use super::census::{Census, ShardKey, ShardSeen, StorageSeen, Success};
use crate::backup::failure::Reason;

const SHARD: &[&str] = &["kind", "namespace", "keyspace", "shard"];
const STORAGE: &[&str] = &["namespace", "storage"];

/// Every metric as a query names it (histograms without `_bucket`, `_sum` and `_count`), its labels, and what it is.
pub const METRICS: &[(&str, &[&str], &str)] = &[
    ("vitess_backup_reconciles_total", &["kind"], "Looks at objects"),
    ("vitess_backup_reconcile_failures_total", &["kind"], "Looks that failed and are repeated"),
    ("vitess_backup_reconcile_duration_seconds", &["kind"], "How long a look takes"),
    (
        "vitess_backup_runs_total",
        &["kind", "phase", "reason"],
        "Runs that ended while this operator led, by phase and failure reason",
    ),
    ("vitess_backup_run_duration_seconds", &["kind", "engine"], "How long runs that succeeded took"),
    ("vitess_backup_run_downtime_seconds", &["kind", "engine"], "How long mysqld was down for runs that succeeded"),
    (
        "vitess_backup_run_stored_bytes_total",
        &["kind", "engine"],
        "Bytes in storage of the backups that were made or restored",
    ),
    (
        "vitess_backup_last_success_timestamp_seconds",
        SHARD,
        "When the last run of a shard that succeeded ended, or a newer backup that is in storage began",
    ),
    ("vitess_backup_last_success_duration_seconds", SHARD, "How long the last run of a shard that succeeded took"),
    ("vitess_backup_last_success_size_bytes", SHARD, "Bytes in storage of the backup that it made or restored"),
    ("vitess_backup_last_success_downtime_seconds", SHARD, "How long mysqld was down for it"),
    ("vitess_backup_last_run_failed", SHARD, "Whether the last run of a shard that ended failed"),
    ("vitess_backup_queue_runs", &["kind", "phase"], "Runs that have not ended, by phase"),
    ("vitess_backup_queue_oldest_timestamp_seconds", &["kind", "phase"], "When the oldest run of a phase was created"),
    ("vitess_backup_tablets_not_recovered", &["namespace"], "Tablets that the last run on them could not put back"),
    (
        "vitess_backup_storage_reachable",
        STORAGE,
        "Whether runs can use a storage: its conditions Accepted and Reachable; absent while nobody knows",
    ),
    ("vitess_backup_storage_backups", STORAGE, "Complete backups in a storage, as of its last inventory"),
    (
        "vitess_backup_storage_incomplete_backups",
        STORAGE,
        "Backups in a storage that are not complete: being made, or left half-made",
    ),
    ("vitess_backup_storage_bytes", STORAGE, "Bytes of all backups in a storage, as of its last inventory"),
    ("vitess_backup_series_left_out", &[], "Shards and storages that have no series because there are too many"),
    ("vitess_backup_leader", &[], "Whether this operator is the one that acts"),
    ("vitess_backup_build_info", &["version"], "The version of the operator"),
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRun {
    kind: &'static str,
    phase: &'static str,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfEngine {
    kind: &'static str,
    engine: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfShard {
    kind: &'static str,
    namespace: String,
    keyspace: String,
    shard: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPhase {
    kind: &'static str,
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfNamespace {
    namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStorage {
    namespace: String,
    storage: String,
}

/// A run that has just ended.
#[derive(Clone, Debug, PartialEq)]
pub struct RunEnded<'a> {
    pub kind: &'static str,
    pub phase: &'static str,
    /// Of `status.failure`.
    pub reason: Option<&'a str>,
    pub engine: Option<&'a str>,
    /// Of one that succeeded.
    pub success: Option<Success>,
}

/// Counts the objects of one controller into a census.
pub type Source = Box<dyn Fn(&mut Census) + Send + Sync>;

#[derive(Default)]
struct Sources(Mutex<Vec<Source>>);

impl std::fmt::Debug for Sources {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Sources")
    }
}

type Shards = Family<OfShard, Gauge<f64, std::sync::atomic::AtomicU64>>;

/// Gauges that are set anew at each scrape.
#[derive(Debug, Default)]
struct Gauges {
    finished: Shards,
    duration: Shards,
    size: Shards,
    downtime: Shards,
    failed: Family<OfShard, Gauge>,
    queue: Family<OfPhase, Gauge>,
    oldest: Family<OfPhase, Gauge>,
    not_recovered: Family<OfNamespace, Gauge>,
    reachable: Family<OfStorage, Gauge>,
    backups: Family<OfStorage, Gauge>,
    incomplete: Family<OfStorage, Gauge>,
    bytes: Family<OfStorage, Gauge>,
    left_out: Gauge,
}

/// The operator's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: Family<OfKind, Counter>,
    failures: Family<OfKind, Counter>,
    durations: Family<OfKind, Histogram>,
    runs: Family<OfRun, Counter>,
    run_durations: Family<OfEngine, Histogram>,
    downtimes: Family<OfEngine, Histogram>,
    stored: Family<OfEngine, Counter>,
    leader: Gauge,
    gauges: Gauges,
    sources: Sources,
    /// One scrape at a time: each sets the gauges anew.
    scrape: Mutex<()>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            reconciles: Family::default(),
            failures: Family::default(),
            durations: Family::new_with_constructor(of_looks as fn() -> Histogram),
            runs: Family::default(),
            run_durations: Family::new_with_constructor(of_runs as fn() -> Histogram),
            downtimes: Family::new_with_constructor(of_runs as fn() -> Histogram),
            stored: Family::default(),
            leader: Gauge::default(),
            gauges: Gauges::default(),
            sources: Sources::default(),
            scrape: Mutex::default(),
        };
        metrics.register();
        metrics
    }
}

/// 5 ms to 10 s.
fn of_looks() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 12))
}

/// 1 s to 18 h.
fn of_runs() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 17))
}

/// The help of a metric. The encoder adds `_total` to a counter's name and `_info` to an info's, and a full stop to the help.
fn help(name: &str) -> &'static str {
    let whole = [name.to_owned(), format!("{name}_total"), format!("{name}_info")];
    let found = METRICS.iter().find(|(known, ..)| whole.iter().any(|name| name == known));
    found.map_or("", |(_, _, help)| help)
}

fn add(registry: &mut Registry, name: &str, metric: impl Metric) {
    registry.register(name, help(name), metric);
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        add(registry, "vitess_backup_reconciles", self.reconciles.clone());
        add(registry, "vitess_backup_reconcile_failures", self.failures.clone());
        add(registry, "vitess_backup_reconcile_duration_seconds", self.durations.clone());
        add(registry, "vitess_backup_runs", self.runs.clone());
        add(registry, "vitess_backup_run_duration_seconds", self.run_durations.clone());
        add(registry, "vitess_backup_run_downtime_seconds", self.downtimes.clone());
        add(registry, "vitess_backup_run_stored_bytes", self.stored.clone());
        let gauges = &self.gauges;
        add(registry, "vitess_backup_last_success_timestamp_seconds", gauges.finished.clone());
        add(registry, "vitess_backup_last_success_duration_seconds", gauges.duration.clone());
        add(registry, "vitess_backup_last_success_size_bytes", gauges.size.clone());
        add(registry, "vitess_backup_last_success_downtime_seconds", gauges.downtime.clone());
        add(registry, "vitess_backup_last_run_failed", gauges.failed.clone());
        add(registry, "vitess_backup_queue_runs", gauges.queue.clone());
        add(registry, "vitess_backup_queue_oldest_timestamp_seconds", gauges.oldest.clone());
        add(registry, "vitess_backup_tablets_not_recovered", gauges.not_recovered.clone());
        add(registry, "vitess_backup_storage_reachable", gauges.reachable.clone());
        add(registry, "vitess_backup_storage_backups", gauges.backups.clone());
        add(registry, "vitess_backup_storage_incomplete_backups", gauges.incomplete.clone());
        add(registry, "vitess_backup_storage_bytes", gauges.bytes.clone());
        add(registry, "vitess_backup_series_left_out", gauges.left_out.clone());
        add(registry, "vitess_backup_leader", self.leader.clone());
        add(registry, "vitess_backup_build", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    }

    pub fn reconciled(&self, kind: &'static str, took: Duration, failed: bool) {
        let kind = OfKind { kind };
        self.reconciles.get_or_create(&kind).inc();
        self.durations.get_or_create(&kind).observe(took.as_secs_f64());
        if failed {
            self.failures.get_or_create(&kind).inc();
        }
    }

    pub fn run_ended(&self, run: &RunEnded<'_>) {
        let RunEnded { kind, phase, reason, engine, success } = *run;
        self.runs.get_or_create(&OfRun { kind, phase, reason: bounded_reason(reason) }).inc();
        let Some(Success { finished: _, duration_seconds, size_bytes, downtime_seconds }) = success else { return };
        let labels = OfEngine { kind, engine: bounded_engine(engine) };
        if let Some(seconds) = duration_seconds {
            self.run_durations.get_or_create(&labels).observe(seconds);
        }
        if let Some(seconds) = downtime_seconds {
            self.downtimes.get_or_create(&labels).observe(real(seconds));
        }
        if let Some(bytes) = size_bytes {
            self.stored.get_or_create(&labels).inc_by(u64::try_from(bytes).unwrap_or(0));
        }
    }

    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// From now on these objects are counted at each scrape.
    pub fn count(&self, source: Source) {
        self.sources.0.lock().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    /// All of them, as a scraper reads them.
    ///
    /// # Errors
    /// When formatting fails, which writing to memory does not.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let _one_at_a_time = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        let mut census = Census::default();
        for source in self.sources.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            source(&mut census);
        }
        self.gauges.show(&census);
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

impl Gauges {
    fn show(&self, census: &Census) {
        let Self {
            finished,
            duration,
            size,
            downtime,
            failed,
            queue,
            oldest,
            not_recovered,
            reachable,
            backups,
            incomplete,
            bytes,
            left_out,
        } = self;
        [finished, duration, size, downtime].into_iter().for_each(Family::clear);
        [queue, oldest].into_iter().for_each(Family::clear);
        [reachable, backups, incomplete, bytes].into_iter().for_each(Family::clear);
        failed.clear();
        not_recovered.clear();
        for (key, seen) in &census.shards {
            self.show_shard(key, seen);
        }
        for (&(kind, phase), seen) in &census.queue {
            let labels = OfPhase { kind, phase };
            queue.get_or_create(&labels).set(seen.runs);
            if let Some(time) = seen.oldest {
                oldest.get_or_create(&labels).set(time.as_second());
            }
        }
        for (namespace, tablets) in census.tablets_not_recovered() {
            not_recovered.get_or_create(&OfNamespace { namespace: namespace.to_owned() }).set(tablets);
        }
        for ((namespace, storage), StorageSeen { reachable: answers, inventory }) in &census.storages {
            let labels = OfStorage { namespace: namespace.clone(), storage: storage.clone() };
            if let Some(answers) = answers {
                reachable.get_or_create(&labels).set(i64::from(*answers));
            }
            if let Some(inventory) = inventory {
                backups.get_or_create(&labels).set(inventory.backups);
                incomplete.get_or_create(&labels).set(inventory.incomplete);
                bytes.get_or_create(&labels).set(inventory.bytes);
            }
        }
        left_out.set(census.left_out);
    }

    fn show_shard(&self, key: &ShardKey, seen: &ShardSeen) {
        let ShardKey { kind, namespace, keyspace, shard } = key.clone();
        let labels = OfShard { kind, namespace, keyspace, shard };
        self.failed.get_or_create(&labels).set(i64::from(seen.last_failed()));
        let Some(Success { finished, duration_seconds, size_bytes, downtime_seconds }) = seen.success else { return };
        self.finished.get_or_create(&labels).set(real(finished.as_second()));
        if let Some(seconds) = duration_seconds {
            self.duration.get_or_create(&labels).set(seconds);
        }
        if let Some(bytes) = size_bytes {
            self.size.get_or_create(&labels).set(real(bytes));
        }
        if let Some(seconds) = downtime_seconds {
            self.downtime.get_or_create(&labels).set(real(seconds));
        }
    }
}

/// A reason of the closed list, `None`, or `Other`: an engine of another version may know more of them.
fn bounded_reason(reason: Option<&str>) -> String {
    let Some(reason) = reason else { return "None".to_owned() };
    let known: Result<Reason, _> = serde_json::from_value(reason.into());
    known.map_or_else(|_| "Other".to_owned(), |known| format!("{known:?}"))
}

/// Vitess's engines by their names in MANIFESTs; anything else that a MANIFEST says is `other`.
fn bounded_engine(engine: Option<&str>) -> &'static str {
    match engine {
        Some("builtin") => "builtin",
        Some("xtrabackup") => "xtrabackup",
        Some("mysqlshell") => "mysqlshell",
        _ => "other",
    }
}

#[allow(clippy::cast_precision_loss, reason = "seconds and bytes of a gauge, which is a float")]
fn real(number: i64) -> f64 {
    number as f64
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
