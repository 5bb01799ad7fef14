//! Names, label keys and finalizers: deterministic, so that whoever comes back finds what was made.

use crate::api::JobPurpose;
use crate::topo::{KeyspaceShard, TabletAlias};

/// Who writes: the reporter of events, the value of managed-by, the name of the leader's Lease.
pub const OPERATOR: &str = "vitess-backup-operator";

// One field manager for each writer, so that managedFields tells who wrote what (kubectl get --show-managed-fields).
/// Of status, by server-side apply. An operator's own name from its first version on: fields that another manager applied
/// would stay for ever.
pub const STATUS_MANAGER: &str = OPERATOR;
pub const FINALIZER_MANAGER: &str = "vitess-backup-operator-finalizers";
pub const JOB_MANAGER: &str = "vitess-backup-operator-jobs";
/// Of the Leases that say which run works on what.
pub const LOCK_MANAGER: &str = "vitess-backup-operator-locks";
/// Of the Lease that says which operator acts.
pub const LEADER_MANAGER: &str = "vitess-backup-operator-leader";

/// The uid of the VitessBackup or VitessRestore that an engine Job, its pod or a lock belongs to.
pub const LABEL_RUN_UID: &str = "backup.vitess.io/run-uid";
/// Its kind.
pub const LABEL_RUN_KIND: &str = "backup.vitess.io/run-kind";
/// What a Job is for: a [`JobPurpose`] in lower case.
pub const LABEL_PURPOSE: &str = "backup.vitess.io/purpose";
/// On a tablet's pod, as a label or an annotation: the VitessRestore of trigger PodStart by which it restores when it starts.
pub const RESTORE_OF: &str = "backup.vitess.io/restore";
/// On a tablet's pod: what its tablet's uid is less the ordinal that its StatefulSet gave it.
pub const ANNOTATION_UID_BASE: &str = "backup.vitess.io/tablet-uid-base";
/// On the Leases that say which run works on what.
pub const LABEL_LOCK: &str = "backup.vitess.io/lock";
/// The name of the VitessBackup or VitessRestore; an annotation because it may be longer than a label.
pub const ANNOTATION_RUN: &str = "backup.vitess.io/run";
/// What a lock is about, for people.
pub const ANNOTATION_LOCK_OF: &str = "backup.vitess.io/lock-of";
/// Set to "true" by a person to let a VitessBackup go although its data could not be removed.
pub const ANNOTATION_SKIP_REMOVAL: &str = "backup.vitess.io/skip-removal";
/// Any new value asks for a verification of a backup that is there.
pub const ANNOTATION_VERIFY_AT: &str = "backup.vitess.io/verify-at";
/// How deep that one looks: `Objects` or `Restore`.
pub const ANNOTATION_VERIFY: &str = "backup.vitess.io/verify";

/// Set to "true" by a person to have a deletion remove a shard's only complete backup.
pub const ANNOTATION_FORCE_REMOVAL: &str = "backup.vitess.io/force-removal";

/// Where a VitessBackup comes from: [`ORIGIN_INVENTORY`] on records of backups that were found in storage, and absent on
/// what people and their tools create.
pub const LABEL_ORIGIN: &str = "backup.vitess.io/origin";
pub const ORIGIN_INVENTORY: &str = "inventory";
/// On a record: the VitessBackupStorage, the keyspace and the shard, as far as a label can hold them.
pub const LABEL_STORAGE: &str = "backup.vitess.io/storage";
pub const LABEL_KEYSPACE: &str = "backup.vitess.io/keyspace";
pub const LABEL_SHARD: &str = "backup.vitess.io/shard";
/// On a record: `<storage>/<keyspace>/<shard>/<backup name>`, of which its name is made.
pub const ANNOTATION_RECORD_OF: &str = "backup.vitess.io/record-of";

/// The data in storage goes before the object does (deletionPolicy Delete).
pub const FINALIZER_REMOVE_BACKUP: &str = "backup.vitess.io/remove-backup";
/// A run is under way: its engine is stopped and the tablet put back before the object goes.
pub const FINALIZER_RUN: &str = "backup.vitess.io/run";

const NAME_LIMIT: usize = 63;

