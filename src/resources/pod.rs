//! Engine pods: twins of a tablet's mysqlctld container, and plain ones of the operator's own image.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, Container, EmptyDirVolumeSource, EnvVar, LocalObjectReference, NodeAffinity, NodeSelector,
    NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSecurityContext, PodSpec, ResourceRequirements, SeccompProfile,
    SecurityContext, Toleration, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::attach::Attachment;
use super::command::TERMINATION_LOG;
use super::settings::Settings;
use super::storage::{StorageInPod, is_identity};
use crate::api::{Amount, EngineResources, EngineSecurityContext, PodTemplate};

/// The name of the container that runs the engine.
pub const ENGINE_CONTAINER: &str = "engine";
pub(super) const BINARY_VOLUME: &str = "vitess-backup-binary";
pub(super) const BINARY_DIR: &str = "/vitess-backup-bin";
pub(super) const TMP_VOLUME: &str = "vitess-backup-tmp";
const TMP_DIR: &str = "/tmp";
/// Where a restore into a volume mounts it: what Vitess's own images have as VTDATAROOT.
pub const TARGET_PATH: &str = "/vt/vtdataroot";
const TARGET_VOLUME: &str = "vitess-backup-target";
/// The user and group of Vitess's own images, and of planetscale's operator.
const VITESS_USER: i64 = 999;
/// Long enough for the engine to start mysqld and replication again when it is told to stop.
const GRACE_SECONDS: i64 = 300;

/// An engine that works on a tablet's own volume: same node, image, user, volumes, paths and environment. The image's own
/// PATH is kept, so that XtraBackup's programs are found as the tablet would find them.
pub fn twin(
    pod: &Pod,
    attachment: &Attachment,
    settings: &Settings,
    storage: &StorageInPod,
    args: Vec<String>,
    template: &PodTemplate,
) -> PodSpec {
    let Attachment { container, node, volumes, mounts, .. } = attachment;
    let spec = pod.spec.clone().unwrap_or_default();
    let security = container_security(container.security_context.as_ref());
    let tmp = needs_tmp(&security, mounts);
    let engine_mounts =
        mounts.iter().chain(&storage.mounts).cloned().chain([binary_mount()]).chain(tmp.then(tmp_mount));
    let engine = Container {
        name: ENGINE_CONTAINER.to_owned(),
        image: container.image.clone(),
        image_pull_policy: container.image_pull_policy.clone(),
        command: Some(vec![binary()]),
        args: Some(args),
        env: non_empty(twin_env(container, pod, storage)),
        env_from: container.env_from.clone(),
        volume_mounts: Some(engine_mounts.collect()),
        resources: resources(template.resources.as_ref()),
        security_context: Some(security.clone()),
        termination_message_path: Some(TERMINATION_LOG.to_owned()),
        ..Container::default()
    };
    let install = install(settings, security, template);
    let own_volumes = [empty(BINARY_VOLUME)].into_iter().chain(tmp.then(|| empty(TMP_VOLUME)));
    PodSpec {
        init_containers: Some(vec![install]),
        containers: vec![engine],
        volumes: Some(volumes.iter().chain(&storage.volumes).cloned().chain(own_volumes).collect()),
        security_context: Some(pod_security(spec.security_context.unwrap_or_default())),
        image_pull_secrets: pull_secrets(spec.image_pull_secrets, settings),
        tolerations: non_empty(tolerations(spec.tolerations, template)),
        node_selector: selector(template),
        affinity: Some(on_node(node, template.affinity.clone())),
        runtime_class_name: spec.runtime_class_name,
        ..common(template, storage)
    }
}

/// Copies the binary into a pod of another image.
pub(super) fn install(settings: &Settings, security: SecurityContext, template: &PodTemplate) -> Container {
    Container {
        name: "install".to_owned(),
        image: Some(settings.operator_image.clone()),
        image_pull_policy: Some(settings.image_pull_policy.clone()),
        args: Some(vec!["install-binary".to_owned(), binary()]),
        volume_mounts: Some(vec![binary_mount()]),
        resources: resources(template.resources.as_ref()),
        security_context: Some(SecurityContext { read_only_root_filesystem: Some(true), ..security }),
        ..Container::default()
    }
}

/// Where it then is.
pub(super) fn binary() -> String {
    format!("{BINARY_DIR}/vitess-backup")
}

