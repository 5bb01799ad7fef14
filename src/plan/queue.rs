//! The line of those who want the same tablet, shard or volume: who waits longest goes first.
//!
//! The place in it is on the object (`status.queue`), so that it outlives the operator. Who is ahead but could not go now,
//! because something else that it needs is taken, keeps nobody waiting.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::draft::{Draft, ENGINE_RUNNING, whole_seconds};
use super::observed::{Observed, Waiting};
use super::{Requeue, accept, run};
use crate::api::QueueStatus;
use crate::resources::names::Lock;

/// How soon to look whether another run has given back what this one waits for; Leases are watched besides.
const BUSY: Duration = Duration::from_secs(10);

/// Takes or keeps the run's place in the line; `None` when it is its turn.
pub fn wait(draft: &mut Draft<'_>, wanted: &[Lock]) -> Option<Requeue> {
    let uid = draft.owner.uid.clone();
    let place = draft.status.queue.take();
    let since = place.as_ref().and_then(|place| place.since.as_ref()).map(|since| since.0);
    let since = since.unwrap_or_else(|| whole_seconds(draft.now));
    let own = Waiting {
        name: format!("{} {}", draft.owner.kind, draft.owner.name),
        uid: uid.clone(),
        since,
        wants: wanted.iter().map(|lock| lock.of.clone()).collect(),
    };
    let ahead: Vec<&Waiting> = draft.seen.queue.iter().filter(|other| other.is_ahead_of(&own)).collect();
    let busy = wanted.iter().find_map(|lock| accept::busy(draft.seen, lock, &uid)).map(|(_, message)| message);
    let next = ahead.iter().find(|other| could_go(draft.seen, other));
    let next = next.map(|next| format!("{} has waited for longer: this run starts after it", next.name));
    let message = busy.or(next)?;
    let position = i32::try_from(ahead.len()).unwrap_or(i32::MAX - 1) + 1;
    let message = format!("{message} (number {position} in the line)");
    if place.is_none() {
        draft.event("Waiting", message.clone());
    }
    draft.condition(ENGINE_RUNNING, "False", "Busy", message.clone());
    draft.waits_for(&format!("Queued ({position})"));
    draft.status.queue = Some(QueueStatus { position, since: Some(Time(since)), wants: own.wants });
    let limit = draft.asked.waiting.turn;
    Some(run::no_longer_than(draft, ("turn", limit), since, BUSY, &message))
}

/// Whether nobody holds what it wants.
fn could_go(seen: &Observed, waiting: &Waiting) -> bool {
    let locks = waiting.wants.iter().filter_map(|of| Lock::named(of));
    locks.into_iter().all(|lock| seen.holder_other_than(&lock, &waiting.uid).is_none())
}

impl Waiting {
    /// Whether it wants one of the same things and came before.
    fn is_ahead_of(&self, other: &Self) -> bool {
        let shares = self.wants.iter().any(|want| other.wants.contains(want));
        let order = |waiting: &Self| (waiting.since, waiting.name.clone(), waiting.uid.clone());
        self.uid != other.uid && shares && order(self) < order(other)
    }
}
