//! TLS: the handshake and its deadline, who may connect, and what breaks its rules.
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
    Client, Files, bytes, certificate, connect, exchange_ping, open, trusting, trusting_by, upgrade,
};
use support::{CLOSE, UPGRADE, close};

#[test]
fn a_session_runs_within_both_versions_of_tls_and_ends_with_a_goodbye() {
    let files = Files::new("versions");
    let process = files.start(&["--admin-listen=127.0.0.1:0"]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut client = connect(process.address, trusting(&files.cert, &[version]));
        upgrade(&mut client);
        assert_eq!(process.event("opened")["protocol"], "http/1.1+tls");
        exchange_ping(&mut client);
        client.write_all(&close(1000, "")).unwrap();
        assert_eq!(bytes(&mut client, 4), [CLOSE, 2, 3, 232]);
        // Without a goodbye of TLS (RFC 8446, section 6.1) this were an error.
        assert_eq!(client.read_to_end(&mut Vec::new()).unwrap(), 0);
        assert_eq!(process.event("closed")["clean"], true);
    }
}

#[test]
fn who_offers_a_key_exchange_that_resists_quantum_computers_gets_it_without_a_round_trip_more() {
    let files = Files::new("groups");
    let process = files.start(&[]);
    let exchange = |groups: &[&'static dyn SupportedKxGroup]| {
        let provider = CryptoProvider { kx_groups: groups.to_vec(), ..default_provider() };
        let config = trusting_by(provider, &files.cert, &[&rustls::version::TLS13]);
        let mut client = connect(process.address, config);
        upgrade(&mut client);
        assert_eq!(client.conn.handshake_kind(), Some(HandshakeKind::Full));
        client.conn.negotiated_key_exchange_group().unwrap().name()
    };
    // What browsers offer, and in their order.
    let groups = [X25519MLKEM768, X25519, SECP256R1, SECP384R1];
    assert_eq!(exchange(&groups), NamedGroup::X25519MLKEM768);
    for group in groups {
        assert_eq!(exchange(&[group]), group.name());
    }
}

#[test]
fn what_comes_in_single_bytes_is_understood_as_well() {
    let files = Files::new("bytes");
    let process = files.start(&[]);
    let mut client = connect(process.address, trusting(&files.cert, rustls::ALL_VERSIONS));
    client.sock.set_nodelay(true).unwrap();
    let trickle = |client: &mut Client| {
        let mut waiting = Vec::new();
        while client.conn.wants_write() {
            client.conn.write_tls(&mut waiting).unwrap();
        }
        waiting.iter().for_each(|byte| client.sock.write_all(&[*byte]).unwrap());
    };
    while client.conn.is_handshaking() {
        trickle(&mut client);
        if client.conn.is_handshaking() {
            client.conn.read_tls(&mut client.sock).unwrap();
            client.conn.process_new_packets().unwrap();
        }
    }
    client.conn.writer().write_all(UPGRADE.as_bytes()).unwrap();
    trickle(&mut client);
    let mut head = [0; 13];
    client.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 101 ");
}

