//! What a run may take of the machine: files at a time, memory, bandwidth.
//!
//! Memory is given out before it is used: a file is begun when what its stream can hold at most fits into what is left of
//! the budget. How much that is depends on the codec, the storage and how many of its blocks are compressed at a time; the
//! larger a file's share of all bytes, the more of the budget, and so of the cores, it may have. What the process holds by
//! itself is taken off the limit first.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::backup::bytes::ByteSize;
use crate::engine::EngineError;
use crate::engine::builtin::bandwidth::Bandwidth;
use crate::progress::Monitor;

const MIB: u64 = 1 << 20;
/// The program itself, its threads, the list of files, what the allocator keeps.
const BASE: u64 = 48 * MIB;
/// What the budget is counted in.
const UNIT: u64 = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Files that are copied at a time, at most.
    pub concurrency: usize,
    /// Of the whole process, at its peak. An external compressor is a process of its own.
    pub memory: ByteSize,
    /// Stored bytes a second over all streams; 0: no limit.
    pub bandwidth: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { concurrency: 4, memory: ByteSize(256 * MIB), bandwidth: ByteSize(0) }
    }
}

impl Limits {
    /// Bytes that streams may hold in all.
    pub fn available(&self) -> u64 {
        self.memory.0.saturating_sub(BASE)
    }

    pub fn budget(&self) -> Budget {
        let units = self.available() / UNIT;
        let units = u32::try_from(units).unwrap_or(u32::MAX).max(1);
        Budget { units, left: Semaphore::new(units as usize), files: self.concurrency.max(1) }
    }

    pub fn bandwidth(&self) -> Bandwidth {
        Bandwidth::new(self.bandwidth.0)
    }
}

/// The memory that streams may hold in all.
pub struct Budget {
    units: u32,
    left: Semaphore,
    files: usize,
}

/// What one stream may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Blocks in flight.
    pub blocks: usize,
    /// The most that it then holds.
    pub bytes: u64,
}

impl Budget {
    /// The share of a file of `size` of `total` bytes; `cost` is what a stream holds at most with so many blocks in flight.
    pub fn share(&self, size: u64, total: u64, cores: usize, cost: impl Fn(usize) -> u64) -> Share {
        let budget = u64::from(self.units) * UNIT;
        let by_size = u128::from(budget) * u128::from(size) / u128::from(total.max(1));
        let allowed = u64::try_from(by_size).unwrap_or(budget).max(budget / self.files as u64);
        let blocks = (1..=cores.max(1)).rev().find(|&blocks| cost(blocks) <= allowed).unwrap_or(1);
        Share { blocks, bytes: cost(blocks) }
    }

    /// Waits until a share is free, first come, first served. One beyond the whole budget gets all of it, alone.
    ///
    /// # Errors
    /// Never: the budget is not closed.
    pub async fn hold(&self, share: Share) -> Result<SemaphorePermit<'_>, EngineError> {
        let units = u32::try_from(share.bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.units);
        self.left.acquire_many(units).await.map_err(|error| EngineError::internal(&error))
    }

    /// Says so when the budget keeps files of this share waiting for each other.
    pub fn tell(&self, largest: Share, files: usize, limit: ByteSize, monitor: &dyn Monitor) {
        let wanted = self.files.min(files) as u64;
        let fitting = u64::from(self.units) * UNIT / largest.bytes.max(1);
        if fitting == 0 {
            monitor.note(&format!(
                "the memory limit of {limit} is too small for this codec: one file is copied at a time, with at most {} \
                 of memory for it",
                ByteSize(largest.bytes)
            ));
        } else if fitting < wanted {
            monitor.note(&format!(
                "the memory limit of {limit} lets {fitting} of the largest files be copied at a time, not {wanted}"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// 8 MiB for a stream and 10 for each block: about zstd.
    fn cost(blocks: usize) -> u64 {
        (8 + 10 * blocks as u64) * MIB
    }

    fn budget(concurrency: usize, memory: u64) -> Budget {
        Limits { concurrency, memory: ByteSize(memory), ..Limits::default() }.budget()
    }

    #[test]
    fn equal_files_share_the_budget_and_a_large_one_has_more_of_it() {
        let budget = budget(4, BASE + 200 * MIB);
        assert_eq!(budget.share(25, 100, 16, cost), Share { blocks: 4, bytes: 48 * MIB });
        assert_eq!(budget.share(1, 1000, 16, cost), Share { blocks: 4, bytes: 48 * MIB });
        assert_eq!(budget.share(90, 100, 16, cost), Share { blocks: 16, bytes: 168 * MIB });
        assert_eq!(budget.share(90, 100, 2, cost).blocks, 2, "no more than there are cores");
        assert_eq!(budget.share(0, 0, 2, cost).blocks, 2);
    }

    #[test]
    fn a_small_budget_still_lets_one_block_of_one_file_through() {
        assert_eq!(budget(64, 0).share(1, 1, 8, cost), Share { blocks: 1, bytes: 18 * MIB });
    }

    #[tokio::test]
    async fn no_more_is_given_out_than_there_is() {
        let budget = budget(64, BASE + 100 * MIB);
        let share = Share { blocks: 1, bytes: 40 * MIB };
        let first = budget.hold(share).await.unwrap();
        let second = budget.hold(share).await.unwrap();
        let waits = tokio::time::timeout(std::time::Duration::from_millis(50), budget.hold(share)).await;
        assert!(waits.is_err(), "a third does not fit");
        drop(first);
        let third = budget.hold(share).await.unwrap();
        drop(third);
        drop(second);
        drop(budget.hold(Share { blocks: 1, bytes: u64::MAX }).await.unwrap());
    }

    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);

    impl Monitor for Notes {
        fn step(&self, _: crate::progress::Step) {}
        fn totals(&self, _: u64, _: u64) {}
        fn advanced(&self, _: u64, _: u64) {}
        fn file_done(&self) {}
        fn note(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }

    #[test]
    fn a_concurrency_that_the_memory_does_not_allow_is_said() {
        let told = |concurrency, memory, files| {
            let notes = Notes::default();
            let share = Share { blocks: 1, bytes: 18 * MIB };
            budget(concurrency, memory).tell(share, files, ByteSize(memory), &notes);
            notes.0.into_inner().unwrap()
        };
        let memory = BASE + 100 * MIB;
        assert_eq!(told(5, memory, 100), [""; 0]);
        assert_eq!(told(64, memory, 5), [""; 0]);
        assert_eq!(
            told(64, memory, 100),
            ["the memory limit of 148MiB lets 5 of the largest files be copied at a time, not 64"]
        );
        assert!(told(4, BASE, 4)[0].contains("too small for this codec"), "{:?}", told(4, BASE, 4));
    }
}
