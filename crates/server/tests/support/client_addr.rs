//! Servers with a connection table, which lists the client address of each session.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::server::Server;
use super::{Client, PING, PONG, UPGRADE, frame};

/// Waits for the only session in the connection table and returns its peer.
pub(crate) fn listed_peer(server: &Server) -> String {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let request = "GET /connections HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let (_, _, body) = Client::connect(server.admin.unwrap()).request(request);
        let table: Value = serde_json::from_str(&body).unwrap();
        match table["connections"].as_array().unwrap().as_slice() {
            [only] => return only["peer"].as_str().unwrap().to_owned(),
            [] => assert!(Instant::now() < until, "{table}"),
            [_, _, ..] => panic!("{table}"),
        }
    }
}

pub(crate) fn server(flags: &[&str]) -> Server {
    let table = ["--admin-listen=127.0.0.1:0", "--connection-table=true"];
    Server::start(&[&table, flags].concat())
}

/// Opens a session whose connection begins with these bytes, and waits until it runs.
pub(crate) fn session(server: &Server, beginning: &[u8], lines: &str) -> Client {
    let mut client = Client::connect(server.address);
    client.send(beginning);
    let (status, head, _) = client.request(&UPGRADE.replace("Host: a", &format!("Host: a{lines}")));
    assert_eq!(status, 101, "{head}");
    client.send(&frame(PING, b""));
    assert_eq!(client.frame(), (PONG, vec![]));
    client
}
