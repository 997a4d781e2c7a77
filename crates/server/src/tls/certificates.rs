//! Parses certificates and keys from PEM files, with errors that describe the contents of a file.

use std::time::{Duration, SystemTime};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::{self, Decode, Tag, Tagged};
use x509_cert::time::Validity;

use crate::tls::key_kind::{KeyKind, SUPPORTED_KEYS};

/// The problem, and the file that has it.
#[derive(Debug)]
pub(crate) enum CertifiedKeyError {
    Certificate(String),
    Key(String),
}

/// Parses all certificates of a file.
pub(crate) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let must = "it must hold certificates in PEM";
    let text = without_bom(text);
    match CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(format!("{must}, but {}", describe_contents(text))),
        Err(_) => Err(format!("{must}, but its PEM is damaged")),
    }
}

/// Parses the first private key of a file.
pub(crate) fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let must = "it must hold a private key in PEM, without a passphrase";
    let text = without_bom(text);
    PrivateKeyDer::from_pem_slice(text).map_err(|error| {
        let problem = if is_encrypted(text) {
            "it has a passphrase".to_owned()
        } else if matches!(error, pem::Error::NoItemsFound) {
            describe_contents(text)
        } else {
            "its PEM is damaged".to_owned()
        };
        format!("{must}, but {problem}")
    })
}

/// Combines a chain and a key, and checks that the key is the one of the first certificate.
pub(crate) fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, CertifiedKeyError> {
    let public_key_of = |index| {
        let certificate = chain.get(index)?;
        let parsed = ParsedCertificate::try_from(certificate).ok()?;
        Some(parsed.subject_public_key_info())
    };
    let Some(first) = chain.first() else {
        return Err(CertifiedKeyError::Certificate("it has no certificate".to_owned()));
    };
    if let Err(error) = ParsedCertificate::try_from(first) {
        return Err(CertifiedKeyError::Certificate(match version(first) {
            Ok(version @ 1..=2) => {
                format!("its first certificate is X.509 version {version}, and must be version 3")
            }
            Ok(_) | Err(_) => format!("its first certificate cannot be read: {error}"),
        }));
    }
    let kind = KeyKind::of(&key);
    let loaded = provider.key_provider.load_private_key(key);
    let key = loaded.map_err(|_| {
        CertifiedKeyError::Key(format!("its key is {kind}, and must be {SUPPORTED_KEYS}"))
    })?;
    let own = key.public_key();
    match (0..chain.len()).find(|index| public_key_of(*index) == own) {
        Some(0) => Ok(CertifiedKey::new(chain, key)),
        Some(index) => Err(CertifiedKeyError::Certificate(format!(
            "the certificate of tls_key_file is number {} in it, and must be the first",
            index + 1
        ))),
        None => {
            let theirs =
                public_key_of(0).map_or(KeyKind::Unreadable, |key| KeyKind::of_public(&key));
            let difference = if theirs == kind {
                String::new()
            } else {
                format!(", whose key is {theirs}; this one is {kind}")
            };
            Err(CertifiedKeyError::Key(format!(
                "it must belong to the first certificate of tls_cert_file{difference}"
            )))
        }
    }
}

/// Returns the expiry and the lifetime of a certificate. Only these fields are parsed, so unusual contents
/// of other fields, which TLS ignores as well, are no error.
pub(crate) fn validity(certificate: &[u8]) -> der::Result<(SystemTime, Duration)> {
    let fields = fields(certificate)?;
    // The validity follows the serial number, the algorithm and the issuer (RFC 5280, section 4.1).
    let index = 3 + usize::from(has_version(&fields));
    let validity: Validity =
        fields.get(index).ok_or(der::Error::from(der::ErrorKind::Failed))?.decode_as()?;
    let not_after = validity.not_after.to_system_time();
    let lifetime = not_after.duration_since(validity.not_before.to_system_time());
    Ok((not_after, lifetime.unwrap_or_default()))
}

/// Returns the version as it is written in text, from 1 to 3; the encoding starts at 0.
fn version(certificate: &[u8]) -> der::Result<u8> {
    let fields = fields(certificate)?;
    match fields.first().filter(|_| has_version(&fields)) {
        Some(version) => Ok(u8::from_der(version.value())?.saturating_add(1)),
        None => Ok(1),
    }
}

/// Returns the fields of `TBSCertificate`.
fn fields(certificate: &[u8]) -> der::Result<Vec<AnyRef<'_>>> {
    let parts = Vec::<AnyRef<'_>>::from_der(certificate)?;
    parts.first().ok_or(der::Error::from(der::ErrorKind::Failed))?.decode_as()
}

fn has_version(fields: &[AnyRef<'_>]) -> bool {
    fields.first().is_some_and(
        |field| matches!(field.tag(), Tag::ContextSpecific { number, .. } if number.value() == 0),
    )
}

/// Removes the byte order mark that editors on Windows write, because the first line must begin with dashes.
fn without_bom(pem: &[u8]) -> &[u8] {
    pem.strip_prefix(b"\xef\xbb\xbf").unwrap_or(pem)
}

/// Whether the key is encrypted in PKCS#8, or in the traditional format of OpenSSL.
fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || text.contains("Proc-Type: 4,ENCRYPTED")
}

/// Describes the contents of a file without the expected PEM.
fn describe_contents(pem: &[u8]) -> String {
    // The first byte of DER and PKCS#12.
    const SEQUENCE: u8 = 0x30;
    let text = String::from_utf8_lossy(pem);
    let label = text.lines().find_map(|line| line.strip_prefix("-----BEGIN ")?.split_once("-----"));
    match (pem.first(), label) {
        (None, _) => "it is empty".to_owned(),
        (Some(&SEQUENCE), _) => "it is binary: DER or PKCS#12".to_owned(),
        (Some(_), Some((label, _))) if label.len() < 40 => format!("it holds {label}"),
        (Some(_), _) => "it has no PEM".to_owned(),
    }
}
