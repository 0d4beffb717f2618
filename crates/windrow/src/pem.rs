//! PEM: certificates and keys, from files, folders and texts.
//!
//! **In** a [`Source`] and the property that named it. **Out** DER, as ureq has it, and PEM again for librdkafka. **Invariant:** whatever
//! cannot be read is an error with property and path; nothing is skipped in silence but files of a folder that hold no certificate.
//! **Not here:** who is trusted with them (`log::kafka::security::tls`, `registry`).

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio_rustls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{Error, PemObject as _},
};
use ureq::tls::Certificate;

/// Most of one file: bundles of all public authorities are a quarter of this.
const FILE_MAX_BYTES: u64 = 4 << 20;
/// Most files of one folder.
const FILES_MAX: usize = 4_096;

/// Where a PEM text is.
#[derive(Clone)]
pub(crate) enum Source {
    /// A file or a folder, and what messages call it.
    Location(PathBuf, String),
    Text(String),
}

impl Source {
    /// One that messages call by its path.
    pub(crate) fn at(path: &str) -> Self {
        Self::Location(PathBuf::from(path), path.to_owned())
    }
}

/// Reads the authorities to trust: those named, or the system's.
pub(crate) fn roots(named: Option<&Source>, property: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    if let Some(source) = named {
        return certificates(source, property);
    }
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(format!(
            "this system has no certificate authorities{why}; install them (Debian: ca-certificates), or name a file by `{property}`"
        ));
    }
    Ok(found.certs)
}

/// The same certificates for HTTP.
pub(crate) fn for_http(certificates: &[CertificateDer<'_>]) -> Vec<Certificate<'static>> {
    certificates.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect()
}

/// Reads certificates; a folder's are those of all its files.
pub(crate) fn certificates(source: &Source, property: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = match source {
        Source::Location(path, shown) if path.is_dir() => folder(path, shown, property)?,
        _ => {
            let text = text(source, property)?;
            let found: Result<Vec<_>, Error> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
            let place = || place(source, property);
            found.map_err(|error| match error {
                Error::MissingSectionEnd { .. } => format!("{} is cut off in a certificate", place()),
                error => format!("{}: not a certificate in PEM: {error}", place()),
            })?
        }
    };
    if found.is_empty() {
        return Err(format!("{} holds no certificate in PEM", place(source, property)));
    }
    Ok(found)
}

fn folder(path: &Path, shown: &str, property: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let cannot = |error: io::Error| format!("{property}: {shown} cannot be read: {error}");
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(cannot)? {
        let file = entry.map_err(cannot)?.path();
        if file.is_file() {
            files.push(file);
        }
        if files.len() > FILES_MAX {
            return Err(format!("{property}: {shown} holds more than {FILES_MAX} files"));
        }
    }
    files.sort_unstable();
    let mut all: Vec<CertificateDer<'static>> = Vec::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().display();
        let shown = format!("{shown}/{name}");
        let text = text(&Source::Location(file, shown), property)?;
        all.extend(CertificateDer::pem_slice_iter(text.as_bytes()).filter_map(Result::ok));
    }
    // Folders made for OpenSSL have each certificate under two names.
    all.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
    all.dedup();
    Ok(all)
}

/// Reads a private key: PKCS#8, PKCS#1 or SEC1.
pub(crate) fn key(source: &Source, property: &str) -> Result<PrivateKeyDer<'static>, String> {
    let text = text(source, property)?;
    if text.contains("ENCRYPTED") {
        let place = place(source, property);
        return Err(format!(
            "{place}: encrypted keys are not read; `openssl pkey -in key.pem -out plain.pem` decrypts one, and permissions guard the file"
        ));
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| match error {
        Error::NoItemsFound => format!("{} holds no private key in PEM", place(source, property)),
        // Never the parser's own words: they may hold a piece of the key.
        _ => format!("{}: not a private key in PEM", place(source, property)),
    })
}

/// Reads the text itself.
pub(crate) fn text(source: &Source, property: &str) -> Result<String, String> {
    let (path, shown) = match source {
        Source::Text(text) => return Ok(text.clone()),
        Source::Location(path, shown) => (path, shown),
    };
    let cannot = |error: io::Error| format!("{property}: {shown} cannot be read: {error}");
    let size = fs::metadata(path).map_err(cannot)?.len();
    if size > FILE_MAX_BYTES {
        return Err(format!("{property}: {shown} has {size} bytes, more than {FILE_MAX_BYTES}"));
    }
    // Files in DER are no text; that they hold no PEM is told by who looks for it.
    Ok(String::from_utf8_lossy(&fs::read(path).map_err(cannot)?).into_owned())
}

fn place(source: &Source, property: &str) -> String {
    match source {
        Source::Location(_, shown) => format!("{property}: {shown}"),
        Source::Text(_) => property.to_owned(),
    }
}

/// Writes a key as PEM.
pub(crate) fn write_key(key: &PrivateKeyDer<'_>) -> String {
    let label = match key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    let text = STANDARD.encode(key.secret_der());
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Writes certificates as PEM.
pub(crate) fn write(certificates: &[CertificateDer<'_>]) -> String {
    let mut out = String::new();
    for certificate in certificates {
        out.push_str("-----BEGIN CERTIFICATE-----\n");
        let text = STANDARD.encode(certificate);
        for line in text.as_bytes().chunks(64) {
            let _ = writeln!(out, "{}", String::from_utf8_lossy(line));
        }
        out.push_str("-----END CERTIFICATE-----\n");
    }
    out
}
