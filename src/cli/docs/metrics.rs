//! The list of metrics, from their registry.

use super::{GENERATED, head, row};
use crate::telemetry::metrics::METRICS;

pub fn page() -> String {
    let mut page = format!(
        "# Metrics\n\n{GENERATED}\nThe operator serves these at `:8080/metrics`, in the OpenMetrics text format. What is \
         counted from the objects of the cluster (`last_…`, `queue_…`, `storage_…`, `tablets_…`) comes from the operator that \
         leads, is right at once when it is started again, and goes with the objects. No label is the name of a run; a \
         metric by shard or storage has at most 5000 series.\n\n\
         The chart brings a Service, a ServiceMonitor, a PrometheusRule (each alert has a section in \
         [runbook.md](runbook.md)) and a Grafana dashboard: see `metrics` in its values.\n\n\
         The age of a shard's last backup is \
         `time() - vitess_backup_last_success_timestamp_seconds{{kind=\"VitessBackup\"}}`.\n\n"
    );
    page += &head(&["Metric", "Labels", "What it is"]);
    for (name, labels, help) in METRICS {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        page += &row(&[&format!("`{name}`"), &labels.join(", "), &format!("{help}.")]);
    }
    page
}
