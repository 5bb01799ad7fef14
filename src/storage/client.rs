//! The HTTP client under every remote service: certificates, patience, and what is tried again.
//!
//! `object_store` repeats a request that met a 5xx, a throttle or a broken connection, with exponential backoff and jitter,
//! and goes on with a body that broke off. What it lacks is here: a request or a body that makes no progress (a time limit
//! on the whole would cut off a slow link); errors that say what went wrong and not only that something did; connections
//! that broke in the middle of a request that it does not know to be harmless twice, as all of ours are; a certificate that
//! is not trusted, which no waiting makes better; and what comes as a 400 although it is the network's fault.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use http::{Method, StatusCode, header};
use http_body::{Body, Frame};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
    ReqwestConnector,
};
use object_store::{BackoffConfig, Certificate, ClientOptions, RetryConfig};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::{StorageError, listing};

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
/// How long after it was first made a request is tried again: its signature has a time, and its credentials may expire.
pub(super) const SAME_REQUEST: Duration = Duration::from_secs(180);

impl Network {
    pub(super) fn retry(&self) -> RetryConfig {
        let backoff = BackoffConfig {
            init_backoff: self.longest_pause / 100,
            max_backoff: self.longest_pause,
            ..BackoffConfig::default()
        };
        RetryConfig { backoff, max_retries: self.retries, retry_timeout: SAME_REQUEST }
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
        options = of_authorities(options);
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

/// Certificates of authorities beside this program, for images that have none of their own. `install-binary` puts them there.
pub const ROOTS_BESIDE: &str = "ca-certificates.crt";

/// Without any certificate of an authority there is no client at all, not even one for plain HTTP.
fn of_authorities(options: ClientOptions) -> ClientOptions {
    if !rustls_native_certs::load_native_certs().certs.is_empty() {
        return options;
    }
    let beside = std::env::current_exe().map(|own| own.with_file_name(ROOTS_BESIDE));
    let pem = beside.and_then(std::fs::read).unwrap_or_default();
    let roots = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    roots.into_iter().fold(options, ClientOptions::with_root_certificate)
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
#[error("the server did not get all of it: {0}")]
struct Incomplete(String);

/// What S3, Ceph and Azure say, with a 400, when a request did not arrive as it was sent.
const INCOMPLETE: [&str; 5] =
    ["RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch", "Md5Mismatch"];

#[async_trait]
impl HttpService for PatientClient {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        without_empty_token(&mut request);
        let length = request.body().content_length() as u64;
        let is_object = request.method() == Method::GET && request.headers().contains_key(header::RANGE);
        let is_listing = request.method() == Method::GET && listing::is_asked_for(request.uri());
        let limit = self.stall + Duration::from_secs(length / SLOWEST_UPLOAD);
        let response = timeout(limit, self.client.execute(request)).await;
        let response = response.map_err(|_| HttpError::new(HttpErrorKind::Request, Stalled(limit)))?;
        let (parts, body) = response.map_err(|error| told(&error))?.into_parts();
        let body = HttpResponseBody::new(PatientBody { body, stall: self.stall, limit: None });
        if is_object && parts.status.is_success() {
            return Ok(HttpResponse::from_parts(parts, body));
        }
        // A listing or an answer in words, which is short. A break in the middle is to be one of the request, because those
        // are tried again.
        let chunks: Result<Vec<Bytes>, _> = body.bytes_stream().try_collect().await;
        let mut answer: Bytes =
            chunks.map_err(|error| HttpError::new(HttpErrorKind::Request, Told::of(&error)))?.concat().into();
        if parts.status == StatusCode::BAD_REQUEST {
            let text = String::from_utf8_lossy(&answer);
            if INCOMPLETE.iter().any(|code| text.contains(&format!("<Code>{code}</Code>"))) {
                return Err(HttpError::new(HttpErrorKind::Request, Incomplete(text.into_owned())));
            }
        }
        if is_listing && parts.status.is_success() {
            answer = listing::of_what_can_be_named(answer);
        }
        Ok(HttpResponse::from_parts(parts, answer.into()))
    }
}

/// Without credentials `object_store`'s client for Google sends an empty token, which servers take for a wrong one.
fn without_empty_token(request: &mut HttpRequest) {
    let token = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes().trim_ascii());
    if token.is_some_and(|token| token.eq_ignore_ascii_case(b"bearer")) {
        request.headers_mut().remove(header::AUTHORIZATION);
    }
}

/// An error with its causes in words. `reqwest` says "error sending request", and "connection refused" only when asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Told(String);

impl Told {
    fn of(error: &HttpError) -> Self {
        let mut text = String::new();
        // Its own words are "HTTP error: " and those of its cause.
        for cause in causes(error).skip(1) {
            let said = cause.to_string();
            if !text.contains(&said) {
                text = if text.is_empty() { said } else { format!("{text}: {said}") };
            }
        }
        Self(text)
    }
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |cause: &&'a (dyn StdError + 'static)| (*cause).source())
}

