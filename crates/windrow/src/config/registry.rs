//! `[registry]`: where schemas are kept.
//!
//! **In** the table; files of certificates beside the configuration. **Out** a [`RegistryConfig`].
//! **Invariant:** a secret is never printed: not from the file, not from these structs.
//! **Not here:** asking it (`crate::registry`).

use std::{fmt, path::Path, sync::Arc, time::Duration};

use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::reader::Reader;
use crate::pem::{self, Source};

/// A registry answers in milliseconds; one that takes longer than this is away.
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TIMEOUT_MIN: Duration = Duration::from_millis(100);
const TIMEOUT_MAX: Duration = Duration::from_secs(120);

/// `[registry]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryConfig {
    /// Where it is, without a slash at the end; the first that answers is asked.
    pub urls: Vec<String>,
    /// Who asks.
    pub auth: RegistryAuth,
    /// Certificates.
    pub tls: RegistryTls,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long an answer may take, connection included.
    pub timeout: Duration,
}

/// Who asks. Printing one hides what is secret.
#[derive(Clone, PartialEq, Eq)]
pub enum RegistryAuth {
    /// Nobody in particular.
    None,
    /// A key and its secret.
    Basic {
        /// Before the colon.
        key: String,
        /// After it.
        secret: String,
    },
    /// A bearer's token.
    Bearer(String),
}

/// Certificates. Printing them hides the key.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RegistryTls {
    /// Who is trusted; empty = whom the system trusts.
    pub ca: Vec<CertificateDer<'static>>,
    /// Who this is: a certificate with those of its authorities, and its key.
    pub identity: Option<(Vec<CertificateDer<'static>>, Arc<PrivateKeyDer<'static>>)>,
}

impl fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegistryAuth::None => f.write_str("None"),
            RegistryAuth::Basic { key, .. } => write!(f, "Basic({key}:***)"),
            RegistryAuth::Bearer(_) => f.write_str("Bearer(***)"),
        }
    }
}

impl fmt::Debug for RegistryTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = self.identity.as_ref().map_or(0, |(chain, _)| chain.len());
        write!(f, "RegistryTls(ca: {} certificates, cert: {chain})", self.ca.len())
    }
}

/// Reads the table.
pub(super) fn read(registry: Reader<'_>) -> RegistryConfig {
    let config = RegistryConfig {
        urls: urls(&registry),
        auth: auth(&registry),
        tls: tls(&registry),
        connect_timeout: registry
            .duration("connect_timeout", TIMEOUT_MIN..=TIMEOUT_MAX)
            .unwrap_or(CONNECT_TIMEOUT),
        timeout: registry.duration("timeout", TIMEOUT_MIN..=TIMEOUT_MAX).unwrap_or(TIMEOUT),
    };
    registry.finish();
    config
}

fn urls(registry: &Reader<'_>) -> Vec<String> {
    if !registry.has("url") {
        let hint = "write url = \"http://localhost:8081\"".to_owned();
        registry.wrong("url", "[registry] lacks `url`", Some(hint));
    }
    let (mut urls, mut is_empty) = (Vec::new(), true);
    for (text, offset) in registry.texts("url").unwrap_or_default() {
        for url in text.split(',').map(str::trim).filter(|url| !url.is_empty()) {
            is_empty = false;
            let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            let host = host.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
            match host {
                Some(host) if host.contains('@') => {
                    let hint = "write auth = \"key:secret\" beside it: addresses are logged".to_owned();
                    registry.source.wrong(offset, "`url` must not hold a name or a password", Some(hint));
                }
                Some(host) if !host.is_empty() && !url.contains(char::is_whitespace) => {
                    urls.push(url.trim_end_matches('/').to_owned());
                }
                _ => {
                    let message = "`url` must begin with http:// or https:// and name a host";
                    registry.source.wrong(offset, message, None);
                }
            }
        }
    }
    if is_empty && registry.has("url") {
        registry.wrong("url", "`url` must name at least one address", None);
    }
    urls
}

/// Empty ones are none, so that a variable without a value switches them off.
fn auth(registry: &Reader<'_>) -> RegistryAuth {
    let told = |key| registry.text(key).filter(|text| !text.is_empty());
    let (auth, token) = (told("auth"), told("token"));
    match (auth, token) {
        (Some(_), Some(_)) => {
            registry.wrong("token", "`token` and `auth` exclude each other", None);
            RegistryAuth::None
        }
        (None, Some(token)) => RegistryAuth::Bearer(token),
        (None, None) => RegistryAuth::None,
        (Some(auth), None) => match auth.split_once(':') {
            Some((key, secret)) => RegistryAuth::Basic { key: key.to_owned(), secret: secret.to_owned() },
            None => {
                registry.wrong("auth", "`auth` must be a key and its secret with a colon between", None);
                RegistryAuth::None
            }
        },
    }
}

fn tls(registry: &Reader<'_>) -> RegistryTls {
    let tls = registry.table("tls");
    let ca = pem(&tls, "ca", pem::certificates).unwrap_or_default();
    let identity = pem(&tls, "cert", pem::certificates).zip(pem(&tls, "key", pem::key).map(Arc::new));
    for (key, other) in [("cert", "key"), ("key", "cert")] {
        if tls.has(key) && !tls.has(other) {
            tls.wrong(key, format!("`{key}` needs `{other}`"), None);
        }
    }
    tls.finish();
    RegistryTls { ca, identity }
}

/// Reads what lies beside the configuration.
fn pem<T>(tls: &Reader<'_>, key: &'static str, read: fn(&Source, &str) -> Result<T, String>) -> Option<T> {
    let name = tls.text(key)?;
    let folder = Path::new(&*tls.source.name).parent().unwrap_or(Path::new(""));
    let path = folder.join(name);
    let hint = (!path.exists()).then(|| "names of files begin at the folder of the configuration".to_owned());
    read(&Source::Location(path, tls.shown(key)), key).map_err(|why| tls.wrong(key, why, hint)).ok()
}
