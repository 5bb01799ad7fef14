//! A connection to a topology server, and an HTTP client for one: with the same certificates, and the same words for what
//! goes wrong.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::access::{Access, Endpoint, TlsFiles};
use super::error::TopologyError;

/// What bytes go through, with or without TLS.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Connects; with TLS where [`Access::uses_tls`]. `protocol` is what TLS is told of the protocol inside (ALPN); empty: nothing.
///
/// # Errors
/// `Unreachable`, `Tls`, and `File` for certificates that cannot be read.
pub async fn connect(
    server: &'static str,
    access: &Access,
    endpoint: &Endpoint,
    protocol: &[u8],
) -> Result<Box<dyn Connection>, TopologyError> {
    let config = if access.uses_tls(endpoint) { Some(client_config(&access.tls, protocol)?) } else { None };
    let unreachable = |cause: String| TopologyError::Unreachable { server, endpoint: endpoint.to_string(), cause };
    let late = || unreachable(format!("no answer within {} s", access.connect_timeout.as_secs()));
    let connecting = TcpStream::connect((endpoint.host.as_str(), endpoint.port));
    let tcp = timeout(access.connect_timeout, connecting).await.map_err(|_| late())?;
    let tcp = tcp.map_err(|error| unreachable(error.to_string()))?;
    let _ = tcp.set_nodelay(true);
    let Some(config) = config else { return Ok(Box::new(tcp)) };
    let name = ServerName::try_from(endpoint.host.clone()).map_err(|error| unreachable(error.to_string()))?;
    let shaken = timeout(access.connect_timeout, TlsConnector::from(config).connect(name, tcp)).await;
    let shaken = shaken.map_err(|_| late())?;
    let failed = |cause: String| TopologyError::Tls { server, endpoint: endpoint.to_string(), cause };
    Ok(Box::new(shaken.map_err(|error| failed(with_causes(&error)))?))
}

/// Whether a server that was spoken to without TLS wants it: it takes part in a handshake.
pub async fn wants_tls(access: &Access, endpoint: &Endpoint) -> bool {
    if access.uses_tls(endpoint) {
        return false;
    }
    let secure = Endpoint { tls: Some(true), ..endpoint.clone() };
    match connect("", access, &secure, b"").await {
        Ok(_) => true,
        // It showed a certificate, or asked for one.
        Err(TopologyError::Tls { cause, .. }) => cause.contains("certificate") || cause.contains("fatal alert"),
        Err(_) => false,
    }
}

/// What a server says on a connection with TLS that it does not like: that it wants a client's certificate, say, it tells only
/// after the handshake, and whoever was writing then may see no more than a connection that broke.
async fn alert(server: &'static str, access: &Access, endpoint: &Endpoint) -> Option<String> {
    if !access.uses_tls(endpoint) {
        return None;
    }
    match connect(server, access, endpoint, b"").await {
        Ok(mut connection) => {
            let told = timeout(Duration::from_secs(2), connection.read_u8()).await.ok()?;
            told.err().map(|error| with_causes(&error)).filter(|cause| says_tls(cause))
        }
        Err(TopologyError::Tls { cause, .. }) => Some(cause),
        Err(_) => None,
    }
}

/// What a failed exchange means: TLS that does not fit shows only then when the server wants a client's certificate, or
/// wants TLS and got none.
pub async fn explain(server: &'static str, access: &Access, endpoint: &Endpoint, cause: String) -> TopologyError {
    let at = endpoint.to_string();
    if says_tls(&cause) {
        return TopologyError::Tls { server, endpoint: at, cause };
    }
    if let Some(cause) = alert(server, access, endpoint).await {
        return TopologyError::Tls { server, endpoint: at, cause };
    }
    if wants_tls(access, endpoint).await {
        let cause = format!("it wants TLS, and was spoken to without ({cause})");
        return TopologyError::Tls { server, endpoint: at, cause };
    }
    TopologyError::Unreachable { server, endpoint: at, cause }
}

/// Whether the words are those of a failed handshake.
pub fn says_tls(text: &str) -> bool {
    const WORDS: [&str; 6] =
        ["certificate", "fatal alert", "InvalidContentType", "corrupt message", "handshake", "HTTPS server"];
    WORDS.iter().any(|word| text.contains(word))
}

/// TLS of rustls with ring, as everywhere in this program.
///
/// # Errors
/// `File`.
pub fn client_config(files: &TlsFiles, protocol: &[u8]) -> Result<Arc<ClientConfig>, TopologyError> {
    let problem = |problem: String| TopologyError::File { path: files.ca.clone().unwrap_or_default(), problem };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| problem(error.to_string()))?
        .with_root_certificates(roots(files)?);
    let mut config = match &files.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let private = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| TopologyError::File { path: key.clone(), problem: error.to_string() })?;
            let wrong = |error: rustls::Error| TopologyError::File { path: key.clone(), problem: error.to_string() };
            builder.with_client_auth_cert(chain, private).map_err(wrong)?
        }
    };
    if !protocol.is_empty() {
        config.alpn_protocols = vec![protocol.to_vec()];
    }
    Ok(Arc::new(config))
}

fn roots(files: &TlsFiles) -> Result<RootCertStore, TopologyError> {
    let mut roots = RootCertStore::empty();
    match &files.ca {
        Some(path) => {
            for certificate in certificates(path)? {
                let added = roots.add(certificate);
                added.map_err(|error| TopologyError::File { path: path.clone(), problem: error.to_string() })?;
            }
        }
        None => {
            // One that cannot be read among the system's is no reason to trust none of them.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TopologyError> {
    let problem = |problem: String| TopologyError::File { path: path.to_path_buf(), problem };
    let read = CertificateDer::pem_file_iter(path).map_err(|error| problem(error.to_string()))?;
    let found = read.collect::<Result<Vec<_>, _>>().map_err(|error| problem(error.to_string()))?;
    if found.is_empty() { Err(problem("there is no certificate in it".to_owned())) } else { Ok(found) }
}

/// An HTTP client with the same TLS. It follows no redirects, since it carries credentials.
///
/// # Errors
/// `File`.
pub fn http_client(access: &Access) -> Result<reqwest::Client, TopologyError> {
    let config = client_config(&access.tls, b"http/1.1")?;
    let built = reqwest::Client::builder()
        .tls_backend_preconfigured(ClientConfig::clone(&config))
        .connect_timeout(access.connect_timeout)
        .read_timeout(access.stall)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .http1_only()
        .build();
    built.map_err(|error| TopologyError::File {
        path: access.tls.ca.clone().unwrap_or_default(),
        problem: with_causes(&error),
    })
}

/// `http://host:port` or `https://host:port`.
pub fn base_url(access: &Access, endpoint: &Endpoint) -> String {
    format!("{}://{endpoint}", if access.uses_tls(endpoint) { "https" } else { "http" })
}

/// The outermost error is often only "transport error".
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = if text.is_empty() { next } else { format!("{text}: {next}") };
        }
        cause = error.source();
    }
    text
}
