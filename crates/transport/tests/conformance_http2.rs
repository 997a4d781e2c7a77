//! RFC 8441, section 5: the end of a session is the end of its stream.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "support/endpoint.rs"]
mod endpoint;
#[path = "support/http2_client.rs"]
mod http2_client;
mod support;

use std::time::Duration;

use endpoint::Fixture;
use h2::Reason;
use support::{FloodingHandler, in_time};
use tokio::time::sleep;

//= rfc8441#5-8 test
#[tokio::test(start_paused = true)]
async fn a_session_that_ends_without_its_output_resets_its_stream_with_cancel() {
    let fixture = Fixture::with(FloodingHandler::default());
    let client = fixture.connect_http2().await;
    let mut stream = client.open().await;
    // The client opens no window, up to the write timeout.
    sleep(Duration::from_secs(60)).await;
    assert!(fixture.log.take_main()[1].ends_with("write_timeout"));
    let reset = loop {
        match in_time(stream.receiver.data()).await.expect("no END_STREAM") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(reset.is_reset(), "{reset}");
    assert_eq!(reset.reason(), Some(Reason::CANCEL));
}
