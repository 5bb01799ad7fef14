//! Who we are to a service, and how a bucket is addressed: through the program itself, whose environment is its own.

use std::path::Path;
use std::process::Output;
use std::sync::{Arc, Mutex};

use assert_cmd::Command;
use axum::extract::{Request, State};
use rstest::rstest;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::proxy::{Ends, Fault, Proxy};
use crate::servers::{self, AZURE_ACCOUNT, AZURE_KEY, BUCKET, Program, Server};
use crate::support::mysql::free_port;

/// With nothing in its environment but what is given.
fn list(flags: &[String], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitess-backup"));
    command.env_clear().envs(environment.iter().copied()).arg("list").args(flags).arg("commerce/0");
    command.output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn s3(address: &str) -> Vec<String> {
    vec![
        "--backup-storage-implementation=s3".to_owned(),
        format!("--s3-backup-storage-bucket={BUCKET}"),
        format!("--s3-backup-aws-endpoint=http://{address}"),
    ]
}

fn azure(address: &str) -> Vec<String> {
    vec![
        "--backup-storage-implementation=azblob".to_owned(),
        format!("--azblob-backup-container-name={BUCKET}"),
        format!("--azblob-backup-account-name={AZURE_ACCOUNT}"),
        format!("--azblob-backup-endpoint=http://{address}/{AZURE_ACCOUNT}"),
    ]
}

fn written(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

const WRONG: &str = "[default]\naws_access_key_id = test\naws_secret_access_key = wrong\n";

#[rstest]
#[case::keys_come_before_a_file(&[("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "testsecret"),
    ("AWS_SHARED_CREDENTIALS_FILE", "{wrong}")], Some(0))]
#[case::a_file(&[("AWS_SHARED_CREDENTIALS_FILE", "{right}")], Some(0))]
#[case::a_file_of_the_home_folder(&[("HOME", "{home}")], Some(0))]
#[case::wrong_keys(&[("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "wrong")], Some(4))]
#[case::a_wrong_file(&[("AWS_SHARED_CREDENTIALS_FILE", "{wrong}")], Some(4))]
#[case::a_secret_without_any_of_its_keys(&[("AWS_SHARED_CREDENTIALS_FILE", "{missing}")], Some(4))]
#[case::a_profile_that_is_not_there(&[("AWS_SHARED_CREDENTIALS_FILE", "{right}"), ("AWS_PROFILE", "other")], Some(4))]
fn keys_for_s3_are_found_where_awss_own_programs_find_them(
    #[case] environment: &[(&str, &str)],
    #[case] code: Option<i32>,
) {
    let server = servers::shared(Program::Versitygw);
    let folder = TempDir::new().unwrap();
    let right = std::fs::read_to_string(server.credentials_file()).unwrap();
    std::fs::create_dir(folder.path().join(".aws")).unwrap();
    written(folder.path(), ".aws/credentials", &right);
    let places = [
        ("{right}", written(folder.path(), "right", &right)),
        ("{wrong}", written(folder.path(), "wrong", WRONG)),
        ("{missing}", folder.path().join("missing").to_str().unwrap().to_owned()),
        ("{home}", folder.path().to_str().unwrap().to_owned()),
    ];
    let place = |value: &str| {
        places.iter().find(|(name, _)| *name == value).map_or_else(|| value.to_owned(), |(_, path)| path.clone())
    };
    let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, place(value))).collect();
    let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let output = list(&s3(&server.address()), &environment);
    assert_eq!(output.status.code(), code, "{}", told(&output));
    for secret in ["testsecret", "wrong\n"] {
        assert!(!told(&output).contains(secret), "a message has a secret: {}", told(&output));
    }
}

