//! Faults: what a client did wrong or cannot have, as a code, a sentence and sometimes a place.
//!
//! **Invariant:** a code never changes its meaning; `docs/PROTOCOL.md` lists them all.

use std::fmt;

/// One refusal, ready to be told in any dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Stable name, for programs.
    pub code: &'static str,
    /// Sentence, for people.
    pub message: String,
    /// Where in the filter, from 1.
    pub column: Option<usize>,
    /// What to try instead.
    pub hint: Option<String>,
}

impl Fault {
    /// Makes a refusal without a place.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), column: None, hint: None }
    }

    /// Returns the fitting HTTP status.
    pub fn status(&self) -> u16 {
        match self.code {
            "unknown_channel" => 404,
            "forbidden" => 403,
            "not_ready" | "channel_full" | "draining" | "overloaded" => 503,
            "too_many_filters" | "too_many_subscriptions" | "too_many_messages" => 429,
            _ => 400,
        }
    }

    /// Tells whether the same request may be answered later, without a change of its own.
    pub fn passes(&self) -> bool {
        self.code == "slow" || matches!(self.status(), 429 | 503) && self.code != "too_many_subscriptions"
    }

    /// Appends `{"code":…,"message":…}` with `column` and `hint` where known.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        use windrow_core::value::write_text;
        out.extend_from_slice(b"{\"code\":");
        write_text(self.code, out);
        out.extend_from_slice(b",\"message\":");
        write_text(&self.message, out);
        if let Some(column) = self.column {
            out.extend_from_slice(format!(",\"column\":{column}").as_bytes());
        }
        if let Some(hint) = &self.hint {
            out.extend_from_slice(b",\"hint\":");
            write_text(hint, out);
        }
        out.push(b'}');
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_told_from_what_the_client_must_change() {
        for (code, status, passes) in [
            ("not_ready", 503, true),
            ("draining", 503, true),
            ("overloaded", 503, true),
            ("channel_full", 503, true),
            ("too_many_filters", 429, true),
            ("slow", 400, true),
            ("too_many_subscriptions", 429, false),
            ("unknown_channel", 404, false),
            ("bad_filter", 400, false),
            ("forbidden", 403, false),
        ] {
            let fault = Fault::new(code, "");
            assert_eq!((fault.status(), fault.passes()), (status, passes), "{code}");
        }
    }
}
