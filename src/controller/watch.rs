//! What wakes a reconcile: the object itself, its Jobs and pods, and whatever a waiting run may be waiting for.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;

use futures::stream::{BoxStream, SelectAll};
use futures::{Stream, StreamExt, TryStreamExt, future};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::Api;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::{Action, ReconcileRequest};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{PredicateConfig, WatchStreamExt, applier, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::context::Context;
use super::error::Error;
use super::kinds::Run;
use super::{Shutdown, census, reconcile};
use crate::api::{VitessBackup, VitessBackupStorage, VitessRestore};
use crate::resources::names::{ANNOTATION_RUN, LABEL_LOCK, LABEL_ORIGIN, LABEL_RUN_KIND, ORIGIN_INVENTORY, RESTORE_OF};
use crate::resources::pod_start::restore_of;
use crate::resources::record;
use crate::resources::storage::claim;

/// A Kubernetes object that may be one that this version cannot read.
type Guarded<K> = DeserializeGuard<K>;
type Requests<K> = RequestsOf<Guarded<K>>;
type RequestsOf<O> = BoxStream<'static, Result<ReconcileRequest<O>, watcher::Error>>;

/// How many records a page of the first listing has.
const RECORDS_PAGE: u32 = 200;

/// Runs the controller of one kind of run until `shutdown`.
pub async fn run<K: Run>(context: Arc<Context>, scope: Option<&str>, shutdown: Shutdown) {
    let client = &context.client;
    let (store, writer) = reflector::store::<Guarded<K>>();
    context.metrics.count(census::runs(&store));
    let watched = K::SELECTOR.map_or_else(watcher::Config::default, |labels| watcher::Config::default().labels(labels));
    let own = watcher(api::<Guarded<K>>(client, scope), watched)
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer)
        .applied_objects()
        .predicate_filter(worth_a_look::<K>, PredicateConfig::default())
        .map(|found| found.map(|object| ReconcileRequest::from(ObjectRef::from_obj(&object))));
    let engines = watcher::Config::default().labels(&format!("{LABEL_RUN_KIND}={}", K::KIND));
    let tablets = watcher::Config::default().labels(&context.settings.tablet_selector_text());
    let following = watcher::Config::default().labels(RESTORE_OF);
    let locks = watcher::Config::default().labels(LABEL_LOCK);
    let any = watcher::Config::default;
    let mut requests: SelectAll<Requests<K>> = SelectAll::new();
    requests.push(own.boxed());
    requests.push(of_owner::<K, _>(whole(api::<Job>(client, scope), engines.clone())));
    requests.push(of_owner::<K, _>(whole(api::<Pod>(client, scope), engines)));
    requests.push(of_waiting::<K, _>(whole(api::<Pod>(client, scope), tablets.clone()), &store));
    if K::KIND == VitessRestore::KIND {
        requests.push(of_follower::<K>(whole(api::<Pod>(client, scope), following)));
        // By annotation, which nobody can ask the API server for.
        requests.push(of_follower::<K>(whole(api::<Pod>(client, scope), tablets)));
    }
    requests.push(of_waiting::<K, _>(whole(api::<Lease>(client, scope), locks), &store));
    requests.push(of_waiting::<K, _>(metadata::<PersistentVolumeClaim>(client, scope), &store));
    requests.push(of_waiting::<K, _>(whole(api::<Guarded<VitessBackupStorage>>(client, scope), any()), &store));
    drive(context, store, requests, reconcile::run::<K>, shutdown).await;
}

/// Runs the controller of records until `shutdown`. There may be ten thousand of them, of which hardly one ever calls for
/// anything, so that only what says so is held of each.
pub async fn records(context: Arc<Context>, scope: Option<&str>, shutdown: Shutdown) {
    let (store, writer) = reflector::store::<PartialObjectMeta<VitessBackup>>();
    let records =
        watcher::Config::default().labels(&format!("{LABEL_ORIGIN}={ORIGIN_INVENTORY}")).page_size(RECORDS_PAGE);
    let own = watcher(api::<PartialObjectMeta<VitessBackup>>(&context.client, scope), records)
        .default_backoff()
        .modify(record::slim)
        .reflect(writer)
        .applied_objects()
        .try_filter(|record| future::ready(record::calls(record)))
        .map(|found| found.map(|object| ReconcileRequest::from(ObjectRef::from_obj(&object))));
    let mut requests: SelectAll<RequestsOf<PartialObjectMeta<VitessBackup>>> = SelectAll::new();
    requests.push(own.boxed());
    drive(context, store, requests, reconcile::record, shutdown).await;
}

