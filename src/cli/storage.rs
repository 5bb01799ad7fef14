//! STORAGE: where backups live, in Vitess's own flags. Those that Vitess does not have say so.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::engine::EngineError;
use crate::storage::{
    AzblobLocation, BackupStorage, CephLocation, GcsLocation, Location, Network, S3Location, ServerSideEncryption,
    parts,
};

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Storage")]
pub struct StorageArguments {
    /// The storage service
    #[arg(long, value_enum, value_name = "SERVICE")]
    pub backup_storage_implementation: Option<StorageService>,
    /// The directory that holds <keyspace>/<shard>/<backup name>/
    #[arg(long, value_name = "DIR")]
    pub file_backup_storage_root: Option<PathBuf>,
    #[command(flatten)]
    pub s3: S3Arguments,
    #[command(flatten)]
    pub gcs: GcsArguments,
    #[command(flatten)]
    pub azblob: AzblobArguments,
    /// Vitess's file with accessKey, secretKey, endPoint and useSSL
    #[arg(long, value_name = "FILE", default_value = "ceph_backup_config.json")]
    pub ceph_backup_storage_config: PathBuf,
    /// Certificates in PEM that are trusted beside the system's, for a service with a certificate of your own (Vitess has no such flag)
    #[arg(long, value_name = "FILE")]
    pub backup_storage_ca_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Storage in S3")]
#[allow(clippy::struct_field_names, reason = "Vitess's flags")]
pub struct S3Arguments {
    /// The bucket
    #[arg(long, value_name = "BUCKET")]
    pub s3_backup_storage_bucket: Option<String>,
    /// What all keys begin with
    #[arg(long, value_name = "PREFIX", default_value = "")]
    pub s3_backup_storage_root: String,
    /// The region
    #[arg(long, value_name = "REGION", default_value = "us-east-1")]
    pub s3_backup_aws_region: String,
    /// The server, when it is not AWS: https://host or http://host:port
    #[arg(long, value_name = "URL", default_value = "")]
    pub s3_backup_aws_endpoint: String,
    /// Name the bucket in the path and not in the host's name
    #[arg(long)]
    pub s3_backup_force_path_style: bool,
    /// Take any certificate
    #[arg(long)]
    pub s3_backup_tls_skip_verify_cert: bool,
    /// AES256, aws:kms or sse_c:/path/to/keyfile
    #[arg(long, value_name = "METHOD", default_value = "")]
    pub s3_backup_server_side_encryption: String,
    /// Bytes of a part of an upload, at least (8 MiB are used when this is less)
    #[arg(long, value_name = "BYTES", default_value_t = parts::SMALLEST_PART)]
    pub s3_backup_aws_min_partsize: u64,
    /// How often a request is tried; -1: this program's default, 11
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    pub s3_backup_aws_retries: i64,
    /// A file like ~/.aws/credentials [default: what the environment has] (Vitess has no such flag)
    #[arg(long, value_name = "FILE")]
    pub s3_backup_credentials_file: Option<PathBuf>,
    /// Understood and not used: this program logs what it tries again, and no more
    #[arg(long, value_name = "LEVEL", hide = true)]
    pub s3_backup_log_level: Option<String>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Storage in Google Cloud Storage")]
pub struct GcsArguments {
    /// The bucket
    #[arg(long, value_name = "BUCKET")]
    pub gcs_backup_storage_bucket: Option<String>,
    /// What all names begin with
    #[arg(long, value_name = "PREFIX", default_value = "")]
    pub gcs_backup_storage_root: String,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Storage in Azure Blob Storage")]
#[allow(clippy::struct_field_names, reason = "Vitess's flags")]
pub struct AzblobArguments {
    /// The account [default: $VT_AZBLOB_ACCOUNT_NAME]
    #[arg(long, value_name = "ACCOUNT")]
    pub azblob_backup_account_name: Option<String>,
    /// A file with the account's key [default: $VT_AZBLOB_ACCOUNT_KEY, else what identity the environment has]
    #[arg(long, value_name = "FILE")]
    pub azblob_backup_account_key_file: Option<PathBuf>,
    /// The container
    #[arg(long, value_name = "CONTAINER")]
    pub azblob_backup_container_name: Option<String>,
    /// What all names begin with
    #[arg(long, value_name = "PREFIX", default_value = "")]
    pub azblob_backup_storage_root: String,
    /// Bytes of a block of an upload
    #[arg(long, value_name = "BYTES", default_value_t = parts::PART, value_parser = clap::value_parser!(u64).range(1 << 20..=4000 << 20))]
    pub azblob_backup_buffer_size: u64,
    /// Blocks of an object that are stored at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..))]
    pub azblob_backup_parallelism: u8,
    /// The URL of the account, when it is not in Azure's public cloud (Vitess has no such flag)
    #[arg(long, value_name = "URL")]
    pub azblob_backup_endpoint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StorageService {
    File,
    S3,
    Gcs,
    Azblob,
    Ceph,
}

impl StorageArguments {
    /// True when no storage was named.
    pub fn is_absent(&self) -> bool {
        self.backup_storage_implementation.is_none() && self.file_backup_storage_root.is_none()
    }

