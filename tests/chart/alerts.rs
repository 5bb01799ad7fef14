//! Every alert of the chart is evaluated: on the series of `alerts.yaml` and `alerts-of-a-day.yaml`, by Prometheus's own
//! `promtool`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::monitoring::{ALL, known};
use super::promtool::test_rules;
use super::{of_kind, render};

const CASES: [&str; 2] = [include_str!("alerts.yaml"), include_str!("alerts-of-a-day.yaml")];

/// Each case of both files.
fn cases() -> Vec<Value> {
    let file = |text: &&str| serde_saphyr::from_str::<Value>(text).unwrap()["tests"].as_array().unwrap().clone();
    CASES.iter().flat_map(file).collect()
}

/// `spec` of the rendered PrometheusRule, which is what a file of rules has.
fn rules(settings: &[&str]) -> Value {
    of_kind(&render(settings), "PrometheusRule")[0]["spec"].clone()
}

/// Those that the cases are about.
fn all_rules() -> Value {
    rules(&[ALL, &["metrics.prometheusRule.maxBackupAgeHours=2"]].concat())
}

/// What is to be changed in a rule, if anything.
type Change = fn(&Value) -> Option<(&'static str, Value)>;

/// The rules with one change to each that it is for, and the names of these.
fn altered(rules: &Value, change: Change) -> (Value, BTreeSet<String>) {
    let (mut rules, mut names) = (rules.clone(), BTreeSet::new());
    let groups = rules["groups"].as_array_mut().unwrap();
    for rule in groups.iter_mut().flat_map(|group| group["rules"].as_array_mut().unwrap()) {
        if let Some((field, value)) = change(rule) {
            rule[field] = value;
            names.insert(rule["alert"].as_str().unwrap().to_owned());
        }
    }
    (rules, names)
}

/// The expression with another number at its end, after the last comparison.
fn threshold(rule: &Value, change: fn(f64) -> f64) -> (&'static str, Value) {
    let expr = rule["expr"].as_str().unwrap();
    let at = [" > ", " == "].iter().filter_map(|sign| Some(expr.rfind(sign)? + sign.len())).max().unwrap();
    let (before, rest) = expr.split_at(at);
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, after) = rest.split_at(end);
    ("expr", format!("{before}{}{after}", change(number.parse().unwrap())).into())
}

/// What is hardly a difference to a person, and more than a minute.
fn little(number: f64) -> f64 {
    if number == 0.0 { 1.0 } else { number / 50.0 }
}

struct Expected {
    case: String,
    alert: String,
    alerts: Vec<Value>,
}

fn expected() -> Vec<Expected> {
    let mut found = Vec::new();
    for case in cases() {
        for one in case["alert_rule_test"].as_array().unwrap() {
            found.push(Expected {
                case: case["name"].as_str().unwrap().to_owned(),
                alert: one["alertname"].as_str().unwrap().to_owned(),
                alerts: one["exp_alerts"].as_array().unwrap().clone(),
            });
        }
    }
    found
}

fn names(rules: &Value) -> BTreeSet<String> {
    altered(rules, |rule| Some(("alert", rule["alert"].clone()))).1
}

#[test]
fn every_alert_fires_when_it_is_to_and_not_a_minute_before() {
    let verdict = test_rules(&all_rules(), &CASES);
    assert!(verdict.passed, "{}", verdict.words);
}

#[test]
fn every_alert_has_a_case_in_which_it_fires_and_in_which_it_just_does_not() {
    let expected = expected();
    let with = |fires: bool| -> BTreeSet<(String, String)> {
        let ones = expected.iter().filter(|one| one.alerts.is_empty() != fires);
        ones.map(|one| (one.case.clone(), one.alert.clone())).collect()
    };
    let in_one_case: BTreeSet<String> = with(true).intersection(&with(false)).map(|(_, name)| name.clone()).collect();
    assert_eq!(in_one_case, names(&all_rules()), "tests/chart/alerts*.yaml");
}

#[test]
fn what_an_alert_says_is_whole() {
    let mut texts = 0;
    for Expected { case, alerts, .. } in expected() {
        for alert in alerts {
            for part in ["exp_labels", "exp_annotations"] {
                for (name, value) in alert[part].as_object().unwrap() {
                    let value = value.as_str().unwrap();
                    texts += 1;
                    for wrong in ["{{", "}}", "<", "  ", " /", "/ ", "NaN", "Inf"] {
                        assert!(!value.contains(wrong), "{case}: {name} is {value:?}");
                    }
                    assert!(!value.is_empty() && value.trim() == value, "{case}: {name} is {value:?}");
                }
            }
        }
    }
    assert!(texts > 50, "the cases were not read");
}

