//! The admission without a server: a handshake is made of a request and a client.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::net::SocketAddr;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use broadcast::TopicSubscription;
use server::transport::hyper::Request;
use server::transport::hyper::header::COOKIE;
use server::transport::{Admit, Client, Denial, Drain, Handler, Handshake, Message, Next};

use crate::{Login, MAX_LOGINS, Teams};

/// Asks whether a request with these cookies is admitted, and returns the handler of its session.
async fn admit(
    teams: &Teams,
    uri: &str,
    cookies: &[&str],
) -> Result<TopicSubscription<String>, Denial> {
    let mut request = Request::builder().uri(uri);
    for cookie in cookies {
        request = request.header(COOKIE, *cookie);
    }
    let request = request.body(()).unwrap();
    let (drain, _) = Drain::new();
    let client = Client {
        peer: SocketAddr::from(([192, 0, 2, 7], 4711)).into(),
        is_encrypted: true,
        certificate_name: None,
        token: drain.token(),
    };
    let mut handler = None;
    let admission = teams.admit(&Handshake::new(&request, &client)).await?;
    let _ = admission.map_handler(|it| handler = Some(it));
    Ok(handler.unwrap())
}

/// Logs a user in, and returns the cookie.
async fn log_in(teams: &Teams, user: &str, lifetime: Duration) -> String {
    let login = Login { user: user.try_into().unwrap(), expires: SystemTime::now() + lifetime };
    format!("session={}", teams.store.add(login).await.unwrap())
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn only_members_who_are_logged_in_are_admitted() {
    let teams = Teams::default();
    let bob = &*log_in(&teams, "bob", HOUR).await;
    let late = &*log_in(&teams, "bob", Duration::ZERO).await;
    let forged = "session=00000000000000000000000000000000";
    let cases: [(&str, &[&str], Result<(), &str>); 10] = [
        ("/?team=blue", &[bob], Ok(())),
        // Cookies in one field, and in several as over HTTP/2.
        ("/?x=y&team=blue", &[&format!("theme=dark; {bob}; lang=en")], Ok(())),
        ("/?team=blue", &["theme=dark", bob], Ok(())),
        ("/?team=blue", &[], Err("no_session")),
        ("/?team=blue", &[forged], Err("no_session")),
        ("/?team=blue", &[&format!("x{bob}")], Err("no_session")),
        ("/?team=blue", &[late], Err("no_session")),
        ("/?tame=blue", &[bob], Err("no_team")),
        ("/?team=green", &[bob], Err("unknown_team")),
        ("/?team=red", &[bob], Err("not_in_team")),
    ];
    for (uri, cookies, expected) in cases {
        let admitted = admit(&teams, uri, cookies).await;
        let word = admitted.as_ref().map(|_| ()).map_err(Denial::word);
        assert_eq!(word, expected, "{uri} with {cookies:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_is_sent_the_states_of_the_team() {
    let teams = Teams::default();
    let bob = log_in(&teams, "bob", HOUR).await;
    teams.states.publish("red", "secret");
    let mut member = admit(&teams, "/?team=blue", &[&bob]).await.unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(member.poll_next(&mut cx), Poll::Pending);
    teams.states.publish("blue", "fine");
    let next = member.poll_next(&mut cx);
    assert_eq!(next, Poll::Ready(Next::SendPrepared(Message::from("fine").into())));
}

#[tokio::test(start_paused = true)]
async fn a_handshake_without_a_cookie_does_not_ask_the_store() {
    let teams = Teams::default();
    let before = tokio::time::Instant::now();
    assert!(admit(&teams, "/?team=blue", &[]).await.is_err());
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_store_has_a_limit_and_makes_room_when_logins_expire() {
    let teams = Teams::default();
    let login =
        |lifetime| Login { user: "bob".try_into().unwrap(), expires: SystemTime::now() + lifetime };
    {
        let mut logins = teams.store.0.lock().unwrap();
        let entry = |number: usize| (number.to_string(), login(HOUR));
        logins.extend((0..MAX_LOGINS).map(entry));
    }
    assert!(teams.store.add(login(HOUR)).await.is_none());
    let expired = login(Duration::ZERO);
    teams.store.0.lock().unwrap().insert("0".to_owned(), expired);
    assert!(teams.store.add(login(HOUR)).await.is_some());
    assert_eq!(teams.store.0.lock().unwrap().len(), MAX_LOGINS);
}
