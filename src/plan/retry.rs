//! Another try after one that failed: counted and shown on the object, never left to a Job's own backoff.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Requeue;
use super::draft::{Draft, ENGINE_RUNNING, TABLET_RECOVERED, whole_seconds};
use super::run;
use crate::api::{Attempt, FailureStatus};
use crate::backup::failure::Reason;

const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Puts the failure on record and waits for the next try; `None` when there is none: the run has failed.
pub fn after(draft: &mut Draft<'_>) -> Option<Requeue> {
    let failure = draft.status.failure.clone()?;
    let failed = i32::try_from(draft.status.attempts.len()).unwrap_or(i32::MAX - 1) + 1;
    let stopped = draft.asked.cancel || draft.deleted_at().is_some();
    if stopped || failed > draft.asked.retries || !may_help(&failure.reason) || !is_put_back(draft) {
        return None;
    }
    let pause = pause(failed);
    let next = whole_seconds(draft.now + pause);
    let FailureStatus { reason, message, .. } = &failure;
    let told =
        format!("try {failed} of {} failed: {reason}: {message}; the next begins at {next}", draft.asked.retries + 1);
    draft.warning("Retrying", told.clone());
    draft.condition(ENGINE_RUNNING, "False", "Retrying", told);
    draft.waits_for(&format!("Retrying ({failed})"));
    draft.status.attempts.push(Attempt {
        number: failed,
        tablet_alias: draft.status.tablet_alias.clone(),
        finished_time: Some(draft.time()),
        failure,
    });
    draft.status.failure = None;
    draft.status.job = None;
    draft.status.next_try_time = Some(Time(next));
    // Until then the tablet is anybody's.
    run::release_locks(draft);
    Some(Requeue::After(pause))
}

/// How long until the next try may begin; `None`: now.
pub fn pause_left(draft: &mut Draft<'_>) -> Option<Requeue> {
    let at = draft.status.next_try_time.as_ref()?.0;
    let left = Duration::try_from(at.duration_since(draft.now)).unwrap_or_default();
    if left.is_zero() {
        draft.status.next_try_time = None;
        return None;
    }
    run::release_locks(draft);
    Some(Requeue::After(left))
}

fn pause(failed: i32) -> Duration {
    let doublings = u32::try_from(failed - 1).unwrap_or(0).min(16);
    (FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE)
}

/// A tablet that could not be put back is not taken again. One whose data a restore had cleared is what the next restore
/// fills, where that is what the run is.
fn is_put_back(draft: &Draft<'_>) -> bool {
    let recovered = draft.find_condition(TABLET_RECOVERED);
    let cleared = format!("{:?}", Reason::InterruptedRun);
    recovered.is_none_or(|condition| {
        condition.status != "False" || (draft.owner.kind == "VitessRestore" && condition.reason == cleared)
    })
}

/// Whether the same thing done again could end otherwise.
pub fn may_help(reason: &str) -> bool {
    let Ok(reason) = serde_json::from_value::<Reason>(reason.into()) else { return true };
    !matches!(
        reason,
        Reason::InvalidArguments
            | Reason::TabletIsPrimary
            | Reason::DataPresent
            | Reason::NoBackupFound
            | Reason::NoCompleteBackup
            | Reason::BackupNotFound
            | Reason::ManifestUnreadable
            | Reason::EngineNotSupported
            | Reason::EngineNotAllowed
            | Reason::VersionIncompatible
            | Reason::HashMismatch
            | Reason::ObjectMissing
            | Reason::DecompressionFailed
            | Reason::BackupExists
            | Reason::LastGoodBackup
            | Reason::TabletDirInvalid
            | Reason::FilesNotCarried
            | Reason::CloneNotSupported
            | Reason::XtrabackupUserMissing
            | Reason::XtrabackupNotFound
            | Reason::TarNotSupported
            | Reason::UnsupportedServerVersion
            | Reason::XtrabackupDenied
            | Reason::PrepareFailed
            | Reason::Cancelled
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_try_cannot_mend_is_not_tried_again() {
        for (reason, expected) in [
            ("StorageUnreachable", true),
            ("StorageDenied", true),
            ("EngineLost", true),
            ("DeadlineExceeded", true),
            ("MysqldNotStopped", true),
            ("TabletIsPrimary", false),
            ("DataPresent", false),
            ("HashMismatch", false),
            ("Cancelled", false),
            ("a reason of a later version", true),
        ] {
            assert_eq!(may_help(reason), expected, "{reason}");
        }
    }

    #[test]
    fn pauses_double_from_ten_seconds_to_five_minutes() {
        assert_eq!([1, 2, 3, 4, 5, 6, 10].map(|failed| pause(failed).as_secs()), [10, 20, 40, 80, 160, 300, 300]);
    }
}