/// The name of a Job of a run, at most 63 characters (the pod carries it as a label). The object's uid is in it, so that an
/// object created again under the same name does not take a predecessor's Job for its own.
pub fn job_name(run_name: &str, run_uid: &str, purpose: JobPurpose, number: i32) -> String {
    let uid: String = run_uid.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    let suffix = format!("-{uid}-{}-{number}", purpose_text(purpose));
    let room = NAME_LIMIT.saturating_sub(suffix.len());
    // A Job's name may hold dots; its pod's host name is cut there, which says less than a dash.
    let stem: String = run_name.chars().take(room).map(|c| if c == '.' { '-' } else { c }).collect();
    format!("{}{suffix}", stem.trim_end_matches('-'))
}

/// The name of the record of a backup, from what its annotation [`ANNOTATION_RECORD_OF`] says: all but the storage for
/// people, and a checksum of the whole.
pub fn record_name(record_of: &str) -> String {
    const ROOM: usize = 200;
    let mut parts = record_of.rsplitn(4, '/');
    let mut part = || parts.next().unwrap_or_default();
    let (backup, shard, keyspace) = (part(), part(), part());
    let plain = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' => c,
        _ => '-',
    };
    let stem: String = format!("{keyspace}-{}-{backup}", shard_label(shard)).chars().map(plain).take(ROOM).collect();
    format!("{}-{:08x}", stem.trim_matches('-'), crc32fast::hash(record_of.as_bytes()))
}

/// A text as the value of a label: as it is where it can be one, else made into one, with a checksum.
pub fn label_value(text: &str) -> String {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    let fits = text.len() <= NAME_LIMIT && text.chars().all(inner);
    if fits && edge(text.chars().next()) && edge(text.chars().last()) {
        return text.to_owned();
    }
    let stem: String = text.chars().map(|c| if inner(c) { c } else { '-' }).take(50).collect();
    let stem = stem.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let dash = if stem.is_empty() { "" } else { "-" };
    format!("{stem}{dash}{:08x}", crc32fast::hash(text.as_bytes()))
}

/// A shard as the value of a label, which cannot begin or end with a dash: `x-80`, `80-x`, as planetscale's operator does.
pub fn shard_label(shard: &str) -> String {
    match shard.split_once('-') {
        Some((from, to)) => {
            let bound = |text: &str| if text.is_empty() { "x".to_owned() } else { text.to_owned() };
            label_value(&format!("{}-{}", bound(from), bound(to)))
        }
        None => label_value(shard),
    }
}

/// `backup`, `restore`, `recover`, `remove`, `inventory`, `verify`.
pub fn purpose_text(purpose: JobPurpose) -> &'static str {
    match purpose {
        JobPurpose::Backup => "backup",
        JobPurpose::Restore => "restore",
        JobPurpose::Recover => "recover",
        JobPurpose::Remove => "remove",
        JobPurpose::Inventory => "inventory",
        JobPurpose::Verify => "verify",
    }
}

/// What only one run may work on at a time: the name of its Lease, and what it is in words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lock {
    pub lease: String,
    pub of: String,
}

impl Lock {
    pub fn tablet(alias: &TabletAlias) -> Self {
        Self::new("tablet", &alias.to_string())
    }

    /// One backup per shard at a time, so that a shard never has two replicas out of service for backups.
    pub fn shard(shard: &KeyspaceShard) -> Self {
        Self::new("shard", &shard.to_string())
    }

    pub fn volume(claim_name: &str) -> Self {
        Self::new("volume", claim_name)
    }

    /// The lock that is `of` this, in words: `tablet zone1-0000000101`.
    pub fn named(of: &str) -> Option<Self> {
        let (kind, of) = of.split_once(' ')?;
        Some(Self::new(kind, of))
    }

    /// One backup per topology server at a time, known by how it is reached.
    pub fn topology(server: &str) -> Self {
        Self::new("topology", server)
    }

    fn new(kind: &str, of: &str) -> Self {
        Self { lease: format!("vitess-backup-{kind}-{}", slug(of, 150)), of: format!("{kind} {of}") }
    }
}

