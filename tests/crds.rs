//! The CustomResourceDefinitions that are checked in are those of the code.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;

fn directory() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/crd")
}

#[test]
fn the_checked_in_definitions_are_those_of_the_code() {
    let documents = vitess_backup::cli::crd::documents().unwrap();
    for (name, text) in &documents {
        let path = directory().join(name);
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            stored == *text,
            "{} is not what the code says: run `cargo run -- crd --output-dir config/crd`",
            path.display()
        );
    }
    let expected: BTreeSet<String> = documents.into_iter().map(|(name, _)| name).collect();
    let found: BTreeSet<String> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(found, expected, "config/crd has files that the code knows nothing of, or lacks some");
}

#[test]
fn a_run_may_be_told_to_stop_and_every_other_field_of_it_stays_as_it_is() {
    for crd in vitess_backup::api::custom_resource_definitions() {
        let kind = crd.spec.names.kind.clone();
        let schema = crd.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
        let spec = schema.properties.unwrap().remove("spec").unwrap();
        let fields: BTreeSet<String> = spec.properties.unwrap().into_keys().collect();
        let rules = spec.x_kubernetes_validations.unwrap_or_default();
        let unchanged =
            rules.iter().find(|rule| rule.message.as_ref().is_some_and(|m| m.contains("cannot be changed")));
        if !fields.contains("cancel") {
            // A storage's spec may change; of a topology backup nothing may.
            let rule = unchanged.map(|rule| rule.rule.as_str());
            assert_eq!(rule, (kind == "VitessTopologyBackup").then_some("self == oldSelf"), "{kind}");
            continue;
        }
        let rule = &unchanged.unwrap().rule;
        for field in fields {
            let compared = rule.contains(&format!("self.{field} == oldSelf.{field})"));
            assert_eq!(compared, field != "cancel", "{kind}.{field}: {rule}");
        }
    }
}

#[test]
fn the_kinds_have_no_short_names_and_one_category() {
    // vtb and vtbs are those of planetscale's operator, which owns a VitessBackup of its own.
    for crd in vitess_backup::api::custom_resource_definitions() {
        assert_eq!(crd.spec.names.short_names, None, "{}", crd.spec.names.kind);
        assert_eq!(crd.spec.names.categories.as_deref(), Some(&["vitess-backup".to_owned()][..]));
        assert!(crd.spec.versions.iter().all(|version| version.subresources.is_some()), "{}", crd.spec.names.kind);
    }
}
