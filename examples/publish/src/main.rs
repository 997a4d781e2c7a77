//! A status server that publishes the body of each `POST /publish` on its admin listener:
//! `publish --admin-listen ADDRESS [the server's other options]`.
//!
//! That listener has no authentication: bind it to an address that clients cannot reach. The server refuses
//! requests to it from pages in browsers.

use std::env;
use std::future::ready;
use std::process::ExitCode;

use broadcast::Publisher;
use server::transport::hyper::{Method, Response, StatusCode};
use server::transport::{Message, Utf8Bytes};
use server::{AdminRequest, OptionalSeconds, Program, Server, SettingsReceiver, admin_response};
use tokio::time::timeout;

/// The allocator of the server's binary; see docs/performance.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Program::new("publish", env!("CARGO_PKG_VERSION"))
        .about("A status server that sends the body of each POST /publish to every client.")
        .settings::<PublishSettings>()
        .main(env::args_os().skip(1), |settings| {
            let publisher = Publisher::new();
            tokio::spawn(repeat(publisher.clone(), settings));
            Server::status(publisher.clone())
                .metrics(|registry| {
                    publisher.register(registry.sub_registry_with_prefix("ws_status"));
                })
                .admin(Method::POST, "/publish", move |request| ready(publish(&publisher, request)))
        })
}

/// What this program adds to the settings of the server.
#[derive(Debug, clap::Args, serde::Deserialize, schemars::JsonSchema)]
struct PublishSettings {
    /// Seconds after which the state is sent again, so that a page knows that its connection is alive. With
    /// compression = "shared" it takes some bytes, otherwise the whole state. 0 never repeats it.
    #[arg(long, value_name = "SECONDS", default_value = "0", help_heading = "Publish")]
    heartbeat_secs: OptionalSeconds,
}

/// Never returns.
async fn repeat(publisher: Publisher, mut settings: SettingsReceiver<PublishSettings>) {
    loop {
        match settings.get().heartbeat_secs {
            OptionalSeconds(None) => settings.changed().await,
            OptionalSeconds(Some(interval)) => {
                if timeout(interval, settings.changed()).await.is_err() {
                    publisher.republish();
                }
            }
        }
    }
}

/// The response says that the state was published, not that sessions have sent it.
fn publish(publisher: &Publisher, request: AdminRequest) -> Response<String> {
    match Utf8Bytes::try_from(request.body) {
        Ok(state) => {
            publisher.publish(Message::Text(state));
            admin_response(StatusCode::NO_CONTENT, "")
        }
        Err(_) => admin_response(StatusCode::BAD_REQUEST, "the state must be UTF-8\n"),
    }
}
