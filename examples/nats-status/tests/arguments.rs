//! Options of this program, options of the server, and invalid values.

use std::ffi::OsString;
use std::process::Command;

use nats_status::Arguments;

#[test]
fn own_options_may_stand_anywhere_and_the_others_go_to_the_server() {
    let words = "--listen 127.0.0.1:1 --bucket=states --max-connections 9 --key a.b --log warn";
    assert_eq!(server_arguments(words, &[]), "--listen 127.0.0.1:1 --max-connections 9 --log warn");
}

#[test]
fn async_nats_does_not_log_unless_logging_is_configured() {
    let quiet = "--log=info,async_nats=off";
    assert_eq!(server_arguments("", &[]), quiet);
    assert_eq!(server_arguments("--log=debug", &[]), "--log=debug");
    assert_eq!(server_arguments("--config /etc/it", &[]), "--config /etc/it");
    assert_eq!(server_arguments("", &["WS_STATUS_LOG"]), "");
    assert_eq!(server_arguments("--log-format json", &[]), format!("--log-format json {quiet}"));
}

#[test]
fn an_invalid_option_is_reported_and_exits_with_2() {
    for (words, sentence) in [
        ("--nats", "--nats needs a value"),
        ("--nats nats://a:b:c", "--nats: a broker is a URL like nats://127.0.0.1:4222"),
        (
            "--bucket a.b",
            "--bucket: \"a.b\" is not a valid name: use letters, digits and \"-_\", and no dot at either end",
        ),
        (
            "--key a.*",
            "--key: \"a.*\" is not a valid name: use letters, digits and \"-_/=.\", and no dot at either end",
        ),
        ("--max-wait-secs=-1", "--max-wait-secs: \"-1\" is not a number from 0 to 3600"),
        ("--heartbeat-secs=x", "--heartbeat-secs: \"x\" is not a number from 0 to 3600"),
        ("put well", "put: unknown argument \"well\"; states are read from standard input"),
    ] {
        let done = Command::new(env!("CARGO_BIN_EXE_nats-status")).args(words.split(' ')).output();
        let done = done.unwrap();
        assert_eq!(String::from_utf8_lossy(&done.stderr), format!("nats-status: {sentence}\n"));
        assert_eq!(done.status.code(), Some(2), "{words}");
    }
}

#[test]
fn an_invalid_option_of_the_server_is_reported_by_the_server() {
    let done =
        Command::new(env!("CARGO_BIN_EXE_nats-status")).args(["--lisen", "x"]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&done.stderr).starts_with("nats-status: on the command line: ")
    );
    assert_eq!(done.status.code(), Some(2));
}

#[test]
fn help_lists_own_options_and_those_of_the_server() {
    let done = Command::new(env!("CARGO_BIN_EXE_nats-status")).arg("--help").output().unwrap();
    let help = String::from_utf8_lossy(&done.stdout);
    for option in [
        "--nats",
        "--bucket",
        "--max-wait-secs",
        "--heartbeat-secs",
        "--listen",
        "--drain-delay-secs",
    ] {
        assert!(help.contains(option), "{option}");
    }
    assert_eq!(done.status.code(), Some(0));
}

fn server_arguments(words: &str, variables: &[&str]) -> String {
    let environment = |name: &str| variables.contains(&name).then(|| OsString::from("a value"));
    let words = words.split_whitespace().map(OsString::from);
    match Arguments::parse(words, environment) {
        Ok(Arguments::Serve { server, .. }) => {
            let server: Vec<_> = server.iter().map(|word| word.to_string_lossy()).collect();
            server.join(" ")
        }
        Ok(Arguments::Put(_)) => panic!("expected Serve"),
        Err(error) => panic!("{error}"),
    }
}
