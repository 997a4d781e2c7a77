//! A status server for teams: a user logs in, and each page of the user shows the state of one team.
//!
//! It is the server, with an admission, a setting and admin operations of its own. `docs/guides/admission.md`
//! builds it step by step.

use std::collections::HashMap;
use std::env;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use broadcast::{TopicSubscription, Topics};
use server::transport::hyper::header::{COOKIE, HeaderValue, SET_COOKIE};
use server::transport::hyper::{Method, Response, StatusCode};
use server::transport::ws_core::{CloseCode, CloseFrame};
use server::transport::{
    Admission, Admit, Denial, Handshake, Identity, Message, SessionRegistry, Utf8Bytes,
};
use server::{AdminRequest, PATH, Program, Seconds, Server, SettingsReceiver, admin_response};
use tokio::time::sleep;

#[cfg(test)]
mod tests;

/// See docs/performance.md for the measurements.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Program::new("teams", env!("CARGO_PKG_VERSION"))
        .about("A status server for teams: users log in, and see the states of their teams.")
        .settings::<TeamSettings>()
        .main(env::args_os().skip(1), server)
}

fn server(settings: SettingsReceiver<TeamSettings>) -> Server {
    let server = Server::new();
    let teams = Teams { sessions: server.sessions(), ..Teams::default() };
    let [publishing, login, logout] = [(); 3].map(|()| teams.clone());
    server
        .admin(Method::POST, "/publish", move |request| publishing.clone().publish(request))
        .admin(Method::POST, "/login", move |request| login.clone().log_in(request, settings.get()))
        .admin(Method::POST, "/logout", move |request| logout.clone().log_out(request))
        .route(PATH, teams)
}

/// What this program adds to the settings of the server.
#[derive(Debug, clap::Args, serde::Deserialize, schemars::JsonSchema)]
struct TeamSettings {
    /// Seconds until a user has to log in again.
    #[arg(long, value_name = "SECONDS", default_value = "3600", help_heading = "Teams")]
    login_lifetime_secs: Seconds,
}

/// Teams and their members, in the place of a table of a database.
const MEMBERS: &[(&str, &str)] = &[("red", "ada"), ("blue", "ada"), ("blue", "bob")];

/// Decides who sees the state of which team. Clones are the same.
#[derive(Clone, Default)]
struct Teams {
    store: Arc<Store>,
    states: Topics<String>,
    sessions: SessionRegistry,
}

impl Admit for Teams {
    type Handler = TopicSubscription<String>;

    async fn admit(&self, handshake: &Handshake<'_>) -> Result<Admission<Self::Handler>, Denial> {
        let no_session = || Denial::unauthorized("no_session", "log in first", "Cookie");
        let token = cookie(handshake, "session").ok_or_else(no_session)?;
        let Login { user, expires } = self.store.find(token).await.ok_or_else(no_session)?;

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
        let handler = self.states.subscribe(team);
        let admission = Admission::new(handler).identity(user).expires_at(expires);
        Ok(match handshake.subprotocol("status.v1") {
            Some(subprotocol) => admission.subprotocol(subprotocol),
            None => admission,
        })
    }
}

/// The operations on the admin listener.
impl Teams {
    async fn publish(self, request: AdminRequest) -> Response<String> {
        let team = parameter(request.head.uri.query(), "team");
        // Otherwise each misspelt team would be a topic that stays.
        if !MEMBERS.iter().any(|(name, _)| *name == team) {
            return admin_response(StatusCode::NOT_FOUND, "there is no such team\n");
        }
        let Ok(state) = Utf8Bytes::try_from(request.body) else {
            return admin_response(StatusCode::BAD_REQUEST, "the state must be UTF-8\n");
        };
        self.states.publish(&*team, Message::Text(state));
        admin_response(StatusCode::NO_CONTENT, "")
    }

    /// Takes the place of a page that asks for a password. The body is the cookie again, for programs.
    async fn log_in(self, request: AdminRequest, settings: Arc<TeamSettings>) -> Response<String> {
        let user = parameter(request.head.uri.query(), "user");
        let is_known = MEMBERS.iter().any(|(_, name)| *name == user);
        let Some(user) = Identity::try_from(&*user).ok().filter(|_| is_known) else {
            return admin_response(StatusCode::NOT_FOUND, "there is no such user\n");
        };
        let Seconds(lifetime) = settings.login_lifetime_secs;
        let expires = SystemTime::now() + lifetime;
        let Some(token) = self.store.add(Login { user, expires }).await else {
            return admin_response(StatusCode::SERVICE_UNAVAILABLE, "there are too many logins\n");
        };
        let attributes = "Path=/; HttpOnly; Secure; SameSite=Strict";
        let cookie = format!("session={token}; {attributes}; Max-Age={}", lifetime.as_secs());
        let cookie = HeaderValue::try_from(cookie).expect("it has no control characters");
        let mut response = admin_response(StatusCode::OK, format!("session={token}\n"));
        response.headers_mut().insert(SET_COOKIE, cookie);
        response
    }

    async fn log_out(self, request: AdminRequest) -> Response<String> {
        let user = parameter(request.head.uri.query(), "user");
        // First, so that a handshake that begins later is refused.
        self.store.remove(&user).await;
        let frame = CloseFrame { code: CloseCode::UNAUTHORIZED, reason: "logout".into() };
        let count = self.sessions.disconnect(&user, &frame);
        admin_response(StatusCode::OK, format!("sessions that close: {count}\n"))
    }
}

/// The logins by their tokens, in the place of a database. No `Debug`, because tokens are secrets.
#[derive(Default)]
struct Store(Mutex<HashMap<String, Login>>);

#[derive(Clone)]
struct Login {
    user: Identity,
    expires: SystemTime,
}

const MAX_LOGINS: usize = 100_000;

impl Store {
    /// Returns the login with this token, unless it has expired.
    async fn find(&self, token: &str) -> Option<Login> {
        let login = self.query(|logins| logins.get(token).cloned()).await?;
        (login.expires > SystemTime::now()).then_some(login)
    }

    /// Adds a login and returns its token, unless there are too many.
    async fn add(&self, login: Login) -> Option<String> {
        let mut token = [0; 16];
        getrandom::fill(&mut token).expect("the system has random numbers");
        let token = format!("{:032x}", u128::from_ne_bytes(token));
        let added = self.query(|logins| {
            logins.retain(|_, login| login.expires > SystemTime::now());
            (logins.len() < MAX_LOGINS).then(|| logins.insert(token.clone(), login))
        });
        added.await.map(|_| token)
    }

    /// Removes all logins of a user.
    async fn remove(&self, user: &str) {
        self.query(|logins| logins.retain(|_, login| login.user.as_str() != user)).await;
    }

    async fn query<T>(&self, query: impl FnOnce(&mut HashMap<String, Login>) -> T) -> T {
        sleep(Duration::from_millis(50)).await; // As a database takes.
        // No query leaves the map half changed.
        query(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
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
