//! Frames of a page-view stream, the shape of a well-known exercise: a time, a user, and much that no view reads.
//!
//! ```text
//! {"ts":1468244385,"uid":"50efd97274f5fa8a054","page":{…},"agent":"…","tags":[…],…}      about 2.1 KB
//! ```
//!
//! **Invariant:** the same seed and the same times give the same frames; times are whole seconds.
//! **Not here:** how many, and when.

use std::{fmt::Write, time::Duration};

use super::Random;

/// Different texts of what no view reads: making one takes longer than all the rest.
const FILLERS: usize = 64;
/// Length of each; with time and user a frame has some 2,100 bytes.
const FILLER_BYTES: usize = 2_060;
/// Most that one of its tags takes, and what ends the list.
const LAST_BYTES: usize = 90;

const WORDS: [&str; 12] = [
    "news",
    "sport",
    "weather",
    "culture",
    "travel",
    "market",
    "opinion",
    "science",
    "Zürich",
    "a\\u00e9ro",
    "\\\"quoted\\\"",
    "back\\\\slash",
];

/// A stream of frames.
#[derive(Debug)]
pub(crate) struct Frames {
    random: Random,
    seed: u64,
    users: u64,
    disorder_ms: u64,
    fillers: Vec<String>,
}

impl Frames {
    /// Frames of `users`, out of order by at most `disorder`.
    pub(crate) fn new(seed: u64, users: u64, disorder: Duration) -> Self {
        let mut random = Random(seed);
        let fillers = (0..FILLERS).map(|_| filler(&mut random)).collect();
        let disorder_ms = u64::try_from(disorder.as_millis()).unwrap_or(u64::MAX);
        Self { random, seed, users: users.max(1), disorder_ms, fillers }
    }

    /// Appends the frame of a moment, without the end of its line.
    pub(crate) fn push(&mut self, at_ms: i64, out: &mut Vec<u8>) {
        let back_ms =
            if self.disorder_ms > 0 { self.random.below(self.disorder_ms).cast_signed() } else { 0 };
        let ts = at_ms.saturating_sub(back_ms).div_euclid(1_000);
        let user = self.random.below(self.users);
        // A name that looks like one, and is the user's in every frame.
        let mut name = Random(self.seed ^ user.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (high, low) = (name.next(), name.next() & 0xfff);
        let filler = &self.fillers[self.random.below(FILLERS as u64) as usize];
        // Writing to a Vec cannot fail.
        let _ = std::io::Write::write_fmt(
            out,
            format_args!("{{\"ts\":{ts},\"uid\":\"{high:016x}{low:03x}\",{filler}}}"),
        );
    }
}

/// Makes the members after `ts` and `uid`, without the braces around them.
fn filler(random: &mut Random) -> String {
    let mut out = String::with_capacity(FILLER_BYTES + 256);
    let word = |random: &mut Random| WORDS[random.below(WORDS.len() as u64) as usize];
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "\"page\":{{\"url\":\"https://example.org/{}/{}\",\"depth\":{},\"referrer\":null,\"secure\":true}},\"agent\":\"Mozilla/5.0 (X11; \
         Linux x86_64; rv:{}.0)\",\"screen\":[{},{}],\"tags\":[",
        word(random),
        random.below(1_000_000),
        random.below(9),
        40 + random.below(20),
        800 + random.below(1_200),
        600 + random.below(900),
    );
    while out.len() < FILLER_BYTES - LAST_BYTES {
        let (weight, id) = (random.below(10_000) as f64 / 10_000.0, random.next());
        let _ = write!(out, "{{\"name\":\"{}\",\"weight\":{weight},\"id\":\"{id:016x}\"}},", word(random));
    }
    let _ = write!(out, "{{}}],\"pad\":\"");
    while out.len() < FILLER_BYTES - 1 {
        out.push('.');
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const START_MS: i64 = 1_468_244_385_000;

    fn frames(seed: u64, disorder: Duration, n: i64) -> Vec<String> {
        let mut maker = Frames::new(seed, 500, disorder);
        let make = |i| {
            let mut out = Vec::new();
            maker.push(START_MS + i, &mut out);
            String::from_utf8(out).unwrap()
        };
        (0..n).map(make).collect()
    }

    #[test]
    fn a_seed_gives_the_same_frames_of_about_2100_bytes() {
        let made = frames(1, Duration::ZERO, 3_000);
        assert_eq!(made, frames(1, Duration::ZERO, 3_000));
        assert_ne!(made, frames(2, Duration::ZERO, 3_000));
        let mut users = BTreeSet::new();
        for (i, frame) in made.iter().enumerate() {
            let value: serde_json::Value = serde_json::from_str(frame).unwrap();
            assert_eq!(value["ts"].as_i64(), Some(START_MS / 1_000 + i as i64 / 1_000));
            let uid = value["uid"].as_str().unwrap();
            assert_eq!(uid.len(), 19, "{uid}");
            users.insert(uid.to_owned());
            assert!((2_080..2_130).contains(&frame.len()), "{}", frame.len());
        }
        // 500 users, each missed by 3,000 frames once in 400.
        assert!((490..=500).contains(&users.len()), "{}", users.len());
    }

    #[test]
    fn disorder_takes_frames_back_and_never_forward() {
        let made = frames(3, Duration::from_secs(5), 2_000);
        let times = made.iter().map(|frame| serde_json::from_str::<serde_json::Value>(frame).unwrap());
        let times: BTreeSet<i64> =
            times.map(|frame| frame["ts"].as_i64().unwrap() - START_MS / 1_000).collect();
        assert!(times.first().is_some_and(|first| *first >= -5), "{times:?}");
        assert!(times.last().is_some_and(|last| *last <= 1), "{times:?}");
        assert!(times.len() > 5, "{times:?}");
    }
}
