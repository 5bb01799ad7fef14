//! What every reconcile has at hand.

use std::sync::Arc;

use kube::Client;
use kube::runtime::events::{Event as KubeEvent, EventType, Recorder, Reporter};
use kube::{Resource, ResourceExt};

use super::backoff::Backoff;
use super::queue::Queue;
use super::touched::Touched;
use crate::plan::Event;
use crate::resources::names::OPERATOR;
use crate::resources::settings::Settings;
use crate::telemetry::metrics::Metrics;

/// Shared by all controllers.
pub struct Context {
    pub client: Client,
    pub settings: Arc<Settings>,
    pub metrics: Arc<Metrics>,
    pub backoff: Backoff,
    /// Storages that runs have changed.
    pub touched: Touched,
    pub queue: Queue,
    recorder: Recorder,
}

/// The longest note that the API server takes, in bytes.
const NOTE_LIMIT: usize = 1000;

impl Context {
    /// `instance` is the operator's own pod, for events.
    pub fn new(client: Client, settings: Settings, metrics: Arc<Metrics>, instance: Option<String>) -> Arc<Self> {
        let reporter = Reporter { controller: OPERATOR.to_owned(), instance };
        let recorder = Recorder::new(client.clone(), reporter);
        Arc::new(Self {
            client,
            settings: Arc::new(settings),
            metrics,
            backoff: Backoff::default(),
            touched: Touched::default(),
            queue: Queue::default(),
            recorder,
        })
    }

    /// Publishes events, and logs them. One that cannot be published must not make a reconcile fail.
    pub async fn publish<K: Resource<DynamicType = ()>>(&self, object: &K, events: &[Event]) {
        let reference = object.object_ref(&());
        for Event { warning, reason, note } in events {
            tracing::info!(event = *reason, warning, "{note}");
            let event = KubeEvent {
                type_: if *warning { EventType::Warning } else { EventType::Normal },
                reason: (*reason).to_owned(),
                note: Some(cut(note)),
                action: (*reason).to_owned(),
                secondary: None,
            };
            if let Err(error) = self.recorder.publish(&event, &reference).await {
                tracing::warn!(%error, object = object.name_any(), reason, "cannot publish an event");
            }
        }
    }
}

fn cut(note: &str) -> String {
    let mut end = note.len().min(NOTE_LIMIT);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    note[..end].to_owned()
}
