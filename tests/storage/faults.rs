//! What storage does on a bad day, between us and a real server: what can be survived is, and the rest is named.

use std::process::Output;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use bytes::Bytes;
use crc32fast::Hasher;
use futures::{StreamExt, TryStreamExt, stream};
use http::Method;
use rstest::rstest;
use tempfile::TempDir;

use vitess_backup::backup::failure::Reason;
use vitess_backup::engine::builtin::{self, VerifyOptions};
use vitess_backup::progress::Quiet;
use vitess_backup::storage::{BackupStorage, Location, Network, PutError, Removed, StorageError};

use crate::proxy::{Asked, Ends, Fault, Faults, Link, Proxy};
use crate::servers::{self, BUCKET, Program, Server};
use crate::support::matrix;
use crate::tables::{FAULTS, SERVICES, SURVIVED};
use crate::{NAME, shard, support};

/// A minute's patience in a second's.
fn hasty() -> Network {
    Network {
        retries: 5,
        longest_pause: Duration::from_millis(100),
        stall: Duration::from_secs(3),
        ..Network::default()
    }
}

fn body(total: usize) -> Vec<u8> {
    (0..total).map(|at| u8::try_from((at * 7 + at / 251) % 251).unwrap()).collect()
}

fn chunks(whole: &[u8]) -> impl futures::Stream<Item = Result<Bytes, &'static str>> {
    stream::iter(whole.chunks(1 << 20).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect::<Vec<_>>())
}

fn of_storage(error: PutError<&'static str>) -> StorageError {
    match error {
        PutError::Storage(error) => error,
        PutError::Body(body) => panic!("the body is well: {body}"),
    }
}

/// When the same request comes again, all is well.
fn once(asked: &Asked<'_>, fault: Fault) -> Fault {
    if asked.times == 0 { fault } else { Fault::None }
}

/// The rest of a range that broke off comes whole.
fn on_ranges(asked: &Asked<'_>, fault: Fault) -> Fault {
    if asked.is_whole_range() { fault } else { Fault::None }
}

fn on_reads(asked: &Asked<'_>, fault: Fault) -> Fault {
    if asked.begin.is_some() { fault } else { Fault::None }
}

/// The faults to try on a service: with each a third of the table, so that `make test` tries each fault once, and with
/// `VBO_MATRIX=whole` (`make test-all`) all of it.
fn drawn(service: &str) -> Vec<(&'static str, &'static str)> {
    static SEED: LazyLock<u64> = LazyLock::new(matrix::seed);
    let place = SERVICES.iter().position(|one| *one == service).unwrap();
    let is_drawn = |at: usize| matrix::is_whole() || (at as u64 + *SEED % 3) % 3 == place as u64;
    FAULTS.into_iter().enumerate().filter(|(at, _)| is_drawn(*at)).map(|(_, fault)| fault).collect()
}

/// Faults of the table on one service, several at a time; each has a proxy and a root of its own.
#[rstest]
#[case::s3(SERVICES[0], Program::Versitygw)]
#[case::azure(SERVICES[1], Program::Azurite)]
#[case::gcs(SERVICES[2], Program::S3sAnonymous)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_day_ends_as_the_table_says(#[case] service: &str, #[case] program: Program) {
    servers::shared(program);
    let drawn = drawn(service);
    assert!(drawn.len() >= FAULTS.len() / SERVICES.len(), "{drawn:?}");
    let ends = stream::iter(&drawn).map(|(what, _)| async move { (*what, end_of(program, what).await) });
    let ends: Vec<(&str, String)> = ends.buffered(4).collect().await;
    let expected: Vec<(&str, String)> = drawn.iter().map(|(what, end)| (*what, (*end).to_owned())).collect();
    assert_eq!(ends, expected, "{service}");
}

async fn end_of(program: Program, what: &str) -> String {
    let ended = match what {
        "nobody listens" => each_fails(&at(program, "127.0.0.1:9", hasty())).await,
        "the object is replaced while it is read" => replaced_while_it_is_read(program).await,
        "the bucket or container does not exist" => no_bucket(program).await,
        "an object was cut short, or a bit of it flipped, while it was stored" => damaged(program).await,
        what if what.starts_with("every request") || what.starts_with("no request") => {
            nothing_works(program, faults_of(what).0).await
        }
        // Slow is not stalled, however busy the machine.
        what if what.contains("slowly") => day(program, faults_of(what), Network::default()).await,
        what => day(program, faults_of(what), hasty()).await,
    };
    ended.map_or_else(|reason| format!("{reason:?}"), |()| SURVIVED.to_owned())
}

