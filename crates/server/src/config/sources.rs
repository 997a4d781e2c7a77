//! The sources of settings, from the lowest precedence: defaults, a file, environment variables, flags. Each
//! value knows its source.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use config::{ConfigError as LibraryError, File, FileFormat, Map, Source, Value, ValueKind};
use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;

use crate::config::definitions::{Definitions, ProgramSettings};
use crate::config::settings::{PREFIX, Setting, Settings};
use crate::files::{self, LoadReason};

/// The settings as written, each from the source with the highest precedence that has it.
#[derive(Clone, Debug)]
pub struct RawSettings {
    definitions: &'static Definitions,
    values: BTreeMap<String, RawValue>,
    /// What is wrong with the sources.
    problems: Vec<String>,
    reason: LoadReason,
}

/// What is wrong with settings.
pub(crate) struct Problems {
    /// The keys of invalid values.
    pub(crate) invalid: Vec<String>,
    pub(crate) sentences: Vec<String>,
}

/// A value as written.
#[derive(Clone, Debug)]
pub struct RawValue {
    value: Value,
    /// Its source, such as `the environment variable WS_STATUS_LISTEN`.
    pub source: String,
}

impl RawSettings {
    /// Merges the sources. `environment` and `flags` are pairs of a name and a value; a flag is named by its
    /// key.
    ///
    /// An unknown key, or a file that cannot be read, is reported by [`Config::check`](crate::Config::check)
    /// together with invalid values.
    #[must_use]
    pub fn load(
        file: Option<&Path>,
        environment: &[(String, String)],
        flags: &[(String, String)],
    ) -> Self {
        let definitions = Definitions::of_server();
        Self::load_for(definitions, LoadReason::Startup, file, environment, flags)
    }

    /// Like [`load`](Self::load), for a program, at startup or in a reload.
    pub(crate) fn load_for(
        definitions: &'static Definitions,
        reason: LoadReason,
        file: Option<&Path>,
        environment: &[(String, String)],
        flags: &[(String, String)],
    ) -> Self {
        let settings = &definitions.settings;
        let (mut layers, mut problems) = (vec![Layer::of_defaults(settings)], Vec::new());
        match file.map(|path| Layer::read(definitions, path, reason)).transpose() {
            Ok(layer) => layers.extend(layer),
            Err(problem) => problems.push(problem),
        }
        layers.push(Layer::of_environment(definitions, environment));
        layers.push(Layer::of_flags(definitions, flags));
        let mut builder = config::Config::builder();
        for mut layer in layers {
            problems.extend(layer.remove_invalid(definitions));
            builder = builder.add_source(layer);
        }
        let merged = builder.build().and_then(|config| config.collect());
        let values = merged.unwrap_or_else(|error| {
            problems.push(in_one_line(error));
            Layer::of_defaults(settings).0
        });
        let values = values.into_iter().map(|(key, value)| {
            let source = value.origin().unwrap_or_default().to_owned();
            (key, RawValue { value, source })
        });
        Self { definitions, values: values.collect(), problems, reason }
    }

    /// Returns the settings of the server, with the default in the place of each invalid value, and all
    /// problems.
    pub(crate) fn typed(&self) -> (Settings, Problems) {
        let (settings, mut problems) =
            self.deserialize(self.definitions.of_server_only(), Settings::deserialize);
        problems.sentences.splice(..0, self.problems.iter().cloned());
        (settings, problems)
    }

    /// Returns the settings that the program adds, with the default in the place of each invalid value.
    pub(crate) fn added<T: ProgramSettings>(&self) -> T {
        self.deserialize(self.definitions.added(), T::deserialize).0
    }

    /// Describes what is wrong with the settings that the program adds.
    pub(crate) fn added_problems(&self) -> Vec<String> {
        self.deserialize(self.definitions.added(), self.definitions.deserialize).1.sentences
    }

