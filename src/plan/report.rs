//! What an engine reports, put on the object.

use super::draft::{Draft, REPLICATING, WHOLE};
use super::observed::Told;
use crate::api::{BackupEngine, FailureStatus, ProgressStatus};
use crate::backup::report::{Outcome, ProgressLine, ReplicationOutcome};
use crate::progress::Step;

/// The progress of a run under way. What the log's end does not tell stays as it was.
pub fn progress(told: &Told, before: Option<ProgressStatus>) -> Option<ProgressStatus> {
    let step = told.step?;
    let mut status = before.unwrap_or_default();
    if let Some(ProgressLine { time: _, step: _, progress, bytes_per_second, eta_seconds }) = &told.progress {
        let known = |number: u64| Some(number).filter(|number| *number > 0).map(signed);
        status.bytes_done = Some(signed(progress.bytes_done));
        status.bytes_total = known(progress.bytes_total);
        status.files_done = Some(signed(progress.files_done));
        status.files_total = known(progress.files_total);
        status.percent = percent(progress.bytes_done, progress.bytes_total);
        status.bytes_per_second = known(*bytes_per_second);
        status.eta_seconds = eta_seconds.map(signed);
    }
    status.step = Some(format!("{step:?}"));
    status.summary = Some(match status.percent {
        Some(percent) if matches!(step, Step::CopyingFiles | Step::TakingSnapshot) => format!("{percent}%"),
        Some(percent) if matches!(step, Step::Verifying | Step::CheckingTables) => format!("{step:?} {percent}%"),
        _ => format!("{step:?}"),
    });
    Some(status)
}

fn percent(done: u64, total: u64) -> Option<i32> {
    let percent = (u128::from(done) * 100).checked_div(u128::from(total))?;
    i32::try_from(percent.min(100)).ok()
}

/// What a run that succeeded leaves on the object.
pub fn succeeded(draft: &mut Draft<'_>, outcome: &Outcome) {
    let status = &mut draft.status;
    let or_before = |new: &Option<String>, before: Option<String>| new.clone().or(before);
    status.backup_name = or_before(&outcome.backup_name, status.backup_name.take());
    status.tablet_alias = or_before(&outcome.tablet_alias, status.tablet_alias.take());
    status.engine = or_before(&outcome.engine, status.engine.take());
    status.position = or_before(&outcome.position, status.position.take());
    status.purged_position = or_before(&outcome.purged_position, status.purged_position.take());
    status.size_bytes = outcome.size_bytes.map(signed);
    status.size = outcome.size_bytes.map(size);
    status.files = outcome.files.map(signed);
    status.downtime_seconds = outcome.downtime_seconds.map(whole_seconds);
    status.copy_mode = outcome.copy_mode.map(|mode| format!("{mode:?}"));
    status.copy_mode_reason.clone_from(&outcome.copy_mode_reason);
    status.manifest.clone_from(&outcome.manifest);
    status.warnings = outcome.warnings.iter().chain(&outcome.not_carried).cloned().collect();
    if let Some(progress) = &mut status.progress {
        let total = progress.bytes_total.or(outcome.data_bytes.map(signed));
        *progress = ProgressStatus {
            summary: Some("100%".to_owned()),
            percent: Some(100),
            bytes_done: total,
            bytes_total: total,
            files_done: progress.files_total,
            files_total: progress.files_total,
            ..ProgressStatus::default()
        };
    }
}

/// What a backup was knowingly made without (`allowIncomplete`): a restore of it would lose that.
pub fn not_carried(draft: &mut Draft<'_>, outcome: &Outcome) {
    if outcome.not_carried.is_empty() {
        return;
    }
    let message = format!("a restore of this backup lacks: {}", outcome.not_carried.join("; "));
    draft.warning("FilesNotCarried", message.clone());
    draft.condition(WHOLE, "False", "FilesNotCarried", message);
}

/// What became of the tablet's replication, if the engine says so.
pub fn replication(draft: &mut Draft<'_>, outcome: &Outcome) {
    let Some(replication) = outcome.replication else { return };
    let (status, message) = match replication {
        ReplicationOutcome::CaughtUp => ("True", "the tablet replicates again and has caught up"),
        ReplicationOutcome::Running => ("True", "the tablet replicates again and had not caught up when the run ended"),
        ReplicationOutcome::LeftStopped => {
            ("False", "replication did not run before the run either, or the tablet is a primary")
        }
        ReplicationOutcome::NotConfigured => (
            "False",
            "the tablet has no source yet: Vitess sets one when it joins its shard (vttablet, or PlannedReparentShard)",
        ),
        ReplicationOutcome::NotRestarted => {
            ("False", "replication should run and does not: see status.failure, and on the tablet SHOW REPLICA STATUS")
        }
    };
    draft.condition(REPLICATING, status, &format!("{replication:?}"), message);
}

