//! Looking: everything that a run's plan needs, read from the API server. Nothing is changed here.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Pod};
use kube::api::{Api, ListParams, LogParams};
use kube::core::DeserializeGuard;
use kube::{Resource, ResourceExt};

use super::context::Context;
use super::error::{Error, optional};
use super::kinds::Run;
use super::locks::HolderIdentity;
use crate::api::{EngineJob, VitessBackup, VitessBackupStorage, VitessRestore, VitessTopologyBackup};
use crate::plan::observed::{Holder, JobSeen, LivePod, Observed, ServerSeen, is_live, is_short, read_outcome};
use crate::resources::names::{LABEL_LOCK, LABEL_RUN_UID, RESTORE_OF};
use crate::resources::pod::{ENGINE_CONTAINER, mounts};
use crate::resources::pod_start::restore_of;

/// How much of a log is read while the engine runs (it writes a line a second), and when it has ended.
const TAIL_RUNNING: i64 = 30;
const TAIL_ENDED: i64 = 200;
/// How many backups are read at a time when all are.
const SERVERS_PAGE: u32 = 200;
/// How long reading it may take.
const LOG_LIMIT: Duration = Duration::from_secs(10);

/// What a plan for this object needs: nothing for an ended run, its Job for one under way, and all there is otherwise.
///
/// # Errors
/// When the API server cannot be asked; a thing that does not exist is no error.
pub async fn run<K: Run>(context: &Context, object: &K, now: Timestamp) -> Result<Observed, Error> {
    let mut seen = Observed::nothing(context.settings.clone());
    let deleting = object.meta().deletion_timestamp.is_some();
    let verifies = !deleting && !object.lives() && object.verifies();
    if !deleting && !object.lives() && !verifies {
        return Ok(seen);
    }
    let status = object.status().map(|status| K::run(status).clone()).unwrap_or_default();
    let look =
        Look { context, namespace: object.namespace().unwrap_or_default(), uid: object.uid().unwrap_or_default(), now };
    if object.follows_pods() && !deleting {
        seen.storage = look.storage(object.storage_name()).await?;
        seen.claims = look.claims().await?;
        seen.starting_pods = look.starting_pods(&object.name_any()).await?;
        return Ok(seen);
    }
    let current = object.verification_job().filter(|_| verifies).or(status.job.as_ref());
    look.jobs(&mut seen, current).await?;
    let under_way = current.is_some_and(|job| job.uid.is_some());
    if under_way && !deleting && (verifies || !object.phase().is_final()) {
        return Ok(seen);
    }
    if !verifies {
        look.locks(&mut seen).await?;
        seen.queue = context.queue.of(&look.namespace);
        if object.phase().is_final() && !deleting {
            return Ok(seen);
        }
    }
    if deleting {
        seen.namespace_terminating = look.namespace_terminating().await?;
    }
    seen.storage = look.storage(object.storage_name()).await?;
    seen.claims = look.claims().await?;
    seen.tablets = look.tablets().await?;
    let shared = object.shared_claims();
    if !shared.is_empty() {
        seen.claim_users = look.users_of(&shared).await?;
    }
    if object.streams_tar() {
        seen.servers = look.servers().await?;
    }
    Ok(seen)
}

struct Look<'a> {
    context: &'a Context,
    namespace: String,
    uid: String,
    now: Timestamp,
}

