//! The algorithm and size of a key, for the message when it is refused.

use std::fmt;

use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use x509_cert::der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef, UintRef};
use x509_cert::der::{self, Decode, Tag, Tagged};
use x509_cert::spki::AlgorithmIdentifierRef;

/// The keys that aws-lc-rs can sign with.
pub(crate) const SUPPORTED_KEYS: &str =
    "EC on P-256, P-384 or P-521, Ed25519, ML-DSA, or RSA of 2048 to 8192 bits";

/// The algorithm of a key, with its size or curve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    /// Elliptic curve, with the name of the curve if it is known.
    Ec(Option<&'static str>),
    /// Another algorithm.
    Other(ObjectIdentifier),
    /// RSA, with the size of the modulus in bits.
    Rsa(usize),
    Unreadable,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ec(Some(curve)) => write!(f, "EC on {curve}"),
            Self::Ec(None) => f.write_str("EC on an unknown curve"),
            Self::Other(oid) => match ALGORITHMS.iter().find(|(known, _)| known == oid) {
                Some((_, name)) => f.write_str(name),
                None => write!(f, "of an unknown algorithm ({oid})"),
            },
            Self::Rsa(bits) => write!(f, "RSA of {bits} bits"),
            Self::Unreadable => f.write_str("damaged"),
        }
    }
}

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

const ALGORITHMS: [(ObjectIdentifier, &str); 8] = [
    (ObjectIdentifier::new_unwrap("1.2.840.10040.4.1"), "DSA"),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10"), "RSA-PSS"),
    (ObjectIdentifier::new_unwrap("1.3.101.110"), "X25519, which cannot sign"),
    (ObjectIdentifier::new_unwrap("1.3.101.112"), "Ed25519"),
    (ObjectIdentifier::new_unwrap("1.3.101.113"), "Ed448"),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17"), "ML-DSA-44"),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18"), "ML-DSA-65"),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19"), "ML-DSA-87"),
];

const CURVES: [(ObjectIdentifier, &str); 4] = [
    (ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"), "P-256"),
    (ObjectIdentifier::new_unwrap("1.3.132.0.10"), "secp256k1"),
    (ObjectIdentifier::new_unwrap("1.3.132.0.34"), "P-384"),
    (ObjectIdentifier::new_unwrap("1.3.132.0.35"), "P-521"),
];

impl KeyKind {
    /// Returns the kind of a private key.
    pub(crate) fn of(key: &PrivateKeyDer<'_>) -> Self {
        let kind = match key {
            PrivateKeyDer::Pkcs1(key) => rsa(key.secret_pkcs1_der(), 1),
            PrivateKeyDer::Pkcs8(key) => pkcs8(key.secret_pkcs8_der()),
            PrivateKeyDer::Sec1(key) => ec(key.secret_sec1_der(), None),
            _ => return Self::Unreadable,
        };
        kind.unwrap_or(Self::Unreadable)
    }

    /// Returns the kind of a certificate's key.
    pub(crate) fn of_public(key: &SubjectPublicKeyInfoDer<'_>) -> Self {
        let kind = Vec::<AnyRef<'_>>::from_der(key).and_then(|parts| {
            let algorithm: AlgorithmIdentifierRef<'_> = part(&parts, 0)?.decode_as()?;
            let key: BitStringRef<'_> = part(&parts, 1)?.decode_as()?;
            match algorithm.oid {
                EC => Ok(Self::Ec(curve(&algorithm))),
                RSA => rsa(key.raw_bytes(), 0),
                other => Ok(Self::Other(other)),
            }
        });
        kind.unwrap_or(Self::Unreadable)
    }
}

/// Parses PKCS#8 (RFC 5958, section 2).
fn pkcs8(der: &[u8]) -> der::Result<KeyKind> {
    let parts = Vec::<AnyRef<'_>>::from_der(der)?;
    let algorithm: AlgorithmIdentifierRef<'_> = part(&parts, 1)?.decode_as()?;
    let key: &OctetStringRef = part(&parts, 2)?.decode_as()?;
    match algorithm.oid {
        EC => ec(key.as_bytes(), curve(&algorithm)),
        RSA => rsa(key.as_bytes(), 1),
        other => Ok(KeyKind::Other(other)),
    }
}

/// Parses SEC1 (RFC 5915, section 3). `outer` is the curve given by the enclosing structure, if any.
fn ec(der: &[u8], outer: Option<&'static str>) -> der::Result<KeyKind> {
    let parts = Vec::<AnyRef<'_>>::from_der(der)?;
    let inner = parts.iter().find(
        |part| matches!(part.tag(), Tag::ContextSpecific { number, .. } if number.value() == 0),
    );
    let inner = inner.and_then(|part| ObjectIdentifier::from_der(part.value()).ok());
    Ok(KeyKind::Ec(outer.or(inner.and_then(named_curve))))
}

/// Parses PKCS#1 (RFC 8017, appendix A.1). The modulus is the element at `index`.
fn rsa(der: &[u8], index: usize) -> der::Result<KeyKind> {
    let parts = Vec::<AnyRef<'_>>::from_der(der)?;
    let modulus: UintRef<'_> = part(&parts, index)?.decode_as()?;
    let unused = modulus.as_bytes().first().map_or(0, |byte| byte.leading_zeros());
    let bits = modulus.as_bytes().len() * 8;
    Ok(KeyKind::Rsa(bits.saturating_sub(usize::try_from(unused).unwrap_or(0))))
}

fn curve(algorithm: &AlgorithmIdentifierRef<'_>) -> Option<&'static str> {
    named_curve(algorithm.parameters?.decode_as().ok()?)
}

fn named_curve(oid: ObjectIdentifier) -> Option<&'static str> {
    CURVES.iter().find(|(known, _)| *known == oid).map(|(_, name)| *name)
}

fn part<'a, 'b>(parts: &'a [AnyRef<'b>], index: usize) -> der::Result<&'a AnyRef<'b>> {
    parts.get(index).ok_or_else(|| {
        der::ErrorKind::Incomplete { expected_len: der::Length::ONE, actual_len: der::Length::ZERO }
            .into()
    })
}
