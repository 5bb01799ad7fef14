//! Doing: the actions of a plan, one after the other. Each may have been done before.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::context::Context;
use super::error::{Error, optional};
use super::kinds::Run;
use super::locks;
use crate::plan::Action;
use crate::plan::observed::Observed;
use crate::resources::job::Owner;
use crate::resources::names::{FINALIZER_MANAGER, JOB_MANAGER};

/// What came of a plan's actions.
#[derive(Debug, Default)]
pub struct Done {
    /// The object's resourceVersion after its finalizers were changed.
    pub resource_version: Option<String>,
    /// Why the API server would not take a Job: a quota, a policy, an admission webhook. It is tried again.
    pub refusal: Option<String>,
}

/// Carries the actions out, in their order.
///
/// # Errors
/// At the first that cannot be done; all of them are planned again.
pub async fn carry_out<K: Run>(
    context: &Context,
    object: &K,
    seen: &Observed,
    actions: Vec<Action>,
    now: Timestamp,
) -> Result<Done, Error> {
    let owner = Owner {
        kind: K::KIND,
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
    };
    let jobs: Api<Job> = Api::namespaced(context.client.clone(), &owner.namespace);
    let mut done = Done::default();
    for action in actions {
        tracing::debug!(kind = K::KIND, object = owner.name, ?action, "acting");
        match action {
            Action::SetFinalizers(finalizers) => {
                done.resource_version = set_finalizers(context, object, &finalizers).await?;
            }
            Action::AcquireLock(lock) => {
                let is_dead = |holder: &locks::HolderIdentity| {
                    let known = seen.locks.get(&lock.lease);
                    known.is_some_and(|known| known.uid == holder.uid && !known.lives)
                };
                let seems_free = !seen.locks.contains_key(&lock.lease);
                locks::acquire(&context.client, &owner, &lock, seems_free, is_dead, now).await?;
            }
            Action::ReleaseLock(lease) => {
                let watched = context.watched.of(&owner.namespace).await;
                let known = watched.and_then(|watched| watched.locks.get(&owner.namespace, &lease));
                locks::release(&context.client, &owner, &lease, known.as_ref()).await?;
            }
            Action::CreateJob(job) => {
                is_as_planned(context, object, done.resource_version.as_deref()).await?;
                done.refusal = create(&jobs, &job).await?;
            }
            Action::DeleteJob(name) => {
                let deleted = jobs.delete(&name, &DeleteParams::background()).await;
                optional(deleted).map_err(Error::api("delete", format!("Job {name}")))?;
            }
            Action::ExpireJob(name) => {
                let patch = Patch::Merge(
                    json!({"spec": {"ttlSecondsAfterFinished": context.settings.finished_pod_ttl_seconds}}),
                );
                let parameters = PatchParams { field_manager: Some(JOB_MANAGER.to_owned()), ..PatchParams::default() };
                let patched = jobs.patch(&name, &parameters, &patch).await;
                optional(patched).map_err(Error::api("patch", format!("Job {name}")))?;
            }
        }
    }
    Ok(done)
}

/// That the object is still the one that the plan was made from. What is written to the object says so by itself; a Job cannot, and
/// an operator whose watch has been silent for a while would make one again for a run that another operator has ended. What this
/// operator has just written itself need not be asked about.
async fn is_as_planned<K: Run>(context: &Context, object: &K, since: Option<&str>) -> Result<(), Error> {
    let planned = since.map(str::to_owned).or_else(|| object.resource_version());
    if planned.as_ref().is_some_and(|version| context.written.is_fresh(object, version)) {
        return Ok(());
    }
    let api: Api<kube::core::PartialObjectMeta<K>> =
        Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let what = format!("{} {}", K::KIND, object.name_any());
    let found = optional(api.get_metadata(&object.name_any()).await).map_err(Error::api("read", &what))?;
    match found {
        Some(found) if found.resource_version() == planned => Ok(()),
        _ => Err(Error::Outdated { what }),
    }
}

/// Replaces the list, unless somebody else changed the object in the meantime. The object may be gone after it.
async fn set_finalizers<K: Run>(context: &Context, object: &K, finalizers: &[String]) -> Result<Option<String>, Error> {
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<kube::core::PartialObjectMeta<K>> = Api::namespaced(context.client.clone(), &namespace);
    let patch = Patch::Merge(json!({
        "metadata": {"resourceVersion": object.resource_version(), "finalizers": finalizers},
    }));
    let parameters = PatchParams { field_manager: Some(FINALIZER_MANAGER.to_owned()), ..PatchParams::default() };
    let patched = api.patch_metadata(&object.name_any(), &parameters, &patch).await;
    let patched =
        optional(patched).map_err(Error::api("set the finalizers of", format!("{} {}", K::KIND, object.name_any())))?;
    Ok(patched.and_then(|patched| patched.resource_version()))
}

/// Makes the Job; the words of a refusal that a person can do something about.
pub(super) async fn create(jobs: &Api<Job>, job: &Job) -> Result<Option<String>, Error> {
    let parameters = PostParams { field_manager: Some(JOB_MANAGER.to_owned()), ..PostParams::default() };
    match jobs.create(&parameters, job).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(None),
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => Ok(Some(status.message.clone())),
        Err(error) => Err(Error::api("create", format!("Job {}", job.name_any()))(error)),
    }
}
