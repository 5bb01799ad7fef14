//! Verifying a backup that is there: after it was taken (`spec.verify`), and whenever the annotation
//! `backup.vitess.io/verify-at` asks for it by a new value. The phase stays what it is; the verdict is the condition `Verified`:
//!
//! * `True`: found whole, with counts and the time.
//! * `False`: damaged, with the object, the table or the assertion at fault.
//! * `Unknown`: it is being found out, or could not be: the storage cannot be reached, the pod went away too often.

use std::time::Duration;

use super::accept::{self, Problem};
use super::draft::{AT_ONCE, Draft, PATIENTLY, VERIFIED, WATCH_ENGINE};
use super::observed::{EngineSeen, JobSeen, seconds_since};
use super::{Action, Requeue, launch, report};
use crate::api::{
    EngineJob, FailureStatus, JobPurpose, Phase, VerificationStatus, Verify, VitessBackup, VitessBackupSpec,
};
use crate::backup::failure::Reason;
use crate::backup::report::{Outcome, Verdict, Verification};
use crate::resources::drill::DrillImage;
use crate::resources::names;
use crate::resources::tablet::Tablet;

/// Engine pods for one verification.
const TRIES: i32 = 3;
/// How long a pod may take to start.
const START_LIMIT: Duration = Duration::from_secs(15 * 60);
/// Before the second try; twice as long before the third.
const PAUSE: Duration = Duration::from_secs(20);

/// A verification that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub level: Verify,
    /// The value of the annotation; empty when the spec asks.
    pub id: String,
}

impl Request {
    /// What the object asks for, whether it was done or not.
    pub fn of(backup: &VitessBackup) -> Option<Self> {
        let annotations = backup.metadata.annotations.as_ref();
        let annotation = |key| annotations.and_then(|all| all.get(key)).map(String::as_str);
        let in_spec = backup.spec.verify;
        let Some(id) = annotation(names::ANNOTATION_VERIFY_AT).filter(|id| !id.is_empty()) else {
            return (in_spec != Verify::None).then(|| Self { level: in_spec, id: String::new() });
        };
        let level = match (annotation(names::ANNOTATION_VERIFY), in_spec) {
            (Some("Restore"), _) => Verify::Restore,
            (Some("Objects"), _) | (_, Verify::None) => Verify::Objects,
            (_, in_spec) => in_spec,
        };
        Some(Self { level, id: id.to_owned() })
    }

    /// An answer to one annotation is not asked for again when the annotation goes.
    fn is_open(&self, known: Option<&VerificationStatus>) -> bool {
        match known {
            None => true,
            Some(known) if known.finished_time.is_none() => true,
            Some(known) => !self.id.is_empty() && self.id != known.request,
        }
    }
}

/// Whether there is something to do or to watch for this object.
pub fn is_due(backup: &VitessBackup) -> bool {
    let Some(status) = &backup.status else { return false };
    let there = status.run.phase == Some(Phase::Succeeded) && status.run.backup_name.is_some();
    let known = status.verification.as_ref();
    let under_way = known.is_some_and(|known| known.finished_time.is_none());
    there && (under_way || Request::of(backup).is_some_and(|request| request.is_open(known)))
}

/// What a verification's plan works with.
pub struct Next<'a, 'b> {
    pub draft: &'a mut Draft<'b>,
    pub spec: &'a VitessBackupSpec,
    /// The image of the tablet that was backed up, where that is known.
    pub tablet_image: Option<&'a str>,
    pub verification: &'a mut Option<VerificationStatus>,
}

/// Goes on; the backup is there. `None`: there is nothing to do.
pub fn next(request: Option<&Request>, next: Next<'_, '_>) -> Option<Requeue> {
    let Next { draft, spec, tablet_image, verification } = next;
    let known = verification.clone();
    let is_open = request.filter(|request| request.is_open(known.as_ref()));
    let status = match known {
        Some(known) if known.finished_time.is_none() => known,
        before => {
            let request = is_open?;
            let launched = before.map_or(0, |before| before.launched);
            let level = Some(request.level);
            VerificationStatus { level, request: request.id.clone(), launched, ..VerificationStatus::default() }
        }
    };
    let backup = draft.status.backup_name.clone().zip(draft.status.shard.clone());
    let (name, shard) = backup?;
    let mut next = Going { draft, spec, tablet_image, status, name, shard };
    let requeue = next.go_on();
    *verification = Some(next.status);
    Some(requeue)
}

