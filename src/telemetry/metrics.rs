//! Metrics in the OpenMetrics text format. Labels have few values: never an object's name.

use std::fmt::Debug;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRun {
    kind: &'static str,
    phase: String,
    reason: String,
}

/// The operator's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: Family<OfKind, Counter>,
    failures: Family<OfKind, Counter>,
    durations: Family<OfKind, Histogram>,
    runs: Family<OfRun, Counter>,
    leader: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("vitess_backup");
        let durations: Family<OfKind, Histogram> = Family::new_with_constructor(durations);
        let metrics = Self {
            reconciles: Family::default(),
            failures: Family::default(),
            durations,
            runs: Family::default(),
            leader: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("reconciles", "Looks at objects", metrics.reconciles.clone());
        registry.register("reconcile_failures", "Looks that failed and are repeated", metrics.failures.clone());
        let help = "How long a look takes";
        registry.register_with_unit("reconcile_duration", help, Unit::Seconds, metrics.durations.clone());
        registry.register("runs", "Runs that have ended, by phase and failure reason", metrics.runs.clone());
        registry.register("leader", "Whether this operator is the one that acts", metrics.leader.clone());
        Self { registry, ..metrics }
    }
}

/// 5 ms to 10 s.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 12))
}

impl Metrics {
    pub fn reconciled(&self, kind: &'static str, took: Duration, failed: bool) {
        let kind = OfKind { kind };
        self.reconciles.get_or_create(&kind).inc();
        self.durations.get_or_create(&kind).observe(took.as_secs_f64());
        if failed {
            self.failures.get_or_create(&kind).inc();
        }
    }

    pub fn run_ended(&self, kind: &'static str, phase: impl Debug, reason: &str) {
        let labels = OfRun { kind, phase: format!("{phase:?}"), reason: reason.to_owned() };
        self.runs.get_or_create(&labels).inc();
    }

    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// All of them, as a scraper reads them.
    ///
    /// # Errors
    /// When formatting fails, which writing to memory does not.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_counted_by_how_they_ended() {
        let metrics = Metrics::default();
        metrics.run_ended("VitessBackup", crate::api::Phase::Failed, "EngineLost");
        metrics.reconciled("VitessBackup", Duration::from_millis(20), true);
        let page = metrics.text().unwrap();
        let run = r#"vitess_backup_runs_total{kind="VitessBackup",phase="Failed",reason="EngineLost"} 1"#;
        assert!(page.contains(run), "{page}");
        assert!(page.contains(r#"vitess_backup_reconcile_failures_total{kind="VitessBackup"} 1"#), "{page}");
        assert!(page.contains("vitess_backup_reconcile_duration_seconds_bucket"), "{page}");
    }
}
