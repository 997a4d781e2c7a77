//! TLS: the certificate, and what else it is set up with.
//!
//! `certificates` reads and judges what is in the files, with `key_kind` to say what a refused key is;
//! `stream` is TLS over a stream of any kind. When files are read again is `process::reload`'s business.

mod certificates;
mod key_kind;
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

use crate::files::{self, ReadPhase, Stamp};
use crate::tls::certificates::{Fault, certificates, certified, private_key, validity};

/// What TLS is set up with.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ServerConfig>,
    paths: TlsPaths,
    stamps: Stamps,
    /// Whether they were old enough when the files were read, so that files with the same are the same.
    is_settled: bool,
    /// A hash of what is in the files. Nobody learns from it what that is.
    hash: u64,
    validity: Option<Validity>,
    /// The first certificate in the file whose end cannot be read, counted from one.
    undated: Option<usize>,
}

/// Where the files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsPaths {
    /// The server's certificate, and those between it and one that clients know, in PEM.
    pub(crate) cert: PathBuf,
    /// The certificate's private key, in PEM.
    pub(crate) key: PathBuf,
    /// The certificates of those who may vouch for clients, in PEM.
    pub(crate) client_ca: Option<PathBuf>,
}

/// The stamps of the files, in the order of [`TlsPaths`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamps([Option<Stamp>; 3]);

/// The time of the certificate, or of the one of its chain that ends first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Validity {
    not_after: SystemTime,
    /// From its beginning to its end.
    lifetime: Duration,
}

/// A setting whose file will not do, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileError {
    pub(crate) key: &'static str,
    pub(crate) problem: String,
}

const CERT: &str = "tls_cert_file";
const KEY: &str = "tls_key_file";
const CLIENT_CA: &str = "tls_client_ca_file";

impl TlsPaths {
    /// What the file system says of the files, none of which is opened.
    pub(crate) fn stamps(&self) -> Result<Stamps, FileError> {
        let stamp = |key, path: &Path| Stamp::of(path).map_err(|error| bad(key, cannot(&error)));
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
    /// When the certificate ends, or the first one of its chain that does; nothing, where that cannot be
    /// read.
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

    /// The first certificate of the chain whose end cannot be read, counted from one.
    pub(crate) fn undated(&self) -> Option<usize> {
        self.undated
    }

    /// Whether less than a tenth of the certificate's time is left. Whoever renews it by a program has
    /// done so by then.
    pub(crate) fn is_expiring(&self) -> bool {
        self.validity.is_some_and(|Validity { not_after, lifetime }| {
            not_after.duration_since(SystemTime::now()).unwrap_or_default() < lifetime / 10
        })
    }

    /// Whether this was made of files with these stamps, and these of no others.
    pub(crate) fn is_of(&self, stamps: &Stamps) -> bool {
        self.is_settled && self.stamps == *stamps
    }

    /// Whether the files had the same in them.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.hash == other.hash
    }

    /// The same for files that have other stamps by now.
    pub(crate) fn with_stamps_of(&self, other: &Self) -> Self {
        Self { stamps: other.stamps, is_settled: other.is_settled, ..self.clone() }
    }

    /// The stamps that the files had when they were read.
    pub(crate) fn stamps(&self) -> &Stamps {
        &self.stamps
    }

    /// Reads the files, and sees whether they go together.
    pub(crate) fn load(paths: TlsPaths, when: ReadPhase) -> Result<Self, FileError> {
        let read =
            |key, path: &Path| files::read(path, when).map_err(|error| bad(key, cannot(&error)));
        let (cert, cert_stamp) = read(CERT, &paths.cert)?;
        let (key, key_stamp) = read(KEY, &paths.key)?;
        let ca = paths.client_ca.as_deref().map(|path| read(CLIENT_CA, path)).transpose()?;
        let (ca, ca_stamp) = ca.map_or((None, None), |(ca, stamp)| (Some(ca), stamp));

        let stamps = Stamps([cert_stamp, key_stamp, ca_stamp]);
        // What holds a pipe cannot be read once more, so it stays as it is until a file is another.
        let files = 2 + usize::from(paths.client_ca.is_some());
        let has_pipe = stamps.0.iter().flatten().count() < files;
        let is_settled = has_pipe || stamps.0.iter().flatten().all(|stamp| stamp.is_settled());
        static HASHES: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let hash = HASHES.hash_one((&cert, &key, &ca));
        let chain = certificates(&cert).map_err(|problem| bad(CERT, problem))?;
        let private = private_key(&key).map_err(|problem| bad(KEY, problem))?;
        drop(key);

        let ends = chain.iter().map(|certificate| {
            let (not_after, lifetime) = validity(certificate).ok()?;
            Some(Validity { not_after, lifetime })
        });
        let ends: Vec<Option<Validity>> = ends.collect();
        // That of a certificate behind it says nothing about its own.
        let validity = ends.first().copied().flatten().and(ends.iter().flatten().min().copied());
        let undated = ends.iter().position(Option::is_none).map(|place| place + 1);

        let provider = Arc::new(default_provider());
        let certified = certified(chain, private, &provider).map_err(|fault| match fault {
            Fault::Certificate(problem) => bad(CERT, problem),
            Fault::Key(problem) => bad(KEY, problem),
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
        .map_err(|error| bad(CERT, error.to_string()))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => builder.with_client_cert_verifier(verifier(pem, provider)?),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // We keep nothing for clients that come back.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    // rustls does not look at a certificate again that was good when its ticket was issued, and issues
    // another ticket each time. So whoever needs a certificate has to show it each time (RFC 8446,
    // section 4.6.1).
    if client_ca.is_none() {
        // Those that come back need no signature of ours. Nobody opens a second connection with the
        // same ticket, so one is enough.
        config.ticketer = Ticketer::new().map_err(|error| bad(CERT, error.to_string()))?;
        config.send_tls13_tickets = 1;
    }
    // Early data could be replayed, and an upgrade is more than a lookup.
    config.max_early_data_size = 0;
    Ok(config)
}

/// Whom clients have to be vouched for by.
fn verifier(
    pem: &[u8],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, FileError> {
    let mut roots = RootCertStore::empty();
    let certificates = certificates(pem).map_err(|problem| bad(CLIENT_CA, problem))?;
    for (place, certificate) in certificates.into_iter().enumerate() {
        roots.add(certificate).map_err(|error| {
            bad(
                CLIENT_CA,
                format!("certificate number {} in it cannot be used: {error}", place + 1),
            )
        })?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| bad(CLIENT_CA, error.to_string()))
}

fn cannot(error: &io::Error) -> String {
    format!("it cannot be read: {error}")
}

fn bad(key: &'static str, problem: String) -> FileError {
    FileError { key, problem }
}
