//! TLS: what is wrong with a certificate, and WebSockets over HTTP/2.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use doctor::Severity::{Failure, Note, Warning};
use hyper::{Response, StatusCode};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use support::{Gateway, Server, examine, expect_healthy, expect_only, finding, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

/// The files of a server's certificate, and of the root that issued it.
struct Files {
    folder: PathBuf,
}

impl Files {
    fn new(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("doctor-{name}"));
        fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut params =
            CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &root).unwrap();
        fs::write(folder.join("root.pem"), root.pem()).unwrap();
        fs::write(folder.join("cert.pem"), certificate.pem()).unwrap();
        fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    fn start(&self) -> Server {
        Server::start(&[
            "--listen=tls:127.0.0.1:0",
            &format!("--tls-cert-file={}", self.path("cert.pem")),
            &format!("--tls-key-file={}", self.path("key.pem")),
        ])
    }

    /// TLS that speaks these protocols.
    fn acceptor(&self, protocols: &[&str]) -> TlsAcceptor {
        let certificates = CertificateDer::pem_file_iter(self.path("cert.pem")).unwrap();
        let certificates = certificates.map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(self.path("key.pem")).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    fn root_option(&self) -> String {
        format!("--ca-file={}", self.path("root.pem"))
    }
}

fn url(server: &Server, host: &str) -> String {
    format!("wss://{host}:{}", server.address.port())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_valid_certificate_and_extended_connect_are_as_they_should_be() {
    let files = Files::new("valid", |_| {});
    let server = files.start();
    let report = examine(&url(&server, "127.0.0.1"), &[&files.root_option()]).await;
    expect_healthy(&report);
    assert!(finding(&report, "certificate_valid").sentence.starts_with("TLS 1.3"));
    finding(&report, "connect_works");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_named_and_the_rest_is_examined() {
    let files = Files::new("expired", |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let server = files.start();
    let report = examine(&url(&server, "127.0.0.1"), &[&files.root_option()]).await;
    expect_only(&report, Failure, "certificate_expired", "renew the certificate");
    assert!(report.text().contains("Fri, 01 Jan 2021"), "{}", report.text());
    finding(&report, "pings_answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_valid_yet_is_named() {
    let files = Files::new("early", |params| params.not_before = date_time_ymd(2090, 1, 1));
    let server = files.start();
    let report = examine(&url(&server, "127.0.0.1"), &[&files.root_option()]).await;
    expect_only(&report, Failure, "certificate_not_yet_valid", "clock");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_expires_soon_is_a_warning() {
    let files = Files::new("soon", |params| {
        let now = std::time::SystemTime::now();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = (now + std::time::Duration::from_secs(86_400)).into();
    });
    let server = files.start();
    let report = examine(&url(&server, "127.0.0.1"), &[&files.root_option()]).await;
    expect_only(&report, Warning, "certificate_expires", "renew the certificate");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_name_is_named_with_its_names() {
    let files = Files::new("name", |params| {
        params.subject_alt_names =
            CertificateParams::new(vec!["other.example.com".to_owned()]).unwrap().subject_alt_names;
    });
    let server = files.start();
    let report = examine(&url(&server, "127.0.0.1"), &[&files.root_option()]).await;
    expect_only(&report, Failure, "certificate_wrong_name", "ssl_certificate");
    assert!(report.text().contains("other.example.com"), "{}", report.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_issuer_is_named_and_headers_are_not_sent_to_it() {
    let files = Files::new("issuer", |_| {});
    let server = files.start();
    // Another root is trusted.
    let other = Files::new("other-issuer", |_| {});
    let report = examine(&url(&server, "127.0.0.1"), &[&other.root_option()]).await;
    expect_only(&report, Failure, "certificate_unknown_issuer", "ssl_certificate");
    finding(&report, "upgraded");
    let options = [&*other.root_option(), "--header=Cookie: secret"];
    let report = examine(&url(&server, "127.0.0.1"), &options).await;
    expect_only(&report, Failure, "certificate_unknown_issuer", "--ca-file");
    assert!(report.findings.iter().all(|it| it.word != "upgraded"), "{}", report.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_without_tls_is_named() {
    let files = Files::new("plain", |_| {});
    let server = Server::start(&[]);
    let report = examine(&url(&server, "127.0.0.1"), &[&files.root_option()]).await;
    let failures: Vec<&str> =
        report.findings.iter().filter(|it| it.severity == Failure).map(|it| it.word).collect();
    assert!(matches!(failures[..], ["not_tls" | "tls_closed"]), "{}", report.text());
    let url = serve(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let report = examine(&url.replace("ws:", "wss:"), &[&files.root_option()]).await;
    expect_only(&report, Failure, "not_tls", "ws://");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_tls_that_are_not_shared_are_named() {
    let files = Files::new("versions", |_| {});
    // A fatal alert: protocol_version (RFC 8446, section 6).
    let url = serve(|mut stream| async move {
        let mut hello = [0; 5];
        let _ = stream.read_exact(&mut hello).await;
        let _ = stream.write_all(&[0x15, 3, 1, 0, 2, 2, 70]).await;
        while !matches!(stream.read(&mut hello).await, Ok(0) | Err(_)) {}
    })
    .await;
    let report = examine(&url.replace("ws:", "wss:"), &[&files.root_option()]).await;
    expect_only(&report, Failure, "tls_incompatible", "ssl_protocols TLSv1.2 TLSv1.3;");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_with_tls_is_named_for_a_url_without() {
    let files = Files::new("encrypted", |_| {});
    let server = files.start();
    let report = examine(&server.url(), &[]).await;
    expect_only(&report, Failure, "speaks_tls", "wss://");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_tls_that_never_answers_is_named() {
    let files = Files::new("silent", |_| {});
    let url = serve(|stream| async move {
        let _stream = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let report = examine(&url.replace("ws:", "wss:"), &[&files.root_option()]).await;
    expect_only(&report, Failure, "tls_timeout", "firewall");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_that_is_required_is_named() {
    let files = Files::new("client", |_| {});
    let server = Server::start(&[
        "--listen=tls:127.0.0.1:0",
        &format!("--tls-cert-file={}", files.path("cert.pem")),
        &format!("--tls-key-file={}", files.path("key.pem")),
        &format!("--tls-client-ca-file={}", files.path("root.pem")),
    ]);
    let report = examine(&url(&server, "127.0.0.1"), &[&files.root_option()]).await;
    expect_only(&report, Failure, "tls_client_certificate", "WS_STATUS_TLS_CLIENT_CA_FILE");
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_that_is_not_offered_is_only_a_note() {
    let files = Files::new("http1", |_| {});
    let server = Server::start(&[]);
    let acceptor = files.acceptor(&["http/1.1"]);
    let url = serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                Gateway::PLAIN.forward(stream, server.address).await;
            }
        }
    })
    .await;
    let report = examine(&url.replace("ws:", "wss:"), &[&files.root_option()]).await;
    expect_healthy(&report);
    assert_eq!(finding(&report, "http2_not_offered").severity, Note);
}

#[tokio::test(flavor = "multi_thread")]
async fn extended_connect_that_is_offered_and_refused_is_a_failure() {
    let files = Files::new("http2", |_| {});
    let server = Server::start(&[]);
    let acceptor = files.acceptor(&["h2", "http/1.1"]);
    let url = serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                return Gateway::PLAIN.forward(stream, server.address).await;
            }
            let mut builder = h2::server::Builder::new();
            let connection = builder.enable_connect_protocol().handshake::<_, Bytes>(stream);
            let mut connection = connection.await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let mut refusal = Response::new(());
                *refusal.status_mut() = StatusCode::FORBIDDEN;
                let _ = respond.send_response(refusal, true);
            }
        }
    })
    .await;
    let report = examine(&url.replace("ws:", "wss:"), &[&files.root_option()]).await;
    expect_only(&report, Failure, "connect_failed", "h2-workaround-bogus-websocket-clients");
}
