//! Settings: valid values, precedence of their sources, and ignored variables.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use server::{Command, Config, ConfigError, ListenAddress, LogFormat, RESERVED_FILES, Setting};
use transport::{Compression, CompressionOptions, OriginPattern, Permission};

const OPEN_FILES: u64 = 20_000;

fn config(flags: &[&str], environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let flags = flags.iter().map(OsString::from);
    let environment =
        environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    match Command::parse(flags, environment)? {
        Command::Serve(settings, _) => Config::check(settings, OPEN_FILES),
        other @ (Command::CheckConfig(..)
        | Command::Help(_)
        | Command::PrintConfig(_)
        | Command::Version) => panic!("{other:?}"),
    }
}

fn file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn the_defaults_apply_without_settings() {
    let config = config(&[], &[]).unwrap();
    assert_eq!(config.listen.addresses, [ListenAddress::Tcp("127.0.0.1:8080".parse().unwrap())]);
    assert_eq!(config.policy.origins.allowed, []);
    assert_eq!(config.policy.origins.missing, Permission::Allow);
    assert_eq!(config.policy.origins.null, Permission::Refuse);
    assert_eq!(config.policy.session.timing.ping_interval, Duration::from_secs(25));
    assert_eq!(config.policy.session.timing.pong_timeout, Duration::from_secs(10));
    assert_eq!(config.policy.session.timing.close_timeout, Duration::from_secs(3));
    assert_eq!(config.policy.sizes.max_message_bytes, 4096);
    assert_eq!(config.policy.compression, CompressionOptions::default());
    assert_eq!(config.shutdown.grace, Duration::from_secs(15));
    assert_eq!(config.handshake_timeout, Duration::from_secs(10));
    assert_eq!(config.max_connections, usize::try_from(OPEN_FILES - RESERVED_FILES).unwrap());
    assert_eq!(config.log_format, LogFormat::Text);
}

#[test]
fn a_service_that_decides_has_open_files_of_its_own() {
    let flags = ["--auth-url", "http://127.0.0.1:1/", "--max-concurrent-admissions", "100"];
    let config = config(&flags, &[]).unwrap();
    let clients = OPEN_FILES - RESERVED_FILES - 100;
    assert_eq!(config.max_connections, usize::try_from(clients).unwrap());
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let variables: Vec<String> = Setting::all().iter().map(Setting::variable).collect();
    let names = variables.iter().map(String::as_str).chain(["WS_STATUS_CONFIG"]);
    let all: Vec<(&str, &str)> = names.map(|name| (name, "")).collect();
    config(&[], &all).unwrap();
    let text = "ping_interval_secs = 1\nallowed_origins = [\"https://a.example\"]\n";
    let file = file("beside-empty.toml", text);
    let variables = [
        ("WS_STATUS_CONFIG", file.to_str().unwrap()),
        ("WS_STATUS_PING_INTERVAL_SECS", ""),
        ("WS_STATUS_ALLOWED_ORIGINS", ""),
    ];
    let layered = config(&[], &variables).unwrap();
    assert_eq!(layered.policy.session.timing.ping_interval, Duration::from_secs(1));
    assert_eq!(layered.policy.origins.allowed.len(), 1);
    // An empty flag is not unset.
    let emptied = config(&["--allowed-origins="], &variables).unwrap();
    assert_eq!(emptied.policy.origins.allowed, []);
    assert!(config(&["--ping-interval-secs="], &variables).is_err());
    assert!(config(&["--config="], &[]).is_err());
}

#[test]
fn flags_override_the_environment_which_overrides_the_file_and_the_defaults() {
    let file = file(
        "layers.toml",
        "ping_interval_secs = 1\npong_timeout_secs = 1\nclose_timeout_secs = 1\n",
    );
    let file = file.to_str().unwrap();
    let config = config(
        &["--config", file, "--ping-interval-secs=3"],
        &[("WS_STATUS_PING_INTERVAL_SECS", "2"), ("WS_STATUS_PONG_TIMEOUT_SECS", "2")],
    );
    let timing = config.unwrap().policy.session.timing;
    assert_eq!(timing.ping_interval, Duration::from_secs(3));
    assert_eq!(timing.pong_timeout, Duration::from_secs(2));
    assert_eq!(timing.close_timeout, Duration::from_secs(1));
}

#[test]
fn the_flag_for_the_file_overrides_its_variable() {
    let from_flag = file("flag.toml", "max_message_bytes = 1\n");
    let config = config(
        &["--config", from_flag.to_str().unwrap()],
        &[("WS_STATUS_CONFIG", "/nonexistent.toml")],
    );
    assert_eq!(config.unwrap().policy.sizes.max_message_bytes, 1);
}

