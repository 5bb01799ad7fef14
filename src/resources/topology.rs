//! The engine pod of a VitessTopologyBackup: its command line, and the Secrets and volumes that only it gets.

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaimVolumeSource, Pod, PodSpec, SecretVolumeSource, Volume, VolumeMount,
};

use super::command::{literal, reporting};
use super::pod;
use super::storage::StorageInPod;
use crate::api::{
    ConsulServer, EngineSecurityContext, EtcdServer, GoDuration, PodTemplate, SecretName, VitessTopologyBackupSpec,
    ZookeeperDataDirectory, ZookeeperServer,
};
use crate::backup::topology::TopologyServer;

const TLS: (&str, &str) = ("vitess-topology-tls", "/topology-tls");
const CREDENTIALS: (&str, &str) = ("vitess-topology-credentials", "/topology-credentials");
const DATA: (&str, &str) = ("vitess-topology-data", "/topology-data");
const LOGS: (&str, &str) = ("vitess-topology-logs", "/topology-logs");

/// Adds to a storage's pod what the topology server's backup needs, and gives its command line. `started` is part of the
/// backup's name, so that a run that is launched again has the same.
pub fn backup(
    spec: &VitessTopologyBackupSpec,
    server: TopologyServer,
    started: jiff::Timestamp,
    pod: &mut StorageInPod,
) -> Vec<String> {
    let mut args = vec!["topology".to_owned(), "backup".to_owned()];
    args.push(format!("--topo-implementation={}", server.implementation()));
    let (etcd, zookeeper, consul) = (spec.etcd.as_ref(), spec.zookeeper.as_ref(), spec.consul.as_ref());
    match (etcd, zookeeper, consul) {
        (Some(EtcdServer { endpoints, tls_secret, credentials_secret, stale }), ..)
        | (_, _, Some(ConsulServer { endpoints, tls_secret, credentials_secret, stale })) => {
            args.extend(reached(endpoints, tls_secret.as_ref(), credentials_secret.as_ref(), pod));
            args.extend(stale.then(|| "--stale".to_owned()));
        }
        (_, Some(ZookeeperServer { endpoints, tls_secret, credentials_secret, data_directory }), _) => {
            match data_directory {
                Some(directory) => args.extend(files(directory, pod)),
                None => args.extend(reached(endpoints, tls_secret.as_ref(), credentials_secret.as_ref(), pod)),
            }
        }
        (None, None, None) => {}
    }
    args.push(format!("--cell={}", spec.cell));
    args.push(format!("--backup-time={started:.0}"));
    args.extend_from_slice(&pod.args);
    args.extend(reporting(spec.deadline));
    args
}

/// `vitess-backup remove --topology …`.
pub fn remove(backup_name: &str, storage: &[String], deadline: GoDuration, force: bool) -> Vec<String> {
    let mut args = vec!["remove".to_owned()];
    args.extend_from_slice(storage);
    args.extend(force.then(|| "--force".to_owned()));
    args.extend(reporting(deadline));
    args.push(format!("--topology={backup_name}"));
    args
}

/// The claims that the pod mounts besides the storage's.
pub fn claims(spec: &VitessTopologyBackupSpec) -> Vec<&str> {
    let directory = spec.zookeeper.as_ref().and_then(|zookeeper| zookeeper.data_directory.as_ref());
    let names = directory.into_iter().flat_map(|d| [Some(d.claim_name.as_str()), d.log_claim_name.as_deref()]);
    names.flatten().collect()
}

/// The engine of a backup of files is beside the server that has them: where its node has the volume, with the groups that
/// may read it. It has none of its own for volumes, for the kubelet would give it the server's.
///
/// `server` is the pod that mounts one of `claims`; `anywhere` when pods of several nodes can.
pub fn beside(server: Option<&Pod>, anywhere: bool, mut template: PodTemplate) -> PodTemplate {
    let spec = server.and_then(|pod| pod.spec.as_ref());
    if template.security_context.is_none() {
        let own = pod::identity(&template);
        template.security_context = Some(EngineSecurityContext {
            fs_group: None,
            supplemental_groups: spec.map(groups).unwrap_or_default(),
            ..own
        });
    }
    if let Some((spec, node)) = spec.and_then(|spec| Some((spec, spec.node_name.as_ref()?)))
        && !anywhere
    {
        template.tolerations = pod::tolerations(spec.tolerations.clone(), &template);
        template.affinity = Some(pod::on_node(node, template.affinity));
    }
    template
}