fn faults_of(what: &str) -> (Faults, Ends) {
    let faults: Faults = match what {
        "each request meets a server error (500) once" => |asked| once(asked, Fault::Status(500)),
        "each request finds the service unavailable (503) once" => |asked| once(asked, Fault::Status(503)),
        "each request is throttled (429) once" => |asked| once(asked, Fault::Status(429)),
        "one request in five is never answered" => never_answers_one_in_five,
        "the answer to each request that stores or removes something is lost once" => loses_answers_to_changes,
        "the body of each range stops in the middle, and nothing more comes" => {
            |asked| on_ranges(asked, Fault::StallAfter(1_000_000))
        }
        "the connection ends in the middle of each range" | "the connection is reset in the middle of each range" => {
            |asked| on_ranges(asked, Fault::BreakAfter(1_000_000))
        }
        "each body is shorter than what was asked for" => |asked| on_reads(asked, Fault::CutTo(1_000_000)),
        "every body comes slowly" => |_| Fault::Slow,
        "every request finds the service unavailable (503)" => |_| Fault::Status(503),
        "no request is answered" => |_| Fault::Stall,
        "every request is refused (403)" => |_| Fault::Status(403),
        "every request lacks credentials (401)" => |_| Fault::Status(401),
        "every body breaks off at once" => |asked| on_reads(asked, Fault::BreakAfter(0)),
        "every body is empty" => |asked| on_reads(asked, Fault::CutTo(0)),
        "the right to read is taken away in the middle (403)" => denies_later_ranges,
        "the right to store is taken away in the middle (403)" => denies_later_changes,
        what => panic!("the table has {what:?}, which nobody tries"),
    };
    (faults, if what.contains("is reset") { Ends::Reset } else { Ends::Closed })
}

fn loses_answers_to_changes(asked: &Asked<'_>) -> Fault {
    if matches!(*asked.method, Method::GET | Method::HEAD) { Fault::None } else { once(asked, Fault::Lose) }
}

fn denies_later_ranges(asked: &Asked<'_>) -> Fault {
    if asked.begin.is_some_and(|begin| begin >= 8 << 20) { Fault::Status(403) } else { Fault::None }
}

fn denies_later_changes(asked: &Asked<'_>) -> Fault {
    if asked.number >= 4 && *asked.method == Method::PUT { Fault::Status(403) } else { Fault::None }
}

fn never_answers_one_in_five(asked: &Asked<'_>) -> Fault {
    if asked.number % 5 == 1 { once(asked, Fault::Stall) } else { Fault::None }
}

async fn proxied(program: Program, faults: Faults, ends: Ends, network: Network) -> (Proxy, BackupStorage) {
    let proxy = Proxy::before(&servers::shared(program).address(), faults, ends).await;
    let storage = at(program, &proxy.address, network);
    (proxy, storage)
}

fn at(program: Program, address: &str, network: Network) -> BackupStorage {
    BackupStorage::open(&servers::shared(program).location_at(address, &servers::fresh_root(), network)).unwrap()
}

/// Without a proxy, where nothing is to fail, however busy the machine.
fn at_ease(program: Program) -> BackupStorage {
    at(program, &servers::shared(program).address(), Network::default())
}

async fn no_bucket(program: Program) -> Result<(), Reason> {
    let storage = without_bucket(program);
    // s3s-fs makes a bucket of which it is told to store something.
    if program != Program::S3sAnonymous {
        return each_fails(&storage).await;
    }
    let reason = |error: StorageError| error.failure().reason;
    let begun = storage.begin_backup(&shard(), NAME).await.map(|_| ()).map_err(reason);
    assert_eq!(storage.list_backups(&shard()).await.map(|_| ()).map_err(reason), begun);
    begun
}

fn without_bucket(program: Program) -> BackupStorage {
    let server = servers::shared(program);
    let mut location = server.location_at(&server.address(), "", hasty());
    let bucket = match &mut location {
        Location::S3(s3) => &mut s3.bucket,
        Location::Azblob(azblob) => &mut azblob.container,
        Location::Gcs(gcs) => &mut gcs.bucket,
        other => panic!("{other:?}"),
    };
    "no-such-bucket".clone_into(bucket);
    BackupStorage::open(&location).unwrap()
}

/// What a backup, a restore and a removal do with storage.
async fn day(program: Program, (faults, ends): (Faults, Ends), network: Network) -> Result<(), Reason> {
    let (proxy, storage) = proxied(program, faults, ends, network).await;
    let done = stored_read_and_removed(&storage).await;
    assert!(proxy.requests.load(Ordering::Relaxed) > 3, "all of it went through the proxy");
    done.map_err(|error| error.failure().reason)
}