struct Going<'a, 'b> {
    draft: &'a mut Draft<'b>,
    spec: &'a VitessBackupSpec,
    tablet_image: Option<&'a str>,
    status: VerificationStatus,
    name: String,
    shard: String,
}

impl Going<'_, '_> {
    fn level(&self) -> Verify {
        self.status.level.unwrap_or(Verify::Objects)
    }

    fn go_on(&mut self) -> Requeue {
        match self.status.job.clone() {
            Some(job) => self.watch(&job),
            None => self.begin(),
        }
    }

    /// Notes the Job that is to be made, when all that it needs is there.
    fn begin(&mut self) -> Requeue {
        let incremental =
            self.draft.status.manifest.as_ref().and_then(|manifest| manifest.get("Incremental")?.as_bool());
        if self.level() == Verify::Restore && incremental == Some(true) {
            return self.unknown(FailureStatus {
                reason: "Incremental".to_owned(),
                message: format!("backup {} is incremental and cannot be restored by itself", self.name),
                remedy: "verify its objects (verify: Objects)".to_owned(),
                log_tail: Vec::new(),
            });
        }
        if let Err((reason, message)) = self.ingredients() {
            self.draft.condition(VERIFIED, "Unknown", reason, message);
            return Requeue::After(PATIENTLY);
        }
        self.intend(Duration::ZERO)
    }

