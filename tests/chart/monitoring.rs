//! Alerts and the dashboard ask for metrics that exist, and each alert has its section in the runbook.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vitess_backup::telemetry::metrics::METRICS;

use super::{of_kind, parse, render};

/// Everything switched on.
pub const ALL: &[&str] = &[
    "metrics.service.enabled=true",
    "metrics.serviceMonitor.enabled=true",
    "metrics.serviceMonitor.labels.release=prometheus",
    "metrics.prometheusRule.enabled=true",
    "metrics.prometheusRule.labels.release=prometheus",
    "metrics.dashboard.enabled=true",
    "metrics.dashboard.annotations.grafana_folder=Vitess",
];

/// The part of the Prometheus Operator's types that the chart uses: any other field is one that it has misspelled.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PrometheusRule {
    api_version: String,
    kind: String,
    metadata: Value,
    spec: Groups,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Alert>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_field_names)] // alert is Prometheus's word
struct Alert {
    alert: String,
    expr: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#for: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ServiceMonitor {
    api_version: String,
    kind: String,
    metadata: Value,
    spec: Scrape,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Scrape {
    selector: k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector,
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Endpoint {
    port: String,
    interval: String,
    honor_labels: bool,
}

fn alerts(settings: &[&str]) -> Vec<Alert> {
    let rules = of_kind(&render(settings), "PrometheusRule");
    assert_eq!(rules.len(), 1);
    parse::<PrometheusRule>(&rules[0]).spec.groups.into_iter().flat_map(|group| group.rules).collect()
}

pub fn dashboard() -> Value {
    let maps = of_kind(&render(ALL), "ConfigMap");
    assert_eq!(maps[0]["metadata"]["labels"]["grafana_dashboard"], "1");
    serde_json::from_str(maps[0]["data"]["vitess-backup.json"].as_str().unwrap()).unwrap()
}

/// Every query of the dashboard: of its panels and its variables.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let of_panels = panels.flat_map(|panel| panel["targets"].as_array().unwrap()).map(|target| &target["expr"]);
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    let of_variables = variables.filter(|variable| variable["type"] == "query").map(|variable| &variable["definition"]);
    of_panels.chain(of_variables).map(|query| query.as_str().unwrap().to_owned()).collect()
}

/// The metrics of a query, each with the labels that it is selected by.
pub fn metrics(query: &str) -> Vec<(String, Vec<String>)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (at, _) in query.match_indices("vitess_backup_") {
        let rest = &query[at..];
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let inside = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inside, _)| inside);
        let labels = inside.split(',').filter(|pair| !pair.is_empty());
        let labels = labels.map(|pair| pair.split(['=', '!']).next().unwrap_or_default().trim().to_owned()).collect();
        found.push((name.to_owned(), labels));
    }
    found
}

