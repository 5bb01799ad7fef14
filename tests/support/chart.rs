//! The Helm chart, rendered by the real Helm.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::Value;
use vitess_backup::resources::rbac;

pub const CHART: &str = "charts/vitess-backup-operator";

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs the Helm of the test ground, which is built first when it is not there.
pub fn helm(arguments: &[&str], settings: &[&str]) -> Output {
    Command::new(root().join("tests/e2e/ground/helm.sh"))
        .current_dir(root())
        .args(arguments)
        .args(settings.iter().flat_map(|setting| ["--set", *setting]))
        .output()
        .expect("helm.sh can be run")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The objects of a release.
///
/// # Panics
/// When Helm refuses the settings.
pub fn render_release(release: &str, namespace: &str, settings: &[&str]) -> Vec<Value> {
    let output = helm(&["template", release, CHART, "--namespace", namespace], settings);
    assert!(output.status.success(), "{settings:?}: {}", text(&output.stderr));
    let documents: Vec<Option<Value>> =
        serde_saphyr::from_multiple(&text(&output.stdout)).unwrap_or_else(|error| panic!("{settings:?}: {error}"));
    documents.into_iter().flatten().collect()
}

pub fn kind(object: &Value) -> &str {
    object["kind"].as_str().expect("an object has a kind")
}

/// What the operator's code says it needs, as a role says it.
pub fn policy(rule: &rbac::Rule) -> PolicyRule {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    PolicyRule {
        api_groups: Some(vec![rule.api_group.to_owned()]),
        resources: Some(owned(rule.resources)),
        verbs: owned(rule.verbs),
        ..PolicyRule::default()
    }
}

/// `group/resource: verb` of a rule, in no order.
pub fn grants(rule: &PolicyRule) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for group in rule.api_groups.iter().flatten() {
        for resource in rule.resources.iter().flatten() {
            found.extend(rule.verbs.iter().map(|verb| format!("{group}/{resource}: {verb}")));
        }
    }
    found
}
