//! The watches that all controllers of a scope share: what they have is kept to be looked at, and what changes wakes whom it
//! concerns.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::stream::{BoxStream, select_all};
use futures::{Stream, StreamExt, future};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodSpec};
use kube::api::Api;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::locks::HolderIdentity;
use super::shelf::Shelf;
use crate::plan::observed::{finished, is_live};
use crate::resources::names::{ANNOTATION_RUN, LABEL_LOCK, LABEL_RUN_KIND, LABEL_RUN_UID, Lock, RESTORE_OF};
use crate::resources::pod_start::restore_of;
use crate::resources::settings::Settings;
use crate::resources::tablet::Tablet;

/// How many objects a page of a first listing has.
pub const PAGE: u32 = 200;

/// The key of engine pods that run.
const RUNNING: &str = "running";
/// The key of engines' Jobs that have no pod yet.
const PODLESS: &str = "podless";

/// Something that may be what a run or a storage waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub namespace: String,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The Job or the pod of an engine: whose it is.
    Engine {
        kind: String,
        object: String,
        /// Whether it has ended.
        ended: bool,
    },
    /// A tablet's pod, with the VitessRestore that it follows when it starts.
    Tablet {
        restore: Option<String>,
    },
    /// A pod that is no tablet yet and follows this one.
    Follower {
        restore: String,
    },
    Lock,
    Claim {
        name: String,
    },
    Storage,
}

/// How long a reconcile waits for the first listings; then it asks the API server itself.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it looks whether they have come.
const GLANCE: Duration = Duration::from_millis(50);

/// What is kept of one scope.
pub struct Watched {
    /// A namespace, or all of them.
    scope: Option<String>,
    begun: Instant,
    /// Of engines, by the uid of the object that they are of. Only what is looked at of them.
    pub jobs: Shelf<Job>,
    pub engines: Shelf<Pod>,
    /// By tablet and by shard, see [`of_tablet`].
    pub tablets: Shelf<Pod>,
    /// By the uid of who holds it.
    pub locks: Shelf<Lease>,
    pub claims: Shelf<PersistentVolumeClaim>,
}

/// What tablets' pods are found by: a lock's words for the tablet, or for its shard.
pub fn of_tablet(namespace: &str, lock: &Lock) -> String {
    format!("{namespace} {}", lock.of)
}

impl Watched {
    fn new(scope: Option<&str>, settings: Arc<Settings>) -> Self {
        let owner = |labels: &std::collections::BTreeMap<String, String>| labels.get(LABEL_RUN_UID).cloned();
        let tablet = move |pod: &Pod| {
            let namespace = pod.namespace().unwrap_or_default();
            let Some(Tablet { alias, shard, .. }) = Tablet::read(pod, &settings) else { return Vec::new() };
            [Lock::tablet(&alias), Lock::shard(&shard)].iter().map(|lock| of_tablet(&namespace, lock)).collect()
        };
        Self {
            scope: scope.map(str::to_owned),
            begun: Instant::now(),
            jobs: Shelf::by(move |job: &Job| {
                owner(job.labels()).into_iter().chain(is_podless(job).then(|| PODLESS.to_owned())).collect()
            }),
            engines: Shelf::by(move |pod: &Pod| {
                owner(pod.labels()).into_iter().chain(is_running(pod).then(|| RUNNING.to_owned())).collect()
            }),
            tablets: Shelf::by(tablet),
            locks: Shelf::by(|lease| HolderIdentity::of(lease).map(|holder| holder.uid).into_iter().collect()),
            claims: Shelf::by(|_| Vec::new()),
        }
    }

    fn is_whole(&self) -> bool {
        let Self { scope: _, begun: _, jobs, engines, tablets, locks, claims } = self;
        jobs.is_whole() && engines.is_whole() && tablets.is_whole() && locks.is_whole() && claims.is_whole()
    }
}

