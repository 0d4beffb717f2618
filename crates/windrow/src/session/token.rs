//! Tokens: all that a session holds, as one text that any node can take up again.
//!
//! **In** what is subscribed to, and how far it was told. **Out** base64url of
//! `version, seal, sid, [number, tick, channel, filter, position]`, whole numbers as LEB128, texts with their length.
//! **Invariant:** pure; at most [`TOKEN_MAX_BYTES`], else there is none; whatever was not written for the same `pid` is refused by the seal, and
//! nothing panics or allocates more than its input allows. A token grants nothing: what it names is asked for anew.
//! **Not here:** whether a position still holds (`hub`).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use windrow_core::{
    hub::Tick,
    position::{Position, stable_hash},
};

/// Longest token: clients carry it in every event.
pub(super) const TOKEN_MAX_BYTES: usize = 1024;

const VERSION: u8 = 1;
/// Version and seal.
const PREFIX_BYTES: usize = 9;

/// One subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held<'a> {
    pub(super) number: i64,
    pub(super) tick: Tick,
    pub(super) channel: &'a str,
    pub(super) filter: Option<&'a str>,
    /// A position, as text.
    pub(super) at: &'a str,
}

/// One subscription, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) number: i64,
    pub(super) tick: Tick,
    pub(super) channel: String,
    pub(super) filter: Option<String>,
    pub(super) at: Position,
}

/// Writes a token for the client of that `pid`; `None` when it would be too long.
pub(super) fn write<'a>(pid: &str, sid: &str, held: impl Iterator<Item = Held<'a>>) -> Option<String> {
    let mut raw = vec![VERSION];
    raw.resize(PREFIX_BYTES, 0);
    put_text(sid.as_bytes(), &mut raw);
    for held in held {
        put(zigzag(held.number), &mut raw);
        put(Tick::ALL.iter().position(|(tick, _)| *tick == held.tick)? as u64, &mut raw);
        put_text(held.channel.as_bytes(), &mut raw);
        match held.filter {
            None => put(0, &mut raw),
            Some(filter) => {
                put(1, &mut raw);
                put_text(filter.as_bytes(), &mut raw);
            }
        }
        put_text(&URL_SAFE_NO_PAD.decode(held.at).ok()?, &mut raw);
    }
    let seal = stable_hash([pid.as_bytes(), &raw[PREFIX_BYTES..]]);
    raw[1..PREFIX_BYTES].copy_from_slice(&seal.to_le_bytes());
    let text = URL_SAFE_NO_PAD.encode(raw);
    (text.len() <= TOKEN_MAX_BYTES).then_some(text)
}

/// Reads a token that the client of that `pid` brings: its sid, and what it held.
pub(super) fn read(pid: &str, token: &str) -> Option<(String, Vec<Taken>)> {
    if token.len() > TOKEN_MAX_BYTES {
        return None;
    }
    let raw = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (head, mut rest) = raw.split_at_checked(PREFIX_BYTES)?;
    let seal = stable_hash([pid.as_bytes(), rest]).to_le_bytes();
    if head[0] != VERSION || head[1..] != seal {
        return None;
    }
    let sid = text(&mut rest)?;
    let mut taken = Vec::new();
    while !rest.is_empty() {
        let number = unzigzag(take(&mut rest)?);
        let (tick, _) = *Tick::ALL.get(usize::try_from(take(&mut rest)?).ok()?)?;
        let channel = text(&mut rest)?;
        let filter = match take(&mut rest)? {
            0 => None,
            1 => Some(text(&mut rest)?),
            _ => return None,
        };
        let at = Position::decode(&URL_SAFE_NO_PAD.encode(bytes(&mut rest)?)).ok()?;
        taken.push(Taken { number, tick, channel, filter, at });
    }
    Some((sid, taken))
}

fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)).cast_unsigned()
}

fn unzigzag(n: u64) -> i64 {
    (n >> 1).cast_signed() ^ -(n & 1).cast_signed()
}

fn put(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn put_text(text: &[u8], out: &mut Vec<u8>) {
    put(text.len() as u64, out);
    out.extend_from_slice(text);
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut n = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, after) = rest.split_first()?;
        *rest = after;
        n |= u64::from(first & 0x7f).checked_shl(shift)?;
        if first & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

fn bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(take(rest)?).ok()?;
    let (bytes, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(bytes)
}

fn text(rest: &mut &[u8]) -> Option<String> {
    String::from_utf8(bytes(rest)?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use windrow_core::position::TopicPosition;

    use super::*;

    fn position(offset: i64) -> Position {
        let topics = vec![TopicPosition { epoch: 9, offsets: vec![(0, offset)] }];
        Position { question: 7, topics, is_begun: false }
    }

    #[test]
    fn a_token_is_for_its_client_alone_and_not_a_bit_of_it_may_change() {
        let at = position(3).encode().unwrap();
        let held =
            Held { number: -2, tick: Tick::Quarter, channel: "likes", filter: Some("id = 'a'"), at: &at };
        let token = write("pid", "sid", [held.clone()].into_iter()).unwrap();
        let (sid, taken) = read("pid", &token).unwrap();
        let want = Taken {
            number: -2,
            tick: Tick::Quarter,
            channel: "likes".to_owned(),
            filter: Some("id = 'a'".to_owned()),
            at: position(3),
        };
        assert_eq!((sid.as_str(), taken), ("sid", vec![want]));
        assert_eq!(read("other", &token), None);
        for i in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[i] = if changed[i] == b'A' { b'B' } else { b'A' };
            assert_eq!(read("pid", std::str::from_utf8(&changed).unwrap()), None, "{i}");
            assert_eq!(read("pid", &token[..i]), None, "{i}");
        }
    }

    #[test]
    fn what_does_not_fit_has_no_token() {
        let at = position(3).encode().unwrap();
        let filter = "x".repeat(800);
        let held = Held { number: 1, tick: Tick::Now, channel: "likes", filter: Some(&filter), at: &at };
        assert_eq!(write("pid", "sid", [held].into_iter()), None);
    }

    proptest! {
        #[test]
        fn every_number_comes_back(number in any::<i64>()) {
            let at = position(0).encode().unwrap();
            let held = Held { number, tick: Tick::Now, channel: "a", filter: None, at: &at };
            let (_, taken) = read("p", &write("p", "s", [held].into_iter()).unwrap()).unwrap();
            prop_assert_eq!(taken[0].number, number);
        }

        #[test]
        fn hostile_tokens_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            // Sealed as if it were ours, so that all of it is read.
            let seal = stable_hash([&b"p"[..], &bytes]).to_le_bytes();
            let raw = [&[VERSION], &seal[..], &bytes].concat();
            let _ = read("p", &URL_SAFE_NO_PAD.encode(raw));
        }
    }
}