    fn deserialize<T>(
        &self,
        settings: &[Setting],
        deserialize: fn(Value) -> Result<T, LibraryError>,
    ) -> (T, Problems) {
        let deserialize = |values: &Map<String, Value>| {
            deserialize(Value::new(None, ValueKind::Table(values.clone())))
        };
        let mut values = Layer::of_defaults(settings).0;
        let mut problems = Problems { invalid: Vec::new(), sentences: Vec::new() };
        // One at a time, because serde stops at the first error.
        for Setting { key, .. } in settings {
            let raw = self.get(key);
            let default = values.insert(key.clone(), raw.value.clone());
            if let Err(error) = deserialize(&values) {
                problems.invalid.push(key.clone());
                problems.sentences.push(raw.problem(key, &requirement(&error)));
                values.extend(default.map(|default| (key.clone(), default)));
            }
        }
        (
            deserialize(&values)
                .expect("the default of each setting is valid, and a list has an inline schema"),
            problems,
        )
    }

    /// Returns the value of a setting.
    ///
    /// # Panics
    ///
    /// If there is no such setting.
    #[must_use]
    pub fn get(&self, key: &str) -> &RawValue {
        self.values.get(key).expect("the defaults have every key")
    }

    /// Returns the settings whose values differ, in the order of the manual.
    pub(crate) fn changed<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'static Setting> {
        self.definitions
            .settings
            .iter()
            .filter(move |it| self.get(&it.key).texts() != other.get(&it.key).texts())
    }

    /// The definitions of the program's settings.
    pub(crate) fn definitions(&self) -> &'static Definitions {
        self.definitions
    }

    /// Why the settings were loaded, which decides how the files that they name are read.
    pub(crate) fn reason(&self) -> LoadReason {
        self.reason
    }
}

/// Returns the clause of an error that describes the valid values.
fn requirement(error: &LibraryError) -> String {
    if let LibraryError::At { error, .. } = error {
        requirement(error)
    } else if let LibraryError::Message(requirement) = error {
        requirement.clone()
    } else if let LibraryError::Type { expected: "a string", .. } = error {
        "it must be a single value".to_owned()
    } else if let LibraryError::Type { expected, .. } = error {
        format!("it must be {expected}")
    } else {
        in_one_line(error)
    }
}

/// Formats every setting as a line of TOML, with a comment that names the source of its value.
impl fmt::Display for RawSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for setting in &self.definitions.settings {
            let raw = self.get(&setting.key);
            writeln!(f, "{} = {} # {}", setting.key, setting.toml(&raw.texts()), raw.source)?;
        }
        Ok(())
    }
}

impl RawValue {
    /// Returns a sentence about this value of a setting.
    pub(crate) fn problem(&self, key: &str, problem: &str) -> String {
        if matches!(self.value.kind, ValueKind::Array(_)) {
            format!("{key} in {}: {problem}", self.source)
        } else {
            format!("{key} is {:?} in {}: {problem}", self.texts().join(","), self.source)
        }
    }

    /// Returns the text, or the texts of a list.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        let text = |value: &Value| value.clone().into_string().unwrap_or_default();
        if let ValueKind::Array(elements) = &self.value.kind {
            elements.iter().map(text).collect()
        } else {
            vec![text(&self.value)]
        }
    }
}

/// The values of one source by key.
#[derive(Clone, Debug)]
struct Layer(Map<String, Value>);

impl Layer {
    fn of_defaults(settings: &[Setting]) -> Self {
        let value = |setting: &Setting| {
            (setting.key.clone(), setting.value("the defaults", &setting.default_text))
        };
        Self(settings.iter().map(value).collect())
    }

    fn read(definitions: &Definitions, path: &Path, reason: LoadReason) -> Result<Self, String> {
        let origin = format!("the file {}", path.display());
        let cannot = |problem: &dyn fmt::Display| format!("{origin} cannot be read: {problem}");
        let (bytes, _) = files::read(path, reason).map_err(|error| cannot(&error))?;
        let text = String::from_utf8(bytes).map_err(|_| cannot(&"it is not UTF-8"))?;
        Self::parse(definitions, &text, &origin)
    }

