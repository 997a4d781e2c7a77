//! Settings that a program adds to those of the server. `main` sets the global log subscriber, so only one test
//! calls it.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use server::{Program, Seconds};

#[derive(Debug, clap::Args, serde::Deserialize, schemars::JsonSchema)]
struct GreetingSettings {
    /// Seconds until the greeting.
    #[arg(long, value_name = "SECONDS", default_value = "30", help_heading = "Greeting")]
    greeting_secs: Seconds,
    /// Seconds between two greetings.
    #[arg(long, value_name = "SECONDS", default_value = "60", help_heading = "Greeting")]
    repeat_secs: Seconds,
}

#[derive(Debug, clap::Args, serde::Deserialize, schemars::JsonSchema)]
struct ClashingSettings {
    /// A setting of the server.
    #[arg(long, value_name = "SECONDS", default_value = "30", help_heading = "Greeting")]
    ping_interval_secs: Seconds,
}

#[test]
fn a_program_gets_its_settings_with_their_defaults() {
    let flags = ["--listen=127.0.0.1:0", "--max-connections=10", "--greeting-secs=5"];
    let program = Program::new("greeting", "1.2.3").settings::<GreetingSettings>();
    let seen = Mutex::new(None);
    let code = program.main(flags.map(OsString::from), |settings| {
        let settings = settings.get();
        *seen.lock().expect("only this thread uses it") =
            Some((settings.greeting_secs.0, settings.repeat_secs.0));
        panic!("the server ends at once")
    });
    assert_eq!(code, ExitCode::FAILURE);
    let seen = seen.into_inner().expect("only this test uses it");
    assert_eq!(seen, Some((Duration::from_secs(5), Duration::from_secs(60))));
}

#[test]
#[should_panic(expected = "the server has a setting ping_interval_secs already")]
fn a_program_cannot_replace_a_setting_of_the_server() {
    let program = Program::new("clashing", "1.2.3").settings::<ClashingSettings>();
    let _ = program.command_line();
}

#[test]
fn an_invalid_setting_of_a_program_is_a_usage_error() {
    let program = Program::new("greeting", "1.2.3").settings::<GreetingSettings>();
    let code = program
        .main([OsString::from("--greeting-secs=never")], |_| panic!("the server is not created"));
    assert_eq!(code, ExitCode::from(2));
}