/// The groups of all its processes.
fn groups(spec: &PodSpec) -> Vec<i64> {
    let of_pod = spec.security_context.clone().unwrap_or_default();
    let of_containers =
        spec.containers.iter().filter_map(|container| container.security_context.as_ref()?.run_as_group);
    let mut groups: Vec<i64> = of_pod.supplemental_groups.unwrap_or_default();
    groups.extend(of_pod.fs_group.into_iter().chain(of_pod.run_as_group).chain(of_containers));
    groups.retain(|group| *group != 0);
    groups.sort_unstable();
    groups.dedup();
    groups
}

fn reached(
    endpoints: &[String],
    tls: Option<&SecretName>,
    credentials: Option<&SecretName>,
    pod: &mut StorageInPod,
) -> Vec<String> {
    let mut args = vec![format!("--topo-server-address={}", endpoints.join(","))];
    if let Some(secret) = tls {
        args.push(format!("--topo-tls-dir={}", mount_secret(TLS, secret, pod)));
    }
    if let Some(secret) = credentials {
        args.push(format!("--topo-credentials-dir={}", mount_secret(CREDENTIALS, secret, pod)));
    }
    args
}

fn files(directory: &ZookeeperDataDirectory, pod: &mut StorageInPod) -> Vec<String> {
    let ZookeeperDataDirectory { claim_name, data_dir, data_log_dir, log_claim_name } = directory;
    let data = mount_claim(DATA, claim_name, pod);
    let logs = log_claim_name.as_ref().map_or(data, |claim| mount_claim(LOGS, claim, pod));
    let mut args = vec![format!("--zookeeper-data-dir={}", literal(&below(data, data_dir.as_deref())))];
    if log_claim_name.is_some() || data_log_dir.is_some() {
        args.push(format!("--zookeeper-data-log-dir={}", literal(&below(logs, data_log_dir.as_deref()))));
    }
    args
}

fn below(mount: &str, directory: Option<&str>) -> String {
    let parts = directory.iter().flat_map(|path| path.split('/')).filter(|part| !part.is_empty() && *part != ".");
    parts.fold(mount.to_owned(), |path, part| format!("{path}/{part}"))
}

