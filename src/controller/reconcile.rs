//! The reconciles. Each line says whether the network is touched.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use tracing::{Instrument, Span};

use super::backoff::Backoff;
use super::context::Context;
use super::error::{Error, optional};
use super::held::Held;
use super::kinds::Run;
use super::observe::By;
use super::precedence::{self, Look};
use super::{act, census, inventory, observe, status};
use crate::api::{VitessBackup, VitessBackupStorage};
use crate::plan::{self, Event, Plan, Requeue};

/// One look at a VitessBackup or a VitessRestore.
///
/// # Errors
/// When the API server could not be asked or told; all of it is done again.
pub async fn run<K: Run>(object: Arc<DeserializeGuard<K>>, context: Arc<Context>) -> Result<Action, Error> {
    let started = Instant::now();
    let result = match &object.0 {
        Ok(object) => within(span_of_run(object), Box::pin(one_run(object, &context))).await,
        Err(invalid) => Ok(unreadable(&*object, &invalid.error, &context).await),
    };
    context.metrics.reconciled(K::KIND, started.elapsed(), result.is_err_and_is_failure());
    result
}

async fn one_run<K: Run>(object: &K, context: &Context) -> Result<Action, Error> {
    let now = Timestamp::now();
    if context.written.is_ahead_of(object) {
        return Ok(Action::requeue(Backoff::outdated()));
    }
    let look = Look::at(object, now, has_engine(object, context));
    let Some(_turn) = context.precedence.turn(look, context.watched.podless_jobs()) else {
        return Ok(Action::requeue(precedence::LATER));
    };
    let (mut seen, by) = observe::run(context, object, now, By::Watches).await?; // network, where it is new
    let mut plan = object.plan(&seen, now); // no network
    if by == By::Watches && plan.is_grave() {
        (seen, _) = observe::run(context, object, now, By::Server).await?; // network
        plan = object.plan(&seen, now); // no network
    }
    let Plan { actions, status, requeue, mut events } = plan;
    let done = act::carry_out(context, object, &seen, actions, now).await?; // network
    if let Some(version) = &done.resource_version {
        context.written.note(object, version);
    }
    if let Some(mut status) = status {
        if let Some(refusal) = &done.refusal {
            events.extend(plan::refused(K::run_mut(&mut status), object.meta().generation, now, refusal)); // no network
        }
        let written = status::apply(&context.client, object, done.resource_version, object.status(), &status).await?; // network
        if let Some(version) = written {
            context.written.note(object, &version);
        }
        note_end(object, K::run(&status), context); // no network
        note_place(object, K::run(&status), context); // no network
    }
    if plan::has_removed(&events) {
        context.touched.touch(&object.namespace().unwrap_or_default(), object.storage_name(), now); // no network
    }
    context.publish(object, &events).await; // network
    context.backoff.succeeded(&key(object));
    Ok(match (done.refusal, requeue) {
        (Some(_), _) => Action::requeue(context.backoff.failed(&key(object))),
        (None, requeue) => action(requeue),
    })
}

/// Whether the watches have the Job of the run.
fn has_engine<K: Run>(object: &K, context: &Context) -> bool {
    let job = object.status().and_then(|status| K::run(status).job.as_ref());
    job.is_some_and(|job| context.watched.have_job(&object.namespace().unwrap_or_default(), &job.name))
}

/// One look at a run as the watch holds it.
///
/// # Errors
/// As [`run`].
pub async fn held<K: Run>(held: Arc<Held<K>>, context: Arc<Context>) -> Result<Action, Error> {
    match &*held {
        Held::Whole(object) => run(object.clone(), context).await, // network
        // Whoever is told of a change of its Job need not look.
        Held::Ended(_) => Ok(Action::await_change()),
    }
}

/// One look at a VitessBackupStorage.
///
/// # Errors
/// As [`run`].
pub async fn storage(
    object: Arc<DeserializeGuard<VitessBackupStorage>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let started = Instant::now();
    let result = match &object.0 {
        Ok(object) => within(span(object), one_storage(object, &context)).await,
        Err(invalid) => Ok(unreadable(&*object, &invalid.error, &context).await),
    };
    context.metrics.reconciled("VitessBackupStorage", started.elapsed(), result.is_err_and_is_failure());
    result
}

async fn one_storage(object: &VitessBackupStorage, context: &Context) -> Result<Action, Error> {
    let now = Timestamp::now();
    let mut seen = inventory::observe(context, object, now).await?; // network
    seen.inventory.taken = inventory::take_in(context, object, &seen.inventory, now).await?; // network
    let Plan { actions, status, requeue, events } = plan::storage::next(object, &seen, now); // no network
    let refusal = inventory::carry_out(context, object, actions).await?; // network
    if let Some(mut status) = status {
        if let Some(refusal) = &refusal {
            plan::inventory::refused(&mut status, object.metadata.generation, now, refusal); // no network
        }
        status::apply(&context.client, object, None, object.status.as_ref(), &status).await?; // network
    }
    context.publish(object, &events).await; // network
    context.backoff.succeeded(&key(object));
    Ok(match refusal {
        Some(_) => Action::requeue(context.backoff.failed(&key(object))),
        None => action(requeue),
    })
}

