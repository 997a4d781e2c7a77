//! Is extended CONNECT (RFC 8441) offered and passed on over HTTP/2?

use bytes::{Bytes, BytesMut};
use h2::client::{Builder, SendRequest};
use h2::ext::Protocol;
use h2::{Ping, PingPong};
use hyper::{Method, Request, Version};
use tokio::time::{Instant, timeout};
use transport::Http2Stream;

use crate::client::{Connection, Duplex, PING, Received, Session};
use crate::context::{Context, time};
use crate::escape::escape;
use crate::finding::{Finding, Question};
use crate::remedies::Remedy;

const QUESTION: Question = Question::Http2;

/// The largest head of a response, in bytes.
const MAX_HEAD_BYTES: u32 = 16 << 10;

/// Opens a WebSocket on a stream, as a browser does that has loaded a page over the same connection.
pub(crate) async fn http2(context: &Context<'_>) -> Finding {
    if context.dialer.trust.is_none() {
        let sentence = "browsers use HTTP/2 within TLS only, and this URL has none";
        return Finding::ok(QUESTION, "http2_not_used", sentence);
    }
    let Connection { stream, alpn, .. } = match context.dialer.dial(&["h2", "http/1.1"]).await {
        Ok(connection) => connection,
        Err(error) => {
            let sentence = format!("a connection that offers HTTP/2 fails: {error}");
            let remedies = [Remedy::Http11InTls, Remedy::Certificate];
            return Finding::failure(QUESTION, "http2_connection_failed", sentence, remedies);
        }
    };
    if alpn.as_deref() != Some("h2") {
        let sentence =
            "HTTP/2 is not offered; browsers use a connection of HTTP/1.1 for each WebSocket";
        return Finding::note(QUESTION, "http2_not_offered", sentence, [Remedy::Http2Offer]);
    }
    match timeout(3 * context.limit(), connect(context, stream)).await {
        Ok(Ok(finding)) => finding,
        Ok(Err(error)) => broken(&escape(error.to_string().as_bytes())),
        Err(_) => broken("there was no answer in time"),
    }
}

async fn connect(context: &Context<'_>, stream: Box<dyn Duplex>) -> Result<Finding, h2::Error> {
    let mut builder = Builder::new();
    builder.max_header_list_size(MAX_HEAD_BYTES).enable_push(false);
    let (sender, mut connection) = builder.handshake::<_, Bytes>(stream).await?;
    let Some(ping_pong) = connection.ping_pong() else {
        return Ok(broken("the connection cannot be used"));
    };
    // The connection has to be polled while the requests wait.
    let requests = open(context, sender, ping_pong);
    tokio::pin!(requests);
    tokio::select! {
        finding = &mut requests => finding,
        ended = &mut connection => match ended {
            Ok(()) => Ok(broken("the connection was closed")),
            Err(error) => Err(error),
        },
    }
}

async fn open(
    context: &Context<'_>,
    sender: SendRequest<Bytes>,
    mut ping_pong: PingPong,
) -> Result<Finding, h2::Error> {
    // The settings are the first frame of the other side, so they have arrived before its pong.
    ping_pong.ping(Ping::opaque()).await?;
    let mut sender = sender.ready().await?;
    if !sender.is_extended_connect_protocol_enabled() {
        let sentence = "HTTP/2 is offered without extended CONNECT; browsers use a connection of HTTP/1.1 \
                        for each WebSocket";
        return Ok(Finding::note(QUESTION, "connect_not_offered", sentence, [Remedy::Http2Offer]));
    }
    let target = &context.dialer.target;
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .version(Version::HTTP_2)
        .uri(format!("https://{}{}", target.authority(), target.path))
        .extension(Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .header("user-agent", "ws-status-doctor");
    let origin = context.origin.map(|origin| ("origin", origin));
    let headers =
        context.options.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in origin.into_iter().chain(headers) {
        request = request.header(name, value);
    }
    let Ok(request) = request.body(()) else { return Ok(broken("the URL is not valid in HTTP/2")) };
    let began = Instant::now();
    let (response, stream) = sender.send_request(request, false)?;
    let response = response.await?;
    let took = began.elapsed();
    if response.status() != 200 {
        return Ok(broken(&format!("the answer is {}", response.status().as_u16())));
    }
    let stream = Http2Stream::new(stream, response.into_body());
    let mut session = Session::new(Box::new(stream), BytesMut::new(), context.limit());
    let until = Instant::now() + context.limit();
    let mut is_alive = session.send(PING, b"doctor").await.is_ok();
    while is_alive {
        match session.next(until).await {
            Ok(Received::Pong(_)) => break,
            Ok(Received::Close(..)) | Err(_) => is_alive = false,
            Ok(Received::Data | Received::Ping) => {}
        }
    }
    if !is_alive {
        return Ok(broken("the answer is 200, and a ping on the stream does not come back"));
    }
    let sentence =
        format!("extended CONNECT is answered with 200 in {}, and a ping comes back", time(took));
    Ok(Finding::ok(QUESTION, "connect_works", sentence).measuring("connect_stream_ms", took))
}

fn broken(problem: &str) -> Finding {
    let sentence = format!(
        "WebSockets over HTTP/2 fail ({problem}), and browsers that have loaded a page over HTTP/2 use it \
         if it is offered"
    );
    Finding::failure(QUESTION, "connect_failed", sentence, [Remedy::Http2Connect, Remedy::Forward])
}
