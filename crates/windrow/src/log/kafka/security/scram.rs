//! SCRAM: proving a password without showing it, and seeing that the broker knows it too; no socket, no clock.
//!
//! ```text
//! n,,n=user,r=ours ─► r=ours+theirs,s=salt,i=rounds ─► c=biws,r=…,p=proof ─► v=signature
//! ```
//!
//! **In** what the broker says. **Out** what to answer. **Invariant:** a broker that cannot sign is refused, as is one whose nonce is not ours
//! continued or whose number of rounds is out of bounds: few would make the proof cheap to guess from, many would only burn our time.
//! **Not here:** frames (`wire::login`). Names are not prepared (RFC 4013), as librdkafka does not: what is not ASCII must be
//! written as the broker has it.
//!
//! Source: RFC 5802, RFC 7677.

use std::num::NonZeroU32;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{digest, hmac, pbkdf2};

/// RFC 7677: at least this; also the least that Kafka stores.
const ROUNDS_MIN: u32 = 4_096;
/// Kafka stores at most 16,384; this is about a second of work.
const ROUNDS_MAX: u32 = 1_000_000;
/// Longest message taken: salts and nonces have some dozen bytes.
const MESSAGE_MAX_BYTES: usize = 4_096;

/// Which hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::log::kafka) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    /// As brokers call it.
    pub(in crate::log::kafka) fn mechanism(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

/// A conversation begun.
pub(in crate::log::kafka) struct Opening {
    hash: Hash,
    password: String,
    nonce: String,
    bare: String,
}

impl Opening {
    /// Begins; `nonce` is fresh from the system, printable and without commas.
    pub(in crate::log::kafka) fn new(hash: Hash, username: &str, password: &str, nonce: String) -> Self {
        let name = username.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={name},r={nonce}");
        Self { hash, password: password.to_owned(), nonce, bare }
    }

    /// The first message; channel binding is not offered, since Kafka has none.
    pub(in crate::log::kafka) fn message(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// Answers the broker's first message. Costs as much as the broker's rounds say, a second at most.
    pub(in crate::log::kafka) fn answer(&self, said: &[u8]) -> Result<Proof, String> {
        let said = text(said)?;
        let mut parts = said.split(',');
        let mut part = |name: &str| {
            let found = parts.next().and_then(|part| part.strip_prefix(name));
            found.ok_or_else(|| format!("its first answer lacks {name}"))
        };
        let (nonce, salt, rounds) = (part("r=")?, part("s=")?, part("i=")?);
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err("its nonce does not continue ours".into());
        }
        let salt = STANDARD.decode(salt).map_err(|_| "its salt is not base64")?;
        let rounds: u32 = rounds.parse().map_err(|_| "its number of rounds is no number")?;
        let bounded = NonZeroU32::new(rounds).filter(|_| (ROUNDS_MIN..=ROUNDS_MAX).contains(&rounds));
        let bounded = bounded
            .ok_or_else(|| format!("it asks for {rounds} rounds, not for {ROUNDS_MIN} to {ROUNDS_MAX}"))?;
        Ok(self.prove(said, nonce, &salt, bounded))
    }

    fn prove(&self, said: &str, nonce: &str, salt: &[u8], rounds: NonZeroU32) -> Proof {
        let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(self.hash.hmac(), key), text);
        let mut salted = vec![0; self.hash.digest().output_len()];
        pbkdf2::derive(self.hash.pbkdf2(), rounds, salt, self.password.as_bytes(), &mut salted);
        // biws: "n,," in base64.
        let bare = format!("c=biws,r={nonce}");
        let signed = format!("{},{said},{bare}", self.bare);
        let client_key = sign(&salted, b"Client Key");
        let stored_key = digest::digest(self.hash.digest(), client_key.as_ref());
        let signature = sign(stored_key.as_ref(), signed.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let server_key = sign(&salted, b"Server Key");
        Proof {
            message: format!("{bare},p={}", STANDARD.encode(proof)),
            server: hmac::Key::new(self.hash.hmac(), server_key.as_ref()),
            signed,
        }
    }
}

/// Our proof, and what the broker's has to be.
pub(in crate::log::kafka) struct Proof {
    message: String,
    server: hmac::Key,
    signed: String,
}

impl Proof {
    /// The last message.
    pub(in crate::log::kafka) fn message(&self) -> &str {
        &self.message
    }

    /// Checks that the broker knows the password as well.
    pub(in crate::log::kafka) fn verify(&self, said: &[u8]) -> Result<(), String> {
        let said = text(said)?;
        let first = said.split(',').next().unwrap_or_default();
        if let Some(error) = first.strip_prefix("e=") {
            return Err(error.to_owned());
        }
        let signature = first.strip_prefix("v=").and_then(|text| STANDARD.decode(text).ok());
        let signature = signature.ok_or("its last answer holds no signature")?;
        hmac::verify(&self.server, self.signed.as_bytes(), &signature)
            .map_err(|_| "it does not know the password: its signature is wrong".into())
    }
}

fn text(said: &[u8]) -> Result<&str, String> {
    if said.len() > MESSAGE_MAX_BYTES {
        return Err(format!("it says {} bytes, more than {MESSAGE_MAX_BYTES}", said.len()));
    }
    std::str::from_utf8(said).map_err(|_| "what it says is not UTF-8".into())
}

#[cfg(test)]
mod tests;
