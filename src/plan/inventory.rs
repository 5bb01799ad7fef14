//! When a storage is listed, and what is then said of it.
//!
//! An inventory is a Job of the storage's, one at a time: it is written down, then made, then its log is taken in (the
//! shell does that, bucket by bucket, see [`super::records`]), then its end is written down. Cut short anywhere, it is
//! taken up where it was.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::draft::{AT_ONCE, set_condition, whole_seconds};
use super::observed::{EngineSeen, JobSeen, LivePod, seconds_since};
use super::records::Cluster;
use super::report::{signed, size};
use super::{Action, Event, Requeue, kstatus};
use crate::api::{
    EngineJob, EngineSecurityContext, GoDuration, InventoryStatus, JobPurpose, PodTemplate, ShardStatus,
    VitessBackupStorage, VitessBackupStorageStatus,
};
use crate::backup::bytes::ByteSize;
use crate::backup::inventory::{Digest, ShardFound, Totals};
use crate::backup::report::{Outcome, Verdict};
use crate::resources::job::Owner;
use crate::resources::settings::Settings;
use crate::resources::{command, job, names, pod, storage as in_pod};

pub const REACHABLE: &str = "Reachable";
pub const STRAYS: &str = "StraysFound";

/// How much is told by one pod: kubelets keep 10 MiB of a log, and some less.
const REPORT_LIMIT: ByteSize = ByteSize(4 << 20);
/// How long the engine may take, and how much longer its pod: a file system that hangs does not let it go.
const DEADLINE: GoDuration = GoDuration(Duration::from_secs(15 * 60));
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a pod may take to start before it is said, and before it is given up.
const START_NOTICE: Duration = Duration::from_secs(60);
const START_LIMIT: Duration = Duration::from_secs(10 * 60);
/// How soon a failed inventory is tried again; twice as long each time, up to the interval.
const FIRST_RETRY: Duration = Duration::from_secs(20);
/// How soon an inventory may follow the one before.
const BREATH: Duration = Duration::from_secs(5);
/// How soon to look at a Job, whose pod is watched besides.
const WATCH: Duration = Duration::from_secs(10);

/// What is looked at besides the storage itself.
#[derive(Clone, Debug)]
pub struct Seen {
    pub settings: Arc<Settings>,
    /// The Job of `status.inventory.job`.
    pub job: Option<JobSeen>,
    /// Other Jobs of this storage's: of inventories that are over.
    pub over: Vec<String>,
    /// Pods of theirs that have not ended.
    pub live_pods: Vec<LivePod>,
    /// What stands for the storage's backups; looked at when a Job is about to be made.
    pub cluster: Cluster,
    /// When a run last changed what is in the storage, as far as this operator has seen.
    pub touched: Option<Timestamp>,
    /// What was taken in of the Job that has ended.
    pub taken: Option<Taken>,
}

impl Seen {
    pub fn nothing(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            job: None,
            over: Vec::new(),
            live_pods: Vec::new(),
            cluster: Cluster::default(),
            touched: None,
            taken: None,
        }
    }
}

/// What came of reading an inventory's log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    /// How many buckets came whole.
    pub buckets: u64,
    pub shards: Vec<ShardFound>,
    /// How many records were made, changed and removed.
    pub made: u64,
    pub changed: u64,
    pub removed: u64,
    /// Records that the API server would not take, and its words of the first.
    pub refused: u64,
    pub refusal: Option<String>,
    /// Why the log could not be read.
    pub problem: Option<String>,
}

impl Taken {
    /// Whether all that the engine told has arrived: else nothing is removed.
    pub fn is_whole(&self, totals: &Totals) -> bool {
        self.problem.is_none() && self.buckets == totals.buckets_told && self.shards.len() as u64 == totals.shards_told
    }
}

/// The outcome of the inventory that has ended well and whose log is to be taken in, with when it was begun.
pub fn to_take_in<'a>(storage: &VitessBackupStorage, seen: &'a Seen) -> Option<(&'a Totals, Timestamp)> {
    let job = storage.status.as_ref()?.inventory.as_ref()?.job.as_ref()?;
    let known = seen.job.as_ref().filter(|known| is_own(storage, job, known))?;
    let EngineSeen::Ended { outcome: Some(outcome), .. } = &known.engine else { return None };
    let totals = outcome.inventory.as_ref().filter(|_| outcome.verdict == Verdict::Succeeded)?;
    // Backups that ended after this may be missing from the listing.
    Some((totals, job.launch_time.as_ref()?.0))
}

/// Whether the Job that `status.inventory.job` asks for is about to be made.
pub fn is_to_launch(storage: &VitessBackupStorage, seen: &Seen) -> bool {
    let job = storage.status.as_ref().and_then(|status| status.inventory.as_ref()?.job.as_ref());
    job.is_some_and(|job| job.uid.is_none()) && seen.job.is_none()
}

