//! How a stream is cut into parts when it is stored, and into ranges when it is read.
//!
//! S3, GCS and Ceph take at most 10,000 parts of an object, all but the last of at least 5 MiB; Azure takes 50,000. A stream's
//! length is known only at its end. So all parts are of one size for as long as that goes well (Cloudflare's R2 takes no
//! others), and then double, which reaches 5 TiB in time. Whoever knows about how much will come says so, and the one size
//! is chosen for it.

/// Bytes of a part when nothing is known: above S3's 5 MiB.
pub const PART: u64 = 8 << 20;
/// S3's smallest part but for the last.
pub const SMALLEST_PART: u64 = 5 << 20;
/// Below Azure's 4000 MiB for a block and S3's 5 GiB for a part.
const LARGEST_PART: u64 = 4000 << 20;
/// Parts of an object, on any service.
pub const MOST_PARTS: u64 = 10_000;

/// How a stream is stored. Memory is at most [`UploadLimits::memory`] until the parts grow, and then two parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct UploadLimits {
    /// Bytes of the first parts.
    pub part: u64,
    /// Parts that are being stored at the same time, for as long as they are of that size.
    pub in_flight: usize,
}

/// How an object is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct DownloadLimits {
    /// Bytes of a range.
    pub range: u64,
    /// Ranges that are being read or wait to be taken.
    pub in_flight: usize,
}

impl UploadLimits {
    pub const REMOTE: Self = Self { part: PART, in_flight: 4 };

    /// Bytes that a stream holds: the parts under way and the one that is filled.
    pub fn memory(self) -> u64 {
        self.part * (self.in_flight as u64 + 1)
    }

    /// The sizes of the parts of a stream of which `expected` bytes are expected; 0 when nobody knows.
    pub fn plan(self, expected: u64) -> Plan {
        const KNOWN: u64 = MOST_PARTS / 10 * 8;
        // Compressed data can be a little longer than what it was made of.
        let needed = expected.saturating_add(expected / 64).div_ceil(KNOWN).next_multiple_of(1 << 20);
        let part = self.part.max(needed).min(LARGEST_PART);
        let (steady, step) =
            if expected > 0 { (KNOWN, MOST_PARTS / 200) } else { (MOST_PARTS / 10, MOST_PARTS / 100 * 9) };
        Plan { part, steady, step, memory: self.part * self.in_flight as u64 }
    }
}

impl DownloadLimits {
    pub const REMOTE: Self = Self { range: 4 << 20, in_flight: 8 };

    /// Bytes that a stream holds: the ranges under way and the one that is being taken.
    pub fn memory(self) -> u64 {
        self.range * (self.in_flight as u64 + 1)
    }
}

/// The sizes of a stream's parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    part: u64,
    /// Parts of the first size.
    steady: u64,
    /// Parts until the size doubles, then.
    step: u64,
    /// Bytes that may be under way.
    memory: u64,
}

impl Plan {
    /// Bytes of part `number`, counted from 0; the last part may be shorter.
    pub fn size(&self, number: u64) -> u64 {
        let doublings = number.checked_sub(self.steady).map_or(0, |beyond| 1 + beyond / self.step);
        let factor = 1_u64.checked_shl(u32::try_from(doublings).unwrap_or(u32::MAX)).unwrap_or(u64::MAX);
        self.part.saturating_mul(factor).min(LARGEST_PART)
    }

    /// How many parts like part `number` may be under way at the same time.
    pub fn in_flight(&self, number: u64) -> usize {
        usize::try_from(self.memory / self.size(number)).unwrap_or(usize::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    const TIB: u64 = 1 << 40;

    /// Parts that `length` bytes take, and the size of the largest.
    fn parts(plan: Plan, length: u64) -> (u64, u64) {
        let (mut number, mut stored) = (0, 0);
        while stored < length {
            stored += plan.size(number);
            number += 1;
        }
        (number, plan.size(number.saturating_sub(1)))
    }

    #[test]
    fn five_tebibytes_fit_ten_thousand_parts_whether_they_were_expected_or_not() {
        let limits = UploadLimits::REMOTE;
        let (count, largest) = parts(limits.plan(5 * TIB), 5 * TIB);
        assert!(count <= MOST_PARTS, "{count}");
        assert_eq!(largest, 666 * MIB, "all of one size");
        for unexpected in [limits.plan(0), limits.plan(1), limits.plan(10 * GIB), limits.plan(TIB)] {
            let (count, _) = parts(unexpected, 5 * TIB);
            assert!(count <= MOST_PARTS, "{count} parts in {unexpected:?}");
        }
        let smallest = UploadLimits { part: SMALLEST_PART, in_flight: 1 };
        assert!(parts(smallest.plan(0), 5 * TIB).0 <= MOST_PARTS);
        assert!(parts(smallest.plan(1), 5 * TIB).0 <= MOST_PARTS);
    }

    #[test]
    fn parts_are_of_one_size_where_that_is_enough() {
        let plan = UploadLimits::REMOTE.plan(0);
        assert_eq!(parts(plan, 7 * GIB), (896, PART));
        let plan = UploadLimits::REMOTE.plan(60 * GIB);
        assert_eq!(parts(plan, 60 * GIB), (7680, PART), "what was expected stays small where it can");
        let plan = UploadLimits::REMOTE.plan(500 * GIB);
        assert_eq!(parts(plan, 500 * GIB).1, 65 * MIB);
        assert_eq!(parts(plan, 507 * GIB).1, 65 * MIB, "a compressor that made it grow");
    }

    #[test]
    fn as_parts_grow_fewer_are_under_way() {
        let limits = UploadLimits::REMOTE;
        let plan = limits.plan(0);
        assert_eq!([plan.in_flight(0), plan.in_flight(1000), plan.in_flight(2000), plan.in_flight(9999)], [4, 2, 1, 1]);
        assert_eq!([plan.size(999), plan.size(1000), plan.size(2000)], [PART, 2 * PART, 4 * PART]);
        assert_eq!(plan.size(u64::MAX), LARGEST_PART);
        for number in 0..2000 {
            let held = plan.size(number) * (plan.in_flight(number) as u64 + 1);
            assert!(held <= limits.memory() + plan.size(number), "{number}: {held}");
        }
        assert_eq!(limits.memory(), 40 * MIB);
        assert_eq!(DownloadLimits::REMOTE.memory(), 36 * MIB);
    }
}