    fn intend(&mut self, pause: Duration) -> Requeue {
        let number = self.status.launched.saturating_add(1);
        let name = names::job_name(&self.draft.owner.name, &self.draft.owner.uid, JobPurpose::Verify, number);
        let at = super::draft::whole_seconds(self.draft.now + pause);
        let launch_time = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at));
        self.status.job = Some(EngineJob { name, purpose: JobPurpose::Verify, number, uid: None, launch_time });
        self.status.launched = number;
        self.status.tries += 1;
        self.status.progress = None;
        if self.status.start_time.is_none() {
            self.status.start_time = Some(self.draft.time());
            let message = format!("backup {} is about to be verified ({:?})", self.name, self.level());
            self.draft.condition(VERIFIED, "Unknown", "Launching", message);
        }
        Requeue::After(AT_ONCE.max(pause))
    }

    /// The storage, and for a drill the image with mysqld.
    fn ingredients(&self) -> Result<Option<DrillImage>, Problem> {
        accept::storage(self.draft.seen, &self.spec.storage.name)?;
        if self.level() == Verify::Restore { self.image().map(Some) } else { Ok(None) }
    }

    fn image(&self) -> Result<DrillImage, Problem> {
        let seen = self.draft.seen;
        let alias = self.draft.status.tablet_alias.as_deref();
        let of_shard = seen.tablets.iter().filter_map(|pod| Tablet::read(pod, &seen.settings));
        let mut of_shard: Vec<Tablet> = of_shard.filter(|tablet| tablet.shard.to_string() == self.shard).collect();
        of_shard.sort_by(|a, b| a.alias.cmp(&b.alias));
        let own = of_shard.iter().find(|tablet| Some(tablet.alias.to_string().as_str()) == alias);
        let named = self.spec.drill.as_ref().and_then(|drill| drill.image.as_deref()).or(self.tablet_image);
        DrillImage::of(named, own.or(of_shard.first()), &seen.settings).ok_or_else(|| {
            let text = format!(
                "no pod of a tablet of {} in this namespace tells which image has its mysqld: start one, or create the \
                 object again with drill.image",
                self.shard
            );
            ("ImageNotFound", text)
        })
    }

    fn watch(&mut self, job: &EngineJob) -> Requeue {
        let Some(seen) = self.draft.seen.jobs.get(&job.name).cloned() else {
            if job.uid.is_some() {
                return self.again(job, lost(&format!("Job {} is gone, and nobody saw its end", job.name), Vec::new()));
            }
            let wait = job.launch_time.as_ref().map_or(0, |time| seconds_since(self.draft.now, time.0));
            return if wait > 0 { Requeue::After(Duration::from_secs(wait)) } else { self.launch(job) };
        };
        let JobSeen { uid, owner_uid, expires: _, engine } = seen;
        if owner_uid.as_deref() != Some(&self.draft.owner.uid) {
            let message = format!("Job {} exists and is not this backup's: delete it, and it is verified", job.name);
            self.draft.condition(VERIFIED, "Unknown", "JobNameTaken", message);
            return Requeue::After(PATIENTLY);
        }
        if job.uid.as_ref().is_some_and(|known| *known != uid) {
            let how = format!("Job {} was deleted and another one made under its name", job.name);
            return self.again(job, lost(&how, Vec::new()));
        }
        self.status.job = Some(EngineJob { uid: Some(uid), ..job.clone() });
        match engine {
            EngineSeen::Starting { reason, message } => self.starting(job, &reason, &message),
            EngineSeen::Running { told } => {
                let message =
                    format!("backup {} is being verified ({:?}) by Job {}", self.name, self.level(), job.name);
                self.draft.condition(VERIFIED, "Unknown", "Running", message);
                let before = self.status.progress.take();
                self.status.progress = report::progress(&told, before.clone()).or(before);
                Requeue::After(WATCH_ENGINE)
            }
            EngineSeen::Unreachable { node } => {
                let message = format!("nothing is heard of node {node}, where Job {} verifies the backup", job.name);
                self.draft.condition(VERIFIED, "Unknown", "NodeUnreachable", message);
                Requeue::After(WATCH_ENGINE)
            }
            EngineSeen::Ended { outcome: Some(outcome), how: _, log_tail } => self.ended(job, &outcome, &log_tail),
            EngineSeen::Ended { outcome: None, how, log_tail } => self.again(job, lost(&how, log_tail)),
        }
    }

    fn launch(&mut self, job: &EngineJob) -> Requeue {
        let image = match self.ingredients() {
            Ok(image) => image,
            Err((reason, message)) => {
                self.draft.condition(VERIFIED, "Unknown", reason, message);
                return Requeue::After(PATIENTLY);
            }
        };
        let seen = self.draft.seen;
        let Some(stored) = &seen.storage else { return Requeue::After(PATIENTLY) };
        let backup = (self.shard.as_str(), self.name.as_str());
        let made = launch::verify(self.draft, self.spec, stored, job, self.level(), image, backup);
        self.draft.actions.push(Action::CreateJob(Box::new(made)));
        Requeue::After(WATCH_ENGINE)
    }

    fn starting(&mut self, job: &EngineJob, reason: &str, message: &str) -> Requeue {
        let waited = job.launch_time.as_ref().map_or(0, |time| seconds_since(time.0, self.draft.now));
        if waited < START_LIMIT.as_secs() {
            self.draft.condition(VERIFIED, "Unknown", reason, message);
            return Requeue::After(WATCH_ENGINE);
        }
        self.draft.actions.push(Action::DeleteJob(job.name.clone()));
        let minutes = START_LIMIT.as_secs() / 60;
        self.unknown(FailureStatus {
            reason: reason_of(Reason::EngineLost),
            message: format!("the engine's pod did not start within {minutes} minutes: {reason}: {message}"),
            remedy: ask_again("put right what keeps the pod from starting"),
            log_tail: Vec::new(),
        })
    }

    fn ended(&mut self, job: &EngineJob, outcome: &Outcome, log_tail: &[String]) -> Requeue {
        if outcome.verdict != Verdict::Failed {
            self.expire(job);
            return self.whole(outcome);
        }
        let failure = report::failure(outcome, log_tail);
        let reason = outcome.failure.as_ref().map(|failure| failure.reason);
        match reason {
            Some(reason) if is_verdict(reason) => {
                self.expire(job);
                self.damaged(failure)
            }
            // A node that was drained, a storage that was away: it may go better.
            Some(Reason::Cancelled | Reason::StorageUnreachable) => self.again(job, failure),
            _ => {
                self.expire(job);
                let remedy = ask_again(failure.remedy.trim_end_matches('.'));
                self.unknown(FailureStatus { remedy, ..failure })
            }
        }
    }

    /// Lets the Job go after a while.
    fn expire(&mut self, job: &EngineJob) {
        if self.draft.seen.jobs.get(&job.name).is_some_and(|seen| !seen.expires) {
            self.draft.actions.push(Action::ExpireJob(job.name.clone()));
        }
    }

    fn whole(&mut self, outcome: &Outcome) -> Requeue {
        let Verification { tables, rows, assertions } = outcome.verification.unwrap_or_default();
        let number = |number: Option<u64>| number.map(report::signed);
        self.status.files = number(outcome.files);
        self.status.size_bytes = number(outcome.size_bytes);
        self.status.tables = number(tables);
        self.status.rows = number(rows);
        self.status.assertions = number(assertions);
        self.status.warnings.clone_from(&outcome.warnings);
        self.status.failure = None;
        let size = report::size(outcome.size_bytes.unwrap_or_default());
        let files = outcome.files.unwrap_or_default();
        let when = super::draft::whole_seconds(self.draft.now);
        let (reason, message) = match self.level() {
            Verify::Restore => {
                let rows = rows.map(|rows| format!(" (about {rows} rows)")).unwrap_or_default();
                let (tables, assertions) = (tables.unwrap_or_default(), assertions.unwrap_or_default());
                let text = format!(
                    "at {when} a restore of {size} was tried out: mysqld starts, {tables} tables are whole{rows}, \
                     {assertions} assertions hold"
                );
                ("Restored", text)
            }
            _ => (
                "ObjectsRead",
                format!("at {when} all {files} objects ({size}) were read, and are as the MANIFEST says"),
            ),
        };
        self.draft.condition(VERIFIED, "True", reason, message.clone());
        self.draft.event("Verified", format!("backup {}: {message}", self.name));
        self.finish()
    }

    fn damaged(&mut self, failure: FailureStatus) -> Requeue {
        let FailureStatus { reason, message, remedy, .. } = &failure;
        self.draft.condition(VERIFIED, "False", reason, format!("{message}; {remedy}"));
        self.draft.warning("VerificationFailed", format!("{reason}: {message}; {remedy}"));
        self.status.failure = Some(failure);
        self.finish()
    }

    /// Nobody knows, and trying again by itself would not help.
    fn unknown(&mut self, failure: FailureStatus) -> Requeue {
        let FailureStatus { reason, message, remedy, .. } = &failure;
        self.draft.condition(VERIFIED, "Unknown", reason, format!("{message}; {remedy}"));
        self.draft.warning("NotVerified", format!("{reason}: {message}; {remedy}"));
        self.status.failure = Some(failure);
        self.finish()
    }

    fn again(&mut self, job: &EngineJob, failure: FailureStatus) -> Requeue {
        self.draft.actions.push(Action::DeleteJob(job.name.clone()));
        if self.status.tries >= TRIES {
            let message = format!("{} (try {} of {TRIES})", failure.message, self.status.tries);
            let remedy = ask_again(failure.remedy.trim_end_matches('.'));
            return self.unknown(FailureStatus { message, remedy, ..failure });
        }
        let pause = PAUSE * u32::try_from(self.status.tries.max(1)).unwrap_or(1);
        let message = format!(
            "{} (try {} of {TRIES}); trying again in {} s",
            failure.message,
            self.status.tries,
            pause.as_secs()
        );
        self.draft.condition(VERIFIED, "Unknown", &failure.reason, message);
        self.intend(pause)
    }

    fn finish(&mut self) -> Requeue {
        self.status.finished_time = Some(self.draft.time());
        self.status.job = None;
        self.status.progress = None;
        Requeue::After(AT_ONCE)
    }
}

/// Whether a failure is about the backup, and not about the way to it.
fn is_verdict(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NoCompleteBackup
            | Reason::BackupNotFound
            | Reason::ManifestUnreadable
            | Reason::HashMismatch
            | Reason::ObjectMissing
            | Reason::ObjectUnexpected
            | Reason::DecompressionFailed
            | Reason::PrepareFailed
            | Reason::MysqldNotStarted
            | Reason::TableCorrupt
            | Reason::AssertionFailed
    )
}

fn lost(how: &str, log_tail: Vec<String>) -> FailureStatus {
    FailureStatus {
        reason: reason_of(Reason::EngineLost),
        message: format!("the engine ended without a word of how: {how}"),
        remedy: "see what ends the pod (its memory limit, its node, its scratch volume's limit)".to_owned(),
        log_tail,
    }
}

fn reason_of(reason: Reason) -> String {
    format!("{reason:?}")
}

fn ask_again(first: &str) -> String {
    format!(
        "{first}, then ask for another verification: annotate the object with a new {}",
        names::ANNOTATION_VERIFY_AT
    )
}

#[cfg(test)]
#[path = "verification_tests.rs"]
mod tests;
