//! Listen addresses of both IP families, with and without TLS.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::process;

use support::Client;
use support::server::Server;
use support::tls::Files;

/// A port that is free in both families and outside the ephemeral range.
fn free_port() -> u16 {
    let first = 20_000 + u16::try_from(process::id() % 10_000).unwrap();
    let is_free = |port: &u16| {
        // One after the other: both at once would conflict.
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok()
            && TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port)).is_ok()
    };
    (first..).find(is_free).unwrap()
}

#[test]
fn ipv4_and_ipv6_may_share_a_port_in_any_order_and_with_tls() {
    let files = Files::new("addresses");
    let cert = format!("--tls-cert-file={}", files.path("cert.pem"));
    let key = format!("--tls-key-file={}", files.path("key.pem"));
    let port = free_port();
    for (ipv4, ipv6) in [
        ("0.0.0.0", "[::]"),
        ("127.0.0.1", "[::]"),
        ("127.0.0.1", "[::1]"),
        ("tls:0.0.0.0", "tls:[::]"),
        ("0.0.0.0", "tls:[::]"),
        ("tls:0.0.0.0", "[::]"),
    ] {
        for (first, second) in [(ipv4, ipv6), (ipv6, ipv4)] {
            let listen = format!("--listen={first}:{port},{second}:{port}");
            let mut server = Server::start(&[&listen, &cert, &key]);
            for address in
                [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), (Ipv6Addr::LOCALHOST, port).into()]
            {
                let is_plain = !if address.is_ipv4() { ipv4 } else { ipv6 }.starts_with("tls");
                if is_plain {
                    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
                    assert_eq!(Client::connect(address).request(request).0, 404, "{listen}");
                } else {
                    drop(support::tls::open(address, &files.cert));
                }
            }
            server.begin_shutdown();
            server.join();
        }
    }
}

#[test]
fn the_ipv6_wildcard_alone_serves_both_families_and_port_0_is_chosen_per_listener() {
    let alone = Server::start(&["--listen=[::]:0"]);
    let port = alone.address.port();
    drop(Client::open((Ipv4Addr::LOCALHOST, port).into()));
    drop(Client::open((Ipv6Addr::LOCALHOST, port).into()));
    // An IPv4 listener on another port does not conflict.
    let two = Server::start(&["--listen=[::]:0,0.0.0.0:0"]);
    let other = two.second_address.unwrap();
    assert_ne!(two.address.port(), other.port());
    drop(Client::open((Ipv4Addr::LOCALHOST, two.address.port()).into()));
    drop(Client::open((Ipv4Addr::LOCALHOST, other.port()).into()));
}
