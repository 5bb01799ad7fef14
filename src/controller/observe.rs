//! Looking: everything that a run's plan needs, read from the API server. Nothing is changed here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
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
use super::watched::{Watched, of_tablet};
use crate::api::{EngineJob, Phase, RunStatus, VitessBackup, VitessBackupStorage, VitessRestore, VitessTopologyBackup};
use crate::plan::observed::{Holder, JobSeen, LivePod, Observed, ServerSeen, is_live, is_short, read_outcome};
use crate::resources::names::{LABEL_LOCK, LABEL_RUN_UID, Lock, RESTORE_OF};
use crate::resources::pod::{ENGINE_CONTAINER, mounts};
use crate::resources::pod_start::restore_of;
use crate::resources::storage::claim;
use crate::resources::tablet::Tablet;

/// How much of a log is read while the engine runs (it writes a line a second), and when it has ended.
const TAIL_RUNNING: i64 = 30;
const TAIL_ENDED: i64 = 200;
/// How many backups are read at a time when all are.
const SERVERS_PAGE: u32 = 200;
/// How long reading it may take.
const LOG_LIMIT: Duration = Duration::from_secs(10);

/// Where is looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// What the watches have: as of a moment ago.
    Watches,
    /// What the API server says.
    Server,
}

/// What a plan for this object needs: nothing for an ended run, its Job for one under way, and all there is otherwise; and
/// where it was looked. What puts a tablet back, goes with an object, or checks a backup is never planned by the watches.
///
/// # Errors
/// When the API server cannot be asked; a thing that does not exist is no error.
pub async fn run<K: Run>(context: &Context, object: &K, now: Timestamp, by: By) -> Result<(Observed, By), Error> {
    let mut seen = Observed::nothing(context.settings.clone());
    let deleting = object.meta().deletion_timestamp.is_some();
    let verifies = !deleting && !object.lives() && object.verifies();
    if !deleting && !object.lives() && !verifies {
        return Ok((seen, By::Server));
    }
    let status = object.status().map(|status| K::run(status).clone()).unwrap_or_default();
    let namespace = object.namespace().unwrap_or_default();
    let went_ill = status.failure.is_some() || (object.phase().is_final() && object.phase() != Phase::Succeeded);
    let watched = match by {
        By::Watches if !deleting && !went_ill && !verifies && !object.follows_pods() => {
            context.watched.of(&namespace).await
        }
        _ => None,
    };
    let look = Look { context, watched, namespace, uid: object.uid().unwrap_or_default(), now };
    look.all(object, &status, verifies, &mut seen).await?;
    seen.engines = context.watched.engines();
    let by = if look.watched.is_some() { By::Watches } else { By::Server };
    Ok((seen, by))
}

