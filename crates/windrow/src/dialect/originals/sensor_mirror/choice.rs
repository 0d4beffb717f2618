//! Choice: which topics a client wants.
//!
//! | where | what |
//! |---|---|
//! | query of the connection | `topics=a,b` |
//! | auth, or query of the namespace | `{"topics": …}`, the value as below |
//! | `watch_topics` | `null` or nothing: all; `"a,b"`; `["a","b"]`; `{"topics": …}` |
//!
//! **In** what it says. **Out** a filter. **Invariant:** what is no choice changes nothing; a name is text, whatever it holds.

use std::collections::BTreeSet;

use axum::extract::Query;
use serde_json::{Value, value::RawValue};

/// Which topics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Choice {
    /// Every one, also those that come later.
    #[default]
    All,
    /// Not a single one.
    None,
    /// These.
    Some(BTreeSet<Box<str>>),
}

impl Choice {
    /// Reads the query of a connection; `None`: it says nothing of topics.
    pub(super) fn of_query(query: &str) -> Option<Self> {
        let uri = format!("/?{query}").parse().ok()?;
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&uri).ok()?;
        let (_, text) = pairs.iter().rev().find(|(name, _)| name == "topics")?;
        Some(Self::of_names(text.split(',')))
    }

    /// Reads the auth of a client.
    pub(super) fn of_auth(auth: &str) -> Option<Self> {
        let auth: Value = serde_json::from_str(auth).ok()?;
        Self::of_value(auth.get("topics")?)
    }

    /// Reads the argument of `watch_topics`; `None`: it makes no sense.
    pub(super) fn of_argument(argument: Option<&RawValue>) -> Option<Self> {
        let Some(argument) = argument else { return Some(Choice::All) };
        let value: Value = serde_json::from_str(argument.get()).ok()?;
        match &value {
            Value::Object(members) => Self::of_value(members.get("topics")?),
            value => Self::of_value(value),
        }
    }

    fn of_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(Choice::All),
            // No topic has a comma in its name.
            Value::String(text) => Some(Self::of_names(text.split(','))),
            Value::Array(list) => Some(Self::of_names(list.iter().filter_map(Value::as_str))),
            _ => None,
        }
    }

    fn of_names<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let names: BTreeSet<Box<str>> =
            names.map(str::trim).filter(|name| !name.is_empty()).map(Into::into).collect();
        if names.is_empty() { Choice::None } else { Choice::Some(names) }
    }

    /// Chooses one topic.
    pub(super) fn one(topic: &str) -> Self {
        Choice::Some([topic.into()].into())
    }

    /// Writes the filter of the rows of these topics; `None` where they are not listed.
    pub(super) fn filter(&self, column: &str) -> Option<String> {
        let Choice::Some(names) = self else { return None };
        let quoted: Vec<String> =
            names.iter().map(|name| format!("'{}'", name.replace('\'', "''"))).collect();
        Some(format!("\"{}\" IN ({})", column.replace('"', "\"\""), quoted.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(choice: Option<Choice>) -> String {
        match choice {
            None => "nothing said".to_owned(),
            Some(choice) => choice.filter("_topic").unwrap_or_else(|| format!("{choice:?}")),
        }
    }

    #[test]
    fn a_choice_is_said_in_many_ways() {
        for (query, want) in [
            ("EIO=3&transport=polling", "nothing said"),
            ("EIO=3&topics=b,a&t=1", r#""_topic" IN ('a', 'b')"#),
            ("topics=a%2Cb%27", r#""_topic" IN ('a', 'b''')"#),
            ("topics=", "None"),
        ] {
            assert_eq!(filter(Choice::of_query(query)), want, "{query}");
        }
        for (argument, want) in [
            ("null", "All"),
            ("\"a\"", r#""_topic" IN ('a')"#),
            ("[\"b\",\"a\",5,\"a\"]", r#""_topic" IN ('a', 'b')"#),
            ("{\"topics\":[\"a\"]}", r#""_topic" IN ('a')"#),
            ("{\"topics\":null}", "All"),
            ("[]", "None"),
            ("{}", "nothing said"),
            ("5", "nothing said"),
        ] {
            let raw: Box<RawValue> = serde_json::from_str(argument).unwrap();
            assert_eq!(filter(Choice::of_argument(Some(&raw))), want, "{argument}");
        }
        assert_eq!(filter(Choice::of_argument(None)), "All");
        assert_eq!(filter(Choice::of_auth(r#"{"topics":"a,b"}"#)), r#""_topic" IN ('a', 'b')"#);
        assert_eq!(filter(Choice::of_auth(r#"{"token":"x"}"#)), "nothing said");
        assert_eq!(Choice::of_names(["a"].into_iter()).filter("to\"pic").unwrap(), r#""to""pic" IN ('a')"#);
    }
}
