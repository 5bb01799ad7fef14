//! What is kept of the runs that are watched: those that go on whole, and of those that have ended, of which there may be ten
//! thousand, what metrics and inventories count.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};

use super::census::Counted;
use super::kinds::Run;
use crate::plan::observed::Observed;
use crate::plan::records::Noted;
use crate::plan::{Plan, Requeue};
use crate::resources::settings::Settings;

/// One object.
#[derive(Clone, Debug)]
pub enum Held<K: Run> {
    /// One that something may be to be done about, or that this version cannot read.
    Whole(Arc<DeserializeGuard<K>>),
    /// One that has ended, for which nothing is to be done until it changes.
    Ended(Box<Ended>),
}

/// What is left of it.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its names.
    meta: ObjectMeta,
    pub counted: Counted,
    /// The backup that it stands for.
    pub noted: Option<Noted>,
}

impl<K: Run> Held<K> {
    pub fn of(mut object: DeserializeGuard<K>, settings: &Arc<Settings>) -> Self {
        object.managed_fields_mut().clear();
        match &object.0 {
            Ok(run) if calls_for_nothing(run, settings) => Self::Ended(Box::new(Ended::of(run))),
            _ => Self::Whole(Arc::new(object)),
        }
    }

    /// The same of what a watch tells.
    pub fn event(event: Event<DeserializeGuard<K>>, settings: &Arc<Settings>) -> Event<Self> {
        match event {
            Event::Apply(object) => Event::Apply(Self::of(object, settings)),
            Event::Delete(object) => Event::Delete(Self::of(object, settings)),
            Event::InitApply(object) => Event::InitApply(Self::of(object, settings)),
            Event::Init => Event::Init,
            Event::InitDone => Event::InitDone,
        }
    }

    /// The object, where it is held whole and can be read.
    pub fn run(&self) -> Option<&K> {
        match self {
            Self::Whole(object) => object.0.as_ref().ok(),
            Self::Ended(_) => None,
        }
    }

    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Whole(_))
    }

    /// Whether it has not ended, or has not given back what it held. One that cannot be read may well run.
    pub fn lives(&self) -> bool {
        match self {
            Self::Whole(object) => object.0.as_ref().map_or(true, Run::lives),
            Self::Ended(_) => false,
        }
    }
}

/// Whether the plan of an object that has ended, for which nothing is looked at, is to do nothing.
fn calls_for_nothing<K: Run>(run: &K, settings: &Arc<Settings>) -> bool {
    if run.meta().deletion_timestamp.is_some() || run.lives() || run.verifies() {
        return false;
    }
    let Plan { actions, status, requeue, events } =
        run.plan(&Observed::nothing(settings.clone()), Timestamp::UNIX_EPOCH);
    actions.is_empty() && events.is_empty() && status.as_ref() == run.status() && requeue == Requeue::OnChange
}

impl Ended {
    fn of<K: Run>(run: &K) -> Self {
        let ObjectMeta { name, namespace, uid, resource_version, .. } = run.meta().clone();
        let meta = ObjectMeta { name, namespace, uid, resource_version, ..ObjectMeta::default() };
        Self { meta, counted: Counted::of(run), noted: run.noted() }
    }
}

impl<K: Run> Resource for Held<K> {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Whole(object) => object.meta(),
            Self::Ended(ended) => &ended.meta,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Whole(object) => Arc::make_mut(object).meta_mut(),
            Self::Ended(ended) => &mut ended.meta,
        }
    }
}

/// The objects of one kind that the controllers watch, in all namespaces together or in each by itself.
pub struct Stores<O: Resource<DynamicType = ()> + Clone + 'static>(RwLock<Vec<(Option<String>, Store<O>)>>);

impl<O: Resource<DynamicType = ()> + Clone + 'static> Default for Stores<O> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<O: Resource<DynamicType = ()> + Clone + 'static> Stores<O> {
    pub fn add(&self, scope: Option<&str>, store: &Store<O>) {
        let mut stores = self.0.write().unwrap_or_else(PoisonError::into_inner);
        stores.push((scope.map(str::to_owned), store.clone()));
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<O>> {
        self.within(namespace)?.get(&ObjectRef::new(name).within(namespace))
    }

    /// All of a namespace; nothing before the first listing has come to its end.
    pub fn all(&self, namespace: &str) -> Option<Vec<Arc<O>>> {
        let store = self.within(namespace)?;
        matches!(store.wait_until_ready().now_or_never(), Some(Ok(())))
            .then(|| store.state_filter(|object| object.meta().namespace.as_deref() == Some(namespace)))
    }

    fn within(&self, namespace: &str) -> Option<Store<O>> {
        let stores = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = stores.iter().find(|(scope, _)| scope.as_ref().is_none_or(|scope| scope == namespace));
        found.map(|(_, store)| store.clone())
    }
}

/// The runs of one kind that wait for something that is not their own Job, by namespace.
#[derive(Clone, Default)]
pub struct Waiters(Arc<Mutex<ByNamespace>>);

/// By name, and whether it waits for another run.
type ByNamespace = BTreeMap<String, BTreeSet<(String, bool)>>;

impl Waiters {
    /// Keeps up with what a watch tells. Who went while nobody watched stays, and is nobody to be woken.
    pub fn note<K: Run>(&self, event: &Event<Held<K>>) {
        let (held, there) = match event {
            Event::Apply(held) | Event::InitApply(held) => (held, true),
            Event::Delete(held) => (held, false),
            Event::Init | Event::InitDone => return,
        };
        let (namespace, name) = (held.namespace().unwrap_or_default(), held.name_any());
        let mut waiters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let here = waiters.entry(namespace.clone()).or_default();
        for for_lock in [false, true] {
            here.remove(&(name.clone(), for_lock));
        }
        if let Some(run) = held.run().filter(|run| there && run.waits()) {
            here.insert((name, run.waits_for_others()));
        }
        if here.is_empty() {
            waiters.remove(&namespace);
        }
    }

