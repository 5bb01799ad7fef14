//! GTID sets of MySQL 5.6 and later: for each server's UUID, the intervals of its transactions.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A server's UUID (`@@server_uuid`), the source part of a GTID. Ordered by its bytes, as MySQL and Vitess order them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerUuid([u8; 16]);

/// Transactions `start..=end` of one server; `1 <= start <= end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interval {
    pub start: u64,
    pub end: u64,
}

/// A set of GTIDs, always in canonical form: intervals sorted, none empty, adjacent ones merged, no server without any.
///
/// Written as MySQL writes it without the line breaks: lower-case UUIDs sorted by bytes, `uuid:1-5:7,uuid:1`.
/// Read as tolerantly as MySQL does: upper case, spaces and line breaks around parts, empty parts, and intervals whose
/// end is before their start (which hold nothing). The empty text is the empty set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GtidSet {
    intervals: BTreeMap<ServerUuid, Vec<Interval>>,
}

/// Why a text is not a GTID set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseGtidSetError {
    #[error("{0:?} in a GTID set is not of the form <server uuid>:<interval>[:<interval>…]")]
    Shape(String),
    #[error("{0:?} in a GTID set is not a server UUID such as 3e11fa47-71ca-11e1-9e33-c80aa9429562")]
    Uuid(String),
    #[error("{0:?} in a GTID set is not an interval such as 5 or 1-5, from 1 to 9223372036854775807")]
    Interval(String),
    /// MySQL 8.3 and later: `uuid:tag:1-5`. Vitess v24 cannot read these, so no backup may carry one.
    #[error("tag {0:?} in a GTID set: Vitess does not support tagged GTIDs")]
    Tagged(String),
}

/// The largest transaction number of a GTID.
const MAX_SEQUENCE: u64 = i64::MAX as u64;

impl GtidSet {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// Adds the transactions `start..=end` of `server`; nothing when the interval is empty.
    pub fn add(&mut self, server: ServerUuid, start: u64, end: u64) {
        if start == 0 || end < start {
            return;
        }
        let intervals = self.intervals.entry(server).or_default();
        intervals.push(Interval { start, end });
        merge(intervals);
    }

    /// Whether every transaction of `other` is in this set too.
    pub fn contains(&self, other: &Self) -> bool {
        other.intervals.iter().all(|(server, theirs)| {
            let ours = self.intervals.get(server).map_or(&[][..], Vec::as_slice);
            // Both are merged, so that an interval is covered by one of ours or not at all.
            theirs.iter().all(|their| meeting(ours, *their).first().is_some_and(|our| our.covers(*their)))
        })
    }

    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for (server, theirs) in &other.intervals {
            let intervals = all.intervals.entry(*server).or_default();
            intervals.extend_from_slice(theirs);
            merge(intervals);
        }
        all
    }

    /// The transactions of this set that are not in `other`: the errant ones, when `other` is what the primary has.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let mut rest = Self::new();
        for (server, ours) in &self.intervals {
            let theirs = other.intervals.get(server).map_or(&[][..], Vec::as_slice);
            let left: Vec<Interval> = ours.iter().flat_map(|our| minus(*our, meeting(theirs, *our))).collect();
            if !left.is_empty() {
                rest.intervals.insert(*server, left);
            }
        }
        rest
    }

    /// The transactions that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut both = Self::new();
        for (server, ours) in &self.intervals {
            let theirs = other.intervals.get(server).map_or(&[][..], Vec::as_slice);
            let common: Vec<Interval> =
                ours.iter().flat_map(|our| meeting(theirs, *our).iter().map(|their| our.overlap(*their))).collect();
            if !common.is_empty() {
                both.intervals.insert(*server, common);
            }
        }
        both
    }

    /// How many transactions the set holds.
    pub fn count(&self) -> u64 {
        self.intervals.values().flatten().fold(0, |sum, i| sum.saturating_add(i.end - i.start + 1))
    }

    /// The servers and their intervals, in canonical order.
    pub fn iter(&self) -> impl Iterator<Item = (&ServerUuid, &[Interval])> {
        self.intervals.iter().map(|(server, intervals)| (server, intervals.as_slice()))
    }
}