/// One look at a record of which only the metadata are watched: it is read, and then looked at as any VitessBackup.
///
/// # Errors
/// As [`run`].
pub async fn record(object: Arc<PartialObjectMeta<VitessBackup>>, context: Arc<Context>) -> Result<Action, Error> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let api: kube::Api<DeserializeGuard<VitessBackup>> = kube::Api::namespaced(context.client.clone(), &namespace);
    let found = optional(api.get(&name).await).map_err(Error::api("read", format!("VitessBackup {name}")))?; // network
    match found {
        Some(found) => Box::pin(run(Arc::new(found), context)).await, // network
        None => Ok(Action::await_change()),
    }
}

/// What each log line about a run says besides. An error span, which no filter of levels leaves out.
fn span_of_run<K: Run>(object: &K) -> Span {
    let known = object.shard();
    let (keyspace, shard) = known.as_deref().and_then(|known| known.split_once('/')).unzip();
    let run = object.status().map(K::run);
    let tablet = run.and_then(|run| run.tablet_alias.as_deref());
    let backup = run.and_then(|run| run.backup_name.as_deref());
    let (namespace, object) = (object.namespace().unwrap_or_default(), object.name_any());
    tracing::error_span!("run", kind = K::KIND, namespace, object, keyspace, shard, tablet, backup)
}

fn span<K: Resource<DynamicType = ()>>(object: &K) -> Span {
    let (kind, namespace) = (K::kind(&()).into_owned(), object.namespace().unwrap_or_default());
    tracing::error_span!("look", kind, namespace, object = object.name_any())
}

/// Looks, and says within the span when that failed.
async fn within(span: Span, look: impl Future<Output = Result<Action, Error>>) -> Result<Action, Error> {
    let told = async {
        let result = look.await;
        match &result {
            Ok(_) => {}
            Err(error) if error.is_outdated() => tracing::debug!(%error, "looking again"),
            Err(error) => tracing::warn!(%error, "a reconcile failed and is done again"),
        }
        result
    };
    told.instrument(span).await
}

/// An object that this version of the operator cannot read keeps its status; whoever wrote it is told.
async fn unreadable<K: Resource<DynamicType = ()>>(object: &K, error: &str, context: &Context) -> Action {
    tracing::warn!(error, object = object.name_any(), "cannot read an object");
    let note =
        format!("this version of the operator cannot read the object: {error}: correct it, or upgrade the operator");
    context.publish(object, &[Event { warning: true, reason: "ObjectUnreadable", note }]).await;
    Action::await_change()
}

/// Remembers the run's place in the line, for those behind it.
fn note_place<K: Run>(object: &K, run: &crate::api::RunStatus, context: &Context) {
    let namespace = object.namespace().unwrap_or_default();
    let name = format!("{} {}", K::KIND, object.name_any());
    context.queue.note(&namespace, name, &object.uid().unwrap_or_default(), run.queue.as_ref());
}

/// Counts a run that has just ended.
fn note_end<K: Run>(before: &K, after: &crate::api::RunStatus, context: &Context) {
    let phase = after.phase.unwrap_or_default();
    if before.phase().is_final() || !phase.is_final() {
        return;
    }
    let ended = census::ended(K::KIND, after);
    tracing::info!(phase = ended.phase, reason = ended.reason, "a run has ended");
    if K::STORES {
        let namespace = before.namespace().unwrap_or_default();
        context.touched.touch(&namespace, before.storage_name(), Timestamp::now());
    }
    context.metrics.run_ended(&ended);
}

fn action(requeue: Requeue) -> Action {
    match requeue {
        Requeue::After(wait) => Action::requeue(wait),
        Requeue::OnChange => Action::await_change(),
    }
}

/// What to do after a reconcile that failed.
pub fn after_error<K: Resource<DynamicType = ()>>(object: &K, error: &Error, context: &Context) -> Action {
    if error.is_outdated() {
        return Action::requeue(Backoff::outdated());
    }
    Action::requeue(context.backoff.failed(&key(object)))
}

fn key<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!("{}/{}/{}", K::kind(&()), object.namespace().unwrap_or_default(), object.name_any())
}

trait Outcome {
    fn is_err_and_is_failure(&self) -> bool;
}

impl Outcome for Result<Action, Error> {
    /// A conflict is part of the game.
    fn is_err_and_is_failure(&self) -> bool {
        self.as_ref().is_err_and(|error| !error.is_outdated())
    }
}
