//! A program that is built on the server: its name, its version, its settings and its command line.

use std::ffi::OsString;
use std::marker::PhantomData;
use std::process::ExitCode;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::app::server::Server;
use crate::config::ConfigReceiver;
use crate::config::cli::command_line_of;
use crate::config::definitions::{Definitions, ProgramSettings};
use crate::config::sources::RawSettings;
use crate::process;

/// A program with a server of its own: what it is called in `--version`, `--help`, errors, the log and the
/// metrics, and which settings it adds to those of the server.
///
/// ```no_run
/// use std::env;
/// use std::process::ExitCode;
///
/// use server::transport::Discard;
/// use server::{Program, Server};
///
/// fn main() -> ExitCode {
///     Program::new("example", env!("CARGO_PKG_VERSION"))
///         .about("A WebSocket endpoint at two paths.")
///         .main(env::args_os().skip(1), |_| {
///             Server::new().route("/ws/status", Discard).route("/ws/other", Discard)
///         })
/// }
/// ```
///
/// `docs/guides/admission.md` in the repository has one with settings of its own.
#[derive(Clone, Copy, Debug)]
#[must_use = "a program does nothing unless it is run"]
pub struct Program<T = NoSettings> {
    name: &'static str,
    version: &'static str,
    commit: &'static str,
    about: &'static str,
    settings: PhantomData<fn() -> T>,
}

/// The settings of a program that adds none.
#[derive(Clone, Copy, Debug, clap::Args, serde::Deserialize, schemars::JsonSchema)]
pub struct NoSettings {}

/// The current settings that the program has added. A reload replaces them. Clones are the same.
#[derive(Debug)]
pub struct SettingsReceiver<T> {
    /// `None` if they never change.
    configs: Option<ConfigReceiver>,
    latest: Arc<Mutex<Latest<T>>>,
}

#[derive(Debug)]
struct Latest<T> {
    settings: Arc<T>,
    /// What they were made of.
    raw: Option<Arc<RawSettings>>,
}

impl Program {
    /// Describes a program. Its version is that of its own package.
    pub const fn new(name: &'static str, version: &'static str) -> Self {
        Self { name, version, commit: "", about: "A WebSocket endpoint.", settings: PhantomData }
    }
}

impl<T: ProgramSettings> Program<T> {
    /// Sets the commit that the program was built from, for `--version` and the metric `build_info`.
    pub const fn commit(self, commit: &'static str) -> Self {
        Self { commit, ..self }
    }

    /// Sets the sentence at the top of `--help`.
    pub const fn about(self, about: &'static str) -> Self {
        Self { about, ..self }
    }

    /// Adds settings to those of the server. The call of [`main`](Self::main) panics if the server has a
    /// setting of the same name.
    pub const fn settings<U: ProgramSettings>(self) -> Program<U> {
        let Self { name, version, commit, about, .. } = self;
        Program { name, version, commit, about, settings: PhantomData }
    }

    /// Returns the command line as clap knows it, from which completions and a man page are made.
    #[must_use]
    pub fn command_line(self) -> clap::Command {
        command_line_of(self.definitions())
    }

    /// Runs the process: parses the command line, binds the ports, serves, reloads the settings on SIGHUP, and
    /// returns the exit code.
    ///
    /// `arguments` are the arguments without the program's name. `server` is called once, on the runtime, right
    /// before the first client is accepted. Tasks that it spawns run until the process ends.
    ///
    /// If the program has set a global subscriber of `tracing`, the log goes there, and the settings `log`
    /// and `log_format` have no effect.
    pub fn main(
        self,
        arguments: impl IntoIterator<Item = OsString>,
        server: impl FnOnce(SettingsReceiver<T>) -> Server,
    ) -> ExitCode {
        let definitions = self.definitions();
        process::run(definitions, arguments.into_iter().collect(), |configs| {
            server(SettingsReceiver::new(configs))
        })
    }

    /// They live as long as the process: a reload and `--against` need them, too.
    fn definitions(self) -> &'static Definitions {
        let Self { name, version, commit, about, .. } = self;
        Box::leak(Box::new(Definitions::of_program::<T>(name, version, commit, about)))
    }
}

impl<T: ProgramSettings> SettingsReceiver<T> {
    fn new(configs: ConfigReceiver) -> Self {
        let raw = Arc::clone(&configs.borrow().settings);
        let latest = Latest { settings: Arc::new(raw.added()), raw: Some(raw) };
        Self { configs: Some(configs), latest: Arc::new(Mutex::new(latest)) }
    }

    /// Creates a receiver of settings that never change, for tests.
    #[must_use]
    pub fn fixed(settings: T) -> Self {
        let latest = Latest { settings: Arc::new(settings), raw: None };
        Self { configs: None, latest: Arc::new(Mutex::new(latest)) }
    }

    /// Returns the current settings.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        let mut latest = self.latest.lock();
        if let Some(configs) = &self.configs {
            let config = configs.borrow();
            let raw = &config.settings;
            if latest.raw.as_ref().is_none_or(|latest| !Arc::ptr_eq(latest, raw)) {
                *latest = Latest { settings: Arc::new(raw.added()), raw: Some(Arc::clone(raw)) };
            }
        }
        Arc::clone(&latest.settings)
    }

    /// Waits for the next reload. Cancel safe. Never returns once the server has stopped.
    pub async fn changed(&mut self) {
        if let Some(configs) = &mut self.configs
            && configs.changed().await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

impl<T> Clone for SettingsReceiver<T> {
    fn clone(&self) -> Self {
        Self { configs: self.configs.clone(), latest: Arc::clone(&self.latest) }
    }
}
