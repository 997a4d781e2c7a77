//! RFC 8441, section 3: the setting that permits extended CONNECT.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use support::raw_http2::{ACK, CONNECT, DATA, Http2, PREFACE, SETTINGS, settings};
use support::server::Server;
use support::{CLOSE, close};

const ENABLE_CONNECT_PROTOCOL: u16 = 8;

//= rfc8441#3-1 rfc8441#3-2 test
#[test]
fn extended_connect_is_enabled_by_1_and_never_withdrawn() {
    let mut server = Server::start(&["--close-timeout-secs=0.25"]);
    let mut client = Http2::connect_without_preface(server.address);
    client.send(PREFACE);
    client.send(&settings(&[]));
    let session = client.start_request(CONNECT);
    let mut values = Vec::new();
    let mut is_draining = false;
    while let Some(frame) = client.frame() {
        if frame.is(SETTINGS, 0) && frame.flags & ACK == 0 {
            for setting in frame.payload.chunks(6) {
                if setting[..2] == ENABLE_CONNECT_PROTOCOL.to_be_bytes() {
                    values.push(setting[2..].to_vec());
                }
            }
        }
        // The session is open, and later it is drained.
        if frame.stream == session && !is_draining {
            is_draining = true;
            server.begin_shutdown();
        }
        if frame.is(DATA, session) && frame.payload.first() == Some(&CLOSE) {
            client.send_data(session, &close(1001, ""));
        }
    }
    assert!(is_draining);
    assert_eq!(values, [1_u32.to_be_bytes()]);
}
