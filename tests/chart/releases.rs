//! The chart from release to release: its values, an upgrade from the version before, and the kustomize base beside it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{CHART, helm, identity, kind, of_kind, render, root, text};

/// The version before this one, as it was released: its values, and what it rendered by default.
const BEFORE: &str = "tests/fixtures/chart/0.1.0";

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn documents(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple::<Option<Value>>(yaml).unwrap().into_iter().flatten().collect()
}

// --- values ----------------------------------------------------------------------------------------------------------

#[test]
fn every_block_of_the_values_says_what_it_is_for() {
    let values = read(&format!("{CHART}/values.yaml"));
    for block in values.split("\n\n") {
        let is_comment = |line: &&str| line.trim_start().starts_with('#');
        assert!(block.lines().any(|line| is_comment(&line)), "no word about\n{block}");
    }
}

#[test]
fn what_the_schema_knows_stands_in_the_values_with_a_default() {
    let schema: Value = serde_json::from_str(&read(&format!("{CHART}/values.schema.json"))).unwrap();
    let values = &documents(&read(&format!("{CHART}/values.yaml")))[0];
    assert_stands(&schema, values, "");
}

fn assert_stands(schema: &Value, values: &Value, within: &str) {
    for (name, of_schema) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{within}{name}");
        // Helm's own, and one that nobody sets by default.
        if ["global", "resources.claims"].contains(&path.as_str()) {
            continue;
        }
        let value = values.get(name).unwrap_or_else(|| panic!("values.yaml has no {path}"));
        assert_stands(of_schema, value, &format!("{path}."));
    }
}

#[test]
fn a_service_monitor_without_the_service_that_it_is_for_is_refused() {
    let output = helm(&["template", "test", CHART], &["metrics.serviceMonitor.enabled=true"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("/metrics/service/enabled"), "{}", text(&output.stderr));
}

// --- upgrade and uninstall -------------------------------------------------------------------------------------------

#[test]
fn the_values_of_the_version_before_are_taken() {
    let values = root().join(BEFORE).join("values.yaml");
    let output = helm(&["template", "test", CHART, "--values", &values.to_string_lossy()], &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn an_upgrade_from_the_version_before_changes_nothing_that_kubernetes_would_refuse_and_takes_nothing_away() {
    let before = documents(&read(&format!("{BEFORE}/rendered.yaml")));
    assert!(before.len() > 8, "the fixture was not read");
    let after = render(&[]);
    for old in &before {
        let name = format!("{} {}", kind(old), identity(old));
        let new = after.iter().find(|new| kind(new) == kind(old) && identity(new) == identity(old));
        let new = new.unwrap_or_else(|| panic!("{name} goes with the upgrade"));
        // What cannot be changed in place.
        match kind(old) {
            "Deployment" => assert_eq!(new["spec"]["selector"], old["spec"]["selector"], "{name}"),
            "RoleBinding" | "ClusterRoleBinding" => assert_eq!(new["roleRef"], old["roleRef"], "{name}"),
            "CustomResourceDefinition" => assert_compatible(old, new, &name),
            _ => {}
        }
    }
}

/// Objects that were stored under the old definition can be read and written under the new one.
fn assert_compatible(old: &Value, new: &Value, name: &str) {
    for field in ["group", "scope"] {
        assert_eq!(new["spec"][field], old["spec"][field], "{name}");
    }
    assert_eq!(new["spec"]["names"]["plural"], old["spec"]["names"]["plural"], "{name}");
    let versions = |object: &Value| -> BTreeMap<String, Value> {
        let versions = object["spec"]["versions"].as_array().cloned().unwrap_or_default();
        versions.into_iter().map(|version| (version["name"].as_str().unwrap().to_owned(), version)).collect()
    };
    let (before, after) = (versions(old), versions(new));
    for (version, schema) in before {
        let now = after.get(&version).unwrap_or_else(|| panic!("{name} loses {version}"));
        let path = ["schema", "openAPIV3Schema"];
        let [old, new] = [&schema, now].map(|version| path.iter().fold(version, |value, key| &value[*key]));
        assert_wider(old, new, &format!("{name} {version}"));
    }
}

/// Whatever the old schema takes, the new one takes: no field goes, none becomes required, none changes its type, and no
/// value of an enumeration goes.
fn assert_wider(old: &Value, new: &Value, place: &str) {
    assert_eq!(new["type"], old["type"], "{place}");
    let list = |schema: &Value, key: &str| schema[key].as_array().cloned().unwrap_or_default();
    for required in list(new, "required") {
        assert!(list(old, "required").contains(&required), "{place} needs {required} now");
    }
    if !new["enum"].is_null() {
        for value in list(old, "enum") {
            assert!(list(new, "enum").contains(&value), "{place} does not take {value} any more");
        }
    }
    for (field, schema) in old["properties"].as_object().into_iter().flatten() {
        let place = format!("{place}.{field}");
        let now = new["properties"].get(field).unwrap_or_else(|| panic!("{place} goes"));
        assert_wider(schema, now, &place);
    }
    if !old["items"].is_null() {
        assert_wider(&old["items"], &new["items"], &format!("{place}[]"));
    }
}

#[test]
fn uninstalling_leaves_the_definitions_and_nothing_that_holds_data_is_the_charts() {
    let objects = render(super::monitoring::ALL);
    for definition in of_kind(&objects, "CustomResourceDefinition") {
        assert_eq!(definition["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    }
    for kind in ["PersistentVolumeClaim", "PersistentVolume", "Secret", "Job", "Namespace"] {
        assert!(of_kind(&objects, kind).is_empty(), "{kind}");
    }
    let hooks = objects.iter().filter(|object| !object["metadata"]["annotations"]["helm.sh/hook"].is_null());
    assert_eq!(hooks.count(), 0, "nothing runs when the release goes");
}

// --- kustomize -------------------------------------------------------------------------------------------------------

#[test]
fn the_kustomize_base_is_what_the_chart_renders() {
    let release = ["template", "vitess-backup-operator", CHART, "--namespace", "vitess-backup-operator"];
    let output = helm(&release, &["crds.enabled=false"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut rendered = documents(&text(&output.stdout));
    for object in &mut rendered {
        by_kustomize(object);
    }
    assert_eq!(documents(&read("config/operator.yaml")), rendered, "run `make kustomize`");
}

/// Nothing of it says that Helm installed it.
fn by_kustomize(object: &mut Value) {
    let labels = ["/metadata/labels", "/spec/template/metadata/labels"];
    for path in labels {
        if let Some(labels) = object.pointer_mut(path).and_then(Value::as_object_mut) {
            labels.shift_remove("helm.sh/chart");
            labels.insert("app.kubernetes.io/managed-by".to_owned(), "kustomize".into());
        }
    }
}
