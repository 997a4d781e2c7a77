//! Does TLS work, and is the certificate valid?

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use rustls::{AlertDescription, CertificateError, Error};
use tokio::time::{Instant, timeout};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::client::{Handshake, Trust, connect};
use crate::context::time;
use crate::escape::escape;
use crate::finding::{Finding, Question};
use crate::options::Options;
use crate::remedies::Remedy;

const QUESTION: Question = Question::Tls;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether there is anything to examine behind TLS.
pub(crate) enum TlsOutcome {
    /// The handshake failed.
    Failed,
    /// The certificate is not valid for clients; the handshake was completed all the same.
    Insecure,
    Secure,
}

/// Performs a handshake as a client does that opens a WebSocket over HTTP/1.1.
pub(crate) async fn tls(
    options: &Options,
    trust: &Trust,
    address: SocketAddr,
) -> (Finding, TlsOutcome) {
    let limit = options.timeout_secs;
    let stream = match connect(address, options.bind, limit).await {
        Ok(stream) => stream,
        Err(error) => return (failed(&error), TlsOutcome::Failed),
    };
    let began = Instant::now();
    let handshake = timeout(limit, trust.handshake(stream, &options.target.host, &["http/1.1"]));
    match handshake.await.map_err(io::Error::from).and_then(|it| it) {
        Ok(handshake) => judge(&handshake, &options.target.host, began.elapsed()),
        Err(error) => (failed(&error), TlsOutcome::Failed),
    }
}

fn judge(handshake: &Handshake, host: &str, took: Duration) -> (Finding, TlsOutcome) {
    let first = handshake.chain.first();
    let certificate = first.and_then(|der| Certificate::from_der(der).ok());
    if let Some(problem) = &handshake.problem {
        let finding = invalid(problem, certificate.as_ref(), handshake.chain.len(), host);
        return (finding, TlsOutcome::Insecure);
    }
    let version = handshake.version.replace("TLSv", "TLS ").replace('_', ".");
    let Some(certificate) = certificate else {
        let sentence = format!("{version} in {}; the certificate is valid", time(took));
        return (Finding::ok(QUESTION, "certificate_valid", sentence), TlsOutcome::Secure);
    };
    let validity = certificate.tbs_certificate().validity();
    let not_after = validity.not_after.to_system_time();
    let left = not_after.duration_since(SystemTime::now()).unwrap_or_default();
    let lifetime =
        not_after.duration_since(validity.not_before.to_system_time()).unwrap_or_default();
    let days = left.as_secs() / DAY.as_secs();
    let until = httpdate::fmt_http_date(not_after);
    let sentence = format!(
        "{version} in {}; the certificate is valid until {until} ({days} days)",
        time(took)
    );
    let finding = if left < lifetime / 10 {
        let sentence = format!("{sentence}, which is less than a tenth of its time");
        Finding::warning(
            QUESTION,
            "certificate_expires",
            sentence,
            [renewal(), Remedy::Certificate],
        )
    } else {
        Finding::ok(QUESTION, "certificate_valid", sentence)
    };
    (finding.measuring("tls_ms", took), TlsOutcome::Secure)
}

fn renewal() -> Remedy {
    Remedy::Server("renew the certificate, and reload what serves it".to_owned())
}

/// The certificate was not accepted.
#[expect(clippy::wildcard_enum_match_arm, reason = "most reasons have no remedy of their own")]
fn invalid(
    problem: &Error,
    certificate: Option<&Certificate>,
    length: usize,
    host: &str,
) -> Finding {
    let Error::InvalidCertificate(reason) = problem else {
        let sentence =
            format!("the certificate is not accepted: {}", escape(problem.to_string().as_bytes()));
        return Finding::failure(QUESTION, "certificate_invalid", sentence, [Remedy::Certificate]);
    };
    let validity = certificate.map(|it| it.tbs_certificate().validity());
    let date = |of: Option<SystemTime>| {
        of.map_or_else(|| "an unknown date".into(), httpdate::fmt_http_date)
    };
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            let not_after = date(validity.map(|it| it.not_after.to_system_time()));
            let sentence = format!("the certificate expired on {not_after}");
            Finding::failure(
                QUESTION,
                "certificate_expired",
                sentence,
                [renewal(), Remedy::Certificate],
            )
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            let not_before = date(validity.map(|it| it.not_before.to_system_time()));
            let sentence = format!("the certificate is not valid before {not_before}");
            let clock =
                Remedy::Client("the clock of this machine, or a certificate that is valid already");
            Finding::failure(
                QUESTION,
                "certificate_not_yet_valid",
                sentence,
                [clock, Remedy::Certificate],
            )
        }
        CertificateError::NotValidForName => wrong_name(host, &[]),
        CertificateError::NotValidForNameContext { presented, .. } => wrong_name(host, presented),
        CertificateError::UnknownIssuer => unknown_issuer(certificate, length),
        reason => {
            let text = escape(reason.to_string().as_bytes());
            let sentence = format!("the certificate is not accepted: {text}");
            Finding::failure(QUESTION, "certificate_invalid", sentence, [Remedy::Certificate])
        }
    }
}

