//! The command line: the command to run, and the settings it contains.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt};

use crate::config::error::ConfigError;
use crate::config::settings::{Setting, Settings};
use crate::files::LoadReason;

/// The command to run.
#[derive(Clone, Debug)]
pub enum Command {
    /// Check the settings and report the result.
    CheckConfig(Settings),
    /// Print the usage and the meaning of every setting.
    Help,
    /// Print the effective settings.
    PrintConfig(Settings),
    /// Serve.
    Serve(Settings),
    /// Print the version.
    Version,
}

impl Command {
    /// Parses the command line and the environment, and reads the settings file that one of them names.
    ///
    /// # Errors
    ///
    /// An argument or a variable is invalid, or the settings cannot be loaded.
    pub fn parse(
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        Self::parse_for(LoadReason::Startup, arguments, environment)
    }

    /// Like [`parse`](Self::parse), at startup or in a reload.
    pub(crate) fn parse_for(
        reason: LoadReason,
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let environment = prefixed_variables(environment)?;
        let file_variable = environment.iter().find(|(name, _)| name == "WS_STATUS_CONFIG");
        let mut file = file_variable.map(|(_, path)| PathBuf::from(path));

        let settings = Setting::all();
        let mut flags = Vec::new();
        let mut command: fn(Settings) -> Self = Self::Serve;
        let mut parser = Parser::from_args(arguments);
        while let Some(argument) = parser.next().map_err(command_line_error)? {
            match argument {
                Arg::Long("help") | Arg::Short('h') => return Ok(Self::Help),
                Arg::Long("version") | Arg::Short('V') => return Ok(Self::Version),
                Arg::Long("check-config") => command = Self::CheckConfig,
                Arg::Long("print-config") => command = Self::PrintConfig,
                Arg::Long("config") => {
                    file = Some(parser.value().map_err(command_line_error)?.into());
                }
                Arg::Long(name) => {
                    let key = name.replace('-', "_");
                    if name.contains('_') || !settings.iter().any(|setting| setting.key == key) {
                        return Err(command_line_error(Arg::Long(name).unexpected()));
                    }
                    let value = parser.value().and_then(|value| value.string());
                    flags.push((key, value.map_err(command_line_error)?));
                }
                Arg::Short(_) | Arg::Value(_) => {
                    return Err(command_line_error(argument.unexpected()));
                }
            }
        }
        Ok(command(Settings::load_for(reason, file.as_deref(), &environment, &flags)?))
    }
}

/// Returns the text of `--help`, which explains every setting; `path` is the endpoint's path.
#[must_use]
pub(crate) fn help(path: &str) -> String {
    let mut help = format!(
        "A WebSocket server for status updates. The endpoint is {path}.\n\
         \n\
         Usage: server [OPTION]...\n\
         \n\
         The value of a setting is taken from its flag, its environment variable, the settings file or\n\
         its default, in this order. The key in the file is the flag's name with _ instead of -.\n\
         A list is separated by commas; in the file it is an array.\n\
         \n\
         \x20 --config FILE    read settings from a TOML file (WS_STATUS_CONFIG)\n\
         \x20 --check-config   check the configuration, and exit\n\
         \x20 --print-config   print the effective settings with their origins, and exit\n\
         \x20 -h, --help       print this help, and exit\n\
         \x20 -V, --version    print the version and the commit, and exit\n\
         \n\
         Settings:\n",
    );
    for setting in Setting::all() {
        let (flag, variable) = (setting.flag(), setting.variable());
        let _ = writeln!(help, "\n  {flag} ({variable}) = {}", setting.default);
        for line in wrap(&setting.meaning, 84) {
            let _ = writeln!(help, "      {line}");
        }
    }
    help
}

/// The version and the commit of the build.
pub(crate) const VERSION: &str =
    concat!("server ", env!("CARGO_PKG_VERSION"), " (", env!("COMMIT"), ")");

fn prefixed_variables(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut variables = Vec::new();
    for (name, value) in environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with("WS_STATUS_")) else {
            continue;
        };
        // Compose files and systemd units cannot unset a variable, only leave it empty.
        if value.is_empty() {
            continue;
        }
        let value = value
            .into_string()
            .map_err(|_| ConfigError(format!("the environment variable {name} is not UTF-8")))?;
        variables.push((name.to_owned(), value));
    }
    Ok(variables)
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that `map_err` needs")]
fn command_line_error(error: lexopt::Error) -> ConfigError {
    ConfigError(format!("on the command line: {error}; --help lists all options"))
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}
