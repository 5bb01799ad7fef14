//! What an inventory means for the VitessBackups of a storage: records are made, changed and removed, and runs whose backup
//! is gone are told so.
//!
//! A bucket of [`crate::backup::inventory`] at a time, so that nothing has to be held of a storage but a line for each
//! backup. Only records that the operator made itself are ever removed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::draft::{COMPLETE, Draft, set_condition, whole_seconds};
use super::report::{signed, size};
use super::{Requeue, kstatus};
use crate::api::{
    DeletionPolicy, EngineSecurityContext, Phase, RunStatus, VitessBackup, VitessBackupSpec, VitessBackupStatus,
};
use crate::backup::inventory::{Digest, Found, Trace, bucket_of};
use crate::resources::names;
use crate::resources::record;

/// False when an inventory did not find the backup any more.
pub const IN_STORAGE: &str = "InStorage";
const GONE: &str = "GoneFromStorage";
const UNREADABLE: &str = "ManifestUnreadable";
const INCOMPLETE: &str = "Incomplete";

/// Whose object it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A record that an inventory made.
    Inventory,
    /// A record that a person wrote: `spec.backupName` is set.
    Person,
    /// A run that made, makes, or was to make the backup.
    Run,
}

/// A VitessBackup that stands for a backup in storage, as small as it can be: there may be ten thousand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub object: String,
    pub uid: String,
    pub origin: Origin,
    /// Whether there is a MANIFEST, and the bytes stored; absent until an inventory or the run's end said so.
    pub state: Option<(bool, u64)>,
    /// An inventory did not find it the last time.
    pub gone: bool,
    /// Of a run that has made a backup: when it ended.
    pub finished: Option<Timestamp>,
    /// Deleting it removes the data (deletionPolicy Delete): only whoever asked for that may do it.
    pub deletes_data: bool,
}

/// The VitessBackups of one storage, by shard and backup name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    backups: BTreeMap<(String, String), Vec<Known>>,
    /// As whom the newest run's engine ran, and when that run ended.
    newest: Option<(Timestamp, EngineSecurityContext)>,
}

/// What an object tells of a backup in storage, by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Noted {
    storage: String,
    /// The shard and the backup's name.
    backup: Option<(String, String)>,
    known: Known,
    /// Of a run that has ended: when, and as whom its engine ran.
    ran: Option<(Timestamp, EngineSecurityContext)>,
}

impl Noted {
    pub fn of(backup: &VitessBackup) -> Self {
        let unseen = RunStatus::default();
        let run = backup.status.as_ref().map_or(&unseen, |status| &status.run);
        let ended = run.finished_time.as_ref().map(|time| time.0);
        let shard = run.shard.clone().or_else(|| backup.spec.shard.as_ref().map(ToString::to_string));
        let name = backup.spec.backup_name.clone().or_else(|| run.backup_name.clone());
        let known = Known {
            object: backup.metadata.name.clone().unwrap_or_default(),
            uid: backup.metadata.uid.clone().unwrap_or_default(),
            origin: origin(backup),
            state: state(run),
            gone: run.conditions.iter().any(|condition| condition.type_ == IN_STORAGE && condition.status == "False"),
            finished: ended.filter(|_| run.phase == Some(Phase::Succeeded)),
            deletes_data: backup.spec.deletion_policy == DeletionPolicy::Delete,
        };
        Self {
            storage: backup.spec.storage.name.clone(),
            backup: shard.zip(name),
            known,
            ran: ended.zip(run.ran_as.clone()),
        }
    }
}

impl Cluster {
    /// Takes note of an object, if it stands for a backup in that storage.
    pub fn note(&mut self, storage: &str, backup: &VitessBackup) {
        self.add(storage, &Noted::of(backup));
    }

    /// The same of what was noted before.
    pub fn add(&mut self, storage: &str, noted: &Noted) {
        let Noted { storage: own, backup, known, ran } = noted;
        if own != storage {
            return;
        }
        if let Some((ended, ran_as)) = ran
            && self.newest.as_ref().is_none_or(|(newest, _)| newest < ended)
        {
            self.newest = Some((*ended, ran_as.clone()));
        }
        if let Some(backup) = backup {
            self.backups.entry(backup.clone()).or_default().push(known.clone());
        }
    }

    /// What storage would have to hold for nothing to be told.
    pub fn digest(&self) -> Digest {
        let mut digest = Digest::default();
        for ((shard, name), known) in &self.backups {
            let there = known.iter().filter(|known| !known.gone);
            let mut states = there.clone().filter_map(|known| known.state);
            if let Some((has_manifest, bytes)) = states.next() {
                digest.add(&Trace { shard, name, has_manifest, bytes });
            }
            // A record beside the object of a run, one that no inventory has spoken of: something is to be done.
            let is = |origin: Origin| there.clone().any(|known| known.origin == origin);
            let removable = there.clone().any(|known| known.origin == Origin::Inventory && !known.deletes_data);
            let beside = removable && (is(Origin::Person) || is(Origin::Run));
            let untold = there.clone().any(|known| known.state.is_none() && known.origin != Origin::Run);
            if beside || untold {
                digest.disturb(bucket_of(shard, name));
            }
        }
        digest
    }

