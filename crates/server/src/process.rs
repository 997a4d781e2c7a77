//! The process: what happens from the command line to the exit code.

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use tokio::sync::oneshot;
use tracing::warn;
use transport::Handler;

use crate::command::{Command, VERSION, help};
use crate::config::Config;
use crate::listen::Listeners;
use crate::passed::Passed;
use crate::reload::Reloader;
use crate::settings::Settings;
use crate::shutdown::Stopped;
use crate::signals::{Hangups, Signals};
use crate::{advice, log, open_files, run, systemd};

/// All sessions were closed, though some may have had to be timed out.
const DRAINED: u8 = 0;
/// Something failed while running.
const FAILED: u8 = 1;
/// The command line, a setting or an address is wrong; nothing was started.
const MISUSED: u8 = 2;
/// The grace of the shutdown was over, and sessions were cut.
const ABORTED: u8 = 3;

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
/// use server::transport::Silent;
///
/// fn main() -> ExitCode {
///     server::main(env::args_os().skip(1), || Silent)
/// }
/// ```
pub fn main<H: Handler + Clone + Sync>(
    arguments: impl IntoIterator<Item = OsString>,
    handler: impl FnOnce() -> H,
) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let command = match Command::parse(arguments.clone(), env::vars_os()) {
        Ok(command) => command,
        Err(wrong) => return complain(MISUSED, wrong),
    };
    let open_files = open_files::raise_limit();
    match command {
        Command::Help => answer(&help()),
        Command::Version => answer(&format!("{VERSION}\n")),
        Command::CheckConfig(mut settings) => match Config::check(&mut settings, open_files) {
            Ok(_) => answer("the configuration is good\n"),
            Err(wrong) => complain(MISUSED, wrong),
        },
        Command::PrintConfig(mut settings) => match Config::check(&mut settings, open_files) {
            Ok(_) => answer(&settings.to_string()),
            Err(wrong) => complain(MISUSED, wrong),
        },
        Command::Serve(settings) => serve(settings, arguments, open_files, handler),
    }
}

fn serve<H: Handler + Clone + Sync>(
    mut settings: Settings,
    arguments: Vec<OsString>,
    open_files: u64,
    handler: impl FnOnce() -> H,
) -> ExitCode {
    let config = match Config::check(&mut settings, open_files) {
        Ok(config) => config,
        Err(wrong) => return complain(MISUSED, wrong),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            let serving = serve_on_runtime(config, settings, arguments, open_files, handler);
            let code = runtime.block_on(serving);
            runtime.shutdown_background(); // A handler that blocks its thread must not hold us up.
            code
        }
        Err(error) => complain(FAILED, format_args!("cannot start its threads: {error}")),
    }
}

async fn serve_on_runtime<H: Handler + Clone + Sync>(
    config: Config,
    settings: Settings,
    arguments: Vec<OsString>,
    open_files: u64,
    handler: impl FnOnce() -> H,
) -> ExitCode {
    // Before the port is bound: whoever can reach the server can also stop it gracefully.
    let registered = Signals::register().and_then(|signals| Ok((signals, Hangups::register()?)));
    let (mut signals, mut hangups) = match registered {
        Ok(registered) => registered,
        Err(error) => {
            return complain(FAILED, format_args!("cannot register for signals: {error}"));
        }
    };
    let passed = match Passed::from_env() {
        Ok(passed) => passed,
        Err(error) => return complain(MISUSED, error),
    };
    let are_for_another = passed.are_for_another;
    let listeners = match Listeners::bind(&config, passed) {
        Ok(listeners) => listeners,
        Err(error) => {
            let origin = &settings.get(error.key).origin;
            let code = if error.is_shortage() { FAILED } else { MISUSED };
            return complain(code, format_args!("{} from {origin}: {error}", error.key));
        }
    };
    let writer = match log::start(&config) {
        Ok(writer) => writer,
        Err(error) => return complain(FAILED, format_args!("cannot start the log: {error}")),
    };
    advice::announce(&config, &settings, &listeners, open_files);
    if are_for_another {
        advice::warn_of_sockets_for_another();
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
    let reloads = async {
        loop {
            tokio::select! {
                () = hangups.next() => {}
                () = reloader.renew_certificates() => {}
            }
            systemd::reloading();
            let arguments = arguments.clone();
            reloader.reload(&writer, || Command::parse(arguments, env::vars_os())).await;
            systemd::ready();
        }
    };
    tokio::select! {
        stopped = run(configs, listeners, handler(), shutdown) => match stopped {
            Stopped { aborted: 0, .. } => ExitCode::from(DRAINED),
            Stopped { .. } => ExitCode::from(ABORTED),
        },
        signal = second_signal => {
            warn!(event = "cut_short", exit_code = signal.exit_code());
            ExitCode::from(signal.exit_code())
        }
        code = reloads => code,
    }
}

/// Prints what a person asked for.
fn answer(text: &str) -> ExitCode {
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(FAILED, format_args!("cannot write: {error}")),
    }
}

/// Says in one sentence what is wrong.
fn complain(code: u8, problem: impl Display) -> ExitCode {
    // One line, whatever is quoted in it.
    let problem = problem.to_string();
    let escape =
        |c: char| if c.is_control() { c.escape_default().collect() } else { c.to_string() };
    let line: String = problem.chars().map(escape).collect();
    // Where even that fails there is nobody to tell; the exit code still says it.
    let _ = io::stderr().write_all(format!("server: {line}\n").as_bytes());
    ExitCode::from(code)
}