async fn stored_read_and_removed(storage: &BackupStorage) -> Result<(), StorageError> {
    let whole = body(20 << 20);
    let backup = storage.begin_backup(&shard(), NAME).await?;
    assert_eq!(backup.put_stream("0", chunks(&whole)).await.map_err(of_storage)?, whole.len() as u64);
    backup.put("MANIFEST", Bytes::from_static(b"{}")).await?;
    let (size, read) = backup.get_stream("0").await?;
    assert_eq!(size, whole.len() as u64);
    assert!(read.try_collect::<Vec<_>>().await?.concat() == whole, "the bytes differ");
    assert_eq!(storage.list_backups(&shard()).await?, [NAME]);
    assert_eq!(backup.remove().await?, Removed { objects: 2, bytes: whole.len() as u64 + 2 });
    assert_eq!(storage.list_backups(&shard()).await?, [""; 0]);
    Ok(())
}

#[rstest]
#[case::s3(Program::Versitygw)]
#[case::azure(Program::Azurite)]
#[case::gcs(Program::S3sAnonymous)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_before_a_connection_ended_is_not_read_again(#[case] program: Program) {
    let (faults, ends) = faults_of("the connection ends in the middle of each range");
    let (proxy, storage) = proxied(program, faults, ends, hasty()).await;
    let whole = body(20 << 20);
    let backup = storage.begin_backup(&shard(), NAME).await.unwrap();
    backup.put_stream("0", chunks(&whole)).await.unwrap();
    let (requests, passed_on) = (proxy.requests.load(Ordering::Relaxed), proxy.passed_on.load(Ordering::Relaxed));
    let (_, read) = backup.get_stream("0").await.unwrap();
    assert!(read.try_collect::<Vec<_>>().await.unwrap().concat() == whole, "the bytes differ");
    let requests = proxy.requests.load(Ordering::Relaxed) - requests;
    let passed_on = proxy.passed_on.load(Ordering::Relaxed) - passed_on;
    assert!(requests >= 2 * 5, "each of 5 ranges broke off: {requests}");
    assert!((whole.len()..whole.len() / 2 * 3).contains(&passed_on), "{passed_on} bytes of {}", whole.len());
}

/// Of the parts under way only the one that failed is sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_that_are_stored_are_not_stored_again_when_others_fail() {
    let one_in_five: Faults = |asked| if asked.number % 5 == 1 { once(asked, Fault::Status(503)) } else { Fault::None };
    let (proxy, storage) = proxied(Program::Versitygw, one_in_five, Ends::Closed, hasty()).await;
    let whole = body(40 << 20);
    let backup = storage.begin_backup(&shard(), NAME).await.unwrap();
    backup.put_stream("0", chunks(&whole)).await.unwrap();
    let taken = proxy.taken.load(Ordering::Relaxed);
    assert!(taken >= whole.len() + (8 << 20), "a part was to fail: {taken} bytes of {}", whole.len());
    assert!(taken < whole.len() / 2 * 3, "{taken} bytes of {}", whole.len());
}

async fn nothing_works(program: Program, faults: Faults) -> Result<(), Reason> {
    let (_proxy, storage) = proxied(program, faults, Ends::Closed, hasty()).await;
    each_fails(&storage).await
}

/// Whatever is asked of the storage, it fails for one reason.
async fn each_fails(storage: &BackupStorage) -> Result<(), Reason> {
    let backup = storage.backup(&shard(), NAME).unwrap();
    let long = body(9 << 20);
    let reason = |error: StorageError| error.failure().reason;
    let reasons = tokio::join!(
        async { storage.list_backups(&shard()).await.map(|_| ()).map_err(reason) },
        async { storage.begin_backup(&shard(), NAME).await.map(|_| ()).map_err(reason) },
        async { backup.get_stream("0").await.map(|_| ()).map_err(reason) },
        async { backup.put("0", Bytes::new()).await.map_err(reason) },
        async { backup.put_stream("0", chunks(&long)).await.map(|_| ()).map_err(|error| reason(of_storage(error))) },
        async { backup.remove().await.map(|_| ()).map_err(reason) },
    );
    let reasons: [Result<(), Reason>; 6] = reasons.into();
    assert!(reasons.iter().all(|other| *other == reasons[0]), "{storage}: {reasons:?}");
    reasons[0]
}

