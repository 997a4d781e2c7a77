//! RFC 6455, section 7.1.7: why a connection failed is logged.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use support::process::Process;
use support::{CLOSE, Client, TEXT, close_payload, frame};

//= rfc6455#7.1.7-2 test
#[test]
fn each_violation_is_logged_with_its_cause_and_code() {
    let process = Process::start(&["--log-format=json", "--max-message-bytes=100"]);
    for (cause, code, sent) in [
        ("protocol_error", 1002, frame(0x83, b"")),
        ("invalid_utf8", 1007, frame(TEXT, b"\xff")),
        ("too_big", 1009, frame(TEXT, &[b'x'; 101])),
    ] {
        let mut client = Client::open(process.address);
        client.send(&sent);
        assert_eq!(client.frame(), (CLOSE, close_payload(code, cause)));
        drop(client);
        let closed = process.event("closed");
        assert_eq!((&closed["cause"], &closed["code"]), (&cause.into(), &code.into()), "{closed}");
        assert_eq!(closed["initiator"], "server");
    }
}
