//! The keyspaces that have a bucket of Vitess's: the gateway tells all buckets that the user may see, other programs' too.

use futures::StreamExt;
use http::{Method, StatusCode};
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::path::Path;
use object_store::{Error, ListResult, ObjectStore, Result};

use super::{CephStore, REGION, STORE, bucket_of};

/// Buckets that are looked into at a time.
const AT_A_TIME: usize = 8;
/// The most bytes of an answer: some hundred thousand buckets.
const LIMIT: usize = 64 << 20;

impl CephStore {
    /// The keyspaces, as the directories of one level.
    pub(super) async fn keyspaces(&self) -> Result<ListResult> {
        let inside = self.buckets().await?.into_iter().map(|name| async move {
            let listed = match self.bucket(Some(&Path::from(name.as_str())))?.list_with_delimiter(None).await {
                // Somebody else's.
                Err(Error::PermissionDenied { .. } | Error::NotFound { .. }) => return Ok(Vec::new()),
                listed => listed?,
            };
            let own = |path: &Path| path.filename().is_some_and(|keyspace| bucket_of(keyspace) == name);
            Ok::<_, Error>(listed.common_prefixes.into_iter().filter(own).collect())
        });
        let mut keyspaces = ListResult {
            common_prefixes: Vec::new(),
            objects: Vec::new(),
            extensions: object_store::Extensions::default(),
        };
        let mut inside = futures::stream::iter(inside).buffered(AT_A_TIME);
        while let Some(found) = inside.next().await {
            keyspaces.common_prefixes.extend(found?);
        }
        Ok(keyspaces)
    }

    async fn buckets(&self) -> Result<Vec<String>> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Generic { store: STORE, source };
        let config = &self.inner.config;
        let credential =
            AwsCredential { key_id: config.access_key.clone(), secret_key: config.secret_key.clone(), token: None };
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = Method::GET;
        let address = format!("{}/", config.endpoint);
        *request.uri_mut() = address.parse().map_err(|error: http::uri::InvalidUri| failed(error.into()))?;
        AwsAuthorizer::new(&credential, "s3", REGION).try_authorize(&mut request, None)?;
        let response = self.inner.client.execute(request).await.map_err(|error| failed(error.into()))?;
        let status = response.status();
        let path = config.endpoint.clone();
        match status {
            StatusCode::OK => {}
            StatusCode::FORBIDDEN => {
                return Err(Error::PermissionDenied { path, source: format!("listing buckets gave {status}").into() });
            }
            StatusCode::UNAUTHORIZED => {
                return Err(Error::Unauthenticated { path, source: format!("listing buckets gave {status}").into() });
            }
            _ => return Err(failed(format!("listing the buckets at {path} gave {status}").into())),
        }
        let body = response.into_body().bytes().await.map_err(|error| failed(error.into()))?;
        if body.len() > LIMIT {
            return Err(failed(format!("the list of buckets at {path} has {} bytes", body.len()).into()));
        }
        Ok(names(&String::from_utf8_lossy(&body)))
    }
}

/// What stands in `Name` elements: names of buckets need no unescaping.
fn names(xml: &str) -> Vec<String> {
    xml.split("<Name>").skip(1).filter_map(|rest| Some(rest.split_once("</Name>")?.0.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_buckets_are_read_and_nothing_else() {
        let xml = "<ListAllMyBucketsResult><Owner><DisplayName>me</DisplayName></Owner><Buckets><Bucket><Name>commerce</Name>\
                   <CreationDate>x</CreationDate></Bucket><Bucket><Name>my-keyspace</Name></Bucket></Buckets></ListAllMyBucketsResult>";
        assert_eq!(names(xml), ["commerce", "my-keyspace"]);
        assert_eq!(names("<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>"), [""; 0]);
    }
}