    /// As [`Self::digest`], but the buckets of runs that ended after `listed` do not match: no inventory has counted their
    /// backups yet.
    pub fn digest_after(&self, listed: Timestamp) -> Digest {
        let mut digest = self.digest();
        for ((shard, name), known) in &self.backups {
            if known.iter().any(|known| known.finished.is_some_and(|finished| finished >= listed)) {
                digest.disturb(bucket_of(shard, name));
            }
        }
        digest
    }

    /// As whom the newest run's engine ran: it could write to the storage, so that it can list it too.
    pub fn ran_as(&self) -> Option<&EngineSecurityContext> {
        self.newest.as_ref().map(|(_, ran_as)| ran_as)
    }

    pub fn is_empty(&self) -> bool {
        self.backups.is_empty()
    }
}

fn origin(backup: &VitessBackup) -> Origin {
    if record::is_record(&backup.metadata) {
        Origin::Inventory
    } else if backup.spec.backup_name.is_some() {
        Origin::Person
    } else {
        Origin::Run
    }
}

/// Absent for a run that made nothing: what it may have left half-made, inventories tell again each time.
fn state(run: &RunStatus) -> Option<(bool, u64)> {
    let bytes = u64::try_from(run.size_bytes?).ok()?;
    let complete = run.conditions.iter().find(|condition| condition.type_ == COMPLETE)?;
    match run.phase? {
        Phase::Succeeded => Some((true, bytes)),
        Phase::Incomplete => Some((complete.reason == UNREADABLE, bytes)),
        _ => None,
    }
}

/// One thing to do for a VitessBackup.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Make a record of it.
    Make(Box<Found>),
    /// Write on the record of this name what was found.
    Update { object: String, found: Box<Found> },
    /// Remove the record: the backup is gone, or another object stands for it.
    Remove { object: String, uid: String },
    /// Say on the object that the backup is not there any more, or that it is there again.
    Mark { object: String, in_storage: bool },
}

impl Change {
    /// Whether it waits until everything that was told has arrived.
    pub fn takes_away(&self) -> bool {
        matches!(self, Self::Remove { .. } | Self::Mark { in_storage: false, .. })
    }
}

/// What a bucket that was told whole means. `begun` is when the inventory was: a backup that was finished later may be
/// there although it was not found.
pub fn settle(bucket: u8, found: &[Found], cluster: &Cluster, begun: Timestamp) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut there = BTreeSet::new();
    for one in found {
        let key = (one.shard.clone(), one.backup.name.clone());
        let known = cluster.backups.get(&key).map(Vec::as_slice).unwrap_or_default();
        changes.extend(found_one(one, known));
        there.insert(key);
    }
    let of_bucket = cluster.backups.iter().filter(|((shard, name), _)| bucket_of(shard, name) == bucket);
    for (_, known) in of_bucket.filter(|(key, _)| !there.contains(*key)) {
        changes.extend(known.iter().filter_map(|known| gone(known, begun)));
    }
    changes
}

fn found_one(found: &Found, known: &[Known]) -> Vec<Change> {
    let state = Some((found.has_manifest, found.backup.size_bytes));
    let update = |known: &Known| Change::Update { object: known.object.clone(), found: Box::new(found.clone()) };
    let stands_otherwise = known.iter().any(|known| known.origin != Origin::Inventory);
    let mut changes: Vec<Change> = known
        .iter()
        .filter_map(|known| match known.origin {
            Origin::Inventory if stands_otherwise && !known.deletes_data => Some(remove(known)),
            Origin::Inventory | Origin::Person => (known.state != state || known.gone).then(|| update(known)),
            Origin::Run => known.gone.then(|| Change::Mark { object: known.object.clone(), in_storage: true }),
        })
        .collect();
    if known.is_empty() {
        changes.push(Change::Make(Box::new(found.clone())));
    }
    changes
}

fn gone(known: &Known, begun: Timestamp) -> Option<Change> {
    let mark = || Some(Change::Mark { object: known.object.clone(), in_storage: false });
    match known.origin {
        // A volume that was not mounted for a moment must not end in the loss of what is on it.
        Origin::Inventory if !known.deletes_data => Some(remove(known)),
        Origin::Inventory | Origin::Person if !known.gone => mark(),
        Origin::Run if !known.gone && known.finished.is_some_and(|finished| finished < begun) => mark(),
        Origin::Inventory | Origin::Person | Origin::Run => None,
    }
}

