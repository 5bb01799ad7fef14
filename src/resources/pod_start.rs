//! What the webhook adds to a tablet's pod that names a VitessRestore of trigger PodStart: two init containers, the storage's
//! volumes and credentials. And the JSON patch that adds them.

use k8s_openapi::api::core::v1::{
    Container, EnvVar, PersistentVolumeClaimVolumeSource, Pod, PodSpec, SecurityContext, Volume, VolumeMount,
};
use serde_json::{Value, json};

use super::attach::{DEFAULT_VTDATAROOT, mysqlctld};
use super::command::{self, Seat, TERMINATION_LOG};
use super::flags::{self, Flags};
use super::names::{ANNOTATION_UID_BASE, RESTORE_OF};
use super::pod::{
    BINARY_DIR, BINARY_VOLUME, TMP_VOLUME, binary_mount, empty, needs_tmp, non_empty, resources, tmp_mount,
};
use super::settings::Settings;
use super::storage::{self, StorageInPod, is_identity};
use super::tablet::Tablet;
use crate::api::{BootstrapType, Trigger, VitessBackupStorage, VitessRestore};
use crate::topo::TabletAlias;

/// The init container that restores, also in a pod template that a person writes.
pub const RESTORE_CONTAINER: &str = "vitess-backup-restore";
/// The one that brings the engine into the tablet's image.
pub const INSTALL_CONTAINER: &str = "vitess-backup-install";
/// What Kubernetes itself labels a StatefulSet's pod with.
const LABEL_POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The VitessRestore that a pod names, by label or annotation.
pub fn restore_of(pod: &Pod) -> Option<&str> {
    let meta = &pod.metadata;
    let label = meta.labels.as_ref().and_then(|labels| labels.get(RESTORE_OF));
    let annotation = meta.annotations.as_ref().and_then(|annotations| annotations.get(RESTORE_OF));
    label.or(annotation).map(String::as_str).filter(|name| !name.is_empty())
}

/// Whether this init container restores when its pod starts, by its name or its flags.
pub fn restores_on_start(container: &Container) -> bool {
    container.name == RESTORE_CONTAINER || Flags::of(container).has("on-pod-start")
}

/// What is added to a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Injection {
    pub init_containers: Vec<Container>,
    pub volumes: Vec<Volume>,
    /// What whoever creates the pod should know.
    pub warnings: Vec<String>,
}

/// Why nothing can be added. The texts say what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InjectProblem {
    #[error(
        "VitessRestore {name} has trigger Now: a pod can only follow one of trigger PodStart; name another in the label \
         {RESTORE_OF}"
    )]
    NotOnPodStart { name: String },
    #[error(
        "the pod has no container that runs mysqlctld (containers: {containers}): name it in the operator's setting \
         tablets.mysqldContainer, or take the label {RESTORE_OF} off a pod that is no tablet"
    )]
    NoMysqlctld { containers: String },
    #[error(
        "which tablet the pod is cannot be seen: give mysqlctld --tablet-uid or vttablet --tablet-path as plain values, or \
         the pod the label {label}, or, where a StatefulSet's pods have uids one after the other, the annotation \
         {ANNOTATION_UID_BASE} with the first one's"
    )]
    NoUid { label: String },
    #[error(
        "the pod is a tablet of {pod}, and VitessRestore {name} is for {restore}: name that shard's in the label {RESTORE_OF}"
    )]
    OtherShard { name: String, pod: String, restore: String },
}

/// The init containers and volumes for this pod; nothing when it has one already that restores.
///
/// # Errors
/// [`InjectProblem`]: such a pod must not start, because it would start empty.
pub fn injection(
    pod: &Pod,
    restore: &VitessRestore,
    stored: &VitessBackupStorage,
    settings: &Settings,
) -> Result<Option<Injection>, InjectProblem> {
    let name = restore.metadata.name.clone().unwrap_or_default();
    if restore.spec.trigger != Trigger::PodStart {
        return Err(InjectProblem::NotOnPodStart { name });
    }
    let spec = pod.spec.clone().unwrap_or_default();
    if spec.init_containers.iter().flatten().any(restores_on_start) {
        return Ok(None);
    }
    let container = mysqlctld(&spec.containers, settings).ok_or_else(|| InjectProblem::NoMysqlctld {
        containers: spec.containers.iter().map(|container| container.name.as_str()).collect::<Vec<_>>().join(", "),
    })?;
    if let Some(tablet) = Tablet::read(pod, settings)
        && tablet.shard != restore.spec.shard
    {
        let (pod, restore) = (tablet.shard.to_string(), restore.spec.shard.to_string());
        return Err(InjectProblem::OtherShard { name, pod, restore });
    }
    let seat = seat(pod, &spec, container, restore, settings)?;
    let mut in_pod = storage::in_pod(&stored.spec);
    let volumes = shared_claims(&spec, &mut in_pod);
    let warnings = identity_warning(&spec, &in_pod).into_iter().collect();
    let args = command::restore_on_pod_start(&restore.spec, &seat, &in_pod.args);
    Ok(Some(build(&spec, container, &in_pod, restore, args, volumes, settings, warnings)))
}

