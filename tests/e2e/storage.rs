//! Backups in a bucket: a real S3 server on this machine, which pods reach as they would a service's.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::backup::{backup_yaml, take};
use crate::ground::{Ground, project};
use crate::restore::onto_tablet;

const BACKUPS: &str = "vitessbackups.backup.vitess.io";
const STORAGES: &str = "vitessbackupstorages.backup.vitess.io";
/// Two scenarios run at a time, and each has a server of its own.
static NEXT_PORT: AtomicU16 = AtomicU16::new(9471);

/// versitygw with an empty bucket, gone when this is dropped.
struct Bucket {
    server: Child,
    folder: TempDir,
    address: String,
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Bucket {
    fn start(ground: &Ground) -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir_all(folder.path().join("data/vitess-backups")).unwrap();
        let host = ground.lib("echo $HOST_IP").trim().to_owned();
        let storage = project().join("tests/e2e/ground/storage");
        let built = Command::new(storage.join("build.sh")).arg("versitygw").stdout(Stdio::null()).status().unwrap();
        assert!(built.success(), "versitygw could not be had");
        let port = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(storage.join("start.sh")).arg("versitygw");
        command.arg(folder.path().join("data")).arg(port.to_string()).env("STORAGE_HOST", &host);
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let bucket = Self { server, folder, address: format!("{host}:{port}") };
        let begun = Instant::now();
        while std::net::TcpStream::connect(&bucket.address).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "versitygw does not listen on {}", bucket.address);
            std::thread::sleep(Duration::from_millis(100));
        }
        bucket
    }

    fn storage_yaml(&self, name: &str, secret: &str) -> String {
        format!(
            "apiVersion: backup.vitess.io/v1alpha1\nkind: VitessBackupStorage\nmetadata: {{name: {name}}}\nspec:\n  \
             s3: {{bucket: vitess-backups, endpoint: \"http://{}\", root: e2e, forcePathStyle: true}}\n  \
             credentialsSecret: {{name: {secret}}}\n",
            self.address
        )
    }
}

fn secret_yaml(name: &str, key: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{AWS_ACCESS_KEY_ID: test, \
         AWS_SECRET_ACCESS_KEY: {key}}}\n"
    )
}

/// Where a pod's containers get something from that Secret: `<container>: <where>`.
fn uses_of(pod: &Value, secret: &str) -> Vec<String> {
    let spec = &pod["spec"];
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let volumes: Vec<Value> = list(&spec["volumes"])
        .into_iter()
        .filter(|volume| volume["secret"]["secretName"] == secret)
        .map(|volume| volume["name"].clone())
        .collect();
    let containers = list(&spec["initContainers"]).into_iter().chain(list(&spec["containers"]));
    let mut uses = Vec::new();
    for container in containers {
        let name = container["name"].as_str().unwrap_or_default().to_owned();
        let variables = list(&container["env"]).into_iter();
        uses.extend(
            variables
                .filter(|variable| variable["valueFrom"]["secretKeyRef"]["name"] == secret)
                .map(|variable| format!("{name}: {}", variable["name"].as_str().unwrap_or_default())),
        );
        let mounts = list(&container["volumeMounts"]).into_iter().filter(|mount| volumes.contains(&mount["name"]));
        uses.extend(mounts.map(|mount| format!("{name}: {}", mount["mountPath"].as_str().unwrap_or_default())));
    }
    uses
}

#[test]
fn a_bucket_is_backed_up_to_and_restored_from_with_keys_that_only_the_engine_gets() {
    let ground = Ground::take();
    let bucket = Bucket::start(&ground);
    ground.apply(&secret_yaml("bucket-keys", "testsecret"));
    ground.apply(&bucket.storage_yaml("bucket", "bucket-keys"));

    let backup = take(&ground, "in-a-bucket", "bucket", 101);
    let name = backup["status"]["backupName"].as_str().expect("a backup name");
    let stored = bucket.folder.path().join("data/vitess-backups/e2e/commerce/0").join(name).join("MANIFEST");
    assert!(stored.is_file(), "Vitess's layout: {}", stored.display());

    let pods: Value =
        serde_json::from_str(&ground.kubectl(&["get", "pods", "--all-namespaces", "-o", "json"])).expect("JSON");
    let uid = &backup["metadata"]["uid"];
    let pods = pods["items"].as_array().expect("pods");
    let (engines, others): (Vec<_>, Vec<_>) =
        pods.iter().partition(|pod| pod["metadata"]["labels"]["backup.vitess.io/run-uid"] == *uid);
    assert_eq!(engines.len(), 1, "the engine's pod is kept for a minute");
    let expected = [
        "engine: AWS_ACCESS_KEY_ID",
        "engine: AWS_SECRET_ACCESS_KEY",
        "engine: AWS_SESSION_TOKEN",
        "engine: /backup-storage-credentials",
    ];
    assert_eq!(uses_of(engines[0], "bucket-keys"), expected);
    assert_eq!(engines[0]["spec"]["automountServiceAccountToken"], json!(false));
    // An inventory's engine may be there too; whoever is no engine has nothing of it.
    let others: Vec<_> =
        others.into_iter().filter(|pod| pod["metadata"]["labels"]["app.kubernetes.io/component"] != "engine").collect();
    assert!(!others.is_empty(), "the operator's pod and the tablets'");
    for pod in others {
        assert_eq!(uses_of(pod, "bucket-keys"), [""; 0], "{}", pod["metadata"]["name"]);
    }

    let restore = onto_tablet(&ground, "from-a-bucket", "bucket", 102, "{latest: {}}");
    assert_eq!(restore["status"]["backupName"], name);
    ground.assert_same_rows_as_primary(102);
    // The server ends with this test; nobody shall look for it then.
    ground.delete(BACKUPS, "in-a-bucket");
    ground.delete(STORAGES, "bucket");
}

#[test]
fn a_bucket_that_refuses_the_keys_fails_the_backup_and_leaves_the_tablet_as_it_was() {
    let ground = Ground::take();
    let bucket = Bucket::start(&ground);
    ground.apply(&secret_yaml("wrong-keys", "wrong"));
    ground.apply(&bucket.storage_yaml("refusing", "wrong-keys"));
    ground.delete(BACKUPS, "refused");
    ground.apply(&backup_yaml("refused", "refusing", 101, "Retain"));
    let refused = ground.wait_finished(BACKUPS, "refused");
    assert_eq!(refused["status"]["phase"], "Failed", "{:#}", refused["status"]);
    let failure = &refused["status"]["failure"];
    assert_eq!(failure["reason"], "StorageDenied", "{failure:#}");
    assert!(failure["remedy"].as_str().expect("a remedy").contains("credentials"), "{failure:#}");
    assert!(ground.replicates(101));
    ground.delete(BACKUPS, "refused");
    ground.delete(STORAGES, "refusing");
}
