//! An outcome for a person: what `--output text` prints at the end.

use std::fmt::Write as _;

use crate::backup::report::{Operation, Outcome, Verdict, Verification};
use crate::cli::report::bytes;

/// A sentence, and below it what is known, one thing a line.
pub fn text(outcome: &Outcome) -> String {
    let seconds = outcome.finished_time.duration_since(outcome.start_time).as_secs_f64();
    let mut text = format!("{} in {seconds:.1} s\n", sentence(outcome));
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            let _ = writeln!(text, "  {name:<12}{value}");
        }
    };
    line("shard", outcome.shard.clone());
    line("tablet", outcome.tablet_alias.clone());
    line("backup", outcome.backup_name.clone());
    line("engine", outcome.engine.clone());
    line("position", outcome.position.clone());
    line("files", outcome.files.map(|files| files.to_string()));
    line("data", outcome.data_bytes.map(bytes));
    line("stored", outcome.size_bytes.map(bytes));
    if let Some(Verification { tables, rows, assertions }) = outcome.verification {
        line("tables", tables.map(|tables| tables.to_string()));
        line("rows", rows.map(|rows| format!("about {rows}")));
        line("assertions", assertions.map(|assertions| assertions.to_string()));
    }
    if let Some(descriptor) = &outcome.topology {
        line("server", Some(descriptor.server.title().to_owned()));
        line("version", descriptor.server_version.clone());
        line("endpoint", Some(descriptor.endpoint.clone()));
        line("state", Some(descriptor.point.to_string()));
        line("sha256", Some(descriptor.sha256.clone()));
    }
    line("downtime", outcome.downtime_seconds.map(|seconds| format!("{seconds:.1} s")));
    line("replication", outcome.replication.map(|replication| format!("{replication:?}")));
    for warning in &outcome.warnings {
        line("warning", Some(warning.clone()));
    }
    for what in &outcome.not_carried {
        line("not carried", Some(what.clone()));
    }
    text
}

fn sentence(outcome: &Outcome) -> &'static str {
    match (outcome.verdict, outcome.operation) {
        (Verdict::Failed, _) => "Failed",
        (Verdict::StartedEmpty, _) => "No backup exists; nothing was touched, the tablet starts empty;",
        (Verdict::NoBackup, _) => "No backup exists; nothing was touched;",
        (Verdict::DataPresent, _) => "The tablet has data; nothing was touched;",
        (Verdict::Succeeded, Operation::Backup) => "Backed up",
        (Verdict::Succeeded, Operation::Restore) => "Restored",
        (Verdict::Succeeded, Operation::List) => "Listed",
        (Verdict::Succeeded, Operation::Inventory) => "Took the inventory",
        (Verdict::Succeeded, Operation::Remove) => "Removed",
        (Verdict::Succeeded, Operation::Verify) => "Verified: the backup is whole;",
        (Verdict::Succeeded, Operation::Recover) => "Recovered",
        (Verdict::Succeeded, Operation::TopologyBackup) => "Backed up the topology server",
        (Verdict::Succeeded, Operation::TopologyRestore) => "Restored the topology server's backup",
        (Verdict::Succeeded, Operation::TopologyExport) => "Exported Vitess's topology",
        (Verdict::Succeeded, Operation::TopologyImport) => "Imported Vitess's topology",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::report::ReplicationOutcome;

    #[test]
    fn an_outcome_is_told_with_all_that_is_known() {
        let begun: jiff::Timestamp = "2026-11-22T15:26:36Z".parse().unwrap();
        let mut outcome = Outcome::begun(Operation::Backup, begun);
        outcome.finished_time = "2026-11-22T15:26:44.25Z".parse().unwrap();
        outcome.shard = Some("commerce/0".into());
        outcome.backup_name = Some("2026-11-22.152636.zone1-0000000101".into());
        outcome.size_bytes = Some(3 << 19);
        outcome.downtime_seconds = Some(3.21);
        outcome.replication = Some(ReplicationOutcome::CaughtUp);
        outcome.warnings = vec!["one".into(), "two".into()];
        insta::assert_snapshot!(text(&outcome), @r"
        Backed up in 8.2 s
          shard       commerce/0
          backup      2026-11-22.152636.zone1-0000000101
          stored      1.5 MiB
          downtime    3.2 s
          replication CaughtUp
          warning     one
          warning     two
        ");
    }
}