    pub fn location(&self) -> Result<Location, EngineError> {
        let Some(service) = self.backup_storage_implementation else {
            return Err(EngineError::invalid(
                "--backup-storage-implementation is missing; say which storage service (file, s3, gcs, azblob, ceph)",
            ));
        };
        let network = || Network { ca_file: self.backup_storage_ca_file.clone(), ..Network::default() };
        match service {
            StorageService::File => match &self.file_backup_storage_root {
                Some(root) => Ok(Location::File { root: root.clone() }),
                None => Err(EngineError::invalid(
                    "--file-backup-storage-root is missing; say which directory holds the backups",
                )),
            },
            StorageService::S3 => self.s3.location(network()).map(Location::S3),
            StorageService::Gcs => self.gcs.location(network()).map(Location::Gcs),
            StorageService::Azblob => self.azblob.location(network()).map(Location::Azblob),
            StorageService::Ceph => {
                Ok(Location::Ceph(CephLocation { config: self.ceph_backup_storage_config.clone(), network: network() }))
            }
        }
    }

    pub fn open(&self) -> Result<BackupStorage, EngineError> {
        Ok(BackupStorage::open(&self.location()?)?)
    }
}

impl S3Arguments {
    fn location(&self, network: Network) -> Result<S3Location, EngineError> {
        let Self {
            s3_backup_storage_bucket: bucket,
            s3_backup_storage_root: root,
            s3_backup_aws_region: region,
            s3_backup_aws_endpoint: endpoint,
            s3_backup_force_path_style: force_path_style,
            s3_backup_tls_skip_verify_cert: skip_verify,
            s3_backup_server_side_encryption: encryption,
            s3_backup_aws_min_partsize: min_part_size,
            s3_backup_aws_retries: tries,
            s3_backup_credentials_file: credentials_file,
            s3_backup_log_level: _,
        } = self;
        let server_side_encryption = match encryption.as_str() {
            "" => None,
            text => Some(text.parse::<ServerSideEncryption>().map_err(|error| {
                EngineError::invalid(&format!("--s3-backup-server-side-encryption is wrong: {error}"))
            })?),
        };
        let retries = usize::try_from(*tries).map_or(network.retries, |tries| tries.saturating_sub(1));
        Ok(S3Location {
            bucket: required(bucket.as_ref(), "--s3-backup-storage-bucket", "bucket")?,
            region: region.clone(),
            endpoint: Some(endpoint.clone()).filter(|endpoint| !endpoint.is_empty()),
            root: root.clone(),
            force_path_style: *force_path_style,
            server_side_encryption,
            min_part_size: *min_part_size,
            credentials_file: credentials_file.clone(),
            network: Network { skip_verify: *skip_verify, retries, ..network },
        })
    }
}

impl GcsArguments {
    fn location(&self, network: Network) -> Result<GcsLocation, EngineError> {
        let Self { gcs_backup_storage_bucket: bucket, gcs_backup_storage_root: root } = self;
        let bucket = required(bucket.as_ref(), "--gcs-backup-storage-bucket", "bucket")?;
        Ok(GcsLocation { bucket, root: root.clone(), endpoint: None, network })
    }
}

impl AzblobArguments {
    fn location(&self, network: Network) -> Result<AzblobLocation, EngineError> {
        let Self {
            azblob_backup_account_name: account,
            azblob_backup_account_key_file: account_key_file,
            azblob_backup_container_name: container,
            azblob_backup_storage_root: root,
            azblob_backup_buffer_size: buffer_size,
            azblob_backup_parallelism: parallelism,
            azblob_backup_endpoint: endpoint,
        } = self;
        Ok(AzblobLocation {
            account: account.clone(),
            account_key_file: account_key_file.clone(),
            container: required(container.as_ref(), "--azblob-backup-container-name", "container")?,
            root: root.clone(),
            endpoint: endpoint.clone(),
            buffer_size: Some(*buffer_size),
            parallelism: Some((*parallelism).into()),
            network,
        })
    }
}

fn required(value: Option<&String>, flag: &str, what: &str) -> Result<String, EngineError> {
    let missing = || EngineError::invalid(&format!("{flag} is missing; say which {what} holds the backups"));
    value.filter(|value| !value.is_empty()).cloned().ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        storage: StorageArguments,
    }