/// An engine that needs storage, and perhaps the volume `target`, and no tablet: the operator's own image.
pub fn plain(
    settings: &Settings,
    storage: &StorageInPod,
    target_claim: Option<&str>,
    args: Vec<String>,
    template: &PodTemplate,
) -> PodSpec {
    let target = target_claim.map(|claim_name| Volume {
        name: TARGET_VOLUME.to_owned(),
        persistent_volume_claim: Some(k8s_openapi::api::core::v1::PersistentVolumeClaimVolumeSource {
            claim_name: claim_name.to_owned(),
            read_only: None,
        }),
        ..Volume::default()
    });
    let target_mount = target_claim.map(|_| VolumeMount {
        name: TARGET_VOLUME.to_owned(),
        mount_path: TARGET_PATH.to_owned(),
        ..VolumeMount::default()
    });
    let security = container_security(None);
    let engine = Container {
        name: ENGINE_CONTAINER.to_owned(),
        image: Some(settings.operator_image.clone()),
        image_pull_policy: Some(settings.image_pull_policy.clone()),
        args: Some(args),
        env: non_empty(storage.env.clone()),
        volume_mounts: non_empty(storage.mounts.iter().cloned().chain(target_mount).collect()),
        resources: resources(template.resources.as_ref()),
        security_context: Some(SecurityContext { read_only_root_filesystem: Some(true), ..security }),
        termination_message_path: Some(TERMINATION_LOG.to_owned()),
        ..Container::default()
    };
    let EngineSecurityContext { run_as_user, run_as_group, fs_group, supplemental_groups } = identity(template);
    PodSpec {
        containers: vec![engine],
        volumes: non_empty(storage.volumes.iter().cloned().chain(target).collect()),
        security_context: Some(pod_security(PodSecurityContext {
            run_as_user,
            run_as_group,
            fs_group,
            supplemental_groups: non_empty(supplemental_groups),
            ..PodSecurityContext::default()
        })),
        image_pull_secrets: pull_secrets(None, settings),
        tolerations: non_empty(template.tolerations.clone()),
        node_selector: selector(template),
        affinity: template.affinity.clone(),
        ..common(template, storage)
    }
}

/// As whom a plain pod runs.
pub fn identity(template: &PodTemplate) -> EngineSecurityContext {
    template.security_context.clone().unwrap_or(EngineSecurityContext {
        run_as_user: Some(VITESS_USER),
        run_as_group: Some(VITESS_USER),
        fs_group: Some(VITESS_USER),
        supplemental_groups: Vec::new(),
    })
}

/// As whom a twin runs, as far as its pod says so: what a later pod must be to remove what this one wrote.
pub fn twin_identity(pod: &Pod, attachment: &Attachment) -> EngineSecurityContext {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.clone()).unwrap_or_default();
    let of_container = attachment.container.security_context.clone().unwrap_or_default();
    EngineSecurityContext {
        run_as_user: of_container.run_as_user.or(of_pod.run_as_user),
        run_as_group: of_container.run_as_group.or(of_pod.run_as_group),
        fs_group: of_pod.fs_group,
        supplemental_groups: of_pod.supplemental_groups.unwrap_or_default(),
    }
}

/// What every engine pod has: no way to the API server, no restarts, time to tidy up. A service account is only for who it
/// is to a cloud; its token for the API server stays away.
pub(super) fn common(template: &PodTemplate, storage: &StorageInPod) -> PodSpec {
    PodSpec {
        service_account_name: storage.service_account_name.clone(),
        restart_policy: Some("Never".to_owned()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        priority_class_name: template.priority_class_name.clone(),
        ..PodSpec::default()
    }
}

pub(super) fn binary_mount() -> VolumeMount {
    VolumeMount { name: BINARY_VOLUME.to_owned(), mount_path: BINARY_DIR.to_owned(), ..VolumeMount::default() }
}

/// Whether the engine's container has no place for temporary files: an emptyDir that the tablet has there is not shared.
/// XtraBackup keeps its own in my.cnf's tmpdir, which is on the tablet's volume, unless a my.cnf of somebody's own has none.
pub(super) fn needs_tmp(security: &SecurityContext, mounts: &[VolumeMount]) -> bool {
    let covered = mounts.iter().any(|mount| mount.mount_path.trim_end_matches('/') == TMP_DIR);
    security.read_only_root_filesystem == Some(true) && !covered
}

pub(super) fn tmp_mount() -> VolumeMount {
    VolumeMount { name: TMP_VOLUME.to_owned(), mount_path: TMP_DIR.to_owned(), ..VolumeMount::default() }
}

pub(super) fn empty(name: &str) -> Volume {
    Volume { name: name.to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() }
}

/// The pod's own user and groups, inside what Pod Security's `restricted` asks for.
pub(super) fn pod_security(own: PodSecurityContext) -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        fs_group_change_policy: own.fs_group.map(|_| "OnRootMismatch".to_owned()),
        seccomp_profile: Some(confined(own.seccomp_profile)),
        sysctls: None,
        ..own
    }
}

pub(super) fn container_security(own: Option<&SecurityContext>) -> SecurityContext {
    let own = own.cloned().unwrap_or_default();
    SecurityContext {
        run_as_user: own.run_as_user,
        run_as_group: own.run_as_group,
        se_linux_options: own.se_linux_options,
        read_only_root_filesystem: own.read_only_root_filesystem,
        run_as_non_root: Some(true),
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
        seccomp_profile: own.seccomp_profile.map(|profile| confined(Some(profile))),
        ..SecurityContext::default()
    }
}