fn wrong_name(host: &str, presented: &[String]) -> Finding {
    let names = presented.iter().take(5).map(|name| escape(name.as_bytes()));
    let names = names.collect::<Vec<_>>().join(", ");
    let names = if names.is_empty() { "other names".to_owned() } else { names };
    let sentence = format!("the certificate is not for {host}, but for {names}");
    let url = Remedy::Client("the name of the certificate in the URL");
    Finding::failure(QUESTION, "certificate_wrong_name", sentence, [Remedy::Certificate, url])
}

fn unknown_issuer(certificate: Option<&Certificate>, length: usize) -> Finding {
    let names = certificate.map(Certificate::tbs_certificate);
    let issuer = names.map(|it| escape(it.issuer().to_string().as_bytes())).unwrap_or_default();
    let is_self_signed = names.is_some_and(|it| it.issuer() == it.subject());
    let cause = if is_self_signed {
        "it is self-signed"
    } else if length <= 1 {
        "the server sends no intermediate certificate"
    } else {
        "its root is not among those of this machine"
    };
    let sentence = format!("the issuer of the certificate is not known ({issuer}): {cause}");
    let trust = Remedy::Client("--ca-file with the root certificate, if it is a private one");
    let remedies = if is_self_signed || length > 1 {
        [trust, Remedy::Certificate]
    } else {
        [Remedy::Certificate, trust]
    };
    Finding::failure(QUESTION, "certificate_unknown_issuer", sentence, remedies)
}

/// The handshake was not completed.
fn failed(error: &io::Error) -> Finding {
    let (word, sentence, remedy) = match tls_error(error) {
        Some(Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => (
            "tls_without_http11",
            "the server of TLS does not accept http/1.1, which browsers offer for WebSockets"
                .to_owned(),
            Remedy::Http11InTls,
        ),
        Some(Error::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::BadCertificate,
        )) => client_certificate(),
        Some(Error::AlertReceived(AlertDescription::UnrecognisedName)) => (
            "tls_name_unknown",
            "the server of TLS does not know the name of the URL".to_owned(),
            Remedy::Certificate,
        ),
        Some(
            Error::PeerIncompatible(_)
            | Error::AlertReceived(
                AlertDescription::HandshakeFailure
                | AlertDescription::ProtocolVersion
                | AlertDescription::InsufficientSecurity,
            ),
        ) => (
            "tls_incompatible",
            "the server of TLS shares no version, cipher suite or group with clients of today"
                .to_owned(),
            Remedy::TlsVersions,
        ),
        Some(Error::InvalidMessage(_)) => (
            "not_tls",
            "the port does not speak TLS".to_owned(),
            Remedy::Client(
                "a URL that begins with ws://, or a port with TLS (nginx: listen 443 ssl;)",
            ),
        ),
        Some(error) => {
            let text = escape(error.to_string().as_bytes());
            ("tls_failed", format!("the TLS handshake failed: {text}"), Remedy::Certificate)
        }
        None if error.kind() == io::ErrorKind::TimedOut => (
            "tls_timeout",
            "the TLS handshake was not completed in time".to_owned(),
            Remedy::Network(
                "what listens there accepts connections and does not answer: restart it, \
                             or look at the firewall"
                    .to_owned(),
            ),
        ),
        None => (
            "tls_closed",
            format!("the connection ended within the TLS handshake: {error}"),
            Remedy::SendProxyHeader,
        ),
    };
    let mut remedies = vec![remedy];
    if word == "tls_closed" {
        remedies.insert(0, Remedy::Client("a URL that begins with ws://, if the port has no TLS"));
    }
    Finding::failure(QUESTION, word, sentence, remedies)
}

fn client_certificate() -> (&'static str, String, Remedy) {
    (
        "tls_client_certificate",
        "the server of TLS requires a certificate of the client".to_owned(),
        Remedy::Server(
            "WS_STATUS_TLS_CLIENT_CA_FILE is for proxies: browsers connect to a listener \
                        without it"
                .to_owned(),
        ),
    )
}

/// The finding for an error after the handshake, if it is one of TLS: with TLS 1.3 the server refuses a
/// client without a certificate only then (RFC 8446, section 4.4.2.4).
pub(super) fn late_failure(error: &io::Error) -> Option<Finding> {
    tls_error(error).map(|_| failed(error))
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    let inner = error.get_ref()?;
    inner.downcast_ref::<Error>().or_else(|| inner.source()?.downcast_ref::<Error>())
}
