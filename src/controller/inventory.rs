//! Inventories of storages: what a plan looks at, reading what the engine told, and writing records.

use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, LogParams, PostParams, Preconditions};
use kube::core::DeserializeGuard;

use super::context::Context;
use super::error::{Error, optional};
use super::held::Held;
use super::observe::By;
use super::{act, observe, status};
use crate::api::{VitessBackup, VitessBackupStatus, VitessBackupStorage};
use crate::backup::inventory::{Found, Totals};
use crate::backup::report::Line;
use crate::plan::inventory::{Seen, Taken, is_to_launch, to_take_in};
use crate::plan::observed::{JobSeen, LivePod, is_live};
use crate::plan::records::{self, Change, Cluster};
use crate::plan::{Action, storage};
use crate::resources::names::{LABEL_ORIGIN, LABEL_RUN_UID, LABEL_STORAGE, ORIGIN_INVENTORY, label_value};
use crate::resources::pod::ENGINE_CONTAINER;
use crate::resources::record;

/// How many objects are read at a time: a page is all that is held of them.
const PAGE: u32 = 200;
/// How many records are written at a time.
const AT_A_TIME: usize = 8;
/// The most that is read of a log; the engine tells less.
const LOG_LIMIT: i64 = 16 << 20;

/// What the plan of a storage looks at.
///
/// # Errors
/// When the API server cannot be asked.
pub async fn observe(context: &Context, object: &VitessBackupStorage, now: Timestamp) -> Result<storage::Seen, Error> {
    let namespace = object.namespace().unwrap_or_default();
    let claims = observe::claims(&Api::namespaced(context.client.clone(), &namespace)).await?;
    let mut seen = Seen::nothing(context.settings.clone());
    seen.touched = context.touched.last(&namespace, &object.name_any());
    let own = ListParams::default().labels(&format!("{LABEL_RUN_UID}={}", object.uid().unwrap_or_default()));
    let jobs: Api<Job> = Api::namespaced(context.client.clone(), &namespace);
    let jobs = jobs.list(&own).await.map_err(Error::api("list", "Jobs"))?;
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    let pods = pods.list(&own).await.map_err(Error::api("list", "pods"))?;
    let current = current_job(object);
    for job in jobs {
        let name = job.name_any();
        if current == Some(&name) {
            let pod = pods.iter().find(|pod| observe::job_of(pod) == Some(&name));
            seen.job = Some(JobSeen::read(&job, pod, "", now));
        } else if job.metadata.deletion_timestamp.is_none() {
            seen.over.push(name);
        }
    }
    // Stricter than for runs: as long as a pod is there, its node may still hang in the storage.
    let left = pods.iter().filter(|pod| is_live(pod, Timestamp::MIN) && observe::job_of(pod) != current);
    seen.live_pods = left
        .map(|pod| LivePod { pod: pod.name_any(), job: observe::job_of(pod).map(str::to_owned).unwrap_or_default() })
        .collect();
    if is_to_launch(object, &seen) {
        // What it is compared with is as old as the watch: at worst a bucket is told that needed not be.
        seen.cluster = cluster(context, object, By::Watches).await?;
    }
    Ok(storage::Seen { claims, inventory: seen })
}

fn current_job(object: &VitessBackupStorage) -> Option<&str> {
    Some(object.status.as_ref()?.inventory.as_ref()?.job.as_ref()?.name.as_str())
}

/// The VitessBackups that stand for backups of the storage, page by page. Of records no watch has enough.
async fn cluster(context: &Context, object: &VitessBackupStorage, by: By) -> Result<Cluster, Error> {
    let (namespace, storage) = (object.namespace().unwrap_or_default(), object.name_any());
    let api: Api<DeserializeGuard<VitessBackup>> = Api::namespaced(context.client.clone(), &namespace);
    let mut cluster = Cluster::default();
    let held = context.backups.all(&namespace).filter(|_| by == By::Watches);
    for held in held.iter().flatten() {
        match &**held {
            Held::Whole(backup) => backup.0.iter().for_each(|backup| cluster.note(&storage, backup)),
            Held::Ended(ended) => ended.noted.iter().for_each(|noted| cluster.add(&storage, noted)),
        }
    }
    let records = format!("{LABEL_ORIGIN}={ORIGIN_INVENTORY},{LABEL_STORAGE}={}", label_value(&storage));
    let others = held.is_none().then(|| format!("{LABEL_ORIGIN}!={ORIGIN_INVENTORY}"));
    for selector in [records].into_iter().chain(others) {
        let params = ListParams::default().labels(&selector);
        // One that cannot be read stands for nothing that is known.
        observe::pages(&api, params, PAGE, |backup| {
            if let Ok(backup) = &backup.0 {
                cluster.note(&storage, backup);
            }
        })
        .await?;
    }
    Ok(cluster)
}

