//! TLS: the configuration of rustls from the files of certificate, key and client CA.
//!
//! `certificates` parses and checks the contents of the files, and `key_kind` describes a refused key;
//! `stream` is the TLS stream. `process::reload` decides when the files are loaded again.

mod certificates;
mod key_kind;
mod peer_name;
pub(crate) mod stream;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, server::danger::ClientCertVerifier};

pub(crate) use self::peer_name::certificate_name;
use crate::files::{self, LoadReason, Stamp};

use crate::tls::certificates::{CertifiedKeyError, certificates, certified, private_key, validity};

/// The TLS configuration, and the files it was loaded from.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ServerConfig>,
    paths: TlsPaths,
    stamps: Stamps,
    /// Whether equal stamps prove equal contents: no file was changed right before it was read.
    is_settled: bool,
    /// Keyed hash of the contents of the files, which does not reveal them.
    hash: u64,
    validity: Option<Validity>,
    /// Number of the first certificate in the file whose validity cannot be read, counted from 1.
    undated: Option<usize>,
}

/// Paths of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsPaths {
    /// The server's certificate and the intermediate certificates, in PEM.
    pub(crate) cert: PathBuf,
    /// The private key of the certificate, in PEM.
    pub(crate) key: PathBuf,
    /// The CA certificates that client certificates are verified against, in PEM.
    pub(crate) client_ca: Option<PathBuf>,
}

/// The stamps of the files, in the order of [`TlsPaths`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamps([Option<Stamp>; 3]);

/// The validity of the certificate of the chain that expires first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Validity {
    not_after: SystemTime,
    /// From `not_before` to `not_after`.
    lifetime: Duration,
}

/// A setting whose file cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileError {
    pub(crate) key: &'static str,
    pub(crate) problem: String,
}

const CERT: &str = "tls_cert_file";
const KEY: &str = "tls_key_file";
const CLIENT_CA: &str = "tls_client_ca_file";

impl TlsPaths {
    /// Reads the stamps of the files without opening them.
    pub(crate) fn stamps(&self) -> Result<Stamps, FileError> {
        let stamp =
            |key, path: &Path| Stamp::of(path).map_err(|error| file_error(key, unreadable(&error)));
        Ok(Stamps([
            stamp(CERT, &self.cert)?,
            stamp(KEY, &self.key)?,
            self.client_ca
                .as_deref()
                .and_then(|path| stamp(CLIENT_CA, path).transpose())
                .transpose()?,
        ]))
    }
}

