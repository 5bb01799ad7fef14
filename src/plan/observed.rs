//! What the controller saw, as plain values.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, PersistentVolumeClaim, Pod};

use crate::api::{Phase, VitessBackup, VitessBackupStorage};
use crate::backup::report::{Line, Operation, Outcome, ProgressLine};
use crate::progress::Step;
use crate::resources::names::{LABEL_RUN_UID, Lock};
use crate::resources::pod::{ENGINE_CONTAINER, mounts};
use crate::resources::settings::Settings;

/// All that a run's plan looks at besides the object itself. What a phase does not need is not observed, and empty.
#[derive(Clone, Debug)]
pub struct Observed {
    pub settings: Arc<Settings>,
    pub namespace_terminating: bool,
    /// The VitessBackupStorage that the spec names.
    pub storage: Option<VitessBackupStorage>,
    /// The claims of the namespace, by name.
    pub claims: BTreeMap<String, PersistentVolumeClaim>,
    /// The tablet pods of the namespace.
    pub tablets: Vec<Pod>,
    /// Pods that mount a claim which a restore is to fill, or which a ZooKeeper's files are to be read from, and have not ended.
    pub claim_users: Vec<Pod>,
    /// Pods that name this VitessRestore of trigger PodStart.
    pub starting_pods: Vec<Pod>,
    /// The servers that finished backups of the namespace were made of. Only for a backup whose stream is to be tar.
    pub servers: Vec<ServerSeen>,
    /// Leases of ours in the namespace, by name.
    pub locks: BTreeMap<String, Holder>,
    /// Runs of the namespace that wait for what others hold or want.
    pub queue: Vec<Waiting>,
    /// This run's Jobs, by name.
    pub jobs: BTreeMap<String, JobSeen>,
    /// How many engines run, of all that this operator looks at.
    pub engines: usize,
    /// Engine pods of this run that have not ended, with the names of their Jobs (which may be gone).
    pub live_pods: Vec<LivePod>,
}

/// An engine pod that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LivePod {
    pub pod: String,
    pub job: String,
}

/// A MySQL server, as the MANIFEST of a backup that was made of it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSeen {
    /// The name of the VitessBackup.
    pub backup: String,
    /// `<keyspace>/<shard>`.
    pub shard: String,
    pub finished: Timestamp,
    /// The MANIFEST's MySQLVersion: `Ver 8.0.36 MySQL Community Server - GPL`.
    pub mysql_version: String,
}

impl ServerSeen {
    /// Reads a VitessBackup; nothing when it did not succeed, or its MANIFEST does not say.
    pub fn of(backup: &VitessBackup) -> Option<Self> {
        let run = &backup.status.as_ref()?.run;
        let mysql_version = run.manifest.as_ref()?.get("MySQLVersion")?.as_str().filter(|text| !text.is_empty())?;
        let finished = run.finished_time.as_ref().filter(|_| run.phase == Some(Phase::Succeeded))?;
        Some(Self {
            backup: backup.metadata.name.clone().unwrap_or_default(),
            shard: run.shard.clone()?,
            finished: finished.0,
            mysql_version: mysql_version.to_owned(),
        })
    }
}

/// A run that waits for its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// `<kind> <name>`.
    pub name: String,
    pub uid: String,
    pub since: Timestamp,
    /// What it wants, as [`Lock`] says it in words.
    pub wants: Vec<String>,
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// `<kind> <name>`.
    pub name: String,
    pub uid: String,
    /// Whether the holder is a run that has not ended, or has an engine pod that has not.
    pub lives: bool,
}

impl Observed {
    pub fn nothing(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            namespace_terminating: false,
            storage: None,
            claims: BTreeMap::new(),
            tablets: Vec::new(),
            claim_users: Vec::new(),
            starting_pods: Vec::new(),
            servers: Vec::new(),
            locks: BTreeMap::new(),
            queue: Vec::new(),
            jobs: BTreeMap::new(),
            engines: 0,
            live_pods: Vec::new(),
        }
    }

    /// How the claim may be mounted.
    fn access_modes(&self, claim: &str) -> &[String] {
        let spec = self.claims.get(claim).and_then(|claim| claim.spec.as_ref());
        spec.and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default()
    }

    /// Whether no more than one pod can mount the claim.
    pub fn is_for_one_pod(&self, claim: &str) -> bool {
        self.access_modes(claim) == ["ReadWriteOncePod"]
    }

    /// Whether pods of several nodes can mount all of these claims.
    pub fn is_for_all_nodes(&self, claims: &[&str]) -> bool {
        claims.iter().all(|claim| self.access_modes(claim).iter().any(|mode| mode == "ReadWriteMany"))
    }

    /// The pod that mounts one of these claims: the first claim's before the others'.
    pub fn user_of(&self, claims: &[&str]) -> Option<&Pod> {
        claims.iter().find_map(|claim| self.claim_users.iter().find(|user| mounts(user, claim)))
    }

    /// Another run that holds the lock and lives.
    pub fn holder_other_than<'a>(&'a self, lock: &Lock, uid: &str) -> Option<&'a Holder> {
        self.locks.get(&lock.lease).filter(|holder| holder.uid != uid && holder.lives)
    }

    pub fn holds(&self, lock: &Lock, uid: &str) -> bool {
        self.locks.get(&lock.lease).is_some_and(|holder| holder.uid == uid)
    }
}

