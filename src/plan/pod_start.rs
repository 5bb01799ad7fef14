//! What to say of a VitessRestore of trigger PodStart: nothing is launched for it. The pods that name it restore by
//! themselves, without any right of theirs in the cluster, and leave their outcome as their init container's termination
//! message; here it is gathered.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::accept;
use super::draft::{ACCEPTED, Draft, PATIENTLY, whole_seconds};
use super::observed::{Observed, read_outcome};
use super::{Plan, Requeue, report};
use crate::api::{
    FailureStatus, Phase, PodRestore, PodRestorePhase, ProgressStatus, RunStatus, VitessRestore, VitessRestoreStatus,
};
use crate::backup::report::{Outcome, Verdict};
use crate::resources::pod_start::restores_on_start;

/// Whether the pods that began are through: False when one of them failed.
pub const PODS_RESTORED: &str = "PodsRestored";
/// Its reason when no pod names the object.
pub(super) const NO_PODS: &str = "NoPods";
/// The most pods that a status lists.
pub const LIMIT: usize = 100;
/// The most pods that a status remembers when they are gone.
const GONE_LIMIT: usize = 20;
/// Bytes of a position that a status repeats for each pod; a longer one is in the pod's own termination message.
const POSITION_LIMIT: usize = 1000;

/// The plan for this restore. `now` is the only clock.
pub fn next(restore: &VitessRestore, seen: &Observed, now: Timestamp) -> Plan<VitessRestoreStatus> {
    let VitessRestoreStatus { run, pods: before, .. } = restore.status.clone().unwrap_or_default();
    let run = RunStatus { conditions: run.conditions, phase: run.phase, ..RunStatus::default() };
    let mut draft = Draft::new("VitessRestore", &restore.metadata, run, seen, now);
    draft.status.storage_name = Some(restore.spec.storage.name.clone());
    draft.status.shard = Some(restore.spec.shard.to_string());
    let requeue = match accept::storage(seen, &restore.spec.storage.name) {
        Ok(_) => {
            draft.condition(ACCEPTED, "True", "Accepted", "pods that name this object restore when they start");
            draft.enter(Phase::Running);
            Requeue::OnChange
        }
        Err((reason, message)) => {
            draft.condition(ACCEPTED, "False", reason, message);
            draft.enter(Phase::Pending);
            Requeue::After(PATIENTLY)
        }
    };
    let (pods, summary) = gather(&seen.starting_pods, &before);
    // The Progress column.
    draft.status.progress = summary.map(|text| ProgressStatus { summary: Some(text), ..ProgressStatus::default() });
    judge(&mut draft, &pods, &before);
    let finished = draft.finish(requeue);
    let status = finished.status.map(|run| {
        let listed = pods.into_iter().take(LIMIT).collect();
        VitessRestoreStatus { run, pods: listed, ..VitessRestoreStatus::default() }
    });
    Plan { actions: finished.actions, status, requeue: finished.requeue, events: finished.events }
}

/// What each pod says, by name; where there are more than a status lists, those that need a look come first. And all of
/// them in a few words.
fn gather(pods: &[Pod], before: &[PodRestore]) -> (Vec<PodRestore>, Option<String>) {
    let mut read: Vec<PodRestore> = pods
        .iter()
        .map(|pod| {
            let earlier = before.iter().find(|earlier| Some(&earlier.name) == pod.metadata.name.as_ref());
            of_pod(pod, earlier)
        })
        .collect();
    // A pod that is started anew is not there for a moment, and where its data came from is nowhere else.
    let is_there = |name: &String| pods.iter().any(|pod| pod.metadata.name.as_ref() == Some(name));
    let gone = before.iter().filter(|earlier| earlier.backup_name.is_some() && !is_there(&earlier.name));
    read.extend(gone.take(GONE_LIMIT).map(|earlier| PodRestore {
        phase: PodRestorePhase::Gone,
        failure: None,
        ..earlier.clone()
    }));
    read.sort_by(|a, b| a.name.cmp(&b.name));
    if read.len() > LIMIT {
        read.sort_by_key(|pod| pod.phase);
    }
    let counted = [
        (PodRestorePhase::Failed, "failed"),
        (PodRestorePhase::Running, "restoring"),
        (PodRestorePhase::Pending, "pending"),
        (PodRestorePhase::Restored, "restored"),
        (PodRestorePhase::DataPresent, "with data"),
        (PodRestorePhase::StartedEmpty, "started empty"),
    ]
    .into_iter()
    .map(|(phase, words)| (read.iter().filter(|pod| pod.phase == phase).count(), words))
    .filter(|(count, _)| *count > 0)
    .map(|(count, words)| format!("{count} {words}"))
    .collect::<Vec<_>>()
    .join(", ");
    (read, Some(counted).filter(|text| !text.is_empty()))
}

