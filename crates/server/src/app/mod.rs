//! The composition of the server, and its end when a part of it fails.
//!
//! [`run`] composes the telemetry, the shutdown, the admin listener and the acceptors; [`supervision`]
//! watches the tasks that run as long as the server. The command line, signals and exit codes are in
//! `process`.

pub(crate) mod server;
pub(crate) mod supervision;

use std::future::Future;
use std::sync::{Arc, Weak};

use tokio::sync::watch;
use transport::SessionRegistry;

use crate::admin::Admin;
use crate::admin::operations::Operations;
use crate::admission::Gate;
use crate::admission::auth_service::AuthService;
use crate::config::{ConfigReceiver, startup_warnings};
use crate::handover::states::OperationLock;
use crate::handover::status::HandoverStatus;
use crate::handover::successor::{Greeting, take_over};
use crate::handover::{self, ThisProcess};
use crate::http::connection::Acceptor;
use crate::http::service::Http;
use crate::limits::ConnectionPermits;
use crate::net::handed_over::ListenerKind;
use crate::net::listener::Listener;
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
    let mut tasks = Supervisor::default();
    let composition = Composition::new(configs, server, &mut tasks);
    systemd::ready();
    composition.serve(listeners, shutdown, tasks).await
}

/// A server that is composed, and does not accept yet.
pub(crate) struct Composition {
    process: Arc<ThisProcess>,
    operations: Operations,
    sessions: SessionRegistry,
}

impl Composition {
    /// Composes a server. `tasks` gets the task without which no session runs.
    pub(crate) fn new(configs: ConfigReceiver, server: Server, tasks: &mut Supervisor<'_>) -> Self {
        let Server { routes, operations, sessions, metrics, states } = server;
        let telemetry = Arc::new(Telemetry::new(&configs.borrow(), metrics));
        let (shutdown, timer) = Shutdown::new(configs.clone(), sessions.clone());
        tasks.spawn(supervision::TIMER, timer);
        let auth_service = AuthService::new(Arc::clone(&telemetry));
        let gate = Gate::new(configs.borrow().admission.max_concurrent, auth_service);
        let process = Arc::new(ThisProcess {
            configs,
            is_taking_over: watch::Sender::new(false),
            operations: OperationLock::default(),
            permits: ConnectionPermits::default(),
            router: Arc::new(Router::new(Arc::clone(&telemetry), gate, routes)),
            shutdown: Arc::new(shutdown),
            states,
            status: HandoverStatus::default(),
            telemetry,
        });
        Self { process, operations, sessions }
    }

    /// Takes the sessions and the listening sockets over from the predecessor. Sessions that come to rest later
    /// follow while this process serves. `stop` ends it before that.
    ///
    /// # Errors
    ///
    /// A sentence: why nothing was taken over. The predecessor goes on.
    pub(crate) async fn take_over(
        &self,
        predecessor: Greeting,
        listeners: &Listeners,
        stop: impl Future<Output = ()>,
    ) -> Result<(), String> {
        let taking_over = take_over(Arc::clone(&self.process), predecessor, stop).await?;
        listeners.own_files();
        tokio::spawn(taking_over.finish());
        Ok(())
    }

    /// Serves until the shutdown ends, which `signal`, the admin listener or a failed task starts.
    pub(crate) async fn serve(
        self,
        listeners: Listeners,
        signal: impl Future<Output = ()>,
        mut tasks: Supervisor<'_>,
    ) -> ShutdownSummary {
        let Self { process, operations, sessions } = self;
        // The sockets listen already, so the kernel completes connections before the tasks run.
        process.shutdown.ready();
        spawn_tasks(&mut tasks, &process, listeners, operations, sessions);
        tasks.run(&process.shutdown, signal, &process.telemetry).await
    }
}

/// Spawns the tasks that run as long as the server.
fn spawn_tasks(
    tasks: &mut Supervisor<'_>,
    process: &Arc<ThisProcess>,
    listeners: Listeners,
    operations: Operations,
    sessions: SessionRegistry,
) {
    let ThisProcess { configs, permits, router, shutdown, telemetry, .. } = &**process;
    let all = listeners.into_shared();
    let weak = all.iter().map(|(kind, listener)| (*kind, Arc::downgrade(listener)));
    let weak: Vec<(ListenerKind, Weak<Listener>)> = weak.collect();
    let http =
        Http { router: Arc::clone(router), permits: permits.clone(), configs: configs.clone() };
    let acceptor = Arc::new(Acceptor::new(http, Arc::clone(telemetry)));
    let mut admin = Some(Admin { process: Arc::clone(process), sessions, operations });
    for (kind, listener) in all {
        match kind {
            ListenerKind::Admin => {
                if let Some(admin) = admin.take() {
                    tasks.spawn("admin", admin.serve(listener));
                }
            }
            ListenerKind::Public => tasks.spawn(
                supervision::ACCEPT,
                Arc::clone(&acceptor).accept(listener, Arc::clone(shutdown)),
            ),
            ListenerKind::Takeover => tasks.spawn(
                "takeover",
                handover::predecessor::serve(Arc::clone(process), listener, weak.clone()),
            ),
        }
    }
    let watched = Arc::clone(shutdown);
    tasks.spawn("watchdog", systemd::run_watchdog(move || !watched.has_failed()));
    let reported = Arc::clone(telemetry);
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
    let limited = Arc::clone(telemetry);
    tasks.spawn("log-limits", async move { limited.log_limits.summarize_periodically().await });
}
