//! A client of sessions over HTTP/2. Not in `mod.rs`, which the tests of `broadcast` share.
#![allow(dead_code, reason = "each test file uses a part of it")]

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use hyper::http::response::Parts;
use hyper::{Request, Response};
use tokio::io::DuplexStream;

use crate::support::{CLOSE, PING, PONG, close, close_payload, frame, in_time};

/// The client's end of an HTTP/2 connection.
pub(crate) struct Http2Client(SendRequest<Bytes>);

impl Http2Client {
    pub(crate) async fn new(builder: Builder, stream: DuplexStream) -> Self {
        let (client, connection) = builder.handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self(client)
    }

    /// Sends a request with these additional headers. A CONNECT is an extended one for a WebSocket.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let mut client = in_time(self.0.clone().ready()).await.unwrap();
        // The server's settings have to be there first (RFC 8441, section 3).
        while !client.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
        let is_connect = method == "CONNECT";
        let mut request =
            Request::builder().method(method).uri(format!("https://server.example{path}"));
        if is_connect {
            request = request
                .extension(h2::ext::Protocol::from_static("websocket"))
                .header("sec-websocket-version", "13");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        client.send_request(request.body(()).unwrap(), !is_connect).unwrap()
    }

    /// Requests a session at `/`. Returns the response, and the stream of it.
    pub(crate) async fn connect(&self) -> (Response<()>, Stream) {
        self.connect_with("/", &[]).await
    }

    pub(crate) async fn connect_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (Response<()>, Stream) {
        let (response, sender) = self.send("CONNECT", path, headers).await;
        let (head, receiver): (Parts, RecvStream) = in_time(response).await.unwrap().into_parts();
        (Response::from_parts(head, ()), Stream { sender, receiver })
    }

    /// Opens a session at `/`.
    pub(crate) async fn open(&self) -> Stream {
        let (response, stream) = self.connect().await;
        assert_eq!(response.status(), 200);
        stream
    }
}

/// The client's end of a stream.
pub(crate) struct Stream {
    pub(crate) sender: SendStream<Bytes>,
    pub(crate) receiver: RecvStream,
}

impl Stream {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.sender.send_data(Bytes::copy_from_slice(bytes), false).unwrap();
    }

    /// Reads a DATA frame; `None` is the end of the stream.
    pub(crate) async fn data(&mut self) -> Option<Result<Bytes, h2::Error>> {
        let data = in_time(self.receiver.data()).await;
        if let Some(Ok(data)) = &data {
            self.receiver.flow_control().release_capacity(data.len()).unwrap();
        }
        data
    }

    /// Expects `END_STREAM` without data and without a reset.
    pub(crate) async fn expect_end(&mut self) {
        assert_eq!(self.data().await.unwrap().unwrap(), b""[..]);
        assert!(self.data().await.is_none());
    }

    /// Expects a short frame.
    pub(crate) async fn expect(&mut self, first: u8, payload: &[u8]) {
        let length = u8::try_from(payload.len()).unwrap();
        assert_eq!(self.data().await.unwrap().unwrap(), [&[first, length], payload].concat());
    }

    /// Sends a ping and expects its pong.
    pub(crate) async fn expect_pong(&mut self) {
        self.send(&frame(PING, b"?"));
        self.expect(PONG, b"?").await;
    }

    /// Completes the closing handshake.
    pub(crate) async fn close(&mut self) {
        self.send(&close(1000, ""));
        self.expect(CLOSE, &close_payload(1000, "")).await;
        // The stream may have ended already.
        let _ = self.sender.send_data(Bytes::new(), true);
    }
}
