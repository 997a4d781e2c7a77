//! A status server that publishes the body of each `POST /publish` on its admin listener:
//! `publish --admin-listen ADDRESS [the server's other options]`.
//!
//! That listener has no authentication: bind it to an address that clients cannot reach. The server refuses
//! requests to it from pages in browsers.

use std::env;
use std::future::ready;
use std::process::ExitCode;

use broadcast::{Publisher, Tag};
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
            let (frozen, restored) = (publisher.clone(), publisher.clone());
            Server::status(publisher.clone())
                .hand_over(
                    "state",
                    move || frozen.freeze(),
                    move |state| {
                        restored.restore(&state);
                    },
                )
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

/// Publishes the body, with the tag of the query `tag=…` if there is one: a client that has the state with
/// this tag is not sent it again, also after a restart.
///
/// The response says that the state was published, not that sessions have sent it.
fn publish(publisher: &Publisher, request: AdminRequest) -> Response<String> {
    let query = request.head.uri.query();
    let tag = query.map(|query| query.strip_prefix("tag=").unwrap_or_default().parse::<Tag>());
    match (Utf8Bytes::try_from(request.body), tag.transpose()) {
        (Ok(state), Ok(Some(tag))) => publisher.publish_tagged(tag, Message::Text(state)),
        (Ok(state), Ok(None)) => publisher.publish(Message::Text(state)),
        (Ok(_), Err(invalid)) => {
            return admin_response(StatusCode::BAD_REQUEST, format!("{invalid}\n"));
        }
        (Err(_), _) => {
            return admin_response(StatusCode::BAD_REQUEST, "the state must be UTF-8\n");
        }
    }
    admin_response(StatusCode::NO_CONTENT, "")
}