fn remove(known: &Known) -> Change {
    Change::Remove { object: known.object.clone(), uid: known.uid.clone() }
}

/// The status of a record of what was found.
pub fn status_of(
    before: Option<&VitessBackupStatus>,
    meta: &ObjectMeta,
    storage: &str,
    found: &Found,
    now: Timestamp,
) -> VitessBackupStatus {
    let VitessBackupStatus { run, tablet_choice, tried, tablet_image, verification } =
        before.cloned().unwrap_or_default();
    let Found { shard, has_manifest, files, backup } = found;
    let mut conditions = run.conditions;
    conditions.retain(|condition| condition.type_ != IN_STORAGE);
    let (status, reason, message) = match (backup.complete, has_manifest) {
        (true, _) => ("True", "FoundInStorage", format!("found in VitessBackupStorage {storage}")),
        (false, manifest) => {
            let problem = backup.problem.clone().unwrap_or_default();
            let since = backup.backup_time.map(|time| format!(", begun {time}")).unwrap_or_default();
            let message = format!(
                "{problem}{since}; when nothing writes it any more, remove it: set deletionPolicy: Delete here and delete \
                 this object, or run vitess-backup remove"
            );
            ("False", if *manifest { UNREADABLE } else { INCOMPLETE }, message)
        }
    };
    let time = Time(whole_seconds(now));
    set_condition(&mut conditions, time.clone(), meta.generation, COMPLETE, status, reason, message);
    let seconds = |time: Timestamp| Time(whole_seconds(time));
    let mut status = VitessBackupStatus {
        run: RunStatus {
            observed_generation: meta.generation,
            phase: Some(if backup.complete { Phase::Succeeded } else { Phase::Incomplete }),
            conditions,
            backup_name: Some(backup.name.clone()),
            storage_name: Some(storage.to_owned()),
            shard: Some(shard.clone()),
            tablet_alias: backup.tablet_alias.clone(),
            engine: backup.engine.clone(),
            position: backup.position.clone(),
            purged_position: backup.purged_position.clone(),
            start_time: backup.backup_time.map(seconds),
            finished_time: backup.finished_time.map(seconds),
            size_bytes: Some(signed(backup.size_bytes)),
            size: Some(size(backup.size_bytes)),
            files: files.map(signed),
            manifest: backup.manifest.clone(),
            ..run
        },
        tablet_choice,
        tried,
        tablet_image,
        verification,
    };
    kstatus::of_run(&mut status.run, &time, meta.generation);
    status
}

/// The status of an object whose backup is gone from storage, or there again.
pub fn marked(backup: &VitessBackup, in_storage: bool, now: Timestamp) -> VitessBackupStatus {
    let mut status = backup.status.clone().unwrap_or_default();
    let name = backup.spec.backup_name.as_ref().or(status.run.backup_name.as_ref()).cloned().unwrap_or_default();
    let storage = &backup.spec.storage.name;
    let (value, reason, message) = if in_storage {
        ("True", "FoundInStorage", format!("backup {name} is in VitessBackupStorage {storage}"))
    } else {
        let text = format!(
            "backup {name} is not in VitessBackupStorage {storage}: it was removed there, or the storage is not the one that \
             it was; this object may be deleted"
        );
        ("False", GONE, text)
    };
    let time = Time(whole_seconds(now));
    set_condition(&mut status.run.conditions, time, backup.metadata.generation, IN_STORAGE, value, reason, message);
    status
}

/// What a record is of: its spec says it, whatever its status does.
pub(super) fn name(draft: &mut Draft<'_>, spec: &VitessBackupSpec) {
    draft.status.backup_name.clone_from(&spec.backup_name);
    draft.status.storage_name = Some(spec.storage.name.clone());
    draft.status.shard = spec.shard.as_ref().map(ToString::to_string);
}

/// The plan of a record: nothing is launched, and the data goes with it only when its deletionPolicy says so.
pub(super) fn stand(draft: &mut Draft<'_>, spec: &VitessBackupSpec) -> Requeue {
    name(draft, spec);
    match spec.deletion_policy {
        DeletionPolicy::Delete => draft.add_finalizer(names::FINALIZER_REMOVE_BACKUP),
        DeletionPolicy::Retain => draft.remove_finalizer(names::FINALIZER_REMOVE_BACKUP),
    }
    if draft.find_condition(COMPLETE).is_none() {
        draft.enter(Phase::Pending);
        let message = format!("the next inventory of VitessBackupStorage {} says what it is", spec.storage.name);
        draft.condition(COMPLETE, "Unknown", "NotListedYet", message);
    }
    Requeue::OnChange
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
