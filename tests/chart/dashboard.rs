//! Every query of the dashboard is evaluated by Prometheus's own `promtool`, on the series that the operator's metrics page
//! has, and its answer has the labels that the panel's legend shows.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use vitess_backup::telemetry::census::{Census, Inventory, RunSeen, RunState, StorageSeen, Success};
use vitess_backup::telemetry::metrics::{Metrics, RunEnded};

use super::monitoring::{dashboard, metrics};
use super::promtool::test_rules;

/// A query as Prometheus is asked it, and the labels that are shown of what it answers.
struct Query {
    place: String,
    expr: String,
    shown: Vec<String>,
}

/// With one label set for each metric, so that each query has one answer: a run that failed has succeeded, too.
fn page() -> String {
    let metrics = Metrics::default();
    let success = Success {
        finished: Timestamp::UNIX_EPOCH,
        duration_seconds: Some(90.0),
        size_bytes: Some(411_041_792),
        downtime_seconds: Some(3),
    };
    metrics.run_ended(&RunEnded {
        kind: "VitessBackup",
        phase: "Failed",
        reason: Some("EngineLost"),
        engine: Some("builtin"),
        success: Some(success),
    });
    metrics.reconciled("VitessBackup", std::time::Duration::from_millis(20), true);
    metrics.leads(true);
    metrics.count(Box::new(move |census| count(census, success)));
    metrics.text().unwrap()
}

fn count(census: &mut Census, success: Success) {
    let ended = RunSeen {
        kind: "VitessBackup",
        namespace: "vitess",
        shard: Some("commerce/-80"),
        tablet_alias: Some("zone1-0000000101"),
        state: RunState::Succeeded(success),
        tablet_recovered: Some(false),
    };
    census.add_run(&ended);
    let pending = RunState::Unfinished { phase: "Pending", created: Some(Timestamp::UNIX_EPOCH) };
    census.add_run(&RunSeen { state: pending, ..ended });
    let inventory = Some(Inventory { backups: 7, incomplete: 1, bytes: 99 });
    census.add_storage("vitess".into(), "backups".into(), StorageSeen { reachable: Some(true), inventory });
}

/// The samples of a page: the series, and whether it only grows.
fn series(page: &str) -> Vec<(&str, bool)> {
    let mut grows = false;
    let mut found = Vec::new();
    for line in page.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            grows = declared.ends_with(" counter") || declared.ends_with(" histogram");
        } else if !line.starts_with('#') {
            found.push((line.rsplit_once(' ').unwrap().0, grows));
        }
    }
    found
}

/// The labels of a metric's first series.
fn labels<'a>(series: &[(&'a str, bool)], metric: &str) -> BTreeMap<&'a str, &'a str> {
    let named = |series: &&'a str| series.split('{').next() == Some(metric);
    let found = series.iter().map(|(series, _)| *series).find(named).unwrap_or_else(|| panic!("no series of {metric}"));
    let inside = found.split_once('{').map_or("", |(_, inside)| inside.trim_end_matches('}'));
    inside
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name, value.trim_matches('"')))
        .collect()
}

/// `{{label}}` of a legend.
fn shown(legend: &str) -> Vec<String> {
    legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap().trim().to_owned()).collect()
}

/// With what Grafana puts in place of the variables when everything is chosen.
fn chosen(expr: &str) -> String {
    expr.replace("$namespace", ".*").replace("$keyspace", ".*")
}

fn queries(dashboard: &Value) -> Vec<Query> {
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().unwrap() {
            let legend = target["legendFormat"].as_str().unwrap_or_default();
            let expr = chosen(target["expr"].as_str().unwrap());
            found.push(Query { place: title.to_owned(), expr, shown: shown(legend) });
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let Some(definition) = variable["definition"].as_str() else { continue };
        assert_eq!(variable["query"]["query"], *definition);
        let values = definition.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (metric, label) = values.and_then(|values| values.rsplit_once(", ")).unwrap();
        let place = format!("the variable {}", variable["name"]);
        found.push(Query { place, expr: chosen(metric), shown: vec![label.to_owned()] });
    }
    found
}

/// That a query has an answer, with the labels that are shown, and that it is a number.
fn case(query: &Query, series: &[(&str, bool)]) -> Value {
    let Query { expr, shown, .. } = query;
    let metric = &metrics(expr)[0].0;
    let of_series = labels(series, metric);
    let value = |label: &String| format!("{label}={:?}", of_series.get(label.as_str()).copied().unwrap_or_default());
    let labels: Vec<String> = shown.iter().map(value).collect();
    json!({
        "expr": format!("group by ({}) (({expr}) == ({expr}))", shown.join(", ")),
        "eval_time": "2h",
        "exp_samples": [{"labels": format!("{{{}}}", labels.join(", ")), "value": 1}],
    })
}

/// What `promtool` says of the queries, each on its own line of words when it is not answered as it should be.
fn asked(queries: &[Query]) -> super::promtool::Verdict {
    let page = page();
    let series = series(&page);
    let inputs = series
        .iter()
        .map(|(series, grows)| json!({"series": series, "values": if *grows { "0+1x150" } else { "1+0x150" }}));
    let inputs: Vec<Value> = inputs.collect();
    assert!(inputs.len() > 40, "{page}");
    let cases: Vec<Value> = queries.iter().map(|query| case(query, &series)).collect();
    let test = json!({"interval": "1m", "input_series": inputs, "promql_expr_test": cases});
    let file = json!({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]});
    test_rules(&json!({"groups": []}), &[&file.to_string()])
}

#[test]
fn every_query_of_the_dashboard_is_answered_with_the_labels_that_its_legend_shows() {
    let queries = queries(&dashboard());
    assert!(queries.len() > 25, "the queries were not read");
    let verdict = asked(&queries);
    let places: Vec<&str> = queries.iter().map(|query| query.place.as_str()).collect();
    assert!(verdict.passed, "{}\nof {places:?}", verdict.words);
}

#[test]
fn queries_that_are_misspelled_or_ask_for_what_is_not_there_are_noticed() {
    for (expr, shown, why) in [
        ("sum by (kind) vitess_backup_queue_runs)", "", "it cannot be read"),
        ("sum(vitess_backup_queue_runs{namespace=\"vitess\"})", "", "a label that the metric does not have"),
        ("sum(rate(vitess_backup_queue_runs[1h])) / 0 * 0", "", "it is no number"),
        ("sum by (phase) (vitess_backup_queue_runs)", "kind", "a label that is summed away"),
    ] {
        let shown = shown.split(' ').filter(|label| !label.is_empty()).map(str::to_owned).collect();
        let verdict = asked(&[Query { place: why.to_owned(), expr: expr.to_owned(), shown }]);
        assert!(!verdict.passed, "{why}: {expr}");
    }
}
