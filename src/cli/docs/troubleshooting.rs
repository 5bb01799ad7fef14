//! Troubleshooting, from the tables of reasons.

use super::{GENERATED, block, head, row};
use crate::backup::diagnosis::{Diagnosis, GROUPS};
use crate::plan::waiting::{WAITS, Wait};

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
    page
}
