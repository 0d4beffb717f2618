//! Token: what OAUTHBEARER shows, fetched with client credentials and always fresh.
//!
//! ```text
//! endpoint ─► token ─► wire: at each log-in          a task of ours fetches the next one
//!                 └──► librdkafka: at once, and again    when four fifths of its life are over
//! ```
//!
//! **In** settings. **Out** the current token. **Invariant:** one request at a time; a failed one is tried again after a pause that grows to
//! [`PAUSE_MAX`], is logged with the endpoint's reason, and harms nobody while the token lives; an expired token is never shown. Neither
//! token nor secret is ever in a message. **Not here:** what a broker makes of it (`wire::login`).
//!
//! librdkafka could ask by a callback, but only while it is polled, which a writer that waits for its next commit is not, and without the
//! extensions: so it is given each token instead.
//!
//! Source: RFC 6749 (4.4, 5), RFC 7628; KIP-255, KIP-768.

use std::{
    ffi::CString,
    sync::{Arc, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use parking_lot::Mutex;
use rdkafka::bindings::{rd_kafka_oauthbearer_set_token, rd_kafka_resp_err_t, rd_kafka_t};
use tokio::task::AbortHandle;
use ureq::{
    Agent,
    tls::{RootCerts, TlsConfig},
};

use super::settings::TokenSettings;
use crate::{
    log::{LogError, Result},
    pem,
};

/// Longest wait for the endpoint.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Longest answer: tokens have a few KiB.
const ANSWER_MAX_BYTES: u64 = 64 << 10;
/// Between two tries to get a new token.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Longest life believed; a longer one is fetched anew all the same.
const LIFE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Most of an endpoint's own words that are passed on.
const REASON_MAX_CHARS: usize = 200;

/// A token.
pub(in crate::log::kafka) struct Token {
    value: String,
    principal: String,
    until: SystemTime,
    life: Duration,
}

/// The tokens of a cluster, one after the other.
pub(in crate::log::kafka) struct Tokens {
    source: Arc<Source>,
    current: Mutex<Current>,
    task: Mutex<Option<AbortHandle>>,
}

struct Current {
    number: u64,
    token: Arc<Token>,
    /// Why there is no newer one.
    failure: Option<String>,
}

impl Tokens {
    /// Fetches the first token and goes on for as long as somebody holds the result.
    ///
    /// - **Errors:** `Retry` with the endpoint and its reason; `Fatal` when certificates cannot be read.
    pub(super) async fn start(settings: TokenSettings) -> Result<Arc<Self>> {
        let fatal = |why: String| LogError::Fatal(format!("log.properties: {why}"));
        let source = tokio::task::spawn_blocking(move || Source::new(settings)).await;
        let source = source.map_err(|error| fatal(error.to_string()))?.map_err(fatal)?;
        let source = Arc::new(source);
        let token = fetch(&source).await.map_err(LogError::Retry)?;
        let wait = token.fresh_for();
        let current = Current { number: 1, token: Arc::new(token), failure: None };
        let tokens = Arc::new(Self { source, current: Mutex::new(current), task: Mutex::new(None) });
        let task = tokio::spawn(keep_fresh(Arc::downgrade(&tokens), wait));
        *tokens.task.lock() = Some(task.abort_handle());
        Ok(tokens)
    }

    /// Returns the current token and its number.
    ///
    /// - **Errors:** `Retry` when it has expired, with the reason why there is no new one.
    pub(in crate::log::kafka) fn current(&self) -> Result<(u64, Arc<Token>)> {
        let current = self.current.lock();
        if SystemTime::now() < current.token.until {
            return Ok((current.number, current.token.clone()));
        }
        let why = current.failure.as_deref().unwrap_or("the next one is on its way");
        Err(LogError::Retry(format!("the token has expired: {why}")))
    }

    /// The client's first message (RFC 7628, 3.1).
    pub(in crate::log::kafka) fn message(&self, token: &Token) -> String {
        let pairs = self.source.settings.extensions.iter();
        let extensions: String = pairs.map(|(key, value)| format!("{key}={value}\x01")).collect();
        format!("n,,\x01auth=Bearer {}\x01{extensions}\x01", token.value)
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut() {
            task.abort();
        }
    }
}

impl Token {
    /// A new one is fetched after four fifths of its life, as librdkafka does.
    fn fresh_for(&self) -> Duration {
        self.life.mul_f64(0.8)
    }
}

async fn keep_fresh(tokens: Weak<Tokens>, mut wait: Duration) {
    let mut pause = PAUSE_MIN;
    loop {
        tokio::time::sleep(wait).await;
        let Some(source) = tokens.upgrade().map(|tokens| tokens.source.clone()) else { return };
        let fetched = fetch(&source).await;
        let Some(tokens) = tokens.upgrade() else { return };
        let mut current = tokens.current.lock();
        match fetched {
            Ok(token) => {
                (wait, pause) = (token.fresh_for(), PAUSE_MIN);
                *current = Current { number: current.number + 1, token: Arc::new(token), failure: None };
            }
            Err(why) => {
                tracing::warn!(%why, "no new token; trying again");
                current.failure = Some(why);
                (wait, pause) = (pause, (pause * 2).min(PAUSE_MAX));
            }
        }
    }
}

async fn fetch(source: &Arc<Source>) -> std::result::Result<Token, String> {
    let asked = source.clone();
    let fetched = tokio::task::spawn_blocking(move || asked.fetch()).await;
    let url = &source.settings.url;
    fetched
        .unwrap_or_else(|error| Err(error.to_string()))
        .map_err(|why| format!("no token from {}: {why}", without_secrets(url)))
}

/// A query may hold what is nobody's business.
fn without_secrets(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// Where tokens come from.
struct Source {
    settings: TokenSettings,
    agent: Agent,
}

#[derive(serde::Deserialize)]
struct Answer {
    access_token: Option<String>,
    expires_in: Option<serde_json::Number>,
    error: Option<String>,
    error_description: Option<String>,
}

#[derive(serde::Deserialize)]
struct Claims {
    exp: Option<serde_json::Number>,
    sub: Option<String>,
}

impl Source {
    fn new(settings: TokenSettings) -> std::result::Result<Self, String> {
        let config = Agent::config_builder().timeout_global(Some(ANSWER_MAX)).http_status_as_error(false);
        let config = if settings.url.starts_with("https://") {
            let roots = pem::roots(settings.roots.as_ref(), "https.ca.location")?;
            let roots = RootCerts::new_with_certs(&pem::for_http(&roots));
            config.tls_config(TlsConfig::builder().root_certs(roots).build())
        } else {
            tracing::warn!(
                "sasl.oauthbearer.token.endpoint.url is not https: the secret can be read on the way"
            );
            config
        };
        Ok(Self { settings, agent: config.build().into() })
    }

    fn fetch(&self) -> std::result::Result<Token, String> {
        let settings = &self.settings;
        let basic = STANDARD.encode(format!("{}:{}", settings.client_id, settings.client_secret));
        let scope = settings.scope.as_ref().map(|scope| ("scope", scope.as_str()));
        let form = [("grant_type", "client_credentials")].into_iter().chain(scope);
        let request = self.agent.post(&settings.url);
        let request = request.header("Authorization", format!("Basic {basic}"));
        let asked = SystemTime::now();
        let answer = request.header("Accept", "application/json").send_form(form);
        let mut answer = answer.map_err(|error| error.to_string())?;
        let status = answer.status();
        let text = answer.body_mut().with_config().limit(ANSWER_MAX_BYTES).read_to_string();
        let text = text.map_err(|error| error.to_string())?;
        let parsed: Option<Answer> = serde_json::from_str(&text).ok();
        match parsed {
            Some(answer) if status.is_success() => self.token(answer, asked),
            Some(Answer { error: Some(error), error_description, .. }) => {
                let more = error_description.map(|more| format!(" ({more})")).unwrap_or_default();
                Err(format!("{status}: {}", printable(&format!("{error}{more}"))))
            }
            _ if status.is_success() => Err("its answer is not JSON with an access_token".into()),
            _ => Err(status.to_string()),
        }
    }

    fn token(&self, answer: Answer, asked: SystemTime) -> std::result::Result<Token, String> {
        let value = answer.access_token.ok_or("its answer holds no access_token")?;
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("its access_token is empty or not printable".into());
        }
        let claims = claims(&value);
        let life = match answer.expires_in.and_then(|number| number.as_f64()) {
            Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
            None => claims.as_ref().and_then(|claims| claims.exp.as_ref()?.as_f64()).and_then(|exp| {
                let at = UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(exp).ok()?)?;
                at.duration_since(asked).ok()
            }),
        };
        let life = life.filter(|life| !life.is_zero());
        let life = life.ok_or("it says neither expires_in nor, in the token, an exp to come")?.min(LIFE_MAX);
        let principal =
            claims.and_then(|claims| claims.sub).unwrap_or_else(|| self.settings.client_id.clone());
        Ok(Token { value, principal, until: asked + life, life })
    }
}

/// What a JWT says of itself; whoever is shown it judges it.
fn claims(token: &str) -> Option<Claims> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&payload).ok()
}

