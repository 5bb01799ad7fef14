//! Durations as Go and Vitess write them, on command lines and in objects.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A non-negative duration in Go's notation: `10s`, `1m30s`, `1.5h`, `0`. Written back in hours, minutes and seconds.
///
/// Source of the grammar: Go's `time.ParseDuration`; a sign is not accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(pub Duration);

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a non-negative duration such as 10s, 1m30s or 6h")]
pub struct ParseDurationError(String);

impl FromStr for GoDuration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "0" {
            return Ok(Self::default());
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
        let (seconds, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        if seconds == 0 && nanos == 0 {
            return f.write_str("0s");
        }
        if seconds >= 3600 {
            write!(f, "{}h", seconds / 3600)?;
        }
        if seconds % 3600 >= 60 {
            write!(f, "{}m", seconds % 3600 / 60)?;
        }
        match (seconds % 60, nanos) {
            (0, 0) => Ok(()),
            (whole, 0) => write!(f, "{whole}s"),
            (whole, nanos) => write!(f, "{whole}.{}s", format!("{nanos:09}").trim_end_matches('0')),
        }
    }
}

serde_as_text!(GoDuration);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_duration_reads_back_as_it_was_written(nanoseconds in 0u64..1_000_000_000_000_000) {
            let duration = GoDuration(Duration::from_nanos(nanoseconds));
            prop_assert_eq!(duration.to_string().parse::<GoDuration>().unwrap(), duration);
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = text.parse::<GoDuration>();
        }
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let millis = |text: &str| text.parse::<GoDuration>().unwrap().0.as_millis();
        let read = ["10s", "1m30s", "1.5h", "250ms", "0", "0s", "1h0m0s", ".5s"].map(millis);
        assert_eq!(read, [10_000, 90_000, 5_400_000, 250, 0, 0, 3_600_000, 500]);
    }

    #[test]
    fn durations_are_written_as_short_as_go_reads_them() {
        let written =
            ["6h", "1h0m0s", "90s", "1.5s", "0", "3601s"].map(|text| text.parse::<GoDuration>().unwrap().to_string());
        assert_eq!(written, ["6h", "1h", "1m30s", "1.5s", "0s", "1h1s"]);
    }

    #[test]
    fn a_wrong_duration_says_what_is_wanted() {
        for text in
            ["", "10", "-5s", "1x", "1d", "s", ".s", "1.2.3s", "1..5s", "1 s", "99999999999999999999h", "tomorrow"]
        {
            let message = text.parse::<GoDuration>().unwrap_err().to_string();
            assert!(message.contains("such as 10s, 1m30s or 6h"), "{text}: {message}");
        }
    }
}
