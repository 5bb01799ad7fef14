//! What the operator makes of definitions that are older than it: it says what they lack and what to do, and does not begin.

use std::path::Path;
use std::process::Command;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::Value;
use vitess_backup::api;
use vitess_backup::controller::definitions::lacking;
use vitess_backup::plan::definitions::{Lacking, refusal};

use super::support::kubernetes::{ApiServer, Process, within};
use super::support::mysql::free_port;

/// What the version before this one installed.
const BEFORE: &str = include_str!("../fixtures/chart/0.1.0/rendered.yaml");
const BINARY: &str = env!("CARGO_BIN_EXE_vitess-backup");

fn definitions_before() -> Vec<CustomResourceDefinition> {
    let documents: Vec<Option<Value>> = serde_saphyr::from_multiple(BEFORE).unwrap();
    let definitions = documents.into_iter().flatten().filter(|object| object["kind"] == "CustomResourceDefinition");
    definitions.map(|object| serde_json::from_value(object).unwrap()).collect()
}

fn serve_only_as_v1alpha0(definition: &mut CustomResourceDefinition) {
    let versions = &mut definition.spec.versions;
    let mut earlier = versions[0].clone();
    "v1alpha0".clone_into(&mut earlier.name);
    earlier.storage = false;
    versions[0].served = false;
    versions.push(earlier);
}

fn operator(server: &ApiServer, folder: &Path, name: &'static str) -> Process {
    let mut command = Command::new(BINARY);
    command.arg("operator").env("KUBECONFIG", &server.admin);
    command.args(["--operator-image", "registry.example/vitess-backup-operator:test", "--log-format", "text"]);
    command.args(["--admin-address", &format!("127.0.0.1:{}", free_port())]);
    Process::start(command, name, folder)
}

/// The command that a message tells people to run, run.
fn run_remedy(server: &ApiServer, message: &str) {
    let remedy = message.split('`').nth(1).unwrap_or_else(|| panic!("no command in {message}"));
    let here = Path::new(BINARY).parent().unwrap().display();
    let path = format!("{here}:{}:{}", server.programs.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-o", "pipefail", "-c", remedy])
        .env("PATH", path)
        .env("KUBECONFIG", &server.admin)
        .output()
        .unwrap();
    assert!(output.status.success(), "{remedy}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_refuses_definitions_of_the_version_before_and_works_once_the_command_it_names_was_run() {
    let folder = tempfile::tempdir().unwrap();
    let server = ApiServer::start(folder.path(), None).await;
    let definitions: Api<CustomResourceDefinition> = Api::all(server.client.clone());
    assert_eq!(lacking(&server.client).await.unwrap(), vitess_backup::plan::definitions::lacking(None));
    for mut definition in definitions_before() {
        let name = definition.name_any();
        if definition.spec.names.kind == "VitessRestore" {
            serve_only_as_v1alpha0(&mut definition);
        }
        definitions.patch(&name, &PatchParams::apply("helm"), &Patch::Apply(definition)).await.unwrap();
    }
    let fields = |lacking: &Lacking, kind: &str| lacking.get(kind).cloned().flatten().unwrap_or_default();
    within("the definitions of before", 60, async || {
        let lacking = lacking(&server.client).await.unwrap();
        ["VitessBackup", "VitessBackupStorage"].iter().all(|kind| !fields(&lacking, kind).is_empty())
            && lacking.get("VitessRestore") == Some(&None)
    })
    .await;
    let lacks = lacking(&server.client).await.unwrap();
    assert_eq!(lacks.len(), api::custom_resource_definitions().len(), "{lacks:?}");
    assert!(fields(&lacks, "VitessBackup").contains(&"spec.cancel".to_owned()), "{lacks:?}");
    assert!(fields(&lacks, "VitessBackup").contains(&"status.phase: \"Incomplete\"".to_owned()), "{lacks:?}");

    let mut refusing = operator(&server, folder.path(), "refusing");
    let mut ended = None;
    within("the operator to give up", 180, async || {
        ended = refusing.ended();
        ended.is_some()
    })
    .await;
    let said = refusing.log();
    assert!(!ended.unwrap().success(), "{said}");
    assert!(said.contains(&refusal(&lacks).unwrap()), "{said}");
    for words in [
        "the CustomResourceDefinitions of this cluster are older than this operator",
        "VitessBackup lacks spec.cancel, ",
        "VitessBackupStorage lacks spec.inventoryInterval, ",
        "VitessRestore is not served as v1alpha1",
        "VitessTopologyBackup is not served as v1alpha1",
    ] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    assert!(!said.contains("leading"), "{said}");

    run_remedy(&server, &refusal(&lacks).unwrap());
    let working = operator(&server, folder.path(), "working");
    within("the operator to lead", 120, async || working.log().contains("leading")).await;
    assert_eq!(lacking(&server.client).await.unwrap(), Lacking::new());
    working.stop();
}
