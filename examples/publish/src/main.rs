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
use server::{AdminRequest, Program, Server, admin_response};

/// The allocator of the server's binary; see docs/performance.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Program::new("publish", env!("CARGO_PKG_VERSION"))
        .about("A status server that sends the body of each POST /publish to every client.")
        .main(env::args_os().skip(1), |_| {
            let publisher = Publisher::new();
            let handler = publisher.subscribe();
            Server::status(handler)
                .admin(Method::POST, "/publish", move |request| ready(publish(&publisher, request)))
        })
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
