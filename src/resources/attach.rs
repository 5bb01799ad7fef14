//! What an engine pod needs to know of a tablet's pod to be its twin: directory, sockets, and volumes that two pods share.

use k8s_openapi::api::core::v1::{Container, Volume, VolumeMount};

use super::flags::{self, Flags};
use super::settings::Settings;
use super::tablet::Tablet;

/// Where Vitess keeps its data when the pod does not say: what Vitess's own images set.
pub(super) const DEFAULT_VTDATAROOT: &str = "/vt/vtdataroot";

/// The tablet as the engine pod sees it: the same paths, on the same volumes.
#[derive(Clone, Debug, PartialEq)]
pub struct Attachment {
    /// The container that runs mysqlctld.
    pub container: Container,
    pub node: String,
    pub tablet_dir: String,
    pub mysqlctl_socket: String,
    /// Only when the pod says where it is; my.cnf says it otherwise.
    pub mysql_socket: Option<String>,
    /// The volumes that two pods can share, and where mysqlctld's container has them.
    pub volumes: Vec<Volume>,
    pub mounts: Vec<VolumeMount>,
    /// The claims among them.
    pub claims: Vec<String>,
}

/// Why no engine can work on a tablet's volume. The texts say what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachProblem {
    #[error("pod {pod} of the tablet has no node yet: its events say why (kubectl describe pod {pod})")]
    NotScheduled { pod: String },
    #[error(
        "pod {pod} has no container that runs mysqlctld (containers: {containers}): the engine stops and starts mysqld over \
         mysqlctld's socket; run mysqlctld beside vttablet, or name its container in the operator's setting \
         --mysqld-container"
    )]
    NoMysqlctld { pod: String, containers: String },
    #[error("container {container} of pod {pod} does not run ({state}): see kubectl logs {pod} -c {container}")]
    NotRunning { pod: String, container: String, state: String },
    #[error(
        "{what} {path} of pod {pod} is on {place}, which no other pod can mount: move it to the tablet directory on the \
         tablet's persistent volume ({fix}); modes that need no shared socket, Detached and Delegated, come with a later \
         version"
    )]
    NotShared { pod: String, what: &'static str, path: String, place: String, fix: &'static str },
    #[error(
        "claim {claim} of pod {pod} is ReadWriteOncePod, so that no engine can mount it beside the tablet: use \
         ReadWriteOnce"
    )]
    ReadWriteOncePod { pod: String, claim: String },
}

impl AttachProblem {
    /// The condition's reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotScheduled { .. } => "TabletNotScheduled",
            Self::NoMysqlctld { .. } => "MysqlctldNotFound",
            Self::NotRunning { .. } => "MysqlctldNotRunning",
            Self::NotShared { what: "the tablet directory", .. } => "TabletDirNotShared",
            Self::NotShared { .. } => "SocketNotShared",
            Self::ReadWriteOncePod { .. } => "VolumeNotShared",
        }
    }
}

impl Attachment {
    /// Reads the tablet's pod.
    ///
    /// # Errors
    /// When the pod is on no node, runs no mysqlctld, or has the tablet directory or a socket where no other pod can see it.
    pub fn of(tablet: &Tablet, settings: &Settings) -> Result<Self, AttachProblem> {
        let pod = tablet.pod_name().to_owned();
        let containers: &[Container] = tablet.pod.spec.as_ref().map_or(&[], |spec| &spec.containers);
        let node = tablet.pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let node = node.ok_or_else(|| AttachProblem::NotScheduled { pod: pod.clone() })?;
        let container = mysqlctld(containers, settings).ok_or_else(|| AttachProblem::NoMysqlctld {
            pod: pod.clone(),
            containers: containers.iter().map(|container| container.name.as_str()).collect::<Vec<_>>().join(", "),
        })?;

        let flags = Flags::of(container);
        let everywhere = |name: &str| {
            let found = containers.iter().map(Flags::of).find_map(|flags| flags.get(name).map(str::to_owned));
            flags.get(name).map(str::to_owned).or(found)
        };
        let root = flags::variable(container, "VTDATAROOT").unwrap_or(DEFAULT_VTDATAROOT).trim_end_matches('/');
        let directory = flags.get("tablet-dir").map_or_else(|| tablet.alias.directory_name(), str::to_owned);
        let tablet_dir = format!("{root}/{directory}");
        let mysqlctl_socket = flags.get("socket-file").map(str::to_owned);
        let mysqlctl_socket = mysqlctl_socket.or_else(|| everywhere("mysqlctl-socket"));
        let mysqlctl_socket = mysqlctl_socket.unwrap_or_else(|| format!("{tablet_dir}/mysqlctl.sock"));
        let mysql_socket = flags.get("mysql-socket").map(str::to_owned).or_else(|| everywhere("db-socket"));

        let shared = Shared { tablet, container, pod: &pod };
        shared.check(
            "the tablet directory",
            &tablet_dir,
            "mount the volume there, or set VTDATAROOT in the container's env",
        )?;
        let fix = "--socket-file of mysqlctld, --mysqlctl-socket of vttablet";
        shared.check("mysqlctld's socket", &mysqlctl_socket, fix)?;
        if let Some(socket) = &mysql_socket {
            shared.check("mysqld's socket", socket, "--mysql-socket of mysqlctld, --db-socket of vttablet")?;
        }
        let (volumes, mounts, claims) = shared.volumes();
        let container = container.clone();
        Ok(Self { container, node, tablet_dir, mysqlctl_socket, mysql_socket, volumes, mounts, claims })
    }

