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

use support::process::{Process, server};

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
        format!("pong_timeout_secs is \"-1\" in the file {file}, line 1: {seconds}")
    );
    assert_eq!(
        usage_error(&["--allowed-origins", "https://a.example,https://b.example/"], &[]),
        "allowed_origins in the flag --allowed-origins: \"https://b.example/\" is invalid: \
         an origin ends after its host or port, with no slash, path or user name"
    );
    assert_eq!(
        usage_error(&["--check-config", "--log", "loud"], &[]).split(' ').next(),
        Some("log")
    );
}

#[test]
fn an_unknown_key_is_refused_in_every_source() {
    let file = temporary_file("unknown.toml", "lisen = \"127.0.0.1:1\"\n");
    let file = file.to_str().unwrap();
    assert_eq!(
        usage_error(&["--config", file], &[]),
        format!(
            "the file {file}, line 1 sets \"lisen\", which is not a setting; did you mean listen?"
        )
    );
    assert_eq!(
        usage_error(&[], &[("WS_STATUS_LISEN", "x")]),
        "the environment variable WS_STATUS_LISEN sets \"lisen\", which is not a setting; \
         did you mean listen?"
    );
    assert_eq!(
        usage_error(&[], &[("WS_STATUS_SOMETHING_ELSE", "x")]),
        "the environment variable WS_STATUS_SOMETHING_ELSE sets \"something_else\", which is not a \
         setting; --help lists all settings"
    );
    assert_eq!(
        usage_error(&["--lisen", "x"], &[]),
        "on the command line: there is no option \"--lisen\"; did you mean --listen?"
    );
    assert!(
        usage_error(&["--ping_interval_secs", "1"], &[])
            .contains("did you mean --ping-interval-secs?")
    );
}

#[test]
fn a_malformed_command_line_is_refused() {
    assert!(usage_error(&["extra"], &[]).contains("\"extra\""));
    assert!(usage_error(&["--listen"], &[]).contains("--listen <ADDRESSES> needs a value"));
    assert!(usage_error(&["--check-config=yes"], &[]).contains("takes no value"));
    let message = usage_error(&["--take-over", "127.0.0.1:1"], &[]);
    assert!(message.contains("--take-over <ADDRESS>"), "{message}");
    assert!(message.contains("it must be unix:/PATH; only a Unix socket passes"), "{message}");
    for other in ["--check-config", "--print-config"] {
        assert!(usage_error(&["--take-over=unix:/a", other], &[]).contains(other));
    }
    assert!(usage_error(&["--against", "http://127.0.0.1:1"], &[]).contains("--check-config"));
}

#[test]
fn all_invalid_settings_are_reported_at_once_in_the_order_of_the_manual() {
    let text = "log_format = \"xml\"\n\nping_interval_secs = \"fast\"\nlisten = [\"127.0.0.1:1\", 2]\n\
                max_headers = 1_001\nallowed_origins = \"https://a.example/\"\nplaintext_ok = \"on\"\n\
                lisen = 1\n";
    let file = temporary_file("many.toml", text);
    let file = file.to_str().unwrap();
    let flags = [
        "--config",
        file,
        "--missing-origin=maybe",
        "--proxy-protocol=required",
        "--tls-key-file=a",
    ];
    let output = output(&flags, &[("WS_STATUS_MAX_MESSAGE_BYTES", "0")]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let problems: Vec<&str> =
        stderr.lines().map(|line| line.strip_prefix("server: ").unwrap()).collect();
    let expected = [
        format!(
            "the file {file}, line 8 sets \"lisen\", which is not a setting; did you mean listen?"
        ),
        format!("listen in the file {file}, line 4: \"2\" is invalid: "),
        format!("plaintext_ok is \"on\" in the file {file}, line 7: "),
        format!("allowed_origins in the file {file}, line 6: \"https://a.example/\" is invalid: "),
        "missing_origin is \"maybe\" in the flag --missing-origin: ".to_owned(),
        format!("ping_interval_secs is \"fast\" in the file {file}, line 3: "),
        format!("max_headers is \"1001\" in the file {file}, line 5: "),
        "max_message_bytes is \"0\" in the environment variable WS_STATUS_MAX_MESSAGE_BYTES: "
            .to_owned(),
        format!("log_format is \"xml\" in the file {file}, line 1: "),
        // Contradictions come last, and none about a value that is invalid already.
        "proxy_protocol is \"required\" in the flag --proxy-protocol: ".to_owned(),
        "tls_key_file is \"a\" in the flag --tls-key-file: ".to_owned(),
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(&expected) {
        assert!(problem.starts_with(expected), "{problem}\n{expected}");
    }
}

#[test]
fn contradictions_are_reported_together() {
    let flags = ["--proxy-protocol=required", "--tls-key-file=key.pem", "--listen="];
    let stderr = String::from_utf8(output(&flags, &[]).stderr).unwrap();
    for key in ["listen", "proxy_protocol", "tls_key_file"] {
        assert!(stderr.contains(&format!("server: {key} ")), "{key}: {stderr}");
    }
    assert_eq!(stderr.lines().count(), 3, "{stderr}");
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
    let help = stdout(&["--help"]);
    assert!(help.contains("--ping-interval-secs <SECONDS>"), "{help}");
    let words: Vec<&str> = help.split_whitespace().collect();
    assert!(
        words.join(" ").contains("[env: WS_STATUS_PING_INTERVAL_SECS] [default: 25]"),
        "{help}"
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
    assert!(printed.contains("max_connections = \"auto\" # the defaults\n"));
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
}

#[test]
fn a_check_compares_the_configuration_with_that_of_a_running_server() {
    let flags = ["--log-format=json", "--admin-listen=127.0.0.1:0", "--ping-interval-secs=20"];
    let process = Process::spawn(&flags);
    let url = format!("http://{}", process.event("starting")["admin"].as_str().unwrap());
    process.event("listening");
    let check = |flags: &[&str]| {
        let output = output(&[&["--check-config", "--against", &url], flags].concat(), &[]);
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let same = ["--listen=127.0.0.1:0", "--log-format=json", "--ping-interval-secs=20"];
    let same = [&same[..], &["--admin-listen=127.0.0.1:0"]].concat();
    assert_eq!(
        check(&same),
        (
            Some(0),
            "the configuration is valid\nthe running server has the same settings\n".to_owned()
        )
    );
    let other = [&same[..], &["--ping-interval-secs=21", "--listen-unix-mode=0600"]].concat();
    assert_eq!(
        check(&other),
        (
            Some(0),
            "the configuration is valid\n\
             listen_unix_mode: \"0660\" -> \"0600\" (needs a restart)\n\
             ping_interval_secs: 20 -> 21 (by a reload)\n"
                .to_owned()
        )
    );
    for url in ["127.0.0.1:1", "http://127.0.0.1:1", "https://a.example", "nonsense"] {
        let output = output(&["--check-config", "--against", url], &[]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.starts_with("server: --against: cannot read the settings"), "{stderr}");
    }
}