fn is_own(storage: &VitessBackupStorage, job: &EngineJob, seen: &JobSeen) -> bool {
    seen.owner_uid == storage.metadata.uid && job.uid.as_ref().is_none_or(|uid| *uid == seen.uid)
}

/// What follows for the storage's status, and what is to be done.
pub(super) struct Next<'a> {
    pub storage: &'a VitessBackupStorage,
    pub seen: &'a Seen,
    pub now: Timestamp,
    pub status: VitessBackupStorageStatus,
    pub actions: Vec<Action>,
    pub events: Vec<Event>,
}

impl Next<'_> {
    /// Goes on. `accepted`: whether pods can be launched for the storage at all.
    pub fn go_on(&mut self, accepted: bool) -> Requeue {
        let GoDuration(interval) = self.storage.spec.inventory_interval;
        let mut inventory = self.status.inventory.take().unwrap_or_default();
        let current = inventory.job.as_ref().map(|job| job.name.clone());
        let over = self.seen.over.iter().filter(|name| current.as_ref() != Some(name)).cloned();
        self.actions.extend(over.map(Action::DeleteJob));
        if interval.is_zero() || !accepted {
            let (reason, message) = if accepted {
                ("InventoryOff", "spec.inventoryInterval is 0s: nothing looks into the storage but runs")
            } else {
                ("NotAccepted", "the storage cannot be used, see the condition Accepted: it is not listed")
            };
            self.actions.extend(inventory.job.take().map(|job| Action::DeleteJob(job.name)));
            self.reachable("Unknown", reason, message.to_owned());
            // The number goes on, so that no Job has the name of an earlier one.
            self.status.inventory = Some(inventory).filter(|inventory| inventory.number > 0);
            return Requeue::OnChange;
        }
        let requeue = match inventory.job.clone() {
            None => self.begin(&mut inventory, interval),
            Some(job) => self.watch(&mut inventory, &job),
        };
        self.status.inventory = Some(inventory);
        requeue
    }

    /// Notes the Job that is to be made, when it is time.
    fn begin(&mut self, inventory: &mut InventoryStatus, interval: Duration) -> Requeue {
        let due = due(inventory, self.storage.metadata.generation, self.seen.touched, interval);
        if due > self.now {
            let wait = Duration::try_from(due.duration_since(self.now)).unwrap_or(BREATH);
            return Requeue::After(wait.max(AT_ONCE));
        }
        if let Some(LivePod { pod, job }) = self.seen.live_pods.first() {
            let text = format!(
                "pod {pod} of Job {job} was told to stop and does not: its node or the storage hangs; no other pod is started \
                 until it is gone"
            );
            self.reachable("False", "InventoryStuck", text);
            return Requeue::After(WATCH);
        }
        inventory.number = inventory.number.checked_add(1).unwrap_or(1);
        inventory.launch_time = Some(self.time());
        inventory.generation = self.storage.metadata.generation;
        let owner = self.owner();
        let name = names::job_name(&owner.name, &owner.uid, JobPurpose::Inventory, inventory.number);
        inventory.job = Some(EngineJob {
            name,
            purpose: JobPurpose::Inventory,
            number: inventory.number,
            uid: None,
            launch_time: Some(self.time()),
        });
        if !self.status.conditions.iter().any(|condition| condition.type_ == REACHABLE) {
            self.reachable("Unknown", "Listing", "the storage is being listed for the first time".to_owned());
        }
        Requeue::After(AT_ONCE)
    }

    fn watch(&mut self, inventory: &mut InventoryStatus, job: &EngineJob) -> Requeue {
        let Some(seen) = self.seen.job.clone() else {
            if job.uid.is_some() {
                let text = format!("Job {} is gone, and nobody saw its end", job.name);
                return self.failed(inventory, "Unknown", "EngineLost", text);
            }
            let made = self.job(job);
            self.actions.push(Action::CreateJob(Box::new(made)));
            return Requeue::After(WATCH);
        };
        if !is_own(self.storage, job, &seen) {
            let text = format!("Job {} is not the one that was made for this storage", job.name);
            return self.failed(inventory, "Unknown", "EngineLost", text);
        }
        inventory.job = Some(EngineJob { uid: Some(seen.uid), ..job.clone() });
        let waited = job.launch_time.as_ref().map_or(0, |time| seconds_since(time.0, self.now));
        match seen.engine {
            EngineSeen::Starting { reason, message } => {
                let text = format!("the pod that lists the storage does not start: {reason}: {message}");
                if waited >= START_LIMIT.as_secs() {
                    return self.failed(inventory, "False", "PodNotStarted", text);
                }
                if waited >= START_NOTICE.as_secs() {
                    self.reachable("False", "PodNotStarted", text);
                }
                Requeue::After(WATCH)
            }
            EngineSeen::Running { told: _ } if waited > (DEADLINE.0 + START_LIMIT + PATIENCE).as_secs() => {
                let text = format!("the engine of Job {} did not end within {DEADLINE}", job.name);
                self.failed(inventory, "False", "DeadlineExceeded", text)
            }
            EngineSeen::Running { told: _ } => Requeue::After(WATCH),
            EngineSeen::Unreachable { node } => {
                let text = format!("nothing is heard of node {node}, where the engine of Job {} runs", job.name);
                self.reachable("Unknown", "NodeUnreachable", text);
                Requeue::After(WATCH)
            }
            EngineSeen::Ended { outcome: None, how, .. } => {
                let text = format!("the engine ended without a word of how: {how}");
                self.failed(inventory, "Unknown", "EngineLost", text)
            }
            EngineSeen::Ended { outcome: Some(outcome), .. } => self.ended(inventory, &outcome),
        }
    }

    fn ended(&mut self, inventory: &mut InventoryStatus, outcome: &Outcome) -> Requeue {
        if let Some(failure) = &outcome.failure {
            let text = format!("{}; {}", failure.message, failure.remedy);
            return self.failed(inventory, "False", &format!("{:?}", failure.reason), text);
        }
        let (Some(totals), Some(taken)) = (&outcome.inventory, &self.seen.taken) else {
            let text = "the engine of another version gave no inventory: upgrade the operator".to_owned();
            return self.failed(inventory, "Unknown", "EngineLost", text);
        };
        if !taken.is_whole(totals) {
            let cause = taken.problem.clone().unwrap_or_else(|| "its log was cut short".to_owned());
            let text = format!("what the inventory told did not arrive whole, and no record was removed: {cause}");
            return self.failed(inventory, "Unknown", "InventoryCutShort", text);
        }
        self.finish(inventory);
        inventory.failures = 0;
        // What the API server refuses would be told first again: not at once.
        inventory.more = totals.more && taken.refused == 0;
        let text = format!("{} backups of {} shards were listed", totals.backups + totals.incomplete, totals.shards);
        self.reachable("True", "Listed", text);
        self.strays(totals);
        self.told(taken);
        let status = &mut self.status;
        status.backups = Some(signed(totals.backups));
        status.incomplete = Some(signed(totals.incomplete));
        status.bytes = Some(signed(totals.bytes));
        status.size = Some(size(totals.bytes));
        status.last_inventory_time = Some(Time(whole_seconds(self.now)));
        if totals.shards_told > 0 || totals.backups + totals.incomplete == 0 {
            status.shards = taken.shards.iter().map(shard_status).collect();
        }
        Requeue::After(AT_ONCE)
    }

    fn failed(&mut self, inventory: &mut InventoryStatus, status: &str, reason: &str, message: String) -> Requeue {
        self.finish(inventory);
        inventory.failures = inventory.failures.saturating_add(1);
        self.reachable(status, reason, message);
        Requeue::After(AT_ONCE)
    }

    /// The Job goes at the next look, when its end is on the object.
    fn finish(&mut self, inventory: &mut InventoryStatus) {
        inventory.job = None;
        inventory.end_time = Some(self.time());
    }

    fn strays(&mut self, totals: &Totals) {
        let (status, reason, message) = if totals.strays == 0 {
            ("False", "NothingElse", "there is nothing in the storage but backups".to_owned())
        } else {
            let named = totals.stray_names.join(", ");
            let unnamed = totals.strays.saturating_sub(totals.stray_names.len() as u64);
            let more = if unnamed > 0 { format!(" and {unnamed} more") } else { String::new() };
            ("True", "StraysFound", format!("no backups, and left alone: {named}{more}"))
        };
        self.condition(STRAYS, status, reason, message);
    }

    fn told(&mut self, taken: &Taken) {
        let Taken { made, changed, removed, refused, refusal, .. } = taken;
        if made + changed + removed > 0 {
            let note = format!("{made} records of backups were made, {changed} changed, {removed} removed");
            self.events.push(Event { warning: false, reason: "InventoryTaken", note });
        }
        if let Some(words) = refusal {
            let note = format!("the API server refuses {refused} records of backups: {words}");
            self.events.push(Event { warning: true, reason: "RecordRefused", note });
        }
    }

    fn reachable(&mut self, status: &str, reason: &str, message: String) {
        let known = self.status.conditions.iter().find(|condition| condition.type_ == REACHABLE);
        let news = known.is_none_or(|known| known.status != status || known.reason != reason);
        if news && status == "False" {
            self.events.push(Event { warning: true, reason: "Unreachable", note: format!("{reason}: {message}") });
        } else if news && status == "True" && known.is_some_and(|known| known.status == "False") {
            self.events.push(Event { warning: false, reason: "Reachable", note: message.clone() });
        }
        self.condition(REACHABLE, status, reason, message);
    }

    fn condition(&mut self, kind: &str, status: &str, reason: &str, message: String) {
        let generation = self.storage.metadata.generation;
        let time = Time(whole_seconds(self.now));
        set_condition(&mut self.status.conditions, time, generation, kind, status, reason, message);
    }

    fn time(&self) -> Time {
        Time(whole_seconds(self.now))
    }

    fn owner(&self) -> Owner {
        let meta = &self.storage.metadata;
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        Owner {
            kind: "VitessBackupStorage",
            namespace: text(&meta.namespace),
            name: text(&meta.name),
            uid: text(&meta.uid),
        }
    }

    fn job(&self, planned: &EngineJob) -> Job {
        let Seen { settings, cluster, .. } = self.seen;
        let mut given = in_pod::in_pod(&self.storage.spec);
        given.read_only();
        // A status that was lost has to be told whole. What ended while the last inventory was under way may be missing in it.
        let listed = self.status.last_inventory_time.as_ref().map(|Time(time)| *time - DEADLINE.0);
        let known = listed.map_or_else(Digest::default, |listed| cluster.digest_after(listed));
        let args = command::inventory(&given.args, &known, REPORT_LIMIT, DEADLINE);
        let mut template = self.storage.spec.pod_template.clone().unwrap_or_default();
        if template.security_context.is_none() {
            template.security_context = Some(reader(cluster.ran_as()));
        }
        let pod = pod::plain(settings, &given, None, args, &template);
        let EngineJob { purpose, number, .. } = planned;
        job::job(&self.owner(), *purpose, *number, DEADLINE.0, pod, &template, settings)
    }
}

