//! The first steps of `docs/guides/admission.md` as processes.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use crate::support::{Teams, next_text};

#[test]
fn the_first_step_admits_users_who_are_logged_in() {
    let server = Teams::start_step("who");
    let (refusal, _) = server.handshake("", "", None);
    assert_eq!((refusal.status().as_u16(), &**refusal.body()), (401, "no_session: log in first\n"));
    let mut session = server.connect("session=7f3a", "");
    assert!(next_text(&mut session).starts_with("all is well at "));
    assert_eq!(server.log_line("opened")["identity"], "ada");
}

#[test]
fn the_second_step_admits_the_members_of_a_team() {
    let server = Teams::start_step("what_for");
    let mut session = server.connect("session=c41d", "?team=blue");
    assert!(next_text(&mut session).starts_with("blue is well at "));
    let status = |cookie, query| server.handshake(cookie, query, None).0.status().as_u16();
    assert_eq!(status("session=c41d", ""), 400);
    assert_eq!(status("session=c41e", "?team=blue"), 401);
    assert_eq!(status("session=c41d", "?team=red"), 403);
    assert_eq!(status("session=c41d", "?team=green"), 404);
}
