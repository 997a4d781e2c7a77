//! Reading the settings again while the server serves: all of them, or none.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::advice::warn_of_settings;
use crate::command::Command;
use crate::config::{Config, Configs};
use crate::log_writer::LogWriter;
use crate::settings::{Setting, Settings, Wrong};

/// What cannot change while the server serves.
pub const NEEDS_RESTART: [&str; 6] = [
    "listen",
    "listen_unix_mode",
    "socket_buffer_bytes",
    "admin_listen",
    "connection_table",
    "log_format",
];

/// The settings in force, and how they are changed.
#[derive(Debug)]
pub struct Reloader {
    settings: Settings,
    configs: watch::Sender<Arc<Config>>,
    open_files: u64,
}

impl Reloader {
    /// Begins with settings from which this configuration was made.
    #[must_use]
    pub fn new(settings: Settings, config: Config, open_files: u64) -> Self {
        Self { settings, configs: watch::Sender::new(Arc::new(config)), open_files }
    }

    /// The configuration in force, and its changes.
    #[must_use]
    pub fn configs(&self) -> Configs {
        self.configs.subscribe()
    }

    /// Puts the settings that `read` finds now in force, if they are good and can be without a
    /// restart. Otherwise those that are in force stay. The log says which.
    pub fn reload(&mut self, log: &LogWriter, read: impl FnOnce() -> Result<Command, Wrong>) {
        match self.check(read) {
            Ok((settings, config)) => {
                let changed = self.changed(&settings).join(",");
                log.set_filter(config.log.clone());
                self.settings = settings;
                let config = Arc::new(config);
                self.configs.send_replace(Arc::clone(&config));
                info!(event = "reloaded", changed);
                warn_of_settings(&config, self.open_files);
            }
            Err(Wrong(problem)) => warn!(event = "reload_refused", problem),
        }
    }

    fn check(
        &self,
        read: impl FnOnce() -> Result<Command, Wrong>,
    ) -> Result<(Settings, Config), Wrong> {
        // The command line is the one that has started us.
        let Command::Serve(mut settings) = read()? else {
            return Err(Wrong("the command line does not say to serve any more".to_owned()));
        };
        let config = Config::check(&mut settings, self.open_files)?;
        let changed = self.changed(&settings);
        match changed.iter().find(|key| NEEDS_RESTART.contains(&key.as_str())) {
            Some(key) => {
                let origin = &settings.get(key).origin;
                Err(Wrong(format!("{key} from {origin} needs a restart to change")))
            }
            None => Ok((settings, config)),
        }
    }

    /// The keys whose values differ.
    fn changed(&self, settings: &Settings) -> Vec<String> {
        let differs = |key: &String| self.settings.get(key).texts != settings.get(key).texts;
        Setting::all().into_iter().map(|setting| setting.key).filter(differs).collect()
    }
}
