//! Whether the cluster's CustomResourceDefinitions know all that this operator writes and reads. A field that they lack is
//! silently dropped by the API server: a run would forget what it has done.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use serde_json::Value;

use crate::api;

/// What of our definitions the cluster lacks: field paths by kind; `None` for a kind that is not there at all, or in other
/// versions only. Empty: the cluster's are these, or newer ones.
pub type Lacking = BTreeMap<String, Option<Vec<String>>>;

/// Compares our definitions with what the API server serves of the group, as its OpenAPI v3 document says; `None`: it serves
/// nothing of it.
pub fn lacking(document: Option<&Value>) -> Lacking {
    let ours = api::custom_resource_definitions();
    ours.into_iter()
        .filter_map(|ours| {
            let kind = ours.spec.names.kind.clone();
            let Some(served) = document.and_then(|document| served(document, &kind)) else { return Some((kind, None)) };
            let mut paths = Vec::new();
            compare("", root(&ours)?, served, &mut paths);
            (!paths.is_empty()).then_some((kind, Some(paths)))
        })
        .collect()
}

/// What a person is told; `None` when nothing lacks.
pub fn refusal(lacking: &Lacking) -> Option<String> {
    const SHOWN: usize = 5;
    if lacking.is_empty() {
        return None;
    }
    let of_kind = |(kind, paths): (&String, &Option<Vec<String>>)| match paths {
        None => format!("{kind} is not served as {}", api::VERSION),
        Some(paths) => {
            let more = paths.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{kind} lacks {}{more}", paths[..paths.len().min(SHOWN)].join(", "))
        }
    };
    let kinds: Vec<String> = lacking.iter().map(of_kind).collect();
    Some(format!(
        "the CustomResourceDefinitions of this cluster are older than this operator ({}): {}; install its own first: with the \
         chart (crds.enabled=true), or `vitess-backup crd | kubectl apply --server-side --force-conflicts -f -`",
        env!("CARGO_PKG_VERSION"),
        kinds.join("; ")
    ))
}

fn root(ours: &CustomResourceDefinition) -> Option<&JSONSchemaProps> {
    let version = ours.spec.versions.iter().find(|version| version.name == api::VERSION)?;
    version.schema.as_ref()?.open_api_v3_schema.as_ref()
}

fn served<'a>(document: &'a Value, kind: &str) -> Option<&'a Value> {
    let schemas = document["components"]["schemas"].as_object()?;
    schemas.values().find(|schema| {
        let kinds = schema["x-kubernetes-group-version-kind"].as_array().into_iter().flatten();
        kinds
            .into_iter()
            .any(|known| known["kind"] == kind && known["group"] == api::GROUP && known["version"] == api::VERSION)
    })
}

/// Notes the outermost fields and enum values that are ours and not theirs.
fn compare(path: &str, ours: &JSONSchemaProps, theirs: &Value, found: &mut Vec<String>) {
    for (name, own) in ours.properties.iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        // What every object has is the API server's own.
        if matches!(path.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        match theirs.get("properties").and_then(|properties| properties.get(name)) {
            Some(known) => compare(&path, own, known, found),
            None => found.push(path),
        }
    }
    if let (Some(JSONSchemaPropsOrArray::Schema(own)), Some(known)) = (&ours.items, theirs.get("items")) {
        compare(&format!("{path}[]"), own, known, found);
    }
    if let Some(known) = theirs.get("enum").and_then(Value::as_array) {
        let own = ours.enum_.iter().flatten().map(|value| &value.0);
        found.extend(own.filter(|value| !known.contains(value)).map(|value| format!("{path}: {value}")));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The document as an API server with our own definitions serves it.
    fn document() -> Value {
        let schemas = api::custom_resource_definitions().into_iter().map(|crd| {
            let kind = crd.spec.names.kind.clone();
            let mut schema = serde_json::to_value(root(&crd).unwrap()).unwrap();
            schema["x-kubernetes-group-version-kind"] =
                json!([{"group": "backup.vitess.io", "kind": kind, "version": "v1alpha1"}]);
            (format!("io.vitess.backup.v1alpha1.{kind}"), schema)
        });
        json!({"openapi": "3.0.0", "components": {"schemas": schemas.collect::<serde_json::Map<_, _>>()}})
    }

    fn spec_of_a_backup(document: &mut Value) -> &mut Value {
        &mut document["components"]["schemas"]["io.vitess.backup.v1alpha1.VitessBackup"]["properties"]["spec"]
    }

    #[test]
    fn our_own_definitions_and_newer_ones_lack_nothing() {
        let mut document = document();
        assert_eq!(refusal(&lacking(Some(&document))), None);
        spec_of_a_backup(&mut document)["properties"]["later"] = json!({"type": "string"});
        assert_eq!(refusal(&lacking(Some(&document))), None);
    }

    #[test]
    fn older_definitions_are_refused_with_the_fields_that_they_lack_and_what_to_do() {
        let mut document = document();
        let spec = spec_of_a_backup(&mut document);
        let properties = spec["properties"].as_object_mut().unwrap();
        properties.shift_remove("cancel").unwrap();
        properties["builtin"]["properties"].as_object_mut().unwrap().shift_remove("copyMode").unwrap();
        properties["engine"]["enum"] = json!(["builtin"]);
        let lacking = lacking(Some(&document));
        let mut paths = lacking["VitessBackup"].clone().unwrap();
        paths.sort();
        assert_eq!(paths, ["spec.builtin.copyMode", "spec.cancel", "spec.engine: \"xtrabackup\""]);
        assert_eq!(lacking.len(), 1, "the others are as they should be");
        let words = refusal(&lacking).unwrap();
        assert!(words.contains("VitessBackup lacks ") && words.contains("older than this operator"), "{words}");
        assert!(words.contains("crds.enabled=true"), "{words}");
    }

    #[test]
    fn what_is_not_installed_is_said_to_be_so() {
        let all = lacking(None);
        assert_eq!(all.len(), api::custom_resource_definitions().len());
        assert!(refusal(&all).unwrap().contains("VitessBackup is not served as v1alpha1"));
    }
}
