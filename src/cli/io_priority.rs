//! `--ionice`: how far a thread's reads and writes step back for others.

use std::io;
use std::str::FromStr;

use thiserror::Error;

/// A class of ionice(1), and in the class best-effort a level, of which 7 is the last to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoPriority {
    BestEffort(u8),
    Idle,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("must be idle, best-effort or best-effort:0 to best-effort:7")]
pub struct ParseIoPriorityError;

impl FromStr for IoPriority {
    type Err = ParseIoPriorityError;

    fn from_str(text: &str) -> Result<Self, ParseIoPriorityError> {
        match text.split_once(':') {
            None if text == "idle" => Ok(Self::Idle),
            // As ionice has it.
            None if text == "best-effort" => Ok(Self::BestEffort(4)),
            Some(("best-effort", level)) => match level.parse() {
                Ok(level @ 0..=7) => Ok(Self::BestEffort(level)),
                _ => Err(ParseIoPriorityError),
            },
            _ => Err(ParseIoPriorityError),
        }
    }
}

impl IoPriority {
    /// As Linux numbers it (`linux/ioprio.h`).
    const fn number(self) -> libc::c_int {
        const CLASS_SHIFT: u32 = 13;
        match self {
            Self::BestEffort(level) => 2 << CLASS_SHIFT | level as libc::c_int,
            Self::Idle => 3 << CLASS_SHIFT,
        }
    }

    /// Gives it to the calling thread, and to what that starts from now on.
    pub fn take(self) -> io::Result<()> {
        const WHO_PROCESS: libc::c_int = 1;
        const THIS_THREAD: libc::c_int = 0;
        // SAFETY: the call takes three numbers and touches no memory of ours. Neither std nor rustix has it.
        #[allow(unsafe_code, reason = "a system call that no kept crate wraps")]
        let done = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, THIS_THREAD, self.number()) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("idle", Ok(IoPriority::Idle))]
    #[case("best-effort", Ok(IoPriority::BestEffort(4)))]
    #[case("best-effort:0", Ok(IoPriority::BestEffort(0)))]
    #[case("best-effort:7", Ok(IoPriority::BestEffort(7)))]
    #[case("best-effort:8", Err(ParseIoPriorityError))]
    #[case("best-effort:", Err(ParseIoPriorityError))]
    #[case("idle:1", Err(ParseIoPriorityError))]
    #[case("realtime", Err(ParseIoPriorityError))]
    #[case("", Err(ParseIoPriorityError))]
    fn classes_are_read(#[case] text: &str, #[case] expected: Result<IoPriority, ParseIoPriorityError>) {
        assert_eq!(text.parse(), expected);
    }
}
