//! Real storage servers, built when they are missing, started by the tests and gone with them.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use http::{Method, Request, header};
use object_store::ClientOptions;
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential};
use object_store::client::{HttpConnector, HttpRequestBody, ReqwestConnector};
use tempfile::TempDir;

use crate::support::mysql::free_port;
use vitess_backup::storage::{
    AzblobLocation, BackupStorage, CephLocation, GcsLocation, Location, Network, S3Location, parts,
};

pub const BUCKET: &str = "vitess-backups";
pub const AZURE_ACCOUNT: &str = "devstoreaccount1";
/// The one that Azurite is documented to have.
pub const AZURE_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The programs of `tests/e2e/ground/storage/start.sh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Versitygw,
    S3s,
    Azurite,
    FakeGcs,
    /// For GCS: s3s-fs without keys. What Google's XML API and S3 have in common is all that storing takes, and
    /// fake-gcs-server lacks it.
    S3sAnonymous,
    /// For Ceph: the real one. It takes half a minute to start.
    Radosgw,
}

/// A server with one empty bucket or container.
pub struct Server {
    pub program: Program,
    pub port: u16,
    directory: TempDir,
    child: Mutex<Child>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// The one server of this kind that the tests of this process share.
pub fn shared(program: Program) -> &'static Server {
    static SERVERS: [OnceLock<Server>; 6] = [const { OnceLock::new() }; 6];
    SERVERS[program as usize].get_or_init(|| Server::start(program))
}

impl Server {
    /// # Panics
    /// When the server cannot be had, or does not answer in time.
    pub fn start(program: Program) -> Self {
        Self::start_with(program, |_| Vec::new())
    }

    /// S3 over TLS, with a certificate for 127.0.0.1 of an authority of its own: [`Self::authority`].
    pub fn start_with_certificate() -> Self {
        Self::start_with(Program::Versitygw, |directory| {
            let made = Command::new(script("certificates.sh")).arg(directory).status().unwrap();
            assert!(made.success(), "certificates could not be made");
            vec![directory.to_owned()]
        })
    }

    /// S3 with buckets in the host's name, as in `<bucket>.s3.test`.
    pub fn start_with_domain(domain: &str) -> Self {
        Self::start_with(Program::S3s, |_| vec![domain.into()])
    }

    fn start_with(program: Program, arguments: impl FnOnce(&Path) -> Vec<PathBuf>) -> Self {
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("credentials"), CREDENTIALS).unwrap();
        std::fs::write(directory.path().join("azure-key"), format!("{AZURE_KEY}\n")).unwrap();
        let data = directory.path().join("data");
        if matches!(program, Program::Versitygw | Program::S3s | Program::S3sAnonymous) {
            std::fs::create_dir_all(data.join(BUCKET)).unwrap();
        }
        build(program);
        let port = free_port();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(script("start.sh")).arg(program.name());
        command.arg(&data).arg(port.to_string()).args(arguments(directory.path()));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = spawn_for_good(command);
        let server = Self { program, port, directory, child: Mutex::new(child) };
        server.wait();
        server
    }

    fn wait(&self) {
        let patience = if self.program == Program::Radosgw { 300 } else { 60 };
        let deadline = Instant::now() + Duration::from_secs(patience);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.child.lock().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "{:?} ended at once: {ended:?}", self.program);
            assert!(Instant::now() < deadline, "{:?} does not listen on port {}", self.program, self.port);
            std::thread::sleep(Duration::from_millis(20));
        }
        match self.program {
            Program::Azurite => self.make_container(),
            Program::FakeGcs => self.make_bucket(),
            Program::Versitygw | Program::S3s | Program::S3sAnonymous | Program::Radosgw => {}
        }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn make_container(&self) {
        let url = format!("http://{}/{AZURE_ACCOUNT}/{BUCKET}?restype=container", self.address());
        Self::send_to_azure(request(Method::PUT, &url, HttpRequestBody::empty()), 0);
    }

    fn make_bucket(&self) {
        let url = format!("http://{}/storage/v1/b?project=test", self.address());
        let mut request = request(Method::POST, &url, format!("{{\"name\":\"{BUCKET}\"}}").into());
        request.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        send(request);
    }

    /// Puts an object into the bucket by other means than ours: into the GCS server's as Google's own library does. The name
    /// may be any.
    pub fn upload_as_others(&self, name: &str, body: &'static str) {
        let address = self.address();
        let encoded = |kept: &[u8]| -> String {
            let byte =
                |byte: u8| if kept.contains(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
            name.bytes()
                .map(|one| if one.is_ascii_alphanumeric() { char::from(one).to_string() } else { byte(one) })
                .collect()
        };
        match self.program {
            Program::Azurite => {
                let url = format!("http://{address}/{AZURE_ACCOUNT}/{BUCKET}/{}", encoded(b"-_"));
                let mut request = request(Method::PUT, &url, body.to_owned().into());
                request.headers_mut().insert("x-ms-blob-type", "BlockBlob".parse().unwrap());
                Self::send_to_azure(request, body.len());
            }
            Program::FakeGcs => {
                let name = encoded(b"-_");
                let url = format!("http://{address}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={name}");
                send(request(Method::POST, &url, body.to_owned().into()));
            }
            other => panic!("{other:?} has no API but the one that we speak"),
        }
    }

    fn send_to_azure(mut request: Request<HttpRequestBody>, length: usize) {
        request.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        let credential = AzureCredential::AccessKey(AzureAccessKey::try_new(AZURE_KEY).unwrap());
        AzureAuthorizer::new(&credential, AZURE_ACCOUNT).try_authorize(&mut request).unwrap();
        send(request);
    }

    pub fn credentials_file(&self) -> PathBuf {
        self.directory.path().join("credentials")
    }

    pub fn account_key_file(&self) -> PathBuf {
        self.directory.path().join("azure-key")
    }

    /// Its bucket below `root`, reached by `address`: the server's own, or that of a proxy before it.
    pub fn location_at(&self, address: &str, root: &str, network: Network) -> Location {
        let root = root.to_owned();
        match self.program {
            Program::Versitygw | Program::S3s | Program::Radosgw => Location::S3(S3Location {
                bucket: BUCKET.to_owned(),
                region: "us-east-1".to_owned(),
                endpoint: Some(if address.contains("://") { address.to_owned() } else { format!("http://{address}") }),
                root,
                force_path_style: true,
                server_side_encryption: None,
                min_part_size: parts::SMALLEST_PART,
                credentials_file: Some(self.credentials_file()),
                network,
            }),
            Program::Azurite => Location::Azblob(AzblobLocation {
                account: Some(AZURE_ACCOUNT.to_owned()),
                account_key_file: Some(self.account_key_file()),
                container: BUCKET.to_owned(),
                root,
                endpoint: Some(format!("http://{address}/{AZURE_ACCOUNT}")),
                buffer_size: None,
                parallelism: None,
                network,
            }),
            Program::FakeGcs | Program::S3sAnonymous => Location::Gcs(GcsLocation {
                bucket: BUCKET.to_owned(),
                root,
                endpoint: Some(format!("http://{address}")),
                network,
            }),
        }
    }

    pub fn location(&self, root: &str) -> Location {
        self.location_at(&self.address(), root, Network::default())
    }

    pub fn storage(&self, root: &str) -> BackupStorage {
        BackupStorage::open(&self.location(root)).unwrap()
    }

    /// As Ceph: its own configuration file, buckets made as they are needed.
    pub fn as_ceph(&self) -> BackupStorage {
        BackupStorage::open(&Location::Ceph(self.ceph_location("test", false, Network::default()))).unwrap()
    }

    pub fn ceph_location(&self, access_key: &str, tls: bool, network: Network) -> CephLocation {
        self.ceph_location_at(&self.address(), access_key, tls, network)
    }

    pub fn ceph_location_at(&self, address: &str, access_key: &str, tls: bool, network: Network) -> CephLocation {
        let config = self.directory.path().join(format!("{access_key}-{tls}.json"));
        let text = format!(
            r#"{{"accessKey": "{access_key}", "secretKey": "testsecret", "endPoint": "{address}", "useSSL": {tls}}}"#
        );
        std::fs::write(&config, text).unwrap();
        CephLocation { config, network }
    }

    /// A user of the gateway that has no buckets yet, and whose buckets no other user sees: its access key.
    pub fn new_user_of_the_gateway(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("user{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let made = Command::new(script("radosgw.sh")).arg("user").arg(self.data()).arg(&name).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        name
    }

    /// The certificate of the authority that signed the server's.
    pub fn authority(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    /// What lies in its folder, for servers that keep buckets as folders.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Versitygw => "versitygw",
            Self::S3s => "s3s-fs",
            Self::Azurite => "azurite",
            Self::FakeGcs => "fake-gcs-server",
            Self::S3sAnonymous => "s3s-fs-anonymous",
            Self::Radosgw => "radosgw",
        }
    }
}

const CREDENTIALS: &str = "[default]\naws_access_key_id = test\naws_secret_access_key = testsecret\n";

/// A root that no other test has.
pub fn fresh_root() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("some/root-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn request(method: Method, url: &str, body: HttpRequestBody) -> Request<HttpRequestBody> {
    Request::builder().method(method).uri(url).body(body).unwrap()
}

/// On a thread of its own: the tests that call this are on a runtime, or on none.
fn send(request: Request<HttpRequestBody>) {
    let sent = std::thread::spawn(move || {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = ReqwestConnector::default().connect(&ClientOptions::new().with_allow_http(true)).unwrap();
            let response = client.execute(request).await.unwrap();
            let (status, body) = (response.status(), response.into_body().bytes().await.unwrap());
            assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
        });
    });
    sent.join().unwrap();
}

/// So that what is missing is built before the time runs; progress goes to our stderr.
fn build(program: Program) {
    let built = Command::new(script("build.sh")).arg(program.name()).stdout(Stdio::null()).status().unwrap();
    assert!(built.success(), "{} could not be had", program.name());
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/ground/storage").join(name)
}

/// A child that ends with this process, however that ends. What it ends with is in truth the thread that started it, and a
/// test's thread is gone with the test; so there is one that stays.
fn spawn_for_good(command: Command) -> Child {
    type Job = (Command, mpsc::Sender<Child>);
    static STARTER: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (jobs, work) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in work {
                answer.send(command.spawn().unwrap()).unwrap();
            }
        });
        Mutex::new(jobs)
    });
    let (answer, child) = mpsc::channel();
    starter.lock().unwrap().send((command, answer)).unwrap();
    child.recv().unwrap()
}