#[test]
fn seconds_are_above_0_and_at_most_a_day() {
    for (text, seconds) in [("0.001", 0.001), ("1", 1.0), ("86400", 86_400.0), ("1e3", 1000.0)] {
        let config = config(&["--close-timeout-secs", text], &[]).unwrap();
        assert_eq!(
            config.policy.session.timing.close_timeout,
            Duration::from_secs_f64(seconds),
            "{text}"
        );
    }
    for text in ["0", "-1", "86400.1", "1e-300", "nan", "inf", "1e400", "", " 1", "1s", "1,5"] {
        assert!(config(&[&format!("--close-timeout-secs={text}")], &[]).is_err(), "{text:?}");
    }
}

#[test]
fn counts_are_whole_numbers_of_at_least_1() {
    for key in ["--max-connections", "--max-message-bytes"] {
        assert!(config(&[key, "1"], &[]).is_ok());
        for text in ["0", "-1", "1.5", "1e3", "", "many", "99999999999999999999"] {
            assert!(config(&[&format!("{key}={text}")], &[]).is_err(), "{key} {text:?}");
        }
    }
    // Upper limits: a frame header can make the codec reserve as much.
    for (key, most) in
        [("max-message-bytes", 16 << 20), ("max-queued-bytes", 16 << 20), ("max-headers", 1000)]
    {
        assert!(config(&[&format!("--{key}={most}")], &[]).is_ok(), "{key}");
        assert!(config(&[&format!("--{key}={}", most + 1)], &[]).is_err(), "{key}");
    }
    assert!(config(&["--max-header-bytes=8191"], &[]).is_err(), "hyper would panic");
}

#[test]
fn shutdown_options_are_seconds_and_one_of_two_close_codes() {
    let flags = ["--drain-delay-secs=5", "--drain-spread-secs=0.5", "--drain-close-code=1012"];
    let shutdown = config(&flags, &[]).unwrap().shutdown;
    assert_eq!((shutdown.delay, shutdown.drain.spread.as_millis()), (Duration::from_secs(5), 500));
    assert_eq!(u16::from(shutdown.drain.code), 1012);
    let shutdown = config(&[], &[]).unwrap().shutdown;
    assert_eq!((shutdown.delay, shutdown.drain.spread), (Duration::ZERO, Duration::ZERO));
    assert_eq!(u16::from(shutdown.drain.code), 1001);
    for text in ["1000", "1013", "going_away", ""] {
        assert!(config(&[&format!("--drain-close-code={text}")], &[]).is_err(), "{text:?}");
    }
}

#[test]
fn compression_is_one_of_three_modes_and_webkit_is_a_switch() {
    for (text, mode) in
        [("off", None), ("fresh", Some(Compression::Fresh)), ("shared", Some(Compression::Shared))]
    {
        for (switch, webkit) in [("true", Permission::Allow), ("false", Permission::Refuse)] {
            let flags = ["--compression", text, "--compress-webkit", switch];
            let options = config(&flags, &[]).unwrap().policy.compression;
            assert_eq!(options, CompressionOptions { mode, webkit }, "{text} {switch}");
        }
    }
    for text in ["", "on", "true", "Shared", "deflate", "6"] {
        let error = config(&[&format!("--compression={text}")], &[]).unwrap_err().to_string();
        assert!(error.contains("compression"), "{error}");
        assert!(error.contains("it must be off, fresh or shared"), "{error}");
    }
    let error = config(&["--compress-webkit=allow"], &[]).unwrap_err().to_string();
    assert!(error.contains("compress_webkit"), "{error}");
    assert!(error.contains("it must be true or false"), "{error}");
}

#[test]
fn the_admin_listener_is_an_address_or_a_path_or_none() {
    let admin = |text: &str| {
        config(&[&format!("--admin-listen={text}")], &[]).map(|config| config.listen.admin)
    };
    assert_eq!(admin("none"), Ok(None));
    assert_eq!(admin(""), Ok(None));
    let address = ListenAddress::Tcp("[::1]:9090".parse().unwrap());
    assert_eq!(admin("[::1]:9090"), Ok(Some(address)));
    assert_eq!(admin("unix:/run/a b.sock"), Ok(Some(ListenAddress::Unix("/run/a b.sock".into()))));
    for text in ["9090", "localhost:9090", "unix:", "unix:relative", "unix:./x", "127.0.0.1", " "] {
        assert!(admin(text).is_err(), "{text:?}");
    }
    assert!(config(&["--admin-host", "a.example"], &[]).unwrap().admin_host.is_some());
    assert!(config(&["--admin-host", "a.example:80"], &[]).is_err());
    assert!(!config(&[], &[]).unwrap().connection_table);
    assert!(config(&["--connection-table", "true"], &[]).unwrap().connection_table);
    assert!(config(&["--connection-table", "yes"], &[]).is_err());
}

