//! The command line: the options of this program, and those of the server.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use async_nats::ServerAddr;
use server::ConfigError;

/// The text of `--help` before the server's own.
pub const USAGE: &str = "\
A status node that publishes one key of a NATS key-value bucket.

Usage: nats-status [OPTION]... [OPTION of the server]...
       nats-status put [OPTION]...    puts each line of standard input as a state

  --nats URL,...        the brokers (NATS_URL) = nats://127.0.0.1:4222
  --bucket NAME         the bucket, created if it does not exist = status
  --key NAME            the key in the bucket = current
  --max-wait-secs N     the longest time that a new session waits for a read of the bucket before
                        it is sent the state that this node has = 5
  --heartbeat-secs N    seconds after which the state is sent again, if the broker still has it; 0
                        never repeats it = 0

The server's options:

";

/// The command.
#[derive(Debug)]
pub enum Arguments {
    /// Put states under the key.
    Put(KeyLocation),
    /// Serve the state of the key.
    Serve {
        /// The key.
        location: KeyLocation,
        /// The longest time that a new session waits for a read of the bucket (`--max-wait-secs`).
        max_wait: Duration,
        /// The interval at which the state is sent again (`--heartbeat-secs`).
        heartbeat: Option<Duration>,
        /// Whether to print [`USAGE`] before the server's help.
        prints_help: bool,
        /// The arguments of the server.
        server: Vec<OsString>,
    },
}

/// A key of a bucket, and the brokers that store it.
#[derive(Debug)]
pub struct KeyLocation {
    pub(crate) brokers: Vec<ServerAddr>,
    pub(crate) bucket: String,
    pub(crate) key: String,
}

impl Arguments {
    /// Parses the options of this program, and leaves the others to the server. `environment` looks up a
    /// variable.
    ///
    /// # Errors
    ///
    /// The value of an option is missing or invalid.
    pub fn parse(
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let mut rest: Vec<OsString> = arguments.into_iter().collect();
        let is_put = rest.first().is_some_and(|first| first == "put");
        if is_put {
            rest.remove(0);
        }
        let brokers = take(&mut rest, "--nats")?.or_else(|| environment("NATS_URL"));
        let location = KeyLocation {
            brokers: parse_brokers(&text(brokers, "--nats", "nats://127.0.0.1:4222")?)?,
            bucket: name(take(&mut rest, "--bucket")?, "--bucket", "status", "-_")?,
            key: name(take(&mut rest, "--key")?, "--key", "current", "-_/=.")?,
        };
        let max_wait = take_seconds(&mut rest, "--max-wait-secs", "5")?;
        let heartbeat = take_seconds(&mut rest, "--heartbeat-secs", "0")?;
        let heartbeat = (!heartbeat.is_zero()).then_some(heartbeat);
        if is_put {
            return match rest.first() {
                Some(argument) => Err(ConfigError::new(format!(
                    "put: unknown argument {argument:?}; states are read from standard input"
                ))),
                None => Ok(Self::Put(location)),
            };
        }
        let prints_help = rest.iter().any(|argument| argument == "--help" || argument == "-h");
        let sets_log = |argument: &OsString| {
            let flag = argument.to_str().and_then(|text| text.split('=').next());
            matches!(flag, Some("--log" | "--config"))
        };
        let is_set =
            ["WS_STATUS_LOG", "WS_STATUS_CONFIG"].iter().any(|name| environment(name).is_some());
        if !is_set && !rest.iter().any(sets_log) {
            // async-nats logs each attempt to connect; the node logs the outcome.
            rest.push("--log=info,async_nats=off".into());
        }
        Ok(Self::Serve { location, max_wait, heartbeat, prints_help, server: rest })
    }
}

/// Removes every `flag VALUE` and `flag=VALUE` from the arguments; the last one wins.
fn take(arguments: &mut Vec<OsString>, flag: &str) -> Result<Option<OsString>, ConfigError> {
    let mut found = None;
    while let Some(location) = arguments.iter().position(|argument| is_flag(argument, flag)) {
        let argument = arguments.remove(location);
        let joined = argument.to_str().and_then(|text| text.split_once('='));
        found = Some(match joined {
            Some((_, value)) => value.into(),
            None if location < arguments.len() => arguments.remove(location),
            None => return Err(ConfigError::new(format!("{flag} needs a value"))),
        });
    }
    Ok(found)
}

fn is_flag(argument: &OsStr, flag: &str) -> bool {
    let text = argument.to_str().unwrap_or_default();
    text.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

fn text(value: Option<OsString>, flag: &str, default: &str) -> Result<String, ConfigError> {
    let value = value.unwrap_or_else(|| default.into());
    value.into_string().map_err(|value| ConfigError::new(format!("{flag}: {value:?} is not UTF-8")))
}

fn parse_brokers(list: &str) -> Result<Vec<ServerAddr>, ConfigError> {
    let broker = |url: &str| {
        url.parse()
            .map_err(|_| ConfigError::new("--nats: a broker is a URL like nats://127.0.0.1:4222"))
    };
    list.split(',').map(str::trim).map(broker).collect()
}

/// Parses a name by the rules of NATS: letters, digits and `others`, and no dot at either end.
fn name(
    value: Option<OsString>,
    flag: &str,
    default: &str,
    others: &str,
) -> Result<String, ConfigError> {
    let name = text(value, flag, default)?;
    let is_good = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
    if name.is_empty() || name.starts_with('.') || name.ends_with('.') || !name.chars().all(is_good)
    {
        return Err(ConfigError::new(format!(
            "{flag}: {name:?} is not a valid name: use letters, digits and {others:?}, and no dot at \
             either end"
        )));
    }
    Ok(name)
}

fn take_seconds(
    arguments: &mut Vec<OsString>,
    flag: &str,
    default: &str,
) -> Result<Duration, ConfigError> {
    let text = text(take(arguments, flag)?, flag, default)?;
    let seconds = text.parse().ok().filter(|seconds| (0.0..=3600.0).contains(seconds));
    let seconds = seconds.ok_or_else(|| {
        ConfigError::new(format!("{flag}: {text:?} is not a number from 0 to 3600"))
    })?;
    Ok(Duration::from_secs_f64(seconds))
}
