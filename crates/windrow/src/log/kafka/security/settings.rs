//! Settings: what the properties of security ask for.
//!
//! **In** names and values. **Out** [`Settings`], or every mistake at once, each at a property. **Invariant:** no file is read and no
//! value is repeated in a message, since a value may have come out of a variable. **Not here:** loading (`tls`, `token`).
//!
//! Names and defaults are those of librdkafka's CONFIGURATION.md; one differs: a mechanism has to be named, since the default there,
//! GSSAPI, is not supported.

use std::{collections::BTreeMap, fmt};

use super::{rules, scram::Hash};
use crate::pem::Source;

/// What is wrong, and at which property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Where to look; it may be one that is not there.
    pub(crate) property: String,
    /// The rule.
    pub(crate) message: String,
    /// The way out.
    pub(crate) hint: Option<String>,
}

impl Mistake {
    pub(in crate::log::kafka) fn new(property: &str, message: impl Into<String>, hint: Option<&str>) -> Self {
        Self { property: property.to_owned(), message: message.into(), hint: hint.map(str::to_owned) }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

/// What the listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl Protocol {
    const ALL: [Self; 4] = [Self::Plaintext, Self::Ssl, Self::SaslPlaintext, Self::SaslSsl];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }

    fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// What of a broker's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// Who signed it, and that it is for the host asked.
    Name,
    /// Who signed it.
    Chain,
    Nothing,
}

pub(super) struct Tls {
    /// `None`: those of the system.
    pub(super) roots: Option<Source>,
    /// Certificate and key.
    pub(super) identity: Option<(Source, Source)>,
    pub(super) check: Check,
}

pub(super) enum Sasl {
    Plain { username: String, password: String },
    Scram { hash: Hash, username: String, password: String },
    Token(TokenSettings),
}

/// Client credentials (RFC 6749, 4.4).
pub(super) struct TokenSettings {
    pub(super) url: String,
    pub(super) client_id: String,
    pub(super) client_secret: String,
    pub(super) scope: Option<String>,
    /// RFC 7628: keys of letters; values are shown to the broker.
    pub(super) extensions: Vec<(String, String)>,
    pub(super) roots: Option<Source>,
}

pub(super) struct Settings {
    pub(super) protocol: Protocol,
    pub(super) tls: Option<Tls>,
    pub(super) sasl: Option<Sasl>,
}

impl Settings {
    pub(super) fn parse(properties: &BTreeMap<String, String>) -> Result<Self, Vec<Mistake>> {
        let mut read = Read { properties, mistakes: Vec::new() };
        read.mistakes.extend(properties.keys().filter_map(|name| rules::refusal(name)));
        let protocol = read.protocol();
        if let Some(protocol) = protocol {
            read.unused(protocol);
        }
        let protocol = protocol.unwrap_or(Protocol::Plaintext);
        let tls = protocol.has_tls().then(|| read.tls());
        let sasl = if protocol.has_sasl() { read.sasl() } else { None };
        if read.mistakes.is_empty() { Ok(Self { protocol, tls, sasl }) } else { Err(read.mistakes) }
    }
}

struct Read<'a> {
    properties: &'a BTreeMap<String, String>,
    mistakes: Vec<Mistake>,
}

const ID: &[&str] = &["sasl.oauthbearer.client.id", "sasl.oauthbearer.client.credentials.client.id"];
const SECRET: &[&str] =
    &["sasl.oauthbearer.client.secret", "sasl.oauthbearer.client.credentials.client.secret"];
const URL: &[&str] = &["sasl.oauthbearer.token.endpoint.url"];
const MECHANISM: &[&str] = &["sasl.mechanism", "sasl.mechanisms"];
const CHECK: &str = "enable.ssl.certificate.verification";
const IDENTIFY: &str = "ssl.endpoint.identification.algorithm";

