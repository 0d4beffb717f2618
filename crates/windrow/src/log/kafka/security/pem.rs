//! PEM: certificates and keys, from files, folders and texts.
//!
//! **In** a [`Source`] and the property that named it. **Out** DER, and PEM again for librdkafka. **Invariant:** whatever cannot be read
//! is an error with property and path; nothing is skipped in silence but files of a folder that hold no certificate.
//! **Not here:** who is trusted with them (`tls`).

use std::{fmt::Write as _, fs, io, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio_rustls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{Error, PemObject as _},
};

use super::settings::Source;

/// Most of one file: bundles of all public authorities are a quarter of this.
const FILE_MAX_BYTES: u64 = 4 << 20;
/// Most files of one folder.
const FILES_MAX: usize = 4_096;

/// Reads certificates; a folder's are those of all its files.
pub(super) fn certificates(source: &Source, property: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = match source {
        Source::Location(path) if path.is_dir() => folder(path, property)?,
        _ => {
            let text = text(source, property)?;
            let found: Result<Vec<_>, Error> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
            found
                .map_err(|error| format!("{}: not a certificate in PEM: {error}", place(source, property)))?
        }
    };
    if found.is_empty() {
        return Err(format!("{} holds no certificate in PEM", place(source, property)));
    }
    Ok(found)
}

fn folder(path: &Path, property: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let cannot = |error: io::Error| format!("{property}: {} cannot be read: {error}", path.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(cannot)? {
        let file = entry.map_err(cannot)?.path();
        if file.is_file() {
            files.push(file);
        }
        if files.len() > FILES_MAX {
            return Err(format!("{property}: {} holds more than {FILES_MAX} files", path.display()));
        }
    }
    files.sort_unstable();
    let mut all: Vec<CertificateDer<'static>> = Vec::new();
    for file in files {
        let text = text(&Source::Location(file), property)?;
        all.extend(CertificateDer::pem_slice_iter(text.as_bytes()).filter_map(Result::ok));
    }
    // Folders made for OpenSSL have each certificate under two names.
    all.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
    all.dedup();
    Ok(all)
}

/// Reads a private key: PKCS#8, PKCS#1 or SEC1.
pub(super) fn key(source: &Source, property: &str) -> Result<PrivateKeyDer<'static>, String> {
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
pub(super) fn text(source: &Source, property: &str) -> Result<String, String> {
    let path = match source {
        Source::Text(text) => return Ok(text.clone()),
        Source::Location(path) => path,
    };
    let cannot = |error: io::Error| format!("{property}: {} cannot be read: {error}", path.display());
    let size = fs::metadata(path).map_err(cannot)?.len();
    if size > FILE_MAX_BYTES {
        return Err(format!("{property}: {} has {size} bytes, more than {FILE_MAX_BYTES}", path.display()));
    }
    // Files in DER are no text; that they hold no PEM is told by who looks for it.
    Ok(String::from_utf8_lossy(&fs::read(path).map_err(cannot)?).into_owned())
}

fn place(source: &Source, property: &str) -> String {
    match source {
        Source::Location(path) => format!("{property}: {}", path.display()),
        Source::Text(_) => property.to_owned(),
    }
}

/// Writes certificates as PEM.
pub(super) fn write(certificates: &[CertificateDer<'_>]) -> String {
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
