//! The API reference, from the CustomResourceDefinitions: what `kubectl explain` says, on one page.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

use super::{GENERATED, block, head, row};
use crate::api::{GROUP, VERSION, custom_resource_definitions};

/// Kubernetes's own types, which its own reference describes.
const KUBERNETES: [&str; 3] = ["affinity", "tolerations", "conditions"];

pub fn page() -> String {
    let mut page = format!(
        "# API reference\n\n{GENERATED}\nThe kinds of `{GROUP}/{VERSION}`, all namespaced. `kubectl explain` says the same, \
         field by field. The rules are checked by the API server, which refuses an object with the words given here.\n"
    );
    for crd in custom_resource_definitions() {
        page += &kind(&crd);
    }
    page
}

fn kind(crd: &CustomResourceDefinition) -> String {
    let names = &crd.spec.names;
    let mut text = format!("\n## {}\n", names.kind);
    for version in &crd.spec.versions {
        let Some(root) = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref()) else {
            continue;
        };
        if let Some(description) = &root.description {
            text += &block(description);
        }
        let columns: Vec<&str> = version.additional_printer_columns.iter().flatten().map(|c| c.name.as_str()).collect();
        text += &block(&format!("`kubectl get {}.{GROUP}` shows {}.", names.plural, columns.join(", ")));
        for part in ["spec", "status"] {
            let Some(schema) = root.properties.as_ref().and_then(|properties| properties.get(part)) else { continue };
            text += &block(&format!("### {} {part}\n", names.kind));
            text += &head(&["Field", "Type", "Default", "What it is"]);
            let mut rules = Vec::new();
            fields(schema, "", &mut text, &mut rules);
            if !rules.is_empty() {
                text += "\nRules:\n\n";
                text.extend(rules.into_iter().map(|rule| format!("- {rule}\n")));
            }
        }
    }
    text
}

/// Rows for the fields of this object, and of those within it; the rules go to a list of their own.
fn fields(schema: &JSONSchemaProps, within: &str, text: &mut String, rules: &mut Vec<String>) {
    let of_this = schema.x_kubernetes_validations.iter().flatten().filter_map(|rule| rule.message.as_ref());
    rules.extend(of_this.map(|message| match within {
        "" => message.clone(),
        path => format!("`{path}`: {message}"),
    }));
    let required = schema.required.clone().unwrap_or_default();
    for (name, field) in schema.properties.iter().flatten() {
        let path = if within.is_empty() { name.clone() } else { format!("{within}.{name}") };
        let default = match &field.default {
            Some(default) => format!("`{}`", default.0),
            None if required.contains(name) => "required".to_owned(),
            None => String::new(),
        };
        let description = field.description.clone().unwrap_or_default();
        *text += &row(&[&format!("`{path}`"), &type_of(field), &default, &with_values(&description, field)]);
        if KUBERNETES.contains(&name.as_str()) {
            continue;
        }
        fields(field, &path, text, rules);
        if let Some(JSONSchemaPropsOrArray::Schema(item)) = &field.items {
            fields(item, &format!("{path}[]"), text, rules);
        }
    }
}

fn type_of(field: &JSONSchemaProps) -> String {
    if field.x_kubernetes_int_or_string == Some(true) {
        return "quantity".to_owned();
    }
    match (field.type_.as_deref().unwrap_or("any"), &field.items, &field.additional_properties) {
        ("array", Some(JSONSchemaPropsOrArray::Schema(item)), _) => format!("{}[]", type_of(item)),
        ("object", _, Some(JSONSchemaPropsOrBool::Schema(values))) => format!("map of {}", type_of(values)),
        ("string", ..) if field.format.as_deref() == Some("date-time") => "time".to_owned(),
        (plain, ..) => plain.to_owned(),
    }
}

fn with_values(description: &str, field: &JSONSchemaProps) -> String {
    let values: Vec<String> = field.enum_.iter().flatten().map(|value| format!("`{}`", value.0)).collect();
    let values = values.join(", ").replace('"', "");
    let bound = |word: &str, bound: Option<f64>| bound.map(|bound| format!("{word} {bound}"));
    let bounds: Vec<String> =
        [bound("at least", field.minimum), bound("at most", field.maximum)].into_iter().flatten().collect();
    let one_of = if values.is_empty() { String::new() } else { format!("One of {values}.") };
    let bounds = if bounds.is_empty() { String::new() } else { format!("({})", bounds.join(", ")) };
    [description, &one_of, &bounds].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}
