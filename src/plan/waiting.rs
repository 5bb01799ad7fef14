//! Why a run waits, or a storage cannot be used: the reasons that the conditions `Accepted` and `EngineRunning` have then.
//! `docs/troubleshooting.md` is written from this table (`make docs`).

/// One reason, what it means, and what to do; the condition's message names the things that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    pub reason: &'static str,
    pub means: &'static str,
    pub remedy: &'static str,
    /// Whether the run goes on by itself when the cause is gone. If not, only another object helps.
    pub heals: bool,
}

const fn heals(reason: &'static str, means: &'static str, remedy: &'static str) -> Wait {
    Wait { reason, means, remedy, heals: true }
}

const fn stays(reason: &'static str, means: &'static str, remedy: &'static str) -> Wait {
    Wait { reason, means, remedy, heals: false }
}

pub const WAITS: &[Wait] = &[
    heals(
        "StorageNotFound",
        "`spec.storage.name` names no VitessBackupStorage of the namespace.",
        "Create it, or delete the object and create it with the right `spec.storage.name`: a spec cannot be changed.",
    ),
    stays("StorageInvalid", "The storage names no service or several, or no volume.", "Correct the storage's spec."),
    heals("VolumeNotFound", "A claim that the spec names does not exist.", "Create the PersistentVolumeClaim."),
    heals("VolumeLost", "The claim has lost its volume.", "Bind it to one that exists."),
    heals(
        "VolumeInUse",
        "A pod uses the volume that a restore is to fill.",
        "Stop it (scale its StatefulSet to 0), or restore onto its tablet instead.",
    ),
    heals(
        "VolumeNotShared",
        "A volume of the tablet, or of a ZooKeeper whose files are read, is `ReadWriteOncePod`: no second pod can mount it.",
        "Use a claim of mode `ReadWriteOnce`.",
    ),
    heals(
        "TabletNotFound",
        "No pod has the labels of the tablet, or of a replica or rdonly tablet of the shard.",
        "Start one; check the label keys (`tablets.labels` of the chart); where alias or shard is wrong, delete the object and \
         create it with the right one.",
    ),
    heals("TabletNotReady", "The tablet's pod is not Ready.", "Wait; or see why with `kubectl describe pod`."),
    heals("TabletNotScheduled", "The tablet's pod is on no node yet.", "See `kubectl describe pod`."),
    heals(
        "TabletDirNotShared",
        "The tablet's directory is on a volume that no other pod can mount, such as an emptyDir.",
        "Keep it on a PersistentVolumeClaim; see [What a tablet needs](operations.md#what-a-tablet-needs).",
    ),
    heals(
        "SocketNotShared",
        "A socket of mysqld or mysqlctld is on a volume that no other pod can mount.",
        "Keep both sockets in the tablet's directory; see [What a tablet needs](operations.md#what-a-tablet-needs).",
    ),
    heals(
        "MysqlctldNotFound",
        "No container of the tablet's pod runs mysqlctld.",
        "Run mysqld under mysqlctld, or name its container (`tablets.mysqldContainer` of the chart).",
    ),
    heals("MysqlctldNotRunning", "The container of mysqlctld does not run.", "See `kubectl describe pod`."),
    stays(
        "ShardMismatch",
        "The tablet to restore belongs to another shard than the backups.",
        "Create the object again with a tablet of the shard.",
    ),
    stays(
        "SpecInvalid",
        "The spec lacks something that an older definition did not ask for.",
        "Create the object again.",
    ),
    stays(
        "TarNotSupported",
        "XtraBackup writes no tar streams of the shard's MySQL version.",
        "Create the object again with `streamMode: xbstream`.",
    ),
    heals("Busy", "Another run works on the tablet, the shard or the volume.", "Wait: it is this one's turn next."),
    heals("NoBackupYet", "The shard has no backup.", "Wait for one: storage is looked at again at `nextLookupTime`."),
    heals("NoCompleteBackupYet", "The shard has no complete backup.", "As before; `vitess-backup list` shows why."),
    heals(
        "ImageNotFound",
        "No pod tells a verification by restoring which image has the shard's mysqld.",
        "Start a tablet of the shard, or name an image in `drill.image`.",
    ),
    heals(
        "JobRefused",
        "The API server does not take the engine's Job: a quota, a policy, an admission webhook.",
        "Read its words in the message, and allow it. It is tried again.",
    ),
    heals("JobNameTaken", "A Job of that name exists and is not this run's.", "Delete that Job."),
    heals(
        "Retrying",
        "A try has failed, and `retries` allows another: `status.attempts` has what failed.",
        "Wait until `status.nextTryTime`, or mend what the message names.",
    ),
    heals(
        "Stopping",
        "The run was cancelled, or its object deleted, and its engine is told to stop.",
        "Wait: the run ends when what it disturbed was put back.",
    ),
    heals(
        "NodeUnreachable",
        "The node of the engine's pod does not answer. The engine may well be at work there, so nothing is done to its tablet.",
        "Bring the node back; when it is gone for good, delete it (`kubectl delete node`).",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The reasons in a source: `("Reason", text)`, `("Reason", format!(…))` and `=> "Reason",`.
    fn reasons(source: &str) -> BTreeSet<&str> {
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        let mut found = BTreeSet::new();
        for (at, _) in code.match_indices('"') {
            let Some((word, after)) = code[at + 1..].split_once('"') else { continue };
            let is_reason = word.starts_with(|c: char| c.is_ascii_uppercase())
                && word.chars().all(|c| c.is_ascii_alphanumeric())
                && word.chars().filter(char::is_ascii_uppercase).count() > 1;
            let before = &code[..at];
            let is_event = ["event(", "warning("].iter().any(|call| before.ends_with(call));
            let in_pair =
                before.ends_with('(') && [", text", ", format!", ", \"no "].iter().any(|p| after.starts_with(p));
            let in_match = before.ends_with("=> ") && after.starts_with(",\n");
            if is_reason && !is_event && (in_pair || in_match) {
                found.insert(word);
            }
        }
        found
    }

    #[test]
    fn every_reason_for_which_a_run_waits_is_in_the_table() {
        let sources = [
            include_str!("accept.rs"),
            include_str!("backup.rs"),
            include_str!("choice.rs"),
            include_str!("restore.rs"),
            include_str!("storage.rs"),
            include_str!("topology.rs"),
            include_str!("verification.rs"),
            include_str!("../resources/attach.rs"),
        ];
        let used: BTreeSet<&str> = sources.into_iter().flat_map(reasons).collect();
        assert!(used.len() > 14, "the reasons were not read: {used:?}");
        let known: BTreeSet<&str> = WAITS.iter().map(|wait| wait.reason).collect();
        let unknown: Vec<_> = used.difference(&known).collect();
        assert!(unknown.is_empty(), "put these into the table: {unknown:?}");
    }

    #[test]
    fn what_does_not_heal_is_what_kstatus_calls_stalled() {
        let stays: BTreeSet<&str> = WAITS.iter().filter(|wait| !wait.heals).map(|wait| wait.reason).collect();
        assert_eq!(stays, super::super::kstatus::HOPELESS.into());
    }
}