impl Interval {
    fn covers(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// Of two that meet.
    fn overlap(self, other: Self) -> Self {
        Self { start: self.start.max(other.start), end: self.end.min(other.end) }
    }
}

/// Those of a merged list that have a transaction in common with `one`. A long set has 100 000 intervals and more, so
/// nothing here looks at all of them for each.
fn meeting(intervals: &[Interval], one: Interval) -> &[Interval] {
    let from = intervals.partition_point(|interval| interval.end < one.start);
    let length = intervals[from..].partition_point(|interval| interval.start <= one.end);
    &intervals[from..from + length]
}

fn merge(intervals: &mut Vec<Interval>) {
    intervals.sort_unstable_by_key(|interval| interval.start);
    intervals.dedup_by(|next, kept| {
        let joined = next.start <= kept.end.saturating_add(1);
        if joined {
            kept.end = kept.end.max(next.end);
        }
        joined
    });
}

/// What is left of `whole` without `holes`, which are sorted and disjoint and all meet it.
fn minus(whole: Interval, holes: &[Interval]) -> Vec<Interval> {
    let mut left = Vec::new();
    let mut start = whole.start;
    for hole in holes {
        if start < hole.start {
            left.push(Interval { start, end: hole.start - 1 });
        }
        start = hole.end.saturating_add(1);
    }
    if start <= whole.end {
        left.push(Interval { start, end: whole.end });
    }
    left
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (server, intervals)) in self.intervals.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{server}")?;
            for Interval { start, end } in intervals {
                write!(f, ":{start}")?;
                if end != start {
                    write!(f, "-{end}")?;
                }
            }
        }
        Ok(())
    }
}

impl FromStr for GtidSet {
    type Err = ParseGtidSetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut set = Self::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (uuid, intervals) = part.split_once(':').ok_or_else(|| ParseGtidSetError::Shape(part.to_owned()))?;
            let server: ServerUuid = uuid.trim().parse()?;
            for interval in intervals.split(':').map(str::trim).filter(|interval| !interval.is_empty()) {
                let (start, end) = parse_interval(interval)?;
                if start <= end {
                    set.intervals.entry(server).or_default().push(Interval { start, end });
                }
            }
        }
        set.intervals.values_mut().for_each(merge);
        Ok(set)
    }
}

fn parse_interval(text: &str) -> Result<(u64, u64), ParseGtidSetError> {
    // A tag begins with a letter or an underscore, an interval with a digit.
    if text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return Err(ParseGtidSetError::Tagged(text.to_owned()));
    }
    let number = |part: &str| -> Option<u64> {
        let part = part.trim();
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        part.parse().ok().filter(|&n| digits && n <= MAX_SEQUENCE)
    };
    let parsed = match text.split_once('-') {
        Some((start, end)) => number(start).zip(number(end)),
        None => number(text).map(|one| (one, one)),
    };
    parsed.filter(|&(start, _)| start > 0).ok_or_else(|| ParseGtidSetError::Interval(text.to_owned()))
}

impl fmt::Display for ServerUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ServerUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ServerUuid {
    type Err = ParseGtidSetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseGtidSetError::Uuid(text.to_owned());
        let groups: Vec<&str> = text.split('-').collect();
        let shape = groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]);
        let digits = groups.concat();
        if !shape || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        u128::from_str_radix(&digits, 16).map(|number| Self(number.to_be_bytes())).map_err(|_| wrong())
    }
}

