//! Whether all that a spec names is there: each problem is a condition that says what to do, and heals by itself.

use super::observed::Observed;
use super::storage;
use crate::api::VitessBackupStorage;
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
            "VitessBackupStorage {name} does not exist in this namespace: create it, or correct spec.storage.name"
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
             correct the alias",
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

/// The tablets of a shard that a backup may be taken of, in order of alias.
pub fn of_shard(seen: &Observed, shard: &KeyspaceShard) -> Vec<Tablet> {
    let candidate = |tablet: &Tablet| tablet.shard == *shard && tablet.may_be_backed_up() && !tablet.is_going();
    let mut found: Vec<Tablet> = tablets(seen).filter(candidate).collect();
    found.sort_by(|a, b| a.alias.cmp(&b.alias));
    found
}

/// What an engine needs to be attached to this tablet.
pub fn attach(seen: &Observed, tablet: Tablet) -> Result<Attached, Problem> {
    let said = |problem: AttachProblem| (problem.reason(), format!("tablet {}: {problem}", tablet.alias));
    let attachment = Attachment::of(&tablet, &seen.settings).map_err(said)?;
    for claim in &attachment.claims {
        let modes = seen.claims.get(claim).and_then(|claim| claim.spec.as_ref()?.access_modes.clone());
        if modes.is_some_and(|modes| modes == ["ReadWriteOncePod"]) {
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

/// Why a lock cannot be had now.
pub fn busy(seen: &Observed, lock: &Lock, uid: &str) -> Option<Problem> {
    let holder = seen.holder_other_than(lock, uid)?;
    let text = format!("{} is busy with {}: this run starts when that one has ended", lock.of, holder.name);
    Some(("Busy", text))
}

fn tablets(seen: &Observed) -> impl Iterator<Item = Tablet> {
    seen.tablets.iter().filter_map(|pod| Tablet::read(pod, &seen.settings))
}
