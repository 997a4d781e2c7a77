//! What systemd is told of us, where it wants to know (`Type=notify`). Elsewhere nothing happens.

use std::future::pending;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::sleep;

/// How often it is told how many sessions there are.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// The server serves, or serves by new settings.
pub(crate) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// The settings are being read again.
pub(crate) fn reloading() {
    // systemd wants to know when that began, to tell this from an older one.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

/// A shutdown has begun.
pub(crate) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Tells the line that `systemctl status` shows, until it is dropped.
pub(crate) async fn report_status(status: impl Fn() -> String) {
    loop {
        notify(&[NotifyState::Status(&status())]);
        sleep(STATUS_INTERVAL).await;
    }
}

/// Feeds the watchdog, if there is one, twice as often as it wants, for as long as the server is healthy.
/// It is to run on the workers: if these are stuck, it is not fed, and systemd ends the process.
pub(crate) async fn run_watchdog(is_healthy: impl Fn() -> bool) {
    if let Some(patience) = sd_notify::watchdog_enabled() {
        while is_healthy() {
            notify(&[NotifyState::Watchdog]);
            sleep(patience / 2).await;
        }
    }
    pending::<()>().await;
}

fn notify(state: &[NotifyState<'_>]) {
    // Whoever does not listen has no service manager, or one that has gone away.
    let _ = sd_notify::notify(state);
}
