//! Locks as Leases. A holder is a run, by kind, name and uid; a lock is free when its holder has ended and no engine pod of
//! it is left, not when some time has passed: an operator that was away for an hour must not set a second engine on a tablet.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use kube::{Client, ResourceExt};

use super::error::{Error, optional};
use crate::resources::job::Owner;
use crate::resources::names::{ANNOTATION_LOCK_OF, LABEL_LOCK, LOCK_MANAGER, Lock};

/// Kind, name and uid of a run, as they stand in a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderIdentity {
    pub kind: String,
    pub name: String,
    pub uid: String,
}

impl HolderIdentity {
    pub fn of(lease: &Lease) -> Option<Self> {
        let text = lease.spec.as_ref()?.holder_identity.as_deref()?;
        let mut parts = text.splitn(3, '/');
        let mut next = || parts.next().map(str::to_owned);
        Some(Self { kind: next()?, name: next()?, uid: next()? })
    }

    fn text(owner: &Owner) -> String {
        format!("{}/{}/{}", owner.kind, owner.name, owner.uid)
    }
}

/// Takes a lock: makes its Lease, or takes over one whose holder `is_dead`. `seems_free`: no Lease was seen, so that it is not
/// asked for first.
///
/// # Errors
/// [`Error::Outdated`] when somebody else holds it, or was faster.
pub async fn acquire(
    client: &Client,
    owner: &Owner,
    lock: &Lock,
    seems_free: bool,
    is_dead: impl Fn(&HolderIdentity) -> bool,
    now: jiff::Timestamp,
) -> Result<(), Error> {
    let api: Api<Lease> = Api::namespaced(client.clone(), &owner.namespace);
    let what = format!("Lease {}", lock.lease);
    let as_manager = PostParams { field_manager: Some(LOCK_MANAGER.to_owned()), ..PostParams::default() };
    let make = async || match api.create(&as_manager, &self::lease(owner, lock, now)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
        Err(error) => Err(Error::api("create", &what)(error)),
    };
    if seems_free && make().await? {
        return Ok(());
    }
    let found = optional(api.get(&lock.lease).await).map_err(Error::api("read", &what))?;
    let Some(mut lease) = found else {
        return if make().await? { Ok(()) } else { Err(Error::Outdated { what }) };
    };
    match HolderIdentity::of(&lease) {
        Some(holder) if holder.uid == owner.uid => return Ok(()),
        Some(holder) if !is_dead(&holder) => return Err(Error::Outdated { what }),
        _ => {}
    }
    // The resourceVersion that was read makes this fail when somebody else takes it over at the same time.
    lease.spec = self::lease(owner, lock, now).spec;
    api.replace(&lock.lease, &as_manager, &lease).await.map_err(Error::api("take over", what))?;
    Ok(())
}

/// Gives a lock back, if it is this run's. `known` is its Lease as a watch has it.
///
/// # Errors
/// When the API server cannot be asked.
pub async fn release(client: &Client, owner: &Owner, lease: &str, known: Option<&Lease>) -> Result<(), Error> {
    let api: Api<Lease> = Api::namespaced(client.clone(), &owner.namespace);
    let what = format!("Lease {lease}");
    let is_ours = |lease: &Lease| HolderIdentity::of(lease).is_some_and(|holder| holder.uid == owner.uid);
    let delete = async |found: &Lease| {
        let this_one = Preconditions { uid: found.uid(), resource_version: found.resource_version() };
        let parameters = DeleteParams { preconditions: Some(this_one), ..DeleteParams::default() };
        optional(api.delete(lease, &parameters).await).map_err(Error::api("delete", &what))
    };
    if let Some(known) = known.filter(|known| is_ours(known)) {
        match delete(known).await {
            Ok(_) => return Ok(()),
            // It is not as the watch has it.
            Err(error) if error.is_outdated() => {}
            Err(error) => return Err(error),
        }
    }
    let found = optional(api.get(lease).await).map_err(Error::api("read", &what))?;
    if let Some(found) = found.filter(is_ours) {
        delete(&found).await?;
    }
    Ok(())
}

fn lease(owner: &Owner, lock: &Lock, now: jiff::Timestamp) -> Lease {
    let mut labels = owner.labels();
    labels.insert(LABEL_LOCK.to_owned(), "true".to_owned());
    Lease {
        metadata: ObjectMeta {
            name: Some(lock.lease.clone()),
            namespace: Some(owner.namespace.clone()),
            labels: Some(labels),
            annotations: Some([(ANNOTATION_LOCK_OF.to_owned(), lock.of.clone())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(HolderIdentity::text(owner)),
            acquire_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }),
    }
}
