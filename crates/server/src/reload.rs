//! Reading the settings again while the server serves: all of them, or none.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::advice::{warn_of_certificate, warn_of_settings};
use crate::command::Command;
use crate::config::{Config, Configs};
use crate::log_writer::LogWriter;
use crate::runtime::on_a_thread;
use crate::settings::{Setting, Settings, Wrong};
use crate::tls::{BadFile, Files, Tls};

/// What cannot change while the server serves.
pub const NEEDS_RESTART: [&str; 6] = [
    "listen",
    "listen_unix_mode",
    "socket_buffer_bytes",
    "admin_listen",
    "connection_table",
    "log_format",
];

/// How often the files of the certificate are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// How often a certificate that nobody renews is warned of.
const REMINDER: Duration = Duration::from_secs(24 * 60 * 60);

/// The settings in force, and how they are changed.
#[derive(Debug)]
pub struct Reloader {
    settings: Settings,
    configs: watch::Sender<Arc<Config>>,
    open_files: u64,
    /// The certificate's files as they were last seen, or why they could not be, if they are not those
    /// in force; and whether they were found to be no good.
    seen: Option<(Result<Files, BadFile>, bool)>,
    reminded: Instant,
}

impl Reloader {
    /// Begins with settings from which this configuration was made.
    #[must_use]
    pub fn new(settings: Settings, config: Config, open_files: u64) -> Self {
        let configs = watch::Sender::new(Arc::new(config));
        Self { settings, configs, open_files, seen: None, reminded: Instant::now() }
    }

    /// The configuration in force, and its changes.
    #[must_use]
    pub fn configs(&self) -> Configs {
        self.configs.subscribe()
    }

    /// Puts the settings that `read` finds now in force, if they are good and can be without a
    /// restart. Otherwise those that are in force stay. The log says which.
    ///
    /// Reading happens on a thread of its own: a disk that does not answer must hold up neither a worker
    /// nor the shutdown.
    pub async fn reload(
        &mut self,
        log: &LogWriter,
        read: impl FnOnce() -> Result<Command, Wrong> + Send + 'static,
    ) {
        let open_files = self.open_files;
        let found = on_a_thread("settings", move || check(read, open_files)).await;
        match found
            .unwrap_or_else(|error| Err(Wrong(format!("no thread could read them: {error}"))))
            .and_then(|found| self.compare(found))
        {
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

    /// Looks at the files of the certificate again and again, for as long as it is polled. Cancel safe.
    pub async fn renew_certificates(&mut self) {
        loop {
            sleep(LOOK).await;
            self.look_at_certificate().await;
        }
    }

    /// Puts a new certificate in force if its files have changed since they were looked at before, and are
    /// the same as then. Other settings stay as they are. Cancel safe.
    pub async fn look_at_certificate(&mut self) {
        let config = self.configs.borrow().clone();
        let Some(tls) = &config.tls else { return };
        let paths = tls.paths().clone();
        // A disk that does not answer must not hold up a worker.
        let looked = on_a_thread("certificate", move || paths.read()).await;
        let looked = looked.unwrap_or_else(|error| {
            let problem = format!("no thread could read it: {error}");
            Err(BadFile { key: "tls_cert_file", problem })
        });
        self.look_at(looked, tls, &config);
        if self.reminded.elapsed() >= REMINDER {
            self.reminded = Instant::now();
            warn_of_certificate(&config);
        }
    }

    /// Files that are the same for the second time are complete: whoever renews a certificate writes
    /// one file after the other.
    fn look_at(&mut self, looked: Result<Files, BadFile>, tls: &Tls, config: &Config) {
        if looked.as_ref().is_ok_and(|files| files == tls.files()) {
            self.seen = None;
            return;
        }
        match &mut self.seen {
            Some((seen, is_bad)) if *seen == looked => {
                if mem::replace(is_bad, true) {
                    return;
                }
            }
            _ => {
                self.seen = Some((looked, false));
                return;
            }
        }
        match looked.and_then(|files| tls.renewed(files)) {
            Ok(renewed) => {
                let not_after = httpdate::fmt_http_date(renewed.not_after());
                self.configs
                    .send_replace(Arc::new(Config { tls: Some(renewed), ..config.clone() }));
                info!(event = "certificate_renewed", not_after);
                warn_of_certificate(&self.configs.borrow());
            }
            Err(BadFile { key, problem }) => {
                warn!(event = "certificate_refused", setting = key, problem);
            }
        }
    }

    /// Whether what was found can be put in force without a restart.
    fn compare(&self, (settings, config): (Settings, Config)) -> Result<(Settings, Config), Wrong> {
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

fn check(
    read: impl FnOnce() -> Result<Command, Wrong>,
    open_files: u64,
) -> Result<(Settings, Config), Wrong> {
    // The command line is the one that has started us.
    let Command::Serve(mut settings) = read()? else {
        return Err(Wrong("the command line does not say to serve any more".to_owned()));
    };
    let config = Config::check(&mut settings, open_files)?;
    Ok((settings, config))
}
