//! The first step of `docs/guides/admission.md`: only users who are logged in see the state.

use std::env;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use broadcast::{Publisher, Subscription};
use server::transport::hyper::header::COOKIE;
use server::transport::{Admission, Admit, Denial, Handshake, Identity};
use tokio::time::interval;

fn main() -> ExitCode {
    server::main(env::args_os().skip(1), || {
        let publisher = Publisher::new();
        let states = publisher.subscribe();
        tokio::spawn(async move {
            let mut seconds = interval(Duration::from_secs(1));
            loop {
                seconds.tick().await;
                publisher.publish(status());
            }
        });
        ByCookie { states }
    })
}

/// Admits users who are logged in.
struct ByCookie {
    states: Subscription,
}

impl Admit for ByCookie {
    type Handler = Subscription;

    async fn admit(&self, handshake: &Handshake<'_>) -> Result<Admission<Subscription>, Denial> {
        let user = cookie(handshake, "session").and_then(user_with);
        let user =
            user.ok_or_else(|| Denial::unauthorized("no_session", "log in first", "Cookie"))?;
        Ok(Admission::new(self.states.clone()).identity(user))
    }
}

/// Returns who has logged in with this token.
fn user_with(token: &str) -> Option<Identity> {
    let name = match token {
        "7f3a" => "ada",
        "c41d" => "bob",
        _ => return None,
    };
    Some(Identity::try_from(name).expect("each name has 1 to 256 bytes"))
}

/// Returns the value of a cookie.
fn cookie<'a>(handshake: &Handshake<'a>, name: &str) -> Option<&'a str> {
    // Over HTTP/2 the cookies may be in several fields (RFC 9113, section 8.2.3).
    let fields = handshake.headers().get_all(COOKIE).into_iter();
    let fields = fields.filter_map(|field| field.to_str().ok());
    let mut pairs = fields.flat_map(|it| it.split("; ")).filter_map(|it| it.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// The state that is published.
fn status() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("all is well at {}", now.as_secs())
}
