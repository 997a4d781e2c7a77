//! Operations that a program adds to the admin listener.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use server::{AdminRequest, admin_response};
use support::admin::{ADMIN, get, send};
use support::server::Server;
use transport::Discard;
use transport::hyper::{Method, StatusCode};

fn start() -> Server {
    let program = server::Server::status(Discard)
        .admin(Method::POST, "/echo", async |request: AdminRequest| {
            let query = request.head.uri.query().unwrap_or_default().to_owned();
            let body = String::from_utf8(request.body.to_vec()).unwrap();
            admin_response(StatusCode::ACCEPTED, format!("{query} {body}"))
        })
        .admin(Method::GET, "/echo", async |_| admin_response(StatusCode::OK, "read"))
        .admin(Method::DELETE, "/panic", async |_| panic!("the operation panics"));
    Server::start_server(program, ADMIN)
}

fn post(server: &Server, head: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let head = format!("POST {head}\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    let (status, _, body) = send(server.admin.unwrap(), &(head + body));
    (status, body)
}

#[test]
fn an_operation_gets_its_request_with_the_whole_body() {
    let server = start();
    assert_eq!(post(&server, "/echo?a=1 HTTP/1.1", "body"), (202, "a=1 body".to_owned()));
    assert_eq!(get(&server, "/echo"), (200, "read".to_owned()));
    let large = "x".repeat(1 << 20);
    assert_eq!(post(&server, "/echo HTTP/1.1", &large), (202, format!(" {large}")));
}

#[test]
fn an_operation_gets_no_request_of_a_page_or_of_another_host() {
    let server = start();
    assert_eq!(post(&server, "/echo HTTP/1.1\r\nOrigin: http://a", "").0, 403);
    let rebound = "POST /echo HTTP/1.1\r\nHost: rebound.example\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(send(server.admin.unwrap(), rebound).0, 403);
}

#[test]
fn a_body_of_more_than_a_mebibyte_is_refused() {
    let server = start();
    // The response may come before the whole body was sent.
    let head = "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("80000\r\n{}\r\n", "x".repeat(0x80000));
    assert_eq!(send(server.admin.unwrap(), &format!("{head}{chunk}{chunk}1\r\nx\r\n")).0, 413);
}

#[test]
fn another_method_and_another_path_are_told_what_there_is() {
    let server = start();
    let (status, head, _) =
        send(server.admin.unwrap(), "PUT /echo HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((status, support::header(&head, "allow")), (405, Some("post, get")));
    let (status, body) = get(&server, "/other");
    assert_eq!(status, 404);
    assert!(body.ends_with("/metrics, /readyz, /echo, /panic\n"), "{body}");
}

#[test]
fn an_operation_that_panics_ends_its_own_connection() {
    let server = start();
    let mut client = support::Client::connect(server.admin.unwrap());
    client.send(b"DELETE /panic HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.expect_disconnect();
    assert_eq!(get(&server, "/echo").0, 200);
}

#[test]
#[should_panic(expected = "\"/drain\" belongs to the server")]
fn an_operation_cannot_replace_one_of_the_server() {
    let operation = async |_: AdminRequest| admin_response(StatusCode::OK, "");
    let _ = server::Server::status(Discard).admin(Method::POST, "/drain", operation);
}
