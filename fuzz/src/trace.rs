//! What the log takes from a request: its origin, its user agent, and the headers of a trace. Each line is
//! a header line.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Request};
use transport::{
    Client, CompressionOptions, Discard, Drain, Endpoint, EndpointEvent, Observer, Origins, Peer,
    Permission, Permit, Policy, SizeLimits,
};
use ws_core::{Limits, SessionConfig, Timing};

/// Checks one input.
///
/// # Panics
///
/// If a property does not hold for it.
pub fn run(data: &[u8]) {
    let mut request = Request::new(());
    for line in data.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            request.headers_mut().append(name, value);
        }
    }
    let texts = observe_refusal(&request);
    let headers = request.headers();
    assert_eq!(texts.origin.as_deref(), first(headers, "origin"));
    assert_eq!(texts.user_agent.as_deref(), first(headers, "user-agent"));
    let traceparent = first(headers, "traceparent").and_then(naive_traceparent);
    assert_eq!(texts.traceparent.as_deref(), traceparent);
    let request_id = first(headers, "x-request-id").filter(|id| naive_is_request_id(id));
    assert_eq!(texts.request_id.as_deref(), request_id);
}

#[derive(Clone, Default)]
struct Texts {
    origin: Option<String>,
    user_agent: Option<String>,
    traceparent: Option<String>,
    request_id: Option<String>,
}

/// Keeps the texts of the latest refusal.
#[derive(Default)]
struct Recorder(Mutex<Texts>);

impl Observer for Recorder {
    fn observe(&self, event: &EndpointEvent<'_>) {
        let EndpointEvent::Refused { request, .. } = event else { return };
        let owned = |text: Option<&str>| text.map(str::to_owned);
        *self.0.lock().expect("no panic while it is locked") = Texts {
            origin: owned(request.origin()),
            user_agent: owned(request.user_agent()),
            traceparent: owned(request.traceparent()),
            request_id: owned(request.request_id()),
        };
    }
}

/// Has the request refused, because no permit is there if nothing else is wrong with it.
fn observe_refusal(request: &Request<()>) -> Texts {
    let recorder = Arc::new(Recorder::default());
    let endpoint = Endpoint::new(Arc::clone(&recorder));
    let (drain, _timer_service) = Drain::new();
    let token = drain.token();
    let client = Client { peer: Peer::Local, is_encrypted: false, certificate_name: None, token };
    let permit = || Err::<Permit, _>(transport::Rejection::ConnectionLimit);
    let policy = policy();
    let answer = pin!(endpoint.answer(&Discard, request, &client, &policy, permit));
    let answer = answer.poll(&mut Context::from_waker(Waker::noop()));
    assert!(answer.is_ready(), "a refusal waits for nothing");
    drop(answer);
    recorder.0.lock().expect("no panic while it is locked").clone()
}

fn policy() -> Policy {
    let second = Duration::from_secs(1);
    let timing = Timing {
        ping_interval: second,
        pong_timeout: second,
        close_timeout: second,
        max_age: None,
        reconnect_spread: Duration::ZERO,
    };
    Policy {
        origins: Origins {
            allowed: Vec::new(),
            missing: Permission::Allow,
            null: Permission::Refuse,
        },
        session: Arc::new(SessionConfig { timing, limits: Limits::default() }),
        sizes: SizeLimits { max_message_bytes: 1, max_queued_bytes: 1 },
        compression: CompressionOptions::default(),
        visible_refusals: false,
    }
}

fn first<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| str::from_utf8(value.as_bytes()).ok())
}

/// The version, the trace, the parent and the flags (W3C Trace Context, section 3.2), character by
/// character.
fn naive_traceparent(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let form = "vv-tttttttttttttttttttttttttttttttt-pppppppppppppppp-ff";
    if bytes.len() < form.len() {
        return None;
    }
    let (mut trace, mut parent) = (0_u128, 0_u128);
    for (expected, byte) in form.bytes().zip(bytes) {
        if expected == b'-' {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        if byte.is_ascii_uppercase() {
            return None;
        }
        let digit = char::from(*byte).to_digit(16)?;
        match expected {
            b't' => trace = trace << 4 | u128::from(digit),
            b'p' => parent = parent << 4 | u128::from(digit),
            _ => {}
        }
    }
    let is_longer = bytes.len() > form.len();
    let may_be_longer = &bytes[..2] != b"00" && bytes.get(form.len()) == Some(&b'-');
    let is_valid = &bytes[..2] != b"ff" && trace != 0 && parent != 0;
    (is_valid && (!is_longer || may_be_longer)).then(|| &text[..form.len()])
}

fn naive_is_request_id(id: &str) -> bool {
    let is_allowed = |c: char| ('!'..='~').contains(&c) && !"\"'\\".contains(c);
    !id.is_empty() && id.len() <= 64 && id.chars().all(is_allowed)
}
