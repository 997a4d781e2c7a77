//! Reloads while the server runs: the settings on SIGHUP, all or nothing, and the certificate when its
//! files change.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::config::cli::Command;
use crate::config::error::ConfigError;
use crate::config::settings::Setting;
use crate::config::startup_warnings::{format_expiry, warn_about_certificate, warn_about_settings};
use crate::config::{Config, ConfigReceiver};
use crate::files::LoadReason;
use crate::process::disk_thread::DiskThread;
use crate::telemetry::metrics::RELOADS;
use crate::telemetry::writer::LogWriter;
use crate::tls::{FileError, Stamps, Tls};

/// Interval at which the files of the certificate are checked.
const CERTIFICATE_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Interval of warnings about a certificate that expires soon.
const EXPIRY_WARNING_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Holds the current configuration, and replaces it.
#[derive(Debug)]
pub struct Reloader {
    configs: watch::Sender<Arc<Config>>,
    open_files: u64,
    /// A change of the certificate's files that is not in force.
    pending: Option<PendingCertificate>,
    settings_thread: DiskThread,
    certificate_thread: DiskThread,
    last_expiry_warning: Instant,
}

/// Files of a certificate that differ from those in force.
#[derive(Debug)]
struct PendingCertificate {
    /// The stamps of the latest check, or why they could not be read.
    stamps: Result<Stamps, FileError>,
    /// Whether the files with these stamps were refused. They are not loaded again.
    is_refused: bool,
}

impl Reloader {
    /// Starts from the current configuration.
    #[must_use]
    pub fn new(config: Config, open_files: u64) -> Self {
        let configs = watch::Sender::new(Arc::new(config));
        Self {
            configs,
            open_files,
            pending: None,
            settings_thread: DiskThread::new("settings"),
            certificate_thread: DiskThread::new("certificate"),
            last_expiry_warning: Instant::now(),
        }
    }

    /// Returns a receiver of the current configuration and its changes.
    #[must_use]
    pub fn configs(&self) -> ConfigReceiver {
        self.configs.subscribe()
    }

    /// Applies the settings that `read` returns, if they are valid and need no restart. Otherwise the
    /// current ones stay. The log reports the result; `log` gets their filter.
    ///
    /// `read` runs on a thread of its own with a timeout of 10 seconds, because a disk that does not respond
    /// must not block a worker, the shutdown, the renewal of certificates or the next reload.
    pub async fn reload(
        &mut self,
        log: Option<&LogWriter>,
        read: impl FnOnce() -> Result<Command, ConfigError> + Send + 'static,
    ) {
        let open_files = self.open_files;
        let loaded = self.settings_thread.run(move || load(read, open_files)).await;
        match loaded
            .unwrap_or_else(|error| {
                Err(ConfigError::new(format!("the settings cannot be read: {error}")))
            })
            .and_then(|loaded| self.check_reloadable(loaded))
        {
            Ok(config) => {
                let current = self.configs.borrow().settings.clone();
                let changed = current.changed(&config.settings);
                let changed: Vec<&str> = changed.map(|it| it.key.as_str()).collect();
                let changed = changed.join(",");
                if let Some(log) = log {
                    log.set_filter(config.log.clone());
                }
                let config = Arc::new(config);
                self.configs.send_replace(Arc::clone(&config));
                RELOADS.count(true);
                info!(event = "reloaded", changed);
                warn_about_settings(&config, self.open_files);
            }
            Err(error) => {
                RELOADS.count(false);
                warn!(event = "reload_refused", problem = %error);
            }
        }
    }

    /// Checks the files of the certificate every 5 seconds. Never returns. Cancel safe.
    pub async fn renew_certificates(&mut self) {
        loop {
            sleep(CERTIFICATE_CHECK_INTERVAL).await;
            self.check_certificate().await;
        }
    }