#[test]
fn the_cases_notice_another_threshold_and_another_time() {
    let alterations: [(&str, Change); 4] = [
        ("a lower threshold", |rule| Some(threshold(rule, |number| number - little(number)))),
        ("a higher threshold", |rule| Some(threshold(rule, |number| number + little(number)))),
        ("no `for`", |rule| rule.get("for").map(|_| ("for", "0s".into()))),
        ("a longer `for`", |rule| Some(("for", format!("{}1s", rule.get("for")?.as_str().unwrap()).into()))),
    ];
    let rules = all_rules();
    for (what, change) in alterations {
        let (rules, changed) = altered(&rules, change);
        assert!(changed.len() > 5, "{what}: {changed:?}");
        let verdict = test_rules(&rules, &CASES);
        let failures = verdict.words.split("alertname: ").skip(1);
        let noticed: BTreeSet<String> =
            failures.map(|rest| rest.split(',').next().unwrap_or_default().to_owned()).collect();
        assert_eq!(noticed, changed, "{what}: {}", verdict.words);
    }
}

#[test]
fn the_series_of_the_cases_are_those_of_the_operator() {
    for series in cases().iter().flat_map(|case| case["input_series"].as_array().unwrap()) {
        let series = series["series"].as_str().unwrap();
        let (name, labels) = series.strip_suffix('}').and_then(|series| series.split_once('{')).unwrap();
        let (metric, of_metric) = known(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(metric, name, "no alert is about a histogram");
        let labels: BTreeSet<&str> = labels.split(',').map(|pair| pair.split('=').next().unwrap()).collect();
        let of_metric: BTreeSet<&str> = of_metric.iter().copied().collect();
        let added: BTreeSet<&str> = labels.difference(&of_metric).copied().collect();
        assert!(labels.is_superset(&of_metric), "{series}");
        // What Prometheus adds, where a series has none of its own.
        assert!(added.is_subset(&["pod", "job", "namespace"].into()), "{series}");
    }
}

/// Where Prometheus finds the operator by other means, nobody knows what the chart's release is called there.
#[test]
fn without_the_charts_service_monitor_any_operator_that_leads_will_do() {
    let cases = r#"
rule_files: [rules.yaml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series: [{series: 'vitess_backup_leader{app="backups"}', values: 1+0x20}]
    alert_rule_test: [{eval_time: 20m, alertname: VitessBackupNoOperator, exp_alerts: []}]
  - interval: 1m
    input_series: [{series: 'vitess_backup_leader{app="backups"}', values: 0+0x20}]
    alert_rule_test:
      - {eval_time: 4m, alertname: VitessBackupNoOperator, exp_alerts: []}
      - eval_time: 5m
        alertname: VitessBackupNoOperator
        exp_alerts:
          - exp_labels: {severity: critical}
            exp_annotations:
              summary: No vitess-backup-operator acts
              runbook: docs/runbook.md, section VitessBackupNoOperator
"#;
    let verdict = test_rules(&rules(&["metrics.prometheusRule.enabled=true"]), &[cases]);
    assert!(verdict.passed, "{}", verdict.words);
}

/// The Prometheus Operator calls the job of a ServiceMonitor's targets as their Service is called.
#[test]
fn with_it_the_operator_is_known_by_its_release() {
    let objects = render(ALL);
    let services = of_kind(&objects, "Service");
    assert_eq!(services.len(), 1);
    let (name, namespace) = (&services[0]["metadata"]["name"], &services[0]["metadata"]["namespace"]);
    let rules = all_rules();
    let rule =
        rules["groups"][0]["rules"].as_array().unwrap().iter().find(|rule| rule["alert"] == "VitessBackupNoOperator");
    let rule = rule.unwrap();
    assert_eq!(rule["expr"], format!("absent(vitess_backup_leader{{namespace={namespace},job={name}}} == 1)"));
    assert_eq!((&rule["labels"]["namespace"], &rule["labels"]["job"]), (namespace, name));
    assert_eq!(of_kind(&objects, "ServiceMonitor")[0]["spec"].get("jobLabel"), None);
}