fn judge(draft: &mut Draft<'_>, pods: &[PodRestore], before: &[PodRestore]) {
    let failed: Vec<&PodRestore> = pods.iter().filter(|pod| pod.phase == PodRestorePhase::Failed).collect();
    for pod in &failed {
        let known = before.iter().any(|earlier| earlier.name == pod.name && earlier.phase == PodRestorePhase::Failed);
        if let Some(failure) = pod.failure.as_ref().filter(|_| !known) {
            let FailureStatus { reason, message, remedy, .. } = failure;
            draft.warning("PodRestoreFailed", format!("pod {}: {reason}: {message}. {remedy}", pod.name));
        }
    }
    let under_way = |pod: &PodRestore| matches!(pod.phase, PodRestorePhase::Running | PodRestorePhase::Pending);
    if let Some(first) = failed.first() {
        let failure = first.failure.clone().unwrap_or_default();
        let FailureStatus { reason, message, remedy, .. } = failure;
        let others = failed.len() - 1;
        let more = if others > 0 { format!(" ({others} more failed)") } else { String::new() };
        draft.condition(
            PODS_RESTORED,
            "False",
            "PodFailed",
            format!("pod {}{more}: {reason}: {message}. {remedy}", first.name),
        );
    } else if pods.iter().all(|pod| pod.phase == PodRestorePhase::Gone) {
        let text = "no pod names this object yet: give the tablets' pods the label backup.vitess.io/restore";
        draft.condition(PODS_RESTORED, "Unknown", NO_PODS, text);
    } else if let Some(pod) = pods.iter().find(|pod| under_way(pod)) {
        draft.condition(PODS_RESTORED, "Unknown", "PodsStarting", format!("pod {} is not through yet", pod.name));
    } else {
        draft.condition(PODS_RESTORED, "True", "AllStarted", "every pod that names this object has started");
    }
}

/// What the last words of a pod's init container tell. `earlier` is what was known of the pod: where its data came from
/// stays true when it is started again.
fn of_pod(pod: &Pod, earlier: Option<&PodRestore>) -> PodRestore {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let container = containers.filter(|container| restores_on_start(container)).map(|container| &container.name).next();
    let statuses = pod.status.iter().flat_map(|status| status.init_container_statuses.iter().flatten());
    let status = container.and_then(|container| statuses.into_iter().find(|status| status.name == *container));
    let Some(ContainerStatus { state, last_state, restart_count, .. }) = status else {
        let failure = container.is_none().then(not_injected);
        let phase = if failure.is_some() { PodRestorePhase::Failed } else { PodRestorePhase::Pending };
        return from(PodRestore { name, phase, failure, ..PodRestore::default() }, earlier);
    };
    let restarts = Some(*restart_count).filter(|count| *count > 0);
    let ended = |state: &Option<ContainerState>| state.as_ref().and_then(|state| state.terminated.clone());
    let running = state.as_ref().and_then(|state| state.running.as_ref());
    let read = match (ended(state), running, ended(last_state)) {
        (None, Some(running), _) => PodRestore {
            name,
            phase: PodRestorePhase::Running,
            start_time: running.started_at.clone(),
            ..PodRestore::default()
        },
        // The latter between two tries.
        (Some(terminated), ..) | (None, None, Some(terminated)) => of_end(name, &terminated),
        (None, None, None) => PodRestore { name, ..PodRestore::default() },
    };
    from(PodRestore { restarts, ..read }, earlier)
}