/// Does what a storage's plan says; the words of a refusal of its Job.
///
/// # Errors
/// At the first action that cannot be done.
pub async fn carry_out(
    context: &Context,
    object: &VitessBackupStorage,
    actions: Vec<Action>,
) -> Result<Option<String>, Error> {
    let jobs: Api<Job> = Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let mut refusal = None;
    for action in actions {
        match action {
            Action::CreateJob(job) => refusal = act::create(&jobs, &job).await?,
            Action::DeleteJob(name) => {
                let deleted = jobs.delete(&name, &DeleteParams::background()).await;
                optional(deleted).map_err(Error::api("delete", format!("Job {name}")))?;
            }
            other => tracing::warn!(?other, "a storage's plan has no such actions"),
        }
    }
    Ok(refusal)
}

/// Takes in what an inventory that has ended told; nothing when there is none.
///
/// # Errors
/// When the API server cannot be asked or told: it is taken in again. A log that cannot be read is no error, but said.
pub async fn take_in(
    context: &Context,
    object: &VitessBackupStorage,
    seen: &Seen,
    now: Timestamp,
) -> Result<Option<Taken>, Error> {
    let Some((totals, begun)) = to_take_in(object, seen) else { return Ok(None) };
    let mut taking = Taking { context, object, begun, now, cluster: Cluster::default(), taken: Taken::default() };
    if totals.buckets_told == 0 && totals.shards_told == 0 {
        return Ok(Some(taking.taken));
    }
    taking.cluster = cluster(context, object, By::Server).await?;
    taking.read(totals).await?;
    Ok(Some(taking.taken))
}

struct Taking<'a> {
    context: &'a Context,
    object: &'a VitessBackupStorage,
    begun: Timestamp,
    now: Timestamp,
    cluster: Cluster,
    taken: Taken,
}

