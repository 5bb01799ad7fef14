//! Google Cloud Storage: keys as in S3.

use object_store::gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder};

use super::StorageError;
use super::location::GcsLocation;

/// Where Google's own client libraries, and so Vitess, look for a server that is not Google's.
const EMULATOR: &str = "STORAGE_EMULATOR_HOST";

/// A store of the bucket, and what it is called in messages. Credentials are Google's application default ones.
pub(super) fn open(location: &GcsLocation) -> Result<(GoogleCloudStorage, String), StorageError> {
    let GcsLocation { bucket, root, endpoint, network } = location;
    let emulator = || std::env::var(EMULATOR).ok().filter(|host| !host.is_empty());
    let endpoint = endpoint
        .clone()
        .or_else(emulator)
        .map(|endpoint| if endpoint.contains("://") { endpoint } else { format!("http://{endpoint}") });
    let described = match &endpoint {
        Some(endpoint) => format!("GCS bucket {bucket} at {endpoint}{}", super::below(root)),
        None => format!("GCS bucket {bucket}{}", super::below(root)),
    };
    let misconfigured = |problem: String| StorageError::Misconfigured { what: described.clone(), problem };
    if bucket.is_empty() {
        return Err(misconfigured("--gcs-backup-storage-bucket is missing".to_owned()));
    }
    let plain_http = endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let builder = match &endpoint {
        // A token that is there is not asked for.
        Some(endpoint) => GoogleCloudStorageBuilder::new()
            .with_base_url(endpoint.trim_end_matches('/'))
            .with_bearer_token("")
            .with_skip_signature(true),
        None => GoogleCloudStorageBuilder::from_env(),
    };
    let builder = builder
        .with_bucket_name(bucket)
        .with_retry(network.retry())
        .with_client_options(network.options(&described, plain_http)?)
        .with_http_connector(network.connector());
    let store = builder.build().map_err(|error| misconfigured(error.to_string()))?;
    Ok((store, described))
}
