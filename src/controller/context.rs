//! What every reconcile has at hand.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::core::DeserializeGuard;
use kube::{Client, Resource};

use super::backoff::Backoff;
use super::events::Recorder;
use super::held::{Held, Stores};
use super::precedence::Precedence;
use super::queue::Queue;
use super::touched::Touched;
use super::watched::Scopes;
use super::written::Written;
use crate::api::{VitessBackup, VitessBackupStorage, VitessRestore, VitessTopologyBackup};
use crate::plan::Event;
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
    pub written: Written,
    pub precedence: Arc<Precedence>,
    /// What the watches have of Jobs, pods, locks and claims.
    pub watched: Arc<Scopes>,
    /// And of our own objects.
    pub backups: Stores<Held<VitessBackup>>,
    pub restores: Stores<Held<VitessRestore>>,
    pub topology_backups: Stores<Held<VitessTopologyBackup>>,
    pub storages: Stores<DeserializeGuard<VitessBackupStorage>>,
    recorder: Arc<Recorder>,
}

impl Context {
    /// `instance` is the operator's own pod, for events.
    pub fn new(client: Client, settings: Settings, metrics: Arc<Metrics>, instance: Option<String>) -> Arc<Self> {
        let recorder = Arc::new(Recorder::new(client.clone(), instance));
        Arc::new(Self {
            client,
            settings: Arc::new(settings),
            metrics,
            backoff: Backoff::default(),
            touched: Touched::default(),
            queue: Queue::default(),
            written: Written::default(),
            precedence: Arc::default(),
            watched: Arc::default(),
            backups: Stores::default(),
            restores: Stores::default(),
            topology_backups: Stores::default(),
            storages: Stores::default(),
            recorder,
        })
    }

    /// Publishes events, and logs them. One that cannot be published must not make a reconcile fail. While many runs wait for
    /// their engines, events go out after these.
    pub async fn publish<K: Resource<DynamicType = ()>>(&self, object: &K, events: &[Event]) {
        for Event { warning, reason, note } in events {
            tracing::info!(event = *reason, warning, "{note}");
        }
        let out = publish(self.recorder.clone(), object.object_ref(&()), events.to_vec(), Timestamp::now());
        if events.is_empty() || !self.precedence.is_contended(self.watched.podless_jobs()) {
            return out.await;
        }
        let (precedence, watched) = (self.precedence.clone(), self.watched.clone());
        tokio::spawn(async move {
            precedence.calm(|| watched.podless_jobs()).await;
            out.await;
        });
    }
}

async fn publish(recorder: Arc<Recorder>, regarding: ObjectReference, events: Vec<Event>, now: Timestamp) {
    let each = events.iter().map(async |event| {
        if let Err(error) = recorder.publish(event, &regarding, now).await {
            tracing::warn!(%error, object = regarding.name, reason = event.reason, "cannot publish an event");
        }
    });
    futures::future::join_all(each).await;
}