#[test]
fn who_speaks_no_tls_is_told_by_an_alert_and_leaves_a_line() {
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
fn who_trusts_another_or_shares_no_protocol_is_turned_away() {
    let files = Files::new("distrust");
    let process = files.start(&[]);
    let (other, _) = certificate(|_| {});
    let mut client = connect(process.address, trusting(&other, rustls::ALL_VERSIONS));
    assert!(client.write_all(b"GET").is_err());
    assert_eq!(process.event("refused")["refusal"], "bad_tls");

    let mut config = trusting(&files.cert, rustls::ALL_VERSIONS);
    config.alpn_protocols = vec![b"http/3".to_vec()];
    let mut client = connect(process.address, config);
    let error = client.write_all(b"GET").unwrap_err().to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
    assert_eq!(process.event("refused")["refusal"], "bad_tls");
}

#[test]
fn the_handshake_is_within_the_one_deadline() {
    let files = Files::new("deadline");
    let process = files.start(&["--handshake-timeout-secs=0.5"]);
    let begin = Instant::now();
    let mut silent = TcpStream::connect(process.address).unwrap();
    let mut slow = TcpStream::connect(process.address).unwrap();
    // The beginning of a record (RFC 8446, section 5.1) that never ends.
    slow.write_all(&[22, 3, 1, 0, 200, 1]).unwrap();
    let mut mute = connect(process.address, trusting(&files.cert, rustls::ALL_VERSIONS));
    mute.conn.complete_io(&mut mute.sock).unwrap();
    for stream in [&mut silent, &mut slow, &mut mute.sock] {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
        assert!(begin.elapsed() >= Duration::from_millis(400));
    }
    assert!(begin.elapsed() < Duration::from_secs(5));
}

/// Numbers as if by chance, the same ones each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    /// The same with a byte changed, left out or said twice, or cut off.
    fn mangle(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        let place = self.below(bytes.len());
        match self.below(4) {
            0 => bytes[place] ^= u8::try_from(1 + self.below(255)).unwrap(),
            1 => drop(bytes.remove(place)),
            2 => bytes.insert(place, bytes[place]),
            _ => bytes.truncate(place),
        }
        bytes
    }
}