#[allow(clippy::too_many_arguments)] // the parts, found
fn build(
    spec: &PodSpec,
    container: &Container,
    in_pod: &StorageInPod,
    restore: &VitessRestore,
    args: Vec<String>,
    volumes: Vec<Volume>,
    settings: &Settings,
    warnings: Vec<String>,
) -> Injection {
    // The tablet's own rights: what its pod may, its init container may.
    let security = container.security_context.clone();
    let mounts: Vec<VolumeMount> = container.volume_mounts.clone().unwrap_or_default();
    let tmp = needs_tmp(&security.clone().unwrap_or_default(), &mounts);
    // Requests of init containers count beside those of the others, not on top: the tablet's own cost nothing more.
    let template = restore.spec.pod_template.as_ref().and_then(|template| template.resources.as_ref());
    let resources = resources(template).or_else(|| container.resources.clone());
    let install = Container {
        name: INSTALL_CONTAINER.to_owned(),
        image: Some(settings.operator_image.clone()),
        image_pull_policy: Some(settings.image_pull_policy.clone()),
        args: Some(vec!["install-binary".to_owned(), format!("{BINARY_DIR}/vitess-backup")]),
        volume_mounts: Some(vec![binary_mount()]),
        resources: resources.clone(),
        security_context: Some(SecurityContext {
            read_only_root_filesystem: Some(true),
            ..security.clone().unwrap_or_default()
        }),
        ..Container::default()
    };
    let restoring = Container {
        name: RESTORE_CONTAINER.to_owned(),
        image: container.image.clone(),
        image_pull_policy: container.image_pull_policy.clone(),
        command: Some(vec![format!("{BINARY_DIR}/vitess-backup")]),
        args: Some(args),
        env: non_empty(environment(container, in_pod)),
        env_from: container.env_from.clone(),
        volume_mounts: Some(
            mounts
                .into_iter()
                .chain(in_pod.mounts.clone())
                .chain([binary_mount()])
                .chain(tmp.then(tmp_mount))
                .collect(),
        ),
        resources,
        security_context: security,
        termination_message_path: Some(TERMINATION_LOG.to_owned()),
        ..Container::default()
    };
    let own = [empty(BINARY_VOLUME)].into_iter().chain(tmp.then(|| empty(TMP_VOLUME)));
    let known = |volume: &Volume| spec.volumes.iter().flatten().any(|known| known.name == volume.name);
    Injection {
        init_containers: vec![install, restoring],
        volumes: volumes.into_iter().chain(own).filter(|volume| !known(volume)).collect(),
        warnings,
    }
}