struct Look<'a> {
    context: &'a Context,
    /// What the watches have, where it is to be used.
    watched: Option<Arc<Watched>>,
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

    async fn all<K: Run>(
        &self,
        object: &K,
        status: &RunStatus,
        verifies: bool,
        seen: &mut Observed,
    ) -> Result<(), Error> {
        let deleting = object.meta().deletion_timestamp.is_some();
        if object.follows_pods() && !deleting {
            seen.storage = self.storage(object.storage_name()).await?;
            seen.claims = self.claims(None).await?;
            seen.starting_pods = self.starting_pods(&object.name_any()).await?;
            return Ok(());
        }
        let current = object.verification_job().filter(|_| verifies).or(status.job.as_ref());
        self.jobs(seen, current).await?;
        let under_way = current.is_some_and(|job| job.uid.is_some());
        if under_way && !deleting && (verifies || !object.phase().is_final()) {
            return Ok(());
        }
        let wants = object.wants();
        let ended = object.phase().is_final() && !deleting && !verifies;
        if !ended {
            seen.tablets = self.tablets(&wants).await?;
        }
        if !verifies {
            seen.queue = self.context.queue.of(&self.namespace);
            self.locks(seen, &wants).await?;
            if ended {
                return Ok(());
            }
        }
        if deleting {
            seen.namespace_terminating = self.namespace_terminating().await?;
        }
        seen.storage = self.storage(object.storage_name()).await?;
        let shared = object.shared_claims();
        seen.claims = self.claims(Some((&*seen, &shared))).await?;
        if !shared.is_empty() {
            seen.claim_users = self.users_of(&shared).await?;
        }
        if object.streams_tar() {
            seen.servers = self.servers().await?;
        }
        Ok(())
    }

    /// This run's Jobs and pods, and the log of the one that counts.
    async fn jobs(&self, seen: &mut Observed, current: Option<&EngineJob>) -> Result<(), Error> {
        let (jobs, pods) = if let Some(watched) = &self.watched {
            (watched.jobs.of(&self.uid), watched.engines.of(&self.uid))
        } else {
            let own = ListParams::default().labels(&format!("{LABEL_RUN_UID}={}", self.uid));
            let jobs = self.api::<Job>().list(&own).await.map_err(Error::api("list", "Jobs"))?;
            let pods = self.api::<Pod>().list(&own).await.map_err(Error::api("list", "pods"))?;
            (jobs.items, pods.items)
        };
        for job in &jobs {
            let name = job.name_any();
            let pod = pods.iter().find(|pod| job_of(pod) == Some(&name));
            let current = current.is_some_and(|current| current.name == name);
            let log = match pod {
                Some(pod) if current => self.log(pod).await,
                _ => String::new(),
            };
            seen.jobs.insert(name, JobSeen::read(job, pod, &log, self.now));
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

    /// The run's own locks, and those that its plan may ask about: whether those who hold them live. A namespace may have a
    /// lock for each of its tablets, and the others are nothing to this run.
    async fn locks(&self, seen: &mut Observed, wants: &[Lock]) -> Result<(), Error> {
        let of_tablets = seen.tablets.iter().filter_map(|pod| Tablet::read(pod, &self.context.settings));
        let mut names: BTreeSet<String> = wants.iter().map(|lock| lock.lease.clone()).collect();
        names.extend(
            of_tablets
                .flat_map(|Tablet { alias, shard, .. }| [Lock::tablet(&alias), Lock::shard(&shard)])
                .map(|lock| lock.lease),
        );
        let lease_of = |of: &String| Lock::named(of).map(|lock| lock.lease);
        let rivals = seen.queue.iter().map(|rival| rival.wants.iter().filter_map(lease_of).collect::<Vec<_>>());
        // Those of a rival decide whether it could go before this run.
        let rivals: Vec<String> =
            rivals.filter(|theirs| theirs.iter().any(|lease| names.contains(lease))).flatten().collect();
        names.extend(rivals);
        let leases: Vec<Lease> = if let Some(watched) = &self.watched {
            let others = names.iter().filter_map(|name| watched.locks.get(&self.namespace, name));
            watched.locks.of(&self.uid).into_iter().chain(others).collect()
        } else {
            let ours = ListParams::default().labels(LABEL_LOCK);
            let listed = self.api::<Lease>().list(&ours).await.map_err(Error::api("list", "Leases"))?;
            listed.items
        };
        let mut lives: BTreeMap<String, bool> = BTreeMap::from([(self.uid.clone(), true)]);
        for lease in leases {
            let Some(holder) = HolderIdentity::of(&lease) else { continue };
            if holder.uid != self.uid && !names.contains(&lease.name_any()) {
                continue;
            }
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
        // A watch may be behind: who lived a moment ago is waited for. Who did not is asked about.
        let held = self.watched.as_ref().and_then(|_| K::held(self.context).get(&self.namespace, &holder.name));
        if held.is_some_and(|held| held.uid().as_ref() == Some(&holder.uid) && held.lives()) {
            return Ok(true);
        }
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
        let held = self.watched.as_ref().and_then(|_| self.context.storages.get(&self.namespace, name));
        if let Some(storage) = held.and_then(|held| held.0.as_ref().ok().cloned()) {
            return Ok(Some(storage));
        }
        optional(self.api().get(name).await).map_err(Error::api("read", format!("VitessBackupStorage {name}")))
    }

    /// The claims; of what the watches have only those that somebody names: the storage, a tablet's pod, the run.
    async fn claims(
        &self,
        named_by: Option<(&Observed, &[&str])>,
    ) -> Result<BTreeMap<String, PersistentVolumeClaim>, Error> {
        let Some((watched, (seen, of_run))) = self.watched.as_ref().zip(named_by) else {
            return claims(&self.api()).await;
        };
        let of_pods = seen.tablets.iter().filter_map(|pod| pod.spec.as_ref()?.volumes.as_ref()).flatten();
        let of_pods = of_pods.filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.as_str()));
        let of_storage = seen.storage.iter().filter_map(|storage| claim(&storage.spec));
        let names: BTreeSet<&str> = of_pods.chain(of_storage).chain(of_run.iter().copied()).collect();
        let found = names.into_iter().filter_map(|name| Some((name, watched.claims.get(&self.namespace, name)?)));
        Ok(found.map(|(name, claim)| (name.to_owned(), claim)).collect())
    }

    /// The tablets' pods; of what the watches have only those of these tablets and shards.
    async fn tablets(&self, wants: &[Lock]) -> Result<Vec<Pod>, Error> {
        let Some(watched) = &self.watched else { return self.all_tablets().await };
        let of_wanted = wants.iter().flat_map(|lock| watched.tablets.of(&of_tablet(&self.namespace, lock)));
        let pods: BTreeMap<String, Pod> = of_wanted.map(|pod| (pod.name_any(), pod)).collect();
        Ok(pods.into_values().collect())
    }

    async fn all_tablets(&self) -> Result<Vec<Pod>, Error> {
        let selector = ListParams::default().labels(&self.context.settings.tablet_selector_text());
        Ok(self.api::<Pod>().list(&selector).await.map_err(Error::api("list", "tablet pods"))?.items)
    }

    /// Pods that name this object: by label, or, when they are tablets, by annotation.
    async fn starting_pods(&self, name: &str) -> Result<Vec<Pod>, Error> {
        let api = self.api::<Pod>();
        let labelled = ListParams::default().labels(RESTORE_OF);
        let mut pods = api.list(&labelled).await.map_err(Error::api("list", "pods"))?.items;
        for tablet in self.all_tablets().await? {
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
