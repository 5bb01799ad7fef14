//! Which storage, and where in it: what Vitess's storage flags say, as values.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::client::Network;

/// Which storage, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Location {
    /// `--file-backup-storage-root`.
    File {
        root: PathBuf,
    },
    S3(S3Location),
    Gcs(GcsLocation),
    Azblob(AzblobLocation),
    Ceph(CephLocation),
}

/// `--s3-backup-…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Location {
    pub bucket: String,
    pub region: String,
    /// A URL, or a host name that is spoken to over HTTPS; `None`: AWS's own of the region.
    pub endpoint: Option<String>,
    /// What all keys begin with; slashes around it do not count.
    pub root: String,
    pub force_path_style: bool,
    pub server_side_encryption: Option<ServerSideEncryption>,
    /// Bytes; 5 MiB to 5 GiB.
    pub min_part_size: u64,
    /// A file as AWS's programs have it in `~/.aws/credentials`; `None`: what the environment has, see `docs/storage.md`.
    pub credentials_file: Option<PathBuf>,
    pub network: Network,
}

/// `--gcs-backup-…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcsLocation {
    pub bucket: String,
    pub root: String,
    /// For a server other than Google's, which is then spoken to without credentials.
    pub endpoint: Option<String>,
    pub network: Network,
}

/// `--azblob-backup-…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzblobLocation {
    /// `None`: `VT_AZBLOB_ACCOUNT_NAME`.
    pub account: Option<String>,
    /// `None`: `VT_AZBLOB_ACCOUNT_KEY`, else what else the environment has (workload identity, managed identity …).
    pub account_key_file: Option<PathBuf>,
    pub container: String,
    pub root: String,
    /// The URL of the account, for a server other than Azure's public cloud.
    pub endpoint: Option<String>,
    /// Bytes of a block; `None`: [`super::parts::PART`].
    pub buffer_size: Option<u64>,
    /// Blocks of an object that are stored at the same time.
    pub parallelism: Option<usize>,
    pub network: Network,
}

/// `--ceph-backup-storage-config`: the file has everything. One bucket for each keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CephLocation {
    pub config: PathBuf,
    pub network: Network,
}

/// `--s3-backup-server-side-encryption`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerSideEncryption {
    Aes256,
    AwsKms,
    /// A file with the key: 32 bytes as they are, or in base64.
    CustomerKey(PathBuf),
}

/// Not one of the three forms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no server-side encryption: write AES256, aws:kms or sse_c:/path/to/keyfile")]
pub struct ParseEncryptionError(String);

const CUSTOMER_KEY: &str = "sse_c:";

impl FromStr for ServerSideEncryption {
    type Err = ParseEncryptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "AES256" => Ok(Self::Aes256),
            "aws:kms" => Ok(Self::AwsKms),
            _ => match text.strip_prefix(CUSTOMER_KEY).filter(|path| !path.is_empty()) {
                Some(path) => Ok(Self::CustomerKey(path.into())),
                None => Err(ParseEncryptionError(text.to_owned())),
            },
        }
    }
}

impl fmt::Display for ServerSideEncryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aes256 => f.write_str("AES256"),
            Self::AwsKms => f.write_str("aws:kms"),
            Self::CustomerKey(path) => write!(f, "{CUSTOMER_KEY}{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encryption_reads_back_as_it_is_written() {
        for text in ["AES256", "aws:kms", "sse_c:/etc/key"] {
            assert_eq!(text.parse::<ServerSideEncryption>().unwrap().to_string(), text);
        }
        for text in ["", "aes256", "sse_c:", "aws:kms:dsse"] {
            let error = text.parse::<ServerSideEncryption>().unwrap_err().to_string();
            assert!(error.ends_with("write AES256, aws:kms or sse_c:/path/to/keyfile"), "{error}");
        }
    }
}