fn mount_secret((name, path): (&str, &'static str), secret: &SecretName, pod: &mut StorageInPod) -> &'static str {
    let source = SecretVolumeSource { secret_name: Some(secret.name.clone()), ..SecretVolumeSource::default() };
    pod.volumes.push(Volume { name: name.to_owned(), secret: Some(source), ..Volume::default() });
    mount(name, path, pod)
}

fn mount_claim((name, path): (&str, &'static str), claim: &str, pod: &mut StorageInPod) -> &'static str {
    // Read-only where it is mounted and not in the volume: the latter would count for the server's own pod too.
    let source = PersistentVolumeClaimVolumeSource { claim_name: claim.to_owned(), read_only: None };
    pod.volumes.push(Volume { name: name.to_owned(), persistent_volume_claim: Some(source), ..Volume::default() });
    mount(name, path, pod)
}

fn mount(name: &str, path: &'static str, pod: &mut StorageInPod) -> &'static str {
    pod.mounts.push(VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    });
    path
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(server: &Value) -> (Vec<String>, StorageInPod) {
        let mut spec = json!({"storage": {"name": "backups"}, "deadline": "1h"});
        spec.as_object_mut().unwrap().extend(server.as_object().unwrap().clone());
        let spec: VitessTopologyBackupSpec = serde_json::from_value(spec).unwrap();
        let started = "2026-11-27T06:00:00.75Z".parse().unwrap();
        let mut pod = StorageInPod { args: vec!["--storage".to_owned()], ..StorageInPod::default() };
        let args = backup(&spec, spec.server().unwrap(), started, &mut pod);
        (args, pod)
    }

    #[test]
    fn the_command_names_endpoints_and_the_secrets_are_mounted_into_the_pod() {
        let (args, pod) = of(&json!({
            "cell": "zone1",
            "etcd": {"endpoints": ["https://a:2379", "https://b:2379"], "stale": true,
                     "tlsSecret": {"name": "etcd-tls"}, "credentialsSecret": {"name": "etcd-root"}},
        }));
        assert_eq!(
            args,
            [
                "topology",
                "backup",
                "--topo-implementation=etcd2",
                "--topo-server-address=https://a:2379,https://b:2379",
                "--topo-tls-dir=/topology-tls",
                "--topo-credentials-dir=/topology-credentials",
                "--stale",
                "--cell=zone1",
                "--backup-time=2026-11-27T06:00:00Z",
                "--storage",
                "--report=json",
                "--termination-log=/dev/termination-log",
                "--deadline=1h",
            ]
        );
        let secrets: Vec<_> =
            pod.volumes.iter().map(|volume| volume.secret.clone().unwrap().secret_name.unwrap()).collect();
        assert_eq!(secrets, ["etcd-tls", "etcd-root"]);
        assert!(pod.mounts.iter().all(|mount| mount.read_only == Some(true)));
        assert_eq!(pod.env, [], "no secret is a variable");
    }

    #[test]
    fn of_an_older_zookeeper_the_volume_is_mounted_and_only_read() {
        let (args, pod) = of(&json!({"zookeeper": {"dataDirectory": {
            "claimName": "data-zk-0", "dataDir": "/data", "logClaimName": "log-zk-0"}}}));
        assert!(args.contains(&"--zookeeper-data-dir=/topology-data/data".to_owned()), "{args:?}");
        assert!(args.contains(&"--zookeeper-data-log-dir=/topology-logs".to_owned()), "{args:?}");
        assert!(!args.iter().any(|arg| arg.starts_with("--topo-server-address")));
        assert!(pod.mounts.iter().all(|mount| mount.read_only == Some(true)));
        let (args, _) = of(&json!({"zookeeper": {"dataDirectory": {"claimName": "data-zk-0"}}}));
        assert!(!args.iter().any(|arg| arg.starts_with("--zookeeper-data-log-dir")), "{args:?}");
    }

    #[test]
    fn the_engine_reads_a_volume_on_the_servers_node_and_changes_nothing_of_it() {
        let server: Pod = serde_json::from_value(json!({
            "metadata": {"name": "zk-0"},
            "spec": {
                "nodeName": "node7", "tolerations": [{"key": "zookeeper", "operator": "Exists"}],
                "securityContext": {"runAsUser": 1000, "fsGroup": 1001, "supplementalGroups": [1002]},
                "containers": [{"name": "zk", "securityContext": {"runAsGroup": 1000}}],
            },
        }))
        .unwrap();
        let pinned = beside(Some(&server), false, PodTemplate::default());
        let own = EngineSecurityContext {
            run_as_user: Some(999),
            run_as_group: Some(999),
            fs_group: None,
            supplemental_groups: vec![1000, 1001, 1002],
        };
        assert_eq!(pinned.security_context, Some(own.clone()));
        assert_eq!(pinned.tolerations.len(), 1);
        let affinity = serde_json::to_value(pinned.affinity.unwrap()).unwrap();
        let terms = &affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
        assert_eq!(*terms, json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node7"]}]}]));

        // A volume that every node can mount, and a server that is down.
        for (server, groups) in [(Some(&server), own.supplemental_groups.clone()), (None, Vec::new())] {
            let anywhere = beside(server, server.is_some(), PodTemplate::default());
            let security_context = Some(EngineSecurityContext { supplemental_groups: groups, ..own.clone() });
            assert_eq!(anywhere, PodTemplate { security_context, ..PodTemplate::default() });
        }

        // What the object says counts.
        let said = EngineSecurityContext { run_as_user: Some(7), ..EngineSecurityContext::default() };
        let template = PodTemplate { security_context: Some(said.clone()), ..PodTemplate::default() };
        assert_eq!(beside(Some(&server), false, template).security_context, Some(said));
    }

    #[test]
    fn consul_and_an_admin_server_are_named_by_their_endpoints() {
        let (args, _) = of(&json!({"consul": {"endpoints": ["consul:8500"]}}));
        assert!(args.contains(&"--topo-implementation=consul".to_owned()) && !args.contains(&"--stale".to_owned()));
        let (args, _) = of(&json!({"zookeeper": {"endpoints": ["zk:8080"]}}));
        assert!(args.contains(&"--topo-server-address=zk:8080".to_owned()));
        assert!(args.contains(&"--cell=global".to_owned()));
    }
}
