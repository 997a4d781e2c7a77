//! Notifications to systemd (`Type=notify`). Without `NOTIFY_SOCKET` they do nothing.

use std::future::pending;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::sleep;

/// Interval of the status line.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// Reports that the server is ready, or that a reload has finished.
pub(crate) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Reports that this process has taken over from the main process of the service, and is ready.
pub(crate) fn ready_as_main_process() {
    notify(&[NotifyState::MainPid(process::id()), NotifyState::Ready]);
}

/// Whether another process is the main process of the service.
static IS_RELEASED: AtomicBool = AtomicBool::new(false);

/// Reports that another process is the main process of the service now, and nothing any more. That process
/// reports it as well, and this one in case that it is not listened to yet (`NotifyAccess=main`).
pub(crate) fn release_to(pid: u32) {
    notify(&[NotifyState::MainPid(pid)]);
    IS_RELEASED.store(true, Ordering::Relaxed);
}

/// Reports that a reload of the settings has begun.
pub(crate) fn reloading() {
    // The timestamp lets systemd distinguish this reload from an earlier one.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

/// Reports that a shutdown has begun.
pub(crate) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Reports the line that `systemctl status` shows, every 5 seconds until it is dropped.
pub(crate) async fn report_status(mut status: impl FnMut() -> String) {
    loop {
        notify(&[NotifyState::Status(&status())]);
        sleep(STATUS_INTERVAL).await;
    }
}

/// Notifies the watchdog, if one is set, at half its timeout while the server is healthy.
///
/// Must run on the runtime's workers: when they are blocked, the notifications stop and systemd ends the
/// process.
pub(crate) async fn run_watchdog(is_healthy: impl Fn() -> bool) {
    if let Some(watchdog_timeout) = sd_notify::watchdog_enabled() {
        while is_healthy() {
            notify(&[NotifyState::Watchdog]);
            sleep(watchdog_timeout / 2).await;
        }
    }
    pending::<()>().await;
}

fn notify(state: &[NotifyState<'_>]) {
    if !IS_RELEASED.load(Ordering::Relaxed) {
        // Best effort: sending fails when the service manager is not reachable.
        let _ = sd_notify::notify(state);
    }
}