impl Read<'_> {
    fn wrong(&mut self, property: &str, message: impl Into<String>, hint: Option<&str>) {
        self.mistakes.push(Mistake::new(property, message, hint));
    }

    /// A value; an empty one counts as none, as where a variable is not set.
    fn get(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A value that has several names.
    fn any(&mut self, names: &[&str]) -> Option<String> {
        let given: Vec<(&str, String)> =
            names.iter().filter_map(|name| Some((*name, self.get(name)?.to_owned()))).collect();
        if let [(first, one), (second, other)] = &given[..]
            && one != other
        {
            self.wrong(second, format!("`{second}` and `{first}` are one property with two values"), None);
        }
        given.into_iter().next().map(|(_, value)| value)
    }

    fn needed(&mut self, names: &[&str], by: &str) -> String {
        self.any(names).unwrap_or_else(|| {
            let place = self.mechanism_name();
            self.wrong(place, format!("`sasl.mechanism` {by} needs `{}`", names[0]), None);
            String::new()
        })
    }

    /// Under which of its names the mechanism is given.
    fn mechanism_name(&self) -> &'static str {
        MECHANISM.iter().find(|name| self.get(name).is_some()).unwrap_or(&MECHANISM[0])
    }

    fn protocol(&mut self) -> Option<Protocol> {
        let Some(text) = self.get("security.protocol") else { return Some(Protocol::Plaintext) };
        let found = Protocol::ALL.into_iter().find(|known| text.eq_ignore_ascii_case(known.name()));
        if found.is_none() {
            let rule = "`security.protocol` must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL";
            self.wrong("security.protocol", rule, None);
        }
        found
    }

    /// What the protocol has no use for is a mistake: who gives a password does not mean to go without.
    fn unused(&mut self, protocol: Protocol) {
        let names = self.properties.iter().filter(|(_, value)| !value.is_empty()).map(|(name, _)| name);
        for name in names.cloned().collect::<Vec<_>>() {
            if !rules::is_read(&name) {
                continue;
            }
            let is_tls = name.starts_with("ssl.") || name == CHECK;
            let is_sasl = name.starts_with("sasl.") || name.starts_with("https.");
            if is_tls && !protocol.has_tls() {
                self.needs_protocol(&name, protocol, "SSL or SASL_SSL");
            }
            if is_sasl && !protocol.has_sasl() {
                self.needs_protocol(&name, protocol, "SASL_SSL or SASL_PLAINTEXT");
            }
        }
    }

    fn needs_protocol(&mut self, name: &str, protocol: Protocol, wanted: &str) {
        let rule = format!("`{name}` needs security.protocol {wanted}, not {}", protocol.name());
        self.wrong(name, rule, None);
    }

    fn tls(&mut self) -> Tls {
        let certificate = self.source("ssl.certificate.location", "ssl.certificate.pem");
        let key = self.source("ssl.key.location", "ssl.key.pem");
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => {
                let names = ["ssl.certificate.location", "ssl.certificate.pem"];
                self.alone(&names, "a client certificate needs its key", "`ssl.key.location`");
                None
            }
            (None, Some(_)) => {
                let names = ["ssl.key.location", "ssl.key.pem"];
                self.alone(&names, "a client's key needs its certificate", "`ssl.certificate.location`");
                None
            }
        };
        let check = match (self.flag(CHECK), self.get(IDENTIFY).map(str::to_ascii_lowercase).as_deref()) {
            (false, _) => Check::Nothing,
            (true, None | Some("https")) => Check::Name,
            (true, Some("none")) => Check::Chain,
            (true, Some(_)) => {
                self.wrong(IDENTIFY, format!("`{IDENTIFY}` must be https or none"), None);
                Check::Name
            }
        };
        let roots = self.source("ssl.ca.location", "ssl.ca.pem").filter(|source| !is_probe(source));
        Tls { roots, identity, check }
    }

    fn alone(&mut self, names: &[&str], rule: &str, other: &str) {
        let name = names.iter().find(|name| self.get(name).is_some()).unwrap_or(&names[0]);
        self.wrong(name, rule, Some(&format!("give {other}, or leave both out")));
    }

    fn source(&mut self, location: &'static str, pem: &'static str) -> Option<Source> {
        match (self.get(location), self.get(pem)) {
            (Some(_), Some(_)) => {
                self.wrong(pem, format!("`{pem}` and `{location}` exclude each other"), None);
                None
            }
            (Some(path), None) => Some(Source::at(path)),
            (None, Some(text)) => Some(Source::Text(text.to_owned())),
            (None, None) => None,
        }
    }

    fn flag(&mut self, name: &str) -> bool {
        // librdkafka's words.
        match self.get(name).map(str::to_ascii_lowercase).as_deref() {
            None | Some("true" | "t" | "1") => true,
            Some("false" | "f" | "0") => false,
            Some(_) => {
                self.wrong(name, format!("`{name}` must be true or false"), None);
                true
            }
        }
    }

    fn sasl(&mut self) -> Option<Sasl> {
        const KNOWN: &str = "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER are supported";
        let Some(mechanism) = self.any(MECHANISM) else {
            self.wrong("security.protocol", "SASL needs `sasl.mechanism`", Some(KNOWN));
            return None;
        };
        let hash = match &*mechanism.to_ascii_uppercase() {
            "PLAIN" => None,
            "SCRAM-SHA-256" => Some(Hash::Sha256),
            "SCRAM-SHA-512" => Some(Hash::Sha512),
            "OAUTHBEARER" => return Some(Sasl::Token(self.token())),
            _ => {
                let name = self.mechanism_name();
                self.wrong(name, format!("`{name}` names a mechanism that is not supported"), Some(KNOWN));
                return None;
            }
        };
        let by = hash.map_or("PLAIN", Hash::mechanism);
        let username = self.needed(&["sasl.username"], by);
        let password = self.needed(&["sasl.password"], by);
        if username.contains('\0') || password.contains('\0') {
            self.wrong("sasl.password", "`sasl.username` and `sasl.password` hold no NUL", None);
        }
        Some(match hash {
            None => Sasl::Plain { username, password },
            Some(hash) => Sasl::Scram { hash, username, password },
        })
    }

    fn token(&mut self) -> TokenSettings {
        const ONLY: &str = "a token is fetched with client credentials";
        if self.get("sasl.oauthbearer.method").is_some_and(|it| !it.eq_ignore_ascii_case("oidc")) {
            self.wrong("sasl.oauthbearer.method", "`sasl.oauthbearer.method` must be oidc", Some(ONLY));
        }
        if self.get("sasl.oauthbearer.grant.type").is_some_and(|it| it != "client_credentials") {
            let rule = "`sasl.oauthbearer.grant.type` must be client_credentials";
            self.wrong("sasl.oauthbearer.grant.type", rule, Some(ONLY));
        }
        let url = self.needed(URL, "OAUTHBEARER");
        if !url.is_empty() && !url.starts_with("https://") && !url.starts_with("http://") {
            self.wrong(URL[0], format!("`{}` must begin with https:// or http://", URL[0]), None);
        }
        TokenSettings {
            url,
            client_id: self.needed(ID, "OAUTHBEARER"),
            client_secret: self.needed(SECRET, "OAUTHBEARER"),
            scope: self.get("sasl.oauthbearer.scope").map(str::to_owned),
            extensions: self.extensions(),
            roots: self.source("https.ca.location", "https.ca.pem").filter(|source| !is_probe(source)),
        }
    }

    fn extensions(&mut self) -> Vec<(String, String)> {
        const NAME: &str = "sasl.oauthbearer.extensions";
        let text = self.get(NAME).unwrap_or_default().to_owned();
        let mut pairs = Vec::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some((key, value)) if is_extension(key, value) => pairs.push((key.into(), value.into())),
                _ => {
                    let rule = format!(
                        "`{NAME}` must be key=value, several with commas between; keys are letters and not `auth`"
                    );
                    self.wrong(NAME, rule, None);
                    break;
                }
            }
        }
        pairs
    }
}

/// RFC 7628, 3.1: `key = 1*(ALPHA)`, `value = *(VCHAR / SP / HTAB / CR / LF)`.
fn is_extension(key: &str, value: &str) -> bool {
    let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphabetic()) && key != "auth";
    is_key && value.bytes().all(|byte| matches!(byte, b'\t' | b'\r' | b'\n' | b' '..=b'~'))
}

/// librdkafka's word for "look where systems keep them".
fn is_probe(source: &Source) -> bool {
    matches!(source, Source::Location(path, _) if path.as_os_str() == "probe")
}

#[cfg(test)]
mod tests;
