//! TLS as a client, whose verdict on the certificate is recorded and does not end the handshake: what
//! is behind a wrong certificate is examined as well.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What the certificates of servers are verified with.
#[derive(Debug)]
pub(crate) struct Trust(Arc<WebPkiServerVerifier>);

impl Trust {
    /// Trusts the certificates of the system, and those of a PEM file.
    ///
    /// # Errors
    ///
    /// A sentence: the file cannot be read, or nothing is trusted.
    pub(crate) fn load(ca_file: Option<&Path>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = ca_file {
            let pem = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
            let mut count = 0;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let problem =
                    |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
                let certificate = certificate.map_err(|error| problem(&error))?;
                roots.add(certificate).map_err(|error| problem(&error))?;
                count += 1;
            }
            if count == 0 {
                return Err(format!("{} has no certificate", path.display()));
            }
        }
        let provider = Arc::new(default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = verifier.build().map_err(|_| {
            "this machine has no root certificates; install ca-certificates, or use --ca-file"
                .to_owned()
        })?;
        Ok(Self(verifier))
    }

    /// Performs a handshake that offers this application protocol.
    ///
    /// # Errors
    ///
    /// The handshake failed for another reason than the certificate.
    pub(crate) async fn handshake(
        &self,
        stream: TcpStream,
        host: &str,
        alpn: &[&str],
    ) -> std::io::Result<Handshake> {
        let recorder = Arc::new(Recorder { inner: Arc::clone(&self.0), verdict: Mutex::default() });
        let verifier: Arc<dyn ServerCertVerifier> = Arc::<Recorder>::clone(&recorder);
        // A configuration of its own for each handshake: a resumed session would have no certificate.
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(std::io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let (_, connection) = stream.get_ref();
        let chain = connection.peer_certificates().unwrap_or_default();
        let chain = chain.iter().map(|certificate| certificate.to_vec()).collect();
        let version = connection.protocol_version().and_then(|version| version.as_str());
        let alpn =
            connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
        let problem = recorder.verdict.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(Handshake { version: version.unwrap_or("TLS"), alpn, chain, problem, stream })
    }
}

/// A completed handshake.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) version: &'static str,
    pub(crate) alpn: Option<String>,
    /// The certificates that the server sent, in DER.
    pub(crate) chain: Vec<Vec<u8>>,
    /// Why the certificate is not accepted, if it is not.
    pub(crate) problem: Option<Error>,
}

/// Accepts every certificate, and records what the verification said.
#[derive(Debug)]
struct Recorder {
    inner: Arc<WebPkiServerVerifier>,
    verdict: Mutex<Option<Error>>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = verdict.err();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
