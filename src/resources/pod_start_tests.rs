use super::*;
use crate::resources::pod::BINARY_VOLUME;

const PLANETSCALE: &str = include_str!("fixtures/planetscale-pod.yaml");
const INJECTED: &str = include_str!("fixtures/planetscale-injected.yaml");
const GROUND: &str = include_str!("../../tests/e2e/ground/vitess/manifests/tablet.yaml");

fn yaml<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).unwrap()
}

fn settings() -> Settings {
    Settings::new("operator:1")
}

fn storage(spec: &str) -> VitessBackupStorage {
    yaml(&format!(
        "{{apiVersion: backup.vitess.io/v1alpha1, kind: VitessBackupStorage, metadata: {{name: main}}, spec: {spec}}}"
    ))
}

fn s3() -> VitessBackupStorage {
    storage("{s3: {bucket: backups, region: eu-west-1}, credentialsSecret: {name: s3-key}}")
}

fn restore(shard: &str, more: &str) -> VitessRestore {
    yaml(&format!(
        "{{apiVersion: backup.vitess.io/v1alpha1, kind: VitessRestore, metadata: {{name: commerce}}, \
         spec: {{storage: {{name: main}}, shard: {shard}, trigger: PodStart{more}}}}}"
    ))
}

/// The pod of the test ground's tablet, as its StatefulSet makes it.
fn ground() -> Pod {
    let document = GROUND.split("\n---\n").find(|document| document.contains("kind: StatefulSet")).unwrap();
    let set: Value = yaml(document);
    let mut pod: Pod = serde_json::from_value(set["spec"]["template"].clone()).unwrap();
    pod.metadata.name = Some("zone1-0000000100-0".to_owned());
    let claim = "{name: vtdataroot, persistentVolumeClaim: {claimName: vtdataroot-zone1-0000000100-0}}";
    pod.spec.as_mut().unwrap().volumes.get_or_insert_default().push(yaml(claim));
    pod
}

fn injected(pod: &Pod, restore: &VitessRestore, storage: &VitessBackupStorage) -> Injection {
    injection(pod, restore, storage, &settings()).unwrap().unwrap()
}

fn refused(pod: &Pod, restore: &VitessRestore) -> String {
    injection(pod, restore, &s3(), &settings()).unwrap_err().to_string()
}

