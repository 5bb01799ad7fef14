//! A run seen from outside, in the same way whoever makes it: what becomes of mysqld, and what the process at work uses.

use std::collections::HashSet;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::proc::{Stat, peak_of};

/// How often everything is looked at.
const EVERY: Duration = Duration::from_millis(10);

/// What was seen of one run.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// From the first refused connection to the first accepted one after which none was refused.
    pub down: Duration,
    /// From the end of the mysqld process to the start of the next one: all that happens to the files.
    pub at_rest: Duration,
    /// VmHWM of the process at work, in bytes.
    pub peak: u64,
}

/// Looks until it is asked to stop.
pub struct Watch {
    stop: Arc<AtomicBool>,
    down: JoinHandle<Duration>,
    processes: JoinHandle<(Duration, u64)>,
}

impl Watch {
    /// `mysqlctld` is the parent of mysqld, which runs; `worker` is the process at work.
    pub fn begin(socket: &Path, mysqlctld: u32, worker: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (for_down, for_processes, socket) = (Arc::clone(&stop), Arc::clone(&stop), socket.to_owned());
        Self {
            stop,
            down: std::thread::spawn(move || watch_socket(&socket, &for_down)),
            processes: std::thread::spawn(move || watch_processes(mysqlctld, worker, &for_processes)),
        }
    }

    pub fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let (at_rest, peak) = self.processes.join().expect("the watch goes on to the end");
        Seen { down: self.down.join().expect("the prober goes on to the end"), at_rest, peak }
    }
}

/// Calls `look` every [`EVERY`] until it is stopped; a look that took longer is followed by the next one at once.
fn until_stopped(stop: &AtomicBool, mut look: impl FnMut(Instant)) {
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        look(Instant::now());
        next += EVERY;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

fn watch_socket(socket: &Path, stop: &AtomicBool) -> Duration {
    let (mut first_refused, mut back) = (None, None);
    until_stopped(stop, |now| match (greets(socket), first_refused) {
        (true, None) => {}
        (true, Some(_)) => {
            back.get_or_insert(now);
        }
        (false, _) => {
            first_refused.get_or_insert(now);
            back = None;
        }
    });
    match (first_refused, back) {
        (Some(refused), Some(back)) => back - refused,
        (refused, _) => panic!("mysqld was to go down and to come back (down: {})", refused.is_some()),
    }
}

/// Whether mysqld takes a connection: its first packet is a greeting of protocol 10, not an error.
fn greets(socket: &Path) -> bool {
    let mut greeting = [0; 5];
    UnixStream::connect(socket).is_ok_and(|mut stream| {
        let limited = stream.set_read_timeout(Some(Duration::from_secs(1)));
        limited.is_ok() && stream.read_exact(&mut greeting).is_ok() && greeting[4] == 10
    })
}

fn watch_processes(mysqlctld: u32, worker: u32, stop: &AtomicBool) -> (Duration, u64) {
    let mut strangers = HashSet::new();
    let mut mysqld = mysqld_of(mysqlctld, &mut strangers);
    assert!(mysqld.is_some(), "mysqld runs when a measurement begins");
    let (mut ended, mut at_rest, mut peak) = (None, None, 0);
    until_stopped(stop, |now| {
        peak = peak.max(peak_of(worker).unwrap_or(0));
        match (mysqld, at_rest) {
            (Some(pid), _) if !is_alive(pid) => {
                mysqld = None;
                ended.get_or_insert(now);
            }
            (None, None) => {
                mysqld = mysqld_of(mysqlctld, &mut strangers);
                at_rest = mysqld.and(ended).map(|ended| now - ended);
            }
            _ => {}
        }
    });
    (at_rest.expect("mysqld was to end and to start again"), peak)
}

/// The child of mysqlctld that is mysqld. `strangers` are processes known to be somebody else's, not to be read again.
fn mysqld_of(mysqlctld: u32, strangers: &mut HashSet<u32>) -> Option<u32> {
    let entries = std::fs::read_dir("/proc").expect("/proc is there").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let unknown: Vec<u32> = pids.filter(|pid| !strangers.contains(pid)).collect();
    unknown.into_iter().find(|&pid| match Stat::of(pid) {
        // Before its exec a child still has the name of its parent: look again.
        Some(stat) if stat.parent == mysqlctld => stat.name == "mysqld",
        _ => {
            strangers.insert(pid);
            false
        }
    })
}

fn is_alive(pid: u32) -> bool {
    Stat::of(pid).is_some_and(|stat| !stat.is_over)
}