#[test]
fn no_mangled_handshake_or_record_makes_the_server_panic() {
    let files = Files::new("mangled");
    let process = files.start(&[]);
    let versions = [&rustls::version::TLS12, &rustls::version::TLS13];
    let mut chance = Chance(1);
    for round in 0..1500 {
        let config = trusting(&files.cert, &[versions[round % 2]]);
        let mut client = connect(process.address, config);
        // In one of the client's flights, of which the last is a record of data.
        let bad_flight = chance.below(4);
        for flight in 0..=bad_flight {
            if !client.conn.is_handshaking() {
                client.conn.writer().write_all(UPGRADE.as_bytes()).unwrap();
            }
            let mut bytes = Vec::new();
            while client.conn.wants_write() {
                client.conn.write_tls(&mut bytes).unwrap();
            }
            if flight == bad_flight && !bytes.is_empty() {
                bytes = chance.mangle(bytes);
            }
            client.sock.write_all(&bytes).unwrap();
            if flight < bad_flight && client.conn.is_handshaking() {
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
fn a_bad_record_behind_the_handshake_is_told_by_an_alert_and_leaves_a_line() {
    let files = Files::new("bad-record");
    let process = files.start(&[]);
    let settings =
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (alpn, good, protocol) in [
            // The first record, with and without ALPN; while it is not clear yet which HTTP it is; within HTTP/1.1
            // and HTTP/2; between two requests.
            ("", &b""[..], ""),
            ("h2", b"", ""),
            ("", b"PRI * HT", ""),
            ("http/1.1", b"GET / HT", ""),
            ("h2", &settings, ""),
            ("http/1.1", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "http/1.1+tls"),
        ] {
            let mut config = trusting(&files.cert, &[version]);
            config.alpn_protocols =
                Some(alpn.into()).filter(|_| !alpn.is_empty()).into_iter().collect();
            let mut client = connect(process.address, config);
            client.conn.complete_io(&mut client.sock).unwrap();
            client.write_all(good).unwrap();
            if !protocol.is_empty() {
                assert_eq!(bytes(&mut client, 12), b"HTTP/1.1 404");
                assert_eq!(process.event("refused")["protocol"], protocol);
            }
            client.sock.write_all(&[&[23, 3, 3, 0, 32][..], &[7; 32]].concat()).unwrap();
            // Who hangs up without reading this resets the connection, and the alert may be lost.
            client.sock.write_all(&[0; 40_000]).unwrap();
            let error = client.read_to_end(&mut Vec::new()).unwrap_err().to_string();
            assert!(error.contains("BadRecordMac"), "{alpn} {good:?}: {error}");
            assert_eq!(process.event("refused")["refusal"], "bad_tls", "{alpn} {good:?}");
        }
    }
}

#[test]
fn what_came_before_a_bad_record_is_read_before_the_error() {
    let files = Files::new("before-bad");
    let process = files.start(&[]);
    let mut client = connect(process.address, trusting(&files.cert, rustls::ALL_VERSIONS));
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
fn a_bad_record_behind_our_goodbye_is_read_away() {
    let files = Files::new("goodbye");
    let process = files.start(&[]);
    let mut client = open(process.address, &files.cert);
    // A reserved opcode (RFC 6455, section 5.2), so that the server ends its side and reads on.
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

/// Those who vouch for clients, in the folder of `files`.
fn client_ca(files: &Files) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(files.path("ca.pem"), ca.pem()).unwrap();
    ca
}

/// A client with this certificate.
fn showing(
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
    // TLS 1.3 lets a client talk before it is known whether it may.
    let _ = client.write_all(UPGRADE.as_bytes());
    assert!(client.read_exact(&mut [0]).is_err());
    assert_eq!(process.event("refused")["refusal"], "bad_tls");
}

#[test]
fn with_a_client_ca_only_who_is_vouched_for_gets_in() {
    let files = Files::new("mutual");
    let ca = client_ca(&files);
    let process = files.start(&[&format!("--tls-client-ca-file={}", files.path("ca.pem"))]);
    let config = |cert: &str, key: &KeyPair| showing(&files.cert, rustls::ALL_VERSIONS, cert, key);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["a client".to_owned()]).unwrap();
    let cert = params.signed_by(&key, &ca).unwrap().pem();
    let mut client = connect(process.address, config(&cert, &key));
    upgrade(&mut client);
    exchange_ping(&mut client);

    let (own, own_key) = certificate(|_| {});
    expect_refused(&process, config(&own, &KeyPair::from_pem(&own_key).unwrap()));
    expect_refused(&process, trusting(&files.cert, rustls::ALL_VERSIONS));
    params.not_after = date_time_ymd(2020, 1, 1);
    expect_refused(&process, config(&params.signed_by(&key, &ca).unwrap().pem(), &key));
}

/// A way in which a client may want to go on with what was agreed upon before.
const RESUMPTIONS: [(&SupportedProtocolVersion, Tls12Resumption); 3] = [
    (&rustls::version::TLS12, Tls12Resumption::SessionIdOnly),
    (&rustls::version::TLS12, Tls12Resumption::SessionIdOrTickets),
    (&rustls::version::TLS13, Tls12Resumption::Disabled),
];

/// Connects twice, and says how the second handshake went.
fn second_handshake(process: &Process, config: &ClientConfig) -> HandshakeKind {
    let handshake = || {
        let mut client = connect(process.address, config.clone());
        upgrade(&mut client);
        // A ticket comes in front of this.
        exchange_ping(&mut client);
        client.conn.handshake_kind().unwrap()
    };
    assert_eq!(handshake(), HandshakeKind::Full);
    handshake()
}

#[test]
fn a_certificate_of_a_client_is_looked_at_each_time() {
    let files = Files::new("resumed");
    let ca = client_ca(&files);
    let process = files.start(&[&format!("--tls-client-ca-file={}", files.path("ca.pem"))]);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["a client".to_owned()]).unwrap();
    let cert = params.signed_by(&key, &ca).unwrap().pem();
    let configs = RESUMPTIONS.map(|(version, tls12)| {
        let mut config = showing(&files.cert, &[version], &cert, &key);
        config.resumption = Resumption::in_memory_sessions(8).tls12_resumption(tls12);
        // In a handshake that goes on with an old one, nobody looks at a certificate.
        assert_eq!(second_handshake(&process, &config), HandshakeKind::Full);
        config
    });

    // Those who vouched for it do so no more.
    client_ca(&files);
    process.signal(Signal::HUP);
    process.event("reloaded");
    for config in configs {
        expect_refused(&process, config);
    }
}

#[test]
fn without_certificates_of_clients_tickets_are_for_those_that_come_back_and_nothing_is_kept() {
    let files = Files::new("tickets");
    let process = files.start(&[]);
    let expected = [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed];
    for ((version, tls12), expected) in RESUMPTIONS.into_iter().zip(expected) {
        let mut config = trusting(&files.cert, &[version]);
        config.resumption = Resumption::in_memory_sessions(8).tls12_resumption(tls12);
        assert_eq!(second_handshake(&process, &config), expected, "{version:?} {tls12:?}");
    }
}
