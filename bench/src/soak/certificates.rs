//! The certificates of the program, one after the other, and the clients that trust all of them.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore};

/// How many certificates there are.
const COUNT: usize = 2;

/// The certificates. The program gets them in turn.
pub struct Certificates {
    /// Each with its key, in PEM.
    pem: Vec<String>,
    renewals: usize,
    /// The configurations of the clients, for HTTP/1.1 and for HTTP/2.
    pub clients: [Arc<ClientConfig>; 2],
}

impl Certificates {
    /// Generates them.
    ///
    /// # Errors
    ///
    /// They cannot be generated.
    pub fn generate() -> Result<Self, Box<dyn Error>> {
        let (mut pem, mut roots) = (Vec::new(), RootCertStore::empty());
        for _ in 0..COUNT {
            let CertifiedKey { cert, signing_key } =
                generate_simple_self_signed(["127.0.0.1".into()])?;
            pem.push(cert.pem() + &signing_key.serialize_pem());
            roots.add(cert.der().clone())?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let clients = [b"http/1.1".as_slice(), b"h2"].map(|protocol| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config)
        });
        Ok(Self { pem, renewals: 0, clients })
    }

    /// Writes the next certificate with its key, as one file that is replaced as a whole.
    pub(super) fn renew(&mut self, folder: &Path) -> io::Result<()> {
        let file = folder.join("renewed.pem");
        fs::write(&file, &self.pem[self.renewals % COUNT])?;
        self.renewals += 1;
        fs::rename(file, folder.join("certificate.pem"))
    }
}
