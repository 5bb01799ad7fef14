//! The API server's trust: this replica's authority in the MutatingWebhookConfiguration's bundle.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use serde_json::json;
use tokio::time::sleep;

use super::Settings;
use super::certificate::{MintError, Minted, Resolver, is_due, mint};
use crate::controller::error::Error;
use crate::resources::names::OPERATOR;

/// How often the bundle is looked at: somebody may have put another one there.
const LOOK: Duration = Duration::from_secs(20);
/// How long API servers may take to see a changed bundle.
const SETTLE: Duration = Duration::from_secs(3);
/// The most authorities that a bundle keeps, the newest. Those of replicas that are gone leave it so; one that is pushed out
/// and lives puts itself back.
const KEPT: usize = 16;
const END: &str = "-----END CERTIFICATE-----";

pub struct Trust {
    /// Whole, with fields that this program does not know.
    api: Api<DynamicObject>,
    configuration: String,
    names: Vec<String>,
    identity: String,
    lifetime: Duration,
    resolver: Arc<Resolver>,
    current: Minted,
}

impl Trust {
    /// Makes the first certificate, which is shown from now on.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(
        client: Client,
        settings: &Settings,
        identity: String,
        resolver: Arc<Resolver>,
    ) -> Result<Self, MintError> {
        let Settings { address: _, configuration, service, namespace, lifetime } = settings;
        let names = vec![format!("{service}.{namespace}.svc"), format!("{service}.{namespace}.svc.cluster.local")];
        let current = mint(&names, &identity, Timestamp::now(), *lifetime)?;
        resolver.show(current.certified.clone());
        let (configuration, lifetime) = (configuration.clone(), *lifetime);
        let api = Api::all_with(client, &ApiResource::erase::<MutatingWebhookConfiguration>(&()));
        Ok(Self { api, configuration, names, identity, lifetime, resolver, current })
    }

    /// Keeps this replica trusted, for ever; calls `trusted` when it first is.
    pub async fn keep(mut self, trusted: impl Fn()) {
        let mut is_trusted = false;
        loop {
            match self.look(Timestamp::now()).await {
                Ok(changed) => {
                    if changed {
                        sleep(SETTLE).await;
                    }
                    if !is_trusted {
                        is_trusted = true;
                        trusted();
                    }
                }
                Err(error) => tracing::warn!(%error, "the API server may not trust the webhook"),
            }
            sleep(LOOK).await;
        }
    }

    /// Sees to it that the bundle has this replica's authority, by way of a new one when that is due. Whether the bundle was
    /// changed.
    ///
    /// # Errors
    /// When the configuration cannot be read or written; the certificate shown stays one that was trusted.
    pub async fn look(&mut self, now: Timestamp) -> Result<bool, Error> {
        if is_due(self.current.made, now, self.lifetime) {
            match mint(&self.names, &self.identity, now, self.lifetime) {
                Ok(next) => {
                    // First trusted, then shown.
                    self.add(&next.authority).await?;
                    sleep(SETTLE).await;
                    self.resolver.show(next.certified.clone());
                    self.current = next;
                    tracing::info!("the webhook has a new certificate");
                }
                Err(error) => tracing::error!(%error, "the webhook keeps its old certificate"),
            }
        }
        self.add(&self.current.authority).await
    }

    /// Adds an authority to the bundle of every webhook of the configuration, unless it is there.
    async fn add(&self, authority: &str) -> Result<bool, Error> {
        let what = || format!("MutatingWebhookConfiguration {}", self.configuration);
        let found = self.api.get(&self.configuration).await.map_err(Error::api("read", what()))?;
        let mut webhooks = found.data["webhooks"].as_array().cloned().unwrap_or_default();
        let mut changed = false;
        for webhook in &mut webhooks {
            let place = &mut webhook["clientConfig"]["caBundle"];
            let known = place.as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
            let Some(bundle) = with(&String::from_utf8_lossy(&known), authority) else { continue };
            *place = STANDARD.encode(bundle).into();
            changed = true;
        }
        if !changed {
            return Ok(false);
        }
        // Not over what another replica wrote meanwhile.
        let version = found.metadata.resource_version;
        let patch = Patch::Merge(json!({"metadata": {"resourceVersion": version}, "webhooks": webhooks}));
        let parameters = PatchParams { field_manager: Some(OPERATOR.to_owned()), ..PatchParams::default() };
        let patched = self.api.patch(&self.configuration, &parameters, &patch).await;
        patched.map_err(Error::api("add the webhook's authority to", what()))?;
        Ok(true)
    }
}

/// The bundle with this authority, the oldest left out when they are many; nothing when it is there already.
fn with(bundle: &str, authority: &str) -> Option<String> {
    let pieces = |text: &str| -> Vec<String> {
        let whole = text.split_inclusive(END).filter(|piece| piece.contains(END));
        whole.map(|piece| piece.trim().to_owned()).collect()
    };
    let (mut known, own) = (pieces(bundle), pieces(authority));
    if own.iter().all(|piece| known.contains(piece)) {
        return None;
    }
    known.extend(own);
    let newest = known.split_off(known.len().saturating_sub(KEPT));
    Some(newest.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(body: &str) -> String {
        format!("-----BEGIN CERTIFICATE-----\n{body}\n{END}\n")
    }

    #[test]
    fn an_authority_is_added_once_beside_those_of_other_replicas() {
        let first = with("", &pem("a")).unwrap();
        assert_eq!(first, pem("a"));
        let both = with(&first, &pem("b")).unwrap();
        assert_eq!(both, pem("a") + &pem("b"));
        assert_eq!(with(&both, &pem("a")), None);
        assert_eq!(with(both.trim(), &pem("b")), None);
    }

    #[test]
    fn a_bundle_does_not_grow_for_ever() {
        let mut bundle = String::new();
        for n in 0..KEPT + 5 {
            bundle = with(&bundle, &pem(&n.to_string())).unwrap();
        }
        assert_eq!(bundle.matches(END).count(), KEPT);
        assert!(bundle.ends_with(&pem(&(KEPT + 4).to_string())) && !bundle.contains("\n4\n"), "{bundle}");
    }
}
