//! Tokens: who may hear of which organization, signed with the listener's secret.
//!
//! **In** a JSON Web Token of HS256, an organization, the time. **Out** when it ends, or why it is refused.
//! **Invariant:** nothing of a token is believed before its signature is checked, and that in constant time; no other algorithm is known, so none
//! can be asked for. **Not here:** where it was found (`asked`).
//!
//! Source: RFC 7515 (signature), RFC 7518 section 3.2 (HS256), RFC 7519 (claims), RFC 8725 (what to beware of).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::Value;

use crate::config::Secret;

/// A token is a few claims.
const TOKEN_MAX_BYTES: usize = 8 << 10;
/// Clocks differ.
const LEEWAY_S: f64 = 30.0;

/// Checks tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    key: hmac::Key,
    claim: String,
}

impl Tokens {
    pub(super) fn new(secret: &Secret, claim: &str) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret.0.as_bytes()), claim: claim.to_owned() }
    }

    /// Returns when the token ends, the leeway included, in seconds since the epoch, if it does.
    ///
    /// - **Errors:** why it does not let its bearer hear of that organization, for the log.
    pub(super) fn admit(
        &self,
        token: &str,
        organization: i64,
        now_s: f64,
    ) -> Result<Option<f64>, &'static str> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err("the token is too long");
        }
        let (signed, signature) = token.rsplit_once('.').ok_or("the token has no signature")?;
        let (header, claims) = signed.split_once('.').ok_or("the token has no claims")?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| "the signature is no base64url")?;
        hmac::verify(&self.key, signed.as_bytes(), &signature).map_err(|_| "the signature is wrong")?;
        let header = object(header)?;
        if header.get("alg") != Some(&Value::from("HS256")) {
            return Err("the algorithm is not HS256");
        }
        if header.get("crit").is_some() {
            return Err("the token asks for extensions that are not known");
        }
        let claims = object(claims)?;
        let ends = time(&claims, "exp")?.map(|ends| ends + LEEWAY_S);
        if ends.is_some_and(|ends| ends <= now_s) {
            return Err("the token has ended");
        }
        if time(&claims, "nbf")?.is_some_and(|begins| begins - LEEWAY_S > now_s) {
            return Err("the token has not begun");
        }
        match claims.get(&self.claim) {
            Some(Value::Array(all)) if all.iter().any(|one| one.as_i64() == Some(organization)) => Ok(ends),
            Some(one) if one.as_i64() == Some(organization) => Ok(ends),
            _ => Err("the token is of another organization"),
        }
    }
}

fn object(part: &str) -> Result<Value, &'static str> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| "a part of the token is no base64url")?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| "a part of the token is no JSON")?;
    if value.is_object() { Ok(value) } else { Err("a part of the token is no object") }
}

fn time(claims: &Value, name: &str) -> Result<Option<f64>, &'static str> {
    match claims.get(name) {
        None => Ok(None),
        Some(time) => time.as_f64().map(Some).ok_or("a time of the token is no number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "a secret of at least thirty-two bytes";

    fn sign(header: &str, claims: &str, secret: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    #[test]
    fn a_token_admits_to_its_organizations_in_its_time() {
        let tokens = Tokens::new(&Secret(SECRET.to_owned()), "organization_id");
        let hs = r#"{"alg":"HS256","typ":"JWT"}"#;
        for (header, claims, secret, want) in [
            (hs, r#"{"organization_id":5}"#, SECRET, Ok(None)),
            (hs, r#"{"organization_id":[4,5],"exp":1001}"#, SECRET, Ok(Some(1031.0))),
            (hs, r#"{"organization_id":5,"exp":975,"nbf":1025}"#, SECRET, Ok(Some(1005.0))),
            (hs, r#"{"organization_id":5,"exp":970}"#, SECRET, Err("the token has ended")),
            (hs, r#"{"organization_id":5,"exp":"2000"}"#, SECRET, Err("a time of the token is no number")),
            (hs, r#"{"organization_id":5,"nbf":1031}"#, SECRET, Err("the token has not begun")),
            (hs, r#"{"organization_id":6}"#, SECRET, Err("the token is of another organization")),
            (hs, r#"{"organization_id":"5"}"#, SECRET, Err("the token is of another organization")),
            (hs, r#"{"organization_id":[]}"#, SECRET, Err("the token is of another organization")),
            (hs, "{}", SECRET, Err("the token is of another organization")),
            (hs, "[5]", SECRET, Err("a part of the token is no object")),
            (hs, r#"{"organization_id":5}"#, "another", Err("the signature is wrong")),
            (r#"{"alg":"none"}"#, r#"{"organization_id":5}"#, SECRET, Err("the algorithm is not HS256")),
            (r#"{"alg":"HS512"}"#, r#"{"organization_id":5}"#, SECRET, Err("the algorithm is not HS256")),
            (
                r#"{"alg":"HS256","crit":["b64"]}"#,
                r#"{"organization_id":5}"#,
                SECRET,
                Err("the token asks for extensions that are not known"),
            ),
        ] {
            let got = tokens.admit(&sign(header, claims, secret), 5, 1_000.0);
            assert_eq!(got, want, "{header} {claims}");
        }
        let good = sign(hs, r#"{"organization_id":5}"#, SECRET);
        let unsigned = format!("{}.", good.rsplit_once('.').unwrap().0);
        for token in ["", ".", "..", "a.b", "a.b.c", &unsigned, &good[1..], &format!("{good}A")] {
            assert!(tokens.admit(token, 5, 1_000.0).is_err(), "{token}");
        }
        assert!(tokens.admit(&"a".repeat(TOKEN_MAX_BYTES + 1), 5, 1_000.0).is_err());
    }

    #[test]
    fn the_example_of_the_rfc_is_signed_as_it_says() {
        // RFC 7515, appendix A.1.
        let key = URL_SAFE_NO_PAD
            .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
            .unwrap();
        let signed = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = URL_SAFE_NO_PAD.decode("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        assert!(hmac::verify(&key, signed.as_bytes(), &signature).is_ok());
    }
}
