//! Ceph's object gateway as Vitess uses it: over S3, with a configuration file of its own and one bucket for each keyspace,
//! which is made when it is first needed.

use std::collections::HashMap;
use std::fmt;
use std::path::Path as FsPath;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use http::Method;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{HttpClient, HttpConnector, HttpRequestBody};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{
    ClientOptions, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::StorageError;
use super::client::Network;
use super::error::{is_no_bucket, is_unreachable};
use super::location::CephLocation;
use super::s3::Address;

const STORE: &str = "Ceph";
/// The gateway does not care; a signature has to name one.
const REGION: &str = "us-east-1";

/// What the configuration file says.
#[derive(Debug, PartialEq, Eq)]
struct Config {
    access_key: String,
    secret_key: String,
    endpoint: String,
}

impl Config {
    /// Vitess's `ceph_backup_config.json`: `accessKey`, `secretKey`, `endPoint`, `useSSL`, in any case as Go reads JSON.
    fn parse(text: &[u8]) -> std::result::Result<Self, String> {
        let json: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(text).map_err(|error| format!("it is no JSON object: {error}"))?;
        let field = |name: &str| json.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let text = |name: &str| {
            let value = field(name).and_then(serde_json::Value::as_str).filter(|value| !value.is_empty());
            value.map(str::to_owned).ok_or_else(|| format!("it has no {name}"))
        };
        let scheme = if field("useSSL") == Some(&serde_json::Value::Bool(true)) { "https" } else { "http" };
        let endpoint = format!("{scheme}://{}", text("endPoint")?.trim_end_matches('/'));
        Ok(Self { access_key: text("accessKey")?, secret_key: text("secretKey")?, endpoint })
    }
}

/// Vitess's rule: lower case, and dashes for underscores.
fn bucket_of(keyspace: &str) -> String {
    keyspace.to_lowercase().replace('_', "-")
}

pub(super) fn open(location: &CephLocation) -> std::result::Result<(CephStore, String), StorageError> {
    let CephLocation { config: path, network } = location;
    let named = format!("Ceph storage of {}", path.display());
    let misconfigured = |problem: String| StorageError::Misconfigured { what: named.clone(), problem };
    let config = read(path).map_err(&misconfigured)?;
    let plain_http = Address::of("", REGION, Some(&config.endpoint), true).map_err(&misconfigured)?.plain_http;
    let options = network.options(&named, plain_http)?;
    let client = network.connector().connect(&options).map_err(|error| misconfigured(error.to_string()))?;
    let described = format!("Ceph storage at {}", config.endpoint);
    let network = network.clone();
    Ok((
        CephStore {
            inner: Arc::new(Inner {
                config,
                network,
                options,
                client,
                buckets: Mutex::default(),
                making: tokio::sync::Mutex::default(),
            }),
        },
        described,
    ))
}

fn read(path: &FsPath) -> std::result::Result<Config, String> {
    let text = std::fs::read(path).map_err(|error| format!("its file cannot be read: {error}"))?;
    Config::parse(&text)
}

/// The buckets of all keyspaces as one store. A path's first part is the keyspace.
#[derive(Clone, Debug)]
pub(super) struct CephStore {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    network: Network,
    options: ClientOptions,
    client: HttpClient,
    buckets: Mutex<HashMap<String, Arc<AmazonS3>>>,
    making: tokio::sync::Mutex<()>,
}

// Without the keys.
impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ceph({})", self.config.endpoint)
    }
}

impl fmt::Display for CephStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.inner)
    }
}

impl CephStore {
    fn bucket(&self, path: Option<&Path>) -> Result<Arc<AmazonS3>> {
        let keyspace = path.and_then(|path| path.parts().next());
        let keyspace =
            keyspace.ok_or_else(|| Error::Generic { store: STORE, source: "a path without keyspace".into() })?;
        let name = bucket_of(keyspace.as_ref());
        let mut buckets = self.inner.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = buckets.get(&name) {
            return Ok(known.clone());
        }
        let Inner { config, network, options, .. } = self.inner.as_ref();
        let bucket = AmazonS3Builder::new()
            .with_bucket_name(&name)
            .with_region(REGION)
            .with_endpoint(&config.endpoint)
            .with_virtual_hosted_style_request(false)
            .with_access_key_id(&config.access_key)
            .with_secret_access_key(&config.secret_key)
            .with_retry(network.retry())
            .with_client_options(options.clone())
            .with_http_connector(network.connector())
            .build()?;
        Ok(buckets.entry(name).or_insert(Arc::new(bucket)).clone())
    }