    /// Their names; of those only that wait for what another run may give back.
    pub fn of(&self, namespace: &str, for_others: bool) -> Vec<String> {
        let waiters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let here = waiters.get(namespace).into_iter().flatten();
        here.filter(|(_, others)| *others || !for_others).map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::VitessBackup;
    use crate::backup::report::Operation;
    use crate::plan::world::{World, object, succeeded};

    /// A backup that has ended, as the operator leaves it.
    fn ended() -> Value {
        let spec = json!({"storage": {"name": "backups"}, "shard": "commerce/0"});
        let mut world: World<VitessBackup> = World::with(object("VitessBackup", spec));
        world.settle();
        world.engine_ends(succeeded(Operation::Backup));
        world.has_settled();
        serde_json::to_value(&world.object).unwrap()
    }

    fn held(object: Value) -> Held<VitessBackup> {
        Held::of(serde_json::from_value(object).unwrap(), &Arc::new(Settings::new("operator:1")))
    }

    #[test]
    fn of_a_run_that_has_ended_no_more_is_held_than_is_counted() {
        let object = ended();
        let Held::Ended(ended) = held(object.clone()) else { panic!("held whole") };
        let whole: VitessBackup = serde_json::from_value(object).unwrap();
        assert_eq!(ended.counted, Counted::of(&whole));
        assert_eq!(ended.noted, Some(Noted::of(&whole)));
        let meta = &ended.meta;
        assert_eq!(
            (&meta.name, &meta.namespace, &meta.uid),
            (&whole.metadata.name, &whole.metadata.namespace, &whole.metadata.uid)
        );
    }

    #[test]
    fn a_run_that_has_ended_is_held_whole_when_something_is_to_be_done_about_it() {
        let changed = |change: &dyn Fn(&mut Value)| {
            let mut object = ended();
            change(&mut object);
            held(object).is_whole()
        };
        assert!(!changed(&|_| ()));
        assert!(!changed(&|object| object["metadata"]["annotations"] = json!({"somebody": "else"})));
        for change in [
            &(|object: &mut Value| object["metadata"]["deletionTimestamp"] = json!("2026-11-22T10:00:00Z"))
                as &dyn Fn(&mut Value),
            &|object| object["metadata"]["finalizers"] = json!(["backup.vitess.io/run"]),
            &|object| object["metadata"]["annotations"] = json!({"backup.vitess.io/verify-at": "now"}),
            &|object| object["metadata"]["generation"] = json!(2),
            &|object| object["status"]["phase"] = json!("Running"),
            // As an older version of the operator left it.
            &|object| object["status"]["conditions"] = json!([]),
            &|object| object["spec"] = json!(1),
        ] {
            assert!(changed(change));
        }
    }

    #[test]
    fn who_waits_is_known_and_whether_for_another_run() {
        let waiting = |status: Value| {
            let spec = json!({"storage": {"name": "backups"}, "shard": "commerce/0"});
            let mut object: Value = serde_json::to_value(object::<VitessBackup>("VitessBackup", spec)).unwrap();
            object["status"] = status;
            let waiters = Waiters::default();
            waiters.note(&Event::Apply(held(object)));
            (waiters.of("demo", false).len(), waiters.of("demo", true).len())
        };
        assert_eq!(waiting(json!({"phase": "Pending", "queue": {"position": 1}})), (1, 1));
        assert_eq!(waiting(json!({"observedGeneration": -1})), (1, 0), "its first look is on its way");
        let accepted = json!([{
            "type": "Accepted", "status": "True", "reason": "x", "message": "", "lastTransitionTime": "2026-11-22T10:00:00Z",
        }]);
        assert_eq!(waiting(json!({"phase": "Pending", "conditions": accepted})), (1, 0));
        assert_eq!(
            waiting(json!({"phase": "Running", "job": {"name": "x", "purpose": "Backup", "number": 1}})),
            (0, 0)
        );
    }
}