/// Runs the controller of VitessBackupStorage until `shutdown`.
pub async fn storages(context: Arc<Context>, scope: Option<&str>, shutdown: Shutdown) {
    type Storage = Guarded<VitessBackupStorage>;
    let client = &context.client;
    let (store, writer) = reflector::store::<Storage>();
    context.metrics.count(census::storages(&store));
    let own = watcher(api::<Storage>(client, scope), watcher::Config::default())
        .default_backoff()
        .reflect(writer)
        .applied_objects()
        .predicate_filter(kube::runtime::predicates::generation, PredicateConfig::default())
        .map(|found| found.map(|object| ReconcileRequest::from(ObjectRef::from_obj(&object))));
    let known = store.clone();
    let claims = requests_of(metadata::<PersistentVolumeClaim>(client, scope), move |changed| {
        let uses = |storage: &Arc<Storage>| {
            let spec = storage.0.as_ref().ok().map(|storage| &storage.spec);
            storage.namespace() == changed.namespace() && spec.and_then(claim) == changed.metadata.name.as_deref()
        };
        known.state().iter().filter(|storage| uses(storage)).map(|storage| ObjectRef::from_obj(&**storage)).collect()
    });
    let engines = || watcher::Config::default().labels(&format!("{LABEL_RUN_KIND}=VitessBackupStorage"));
    let here = scope.map(str::to_owned);
    let touched = context.touched.news().filter_map(move |(namespace, name)| {
        let watched = here.as_ref().is_none_or(|here| *here == namespace);
        future::ready(watched.then(|| Ok(ObjectRef::new(&name).within(&namespace).into())))
    });
    let mut requests: SelectAll<Requests<VitessBackupStorage>> = SelectAll::new();
    requests.push(own.boxed());
    requests.push(claims);
    requests.push(touched.boxed());
    requests.push(of_owner::<VitessBackupStorage, _>(whole(api::<Job>(client, scope), engines())));
    requests.push(of_owner::<VitessBackupStorage, _>(whole(api::<Pod>(client, scope), engines())));
    drive(context, store, requests, reconcile::storage, shutdown).await;
}

async fn drive<O, F>(
    context: Arc<Context>,
    store: Store<O>,
    requests: SelectAll<RequestsOf<O>>,
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
    let queue = requests.take_until(shutdown);
    applier(reconciler, after_error, context, store, queue, kube::runtime::Config::default())
        .for_each(|result| {
            // Failed reconciles are logged where they are retried; an object that is gone is nothing to tell.
            if let Err(kube::runtime::controller::Error::QueueError(error)) = result {
                tracing::warn!(%error, kind = %O::kind(&()), "a watch failed and is started again");
            }
            future::ready(())
        })
        .await;
}

#[allow(clippy::unnecessary_wraps)] // the shape of a predicate
/// What of an object can call for something: not the progress that we write ourselves every second.
fn worth_a_look<K: Run>(object: &Guarded<K>) -> Option<u64> {
    let meta = object.meta();
    let mut hasher = DefaultHasher::new();
    (&meta.generation, &meta.annotations, &meta.finalizers).hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    if let Some(run) = object.0.as_ref().ok().and_then(|object| object.status()).map(K::run) {
        run.phase.hash(&mut hasher);
        run.failure.is_some().hash(&mut hasher);
        run.job.as_ref().map(|job| (&job.name, &job.uid)).hash(&mut hasher);
    }
    Some(hasher.finish())
}

fn api<K>(client: &Client, scope: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn whole<K>(api: Api<K>, config: watcher::Config) -> BoxStream<'static, Result<K, watcher::Error>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    watcher(api, config).default_backoff().touched_objects().boxed()
}

fn metadata<K>(client: &Client, scope: Option<&str>) -> BoxStream<'static, Result<PartialObjectMeta<K>, watcher::Error>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + 'static,
{
    whole(api::<PartialObjectMeta<K>>(client, scope), watcher::Config::default())
}

fn requests_of<K, O>(
    seen: impl Stream<Item = Result<O, watcher::Error>> + Send + 'static,
    concerned: impl Fn(&O) -> Vec<ObjectRef<Guarded<K>>> + Send + 'static,
) -> Requests<K>
where
    K: Resource<DynamicType = ()> + Send + 'static,
    O: Send + 'static,
{
    seen.flat_map(move |change| {
        let requests: Vec<Result<ReconcileRequest<Guarded<K>>, watcher::Error>> = match change {
            Ok(changed) => concerned(&changed).into_iter().map(|object| Ok(object.into())).collect(),
            Err(error) => vec![Err(error)],
        };
        futures::stream::iter(requests)
    })
    .boxed()
}

/// The run or the storage that a Job or an engine pod belongs to.
fn of_owner<K, O>(changes: BoxStream<'static, Result<O, watcher::Error>>) -> Requests<K>
where
    K: Resource<DynamicType = ()> + Send + 'static,
    O: Resource<DynamicType = ()> + Send + 'static,
{
    requests_of(changes, |changed: &O| {
        let name = changed.annotations().get(ANNOTATION_RUN);
        let run = name.zip(changed.namespace()).map(|(name, namespace)| ObjectRef::new(name).within(&namespace));
        run.into_iter().collect()
    })
}

/// The restore that a pod follows when it starts.
fn of_follower<K: Run>(changes: BoxStream<'static, Result<Pod, watcher::Error>>) -> Requests<K> {
    requests_of(changes, |pod: &Pod| {
        let named = restore_of(pod).zip(pod.namespace());
        named.map(|(name, namespace)| ObjectRef::new(name).within(&namespace)).into_iter().collect()
    })
}

/// Every run of the namespace that waits for something.
fn of_waiting<K: Run, O: Resource<DynamicType = ()> + Send + 'static>(
    changes: BoxStream<'static, Result<O, watcher::Error>>,
    store: &Store<Guarded<K>>,
) -> Requests<K> {
    let store = store.clone();
    requests_of(changes, move |changed: &O| {
        let waits =
            |run: &Arc<Guarded<K>>| run.namespace() == changed.namespace() && run.0.as_ref().is_ok_and(Run::waits);
        store.state().iter().filter(|run| waits(run)).map(|run| ObjectRef::from_obj(&**run)).collect()
    })
}
