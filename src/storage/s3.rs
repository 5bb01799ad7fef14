//! S3 and what speaks like it, reached as Vitess reaches it: keys `[root/]<keyspace>/<shard>/<name>/<object>`.

use std::net::IpAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Uri;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};

use super::location::{S3Location, ServerSideEncryption};
use super::parts::SMALLEST_PART;
use super::{StorageError, aws_credentials};

const LARGEST_MIN_PART: u64 = 5 << 30;

/// A store of the bucket, and what it is called in messages.
pub(super) fn open(location: &S3Location) -> Result<(object_store::aws::AmazonS3, String), StorageError> {
    let S3Location {
        bucket,
        region,
        endpoint,
        root,
        force_path_style,
        server_side_encryption,
        min_part_size,
        credentials_file,
        network,
    } = location;
    let described = match endpoint {
        Some(endpoint) => format!("S3 bucket {bucket} at {endpoint}{}", super::below(root)),
        None => format!("S3 bucket {bucket} in {region}{}", super::below(root)),
    };
    let misconfigured = |problem: String| StorageError::Misconfigured { what: described.clone(), problem };
    if bucket.is_empty() {
        return Err(misconfigured("--s3-backup-storage-bucket is missing".to_owned()));
    }
    if !(SMALLEST_PART..=LARGEST_MIN_PART).contains(min_part_size) {
        let problem = format!("--s3-backup-aws-min-partsize is {min_part_size}, and must be between 5MiB and 5GiB");
        return Err(misconfigured(problem));
    }
    let address = Address::of(bucket, region, endpoint.as_deref(), *force_path_style).map_err(&misconfigured)?;
    let builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(region)
        .with_endpoint(&address.endpoint)
        .with_virtual_hosted_style_request(address.bucket_in_host)
        .with_retry(network.retry())
        .with_client_options(network.options(&described, address.plain_http)?)
        .with_http_connector(network.connector());
    let builder = match credentials_file {
        Some(path) => aws_credentials::from_file(builder, path),
        None => aws_credentials::from_environment(builder),
    };
    let builder = builder.map_err(&misconfigured)?;
    let builder = encrypted(builder, server_side_encryption.as_ref()).map_err(&misconfigured)?;
    let store = builder.build().map_err(|error| misconfigured(error.to_string()))?;
    Ok((store, described))
}

fn encrypted(builder: AmazonS3Builder, encryption: Option<&ServerSideEncryption>) -> Result<AmazonS3Builder, String> {
    match encryption {
        None => Ok(builder),
        Some(encryption @ (ServerSideEncryption::Aes256 | ServerSideEncryption::AwsKms)) => {
            let key: AmazonS3ConfigKey =
                "aws_server_side_encryption".parse().map_err(|error: object_store::Error| error.to_string())?;
            Ok(builder.with_config(key, encryption.to_string()))
        }
        Some(ServerSideEncryption::CustomerKey(path)) => {
            let stored = std::fs::read(path)
                .map_err(|error| format!("the customer key {} cannot be read: {error}", path.display()))?;
            Ok(builder.with_ssec_encryption(BASE64_STANDARD.encode(customer_key(&stored)?)))
        }
    }
}

/// The key that a file holds. As in Vitess: all of it in base64, or the bytes as they are. A line break at the end, which
/// Vitess takes for a byte of a key, is dropped where the key would be of no use with it.
fn customer_key(stored: &[u8]) -> Result<Vec<u8>, String> {
    const BYTES: usize = 32;
    let line = stored.strip_suffix(b"\n").unwrap_or(stored);
    let readings = [BASE64_STANDARD.decode(stored).ok(), Some(stored.to_vec())].into_iter();
    let without_break = [BASE64_STANDARD.decode(line).ok(), Some(line.to_vec())].into_iter();
    let fits = |key: &Vec<u8>| key.len() == BYTES;
    readings.chain(without_break).flatten().find(fits).ok_or_else(|| {
        format!("the customer key has {} bytes: it must be {BYTES} bytes as they are, or in base64", stored.len())
    })
}