/// A Job of a run, with what its pod tells.
#[derive(Clone, Debug, PartialEq)]
pub struct JobSeen {
    pub uid: String,
    /// The uid of the object that it belongs to.
    pub owner_uid: Option<String>,
    /// Whether it goes by itself some time after its end.
    pub expires: bool,
    pub engine: EngineSeen,
}

/// What an engine pod does.
#[derive(Clone, Debug, PartialEq)]
pub enum EngineSeen {
    /// No container of it runs yet.
    Starting {
        reason: String,
        message: String,
    },
    Running {
        told: Told,
    },
    /// It ran when its node was last heard of.
    Unreachable {
        node: String,
    },
    /// It has ended; `outcome` is absent when it ended without a word.
    Ended {
        outcome: Option<Box<Outcome>>,
        how: String,
        log_tail: Vec<String>,
    },
}

/// What the log says of a run under way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    pub step: Option<Step>,
    pub progress: Option<ProgressLine>,
}

/// How many lines of a log are kept on a failed object.
const LOG_TAIL_LINES: usize = 15;
/// And how long each may be, in characters.
const LOG_LINE_LIMIT: usize = 300;

impl JobSeen {
    /// Puts a Job, its pod, and the end of the engine's log into one value. `None` for a pod that is not there.
    pub fn read(job: &Job, pod: Option<&Pod>, log: &str, now: Timestamp) -> Self {
        let mut owners = job.metadata.owner_references.iter().flatten();
        let controller = owners.find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone());
        // Jobs that must outlive a foreground deletion of the object have no owner; the label says whose they are.
        let labelled = job.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_RUN_UID).cloned());
        Self {
            uid: job.metadata.uid.clone().unwrap_or_default(),
            owner_uid: controller.or(labelled),
            expires: job.spec.as_ref().is_some_and(|spec| spec.ttl_seconds_after_finished.is_some()),
            engine: engine(job, pod, log, now),
        }
    }
}

fn engine(job: &Job, pod: Option<&Pod>, log: &str, now: Timestamp) -> EngineSeen {
    let ended = |outcome: Option<Outcome>, how: String| EngineSeen::Ended {
        outcome: outcome.map(Box::new),
        how,
        log_tail: plain_lines(log),
    };
    let Some(pod) = pod else {
        return match finished(job) {
            Some(how) => ended(last_outcome(log), format!("its pod is gone ({how})")),
            None => EngineSeen::Starting {
                reason: "NoPodYet".into(),
                message: "the Job has no pod yet: its events say why (kubectl describe job)".into(),
            },
        };
    };
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    let container = container_status(pod);
    let state = container.and_then(|status| status.state.as_ref());
    if let Some(terminated) = state.and_then(|state| state.terminated.as_ref()) {
        let message = terminated.message.as_deref().unwrap_or_default();
        let reason = terminated.reason.as_deref().unwrap_or("Error");
        let signal = terminated.signal.map(|signal| format!(", signal {signal}")).unwrap_or_default();
        let how = format!("exit code {} ({reason}{signal})", terminated.exit_code);
        return ended(outcome(message, log), how);
    }
    if matches!(phase, "Succeeded" | "Failed") {
        let status = pod.status.as_ref();
        let reason = status.and_then(|status| status.reason.clone()).unwrap_or_else(|| phase.to_owned());
        let message = status.and_then(|status| status.message.clone()).unwrap_or_default();
        return ended(last_outcome(log), format!("its pod: {reason} {message}").trim_end().to_owned());
    }
    if !is_live(pod, now) {
        return ended(last_outcome(log), "its pod does not stop and its node seems to be gone".to_owned());
    }
    if let Some(node) = silent_node(pod) {
        return EngineSeen::Unreachable { node };
    }
    if state.is_some_and(|state| state.running.is_some()) {
        return EngineSeen::Running { told: told(log) };
    }
    starting(pod)
}

/// The node, when it has gone silent: the cluster's node controller then says of every pod there that it is not ready, and
/// changes nothing else of what the kubelet had said last. That is 40 to 50 seconds after the node was last heard of.
fn silent_node(pod: &Pod) -> Option<String> {
    let container = container_status(pod)?;
    let ran = container.ready && container.state.as_ref()?.running.is_some();
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let not_ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "False");
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
    (ran && not_ready).then_some(node)
}

