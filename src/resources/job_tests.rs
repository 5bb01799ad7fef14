//! From YAML to the whole Job, and nothing left out of the comparison.

use serde::de::DeserializeOwned;

use super::*;
use crate::api::{EngineSecurityContext, GoDuration, VitessBackup, VitessBackupStorage};
use crate::resources::attach::Attachment;
use crate::resources::tablet::Tablet;
use crate::resources::{command, pod, storage};

fn read<K: DeserializeOwned>(yaml: &str) -> K {
    serde_saphyr::from_str(yaml).unwrap()
}

fn settings() -> Settings {
    Settings { image_pull_secrets: vec!["operator-registry".into(), "registry".into()], ..Settings::new("operator:1") }
}

fn owner() -> Owner {
    Owner {
        kind: "VitessBackup",
        namespace: "vitess".into(),
        name: "nightly.2026-11-22".into(),
        uid: "11112222-3333-4444-5555-666677778888".into(),
    }
}

#[test]
fn the_job_of_a_twin_has_the_tablets_place_volumes_and_user_and_none_of_its_privileges() {
    let settings = settings();
    let tablet = Tablet::read(&read(include_str!("fixtures/tablet-pod.yaml")), &settings).unwrap();
    let attachment = Attachment::of(&tablet, &settings).unwrap();
    let spec = read::<VitessBackup>(include_str!("fixtures/backup.yaml")).spec;
    let in_pod = storage::in_pod(&read::<VitessBackupStorage>(include_str!("fixtures/storage-nfs.yaml")).spec);
    let started = "2026-11-22T10:00:00Z".parse().unwrap();
    let terms = command::Terms { allow_primary: true, max_lag: None };
    let args = command::backup(&spec, &tablet.alias, &tablet.shard, &attachment, &in_pod.args, terms, started);
    let template = spec.pod_template.clone().unwrap();
    let pod = pod::twin(&tablet.pod, &attachment, &settings, &in_pod, args, &template);
    let job = job(&owner(), JobPurpose::Backup, 1, spec.deadline.0, pod, &template, &settings);
    insta::assert_snapshot!(serde_saphyr::to_string(&serde_json::to_value(job).unwrap()).unwrap());
}

#[test]
fn the_job_of_a_plain_pod_has_the_operators_image_and_the_templates_user() {
    let stored: VitessBackupStorage = read(
        "
apiVersion: backup.vitess.io/v1alpha1
kind: VitessBackupStorage
metadata: {name: backups}
spec: {file: {hostPath: {path: /mnt/backups}}}
",
    );
    let in_pod = storage::in_pod(&stored.spec);
    let identity = EngineSecurityContext { run_as_user: Some(1000), fs_group: Some(2000), ..Default::default() };
    let template = PodTemplate { security_context: Some(identity), ..PodTemplate::default() };
    let deadline = GoDuration(Duration::from_secs(1800));
    let args = command::remove("commerce/-80", "2021-04-29.133050.zone1-0000000101", &in_pod.args, deadline, true);
    let pod = pod::plain(&settings(), &in_pod, Some("data-103"), args, &template);
    let job = job(&owner(), JobPurpose::Remove, 2, deadline.0, pod, &template, &settings());
    insta::assert_snapshot!(serde_saphyr::to_string(&serde_json::to_value(job).unwrap()).unwrap());
}

#[test]
fn a_twin_has_a_place_for_temporary_files_whatever_its_root_file_system_is() {
    let settings = settings();
    let tablet = Tablet::read(&read(include_str!("fixtures/tablet-pod.yaml")), &settings).unwrap();
    let mounts_of_tmp = |read_only: Option<bool>, shared_tmp: bool| {
        let mut attachment = Attachment::of(&tablet, &settings).unwrap();
        attachment.container.security_context.as_mut().unwrap().read_only_root_filesystem = read_only;
        if shared_tmp {
            attachment.mounts.iter_mut().find(|mount| mount.name == "scratch").unwrap().mount_path = "/tmp/".into();
        }
        let in_pod = storage::StorageInPod::default();
        let pod = pod::twin(&tablet.pod, &attachment, &settings, &in_pod, Vec::new(), &PodTemplate::default());
        let volumes = pod.volumes.unwrap();
        let own = volumes.iter().filter(|volume| volume.name == "vitess-backup-tmp").count();
        let mounts = pod.containers[0].volume_mounts.clone().unwrap();
        let mounted: Vec<String> = mounts
            .into_iter()
            .filter(|mount| mount.mount_path.trim_end_matches('/') == "/tmp")
            .map(|mount| mount.name)
            .collect();
        (own, mounted)
    };
    assert_eq!(mounts_of_tmp(Some(true), false), (1, vec!["vitess-backup-tmp".to_owned()]));
    assert_eq!(mounts_of_tmp(Some(true), true), (0, vec!["scratch".to_owned()]));
    assert_eq!(mounts_of_tmp(Some(false), false), (0, vec![]));
    assert_eq!(mounts_of_tmp(None, false), (0, vec![]));
}
