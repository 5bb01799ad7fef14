//! How a topology server is reached: endpoints, certificates, credentials.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::TopologyError;

/// `host:port`, and whether with TLS when the text says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
    /// `http://` and `https://`; `None`: TLS when there are certificates for it.
    pub tls: Option<bool>,
}

impl FromStr for Endpoint {
    type Err = TopologyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || TopologyError::Endpoint(text.to_owned());
        let (tls, rest) = match text.trim().split_once("://") {
            Some(("http", rest)) => (Some(false), rest),
            Some(("https", rest)) => (Some(true), rest),
            Some(_) => return Err(wrong()),
            None => (None, text.trim()),
        };
        let (host, port) = rest.trim_end_matches('/').rsplit_once(':').ok_or_else(wrong)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if bare.is_empty() || !bare.chars().all(is_host) || (bare == host && host.contains(':')) {
            return Err(wrong());
        }
        Ok(Self { host: bare.to_owned(), port: port.parse().map_err(|_| wrong())?, tls })
    }
}

impl fmt::Display for Endpoint {
    /// Without the scheme.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, tls: _ } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Endpoints as Vitess's flags have them: separated by commas.
///
/// # Errors
/// For one that is none, and for none at all.
pub fn endpoints(text: &str) -> Result<Vec<Endpoint>, TopologyError> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let endpoints = parts.map(str::parse).collect::<Result<Vec<Endpoint>, _>>()?;
    if endpoints.is_empty() { Err(TopologyError::NoEndpoint) } else { Ok(endpoints) }
}

/// Files in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Of the authority that signed the server's certificate; absent: those that the system trusts.
    pub ca: Option<PathBuf>,
    /// Of this client, with its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl TlsFiles {
    /// Of a directory that has the keys of a Kubernetes TLS Secret: `ca.crt`, and `tls.crt` with `tls.key`.
    pub fn in_directory(directory: &Path) -> Self {
        let there = |name: &str| Some(directory.join(name)).filter(|path| path.exists());
        Self { ca: there("ca.crt"), identity: there("tls.crt").zip(there("tls.key")) }
    }

    pub fn is_empty(&self) -> bool {
        self.ca.is_none() && self.identity.is_none()
    }
}

/// Who asks. Its `Debug` shows no secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// etcd's user, or ZooKeeper's digest user.
    pub user: Option<(String, String)>,
    /// Consul's ACL token.
    pub token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_ref().map(|(name, _)| name);
        write!(f, "Credentials {{ user: {user:?}, token: {} }}", if self.token.is_some() { "set" } else { "none" })
    }
}

impl Credentials {
    /// Of a directory that has the keys of a Secret: `username` and `password`, or `token`.
    ///
    /// # Errors
    /// For a directory with none of these, or half of them.
    pub fn in_directory(directory: &Path) -> Result<Self, TopologyError> {
        let read = |name: &str| -> Result<Option<String>, TopologyError> {
            let path = directory.join(name);
            match fs::read_to_string(&path) {
                // Editors end a file with a line break; no password does.
                Ok(text) => Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(TopologyError::File { path, problem: error.to_string() }),
            }
        };
        let problem =
            |problem: &str| Err(TopologyError::File { path: directory.to_path_buf(), problem: problem.to_owned() });
        let token = read("token")?;
        match (read("username")?, read("password")?) {
            (Some(name), Some(password)) => Ok(Self { user: Some((name, password)), token }),
            (None, None) if token.is_some() => Ok(Self { user: None, token }),
            (None, None) => problem("it has neither username and password nor token"),
            _ => problem("username and password belong together, and only one of them is there"),
        }
    }
}

/// All that a client of a topology server needs to know.
#[derive(Clone, Debug)]
pub struct Access {
    pub endpoints: Vec<Endpoint>,
    pub tls: TlsFiles,
    pub credentials: Credentials,
    pub connect_timeout: Duration,
    /// How long an answer, or the next piece of one, may take.
    pub stall: Duration,
}

impl Access {
    pub fn to(endpoints: Vec<Endpoint>) -> Self {
        Self {
            endpoints,
            tls: TlsFiles::default(),
            credentials: Credentials::default(),
            connect_timeout: Duration::from_secs(10),
            stall: Duration::from_secs(60),
        }
    }

    /// Whether this endpoint is spoken to with TLS.
    pub fn uses_tls(&self, endpoint: &Endpoint) -> bool {
        endpoint.tls.unwrap_or(!self.tls.is_empty())
    }

    /// The same access to another server.
    #[must_use]
    pub fn with_endpoints(&self, endpoints: Vec<Endpoint>) -> Self {
        Self { endpoints, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_with_and_without_scheme() {
        for (text, host, port, tls) in [
            ("etcd:2379", "etcd", 2379, None),
            ("https://etcd-0.etcd.vitess.svc:2379", "etcd-0.etcd.vitess.svc", 2379, Some(true)),
            ("http://10.0.0.1:8500/", "10.0.0.1", 8500, Some(false)),
            ("[::1]:2379", "::1", 2379, None),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((endpoint.host.as_str(), endpoint.port, endpoint.tls), (host, port, tls));
        }
        for wrong in ["", "etcd", ":2379", "ftp://a:1", "a:b", "a:99999", "::1:2379", "user@host:1", "host/path:1"] {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
        }
        assert_eq!(endpoints("a:1, b:2,").unwrap().len(), 2);
        assert!(matches!(endpoints(" ,"), Err(TopologyError::NoEndpoint)));
    }

    #[test]
    fn tls_is_used_where_the_endpoint_says_so_or_where_there_are_certificates() {
        let mut access = Access::to(endpoints("a:1,https://b:1,http://c:1").unwrap());
        let used = |access: &Access| access.endpoints.iter().map(|e| access.uses_tls(e)).collect::<Vec<_>>();
        assert_eq!(used(&access), [false, true, false]);
        access.tls.ca = Some("/ca.crt".into());
        assert_eq!(used(&access), [true, true, false]);
    }

    #[test]
    fn credentials_are_the_files_of_a_secret_and_are_never_shown() {
        let directory = tempfile::TempDir::new().unwrap();
        let none = Credentials::in_directory(directory.path()).unwrap_err();
        assert!(none.to_string().contains("neither username and password nor token"), "{none}");
        fs::write(directory.path().join("username"), "root\n").unwrap();
        assert!(Credentials::in_directory(directory.path()).is_err(), "half of it");
        fs::write(directory.path().join("password"), "hush\n").unwrap();
        let credentials = Credentials::in_directory(directory.path()).unwrap();
        assert_eq!(credentials.user, Some(("root".into(), "hush".into())));
        assert!(!format!("{credentials:?}").contains("hush"));
    }
}