#[test]
fn a_takeover_address_is_a_path_of_its_own_or_none_and_the_wait_is_at_most_a_minute() {
    let path = |text: &str| {
        config(&[&format!("--takeover-listen={text}")], &[]).map(|config| config.listen.takeover)
    };
    assert_eq!(path("unix:/run/a b.sock"), Ok(Some("/run/a b.sock".into())));
    assert_eq!(config(&[], &[]).unwrap().listen.takeover, None);
    assert_eq!((path("none"), path("")), (Ok(None), Ok(None)));
    for text in ["127.0.0.1:9090", "tls:127.0.0.1:9090", "unix:relative", "/run/a.sock", " "] {
        let error = path(text).unwrap_err().to_string();
        let sentence =
            "it must be unix:/PATH or none; only a Unix socket passes sockets to another process";
        assert!(error.starts_with("takeover_listen ") && error.ends_with(sentence), "{error}");
    }
    for other in ["--listen", "--admin-listen"] {
        let error = config(&["--takeover-listen=unix:/a", other, "unix:/a"], &[]).unwrap_err();
        assert!(error.to_string().starts_with("takeover_listen "), "{error}");
    }
    let wait = |text: &str| {
        config(&[&format!("--takeover-wait-secs={text}")], &[]).map(|config| config.takeover_wait)
    };
    assert_eq!(config(&[], &[]).unwrap().takeover_wait, Duration::from_secs(2));
    for (text, milliseconds) in [("0", 0), ("0.5", 500), ("60", 60_000)] {
        assert_eq!(wait(text), Ok(Duration::from_millis(milliseconds)));
    }
    for text in ["-1", "-0.1", "60.1", "nan", "inf", "", "2s"] {
        assert!(wait(text).is_err(), "{text:?}");
    }
}

#[test]
fn the_option_to_take_over_names_a_path_and_is_not_a_setting() {
    let parse = |text: &str| Command::parse(["--take-over", text].map(OsString::from), []);
    match parse("unix:/run/takeover.sock").unwrap() {
        Command::Serve(_, path) => assert_eq!(path, Some("/run/takeover.sock".into())),
        other @ (Command::CheckConfig(..)
        | Command::Help(_)
        | Command::PrintConfig(_)
        | Command::Version) => panic!("{other:?}"),
    }
    for text in ["127.0.0.1:80", "tls:127.0.0.1:80", "unix:relative", "/run/a.sock", "none", ""] {
        assert!(parse(text).is_err(), "{text:?}");
    }
    assert!(config(&[], &[("WS_STATUS_TAKE_OVER", "unix:/a")]).is_err());
}

#[test]
fn the_service_that_decides_is_a_url_or_a_unix_socket() {
    let is_valid = |text: &str| config(&[&format!("--auth-url={text}")], &[]).is_ok();
    for text in ["", "http://127.0.0.1:9000/a", "https://auth.example/", "unix:/a", "unix:/a:/b?c"]
    {
        assert!(is_valid(text), "{text:?}");
    }
    for text in ["ftp://a/", "http://user@a/", "/path", "a", "unix:a", "unix:/a:b", "unix:/a:/b c"]
    {
        assert!(!is_valid(text), "{text:?}");
    }
}

#[test]
fn modes_hosts_and_headers_of_proxies_are_one_of_few_forms() {
    let cases = [
        ("listen-unix-mode", ["0660", "777", "0"], ["1777", "8", ""]),
        ("admin-host", ["", "Admin.example", "a_b-1"], ["a:80", "a b", "a/b"]),
        ("forwarded-header", ["off", "forwarded", "x-forwarded-for"], ["", "on", "Forwarded"]),
    ];
    for (key, valid, invalid) in cases {
        let is_valid = |text: &str| config(&[&format!("--{key}={text}")], &[]).is_ok();
        assert!(valid.iter().all(|text| is_valid(text)), "{key}: {valid:?}");
        assert!(!invalid.iter().any(|text| is_valid(text)), "{key}: {invalid:?}");
    }
}

#[test]
fn a_printed_text_is_valid_toml_whatever_its_characters() {
    let path = "/a\"\\\n\u{7f}\u{e9}";
    let arguments = ["--print-config", "--tls-cert-file", path].map(OsString::from);
    let Command::PrintConfig(settings) = Command::parse(arguments, []).unwrap() else {
        panic!("it is to be printed")
    };
    let printed: Value = toml::from_str(&settings.to_string()).unwrap();
    assert_eq!(printed["tls_cert_file"], path);
}