/// The entry of [`METRICS`] that a name in a query is of.
pub fn known(name: &str) -> Option<(&'static str, &'static [&'static str])> {
    let stems = ["", "_bucket", "_sum", "_count"].iter().filter_map(|suffix| name.strip_suffix(suffix));
    let stems: Vec<&str> = stems.collect();
    METRICS.iter().find(|(known, ..)| stems.contains(known)).map(|(name, labels, _)| (*name, *labels))
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_and_labels_that_exist_and_leave_no_metric_out() {
    let of_alerts = alerts(ALL).into_iter().map(|alert| alert.expr);
    let all: Vec<String> = of_alerts.chain(queries(&dashboard())).collect();
    assert!(all.len() > 25, "the queries were not read: {all:?}");
    let mut used = BTreeSet::new();
    for query in &all {
        let count = |c| query.matches(c).count();
        assert!(count('(') == count(')') && count('{') == count('}') && count('"') % 2 == 0, "{query}");
        let asked = metrics(query);
        assert!(!asked.is_empty(), "{query}");
        for (name, labels) in asked {
            let (metric, has) = known(&name).unwrap_or_else(|| panic!("{name} does not exist: {query}"));
            // Prometheus adds these to series that have none of their own; nothing else is asked for by where an operator runs.
            let added: &[&str] = if metric == "vitess_backup_leader" { &["namespace", "job"] } else { &[] };
            let exists = |label: &&String| has.contains(&label.as_str()) || added.contains(&label.as_str());
            let missing: Vec<_> = labels.iter().filter(|label| !exists(label)).collect();
            assert!(missing.is_empty(), "{metric} has no {missing:?}: {query}");
            used.insert(metric);
        }
    }
    let unused: Vec<_> = METRICS.iter().map(|(name, ..)| *name).filter(|name| !used.contains(name)).collect();
    assert!(unused.is_empty(), "nobody looks at {unused:?}");
}

#[test]
fn a_query_is_read_as_it_is_written() {
    assert_eq!(
        metrics("max(vitess_backup_a{x=\"1\",y!~\"2\"}) / vitess_backup_b_bucket[5m]"),
        [
            ("vitess_backup_a".to_owned(), vec!["x".to_owned(), "y".to_owned()]),
            ("vitess_backup_b_bucket".to_owned(), vec![]),
        ]
    );
    assert_eq!(known("vitess_backup_run_duration_seconds_bucket").unwrap().0, "vitess_backup_run_duration_seconds");
    assert_eq!(known("vitess_backup_nothing"), None);
}

#[test]
fn every_alert_has_its_section_in_the_runbook_and_names_it() {
    let runbook = include_str!("../../docs/runbook.md");
    let sections: BTreeSet<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let alerts = alerts(ALL);
    let names: BTreeSet<&str> = alerts.iter().map(|alert| alert.alert.as_str()).collect();
    assert!(names.len() == alerts.len() && names.len() > 5, "{names:?}");
    assert_eq!(sections, names, "docs/runbook.md");
    for alert in &alerts {
        let Alert { alert, annotations, labels, .. } = alert;
        assert!(["critical", "warning", "info"].contains(&labels["severity"].as_str()), "{alert}");
        assert!(!annotations["summary"].is_empty(), "{alert}");
        assert_eq!(annotations["runbook"], format!("docs/runbook.md, section {alert}"));
    }
    let url = "metrics.prometheusRule.runbookUrl=https://example.com/runbook.md";
    for alert in self::alerts(&["metrics.prometheusRule.enabled=true", url]) {
        let expected = format!("https://example.com/runbook.md#{}", alert.alert.to_lowercase());
        assert_eq!(alert.annotations.get("runbook_url"), Some(&expected));
    }
}

#[test]
fn thresholds_are_those_of_the_values() {
    let settings = [
        "metrics.prometheusRule.enabled=true",
        "metrics.prometheusRule.maxBackupAgeHours=2",
        "metrics.prometheusRule.maxWaitMinutes=5",
    ];
    let found = |name: &str| alerts(&settings).into_iter().find(|alert| alert.alert == name).unwrap().expr;
    assert!(found("VitessBackupTooOld").ends_with("> 7200"), "{}", found("VitessBackupTooOld"));
    assert!(found("VitessBackupRunWaits").ends_with("> 300"), "{}", found("VitessBackupRunWaits"));
}

#[test]
fn the_panels_of_the_dashboard_have_places_and_numbers_of_their_own() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let mut taken = BTreeSet::new();
    for panel in panels {
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(side("x") + side("w") <= 24, "{}", panel["title"]);
        for (x, y) in
            (side("x")..side("x") + side("w")).flat_map(|x| (side("y")..side("y") + side("h")).map(move |y| (x, y)))
        {
            assert!(taken.insert((x, y)), "{} lies on another panel", panel["title"]);
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
    }
}

#[test]
fn prometheus_scrapes_the_service_that_the_chart_makes() {
    let objects = render(ALL);
    let monitor = parse::<ServiceMonitor>(&of_kind(&objects, "ServiceMonitor")[0]);
    let service = &of_kind(&objects, "Service")[0];
    for (label, value) in monitor.spec.selector.match_labels.unwrap() {
        assert_eq!(service["metadata"]["labels"][&label], *value);
    }
    let ports: Vec<&Value> = service["spec"]["ports"].as_array().unwrap().iter().map(|port| &port["name"]).collect();
    let [endpoint] = monitor.spec.endpoints.try_into().ok().unwrap();
    let Endpoint { port, interval: _, honor_labels } = endpoint;
    assert!(ports.iter().any(|name| **name == *port));
    assert!(honor_labels, "namespace is that of the backups");
    let none = render(&[]);
    for kind in ["ServiceMonitor", "PrometheusRule", "ConfigMap", "Service"] {
        assert!(of_kind(&none, kind).is_empty(), "{kind} is not installed unless it is asked for");
    }
}