serde_as_text!(GtidSet, ServerUuid);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const A: &str = "00010203-0405-0607-0809-0a0b0c0d0e0f";
    const B: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(text: &str) -> GtidSet {
        text.parse().unwrap()
    }

    /// The slow but obvious model: every single GTID.
    type Model = BTreeSet<(u8, u64)>;

    fn small_model() -> impl Strategy<Value = Model> {
        prop::collection::btree_set((0u8..3, 1u64..12), 0..24)
    }

    fn long_set() -> impl Strategy<Value = GtidSet> {
        prop::collection::vec((0u8..3, 1u64..1 << 20, 0u64..1 << 14), 0..40).prop_map(|intervals| {
            let mut set = GtidSet::new();
            for (server, start, length) in intervals {
                set.add(ServerUuid([server; 16]), start, start + length);
            }
            set
        })
    }

    fn of(model: &Model) -> GtidSet {
        let mut set = GtidSet::new();
        for &(server, number) in model {
            set.add(ServerUuid([server; 16]), number, number);
        }
        set
    }

    proptest! {
        #[test]
        fn a_set_reads_back_as_it_was_written(model in small_model()) {
            let set = of(&model);
            prop_assert_eq!(set.to_string().parse::<GtidSet>().unwrap(), set);
        }

        #[test]
        fn the_algebra_is_that_of_sets(a in small_model(), b in small_model()) {
            let (left, right) = (of(&a), of(&b));
            prop_assert_eq!(left.union(&right), of(&a.union(&b).copied().collect()));
            prop_assert_eq!(left.subtract(&right), of(&a.difference(&b).copied().collect()));
            prop_assert_eq!(left.intersection(&right), of(&a.intersection(&b).copied().collect()));
            prop_assert_eq!(left.contains(&right), a.is_superset(&b));
            prop_assert_eq!(left.is_empty(), a.is_empty());
            prop_assert_eq!(left.count(), a.len() as u64);
        }

        /// The laws, where no model of single GTIDs could follow: sets of many long intervals.
        #[test]
        fn the_laws_of_sets_hold(a in long_set(), b in long_set()) {
            let (union, rest, common) = (a.union(&b), a.subtract(&b), a.intersection(&b));
            prop_assert!(union.contains(&a) && union.contains(&b) && a.contains(&rest) && a.contains(&common));
            prop_assert!(rest.intersection(&b).is_empty());
            prop_assert_eq!(&rest.union(&common), &a);
            prop_assert_eq!(&rest.union(&b), &union);
            prop_assert_eq!(&union, &b.union(&a));
            prop_assert_eq!(&common, &b.intersection(&a));
            prop_assert_eq!(a.contains(&b), b.subtract(&a).is_empty());
            prop_assert_eq!(a.count() + b.count(), union.count() + common.count());
            prop_assert_eq!(union.to_string().parse::<GtidSet>().unwrap(), union);
        }

        #[test]
        fn no_text_panics(text in "[0-9a-f:,\\- _t\n]{0,80}") {
            let _ = text.parse::<GtidSet>();
        }

        #[test]
        fn intervals_at_the_end_of_the_range_do_not_overflow(start in MAX_SEQUENCE - 4..=MAX_SEQUENCE) {
            let all = set(&format!("{A}:1-{MAX_SEQUENCE}"));
            let tail = set(&format!("{A}:{start}-{MAX_SEQUENCE}"));
            prop_assert!(all.contains(&tail));
            prop_assert_eq!(all.subtract(&tail).union(&tail), all);
        }
    }

    #[test]
    fn output_is_canonical_whatever_came_in() {
        let text = format!("{}:7:1-3:4-5 ,\n{A}:9-2:1,,{B}:6", B.to_uppercase());
        assert_eq!(set(&text).to_string(), format!("{A}:1,{B}:1-7"));
        assert_eq!(set(&format!("{A}:5-4")), GtidSet::new());
        assert_eq!(set("").to_string(), "");
    }

    #[test]
    fn errant_transactions_are_what_is_left() {
        let errant = set(&format!("{A}:1-10,{B}:1-3")).subtract(&set(&format!("{A}:2-4:8")));
        assert_eq!(errant.to_string(), format!("{A}:1:5-7:9-10,{B}:1-3"));
    }

    /// Every second transaction missing (Vitess issue 16303 tells of such sets): reading it, comparing it and taking it
    /// apart must not look at all of it for each interval, which took minutes.
    #[test]
    fn a_set_of_200_000_intervals_is_read_and_compared_at_once() {
        let text =
            |first: u64| (0..200_000).fold(A.to_owned(), |text, number| text + ":" + &(first + 2 * number).to_string());
        let begun = std::time::Instant::now();
        let (odd, even) = (set(&text(1)), set(&text(2)));
        assert!(odd.intersection(&even).is_empty() && odd.contains(&odd) && !odd.contains(&even));
        assert_eq!(odd.subtract(&even), odd);
        assert_eq!(odd.union(&even).to_string(), format!("{A}:1-400000"));
        assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    }

    #[test]
    fn a_wrong_set_says_what_is_wrong() {
        let message = |text: &str| text.parse::<GtidSet>().unwrap_err().to_string();
        assert!(message("nonsense").contains("<server uuid>:<interval>"));
        assert!(message("3e11fa47:1").contains("not a server UUID"));
        assert!(message("3e11fa4771ca11e19e33c80aa9429562:1").contains("not a server UUID"));
        assert!(message(&format!("{A}:0")).contains("not an interval"));
        assert!(message(&format!("{A}:1-")).contains("not an interval"));
        assert!(message(&format!("{A}:+1")).contains("not an interval"));
        assert!(message(&format!("{A}:9223372036854775808")).contains("not an interval"));
        assert!(message(&format!("{A}:blue:1-5")).contains("does not support tagged GTIDs"));
    }
}
