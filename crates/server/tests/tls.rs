//! TLS: the handshake and its deadline, client certificates, resumption, and invalid records.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustix::process::Signal;
use rustls::client::{Resumption, Tls12Resumption};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, HandshakeKind, NamedGroup, RootCertStore, SupportedProtocolVersion};
use support::process::Process;
use support::tls::{
    Client, Files, bytes, certificate, client_config, client_config_with, connect, exchange_ping,
    open, upgrade,
};
use support::{CLOSE, UPGRADE, close};

//= rfc6455#4.2.2-1 rfc6455#7.1.1-1 rfc6455#10.6-1 test
#[test]
fn a_session_runs_over_both_versions_of_tls_and_ends_with_close_notify() {
    let files = Files::new("versions");
    let process = files.start(&["--admin-listen=127.0.0.1:0"]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut client = connect(process.address, client_config(&files.cert, &[version]));
        upgrade(&mut client);
        assert_eq!(process.event("opened")["protocol"], "http/1.1+tls");
        exchange_ping(&mut client);
        client.write_all(&close(1000, "")).unwrap();
        assert_eq!(bytes(&mut client, 4), [CLOSE, 2, 3, 232]);
        // Without `close_notify` (RFC 8446, section 6.1), this read would fail.
        assert_eq!(client.read_to_end(&mut Vec::new()).unwrap(), 0);
        assert_eq!(process.event("closed")["clean"], true);
    }
}

#[test]
fn a_client_that_offers_a_post_quantum_key_exchange_gets_it_without_another_round_trip() {
    let files = Files::new("groups");
    let process = files.start(&[]);
    let exchange = |groups: &[&'static dyn SupportedKxGroup]| {
        let provider = CryptoProvider { kx_groups: groups.to_vec(), ..default_provider() };
        let config = client_config_with(provider, &files.cert, &[&rustls::version::TLS13]);
        let mut client = connect(process.address, config);
        upgrade(&mut client);
        assert_eq!(client.conn.handshake_kind(), Some(HandshakeKind::Full));
        client.conn.negotiated_key_exchange_group().unwrap().name()
    };
    // The groups that browsers offer, in their order.
    let groups = [X25519MLKEM768, X25519, SECP256R1, SECP384R1];
    assert_eq!(exchange(&groups), NamedGroup::X25519MLKEM768);
    for group in groups {
        assert_eq!(exchange(&[group]), group.name());
    }
}

#[test]
fn a_handshake_in_single_bytes_is_accepted() {
    let files = Files::new("bytes");
    let process = files.start(&[]);
    let mut client = connect(process.address, client_config(&files.cert, rustls::ALL_VERSIONS));
    client.sock.set_nodelay(true).unwrap();
    let send_bytewise = |client: &mut Client| {
        let mut records = Vec::new();
        while client.conn.wants_write() {
            client.conn.write_tls(&mut records).unwrap();
        }
        records.iter().for_each(|byte| client.sock.write_all(&[*byte]).unwrap());
    };
    while client.conn.is_handshaking() {
        send_bytewise(&mut client);
        if client.conn.is_handshaking() {
            client.conn.read_tls(&mut client.sock).unwrap();
            client.conn.process_new_packets().unwrap();
        }
    }
    client.conn.writer().write_all(UPGRADE.as_bytes()).unwrap();
    send_bytewise(&mut client);
    let mut head = [0; 13];
    client.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 101 ");
}