impl Look<'_> {
    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.context.client.clone(), &self.namespace)
    }

    /// This run's Jobs and pods, and the log of the one that counts.
    async fn jobs(&self, seen: &mut Observed, current: Option<&EngineJob>) -> Result<(), Error> {
        let own = ListParams::default().labels(&format!("{LABEL_RUN_UID}={}", self.uid));
        let jobs = self.api::<Job>().list(&own).await.map_err(Error::api("list", "Jobs"))?;
        let pods = self.api::<Pod>().list(&own).await.map_err(Error::api("list", "pods"))?;
        for job in jobs {
            let name = job.name_any();
            let pod = pods.iter().find(|pod| job_of(pod) == Some(&name));
            let current = current.is_some_and(|current| current.name == name);
            let log = match pod {
                Some(pod) if current => self.log(pod).await,
                _ => String::new(),
            };
            seen.jobs.insert(name, JobSeen::read(&job, pod, &log, self.now));
        }
        let live = pods.iter().filter(|pod| is_live(pod, self.now));
        seen.live_pods = live
            .map(|pod| LivePod { pod: pod.name_any(), job: job_of(pod).map(str::to_owned).unwrap_or_default() })
            .collect();
        Ok(())
    }

    /// The end of the engine's log, as far as it is needed. A log that cannot be read (yet, or any more) is empty.
    async fn log(&self, pod: &Pod) -> String {
        let statuses = pod.status.iter().filter_map(|status| status.container_statuses.as_ref()).flatten();
        let state = statuses.into_iter().find(|status| status.name == ENGINE_CONTAINER).and_then(|s| s.state.as_ref());
        let tail_lines = match state {
            Some(state) if state.running.is_some() => TAIL_RUNNING,
            Some(state) => match &state.terminated {
                Some(terminated) => {
                    let outcome = read_outcome(terminated.message.as_deref().unwrap_or_default());
                    let whole = outcome.is_some_and(|outcome| outcome.failure.is_none() && !is_short(&outcome));
                    if whole {
                        return String::new();
                    }
                    TAIL_ENDED
                }
                None => return String::new(),
            },
            None => return String::new(),
        };
        let parameters = LogParams {
            container: Some(ENGINE_CONTAINER.to_owned()),
            tail_lines: Some(tail_lines),
            ..LogParams::default()
        };
        // The kubelet is asked, whose node may be gone.
        let (pods, name) = (self.api::<Pod>(), pod.name_any());
        match tokio::time::timeout(LOG_LIMIT, pods.logs(&name, &parameters)).await {
            Ok(Ok(log)) => log,
            Ok(Err(error)) => {
                tracing::debug!(%error, pod = name, "cannot read the engine's log");
                String::new()
            }
            Err(_) => {
                tracing::debug!(pod = name, "the engine's log takes too long");
                String::new()
            }
        }
    }

    /// The locks of the namespace, and whether those who hold them live.
    async fn locks(&self, seen: &mut Observed) -> Result<(), Error> {
        let ours = ListParams::default().labels(LABEL_LOCK);
        let leases = self.api::<Lease>().list(&ours).await.map_err(Error::api("list", "Leases"))?;
        let mut lives: BTreeMap<String, bool> = BTreeMap::from([(self.uid.clone(), true)]);
        for lease in leases {
            let Some(holder) = HolderIdentity::of(&lease) else { continue };
            if !lives.contains_key(&holder.uid) {
                lives.insert(holder.uid.clone(), self.lives(&holder).await?);
            }
            let name = format!("{} {}", holder.kind, holder.name);
            let lives = lives.get(&holder.uid).copied().unwrap_or(true);
            seen.locks.insert(lease.name_any(), Holder { name, uid: holder.uid, lives });
        }
        Ok(())
    }

    async fn lives(&self, holder: &HolderIdentity) -> Result<bool, Error> {
        let object_lives = match holder.kind.as_str() {
            VitessBackup::KIND => self.object_lives::<VitessBackup>(holder).await?,
            VitessRestore::KIND => self.object_lives::<VitessRestore>(holder).await?,
            VitessTopologyBackup::KIND => self.object_lives::<VitessTopologyBackup>(holder).await?,
            _ => false,
        };
        if object_lives {
            return Ok(true);
        }
        let theirs = ListParams::default().labels(&format!("{LABEL_RUN_UID}={}", holder.uid));
        let pods = self.api::<Pod>().list(&theirs).await.map_err(Error::api("list", "pods"))?;
        Ok(pods.iter().any(|pod| is_live(pod, self.now)))
    }

    async fn object_lives<K: Run>(&self, holder: &HolderIdentity) -> Result<bool, Error> {
        let api: Api<DeserializeGuard<K>> = Api::namespaced(self.context.client.clone(), &self.namespace);
        let found = optional(api.get(&holder.name).await)
            .map_err(Error::api("read", format!("{} {}", K::KIND, holder.name)))?;
        let same = found.filter(|object| object.meta().uid.as_ref() == Some(&holder.uid));
        // One that cannot be read may well run.
        Ok(same.is_some_and(|object| object.0.map_or(true, |object| object.lives())))
    }

    async fn namespace_terminating(&self) -> Result<bool, Error> {
        let api: Api<Namespace> = Api::all(self.context.client.clone());
        let what = format!("namespace {}", self.namespace);
        let found = optional(api.get(&self.namespace).await).map_err(Error::api("read", what))?;
        Ok(found.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()))
    }

    async fn storage(&self, name: &str) -> Result<Option<VitessBackupStorage>, Error> {
        optional(self.api().get(name).await).map_err(Error::api("read", format!("VitessBackupStorage {name}")))
    }

    async fn claims(&self) -> Result<BTreeMap<String, PersistentVolumeClaim>, Error> {
        claims(&self.api()).await
    }

    async fn tablets(&self) -> Result<Vec<Pod>, Error> {
        let selector = ListParams::default().labels(&self.context.settings.tablet_selector_text());
        Ok(self.api::<Pod>().list(&selector).await.map_err(Error::api("list", "tablet pods"))?.items)
    }

    /// Pods that name this object: by label, or, when they are tablets, by annotation.
    async fn starting_pods(&self, name: &str) -> Result<Vec<Pod>, Error> {
        let api = self.api::<Pod>();
        let labelled = ListParams::default().labels(RESTORE_OF);
        let mut pods = api.list(&labelled).await.map_err(Error::api("list", "pods"))?.items;
        for tablet in self.tablets().await? {
            if !pods.iter().any(|pod| pod.metadata.name == tablet.metadata.name) {
                pods.push(tablet);
            }
        }
        pods.retain(|pod| restore_of(pod) == Some(name) && is_live(pod, self.now));
        Ok(pods)
    }

    /// What the namespace's backups tell of their servers. One that cannot be read tells nothing.
    async fn servers(&self) -> Result<Vec<ServerSeen>, Error> {
        let mut servers = Vec::new();
        pages(&self.api::<DeserializeGuard<VitessBackup>>(), ListParams::default(), SERVERS_PAGE, |backup| {
            servers.extend(backup.0.ok().as_ref().and_then(ServerSeen::of));
        })
        .await?;
        Ok(servers)
    }

    /// Pods that mount one of the claims and have not ended, but for this run's own.
    async fn users_of(&self, claims: &[&str]) -> Result<Vec<Pod>, Error> {
        let mut pods = self.api::<Pod>().list(&ListParams::default()).await.map_err(Error::api("list", "pods"))?.items;
        let own = |pod: &Pod| pod.labels().get(LABEL_RUN_UID) == Some(&self.uid);
        pods.retain(|pod| claims.iter().any(|claim| mounts(pod, claim)) && !own(pod) && is_live(pod, self.now));
        Ok(pods)
    }
}

/// Reads all objects, of which no more than a page is held at a time.
///
/// # Errors
/// When any page cannot be read.
pub(super) async fn pages<K>(api: &Api<K>, params: ListParams, page: u32, mut note: impl FnMut(K)) -> Result<(), Error>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let mut params = params.limit(page);
    loop {
        let listed = api.list(&params).await.map_err(Error::api("list", "VitessBackups"))?;
        let next = listed.metadata.continue_.clone().filter(|token| !token.is_empty());
        listed.into_iter().for_each(&mut note);
        match next {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(()),
        }
    }
}

/// The claims of a namespace, by name.
///
/// # Errors
/// When they cannot be listed.
pub async fn claims(api: &Api<PersistentVolumeClaim>) -> Result<BTreeMap<String, PersistentVolumeClaim>, Error> {
    let claims = api.list(&ListParams::default()).await.map_err(Error::api("list", "PersistentVolumeClaims"))?;
    Ok(claims.into_iter().map(|claim| (claim.name_any(), claim)).collect())
}

/// The name of a pod's Job.
pub(super) fn job_of(pod: &Pod) -> Option<&str> {
    pod.labels().get("batch.kubernetes.io/job-name").map(String::as_str)
}