#[test]
fn a_key_for_azure_is_taken_from_a_file_or_the_environment() {
    let server = servers::shared(Program::Azurite);
    let from_file = format!("--azblob-backup-account-key-file={}", server.account_key_file().display());
    let with_file = [azure(&server.address()), vec![from_file]].concat();
    for (flags, environment) in
        [(with_file, vec![]), (azure(&server.address()), vec![("VT_AZBLOB_ACCOUNT_KEY", AZURE_KEY)])]
    {
        let output = list(&flags, &environment);
        assert!(output.status.success(), "{}", told(&output));
    }
    let wrong = "Fby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
    let output = list(&azure(&server.address()), &[("VT_AZBLOB_ACCOUNT_KEY", wrong)]);
    assert_eq!(output.status.code(), Some(4), "{}", told(&output));
    assert!(told(&output).contains("denies"), "{}", told(&output));
}

/// What the endpoint of an identity was asked with: the Authorization header.
#[derive(Clone, Default)]
struct Endpoint {
    asked_with: Arc<Mutex<Vec<String>>>,
}

impl Endpoint {
    /// EKS Pod Identity, as its agent on each node answers.
    async fn start(&self) -> (String, AbortOnDropHandle<()>) {
        async fn answer(State(endpoint): State<Endpoint>, request: Request) -> &'static str {
            let token = request.headers().get(http::header::AUTHORIZATION).unwrap().to_str().unwrap();
            endpoint.asked_with.lock().unwrap().push(token.to_owned());
            r#"{"AccessKeyId": "test", "SecretAccessKey": "testsecret", "Token": "of-the-session",
                "Expiration": "2099-01-01T00:00:00Z"}"#
        }
        let listener = TcpListener::bind(("127.0.0.1", free_port())).await.unwrap();
        let url = format!("http://{}/v1/credentials", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(answer).with_state(self.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (url, AbortOnDropHandle::new(task))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_keys_the_pods_identity_is_taken() {
    static TOKENS: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let server = servers::shared(Program::S3s);
    let watched = Proxy::watching(
        &server.address(),
        |_| Fault::None,
        Ends::Closed,
        |request| {
            let token = request.headers.get("x-amz-security-token").map(|token| token.to_str().unwrap().to_owned());
            TOKENS.lock().unwrap().extend(token);
        },
    )
    .await;
    let endpoint = Endpoint::default();
    let (url, _task) = endpoint.start().await;
    let folder = TempDir::new().unwrap();
    let token = written(folder.path(), "token", "of-the-service-account");
    let environment =
        [("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()), ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token)];
    let output = tokio::task::block_in_place(|| list(&s3(&watched.address), &environment));
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(*endpoint.asked_with.lock().unwrap(), ["of-the-service-account"]);
    let seen = TOKENS.lock().unwrap().clone();
    assert!(!seen.is_empty() && seen.iter().all(|token| token == "of-the-session"), "{seen:?}");
}

/// The host's name leads to our proxy, as a name in the DNS would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_is_named_in_the_host_or_in_the_path() {
    static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let server = Server::start_with_domain("s3.test");
    let watched = Proxy::watching(
        &server.address(),
        |_| Fault::None,
        Ends::Closed,
        |request| {
            let host = request.headers[http::header::HOST].to_str().unwrap();
            SEEN.lock().unwrap().push(format!("{host}{}", request.uri.path()));
        },
    )
    .await;
    let (proxy, file) = (format!("http://{}", watched.address), server.credentials_file());
    let environment = [("HTTP_PROXY", proxy.as_str()), ("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap())];
    let path_style = vec!["--s3-backup-force-path-style".to_owned()];
    for (more, expected) in [(vec![], format!("{BUCKET}.s3.test/")), (path_style, format!("s3.test/{BUCKET}"))] {
        SEEN.lock().unwrap().clear();
        let output = tokio::task::block_in_place(|| list(&[s3("s3.test"), more].concat(), &environment));
        assert!(output.status.success(), "{}", told(&output));
        let seen = SEEN.lock().unwrap().clone();
        assert!(!seen.is_empty() && seen.iter().all(|asked| *asked == expected), "{seen:?}, not {expected}");
    }
}