async fn replaced_while_it_is_read(program: Program) -> Result<(), Reason> {
    let storage = at_ease(program);
    let backup = storage.backup(&shard(), NAME).unwrap();
    // Longer than what is read ahead.
    backup.put_stream("0", chunks(&body(44 << 20))).await.unwrap();
    let (_, mut read) = backup.get_stream("0").await.unwrap();
    read.next().await.unwrap().unwrap();
    backup.put_stream("0", chunks(&body(20 << 20))).await.unwrap();
    read.try_collect::<Vec<_>>().await.map(|_| ()).map_err(|error| error.failure().reason)
}

/// A backup of Vitess's, of which the storage gives one object back otherwise than it was.
async fn damaged(program: Program) -> Result<(), Reason> {
    let storage = at_ease(program);
    let shard = "commerce/0".parse().unwrap();
    let backup = storage.backup(&shard, VITESS_BACKUP).unwrap();
    let folder = TempDir::new().unwrap();
    support::unpack_fixture("zstd.tar.zst", folder.path());
    let objects = std::fs::read_dir(folder.path().join("commerce/0").join(VITESS_BACKUP)).unwrap();
    let objects: Vec<_> = objects.map(|entry| entry.unwrap().path()).collect();
    let put = |path: &std::path::PathBuf| {
        let (name, bytes) = (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(path).unwrap());
        let backup = backup.clone();
        async move { backup.put(&name, bytes.into()).await.unwrap() }
    };
    stream::iter(objects.iter().map(put)).buffer_unordered(8).collect::<Vec<()>>().await;
    let verify = async || {
        let verified = builtin::verify(&storage, &shard, VITESS_BACKUP, &VerifyOptions::default(), &Quiet).await;
        verified.map(|_| ()).map_err(|error| error.failure().reason)
    };
    assert_eq!(verify().await, Ok(()), "it is whole");
    let whole = backup.get("3", 1 << 30).await.unwrap();
    let mut flipped = whole.to_vec();
    flipped[whole.len() / 2] ^= 1;
    backup.put("3", flipped.into()).await.unwrap();
    let first = verify().await;
    backup.put("3", whole.slice(..whole.len() - 1)).await.unwrap();
    assert_eq!(verify().await, first);
    first
}

/// `object_store` makes no buckets, and so tries none of it again.
#[tokio::test]
async fn the_bucket_of_a_keyspace_is_made_although_the_gateway_is_in_trouble_at_first() {
    let server = Server::start(Program::Versitygw);
    let proxy = Proxy::before(&server.address(), |asked| once(asked, Fault::Status(503)), Ends::Closed).await;
    let location = server.ceph_location_at(&proxy.address, "test", false, hasty());
    let storage = BackupStorage::open(&Location::Ceph(location)).unwrap();
    storage.begin_backup(&shard(), NAME).await.unwrap().put("0", Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(storage.list_backups(&shard()).await.unwrap(), [NAME]);
}

#[tokio::test]
async fn an_error_says_what_the_connection_met() {
    let nobody = servers::shared(Program::Versitygw).location_at("127.0.0.1:9", "", hasty());
    let error = BackupStorage::open(&nobody).unwrap().list_backups(&shard()).await.unwrap_err();
    assert_eq!(error.failure().reason, Reason::StorageUnreachable);
    assert!(error.to_string().contains("Connection refused"), "{error}");
    let nowhere = servers::shared(Program::Versitygw).location_at("nowhere.invalid:9", "", hasty());
    let error = BackupStorage::open(&nowhere).unwrap().list_backups(&shard()).await.unwrap_err();
    assert_eq!(error.failure().reason, Reason::StorageUnreachable);
    assert!(error.to_string().contains("failed to lookup address information"), "{error}");
}

/// Where the window lets one connection have 25 MB/s. The figure of `docs/storage.md` is of the whole size, which
/// `VBO_MATRIX=whole` takes (or `VBO_LINK_MB=1024`): a machine that is busy with other tests says nothing about speed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_distance_ranges_side_by_side_are_four_times_one_stream() {
    let asked: Option<usize> = std::env::var("VBO_LINK_MB").ok().map(|text| text.parse().unwrap());
    let measured = asked.or_else(|| support::matrix::is_whole().then_some(1024));
    let megabytes = measured.unwrap_or(48);
    let server = Server::start(Program::Versitygw);
    let near = server.storage("link");
    let part = Bytes::from(body(1 << 20));
    let parts = || {
        let part = part.clone();
        (0..megabytes)
            .map(move |at| part.slice(at % 1009..).iter().chain(&part[..at % 1009]).copied().collect::<Bytes>())
    };
    let stored = parts().fold(Hasher::new(), |so_far, chunk| hashed(so_far, &chunk)).finalize();
    near.backup(&shard(), NAME).unwrap().put_stream("0", stream::iter(parts().map(Ok::<_, &str>))).await.unwrap();

    let link = Link::before(&server.address(), Duration::from_millis(20), 512 << 10).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let signed = signed_url(&server, &link.address, &format!("link/commerce/-80/{NAME}/0")).await;
    let begun = Instant::now();
    let mut answer = client.get(signed).send().await.unwrap().error_for_status().unwrap();
    let mut alone = Hasher::new();
    while let Some(chunk) = answer.chunk().await.unwrap() {
        alone.update(&chunk);
    }
    let one_stream = begun.elapsed();

    let far = BackupStorage::open(&server.location_at(&link.address, "link", Network::default())).unwrap();
    let begun = Instant::now();
    let (size, read) = far.backup(&shard(), NAME).unwrap().get_stream("0").await.unwrap();
    let read =
        read.try_fold(Hasher::new(), |so_far, chunk| std::future::ready(Ok(hashed(so_far, &chunk)))).await.unwrap();
    let ranges = begun.elapsed();
    assert_eq!((size, read.finalize(), alone.finalize()), ((megabytes as u64) << 20, stored, stored));
    println!("{megabytes} MiB over 20 ms: one stream {one_stream:.2?}, ranges {ranges:.2?}");
    assert!(measured.is_none() || one_stream >= ranges * 4, "one stream {one_stream:?}, ranges {ranges:?}");
}

