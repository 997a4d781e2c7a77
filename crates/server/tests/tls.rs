//! TLS: the handshake and its deadline, the certificate and its successors, who may connect.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustix::process::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use serde_json::Value;
use server::{Command, Config, Reloader, Settings, Wrong};
use support::process::{Process, documented, fields, server};
use support::{CLOSE, PING, PONG, UPGRADE, close, frame};

/// The files of a certificate for `localhost`, in a folder of its own.
struct Files {
    folder: PathBuf,
    cert: String,
    key: String,
}

impl Files {
    /// A certificate that is good from now on.
    fn new(name: &str) -> Self {
        Self::of(name, |_| {})
    }

    fn of(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tls-{name}"));
        fs::create_dir_all(&folder).unwrap();
        let (cert, key) = certificate(change);
        let files = Self { folder, cert, key };
        files.write();
        files
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    fn write(&self) {
        fs::write(self.path("cert.pem"), &self.cert).unwrap();
        fs::write(self.path("key.pem"), &self.key).unwrap();
    }

    fn flags(&self) -> Vec<String> {
        vec![
            "--listen=tls:127.0.0.1:0".to_owned(),
            format!("--tls-cert-file={}", self.path("cert.pem")),
            format!("--tls-key-file={}", self.path("key.pem")),
        ]
    }

    fn start(&self, more: &[&str]) -> Process {
        let flags = self.flags();
        let flags: Vec<&str> =
            flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
        start(&flags)
    }
}

fn certificate(change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn start(flags: &[&str]) -> Process {
    let mut process = Process::spawn_as(server(), &[&["--log-format=json"], flags].concat());
    let address = process.event("listening")["address"].clone();
    process.address = address.as_str().unwrap().trim_start_matches("tls:").parse().unwrap();
    process
}

type Client = StreamOwned<ClientConnection, TcpStream>;

/// Who trusts this certificate.
fn trusting(cert: &str, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(versions).unwrap();
    builder.with_root_certificates(roots).with_no_client_auth()
}

fn connect(address: SocketAddr, config: ClientConfig) -> Client {
    let name = "localhost".try_into().unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
}

/// A client whose session is open.
fn open(address: SocketAddr, cert: &str) -> Client {
    let mut client = connect(address, trusting(cert, rustls::ALL_VERSIONS));
    upgrade(&mut client);
    client
}

fn upgrade(client: &mut Client) {
    client.write_all(UPGRADE.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(bytes(client, 1)[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
}

fn bytes(client: &mut Client, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    client.read_exact(&mut bytes).unwrap();
    bytes
}

/// The session lives, both ways.
fn exchange_ping(client: &mut Client) {
    client.write_all(&frame(PING, b"a payload")).unwrap();
    assert_eq!(bytes(client, 2), [PONG, 9]);
    assert_eq!(bytes(client, 9), b"a payload");
}

fn check(flags: &[String]) -> Result<(Settings, Config), Wrong> {
    let Command::Serve(mut settings) = Command::parse(flags.iter().map(OsString::from), [])? else {
        panic!()
    };
    let config = Config::check(&mut settings, 20_000)?;
    Ok((settings, config))
}

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
fn with_a_client_ca_only_who_is_vouched_for_gets_in() {
    let files = Files::new("mutual");
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(files.path("ca.pem"), ca.pem()).unwrap();
    let process = files.start(&[&format!("--tls-client-ca-file={}", files.path("ca.pem"))]);

    let roots = {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(files.cert.as_bytes()).unwrap()).unwrap();
        roots
    };
    let vouched_for = |cert: &str, key: &KeyPair| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let cert = CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        builder
            .with_root_certificates(roots.clone())
            .with_client_auth_cert(vec![cert], key)
            .unwrap()
    };
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["a client".to_owned()]).unwrap();
    let cert = params.signed_by(&key, &ca).unwrap().pem();
    let mut client = connect(process.address, vouched_for(&cert, &key));
    upgrade(&mut client);
    exchange_ping(&mut client);

    let (own, own_key) = certificate(|_| {});
    let own_key = KeyPair::from_pem(&own_key).unwrap();
    for config in [vouched_for(&own, &own_key), trusting(&files.cert, rustls::ALL_VERSIONS)] {
        let mut client = connect(process.address, config);
        // TLS 1.3 lets a client talk before it is known whether it may.
        let _ = client.write_all(UPGRADE.as_bytes());
        assert!(client.read_exact(&mut [0]).is_err());
        assert_eq!(process.event("refused")["refusal"], "bad_tls");
    }
}

#[test]
fn files_that_will_not_do_stop_the_start_with_one_sentence() {
    let files = Files::new("wrong");
    let other = Files::new("wrong-other");
    fs::write(files.path("empty.pem"), "").unwrap();
    fs::write(files.path("text.pem"), "not PEM").unwrap();
    fs::write(
        files.path("locked.pem"),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    fs::write(
        files.path("junk.pem"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| files.path(name));
    for (cert, key, more, expected) in [
        (
            "/nowhere.pem",
            &*key,
            "",
            "tls_cert_file is \"/nowhere.pem\" in the flag --tls-cert-file: it cannot be read",
        ),
        (&files.path("empty.pem"), &key, "", "it must hold certificates in PEM"),
        (&files.path("text.pem"), &key, "", "it must hold certificates in PEM"),
        (&files.path("junk.pem"), &key, "", "it holds what is no certificate"),
        (
            &cert,
            "/nowhere.pem",
            "",
            "tls_key_file is \"/nowhere.pem\" in the flag --tls-key-file: it cannot be read",
        ),
        (&cert, &cert, "", "it must hold a private key in PEM, without a passphrase"),
        (
            &cert,
            &files.path("locked.pem"),
            "",
            "it must hold a private key in PEM, without a passphrase",
        ),
        (&cert, &other.path("key.pem"), "", "it must belong to the certificate of tls_cert_file"),
        (&cert, "", "", "that needs tls_key_file"),
        ("", &key, "", "that needs tls_cert_file"),
        ("", "", "--listen=tls:127.0.0.1:0", "that needs tls_cert_file and tls_key_file"),
        ("", "", "--tls-client-ca-file=ca.pem", "that needs tls_cert_file"),
        (
            &cert,
            &key,
            &format!("--tls-client-ca-file={}", files.path("text.pem")),
            "tls_client_ca_file",
        ),
        (&cert, &key, "--admin-listen=tls:127.0.0.1:0", "the admin listener has no TLS"),
        (&cert, &key, "--listen=tls:localhost:443", "the same behind tls:"),
        (&cert, &key, "--http2-max-streams=0", "from 1 to 1000"),
        (&cert, &key, "--plaintext-ok=yes", "it must be true or false"),
    ] {
        let flags =
            [format!("--tls-cert-file={cert}"), format!("--tls-key-file={key}"), more.to_owned()];
        let flags: Vec<String> = flags.into_iter().filter(|flag| !flag.is_empty()).collect();
        let Wrong(sentence) = check(&flags).unwrap_err();
        assert!(sentence.contains(expected), "{flags:?}: {sentence}");
        assert!(!sentence.contains('\n') && !sentence.contains("PRIVATE"), "{sentence}");
    }
    assert!(check(&files.flags()).is_ok());
}

/// Reads the settings again, by the clock of the test.
async fn look(reloader: &mut Reloader, seconds: u64) {
    let time = Duration::from_secs(seconds) + Duration::from_millis(1);
    let _ = tokio::time::timeout(time, reloader.renew_certificates()).await;
}

#[tokio::test(start_paused = true)]
async fn files_that_changed_are_used_when_they_go_together_and_were_seen_twice() {
    let files = Files::new("renewed");
    let (settings, config) = check(&files.flags()).unwrap();
    let ends = |config: &Config| config.tls.as_ref().unwrap().not_after();
    let first = ends(&config);
    let mut reloader = Reloader::new(settings, config, 20_000);
    let configs = reloader.configs();
    let in_force = || ends(&configs.borrow());
    look(&mut reloader, 20).await;
    assert_eq!(in_force(), first);

    let (cert, key) = certificate(|params| params.not_after = date_time_ymd(2900, 1, 1));
    fs::write(files.path("cert.pem"), &cert).unwrap();
    look(&mut reloader, 20).await;
    assert_eq!(in_force(), first, "the key is another's");
    fs::write(files.path("key.pem"), &key).unwrap();
    look(&mut reloader, 5).await;
    assert_eq!(in_force(), first, "more may be written");
    look(&mut reloader, 5).await;
    let second = in_force();
    assert_ne!(second, first);

    fs::remove_file(files.path("cert.pem")).unwrap();
    look(&mut reloader, 20).await;
    assert_eq!(in_force(), second, "a file that is missing changes nothing");
}

#[test]
fn a_reload_brings_a_new_certificate_to_new_connections_and_cuts_no_old_one() {
    let files = Files::new("reload");
    let process = files.start(&[]);
    let mut old = open(process.address, &files.cert);
    let (cert, key) = certificate(|_| {});

    fs::write(files.path("cert.pem"), &cert).unwrap();
    process.signal(Signal::HUP);
    let problem = process.event("reload_refused")["problem"].clone();
    assert!(problem.as_str().unwrap().starts_with("tls_key_file is "), "{problem}");
    exchange_ping(&mut open(process.address, &files.cert));

    fs::write(files.path("key.pem"), &key).unwrap();
    process.signal(Signal::HUP);
    process.event("reloaded");
    exchange_ping(&mut open(process.address, &cert));
    exchange_ping(&mut old);
    let mut refused = connect(process.address, trusting(&files.cert, rustls::ALL_VERSIONS));
    assert!(refused.write_all(b"GET").is_err());
}

#[test]
fn a_file_that_changed_is_used_without_a_signal_unless_it_is_no_good() {
    let good = Files::new("watched");
    let bad = Files::new("watched-bad");
    let [renewed, refused] = [&good, &bad].map(|files| files.start(&[]));
    fs::write(bad.path("key.pem"), "half a fi").unwrap();
    let (cert, key) = certificate(|params| params.not_after = date_time_ymd(2900, 1, 1));
    // As whoever renews it does: the new file takes the place of the old one in one step.
    for (name, text) in [("key.pem", &key), ("cert.pem", &cert)] {
        fs::write(good.path("new"), text).unwrap();
        fs::rename(good.path("new"), good.path(name)).unwrap();
    }
    let line = wait_for(&renewed, "certificate_renewed");
    assert_eq!(fields(&line), documented("certificate_renewed"));
    assert_eq!(line["not_after"], "Fri, 01 Jan 2900 00:00:00 GMT");
    exchange_ping(&mut open(renewed.address, &cert));

    let line = wait_for(&refused, "certificate_refused");
    assert_eq!(fields(&line), documented("certificate_refused"));
    assert_eq!(line["setting"], "tls_key_file");
    exchange_ping(&mut open(refused.address, &bad.cert));
}

/// The files are looked at every five seconds.
fn wait_for(process: &Process, event: &str) -> Value {
    loop {
        let line = process.log.recv_timeout(Duration::from_secs(30)).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        if line["event"] == event {
            return line;
        }
    }
}

#[test]
fn a_certificate_that_is_about_to_end_and_what_is_not_encrypted_are_warned_of() {
    let soon = SystemTime::now() + Duration::from_secs(3 * 24 * 60 * 60);
    let files = Files::of("expiring", |params| params.not_after = soon.into());
    let process = files.start(&["--admin-listen=127.0.0.1:0"]);
    drop(process);
    let warned = |flags: &[&str], event: &str| {
        let tls = files.flags();
        let tls = tls.iter().map(String::as_str);
        let flags: Vec<&str> =
            ["--log-format=json"].into_iter().chain(tls).chain(flags.iter().copied()).collect();
        let process = Process::spawn(&flags);
        loop {
            let line: Value = serde_json::from_str(&process.line()).unwrap();
            if line["event"] == "listening" {
                return None;
            }
            if line["event"] == event {
                assert_eq!(fields(&line), documented(event));
                assert_eq!(line["level"], "WARN");
                return Some(line);
            }
        }
    };
    let line = warned(&[], "certificate_expires").unwrap();
    assert_eq!(line["not_after"], httpdate::fmt_http_date(soon));
    assert_eq!(warned(&[], "plaintext"), None);
    assert_eq!(warned(&[], "tls_unused"), None);
    assert!(warned(&["--listen=127.0.0.1:0"], "tls_unused").is_some());
    let line = warned(&["--listen=0.0.0.0:0,tls:127.0.0.1:0"], "plaintext").unwrap();
    assert!(line["address"].as_str().unwrap().starts_with("0.0.0.0:"));
    let silenced = ["--listen=0.0.0.0:0", "--plaintext-ok=true"];
    assert_eq!(warned(&silenced, "plaintext"), None);
    assert_eq!(warned(&["--listen=127.0.0.1:0"], "plaintext"), None);
    assert_eq!(warned(&["--listen=tls:0.0.0.0:0"], "plaintext"), None);
}
