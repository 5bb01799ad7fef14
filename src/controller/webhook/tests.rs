use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::certificate::is_due;
use super::*;
use crate::controller::fake_server::FakeServer;
use crate::resources::settings::Settings as OperatorSettings;
use crate::telemetry::metrics::Metrics;

const CONFIGURATION: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/vbo";
const RESTORE: &str = "/apis/backup.vitess.io/v1alpha1/namespaces/demo/vitessrestores/commerce";
const STORAGE: &str = "/apis/backup.vitess.io/v1alpha1/namespaces/demo/vitessbackupstorages/main";
const NAME: &str = "vbo-webhook.backup-system.svc";

fn settings() -> Settings {
    Settings {
        address: "127.0.0.1:0".parse().unwrap(),
        configuration: "vbo".to_owned(),
        service: "vbo-webhook".to_owned(),
        namespace: "backup-system".to_owned(),
        lifetime: Duration::from_secs(3600),
    }
}

/// A cluster with the webhook's configuration, a storage, and a restore on pod start.
fn cluster() -> FakeServer {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = FakeServer::default();
    server.put(
        CONFIGURATION,
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": {},
            "webhooks": [{"name": "restore.backup.vitess.io", "fieldOfTheFuture": 7, "clientConfig": {"service": {"name": "vbo-webhook"}}}],
        }),
    );
    server.put(
        STORAGE,
        json!({
            "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessBackupStorage", "metadata": {},
            "spec": {"s3": {"bucket": "b"}},
        }),
    );
    server.put(
        RESTORE,
        json!({
            "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessRestore", "metadata": {},
            "spec": {"storage": {"name": "main"}, "shard": "commerce/0", "trigger": "PodStart"},
        }),
    );
    server
}

fn context(server: &FakeServer) -> Arc<Context> {
    Context::new(server.client(), OperatorSettings::new("operator:1"), Arc::new(Metrics::default()), None)
}

fn bundle(server: &FakeServer) -> String {
    let text = server.get(CONFIGURATION).unwrap()["webhooks"][0]["clientConfig"]["caBundle"].clone();
    String::from_utf8(STANDARD.decode(text.as_str().unwrap()).unwrap()).unwrap()
}

fn pod(labels: &Value) -> Value {
    json!({
        "metadata": {"generateName": "zone1-101-", "labels": labels},
        "spec": {"fieldOfTheFuture": {}, "containers": [{"name": "mysqld", "image": "m", "command": ["mysqlctld", "--tablet-uid=101"]}]},
    })
}

fn review(pod: &Value) -> String {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "u-1", "namespace": "demo", "operation": "CREATE", "object": pod},
    })
    .to_string()
}

/// Posts as the API server does, trusting this bundle.
async fn post(address: std::net::SocketAddr, bundle: &str, body: &str) -> (u16, Value) {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await.unwrap();
    let mut stream = connector.connect(ServerName::try_from(NAME).unwrap(), stream).await.unwrap();
    let request = format!(
        "POST {PATH} HTTP/1.1\r\nHost: {NAME}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // The other end may close without TLS's own farewell.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, serde_json::from_str(body).unwrap_or_else(|_| body.into()))
}

/// A replica that answers, and is trusted.
async fn replica(server: &FakeServer, identity: &str) -> (std::net::SocketAddr, Trust) {
    let resolver = Arc::new(Resolver::default());
    let mut trust = Trust::new(server.client(), &settings(), identity.to_owned(), resolver.clone()).unwrap();
    assert!(trust.look(Timestamp::now()).await.unwrap(), "its authority is new");
    let listener = listener::TlsListener::new(TcpListener::bind("127.0.0.1:0").await.unwrap(), resolver).unwrap();
    let address = axum::serve::Listener::local_addr(&listener).unwrap();
    let context = context(server);
    tokio::spawn(async move { axum::serve(listener, router(context)).await });
    (address, trust)
}

#[tokio::test]
async fn two_replicas_are_trusted_side_by_side_and_inject_over_tls() {
    let server = cluster();
    let (first, _first) = replica(&server, "vbo-0").await;
    let (second, mut trust) = replica(&server, "vbo-1").await;
    assert!(!trust.look(Timestamp::now()).await.unwrap(), "nothing is written twice");
    let bundle = bundle(&server);
    assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), 2);
    assert_eq!(server.get(CONFIGURATION).unwrap()["webhooks"][0]["fieldOfTheFuture"], 7);
    for address in [first, second] {
        let (code, answer) =
            post(address, &bundle, &review(&pod(&json!({"backup.vitess.io/restore": "commerce"})))).await;
        assert_eq!(code, 200, "{answer}");
        let response = &answer["response"];
        assert_eq!((&response["uid"], &response["allowed"]), (&"u-1".into(), &true.into()), "{response}");
        let patch: Value =
            serde_json::from_slice(&STANDARD.decode(response["patch"].as_str().unwrap()).unwrap()).unwrap();
        assert_eq!(patch[0]["path"], "/spec/initContainers");
        assert_eq!(patch[0]["value"][1]["name"], "vitess-backup-restore");
        assert_eq!(patch[1]["path"], "/spec/volumes");
    }
}

