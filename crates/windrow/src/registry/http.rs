//! HTTP: one question to a registry, at whichever of its addresses answers.
//!
//! **In** a path. **Out** the body of an answer; or that there is no such thing.
//! **Invariant:** time and bytes of an answer are bounded. "Not found" is believed only where it is a registry that says so: an address with
//! a wrong path says it, too. **Not here:** pauses and trying again (`super`), what the body holds (`schemas`).

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use anyhow::anyhow;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use ureq::{
    Agent,
    tls::{ClientCert, PrivateKey, RootCerts, TlsConfig},
};

use crate::{
    config::{RegistryAuth, RegistryConfig, RegistryTls},
    pem,
};

/// One answer: the longest schema, escaped, and room around it.
const RESPONSE_MAX_BYTES: u64 = 4 << 20;
const REDIRECTS_MAX: u32 = 3;
const CONTENT: &str = "application/vnd.schemaregistry.v1+json";
const ACCEPT: &str = "application/vnd.schemaregistry.v1+json, application/json";
/// What a registry answers beside 404: no such subject, version, schema.
const NOT_FOUND: [i64; 3] = [40401, 40402, 40403];

/// Whom to ask, and how.
pub(super) struct Http {
    agent: Agent,
    urls: Vec<String>,
    /// Which of them answered last.
    good: AtomicUsize,
    /// The header that says who asks.
    authorization: Option<String>,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("urls", &self.urls).finish_non_exhaustive()
    }
}

/// What came of something handed in.
pub(super) enum Asked {
    /// It was taken.
    Answered(Vec<u8>),
    /// It never will be.
    Refused(u16, Vec<u8>),
}

/// What a registry says when it has not what was asked for.
#[derive(Deserialize)]
struct Refusal {
    error_code: i64,
}

impl Http {
    pub(super) fn new(config: &RegistryConfig) -> anyhow::Result<Self> {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(REDIRECTS_MAX)
            .timeout_connect(Some(config.connect_timeout))
            .timeout_global(Some(config.timeout))
            .user_agent("windrow")
            .tls_config(tls(config).map_err(|why| anyhow!("[registry]: {why}"))?)
            .build();
        let authorization = match &config.auth {
            RegistryAuth::None => None,
            RegistryAuth::Basic { key, secret } => {
                Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{key}:{secret}"))))
            }
            RegistryAuth::Bearer(token) => Some(format!("Bearer {token}")),
        };
        Ok(Self { agent: agent.into(), urls: config.urls.clone(), good: AtomicUsize::new(0), authorization })
    }

    /// Gets what is at a path; `None` when every address says that there is nothing.
    ///
    /// - **Errors:** why not one of them gave an answer.
    pub(super) fn get(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        let first = self.good.load(Relaxed);
        let (mut troubles, mut is_missing) = (Vec::new(), false);
        for turn in 0..self.urls.len() {
            let at = (first + turn) % self.urls.len();
            match self.get_at(&self.urls[at], path) {
                Ok(Some(body)) => {
                    self.good.store(at, Relaxed);
                    return Ok(Some(body));
                }
                // Another may be ahead of this one.
                Ok(None) => is_missing = true,
                Err(why) => troubles.push(format!("{}: {why}", self.urls[at])),
            }
        }
        // Whoever is away may be the one that has it.
        if is_missing && troubles.is_empty() { Ok(None) } else { Err(troubles.join("; ")) }
    }

    /// Hands something in at a path, at the first address that answers.
    ///
    /// - **Errors:** why not one of them gave an answer.
    pub(super) fn post(&self, path: &str, body: &[u8]) -> Result<Asked, String> {
        let (first, mut troubles) = (self.good.load(Relaxed), Vec::new());
        for turn in 0..self.urls.len() {
            let at = (first + turn) % self.urls.len();
            match self.post_at(&self.urls[at], path, body) {
                Ok(asked) => {
                    self.good.store(at, Relaxed);
                    return Ok(asked);
                }
                Err(why) => troubles.push(format!("{}: {why}", self.urls[at])),
            }
        }
        Err(troubles.join("; "))
    }

    fn post_at(&self, url: &str, path: &str, body: &[u8]) -> Result<Asked, String> {
        let mut request = self.agent.post(format!("{url}{path}")).header("accept", ACCEPT);
        request = request.header("content-type", CONTENT);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut response = request.send(body).map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(RESPONSE_MAX_BYTES).read_to_vec();
        match status {
            200 => body.map(Asked::Answered).map_err(|error| error.to_string()),
            // The subject's readers could not read it; it is no schema.
            409 | 422 => Ok(Asked::Refused(status, body.unwrap_or_default())),
            401 | 403 => Err(format!("{status}: it wants another `auth` or `token`, or one that may write")),
            status => Err(format!("it answers {status}")),
        }
    }

    fn get_at(&self, url: &str, path: &str) -> Result<Option<Vec<u8>>, String> {
        let mut request = self.agent.get(format!("{url}{path}")).header("accept", ACCEPT);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut response = request.call().map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(RESPONSE_MAX_BYTES).read_to_vec();
        match status {
            200 => body.map(Some).map_err(|error| error.to_string()),
            404 => match serde_json::from_slice::<Refusal>(&body.unwrap_or_default()) {
                Ok(refusal) if NOT_FOUND.contains(&refusal.error_code) => Ok(None),
                _ => Err(format!(
                    "{path} is answered by 404, but not as a registry does; is the address right?"
                )),
            },
            401 | 403 => Err(format!("{status}: it wants another `auth` or `token`")),
            status => Err(format!("it answers {status}")),
        }
    }
}

fn tls(config: &RegistryConfig) -> Result<TlsConfig, String> {
    let tls = TlsConfig::builder();
    if !config.urls.iter().any(|url| url.starts_with("https")) {
        return Ok(tls.build());
    }
    let RegistryTls { ca, identity } = &config.tls;
    let system = if ca.is_empty() { pem::roots(None, "ca")? } else { Vec::new() };
    let roots = if ca.is_empty() { &system } else { ca };
    let tls = tls.root_certs(RootCerts::new_with_certs(&pem::for_http(roots)));
    let Some((chain, key)) = identity else { return Ok(tls.build()) };
    // What kind of key it is, ureq takes from PEM alone.
    let key =
        PrivateKey::from_pem(pem::write_key(key).as_bytes()).map_err(|error| format!("`key`: {error}"))?;
    Ok(tls.client_cert(Some(ClientCert::new_with_certs(&pem::for_http(chain), key))).build())
}