    /// Checks the files of the certificate, and loads them if they differ from those in force and have not
    /// changed since the previous check. Other settings stay. Cancel safe.
    ///
    /// Only metadata is read until then, not the files.
    pub async fn check_certificate(&mut self) {
        let config = self.configs.borrow().clone();
        let Some(tls) = &config.tls else { return };
        let paths = tls.paths().clone();
        let stamps = on_disk_thread(&self.certificate_thread, move || paths.stamps()).await;
        if self.are_new_files_complete(stamps, tls) {
            let paths = tls.paths().clone();
            let load = move || Tls::load(paths, LoadReason::Reload);
            let loaded = on_disk_thread(&self.certificate_thread, load).await;
            self.apply_certificate(loaded, tls, &config);
        }
        if self.last_expiry_warning.elapsed() >= EXPIRY_WARNING_INTERVAL {
            self.last_expiry_warning = Instant::now();
            warn_about_certificate(&config);
        }
    }

    /// Whether the files differ from those in force and are complete.
    ///
    /// A renewal writes one file after the other, so they count as complete when two checks in succession
    /// find the same stamps.
    fn are_new_files_complete(&mut self, stamps: Result<Stamps, FileError>, tls: &Tls) -> bool {
        if stamps.as_ref().is_ok_and(|stamps| tls.is_loaded_from(stamps)) {
            self.pending = None;
            return false;
        }
        match &self.pending {
            Some(pending) if pending.stamps == stamps => !pending.is_refused,
            _ => {
                self.pending = Some(PendingCertificate { stamps, is_refused: false });
                false
            }
        }
    }

    fn apply_certificate(&mut self, loaded: Result<Tls, FileError>, tls: &Tls, config: &Config) {
        let expected = self.pending.take().map(|pending| pending.stamps);
        match loaded {
            Ok(loaded) if expected.as_ref() != Some(&Ok(*loaded.stamps())) => {
                // The files changed between the check and the load: they are still being written.
                let stamps = Ok(*loaded.stamps());
                self.pending = Some(PendingCertificate { stamps, is_refused: false });
            }
            // Only the timestamps changed, or the files were loaded too soon after a change to trust them.
            Ok(loaded) if loaded.has_same_contents(tls) => {
                self.apply(tls.with_stamps_from(&loaded), config);
            }
            Ok(loaded) => {
                let not_after = format_expiry(loaded.not_after());
                self.apply(loaded, config);
                info!(event = "certificate_renewed", not_after);
                warn_about_certificate(&self.configs.borrow());
            }
            Err(FileError { key, problem }) => {
                self.pending =
                    expected.map(|stamps| PendingCertificate { stamps, is_refused: true });
                warn!(event = "certificate_refused", setting = key, problem);
            }
        }
    }

    fn apply(&self, tls: Tls, config: &Config) {
        self.configs.send_replace(Arc::new(Config { tls: Some(tls), ..config.clone() }));
    }

    /// Returns the configuration if none of its changes needs a restart.
    fn check_reloadable(&self, config: Config) -> Result<Config, ConfigError> {
        let current = self.configs.borrow();
        let fixed = current.settings.changed(&config.settings).filter(|it| it.needs_restart);
        let problem = |setting: &Setting| {
            let source = &config.settings.get(&setting.key).source;
            format!("{} from {source} needs a restart to change", setting.key)
        };
        ConfigError::check(fixed.map(problem).collect())?;
        Ok(config)
    }
}

/// Runs work on the certificate's files on their thread.
async fn on_disk_thread<T: Send + 'static>(
    thread: &DiskThread,
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    thread.run(work).await.unwrap_or_else(|error| {
        Err(FileError { key: "tls_cert_file", problem: format!("it cannot be read: {error}") })
    })
}

fn load(
    read: impl FnOnce() -> Result<Command, ConfigError>,
    open_files: u64,
) -> Result<Config, ConfigError> {
    // Fails only if the caller passes another command line than the one that started the server.
    let Command::Serve(settings, _) = read()? else {
        return Err(ConfigError::new("the command line is not one that serves"));
    };
    Config::check(settings, open_files)
}
