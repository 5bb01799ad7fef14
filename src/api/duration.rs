//! Durations as Go and Vitess write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A non-negative duration in Go's notation: `10s`, `1m30s`, `1.5h`, `0`. Written back in hours, minutes and seconds.
///
/// Source of the grammar: Go's `time.ParseDuration`; a sign is not accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(pub Duration);

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a non-negative duration such as 10s, 1m30s or 6h")]
pub struct ParseDurationError(String);

const UNITS: [(&str, f64); 8] =
    [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("μs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

impl FromStr for GoDuration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseDurationError(text.to_owned());
        if text == "0" {
            return Ok(Self::default());
        }
        let mut rest = text;
        let mut seconds = 0.0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
            let (number, tail) = rest.split_at(digits);
            let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_end);
            let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
            seconds += number.parse::<f64>().map_err(|_| wrong())? * factor;
            rest = tail;
        }
        if text.is_empty() {
            return Err(wrong());
        }
        // Rounded to nanoseconds, as Go does; f64 holds them exactly up to 104 days.
        Duration::try_from_secs_f64(seconds).map(Self).map_err(|_| wrong())
    }
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

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_duration_reads_back_as_it_was_written(millis in 0u64..4_000_000_000) {
            let duration = GoDuration(Duration::from_millis(millis));
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
        let read = ["10s", "1m30s", "1.5h", "250ms", "0", "0s"].map(millis);
        assert_eq!(read, [10_000, 90_000, 5_400_000, 250, 0, 0]);
    }

    #[test]
    fn a_wrong_duration_says_what_is_wanted() {
        for text in ["", "10", "-5s", "1x", "s", "1.2.3s", "tomorrow"] {
            let message = text.parse::<GoDuration>().unwrap_err().to_string();
            assert!(message.contains("such as 10s, 1m30s or 6h"), "{text}: {message}");
        }
    }
}