impl Taking<'_> {
    /// Reads the log to its end, a bucket at a time. Removals come last, and only when everything has arrived.
    async fn read(&mut self, totals: &Totals) -> Result<(), Error> {
        let mut lines = match self.log().await {
            Ok(lines) => lines,
            Err(problem) => {
                self.taken.problem = Some(problem);
                return Ok(());
            }
        };
        let (mut bucket, mut removals): (Vec<Found>, Vec<Change>) = (Vec::new(), Vec::new());
        while let Some(line) = lines.next().await {
            let line = match line {
                Ok(line) => line,
                Err(error) => {
                    self.taken.problem = Some(format!("the log of its pod broke off: {error}"));
                    return Ok(());
                }
            };
            match serde_json::from_str(&line) {
                Ok(Line::Found(found)) => bucket.push(*found),
                Ok(Line::Bucket(seal)) => {
                    let found = std::mem::take(&mut bucket);
                    if seal.fits(&found) {
                        self.taken.buckets += 1;
                        let changes = records::settle(seal.bucket, &found, &self.cluster, self.begun);
                        let (last, first): (Vec<_>, Vec<_>) = changes.into_iter().partition(Change::takes_away);
                        removals.extend(last);
                        self.write(first).await?;
                    }
                }
                Ok(Line::Shard(shard)) => self.taken.shards.push(*shard),
                _ => {}
            }
        }
        if self.taken.is_whole(totals) {
            self.write(removals).await?;
        }
        Ok(())
    }

    async fn log(&self) -> Result<impl StreamExt<Item = std::io::Result<String>> + use<>, String> {
        let pods: Api<Pod> = self.api();
        let own = ListParams::default().labels(&format!("{LABEL_RUN_UID}={}", self.object.uid().unwrap_or_default()));
        let listed = pods.list(&own).await.map_err(|error| format!("its pod cannot be found: {error}"))?;
        let current = current_job(self.object);
        let pod = listed.iter().find(|pod| observe::job_of(pod) == current);
        let pod = pod.map(ResourceExt::name_any).ok_or_else(|| "its pod is gone".to_owned())?;
        let parameters = LogParams {
            container: Some(ENGINE_CONTAINER.to_owned()),
            limit_bytes: Some(LOG_LIMIT),
            ..LogParams::default()
        };
        let log = pods.log_stream(&pod, &parameters).await;
        Ok(log.map_err(|error| format!("the log of pod {pod} cannot be read: {error}"))?.lines())
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.context.client.clone(), &self.object.namespace().unwrap_or_default())
    }

    async fn write(&mut self, changes: Vec<Change>) -> Result<(), Error> {
        let this = &*self;
        let done: Vec<Done> = futures::stream::iter(changes.into_iter().map(|change| this.one(change)))
            .buffer_unordered(AT_A_TIME)
            .try_collect()
            .await?;
        for one in done {
            match one {
                Done::Made => self.taken.made += 1,
                Done::Changed => self.taken.changed += 1,
                Done::Removed => self.taken.removed += 1,
                Done::Nothing => {}
                Done::Refused(words) => {
                    self.taken.refused += 1;
                    self.taken.refusal.get_or_insert(words);
                }
            }
        }
        Ok(())
    }

    async fn one(&self, change: Change) -> Result<Done, Error> {
        tracing::debug!(storage = self.object.name_any(), ?change, "writing a record");
        match change {
            Change::Make(found) => self.make(&found).await,
            Change::Update { object, found } => self.status(&object, |backup| self.status_of(backup, &found)).await,
            Change::Mark { object, in_storage } => {
                self.status(&object, |backup| records::marked(backup, in_storage, self.now)).await
            }
            Change::Remove { object, uid } => self.remove(&object, uid).await,
        }
    }

    fn status_of(&self, backup: &VitessBackup, found: &Found) -> VitessBackupStatus {
        records::status_of(backup.status.as_ref(), &backup.metadata, &self.object.name_any(), found, self.now)
    }

    async fn make(&self, found: &Found) -> Result<Done, Error> {
        let shard = match found.shard.parse() {
            Ok(shard) => shard,
            Err(error) => return Ok(Done::Refused(format!("{error}"))),
        };
        let record = record::record(self.object, &shard, &found.backup.name);
        let name = record.name_any();
        let made = match self.api::<VitessBackup>().create(&PostParams::default(), &record).await {
            Ok(made) => made,
            // An operator that was stopped here has made it.
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                return self.status(&name, |backup| self.status_of(backup, found)).await;
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => {
                return Ok(Done::Refused(status.message.clone()));
            }
            Err(error) => return Err(Error::api("create", format!("VitessBackup {name}"))(error)),
        };
        let status = self.status_of(&made, found);
        status::apply(&self.context.client, &made, None, made.status.as_ref(), &status).await?;
        Ok(Done::Made)
    }

    /// Writes the status of an object, if it is there and anything is new.
    async fn status(&self, name: &str, next: impl FnOnce(&VitessBackup) -> VitessBackupStatus) -> Result<Done, Error> {
        let found = optional(self.api::<DeserializeGuard<VitessBackup>>().get(name).await)
            .map_err(Error::api("read", format!("VitessBackup {name}")))?;
        let Some(backup) = found.and_then(|found| found.0.ok()) else { return Ok(Done::Nothing) };
        if backup.spec.storage.name != self.object.name_any() {
            return Ok(Done::Refused(format!("VitessBackup {name} exists and is of another storage")));
        }
        let status = next(&backup);
        let written = status::apply(&self.context.client, &backup, None, backup.status.as_ref(), &status).await?;
        Ok(if written.is_some() { Done::Changed } else { Done::Nothing })
    }

    async fn remove(&self, name: &str, uid: String) -> Result<Done, Error> {
        let only = Preconditions { uid: Some(uid), resource_version: None };
        let parameters = DeleteParams { preconditions: Some(only), ..DeleteParams::background() };
        let deleted = self.api::<VitessBackup>().delete(name, &parameters).await;
        let deleted = optional(deleted).map_err(Error::api("delete", format!("VitessBackup {name}")))?;
        Ok(if deleted.is_some() { Done::Removed } else { Done::Nothing })
    }
}

/// What became of one change.
enum Done {
    Made,
    Changed,
    Removed,
    Nothing,
    /// With the API server's words.
    Refused(String),
}
