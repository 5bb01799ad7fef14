//! Where tests kill a run, to the point and without a race: `VITESS_BACKUP_TEST_KILL=journal:3` ends the process by SIGKILL
//! right after the third change of its journal (a write, or its removal), `step:2` when its second step begins,
//! `copy:1048576` when so many bytes of the tablet's files went through the copy, `write:4` an operator right after the fourth
//! change that it made through the API server.
//!
//! Only builds with debug assertions have it. In a release build these functions are empty, and the variable's name is
//! nowhere in the binary.

/// The journal was changed, durably.
pub fn journal_changed() {
    armed::reached("journal", 1);
}

/// A step begins.
pub fn step_begins() {
    armed::reached("step", 1);
}

/// So many more bytes went through the copy.
pub fn copied(bytes: u64) {
    armed::reached("copy", bytes);
}

/// An operator changed something through the API server, which has answered.
pub fn written() {
    armed::reached("write", 1);
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    static POINT: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let text = std::env::var("VITESS_BACKUP_TEST_KILL").ok()?;
        let (what, count) = text.split_once(':')?;
        Some((what.to_owned(), count.parse().ok()?))
    });

    pub fn reached(what: &str, by: u64) {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        if let Some((wanted, at)) = &*POINT
            && wanted == what
            && COUNT.fetch_add(by, Ordering::SeqCst) + by >= *at
        {
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }
}

#[cfg(not(debug_assertions))]
mod armed {
    pub fn reached(_: &str, _: u64) {}
}
