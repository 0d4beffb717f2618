//! Units: `"250ms"`, `"30d"`, `"64MiB"`.
//!
//! **Invariant:** a whole number and a unit; nothing is guessed, nothing overflows.

use std::time::Duration;

/// Longest duration: a hundred years, so that sums of them and of timestamps stay far inside 64 bits.
const DURATION_MAX_MS: u64 = 36_500 * 86_400_000;

const DURATIONS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZES: [(&str, u64); 5] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// Reads a duration: `ms`, `s`, `m`, `h`, `d`; `None` when it is none.
pub fn duration(text: &str) -> Option<Duration> {
    read(text, &DURATIONS).filter(|ms| *ms <= DURATION_MAX_MS).map(Duration::from_millis)
}

/// Reads a size in bytes: `B`, `KiB`, `MiB`, `GiB`, `TiB`; `None` when it is none.
pub fn size(text: &str) -> Option<u64> {
    read(text, &SIZES)
}

/// Writes a duration with the largest unit that keeps it whole.
pub fn show_duration(duration: Duration) -> String {
    match duration.as_millis() as u64 {
        0 => "0s".to_owned(),
        ms => show(ms, &DURATIONS),
    }
}

/// Writes a size with the largest unit that keeps it whole.
pub fn show_size(bytes: u64) -> String {
    show(bytes, &SIZES)
}

fn read(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().ok()?;
    let unit = unit.trim_start();
    if number == 0 && unit.is_empty() {
        return Some(0);
    }
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

fn show(n: u64, units: &[(&str, u64)]) -> String {
    let whole = units.iter().rev().find(|(_, factor)| n != 0 && n.is_multiple_of(*factor));
    let (name, factor) = whole.unwrap_or(&units[0]);
    format!("{}{name}", n / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_a_number_and_a_unit() {
        for (text, want) in [
            ("250ms", Some(250)),
            ("2 s", Some(2_000)),
            ("30d", Some(2_592_000_000)),
            ("0", Some(0)),
            ("5", None),
            ("1.5s", None),
            ("-1s", None),
            ("5 minutes", None),
            ("99999999999999999999s", None),
            ("36501d", None),
        ] {
            assert_eq!(duration(text).map(|d| d.as_millis()), want, "{text}");
        }
        for (text, want) in
            [("64MiB", Some(64 << 20)), ("7B", Some(7)), ("64MB", None), ("99999999TiB", None)]
        {
            assert_eq!(size(text), want, "{text}");
        }
        assert_eq!(show_duration(Duration::from_secs(90)), "90s");
        assert_eq!(show_duration(Duration::from_secs(3_600)), "1h");
        assert_eq!(show_size(64 << 20), "64MiB");
        assert_eq!(show_size(0), "0B");
    }
}
