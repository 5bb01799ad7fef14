//! The Job around an engine pod.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::names;
use super::settings::Settings;
use crate::api::{GROUP, JobPurpose, PodTemplate, VERSION};

/// What a Job may take on top of the engine's own deadline, for pulling images, scheduling and tidying up.
const MARGIN: Duration = Duration::from_secs(30 * 60);

/// The object that a Job belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `VitessBackup` or `VitessRestore`.
    pub kind: &'static str,
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

impl Owner {
    pub fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: format!("{GROUP}/{VERSION}"),
            kind: self.kind.to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    /// What every object that belongs to the run is labelled with.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let pairs = [
            ("app.kubernetes.io/managed-by", names::OPERATOR),
            (names::LABEL_RUN_KIND, self.kind),
            (names::LABEL_RUN_UID, &self.uid),
        ];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}

/// A Job that runs its pod once. `ttlSecondsAfterFinished` is not set here: it is set when the outcome is on the object, so
/// that no outcome is cleaned away unread.
pub fn job(
    owner: &Owner,
    purpose: JobPurpose,
    number: i32,
    deadline: Duration,
    spec: PodSpec,
    template: &PodTemplate,
    settings: &Settings,
) -> Job {
    let own_labels = owner.labels().into_iter().chain([
        ("app.kubernetes.io/name".to_owned(), "vitess-backup".to_owned()),
        ("app.kubernetes.io/component".to_owned(), "engine".to_owned()),
        (names::LABEL_PURPOSE.to_owned(), names::purpose_text(purpose).to_owned()),
    ]);
    // A label that makes a pod a tablet would draw a tablet's traffic to the engine.
    let users = template
        .labels
        .iter()
        .filter(|(key, _)| !settings.tablet_labels.contains(key) && !settings.tablet_selector.contains_key(*key));
    let labels: BTreeMap<String, String> =
        users.map(|(key, value)| (key.clone(), value.clone())).chain(own_labels).collect();
    let run = (names::ANNOTATION_RUN.to_owned(), owner.name.clone());
    // Moving an engine pod means stopping it, which is a failed run.
    let stay = [
        ("cluster-autoscaler.kubernetes.io/safe-to-evict".to_owned(), "false".to_owned()),
        ("karpenter.sh/do-not-disrupt".to_owned(), "true".to_owned()),
    ];
    let pod_annotations = stay.into_iter().chain(template.annotations.clone()).chain([run.clone()]).collect();
    Job {
        metadata: ObjectMeta {
            name: Some(names::job_name(&owner.name, &owner.uid, purpose, number)),
            namespace: Some(owner.namespace.clone()),
            labels: Some(labels.clone()),
            annotations: Some(BTreeMap::from([run])),
            owner_references: Some(vec![owner.reference()]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            backoff_limit: Some(0),
            completions: Some(1),
            parallelism: Some(1),
            active_deadline_seconds: i64::try_from((deadline + MARGIN).as_secs()).ok(),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(pod_annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(spec),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
