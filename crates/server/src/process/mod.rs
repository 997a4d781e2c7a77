//! The process, from the command line to the exit code.
//!
//! [`main`] shows the order: signals, runtime, settings, listeners, log, serving, exit code. `reload`
//! reloads settings and certificates while the server runs. The composition of the server itself is in
//! `app`.

mod disk_thread;
pub(crate) mod program;
pub(crate) mod reload;
mod rlimit;
mod running_server;
mod runtime;
mod signals;
mod successor;

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::OnceLock;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tracing::{error, warn};
use transport::Admit;

use crate::app::Composition;
use crate::app::server::Server;
use crate::app::supervision::{Panicked, Supervisor, catch_panic};
use crate::config::cli::Command;
use crate::config::definitions::Definitions;
use crate::config::error::ConfigError;
use crate::config::sources::RawSettings;
use crate::config::startup_warnings;
use crate::config::{Config, ConfigReceiver};
use crate::files::LoadReason;
use crate::handover;
use crate::net::inherited::InheritedSockets;
use crate::net::listeners::Listeners;
use crate::shutdown::ShutdownSummary;
use crate::systemd;
use crate::telemetry::subscriber;

use self::disk_thread::on_new_thread;
use self::reload::Reloader;
use self::runtime::RuntimeError;
use self::signals::{Requests, Signals};
use self::successor::SuccessorCommand;

/// All sessions were closed, some possibly by their close timeout.
const EXIT_DRAINED: u8 = 0;
/// The server failed at startup or while it ran.
const EXIT_FAILURE: u8 = 1;
/// The command line, a setting or an address is invalid; nothing was started.
const EXIT_USAGE: u8 = 2;
/// Sessions were aborted at the end of the grace period.
const EXIT_ABORTED: u8 = 3;

/// The supervised task that waits for the log thread. Its failure is reported on stderr, not in the log.
const LOG: &str = "log";

/// The name before each problem on stderr.
static PROGRAM_NAME: OnceLock<&str> = OnceLock::new();

/// Runs the process of the binary `server`, with one endpoint at [`PATH`](crate::PATH).
///
/// `admit` is called once, on the runtime, right before the first client is accepted. Its result decides on
/// each handshake; a handler that can be cloned admits everybody, and each session gets a clone.
/// [`Program`](crate::Program) has more to choose.
///
/// ```no_run
/// use std::env;
/// use std::process::ExitCode;
///
/// use server::transport::Discard;
///
/// fn main() -> ExitCode {
///     server::main(env::args_os().skip(1), || Discard)
/// }
/// ```
pub fn main<A: Admit + 'static>(
    arguments: impl IntoIterator<Item = OsString>,
    admit: impl FnOnce() -> A,
) -> ExitCode {
    let arguments = arguments.into_iter().collect();
    run(Definitions::of_server(), arguments, |_| Server::status(admit()))
}

/// Runs the process of a program, from the command line to the exit code.
fn run(
    definitions: &'static Definitions,
    arguments: Vec<OsString>,
    server: impl FnOnce(ConfigReceiver) -> Server,
) -> ExitCode {
    PROGRAM_NAME.get_or_init(|| definitions.name);
    // First, because registering signals already opens files.
    let open_files = rlimit::raise_limit();
    // Before anything that takes time, because an earlier SIGHUP ends the process. Also before the workers
    // start: they would consume a signal whose stream does not exist yet, and it would be lost.
    let registered = runtime::with_current_thread(|| {
        signals::ignore_others()?;
        Ok((Signals::register()?, Requests::of_reloads()?, Requests::of_successors()?))
    });
    let started = registered.and_then(|registered| Ok((registered, runtime::start()?)));
    let (signals, runtime) = match started {
        Ok(started) => started,
        Err(error @ RuntimeError::Unavailable(_)) => return fail(EXIT_FAILURE, error),
        Err(error @ RuntimeError::InvalidVariable(_)) => return fail(EXIT_USAGE, error),
    };
    let code =
        runtime.block_on(load_and_serve(definitions, arguments, open_files, signals, server));
    runtime.shutdown_background(); // Does not wait for a handler that blocks its thread.
    code
}

