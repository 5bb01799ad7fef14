//! What to do for a VitessBackupStorage: say whether runs can use it, and list it from time to time.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::draft::{ACCEPTED, PATIENTLY, set_condition, whole_seconds};
use super::inventory::{self, Next};
use super::{Event, Plan, Requeue, kstatus};
use crate::api::{VitessBackupStorage, VitessBackupStorageSpec, VitessBackupStorageStatus};
use crate::resources::storage::claim;

/// Why a storage cannot be used: a condition's reason, and what to do.
pub type Problem = (&'static str, String);

/// What a storage's plan looks at.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The claims of its namespace, by name.
    pub claims: BTreeMap<String, PersistentVolumeClaim>,
    pub inventory: inventory::Seen,
}

/// The storage's next status, and the Jobs that list it.
pub fn next(storage: &VitessBackupStorage, seen: &Seen, now: Timestamp) -> Plan<VitessBackupStorageStatus> {
    let mut status = storage.status.clone().unwrap_or_default();
    if storage.metadata.deletion_timestamp.is_some() {
        // Its Jobs and records go with it.
        return Plan { actions: Vec::new(), status: None, requeue: Requeue::OnChange, events: Vec::new() };
    }
    status.observed_generation = storage.metadata.generation;
    let (value, reason, message) = match problem(storage, &seen.claims) {
        None if storage.spec.file.is_none() => ("True", "Configured", "runs can use this storage".to_owned()),
        None => ("True", "VolumeFound", "runs can use this storage".to_owned()),
        Some((reason, message)) => ("False", reason, message),
    };
    let before = status.conditions.iter().find(|condition| condition.type_ == ACCEPTED);
    let changed = before.is_none_or(|known| known.reason != reason);
    let time = Time(whole_seconds(now));
    let generation = storage.metadata.generation;
    set_condition(&mut status.conditions, time.clone(), generation, ACCEPTED, value, reason, message.clone());
    let event = Event { warning: value == "False", reason, note: message };
    let events = if changed { vec![event] } else { Vec::new() };
    let mut next = Next { storage, seen: &seen.inventory, now, status, actions: Vec::new(), events };
    let requeue = next.go_on(value == "True");
    let Next { mut status, actions, events, .. } = next;
    kstatus::of_storage(&mut status.conditions, &time, generation);
    let requeue = if value == "True" { requeue } else { Requeue::After(PATIENTLY) };
    Plan { actions, status: Some(status), requeue, events }
}

/// Why this storage cannot be used now.
pub fn problem(storage: &VitessBackupStorage, claims: &BTreeMap<String, PersistentVolumeClaim>) -> Option<Problem> {
    let name = storage.metadata.name.as_deref().unwrap_or_default();
    let VitessBackupStorageSpec { file, s3, gcs, azblob, ceph, .. } = &storage.spec;
    let services = [file.is_some(), s3.is_some(), gcs.is_some(), azblob.is_some(), ceph.is_some()];
    if services.into_iter().filter(|set| *set).count() != 1 {
        let text = format!("VitessBackupStorage {name} must name exactly one service: file, s3, gcs, azblob or ceph");
        return Some(("StorageInvalid", text));
    }
    // Whether a service answers, engine pods find out: the operator has no credentials.
    let file = file.as_ref()?;
    let volumes = [file.persistent_volume_claim.is_some(), file.nfs.is_some(), file.host_path.is_some()];
    if volumes.into_iter().filter(|set| *set).count() != 1 {
        let text =
            format!("VitessBackupStorage {name} must name exactly one volume: persistentVolumeClaim, nfs or hostPath");
        return Some(("StorageInvalid", text));
    }
    let claim = claim(&storage.spec)?;
    let Some(found) = claims.get(claim) else {
        let text = format!(
            "claim {claim} of VitessBackupStorage {name} does not exist: create the PersistentVolumeClaim, or correct \
             spec.file.persistentVolumeClaim.claimName"
        );
        return Some(("VolumeNotFound", text));
    };
    if found.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Lost") {
        let text =
            format!("claim {claim} of VitessBackupStorage {name} has lost its volume: bind it to one that exists");
        return Some(("VolumeLost", text));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn storage(spec: &serde_json::Value) -> VitessBackupStorage {
        serde_json::from_value(json!({
            "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessBackupStorage",
            "metadata": {"name": "backups", "generation": 3}, "spec": spec,
        }))
        .unwrap()
    }

    fn on_claim() -> VitessBackupStorage {
        storage(&json!({"file": {"persistentVolumeClaim": {"claimName": "vitess-backups"}}, "inventoryInterval": "0s"}))
    }

    fn without_claims() -> Seen {
        let settings = std::sync::Arc::new(crate::resources::settings::Settings::new("operator:1"));
        Seen { claims: BTreeMap::new(), inventory: inventory::Seen::nothing(settings) }
    }

    fn with_claim(phase: &str) -> Seen {
        let claim = serde_json::from_value(json!({"status": {"phase": phase}})).unwrap();
        Seen { claims: BTreeMap::from([("vitess-backups".to_owned(), claim)]), ..without_claims() }
    }

    const NOW: &str = "2026-01-01T00:00:00.5Z";

    #[test]
    fn a_claim_that_does_not_exist_is_a_condition_that_heals_when_it_does() {
        let mut object = on_claim();
        let plan = next(&object, &without_claims(), NOW.parse().unwrap());
        let condition = plan.status.as_ref().unwrap().conditions[0].clone();
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("False", "VolumeNotFound"));
        assert!(condition.message.contains("create the PersistentVolumeClaim"), "{}", condition.message);
        assert_eq!(plan.events.len(), 1);
        object.status = plan.status;

        let again = next(&object, &without_claims(), NOW.parse().unwrap());
        assert_eq!(
            (again.status, again.events),
            (object.status.clone(), vec![]),
            "nothing new, nothing to write or tell"
        );

        let healed = next(&object, &with_claim("Pending"), NOW.parse().unwrap());
        let condition = healed.status.unwrap().conditions[0].clone();
        assert_eq!((condition.status.as_str(), condition.observed_generation), ("True", Some(3)));
        assert_eq!(healed.requeue, Requeue::OnChange);
    }

    #[test]
    fn a_claim_without_its_volume_and_a_storage_without_a_service_are_not_accepted() {
        let reason =
            |object: &VitessBackupStorage, seen: &Seen| problem(object, &seen.claims).map(|(reason, _)| reason);
        assert_eq!(reason(&on_claim(), &with_claim("Lost")), Some("VolumeLost"));
        assert_eq!(reason(&storage(&json!({})), &without_claims()), Some("StorageInvalid"));
        let s3 = storage(&json!({"s3": {"bucket": "backups"}}));
        assert_eq!(reason(&s3, &without_claims()), None);
        let plan = next(&s3, &without_claims(), NOW.parse().unwrap());
        assert_eq!(plan.status.unwrap().conditions[0].reason, "Configured");
        assert_eq!(reason(&storage(&json!({"file": {"hostPath": {"path": "/a"}}})), &without_claims()), None);
    }
}
