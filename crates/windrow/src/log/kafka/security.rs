//! Security: how a cluster is entered, from one set of properties for the fetcher and for librdkafka.
//!
//! **In** `[log.properties]`. **Out** what every connection of ours needs ([`Entry`]), and the same for librdkafka in its own words.
//!
//! | file | job |
//! |---|---|
//! | `settings` | properties → what they ask for; each mistake by the property's name |
//! | `rules` | properties that are refused, and what to use in their place |
//! | `tls` | whom to trust, who we are; what a failed handshake means |
//! | `scram` | SCRAM, without a socket |
//! | `token` | OAUTHBEARER: a token that is always fresh, for both sides |
//!
//! **Invariant:** both sides trust the same certificates, read once by us, and show the same credentials. A property that would drive one
//! side alone is an error, never half an effect. Nothing here prints a secret: types that hold one have no `Debug`.
//! **Not here:** the connection (`wire`).

use std::{collections::BTreeMap, sync::Arc};

use rdkafka::ClientConfig;
use tokio_rustls::rustls;

pub(crate) use self::settings::Mistake;
use self::{
    scram::Hash,
    settings::{Sasl, Settings},
    token::Tokens,
};
use crate::log::{LogError, Result};

mod rules;
pub(super) mod scram;
mod settings;
pub(super) mod tls;
pub(super) mod token;

/// Finds every mistake in the properties that are about security, without reading a file.
pub(super) fn mistakes(properties: &BTreeMap<String, String>) -> Vec<Mistake> {
    Settings::parse(properties).err().unwrap_or_default()
}

/// Says how a cluster is entered; what is wrong with it is said elsewhere.
pub(super) fn words(properties: &BTreeMap<String, String>) -> String {
    let Ok(settings) = Settings::parse(properties) else { return "no way".into() };
    let how = match settings.sasl {
        None if settings.tls.as_ref().is_some_and(|tls| tls.identity.is_some()) => {
            " with a client certificate"
        }
        None => "",
        Some(Sasl::Plain { .. }) => " with PLAIN",
        Some(Sasl::Scram { hash: Hash::Sha256, .. }) => " with SCRAM-SHA-256",
        Some(Sasl::Scram { hash: Hash::Sha512, .. }) => " with SCRAM-SHA-512",
        Some(Sasl::Token(_)) => " with OAUTHBEARER",
    };
    let unchecked = settings.tls.as_ref().is_some_and(|tls| tls.check == settings::Check::Nothing);
    let warning = if unchecked { ", certificates unchecked" } else { "" };
    format!("{}{how}{warning}", settings.protocol.name())
}

/// What a connection shows to enter.
pub(super) enum Credentials {
    /// RFC 4616.
    Plain { username: String, password: String },
    /// RFC 5802.
    Scram { hash: Hash, username: String, password: String },
    /// RFC 7628.
    Token(Arc<Tokens>),
}

impl Credentials {
    /// The mechanism's name, as brokers call it.
    pub(super) fn mechanism(&self) -> &'static str {
        match self {
            Self::Plain { .. } => "PLAIN",
            Self::Scram { hash, .. } => hash.mechanism(),
            Self::Token(_) => "OAUTHBEARER",
        }
    }
}

/// How to enter a cluster.
#[derive(Default)]
pub(super) struct Entry {
    /// `None`: the line is not encrypted.
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    /// `None`: nobody asks.
    pub(super) credentials: Option<Credentials>,
    /// What librdkafka is told in place of the properties that [`Entry::is_ours`].
    told: Vec<(&'static str, String)>,
}

impl Entry {
    /// Reads certificates and keys, and fetches the first token.
    ///
    /// - **Errors:** `Fatal` that names the property at fault; `Retry` when only the token's endpoint is away or refuses.
    pub(super) async fn prepare(properties: &BTreeMap<String, String>) -> Result<Self> {
        let settings = Settings::parse(properties).map_err(|mistakes| {
            let all: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            LogError::Fatal(format!("log.properties: {}", all.join("; ")))
        })?;
        let mut told = vec![("security.protocol", settings.protocol.name().to_owned())];
        let tls = match settings.tls {
            None => None,
            Some(wanted) => {
                let loaded = tokio::task::spawn_blocking(move || tls::load(&wanted)).await;
                let loaded =
                    loaded.map_err(|error| LogError::Fatal(format!("reading certificates: {error}")))?;
                let (config, pem) =
                    loaded.map_err(|why| LogError::Fatal(format!("log.properties: {why}")))?;
                told.extend(pem);
                Some(config)
            }
        };
        let credentials = match settings.sasl {
            None => None,
            Some(Sasl::Plain { username, password }) => Some(Credentials::Plain { username, password }),
            Some(Sasl::Scram { hash, username, password }) => {
                Some(Credentials::Scram { hash, username, password })
            }
            Some(Sasl::Token(wanted)) => Some(Credentials::Token(Tokens::start(wanted).await?)),
        };
        match &credentials {
            None => {}
            Some(
                Credentials::Plain { username, password } | Credentials::Scram { username, password, .. },
            ) => {
                told.push(("sasl.username", username.clone()));
                told.push(("sasl.password", password.clone()));
            }
            Some(Credentials::Token(_)) => {}
        }
        told.extend(credentials.as_ref().map(|shown| ("sasl.mechanism", shown.mechanism().to_owned())));
        Ok(Self { tls, credentials, told })
    }

    /// Tells whether a property is read here, and so not passed on as it is.
    pub(super) fn is_ours(property: &str) -> bool {
        rules::is_read(property)
    }

    /// Tells librdkafka the same.
    pub(super) fn tell(&self, config: &mut ClientConfig) {
        for (name, value) in &self.told {
            config.set(*name, value);
        }
    }

    /// The tokens, when there are any: librdkafka wants to be given each.
    pub(super) fn tokens(&self) -> Option<&Arc<Tokens>> {
        match &self.credentials {
            Some(Credentials::Token(tokens)) => Some(tokens),
            _ => None,
        }
    }
}
