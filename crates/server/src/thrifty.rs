//! Cipher suites whose keys take little while nothing is encrypted.
//!
//! rustls keeps what an algorithm has made of its key, which is 616 bytes for each direction. Here the
//! algorithm is rustls' own as well, but has only the key kept for it, and makes the rest of it for
//! each record anew. Sessions are idle nearly all the time.

use std::sync::LazyLock;

use rustls::crypto::CipherSuiteCommon;
use rustls::crypto::aws_lc_rs::cipher_suite::{
    TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter,
    OutboundOpaqueMessage, OutboundPlainMessage, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::{ConnectionTrafficSecrets, Error, SupportedCipherSuite, Tls13CipherSuite};

/// Every suite of rustls', those first that take the least.
pub(crate) fn cipher_suites() -> Vec<SupportedCipherSuite> {
    static SUITES: LazyLock<Vec<SupportedCipherSuite>> = LazyLock::new(|| {
        // ChaCha20 makes next to nothing of a key. What AES-128 takes for one cannot be made from
        // outside of rustls.
        let thrifty = [TLS13_CHACHA20_POLY1305_SHA256, TLS13_AES_256_GCM_SHA384];
        let older = default_provider().cipher_suites.into_iter().filter(|it| it.tls13().is_none());
        let suites = thrifty.into_iter().filter_map(|suite| suite.tls13().map(thrifty_suite));
        suites.chain([TLS13_AES_128_GCM_SHA256]).chain(older).collect()
    });
    SUITES.clone()
}

/// The same with keys that take little. It is made once, and rustls wants it for ever.
fn thrifty_suite(suite: &'static Tls13CipherSuite) -> SupportedCipherSuite {
    let CipherSuiteCommon { suite: name, hash_provider, confidentiality_limit } = suite.common;
    SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
        common: CipherSuiteCommon { suite: name, hash_provider, confidentiality_limit },
        hkdf_provider: suite.hkdf_provider,
        aead_alg: Box::leak(Box::new(Thrifty(suite.aead_alg))),
        quic: None,
    })))
}

/// An algorithm with keys of 32 bytes.
struct Thrifty(&'static dyn Tls13AeadAlgorithm);

/// What is kept for one direction.
struct Keys {
    algorithm: &'static dyn Tls13AeadAlgorithm,
    key: AeadKey,
    iv: Iv,
}

/// The length of the tag (RFC 8446, section 5.2), and the byte of the content's type.
const OVERHEAD: usize = 16 + 1;

impl Tls13AeadAlgorithm for Thrifty {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Keys { algorithm: self.0, key, iv })
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(Keys { algorithm: self.0, key, iv })
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }
}

impl Keys {
    /// A copy, which rustls lets nobody make but by its bytes.
    fn copy(&self) -> (AeadKey, Iv) {
        let (mut key, mut iv) = ([0; 32], [0; 12]);
        key.copy_from_slice(self.key.as_ref());
        iv.copy_from_slice(self.iv.as_ref());
        (key.into(), iv.into())
    }
}

impl MessageEncrypter for Keys {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        sequence: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let (key, iv) = self.copy();
        self.algorithm.encrypter(key, iv).encrypt(message, sequence)
    }

    fn encrypted_payload_len(&self, length: usize) -> usize {
        length + OVERHEAD
    }
}

impl MessageDecrypter for Keys {
    fn decrypt<'a>(
        &mut self,
        message: InboundOpaqueMessage<'a>,
        sequence: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let (key, iv) = self.copy();
        self.algorithm.decrypter(key, iv).decrypt(message, sequence)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::sync::Arc;

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::crypto::CryptoProvider;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

    use super::*;

    #[test]
    fn every_suite_speaks_with_rustls_as_it_is_also_with_new_keys() {
        // The others are for certificates with RSA.
        let suites = cipher_suites()
            .into_iter()
            .filter(|suite| suite.tls13().is_some() || format!("{suite:?}").contains("ECDSA"));
        for suite in suites {
            let (mut client, mut server) = pair(suite.suite());
            for round in 0..3u8 {
                exchange(&mut client, &mut server);
                assert_eq!(
                    server.negotiated_cipher_suite().map(|it| it.suite()),
                    Some(suite.suite())
                );
                client.writer().write_all(&[round; 10]).unwrap();
                server.writer().write_all(&[round; 5000]).unwrap();
                exchange(&mut client, &mut server);
                let (mut received, mut answer) = ([0; 10], [0; 5000]);
                server.reader().read_exact(&mut received).unwrap();
                client.reader().read_exact(&mut answer).unwrap();
                assert_eq!((received, answer), ([round; 10], [round; 5000]));
                if suite.tls13().is_some() {
                    client.refresh_traffic_keys().unwrap();
                    server.refresh_traffic_keys().unwrap();
                }
            }
        }
    }

    #[test]
    fn a_direction_keeps_72_bytes() {
        assert_eq!(size_of::<Keys>(), 72);
    }

    /// A client of rustls' own making that knows only this suite.
    fn pair(name: rustls::CipherSuite) -> (ClientConnection, ServerConnection) {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["a".into()]).unwrap();
        let server = CryptoProvider { cipher_suites: cipher_suites(), ..default_provider() };
        let mut client = default_provider();
        client.cipher_suites.retain(|suite| suite.suite() == name);
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::new(server))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key);
        let server = ServerConnection::new(Arc::new(server.unwrap())).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::new(client))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = "a".try_into().unwrap();
        (ClientConnection::new(Arc::new(client), name).unwrap(), server)
    }

    fn exchange(client: &mut ClientConnection, server: &mut ServerConnection) {
        while client.wants_write() || server.wants_write() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            let mut sent = wire.as_slice();
            while !sent.is_empty() {
                server.read_tls(&mut sent).unwrap();
                server.process_new_packets().unwrap();
            }
            wire.clear();
            server.write_tls(&mut wire).unwrap();
            let mut wire = wire.as_slice();
            while !wire.is_empty() {
                client.read_tls(&mut wire).unwrap();
                client.process_new_packets().unwrap();
            }
        }
    }
}
