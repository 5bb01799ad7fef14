//! The pod of a drill: an image that has mysqld, the storage, and a scratch volume. Nothing of a tablet is in it.

use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, EnvVar, EphemeralVolumeSource, LocalObjectReference, PersistentVolumeClaimSpec,
    PersistentVolumeClaimTemplate, PodSecurityContext, PodSpec, SecurityContext, Volume, VolumeMount,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::attach;
use super::command::{SCRATCH_PATH, TERMINATION_LOG};
use super::flags::variable;
use super::pod::{self, ENGINE_CONTAINER};
use super::settings::Settings;
use super::storage::StorageInPod;
use super::tablet::Tablet;
use crate::api::{Amount, EngineSecurityContext, PodTemplate, Scratch, ScratchEmptyDir, ScratchVolume};

const SCRATCH_VOLUME: &str = "vitess-backup-scratch";
/// How a tablet's container may say where its image has MySQL.
const VARIABLES: [&str; 3] = ["VT_MYSQL_ROOT", "VT_MYSQL_BASEDIR", "EXTRA_MY_CNF"];

/// Where a drill's mysqld comes from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DrillImage {
    pub image: String,
    /// What the tablet's container says of MySQL's place in it.
    pub env: Vec<EnvVar>,
    pub pull_secrets: Option<Vec<LocalObjectReference>>,
}

impl DrillImage {
    /// The image that is named, else the tablet's own; of the tablet in any case how it is pulled and where MySQL is in it.
    pub fn of(named: Option<&str>, tablet: Option<&Tablet>, settings: &Settings) -> Option<Self> {
        let spec = tablet.and_then(|tablet| tablet.pod.spec.as_ref());
        let container = spec.and_then(|spec| attach::mysqlctld(&spec.containers, settings));
        let own = container.and_then(|container| container.image.clone());
        let of_container = |name: &str| {
            let value = container.and_then(|container| variable(container, name))?;
            Some(EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None })
        };
        Some(Self {
            image: named.map(str::to_owned).or(own)?,
            env: VARIABLES.into_iter().filter_map(of_container).collect(),
            pull_secrets: spec.and_then(|spec| spec.image_pull_secrets.clone()),
        })
    }
}

/// The engine in that image, with the binary copied in as into a tablet's twin.
pub fn pod(
    settings: &Settings,
    storage: &StorageInPod,
    image: DrillImage,
    scratch: Option<&Scratch>,
    args: Vec<String>,
    template: &PodTemplate,
) -> PodSpec {
    let DrillImage { image, env, pull_secrets } = image;
    let security = SecurityContext { read_only_root_filesystem: Some(true), ..pod::container_security(None) };
    let own_mounts = [mount(SCRATCH_VOLUME, SCRATCH_PATH), pod::binary_mount(), pod::tmp_mount()];
    let engine = Container {
        name: ENGINE_CONTAINER.to_owned(),
        image: Some(image),
        command: Some(vec![pod::binary()]),
        args: Some(args),
        env: pod::non_empty(env.into_iter().chain(storage.env.iter().cloned()).collect()),
        volume_mounts: Some(storage.mounts.iter().cloned().chain(own_mounts).collect()),
        resources: pod::resources(template.resources.as_ref()),
        security_context: Some(security.clone()),
        termination_message_path: Some(TERMINATION_LOG.to_owned()),
        ..Container::default()
    };
    let own_volumes = [scratch_volume(scratch), pod::empty(pod::BINARY_VOLUME), pod::empty(pod::TMP_VOLUME)];
    let EngineSecurityContext { run_as_user, run_as_group, fs_group, supplemental_groups } = pod::identity(template);
    PodSpec {
        init_containers: Some(vec![pod::install(settings, security, template)]),
        containers: vec![engine],
        volumes: Some(storage.volumes.iter().cloned().chain(own_volumes).collect()),
        security_context: Some(pod::pod_security(PodSecurityContext {
            run_as_user,
            run_as_group,
            // Without a group of its own the user could not write to a volume that was just made.
            fs_group: fs_group.or(run_as_group),
            supplemental_groups: pod::non_empty(supplemental_groups),
            ..PodSecurityContext::default()
        })),
        image_pull_secrets: pod::pull_secrets(pull_secrets, settings),
        tolerations: pod::non_empty(template.tolerations.clone()),
        node_selector: pod::selector(template),
        affinity: template.affinity.clone(),
        ..pod::common(template, storage)
    }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

fn scratch_volume(scratch: Option<&Scratch>) -> Volume {
    let Scratch { empty_dir, ephemeral } = scratch.cloned().unwrap_or_default();
    let volume = Volume { name: SCRATCH_VOLUME.to_owned(), ..Volume::default() };
    let Some(ScratchVolume { storage_class_name, size: Amount(size) }) = ephemeral else {
        let size_limit = empty_dir.and_then(|ScratchEmptyDir { size_limit }| size_limit);
        let size_limit = size_limit.map(|Amount(size)| Quantity(size));
        return Volume { empty_dir: Some(EmptyDirVolumeSource { size_limit, ..Default::default() }), ..volume };
    };
    let requests = [("storage".to_owned(), Quantity(size))].into();
    let spec = PersistentVolumeClaimSpec {
        access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
        storage_class_name,
        resources: Some(VolumeResourceRequirements { requests: Some(requests), limits: None }),
        ..PersistentVolumeClaimSpec::default()
    };
    let template = PersistentVolumeClaimTemplate { metadata: None, spec };
    Volume { ephemeral: Some(EphemeralVolumeSource { volume_claim_template: Some(template) }), ..volume }
}

#[cfg(test)]
#[path = "drill_tests.rs"]
mod tests;
