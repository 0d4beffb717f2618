//! Generated records: clicks for `demo` and `produce --preset clicks`, frames in a file of their own.
//!
//! **In** a seed and the time of each record. **Out** JSON objects of about 177 bytes.
//! **Invariant:** the same seed and the same times give the same bytes.

use std::fmt::Write;

mod frames;

pub(crate) use frames::Frames;

/// Videos of the demo: few enough to see each of them move.
const NAMES: [&str; 12] = [
    "otters",
    "volcano",
    "pancakes",
    "aurora",
    "lighthouse",
    "robots",
    "hedgehog",
    "tides",
    "bicycle",
    "thunder",
    "origami",
    "meteors",
];

const COUNTRIES: [&str; 12] = ["DE", "US", "FR", "BR", "IN", "JP", "GB", "PL", "NG", "MX", "KR", "NZ"];
const DEVICES: [&str; 4] = ["phone", "desktop", "tablet", "tv"];

/// A stream of clicks.
#[derive(Debug, Clone)]
pub(super) struct Clicks {
    random: Random,
    users: u64,
    videos: Videos,
    disorder_ms: i64,
}

#[derive(Debug, Clone, Copy)]
enum Videos {
    /// The demo's few, whose popularity comes and goes.
    Named,
    /// `v00000` and so on, the first ones more popular.
    Numbered(u64),
}

impl Clicks {
    /// Clicks of `users` on a thousand numbered videos, out of order by at most `disorder_ms`.
    pub(super) fn numbered(seed: u64, users: u64, disorder_ms: i64) -> Self {
        Self { random: Random(seed), users: users.max(1), videos: Videos::Numbered(1_000), disorder_ms }
    }

    /// Clicks for people to look at.
    pub(super) fn lively(seed: u64) -> Self {
        Self { random: Random(seed), users: 2_000, videos: Videos::Named, disorder_ms: 800 }
    }

    /// Makes the record of a moment.
    pub(super) fn at(&mut self, now_ms: i64) -> String {
        let r = &mut self.random;
        let ts = now_ms
            - if self.disorder_ms > 0 { r.below(self.disorder_ms.cast_unsigned()).cast_signed() } else { 0 };
        let user = r.below(self.users);
        let country = COUNTRIES[skewed(r.fraction(), COUNTRIES.len() as u64) as usize];
        let device = DEVICES[skewed(r.fraction(), DEVICES.len() as u64) as usize];
        let watched = r.below(18_000) as f64 / 100.0;
        let session = r.next() & 0xffff_ffff;
        let mut out = String::with_capacity(192);
        // Writing to a String cannot fail.
        let _ = match self.videos {
            Videos::Named => write!(out, r#"{{"ts":{ts},"video":"{}""#, NAMES[popular(r, now_ms)]),
            Videos::Numbered(n) => write!(out, r#"{{"ts":{ts},"video":"v{:05}""#, skewed(r.fraction(), n)),
        };
        let _ = write!(
            out,
            r#","user":"u{user:06}","country":"{country}","device":"{device}","watched_s":{watched:.2},"referrer":"https://example.org/watch?from=search","session":"{session:08x}"}}"#
        );
        out
    }
}

/// The demo's popularity: each video has its own slow wave, so ranks change while one looks.
fn popular(random: &mut Random, now_ms: i64) -> usize {
    let seconds = now_ms as f64 / 1_000.0;
    let weight = |i: usize| {
        let period = 40.0 + 11.0 * i as f64;
        let wave = (seconds / period * std::f64::consts::TAU + i as f64).sin();
        (1.2 * wave).exp()
    };
    let total: f64 = (0..NAMES.len()).map(weight).sum();
    let mut at = random.fraction() * total;
    for i in 0..NAMES.len() {
        at -= weight(i);
        if at <= 0.0 {
            return i;
        }
    }
    NAMES.len() - 1
}

/// Records a second for the demo at a moment: around `mean`, with waves one can see.
pub(super) fn lively_rate(mean: f64, now_ms: i64) -> f64 {
    let seconds = now_ms as f64 / 1_000.0;
    let slow = (seconds / 47.0 * std::f64::consts::TAU).sin();
    let quick = (seconds / 7.3 * std::f64::consts::TAU).sin();
    mean * (1.0 + 0.35 * slow + 0.15 * quick)
}

/// Few get most: the share of index 0 is about `n^(-1/3)`.
fn skewed(fraction: f64, n: u64) -> u64 {
    ((fraction * fraction * fraction) * n as f64) as u64
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, and good enough for made-up clicks.
#[derive(Debug, Clone)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// In `[0, 1)`.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_clicks_of_about_177_bytes() {
        let make = |seed| -> Vec<String> {
            let mut clicks = Clicks::numbered(seed, 10_000, 2_000);
            (0..1_000).map(|i| clicks.at(1_700_000_000_000 + i)).collect()
        };
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
        for click in make(1) {
            let value: serde_json::Value = serde_json::from_str(&click).unwrap();
            assert!(value["ts"].as_i64().unwrap() > 1_699_999_997_999, "{click}");
            assert!((165..190).contains(&click.len()), "{} {click}", click.len());
        }
    }

    #[test]
    fn lively_clicks_reach_every_video() {
        let mut clicks = Clicks::lively(7);
        let all: Vec<String> = (0..5_000).map(|i| clicks.at(i * 50)).collect();
        for name in NAMES {
            assert!(all.iter().any(|c| c.contains(name)), "{name}");
        }
        assert!((0..1_000).all(|s| (50.0..350.0).contains(&lively_rate(200.0, s * 1_000))));
    }
}