    /// Makes the bucket; that somebody else just did is fine. One at a time: servers trip over two that make the same.
    async fn make(&self, bucket: &AmazonS3) -> Result<()> {
        let _alone = self.inner.making.lock().await;
        let Network { retries, longest_pause, .. } = self.inner.network;
        let pauses = ExponentialBuilder::default().with_min_delay(longest_pause / 100).with_max_delay(longest_pause);
        let pauses = pauses.with_jitter().with_max_times(retries);
        (|| self.try_to_make(bucket)).retry(pauses).when(is_unreachable).await
    }

    async fn try_to_make(&self, bucket: &AmazonS3) -> Result<()> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Generic { store: STORE, source };
        let url = bucket.signed_url(Method::PUT, &Path::default(), Duration::from_secs(300)).await?;
        let mut request = http::Request::new(HttpRequestBody::empty());
        *request.method_mut() = Method::PUT;
        *request.uri_mut() = url.as_str().parse().map_err(|error: http::uri::InvalidUri| failed(error.into()))?;
        let response = self.inner.client.execute(request).await.map_err(|error| failed(error.into()))?;
        let status = response.status();
        if status.is_success() || status == http::StatusCode::CONFLICT {
            return Ok(());
        }
        let source = format!("making the bucket of {bucket} gave status code: {status}").into();
        Err(match status {
            http::StatusCode::FORBIDDEN => Error::PermissionDenied { path: bucket.to_string(), source },
            http::StatusCode::UNAUTHORIZED => Error::Unauthenticated { path: bucket.to_string(), source },
            _ => failed(source),
        })
    }
}

#[async_trait]
impl ObjectStore for CephStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let bucket = self.bucket(Some(location))?;
        match bucket.put_opts(location, payload.clone(), options.clone()).await {
            Err(Error::NotFound { .. }) => {
                self.make(&bucket).await?;
                bucket.put_opts(location, payload, options).await
            }
            other => other,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let bucket = self.bucket(Some(location))?;
        match bucket.put_multipart_opts(location, options.clone()).await {
            Err(Error::NotFound { .. }) => {
                self.make(&bucket).await?;
                bucket.put_multipart_opts(location, options).await
            }
            other => other,
        }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let got = self.bucket(Some(location))?.get_opts(location, options).await;
        got.map_err(|error| match error {
            // Nobody has stored anything of that keyspace: its bucket comes with the first object.
            error if is_no_bucket(&error) => {
                Error::NotFound { path: location.to_string(), source: "its keyspace has no bucket yet".into() }
            }
            error => error,
        })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |location: Result<Path>| {
            let store = store.clone();
            async move {
                let location = location?;
                store.bucket(Some(&location))?.delete(&location).await?;
                Ok(location)
            }
        };
        locations.map(delete).buffered(8).boxed()
    }

    /// A bucket that is not there is empty: nobody has backed up that keyspace.
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.bucket(prefix) {
            Ok(bucket) => bucket
                .list(prefix)
                .map_ok(Some)
                .map(or_nothing)
                .try_filter_map(|meta| std::future::ready(Ok(meta)))
                .boxed(),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let listed = self.bucket(prefix)?.list_with_delimiter(prefix).await.map(Some);
        let nothing = || ListResult {
            common_prefixes: Vec::new(),
            objects: Vec::new(),
            extensions: object_store::Extensions::default(),
        };
        Ok(or_nothing(listed)?.unwrap_or_else(nothing))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.bucket(Some(from))?.copy_opts(from, to, options).await
    }
}

fn or_nothing<T>(listed: Result<Option<T>>) -> Result<Option<T>> {
    match listed {
        Err(error) if is_no_bucket(&error) => Ok(None),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_read_as_go_reads_it() {
        let config = Config::parse(br#"{"accessKey":"a","SecretKey":"s","endPoint":"rgw:7480","useSSL":true,"x":1}"#);
        let expected = |scheme: &str| Config {
            access_key: "a".to_owned(),
            secret_key: "s".to_owned(),
            endpoint: format!("{scheme}://rgw:7480"),
        };
        assert_eq!(config.unwrap(), expected("https"));
        let config = Config::parse(br#"{"accessKey":"a","secretKey":"s","endpoint":"rgw:7480/"}"#);
        assert_eq!(config.unwrap(), expected("http"));
        assert_eq!(Config::parse(br#"{"accessKey":"a","endpoint":"x"}"#).unwrap_err(), "it has no secretKey");
        assert!(Config::parse(b"[]").unwrap_err().starts_with("it is no JSON object"));
    }

    #[test]
    fn a_keyspaces_bucket_has_vitesss_name() {
        assert_eq!(bucket_of("My_Commerce"), "my-commerce");
    }
}