//= rfc6455#4.2.2-1 test
#[test]
fn a_client_without_tls_gets_an_alert_and_is_logged() {
    let files = Files::new("plain");
    let process = files.start(&[]);
    let mut client = TcpStream::connect(process.address).unwrap();
    client.write_all(b"GET /ws/status HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    // A fatal alert (RFC 8446, section 6).
    assert_eq!((answer[0], answer[5], answer.len()), (21, 2, 7), "{answer:?}");
    let line = process.event("refused");
    assert_eq!((&line["refusal"], &line["protocol"]), (&"bad_tls".into(), &"".into()));
}

#[test]
fn a_client_that_distrusts_the_server_or_shares_no_protocol_is_refused() {
    let files = Files::new("distrust");
    let process = files.start(&[]);
    let (other, _) = certificate(|_| {});
    let mut client = connect(process.address, client_config(&other, rustls::ALL_VERSIONS));
    assert!(client.write_all(b"GET").is_err());
    assert_eq!(process.event("refused")["refusal"], "bad_tls");

    let mut config = client_config(&files.cert, rustls::ALL_VERSIONS);
    config.alpn_protocols = vec![b"http/3".to_vec()];
    let mut client = connect(process.address, config);
    let error = client.write_all(b"GET").unwrap_err().to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
    assert_eq!(process.event("refused")["refusal"], "bad_tls");
}

#[test]
fn the_tls_handshake_counts_toward_the_handshake_timeout() {
    let files = Files::new("deadline");
    let process = files.start(&["--handshake-timeout-secs=0.5"]);
    let begin = Instant::now();
    let mut silent = TcpStream::connect(process.address).unwrap();
    let mut slow = TcpStream::connect(process.address).unwrap();
    // The start of a record (RFC 8446, section 5.1) that never ends.
    slow.write_all(&[22, 3, 1, 0, 200, 1]).unwrap();
    let mut idle = connect(process.address, client_config(&files.cert, rustls::ALL_VERSIONS));
    idle.conn.complete_io(&mut idle.sock).unwrap();
    for stream in [&mut silent, &mut slow, &mut idle.sock] {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
        assert!(begin.elapsed() >= Duration::from_millis(400));
    }
    assert!(begin.elapsed() < Duration::from_secs(5));
}

/// A random number generator with a fixed sequence.
struct Rng(u64);

impl Rng {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    /// Changes, removes or duplicates a byte, or truncates the bytes.
    fn corrupt(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        let position = self.below(bytes.len());
        match self.below(4) {
            0 => bytes[position] ^= u8::try_from(1 + self.below(255)).unwrap(),
            1 => drop(bytes.remove(position)),
            2 => bytes.insert(position, bytes[position]),
            _ => bytes.truncate(position),
        }
        bytes
    }
}

#[test]
fn no_corrupted_handshake_or_record_makes_the_server_panic() {
    let files = Files::new("corrupted");
    let process = files.start(&[]);
    let versions = [&rustls::version::TLS12, &rustls::version::TLS13];
    let mut rng = Rng(1);
    for round in 0..1500 {
        let config = client_config(&files.cert, &[versions[round % 2]]);
        let mut client = connect(process.address, config);
        // One of the client's flights is corrupted. The last flight is application data.
        let corrupted_flight = rng.below(4);
        for flight in 0..=corrupted_flight {
            if !client.conn.is_handshaking() {
                client.conn.writer().write_all(UPGRADE.as_bytes()).unwrap();
            }
            let mut bytes = Vec::new();
            while client.conn.wants_write() {
                client.conn.write_tls(&mut bytes).unwrap();
            }
            if flight == corrupted_flight && !bytes.is_empty() {
                bytes = rng.corrupt(bytes);
            }
            client.sock.write_all(&bytes).unwrap();
            if flight < corrupted_flight && client.conn.is_handshaking() {
                client.conn.read_tls(&mut client.sock).unwrap();
                client.conn.process_new_packets().unwrap();
            }
        }
        client.sock.shutdown(Shutdown::Write).unwrap();
        let _ = client.sock.read_to_end(&mut Vec::new());
    }
    exchange_ping(&mut open(process.address, &files.cert));
    process.signal(Signal::TERM);
    for line in process.log.iter() {
        assert!(!line.contains("panicked"), "{line}");
    }
}

#[test]
fn an_invalid_record_after_the_handshake_gets_an_alert_and_is_logged() {
    let files = Files::new("bad-record");
    let process = files.start(&[]);
    let settings =
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (alpn, input, protocol) in [
            // The first record, with and without ALPN; during the detection of the HTTP version; within
            // HTTP/1.1 and HTTP/2; between two requests.
            ("", &b""[..], ""),
            ("h2", b"", ""),
            ("", b"PRI * HT", ""),
            ("http/1.1", b"GET / HT", ""),
            ("h2", &settings, ""),
            ("http/1.1", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "http/1.1+tls"),
        ] {
            let mut config = client_config(&files.cert, &[version]);
            config.alpn_protocols =
                Some(alpn.into()).filter(|_| !alpn.is_empty()).into_iter().collect();
            let mut client = connect(process.address, config);
            client.conn.complete_io(&mut client.sock).unwrap();
            client.write_all(input).unwrap();
            if !protocol.is_empty() {
                assert_eq!(bytes(&mut client, 12), b"HTTP/1.1 404");
                assert_eq!(process.event("refused")["protocol"], protocol);
            }
            client.sock.write_all(&[&[23, 3, 3, 0, 32][..], &[7; 32]].concat()).unwrap();
            // A server that closes without reading this resets the connection, and the alert may be
            // lost.
            client.sock.write_all(&[0; 40_000]).unwrap();
            let error = client.read_to_end(&mut Vec::new()).unwrap_err().to_string();
            assert!(error.contains("BadRecordMac"), "{alpn} {input:?}: {error}");
            assert_eq!(process.event("refused")["refusal"], "bad_tls", "{alpn} {input:?}");
        }
    }
}

#[test]
fn input_before_an_invalid_record_is_read_before_the_error() {
    let files = Files::new("before-bad");
    let process = files.start(&[]);
    let mut client = connect(process.address, client_config(&files.cert, rustls::ALL_VERSIONS));
    client.conn.complete_io(&mut client.sock).unwrap();
    client.conn.writer().write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut both = Vec::new();
    client.conn.write_tls(&mut both).unwrap();
    both.extend([&[23, 3, 3, 0, 32][..], &[7; 32]].concat());
    client.sock.write_all(&both).unwrap();
    assert_eq!(process.event("refused")["refusal"], "not_found");
    assert_eq!(process.event("refused")["refusal"], "bad_tls");
}

