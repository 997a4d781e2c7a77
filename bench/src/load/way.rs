//! The ways in which clients arrive: HTTP/1.1 and HTTP/2, each as it is or within TLS.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};

/// How sessions arrive.
#[derive(Clone)]
pub struct Way {
    pub http: Http,
    pub tls: Option<Arc<ClientConfig>>,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Http {
    /// HTTP/1.1, which has a connection for each session.
    One,
    /// HTTP/2 with so many sessions on each connection.
    Two { sessions: usize },
}

impl Way {
    /// How most come.
    pub const PLAIN: Self = Self { http: Http::One, tls: None };

    /// How many sessions a connection has.
    #[must_use]
    pub fn sessions(&self) -> usize {
        match self.http {
            Http::One => 1,
            Http::Two { sessions } => sessions,
        }
    }
}

/// A certificate for the loopback, which our clients know.
pub struct Certificate {
    pub cert: PathBuf,
    pub key: PathBuf,
    config: ClientConfig,
}

impl Certificate {
    /// Makes one in this folder.
    ///
    /// # Errors
    ///
    /// It cannot be made or written.
    pub fn make(folder: &Path) -> Result<Self, Box<dyn Error>> {
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
        // Whoever comes back after a restart has no ticket that is good for anything.
        config.resumption = Resumption::disabled();
        Ok(Self { cert: cert_file, key: key_file, config })
    }

    /// A way of those who know it.
    #[must_use]
    pub fn way(&self, http: Http) -> Way {
        let mut config = self.config.clone();
        let protocol: &[u8] = if http == Http::One { b"http/1.1" } else { b"h2" };
        config.alpn_protocols = vec![protocol.to_vec()];
        Way { http, tls: Some(Arc::new(config)) }
    }
}
