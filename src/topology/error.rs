//! What can go wrong with a topology server: which one, what was tried, and what to do about it.

use std::path::PathBuf;

use crate::backup::failure::{Failure, Reason};

/// `server` is the server's own name (etcd, ZooKeeper, Consul), `endpoint` its `host:port`.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    #[error("{0:?} is not an endpoint: write host:port, http://host:port or https://host:port")]
    Endpoint(String),
    #[error("no endpoint was given")]
    NoEndpoint,
    #[error("cannot use {}: {problem}", path.display())]
    File { path: PathBuf, problem: String },
    #[error("cannot reach {server} at {endpoint}: {cause}")]
    Unreachable { server: &'static str, endpoint: String, cause: String },
    #[error("TLS with {server} at {endpoint} failed: {cause}")]
    Tls { server: &'static str, endpoint: String, cause: String },
    #[error("{server} at {endpoint} denies it: {cause}")]
    Denied { server: &'static str, endpoint: String, cause: String },
    #[error("{server} at {endpoint} has no leader: {cause}")]
    NoQuorum { server: &'static str, endpoint: String, cause: String },
    #[error("{server} at {endpoint} broke off after {received} bytes: {cause}")]
    BrokenOff { server: &'static str, endpoint: String, received: u64, cause: String },
    #[error("the snapshot of {server} ({object}) is not whole: {cause}")]
    Damaged { server: &'static str, object: String, cause: String },
    #[error("{server} at {endpoint} cannot do this: {cause}")]
    NotSupported { server: &'static str, endpoint: String, cause: String },
    #[error("{server} at {endpoint} failed to {call}: {cause}")]
    Failed { server: &'static str, endpoint: String, call: &'static str, cause: String },
    #[error("{path} in {server} was changed by somebody else meanwhile")]
    Changed { server: &'static str, path: String },
    #[error("cannot understand {what}: {cause}")]
    Unreadable { what: String, cause: String },
    /// No endpoint could do it; in the order in which they were asked.
    #[error("none of the endpoints can do it: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Endpoints(Vec<TopologyError>),
}

impl TopologyError {
    /// Whether another endpoint of the same server may do what this one could not.
    pub fn is_of_endpoint(&self) -> bool {
        !matches!(
            self,
            Self::Endpoint(_)
                | Self::NoEndpoint
                | Self::File { .. }
                | Self::Denied { .. }
                | Self::Changed { .. }
                | Self::Unreadable { .. }
        )
    }

    /// What is reported to the user.
    pub fn failure(&self) -> Failure {
        if let Self::Endpoints(all) = self {
            // One that answered tells more than one that is down.
            let telling = all.iter().find(|error| !matches!(error, Self::Unreachable { .. })).or(all.first());
            let told = telling.map_or_else(|| Self::NoEndpoint.failure(), Self::failure);
            return Failure { message: self.to_string(), ..told };
        }
        let (reason, remedy) = self.verdict();
        Failure { reason, message: self.to_string(), remedy: remedy.to_owned() }
    }

    fn verdict(&self) -> (Reason, &'static str) {
        match self {
            Self::Endpoint(_) | Self::NoEndpoint => (
                Reason::InvalidArguments,
                "Name the server's endpoints: --topo-server-address host:port[,host:port …], or endpoints in the object.",
            ),
            Self::File { .. } => (
                Reason::InvalidArguments,
                "Check the files of --topo-tls-dir (ca.crt, and tls.crt with tls.key) and --topo-credentials-dir (username and \
                 password, or token), which are the keys of tlsSecret and credentialsSecret; and the server's data directory.",
            ),
            Self::Unreachable { .. } | Self::Endpoints(_) => (
                Reason::TopologyUnreachable,
                "Check that the server runs, that host and port are those that its clients use (for ZooKeeper's snapshots the \
                 admin server's, 8080), and that nothing between here and there blocks it; then run it again.",
            ),
            Self::Tls { .. } => (
                Reason::TopologyTlsFailed,
                "Make both sides agree: https:// and ca.crt of the authority that signed the server's certificate (which must \
                 name the host in the endpoint), tls.crt and tls.key where the server asks for a client's; http:// where it \
                 has no TLS.",
            ),
            Self::Denied { .. } => (
                Reason::TopologyDenied,
                "Give credentials that may do this: etcd a user with the role root, Consul a token with a policy of management \
                 (acl = \"write\"), ZooKeeper a digest user with all rights on /.",
            ),
            Self::NoQuorum { .. } => (
                Reason::TopologyNoQuorum,
                "Bring up more of its servers, until most of them run. To save what one server has all the same, ask for a \
                 stale snapshot (--stale, or stale: true), which may lack the newest writes.",
            ),
            Self::BrokenOff { .. } => (
                Reason::TopologyBrokenOff,
                "Nothing was kept of the half snapshot. See the server's log for why it stopped, and run it again.",
            ),
            Self::Damaged { .. } => (
                Reason::TopologySnapshotDamaged,
                "Take a new backup; to restore, use another one (vitess-backup list --topology), and check the storage.",
            ),
            Self::NotSupported { .. } => (
                Reason::TopologyNotSupported,
                "Ask a server that can: ZooKeeper's snapshot and restore commands are in 3.9 and later, on by default; of an \
                 older one its data directory is backed up (dataDirectory, --zookeeper-data-dir). docs/topology.md has a page \
                 for each.",
            ),
            Self::Failed { .. } => {
                (Reason::TopologyFailed, "See the server's own log for this moment, put that right, and run it again.")
            }
            Self::Changed { .. } => (
                Reason::TopologyChanged,
                "Stop what writes to the topology (vtctld, vtorc, vttablets), look at the differences again with --dry-run, \
                 and run it again.",
            ),
            Self::Unreadable { .. } => (
                Reason::InvalidArguments,
                "Use a file that `vitess-backup topology export` wrote, and --topo-root as Vitess's --topo-global-root is.",
            ),
        }
    }
}

/// Tries the endpoints one after the other; the first answer counts.
///
/// # Errors
/// What the last or only one says; [`TopologyError::Endpoints`] when several were asked in vain. An error that every
/// endpoint would give ends it at once.
pub async fn first_of<'a, T, E, F>(endpoints: &'a [E], mut ask: impl FnMut(&'a E) -> F) -> Result<T, TopologyError>
where
    F: Future<Output = Result<T, TopologyError>>,
{
    let mut errors = Vec::new();
    for endpoint in endpoints {
        match ask(endpoint).await {
            Ok(answer) => return Ok(answer),
            Err(error) if !error.is_of_endpoint() => return Err(error),
            Err(error) => errors.push(error),
        }
    }
    Err(match errors.len() {
        0 => TopologyError::NoEndpoint,
        1 => errors.remove(0),
        _ => TopologyError::Endpoints(errors),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreachable(endpoint: &str) -> TopologyError {
        TopologyError::Unreachable { server: "etcd", endpoint: endpoint.into(), cause: "connection refused".into() }
    }

    #[tokio::test]
    async fn the_next_endpoint_is_asked_when_one_fails_and_all_are_told_of_when_none_can() {
        let endpoints = ["a:1", "b:1", "c:1"];
        let found = first_of(&endpoints, |endpoint| async move {
            if *endpoint == "b:1" { Ok(*endpoint) } else { Err(unreachable(endpoint)) }
        });
        assert_eq!(found.await.unwrap(), "b:1");

        let none =
            first_of(&endpoints, |endpoint| async move { Err::<(), _>(unreachable(endpoint)) }).await.unwrap_err();
        let failure = none.failure();
        assert_eq!(failure.reason, Reason::TopologyUnreachable);
        for endpoint in endpoints {
            assert!(failure.message.contains(endpoint), "{}", failure.message);
        }
    }

    #[tokio::test]
    async fn of_several_failures_the_reason_is_that_of_a_server_that_answered() {
        let errors = vec![
            unreachable("a:1"),
            TopologyError::NoQuorum { server: "etcd", endpoint: "b:1".into(), cause: "etcdserver: no leader".into() },
        ];
        assert_eq!(TopologyError::Endpoints(errors).failure().reason, Reason::TopologyNoQuorum);
    }

    #[tokio::test]
    async fn what_every_endpoint_would_say_is_asked_once() {
        let asked = std::cell::Cell::new(0);
        let denied = first_of(&["a:1", "b:1"], |endpoint| {
            asked.set(asked.get() + 1);
            let endpoint = (*endpoint).to_owned();
            async move { Err::<(), _>(TopologyError::Denied { server: "Consul", endpoint, cause: "no".into() }) }
        });
        assert_eq!(denied.await.unwrap_err().failure().reason, Reason::TopologyDenied);
        assert_eq!(asked.get(), 1);
    }

    #[test]
    fn every_failure_names_the_endpoint_and_tells_what_to_do() {
        let (server, endpoint, cause) = ("etcd", || "etcd:2379".to_owned(), || "why".to_owned());
        let object = || "snapshot.db".to_owned();
        for (error, reason) in [
            (unreachable("etcd:2379"), Reason::TopologyUnreachable),
            (TopologyError::Tls { server, endpoint: endpoint(), cause: cause() }, Reason::TopologyTlsFailed),
            (TopologyError::Denied { server, endpoint: endpoint(), cause: cause() }, Reason::TopologyDenied),
            (TopologyError::NoQuorum { server, endpoint: endpoint(), cause: cause() }, Reason::TopologyNoQuorum),
            (
                TopologyError::BrokenOff { server, endpoint: endpoint(), received: 7, cause: cause() },
                Reason::TopologyBrokenOff,
            ),
            (TopologyError::Damaged { server, object: object(), cause: cause() }, Reason::TopologySnapshotDamaged),
            (
                TopologyError::NotSupported { server, endpoint: endpoint(), cause: cause() },
                Reason::TopologyNotSupported,
            ),
            (
                TopologyError::Failed { server, endpoint: endpoint(), call: "list keys", cause: cause() },
                Reason::TopologyFailed,
            ),
        ] {
            let failure = error.failure();
            assert_eq!(failure.reason, reason);
            assert!(failure.message.contains("etcd") && failure.remedy.ends_with('.'), "{failure:?}");
        }
    }
}
