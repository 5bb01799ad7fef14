//! Which tablet a backup is taken of.
//!
//! The operator knows pools and readiness, from the pods. Role and lag only MySQL knows, and only the engine may ask it: an
//! engine that finds a primary, or a replica too far behind, answers so before it touches anything, and the next tablet is
//! tried. When all have answered, the replica that is least far behind is taken after all, and then, where that is allowed,
//! the primary. Usually the first answer is a backup, and no pod was needed just to ask.

use super::accept::{self, Attached, Problem};
use super::observed::Observed;
use crate::api::{Attempt, FailureStatus, GoDuration, Tried, VitessBackupSpec};
use crate::backup::failure::Reason;
use crate::resources::command::Terms;
use crate::resources::names::Lock;
use crate::resources::tablet::Tablet;
use crate::topo::{KeyspaceShard, TabletAlias};

/// The engine's answer when a primary may not be backed up.
const PRIMARY: &str = "TabletIsPrimary";
/// Its answer when the tablet is too far behind its source.
const LAGGING: &str = "TabletLagging";
const BUSY: &str = "Busy";

/// The tablet to take, and why it.
#[derive(Debug)]
pub struct Choice {
    pub attached: Attached,
    pub why: String,
}

/// Why no tablet was chosen.
#[derive(Debug)]
pub enum Stop {
    /// It may still come.
    Wait(Problem),
    Fail(FailureStatus),
}

/// What is known when a choice is made.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub spec: &'a VitessBackupSpec,
    pub seen: &'a Observed,
    /// The run's own uid: what it holds already does not stand in its way.
    pub uid: &'a str,
    pub tried: &'a [Tried],
    /// Tries of the whole backup that failed: their tablets come last.
    pub attempts: &'a [Attempt],
}

impl<'a> Known<'a> {
    /// The tablet that the spec names, or the next of its shard.
    pub fn choose(self) -> Result<Choice, Stop> {
        if let Some(alias) = &self.spec.tablet {
            let attached = accept::tablet(self.seen, alias).map_err(Stop::Wait)?;
            ready(&attached.tablet).map_err(Stop::Wait)?;
            accept::running(&attached).map_err(Stop::Wait)?;
            return Ok(Choice { attached, why: "spec.tablet names it".to_owned() });
        }
        let Some(shard) = &self.spec.shard else {
            let text = "the spec names neither tablet nor shard: create the object again with one of them";
            return Err(Stop::Wait(("SpecInvalid", text.to_owned())));
        };
        let mut candidates = accept::of_shard(self.seen, shard);
        if candidates.is_empty() {
            return Err(Stop::Wait(no_candidates(self.seen, shard)));
        }
        // The sort keeps the order of what is equal.
        candidates.sort_by_key(|tablet| self.failures_of(&tablet.alias));
        self.among(shard, &candidates)
    }

    fn among(self, shard: &KeyspaceShard, candidates: &[Tablet]) -> Result<Choice, Stop> {
        let mut problems: Vec<Problem> = Vec::new();
        let mut busy = None;
        for tablet in candidates.iter().filter(|tablet| self.times_tried(&tablet.alias) == 0) {
            match self.usable(tablet) {
                Ok(attached) => return Ok(Choice { why: self.why_first(&attached.tablet, candidates), attached }),
                Err(problem) => {
                    if problem.0 == BUSY && busy.is_none() {
                        busy = attachable(self.seen, tablet).ok();
                    }
                    problems.push(problem);
                }
            }
        }
        if let Some((attached, lag)) = self.least_lagging(candidates) {
            let how_far = lag.map_or("how far behind nobody knows".to_owned(), |lag| format!("{lag} s behind"));
            return Ok(Choice { attached, why: format!("all that could be asked lag, and it does least: {how_far}") });
        }
        if let Some(attached) = busy {
            // It stands in line for the first that is only busy.
            return Ok(Choice { attached, why: "it is the first that another run will give back".to_owned() });
        }
        if let Some((reason, _)) = problems.first() {
            let all: Vec<&str> = problems.iter().map(|(_, message)| message.as_str()).collect();
            let text = format!("no tablet of {shard} can be backed up now: {}", all.join("; "));
            return Err(Stop::Wait((reason, text)));
        }
        // All were tried. A primary is what is left when the spec allows it, once.
        let primary = candidates.iter().find(|tablet| self.left_once_for(&tablet.alias, PRIMARY));
        let again = candidates.iter().any(|tablet| self.was_taken_as_primary(&tablet.alias));
        match primary.filter(|_| self.spec.allow_primary && !again) {
            Some(tablet) => {
                let attached = self.usable(tablet).map_err(Stop::Wait)?;
                Ok(Choice { attached, why: "no other could be taken, and allowPrimary lets a primary be".to_owned() })
            }
            None => Err(Stop::Fail(self.none_left())),
        }
    }

    /// Of those that answered that they lag, and can be taken now, the one that does least; unknown is most.
    fn least_lagging(self, candidates: &[Tablet]) -> Option<(Attached, Option<i64>)> {
        let lagging = candidates.iter().filter(|tablet| self.left_once_for(&tablet.alias, LAGGING));
        let with_lag =
            lagging.map(|tablet| (tablet, self.answer_of(&tablet.alias).and_then(|tried| tried.lag_seconds)));
        let mut ordered: Vec<(&Tablet, Option<i64>)> = with_lag.collect();
        ordered.sort_by_key(|(_, lag)| lag.unwrap_or(i64::MAX));
        ordered.into_iter().find_map(|(tablet, lag)| Some((self.usable(tablet).ok()?, lag)))
    }

