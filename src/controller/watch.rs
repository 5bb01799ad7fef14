//! What wakes a reconcile: the object itself, its Jobs and pods, and whatever a waiting run may be waiting for.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc::UnboundedReceiver;
use futures::stream::{BoxStream, SelectAll, select_all};
use futures::{StreamExt, TryStreamExt, future};
use k8s_openapi::NamespaceResourceScope;
use kube::api::Api;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::{Action, ReconcileRequest};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{PredicateConfig, WatchStreamExt, applier, watcher};
use kube::{Client, Resource, ResourceExt};
use tokio::time::sleep;

use super::context::Context;
use super::error::Error;
use super::held::{Held, Waiters};
use super::kinds::Run;
use super::watched::{Change, PAGE, What};
use super::{Shutdown, census, reconcile};
use crate::api::{VitessBackup, VitessBackupStorage, VitessRestore, VitessTopologyBackup};
use crate::resources::names::{LABEL_ORIGIN, ORIGIN_INVENTORY};
use crate::resources::record;
use crate::resources::storage::claim;

/// A Kubernetes object that may be one that this version cannot read.
type Guarded<K> = DeserializeGuard<K>;
type Requests<O> = BoxStream<'static, Result<ReconcileRequest<O>, watcher::Error>>;
type Changes = UnboundedReceiver<Change>;

/// How many runs of one kind are looked at at a time: each look has a connection to the API server.
const AT_A_TIME: u16 = 64;

/// How long what is new of an engine that has not ended waits to be looked at: while it starts, its Job and its pod change
/// several times a second.
const SETTLING: Duration = Duration::from_secs(1);

/// Runs all controllers of a scope, a namespace or all of them, until `shutdown`.
pub async fn scope(context: &Arc<Context>, scope: Option<&str>, shutdown: &Shutdown) {
    let mut feed = context.watched.watch(&context.client, scope, &context.settings);
    let of_backups = feed.changes();
    let of_restores = feed.changes();
    let of_topology_backups = feed.changes();
    let of_storages = feed.changes();
    let teller = feed.teller();
    let controllers = async {
        tokio::join!(
            run::<VitessBackup>(context.clone(), scope, of_backups, shutdown.clone()),
            run::<VitessRestore>(context.clone(), scope, of_restores, shutdown.clone()),
            run::<VitessTopologyBackup>(context.clone(), scope, of_topology_backups, shutdown.clone()),
            records(context.clone(), scope, shutdown.clone()),
            storages(context.clone(), scope, (of_storages, teller), shutdown.clone()),
        );
    };
    tokio::select! {
        () = controllers => {}
        // Nothing of it ends by itself.
        () = feed.run() => {}
    }
}

/// Runs the controller of one kind of run until `shutdown`.
async fn run<K: Run>(context: Arc<Context>, scope: Option<&str>, changes: Changes, shutdown: Shutdown) {
    let (store, writer) = reflector::store::<Held<K>>();
    context.metrics.count(census::runs(&store));
    K::held(&context).add(scope, &store);
    let watched = K::SELECTOR.map_or_else(watcher::Config::default, |labels| watcher::Config::default().labels(labels));
    let (waiters, settings) = (Waiters::default(), context.settings.clone());
    let noted = waiters.clone();
    let own = watcher(api::<Guarded<K>>(&context.client, scope), watched.page_size(PAGE))
        .default_backoff()
        .map_ok(move |event| Held::event(event, &settings))
        .inspect_ok(move |event| noted.note(event))
        .reflect(writer)
        .applied_objects()
        .try_filter(|held| future::ready(held.is_whole()))
        .predicate_filter(worth_a_look::<K>, PredicateConfig::default())
        .map(|found| found.map(|object| ReconcileRequest::from(ObjectRef::from_obj(&object))));
    let requests = select_all([own.boxed(), woken(changes, move |change| concerned::<K>(change, &waiters))]);
    drive(context, store, requests, reconcile::held::<K>, shutdown).await;
}

/// The runs that a change concerns, by name.
fn concerned<K: Run>(Change { namespace, what }: &Change, waiters: &Waiters) -> Vec<String> {
    match what {
        What::Engine { kind, object, .. } => (*kind == K::KIND).then(|| object.clone()).into_iter().collect(),
        What::Tablet { restore } => {
            let follows = restore.clone().filter(|_| K::KIND == VitessRestore::KIND);
            waiters.of(namespace, false).into_iter().chain(follows).collect()
        }
        What::Follower { restore } => (K::KIND == VitessRestore::KIND).then(|| restore.clone()).into_iter().collect(),
        What::Lock => waiters.of(namespace, true),
        What::Claim { .. } | What::Storage => waiters.of(namespace, false),
    }
}

/// Runs the controller of records until `shutdown`. There may be ten thousand of them, of which hardly one ever calls for
/// anything, so that only what says so is held of each.
async fn records(context: Arc<Context>, scope: Option<&str>, shutdown: Shutdown) {
    let (store, writer) = reflector::store::<PartialObjectMeta<VitessBackup>>();
    let records = watcher::Config::default().labels(&format!("{LABEL_ORIGIN}={ORIGIN_INVENTORY}")).page_size(PAGE);
    let own = watcher(api::<PartialObjectMeta<VitessBackup>>(&context.client, scope), records)
        .default_backoff()
        .modify(record::slim)
        .reflect(writer)
        .applied_objects()
        .try_filter(|record| future::ready(record::calls(record)))
        .map(|found| found.map(|object| ReconcileRequest::from(ObjectRef::from_obj(&object))));
    drive(context, store, select_all([own.boxed()]), reconcile::record, shutdown).await;
}

