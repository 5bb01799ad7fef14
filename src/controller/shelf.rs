//! Watched objects, kept to be found by what reconciles ask for, so that a reconcile asks the API server for what is new only.
//!
//! They are kept as JSON: a tablet's pod is six times as large in memory when it is taken apart, and of thousands of them a
//! look needs three.

use std::collections::{BTreeSet, HashMap};
use std::marker::PhantomData;
use std::sync::{PoisonError, RwLock};

use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Namespace and name.
type Place = (String, String);

/// What an object is looked up by.
type Keys<O> = Box<dyn Fn(&O) -> Vec<String> + Send + Sync>;

/// The objects of one watch.
pub struct Shelf<O> {
    keys: Keys<O>,
    kept: RwLock<Kept<O>>,
    /// What the watch lists anew; it takes the place of what is kept when it is whole.
    coming: RwLock<Kept<O>>,
}

struct Kept<O> {
    /// Whether a first listing has come to its end.
    whole: bool,
    objects: HashMap<Place, Packed>,
    by_key: HashMap<String, BTreeSet<Place>>,
    kind: PhantomData<fn() -> O>,
}

struct Packed {
    json: Box<[u8]>,
    /// What it is found by.
    keys: Box<[String]>,
}

impl<O> Default for Kept<O> {
    fn default() -> Self {
        Self { whole: false, objects: HashMap::new(), by_key: HashMap::new(), kind: PhantomData }
    }
}

impl<O: Resource + Serialize + DeserializeOwned> Shelf<O> {
    /// `keys` are what an object is found by, besides its namespace and name.
    pub fn by(keys: impl Fn(&O) -> Vec<String> + Send + Sync + 'static) -> Self {
        Self { keys: Box::new(keys), kept: RwLock::default(), coming: RwLock::default() }
    }

    /// Takes in what the watch tells.
    pub fn take(&self, event: Event<O>) {
        let kept = || self.kept.write().unwrap_or_else(PoisonError::into_inner);
        let coming = || self.coming.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Apply(object) => kept().put(&object, &self.keys),
            Event::Delete(object) => kept().remove(&place(&object)),
            Event::Init => *coming() = Kept::default(),
            Event::InitApply(object) => coming().put(&object, &self.keys),
            Event::InitDone => *kept() = Kept { whole: true, ..std::mem::take(&mut *coming()) },
        }
    }

    /// Whether all that there is is kept, as of the watch.
    pub fn is_whole(&self) -> bool {
        self.read(|kept| kept.whole)
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<O> {
        self.read(|kept| kept.objects.get(&(namespace.to_owned(), name.to_owned())).and_then(Packed::unpack))
    }

    pub fn has(&self, namespace: &str, name: &str) -> bool {
        self.read(|kept| kept.objects.contains_key(&(namespace.to_owned(), name.to_owned())))
    }

    /// Those that have this key, in order of their names.
    pub fn of(&self, key: &str) -> Vec<O> {
        self.read(|kept| {
            let places = kept.by_key.get(key).into_iter().flatten();
            places.filter_map(|place| kept.objects.get(place)?.unpack()).collect()
        })
    }

    /// How many have this key.
    pub fn count(&self, key: &str) -> usize {
        self.read(|kept| kept.by_key.get(key).map_or(0, BTreeSet::len))
    }

    fn read<T>(&self, look: impl FnOnce(&Kept<O>) -> T) -> T {
        look(&self.kept.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<O: Resource + Serialize> Kept<O> {
    fn put(&mut self, object: &O, keys: &Keys<O>) {
        let place = place(object);
        self.remove(&place);
        let packed = match serde_json::to_vec(object) {
            Ok(json) => Packed { json: json.into(), keys: keys(object).into() },
            Err(error) => return tracing::warn!(%error, name = place.1, "cannot keep an object"),
        };
        for key in &packed.keys {
            self.by_key.entry(key.clone()).or_default().insert(place.clone());
        }
        self.objects.insert(place, packed);
    }

    fn remove(&mut self, place: &Place) {
        let Some(before) = self.objects.remove(place) else { return };
        for key in &before.keys {
            if let Some(places) = self.by_key.get_mut(key) {
                places.remove(place);
                if places.is_empty() {
                    self.by_key.remove(key);
                }
            }
        }
    }
}

impl Packed {
    fn unpack<O: DeserializeOwned>(&self) -> Option<O> {
        serde_json::from_slice(&self.json).inspect_err(|error| tracing::warn!(%error, "cannot read a kept object")).ok()
    }
}

fn place<O: Resource>(object: &O) -> Place {
    (object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;

    fn pod(name: &str, color: &str) -> Pod {
        let meta = json!({"namespace": "demo", "name": name, "labels": {"color": color}});
        serde_json::from_value(json!({"metadata": meta})).unwrap()
    }

    fn shelf() -> Shelf<Pod> {
        Shelf::by(|pod: &Pod| pod.labels().values().cloned().collect())
    }

    fn names(shelf: &Shelf<Pod>, key: &str) -> Vec<String> {
        shelf.of(key).iter().map(ResourceExt::name_any).collect()
    }

    #[test]
    fn an_object_is_found_by_its_keys_as_they_are_now() {
        let shelf = shelf();
        for event in [Event::Apply(pod("b", "red")), Event::Apply(pod("a", "red")), Event::Apply(pod("c", "blue"))] {
            shelf.take(event);
        }
        assert_eq!((names(&shelf, "red"), names(&shelf, "blue")), (vec!["a".into(), "b".into()], vec!["c".into()]));
        shelf.take(Event::Apply(pod("a", "blue")));
        shelf.take(Event::Delete(pod("c", "red")));
        assert_eq!((names(&shelf, "red"), names(&shelf, "blue")), (vec!["b".into()], vec!["a".into()]));
        assert_eq!((shelf.count("red"), shelf.count("green")), (1, 0));
        assert!(
            shelf.get("demo", "b").is_some() && shelf.get("other", "b").is_none() && shelf.get("demo", "c").is_none()
        );
    }

    #[test]
    fn what_is_listed_anew_takes_the_place_of_all_when_it_is_whole() {
        let shelf = shelf();
        for event in [Event::Init, Event::InitApply(pod("a", "red"))] {
            shelf.take(event);
        }
        assert!(!shelf.is_whole() && shelf.of("red").is_empty());
        shelf.take(Event::InitDone);
        assert!(shelf.is_whole());
        for event in [Event::Init, Event::InitApply(pod("b", "red"))] {
            shelf.take(event);
        }
        assert_eq!(names(&shelf, "red"), ["a"], "a watch that begins anew has not lost what it had");
        shelf.take(Event::InitDone);
        assert_eq!(names(&shelf, "red"), ["b"]);
    }
}