#[test]
fn a_pod_of_planetscales_operator_gets_its_own_mysqld_container_as_an_init_container() {
    let more = ", waitForBackupInterval: 10s, backup: {atOrBefore: \"2021-04-29.133050\"}, concurrency: 10, \
                allowedBackupEngines: [builtin], bootstrap: {tabletType: rdonly}";
    let Injection { init_containers, volumes, warnings } =
        injected(&yaml(PLANETSCALE), &restore("commerce/-", more), &s3());
    let expected: Value = yaml(INJECTED);
    assert_eq!(json!({"initContainers": init_containers, "volumes": volumes}), expected);
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn a_claim_that_the_pod_mounts_already_is_mounted_once() {
    let file = storage("{file: {persistentVolumeClaim: {claimName: vitess-backups}, root: /a}}");
    let Injection { init_containers, volumes, .. } = injected(&ground(), &restore("commerce/0", ""), &file);
    let names: Vec<&str> = volumes.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(names, [BINARY_VOLUME]);
    let mounts = init_containers[1].volume_mounts.as_ref().unwrap();
    let mounts: Vec<(&str, &str)> =
        mounts.iter().map(|mount| (mount.name.as_str(), mount.mount_path.as_str())).collect();
    assert_eq!(
        mounts,
        [("vtdataroot", "/vt/vtdataroot"), ("backups", "/backup-storage"), (BINARY_VOLUME, "/vitess-backup-bin")]
    );
    let args = init_containers[1].args.as_ref().unwrap();
    for expected in [
        "--tablet-dir=/vt/vtdataroot/vt_0000000100",
        "--tablet-path=zone1-0000000100",
        "--init-tablet-type=replica",
        "--deadline=6h",
    ] {
        assert!(args.iter().any(|arg| arg == expected), "{expected}: {args:?}");
    }
    assert!(!args.iter().any(|arg| arg.starts_with("--wait-for-backup-interval")), "{args:?}");
    // Under the namespace's `restricted` standard, as the tablet's own containers.
    for container in &init_containers {
        let security = container.security_context.as_ref().unwrap();
        assert_eq!(security.allow_privilege_escalation, Some(false));
        assert_eq!(security.capabilities.as_ref().unwrap().drop.as_deref(), Some(&["ALL".to_owned()][..]));
    }
}

#[test]
fn a_pod_that_restores_by_itself_is_left_alone() {
    let mut pod: Pod = yaml(PLANETSCALE);
    let own = "{name: mine, args: [restore, --on_pod_start, --restore_from_backup]}";
    pod.spec.as_mut().unwrap().init_containers.get_or_insert_default().push(yaml(own));
    assert_eq!(injection(&pod, &restore("commerce/-", ""), &s3(), &settings()), Ok(None));
}

#[test]
fn a_pod_that_cannot_be_helped_is_refused_with_what_to_do() {
    let pod: Pod = yaml(PLANETSCALE);
    let mut now = restore("commerce/-", "");
    now.spec.trigger = Trigger::Now;
    assert!(refused(&pod, &now).contains("trigger Now"));
    let other = refused(&pod, &restore("commerce/0", ""));
    assert!(other.contains("a tablet of commerce/-") && other.contains("is for commerce/0"), "{other}");
    let plain: Pod = yaml("{metadata: {name: web}, spec: {containers: [{name: nginx}]}}");
    assert!(refused(&plain, &restore("commerce/0", "")).contains("containers: nginx"));
    let nameless: Pod = yaml("{metadata: {name: a}, spec: {containers: [{name: db, command: [mysqlctld]}]}}");
    assert!(refused(&nameless, &restore("commerce/0", "")).contains("backup.vitess.io/tablet-uid-base"));
}

#[test]
fn the_pods_of_one_statefulset_have_uids_one_after_the_other() {
    let pod = |labels: &str| -> Pod {
        yaml(&format!(
            "{{metadata: {{name: replica-3, labels: {{{labels}}}, annotations: {{backup.vitess.io/tablet-uid-base: \"100\"}}}}, \
             spec: {{containers: [{{name: db, command: [bash, -c, \"exec mysqlctld --tablet-uid=$((100 + ${{POD_NAME##*-}}))\"]}}]}}}}"
        ))
    };
    for (labels, expected) in [("", "--tablet-uid=103"), ("apps.kubernetes.io/pod-index: \"7\"", "--tablet-uid=107")] {
        let injection = injected(&pod(labels), &restore("commerce/0", ""), &s3());
        let args = injection.init_containers[1].args.clone().unwrap();
        assert!(args.iter().any(|arg| arg == expected), "{args:?}");
    }
}

#[test]
fn a_storage_for_another_identity_is_warned_of() {
    let keyless = storage("{s3: {bucket: b}, serviceAccountName: backups}");
    let Injection { warnings, init_containers, .. } = injected(&ground(), &restore("commerce/0", ""), &keyless);
    assert!(warnings[0].contains("service account backups") && warnings[0].contains("runs as default"), "{warnings:?}");
    // An identity that was injected into the pod stays.
    let mut pod = ground();
    let role = "{name: AWS_ROLE_ARN, value: arn}";
    pod.spec.as_mut().unwrap().containers[0].env.get_or_insert_default().push(yaml(role));
    let env = |injection: &Injection| {
        let env = injection.init_containers[1].env.clone().unwrap();
        env.into_iter().any(|env| env.name == "AWS_ROLE_ARN")
    };
    assert!(env(&injected(&pod, &restore("commerce/0", ""), &keyless)));
    assert!(!env(&injected(&pod, &restore("commerce/0", ""), &s3())), "the storage has credentials of its own");
    drop(init_containers);
}

#[test]
fn the_patch_keeps_what_is_there_also_what_nobody_knows() {
    let pod = json!({"spec": {
        "initContainers": [{"name": "first", "fieldOfTheFuture": 1}],
        "volumes": [{"name": "data", "another": {}}],
    }});
    let injection = Injection {
        init_containers: vec![yaml("{name: added}")],
        volumes: vec![yaml("{name: more, emptyDir: {}}")],
        warnings: Vec::new(),
    };
    assert_eq!(
        patch(&pod, &injection),
        json!([
            {"op": "add", "path": "/spec/initContainers", "value": [{"name": "first", "fieldOfTheFuture": 1}, {"name": "added"}]},
            {"op": "add", "path": "/spec/volumes", "value": [{"name": "data", "another": {}}, {"name": "more", "emptyDir": {}}]},
        ])
    );
    assert_eq!(patch(&json!({"spec": {}}), &injection)[0]["value"], json!([{"name": "added"}]));
}

#[test]
fn a_pod_names_its_restore_by_label_or_annotation() {
    let of = |meta: &str| restore_of(&yaml(&format!("{{metadata: {meta}}}"))).map(str::to_owned);
    assert_eq!(of("{labels: {backup.vitess.io/restore: a}}").as_deref(), Some("a"));
    assert_eq!(of("{annotations: {backup.vitess.io/restore: b}}").as_deref(), Some("b"));
    assert_eq!(
        of("{labels: {backup.vitess.io/restore: a}, annotations: {backup.vitess.io/restore: b}}").as_deref(),
        Some("a")
    );
    assert_eq!(of("{labels: {backup.vitess.io/restore: \"\"}}"), None);
}
