//! Address: how brokers are named by people.
//!
//! **In** `host`, `host:port`, `[v6]:port`, each perhaps behind `kafka://`; several in one text. **Out** `host:port`. **Invariant:** what is not one is refused, never
//! guessed at: a scheme that names a protocol (`ssl://`, `kafka+ssl://`) too, since `security.protocol` chooses it, and one choice in two
//! places would differ one day. **Not here:** resolving.

/// Kafka's own.
const PORT: u16 = 9092;

/// Separates addresses: by commas, as Kafka's clients have them, or by semicolons, as Faust has its URLs.
pub(crate) fn addresses(list: &str) -> impl Iterator<Item = &str> {
    list.split([',', ';']).map(str::trim).filter(|text| !text.is_empty())
}

/// Reads one address, or says what an address is.
pub(crate) fn address(text: &str) -> Result<String, &'static str> {
    let rest = text.trim();
    let rest = rest.strip_prefix("kafka://").unwrap_or(rest);
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains("://") {
        return Err("only kafka:// may stand before host:port; `security.protocol` chooses the protocol");
    }
    const RULE: &str = "must be host:port, or several with commas between";
    if rest.is_empty() || rest.contains(|c: char| c.is_whitespace() || c == '/' || c == '@') {
        return Err(RULE);
    }
    // An IPv6 address has its colons in brackets.
    let after_host = rest.rsplit_once(']').map_or(rest, |(_, after)| after);
    match after_host.rsplit_once(':') {
        Some((host, _)) if host.contains(':') => Err("an IPv6 address stands in brackets: [::1]:9092"),
        Some((host, port)) if !(host.is_empty() && after_host.len() == rest.len()) => {
            port.parse::<u16>().map(|_| rest.to_owned()).map_err(|_| RULE)
        }
        Some(_) => Err(RULE),
        None => Ok(format!("{rest}:{PORT}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_stand_in_one_text() {
        for (list, wanted) in [
            ("a:1", vec!["a:1"]),
            ("a:1, kafka://b,", vec!["a:1", "kafka://b"]),
            ("kafka://a:1;kafka://b:1;c", vec!["kafka://a:1", "kafka://b:1", "c"]),
            (" ; ,", vec![]),
        ] {
            assert_eq!(addresses(list).collect::<Vec<_>>(), wanted, "{list}");
        }
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let good = [
            ("a", "a:9092"),
            ("a:1", "a:1"),
            (" kafka://a.example.org ", "a.example.org:9092"),
            ("kafka://a:9093/", "a:9093"),
            ("127.0.0.1", "127.0.0.1:9092"),
            ("[::1]", "[::1]:9092"),
            ("[::1]:9093", "[::1]:9093"),
        ];
        for (text, wanted) in good {
            assert_eq!(address(text).as_deref(), Ok(wanted), "{text}");
        }
        let bad = [
            ("", "host:port"),
            ("kafka://", "host:port"),
            (":9092", "host:port"),
            ("a:", "host:port"),
            ("a:port", "host:port"),
            ("a:99999", "host:port"),
            ("a b", "host:port"),
            ("user:secret@a:1", "host:port"),
            ("a/b", "host:port"),
            ("::1", "brackets"),
            ("ssl://a:1", "security.protocol"),
            ("kafka+ssl://a:1", "security.protocol"),
            ("SASL_SSL://a:1", "security.protocol"),
        ];
        for (text, why) in bad {
            let told = address(text);
            assert!(told.as_ref().is_err_and(|told| told.contains(why)), "{text}: {told:?}");
        }
    }
}
