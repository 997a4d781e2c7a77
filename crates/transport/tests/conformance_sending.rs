//! RFC 6455, sections 5 and 6.1, and RFC 7692: the frames of the messages that a session sends.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "support/deflate.rs"]
mod deflate;
#[path = "support/endpoint.rs"]
mod endpoint;
#[path = "support/http2_client.rs"]
mod http2_client;
mod support;

use std::collections::VecDeque;
use std::future::ready;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use deflate::Inflater;
use endpoint::{AdmitBy, Fixture, valid_request};
use hyper::header::{HeaderValue, SEC_WEBSOCKET_EXTENSIONS};
use support::conformance::{rest, server_frame};
use support::{BINARY, CLOSE, TEXT, close, close_payload, open};
use transport::{
    Admission, Compression, CompressionOptions, Denial, Handler, Handshake, Message, Next,
    Permission, Policy, PreparedMessage, Utf8Bytes,
};

/// Sends these.
struct Queue(VecDeque<Next>);

impl Handler for Queue {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        self.0.pop_front().map_or(Poll::Pending, Poll::Ready)
    }

    fn receive(&mut self, _: Message) {}
}

//= rfc6455#5.1-2 rfc6455#5.2-5 rfc6455#5.2-6 rfc6455#6.1-2 rfc6455#6.1-3 rfc6455#6.1-4 test
//= rfc6455#6.1-5 test
#[tokio::test(start_paused = true)]
async fn each_message_is_sent_in_one_frame_without_a_mask_and_with_the_shortest_length() {
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
        let text = Message::from("x".repeat(length));
        let bytes = Message::from(vec![0xff; length]);
        let prepared = PreparedMessage::compressible(&text);
        let queue = [
            Next::Send(text.clone()),
            Next::Send(bytes.clone()),
            Next::SendCompressed(text),
            Next::SendPrepared(prepared),
            Next::SendPrepared(PreparedMessage::from(bytes)),
        ];
        let mut session = open(Queue(queue.into()), 1024);
        let [text, bytes] = [
            server_frame(TEXT, "x".repeat(length).as_bytes()),
            server_frame(BINARY, &vec![0xff; length]),
        ];
        let expected = [&text[..], &bytes, &text, &text, &bytes].concat();
        assert!(session.peer.bytes(expected.len()).await == expected, "{length}");
        session.peer.send(&close(1000, "")).await;
        let end = server_frame(CLOSE, &close_payload(1000, ""));
        assert_eq!(rest(&mut session).await, end, "{length}");
    }
}

//= rfc6455#5.6-2 test
#[test]
fn a_text_message_cannot_have_bytes_that_are_not_utf_8() {
    for bytes in [&b"\xff"[..], b"\xc3\x28", b"\xed\xa0\x80", b"a\xe2\x82"] {
        assert!(Utf8Bytes::try_from(Bytes::from_static(bytes)).is_err(), "{bytes:02x?}");
    }
    let text = Utf8Bytes::try_from(Bytes::from_static("größer".as_bytes())).unwrap();
    assert_eq!(Message::Text(text), Message::from("größer"));
}

//= rfc7692#5-6 rfc7692#6.1-1 rfc7692#7.2.1-3 test
#[tokio::test(start_paused = true)]
async fn messages_are_compressed_only_if_the_opening_handshake_negotiated_it() {
    let text = "all is well, ".repeat(20);
    let messages = [1, 2].map(|_| Next::SendCompressed(Message::from(text.clone())));
    let admit = AdmitBy(move |_: &Handshake<'_>| {
        let handler = Queue(messages.clone().into());
        ready(Ok::<_, Denial>(Admission::new(handler)))
    });
    let mut fixture = Fixture::with(admit);
    let compression =
        CompressionOptions { mode: Some(Compression::Fresh), webkit: Permission::Refuse };
    fixture.policy = Arc::new(Policy { compression, ..Policy::clone(&fixture.policy) });
    for (offer, is_compressed) in [
        ("permessage-deflate", true),
        ("permessage-deflate; server_no_context_takeover", true),
        ("permessage-deflate; server_max_window_bits=9", false),
        ("permessage-deflate;", false),
        ("x-webkit-deflate-frame", false),
    ] {
        let mut request = valid_request();
        request.headers_mut().insert(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(offer));
        let mut peer = fixture.open(&request, 1024).await;
        for _ in 0..2 {
            let (first, payload) = peer.frame().await;
            let message = if is_compressed {
                assert_eq!(first, TEXT | 0x40, "{offer}");
                // A new inflater each time: no message refers to the one before.
                Inflater::default().inflate(&payload)
            } else {
                assert_eq!(first, TEXT, "{offer}");
                payload
            };
            assert_eq!(message, text.as_bytes(), "{offer}");
        }
    }
}
