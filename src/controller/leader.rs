//! Leader election by a Lease: one operator acts, the others stand by.
//!
//! Expiry is judged by our own clock since the Lease was last seen to change, as client-go does, so that clocks need not
//! agree. A leader that cannot renew stops before another one may start.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::time::{Instant, sleep, timeout};

use super::error::{Error, optional};
use crate::resources::names::{LEADER_MANAGER, OPERATOR};

/// How long a leader may be silent before another one takes over. With the two looks that seeing its last sign and the end of this
/// time take, another operator is at work within 20 seconds.
const DURATION: Duration = Duration::from_secs(12);
/// How long a leader tries to renew before it gives up; shorter than `DURATION`, by more than a request takes.
const RENEW_LIMIT: Duration = Duration::from_secs(7);
const RETRY: Duration = Duration::from_secs(2);

fn as_manager() -> PostParams {
    PostParams { field_manager: Some(LEADER_MANAGER.to_owned()), ..PostParams::default() }
}

/// This operator's claim to be the leader.
pub struct Leadership {
    api: Api<Lease>,
    identity: String,
}

impl Leadership {
    /// `identity` must be this process's own: the pod's name.
    pub fn new(client: Client, namespace: &str, identity: String) -> Self {
        Self { api: Api::namespaced(client, namespace), identity }
    }

    /// Waits until this operator is the leader.
    pub async fn acquire(&self) {
        let mut last_seen: Option<(Option<String>, Instant)> = None;
        loop {
            match self.try_acquire(&mut last_seen).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "cannot look at the leader's Lease"),
            }
            sleep(RETRY).await;
        }
    }

    /// Renews for as long as this operator is the leader; returns when it is no longer.
    pub async fn keep(&self) {
        let mut renewed = Instant::now();
        loop {
            sleep(RETRY).await;
            // Whoever was stopped for a while (a frozen node, a debugger) must not act for as long as a request takes.
            if renewed.elapsed() > RENEW_LIMIT {
                return;
            }
            match timeout(RETRY, self.renew()).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(%error, "cannot renew the leader's Lease"),
                Err(_) => tracing::warn!("renewing the leader's Lease takes too long"),
            }
            if renewed.elapsed() > RENEW_LIMIT {
                return;
            }
        }
    }

    /// Lets another operator lead at once.
    pub async fn release(&self) {
        if let Ok(Some(mut lease)) = optional(self.api.get(OPERATOR).await)
            && holder(&lease) == Some(&self.identity)
        {
            if let Some(spec) = &mut lease.spec {
                spec.holder_identity = None;
            }
            let released = self.api.replace(OPERATOR, &as_manager(), &lease).await;
            tracing::debug!(released = released.is_ok(), "gave the lead back");
        }
    }

    async fn try_acquire(&self, last_seen: &mut Option<(Option<String>, Instant)>) -> Result<bool, Error> {
        let found = optional(self.api.get(OPERATOR).await).map_err(Error::api("read", "the leader's Lease"))?;
        let Some(lease) = found else {
            let created = self.api.create(&as_manager(), &self.lease(None)).await;
            return match created {
                Ok(_) => Ok(true),
                Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
                Err(error) => Err(Error::api("create", "the leader's Lease")(error)),
            };
        };
        let version = lease.metadata.resource_version.clone();
        let unchanged_since = match last_seen {
            Some((seen, since)) if *seen == version => *since,
            _ => last_seen.insert((version, Instant::now())).1,
        };
        let held = holder(&lease).is_some_and(|holder| !holder.is_empty() && *holder != self.identity);
        if held && unchanged_since.elapsed() < duration(&lease) {
            return Ok(false);
        }
        self.replace(&lease).await
    }

    async fn renew(&self) -> Result<bool, Error> {
        let lease = self.api.get(OPERATOR).await.map_err(Error::api("read", "the leader's Lease"))?;
        if holder(&lease) != Some(&self.identity) {
            return Ok(false);
        }
        self.replace(&lease).await
    }

    /// Writes ourselves in; false when somebody else was faster.
    async fn replace(&self, lease: &Lease) -> Result<bool, Error> {
        let ours = self.lease(Some(lease));
        match self.api.replace(OPERATOR, &as_manager(), &ours).await.map_err(Error::api("write", "the leader's Lease"))
        {
            Ok(_) => Ok(true),
            Err(error) if error.is_outdated() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn lease(&self, before: Option<&Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let old = before.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let again = old.holder_identity.as_ref() == Some(&self.identity);
        let named = ObjectMeta { name: Some(OPERATOR.to_owned()), ..ObjectMeta::default() };
        Lease {
            metadata: before.map_or(named, |lease| lease.metadata.clone()),
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                acquire_time: if again { old.acquire_time } else { Some(now.clone()) },
                renew_time: Some(now),
                lease_transitions: Some(old.lease_transitions.unwrap_or(0) + i32::from(before.is_some() && !again)),
                ..LeaseSpec::default()
            }),
        }
    }
}

fn holder(lease: &Lease) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref()
}

fn duration(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    seconds.and_then(|seconds| u64::try_from(seconds).ok()).map_or(DURATION, Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::super::fake_server::FakeServer;
    use super::*;

    const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/demo/leases/vitess-backup-operator";

    fn holder_of(server: &FakeServer) -> serde_json::Value {
        server.get(LEASE).unwrap()["spec"]["holderIdentity"].clone()
    }

    #[tokio::test(start_paused = true)]
    async fn one_leads_and_the_other_takes_over_when_the_lead_is_given_back() {
        let server = FakeServer::default();
        let first = Leadership::new(server.client(), "demo", "first".into());
        let second = Leadership::new(server.client(), "demo", "second".into());
        first.acquire().await;
        tokio::select! {
            () = second.acquire() => panic!("two leaders"),
            () = first.keep() => panic!("the lead was lost"),
            () = sleep(Duration::from_secs(120)) => {}
        }
        assert_eq!(holder_of(&server), "first");
        first.release().await;
        timeout(Duration::from_secs(3), second.acquire()).await.unwrap();
        assert_eq!(holder_of(&server), "second");
        assert_eq!(server.get(LEASE).unwrap()["spec"]["leaseTransitions"], 1);
        // A leader that finds somebody else in its place stops at once.
        timeout(Duration::from_secs(3), first.keep()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_falls_silent_is_replaced_within_twenty_seconds_and_not_before_it_has_stopped() {
        let server = FakeServer::default();
        Leadership::new(server.client(), "demo", "first".into()).acquire().await;
        let second = Leadership::new(server.client(), "demo", "second".into());
        let begun = Instant::now();
        second.acquire().await;
        let waited = begun.elapsed();
        assert!(waited >= DURATION && waited < Duration::from_secs(18), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_cannot_renew_stops_before_another_may_start() {
        let server = FakeServer::default();
        let first = Leadership::new(server.client(), "demo", "first".into());
        first.acquire().await;
        server.fail(&format!("GET {LEASE}"), 500, "InternalError", "etcd is away");
        let begun = Instant::now();
        first.keep().await;
        assert!(begun.elapsed() < DURATION, "{:?}", begun.elapsed());
    }
}