async fn load_and_serve(
    definitions: &'static Definitions,
    arguments: Vec<OsString>,
    open_files: u64,
    (mut signals, reloads, successors): (Signals, Requests, Requests),
    server: impl FnOnce(ConfigReceiver) -> Server,
) -> ExitCode {
    let reload_arguments = arguments.clone();
    let runtime = Handle::current();
    // On a thread of its own, so that a file that blocks does not delay the signals.
    let loaded = tokio::select! {
        biased;
        signal = signals.next() => return ExitCode::from(signal.exit_code()),
        loaded = on_new_thread("settings", move || {
            run_command(definitions, arguments, open_files, &runtime)
        }) => loaded,
    };
    match loaded {
        Ok(Ok((config, predecessor))) => {
            let signals = (signals, reloads, successors);
            serve(config, predecessor, reload_arguments, open_files, signals, server).await
        }
        Ok(Err(code)) => code,
        Err(error) => fail(EXIT_FAILURE, format_args!("cannot read the settings: {error}")),
    }
}

/// Runs the command of the command line. Returns the configuration to serve with and the takeover listener of
/// the predecessor, or the exit code of any other command.
fn run_command(
    definitions: &'static Definitions,
    arguments: Vec<OsString>,
    open_files: u64,
    runtime: &Handle,
) -> Result<(Config, Option<PathBuf>), ExitCode> {
    let usage_error = |error: ConfigError| {
        error.problems().iter().for_each(|problem| print_problem(problem));
        ExitCode::from(EXIT_USAGE)
    };
    let check = |settings: RawSettings| Config::check(settings, open_files).map_err(usage_error);
    let command = Command::parse_for(definitions, LoadReason::Startup, arguments, env::vars_os());
    match command.map_err(usage_error)? {
        Command::Help(text) => Err(print(&text)),
        Command::Version => Err(print(&format!("{}\n", definitions.name_and_version()))),
        Command::CheckConfig(settings, against) => {
            let config = check(settings)?;
            let warnings = subscriber::with_synchronous_log(&config, || {
                startup_warnings::warn_about_config(&config, open_files);
            });
            let changes =
                against.map(|url| running_server::changes(&url, &config, runtime)).transpose();
            let changes = changes.map_err(|problem| fail(EXIT_FAILURE, problem))?;
            let verdict = match warnings {
                0 => "the configuration is valid\n".to_owned(),
                1 => "the configuration is valid, with a warning\n".to_owned(),
                count => format!("the configuration is valid, with {count} warnings\n"),
            };
            Err(print(&format!("{verdict}{}", changes.unwrap_or_default())))
        }
        Command::PrintConfig(settings) => {
            check(settings).and_then(|config| Err(print(&config.settings.to_string())))
        }
        Command::Serve(settings, predecessor) => Ok((check(settings)?, predecessor)),
    }
}

