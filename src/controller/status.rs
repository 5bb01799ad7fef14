//! Writing status: server-side apply, under the resourceVersion that the plan was made from, and only what is new.

use kube::api::{Api, Patch, PatchParams};
use kube::core::{DeserializeGuard, Resource};
use kube::{Client, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::error::{Error, optional};
use crate::resources::names::STATUS_MANAGER;

/// Applies the status; the object's resourceVersion afterwards where there was anything to write.
///
/// # Errors
/// [`Error::Outdated`] when the object is not the one that the plan was made from: a plan from old data must not overwrite
/// what a newer one wrote.
pub async fn apply<K, S>(
    client: &Client,
    object: &K,
    resource_version: Option<String>,
    before: Option<&S>,
    after: &S,
) -> Result<Option<String>, Error>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    DeserializeGuard<K>: Clone + DeserializeOwned + std::fmt::Debug,
    K: Clone + std::fmt::Debug + DeserializeOwned,
    S: Serialize + PartialEq,
{
    if before == Some(after) {
        return Ok(None);
    }
    let api: Api<DeserializeGuard<K>> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {
            "name": object.name_any(),
            "resourceVersion": resource_version.or_else(|| object.resource_version()),
        },
        "status": after,
    });
    let parameters = PatchParams::apply(STATUS_MANAGER).force();
    let applied = api.patch_status(&object.name_any(), &parameters, &Patch::Apply(patch)).await;
    let what = format!("the status of {} {}", K::kind(&()), object.name_any());
    Ok(optional(applied).map_err(Error::api("write", what))?.and_then(|applied| applied.resource_version()))
}
