//! What a client asks for in its handshake.
//!
//! | in the query | |
//! |---|---|
//! | `organization_id` | a whole number; needed |
//! | `user_id` | a whole number; needed, and looked at by nobody; not where tokens are asked for |
//! | `channel` | a further channel; may be there several times |
//! | `data` | `true`: events carry their row as `data` |
//! | `resume` | `true`: events and pings carry positions |
//! | `from` | `channel:position`; may be there several times: what came after it is told first. Implies `resume` |
//! | `token` | a token, where a header `authorization: bearer` cannot be sent |
//!
//! **Invariant:** of a name that is there several times the last counts, as in the original; what is not known is not looked at.

use axum::http::{
    HeaderMap, Uri,
    header::AUTHORIZATION,
    uri::{Parts, PathAndQuery},
};
use windrow_core::position::Position;

use super::Events;
use crate::hub::StartFrom;

/// What a client asks for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) organization: i64,
    /// Places of channels in the configuration, each with the position after which it goes on.
    pub(super) channels: Vec<(usize, Option<Box<Position>>)>,
    pub(super) wants_data: bool,
    pub(super) wants_positions: bool,
    /// When its token ends, in seconds since the epoch.
    pub(super) expires: Option<f64>,
}

impl Asked {
    /// Reads a handshake.
    ///
    /// - **Errors:** why it is refused, for the log.
    pub(super) fn read(
        events: &Events,
        channel: &str,
        query: &str,
        headers: &HeaderMap,
    ) -> Result<Self, &'static str> {
        let pairs = pairs(query)?;
        let last = |name: &str| pairs.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let organization = integer(last("organization_id")).ok_or("organization_id is no whole number")?;
        let mut expires = None;
        match &events.tokens {
            None => drop(integer(last("user_id")).ok_or("user_id is no whole number")?),
            Some(tokens) => {
                let token = bearer(headers).or_else(|| last("token")).ok_or("there is no token")?;
                expires = tokens.admit(token, organization, now_s())?;
            }
        }
        let place = |name: &str| {
            events.config.channels.iter().position(|known| known.name == name).ok_or("unknown channel")
        };
        let mut channels = vec![(place(channel)?, None)];
        for (_, name) in pairs.iter().filter(|(name, _)| name == "channel") {
            let place = place(name)?;
            if channels.iter().all(|(known, _)| *known != place) {
                channels.push((place, None));
            }
        }
        let mut resumes = false;
        for (_, from) in pairs.iter().filter(|(name, _)| name == "from") {
            let (name, position) = from.split_once(':').ok_or("from is no channel:position")?;
            let StartFrom::Position(position) =
                StartFrom::parse(Some(position)).map_err(|_| "bad position")?
            else {
                return Err("from is no position");
            };
            let place = place(name)?;
            let of = channels.iter_mut().find(|(known, _)| *known == place);
            of.ok_or("from is of a channel that is not asked for")?.1 = Some(position);
            resumes = true;
        }
        let wants_positions = truth(last("resume"))? || resumes;
        Ok(Self { organization, channels, wants_data: truth(last("data"))?, wants_positions, expires })
    }
}

fn pairs(query: &str) -> Result<Vec<(String, String)>, &'static str> {
    let mut parts = Parts::default();
    let path = PathAndQuery::try_from(format!("/?{query}")).map_err(|_| "the query is malformed")?;
    parts.path_and_query = Some(path);
    let uri = Uri::from_parts(parts).map_err(|_| "the query is malformed")?;
    let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri);
    pairs.map(|pairs| pairs.0).map_err(|_| "the query is malformed")
}

/// Digits alone, with a minus before them or none.
fn integer(text: Option<&str>) -> Option<i64> {
    let text = text?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_whole)
}

fn truth(text: Option<&str>) -> Result<bool, &'static str> {
    match text {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(_) => Err("data and resume are true or false"),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The wall clock, in seconds since the epoch.
pub(super) fn now_s() -> f64 {
    jiff::Timestamp::now().as_millisecond() as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_digits_and_nothing_else() {
        for (text, want) in [
            ("1", Some(1)),
            ("-7", Some(-7)),
            ("007", Some(7)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("", None),
            ("-", None),
            ("+1", None),
            (" 1", None),
            ("1.0", None),
            ("1e3", None),
            ("1_000", None),
            ("0x1", None),
            ("true", None),
            ("١", None),
        ] {
            assert_eq!(integer(Some(text)), want, "{text:?}");
        }
    }
}
