//! Whether all that a spec names is there: each problem is a condition that says what to do, and heals by itself.

use super::observed::{Observed, ServerSeen};
use super::storage;
use crate::api::{BackupEngine, StreamMode, VitessBackupSpec, VitessBackupStorage};
use crate::resources::attach::{AttachProblem, Attachment};
use crate::resources::names::Lock;
use crate::resources::tablet::Tablet;
use crate::topo::{KeyspaceShard, TabletAlias};

pub use super::storage::Problem;

/// A tablet that an engine can be attached to.
#[derive(Clone, Debug)]
pub struct Attached {
    pub tablet: Tablet,
    pub attachment: Attachment,
}

/// The storage that the spec names, if runs can use it.
pub fn storage<'a>(seen: &'a Observed, name: &str) -> Result<&'a VitessBackupStorage, Problem> {
    let missing = || {
        let text = format!(
            "VitessBackupStorage {name} does not exist in this namespace: create it, or delete this object and create it with \
             the right spec.storage.name"
        );
        ("StorageNotFound", text)
    };
    let found = seen.storage.as_ref().ok_or_else(missing)?;
    match storage::problem(found, &seen.claims) {
        None => Ok(found),
        Some(problem) => Err(problem),
    }
}

/// The tablet of this alias.
pub fn tablet(seen: &Observed, alias: &TabletAlias) -> Result<Attached, Problem> {
    let mut known: Vec<Tablet> = tablets(seen).filter(|tablet| tablet.alias == *alias).collect();
    // While a pod is replaced there may be two; the one that stays is meant.
    known.sort_by_key(Tablet::is_going);
    let Some(tablet) = known.into_iter().next() else {
        let labels = &seen.settings.tablet_labels;
        let text = format!(
            "no pod of tablet {alias} in this namespace: a tablet is a pod with the label {}={} and {}={}{}; start it, or \
             delete this object and create it with the right alias",
            labels.cell,
            alias.cell(),
            labels.uid,
            alias.uid(),
            seen.settings.tablet_selector.iter().fold(String::new(), |text, (key, value)| text
                + " and "
                + key
                + "="
                + value),
        );
        return Err(("TabletNotFound", text));
    };
    if tablet.is_going() {
        let text =
            format!("pod {} of tablet {alias} is being deleted: the run starts with its successor", tablet.pod_name());
        return Err(("TabletNotFound", text));
    }
    attach(seen, tablet)
}

/// The tablets of a shard that a backup may be taken of: rdonly, replica, spare, and in order of alias.
pub fn of_shard(seen: &Observed, shard: &KeyspaceShard) -> Vec<Tablet> {
    let candidate = |tablet: &Tablet| tablet.shard == *shard && tablet.backup_rank().is_some() && !tablet.is_going();
    let mut found: Vec<Tablet> = tablets(seen).filter(candidate).collect();
    found.sort_by(|a, b| (a.backup_rank(), &a.alias).cmp(&(b.backup_rank(), &b.alias)));
    found
}

/// What an engine needs to be attached to this tablet.
pub fn attach(seen: &Observed, tablet: Tablet) -> Result<Attached, Problem> {
    let said = |problem: AttachProblem| (problem.reason(), format!("tablet {}: {problem}", tablet.alias));
    let attachment = Attachment::of(&tablet, &seen.settings).map_err(said)?;
    for claim in &attachment.claims {
        if seen.is_for_one_pod(claim) {
            let pod = tablet.pod_name().to_owned();
            return Err(said(AttachProblem::ReadWriteOncePod { pod, claim: claim.clone() }));
        }
    }
    Ok(Attached { tablet, attachment })
}

/// That mysqlctld runs, which a backup needs from the start.
pub fn running(attached: &Attached) -> Result<(), Problem> {
    let Attached { tablet, attachment } = attached;
    attachment
        .check_running(tablet)
        .map_err(|problem| (problem.reason(), format!("tablet {}: {problem}", tablet.alias)))
}

/// That XtraBackup can write the stream that is asked for. tar went with XtraBackup 8.0, the first that knows MySQL 8.0; what
/// the shard's servers are, its newest backup tells. Without one the engine finds out.
pub fn stream(seen: &Observed, spec: &VitessBackupSpec, shard: &KeyspaceShard) -> Result<(), Problem> {
    if !streams_tar(spec) {
        return Ok(());
    }
    let of_shard = seen.servers.iter().filter(|server| server.shard == shard.to_string());
    match of_shard.max_by_key(|server| server.finished).filter(|server| has_no_tar(&server.mysql_version)) {
        None => Ok(()),
        Some(ServerSeen { backup, shard, finished: _, mysql_version }) => {
            let text = format!(
                "XtraBackup writes no tar streams of MySQL 8.0 and later, and by VitessBackup {backup} {shard} runs \
                 {mysql_version}: create the object again, and set streamMode: xbstream"
            );
            Err(("TarNotSupported", text))
        }
    }
}

/// Whether XtraBackup is asked for a tar stream, which not every server's can write.
pub fn streams_tar(spec: &VitessBackupSpec) -> bool {
    let tar = spec.xtrabackup.as_ref().is_some_and(|options| options.stream_mode == StreamMode::Tar);
    tar && spec.engine == BackupEngine::Xtrabackup
}

/// Whether a server of this version (`Ver 8.0.36 MySQL …`) needs an XtraBackup that writes xbstream only. MariaDB's own
/// program, whose numbers mean something else, is left to the engine.
fn has_no_tar(mysql_version: &str) -> bool {
    let number = mysql_version.split("Ver ").nth(1).and_then(|rest| rest.split('.').next());
    let major = number.and_then(|number| number.parse::<u32>().ok());
    major.is_some_and(|major| major >= 8) && !mysql_version.contains("MariaDB")
}

/// Why a lock cannot be had now.
pub fn busy(seen: &Observed, lock: &Lock, uid: &str) -> Option<Problem> {
    let holder = seen.holder_other_than(lock, uid)?;
    let text = format!("{} is busy with {}: this run starts when that one has ended", lock.of, holder.name);
    Some(("Busy", text))
}

fn tablets(seen: &Observed) -> impl Iterator<Item = Tablet> {
    seen.tablets.iter().filter_map(|pod| Tablet::read(pod, &seen.settings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mysql_from_8_0_on_has_no_tar() {
        for (version, expected) in [
            ("Ver 5.7.44 MySQL Community Server (GPL)", false),
            ("Ver 8.0.36 MySQL Community Server - GPL", true),
            ("Ver 8.4.0-0 Percona Server (GPL)", true),
            ("/usr/sbin/mysqld  Ver 9.7.4 for Linux on x86_64 (Source)", true),
            ("Ver 11.8.3-MariaDB-0+deb13u1 Debian 13", false),
            ("Ver", false),
            ("", false),
        ] {
            assert_eq!(has_no_tar(version), expected, "{version}");
        }
    }
}