/// What the pod's flags, labels and variables say of the tablet, as Vitess reads them.
fn seat(
    pod: &Pod,
    spec: &PodSpec,
    container: &Container,
    restore: &VitessRestore,
    settings: &Settings,
) -> Result<Seat, InjectProblem> {
    let own = Flags::of(container);
    let everywhere = |name: &str| {
        let found = spec.containers.iter().map(Flags::of).find_map(|flags| flags.get(name).map(str::to_owned));
        own.get(name).map(str::to_owned).or(found)
    };
    let label = |key: &str| pod.metadata.labels.as_ref()?.get(key).cloned();
    let path: Option<TabletAlias> = everywhere("tablet-path").and_then(|path| path.parse().ok());
    let uid = own.get("tablet-uid").and_then(|uid| uid.parse().ok()).or_else(|| path.as_ref().map(TabletAlias::uid));
    let uid = uid.or_else(|| label(&settings.tablet_labels.uid)?.parse().ok()).or_else(|| uid_by_ordinal(pod));
    let uid: u32 = uid.ok_or_else(|| InjectProblem::NoUid { label: settings.tablet_labels.uid.clone() })?;
    let by_labels = || label(&settings.tablet_labels.cell).and_then(|cell| TabletAlias::new(&cell, uid).ok());
    let alias = path.filter(|path| path.uid() == uid).or_else(by_labels);
    let root = flags::variable(container, "VTDATAROOT").unwrap_or(DEFAULT_VTDATAROOT).trim_end_matches('/');
    let directory = own.get("tablet-dir").map_or_else(|| format!("vt_{uid:010}"), str::to_owned);
    let bootstrap = restore.spec.bootstrap.as_ref().and_then(|bootstrap| bootstrap.tablet_type);
    let tablet_type = bootstrap.map(|kind| match kind {
        BootstrapType::Replica => "replica".to_owned(),
        BootstrapType::Rdonly => "rdonly".to_owned(),
    });
    Ok(Seat {
        alias,
        uid,
        tablet_dir: format!("{root}/{directory}"),
        mysql_port: own.get("mysql-port").map(str::to_owned),
        mysql_socket: own.get("mysql-socket").map(str::to_owned),
        dba_user: everywhere("db-dba-user"),
        init_db_name_override: everywhere("init-db-name-override"),
        tablet_type: tablet_type.or_else(|| everywhere("init-tablet-type")),
    })
}

/// The uids of a StatefulSet's pods, where they come one after the other.
fn uid_by_ordinal(pod: &Pod) -> Option<u32> {
    let base: u32 = pod.metadata.annotations.as_ref()?.get(ANNOTATION_UID_BASE)?.parse().ok()?;
    let index = pod.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_POD_INDEX)).cloned();
    let by_name = || pod.metadata.name.as_ref()?.rsplit_once('-').map(|(_, ordinal)| ordinal.to_owned());
    base.checked_add(index.or_else(by_name)?.parse().ok()?)
}

/// The storage's volumes that the pod lacks. A claim that the pod mounts already is not mounted a second time, which not
/// every kubelet can do: the storage's mounts then name the pod's volume.
fn shared_claims(spec: &PodSpec, in_pod: &mut StorageInPod) -> Vec<Volume> {
    let mut missing = Vec::new();
    for volume in std::mem::take(&mut in_pod.volumes) {
        let claim = |volume: &Volume| volume.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.clone());
        let writable = |volume: &&Volume| {
            let source: Option<&PersistentVolumeClaimVolumeSource> = volume.persistent_volume_claim.as_ref();
            source.is_some_and(|claim| claim.read_only != Some(true))
        };
        let same = spec.volumes.iter().flatten().filter(writable).find(|known| claim(known) == claim(&volume));
        match same.filter(|_| volume.persistent_volume_claim.is_some()) {
            Some(known) => {
                let mounts = in_pod.mounts.iter_mut().filter(|mount| mount.name == volume.name);
                mounts.for_each(|mount| mount.name.clone_from(&known.name));
            }
            None => missing.push(volume),
        }
    }
    missing
}

/// A pod has one service account, and that is the tablet's.
fn identity_warning(spec: &PodSpec, in_pod: &StorageInPod) -> Option<String> {
    let wanted = in_pod.service_account_name.as_ref()?;
    let own = spec.service_account_name.as_deref().unwrap_or("default");
    (own != wanted).then(|| {
        format!(
            "the storage is for service account {wanted} and this pod runs as {own}: its init container reads backups with \
             the identity of {own}"
        )
    })
}

fn environment(container: &Container, in_pod: &StorageInPod) -> Vec<EnvVar> {
    // Without credentials of the storage's own the pod's identity is what there is.
    let kept = |env: &&EnvVar| in_pod.env.is_empty() || !is_identity(&env.name, in_pod);
    container.env.iter().flatten().filter(kept).chain(&in_pod.env).cloned().collect()
}

/// A JSON patch (RFC 6902) that adds it to `pod`, as the API server sent that: whole lists, so that fields which this
/// program does not know stay.
pub fn patch(pod: &Value, injection: &Injection) -> Value {
    let list = |name: &str| pod["spec"][name].as_array().cloned().unwrap_or_default();
    let added = |name: &str, more: Value| {
        let mut all = list(name);
        all.extend(more.as_array().cloned().unwrap_or_default());
        json!({"op": "add", "path": format!("/spec/{name}"), "value": all})
    };
    json!([added("initContainers", json!(injection.init_containers)), added("volumes", json!(injection.volumes)),])
}

#[cfg(test)]
#[path = "pod_start_tests.rs"]
mod tests;
