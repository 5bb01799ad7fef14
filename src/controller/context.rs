//! What every reconcile has at hand.

use std::sync::Arc;

use kube::Client;
use kube::core::DeserializeGuard;
use kube::{Resource, ResourceExt};

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
    pub precedence: Precedence,
    /// What the watches have of Jobs, pods, locks and claims.
    pub watched: Scopes,
    /// And of our own objects.
    pub backups: Stores<Held<VitessBackup>>,
    pub restores: Stores<Held<VitessRestore>>,
    pub topology_backups: Stores<Held<VitessTopologyBackup>>,
    pub storages: Stores<DeserializeGuard<VitessBackupStorage>>,
    recorder: Recorder,
}

impl Context {
    /// `instance` is the operator's own pod, for events.
    pub fn new(client: Client, settings: Settings, metrics: Arc<Metrics>, instance: Option<String>) -> Arc<Self> {
        let recorder = Recorder::new(client.clone(), instance);
        Arc::new(Self {
            client,
            settings: Arc::new(settings),
            metrics,
            backoff: Backoff::default(),
            touched: Touched::default(),
            queue: Queue::default(),
            written: Written::default(),
            precedence: Precedence::default(),
            watched: Scopes::default(),
            backups: Stores::default(),
            restores: Stores::default(),
            topology_backups: Stores::default(),
            storages: Stores::default(),
            recorder,
        })
    }

    /// Publishes events, and logs them. One that cannot be published must not make a reconcile fail.
    pub async fn publish<K: Resource<DynamicType = ()>>(&self, object: &K, events: &[Event]) {
        let reference = object.object_ref(&());
        let each = events.iter().map(async |event| {
            let Event { warning, reason, note } = event;
            tracing::info!(event = *reason, warning, "{note}");
            if let Err(error) = self.recorder.publish(event, &reference).await {
                tracing::warn!(%error, object = object.name_any(), reason, "cannot publish an event");
            }
        });
        futures::future::join_all(each).await;
    }
}
