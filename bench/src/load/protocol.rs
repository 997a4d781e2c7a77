//! The protocol of a connection: HTTP/1.1 or HTTP/2, each with or without TLS; and the offer of compression.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};

/// The HTTP version, TLS, and the extension that is offered.
#[derive(Clone)]
pub struct Protocol {
    pub http: Http,
    pub tls: Option<Arc<ClientConfig>>,
    /// Whether a request over HTTP/1.1 offers permessage-deflate (RFC 7692).
    pub offers_deflate: bool,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Http {
    /// HTTP/1.1, with one session on each connection.
    One,
    /// HTTP/2, with several sessions on each connection.
    Two { sessions: usize },
}

impl Protocol {
    /// HTTP/1.1 without TLS.
    pub const PLAIN: Self = Self { http: Http::One, tls: None, offers_deflate: false };

    /// Whether it is HTTP/1.1 without TLS.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.http == Http::One && self.tls.is_none()
    }

    /// The number of sessions on each connection.
    #[must_use]
    pub fn sessions_per_connection(&self) -> usize {
        match self.http {
            Http::One => 1,
            Http::Two { sessions } => sessions,
        }
    }
}

/// A self-signed certificate for 127.0.0.1, which the load generator trusts.
pub struct Certificate {
    pub cert: PathBuf,
    pub key: PathBuf,
    config: ClientConfig,
}

impl Certificate {
    /// Generates a certificate, and writes it to this folder.
    ///
    /// # Errors
    ///
    /// The certificate cannot be generated or written.
    pub fn generate(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".into()])?;
        let (cert_file, key_file) = (folder.join("cert.pem"), folder.join("key.pem"));
        fs::create_dir_all(folder)?;
        fs::write(&cert_file, cert.pem())?;
        fs::write(&key_file, signing_key.serialize_pem())?;

        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Clients that reconnect after a restart have no valid ticket, so measure full handshakes.
        config.resumption = Resumption::disabled();
        Ok(Self { cert: cert_file, key: key_file, config })
    }

    /// The protocol over TLS, with this certificate as the trust anchor.
    #[must_use]
    pub fn protocol(&self, http: Http) -> Protocol {
        let mut config = self.config.clone();
        let protocol: &[u8] = if http == Http::One { b"http/1.1" } else { b"h2" };
        config.alpn_protocols = vec![protocol.to_vec()];
        Protocol { http, tls: Some(Arc::new(config)), ..Protocol::PLAIN }
    }
}
