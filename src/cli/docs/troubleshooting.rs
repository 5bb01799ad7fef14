//! Troubleshooting, from the tables of reasons.

use super::{GENERATED, block, head, row};
use crate::backup::diagnosis::{Diagnosis, GROUPS};
use crate::plan::waiting::{WAITS, Wait};

/// Why `Removed` is False, what that means, and what to do.
const REMOVED: [(&str, &str, &str); 4] = [
    ("`Removing`", "A pod removes the data.", "Wait."),
    (
        "`LastGoodBackup`",
        "It is the shard's only complete backup, and stays.",
        "Take another one, and the removal goes on by itself; or say that it is to go all the same: the annotation \
         `backup.vitess.io/force-removal=true`.",
    ),
    (
        "`StorageNotFound`, `VolumeNotFound` …",
        "The storage cannot be used: its object is gone, or its claim.",
        "Create it again within 10 minutes; then the backup's object goes, and the data stays (event `DataLeft`).",
    ),
    (
        "any other",
        "The pod that removes the data does not start, or failed: the reason is one of those above.",
        "Do what the message says; it is tried again after 20 s, then ever later, up to 10 minutes. To let the object go and leave the \
         data: the annotation `backup.vitess.io/skip-removal=true`.",
    ),
];

/// Why `Reachable` is not True.
const REACHABLE: [(&str, &str, &str, &str); 10] = [
    (
        "`StorageUnreachable`, `StorageDenied`, `StorageMisconfigured`",
        "False",
        "The storage does not answer, or refuses, or is not there.",
        "See [Storage itself](#storage-itself).",
    ),
    (
        "`PodNotStarted`",
        "False",
        "The pod that lists the storage does not start.",
        "The message says why: an image, a Secret, a volume that cannot be mounted.",
    ),
    (
        "`InventoryStuck`",
        "False",
        "A pod that was told to stop is still there.",
        "See to its node and the volume; no other pod is started until it is gone.",
    ),
    ("`DeadlineExceeded`", "False", "The storage was not listed within 15 minutes.", "See whether it answers."),
    ("`NodeUnreachable`", "Unknown", "The node of the pod that lists the storage does not answer.", "See to the node."),
    (
        "`InventoryCutShort`, `EngineLost`",
        "Unknown",
        "What the pod told did not arrive, or not whole.",
        "Nothing; it is tried again, and nothing is removed meanwhile.",
    ),
    ("`JobRefused`", "Unknown", "The API server refuses the Job.", "The message has its words: a quota, a policy."),
    ("`NotAccepted`", "Unknown", "The storage cannot be used, and is not listed.", "See the condition `Accepted`."),
    ("`Listing`", "Unknown", "The storage is being listed for the first time.", "Wait."),
    ("`InventoryOff`", "Unknown", "`inventoryInterval: 0s`: nothing looks into the storage but runs.", "Nothing."),
];

pub fn page() -> String {
    let mut page = format!(
        "# Troubleshooting\n\n{GENERATED}\nEvery object tells its story: `kubectl describe` shows its conditions and events. \
         The tables below say what each reason means.\n\n\
         ```\n\
         kubectl get vitessbackups.backup.vitess.io NAME -o jsonpath='{{range .status.conditions[*]}}{{.type}}={{.status}} \
         {{.reason}}: {{.message}}{{\"\\n\"}}{{end}}'\n\
         ```\n\n\
         ## A run waits\n\n\
         A run that is `Pending` or `WaitingForBackup` waits for something. Its condition `Accepted`, or `EngineRunning`, says \
         for what, and `Ready` repeats it. Most of it heals by itself: the run starts when the cause is gone, and nothing \
         has to be created again. `Retrying`, `Stopping` and `NodeUnreachable` are of a run that was launched already.\n\n"
    );
    page += &head(&["Reason", "What it means", "What to do", "Heals by itself"]);
    for Wait { reason, means, remedy, heals } in WAITS {
        page += &row(&[&format!("`{reason}`"), means, remedy, if *heals { "yes" } else { "no" }]);
    }
    page += "\nOther reasons of `EngineRunning` are the pod's own: `Unschedulable`, `ImagePullBackOff`, \
             `CreateContainerConfigError` and the like, with the scheduler's or the kubelet's words. After 15 minutes the \
             reason is `NotStarted`, the run has failed with `EngineLost`, and nothing was touched.\n\n\
             ## A run has failed\n\n\
             `status.failure` has the reason, what happened, what to do, and the end of the engine's log. It stays when the \
             pod is gone. With `retries` a run is tried again before it fails. One that has failed is over, because its \
             spec cannot change: correct the cause and create a new object.\n\n\
             ```\n\
             kubectl get vitessrestores.backup.vitess.io NAME -o jsonpath='{.status.failure.reason}: \
             {.status.failure.message}{\"\\n\"}{.status.failure.remedy}{\"\\n\"}'\n\
             ```\n\n\
             By hand the same engine ends with an exit code: 0 done (also \"started empty\"), 2 bad usage, 3 no usable backup, \
             4 storage, 5 MySQL, mysqlctld or the topology server, 6 data refused (present, damaged, incompatible), 7 cancelled or deadline, 70 a \
             bug.\n";
    for (group, reasons) in GROUPS {
        page += &block(&format!("### {group}\n"));
        page += &head(&["Reason", "Exit code", "What it means", "What to do"]);
        for reason in *reasons {
            let Diagnosis { means, remedy } = reason.diagnosis();
            page += &row(&[&format!("`{reason:?}`"), &reason.exit_code().to_string(), means, remedy]);
        }
    }
    page + &of_removals() + &of_storages()
}

fn of_removals() -> String {
    let mut text = "\n## A backup is not removed\n\n\
         An object with `deletionPolicy: Delete` that is deleted goes after its data, and `kubectl delete` waits for that. Until \
         then its condition `Removed` is False, and an event `RemovalFailed` tells of each try that failed; see \
         [Deleting a backup with its data](operations.md#deleting-a-backup-with-its-data).\n\n"
        .to_owned();
    text += &head(&["Reason of `Removed`", "What it means", "What to do"]);
    for (reason, means, remedy) in REMOVED {
        text += &row(&[reason, means, remedy]);
    }
    text
}

fn of_storages() -> String {
    let mut text = "\n## A storage is not reachable\n\n\
         `Ready` of a VitessBackupStorage is True as soon as its spec is in order; whether it can be listed the first inventory \
         finds out, and the condition `Reachable` says. While that is False `Ready` is too, and an event `Unreachable` tells of \
         it. An inventory that failed is tried again after 20 s, then after twice as long each time, up to the \
         `inventoryInterval`.\n\n"
        .to_owned();
    text += &head(&["Reason of `Reachable`", "Status", "What it means", "What to do"]);
    for (reason, status, means, remedy) in REACHABLE {
        text += &row(&[reason, status, means, remedy]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_for_which_a_storage_is_not_reachable_is_in_the_table() {
        let code = include_str!("../../plan/inventory.rs");
        let mut found = 0;
        for call in ["\"False\", \"", "\"Unknown\", \""] {
            let reasons = code.split(call).skip(1).filter_map(|rest| rest.split('"').next());
            // That of StraysFound is none.
            for reason in reasons.filter(|reason| *reason != "NothingElse") {
                let known = REACHABLE.iter().any(|(reasons, ..)| reasons.contains(&format!("`{reason}`")));
                assert!(known, "{reason}");
                found += 1;
            }
        }
        assert!(found > 6, "the reasons were not read");
    }
}