#[tokio::test]
async fn a_certificate_is_replaced_when_half_of_its_life_is_over_and_the_new_one_is_trusted_first() {
    let server = cluster();
    let (address, mut trust) = replica(&server, "vbo-0").await;
    let before = bundle(&server);
    let later = Timestamp::now() + Duration::from_secs(1801);
    tokio::time::pause();
    trust.look(later).await.unwrap();
    tokio::time::resume();
    let after = bundle(&server);
    assert!(after.starts_with(&before) && after.len() > before.len(), "the old one stays for others that show it");
    let new = after.strip_prefix(&before).unwrap();
    let (code, _) = post(address, new, &review(&pod(&json!({})))).await;
    assert_eq!(code, 200, "the new certificate is shown");
}

#[test]
fn a_certificate_is_due_at_half_its_life() {
    let made: Timestamp = "2026-11-27T00:00:00Z".parse().unwrap();
    let hour = Duration::from_secs(3600);
    assert!(!is_due(made, made + hour / 2 - Duration::from_secs(1), hour));
    assert!(is_due(made, made + hour / 2, hour));
    assert!(!is_due(made, made - hour, hour), "a clock that was set back");
}

async fn answer(server: &FakeServer, pod: &Value) -> Value {
    let review = Review::read(review(pod).as_bytes()).unwrap();
    decide(&context(server), &review).await.unwrap()["response"].clone()
}

#[tokio::test]
async fn a_pod_that_would_start_empty_is_refused_with_what_to_do() {
    let server = cluster();
    let labelled = |name: &str| pod(&json!({"backup.vitess.io/restore": name}));
    let unknown = answer(&server, &labelled("nobody")).await;
    assert_eq!(unknown["allowed"], false);
    assert!(unknown["status"]["message"].as_str().unwrap().contains("VitessRestore nobody, which does not exist"));
    server.change(RESTORE, |restore| restore["spec"]["trigger"] = "Now".into());
    let now = answer(&server, &labelled("commerce")).await;
    assert!(now["status"]["message"].as_str().unwrap().contains("trigger Now"), "{now}");
    server.remove(STORAGE);
    let without = answer(&server, &labelled("commerce")).await;
    assert!(without["status"]["message"].as_str().unwrap().contains("VitessBackupStorage main"), "{without}");
    let other = answer(&server, &pod(&json!({}))).await;
    assert_eq!((&other["allowed"], other.get("patch")), (&true.into(), None));
}

#[tokio::test]
async fn what_cannot_be_decided_is_left_to_the_failure_policy() {
    let server = cluster();
    let (address, _trust) = replica(&server, "vbo-0").await;
    server.fail(&format!("GET {RESTORE}"), 500, "InternalError", "etcd is away");
    let bundle = bundle(&server);
    let body = review(&pod(&json!({"backup.vitess.io/restore": "commerce"})));
    let (code, text) = post(address, &bundle, &body).await;
    assert_eq!(code, 500);
    assert!(text.as_str().unwrap().contains("etcd is away"), "{text}");
    assert_eq!(post(address, &bundle, "{}").await.0, 400);
}