impl Tls {
    /// Returns the earliest expiry in the certificate chain, or `None` if that of the server's certificate
    /// cannot be read.
    #[must_use]
    pub fn not_after(&self) -> Option<SystemTime> {
        self.validity.map(|validity| validity.not_after)
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    pub(crate) fn paths(&self) -> &TlsPaths {
        &self.paths
    }

    /// Returns the number of the first certificate whose validity cannot be read, counted from 1.
    pub(crate) fn undated(&self) -> Option<usize> {
        self.undated
    }

    /// Whether less than a tenth of the certificate's lifetime is left. Automatic renewal happens earlier.
    pub(crate) fn is_expiring(&self) -> bool {
        self.validity.is_some_and(|Validity { not_after, lifetime }| {
            not_after.duration_since(SystemTime::now()).unwrap_or_default() < lifetime / 10
        })
    }

    /// Whether files with these stamps are certain to have the contents that were loaded.
    pub(crate) fn is_loaded_from(&self, stamps: &Stamps) -> bool {
        self.is_settled && self.stamps == *stamps
    }

    /// Whether both were loaded from files with the same contents.
    pub(crate) fn has_same_contents(&self, other: &Self) -> bool {
        self.hash == other.hash
    }

    /// Returns the same configuration with the stamps of `other`.
    pub(crate) fn with_stamps_from(&self, other: &Self) -> Self {
        Self { stamps: other.stamps, is_settled: other.is_settled, ..self.clone() }
    }

    /// Returns the stamps that the files had when they were read.
    pub(crate) fn stamps(&self) -> &Stamps {
        &self.stamps
    }

    /// Loads the files, and checks that certificate and key belong together.
    pub(crate) fn load(paths: TlsPaths, reason: LoadReason) -> Result<Self, FileError> {
        let read = |key, path: &Path| {
            files::read(path, reason).map_err(|error| file_error(key, unreadable(&error)))
        };
        let (cert, cert_stamp) = read(CERT, &paths.cert)?;
        let (key, key_stamp) = read(KEY, &paths.key)?;
        let ca = paths.client_ca.as_deref().map(|path| read(CLIENT_CA, path)).transpose()?;
        let (ca, ca_stamp) = ca.map_or((None, None), |(ca, stamp)| (Some(ca), stamp));

        let stamps = Stamps([cert_stamp, key_stamp, ca_stamp]);
        // A pipe cannot be read again, so its contents count as settled until another file changes.
        let files = 2 + usize::from(paths.client_ca.is_some());
        let has_pipe = stamps.0.iter().flatten().count() < files;
        let is_settled = has_pipe || stamps.0.iter().flatten().all(|stamp| stamp.is_settled());
        static HASHES: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let hash = HASHES.hash_one((&cert, &key, &ca));
        let chain = certificates(&cert).map_err(|problem| file_error(CERT, problem))?;
        let private = private_key(&key).map_err(|problem| file_error(KEY, problem))?;
        drop(key);

        let validities = chain.iter().map(|certificate| {
            let (not_after, lifetime) = validity(certificate).ok()?;
            Some(Validity { not_after, lifetime })
        });
        let validities: Vec<Option<Validity>> = validities.collect();
        // Unknown if the validity of the first certificate is unknown; others do not replace it.
        let earliest = validities.iter().flatten().min().copied();
        let validity = validities.first().copied().flatten().and(earliest);
        let undated = validities.iter().position(Option::is_none).map(|index| index + 1);

        let provider = Arc::new(default_provider());
        let certified = certified(chain, private, &provider).map_err(|error| match error {
            CertifiedKeyError::Certificate(problem) => file_error(CERT, problem),
            CertifiedKeyError::Key(problem) => file_error(KEY, problem),
        })?;
        let config = configure(certified, ca.as_deref(), &provider)?;
        Ok(Self { config: Arc::new(config), paths, stamps, is_settled, hash, validity, undated })
    }
}

fn configure(
    certified: CertifiedKey,
    client_ca: Option<&[u8]>,
    provider: &Arc<CryptoProvider>,
) -> Result<ServerConfig, FileError> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| file_error(CERT, error.to_string()))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => builder.with_client_cert_verifier(client_verifier(pem, provider)?),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Sessions are resumed from tickets only; the server stores none.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    // rustls does not verify a client certificate again when a ticket is used, and issues a new ticket
    // each time. With client authentication there are therefore no tickets (RFC 8446, section 4.6.1).
    if client_ca.is_none() {
        // Resumption saves the signature of a handshake. A client uses a ticket for one connection, so one
        // ticket is enough.
        config.ticketer = Ticketer::new().map_err(|error| file_error(CERT, error.to_string()))?;
        config.send_tls13_tickets = 1;
    }
    // Early data can be replayed, and an upgrade is not idempotent.
    config.max_early_data_size = 0;
    Ok(config)
}

/// Returns the verifier of client certificates.
fn client_verifier(
    pem: &[u8],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, FileError> {
    let mut roots = RootCertStore::empty();
    let certificates = certificates(pem).map_err(|problem| file_error(CLIENT_CA, problem))?;
    for (index, certificate) in certificates.into_iter().enumerate() {
        roots.add(certificate).map_err(|error| {
            file_error(
                CLIENT_CA,
                format!("certificate number {} in it cannot be used: {error}", index + 1),
            )
        })?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| file_error(CLIENT_CA, error.to_string()))
}

fn unreadable(error: &io::Error) -> String {
    format!("it cannot be read: {error}")
}

fn file_error(key: &'static str, problem: String) -> FileError {
    FileError { key, problem }
}
