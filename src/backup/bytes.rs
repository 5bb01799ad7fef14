//! Amounts of bytes as people and Kubernetes write them.

use std::fmt;
use std::str::FromStr;

/// A number of bytes: `268435456`, `256MiB`, `256Mi`, `256M`, `1.5GB`. `Ki`, `Mi` … are powers of 1024, `k`, `M` … of 1000,
/// as in Kubernetes; a `B` after them changes nothing. `Display` writes the largest binary unit that fits without a rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an amount of bytes such as 268435456, 256MiB or 1.5G")]
pub struct ParseByteSizeError(String);

const UNITS: [(&str, u64); 12] = [
    ("Ei", 1 << 60),
    ("Pi", 1 << 50),
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("E", 1_000_000_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
];

impl FromStr for ByteSize {
    type Err = ParseByteSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map(Self).ok_or_else(|| ParseByteSizeError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_suffix('B').unwrap_or(unit);
    let scale = match unit {
        "" => 1,
        "K" => 1000,
        unit => UNITS.iter().find(|(name, _)| *name == unit)?.1,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    let divisor = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    whole.checked_add(u64::try_from(fraction * u128::from(scale) / divisor).ok()?)
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |scale: &u64| self.0 >= *scale && self.0.is_multiple_of(*scale);
        match UNITS.iter().find(|(name, scale)| name.ends_with('i') && fits(scale)) {
            Some((name, scale)) => write!(f, "{}{name}B", self.0 / scale),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_and_kubernetes_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("268435456", 268_435_456),
            ("256MiB", 268_435_456),
            ("256Mi", 268_435_456),
            ("50M", 50_000_000),
            ("50MB", 50_000_000),
            ("10k", 10_000),
            ("10K", 10_000),
            ("1.5GiB", 1_610_612_736),
            ("0.5Ki", 512),
            ("15Ei", 15 << 60),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "MiB", "1.2.3M", "-1", "1 MiB", "16Ei", "100m", "1e3", ".5G", "1MiBB", "18446744073709551616"]
        {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_reads_back(bytes: u64, shift in 0..60_u32) {
            let size = ByteSize(bytes >> shift << (shift / 2));
            proptest::prop_assert_eq!(size.to_string().parse(), Ok(size));
        }
    }

    #[test]
    fn whole_units_are_written_as_such() {
        let written = [0, 1023, 1024, 268_435_456, 1_000_000].map(|bytes| ByteSize(bytes).to_string());
        assert_eq!(written, ["0", "1023", "1KiB", "256MiB", "1000000"]);
    }
}
