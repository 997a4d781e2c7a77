//! Certificate files: validation, reload, renewal and warnings.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rcgen::date_time_ymd;
use rustix::process::Signal;
use serde_json::Value;
use server::{Command, Config, ConfigError, Reloader};
use support::process::{Process, documented, fields};
use support::tls::{Files, certificate, client_config, connect, exchange_ping, open};
use tokio::time::timeout;

fn check(flags: &[String]) -> Result<Config, ConfigError> {
    let Command::Serve(settings, _) = Command::parse(flags.iter().map(OsString::from), [])? else {
        panic!()
    };
    let config = Config::check(settings, 20_000)?;
    Ok(config)
}

#[test]
fn invalid_files_fail_the_start_with_one_sentence() {
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
        (&files.path("junk.pem"), &key, "", "its first certificate cannot be read"),
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
        (
            &cert,
            &other.path("key.pem"),
            "",
            "it must belong to the first certificate of tls_cert_file",
        ),
        (&cert, "", "", "it requires tls_key_file"),
        ("", &key, "", "it requires tls_cert_file"),
        (
            "",
            "",
            "--listen=tls:127.0.0.1:0",
            "a tls: address requires tls_cert_file and tls_key_file",
        ),
        ("", "", "--tls-client-ca-file=ca.pem", "it requires tls_cert_file"),
        (
            &cert,
            &key,
            &format!("--tls-client-ca-file={}", files.path("text.pem")),
            "tls_client_ca_file",
        ),
        (&cert, &key, "--admin-listen=tls:127.0.0.1:0", "the admin listener does not support TLS"),
        (&cert, &key, "--listen=tls:localhost:443", "the same behind tls:"),
        (&cert, &key, "--http2-max-streams=0", "from 1 to 1000"),
        (&cert, &key, "--plaintext-ok=yes", "it must be true or false"),
    ] {
        let flags =
            [format!("--tls-cert-file={cert}"), format!("--tls-key-file={key}"), more.to_owned()];
        let flags: Vec<String> = flags.into_iter().filter(|flag| !flag.is_empty()).collect();
        let message = check(&flags).unwrap_err().to_string();
        assert!(message.contains(expected), "{flags:?}: {message}");
        assert!(!message.contains('\n') && !message.contains("-----"), "{message}");
    }
    assert!(check(&files.flags()).is_ok());
}

#[tokio::test]
async fn changed_files_are_used_once_they_match_and_are_stable() {
    let files = Files::new("renewed");
    let config = check(&files.flags()).unwrap();
    let not_after = |config: &Config| config.tls.as_ref().unwrap().not_after();
    let first = not_after(&config);
    let mut reloader = Reloader::new(config, 20_000);
    let configs = reloader.configs();
    let in_force = || not_after(&configs.borrow());
    for _ in 0..4 {
        reloader.check_certificate().await;
    }
    assert_eq!(in_force(), first);

    let (cert, key) = certificate(|params| params.not_after = date_time_ymd(2900, 1, 1));
    fs::write(files.path("cert.pem"), &cert).unwrap();
    for _ in 0..4 {
        reloader.check_certificate().await;
    }
    assert_eq!(in_force(), first, "the key does not match");
    fs::write(files.path("key.pem"), &key).unwrap();
    reloader.check_certificate().await;
    assert_eq!(in_force(), first, "the files may still change");
    reloader.check_certificate().await;
    let second = in_force();
    assert_ne!(second, first);

    fs::remove_file(files.path("cert.pem")).unwrap();
    for _ in 0..4 {
        reloader.check_certificate().await;
    }
    assert_eq!(in_force(), second, "a missing file changes nothing");
}

/// Creates a named pipe without a writer.
fn create_pipe(path: &str) {
    let _ = fs::remove_file(path);
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[tokio::test]
async fn a_file_that_becomes_a_pipe_is_refused_without_blocking() {
    let files = Files::new("pipe");
    let config = check(&files.flags()).unwrap();
    let not_after = |config: &Config| config.tls.as_ref().unwrap().not_after();
    let first = not_after(&config);
    let mut reloader = Reloader::new(config, 20_000);
    let configs = reloader.configs();
    for name in ["cert.pem", "key.pem"] {
        create_pipe(&files.path(name));
        for _ in 0..4 {
            timeout(Duration::from_secs(5), reloader.check_certificate()).await.unwrap();
        }
        assert_eq!(not_after(&configs.borrow()), first);
        files.replace(|_| {});
    }
    files.replace(|params| params.not_after = date_time_ymd(2900, 1, 1));
    reloader.check_certificate().await;
    reloader.check_certificate().await;
    assert_ne!(not_after(&configs.borrow()), first);
}

#[tokio::test]
async fn a_pipe_is_read_once_and_stays_in_force() {
    let files = Files::new("pipe-at-start");
    for (name, text) in [("cert.pem", &files.cert), ("key.pem", &files.key)] {
        let (path, text) = (files.path(name), text.clone());
        create_pipe(&path);
        // The write returns once the server has opened the pipe.
        thread::spawn(move || fs::write(path, text));
    }
    let config = check(&files.flags()).unwrap();
    let mut reloader = Reloader::new(config, 20_000);
    let configs = reloader.configs();
    for _ in 0..4 {
        timeout(Duration::from_secs(5), reloader.check_certificate()).await.unwrap();
    }
    assert!(!configs.has_changed().unwrap());
}

#[tokio::test]
async fn a_key_that_has_not_changed_is_not_read() {
    let files = Files::new("unread");
    // Where access times are recorded, each read updates them while the modification time is later
    // (`relatime`).
    let future = SystemTime::now() + Duration::from_secs(1 << 30);
    let key = fs::File::options().write(true).open(files.path("key.pem")).unwrap();
    key.set_modified(future).unwrap();
    let config = check(&files.flags()).unwrap();
    let mut reloader = Reloader::new(config, 20_000);
    let accessed = || fs::metadata(files.path("key.pem")).unwrap().accessed().unwrap();
    // A file written moments ago may change within the granularity of its timestamp, so the server reads
    // it for a few more seconds.
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let (before, begin) = (accessed(), Instant::now());
        while begin.elapsed() < Duration::from_millis(100) {
            reloader.check_certificate().await;
        }
        if accessed() == before {
            break;
        }
        assert!(Instant::now() < until, "the key is still read");
    }
}

