//! Azure Blob Storage: blobs `[root/]<keyspace>/<shard>/<name>/<object>` of a container.

use object_store::azure::{MicrosoftAzure, MicrosoftAzureBuilder};

use super::StorageError;
use super::location::AzblobLocation;

const ACCOUNT_NAME: &str = "VT_AZBLOB_ACCOUNT_NAME";
const ACCOUNT_KEY: &str = "VT_AZBLOB_ACCOUNT_KEY";

/// A store of the container, and what it is called in messages. Without a key, the credentials are what the environment
/// has in Azure's own names: workload identity, a client's secret, a SAS token, managed identity.
pub(super) fn open(location: &AzblobLocation) -> Result<(MicrosoftAzure, String), StorageError> {
    let AzblobLocation {
        account,
        account_key_file,
        container,
        root,
        endpoint,
        buffer_size: _,
        parallelism: _,
        network,
    } = location;
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let account = account.clone().or_else(|| variable(ACCOUNT_NAME)).unwrap_or_default();
    let described = match endpoint {
        Some(endpoint) => format!("Azure container {container} of {account} at {endpoint}{}", super::below(root)),
        None => format!("Azure container {container} of {account}{}", super::below(root)),
    };
    let misconfigured = |problem: String| StorageError::Misconfigured { what: described.clone(), problem };
    if account.is_empty() {
        return Err(misconfigured(format!("--azblob-backup-account-name is missing, and {ACCOUNT_NAME} is not set")));
    }
    if container.is_empty() {
        return Err(misconfigured("--azblob-backup-container-name is missing".to_owned()));
    }
    let key = match account_key_file {
        Some(path) => Some(
            std::fs::read_to_string(path)
                .map_err(|error| misconfigured(format!("the account key {} cannot be read: {error}", path.display())))?
                .trim()
                .to_owned(),
        ),
        None => variable(ACCOUNT_KEY),
    };
    let plain_http = endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let mut builder = MicrosoftAzureBuilder::from_env()
        .with_use_emulator(false)
        .with_account(&account)
        .with_container_name(container)
        .with_retry(network.retry())
        .with_client_options(network.options(&described, plain_http)?)
        .with_http_connector(network.connector());
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
    }
    if let Some(key) = key {
        builder = builder.with_access_key(key);
    }
    let store = builder.build().map_err(|error| misconfigured(error.to_string()))?;
    Ok((store, described))
}
