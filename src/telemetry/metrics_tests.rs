use super::super::census::{Inventory, RunSeen, RunState};
use super::*;

fn success() -> Success {
    Success {
        finished: jiff::Timestamp::from_second(1_767_225_600).unwrap(),
        duration_seconds: Some(90.0),
        size_bytes: Some(411_041_792),
        downtime_seconds: Some(3),
    }
}

fn ended(phase: &'static str, reason: Option<&'static str>, success: Option<Success>) -> RunEnded<'static> {
    RunEnded { kind: "VitessBackup", phase, reason, engine: Some("builtin"), success }
}

fn assert_has(page: &str, lines: &[&str]) {
    for line in lines {
        assert!(page.lines().any(|found| found == *line), "no {line} in\n{page}");
    }
}

#[test]
fn runs_are_counted_by_how_they_ended_and_reasons_are_a_closed_list() {
    let metrics = Metrics::default();
    metrics.run_ended(&ended("Failed", Some("EngineLost"), None));
    metrics.run_ended(&ended("Failed", Some("Some text with commerce/0 in it"), None));
    metrics.run_ended(&ended("Succeeded", None, Some(success())));
    metrics.reconciled("VitessBackup", Duration::from_millis(20), true);
    let of = r#"kind="VitessBackup",engine="builtin""#;
    assert_has(
        &metrics.text().unwrap(),
        &[
            r#"vitess_backup_runs_total{kind="VitessBackup",phase="Failed",reason="EngineLost"} 1"#,
            r#"vitess_backup_runs_total{kind="VitessBackup",phase="Failed",reason="Other"} 1"#,
            r#"vitess_backup_runs_total{kind="VitessBackup",phase="Succeeded",reason="None"} 1"#,
            r#"vitess_backup_reconcile_failures_total{kind="VitessBackup"} 1"#,
            r#"vitess_backup_reconcile_duration_seconds_count{kind="VitessBackup"} 1"#,
            &format!("vitess_backup_run_duration_seconds_sum{{{of}}} 90.0"),
            &format!("vitess_backup_run_downtime_seconds_sum{{{of}}} 3.0"),
            &format!("vitess_backup_run_stored_bytes_total{{{of}}} 411041792"),
        ],
    );
}

#[test]
fn what_the_objects_say_is_counted_at_each_scrape_and_goes_with_them() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let metrics = Metrics::default();
    let there = Arc::new(AtomicBool::new(true));
    let seen = there.clone();
    metrics.count(Box::new(move |census| {
        if seen.load(Ordering::Relaxed) {
            fill(census);
        }
    }));
    let shard = r#"{kind="VitessBackup",namespace="demo",keyspace="commerce",shard="-80"}"#;
    let storage = r#"{namespace="demo",storage="backups"}"#;
    let pending = r#"{kind="VitessRestore",phase="Pending"}"#;
    assert_has(
        &metrics.text().unwrap(),
        &[
            &format!("vitess_backup_last_success_timestamp_seconds{shard} 1767225600.0"),
            &format!("vitess_backup_last_success_duration_seconds{shard} 90.0"),
            &format!("vitess_backup_last_success_size_bytes{shard} 411041792.0"),
            &format!("vitess_backup_last_success_downtime_seconds{shard} 3.0"),
            &format!("vitess_backup_last_run_failed{shard} 0"),
            &format!("vitess_backup_queue_runs{pending} 1"),
            &format!("vitess_backup_queue_oldest_timestamp_seconds{pending} 0"),
            r#"vitess_backup_tablets_not_recovered{namespace="demo"} 0"#,
            &format!("vitess_backup_storage_reachable{storage} 1"),
            &format!("vitess_backup_storage_backups{storage} 7"),
            &format!("vitess_backup_storage_incomplete_backups{storage} 1"),
            &format!("vitess_backup_storage_bytes{storage} 99"),
        ],
    );
    let page = metrics.text().unwrap();
    assert!(!page.contains(r#"storage="unknown""#), "of a storage that nobody has looked at nothing is told: {page}");
    there.store(false, Ordering::Relaxed);
    let page = metrics.text().unwrap();
    assert!(!page.contains("commerce") && !page.contains("storage=\"backups\""), "{page}");
}

fn fill(census: &mut Census) {
    let backup = RunSeen {
        kind: "VitessBackup",
        namespace: "demo",
        shard: Some("commerce/-80"),
        tablet_alias: Some("zone1-0000000101"),
        state: RunState::Succeeded(success()),
        tablet_recovered: None,
    };
    census.add_run(&backup);
    let state = RunState::Unfinished { phase: "Pending", created: Some(jiff::Timestamp::UNIX_EPOCH) };
    census.add_run(&RunSeen { kind: "VitessRestore", state, ..backup });
    let inventory = Some(Inventory { backups: 7, incomplete: 1, bytes: 99 });
    census.add_storage("demo".into(), "backups".into(), StorageSeen { reachable: Some(true), inventory });
    census.add_storage("demo".into(), "unknown".into(), StorageSeen::default());
}

#[test]
fn every_metric_of_the_list_is_on_the_page_with_its_help_and_no_other() {
    let metrics = Metrics::default();
    metrics.count(Box::new(fill));
    metrics.run_ended(&ended("Succeeded", None, Some(success())));
    metrics.reconciled("VitessBackup", Duration::from_millis(20), true);
    metrics.leads(true);
    let page = metrics.text().unwrap();
    let is_told = |name: &str, help: &str| {
        let stem = name.strip_suffix("_total").or(name.strip_suffix("_info")).unwrap_or(name);
        page.contains(&format!("# HELP {stem} {help}.\n"))
    };
    for (name, labels, help) in METRICS {
        assert!(is_told(name, help), "{name}: {page}");
        let begins = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ', '_']));
        let sample = page.lines().find(begins).unwrap_or_else(|| panic!("no {name} in\n{page}"));
        let found: Vec<&str> = sample
            .split(['{', ','])
            .filter_map(|part| part.split_once("=\"").map(|(label, _)| label))
            .filter(|label| *label != "le")
            .collect();
        assert_eq!(found, *labels, "{sample}");
    }
    assert_eq!(page.lines().filter(|line| line.starts_with("# HELP ")).count(), METRICS.len(), "{page}");
    assert_has(&page, &[&format!(r#"vitess_backup_build_info{{version="{}"}} 1"#, env!("CARGO_PKG_VERSION"))]);
}
