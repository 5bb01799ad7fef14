//! The mutating webhook: adds the init container that restores to tablets' pods that name a VitessRestore.
//!
//! Every replica of the operator answers, whether it leads or not. Each makes certificates of its own and keeps their keys
//! in memory alone, so that there is no Secret to read; for the API server to trust all of them, each adds its authority to
//! the bundle in the MutatingWebhookConfiguration, and takes calls (is ready) once that is there.

mod certificate;
mod listener;
mod review;
mod trust;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::core::DeserializeGuard;
use serde_json::Value;
use tokio::net::TcpListener;

use super::Shutdown;
use super::context::Context;
use super::error::{Error, optional};
use crate::api::{VitessBackupStorage, VitessRestore};
use crate::resources::pod_start::{self, restore_of};
use certificate::Resolver;
use review::{Review, allowed, denied};
use trust::Trust;

/// Where the API server posts reviews.
pub const PATH: &str = "/inject";
/// A pod is no larger than what etcd takes.
const BODY_LIMIT: usize = 8 << 20;

/// How the webhook is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub address: SocketAddr,
    /// The MutatingWebhookConfiguration.
    pub configuration: String,
    /// The Service in front of the operator, and its namespace: what certificates are for.
    pub service: String,
    pub namespace: String,
    /// How long a certificate is good; a new one is made when half of it is over.
    pub lifetime: Duration,
}

/// Serves until `shutdown`; sets `ready` when the API server trusts this replica.
///
/// # Errors
/// When the address cannot be listened on, or no certificate can be made.
pub async fn run(
    settings: Settings,
    identity: String,
    context: Arc<Context>,
    ready: Arc<AtomicBool>,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    let resolver = Arc::new(Resolver::default());
    let trust =
        Trust::new(context.client.clone(), &settings, identity, resolver.clone()).map_err(std::io::Error::other)?;
    let tcp = TcpListener::bind(settings.address).await?;
    let listener = listener::TlsListener::new(tcp, resolver)?;
    tracing::info!(address = %settings.address, configuration = settings.configuration, "the webhook answers");
    let keeping = async move { trust.keep(|| ready.store(true, Ordering::Relaxed)).await };
    let serving = axum::serve(listener, router(context)).with_graceful_shutdown(shutdown);
    tokio::select! {
        served = async { serving.await } => served,
        () = keeping => Ok(()),
    }
}

fn router(context: Arc<Context>) -> Router {
    Router::new().route(PATH, post(inject)).layer(DefaultBodyLimit::max(BODY_LIMIT)).with_state(context)
}

/// A review that could not be decided is an error to the API server, which then does as the failurePolicy says.
async fn inject(State(context): State<Arc<Context>>, body: Bytes) -> Response {
    let review = match Review::read(&body) {
        Ok(review) => review,
        Err(error) => return (StatusCode::BAD_REQUEST, error).into_response(),
    };
    match decide(&context, &review).await {
        Ok(answer) => ([(header::CONTENT_TYPE, "application/json")], answer.to_string()).into_response(),
        Err(error) => {
            tracing::warn!(%error, pod = review.name, namespace = review.namespace, "cannot decide about a pod");
            (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
        }
    }
}

/// What becomes of a pod.
async fn decide(context: &Context, review: &Review) -> Result<Value, Error> {
    let Review { uid, namespace, name: pod_name, pod: raw } = review;
    let pod: Pod = match serde_json::from_value(raw.clone()) {
        Ok(pod) => pod,
        Err(error) => return Ok(denied(uid, &format!("this version of the operator cannot read the pod: {error}"))),
    };
    let Some(name) = restore_of(&pod) else { return Ok(allowed(uid, None, &[])) };
    let restores: Api<DeserializeGuard<VitessRestore>> = Api::namespaced(context.client.clone(), namespace);
    let found = optional(restores.get(name).await).map_err(Error::api("read", format!("VitessRestore {name}")))?;
    let restore = match found {
        Some(DeserializeGuard(Ok(restore))) => restore,
        Some(DeserializeGuard(Err(invalid))) => {
            let text = format!("this version of the operator cannot read VitessRestore {name}: {}", invalid.error);
            return Ok(denied(uid, &text));
        }
        None => {
            let text = format!(
                "the pod names VitessRestore {name}, which does not exist in namespace {namespace}: create it with trigger \
                 PodStart; whatever made the pod then tries again"
            );
            return Ok(denied(uid, &text));
        }
    };
    let storage = &restore.spec.storage.name;
    let stored: Api<VitessBackupStorage> = Api::namespaced(context.client.clone(), namespace);
    let stored = optional(stored.get(storage).await);
    let Some(stored) = stored.map_err(Error::api("read", format!("VitessBackupStorage {storage}")))? else {
        let text = format!("VitessRestore {name} names VitessBackupStorage {storage}, which does not exist: create it");
        return Ok(denied(uid, &text));
    };
    Ok(match pod_start::injection(&pod, &restore, &stored, &context.settings) {
        Ok(Some(injection)) => {
            tracing::info!(pod = pod_name, namespace, restore = name, "a tablet's pod restores when it starts");
            allowed(uid, Some(&pod_start::patch(raw, &injection)), &injection.warnings)
        }
        Ok(None) => allowed(uid, None, &[]),
        Err(problem) => denied(uid, &problem.to_string()),
    })
}

#[cfg(test)]
mod tests;
