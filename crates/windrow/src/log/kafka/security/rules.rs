//! Rules: which properties of security are read here, and which are refused, with what to use in their place.
//!
//! **In** names. **Out** verdicts. **Invariant:** whatever librdkafka has for TLS and SASL is either read for both sides or refused: nothing
//! drives one side alone. **Not here:** what the values mean (`settings`).

use super::settings::Mistake;

/// Read by us, and told to both sides.
const READ: &[&str] = &[
    "security.protocol",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.key.location",
    "ssl.key.pem",
    "ssl.endpoint.identification.algorithm",
    "enable.ssl.certificate.verification",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.grant.type",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.credentials.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.extensions",
    "https.ca.location",
    "https.ca.pem",
];

/// Refused by their beginning: what it is, and the way out. The first that fits counts.
const REFUSED: &[(&str, &str)] = &[
    (
        "ssl.keystore.",
        "keystores are not read: give PEM files by `ssl.certificate.location` and `ssl.key.location`; `openssl pkcs12 -in store.p12 -nodes` makes them",
    ),
    (
        "ssl.truststore.",
        "truststores are not read: give a PEM file by `ssl.ca.location`; `keytool -exportcert -rfc` makes one",
    ),
    (
        "ssl.key.password",
        "encrypted keys are not read: `openssl pkey -in key.pem -out plain.pem` decrypts one, and permissions guard the file",
    ),
    ("ssl.crl.", "revocation lists are not read: leave it out, and let certificates be short-lived"),
    ("ssl.cipher.suites", ONE_SIDE),
    ("ssl.curves.list", ONE_SIDE),
    ("ssl.sigalgs.list", ONE_SIDE),
    ("ssl.enabled.protocols", ONE_SIDE),
    ("ssl.protocol", ONE_SIDE),
    ("ssl.engine.", "engines and providers of OpenSSL would drive one half of the connections: leave it out"),
    (
        "ssl.providers",
        "engines and providers of OpenSSL would drive one half of the connections: leave it out",
    ),
    ("ssl.ca.certificate.stores", "it is for Windows: `ssl.ca.location` names a PEM file"),
    ("ssl.", "`ssl.ca.location`, `ssl.certificate.location` and `ssl.key.location` are what TLS needs"),
    (
        "sasl.kerberos.",
        "Kerberos is not supported: take SCRAM-SHA-512, PLAIN over TLS, OAUTHBEARER or client certificates",
    ),
    ("sasl.jaas.config", "that is Java's: give `sasl.mechanism`, `sasl.username` and `sasl.password`"),
    (
        "sasl.oauthbearer.assertion.",
        "only client credentials are supported: `sasl.oauthbearer.client.id` and `sasl.oauthbearer.client.secret`",
    ),
    (
        "sasl.oauthbearer.metadata.",
        "only client credentials are supported: `sasl.oauthbearer.client.id` and `sasl.oauthbearer.client.secret`",
    ),
    ("sasl.oauthbearer.config", TOKENS),
    ("enable.sasl.oauthbearer.unsecure.jwt", TOKENS),
    ("sasl.oauthbearer.", TOKENS),
    ("sasl.login.", "that is Java's: tokens come from `sasl.oauthbearer.token.endpoint.url`"),
    ("sasl.", "`sasl.mechanism`, `sasl.username` and `sasl.password` are what SASL needs"),
];

const ONE_SIDE: &str = "it would drive one half of the connections: leave it out, both halves speak TLS 1.2 and 1.3 with safe suites";
const TOKENS: &str = "tokens are fetched from `sasl.oauthbearer.token.endpoint.url`, which an identity provider or a small service of your own answers";

/// Tells whether a property is read here.
pub(super) fn is_read(property: &str) -> bool {
    READ.contains(&property)
}

/// Tells what is wrong with a property by its name alone.
pub(super) fn refusal(property: &str) -> Option<Mistake> {
    if is_read(property) {
        return None;
    }
    let (_, hint) = REFUSED.iter().find(|(begin, _)| property.starts_with(begin))?;
    Some(Mistake::new(property, format!("`{property}` is not supported"), Some(hint)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// librdkafka's list, read from the library itself: one that a newer version brings must be decided here.
    #[test]
    fn each_property_of_librdkafka_that_is_about_security_is_read_or_refused() {
        let mut count = 0;
        for name in names() {
            let is_about = ["ssl", "sasl.", "https.", "security.", "enable.ssl", "enable.sasl"];
            // Callbacks and structures: set by calls in C alone.
            let by_call = ["ssl_", "ssl.certificate.verify_cb"];
            let begins = |begins: &[&str]| begins.iter().any(|begin| name.starts_with(begin));
            if !begins(&is_about) || begins(&by_call) {
                continue;
            }
            count += 1;
            assert!(is_read(&name) || refusal(&name).is_some(), "{name} is neither read nor refused");
        }
        assert!(count > 40, "only {count} properties were looked at");
    }

    /// First column of the table that the library prints.
    fn names() -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("properties");
        let text = std::ffi::CString::new(path.to_string_lossy().as_bytes()).expect("a path");
        // SAFETY: a file opened here, written to by the library, closed here.
        unsafe {
            let file = libc::fopen(text.as_ptr(), c"w".as_ptr());
            assert!(!file.is_null(), "cannot write {}", path.display());
            rdkafka::bindings::rd_kafka_conf_properties_show(file.cast());
            libc::fclose(file);
        }
        let table = std::fs::read_to_string(&path).expect("the table");
        let names = table.lines().filter_map(|line| line.split_once('|'));
        names.map(|(name, _)| name.trim().to_owned()).collect()
    }
}
