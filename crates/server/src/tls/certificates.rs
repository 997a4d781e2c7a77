//! Certificates and keys as the operator gives them: what is in a file, and what is wrong with it.

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

/// What is wrong, and with which file.
#[derive(Debug)]
pub(crate) enum Fault {
    Certificate(String),
    Key(String),
}

/// Reads the certificates in a file.
pub(crate) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let must = "it must hold certificates in PEM";
    let text = without_mark(text);
    match CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(format!("{must}, and {}", what_is_in(text))),
        Err(_) => Err(format!("{must}, and its PEM is damaged")),
    }
}

/// Reads the first private key in a file.
pub(crate) fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let must = "it must hold a private key in PEM, without a passphrase";
    let text = without_mark(text);
    PrivateKeyDer::from_pem_slice(text).map_err(|error| {
        let problem = if is_encrypted(text) {
            "this one has a passphrase".to_owned()
        } else if matches!(error, pem::Error::NoItemsFound) {
            what_is_in(text)
        } else {
            "its PEM is damaged".to_owned()
        };
        format!("{must}, and {problem}")
    })
}

/// Puts a chain and a key together.
pub(crate) fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Fault> {
    let of_certificate = |place| {
        let certificate = chain.get(place)?;
        let parse = ParsedCertificate::try_from(certificate).ok()?;
        Some(parse.subject_public_key_info())
    };
    let Some(first) = chain.first() else {
        return Err(Fault::Certificate("there is no certificate in it".to_owned()));
    };
    if let Err(error) = ParsedCertificate::try_from(first) {
        return Err(Fault::Certificate(match version(first) {
            Ok(version @ 1..=2) => {
                format!("its first certificate is X.509 version {version}, and must be version 3")
            }
            Ok(_) | Err(_) => format!("its first certificate cannot be read: {error}"),
        }));
    }
    let kind = KeyKind::of(&key);
    let taken = provider.key_provider.load_private_key(key);
    let key = taken
        .map_err(|_| Fault::Key(format!("its key is {kind}, and must be {SUPPORTED_KEYS}")))?;
    let own = key.public_key();
    match (0..chain.len()).find(|place| of_certificate(*place) == own) {
        Some(0) => Ok(CertifiedKey::new(chain, key)),
        Some(place) => Err(Fault::Certificate(format!(
            "the certificate of tls_key_file is number {} in it, and must be the first",
            place + 1
        ))),
        None => {
            let theirs =
                of_certificate(0).map_or(KeyKind::Unreadable, |it| KeyKind::of_public(&it));
            let difference = if theirs == kind {
                String::new()
            } else {
                format!(", whose key is {theirs}; this one is {kind}")
            };
            Err(Fault::Key(format!(
                "it must belong to the first certificate of tls_cert_file{difference}"
            )))
        }
    }
}

/// When a certificate ends, and how long it is good for in all. Nothing else of it has to be to anybody's
/// liking: TLS does not look at most of it either.
pub(crate) fn validity(certificate: &[u8]) -> der::Result<(SystemTime, Duration)> {
    let fields = fields(certificate)?;
    // Behind the serial number, the algorithm and the issuer (RFC 5280, section 4.1).
    let place = 3 + usize::from(has_version(&fields));
    let validity: Validity =
        fields.get(place).ok_or(der::Error::from(der::ErrorKind::Failed))?.decode_as()?;
    let not_after = validity.not_after.to_system_time();
    let lifetime = not_after.duration_since(validity.not_before.to_system_time());
    Ok((not_after, lifetime.unwrap_or_default()))
}

/// The version, counted as people do.
fn version(certificate: &[u8]) -> der::Result<u8> {
    let fields = fields(certificate)?;
    match fields.first().filter(|_| has_version(&fields)) {
        Some(version) => Ok(u8::from_der(version.value())?.saturating_add(1)),
        None => Ok(1),
    }
}

/// The fields of what is signed of a certificate.
fn fields(certificate: &[u8]) -> der::Result<Vec<AnyRef<'_>>> {
    let parts = Vec::<AnyRef<'_>>::from_der(certificate)?;
    parts.first().ok_or(der::Error::from(der::ErrorKind::Failed))?.decode_as()
}

fn has_version(fields: &[AnyRef<'_>]) -> bool {
    fields.first().is_some_and(
        |field| matches!(field.tag(), Tag::ContextSpecific { number, .. } if number.value() == 0),
    )
}

/// Editors on Windows put a mark in front, which the first line then does not begin with.
fn without_mark(pem: &[u8]) -> &[u8] {
    pem.strip_prefix(b"\xef\xbb\xbf").unwrap_or(pem)
}

/// In PKCS#8, or as OpenSSL used to.
fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || text.contains("Proc-Type: 4,ENCRYPTED")
}

/// What is in a file instead of what ought to be.
fn what_is_in(pem: &[u8]) -> String {
    // What DER and PKCS#12 begin with.
    const SEQUENCE: u8 = 0x30;
    let text = String::from_utf8_lossy(pem);
    let label = text.lines().find_map(|line| line.strip_prefix("-----BEGIN ")?.split_once("-----"));
    match (pem.first(), label) {
        (None, _) => "is empty".to_owned(),
        (Some(&SEQUENCE), _) => "is binary: DER or PKCS#12".to_owned(),
        (Some(_), Some((label, _))) if label.len() < 40 => format!("holds {label}"),
        (Some(_), _) => "there is no PEM in it".to_owned(),
    }
}
