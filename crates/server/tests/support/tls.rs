//! Certificates and TLS clients.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use super::process::{Process, server};
use super::{PING, PONG, UPGRADE, frame};

/// The files of a certificate for `localhost`, in their own folder.
pub(crate) struct Files {
    pub(crate) folder: PathBuf,
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Files {
    /// Creates a valid certificate.
    pub(crate) fn new(name: &str) -> Self {
        Self::of(name, |_| {})
    }

    pub(crate) fn of(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tls-{name}"));
        // A named pipe of an earlier run would block.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let (cert, key) = certificate(change);
        let files = Self { folder, cert, key };
        files.write();
        files
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self) {
        fs::write(self.path("cert.pem"), &self.cert).unwrap();
        fs::write(self.path("key.pem"), &self.key).unwrap();
    }

    /// Replaces the files with a new certificate by renaming, as renewal tools do.
    pub(crate) fn replace(&self, change: impl FnOnce(&mut CertificateParams)) {
        let (cert, key) = certificate(change);
        for (name, text) in [("cert.pem", cert), ("key.pem", key)] {
            fs::write(self.path("new"), text).unwrap();
            fs::rename(self.path("new"), self.path(name)).unwrap();
        }
    }

    pub(crate) fn flags(&self) -> Vec<String> {
        vec![
            "--listen=tls:127.0.0.1:0".to_owned(),
            format!("--tls-cert-file={}", self.path("cert.pem")),
            format!("--tls-key-file={}", self.path("key.pem")),
        ]
    }

    pub(crate) fn start(&self, more: &[&str]) -> Process {
        let flags = self.flags();
        let flags: Vec<&str> =
            flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
        start(&flags)
    }
}

pub(crate) fn certificate(change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

pub(crate) fn start(flags: &[&str]) -> Process {
    start_as(server(), flags)
}

pub(crate) fn start_as(command: Command, flags: &[&str]) -> Process {
    let mut process = Process::spawn_as(command, &[&["--log-format=json"], flags].concat());
    let address = process.event("listening")["address"].clone();
    process.address = address.as_str().unwrap().trim_start_matches("tls:").parse().unwrap();
    process
}

pub(crate) type Client = StreamOwned<ClientConnection, TcpStream>;

/// The configuration of a client that trusts this certificate.
pub(crate) fn client_config(
    cert: &str,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    client_config_with(default_provider(), cert, versions)
}

/// The same with this cryptography provider.
pub(crate) fn client_config_with(
    provider: CryptoProvider,
    cert: &str,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(versions).unwrap();
    builder.with_root_certificates(roots).with_no_client_auth()
}

pub(crate) fn connect(address: SocketAddr, config: ClientConfig) -> Client {
    let name = "localhost".try_into().unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
}

/// Connects and opens a session.
pub(crate) fn open(address: SocketAddr, cert: &str) -> Client {
    let mut client = connect(address, client_config(cert, rustls::ALL_VERSIONS));
    upgrade(&mut client);
    client
}

pub(crate) fn upgrade(client: &mut Client) {
    client.write_all(UPGRADE.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(bytes(client, 1)[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
}

pub(crate) fn bytes(client: &mut Client, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    client.read_exact(&mut bytes).unwrap();
    bytes
}

/// Checks that the session answers a ping.
pub(crate) fn exchange_ping(client: &mut Client) {
    client.write_all(&frame(PING, b"a payload")).unwrap();
    assert_eq!(bytes(client, 2), [PONG, 9]);
    assert_eq!(bytes(client, 9), b"a payload");
}
