//! What a client says: one text, read as the original reads it.
//!
//! **Invariant:** what is not understood changes nothing. A value that Python calls false means every account. **Not here:** what an account
//! is compared with.

use serde_json::Value;

/// What a client means.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    /// That account alone, or all.
    Filter(Option<Value>),
    /// Goodbye.
    Close,
}

impl Said {
    /// Reads a text.
    ///
    /// - **Errors:** why it is not understood.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        if text == "close" {
            return Ok(Said::Close);
        }
        let message: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
        match message.get("type").and_then(Value::as_str) {
            Some("setFilter") => {}
            _ => return Err("the `type` of a message must be \"setFilter\"".to_owned()),
        }
        let account = message.get("filter").and_then(|filter| filter.get("account"));
        let account = account.ok_or("\"setFilter\" needs `filter`, an object with `account`")?;
        Ok(Said::Filter(Some(account).filter(|account| !is_falsy(account)).cloned()))
    }
}

fn is_falsy(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_is_a_filter_or_goodbye_or_nothing() {
        let filter = |account: Value| Some(Said::Filter(Some(account)));
        let all = || Some(Said::Filter(None));
        for (text, want) in [
            (r#"{"type":"setFilter","filter":{"account":352}}"#, filter(json!(352))),
            (r#"{"type": "setFilter", "filter": {"account": "1"}, "more": 1}"#, filter(json!("1"))),
            (r#"{"type":"setFilter","filter":{"account":[1]}}"#, filter(json!([1]))),
            (r#"{"type":"setFilter","filter":{"account":null}}"#, all()),
            (r#"{"type":"setFilter","filter":{"account":0}}"#, all()),
            (r#"{"type":"setFilter","filter":{"account":-0.0}}"#, all()),
            (r#"{"type":"setFilter","filter":{"account":""}}"#, all()),
            (r#"{"type":"setFilter","filter":{"account":false}}"#, all()),
            (r#"{"type":"setFilter","filter":{"account":[]}}"#, all()),
            (r#"{"type":"setFilter","filter":{}}"#, None),
            (r#"{"type":"setFilter","filter":null}"#, None),
            (r#"{"type":"setFilter"}"#, None),
            (r#"{"type":"setfilter","filter":{"account":1}}"#, None),
            (r#"{"filter":{"account":1}}"#, None),
            ("[]", None),
            ("1", None),
            ("not JSON", None),
            ("", None),
            ("close", Some(Said::Close)),
            ("\"close\"", None),
            ("close ", None),
        ] {
            assert_eq!(Said::read(text).ok(), want, "{text}");
        }
    }
}