fn is_running(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

/// Whether the Job's controller has not made a pod yet.
fn is_podless(job: &Job) -> bool {
    job.metadata.deletion_timestamp.is_none()
        && job.status.as_ref().is_none_or(|status| {
            let pods = [status.active, status.succeeded, status.failed];
            pods.iter().flatten().all(|pods| *pods == 0) && status.conditions.is_none()
        })
}

/// The scopes that are watched.
#[derive(Default)]
pub struct Scopes(Mutex<Vec<Arc<Watched>>>);

impl Scopes {
    /// What is kept of this namespace. Before the first listings have come to their ends they are waited for; nothing
    /// where nobody watches.
    pub async fn of(&self, namespace: &str) -> Option<Arc<Watched>> {
        let watched = self.find(namespace)?;
        while !watched.is_whole() {
            if watched.begun.elapsed() > PATIENCE {
                return None;
            }
            sleep(GLANCE).await;
        }
        Some(watched)
    }

    fn find(&self, namespace: &str) -> Option<Arc<Watched>> {
        let scopes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        scopes.iter().find(|watched| watched.scope.as_ref().is_none_or(|scope| scope == namespace)).cloned()
    }

    /// Whether the watches have seen this Job of an engine.
    pub fn have_job(&self, namespace: &str, name: &str) -> bool {
        self.find(namespace).is_some_and(|watched| watched.jobs.has(namespace, name))
    }

    /// How many Jobs wait for their pods.
    pub fn podless_jobs(&self) -> usize {
        let scopes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        scopes.iter().map(|watched| watched.jobs.count(PODLESS)).sum()
    }

    /// How many engines run.
    pub fn engines(&self) -> usize {
        let scopes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        scopes.iter().map(|watched| watched.engines.count(RUNNING)).sum()
    }

    /// Begins to watch a scope.
    pub fn watch(&self, client: &Client, scope: Option<&str>, settings: &Arc<Settings>) -> Feed {
        let watched = Arc::new(Watched::new(scope, settings.clone()));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(watched.clone());
        Feed { watched, client: client.clone(), settings: settings.clone(), told: Vec::new() }
    }
}

/// What can be watched and kept.
trait Kept:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Serialize
    + DeserializeOwned
    + std::fmt::Debug
    + Send
    + Sync
    + 'static
{
}

impl<O> Kept for O where
    O: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Serialize
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static
{
}

/// What keeps up with a scope.
pub struct Feed {
    watched: Arc<Watched>,
    client: Client,
    settings: Arc<Settings>,
    told: Vec<UnboundedSender<Change>>,
}

impl Feed {
    /// All changes from now on.
    pub fn changes(&mut self) -> UnboundedReceiver<Change> {
        let (sender, receiver) = unbounded();
        self.told.push(sender);
        receiver
    }

    #[cfg(test)]
    pub fn kept(&self) -> &Watched {
        &self.watched
    }

    /// Tells a change that another watch has seen.
    pub fn teller(&self) -> impl Fn(Change) + Send + Sync + 'static {
        let told = self.told.clone();
        move |change| tell(&told, &change)
    }

    /// Keeps up for as long as it is polled.
    pub async fn run(self) {
        let any = watcher::Config::default;
        let engines = || any().labels(LABEL_RUN_KIND);
        let tablets = any().labels(&self.settings.tablet_selector_text());
        let streams: Vec<BoxStream<'static, ()>> = vec![
            self.shelved(engines(), slim_job, |watched| &watched.jobs, |job| of_engine(job, finished(job).is_some())),
            self.shelved(engines(), slim_engine, |watched| &watched.engines, |pod| of_engine(pod, has_ended(pod))),
            self.shelved(tablets, bare, |watched| &watched.tablets, |pod| Some(What::Tablet { restore: restore(pod) })),
            self.shelved(any().labels(LABEL_LOCK), bare, |watched| &watched.locks, |_| Some(What::Lock)),
            self.shelved(any(), bare, |watched| &watched.claims, |claim| Some(What::Claim { name: claim.name_any() })),
            self.seen(any().labels(RESTORE_OF), |pod: &Pod| restore(pod).map(|restore| What::Follower { restore })),
        ];
        select_all(streams).for_each(future::ready).await;
    }

    /// A watch whose objects are kept, as `slim` leaves them.
    fn shelved<O: Kept>(
        &self,
        config: watcher::Config,
        slim: fn(&mut O),
        kept_on: fn(&Watched) -> &Shelf<O>,
        what: fn(&O) -> Option<What>,
    ) -> BoxStream<'static, ()> {
        let (watched, told) = (self.watched.clone(), self.told.clone());
        let mut listed = Vec::new();
        self.events(config)
            .map(move |event| {
                let event = event.modify(slim);
                let change = |object: &O| change(object, what(object));
                match &event {
                    Event::Apply(object) | Event::Delete(object) => {
                        let change = change(object);
                        kept_on(&watched).take(event);
                        if let Some(change) = change {
                            tell(&told, &change);
                        }
                    }
                    // Whoever is woken looks at what is kept, which is the old until all is listed.
                    Event::InitApply(object) => {
                        listed.extend(change(object));
                        kept_on(&watched).take(event);
                    }
                    Event::Init | Event::InitDone => {
                        let done = matches!(event, Event::InitDone);
                        kept_on(&watched).take(event);
                        let listed = std::mem::take(&mut listed);
                        for change in listed.into_iter().filter(|_| done) {
                            tell(&told, &change);
                        }
                    }
                }
            })
            .boxed()
    }

    /// A watch of which nothing is kept.
    fn seen<O: Kept>(&self, config: watcher::Config, what: fn(&O) -> Option<What>) -> BoxStream<'static, ()> {
        let told = self.told.clone();
        self.events(config)
            .map(move |event| match &event {
                Event::Apply(object) | Event::Delete(object) | Event::InitApply(object) => {
                    if let Some(change) = change(object, what(object)) {
                        tell(&told, &change);
                    }
                }
                Event::Init | Event::InitDone => {}
            })
            .boxed()
    }

    fn events<O: Kept>(&self, config: watcher::Config) -> impl Stream<Item = Event<O>> + Send + use<O> {
        let api: Api<O> = super::watch::api(&self.client, self.watched.scope.as_deref());
        watcher(api, config.page_size(PAGE)).default_backoff().filter_map(|event| {
            future::ready(match event {
                Ok(event) => Some(event),
                Err(error) => {
                    tracing::warn!(%error, kind = %O::kind(&()), "a watch failed and is started again");
                    None
                }
            })
        })
    }
}

