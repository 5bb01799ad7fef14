//! `--memory-limit`: what the real engine holds at its peak, for every codec, whatever the concurrency, many files and a
//! large one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's own functions may fail the test")]

mod engine_support;
mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use engine_support::process::command;
use support::mysql::{Tablet, own};

const MIB: u64 = 1 << 20;
const LIMIT: u64 = 96 * MIB;
const LARGE: u64 = 256 * MIB;
const SMALL: u64 = 3 * MIB;
const HOW_MANY: u64 = 64;
/// Of --ionice best-effort:6, in ionice(1)'s words.
const IO_PRIORITY: &str = "best-effort: prio 6";

/// Half noise, half zeros.
fn write_file(path: &Path, size: u64, seed: u64) {
    let mut state = seed;
    let noise: Vec<u8> = (0..MIB / 16)
        .flat_map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()
        })
        .collect();
    let zeros = vec![0; noise.len()];
    let mut file = std::fs::File::create(path).unwrap();
    for _ in 0..size / MIB {
        file.write_all(&noise).unwrap();
        file.write_all(&zeros).unwrap();
    }
}

/// What a run was seen to be.
struct Seen {
    /// The most bytes that it had in memory.
    peak: u64,
    /// The nicenesses of all threads that it ever had, the main one first: each as it was last seen, for one that is just
    /// being started has still that of the thread which starts it.
    nice: Vec<i64>,
    /// What ionice(1) said last of a thread that is not the main one.
    io: Option<String>,
    log: String,
}

fn observe(arguments: &str) -> Seen {
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut child = command(&format!("{arguments} --memory-limit 96MiB --nice 5 --ionice best-effort:6"))
        .stdout(Stdio::null())
        .stderr(log.reopen().unwrap())
        .spawn()
        .unwrap();
    let (mut peak, mut nice, mut io) = (0, BTreeMap::new(), None);
    let process = Path::new("/proc").join(child.id().to_string());
    let status = loop {
        if let Ok(text) = std::fs::read_to_string(process.join("status"))
            && let Some(line) = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))
        {
            peak = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024;
        }
        let threads = niceness(&process);
        // As with nicenesses: until it has begun, a thread has that of the one which starts it.
        if io.as_deref() != Some(IO_PRIORITY)
            && let Some((thread, _)) = threads.iter().find(|(thread, _)| *thread != child.id())
        {
            io = io_priority(*thread).or(io);
        }
        nice.extend(threads);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let log = std::fs::read_to_string(log.path()).unwrap();
    assert!(status.success(), "{arguments}:\n{log}");
    let main = nice.remove(&child.id()).expect("the main thread was seen");
    Seen { peak, nice: [main].into_iter().chain(nice.into_values()).collect(), io, log }
}

/// What ionice(1) says of a thread; none when that is gone.
fn io_priority(thread: u32) -> Option<String> {
    let output = std::process::Command::new("ionice").args(["-p", &thread.to_string()]).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

/// Of each thread that a process has now, by its number.
fn niceness(process: &Path) -> Vec<(u32, i64)> {
    let Ok(threads) = process.join("task").read_dir() else { return Vec::new() };
    let ids = threads.flatten().map(|thread| thread.file_name().to_str().unwrap().parse().unwrap());
    ids.filter_map(|id: u32| {
        let stat = std::fs::read_to_string(process.join(format!("task/{id}/stat"))).ok()?;
        // The 19th field; those after the name begin with the 3rd.
        Some((id, stat.rsplit_once(") ").unwrap().1.split(' ').nth(16).unwrap().parse().unwrap()))
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_keeps_within_its_memory_limit_whatever_the_codec_and_the_concurrency() {
    let mut tablet = Tablet::at_rest(101).await;
    let data = tablet.layout().datadir;
    for name in ["vt_large", "vt_small"] {
        std::fs::create_dir(data.join(name)).unwrap();
    }
    write_file(&data.join("vt_large/large.MYD"), LARGE, 1);
    for number in 0..HOW_MANY {
        write_file(&data.join(format!("vt_small/{number}.MYD")), SMALL, number + 2);
    }
    own(&data);
    tablet.start_container().await;
    let backups = engine_support::open_directory();
    let storage =
        format!("--backup-storage-implementation file --file-backup-storage-root {}", backups.path().display());
    for codec in ["zstd", "lz4", "pargzip", "none"] {
        let compression = match codec {
            "none" => "--backup-storage-compress=false".to_owned(),
            codec => format!("--compression-engine-name {codec}"),
        };
        let at = format!("--keyspace {codec} --shard 0 {storage}");
        let seen = observe(&format!(
            "backup zone1-101 {at} --tablet-dir {} --allow-primary --concurrency 64 {compression}",
            tablet.tablet_dir().display()
        ));
        println!("{codec}: backup {} MiB", seen.peak / MIB);
        assert!(seen.peak > 10 * MIB && seen.peak <= LIMIT, "{codec}: backup {} MiB\n{}", seen.peak / MIB, seen.log);
        assert!(seen.log.contains("of the largest files be copied at a time, not 64"), "{}", seen.log);
        // From where the test itself stands; mysqld may be started from the main thread.
        let own = BTreeMap::from_iter(niceness(Path::new("/proc/self")))[&std::process::id()];
        let lower = (own + 5).min(19);
        assert_eq!(seen.nice.first(), Some(&own));
        assert!(seen.nice.len() > 2 && seen.nice[1..].iter().all(|nice| *nice == lower), "{:?}", seen.nice);
        assert_eq!(seen.io.as_deref(), Some(IO_PRIORITY));

        let volume = tempfile::tempdir().unwrap();
        let restored = volume.path().join("vt_0000000101");
        let seen = observe(&format!(
            "restore {at} --tablet-dir {} --mysqld stopped --restore-concurrency 64",
            restored.display()
        ));
        println!("{codec}: restore {} MiB", seen.peak / MIB);
        assert!(seen.peak > 10 * MIB && seen.peak <= LIMIT, "{codec}: restore {} MiB\n{}", seen.peak / MIB, seen.log);
        for file in ["vt_large/large.MYD", "vt_small/7.MYD"] {
            let same =
                std::fs::read(restored.join("data").join(file)).unwrap() == std::fs::read(data.join(file)).unwrap();
            assert!(same, "{codec}: {file}");
        }
        std::fs::remove_dir_all(backups.path().join(codec)).unwrap();
    }
}