    fn location(line: &str) -> Result<Location, String> {
        let words = std::iter::once("x").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        line.storage.location().map_err(|error| error.to_string())
    }

    #[test]
    fn the_flags_of_a_tablet_give_the_place_that_vitess_takes() {
        let s3 = location(
            "--backup-storage-implementation s3 --s3-backup-storage-bucket b --s3-backup-storage-root a/b \
             --s3-backup-aws-region eu-west-1 --s3-backup-aws-endpoint http://minio:9000 --s3-backup-force-path-style \
             --s3-backup-tls-skip-verify-cert --s3-backup-server-side-encryption sse_c:/key --s3-backup-aws-retries 3 \
             --s3-backup-aws-min-partsize 16777216 --s3-backup-log-level LogDebug --backup-storage-ca-file /ca",
        );
        let expected = S3Location {
            bucket: "b".to_owned(),
            region: "eu-west-1".to_owned(),
            endpoint: Some("http://minio:9000".to_owned()),
            root: "a/b".to_owned(),
            force_path_style: true,
            server_side_encryption: Some(ServerSideEncryption::CustomerKey("/key".into())),
            min_part_size: 16 << 20,
            credentials_file: None,
            network: Network { ca_file: Some("/ca".into()), skip_verify: true, retries: 2, ..Network::default() },
        };
        assert_eq!(s3, Ok(Location::S3(expected)));

        let azblob = location(
            "--backup-storage-implementation azblob --azblob-backup-account-name a --azblob-backup-account-key-file /k \
             --azblob-backup-container-name c --azblob-backup-storage-root r --azblob-backup-parallelism 2",
        );
        let expected = AzblobLocation {
            account: Some("a".to_owned()),
            account_key_file: Some("/k".into()),
            container: "c".to_owned(),
            root: "r".to_owned(),
            endpoint: None,
            buffer_size: Some(parts::PART),
            parallelism: Some(2),
            network: Network::default(),
        };
        assert_eq!(azblob, Ok(Location::Azblob(expected)));

        let gcs = "--backup-storage-implementation gcs --gcs-backup-storage-bucket b --gcs-backup-storage-root r";
        let expected =
            GcsLocation { bucket: "b".into(), root: "r".into(), endpoint: None, network: Network::default() };
        assert_eq!(location(gcs), Ok(Location::Gcs(expected)));

        let ceph = location("--backup-storage-implementation ceph");
        let expected = CephLocation { config: "ceph_backup_config.json".into(), network: Network::default() };
        assert_eq!(ceph, Ok(Location::Ceph(expected)));
    }

    #[test]
    fn what_is_missing_is_asked_for_by_its_flag() {
        for (service, flag) in [
            ("file", "--file-backup-storage-root"),
            ("s3", "--s3-backup-storage-bucket"),
            ("gcs", "--gcs-backup-storage-bucket"),
            ("azblob", "--azblob-backup-container-name"),
        ] {
            let error = location(&format!("--backup-storage-implementation {service}")).unwrap_err();
            assert!(error.contains(&format!("{flag} is missing")), "{service}: {error}");
        }
        let wrong =
            "--backup-storage-implementation s3 --s3-backup-storage-bucket b --s3-backup-server-side-encryption x";
        assert!(location(wrong).unwrap_err().contains("write AES256, aws:kms or sse_c:"));
    }
}
