//! The Jobs of a run, from what was accepted.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;

use super::accept::Attached;
use super::draft::Draft;
use super::topology::KIND as TOPOLOGY_BACKUP;
use crate::api::{
    EngineJob, EngineSecurityContext, GoDuration, PodTemplate, RestoreTarget, Verify, VitessBackupSpec,
    VitessBackupStorage, VitessRestoreSpec, VitessTopologyBackupSpec, VolumeTarget,
};
use crate::backup::topology::TopologyServer;
use crate::resources::command::{self, RestoreOnto, Terms};
use crate::resources::drill::{self, DrillImage};
use crate::resources::{job, pod, storage, topology};

/// How long putting a tablet back, or removing a backup, may take.
pub const SHORT_DEADLINE: GoDuration = GoDuration(Duration::from_secs(30 * 60));

pub fn backup(
    draft: &Draft<'_>,
    spec: &VitessBackupSpec,
    attached: &Attached,
    stored: &VitessBackupStorage,
    planned: &EngineJob,
    terms: Terms,
) -> Job {
    let Attached { tablet, attachment } = attached;
    let in_pod = storage::in_pod(&stored.spec);
    let started = draft.status.start_time.as_ref().map_or(draft.now, |time| time.0);
    let args = command::backup(spec, &tablet.alias, &tablet.shard, attachment, &in_pod.args, terms, started);
    let template = spec.pod_template.clone().unwrap_or_default();
    let pod = pod::twin(&tablet.pod, attachment, &draft.seen.settings, &in_pod, args, &template);
    job::job(&draft.owner, planned.purpose, planned.number, spec.deadline.0, pod, &template, &draft.seen.settings)
}

