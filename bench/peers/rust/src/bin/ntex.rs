//! ntex with its own server: `peer-ntex PORT PING_INTERVAL_SECONDS [PUBLISHER]`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::env;
use std::future::ready;
use std::io;
use std::process;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use ntex::service::{fn_factory_with_config, fn_service};
use ntex::time::{Seconds, interval, sleep};
use ntex::util::{ByteString, Bytes};
use ntex::web::ws::{CloseCode, Frame, Message, WsSink};
use ntex::web::{self, App, Error, HttpRequest, HttpResponse, HttpServer, ws};
use peers::peer;
use tokio::runtime;
use tokio::sync::oneshot;

/// Time for clients to answer the Close frame, and how often it is checked whether all have.
const GRACE: Duration = Duration::from_secs(5);
const CHECK: Duration = Duration::from_millis(20);

thread_local! {
    /// The sessions of the only worker.
    static SESSIONS: RefCell<HashMap<usize, WsSink>> = RefCell::default();
}

#[ntex::main]
async fn main() -> io::Result<()> {
    let mut numbers = env::args().skip(1).map(|word| word.parse().ok());
    let (Some(Some(port)), Some(Some(ping_interval))) = (numbers.next(), numbers.next()) else {
        return Err(io::Error::other("usage: peer-ntex PORT PING_INTERVAL_SECONDS [PUBLISHER]"));
    };
    let publisher = numbers.next().flatten();
    let server = HttpServer::new(async move || {
        ntex::rt::spawn(ping_all(Seconds(ping_interval)));
        ntex::rt::spawn(close_all(termination()));
        App::new()
            .service(web::resource(peer::PATH).to(upgrade))
            .service(web::resource("/publish").to(publish))
    });
    let server = server.workers(1).backlog(4096).disable_signals();
    let mut server = server.bind(("127.0.0.1", port))?;
    if let Some(port) = publisher {
        server = server.bind(("127.0.0.1", port))?;
    }
    server.run().await
}

async fn upgrade(request: HttpRequest) -> Result<HttpResponse, Error> {
    let session = fn_factory_with_config(async |sink: WsSink| {
        let registered = Rc::new(Registered::new(sink));
        let answer = move |frame| {
            let _ = &registered;
            ready(Ok::<_, io::Error>(answer(frame)))
        };
        Ok::<_, Error>(fn_service(answer))
    });
    ws::start::<_, _, &str, _>(request, None, session).await
}

fn answer(frame: Frame) -> Option<Message> {
    match frame {
        Frame::Ping(payload) => Some(Message::Pong(payload)),
        Frame::Close(reason) => Some(Message::Close(reason)),
        Frame::Text(_) | Frame::Binary(_) | Frame::Continuation(_) | Frame::Pong(_) => None,
    }
}

/// An entry in [`SESSIONS`], which ends with the session.
struct Registered(usize);

impl Registered {
    fn new(sink: WsSink) -> Self {
        thread_local!(static NEXT: RefCell<usize> = const { RefCell::new(0) });
        let key = NEXT.with_borrow_mut(|next| {
            *next += 1;
            *next
        });
        SESSIONS.with_borrow_mut(|sessions| sessions.insert(key, sink));
        Self(key)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let _ = SESSIONS.try_with(|sessions| sessions.borrow_mut().remove(&self.0));
    }
}

fn send_to_all(message: &Message) {
    let sinks: Vec<WsSink> = SESSIONS.with_borrow(|sessions| sessions.values().cloned().collect());
    for sink in sinks {
        // The message is queued before the future is polled.
        drop(sink.send(message.clone()));
    }
}

async fn publish(state: String) -> HttpResponse {
    send_to_all(&Message::Text(ByteString::from(state)));
    HttpResponse::NoContent().finish()
}

async fn ping_all(every: Seconds) {
    if every.is_zero() {
        return;
    }
    let pings = interval(every);
    loop {
        pings.tick().await;
        send_to_all(&Message::Ping(Bytes::new()));
    }
}

/// Closes all sessions when `terminated` is received, and ends the process when they have ended.
async fn close_all(terminated: oneshot::Receiver<()>) {
    // A dropped sender also means shutdown.
    let _ = terminated.await;
    send_to_all(&Message::Close(Some(CloseCode::Away.into())));
    for _ in 0..GRACE.as_millis() / CHECK.as_millis() {
        if SESSIONS.with_borrow(HashMap::is_empty) {
            break;
        }
        sleep(CHECK).await;
    }
    process::exit(0);
}

/// Waits for SIGTERM on a thread of its own, because ntex's own handler ends without Close frames.
fn termination() -> oneshot::Receiver<()> {
    let (sender, receiver) = oneshot::channel();
    thread::spawn(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("the runtime starts").block_on(peer::terminated());
        sender.send(())
    });
    receiver
}