    fn parse(definitions: &Definitions, toml: &str, origin: &str) -> Result<Self, String> {
        let values = File::from_str(toml, FileFormat::Toml)
            .collect()
            .map_err(|error| format!("{origin} is not TOML: {}", in_one_line(error)))?;
        // The library does not know the lines of values.
        let lines: BTreeMap<Spanned<String>, IgnoredAny> = toml::from_str(toml).unwrap_or_default();
        let line_of = |key: &str| {
            let span = lines.keys().find(|it| it.get_ref() == key)?.span();
            Some(toml.get(..span.start)?.matches('\n').count() + 1)
        };
        let named = |(key, value): (String, Value)| {
            let line = line_of(&key).map(|line| format!(", line {line}")).unwrap_or_default();
            let origin = format!("{origin}{line}");
            let value = if let ValueKind::String(text) = &value.kind {
                text_value(definitions, &key, &origin, text)
            } else {
                Value::new(Some(&origin), value.kind)
            };
            (key, value)
        };
        Ok(Self(values.into_iter().map(named).collect()))
    }

    fn of_environment(definitions: &Definitions, variables: &[(String, String)]) -> Self {
        let value = |(name, text): &(String, String)| {
            let key = name.strip_prefix(PREFIX)?;
            if key == "CONFIG" || is_service_link(key) {
                return None;
            }
            let origin = format!("the environment variable {name}");
            Some((key.to_lowercase(), text_value(definitions, key, &origin, text)))
        };
        Self(variables.iter().filter_map(value).collect())
    }

    fn of_flags(definitions: &Definitions, flags: &[(String, String)]) -> Self {
        let value = |(key, text): &(String, String)| {
            let origin = format!("the flag --{}", key.replace('_', "-"));
            (key.clone(), text_value(definitions, key, &origin, text))
        };
        Self(flags.iter().map(value).collect())
    }

    /// Removes unknown keys and tables, which no setting can be, and describes them.
    fn remove_invalid(&mut self, definitions: &Definitions) -> Vec<String> {
        let mut problems = Vec::new();
        self.0.retain(|key, value| {
            let origin = value.origin().unwrap_or_default();
            if definitions.named(key).is_none() {
                let hint = match definitions.nearest(key) {
                    Some(nearest) => format!("did you mean {nearest}?"),
                    None => "--help lists all settings".to_owned(),
                };
                problems.push(format!("{origin} sets {key:?}, which is not a setting; {hint}"));
                return false;
            }
            // The library forgets the source of a table.
            let is_table = matches!(value.kind, ValueKind::Table(_));
            if is_table {
                problems
                    .push(format!("{key} in {origin} is a table, and must be a value or a list"));
            }
            !is_table
        });
        problems
    }
}

/// Makes a value of a text, according to the type of the setting.
fn text_value(definitions: &Definitions, key: &str, origin: &str, text: &str) -> Value {
    match definitions.named(&key.to_lowercase()) {
        Some(setting) => setting.value(origin, text),
        None => Value::new(Some(&origin.to_owned()), text),
    }
}

impl Setting {
    /// Makes a value of a text. The elements of a list are separated by commas.
    fn value(&self, origin: &str, text: &str) -> Value {
        let kind = if self.is_list {
            let texts = text.split(',').map(str::trim).filter(|_| !text.trim().is_empty());
            ValueKind::Array(texts.map(|text| Value::new(Some(&origin.to_owned()), text)).collect())
        } else {
            ValueKind::String(text.to_owned())
        };
        Value::new(Some(&origin.to_owned()), kind)
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

/// Kubernetes adds variables for each service to the environment of each pod, and those of a service named
/// `ws-status` have our prefix.
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

/// Joins the first and the last line of the library's error; the others quote the source.
fn in_one_line(error: impl fmt::Display) -> String {
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default().to_owned();
    match lines.next_back() {
        Some(last) => format!("{first}: {last}"),
        None => first,
    }
}
