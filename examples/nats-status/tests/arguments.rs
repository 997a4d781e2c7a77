//! What is taken from the command line, what is left to the server, and what is wrong.

use std::ffi::OsString;
use std::process::Command;

use nats_status::Arguments;
use server::ConfigError;

#[test]
fn our_options_may_stand_anywhere_and_the_others_are_the_servers() {
    let words = "--listen 127.0.0.1:1 --bucket=states --max-connections 9 --key a.b --log warn";
    assert_eq!(
        left_to_the_server(words, &[]),
        "--listen 127.0.0.1:1 --max-connections 9 --log warn"
    );
}

#[test]
fn the_library_does_not_log_unless_somebody_has_said_what_to_log() {
    let quiet = "--log=info,async_nats=off";
    assert_eq!(left_to_the_server("", &[]), quiet);
    assert_eq!(left_to_the_server("--log=debug", &[]), "--log=debug");
    assert_eq!(left_to_the_server("--config /etc/it", &[]), "--config /etc/it");
    assert_eq!(left_to_the_server("", &["WS_STATUS_LOG"]), "");
    assert_eq!(left_to_the_server("--log-format json", &[]), format!("--log-format json {quiet}"));
}

#[test]
fn what_makes_no_sense_is_told_in_a_sentence_and_ends_with_2() {
    for (words, sentence) in [
        ("--nats", "--nats needs a value"),
        ("--nats nats://a:b:c", "--nats: a broker is a URL like nats://127.0.0.1:4222"),
        (
            "--bucket a.b",
            "--bucket: \"a.b\" is no name: it has letters, digits and \"-_\" in it, and no dot at either end",
        ),
        (
            "--key a.*",
            "--key: \"a.*\" is no name: it has letters, digits and \"-_/=.\" in it, and no dot at either end",
        ),
        ("--patience-secs=-1", "--patience-secs: \"-1\" is no number from 0 to 3600"),
        ("put well", "put does not know \"well\": states come by standard input"),
    ] {
        let done = Command::new(env!("CARGO_BIN_EXE_nats-status")).args(words.split(' ')).output();
        let done = done.unwrap();
        assert_eq!(String::from_utf8_lossy(&done.stderr), format!("nats-status: {sentence}\n"));
        assert_eq!(done.status.code(), Some(2), "{words}");
    }
}

#[test]
fn the_servers_own_mistakes_are_told_by_the_server() {
    let done =
        Command::new(env!("CARGO_BIN_EXE_nats-status")).args(["--lisen", "x"]).output().unwrap();
    assert!(String::from_utf8_lossy(&done.stderr).starts_with("server: "));
    assert_eq!(done.status.code(), Some(2));
}

#[test]
fn help_tells_ours_and_the_servers() {
    let done = Command::new(env!("CARGO_BIN_EXE_nats-status")).arg("--help").output().unwrap();
    let help = String::from_utf8_lossy(&done.stdout);
    for option in
        ["--nats", "--bucket", "--key", "--patience-secs", "--listen", "--drain-delay-secs"]
    {
        assert!(help.contains(option), "{option}");
    }
    assert_eq!(done.status.code(), Some(0));
}

fn left_to_the_server(words: &str, variables: &[&str]) -> String {
    let environment = |name: &str| variables.contains(&name).then(|| OsString::from("a value"));
    let words = words.split_whitespace().map(OsString::from);
    match Arguments::parse(words, environment) {
        Ok(Arguments::Serve { server, .. }) => {
            let server: Vec<_> = server.iter().map(|word| word.to_string_lossy()).collect();
            server.join(" ")
        }
        Ok(Arguments::Put(_)) => panic!("it was asked to serve"),
        Err(ConfigError(problem)) => panic!("{problem}"),
    }
}