async fn serve(
    config: Config,
    predecessor: Option<PathBuf>,
    arguments: Vec<OsString>,
    open_files: u64,
    (mut signals, mut reloads, mut successors): (Signals, Requests, Requests),
    server: impl FnOnce(ConfigReceiver) -> Server,
) -> ExitCode {
    let successor = SuccessorCommand::new(&arguments);
    let definitions = config.settings.definitions();
    let inherited = match InheritedSockets::from_env() {
        Ok(inherited) => inherited,
        Err(error) => return fail(EXIT_USAGE, error),
    };
    let are_for_another = inherited.are_for_another;
    let greeted = match &predecessor {
        Some(path) => match handover::successor::connect(path, config.shutdown).await {
            Ok((greeting, sockets)) => Some((greeting, sockets)),
            Err(problem) => return fail(EXIT_FAILURE, cannot_take_over(path, &problem)),
        },
        None => None,
    };
    let (greeting, handed_over) = greeted.unzip();
    let handed_over = handed_over.unwrap_or_default();
    let has_certificate = config.tls.is_some();
    let listeners = match Listeners::bind(&config.listen, has_certificate, inherited, handed_over) {
        Ok(listeners) => listeners,
        Err(error) => {
            let source = &config.settings.get(error.key).source;
            let code = if error.is_shortage() { EXIT_FAILURE } else { EXIT_USAGE };
            return fail(code, format_args!("{} from {source}: {error}", error.key));
        }
    };
    let writer = match subscriber::start(&config) {
        Ok(writer) => writer,
        Err(error) => return fail(EXIT_FAILURE, format_args!("cannot start the log: {error}")),
    };
    let (stop, stopping) = oneshot::channel();
    let second_signal = async {
        signals.next().await;
        // Fails only if the server has stopped already.
        let _ = stop.send(());
        signals.next().await
    };
    let shutdown = async { stopping.await.unwrap_or_default() };
    let mut reloader = Reloader::new(config, open_files);
    let configs = reloader.configs();
    let current = reloader.configs();
    let mut tasks = Supervisor::default();
    if let Some(writer) = &writer {
        tasks.add_local(LOG, writer.thread_ended());
    }
    tasks.add_local("reload", async {
        loop {
            tokio::select! {
                () = reloads.next() => {}
                () = reloader.renew_certificates() => {}
            }
            systemd::reloading();
            let arguments = arguments.clone();
            let read =
                || Command::parse_for(definitions, LoadReason::Reload, arguments, env::vars_os());
            reloader.reload(writer.as_ref(), read).await;
            systemd::ready();
        }
    });
    tasks.add_local("successor", async {
        loop {
            successors.next().await;
            successor.start(current.borrow().listen.takeover.as_deref());
        }
    });
    let serving = catch_panic(async {
        let server = server(configs.clone());
        let config = configs.borrow().clone();
        startup_warnings::log_startup(&config, &listeners, open_files, &server.paths());
        if server.has_operations() && listeners.admin.is_none() {
            startup_warnings::warn_about_missing_admin_listener();
        }
        if are_for_another {
            startup_warnings::warn_about_unused_sockets();
        }
        let composition = Composition::new(configs, server, &mut tasks);
        let mut shutdown = pin!(shutdown);
        match greeting {
            Some(greeting) => {
                composition.take_over(greeting, &listeners, &mut shutdown).await?;
                systemd::ready_as_main_process();
            }
            None => systemd::ready(),
        }
        Ok::<_, String>(composition.serve(listeners, shutdown, tasks).await)
    });
    tokio::select! {
        summary = serving => match summary {
            Ok(Err(problem)) => {
                let path = predecessor.unwrap_or_default();
                fail(EXIT_FAILURE, cannot_take_over(&path, &problem))
            }
            Ok(Ok(ShutdownSummary { failed: Some(LOG), .. })) => fail(EXIT_FAILURE, "the log thread has failed"),
            Ok(Ok(ShutdownSummary { failed: Some(_), .. })) => ExitCode::from(EXIT_FAILURE),
            Ok(Ok(ShutdownSummary { aborted: 0, .. })) => ExitCode::from(EXIT_DRAINED),
            Ok(Ok(ShutdownSummary { .. })) => ExitCode::from(EXIT_ABORTED),
            Err(Panicked) => {
                error!(event = "task_failed", task = "main");
                ExitCode::from(EXIT_FAILURE)
            }
        },
        signal = second_signal => {
            warn!(event = "forced_exit", exit_code = signal.exit_code());
            ExitCode::from(signal.exit_code())
        }
    }
}

/// Returns the sentence that says why nothing was taken over.
fn cannot_take_over(path: &Path, problem: &str) -> String {
    format!("cannot take over from unix:{}: {problem}", path.display())
}

/// Prints to stdout.
fn print(text: &str) -> ExitCode {
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(EXIT_FAILURE, format_args!("cannot write to stdout: {error}")),
    }
}

/// Prints a problem, and returns the exit code.
fn fail(code: u8, problem: impl Display) -> ExitCode {
    print_problem(&problem.to_string());
    ExitCode::from(code)
}

/// Prints one line to stderr.
fn print_problem(problem: &str) {
    // Control characters in quoted input are escaped, so that it stays one line.
    let escape =
        |c: char| if c.is_control() { c.escape_default().collect() } else { c.to_string() };
    let line: String = problem.chars().map(escape).collect();
    // Best effort: the exit code reports the failure as well.
    let name = PROGRAM_NAME.get().copied().unwrap_or("server");
    let _ = io::stderr().write_all(format!("{name}: {line}\n").as_bytes());
}