#[test]
fn a_file_without_end_is_refused() {
    let files = Files::new("endless");
    let key = format!("--tls-key-file={}", files.path("key.pem"));
    let message = check(&["--tls-cert-file=/dev/zero".to_owned(), key]).unwrap_err().to_string();
    assert!(message.ends_with("it cannot be read: it is larger than 16 MiB"), "{message}");
    let message = check(&["--config=/dev/zero".to_owned()]).unwrap_err().to_string();
    assert_eq!(message, "the file /dev/zero cannot be read: it is larger than 16 MiB");
}

#[test]
fn a_reloaded_certificate_applies_to_new_connections_only() {
    let files = Files::new("reload");
    let process = files.start(&[]);
    let mut existing = open(process.address, &files.cert);
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
    exchange_ping(&mut existing);
    let mut refused = connect(process.address, client_config(&files.cert, rustls::ALL_VERSIONS));
    assert!(refused.write_all(b"GET").is_err());
}

#[test]
fn a_changed_file_is_used_without_a_signal_unless_it_is_invalid() {
    let valid = Files::new("watched");
    let invalid = Files::new("watched-invalid");
    let missing = Files::new("watched-missing");
    let [renewed, refused, missed] = [&valid, &invalid, &missing].map(|files| files.start(&[]));
    fs::remove_file(missing.path("cert.pem")).unwrap();
    fs::write(invalid.path("key.pem"), "half a fi").unwrap();
    let (cert, key) = certificate(|params| params.not_after = date_time_ymd(2900, 1, 1));
    // The files are replaced atomically, as renewal tools do.
    for (name, text) in [("key.pem", &key), ("cert.pem", &cert)] {
        fs::write(valid.path("new"), text).unwrap();
        fs::rename(valid.path("new"), valid.path(name)).unwrap();
    }
    let line = wait_for(&renewed, "certificate_renewed");
    assert_eq!(fields(&line), documented("certificate_renewed"));
    assert_eq!(line["not_after"], "Fri, 01 Jan 2900 00:00:00 GMT");
    exchange_ping(&mut open(renewed.address, &cert));

    let line = wait_for(&refused, "certificate_refused");
    assert_eq!(fields(&line), documented("certificate_refused"));
    assert_eq!(line["setting"], "tls_key_file");
    exchange_ping(&mut open(refused.address, &invalid.cert));

    assert_eq!(wait_for(&missed, "certificate_refused")["setting"], "tls_cert_file");
    exchange_ping(&mut open(missed.address, &missing.cert));
}

/// Reads the log up to an event. The server checks its files every five seconds.
fn wait_for(process: &Process, event: &str) -> Value {
    loop {
        let line = process.log.recv_timeout(Duration::from_secs(30)).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        if line["event"] == event {
            return line;
        }
    }
}

//= rfc6455#10.6-2 test
#[test]
fn an_expiring_certificate_and_plaintext_listeners_are_warned_about() {
    let soon = SystemTime::now() + Duration::from_secs(3 * 24 * 60 * 60);
    let files = Files::of("expiring", |params| params.not_after = soon.into());
    let process = files.start(&["--admin-listen=127.0.0.1:0"]);
    drop(process);
    let warning = |flags: &[&str], event: &str| {
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
    let line = warning(&[], "certificate_expires").unwrap();
    assert_eq!(line["not_after"], httpdate::fmt_http_date(soon));
    assert_eq!(warning(&[], "plaintext"), None);
    assert_eq!(warning(&[], "tls_unused"), None);
    assert!(warning(&["--listen=127.0.0.1:0"], "tls_unused").is_some());
    let line = warning(&["--listen=0.0.0.0:0,tls:127.0.0.1:0"], "plaintext").unwrap();
    assert!(line["address"].as_str().unwrap().starts_with("0.0.0.0:"));
    let silenced = ["--listen=0.0.0.0:0", "--plaintext-ok=true"];
    assert_eq!(warning(&silenced, "plaintext"), None);
    assert_eq!(warning(&["--listen=127.0.0.1:0"], "plaintext"), None);
    assert_eq!(warning(&["--listen=tls:0.0.0.0:0"], "plaintext"), None);
}
