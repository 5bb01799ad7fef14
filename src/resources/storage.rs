//! A VitessBackupStorage as an engine pod has it: the flags that point at it, and what they need in the pod.
//!
//! Secrets are named here and never read: the kubelet gives them to the pod.

use k8s_openapi::api::core::v1::{
    EnvVar, EnvVarSource, HostPathVolumeSource, NFSVolumeSource, PersistentVolumeClaimVolumeSource, SecretKeySelector,
    SecretVolumeSource, Volume, VolumeMount,
};

use crate::api::{
    AzblobStorage, CephStorage, FileStorage, GcsStorage, S3Storage, SecretKey, SecretName, ServerSideEncryption,
    VitessBackupStorageSpec,
};

/// Where engine pods mount the volume of a file storage.
pub const MOUNT_PATH: &str = "/backup-storage";
const VOLUME: &str = "vitess-backup-storage";

/// A Secret in a pod: the name of its volume, where it is mounted, and its key when none is given.
struct Place {
    volume: &'static str,
    path: &'static str,
    key: &'static str,
}

const CREDENTIALS: Place =
    Place { volume: "vitess-backup-credentials", path: "/backup-storage-credentials", key: "credentials" };
const CA: Place = Place { volume: "vitess-backup-ca", path: "/backup-storage-ca", key: "ca.crt" };
const CUSTOMER_KEY: Place =
    Place { volume: "vitess-backup-customer-key", path: "/backup-storage-customer-key", key: "key" };
const CEPH: Place =
    Place { volume: "vitess-backup-ceph", path: "/backup-storage-ceph", key: "ceph_backup_config.json" };

/// The keys of a Secret that are variables of the engine's container, under their own names.
const S3_VARIABLES: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
const AZBLOB_VARIABLES: [&str; 5] =
    ["VT_AZBLOB_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID"];
const AWS_FILE: &str = "AWS_SHARED_CREDENTIALS_FILE";
const GOOGLE_FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";

/// What a pod needs for a storage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StorageInPod {
    pub volumes: Vec<Volume>,
    pub mounts: Vec<VolumeMount>,
    /// Of the engine's container; they come before those of the tablet.
    pub env: Vec<EnvVar>,
    pub args: Vec<String>,
    pub service_account_name: Option<String>,
}

/// The storage in a pod. One that names no service gives nothing; the API server refuses such objects, and plans do not
/// accept them.
pub fn in_pod(storage: &VitessBackupStorageSpec) -> StorageInPod {
    let VitessBackupStorageSpec {
        file,
        s3,
        gcs,
        azblob,
        ceph,
        credentials_secret,
        service_account_name,
        inventory_interval: _,
        pod_template: _,
    } = storage;
    let mut pod = StorageInPod { service_account_name: service_account_name.clone(), ..StorageInPod::default() };
    let secret = credentials_secret.as_ref();
    match (file, s3, gcs, azblob, ceph) {
        (Some(file), ..) => pod.file(file),
        (_, Some(s3), ..) => pod.s3(s3, secret),
        (_, _, Some(gcs), ..) => pod.gcs(gcs, secret),
        (_, _, _, Some(azblob), _) => pod.azblob(azblob, secret),
        (.., Some(ceph)) => pod.ceph(ceph),
        _ => {}
    }
    pod
}

impl StorageInPod {
    /// For a pod that changes nothing.
    pub fn read_only(&mut self) {
        for mount in &mut self.mounts {
            mount.read_only = Some(true);
        }
    }

    fn file(&mut self, file: &FileStorage) {
        let FileStorage { persistent_volume_claim, nfs, host_path, root } = file;
        self.mount(
            MOUNT_PATH,
            Volume {
                name: VOLUME.to_owned(),
                persistent_volume_claim: persistent_volume_claim.as_ref().map(|claim| {
                    PersistentVolumeClaimVolumeSource { claim_name: claim.claim_name.clone(), read_only: None }
                }),
                nfs: nfs.as_ref().map(|nfs| NFSVolumeSource {
                    server: nfs.server.clone(),
                    path: nfs.path.clone(),
                    read_only: None,
                }),
                host_path: host_path
                    .as_ref()
                    .map(|host| HostPathVolumeSource { path: host.path.clone(), type_: Some("Directory".to_owned()) }),
                ..Volume::default()
            },
            None,
        );
        let parts = root.iter().flat_map(|root| root.split('/')).filter(|part| !part.is_empty() && *part != ".");
        let root = parts.fold(MOUNT_PATH.to_owned(), |path, part| format!("{path}/{part}"));
        self.service("file");
        self.flag("file-backup-storage-root", Some(&root));
    }

