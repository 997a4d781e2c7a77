//! The command line: what is asked for, and the settings it brings.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt};

use crate::config::error::ConfigError;
use crate::config::settings::{Setting, Settings};
use crate::files::ReadPhase;

/// What to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Say whether the settings are good.
    CheckConfig(Settings),
    /// Explain the command line.
    Help,
    /// Print the settings in force.
    PrintConfig(Settings),
    /// Serve.
    Serve(Settings),
    /// Say which version this is.
    Version,
}

impl Command {
    /// Reads the command line and the environment, and the file that one of them names.
    ///
    /// # Errors
    ///
    /// An argument or a variable that makes no sense, or settings that cannot be loaded.
    pub fn parse(
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        Self::parse_when(ReadPhase::Starting, arguments, environment)
    }

    /// The same when the server may be serving already.
    pub(crate) fn parse_when(
        when: ReadPhase,
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let environment = our_variables(environment)?;
        let file_variable = environment.iter().find(|(name, _)| name == "WS_STATUS_CONFIG");
        let mut file = file_variable.map(|(_, path)| PathBuf::from(path));

        let settings = Setting::all();
        let mut flags = Vec::new();
        let mut make: fn(Settings) -> Self = Self::Serve;
        let mut parser = Parser::from_args(arguments);
        while let Some(argument) = parser.next().map_err(on_the_command_line)? {
            match argument {
                Arg::Long("help") | Arg::Short('h') => return Ok(Self::Help),
                Arg::Long("version") | Arg::Short('V') => return Ok(Self::Version),
                Arg::Long("check-config") => make = Self::CheckConfig,
                Arg::Long("print-config") => make = Self::PrintConfig,
                Arg::Long("config") => {
                    file = Some(parser.value().map_err(on_the_command_line)?.into());
                }
                Arg::Long(name) => {
                    let key = name.replace('-', "_");
                    if name.contains('_') || !settings.iter().any(|setting| setting.key == key) {
                        return Err(on_the_command_line(Arg::Long(name).unexpected()));
                    }
                    let value = parser.value().and_then(|value| value.string());
                    flags.push((key, value.map_err(on_the_command_line)?));
                }
                Arg::Short(_) | Arg::Value(_) => {
                    return Err(on_the_command_line(argument.unexpected()));
                }
            }
        }
        Ok(make(Settings::load_when(when, file.as_deref(), &environment, &flags)?))
    }
}

/// The text of `--help` of an endpoint at `path`, in which every setting is explained.
#[must_use]
pub(crate) fn help(path: &str) -> String {
    let mut help = format!(
        "A WebSocket endpoint for status updates, at {path}.\n\
         \n\
         Usage: server [OPTION]...\n\
         \n\
         A setting is taken from its flag, else its environment variable, else the file, else its\n\
         default. In the file its key is the flag without dashes in front and with _ for -.\n\
         A list is separated by commas, and is an array in the file.\n\
         \n\
         \x20 --config FILE    a TOML file with settings (WS_STATUS_CONFIG)\n\
         \x20 --check-config   say whether the configuration is good, and exit\n\
         \x20 --print-config   print the settings in force and where each is from, and exit\n\
         \x20 -h, --help       print this, and exit\n\
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

/// The version and the commit it was built from.
pub(crate) const VERSION: &str =
    concat!("server ", env!("CARGO_PKG_VERSION"), " (", env!("COMMIT"), ")");

fn our_variables(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut variables = Vec::new();
    for (name, value) in environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with("WS_STATUS_")) else {
            continue;
        };
        // Compose files and units cannot leave a variable out, only empty.
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

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn on_the_command_line(error: lexopt::Error) -> ConfigError {
    ConfigError(format!("on the command line: {error}; --help lists what there is"))
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