    /// Whether mysqlctld runs: a backup needs it; a restore may be what brings it back.
    ///
    /// # Errors
    /// [`AttachProblem::NotRunning`] with the container's state.
    pub fn check_running(&self, tablet: &Tablet) -> Result<(), AttachProblem> {
        let statuses = tablet.pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        let status = statuses.into_iter().flatten().find(|status| status.name == self.container.name);
        let state = status.and_then(|status| status.state.as_ref());
        if state.is_some_and(|state| state.running.is_some()) {
            return Ok(());
        }
        let waiting = state.and_then(|state| state.waiting.as_ref()).and_then(|waiting| waiting.reason.clone());
        let terminated = state.and_then(|state| state.terminated.as_ref()).and_then(|ended| ended.reason.clone());
        Err(AttachProblem::NotRunning {
            pod: tablet.pod_name().to_owned(),
            container: self.container.name.clone(),
            state: waiting.or(terminated).unwrap_or_else(|| "no state reported".to_owned()),
        })
    }
}

/// The container that runs mysqlctld.
pub(super) fn mysqlctld<'a>(containers: &'a [Container], settings: &Settings) -> Option<&'a Container> {
    if let Some(name) = &settings.mysqld_container {
        return containers.iter().find(|container| container.name == *name);
    }
    let named = |name: &str| containers.iter().find(|container| container.name == name);
    containers.iter().find(|container| flags::runs(container, "mysqlctld")).or_else(|| named("mysqlctld"))
}

struct Shared<'a> {
    tablet: &'a Tablet,
    container: &'a Container,
    pod: &'a str,
}

impl Shared<'_> {
    fn volume(&self, name: &str) -> Option<&Volume> {
        self.tablet.pod.spec.as_ref()?.volumes.as_ref()?.iter().find(|volume| volume.name == name)
    }

    /// The volume as another pod can have it: a generic ephemeral volume by its claim.
    fn shareable(&self, volume: &Volume) -> Option<Volume> {
        if volume.persistent_volume_claim.is_some() || volume.host_path.is_some() || volume.nfs.is_some() {
            return Some(volume.clone());
        }
        volume.ephemeral.as_ref()?;
        let claim_name = format!("{}-{}", self.pod, volume.name);
        let source = k8s_openapi::api::core::v1::PersistentVolumeClaimVolumeSource { claim_name, read_only: None };
        Some(Volume { name: volume.name.clone(), persistent_volume_claim: Some(source), ..Volume::default() })
    }

    fn check(&self, what: &'static str, path: &str, fix: &'static str) -> Result<(), AttachProblem> {
        let mounts = self.container.volume_mounts.iter().flatten();
        let covering =
            mounts.filter(|mount| covers(&mount.mount_path, path)).max_by_key(|mount| mount.mount_path.len());
        let volume = covering.and_then(|mount| self.volume(&mount.name));
        if volume.is_some_and(|volume| self.shareable(volume).is_some()) {
            return Ok(());
        }
        let place = match volume {
            Some(volume) => format!("volume {} ({})", volume.name, volume_kind(volume)),
            None => "the container's own file system".to_owned(),
        };
        Err(AttachProblem::NotShared { pod: self.pod.to_owned(), what, path: path.to_owned(), place, fix })
    }

    fn volumes(&self) -> (Vec<Volume>, Vec<VolumeMount>, Vec<String>) {
        let (mut volumes, mut mounts, mut claims): (Vec<Volume>, Vec<VolumeMount>, Vec<String>) = Default::default();
        for mount in self.container.volume_mounts.iter().flatten() {
            let Some(volume) = self.volume(&mount.name).and_then(|volume| self.shareable(volume)) else { continue };
            mounts.push(mount.clone());
            if volumes.iter().any(|known| known.name == volume.name) {
                continue;
            }
            claims.extend(volume.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.clone()));
            volumes.push(volume);
        }
        (volumes, mounts, claims)
    }
}

fn covers(mount: &str, path: &str) -> bool {
    let mount = mount.trim_end_matches('/');
    path.strip_prefix(mount).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn volume_kind(volume: &Volume) -> String {
    let value = serde_json::to_value(volume).unwrap_or_default();
    let mut keys = value.as_object().into_iter().flat_map(|fields| fields.keys());
    keys.find(|key| *key != "name").cloned().unwrap_or_else(|| "emptyDir".to_owned())
}

#[cfg(test)]
#[path = "attach_tests.rs"]
mod tests;