fn tell(told: &[UnboundedSender<Change>], change: &Change) {
    for listener in told {
        // One that listens no more is stopping.
        let _ = listener.unbounded_send(change.clone());
    }
}

fn change<O: Resource>(object: &O, what: Option<What>) -> Option<Change> {
    Some(Change { namespace: object.namespace()?, what: what? })
}

fn of_engine<O: Resource>(object: &O, ended: bool) -> Option<What> {
    let kind = object.labels().get(LABEL_RUN_KIND)?.clone();
    Some(What::Engine { kind, object: object.annotations().get(ANNOTATION_RUN)?.clone(), ended })
}

fn has_ended(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some() || !is_live(pod, Timestamp::now())
}

fn restore(pod: &Pod) -> Option<String> {
    restore_of(pod).map(str::to_owned)
}

fn bare<O: Resource>(object: &mut O) {
    object.managed_fields_mut().clear();
}

/// A Job as [`JobSeen`](crate::plan::observed::JobSeen) reads it.
fn slim_job(job: &mut Job) {
    bare(job);
    let ttl_seconds_after_finished = job.spec.as_ref().and_then(|spec| spec.ttl_seconds_after_finished);
    job.spec = Some(JobSpec { ttl_seconds_after_finished, ..JobSpec::default() });
}

/// An engine's pod likewise.
fn slim_engine(pod: &mut Pod) {
    bare(pod);
    let node_name = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    pod.spec = Some(PodSpec { node_name, ..PodSpec::default() });
}
