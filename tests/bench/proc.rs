//! Processes as `/proc` shows them.

#![allow(dead_code, reason = "each benchmark uses a part of this")]

use std::path::PathBuf;
use std::time::Duration;

/// VmHWM in bytes; none when the process is over.
pub fn peak_of(pid: u32) -> Option<u64> {
    memory_of(pid, "VmHWM:")
}

/// VmRSS likewise.
pub fn resident_of(pid: u32) -> Option<u64> {
    memory_of(pid, "VmRSS:")
}

fn memory_of(pid: u32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// What `/proc/<pid>/stat` says.
pub struct Stat {
    pub name: String,
    pub parent: u32,
    /// A zombie, or even less.
    pub is_over: bool,
    /// User and system time of the process itself, without its children.
    pub cpu: Duration,
}

impl Stat {
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/stat"))).ok()?;
        let (head, tail) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = tail.split(' ').collect();
        // Numbered from 3 in proc(5); times are in ticks of 10 ms.
        let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        Some(Self {
            name: head.split_once('(')?.1.to_owned(),
            parent: fields.get(1)?.parse().ok()?,
            is_over: matches!(*fields.first()?, "Z" | "X"),
            cpu: Duration::from_millis(ticks * 10),
        })
    }
}
