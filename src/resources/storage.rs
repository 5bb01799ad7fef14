//! A VitessBackupStorage as an engine pod has it: a volume, and the flags that point at it.

use k8s_openapi::api::core::v1::{
    HostPathVolumeSource, NFSVolumeSource, PersistentVolumeClaimVolumeSource, Volume, VolumeMount,
};

use crate::api::{FileStorage, VitessBackupStorageSpec};

/// Where engine pods mount the volume of a file storage.
pub const MOUNT_PATH: &str = "/backup-storage";
const VOLUME: &str = "vitess-backup-storage";

/// What a pod needs for a storage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StorageInPod {
    pub volume: Option<Volume>,
    pub mount: Option<VolumeMount>,
    pub args: Vec<String>,
}

/// The storage in a pod. A service that this version does not have gives no volume and no flags; the API server refuses
/// such objects, and plans do not accept them.
pub fn in_pod(storage: &VitessBackupStorageSpec) -> StorageInPod {
    let Some(FileStorage { persistent_volume_claim, nfs, host_path, root }) = &storage.file else {
        return StorageInPod::default();
    };
    let volume = Volume {
        name: VOLUME.to_owned(),
        persistent_volume_claim: persistent_volume_claim
            .as_ref()
            .map(|claim| PersistentVolumeClaimVolumeSource { claim_name: claim.claim_name.clone(), read_only: None }),
        nfs: nfs.as_ref().map(|nfs| NFSVolumeSource {
            server: nfs.server.clone(),
            path: nfs.path.clone(),
            read_only: None,
        }),
        host_path: host_path
            .as_ref()
            .map(|host| HostPathVolumeSource { path: host.path.clone(), type_: Some("Directory".to_owned()) }),
        ..Volume::default()
    };
    let mount = VolumeMount { name: VOLUME.to_owned(), mount_path: MOUNT_PATH.to_owned(), ..VolumeMount::default() };
    let parts = root.iter().flat_map(|root| root.split('/')).filter(|part| !part.is_empty() && *part != ".");
    let root = parts.fold(MOUNT_PATH.to_owned(), |path, part| format!("{path}/{part}"));
    let args = vec!["--backup-storage-implementation=file".to_owned(), format!("--file-backup-storage-root={root}")];
    StorageInPod { volume: Some(volume), mount: Some(mount), args }
}

/// The claim that a storage needs, if any.
pub fn claim(storage: &VitessBackupStorageSpec) -> Option<&str> {
    Some(storage.file.as_ref()?.persistent_volume_claim.as_ref()?.claim_name.as_str())
}
