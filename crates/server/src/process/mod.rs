//! The process: what happens from the command line to the exit code.
//!
//! [`main`] is the table of contents: signals, runtime, settings, listeners, log, serving, exit code.
//! `reload` reads settings and certificates again while the server serves.

mod disk_thread;
pub(crate) mod reload;
mod rlimit;
mod runtime;
mod signals;

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use tokio::sync::oneshot;
use tracing::{error, warn};
use transport::Handler;

use crate::app::run_supervised;
use crate::app::supervision::{Panicked, Supervisor, catch_panic};
use crate::config::Config;
use crate::config::cli::{Command, VERSION};
use crate::config::error::ConfigError;
use crate::config::sources::RawSettings;
use crate::config::startup_warnings;
use crate::files::ReadPhase;
use crate::net::inherited::InheritedSockets;
use crate::net::listener::Listeners;
use crate::shutdown::ShutdownSummary;
use crate::systemd;
use crate::telemetry::subscriber;

use self::disk_thread::on_a_thread;
use self::reload::Reloader;
use self::runtime::RuntimeError;
use self::signals::{Hangups, Signals};

/// All sessions were closed, though some may have had to be timed out.
const EXIT_DRAINED: u8 = 0;
/// Something failed while starting or running.
const EXIT_FAILURE: u8 = 1;
/// The command line, a setting or an address is wrong; nothing was started.
const EXIT_USAGE: u8 = 2;
/// The grace of the shutdown was over, and sessions were cut.
const EXIT_ABORTED: u8 = 3;

/// The thread that writes the log, among the tasks that are supervised. It cannot say itself that it failed.
const LOG: &str = "log";

/// Everything that the binary does: reads the command line, binds the ports, serves, reads its settings
/// again when asked to, and says by the exit code how it ended.
///
/// `arguments` are those behind the program's name. `handler` is called once, on the runtime and right
/// before the first client is accepted; each session gets a clone of what it gives. A task that it
/// spawns lives as long as the process.
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
pub fn main<H: Handler + Clone + Sync>(
    arguments: impl IntoIterator<Item = OsString>,
    handler: impl FnOnce() -> H,
) -> ExitCode {
    // Even the signals need some files.
    let open_files = rlimit::raise_limit();
    // Before anything that takes time: a SIGHUP that comes earlier ends the process. And before there are
    // workers, which would deal with a signal whose stream is not made yet, and it would be lost.
    let registered = runtime::with_current_thread(|| {
        signals::ignore_others()?;
        Ok((Signals::register()?, Hangups::register()?))
    });
    let started = registered.and_then(|registered| Ok((registered, runtime::start()?)));
    let (signals, runtime) = match started {
        Ok(started) => started,
        Err(error @ RuntimeError::Unavailable(_)) => return fail(EXIT_FAILURE, error),
        Err(error @ RuntimeError::WrongVariable(_)) => return fail(EXIT_USAGE, error),
    };
    let arguments = arguments.into_iter().collect();
    let code = runtime.block_on(start_up(arguments, open_files, signals, handler));
    runtime.shutdown_background(); // A handler that blocks its thread must not hold us up.
    code
}

async fn start_up<H: Handler + Clone + Sync>(
    arguments: Vec<OsString>,
    open_files: u64,
    (mut signals, hangups): (Signals, Hangups),
    handler: impl FnOnce() -> H,
) -> ExitCode {
    let again = arguments.clone();
    // A file or a terminal that does not answer must not make it deaf.
    let found = tokio::select! {
        biased;
        signal = signals.next() => return ExitCode::from(signal.exit_code()),
        found = on_a_thread("settings", move || execute(arguments, open_files)) => found,
    };
    match found {
        Ok(Ok((config, settings))) => {
            serve(config, settings, again, open_files, (signals, hangups), handler).await
        }
        Ok(Err(code)) => code,
        Err(error) => fail(EXIT_FAILURE, format_args!("cannot read its settings: {error}")),
    }
}

