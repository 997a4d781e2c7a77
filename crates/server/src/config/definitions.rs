//! The definitions that a program's command line and settings are made of: the server's own, and those
//! that the program adds.

use std::fmt;
use std::sync::LazyLock;

use clap::{Args, Command};
use config::{ConfigError, Value};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::config::settings::{Setting, Settings, read_definitions};

/// The settings that a program adds to the server's: a struct whose fields have a type, a default and a doc
/// comment, as those of [`Settings`](crate::Settings).
///
/// Each becomes a flag, an environment variable, a key of the file and a part of `--help`. The type of a field
/// says what is wrong with a text: derive `Deserialize` with `#[serde(try_from = "String")]`.
/// The struct must not deny unknown fields, because the server's settings are in the same file.
pub trait ProgramSettings: Args + DeserializeOwned + JsonSchema + Send + Sync + 'static {}

impl<T: Args + DeserializeOwned + JsonSchema + Send + Sync + 'static> ProgramSettings for T {}

/// What a program is, and which settings it has.
pub(crate) struct Definitions {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) commit: &'static str,
    pub(crate) about: &'static str,
    pub(crate) settings: Vec<Setting>,
    /// Index of the first setting that the program adds.
    first_added: usize,
    /// Adds the arguments of all settings to a command.
    pub(crate) augment: fn(Command) -> Command,
    /// Deserializes the settings that the program adds, to find out what is wrong with them.
    pub(crate) deserialize: fn(Value) -> Result<(), ConfigError>,
}

/// Those of the binary `server`.
static SERVER: LazyLock<Definitions> = LazyLock::new(|| Definitions {
    name: "server",
    version: env!("CARGO_PKG_VERSION"),
    commit: env!("COMMIT"),
    about: "A WebSocket endpoint for status updates.",
    settings: read_definitions::<Settings>(),
    first_added: usize::MAX,
    augment: Settings::augment_args,
    deserialize: |_| Ok(()),
});

impl Definitions {
    /// Returns those of the binary `server`.
    pub(crate) fn of_server() -> &'static Self {
        &SERVER
    }

    /// Returns those of another program, which adds the settings `T`.
    ///
    /// # Panics
    ///
    /// Panics if `T` has a setting of the same name as the server.
    pub(crate) fn of_program<T: ProgramSettings>(
        name: &'static str,
        version: &'static str,
        commit: &'static str,
        about: &'static str,
    ) -> Self {
        let mut settings = read_definitions::<Settings>();
        let first_added = settings.len();
        for added in read_definitions::<T>() {
            let is_new = settings.iter().all(|it| it.key != added.key);
            assert!(is_new, "the server has a setting {} already", added.key);
            settings.push(added);
        }
        Self {
            name,
            version,
            commit,
            about,
            settings,
            first_added,
            augment: |command| T::augment_args(Settings::augment_args(command)),
            deserialize: |values| T::deserialize(values).map(drop),
        }
    }

    /// Returns the settings of the server.
    pub(crate) fn of_server_only(&self) -> &[Setting] {
        self.settings.get(..self.first_added).unwrap_or(&self.settings)
    }

    /// Returns the settings that the program adds.
    pub(crate) fn added(&self) -> &[Setting] {
        self.settings.get(self.first_added..).unwrap_or_default()
    }

    /// Returns the setting with this key.
    pub(crate) fn named(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.key == key)
    }

    /// Returns the key that is most similar to this one, if one is similar.
    pub(crate) fn nearest(&self, key: &str) -> Option<&str> {
        let likeness = |setting: &&Setting| strsim::jaro_winkler(&setting.key, key);
        let nearest = self.settings.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
        (likeness(&nearest) > 0.8).then_some(&nearest.key)
    }

    /// Returns the name and the version, as `--version` prints them.
    pub(crate) fn name_and_version(&self) -> String {
        let Self { name, version, commit, .. } = self;
        if commit.is_empty() {
            format!("{name} {version}")
        } else {
            format!("{name} {version} ({commit})")
        }
    }
}

impl fmt::Debug for Definitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name_and_version())
    }
}

impl Setting {
    /// Returns every setting of the server, in the order of the manual.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &SERVER.settings
    }
}