/// Why a Job ended, when it has.
pub fn finished(job: &Job) -> Option<String> {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ended = |kind: &str| matches!(kind, "Failed" | "Complete" | "FailureTarget" | "SuccessCriteriaMet");
    let condition =
        conditions.into_iter().flatten().find(|condition| ended(&condition.type_) && condition.status == "True")?;
    let reason = condition.reason.clone().unwrap_or_else(|| condition.type_.clone());
    Some(condition.message.as_ref().map_or(reason.clone(), |message| format!("{reason}: {message}")))
}

fn container_status(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == ENGINE_CONTAINER)
}

/// What a pod that does not run yet waits for: the scheduler, an image, its configuration.
fn starting(pod: &Pod) -> EngineSeen {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let unscheduled = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    let containers = status.map(|status| (status.init_container_statuses.iter(), status.container_statuses.iter()));
    let waiting = containers
        .into_iter()
        .flat_map(|(init, main)| init.chain(main).flatten())
        .filter_map(|container| container.state.as_ref()?.waiting.as_ref())
        .find(|waiting| !matches!(waiting.reason.as_deref(), None | Some("PodInitializing" | "ContainerCreating")));
    let (reason, message) = match (unscheduled, waiting) {
        (Some(condition), _) => (condition.reason.clone(), condition.message.clone()),
        (None, Some(waiting)) => (waiting.reason.clone(), waiting.message.clone()),
        (None, None) => (None, None),
    };
    EngineSeen::Starting {
        reason: reason.unwrap_or_else(|| "Starting".to_owned()),
        message: message.unwrap_or_else(|| "the engine's pod is starting".to_owned()),
    }
}

fn outcome(termination_message: &str, log: &str) -> Option<Outcome> {
    let short: Option<Outcome> = read_outcome(termination_message);
    // The termination message may have had to leave things out; the log has the outcome whole.
    let incomplete = short.as_ref().is_none_or(is_short);
    if incomplete { last_outcome(log).or(short) } else { short }
}

/// Whether the outcome may have been cut to fit the termination message.
pub fn is_short(outcome: &Outcome) -> bool {
    matches!(outcome.operation, Operation::Backup | Operation::Restore)
        && outcome.backup_name.is_some()
        && outcome.manifest.is_none()
}

/// The outcome in a termination message: with or without the `event` tag of a report line.
pub fn read_outcome(text: &str) -> Option<Outcome> {
    match serde_json::from_str(text) {
        Ok(Line::Outcome(outcome)) => Some(*outcome),
        _ => serde_json::from_str(text).ok(),
    }
}

fn last_outcome(log: &str) -> Option<Outcome> {
    lines(log).rev().find_map(|line| match line {
        Line::Outcome(outcome) => Some(*outcome),
        _ => None,
    })
}

fn told(log: &str) -> Told {
    let mut told = Told::default();
    for line in lines(log) {
        match line {
            Line::Step { step, .. } => told = Told { step: Some(step), progress: told.progress },
            Line::Progress(progress) => told = Told { step: Some(progress.step), progress: Some(progress) },
            _ => {}
        }
    }
    told
}

fn lines(log: &str) -> impl DoubleEndedIterator<Item = Line> {
    log.lines().filter(|line| line.starts_with('{')).filter_map(|line| serde_json::from_str(line).ok())
}

/// The last lines that a person would read: notes as text, no progress.
fn plain_lines(log: &str) -> Vec<String> {
    let readable = log.lines().filter(|line| !line.trim().is_empty()).filter_map(|line| {
        match serde_json::from_str::<Line>(line) {
            Ok(Line::Note { time, text }) => Some(format!("{time:.0} {text}")),
            Ok(Line::Step { time, step }) => Some(format!("{time:.0} {step:?}")),
            Ok(_) => None,
            Err(_) => Some(line.to_owned()),
        }
    });
    let lines: Vec<String> = readable.map(|line| line.chars().take(LOG_LINE_LIMIT).collect()).collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].to_vec()
}

/// How long past its grace period a pod may be before its node is taken for lost.
const LOST_AFTER: Duration = Duration::from_secs(60);

/// Whether the pod can still do something. A pod that was told to stop and is past its grace period cannot: its node would
/// have killed it, or is gone.
pub fn is_live(pod: &Pod, now: Timestamp) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    // deletionTimestamp is the end of the grace period, not its beginning.
    let overdue = pod.metadata.deletion_timestamp.as_ref().is_some_and(|end| now > end.0 + LOST_AFTER);
    !matches!(phase, Some("Succeeded" | "Failed")) && !overdue
}

/// Seconds since a time, never negative.
pub fn seconds_since(then: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.duration_since(then).as_secs()).unwrap_or(0)
}
