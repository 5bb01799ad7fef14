//! Kubernetes's AdmissionReview (`admission.k8s.io/v1`), as far as this webhook reads and writes it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// What the API server asks about a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Review {
    pub uid: String,
    pub namespace: String,
    /// For logs: the name, or what it will begin with.
    pub name: String,
    /// The pod as it was sent.
    pub pod: Value,
}

impl Review {
    /// # Errors
    /// What is wrong with it, in one sentence.
    pub fn read(body: &[u8]) -> Result<Self, String> {
        let review: Value =
            serde_json::from_slice(body).map_err(|error| format!("this is no AdmissionReview: {error}"))?;
        let request = &review["request"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let uid = text(&request["uid"]).ok_or("the AdmissionReview has no request.uid")?;
        let pod = request["object"].clone();
        if !pod.is_object() {
            return Err("the AdmissionReview has no request.object".to_owned());
        }
        let meta = &pod["metadata"];
        let name = text(&request["name"]).or_else(|| text(&meta["name"])).or_else(|| text(&meta["generateName"]));
        let namespace = text(&request["namespace"]).or_else(|| text(&meta["namespace"]));
        Ok(Self { uid, namespace: namespace.unwrap_or_default(), name: name.unwrap_or_default(), pod })
    }
}

/// The pod may be made, with this JSON patch.
pub fn allowed(uid: &str, patch: Option<&Value>, warnings: &[String]) -> Value {
    let mut response = json!({"uid": uid, "allowed": true});
    if let Some(patch) = patch {
        response["patchType"] = "JSONPatch".into();
        response["patch"] = STANDARD.encode(patch.to_string()).into();
    }
    if !warnings.is_empty() {
        response["warnings"] = warnings.into();
    }
    answer(&response)
}

/// The pod may not be made; whoever makes it is told why.
pub fn denied(uid: &str, message: &str) -> Value {
    answer(&json!({"uid": uid, "allowed": false, "status": {"code": 403, "reason": "Forbidden", "message": message}}))
}

fn answer(response: &Value) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
}
