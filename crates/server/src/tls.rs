//! The certificate, and what else TLS is set up with.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, server::danger::ClientCertVerifier};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::thrifty::cipher_suites;

/// What TLS is set up with.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ServerConfig>,
    files: Arc<Files>,
    paths: Paths,
    not_after: SystemTime,
    /// From the beginning of the same certificate to its end.
    lifetime: Duration,
}

/// Where the files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Paths {
    /// The server's certificate, and those between it and one that clients know, in PEM.
    pub(crate) cert: PathBuf,
    /// The certificate's private key, in PEM.
    pub(crate) key: PathBuf,
    /// The certificates of those who may vouch for clients, in PEM.
    pub(crate) client_ca: Option<PathBuf>,
}

/// What is in them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// Without what must not be seen.
impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Files")
    }
}

/// A setting whose file will not do, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadFile {
    pub(crate) key: &'static str,
    pub(crate) problem: String,
}

const CERT: &str = "tls_cert_file";
const KEY: &str = "tls_key_file";
const CLIENT_CA: &str = "tls_client_ca_file";

impl Paths {
    pub(crate) fn read(&self) -> Result<Files, BadFile> {
        let read = |key, path: &Path| {
            fs::read(path).map_err(|error| bad(key, format!("it cannot be read: {error}")))
        };
        Ok(Files {
            cert: read(CERT, &self.cert)?,
            key: read(KEY, &self.key)?,
            client_ca: self.client_ca.as_ref().map(|path| read(CLIENT_CA, path)).transpose()?,
        })
    }
}

impl Tls {
    /// When the certificate ends, or the first one of its chain that does.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Reads the files, and sees whether they go together.
    pub(crate) fn load(paths: Paths) -> Result<Self, BadFile> {
        let files = paths.read()?;
        Self::new(paths, files)
    }

    /// The same with other files.
    pub(crate) fn renewed(&self, files: Files) -> Result<Self, BadFile> {
        Self::new(self.paths.clone(), files)
    }

    pub(crate) fn paths(&self) -> &Paths {
        &self.paths
    }

    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    /// Whether less than a tenth of the certificate's time is left. Whoever renews it by a program has
    /// done so by then.
    pub(crate) fn is_expiring(&self) -> bool {
        let left = self.not_after.duration_since(SystemTime::now()).unwrap_or_default();
        left < self.lifetime / 10
    }

    fn new(paths: Paths, files: Files) -> Result<Self, BadFile> {
        let chain: Vec<CertificateDer<'static>> = certificates(CERT, &files.cert)?;
        let ends = chain.iter().map(|certificate| validity(certificate));
        let ends: Vec<(SystemTime, Duration)> = ends
            .collect::<Result<_, _>>()
            .map_err(|error| bad(CERT, format!("it holds what is no certificate: {error}")))?;
        let (not_after, lifetime) =
            ends.into_iter().min().unwrap_or((SystemTime::now(), Duration::ZERO));
        let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(|_| {
            bad(KEY, "it must hold a private key in PEM, without a passphrase".to_owned())
        })?;

        let provider =
            Arc::new(CryptoProvider { cipher_suites: cipher_suites(), ..default_provider() });
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| bad(CERT, error.to_string()))?;
        let builder = match &files.client_ca {
            None => builder.with_no_client_auth(),
            Some(pem) => builder.with_client_cert_verifier(verifier(pem, &provider)?),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            bad(KEY, format!("it must belong to the certificate of {CERT}: {error}"))
        })?;
        // Or clients would pick what takes more of us.
        config.ignore_client_order = true;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // We keep nothing for clients that come back.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        // rustls does not look at a certificate again that was good when its ticket was issued, and issues
        // another ticket each time. So whoever needs a certificate has to show it each time (RFC 8446,
        // section 4.6.1).
        if files.client_ca.is_none() {
            // Those that come back need no signature of ours. Nobody opens a second connection with the
            // same ticket, so one is enough.
            config.ticketer = Ticketer::new().map_err(|error| bad(CERT, error.to_string()))?;
            config.send_tls13_tickets = 1;
        }
        // Early data could be replayed, and an upgrade is more than a lookup.
        config.max_early_data_size = 0;
        Ok(Self { config: Arc::new(config), files: Arc::new(files), paths, not_after, lifetime })
    }
}

fn certificates(key: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadFile> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    certificates
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| bad(key, "it must hold certificates in PEM".to_owned()))
}

/// Whom clients have to be vouched for by.
fn verifier(
    pem: &[u8],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, BadFile> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(CLIENT_CA, pem)? {
        roots.add(certificate).map_err(|error| bad(CLIENT_CA, error.to_string()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| bad(CLIENT_CA, error.to_string()))
}

/// When a certificate ends, and how long it is good for in all.
fn validity(certificate: &[u8]) -> Result<(SystemTime, Duration), Box<dyn Error>> {
    let certificate = Certificate::from_der(certificate)?;
    let validity = certificate.tbs_certificate().validity();
    let not_after = validity.not_after.to_system_time();
    let lifetime = not_after.duration_since(validity.not_before.to_system_time());
    Ok((not_after, lifetime.unwrap_or_default()))
}

fn bad(key: &'static str, problem: String) -> BadFile {
    BadFile { key, problem }
}