    fn why_first(self, tablet: &Tablet, candidates: &[Tablet]) -> String {
        let first = format!(
            "of the {} tablets of its shard that may be backed up it is the first ({}; rdonly before replica before spare)",
            candidates.len(),
            tablet.tablet_type
        );
        self.tried
            .iter()
            .fold(first, |why, Tried { tablet_alias, reason, .. }| format!("{why}, {tablet_alias} was left: {reason}"))
    }

    /// What the engine is told when it works on this tablet.
    pub fn terms(self, alias: &TabletAlias) -> Terms {
        let Self { spec, .. } = self;
        if spec.tablet.is_some() {
            return Terms { allow_primary: spec.allow_primary, max_lag: None };
        }
        // A tablet of a shard is asked a second time only because of what it answered the first time.
        let answer = self.answer_of(alias).map(|tried| tried.reason.as_str());
        Terms {
            allow_primary: spec.allow_primary && answer == Some(PRIMARY),
            max_lag: Some(spec.max_replication_lag)
                .filter(|limit| *limit > GoDuration::default() && answer != Some(LAGGING)),
        }
    }

    fn answer_of(self, alias: &TabletAlias) -> Option<&'a Tried> {
        let alias = alias.to_string();
        self.tried.iter().find(|tried| tried.tablet_alias == alias)
    }

    fn times_tried(self, alias: &TabletAlias) -> usize {
        let alias = alias.to_string();
        self.tried.iter().filter(|tried| tried.tablet_alias == alias).count()
    }

    fn left_once_for(self, alias: &TabletAlias, reason: &str) -> bool {
        self.times_tried(alias) == 1 && self.answer_of(alias).is_some_and(|tried| tried.reason == reason)
    }

    fn was_taken_as_primary(self, alias: &TabletAlias) -> bool {
        self.times_tried(alias) > 1 && self.answer_of(alias).is_some_and(|tried| tried.reason == PRIMARY)
    }

    fn failures_of(self, alias: &TabletAlias) -> usize {
        let alias = alias.to_string();
        self.attempts.iter().filter(|attempt| attempt.tablet_alias.as_ref() == Some(&alias)).count()
    }

    /// A tablet that `BackupShard` may take now: ready, attachable, and nobody else's at the moment.
    fn usable(self, tablet: &Tablet) -> Result<Attached, Problem> {
        ready(tablet)?;
        if let Some(problem) = accept::busy(self.seen, &Lock::tablet(&tablet.alias), self.uid) {
            return Err(problem);
        }
        attachable(self.seen, tablet)
    }

    /// The failure of a shard none of whose tablets could be backed up: that of the last one that was no primary.
    fn none_left(self) -> FailureStatus {
        let telling = self.tried.iter().rev().find(|tried| tried.reason != PRIMARY).or(self.tried.last());
        let tried: Vec<String> = self.tried.iter().map(|t| format!("{} ({})", t.tablet_alias, t.reason)).collect();
        FailureStatus {
            reason: telling.map_or_else(|| PRIMARY.to_owned(), |tried| tried.reason.clone()),
            message: format!(
                "no tablet of the shard could be backed up; tried {}: {}",
                tried.join(", "),
                telling.map(|tried| tried.message.clone()).unwrap_or_default()
            ),
            remedy: "bring up a replica or rdonly tablet whose mysqlctld answers, or set allowPrimary: true, and create the \
                     object again"
                .to_owned(),
            log_tail: Vec::new(),
        }
    }
}

/// Whether another tablet of the shard may do better: not where the spec itself is at fault, or the time is up.
pub fn another_may_do(reason: &str) -> bool {
    let Ok(reason) = serde_json::from_value::<Reason>(reason.into()) else { return true };
    !matches!(
        reason,
        Reason::InvalidArguments
            | Reason::XtrabackupUserMissing
            | Reason::TarNotSupported
            | Reason::BackupExists
            | Reason::DeadlineExceeded
            | Reason::Cancelled
            | Reason::Internal
    )
}

fn no_candidates(seen: &Observed, shard: &KeyspaceShard) -> Problem {
    let labels = &seen.settings.tablet_labels;
    let text = format!(
        "no pod of a replica, rdonly or spare tablet of {shard} in this namespace (by the labels {} and {}): start one, or \
         delete this object and create it with the right spec.shard",
        labels.keyspace, labels.shard
    );
    ("TabletNotFound", text)
}

/// A tablet that has only just begun has no mysqld to back up yet; it will be ready by itself.
fn ready(tablet: &Tablet) -> Result<(), Problem> {
    if tablet.ready {
        return Ok(());
    }
    let text = format!(
        "pod {} of tablet {} is not ready: the backup starts when it is (kubectl describe pod {0} says what it lacks)",
        tablet.pod_name(),
        tablet.alias
    );
    Err(("TabletNotReady", text))
}

fn attachable(seen: &Observed, tablet: &Tablet) -> Result<Attached, Problem> {
    let attached = accept::attach(seen, tablet.clone())?;
    accept::running(&attached)?;
    Ok(attached)
}
