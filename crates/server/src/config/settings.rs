//! The settings as they are written: four layers, one above the other, and where each value is from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use config::{Source, Value, ValueKind};

use crate::config::error::ConfigError;
use crate::config::sources::{Layer, PREFIX, in_one_line, is_list};
use crate::files::{self, ReadPhase};

/// The lowest layer: every setting, its meaning and its default. There is no other list of them.
const DEFAULTS: &str = include_str!("default.toml");

/// A setting as it is documented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its key in the file.
    pub key: String,
    /// Its default as it stands in the file.
    pub default: String,
    /// What it means.
    pub meaning: String,
}

impl Setting {
    /// Every setting, in the order of the documentation.
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

    /// Its environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.key.to_uppercase())
    }

    /// Its flag on the command line.
    #[must_use]
    pub fn flag(&self) -> String {
        format!("--{}", self.key.replace('_', "-"))
    }
}

/// The settings in force, as they are written.
#[derive(Clone, Debug)]
pub struct Settings {
    written: BTreeMap<String, RawValue>,
    when: ReadPhase,
}

/// A value as it is written.
#[derive(Clone, Debug)]
pub struct RawValue {
    /// One text, or those of a list.
    pub texts: Vec<String>,
    is_list: bool,
    /// Where it is from, such as `the environment variable WS_STATUS_LISTEN`.
    pub origin: String,
}

impl Settings {
    /// Puts the layers on top of each other: the defaults, the file, the environment, the flags.
    ///
    /// `flags` are pairs of a key and a value.
    ///
    /// # Errors
    ///
    /// A key that is none, or a file that cannot be read.
    pub fn load(
        file: Option<&Path>,
        environment: &[(String, String)],
        flags: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        Self::load_when(ReadPhase::Starting, file, environment, flags)
    }

    /// The same when the server may be serving already.
    pub(crate) fn load_when(
        when: ReadPhase,
        file: Option<&Path>,
        environment: &[(String, String)],
        flags: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let defaults = Layer::parse(DEFAULTS, "the defaults")?;
        let mut layers = vec![defaults.clone()];
        if let Some(path) = file {
            let origin = format!("the file {}", path.display());
            let cannot = |error| ConfigError(format!("{origin} cannot be read: {error}"));
            let (bytes, _) = files::read(path, when).map_err(cannot)?;
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
        let written = merged.into_iter().map(|(key, value)| {
            let is_list = defaults.get(&key).is_some_and(is_list);
            let written = RawValue::new(&key, value, is_list)?;
            Ok((key, written))
        });
        Ok(Self { written: written.collect::<Result<_, ConfigError>>()?, when })
    }

    /// The value of a key of `default.toml`.
    ///
    /// # Panics
    ///
    /// If the key does not stand there.
    #[must_use]
    pub fn get(&self, key: &str) -> &RawValue {
        self.written.get(key).expect("default.toml has every key")
    }

    /// Puts a value that was worked out in the place of the one that was written.
    pub fn work_out(&mut self, key: &str, text: String, origin: String) {
        self.written.insert(key.to_owned(), RawValue { texts: vec![text], is_list: false, origin });
    }

    /// When they were read, which is when the files that they name are read as well.
    pub(crate) fn when(&self) -> ReadPhase {
        self.when
    }
}

/// Every setting as a line of TOML, with where it is from behind it.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for setting in Setting::all() {
            let written = self.get(&setting.key);
            writeln!(f, "{} = {} # {}", setting.key, written.to_toml(), written.origin)?;
        }
        Ok(())
    }
}

impl RawValue {
    fn new(key: &str, value: Value, is_list: bool) -> Result<Self, ConfigError> {
        let origin = value.origin().unwrap_or_default().to_owned();
        let wrong = |expected| ConfigError(format!("{key} from {origin} is not {expected}"));
        let texts = match value.kind {
            ValueKind::Array(elements) if is_list => elements
                .into_iter()
                .map(|element| element.into_string().map_err(|_| wrong("a list of texts")))
                .collect::<Result<_, _>>()?,
            ValueKind::String(list) if is_list && list.trim().is_empty() => Vec::new(),
            ValueKind::String(list) if is_list => {
                list.split(',').map(|text| text.trim().to_owned()).collect()
            }
            ValueKind::Array(_) | ValueKind::Nil | ValueKind::Table(_) => {
                return Err(wrong("a single value"));
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
            // Other ways to write a number are not TOML's, but a text is taken as well.
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

/// A text as TOML writes it. Rust's own way to quote has other escapes.
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
