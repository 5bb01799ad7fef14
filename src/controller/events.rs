//! Events, as `kubectl describe` shows them.
//!
//! Each is told once and goes out as it is: the recorder of kube's runtime holds what it has told for some minutes and looks
//! through all of it at every event, so that runs by the thousand would be held in memory with all that was said of them.

use std::sync::atomic::{AtomicU32, Ordering};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event as KubeEvent;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};

use crate::plan::Event;
use crate::resources::names::OPERATOR;

/// The longest note that the API server takes, in bytes.
const NOTE_LIMIT: usize = 1000;
/// As much of an object's name as leaves room for what comes after it in the name of an event.
const STEM_LIMIT: usize = 220;

pub struct Recorder {
    client: Client,
    /// The operator's own pod.
    instance: String,
    number: AtomicU32,
}

impl Recorder {
    pub fn new(client: Client, instance: Option<String>) -> Self {
        Self { client, instance: instance.unwrap_or_else(|| OPERATOR.to_owned()), number: AtomicU32::new(0) }
    }

    /// Publishes one event about an object, of something that happened `now`.
    ///
    /// # Errors
    /// When the API server does not take it.
    pub async fn publish(&self, event: &Event, regarding: &ObjectReference, now: Timestamp) -> Result<(), kube::Error> {
        let namespace = regarding.namespace.as_deref().unwrap_or("default");
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let told = told(event, regarding, &self.instance, now, number);
        Api::<KubeEvent>::namespaced(self.client.clone(), namespace).create(&PostParams::default(), &told).await?;
        Ok(())
    }
}

/// `number` sets events of the same instant apart.
fn told(event: &Event, regarding: &ObjectReference, instance: &str, now: Timestamp, number: u32) -> KubeEvent {
    let Event { warning, reason, note } = event;
    let stem = cut(regarding.name.as_deref().unwrap_or(OPERATOR), STEM_LIMIT);
    KubeEvent {
        metadata: ObjectMeta {
            namespace: regarding.namespace.clone(),
            name: Some(format!("{stem}.{:x}.{number:x}", now.as_nanosecond())),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        type_: Some(if *warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some((*reason).to_owned()),
        action: Some((*reason).to_owned()),
        note: Some(cut(note, NOTE_LIMIT).to_owned()),
        regarding: Some(regarding.clone()),
        reporting_controller: Some(OPERATOR.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        ..KubeEvent::default()
    }
}

fn cut(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_cut_to_what_the_api_server_takes_and_has_a_name_of_its_own() {
        let long = Event { warning: true, reason: "Failed", note: "ä".repeat(600) };
        let regarding = ObjectReference { name: Some("n".repeat(253)), ..ObjectReference::default() };
        let now = "2026-11-22T10:00:00.5Z".parse().unwrap();
        let first = told(&long, &regarding, "operator-0", now, 1);
        let second = told(&long, &regarding, "operator-0", now, 2);
        assert_eq!(first.note, Some("ä".repeat(500)));
        assert_eq!((first.type_.as_deref(), first.reason.as_deref()), (Some("Warning"), Some("Failed")));
        assert!(first.metadata.name.as_ref().is_some_and(|name| name.len() <= 253), "{:?}", first.metadata.name);
        assert_ne!(first.metadata.name, second.metadata.name);
    }
}