/// Does what the command line asks for. If that is to serve, there is no exit code yet.
fn execute(arguments: Vec<OsString>, open_files: u64) -> Result<(Config, RawSettings), ExitCode> {
    let usage = |wrong: ConfigError| {
        wrong.problems().iter().for_each(|problem| complain(problem));
        ExitCode::from(EXIT_USAGE)
    };
    let check = |settings: RawSettings| {
        Config::check(&settings, open_files).map(|config| (config, settings)).map_err(usage)
    };
    match Command::parse(arguments, env::vars_os()).map_err(usage)? {
        Command::Help(text) => Err(print(&text)),
        Command::Version => Err(print(&format!("{VERSION}\n"))),
        Command::CheckConfig(settings, _against) => {
            let (config, _) = check(settings)?;
            subscriber::without_a_thread(&config, || {
                startup_warnings::warn_of(&config, open_files);
            });
            Err(print("the configuration is good\n"))
        }
        Command::PrintConfig(settings) => {
            check(settings).and_then(|(_, settings)| Err(print(&settings.to_string())))
        }
        Command::Serve(settings) => check(settings),
    }
}

async fn serve<H: Handler + Clone + Sync>(
    config: Config,
    settings: RawSettings,
    arguments: Vec<OsString>,
    open_files: u64,
    (mut signals, mut hangups): (Signals, Hangups),
    handler: impl FnOnce() -> H,
) -> ExitCode {
    let passed = match InheritedSockets::from_env() {
        Ok(passed) => passed,
        Err(error) => return fail(EXIT_USAGE, error),
    };
    let are_for_another = passed.are_for_another;
    let listeners = match Listeners::bind(&config.listen, config.tls.is_some(), passed) {
        Ok(listeners) => listeners,
        Err(error) => {
            let origin = &settings.get(error.key).origin;
            let code = if error.is_shortage() { EXIT_FAILURE } else { EXIT_USAGE };
            return fail(code, format_args!("{} from {origin}: {error}", error.key));
        }
    };
    let writer = match subscriber::start(&config) {
        Ok(writer) => writer,
        Err(error) => return fail(EXIT_FAILURE, format_args!("cannot start the log: {error}")),
    };
    startup_warnings::log_startup(&config, &settings, &listeners, open_files);
    if are_for_another {
        startup_warnings::warn_of_sockets_of_another_process();
    }

    let (stop, stopping) = oneshot::channel();
    let second_signal = async {
        signals.next().await;
        // Nobody listens only if it has stopped already.
        let _ = stop.send(());
        signals.next().await
    };
    let shutdown = async { stopping.await.unwrap_or_default() };
    let mut reloader = Reloader::new(settings, config, open_files);
    let configs = reloader.configs();
    let mut tasks = Supervisor::default();
    tasks.run_local(LOG, writer.ended());
    tasks.run_local("reload", async {
        loop {
            tokio::select! {
                () = hangups.next() => {}
                () = reloader.renew_certificates() => {}
            }
            systemd::reloading();
            let arguments = arguments.clone();
            let read = || Command::parse_in(ReadPhase::Serving, arguments, env::vars_os());
            reloader.reload(&writer, read).await;
            systemd::ready();
        }
    });
    let serving =
        catch_panic(async { run_supervised(configs, listeners, handler(), shutdown, tasks).await });
    tokio::select! {
        stopped = serving => match stopped {
            Ok(ShutdownSummary { failed: Some(LOG), .. }) => fail(EXIT_FAILURE, "the log's thread has failed"),
            Ok(ShutdownSummary { failed: Some(_), .. }) => ExitCode::from(EXIT_FAILURE),
            Ok(ShutdownSummary { aborted: 0, .. }) => ExitCode::from(EXIT_DRAINED),
            Ok(ShutdownSummary { .. }) => ExitCode::from(EXIT_ABORTED),
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

/// Prints what a person asked for.
fn print(text: &str) -> ExitCode {
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(EXIT_FAILURE, format_args!("cannot write: {error}")),
    }
}

/// Prints a problem, and returns the exit code for it.
fn fail(code: u8, problem: impl Display) -> ExitCode {
    complain(&problem.to_string());
    ExitCode::from(code)
}

/// Prints a problem to stderr in one line, whatever is quoted in it.
fn complain(problem: &str) {
    let escape =
        |c: char| if c.is_control() { c.escape_default().collect() } else { c.to_string() };
    let line: String = problem.chars().map(escape).collect();
    // Best effort: without a stderr only the exit code tells.
    let _ = io::stderr().write_all(format!("server: {line}\n").as_bytes());
}
