//! The command line of the binary: usage errors, and output on stdout.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;

use support::process::server;

#[test]
fn the_admin_listener_cannot_share_the_port_of_clients() {
    let output = output(&["--listen=127.0.0.1:18999", "--admin-listen=127.0.0.1:18999"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("admin_listen") && message.contains("18999"), "{message}");
}

/// Runs the binary to its end.
fn output(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    server().args(arguments).envs(environment.iter().copied()).output().unwrap()
}

/// Runs the binary and expects exit code 2 with one sentence on stderr, which it returns.
fn usage_error(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let Output { status, stdout, stderr } = output(arguments, environment);
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{arguments:?} {environment:?}: {stderr}");
    assert_eq!(stdout, b"");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr.strip_prefix("server: ").unwrap().trim_end().to_owned()
}

fn temporary_file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn an_invalid_setting_is_named_with_its_source_and_the_requirement() {
    let seconds = "it must be a number of seconds above 0 and at most 86400, such as 25 or 0.5";
    assert_eq!(
        usage_error(&["--ping-interval-secs", "fast"], &[]),
        format!("ping_interval_secs is \"fast\" in the flag --ping-interval-secs: {seconds}")
    );
    assert_eq!(
        usage_error(&[], &[("WS_STATUS_CLOSE_TIMEOUT_SECS", "0")]),
        format!(
            "close_timeout_secs is \"0\" in the environment variable WS_STATUS_CLOSE_TIMEOUT_SECS: {seconds}"
        )
    );
    let file = temporary_file("wrong.toml", "pong_timeout_secs = -1\n");
    let file = file.to_str().unwrap();
    assert_eq!(
        usage_error(&["--config", file], &[]),
        format!("pong_timeout_secs is \"-1\" in the file {file}: {seconds}")
    );
    assert_eq!(
        usage_error(&["--allowed-origins", "https://a.example,https://b.example/"], &[]),
        "allowed_origins is \"https://b.example/\" in the flag --allowed-origins: \
         an origin ends after its host or port, with no slash, path or user name"
    );
}

#[test]
fn an_unknown_key_is_refused_in_every_source() {
    let file = temporary_file("unknown.toml", "lisen = \"127.0.0.1:1\"\n");
    let file = file.to_str().unwrap();
    assert_eq!(
        usage_error(&["--config", file], &[]),
        format!(
            "the file {file} sets \"lisen\", which is not a setting; --help lists all settings"
        )
    );
    assert_eq!(
        usage_error(&[], &[("WS_STATUS_LISEN", "x")]),
        "the environment variable WS_STATUS_LISEN sets \"lisen\", which is not a setting; \
         --help lists all settings"
    );
    assert!(usage_error(&["--lisen", "x"], &[]).contains("'--lisen'"));
    assert!(usage_error(&["--ping_interval_secs", "1"], &[]).contains("'--ping_interval_secs'"));
    assert!(usage_error(&["extra"], &[]).contains("extra"));
    assert!(usage_error(&["--listen"], &[]).contains("--listen"));
}

#[test]
fn a_file_that_cannot_be_read_is_refused() {
    assert!(usage_error(&["--config", "/nonexistent.toml"], &[]).contains("/nonexistent.toml"));
    let file = temporary_file("broken.toml", "listen = = 1\n");
    let file = file.to_str().unwrap();
    let message = usage_error(&[], &[("WS_STATUS_CONFIG", file)]);
    assert!(message.starts_with(&format!("the file {file} is not TOML: ")), "{message}");
    assert!(message.contains("line 1"), "{message}");
}

#[test]
fn an_address_that_is_taken_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let message = usage_error(&["--listen", &format!("127.0.0.1:0,{address}")], &[]);
    assert!(
        message
            .starts_with(&format!("listen from the flag --listen: cannot listen on {address}: ")),
        "{message}"
    );
}

#[test]
fn requested_output_goes_to_stdout() {
    let stdout = |arguments: &[&str]| {
        let Output { status, stdout, stderr } =
            output(arguments, &[("WS_STATUS_PING_INTERVAL_SECS", "5")]);
        assert_eq!((status.code(), stderr), (Some(0), vec![]), "{arguments:?}");
        String::from_utf8(stdout).unwrap()
    };
    assert!(
        stdout(&["--help"]).contains("--ping-interval-secs (WS_STATUS_PING_INTERVAL_SECS) = 25")
    );
    assert!(stdout(&["--version"]).starts_with(concat!(
        "server ",
        env!("CARGO_PKG_VERSION"),
        " ("
    )));
    assert_eq!(stdout(&["--check-config"]), "the configuration is valid\n");
    let printed = stdout(&["--print-config", "--close-timeout-secs", "0.5"]);
    assert!(printed.contains(
        "ping_interval_secs = 5 # the environment variable WS_STATUS_PING_INTERVAL_SECS\n"
    ));
    assert!(printed.contains("close_timeout_secs = 0.5 # the flag --close-timeout-secs\n"));
    assert!(printed.contains("pong_timeout_secs = 10 # the defaults\n"));
    // The output is a valid file with the same settings.
    let file = temporary_file("printed.toml", &printed);
    let reprinted = stdout(&[
        "--print-config",
        "--config",
        file.to_str().unwrap(),
        "--ping-interval-secs",
        "5",
    ]);
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split(" # ").next().unwrap().to_owned()).collect()
    };
    assert_eq!(values(&printed), values(&reprinted));
    assert_eq!(
        usage_error(&["--check-config", "--log", "loud"], &[]).split(' ').next(),
        Some("log")
    );
}
