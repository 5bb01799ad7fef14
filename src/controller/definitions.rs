//! Looking at start whether the cluster's definitions know all that this operator writes.
//!
//! Asked is the OpenAPI document that the API server serves to everyone who may log in: reading the definitions themselves
//! would take a ClusterRole, which an operator that is restricted to namespaces does not have.

use std::time::Duration;

use kube::Client;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::error::Error;
use crate::api::{GROUP, VERSION};
use crate::plan::definitions::{self, Lacking};

/// The document follows a definition that was just applied by a moment, and Helm applies them just before the operator.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(2);

/// Waits for definitions that this operator can work with, for half a minute.
///
/// # Errors
/// With what they lack, in words for a person, when they are older than this operator or not there. Where the document cannot be
/// read, that is logged, and the operator goes on.
pub async fn check(client: &Client) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let refusal = match lacking(client).await {
            Ok(lacking) => definitions::refusal(&lacking),
            Err(error) => {
                tracing::warn!(%error, "cannot compare the cluster's CustomResourceDefinitions with this operator's own");
                return Ok(());
            }
        };
        let Some(refusal) = refusal else { return Ok(()) };
        if begun.elapsed() >= PATIENCE {
            return Err(refusal);
        }
        sleep(PAUSE).await;
    }
}

/// What the cluster's definitions lack of this operator's own.
///
/// # Errors
/// When the API server does not say.
pub async fn lacking(client: &Client) -> Result<Lacking, Error> {
    Ok(definitions::lacking(document(client).await?.as_ref()))
}

async fn document(client: &Client) -> Result<Option<Value>, Error> {
    let path = format!("/openapi/v3/apis/{GROUP}/{VERSION}");
    let request = http::Request::get(&path).body(Vec::new()).map_err(|error| Error::Api {
        verb: "ask for",
        what: path.clone(),
        source: Box::new(kube::Error::HttpError(error)),
    })?;
    match client.request::<Value>(request).await {
        // Of a group that it does not serve the API server says so in plain text, without the reason that an object's 404 has.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        answer => answer.map(Some).map_err(Error::api("read", path)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fake_server::FakeServer;
    use super::*;

    const DOCUMENT: &str = "/openapi/v3/apis/backup.vitess.io/v1alpha1";

    #[tokio::test(start_paused = true)]
    async fn definitions_that_are_not_there_in_time_are_refused_in_words() {
        let server = FakeServer::default();
        let begun = Instant::now();
        let refusal = check(&server.client()).await.unwrap_err();
        assert!(refusal.contains("VitessBackup is not served as v1alpha1"), "{refusal}");
        assert!(begun.elapsed() >= PATIENCE);
    }

    #[tokio::test]
    async fn of_a_group_that_is_not_served_everything_lacks_whatever_the_refusal_is_called() {
        let server = FakeServer::default();
        // As kube reads a body that is not a Status.
        server.fail(&format!("GET {DOCUMENT}"), 404, "Failed to parse error data", "404 page not found");
        let lacking = lacking(&server.client()).await.unwrap();
        assert_eq!(lacking, definitions::lacking(None));
    }

    #[tokio::test(start_paused = true)]
    async fn definitions_that_come_a_moment_later_are_waited_for() {
        let server = FakeServer::default();
        let schemas = crate::api::custom_resource_definitions().into_iter().map(|crd| {
            let kind = crd.spec.names.kind.clone();
            let validation = crd.spec.versions[0].schema.clone().unwrap();
            let mut schema = serde_json::to_value(validation.open_api_v3_schema).unwrap();
            schema["x-kubernetes-group-version-kind"] = json!([{"group": GROUP, "kind": kind, "version": VERSION}]);
            (kind, schema)
        });
        let document = json!({"components": {"schemas": schemas.collect::<serde_json::Map<_, _>>()}});
        let client = server.client();
        let late = async {
            sleep(Duration::from_secs(5)).await;
            server.put(DOCUMENT, document);
        };
        let (checked, ()) = tokio::join!(check(&client), late);
        assert_eq!(checked, Ok(()));
    }

    #[tokio::test]
    async fn a_document_that_may_not_be_read_keeps_nobody_from_working() {
        let server = FakeServer::default();
        server.fail(&format!("GET {DOCUMENT}"), 403, "Forbidden", "no");
        assert_eq!(check(&server.client()).await, Ok(()));
    }
}