fn hashed(mut so_far: Hasher, chunk: &[u8]) -> Hasher {
    so_far.update(chunk);
    so_far
}

async fn signed_url(server: &Server, address: &str, key: &str) -> String {
    use object_store::signer::Signer;
    let store = object_store::aws::AmazonS3Builder::new()
        .with_bucket_name(BUCKET)
        .with_endpoint(format!("http://{address}"))
        .with_access_key_id("test")
        .with_secret_access_key("testsecret")
        .build()
        .unwrap();
    let path = object_store::path::Path::parse(key).unwrap();
    assert!(server.data().is_dir());
    store.signed_url(Method::GET, &path, Duration::from_secs(600)).await.unwrap().to_string()
}

const VITESS_BACKUP: &str = "2026-11-22.152700.zone1-0000000101";

/// A backup that Vitess made, in the server's bucket, as Vitess's S3 plugin would have put it there.
fn stored_by_vitess() -> Server {
    let server = Server::start(Program::Versitygw);
    support::unpack_fixture("zstd.tar.zst", &server.data().join(BUCKET).join("root"));
    server
}

fn vitess_backup(server: &Server, address: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitess-backup"));
    let endpoint = format!("--s3_backup_aws_endpoint=http://{address}");
    let storage = ["--backup_storage_implementation=s3", "--s3_backup_storage_bucket=vitess-backups"];
    command.arg(arguments[0]).args(storage).args(["--s3_backup_storage_root=root", "--s3_backup_force_path_style"]);
    command.arg(endpoint).args(&arguments[1..]).env("AWS_SHARED_CREDENTIALS_FILE", server.credentials_file());
    command.output().unwrap()
}

#[rstest]
#[case::nothing_wrong(|_: &Asked<'_>| Fault::None, 0, "")]
#[case::unavailable(|asked: &Asked<'_>| once(asked, Fault::Status(503)), 0, "")]
#[case::bodies_cut_short(|asked: &Asked<'_>| on_ranges(asked, Fault::BreakAfter(2_000)), 0, "")]
#[case::denied_in_the_middle(|asked: &Asked<'_>| if asked.number > 20 { Fault::Status(403) } else { Fault::None }, 4, "denies it")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_of_vitesss_own_backup_over_s3(#[case] faults: Faults, #[case] code: i32, #[case] says: &str) {
    let server = stored_by_vitess();
    let proxy = Proxy::before(&server.address(), faults, Ends::Closed).await;
    let target = TempDir::new().unwrap();
    let tablet_dir = target.path().join("vt_0000000101");
    let directory = format!("--tablet-dir={}", tablet_dir.display());
    let restore = ["restore", "--keyspace=commerce", "--shard=0", &directory, "--mysqld=stopped"];
    let output = tokio::task::block_in_place(|| vitess_backup(&server, &proxy.address, &restore));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{told}");
    assert!(told.contains(says), "{told}");
    assert!(code != 0 || tablet_dir.join("data/mysql.ibd").is_file());
}
