//! Formats of times: `format_time(window_start, '%Y-%m-%d %H:%M:%S', 'Europe/Berlin')`.
//!
//! **In** milliseconds since the epoch. **Out** text, in the zone that the query names.
//!
//! **Invariant:** the same everywhere: zones come with the binary, never from the machine, and no locale is asked.
//! **Not here:** the clock.

use bumpalo::Bump;
use jiff::{
    Timestamp, Zoned,
    fmt::strtime,
    tz::{TimeZone, TimeZoneDatabase},
};

use super::TEXT_MAX_BYTES;
use crate::{suggest, value::Datum};

/// Longest text of a format.
const FORMAT_MAX_BYTES: usize = 1 << 10;

/// A format and a zone, both known to be good.
#[derive(Debug)]
pub(crate) struct TimeFormat {
    format: Box<str>,
    zone: TimeZone,
    zone_name: Box<str>,
}

impl TimeFormat {
    /// Reads both.
    ///
    /// - **Errors:** what is wrong, and a way out.
    pub(crate) fn new(format: &str, zone_name: &str) -> Result<Self, (String, Option<String>)> {
        let hint = || Some("for example '%Y-%m-%d %H:%M:%S'".to_owned());
        if format.len() > FORMAT_MAX_BYTES {
            let message = format!("a format has at most {FORMAT_MAX_BYTES} bytes, this one {}", format.len());
            return Err((message, hint()));
        }
        let zone = zone(zone_name)?;
        strtime::format(format, &Zoned::new(Timestamp::UNIX_EPOCH, zone.clone()))
            .map_err(|error| (format!("'{format}' is not a format of times: {error}"), hint()))?;
        Ok(Self { format: format.into(), zone, zone_name: zone_name.into() })
    }

    /// Writes a time; what is none, or outside of the calendar, is NULL.
    pub(super) fn write<'a>(&self, time: Datum<'_>, arena: &'a Bump) -> Datum<'a> {
        let (Datum::Timestamp(ms) | Datum::Int(ms)) = time else { return Datum::Null };
        let Ok(instant) = Timestamp::from_millisecond(ms) else { return Datum::Null };
        match strtime::format(&*self.format, &Zoned::new(instant, self.zone.clone())) {
            Ok(text) if text.len() <= TEXT_MAX_BYTES => Datum::Text(arena.alloc_str(&text)),
            _ => Datum::Null,
        }
    }

    /// Returns the text that tells it from others.
    pub(super) fn source(&self) -> (&str, &str) {
        (&self.format, &self.zone_name)
    }
}

fn zone(name: &str) -> Result<TimeZone, (String, Option<String>)> {
    let zones = TimeZoneDatabase::bundled();
    zones.get(name).map_err(|_| {
        let names: Vec<String> = zones.available().map(|zone| zone.as_str().to_owned()).collect();
        let close = suggest::closest(name, names.iter().map(String::as_str));
        let hint = close.map_or_else(
            || "zones are named after places, as in 'Europe/Berlin'; the default is 'UTC'".to_owned(),
            |close| format!("did you mean '{close}'?"),
        );
        (format!("there is no time zone '{name}'"), Some(hint))
    })
}
