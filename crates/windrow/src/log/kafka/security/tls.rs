//! TLS: whom to trust, who we are, and what a failed handshake means.
//!
//! **In** settings. **Out** rustls' configuration, and the same certificates and key as librdkafka takes them. **Invariant:** the roots are
//! read once, and both sides trust exactly these; OpenSSL's own idea of where a system keeps them is never asked. **Not here:** sockets.
//!
//! Two libraries judge one certificate. They differ where RFC 6125 is strict: rustls wants the host in the subject's alternative names and
//! refuses a certificate that is its own authority, OpenSSL takes both.

use std::{io, sync::Arc};

use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{self, CryptoProvider},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use super::settings::{Check, Tls};
use crate::pem;

/// What librdkafka is told.
type Told = Vec<(&'static str, String)>;

/// Reads what the settings name. Blocks.
pub(super) fn load(wanted: &Tls) -> Result<(Arc<ClientConfig>, Told), String> {
    let provider = Arc::new(crypto::ring::default_provider());
    let algorithm = if wanted.check == Check::Name { "https" } else { "none" };
    let is_checked = wanted.check != Check::Nothing;
    let mut told = vec![
        ("ssl.endpoint.identification.algorithm", algorithm.to_owned()),
        ("enable.ssl.certificate.verification", is_checked.to_string()),
    ];
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?;
    let builder = if is_checked {
        let trusted = pem::roots(wanted.roots.as_ref(), "ssl.ca.location")?;
        told.push(("ssl.ca.pem", pem::write(&trusted)));
        let roots = store(&trusted, wanted.roots.is_some().then_some("ssl.ca.location"))?;
        match wanted.check {
            Check::Name => builder.with_root_certificates(roots),
            _ => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Lenient { roots: Some(roots), provider })),
        }
    } else {
        tracing::warn!("enable.ssl.certificate.verification is false: anybody may play the broker");
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Lenient { roots: None, provider }))
    };
    let config = match &wanted.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = pem::certificates(certificate, "ssl.certificate.location")?;
            let key = pem::key(key, "ssl.key.location")?;
            told.push(("ssl.certificate.pem", pem::write(&chain)));
            told.push(("ssl.key.pem", pem::write_key(&key)));
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| format!("ssl.certificate.location and ssl.key.location: {error}"))?
        }
    };
    Ok((Arc::new(config), told))
}

/// Of what a user names, each must be of use; of what a system brings, some.
fn store(
    certificates: &[CertificateDer<'static>],
    named: Option<&str>,
) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        if let (Err(error), Some(property)) = (roots.add(certificate.clone()), named) {
            return Err(format!("{property}: a certificate is no authority that can be trusted: {error}"));
        }
    }
    if roots.is_empty() {
        return Err("none of this system's certificate authorities can be read".into());
    }
    Ok(Arc::new(roots))
}

/// Checks who signed, or nothing, but never the name.
#[derive(Debug)]
struct Lenient {
    roots: Option<Arc<RootCertStore>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Says what a failure of the line means, where TLS is its reason.
pub(in crate::log::kafka) fn explain(error: &io::Error) -> String {
    use CertificateError as Bad;
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return error.to_string();
    };
    match tls {
        Error::InvalidCertificate(Bad::UnknownIssuer) => {
            "its certificate is signed by nobody trusted here; ssl.ca.location names whom to trust".into()
        }
        Error::InvalidCertificate(Bad::NotValidForNameContext { expected, presented }) => format!(
            "its certificate is for {}, not for {}; ask for it by a name that it has (ssl.endpoint.identification.algorithm = none takes any)",
            hosts(presented),
            expected.to_str()
        ),
        Error::InvalidCertificate(Bad::ExpiredContext { not_after, .. }) => {
            let seconds = i64::try_from(not_after.as_secs()).ok();
            let at = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
            format!("its certificate has expired{}", at.map(|at| format!(", at {at}")).unwrap_or_default())
        }
        Error::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => {
            "its certificate is not valid yet; is the clock of this machine right?".into()
        }
        Error::InvalidCertificate(bad) => format!("its certificate is not taken: {bad}"),
        Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::NoCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied,
        ) => format!(
            "it refuses this client's certificate, or asks for one ({tls}); ssl.certificate.location and ssl.key.location give it"
        ),
        Error::InvalidMessage(_) => {
            format!("what it says is no TLS ({tls}); is the listener one for PLAINTEXT?")
        }
        other => format!("TLS: {other}"),
    }
}

/// rustls tells names as `DnsName("a.example")` and `IpAddress(::1)`.
fn hosts(presented: &[String]) -> String {
    let plain = |name: &String| {
        let inner = name.split_once('(').map_or(&**name, |(_, inner)| inner);
        inner.trim_matches([')', '"']).to_owned()
    };
    let names: Vec<String> = presented.iter().map(plain).collect();
    if names.is_empty() { "no host at all".into() } else { names.join(", ") }
}
