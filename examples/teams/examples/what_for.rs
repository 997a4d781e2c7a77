//! The second step of `docs/guides/admission.md`: each team has its own state, which its members see.

use std::env;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use broadcast::{TopicSubscription, Topics};
use server::transport::hyper::StatusCode;
use server::transport::hyper::header::COOKIE;
use server::transport::{Admission, Admit, Denial, Handshake, Identity};
use tokio::time::interval;

fn main() -> ExitCode {
    server::main(env::args_os().skip(1), || {
        let states = Topics::new();
        let publishing = states.clone();
        tokio::spawn(async move {
            let mut seconds = interval(Duration::from_secs(1));
            loop {
                seconds.tick().await;
                publishing.publish("red", status("red"));
                publishing.publish("blue", status("blue"));
            }
        });
        Teams { states }
    })
}

/// Teams and their members, in the place of a table of a database.
const MEMBERS: &[(&str, &str)] = &[("red", "ada"), ("blue", "ada"), ("blue", "bob")];

/// Decides who sees the state of which team.
struct Teams {
    states: Topics<String>,
}

impl Admit for Teams {
    type Handler = TopicSubscription<String>;

    async fn admit(&self, handshake: &Handshake<'_>) -> Result<Admission<Self::Handler>, Denial> {
        let user = cookie(handshake, "session").and_then(user_with);
        let user =
            user.ok_or_else(|| Denial::unauthorized("no_session", "log in first", "Cookie"))?;

        let team = parameter(handshake.query(), "team");
        if team.is_empty() {
            return Err(Denial::new(StatusCode::BAD_REQUEST, "no_team", "add ?team=NAME"));
        }
        if !MEMBERS.iter().any(|(name, _)| *name == team) {
            return Err(Denial::new(StatusCode::NOT_FOUND, "unknown_team", "no such team"));
        }
        if !MEMBERS.contains(&(&team, user.as_str())) {
            return Err(Denial::forbidden("not_in_team", "the user is no member of this team"));
        }
        Ok(Admission::new(self.states.subscribe(team)).identity(user))
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

/// Returns the value of a parameter, which is empty if there is none.
fn parameter(query: Option<&str>, name: &str) -> String {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// Returns the value of a cookie.
fn cookie<'a>(handshake: &Handshake<'a>, name: &str) -> Option<&'a str> {
    // Over HTTP/2 the cookies may be in several fields (RFC 9113, section 8.2.3).
    let fields = handshake.headers().get_all(COOKIE).into_iter();
    let fields = fields.filter_map(|field| field.to_str().ok());
    let mut pairs = fields.flat_map(|it| it.split("; ")).filter_map(|it| it.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// The state that is published for a team.
fn status(team: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{team} is well at {}", now.as_secs())
}
