//! Reading the settings again while the server serves: all of them, or none.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::config::cli::Command;
use crate::config::error::ConfigError;
use crate::config::settings::Setting;
use crate::config::sources::RawSettings;
use crate::config::startup_warnings::{date, warn_of_certificate, warn_of_settings};
use crate::config::{Config, ConfigReceiver};
use crate::files::ReadPhase;
use crate::process::disk_thread::DiskThread;
use crate::telemetry::writer::LogWriter;
use crate::tls::{FileError, Stamps, Tls};

/// Whether a setting cannot change while the server serves.
#[must_use]
pub fn needs_restart(key: &str) -> bool {
    Setting::named(key).is_none_or(|setting| setting.needs_restart)
}

/// How often the files of the certificate are looked at.
const CERTIFICATE_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// How often a certificate that nobody renews is warned of.
const EXPIRY_WARNING_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// The settings in force, and how they are changed.
#[derive(Debug)]
pub struct Reloader {
    settings: RawSettings,
    configs: watch::Sender<Arc<Config>>,
    open_files: u64,
    /// The certificate's files as they were last seen, or why they could not be, if they are not those
    /// in force; and whether they were found to be no good.
    seen: Option<(Result<Stamps, FileError>, bool)>,
    settings_thread: DiskThread,
    certificate_thread: DiskThread,
    last_warning: Instant,
}

impl Reloader {
    /// Begins with settings from which this configuration was made.
    #[must_use]
    pub fn new(settings: RawSettings, config: Config, open_files: u64) -> Self {
        let configs = watch::Sender::new(Arc::new(config));
        Self {
            settings,
            configs,
            open_files,
            seen: None,
            settings_thread: DiskThread::new("settings"),
            certificate_thread: DiskThread::new("certificate"),
            last_warning: Instant::now(),
        }
    }

    /// The configuration in force, and its changes.
    #[must_use]
    pub fn configs(&self) -> ConfigReceiver {
        self.configs.subscribe()
    }

    /// Puts the settings that `read` finds now in force, if they are good and can be without a
    /// restart. Otherwise those that are in force stay. The log says which.
    ///
    /// Reading happens on a thread of its own, and is waited for ten seconds: a disk that does not answer must
    /// hold up neither a worker nor the shutdown, nor the certificates nor the next reload.
    pub async fn reload(
        &mut self,
        log: &LogWriter,
        read: impl FnOnce() -> Result<Command, ConfigError> + Send + 'static,
    ) {
        let open_files = self.open_files;
        let found = self.settings_thread.run(move || check(read, open_files)).await;
        match found
            .unwrap_or_else(|error| Err(ConfigError::new(format!("they cannot be read: {error}"))))
            .and_then(|found| self.compare(found))
        {
            Ok((settings, config)) => {
                let changed = self.settings.changed(&settings);
                let changed = changed.map(|it| it.key.as_str()).collect::<Vec<_>>().join(",");
                log.set_filter(config.log.clone());
                self.settings = settings;
                let config = Arc::new(config);
                self.configs.send_replace(Arc::clone(&config));
                info!(event = "reloaded", changed);
                warn_of_settings(&config, self.open_files);
            }
            Err(error) => warn!(event = "reload_refused", problem = %error),
        }
    }

    /// Looks at the files of the certificate again and again, for as long as it is polled. Cancel safe.
    pub async fn renew_certificates(&mut self) {
        loop {
            sleep(CERTIFICATE_CHECK_INTERVAL).await;
            self.check_certificate().await;
        }
    }

    /// Puts a new certificate in force if its files have changed since they were looked at before, and are
    /// the same as then. Other settings stay as they are. Cancel safe.
    ///
    /// Files are read only then. Before that it is enough what the file system says of them.
    pub async fn check_certificate(&mut self) {
        let config = self.configs.borrow().clone();
        let Some(tls) = &config.tls else { return };
        let paths = tls.paths().clone();
        let stamps = on_disk_thread(&self.certificate_thread, move || paths.stamps()).await;
        if self.have_new_files_settled(stamps, tls) {
            let paths = tls.paths().clone();
            let load = move || Tls::load(paths, ReadPhase::Serving);
            let loaded = on_disk_thread(&self.certificate_thread, load).await;
            self.apply_certificate(loaded, tls, &config);
        }
        if self.last_warning.elapsed() >= EXPIRY_WARNING_INTERVAL {
            self.last_warning = Instant::now();
            warn_of_certificate(&config);
        }
    }

    /// Whether the files are others than those in force, and complete: whoever renews a certificate writes
    /// one file after the other, so they are when they are the same for the second time.
    fn have_new_files_settled(&mut self, stamps: Result<Stamps, FileError>, tls: &Tls) -> bool {
        if stamps.as_ref().is_ok_and(|stamps| tls.is_of(stamps)) {
            self.seen = None;
            return false;
        }
        match &self.seen {
            Some((seen, is_bad)) if *seen == stamps => !is_bad,
            _ => {
                self.seen = Some((stamps, false));
                false
            }
        }
    }

    fn apply_certificate(&mut self, loaded: Result<Tls, FileError>, tls: &Tls, config: &Config) {
        let seen = self.seen.take().map(|(seen, _)| seen);
        match loaded {
            Ok(loaded) if seen.as_ref() != Some(&Ok(*loaded.stamps())) => {
                // Somebody is still writing.
                self.seen = Some((Ok(*loaded.stamps()), false));
            }
            // They were touched, or put into force while a change could not have been seen.
            Ok(loaded) if loaded.is_same_as(tls) => {
                self.apply(tls.with_stamps_of(&loaded), config);
            }
            Ok(loaded) => {
                let not_after = date(loaded.not_after());
                self.apply(loaded, config);
                info!(event = "certificate_renewed", not_after);
                warn_of_certificate(&self.configs.borrow());
            }
            Err(FileError { key, problem }) => {
                self.seen = seen.map(|seen| (seen, true));
                warn!(event = "certificate_refused", setting = key, problem);
            }
        }
    }

    fn apply(&self, tls: Tls, config: &Config) {
        self.configs.send_replace(Arc::new(Config { tls: Some(tls), ..config.clone() }));
    }

    /// Whether what was found can be put in force without a restart.
    fn compare(
        &self,
        (settings, config): (RawSettings, Config),
    ) -> Result<(RawSettings, Config), ConfigError> {
        let fixed = self.settings.changed(&settings).filter(|setting| setting.needs_restart);
        let problem = |setting: &Setting| {
            let origin = &settings.get(&setting.key).origin;
            format!("{} from {origin} needs a restart to change", setting.key)
        };
        ConfigError::check(fixed.map(problem).collect())?;
        Ok((settings, config))
    }
}

/// Does what has to do with the certificate's files on a thread of its own.
async fn on_disk_thread<T: Send + 'static>(
    thread: &DiskThread,
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    thread.run(work).await.unwrap_or_else(|error| {
        Err(FileError { key: "tls_cert_file", problem: format!("it cannot be read: {error}") })
    })
}

fn check(
    read: impl FnOnce() -> Result<Command, ConfigError>,
    open_files: u64,
) -> Result<(RawSettings, Config), ConfigError> {
    // The command line is the one that has started us.
    let Command::Serve(settings) = read()? else {
        return Err(ConfigError::new("the command line does not say to serve any more"));
    };
    let config = Config::check(&settings, open_files)?;
    Ok((settings, config))
}
