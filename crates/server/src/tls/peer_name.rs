//! The name in a client's certificate.

use std::sync::Arc;

use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::{PrintableStringRef, Utf8StringRef};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Returns the first DNS name, email address or URI among the subject's alternative names (RFC 5280,
/// section 4.2.1.6), or else the common name of the subject; `None` if it has neither.
///
/// rustls has verified the certificate, so the CA vouches for the name.
pub(crate) fn certificate_name(certificate: &[u8]) -> Option<Arc<str>> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let subject = certificate.tbs_certificate();
    let alternative = subject.get_extension::<SubjectAltName>().ok().flatten();
    let alternative = alternative.and_then(|(_, names)| {
        names.0.iter().find_map(|name| match name {
            GeneralName::DnsName(name) | GeneralName::Rfc822Name(name) => {
                Some(name.as_str().into())
            }
            GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str().into()),
            GeneralName::DirectoryName(_)
            | GeneralName::EdiPartyName(_)
            | GeneralName::IpAddress(_)
            | GeneralName::OtherName(_)
            | GeneralName::RegisteredId(_) => None,
        })
    });
    alternative.or_else(|| {
        let common_name = subject.subject().iter().find(|it| it.oid == COMMON_NAME)?;
        let value = &common_name.value;
        let utf8 = value.decode_as::<Utf8StringRef<'_>>().map(|text| text.as_str().into());
        let text = utf8.or_else(|_| {
            value.decode_as::<PrintableStringRef<'_>>().map(|text| text.as_str().into())
        });
        text.ok()
    })
}

/// `id-at-commonName` (RFC 5280, appendix A.1).
const COMMON_NAME: x509_cert::der::oid::ObjectIdentifier =
    x509_cert::der::oid::ObjectIdentifier::new_unwrap("2.5.4.3");