fn confined(profile: Option<SeccompProfile>) -> SeccompProfile {
    let default = SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None };
    profile.filter(|profile| profile.type_ != "Unconfined").unwrap_or(default)
}

/// The container's variables. Those taken from the pod's own fields keep the tablet's values: a path made of them (a
/// subPathExpr, say) must come out the same here.
fn twin_env(container: &Container, pod: &Pod, storage: &StorageInPod) -> Vec<EnvVar> {
    let resolved = |env: &EnvVar| {
        let Some(source) = &env.value_from else { return Some(env.clone()) };
        if source.resource_field_ref.is_some() {
            return None;
        }
        let Some(field) = &source.field_ref else { return Some(env.clone()) };
        let value = field_value(pod, &field.field_path);
        Some(value.map_or_else(
            || env.clone(),
            |value| EnvVar { name: env.name.clone(), value: Some(value), value_from: None },
        ))
    };
    let own = container.env.iter().flatten().filter(|env| !is_identity(&env.name, storage)).filter_map(resolved);
    own.chain(storage.env.iter().cloned()).collect()
}

/// What the downward API would give the tablet's own containers.
fn field_value(pod: &Pod, path: &str) -> Option<String> {
    let (meta, spec, status) = (&pod.metadata, pod.spec.as_ref(), pod.status.as_ref());
    let keyed = |map: &Option<BTreeMap<String, String>>, prefix: &str| {
        let key = path.strip_prefix(prefix)?.strip_suffix("']")?;
        map.as_ref()?.get(key).cloned()
    };
    match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "spec.nodeName" => spec?.node_name.clone(),
        "spec.serviceAccountName" => spec?.service_account_name.clone(),
        "status.podIP" => status?.pod_ip.clone(),
        "status.hostIP" => status?.host_ip.clone(),
        _ => keyed(&meta.labels, "metadata.labels['").or_else(|| keyed(&meta.annotations, "metadata.annotations['")),
    }
}

/// Whether the pod has a volume of this claim.
pub fn mounts(pod: &Pod, claim: &str) -> bool {
    let volumes = pod.spec.iter().filter_map(|spec| spec.volumes.as_ref()).flatten();
    let mut claims = volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref());
    claims.any(|source| source.claim_name == claim)
}

/// Requires the node by its name, through the scheduler: a claim that waits for its first consumer is bound by the
/// scheduler only, so `spec.nodeName` would leave such a storage volume unbound for ever.
pub(super) fn on_node(node: &str, affinity: Option<Affinity>) -> Affinity {
    let this_node = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let mut affinity = affinity.unwrap_or_default();
    let node_affinity = affinity.node_affinity.get_or_insert_with(NodeAffinity::default);
    let required = node_affinity
        .required_during_scheduling_ignored_during_execution
        .get_or_insert_with(|| NodeSelector { node_selector_terms: vec![NodeSelectorTerm::default()] });
    // Terms are alternatives, so each of them has to name the node.
    for term in &mut required.node_selector_terms {
        term.match_fields.get_or_insert_default().push(this_node.clone());
    }
    affinity
}

pub(super) fn tolerations(of_other: Option<Vec<Toleration>>, template: &PodTemplate) -> Vec<Toleration> {
    let mut tolerations = of_other.unwrap_or_default();
    let known = tolerations.clone();
    tolerations.extend(template.tolerations.iter().filter(|toleration| !known.contains(toleration)).cloned());
    tolerations
}

pub(super) fn pull_secrets(
    of_tablet: Option<Vec<LocalObjectReference>>,
    settings: &Settings,
) -> Option<Vec<LocalObjectReference>> {
    let mut secrets = of_tablet.unwrap_or_default();
    for name in &settings.image_pull_secrets {
        let reference = LocalObjectReference { name: name.clone() };
        if !secrets.contains(&reference) {
            secrets.push(reference);
        }
    }
    non_empty(secrets)
}

pub(super) fn selector(template: &PodTemplate) -> Option<BTreeMap<String, String>> {
    Some(template.node_selector.clone()).filter(|selector| !selector.is_empty())
}

pub(super) fn resources(wanted: Option<&EngineResources>) -> Option<ResourceRequirements> {
    let EngineResources { requests, limits } = wanted?;
    let amounts = |map: &BTreeMap<String, Amount>| {
        let quantities: BTreeMap<String, Quantity> =
            map.iter().map(|(name, Amount(text))| (name.clone(), Quantity(text.clone()))).collect();
        Some(quantities).filter(|quantities| !quantities.is_empty())
    };
    Some(ResourceRequirements { requests: amounts(requests), limits: amounts(limits), claims: None })
}

pub(super) fn non_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}