/// The text as part of an object's name: lower case, other characters as dashes, and a checksum when that changed it.
pub fn slug(text: &str, limit: usize) -> String {
    let plain: String = text
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .take(limit)
        .collect();
    let trimmed = plain.trim_matches('-');
    if trimmed == text { plain } else { format!("{trimmed}-{:08x}", crc32fast::hash(text.as_bytes())) }
}

/// The name that a backup started at this time by this tablet has: `2021-04-29.133050.zone1-0000000101`.
///
/// Source: Vitess names backups by `time.Format("2006-01-02.150405")` in UTC and the tablet's alias.
pub fn backup_name(started: jiff::Timestamp, tablet: &TabletAlias) -> String {
    format!("{}.{tablet}", started.strftime("%Y-%m-%d.%H%M%S"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "5f3c2a9e-1111-2222-3333-444455556666";

    #[test]
    fn the_name_of_a_job_fits_a_label_and_tells_objects_of_the_same_name_apart() {
        assert_eq!(job_name("nightly", UID, JobPurpose::Backup, 1), "nightly-5f3c2a9e-backup-1");
        let long = job_name(&"a.b".repeat(80), UID, JobPurpose::Recover, 12);
        assert_eq!(long.len(), 63);
        assert!(long.ends_with("-5f3c2a9e-recover-12"), "{long}");
        assert_ne!(job_name("a", UID, JobPurpose::Backup, 1), job_name("a", "6f3c2a9e", JobPurpose::Backup, 1));
    }

    #[test]
    fn a_lock_is_known_by_its_words() {
        for lock in [
            Lock::tablet(&"zone1-101".parse().unwrap()),
            Lock::shard(&"commerce/-80".parse().unwrap()),
            Lock::volume("data-101"),
        ] {
            assert_eq!(Lock::named(&lock.of), Some(lock));
        }
        assert_eq!(Lock::named("tablet"), None);
    }

    #[test]
    fn locks_of_different_things_have_different_names() {
        let alias = |text: &str| Lock::tablet(&text.parse().unwrap()).lease;
        assert_eq!(alias("zone1-0000000101"), "vitess-backup-tablet-zone1-0000000101");
        assert_ne!(alias("Zone1-101"), alias("zone1-101"));
        assert_ne!(alias("zone_1-101"), alias("zone-1-101"));
        let shard = |text: &str| Lock::shard(&text.parse().unwrap()).lease;
        assert_ne!(shard("commerce/-80"), shard("commerce/80-"));
        assert!(shard("commerce/-").starts_with("vitess-backup-shard-commerce-"));
    }

    #[test]
    fn records_have_names_that_people_can_read_and_nothing_else_has() {
        let name = |text: &str| record_name(text);
        let one = name("main/commerce/-80/2021-04-29.133050.zone1-0000000101");
        assert!(one.starts_with("commerce-x-80-2021-04-29-133050-zone1-0000000101-"), "{one}");
        assert_ne!(one, name("main/commerce/80-/2021-04-29.133050.zone1-0000000101"));
        assert_ne!(one, name("other/commerce/-80/2021-04-29.133050.zone1-0000000101"));
        assert_ne!(name("a/b/0/X"), name("a/b/0/x"));
        assert!(name(&format!("a/b/0/{}", "x".repeat(255))).len() < 253);
        assert!(name("a/b/-/--").chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
        assert!(name("a/_/-/--").starts_with(|c: char| c.is_ascii_alphanumeric()));
    }

    #[test]
    fn labels_hold_what_they_can_and_a_checksum_of_the_rest() {
        assert_eq!(["-80", "80-", "-", "80-c0", "0"].map(shard_label), ["x-80", "80-x", "x-x", "80-c0", "0"]);
        assert_eq!(label_value("my_keyspace.2"), "my_keyspace.2");
        for text in ["a".repeat(64), "_a".to_owned(), "a.".to_owned(), "..".to_owned(), "a b".to_owned()] {
            let label = label_value(&text);
            let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
            assert!(label.len() <= 63 && edge(label.chars().next()) && edge(label.chars().last()), "{text}: {label}");
        }
    }

    #[test]
    fn a_backup_is_named_as_vitess_names_it() {
        let started = "2021-04-29T13:30:50Z".parse().unwrap();
        assert_eq!(backup_name(started, &"zone1-101".parse().unwrap()), "2021-04-29.133050.zone1-0000000101");
    }
}
