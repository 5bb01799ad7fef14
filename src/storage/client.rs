//! The HTTP client under every remote service: certificates, patience, and what is tried again.
//!
//! `object_store` repeats a request that met a 5xx, a throttle or a broken connection, with exponential backoff and jitter,
//! and goes on with a body that broke off. What it lacks is here: a request or a body that makes no progress (a time limit
//! on the whole would cut off a slow link), and S3's word for a connection that was too slow, which comes as a 400.

use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use http_body::{Body, Frame};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
    ReqwestConnector,
};
use object_store::{BackoffConfig, Certificate, ClientOptions, RetryConfig};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::StorageError;

/// How a service is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Certificates in PEM that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Take any certificate.
    pub skip_verify: bool,
    /// How often a failed request is tried again.
    pub retries: usize,
    /// The longest pause between two tries; the first is a hundredth of it.
    pub longest_pause: Duration,
    /// How long nothing may arrive before the request counts as failed.
    pub stall: Duration,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            ca_file: None,
            skip_verify: false,
            retries: 10,
            longest_pause: Duration::from_secs(15),
            stall: Duration::from_secs(30),
        }
    }
}

/// Bytes per second below which the sending of a request counts as stalled.
const SLOWEST_UPLOAD: u64 = 64 << 10;

impl Network {
    pub(super) fn retry(&self) -> RetryConfig {
        let backoff = BackoffConfig {
            init_backoff: self.longest_pause / 100,
            max_backoff: self.longest_pause,
            ..BackoffConfig::default()
        };
        RetryConfig { backoff, max_retries: self.retries, ..RetryConfig::default() }
    }

    pub(super) fn connector(&self) -> PatientConnector {
        PatientConnector { stall: self.stall }
    }

    /// `what` names the storage, for messages.
    ///
    /// # Errors
    /// When the file of certificates is none.
    pub(super) fn options(&self, what: &str, allow_http: bool) -> Result<ClientOptions, StorageError> {
        // Whoever was first keeps it; it is the same one everywhere in this program.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut options = ClientOptions::new()
            .with_user_agent(http::HeaderValue::from_static(concat!("vitess-backup/", env!("CARGO_PKG_VERSION"))))
            .with_allow_http(allow_http)
            .with_allow_invalid_certificates(self.skip_verify)
            .with_connect_timeout(self.stall.min(Duration::from_secs(10)))
            // The limits are PatientConnector's.
            .with_timeout_disabled();
        if let Some(path) = &self.ca_file {
            let problem = |cause: String| StorageError::Misconfigured {
                what: what.to_owned(),
                problem: format!("{} is no file of certificates in PEM: {cause}", path.display()),
            };
            let pem = std::fs::read(path).map_err(|error| problem(error.to_string()))?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| problem(error.to_string()))?;
            if certificates.is_empty() {
                return Err(problem("there is none in it".to_owned()));
            }
            options = certificates.into_iter().fold(options, ClientOptions::with_root_certificate);
        }
        Ok(options)
    }
}

/// Makes clients that give up on what makes no progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct PatientConnector {
    stall: Duration,
}

impl HttpConnector for PatientConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(PatientClient { client, stall: self.stall }))
    }
}

#[derive(Debug)]
struct PatientClient {
    client: HttpClient,
    stall: Duration,
}

#[derive(Debug, thiserror::Error)]
#[error("nothing came for {0:?}")]
struct Stalled(Duration);

#[derive(Debug, thiserror::Error)]
#[error("the server gave up waiting: {0}")]
struct TooSlow(String);

#[async_trait]
impl HttpService for PatientClient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let length = request.body().content_length() as u64;
        let is_object = request.method() == http::Method::GET && request.headers().contains_key(http::header::RANGE);
        let limit = self.stall + Duration::from_secs(length / SLOWEST_UPLOAD);
        let response = timeout(limit, self.client.execute(request)).await;
        let response = response.map_err(|_| HttpError::new(HttpErrorKind::Timeout, Stalled(limit)))??;
        let (parts, body) = response.into_parts();
        let body = HttpResponseBody::new(PatientBody { body, stall: self.stall, limit: None });
        if is_object && parts.status.is_success() {
            return Ok(HttpResponse::from_parts(parts, body));
        }
        // A listing or an answer in words, which is short. A break in the middle is to be one of the request, because those
        // are tried again.
        let chunks: Result<Vec<Bytes>, _> = body.bytes_stream().try_collect().await;
        let answer: Bytes = chunks.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error))?.concat().into();
        if parts.status == http::StatusCode::BAD_REQUEST {
            let text = String::from_utf8_lossy(&answer);
            if text.contains("<Code>RequestTimeout</Code>") {
                return Err(HttpError::new(HttpErrorKind::Timeout, TooSlow(text.into_owned())));
            }
        }
        Ok(HttpResponse::from_parts(parts, answer.into()))
    }
}

/// A body that fails when nothing comes while somebody waits for it.
struct PatientBody {
    body: HttpResponseBody,
    stall: Duration,
    limit: Option<Pin<Box<Sleep>>>,
}

impl Body for PatientBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.limit = None;
            return Poll::Ready(frame);
        }
        let stall = self.stall;
        let limit = self.limit.get_or_insert_with(|| Box::pin(sleep(stall)));
        if limit.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        limit.as_mut().reset(Instant::now() + stall);
        Poll::Ready(Some(Err(HttpError::new(HttpErrorKind::Timeout, Stalled(stall)))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
