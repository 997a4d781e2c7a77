//! The composition of the server, and its end when a part of it fails.
//!
//! [`run`] composes the telemetry, the shutdown, the admin listener and the acceptors; [`supervision`]
//! watches the tasks that run as long as the server. The command line, signals and exit codes are in
//! `process`.

pub(crate) mod server;
pub(crate) mod supervision;

use std::future::Future;
use std::sync::Arc;

use crate::admin::Admin;
use crate::admission::Gate;
use crate::admission::auth_service::AuthService;
use crate::config::{ConfigReceiver, startup_warnings};
use crate::http::connection::Acceptor;
use crate::http::service::Http;
use crate::limits::ConnectionPermits;
use crate::net::listeners::Listeners;
use crate::routes::Router;
use crate::shutdown::{Shutdown, ShutdownSummary};
use crate::systemd;
use crate::telemetry::Telemetry;

use self::server::Server;
use self::supervision::Supervisor;

/// Serves on `listeners` until `shutdown` completes or the admin listener receives a drain request, and
/// returns when the shutdown has ended.
///
/// A failed task of the server also starts a shutdown; [`ShutdownSummary::failed`] names the task.
pub async fn run(
    configs: ConfigReceiver,
    listeners: Listeners,
    server: Server,
    shutdown: impl Future<Output = ()>,
) -> ShutdownSummary {
    run_supervised(configs, listeners, server, shutdown, Supervisor::default()).await
}

/// Like [`run`], with a supervisor that may have tasks already.
pub(crate) async fn run_supervised(
    configs: ConfigReceiver,
    listeners: Listeners,
    server: Server,
    signal: impl Future<Output = ()>,
    mut tasks: Supervisor<'_>,
) -> ShutdownSummary {
    let Server { routes, operations, sessions, metrics } = server;
    let telemetry = Arc::new(Telemetry::new(&configs.borrow(), metrics));
    let (shutdown, timer) = Shutdown::new(configs.clone(), sessions.clone());
    let shutdown = Arc::new(shutdown);
    let permits = ConnectionPermits::default();

    if let Some(listener) = listeners.admin {
        let (telemetry, shutdown) = (Arc::clone(&telemetry), Arc::clone(&shutdown));
        let admin = Admin {
            configs: configs.clone(),
            telemetry,
            shutdown,
            permits: permits.clone(),
            sessions,
            operations,
        };
        tasks.spawn("admin", admin.serve(listener));
    }
    tasks.spawn(supervision::TIMER, timer);
    let watched = Arc::clone(&shutdown);
    tasks.spawn("watchdog", systemd::run_watchdog(move || !watched.has_failed()));
    let reported = Arc::clone(&telemetry);
    let current = configs.clone();
    let mut is_spread_recommended = false;
    let status = move || {
        let sessions = reported.metrics.sessions();
        if !is_spread_recommended {
            let config = current.borrow().clone();
            is_spread_recommended = startup_warnings::recommend_spread(&config, sessions.open());
        }
        format!("{} sessions open, {} opened in total", sessions.open(), sessions.opened)
    };
    tasks.spawn("status", systemd::report_status(status));
    let limited = Arc::clone(&telemetry);
    tasks.spawn("log-limits", async move { limited.log_limits.summarize_periodically().await });

    let auth_service = AuthService::new(Arc::clone(&telemetry));
    let gate = Gate::new(configs.borrow().admission.max_concurrent, auth_service);
    let router = Router::new(Arc::clone(&telemetry), gate, routes);
    let acceptor =
        Arc::new(Acceptor::new(Http { router, permits, configs }, Arc::clone(&telemetry)));
    // The sockets listen already, so the kernel completes connections before the tasks run.
    shutdown.ready();
    systemd::ready();
    for listener in listeners.public {
        tasks.spawn(
            supervision::ACCEPT,
            Arc::clone(&acceptor).accept(listener, Arc::clone(&shutdown)),
        );
    }

    tasks.run(&shutdown, signal, &telemetry).await
}
