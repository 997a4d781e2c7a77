//! A program that has a subscriber of its own. It is global, so this is the only test here.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use server::Program;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Collects the names of events.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Names {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut self.clone());
    }
}

impl Visit for Names {
    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "event" {
            self.0.lock().expect("no test panics here").push(value.to_owned());
        }
    }
}

#[test]
fn a_program_with_its_own_subscriber_gets_the_events_of_the_server() {
    let names = Names::default();
    tracing_subscriber::registry().with(names.clone()).init();
    let flags = ["--listen=127.0.0.1:0", "--max-connections=10"].map(OsString::from);
    let program = Program::new("own", "1.2.3");
    let code = program.main(flags, |_| panic!("the server ends at once"));
    assert_eq!(code, ExitCode::FAILURE);
    let names = names.0.lock().expect("no test panics here");
    assert!(names.iter().any(|name| name == "task_failed"), "{names:?}");
}
