//! The sources of settings: TOML, environment variables and flags, each read into a layer of values
//! with their origins.

use std::fmt;

use config::{ConfigError as LibraryError, File, FileFormat, Map, Source, Value, ValueKind};

use crate::config::error::ConfigError;

/// The prefix of every environment variable of the server.
pub(crate) const PREFIX: &str = "WS_STATUS_";

/// A layer of settings: values by key, each with its origin.
#[derive(Clone, Debug)]
pub(crate) struct Layer(Map<String, Value>);

impl Layer {
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    pub(crate) fn parse(toml: &str, origin: &str) -> Result<Self, ConfigError> {
        let values = File::from_str(toml, FileFormat::Toml).collect().map_err(|error| {
            ConfigError(format!("{origin} is not TOML: {}", in_one_line(error)))
        })?;
        let origin = origin.to_owned();
        let with_origin =
            |(key, value): (String, Value)| (key, Value::new(Some(&origin), value.kind));
        Ok(Self(values.into_iter().map(with_origin).collect()))
    }

    pub(crate) fn of_environment(variables: &[(String, String)]) -> Self {
        let value = |(name, text): &(String, String)| {
            let key = name.strip_prefix(PREFIX)?;
            if key == "CONFIG" || is_service_link(key) {
                return None;
            }
            let origin = format!("the environment variable {name}");
            Some((key.to_lowercase(), Value::new(Some(&origin), text.clone())))
        };
        Self(variables.iter().filter_map(value).collect())
    }

    pub(crate) fn of_flags(flags: &[(String, String)]) -> Self {
        let value = |(key, text): &(String, String)| {
            let origin = format!("the flag --{}", key.replace('_', "-"));
            (key.clone(), Value::new(Some(&origin), text.clone()))
        };
        Self(flags.iter().map(value).collect())
    }

    pub(crate) fn check_keys(&self, defaults: &Self) -> Result<(), ConfigError> {
        match self.0.iter().find(|(key, _)| !defaults.0.contains_key(*key)) {
            Some((key, value)) => {
                let origin = value.origin().unwrap_or_default();
                Err(ConfigError(format!(
                    "{origin} sets {key:?}, which is not a setting; --help lists all settings"
                )))
            }
            None => Ok(()),
        }
    }

    /// Rejects tables. This precedes the merge, in which the `config` crate drops the origin of a table.
    pub(crate) fn check_shapes(&self) -> Result<(), ConfigError> {
        match self.0.iter().find(|(_, value)| matches!(value.kind, ValueKind::Table(_))) {
            Some((key, value)) => {
                let origin = value.origin().unwrap_or_default();
                Err(ConfigError(format!(
                    "{key} from {origin} is a table; it must be a value or a list"
                )))
            }
            None => Ok(()),
        }
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, LibraryError> {
        Ok(self.0.clone())
    }
}

/// Whether the variable is a Kubernetes service link. Kubernetes adds the address of each service to the
/// environment of each pod, and the variables of a service called `ws-status` have this prefix.
fn is_service_link(key: &str) -> bool {
    key.ends_with("_SERVICE_HOST")
        || key == "SERVICE_HOST"
        || key.starts_with("SERVICE_PORT")
        || key.contains("_SERVICE_PORT")
        || key == "PORT"
        || key.ends_with("_PORT")
        || key.starts_with("PORT_")
        || key.contains("_PORT_")
}

pub(crate) fn is_list(value: &Value) -> bool {
    matches!(value.kind, ValueKind::Array(_))
}

/// Joins the first and the last line of a library error; the lines between them quote the source.
pub(crate) fn in_one_line(error: impl fmt::Display) -> ConfigError {
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default().to_owned();
    ConfigError(match lines.next_back() {
        Some(last) => format!("{first}: {last}"),
        None => first,
    })
}