fn printable(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(REASON_MAX_CHARS).collect()
}

/// Gives each new token to one client of librdkafka.
pub(in crate::log::kafka) struct Giver {
    tokens: Option<Arc<Tokens>>,
    given: u64,
}

impl Giver {
    /// How often [`Giver::give`] should be called while there are tokens.
    pub(in crate::log::kafka) const TICK: Duration = Duration::from_millis(500);

    pub(in crate::log::kafka) fn new(tokens: Option<&Arc<Tokens>>) -> Self {
        Self { tokens: tokens.cloned(), given: 0 }
    }

    /// Tells whether there is anything to give, ever.
    pub(in crate::log::kafka) fn has_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// Gives the current token unless the client has it.
    ///
    /// # Safety
    ///
    /// `client` is a client of librdkafka that lives through the call.
    pub(in crate::log::kafka) unsafe fn give(&mut self, client: *mut rd_kafka_t) -> Result<()> {
        let Some(tokens) = &self.tokens else { return Ok(()) };
        let (number, token) = tokens.current()?;
        if number == self.given {
            return Ok(());
        }
        let text = |text: &str| {
            CString::new(text)
                .map_err(|_| LogError::Retry("the token, its subject or an extension holds a NUL".into()))
        };
        let (value, principal) = (text(&token.value)?, text(&token.principal)?);
        let pairs = &tokens.source.settings.extensions;
        let pairs: Vec<CString> =
            pairs.iter().flat_map(|(key, value)| [text(key), text(value)]).collect::<Result<_>>()?;
        let mut pairs: Vec<_> = pairs.iter().map(|text| text.as_ptr()).collect();
        let until = token.until.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut why = [0_u8; 512];
        // SAFETY: all texts end with a zero and outlive the call, which copies them; so does the client, says the caller.
        let code = unsafe {
            rd_kafka_oauthbearer_set_token(
                client,
                value.as_ptr(),
                i64::try_from(until).unwrap_or(i64::MAX),
                principal.as_ptr(),
                pairs.as_mut_ptr(),
                pairs.len(),
                why.as_mut_ptr().cast(),
                why.len(),
            )
        };
        if code != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            let why = why.split(|byte| *byte == 0).next().unwrap_or_default();
            return Err(LogError::Retry(format!(
                "librdkafka refuses the token: {}",
                String::from_utf8_lossy(why)
            )));
        }
        self.given = number;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
