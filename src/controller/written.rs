//! What this operator has written last of each object. A look at what a watch had before that would be for nothing: all that it
//! writes would be refused as outdated.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::{Resource, ResourceExt};

/// A watch is a moment behind. After this long it may show what it likes: etcd may have been brought back from a backup.
const REMEMBERED: Duration = Duration::from_secs(30);

/// For this long nothing that another operator does between a write of ours and what follows from it is looked for.
const FRESH: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub struct Written(Mutex<HashMap<String, Write>>);

#[derive(Debug)]
struct Write {
    resource_version: u64,
    at: Instant,
}

impl Written {
    /// This is what the API server has of the object after a write.
    pub fn note<K: Resource>(&self, object: &K, resource_version: &str) {
        let (Some(uid), Ok(resource_version)) = (object.uid(), resource_version.parse()) else { return };
        let mut writes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writes.retain(|_, write| write.at.elapsed() < REMEMBERED);
        writes.insert(uid, Write { resource_version, at: Instant::now() });
    }

    /// Whether this version is what this operator wrote itself a moment ago.
    pub fn is_fresh<K: Resource>(&self, object: &K, resource_version: &str) -> bool {
        let (Some(uid), Ok(version)) = (object.uid(), resource_version.parse::<u64>()) else { return false };
        let writes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writes.get(&uid).is_some_and(|write| write.resource_version == version && write.at.elapsed() < FRESH)
    }

    /// Whether the object is from before the last write. A resourceVersion that is no number is compared with nothing.
    pub fn is_ahead_of<K: Resource>(&self, object: &K) -> bool {
        let version = object.resource_version().and_then(|version| version.parse::<u64>().ok());
        let (Some(uid), Some(version)) = (object.uid(), version) else { return false };
        let writes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writes.get(&uid).is_some_and(|write| write.resource_version > version && write.at.elapsed() < REMEMBERED)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;

    fn at(uid: &str, version: &str) -> Pod {
        serde_json::from_value(json!({"metadata": {"uid": uid, "resourceVersion": version}})).unwrap()
    }

    #[test]
    fn what_was_there_before_the_last_write_is_outdated_and_nothing_else_is() {
        let written = Written::default();
        assert!(!written.is_ahead_of(&at("a", "9")));
        written.note(&at("a", "9"), "10");
        assert!(written.is_ahead_of(&at("a", "9")));
        assert!(!written.is_ahead_of(&at("a", "10")));
        assert!(!written.is_ahead_of(&at("a", "11")));
        assert!(!written.is_ahead_of(&at("b", "9")), "another object");
        assert!(!written.is_ahead_of(&at("a", "no number")));
        assert!(written.is_fresh(&at("a", "10"), "10"));
        assert!(!written.is_fresh(&at("a", "11"), "11"), "somebody else's");
        assert!(!written.is_fresh(&at("a", "9"), "9"));
        assert!(!written.is_fresh(&at("b", "10"), "10"), "another object");
        written.note(&at("a", "10"), "no number");
        assert!(written.is_ahead_of(&at("a", "9")), "what is known stays");
    }
}
