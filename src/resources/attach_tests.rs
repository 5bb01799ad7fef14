use super::*;
use k8s_openapi::api::core::v1::Pod;

/// A tablet's pod; `command` is mysqlctld's, `volumes` and `mounts` are YAML flow sequences.
fn tablet(command: &str, volumes: &str, mounts: &str) -> Tablet {
    let pod: Pod = serde_saphyr::from_str(&format!(
        "
metadata:
  name: tablet-101
  labels:
    planetscale.com/keyspace: commerce
    planetscale.com/shard: '0'
    planetscale.com/cell: zone1
    planetscale.com/tablet-uid: '101'
spec:
  nodeName: node1
  volumes: {volumes}
  containers:
  - name: vttablet
    command: [vttablet, --tablet-path=zone1-101]
  - name: mysqld
    image: vitess:24
    command: {command}
    volumeMounts: {mounts}
status:
  containerStatuses:
  - {{name: mysqld, image: a, imageID: b, ready: true, restartCount: 0, state: {{waiting: {{reason: CrashLoopBackOff}}}}}}
"
    ))
    .unwrap();
    Tablet::read(&pod, &Settings::new("image")).unwrap()
}

const CLAIM: &str = "[{name: data, persistentVolumeClaim: {claimName: data-101}}, {name: run, emptyDir: {}}]";
const MOUNT: &str = "[{name: data, mountPath: /vt/vtdataroot}, {name: run, mountPath: /vt/socket}]";

fn attach(tablet: &Tablet) -> Result<Attachment, AttachProblem> {
    Attachment::of(tablet, &Settings::new("image"))
}

#[test]
fn what_the_pod_does_not_say_is_as_vitess_has_it() {
    let attachment = attach(&tablet("[mysqlctld]", CLAIM, MOUNT)).unwrap();
    assert_eq!(attachment.tablet_dir, "/vt/vtdataroot/vt_0000000101");
    assert_eq!(attachment.mysqlctl_socket, "/vt/vtdataroot/vt_0000000101/mysqlctl.sock");
    assert_eq!(attachment.mysql_socket, None);
    assert_eq!(attachment.claims, ["data-101"]);
    assert_eq!(attachment.mounts.len(), 1, "the emptyDir stays behind");
    assert_eq!(attachment.node, "node1");
}

#[test]
fn what_the_pod_says_is_taken_in_either_spelling() {
    let command = "[/vt/bin/mysqlctld, --tablet_dir=mine, --socket_file=/vt/vtdataroot/s/ctl.sock, --mysql_socket=/vt/vtdataroot/s/my.sock]";
    let attachment = attach(&tablet(command, CLAIM, MOUNT)).unwrap();
    assert_eq!(attachment.tablet_dir, "/vt/vtdataroot/mine");
    assert_eq!(attachment.mysqlctl_socket, "/vt/vtdataroot/s/ctl.sock");
    assert_eq!(attachment.mysql_socket.as_deref(), Some("/vt/vtdataroot/s/my.sock"));
}

#[test]
fn a_socket_in_an_empty_dir_is_a_problem_that_names_the_flags_to_set() {
    let problem = attach(&tablet("[mysqlctld, --socket_file=/vt/socket/ctl.sock]", CLAIM, MOUNT)).unwrap_err();
    assert_eq!(problem.reason(), "SocketNotShared");
    assert_eq!(
        problem.to_string(),
        "mysqlctld's socket /vt/socket/ctl.sock of pod tablet-101 is on volume run (emptyDir), which no other pod can \
         mount: move it to the tablet directory on the tablet's persistent volume (--socket-file of mysqlctld, \
         --mysqlctl-socket of vttablet); modes that need no shared socket, Detached and Delegated, come with a later version"
    );
    let problem = attach(&tablet("[mysqlctld, --mysql_socket=/tmp/my.sock]", CLAIM, MOUNT)).unwrap_err();
    assert!(problem.to_string().contains("on the container's own file system"), "{problem}");
}

#[test]
fn a_tablet_directory_on_no_persistent_volume_is_a_problem() {
    let volumes = "[{name: data, emptyDir: {}}, {name: run, emptyDir: {}}]";
    assert_eq!(attach(&tablet("[mysqlctld]", volumes, MOUNT)).unwrap_err().reason(), "TabletDirNotShared");
}

#[test]
fn a_generic_ephemeral_volume_is_shared_by_its_claim() {
    let volumes = "[{name: data, ephemeral: {volumeClaimTemplate: {spec: {}}}}]";
    let attachment = attach(&tablet("[mysqlctld]", volumes, "[{name: data, mountPath: /vt/vtdataroot}]")).unwrap();
    assert_eq!(attachment.claims, ["tablet-101-data"]);
}

#[test]
fn a_pod_without_mysqlctld_is_a_problem_that_names_its_containers() {
    let problem = attach(&tablet("[mysqld]", CLAIM, MOUNT)).unwrap_err();
    assert_eq!(problem.reason(), "MysqlctldNotFound");
    assert!(problem.to_string().contains("(containers: vttablet, mysqld)"), "{problem}");
    let settings = Settings { mysqld_container: Some("mysqld".into()), ..Settings::new("image") };
    assert!(Attachment::of(&tablet("[mysqld]", CLAIM, MOUNT), &settings).is_ok());
}

#[test]
fn a_container_that_does_not_run_says_why() {
    let tablet = tablet("[mysqlctld]", CLAIM, MOUNT);
    let problem = attach(&tablet).unwrap().check_running(&tablet).unwrap_err();
    assert!(problem.to_string().contains("does not run (CrashLoopBackOff)"), "{problem}");
}
