//! How much memory a run holds at its peak, whatever the number of stripes.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::backing_up::Running;
use crate::tablet::tools;

const MIB: u64 = 1 << 20;
const LIMIT: u64 = 128 * MIB;

impl Running {
    /// The most bytes that a run has in memory, which must end well.
    fn peak(&self, arguments: &str) -> u64 {
        let arguments = format!("{arguments} --memory-limit 128MiB");
        let mut child = self.case.command(&arguments).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
        let status_file = Path::new("/proc").join(child.id().to_string()).join("status");
        let mut peak = 0;
        let status = loop {
            if let Ok(text) = std::fs::read_to_string(&status_file)
                && let Some(line) = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))
            {
                peak = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024;
            }
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(status.success(), "{arguments}");
        peak
    }
}

#[test]
fn a_run_keeps_within_its_memory_limit_with_any_number_of_stripes() {
    let running = Running::start();
    running.server.sql("INSERT INTO vt_maria.written (v) SELECT RANDOM_BYTES(2000) FROM vt_maria.seq_1_to_80000");
    for (codec, stripes) in [("pargzip", 1), ("pargzip", 100), ("zstd", 100), ("lz4", 16)] {
        let backup = running.case.backup_arguments(&format!(
            "--xtrabackup-user xtra --compression-engine-name {codec} --xtrabackup-stripes {stripes}"
        ));
        let stored = running.peak(&backup);
        running.case.lay_out(202);
        let restored = running.peak(&format!(
            "restore --keyspace maria --shard 0 --mysqld stopped --existing-data replace --tablet-dir {} {}",
            running.case.tablet_dir_of(202).display(),
            tools()
        ));
        println!("{codec}, {stripes} stripes: backup {} MiB, restore {} MiB", stored / MIB, restored / MIB);
        assert!(stored > 10 * MIB && stored <= LIMIT, "{codec}, {stripes} stripes: backup {} MiB", stored / MIB);
        assert!(restored > 10 * MIB && restored <= LIMIT, "{codec}, {stripes} stripes: restore {} MiB", restored / MIB);
        std::fs::remove_dir_all(running.case.backups().join("maria")).unwrap();
    }
}
