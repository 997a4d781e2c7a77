//! Cipher suites whose keys take little while nothing is encrypted.
//!
//! rustls keeps what an algorithm has made of its key, which is 560 bytes for each direction. Here the
//! algorithm is rustls' own as well, but has only the key kept for it, and makes the rest of it for
//! each record anew. Sessions are idle nearly all the time.

use std::sync::LazyLock;

use rustls::crypto::CipherSuiteCommon;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter,
    OutboundOpaqueMessage, OutboundPlainMessage, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::crypto::ring::cipher_suite::{
    TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::crypto::ring::default_provider;
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