#[test]
fn an_invalid_record_after_close_notify_is_discarded() {
    let files = Files::new("close-notify");
    let process = files.start(&[]);
    let mut client = open(process.address, &files.cert);
    // A reserved opcode (RFC 6455, section 5.2): the server ends its side and discards further input.
    client.write_all(&[0x8f, 0x80, 0, 0, 0, 0]).unwrap();
    assert_eq!(bytes(&mut client, 4), [CLOSE, 2 + 14, 3, 234]);
    assert_eq!(client.read_to_end(&mut Vec::new()).unwrap(), 14);
    client.sock.write_all(&[&[23, 3, 3, 0, 32][..], &[7; 32]].concat()).unwrap();
    client.sock.shutdown(Shutdown::Write).unwrap();
    let mut line = String::new();
    while !line.contains("\"closed\"") {
        line = process.line();
        assert!(!line.contains("panicked"), "{line}");
    }
    assert!(line.contains("\"protocol_error\""), "{line}");
}

/// Creates a CA for client certificates in the folder of `files`.
fn client_ca(files: &Files) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(files.path("ca.pem"), ca.pem()).unwrap();
    ca
}

/// The configuration of a client with this certificate.
fn config_with_certificate(
    server: &str,
    versions: &[&'static SupportedProtocolVersion],
    cert: &str,
    key: &KeyPair,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
    let cert = CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    builder.with_client_auth_cert(vec![cert], key).unwrap()
}

fn expect_refused(process: &Process, config: ClientConfig) {
    let mut client = connect(process.address, config);
    // In TLS 1.3, the client may send before the server has verified its certificate.
    let _ = client.write_all(UPGRADE.as_bytes());
    assert!(client.read_exact(&mut [0]).is_err());
    assert_eq!(process.event("refused")["refusal"], "bad_tls");
}

#[test]
fn with_a_client_ca_only_clients_with_its_certificates_are_accepted() {
    let files = Files::new("mutual");
    let ca = client_ca(&files);
    let process = files.start(&[&format!("--tls-client-ca-file={}", files.path("ca.pem"))]);
    let config = |cert: &str, key: &KeyPair| {
        config_with_certificate(&files.cert, rustls::ALL_VERSIONS, cert, key)
    };
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["a client".to_owned()]).unwrap();
    let cert = params.signed_by(&key, &ca).unwrap().pem();
    let mut client = connect(process.address, config(&cert, &key));
    upgrade(&mut client);
    exchange_ping(&mut client);

    let (own, own_key) = certificate(|_| {});
    expect_refused(&process, config(&own, &KeyPair::from_pem(&own_key).unwrap()));
    expect_refused(&process, client_config(&files.cert, rustls::ALL_VERSIONS));
    params.not_after = date_time_ymd(2020, 1, 1);
    expect_refused(&process, config(&params.signed_by(&key, &ca).unwrap().pem(), &key));
}

/// The resumption mechanisms of each TLS version.
const RESUMPTIONS: [(&SupportedProtocolVersion, Tls12Resumption); 3] = [
    (&rustls::version::TLS12, Tls12Resumption::SessionIdOnly),
    (&rustls::version::TLS12, Tls12Resumption::SessionIdOrTickets),
    (&rustls::version::TLS13, Tls12Resumption::Disabled),
];

/// Connects twice and returns the kind of the second handshake.
fn second_handshake(process: &Process, config: &ClientConfig) -> HandshakeKind {
    let handshake = || {
        let mut client = connect(process.address, config.clone());
        upgrade(&mut client);
        // The client reads a ticket before this pong.
        exchange_ping(&mut client);
        client.conn.handshake_kind().unwrap()
    };
    assert_eq!(handshake(), HandshakeKind::Full);
    handshake()
}

#[test]
fn a_client_certificate_is_verified_in_every_handshake() {
    let files = Files::new("resumed");
    let ca = client_ca(&files);
    let process = files.start(&[&format!("--tls-client-ca-file={}", files.path("ca.pem"))]);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["a client".to_owned()]).unwrap();
    let cert = params.signed_by(&key, &ca).unwrap().pem();
    let configs = RESUMPTIONS.map(|(version, tls12)| {
        let mut config = config_with_certificate(&files.cert, &[version], &cert, &key);
        config.resumption = Resumption::in_memory_sessions(8).tls12_resumption(tls12);
        // A resumed handshake would not verify the certificate.
        assert_eq!(second_handshake(&process, &config), HandshakeKind::Full);
        config
    });

    // Replaces the CA.
    client_ca(&files);
    process.signal(Signal::HUP);
    process.event("reloaded");
    for config in configs {
        expect_refused(&process, config);
    }
}

#[test]
fn without_client_certificates_resumption_uses_tickets_and_no_stored_sessions() {
    let files = Files::new("tickets");
    let process = files.start(&[]);
    let expected = [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed];
    for ((version, tls12), expected) in RESUMPTIONS.into_iter().zip(expected) {
        let mut config = client_config(&files.cert, &[version]);
        config.resumption = Resumption::in_memory_sessions(8).tls12_resumption(tls12);
        assert_eq!(second_handshake(&process, &config), expected, "{version:?} {tls12:?}");
    }
}