/// Where requests go.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub endpoint: String,
    /// Whether the bucket is in the host's name or in the path.
    pub bucket_in_host: bool,
    pub plain_http: bool,
}

impl Address {
    /// As AWS's SDK, which Vitess uses, finds it.
    pub fn of(bucket: &str, region: &str, endpoint: Option<&str>, force_path_style: bool) -> Result<Self, String> {
        let of_region = || {
            let china = if region.starts_with("cn-") { ".cn" } else { "" };
            format!("https://s3.{region}.amazonaws.com{china}")
        };
        let endpoint = match endpoint.filter(|endpoint| !endpoint.is_empty()) {
            None => of_region(),
            Some(endpoint) if endpoint.contains("://") => endpoint.trim_end_matches('/').to_owned(),
            Some(endpoint) => format!("https://{}", endpoint.trim_end_matches('/')),
        };
        let not_a_url = || format!("{endpoint:?} is no endpoint: write https://host, or http://host:port");
        let url: Uri = endpoint.parse().map_err(|_| not_a_url())?;
        let (scheme, authority) = url.scheme_str().zip(url.authority()).ok_or_else(not_a_url)?;
        if scheme != "https" && scheme != "http" {
            return Err(not_a_url());
        }
        let plain_http = scheme == "http";
        let is_address = authority.host().trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        if force_path_style || is_address || !is_host_name(bucket) {
            return Ok(Self { endpoint, bucket_in_host: false, plain_http });
        }
        let path = url.path().trim_end_matches('/');
        Ok(Self { endpoint: format!("{scheme}://{bucket}.{authority}{path}"), bucket_in_host: true, plain_http })
    }
}

/// Whether a bucket's name can stand before a host's and under its certificate.
fn is_host_name(bucket: &str) -> bool {
    bucket.chars().all(|character| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_addressed_as_awss_sdk_does() {
        let of = |bucket: &str, region: &str, endpoint: Option<&str>, path_style: bool| {
            let Address { endpoint, bucket_in_host, .. } = Address::of(bucket, region, endpoint, path_style).unwrap();
            (endpoint, bucket_in_host)
        };
        assert_eq!(of("b", "eu-west-1", None, false), ("https://b.s3.eu-west-1.amazonaws.com".to_owned(), true));
        assert_eq!(of("b", "eu-west-1", None, true), ("https://s3.eu-west-1.amazonaws.com".to_owned(), false));
        assert_eq!(of("b.c", "us-east-1", None, false), ("https://s3.us-east-1.amazonaws.com".to_owned(), false));
        assert_eq!(of("b", "cn-north-1", None, false).0, "https://b.s3.cn-north-1.amazonaws.com.cn");
        assert_eq!(of("b", "", Some("http://minio:9000/"), false), ("http://b.minio:9000".to_owned(), true));
        assert_eq!(of("b", "", Some("http://minio:9000/"), true), ("http://minio:9000".to_owned(), false));
        assert_eq!(of("b", "", Some("http://10.0.0.1:9000"), false), ("http://10.0.0.1:9000".to_owned(), false));
        assert_eq!(of("b", "", Some("minio.example"), true), ("https://minio.example".to_owned(), false));
        assert!(Address::of("b", "", Some("ftp://minio"), true).unwrap_err().contains("http://host:port"));
        assert!(Address::of("b", "", Some("http://h"), true).unwrap().plain_http);
    }

    #[test]
    fn a_customer_key_is_read_as_vitess_reads_it() {
        let key = [200_u8; 32];
        let base64 = BASE64_STANDARD.encode(key);
        for stored in [&key[..], base64.as_bytes(), format!("{base64}\n").as_bytes(), &[&key[..], b"\n"].concat()] {
            assert_eq!(customer_key(stored).unwrap(), key);
        }
        // 32 letters, which could be base64 of 24 bytes: those are no key.
        assert_eq!(customer_key(&[b'a'; 32]).unwrap(), [b'a'; 32]);
        let error = customer_key(b"short").unwrap_err();
        assert_eq!(error, "the customer key has 5 bytes: it must be 32 bytes as they are, or in base64");
    }
}
