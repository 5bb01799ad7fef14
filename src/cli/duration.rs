//! Durations as Go and Vitess write them: `10s`, `1m30s`, `1.5h`, `0`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A duration given on the command line.
///
/// The grammar is that of Go's `time.ParseDuration` without the sign: decimal numbers, each with an optional fraction and
/// a unit (`ns`, `us`, `µs`, `ms`, `s`, `m`, `h`), written one after the other; `0` needs no unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(pub Duration);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration such as 10s, 1m30s or 6h")]
pub struct ParseDurationError(String);

impl FromStr for GoDuration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        parse(text).map(Self).ok_or_else(|| ParseDurationError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut nanoseconds: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, remainder) = after.split_at(unit_end);
        nanoseconds = nanoseconds.checked_add(part(number, unit)?)?;
        rest = remainder;
    }
    Some(Duration::from_nanos(nanoseconds))
}

fn part(number: &str, unit: &str) -> Option<u64> {
    let scale: u64 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3600 * 1_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanoseconds = whole.checked_mul(scale)?;
    let mut weight = scale;
    for digit in fraction.bytes() {
        weight /= 10;
        nanoseconds = nanoseconds.checked_add(u64::from(digit - b'0') * weight)?;
    }
    Some(nanoseconds)
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let fraction = self.0.subsec_nanos();
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        if fraction == 0 {
            return write!(f, "{seconds}s");
        }
        let digits = format!("{fraction:09}");
        write!(f, "{seconds}.{}s", digits.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("0", 0)]
    #[case("10s", 10_000)]
    #[case("1m30s", 90_000)]
    #[case("6h", 21_600_000)]
    #[case("1h0m0s", 3_600_000)]
    #[case("1.5h", 5_400_000)]
    #[case(".5s", 500)]
    #[case("250ms", 250)]
    fn a_duration_is_read_as_go_reads_it(#[case] text: &str, #[case] milliseconds: u64) {
        assert_eq!(text.parse(), Ok(GoDuration(Duration::from_millis(milliseconds))));
    }

    #[rstest]
    #[case("")]
    #[case("10")]
    #[case("s")]
    #[case(".s")]
    #[case("-1s")]
    #[case("1d")]
    #[case("1..5s")]
    #[case("1 s")]
    #[case("99999999999999999999h")]
    fn what_go_would_refuse_is_refused(#[case] text: &str) {
        let refusal = text.parse::<GoDuration>().unwrap_err().to_string();
        assert!(refusal.contains("is not a duration such as 10s, 1m30s or 6h"), "{refusal}");
    }

    proptest! {
        #[test]
        fn a_duration_reads_back_as_it_was_written(nanoseconds in 0u64..1_000_000_000_000_000) {
            let duration = GoDuration(Duration::from_nanos(nanoseconds));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }
    }
}