/// What a restore is to work on.
pub enum Onto<'a> {
    Tablet(&'a Attached),
    Volume(&'a VolumeTarget),
}

pub fn restore(
    draft: &Draft<'_>,
    spec: &VitessRestoreSpec,
    onto: &Onto<'_>,
    stored: &VitessBackupStorage,
    planned: &EngineJob,
) -> Job {
    let in_pod = storage::in_pod(&stored.spec);
    let settings = &draft.seen.settings;
    let (pod, template) = match onto {
        Onto::Tablet(Attached { tablet, attachment }) => {
            let onto = RestoreOnto::Tablet { alias: &tablet.alias, attachment };
            let args = command::restore(spec, &onto, &in_pod.args);
            let template = spec.pod_template.clone().unwrap_or_default();
            (pod::twin(&tablet.pod, attachment, settings, &in_pod, args, &template), template)
        }
        Onto::Volume(volume) => {
            let onto = RestoreOnto::Files { tablet_dir: tablet_dir(volume) };
            let args = command::restore(spec, &onto, &in_pod.args);
            let template = merged(spec.pod_template.as_ref(), stored.spec.pod_template.as_ref());
            (pod::plain(settings, &in_pod, Some(&volume.claim_name), args, &template), template)
        }
    };
    job::job(&draft.owner, planned.purpose, planned.number, spec.deadline.0, pod, &template, settings)
}

/// Where a restore into a volume puts the tablet: `<mount>/<root>/vt_0000000101`.
fn tablet_dir(volume: &VolumeTarget) -> String {
    let parts = volume.root.iter().flat_map(|root| root.split('/')).filter(|part| !part.is_empty() && *part != ".");
    let root = parts.fold(pod::TARGET_PATH.to_owned(), |path, part| format!("{path}/{part}"));
    format!("{root}/vt_{:010}", volume.tablet_uid)
}

/// Puts a tablet back. It is nobody's dependent: deleting the run's object in the foreground must not stop it.
pub fn recover(
    draft: &Draft<'_>,
    attached: &Attached,
    stored: Option<&VitessBackupStorage>,
    template: &PodTemplate,
    planned: &EngineJob,
) -> Job {
    let Attached { tablet, attachment } = attached;
    let in_pod = stored.map(|stored| storage::in_pod(&stored.spec)).unwrap_or_default();
    let args = command::recover(attachment, &in_pod.args, SHORT_DEADLINE);
    let pod = pod::twin(&tablet.pod, attachment, &draft.seen.settings, &in_pod, args, template);
    independent(draft, planned, pod, template)
}

/// The Job of a topology server's backup.
pub fn topology_backup(
    draft: &Draft<'_>,
    spec: &VitessTopologyBackupSpec,
    server: TopologyServer,
    stored: &VitessBackupStorage,
    planned: &EngineJob,
) -> Job {
    let (settings, started) = (&draft.seen.settings, draft.status.start_time.as_ref().map_or(draft.now, |time| time.0));
    let mut in_pod = storage::in_pod(&stored.spec);
    let args = topology::backup(spec, server, started, &mut in_pod);
    let mut template = merged(spec.pod_template.as_ref(), stored.spec.pod_template.as_ref());
    let claims = topology::claims(spec);
    if !claims.is_empty() {
        template = topology::beside(draft.seen.user_of(&claims), draft.seen.is_for_all_nodes(&claims), template);
    }
    let pod = pod::plain(settings, &in_pod, None, args, &template);
    job::job(&draft.owner, planned.purpose, planned.number, spec.deadline.0, pod, &template, settings)
}

/// As whom the engine of a topology server's backup runs.
pub fn topology_identity(spec: &VitessTopologyBackupSpec, stored: &VitessBackupStorage) -> EngineSecurityContext {
    pod::identity(&merged(spec.pod_template.as_ref(), stored.spec.pod_template.as_ref()))
}

/// Removes a backup's data. Nobody's dependent either.
pub fn remove(
    draft: &Draft<'_>,
    stored: &VitessBackupStorage,
    template: Option<&PodTemplate>,
    planned: &EngineJob,
    shard: &str,
    backup_name: &str,
) -> Job {
    let in_pod = storage::in_pod(&stored.spec);
    let args = match draft.owner.kind {
        TOPOLOGY_BACKUP => topology::remove(backup_name, &in_pod.args, SHORT_DEADLINE, draft.forces_removal()),
        _ => command::remove(shard, backup_name, &in_pod.args, SHORT_DEADLINE, draft.forces_removal()),
    };
    let template = as_the_writer(draft, merged(template, stored.spec.pod_template.as_ref()));
    let pod = pod::plain(&draft.seen.settings, &in_pod, None, args, &template);
    independent(draft, planned, pod, &template)
}

/// Verifies a backup that is there: with the storage alone, or with a mysqld of `image` too.
pub fn verify(
    draft: &Draft<'_>,
    spec: &VitessBackupSpec,
    stored: &VitessBackupStorage,
    planned: &EngineJob,
    level: Verify,
    image: Option<DrillImage>,
    backup: (&str, &str),
) -> Job {
    let (shard, name) = backup;
    let in_pod = storage::in_pod(&stored.spec);
    let settings = &draft.seen.settings;
    let args = command::verify(spec, level, shard, name, &in_pod.args);
    let template = as_the_writer(draft, merged(spec.pod_template.as_ref(), stored.spec.pod_template.as_ref()));
    let scratch = spec.drill.as_ref().and_then(|drill| drill.scratch.as_ref());
    let pod = match image {
        Some(image) => drill::pod(settings, &in_pod, image, scratch, args, &template),
        None => pod::plain(settings, &in_pod, None, args, &template),
    };
    job::job(&draft.owner, planned.purpose, planned.number, spec.deadline.0, pod, &template, settings)
}

/// Whoever wrote the files may read and remove them.
fn as_the_writer(draft: &Draft<'_>, mut template: PodTemplate) -> PodTemplate {
    if template.security_context.is_none() {
        template.security_context = draft.status.ran_as.clone().filter(|ran_as| ran_as.run_as_user.is_some());
    }
    template
}

fn independent(
    draft: &Draft<'_>,
    planned: &EngineJob,
    pod: k8s_openapi::api::core::v1::PodSpec,
    template: &PodTemplate,
) -> Job {
    let EngineJob { purpose, number, .. } = planned;
    let mut job = job::job(&draft.owner, *purpose, *number, SHORT_DEADLINE.0, pod, template, &draft.seen.settings);
    job.metadata.owner_references = None;
    if let Some(spec) = &mut job.spec {
        spec.ttl_seconds_after_finished = Some(draft.seen.settings.finished_pod_ttl_seconds);
    }
    job
}

/// As whom the engine of this run runs.
pub fn identity(attached: &Attached) -> EngineSecurityContext {
    pod::twin_identity(&attached.tablet.pod, &attached.attachment)
}

/// What the run says, and the storage's word where it says nothing.
fn merged(run: Option<&PodTemplate>, storage: Option<&PodTemplate>) -> PodTemplate {
    let first = run.cloned().unwrap_or_default();
    let second = storage.cloned().unwrap_or_default();
    let PodTemplate {
        labels,
        annotations,
        resources,
        tolerations,
        node_selector,
        affinity,
        priority_class_name,
        security_context,
    } = first;
    PodTemplate {
        labels: second.labels.into_iter().chain(labels).collect(),
        annotations: second.annotations.into_iter().chain(annotations).collect(),
        resources: resources.or(second.resources),
        tolerations: if tolerations.is_empty() { second.tolerations } else { tolerations },
        node_selector: second.node_selector.into_iter().chain(node_selector).collect(),
        affinity: affinity.or(second.affinity),
        priority_class_name: priority_class_name.or(second.priority_class_name),
        security_context: security_context.or(second.security_context),
    }
}

/// The tablet that a restore is to work on, and the volume, of which exactly one is set.
pub fn targets(target: Option<&RestoreTarget>) -> (Option<&crate::topo::TabletAlias>, Option<&VolumeTarget>) {
    let Some(RestoreTarget { tablet, persistent_volume_claim }) = target else { return (None, None) };
    (tablet.as_ref(), persistent_volume_claim.as_ref())
}