#[test]
fn every_setting_has_a_flag() {
    for setting in Setting::all() {
        // Not every setting may be empty.
        if let Err(error) = config(&[&format!("{}=", setting.flag())], &[]) {
            assert!(error.to_string().starts_with(&setting.key), "{error}");
        }
    }
}

#[test]
fn a_setting_that_is_invalid_contradicts_no_other() {
    let flags = ["--proxy-protocol=required", "--trusted-proxies=nonsense"];
    let error = config(&flags, &[]).unwrap_err().to_string();
    assert!(error.contains("trusted_proxies ") && !error.contains("proxy_protocol "), "{error}");
}

#[test]
fn lists_are_separated_by_commas_or_are_arrays() {
    let expected: [OriginPattern; 2] =
        ["https://a.example", "https://*.b.example"].map(|text| text.parse().unwrap());
    let commas = "https://a.example, https://*.b.example";
    let array =
        file("array.toml", "allowed_origins = [\"https://a.example\", \"https://*.b.example\"]\n");
    let array = array.to_str().unwrap();
    for config in [
        config(&["--allowed-origins", commas], &[]),
        config(&[], &[("WS_STATUS_ALLOWED_ORIGINS", commas)]),
        config(&["--config", array], &[]),
    ] {
        assert_eq!(config.unwrap().policy.origins.allowed, expected);
    }
    assert!(
        config(&[], &[("WS_STATUS_ALLOWED_ORIGINS", "")])
            .unwrap()
            .policy
            .origins
            .allowed
            .is_empty()
    );
    let apps = ["--allowed-origins", "self,file://,app://.,capacitor://localhost"];
    assert_eq!(config(&apps, &[]).unwrap().policy.origins.allowed.len(), 4);
    assert!(config(&["--allowed-origins", "https://a.example,"], &[]).is_err());
    assert!(config(&["--listen", ""], &[]).is_err(), "at least one address");
}

#[test]
fn an_array_or_a_table_is_refused_for_a_single_value() {
    for text in ["ping_interval_secs = [1]", "[log]\nlevel = 1", "listen = [[\"a\"]]", "[listen]"] {
        let path = file("shape.toml", text);
        assert!(config(&["--config", path.to_str().unwrap()], &[]).is_err(), "{text}");
    }
}

#[test]
fn a_misspelt_level_is_refused_and_does_not_silence_the_log() {
    for valid in ["info", "OFF", "warn,server=info", "server=debug,transport=trace"] {
        assert!(config(&["--log", valid], &[]).is_ok(), "{valid}");
    }
    for invalid in ["", "loud", "infos", "server=loud", "server=", "=", "=info", "info,,"] {
        assert!(config(&[&format!("--log={invalid}")], &[]).is_err(), "{invalid:?}");
    }
}

#[test]
fn the_service_variables_of_kubernetes_are_ignored_and_no_others() {
    for name in [
        "WS_STATUS_SERVICE_HOST",
        "WS_STATUS_SERVICE_PORT",
        "WS_STATUS_SERVICE_PORT_HTTP",
        "WS_STATUS_PORT",
        "WS_STATUS_PORT_8080_TCP",
        "WS_STATUS_PORT_8080_TCP_ADDR",
        "WS_STATUS_ADMIN_SERVICE_HOST",
        "WS_STATUS_ADMIN_SERVICE_PORT_HTTP",
        "WS_STATUS_ADMIN_PORT",
        "WS_STATUS_ADMIN_PORT_9090_TCP_PROTO",
    ] {
        assert!(config(&[], &[(name, "tcp://10.0.0.1:80")]).is_ok(), "{name}");
    }
    for name in ["WS_STATUS_", "WS_STATUS_PORTS", "WS_STATUS_HOST", "WS_STATUS_LISTENING"] {
        assert!(config(&[], &[(name, "x")]).is_err(), "{name}");
    }
    assert!(config(&[], &[("OTHER_LISTEN", "x"), ("WS_STATUSES", "x")]).is_ok());
}

#[cfg(unix)]
#[test]
fn a_server_variable_that_is_not_utf_8_is_refused() {
    use std::os::unix::ffi::OsStringExt;

    let bytes = OsString::from_vec(vec![0xff]);
    let ours = [(OsString::from("WS_STATUS_LOG"), bytes.clone())];
    assert!(Command::parse([], ours).is_err());
    let others = [(OsString::from("OTHER"), bytes.clone()), (bytes.clone(), bytes)];
    assert!(Command::parse([], others).is_ok());
}
