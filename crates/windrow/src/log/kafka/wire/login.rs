//! Login: a connection shows its credentials, and shows them again before the broker stops to believe them.
//!
//! ```text
//! SaslHandshake v1 ─► SaslAuthenticate, as often as the mechanism has messages ─► how long it holds
//! ```
//!
//! **In** credentials. **Out** until when they hold. **Invariant:** a broker's refusal is told with its reason and shuts the door for a
//! pause (`access`); no message holds a password or a token. **Not here:** the mechanisms themselves (`security`).
//!
//! Source: KIP-43, KIP-152 (SaslAuthenticate), KIP-368 (re-authentication), RFC 7628 (3.2.3, errors of OAUTHBEARER).

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use kafka_protocol::{
    error::ResponseError,
    messages::{SaslAuthenticateRequest, SaslHandshakeRequest},
    protocol::StrBytes,
};
use tokio::time::Instant;

use super::Connection;
use crate::log::{
    LogError, Result,
    kafka::{
        cluster::random,
        security::{
            Credentials,
            scram::{Hash, Opening},
            token::Tokens,
        },
    },
};

/// Longest wait for a verdict: brokers may have to ask somebody else.
const VERDICT_MAX: Duration = Duration::from_secs(10);
/// Brokers take credentials anew at most once a second; where a session is shorter they hang up, and the next connection begins another.
const AGAIN_MIN: Duration = Duration::from_millis(1_100);
/// SaslHandshake: from this version on messages travel in SaslAuthenticate, and a refusal has a reason.
const FRAMED: i16 = 1;

impl Connection {
    /// Shows the credentials, if there are any.
    ///
    /// - **Errors:** `Retry` with the broker's reason; the broker is then left alone for a while.
    pub(super) async fn log_in(&mut self) -> Result<()> {
        let access = self.access.clone();
        let Some(credentials) = &access.entry.credentials else { return Ok(()) };
        access.may_knock(&self.address)?;
        let begun = Instant::now();
        self.greet(credentials.mechanism()).await?;
        let life_ms = match credentials {
            Credentials::Plain { username, password } => {
                self.say(format!("\0{username}\0{password}")).await?.1
            }
            Credentials::Scram { hash, username, password } => self.prove(*hash, username, password).await?,
            Credentials::Token(tokens) => self.show(tokens).await?,
        };
        access.entered(&self.address);
        self.stale_at = u64::try_from(life_ms).ok().filter(|ms| *ms > 0).map(|ms| {
            // Between 85 and 95 of a hundred, so that connections that came together do not come again as one.
            let again = Duration::from_millis(ms).mul_f64(0.85 + random() / 10.0);
            begun + again.max(AGAIN_MIN)
        });
        Ok(())
    }

    /// Agrees on a mechanism.
    async fn greet(&mut self, mechanism: &'static str) -> Result<()> {
        if self.version::<SaslHandshakeRequest>()? < FRAMED {
            return Err(LogError::Fatal(format!("the broker at {} is older than Kafka 1.0", self.address)));
        }
        let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
        let answer = self.exchange(&request, VERDICT_MAX).await?;
        match ResponseError::try_from_code(answer.error_code) {
            None => Ok(()),
            Some(ResponseError::UnsupportedSaslMechanism) => {
                let offered: Vec<&str> = answer.mechanisms.iter().map(StrBytes::as_str).collect();
                let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
                Err(self.refused(&format!("it has {offered}, not {mechanism}")))
            }
            Some(ResponseError::IllegalSaslState) => {
                let protocol = if self.stream.is_encrypted() { "SSL" } else { "PLAINTEXT" };
                Err(self.refused(&format!("it asks for no SASL; is its security.protocol {protocol}?")))
            }
            Some(error) => Err(self.refused(&error.to_string())),
        }
    }

    /// Sends one message of the mechanism; returns the answer to it, and how long a session lasts that it began.
    async fn say(&mut self, message: impl Into<Bytes>) -> Result<(Bytes, i64)> {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(message.into());
        let answer = self.exchange(&request, VERDICT_MAX).await?;
        let Some(error) = ResponseError::try_from_code(answer.error_code) else {
            return Ok((answer.auth_bytes, answer.session_lifetime_ms));
        };
        let why = answer.error_message.map(|why| why.to_string()).filter(|why| !why.is_empty());
        Err(self.refused(&why.unwrap_or_else(|| error.to_string())))
    }

    async fn prove(&mut self, hash: Hash, username: &str, password: &str) -> Result<i64> {
        let opening = Opening::new(hash, username, password, nonce()?);
        let (said, _) = self.say(opening.message()).await?;
        // Thousands of rounds of hashing: not on a thread that others wait for.
        let proof = tokio::task::spawn_blocking(move || opening.answer(&said)).await;
        let proof = proof.unwrap_or_else(|error| Err(error.to_string()));
        let proof = proof.map_err(|why| self.refused(&why))?;
        let (said, life_ms) = self.say(proof.message().to_owned()).await?;
        proof.verify(&said).map_err(|why| self.refused(&why))?;
        Ok(life_ms)
    }

    async fn show(&mut self, tokens: &Tokens) -> Result<i64> {
        let (_, token) = tokens.current()?;
        let (said, life_ms) = self.say(tokens.message(&token)).await?;
        if said.is_empty() {
            return Ok(life_ms);
        }
        // What it says is why not; a dummy message is asked for before it ends the conversation.
        let why = String::from_utf8_lossy(&said).into_owned();
        let _ = self.say(Bytes::from_static(b"\x01")).await;
        Err(self.refused(&format!("it does not take the token: {why}")))
    }

    fn refused(&self, why: &str) -> LogError {
        let who = self.access.entry.credentials.as_ref().map_or("nobody", Credentials::mechanism);
        let why = format!("kafka at {} refuses to let us in with {who}: {why}", self.address);
        self.access.refused(&self.address, &why)
    }
}

/// 144 bits from the system, in letters that no message needs for itself.
fn nonce() -> Result<String> {
    let mut bytes = [0; 18];
    getrandom::fill(&mut bytes).map_err(|error| LogError::Retry(format!("no random numbers: {error}")))?;
    Ok(STANDARD_NO_PAD.encode(bytes))
}
