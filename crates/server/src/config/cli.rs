//! The command line: the requested operation, and the settings given as flags.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, value_parser};

use crate::config::definitions::Definitions;
use crate::config::error::ConfigError;
use crate::config::settings::PREFIX;
use crate::config::sources::RawSettings;
use crate::config::values::handover::TakeoverAddress;
use crate::files::LoadReason;

/// The operation that the command line requests.
#[derive(Clone, Debug)]
pub enum Command {
    /// Check the settings, and compare them with those of a running server if its admin listener is named.
    CheckConfig(RawSettings, Option<String>),
    /// Print this help.
    Help(String),
    /// Print the settings and their sources.
    PrintConfig(RawSettings),
    /// Serve. With a path, first take over from the server whose takeover listener has this Unix socket.
    Serve(RawSettings, Option<PathBuf>),
    /// Print the version.
    Version,
}

impl Command {
    /// Parses the command line and the environment, and reads the file that one of them names.
    ///
    /// # Errors
    ///
    /// An argument or a variable is invalid. Invalid settings are reported by
    /// [`Config::check`](crate::Config::check).
    pub fn parse(
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let definitions = Definitions::of_server();
        Self::parse_for(definitions, LoadReason::Startup, arguments, environment)
    }

    /// Like [`parse`](Self::parse), for a program, at startup or in a reload.
    pub(crate) fn parse_for(
        definitions: &'static Definitions,
        reason: LoadReason,
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let environment = our_variables(environment)?;
        let name = OsString::from(definitions.name);
        let arguments = [name].into_iter().chain(arguments);
        let mut matches = match command_line_of(definitions).try_get_matches_from(arguments) {
            Ok(matches) => matches,
            Err(error) if error.kind() == ErrorKind::DisplayHelp => {
                return Ok(Self::Help(error.render().to_string()));
            }
            Err(error) if error.kind() == ErrorKind::DisplayVersion => return Ok(Self::Version),
            Err(error) => return Err(ConfigError::new(in_one_sentence(&error))),
        };
        let variable = environment.iter().find(|(name, _)| name == "WS_STATUS_CONFIG");
        let file = matches.remove_one::<PathBuf>("config");
        let file = file.or_else(|| variable.map(|(_, path)| path.into()));
        let mut flags = Vec::new();
        for setting in &definitions.settings {
            if matches.value_source(&setting.key) == Some(ValueSource::CommandLine)
                && let Some(value) = matches.remove_one::<String>(&setting.key)
            {
                flags.push((setting.key.clone(), value));
            }
        }
        let settings =
            RawSettings::load_for(definitions, reason, file.as_deref(), &environment, &flags);
        Ok(if matches.get_flag("print-config") {
            Self::PrintConfig(settings)
        } else if matches.get_flag("check-config") {
            Self::CheckConfig(settings, matches.remove_one("against"))
        } else {
            let predecessor = matches.remove_one("take-over");
            Self::Serve(settings, predecessor.map(|TakeoverAddress(path)| path))
        })
    }
}

/// The command line of the binary `server` as clap knows it: from it come the help, shell completions and
/// the man page.
#[must_use]
pub fn command_line() -> clap::Command {
    command_line_of(Definitions::of_server())
}

/// The command line of a program.
pub(crate) fn command_line_of(definitions: &'static Definitions) -> clap::Command {
    let version = definitions.name_and_version();
    let version = version.strip_prefix(definitions.name).unwrap_or(&version).trim_start();
    let option = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help);
    let command = (definitions.augment)(clap::Command::new(definitions.name))
        .version(version.to_owned())
        .about(definitions.about)
        .after_help(
            "A setting is taken from its flag, else from its environment variable, else from the file, \
             else from its default. In the file its key is the flag without dashes in front and with _ \
             for -. A list is separated by commas, and is an array in the file.",
        )
        .args_override_self(true)
        .next_line_help(true)
        .arg(
            option("config", "A TOML file with settings [env: WS_STATUS_CONFIG]")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(
            option("check-config", "Check the configuration, print what a start would warn of, and exit")
                .action(ArgAction::SetTrue),
        )
        .arg(
            option(
                "against",
                "With --check-config: say what a reload would change in the server with this admin \
                 listener, and what needs a restart",
            )
            .value_name("URL")
            .requires("check-config"),
        )
        .arg(
            option(
                "take-over",
                "Serve in place of the server with this takeover_listen: take over its listening sockets \
                 and its sessions",
            )
            .value_name("ADDRESS")
            .value_parser(TakeoverAddress::from_str)
            .conflicts_with_all(["check-config", "print-config"]),
        )
        .arg(
            option("print-config", "Print the settings and the source of each, as a file, and exit")
                .action(ArgAction::SetTrue),
        );
    definitions.settings.iter().fold(command, |command, setting| {
        let help = format!("{} [env: {}]", setting.meaning, setting.variable());
        // A text, whose source is known before it is checked.
        let text = value_parser!(String);
        command.mut_arg(&setting.key, |arg| {
            arg.help(help).long_help(Resettable::Reset).value_parser(text)
        })
    })
}

fn our_variables(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let (mut variables, mut problems) = (Vec::new(), Vec::new());
    for (name, value) in environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        // Compose files and units can set a variable to an empty value, but not unset it.
        if value.is_empty() {
            continue;
        }
        match value.into_string() {
            Ok(value) => variables.push((name.to_owned(), value)),
            Err(_) => problems.push(format!("the environment variable {name} is not UTF-8")),
        }
    }
    ConfigError::check(problems)?;
    Ok(variables)
}

/// Formats clap's error, which has several lines, as one sentence.
fn in_one_sentence(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    let argument = context(ContextKind::InvalidArg).unwrap_or_default();
    let kind = error.kind();
    let problem = if kind == ErrorKind::UnknownArgument {
        format!("there is no option {argument:?}")
    } else if matches!(kind, ErrorKind::InvalidValue | ErrorKind::TooFewValues) {
        format!("{argument} needs a value")
    } else if kind == ErrorKind::TooManyValues {
        format!("{argument} takes no value")
    } else if kind == ErrorKind::MissingRequiredArgument {
        format!("{argument} is missing")
    } else if kind == ErrorKind::InvalidUtf8 {
        "an argument is not UTF-8".to_owned()
    } else {
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default();
        first.trim_start_matches("error: ").to_owned()
    };
    let hint = match context(ContextKind::SuggestedArg) {
        Some(suggested) => format!("did you mean {suggested}?"),
        None => "--help lists all options".to_owned(),
    };
    format!("on the command line: {problem}; {hint}")
}