/// Whoever could write can read. The group is no fsGroup: the kubelet would give it the whole volume.
fn reader(ran_as: Option<&EngineSecurityContext>) -> EngineSecurityContext {
    let writer = ran_as.cloned().unwrap_or_else(|| pod::identity(&PodTemplate::default()));
    let EngineSecurityContext { run_as_user, run_as_group, fs_group, mut supplemental_groups } = writer;
    supplemental_groups.extend(fs_group.filter(|group| !supplemental_groups.contains(group)));
    let user = run_as_user.or(pod::identity(&PodTemplate::default()).run_as_user);
    EngineSecurityContext { run_as_user: user, run_as_group, fs_group: None, supplemental_groups }
}

/// What a status says when the API server would not take the Job: it is tried again.
pub fn refused(status: &mut VitessBackupStorageStatus, generation: Option<i64>, now: Timestamp, words: &str) {
    let message = format!("the API server refuses the Job that lists the storage: {words}");
    let now = Time(whole_seconds(now));
    set_condition(&mut status.conditions, now.clone(), generation, REACHABLE, "Unknown", "JobRefused", message);
    kstatus::of_storage(&mut status.conditions, &now, generation);
}

/// When the next inventory is to begin.
fn due(
    inventory: &InventoryStatus,
    generation: Option<i64>,
    touched: Option<Timestamp>,
    interval: Duration,
) -> Timestamp {
    let (Some(Time(begun)), Some(Time(ended))) = (&inventory.launch_time, &inventory.end_time) else {
        return Timestamp::MIN;
    };
    if inventory.generation != generation {
        return Timestamp::MIN;
    }
    if inventory.failures > 0 {
        return *ended + retry(inventory.failures, interval);
    }
    if inventory.more {
        return *ended;
    }
    let regular = *begun + interval;
    match touched {
        Some(touched) if touched > *begun => regular.min(*ended + BREATH),
        _ => regular,
    }
}

fn retry(failures: i32, interval: Duration) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(0).min(16);
    (FIRST_RETRY * 2_u32.pow(doublings)).min(interval.max(FIRST_RETRY))
}

fn shard_status(found: &ShardFound) -> ShardStatus {
    let ShardFound {
        shard,
        backups,
        incomplete: _,
        bytes: _,
        latest_backup_name,
        latest_backup_time,
        latest_position,
        first_restorable_time,
    } = found;
    let seconds = |time: &Timestamp| Time(whole_seconds(*time));
    ShardStatus {
        shard: shard.clone(),
        backups: signed(*backups),
        latest_backup_name: latest_backup_name.clone(),
        latest_backup_time: latest_backup_time.as_ref().map(seconds),
        latest_position: latest_position.clone(),
        first_restorable_time: first_restorable_time.as_ref().map(seconds),
    }
}

#[cfg(test)]
#[path = "inventory_tests.rs"]
mod tests;
