//! In which order a backup becomes durable: what the real engine asks of the kernel, seen by strace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's own functions may fail the test")]

mod engine_support;
mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use engine_support::process::command;
use support::mysql::Tablet;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Call {
    /// Of a file or a directory.
    Sync(String),
    Rename(String),
}

/// The calls on paths below `root`, as they begin, each with its thread. Paths are relative to `root`; a rename has its
/// new name.
fn calls(trace: &str, root: &str) -> Vec<(String, Call)> {
    let below = |path: &str| path.strip_prefix(root).map(|path| path.trim_start_matches('/').to_owned());
    let call = |line: &str| {
        let (thread, call) = line.split_once(' ')?;
        let call = call.trim_start();
        let call = if call.starts_with("fsync(") {
            // fsync(9</the/path>) = 0
            Call::Sync(below(call.split_once('<')?.1.split_once('>')?.0)?)
        } else if call.starts_with("rename") {
            Call::Rename(below(call.rsplit('"').nth(1)?)?)
        } else {
            return None;
        };
        Some((thread.to_owned(), call))
    };
    trace.lines().filter_map(call).collect()
}

fn partial(name: &str) -> impl Fn(&Call) -> bool {
    let start = format!(".{name}.partial-");
    move |call| matches!(call, Call::Sync(path) if path.rsplit('/').next().unwrap().starts_with(&start))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_object_and_its_name_are_durable_before_the_manifest_has_its_name() {
    let mut tablet = Tablet::at_rest(101).await;
    tablet.start_container().await;
    let backups = engine_support::open_directory();
    let trace = tempfile::NamedTempFile::new().unwrap();
    let engine = command(&format!(
        "backup zone1-101 --keyspace commerce --shard 0 --allow-primary --compression-engine-name lz4 --tablet-dir {} \
         --backup-storage-implementation file --file-backup-storage-root {}",
        tablet.tablet_dir().display(),
        backups.path().display()
    ));
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "--seccomp-bpf", "-s", "1000", "-e", "trace=fsync,rename,renameat,renameat2", "-o"]);
    strace.arg(trace.path()).arg(engine.get_program()).args(engine.get_args());
    strace.envs(engine.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = strace.stdin(Stdio::null()).output().expect("strace is there (see scripts/bootstrap.sh)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let shard = backups.path().join("commerce/0");
    let name = only_name(&shard);
    let stored = shard.join(&name);
    let calls = calls(&std::fs::read_to_string(trace.path()).unwrap(), stored.to_str().unwrap());
    let manifest = calls.iter().position(|(_, call)| *call == Call::Rename("MANIFEST".into())).expect("it is renamed");
    let objects: Vec<String> = stored
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "MANIFEST")
        .collect();
    assert!(objects.len() > 20, "{objects:?}");
    for object in &objects {
        let named = calls.iter().position(|(_, call)| *call == Call::Rename(object.clone())).expect("it is renamed");
        let thread = &calls[named].0;
        let own: Vec<(usize, &Call)> = calls
            .iter()
            .enumerate()
            .filter(|(_, (other, _))| other == thread)
            .map(|(at, (_, call))| (at, call))
            .collect();
        let written = own.iter().rev().find(|(at, _)| *at < named).unwrap();
        assert!(partial(object)(written.1), "{object}: its bytes are durable before it has its name: {written:?}");
        let kept = own.iter().find(|(at, _)| *at > named).unwrap();
        assert_eq!(*kept.1, Call::Sync(String::new()), "{object}: then its name is");
        assert!(kept.0 < manifest, "{object}: all of it before the MANIFEST");
    }
    let bytes = calls.iter().position(|(_, call)| partial("MANIFEST")(call)).expect("the MANIFEST's bytes are durable");
    assert!(bytes < manifest);
    assert_eq!(calls.last().unwrap().1, Call::Sync(String::new()), "and at the end its name");
    assert_eq!(calls.len() - 1, calls.iter().rposition(|(_, call)| *call == Call::Sync(String::new())).unwrap());
    assert!(manifest > calls.len() - 3, "nothing comes after it: {:?}", &calls[manifest..]);
}

fn only_name(directory: &Path) -> String {
    let names: Vec<_> = directory.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    names[0].to_str().unwrap().to_owned()
}
