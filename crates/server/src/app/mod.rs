//! The server as a whole: what it is composed of, and how it ends when a part of it fails.
//!
//! [`run`] composes the records, the shutdown, the admin listener and the acceptors; [`supervision`]
//! watches the tasks that live as long as the server. What is around it (command line, signals, exit
//! code) is `process`.

pub(crate) mod supervision;

use std::future::Future;
use std::sync::Arc;

use transport::{Endpoint, Handler};

use crate::admin::Admin;
use crate::config::ConfigReceiver;
use crate::http::connection::Acceptor;
use crate::http::service::Http;
use crate::limits::ConnectionPermits;
use crate::net::listener::Listeners;
use crate::routes::Router;
use crate::shutdown::{Shutdown, ShutdownSummary};
use crate::systemd;
use crate::telemetry::Telemetry;

use self::supervision::Supervisor;

/// Serves on `listeners` until `shutdown` completes, or the admin listener is asked to drain, and
/// everything has come to its end.
///
/// Each session gets a clone of `handler`. If a task of the server's own fails, that is a shutdown as
/// well, and [`ShutdownSummary::failed`] names the task.
pub async fn run<H: Handler + Clone + Sync>(
    configs: ConfigReceiver,
    listeners: Listeners,
    handler: H,
    shutdown: impl Future<Output = ()>,
) -> ShutdownSummary {
    run_supervised(configs, listeners, handler, shutdown, Supervisor::default()).await
}

/// The same beside tasks that the supervisor has already.
pub(crate) async fn run_supervised<H: Handler + Clone + Sync>(
    configs: ConfigReceiver,
    listeners: Listeners,
    handler: H,
    shutdown: impl Future<Output = ()>,
    mut tasks: Supervisor<'_>,
) -> ShutdownSummary {
    let telemetry = Arc::new(Telemetry::new(&configs.borrow()));
    let (end, timer) = Shutdown::new(configs.clone());
    let end = Arc::new(end);
    let permits = ConnectionPermits::default();

    if let Some(listener) = listeners.admin {
        let (telemetry, end, permits) = (Arc::clone(&telemetry), Arc::clone(&end), permits.clone());
        tasks.spawn("admin", Admin::new(configs.clone(), telemetry, end, permits).serve(listener));
    }
    tasks.spawn(supervision::TIMER, timer);
    let healthy = Arc::clone(&end);
    tasks.spawn("watchdog", systemd::run_watchdog(move || !healthy.has_failed()));
    let reported = Arc::clone(&telemetry);
    tasks.spawn("status", systemd::report_status(move || session_counts(&reported)));
    let limited = Arc::clone(&telemetry);
    tasks.spawn("log-limits", async move { limited.log_limits.summarize_regularly().await });

    let router = Router::new(Endpoint::new(handler, Arc::clone(&telemetry)));
    let acceptor =
        Arc::new(Acceptor::new(Http { router, permits, configs }, Arc::clone(&telemetry)));
    // The system accepts for us from here on.
    end.ready();
    systemd::ready();
    for listener in listeners.public {
        tasks.spawn(supervision::ACCEPT, Arc::clone(&acceptor).accept(listener, Arc::clone(&end)));
    }

    tasks.run(&end, shutdown, &telemetry).await
}

/// The line of `systemctl status`.
fn session_counts(telemetry: &Telemetry) -> String {
    let count = telemetry.metrics.sessions();
    format!("{} sessions open, {} so far", count.open(), count.opened)
}