    fn s3(&mut self, s3: &S3Storage, secret: Option<&SecretName>) {
        let S3Storage {
            bucket,
            region,
            endpoint,
            root,
            force_path_style,
            ca_secret,
            tls_skip_verify,
            server_side_encryption,
            sse_customer_key_secret,
        } = s3;
        self.service("s3");
        self.flag("s3-backup-storage-bucket", Some(bucket));
        self.flag("s3-backup-aws-region", region.as_ref());
        self.flag("s3-backup-aws-endpoint", endpoint.as_ref());
        self.flag("s3-backup-storage-root", root.as_ref());
        self.switch("s3-backup-force-path-style", *force_path_style);
        self.switch("s3-backup-tls-skip-verify-cert", *tls_skip_verify);
        self.ca(ca_secret.as_ref());
        let customer_key = sse_customer_key_secret.as_ref().map(|secret| self.secret_key(&CUSTOMER_KEY, secret));
        let encryption = server_side_encryption.map(|encryption| match encryption {
            ServerSideEncryption::Aes256 => "AES256".to_owned(),
            ServerSideEncryption::AwsKms => "aws:kms".to_owned(),
            ServerSideEncryption::SseC => format!("sse_c:{}", customer_key.unwrap_or_default()),
        });
        self.flag("s3-backup-server-side-encryption", encryption.as_ref());
        if let Some(secret) = secret {
            self.variables(&S3_VARIABLES, secret);
            let file = self.secret(&CREDENTIALS, &secret.name, CREDENTIALS.key);
            self.variable(AWS_FILE, file);
        }
    }

    fn gcs(&mut self, gcs: &GcsStorage, secret: Option<&SecretName>) {
        let GcsStorage { bucket, root } = gcs;
        self.service("gcs");
        self.flag("gcs-backup-storage-bucket", Some(bucket));
        self.flag("gcs-backup-storage-root", root.as_ref());
        if let Some(secret) = secret {
            let file = self.secret(&CREDENTIALS, &secret.name, "credentials.json");
            self.variable(GOOGLE_FILE, file);
        }
    }

    fn azblob(&mut self, azblob: &AzblobStorage, secret: Option<&SecretName>) {
        let AzblobStorage { account, container, root, endpoint } = azblob;
        self.service("azblob");
        self.flag("azblob-backup-account-name", Some(account));
        self.flag("azblob-backup-container-name", Some(container));
        self.flag("azblob-backup-storage-root", root.as_ref());
        self.flag("azblob-backup-endpoint", endpoint.as_ref());
        if let Some(secret) = secret {
            self.variables(&AZBLOB_VARIABLES, secret);
        }
    }

    fn ceph(&mut self, ceph: &CephStorage) {
        let CephStorage { config_secret, ca_secret } = ceph;
        self.service("ceph");
        let config = self.secret_key(&CEPH, config_secret);
        self.flag("ceph-backup-storage-config", Some(&config));
        self.ca(ca_secret.as_ref());
    }

    fn service(&mut self, name: &str) {
        self.args.push(format!("--backup-storage-implementation={name}"));
    }

    fn flag(&mut self, name: &str, value: Option<&String>) {
        self.args.extend(value.map(|value| format!("--{name}={value}")));
    }

    fn switch(&mut self, name: &str, on: bool) {
        self.args.extend(on.then(|| format!("--{name}")));
    }

    fn ca(&mut self, secret: Option<&SecretKey>) {
        let file = secret.map(|secret| self.secret_key(&CA, secret));
        self.flag("backup-storage-ca-file", file.as_ref());
    }

    /// The path of a Secret's key in the pod.
    fn secret_key(&mut self, place: &Place, SecretKey { name, key }: &SecretKey) -> String {
        self.secret(place, name, key.as_deref().unwrap_or(place.key))
    }

    fn secret(&mut self, place: &Place, name: &str, key: &str) -> String {
        let source = SecretVolumeSource { secret_name: Some(name.to_owned()), ..SecretVolumeSource::default() };
        let volume = Volume { name: place.volume.to_owned(), secret: Some(source), ..Volume::default() };
        self.mount(place.path, volume, Some(true));
        format!("{}/{key}", place.path)
    }

    fn mount(&mut self, path: &str, volume: Volume, read_only: Option<bool>) {
        self.mounts.push(VolumeMount {
            name: volume.name.clone(),
            mount_path: path.to_owned(),
            read_only,
            ..VolumeMount::default()
        });
        self.volumes.push(volume);
    }

    /// Those that the Secret has; which ones is not known here.
    fn variables(&mut self, names: &[&str], secret: &SecretName) {
        self.env.extend(names.iter().map(|name| {
            let key = SecretKeySelector { name: secret.name.clone(), key: (*name).to_owned(), optional: Some(true) };
            let from = EnvVarSource { secret_key_ref: Some(key), ..EnvVarSource::default() };
            EnvVar { name: (*name).to_owned(), value: None, value_from: Some(from) }
        }));
    }

    fn variable(&mut self, name: &str, value: String) {
        self.env.push(EnvVar { name: name.to_owned(), value: Some(value), value_from: None });
    }
}

/// Whether a variable of a tablet's container must not go into its twin: an identity that was injected into that pod (its
/// token's file is no shared volume, and injectors leave pods alone that have the variable), or one that the storage gives.
pub fn is_identity(name: &str, storage: &StorageInPod) -> bool {
    const INJECTED: [&str; 9] = [
        "AWS_ROLE_ARN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "AZURE_CLIENT_ID",
        "AZURE_TENANT_ID",
        "AZURE_FEDERATED_TOKEN_FILE",
        AWS_FILE,
        GOOGLE_FILE,
    ];
    INJECTED.contains(&name) || storage.env.iter().any(|given| given.name == name)
}

/// The claim that a storage needs, if any.
pub fn claim(storage: &VitessBackupStorageSpec) -> Option<&str> {
    Some(storage.file.as_ref()?.persistent_volume_claim.as_ref()?.claim_name.as_str())
}

#[cfg(test)]
#[path = "storage_tests.rs"]
mod tests;
