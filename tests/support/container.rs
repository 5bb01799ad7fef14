//! A process in a PID namespace of its own, run as `nobody`: what a container of a tablet's pod is to the engine.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The user and group of every tablet.
pub const USER: &str = "nobody";
pub const GROUP: &str = "nogroup";

/// A program and all its descendants. They end, killed, when the program ends, when this value is dropped, and when the
/// test process dies of whatever cause.
pub struct Container {
    init: Child,
}

impl Container {
    /// `log` takes what the program prints.
    pub fn run(program: &[&str], environment: &[(&str, &Path)], log: &Path) -> Self {
        // The shell is process 1 of the namespace; when it ends, the kernel kills the rest. It waits for the program, and
        // kills it when our end of its stdin closes.
        let script = "exec 3<&0 </dev/null
            \"$@\" 3<&- & program=$!
            { cat <&3 >/dev/null; kill -KILL $program; } &
            wait $program";
        let log = File::options().create(true).append(true).open(log).expect("the log can be written");
        let init = Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script, "sh", "setpriv"])
            .args(AS_USER)
            .args(program)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .spawn()
            .expect("unshare runs");
        Self { init }
    }

    /// Whether the program has not ended.
    pub fn is_running(&mut self) -> bool {
        self.init.try_wait().expect("a child can be waited for").is_none()
    }

    /// Waits until the program has ended by itself.
    pub fn wait_ended(&mut self, limit: Duration) {
        let begun = Instant::now();
        while self.is_running() {
            assert!(begun.elapsed() < limit, "the container was still running after {limit:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The process of that name in here, as seen from outside.
    pub fn process(&self, name: &str) -> Option<u32> {
        let processes = processes();
        let ours = |mut pid: u32| {
            while let Some(process) = processes.get(&pid) {
                if process.parent == self.init.id() {
                    return true;
                }
                pid = process.parent;
            }
            false
        };
        processes.iter().find(|(pid, process)| process.name == name && ours(**pid)).map(|(pid, _)| *pid)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.init.stdin.take());
        let _ = self.init.kill();
        let _ = self.init.wait();
    }
}

/// A command that runs as the tablets' user; that user must be able to reach the program.
pub fn command_as_user(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(AS_USER).arg(program);
    command
}

const AS_USER: [&str; 5] = ["--reuid", USER, "--regid", GROUP, "--clear-groups"];

pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status().expect("kill runs");
    assert!(sent.success(), "could not send {name} to process {pid}");
}

struct Process {
    name: String,
    parent: u32,
}

/// All living processes by their number.
fn processes() -> HashMap<u32, Process> {
    let numbers = std::fs::read_dir("/proc").expect("/proc is there").flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers
        .filter_map(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let (head, tail) = stat.rsplit_once(") ")?;
            let mut fields = tail.split(' ');
            let alive = !matches!(fields.next()?, "Z" | "X");
            let process = Process { name: head.split_once('(')?.1.to_owned(), parent: fields.next()?.parse().ok()? };
            alive.then_some((pid, process))
        })
        .collect()
}
