//! Parses a command line, an environment and a file. Up to the first empty line, each line is an
//! argument, or a variable if it begins with `$`; the rest is the file.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process;
use std::sync::LazyLock;
use std::time::Duration;

use server::{Command, Config, MAX_BYTES, MIN_HEADER_BYTES, RawSettings};

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| env::temp_dir().join(format!("fuzz-configuration-{}.toml", process::id())));

/// Checks one input.
///
/// # Panics
///
/// If a property does not hold for it.
pub fn run(data: &[u8]) {
    let (lines, file) = match data.windows(2).position(|pair| pair == b"\n\n") {
        Some(end) => (&data[..end], Some(&data[end + 2..])),
        None => (data, None),
    };
    let mut arguments = Vec::new();
    let mut environment = Vec::new();
    for line in lines.split(|byte| *byte == b'\n') {
        // Read only the file of the target: others, such as devices, might not end.
        if line.windows(8).any(|word| word == b"--config" || word == b"S_CONFIG") {
            return;
        }
        match line.strip_prefix(b"$") {
            Some(variable) => {
                let equals = variable.iter().position(|byte| *byte == b'=').unwrap_or(0);
                let (name, value) = variable.split_at(equals);
                environment.push((text(name), text(value.strip_prefix(b"=").unwrap_or(value))));
            }
            None if line.is_empty() => {}
            None => arguments.push(text(line)),
        }
    }
    if let Some(file) = file {
        fs::write(&*FILE, file).expect("the temporary folder takes a file");
        environment.push(("WS_STATUS_CONFIG".into(), FILE.clone().into()));
    }

    let Ok(command) = Command::parse(arguments, environment) else { return };
    let (Command::CheckConfig(settings, _)
    | Command::PrintConfig(settings)
    | Command::Serve(settings, _)) = command
    else {
        return;
    };
    let open_files = data.len() as u64 * 8;
    let Ok(config) = Config::check(settings, open_files) else { return };
    check_ranges(&config);
    check_printed(&config.settings);
}

fn check_ranges(config: &Config) {
    let day = Duration::from_secs(86_400);
    let timing = config.policy.session.timing;
    let limits = config.policy.session.limits;
    let times = [
        Some(timing.ping_interval),
        Some(timing.pong_timeout),
        Some(timing.close_timeout),
        Some(config.handshake_timeout),
        Some(config.shutdown.grace),
        timing.max_age,
        limits.message_timeout,
        limits.write_timeout,
    ];
    for time in times.into_iter().flatten() {
        assert!(!time.is_zero() && time <= day, "{config:?}");
    }
    let sizes = config.policy.sizes;
    let size = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    assert!((1..=MAX_BYTES).contains(&size(sizes.max_message_bytes)), "{config:?}");
    assert!((1..=MAX_BYTES).contains(&size(sizes.max_queued_bytes)), "{config:?}");
    assert!((MIN_HEADER_BYTES..=MAX_BYTES).contains(&size(config.max_header_bytes)), "{config:?}");
    assert!((1..=1000).contains(&config.max_headers), "{config:?}");
    assert!(config.max_connections >= 1, "{config:?}");
    assert!(!config.listen.addresses.is_empty(), "{config:?}");
    assert!(config.listen.unix_mode <= 0o777, "{config:?}");
    assert!(config.shutdown.delay <= day && config.shutdown.drain.spread <= day, "{config:?}");
    assert!(matches!(config.shutdown.drain.code.into(), 1001 | 1012), "{config:?}");
}

/// Checks that the output of `--print-config` is a file with the same settings.
fn check_printed(settings: &RawSettings) {
    let printed = settings.to_string();
    fs::write(&*FILE, &printed).expect("the temporary folder takes a file");
    let reloaded = RawSettings::load(Some(FILE.as_path()), &[], &[]);
    let reloaded = Config::check(reloaded, 1024)
        .unwrap_or_else(|error| panic!("the printed configuration is invalid: {error}\n{printed}"))
        .settings;
    for setting in server::Setting::all() {
        let (before, after) = (settings.get(&setting.key), reloaded.get(&setting.key));
        assert_eq!(before.texts(), after.texts(), "{}\n{printed}", setting.key);
    }
}

fn text(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}
