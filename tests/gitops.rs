//! What GitOps tools make of our objects: Argo CD's health script, run by Lua 5.1 as Argo CD runs it, and kstatus, which Flux
//! follows, each against objects as the operator writes them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

fn config(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(config(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The recorded objects, by file name.
fn recorded() -> BTreeMap<String, Value> {
    let entries = fs::read_dir(config("argocd/testdata")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.map(|name| (name.clone(), yaml(&read(&format!("argocd/testdata/{name}"))))).collect()
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

// --- Argo CD ---------------------------------------------------------------------------------------------------------

/// The value as Lua writes it.
fn lua(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => lua_text(text),
        Value::Array(items) => format!("{{{}}}", items.iter().map(lua).collect::<Vec<_>>().join(",")),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("[{}]={}", lua_text(name), lua(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
    }
}

fn lua_text(text: &str) -> String {
    text.bytes().fold("\"".to_owned(), |mut text, byte| {
        let _ = write!(text, "\\{byte:03}");
        text
    }) + "\""
}

/// What the health script says of an object: status and message. Argo CD gives a script no library but `table` and parts of
/// the base and of `os`; Debian's Lua 5.1 stands for its own, which is of the same language.
fn health(object: &Value) -> (String, String) {
    let program = format!(
        "obj = {}\nlocal load, write = loadfile, io.write\n\
         string, math, io, debug, package, require, os = nil\ngetmetatable('').__index = nil\n\
         local health = assert(load('{}'))()\nwrite(health.status, '\\n', health.message)",
        lua(object),
        config("argocd/health.lua").display()
    );
    let mut interpreter = Command::new("lua5.1")
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("lua5.1, which scripts/bootstrap.sh installs");
    interpreter.stdin.take().unwrap().write_all(program.as_bytes()).unwrap();
    let output = interpreter.wait_with_output().unwrap();
    assert!(output.status.success(), "the script fails on {object:#}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (status, message) = text.split_once('\n').unwrap();
    (status.to_owned(), message.to_owned())
}

#[test]
fn argo_cd_shows_every_recorded_object_as_it_is() {
    let cases = yaml(&read("argocd/health_test.yaml"))["tests"].as_array().cloned().unwrap();
    let mut tried = Vec::new();
    for case in cases {
        let path = case["inputPath"].as_str().unwrap().to_owned();
        let (status, message) = health(&yaml(&read(&format!("argocd/{path}"))));
        let expected = &case["healthStatus"];
        assert_eq!(
            (status.as_str(), message.as_str()),
            (text(&expected["status"]), text(&expected["message"])),
            "{path}"
        );
        tried.push(path.strip_prefix("testdata/").unwrap().to_owned());
    }
    tried.sort();
    assert_eq!(tried, recorded().into_keys().collect::<Vec<_>>(), "health_test.yaml has a case for each object");
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn an_object_whose_spec_is_newer_than_its_status_is_progressing() {
    let mut storage = recorded().remove("storage-ready.yaml").unwrap();
    storage["metadata"]["generation"] = 2.into();
    assert_eq!(health(&storage).0, "Progressing");
    storage.as_object_mut().unwrap().remove("status");
    assert_eq!(health(&storage).0, "Progressing");
}

#[test]
fn the_settings_for_argo_cd_have_the_script_for_every_kind() {
    let settings = yaml(&read("argocd/argocd-cm.yaml"))["data"].as_object().cloned().unwrap();
    let script = read("argocd/health.lua");
    let kinds = vitess_backup::api::custom_resource_definitions().into_iter().map(|crd| crd.spec.names.kind);
    let expected: BTreeMap<String, Value> = kinds
        .map(|kind| (format!("resource.customizations.health.backup.vitess.io_{kind}"), script.clone().into()))
        .collect();
    assert_eq!(settings.into_iter().collect::<BTreeMap<_, _>>(), expected);
}

// --- kstatus, which Flux follows -------------------------------------------------------------------------------------

/// What kstatus says of a custom resource.
///
/// Source: sigs.k8s.io/cli-utils, pkg/kstatus/status/{generic,core}.go: `checkGenericProperties`, then
/// `checkReadyCondition`; an object without a Ready condition is current.
fn kstatus(object: &Value) -> &'static str {
    let status = &object["status"];
    let is = |kind: &str| {
        let conditions = status["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().find(|condition| condition["type"] == kind).map(|condition| text(&condition["status"]))
    };
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return "Terminating";
    }
    let observed = &status["observedGeneration"];
    if !observed.is_null() && *observed != object["metadata"]["generation"] {
        return "InProgress";
    }
    match (is("Reconciling"), is("Stalled"), is("Ready")) {
        (Some("True"), ..) => "InProgress",
        (_, Some("True"), _) => "Failed",
        (.., None | Some("True")) => "Current",
        (.., Some(_)) => "InProgress",
    }
}

#[test]
fn flux_waits_for_what_goes_on_and_gives_up_on_what_has_failed() {
    let found: BTreeMap<String, &str> = recorded().into_iter().map(|(name, object)| (name, kstatus(&object))).collect();
    let expected = [
        ("backup-failed.yaml", "Failed"),
        ("backup-recovers-its-tablet.yaml", "InProgress"),
        ("backup-runs.yaml", "InProgress"),
        ("backup-succeeded.yaml", "Current"),
        ("backup-unseen.yaml", "InProgress"),
        ("backup-waits.yaml", "InProgress"),
        ("restore-of-another-shard.yaml", "Failed"),
        ("restore-succeeded.yaml", "Current"),
        ("restore-waits-for-a-backup.yaml", "InProgress"),
        ("storage-invalid.yaml", "Failed"),
        ("storage-ready.yaml", "Current"),
        ("storage-without-its-claim.yaml", "InProgress"),
        ("topology-backup-failed.yaml", "Failed"),
        ("topology-backup-runs.yaml", "InProgress"),
        ("topology-backup-succeeded.yaml", "Current"),
    ];
    assert_eq!(found, expected.map(|(name, status)| (name.to_owned(), status)).into());
}

#[test]
fn the_example_for_flux_waits_for_kinds_that_are_ours() {
    let documents: Vec<Value> = serde_saphyr::from_multiple(&read("flux/runs.yaml")).unwrap();
    let specs: Vec<&Value> = documents.iter().map(|document| &document["spec"]).collect();
    assert!(documents.iter().all(|document| document["kind"] == "Kustomization"), "{documents:?}");
    assert_eq!(specs[0]["wait"], true);
    let kinds: Vec<String> =
        vitess_backup::api::custom_resource_definitions().into_iter().map(|crd| crd.spec.names.kind).collect();
    let checks = specs[1]["healthChecks"].as_array().unwrap();
    assert!(!checks.is_empty());
    for check in checks {
        assert_eq!(check["apiVersion"], "backup.vitess.io/v1alpha1");
        assert!(kinds.iter().any(|kind| check["kind"] == **kind), "{check}");
    }
}

// --- kustomize -------------------------------------------------------------------------------------------------------

#[test]
fn the_kustomize_base_lists_every_definition_and_only_files_that_are_there() {
    let base = yaml(&read("kustomization.yaml"));
    let listed: Vec<&str> = base["resources"].as_array().unwrap().iter().map(text).collect();
    for path in &listed {
        assert!(config(path).is_file(), "{path}");
    }
    let definitions: Vec<String> = fs::read_dir(config("crd"))
        .unwrap()
        .map(|entry| format!("crd/{}", entry.unwrap().file_name().into_string().unwrap()))
        .collect();
    for definition in definitions {
        assert!(listed.contains(&definition.as_str()), "config/kustomization.yaml does not list {definition}");
    }
}