/// With where the data came from, until the pod says something else.
fn from(read: PodRestore, earlier: Option<&PodRestore>) -> PodRestore {
    match earlier {
        Some(earlier) if read.backup_name.is_none() && read.phase != PodRestorePhase::StartedEmpty => PodRestore {
            backup_name: earlier.backup_name.clone(),
            position: earlier.position.clone(),
            tablet_alias: read.tablet_alias.clone().or_else(|| earlier.tablet_alias.clone()),
            ..read
        },
        _ => read,
    }
}

fn of_end(name: String, terminated: &ContainerStateTerminated) -> PodRestore {
    let ContainerStateTerminated { exit_code, reason, message, started_at, finished_at, .. } = terminated;
    let times = started_at.as_ref().zip(finished_at.as_ref());
    let whole = |time: &Time| Time(whole_seconds(time.0));
    let read = PodRestore {
        name,
        start_time: started_at.as_ref().map(whole),
        finished_time: finished_at.as_ref().map(whole),
        duration_seconds: times.map(|(from, to)| to.0.duration_since(from.0).as_millis()).and_then(seconds_up),
        ..PodRestore::default()
    };
    let Some(outcome) = message.as_deref().and_then(read_outcome) else {
        let how = format!("exit code {exit_code}, {}", reason.as_deref().unwrap_or("no reason given"));
        return PodRestore { phase: PodRestorePhase::Failed, failure: Some(lost(&how)), ..read };
    };
    let phase = match outcome.verdict {
        Verdict::Succeeded => PodRestorePhase::Restored,
        Verdict::DataPresent => PodRestorePhase::DataPresent,
        Verdict::StartedEmpty | Verdict::NoBackup => PodRestorePhase::StartedEmpty,
        Verdict::Failed => PodRestorePhase::Failed,
    };
    let failure = (phase == PodRestorePhase::Failed).then(|| report::failure(&outcome, &[]));
    let Outcome { tablet_alias, backup_name, position, start_time, finished_time, .. } = outcome;
    // The engine's own clock has no whole seconds only.
    let took = finished_time.duration_since(start_time).as_millis();
    PodRestore {
        phase,
        tablet_alias,
        backup_name,
        position: position.filter(|position| position.len() <= POSITION_LIMIT),
        duration_seconds: seconds_up(took).or(read.duration_seconds),
        failure,
        ..read
    }
}

fn seconds_up(milliseconds: i128) -> Option<i64> {
    u64::try_from(milliseconds).ok().and_then(|milliseconds| i64::try_from(milliseconds.div_ceil(1000)).ok())
}

fn lost(how: &str) -> FailureStatus {
    FailureStatus {
        reason: "EngineLost".to_owned(),
        message: format!("the init container ended without a word ({how})"),
        remedy: "See its log (kubectl logs -c vitess-backup-restore --previous) and the pod's events; a restore that was cut \
                 short starts over by itself."
            .to_owned(),
        log_tail: Vec::new(),
    }
}

fn not_injected() -> FailureStatus {
    FailureStatus {
        reason: "NotInjected".to_owned(),
        message: "the pod names this object and has no init container that restores".to_owned(),
        remedy:
            "Switch the operator's webhook on and start the pod again, or write the init container into its template \
                 (examples/pod-start-statefulset.yaml)."
                .to_owned(),
        log_tail: Vec::new(),
    }
}

#[cfg(test)]
#[path = "pod_start_tests.rs"]
mod tests;