/// Runs the controller of VitessBackupStorage until `shutdown`. Runs are told of storages by it.
async fn storages(
    context: Arc<Context>,
    scope: Option<&str>,
    (changes, tell): (Changes, impl Fn(Change) + Send + 'static),
    shutdown: Shutdown,
) {
    type Storage = Guarded<VitessBackupStorage>;
    let (store, writer) = reflector::store::<Storage>();
    context.metrics.count(census::storages(&store));
    context.storages.add(scope, &store);
    let own = watcher(api::<Storage>(&context.client, scope), watcher::Config::default())
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer)
        .touched_objects()
        .inspect_ok(move |storage| {
            tell(Change { namespace: storage.namespace().unwrap_or_default(), what: What::Storage });
        })
        .predicate_filter(kube::runtime::predicates::generation, PredicateConfig::default())
        .map(|found| found.map(|object| ReconcileRequest::from(ObjectRef::from_obj(&object))));
    let known = store.clone();
    let roused = woken(changes, move |Change { namespace, what }| match what {
        What::Engine { kind, object, .. } => {
            (*kind == VitessBackupStorage::kind(&())).then(|| object.clone()).into_iter().collect()
        }
        What::Claim { name } => {
            let uses = |storage: &Storage| {
                let spec = storage.0.as_ref().ok().map(|storage| &storage.spec);
                storage.namespace().as_ref() == Some(namespace) && spec.and_then(claim) == Some(name)
            };
            known.state_filter(uses).iter().map(|storage| storage.name_any()).collect()
        }
        What::Tablet { .. } | What::Follower { .. } | What::Lock | What::Storage => Vec::new(),
    });
    let here = scope.map(str::to_owned);
    let touched = context.touched.news().filter_map(move |(namespace, name)| {
        let watched = here.as_ref().is_none_or(|here| *here == namespace);
        future::ready(watched.then(|| Ok(ObjectRef::new(&name).within(&namespace).into())))
    });
    let requests = select_all([own.boxed(), roused, touched.boxed()]);
    drive(context, store, requests, reconcile::storage, shutdown).await;
}

async fn drive<O, F>(
    context: Arc<Context>,
    store: Store<O>,
    requests: SelectAll<Requests<O>>,
    reconcile: impl Fn(Arc<O>, Arc<Context>) -> F + Send + 'static,
    shutdown: Shutdown,
) where
    O: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + 'static,
    F: Future<Output = Result<Action, Error>> + Send + 'static,
{
    type Reconcile = Pin<Box<dyn Future<Output = Result<Action, Error>> + Send>>;
    let reconciler = move |object, context| -> Reconcile { Box::pin(reconcile(object, context)) };
    let after_error =
        |object: Arc<O>, error: &Error, context: Arc<Context>| reconcile::after_error(&*object, error, &context);
    let queue = requests.take_until(shutdown.clone());
    let begins = store.clone();
    let works = applier(
        reconciler,
        after_error,
        context,
        store,
        queue,
        kube::runtime::Config::default().concurrency(AT_A_TIME),
    )
    .for_each(|result| {
        // Failed reconciles are logged where they are retried; an object that is gone is nothing to tell.
        if let Err(kube::runtime::controller::Error::QueueError(error)) = result {
            tracing::warn!(%error, kind = %O::kind(&()), "a watch failed and is started again");
        }
        future::ready(())
    });
    // It begins when the store is filled, which its queue does: told to stop before that, it would wait for ever.
    let stops_before_it_begins = async {
        tokio::select! {
            _ = begins.wait_until_ready() => future::pending().await,
            () = shutdown => {}
        }
    };
    tokio::select! {
        () = works => {}
        () = stops_before_it_begins => {}
    }
}

#[allow(clippy::unnecessary_wraps)] // the shape of a predicate
/// What of an object can call for something: not the progress that we write ourselves every second.
fn worth_a_look<K: Run>(held: &Held<K>) -> Option<u64> {
    let meta = held.meta();
    let mut hasher = DefaultHasher::new();
    (&meta.generation, &meta.annotations, &meta.finalizers).hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    if let Some(run) = held.run().and_then(|object| object.status()).map(K::run) {
        run.phase.hash(&mut hasher);
        run.failure.is_some().hash(&mut hasher);
        run.job.as_ref().map(|job| (&job.name, &job.uid)).hash(&mut hasher);
    }
    Some(hasher.finish())
}

pub(super) fn api<K>(client: &Client, scope: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Whom each change concerns, by name.
fn woken<O>(changes: Changes, concerned: impl Fn(&Change) -> Vec<String> + Send + 'static) -> Requests<O>
where
    O: Resource<DynamicType = ()> + Send + 'static,
{
    let settled = async |change: Change| {
        if matches!(change.what, What::Engine { ended: false, .. }) {
            sleep(SETTLING).await;
        }
        change
    };
    changes
        .map(settled)
        .buffer_unordered(usize::MAX)
        .flat_map(move |change| {
            let names = concerned(&change);
            let request = move |name: String| Ok(ObjectRef::new(&name).within(&change.namespace).into());
            futures::stream::iter(names.into_iter().map(request))
        })
        .boxed()
}