/// With its causes, and of the kind that is tried again where that makes sense. Every request of this program may be made
/// twice: what is stored, begun or removed once more is what it was, and of a completion [`super::upload`] makes sure.
fn told(error: &HttpError) -> HttpError {
    let kind = match error.kind() {
        _ if causes(error).any(is_not_trusted) => HttpErrorKind::Decode,
        HttpErrorKind::Timeout | HttpErrorKind::Interrupted => HttpErrorKind::Request,
        kind => kind,
    };
    HttpError::new(kind, Told::of(error))
}

/// A certificate that is not trusted, or a server that speaks no TLS: so it will be the next time.
fn is_not_trusted(cause: &(dyn StdError + 'static)) -> bool {
    use rustls::Error::{InvalidCertificate, InvalidMessage};
    // An `io::Error` passes over what it is made of when it is asked for its source.
    let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    matches!(cause.downcast_ref(), Some(InvalidCertificate(_) | InvalidMessage(_)))
        || inner.is_some_and(|inner| is_not_trusted(inner))
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
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| told(&error))));
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

#[cfg(test)]
mod tests {
    use object_store::client::HttpRequestBody;

    use super::*;

    #[test]
    fn an_empty_token_is_none() {
        let sent = |value: Option<&'static str>| {
            let mut request = HttpRequest::new(HttpRequestBody::empty());
            request.headers_mut().extend(value.map(|value| (header::AUTHORIZATION, value.parse().unwrap())));
            without_empty_token(&mut request);
            request.headers().get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!([sent(None), sent(Some("Bearer")), sent(Some("Bearer "))], [None, None, None]);
        assert_eq!(sent(Some("Bearer abc")).as_deref(), Some("Bearer abc"));
    }

    #[test]
    fn an_error_tells_its_causes_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("error sending request")]
        struct Sending(#[source] io::Error);
        let error = HttpError::new(HttpErrorKind::Connect, Sending(io::Error::other("connection refused")));
        let error = told(&error);
        assert_eq!(
            (error.to_string().as_str(), error.kind()),
            ("HTTP error: error sending request: connection refused", HttpErrorKind::Connect)
        );
    }

    #[test]
    fn what_broke_is_tried_again_and_a_certificate_that_is_not_trusted_is_not() {
        let kind = |kind, error: io::Error| told(&HttpError::new(kind, error)).kind();
        for broken in [HttpErrorKind::Timeout, HttpErrorKind::Interrupted, HttpErrorKind::Request] {
            assert_eq!(kind(broken, io::ErrorKind::ConnectionReset.into()), HttpErrorKind::Request);
        }
        let certificate = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert_eq!(kind(HttpErrorKind::Connect, io::Error::other(certificate.clone())), HttpErrorKind::Decode);
        let deeper = io::Error::other(io::Error::other(certificate));
        assert_eq!(kind(HttpErrorKind::Connect, deeper), HttpErrorKind::Decode);
    }
}
