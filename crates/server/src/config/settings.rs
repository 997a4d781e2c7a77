//! Settings before they are parsed: the merge of four layers, with the origin of each value.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use config::{Source, Value, ValueKind};

use crate::config::error::ConfigError;
use crate::config::sources::{Layer, PREFIX, in_one_line, is_list};
use crate::files::{self, LoadReason};

/// The lowest layer, and the only list of settings: the meaning and the default of each.
const DEFAULTS: &str = include_str!("default.toml");

/// The documentation of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key in the settings file.
    pub key: String,
    /// The default, in TOML.
    pub default: String,
    /// The explanation that `--help` prints.
    pub meaning: String,
}

impl Setting {
    /// Returns every setting, in the order of the documentation.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut settings = Vec::new();
        let mut meaning = Vec::new();
        for line in DEFAULTS.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                meaning.push(comment);
            } else if let Some((key, default)) = line.split_once(" = ") {
                let (key, default) = (key.to_owned(), default.to_owned());
                settings.push(Self { key, default, meaning: meaning.join(" ") });
                meaning.clear();
            }
        }
        settings
    }

    /// Returns the name of the environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.key.to_uppercase())
    }

    /// Returns the flag of the command line.
    #[must_use]
    pub fn flag(&self) -> String {
        format!("--{}", self.key.replace('_', "-"))
    }
}

/// The effective settings, before they are parsed.
#[derive(Clone, Debug)]
pub struct Settings {
    values: BTreeMap<String, RawValue>,
    reason: LoadReason,
}

/// The value of a setting before it is parsed.
#[derive(Clone, Debug)]
pub struct RawValue {
    /// The elements of a list, or one element for a single value.
    pub texts: Vec<String>,
    is_list: bool,
    /// The source of the value, such as `the environment variable WS_STATUS_LISTEN`.
    pub origin: String,
}

impl Settings {
    /// Merges the layers in ascending precedence: the defaults, the file, the environment, the flags.
    ///
    /// `flags` are pairs of a key and a value.
    ///
    /// # Errors
    ///
    /// A key is unknown, a value has the wrong shape, or the file cannot be read.
    pub fn load(
        file: Option<&Path>,
        environment: &[(String, String)],
        flags: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        Self::load_for(LoadReason::Startup, file, environment, flags)
    }

    /// Like [`load`](Self::load), at startup or in a reload.
    pub(crate) fn load_for(
        reason: LoadReason,
        file: Option<&Path>,
        environment: &[(String, String)],
        flags: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let defaults = Layer::parse(DEFAULTS, "the defaults")?;
        let mut layers = vec![defaults.clone()];
        if let Some(path) = file {
            let origin = format!("the file {}", path.display());
            let unreadable = |error| ConfigError(format!("{origin} cannot be read: {error}"));
            let (bytes, _) = files::read(path, reason).map_err(unreadable)?;
            let text = String::from_utf8(bytes)
                .map_err(|_| ConfigError(format!("{origin} cannot be read: it is not UTF-8")))?;
            layers.push(Layer::parse(&text, &origin)?);
        }
        layers.push(Layer::of_environment(environment));
        layers.push(Layer::of_flags(flags));

        let mut builder = config::Config::builder();
        for layer in layers {
            layer.check_keys(&defaults)?;
            layer.check_shapes()?;
            builder = builder.add_source(layer);
        }
        let merged = builder.build().and_then(|config| config.collect()).map_err(in_one_line)?;
        let values = merged.into_iter().map(|(key, value)| {
            let is_list = defaults.get(&key).is_some_and(is_list);
            let raw = RawValue::new(&key, value, is_list)?;
            Ok((key, raw))
        });
        Ok(Self { values: values.collect::<Result<_, ConfigError>>()?, reason })
    }

    /// Returns the value of a key of `default.toml`.
    ///
    /// # Panics
    ///
    /// If `default.toml` does not have the key.
    #[must_use]
    pub fn get(&self, key: &str) -> &RawValue {
        self.values.get(key).expect("default.toml has every key")
    }

    /// Replaces a value such as `auto` with the one computed for it.
    pub fn work_out(&mut self, key: &str, text: String, origin: String) {
        self.values.insert(key.to_owned(), RawValue { texts: vec![text], is_list: false, origin });
    }

    /// Returns why the settings were read. Files that they name are read for the same reason.
    pub(crate) fn reason(&self) -> LoadReason {
        self.reason
    }
}

/// Formats every setting as a line of TOML, followed by its origin as a comment.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for setting in Setting::all() {
            let raw = self.get(&setting.key);
            writeln!(f, "{} = {} # {}", setting.key, raw.to_toml(), raw.origin)?;
        }
        Ok(())
    }
}

impl RawValue {
    fn new(key: &str, value: Value, is_list: bool) -> Result<Self, ConfigError> {
        let origin = value.origin().unwrap_or_default().to_owned();
        let invalid = |expected| ConfigError(format!("{key} from {origin} is not {expected}"));
        let texts = match value.kind {
            ValueKind::Array(elements) if is_list => elements
                .into_iter()
                .map(|element| element.into_string().map_err(|_| invalid("a list of strings")))
                .collect::<Result<_, _>>()?,
            ValueKind::String(list) if is_list && list.trim().is_empty() => Vec::new(),
            ValueKind::String(list) if is_list => {
                list.split(',').map(|text| text.trim().to_owned()).collect()
            }
            ValueKind::Array(_) | ValueKind::Nil | ValueKind::Table(_) => {
                return Err(invalid("a single value"));
            }
            kind @ (ValueKind::Boolean(_)
            | ValueKind::Float(_)
            | ValueKind::I64(_)
            | ValueKind::I128(_)
            | ValueKind::String(_)
            | ValueKind::U64(_)
            | ValueKind::U128(_)) => vec![kind.to_string()],
        };
        Ok(Self { texts, is_list, origin })
    }

    fn to_toml(&self) -> String {
        let scalar = |text: &String| {
            // TOML does not accept every notation of `f64::from_str`; a quoted number is valid, too.
            let is_plain = text.parse::<f64>().is_ok_and(|number| number.to_string() == *text);
            if is_plain { text.clone() } else { basic_string(text) }
        };
        let quoted = |text: &String| basic_string(text);
        if self.is_list {
            format!("[{}]", self.texts.iter().map(quoted).collect::<Vec<_>>().join(", "))
        } else {
            self.texts.iter().map(scalar).collect()
        }
    }
}

/// Quotes a string for TOML, whose escapes differ from those of Rust's `Debug`.
fn basic_string(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}
