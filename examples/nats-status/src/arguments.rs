//! The command line: what is ours, and what is the server's.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use async_nats::ServerAddr;
use server::ConfigError;

/// What `--help` says before the server's own.
pub const USAGE: &str = "\
A status node whose state is one key of a NATS key-value bucket.

Usage: nats-status [OPTION]... [OPTION of the server]...
       nats-status put [OPTION]...    each line of standard input is put as a state

  --nats URL,...        the brokers (NATS_URL) = nats://127.0.0.1:4222
  --bucket NAME         the bucket, which is made if it is missing = status
  --key NAME            the key in it = current
  --patience-secs N     how long a new session waits for the broker's word that nothing newer is
                        known, before it is told what this node has = 5

The server's options:

";

/// What to do.
#[derive(Debug)]
pub enum Arguments {
    /// Put states there.
    Put(Place),
    /// Serve the state from there.
    Serve {
        /// Where the state is.
        place: Place,
        /// How long a new session waits for the broker's word.
        patience: Duration,
        /// Whether ours have to be explained as well.
        asks_for_help: bool,
        /// The arguments that are the server's.
        server: Vec<OsString>,
    },
}

/// Where a state is.
#[derive(Debug)]
pub struct Place {
    pub(crate) brokers: Vec<ServerAddr>,
    pub(crate) bucket: String,
    pub(crate) key: String,
}

impl Arguments {
    /// Takes what is ours out of the arguments; `environment` knows the variables.
    ///
    /// # Errors
    ///
    /// A value of ours is missing or makes no sense.
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
        let place = Place {
            brokers: brokers_of(&text(brokers, "--nats", "nats://127.0.0.1:4222")?)?,
            bucket: name(take(&mut rest, "--bucket")?, "--bucket", "status", "-_")?,
            key: name(take(&mut rest, "--key")?, "--key", "current", "-_/=.")?,
        };
        let patience =
            patience_of(&text(take(&mut rest, "--patience-secs")?, "--patience-secs", "5")?)?;
        if is_put {
            return match rest.first() {
                Some(argument) => Err(ConfigError(format!(
                    "put does not know {argument:?}: states come by standard input"
                ))),
                None => Ok(Self::Put(place)),
            };
        }
        let asks_for_help = rest.iter().any(|argument| argument == "--help" || argument == "-h");
        let says_what_to_log = |argument: &OsString| {
            let flag = argument.to_str().and_then(|text| text.split('=').next());
            matches!(flag, Some("--log" | "--config"))
        };
        let is_set =
            ["WS_STATUS_LOG", "WS_STATUS_CONFIG"].iter().any(|name| environment(name).is_some());
        if !is_set && !rest.iter().any(says_what_to_log) {
            // The library tells each of its attempts to connect, and the node tells what they come to.
            rest.push("--log=info,async_nats=off".into());
        }
        Ok(Self::Serve { place, patience, asks_for_help, server: rest })
    }
}

/// Takes `flag VALUE` or `flag=VALUE` out of the arguments, wherever it is; the last one counts.
fn take(arguments: &mut Vec<OsString>, flag: &str) -> Result<Option<OsString>, ConfigError> {
    let mut taken = None;
    while let Some(place) = arguments.iter().position(|argument| is_flag(argument, flag)) {
        let argument = arguments.remove(place);
        let joined = argument.to_str().and_then(|text| text.split_once('='));
        taken = Some(match joined {
            Some((_, value)) => value.into(),
            None if place < arguments.len() => arguments.remove(place),
            None => return Err(ConfigError(format!("{flag} needs a value"))),
        });
    }
    Ok(taken)
}

fn is_flag(argument: &OsStr, flag: &str) -> bool {
    let text = argument.to_str().unwrap_or_default();
    text.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

fn text(value: Option<OsString>, flag: &str, default: &str) -> Result<String, ConfigError> {
    let value = value.unwrap_or_else(|| default.into());
    value.into_string().map_err(|value| ConfigError(format!("{flag}: {value:?} is not UTF-8")))
}

fn brokers_of(list: &str) -> Result<Vec<ServerAddr>, ConfigError> {
    let broker = |url: &str| {
        url.parse().map_err(|_| {
            ConfigError(String::from("--nats: a broker is a URL like nats://127.0.0.1:4222"))
        })
    };
    list.split(',').map(str::trim).map(broker).collect()
}

/// A name by NATS's rules: letters, digits and some other characters, and no dot at either end.
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
        return Err(ConfigError(format!(
            "{flag}: {name:?} is no name: it has letters, digits and {others:?} in it, and no dot at \
             either end"
        )));
    }
    Ok(name)
}

fn patience_of(text: &str) -> Result<Duration, ConfigError> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=3600.0).contains(seconds));
    let seconds = seconds.ok_or_else(|| {
        ConfigError(format!("--patience-secs: {text:?} is no number from 0 to 3600"))
    })?;
    Ok(Duration::from_secs_f64(seconds))
}