/// The failure that an outcome carries.
pub fn failure(outcome: &Outcome, log_tail: &[String]) -> FailureStatus {
    let (reason, message, remedy) = match &outcome.failure {
        Some(failure) => (format!("{:?}", failure.reason), failure.message.clone(), failure.remedy.clone()),
        None => (
            "Internal".to_owned(),
            "the engine failed and did not say why".to_owned(),
            "read logTail, and report this as a bug of the operator".to_owned(),
        ),
    };
    FailureStatus { reason, message, remedy, log_tail: log_tail.to_vec() }
}

/// What happened and what to do, for a text that goes on: without the full stop of the remedy.
pub fn in_one_sentence(failure: &FailureStatus) -> String {
    format!("{}; {}", failure.message, failure.remedy.trim_end_matches('.'))
}

/// The engine as MANIFESTs name it.
pub fn engine_name(engine: BackupEngine) -> &'static str {
    match engine {
        BackupEngine::Builtin => "builtin",
        BackupEngine::Xtrabackup => "xtrabackup",
    }
}

/// Bytes for people: `392.1Mi`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    if bytes < 1024 {
        return bytes.to_string();
    }
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = "";
    for next in UNITS {
        if tenths < 10240 {
            break;
        }
        tenths /= 1024;
        unit = next;
    }
    format!("{}.{}{unit}", tenths / 10, tenths % 10)
}

/// Rounded up: a downtime of 0 s would be none.
#[allow(clippy::cast_possible_truncation, reason = "a cast of a float to an integer ends at the integer's bounds")]
fn whole_seconds(seconds: f64) -> i64 {
    seconds.ceil() as i64
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;
    use crate::api::RunStatus;
    use crate::backup::report::CopyMode;
    use crate::plan::observed::Observed;
    use crate::progress::Progress;
    use crate::resources::settings::Settings;

    fn told(step: Step, done: u64, total: u64) -> Told {
        let progress =
            Progress { bytes_done: done, bytes_total: total, files_done: 1, files_total: 4, ..Default::default() };
        let time = jiff::Timestamp::UNIX_EPOCH;
        Told {
            step: Some(step),
            progress: Some(ProgressLine { time, step, progress, bytes_per_second: 7, eta_seconds: Some(3) }),
        }
    }

    #[test]
    fn progress_is_a_percentage_while_files_are_copied_and_a_step_otherwise() {
        let copying = progress(&told(Step::CopyingFiles, 50, 200), None).unwrap();
        assert_eq!((copying.summary.as_deref(), copying.percent), (Some("25%"), Some(25)));
        let later = progress(&Told { step: Some(Step::StartingMysqld), progress: None }, Some(copying)).unwrap();
        assert_eq!((later.summary.as_deref(), later.percent), (Some("StartingMysqld"), Some(25)));
        let unknown = progress(&told(Step::CopyingFiles, 50, 0), None).unwrap();
        assert_eq!(
            (unknown.summary.as_deref(), unknown.percent, unknown.bytes_total),
            (Some("CopyingFiles"), None, None)
        );
        assert_eq!(progress(&Told::default(), None), None);
    }

    #[test]
    fn how_the_files_were_copied_is_on_the_object_in_both_cases() {
        for (mode, seconds, text, whole) in
            [(CopyMode::Clone, 0.4, "Clone", 1), (CopyMode::InPlace, 3600.0, "InPlace", 3600)]
        {
            let time = jiff::Timestamp::UNIX_EPOCH;
            let outcome = Outcome {
                copy_mode: Some(mode),
                copy_mode_reason: Some("so it was".into()),
                downtime_seconds: Some(seconds),
                ..Outcome::begun(crate::backup::report::Operation::Backup, time)
            };
            let seen = Observed::nothing(std::sync::Arc::new(Settings::new("operator:1")));
            let mut draft = Draft::new("VitessBackup", &ObjectMeta::default(), RunStatus::default(), &seen, time);
            succeeded(&mut draft, &outcome);
            let RunStatus { copy_mode, copy_mode_reason, downtime_seconds, .. } = draft.status;
            assert_eq!((copy_mode.as_deref(), downtime_seconds), (Some(text), Some(whole)));
            assert_eq!(copy_mode_reason.as_deref(), Some("so it was"));
        }
    }

    #[test]
    fn sizes_are_written_for_people() {
        let sizes = [0, 1023, 1024, 411_041_792, 1 << 40].map(size);
        assert_eq!(sizes, ["0", "1023", "1.0Ki", "392.0Mi", "1.0Ti"]);
    }
}
