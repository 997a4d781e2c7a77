//! Does the host resolve, and do its addresses accept connections?

use std::io;
use std::net::SocketAddr;

use tokio::time::Instant;

use crate::client::{MAX_ADDRESSES, connect, resolve};
use crate::context::time;
use crate::finding::{Finding, Question};
use crate::options::Options;
use crate::remedies::Remedy;

const QUESTION: Question = Question::Reach;

/// Returns the findings, and the first address that accepts connections.
pub(crate) async fn reach(options: &Options) -> (Vec<Finding>, Option<SocketAddr>) {
    let target = &options.target;
    let began = Instant::now();
    let resolved = resolve(&target.host, target.port, options.timeout_secs).await;
    let took = began.elapsed();
    let addresses = match resolved {
        Ok(addresses) if addresses.is_empty() => {
            return (vec![unresolved(options, "it has no address")], None);
        }
        Ok(addresses) => addresses,
        Err(error) => return (vec![unresolved(options, &error.to_string())], None),
    };
    let mut findings = Vec::new();
    if target.host.parse::<std::net::IpAddr>().is_err() {
        let listed: Vec<String> = addresses.iter().map(|it| it.ip().to_string()).collect();
        let sentence =
            format!("{} resolves to {} in {}", target.host, listed.join(", "), time(took));
        findings.push(Finding::ok(QUESTION, "resolved", sentence).measuring("resolve_ms", took));
    }
    let is_family =
        |address: &SocketAddr| options.bind.is_none_or(|it| it.is_ipv4() == address.is_ipv4());
    let mut found = None;
    let mut failures = Vec::new();
    for address in addresses.into_iter().filter(is_family).take(MAX_ADDRESSES) {
        let began = Instant::now();
        match connect(address, options.bind, options.timeout_secs).await {
            Ok(_) => {
                let took = began.elapsed();
                let sentence = format!("{address} accepts connections in {}", time(took));
                findings.push(
                    Finding::ok(QUESTION, "connected", sentence).measuring("connect_ms", took),
                );
                found = found.or(Some(address));
            }
            Err(error) => failures.push((address, error)),
        }
    }
    let is_found = found.is_some();
    findings.extend(failures.iter().map(|(address, error)| {
        let (word, problem, remedy) = unreachable(*address, error);
        let sentence = format!("{address} {problem}");
        if !is_found {
            Finding::failure(QUESTION, word, sentence, [remedy, Remedy::Upstream])
        } else if target.is_loopback() {
            Finding::note(QUESTION, word, sentence, [remedy])
        } else {
            let sentence =
                format!("{sentence}; clients that try it first wait for another address");
            Finding::warning(QUESTION, word, sentence, [remedy])
        }
    }));
    if !is_found && failures.is_empty() {
        let sentence = format!("{} has no address of the family of --bind", target.host);
        let remedy = Remedy::Client("--bind with an address of the other family");
        findings.push(Finding::failure(QUESTION, "no_address", sentence, [remedy]));
    }
    (findings, found)
}

fn unresolved(options: &Options, problem: &str) -> Finding {
    let host = &options.target.host;
    let sentence = format!("{host} does not resolve: {problem}");
    let remedy =
        Remedy::Network(format!("a DNS record for {host} (A, AAAA), or the name in the URL"));
    Finding::failure(QUESTION, "unresolved", sentence, [remedy])
}

#[expect(clippy::wildcard_enum_match_arm, reason = "most kinds have no remedy of their own")]
fn unreachable(address: SocketAddr, error: &io::Error) -> (&'static str, String, Remedy) {
    let port = address.port();
    let network = |text: String| Remedy::Network(text);
    match error.kind() {
        io::ErrorKind::ConnectionRefused => (
            "refused_connection",
            "refuses connections: nothing listens there, or a firewall rejects them".to_owned(),
            network(format!(
                "a listener on port {port} of {}, or another port in the URL",
                address.ip()
            )),
        ),
        io::ErrorKind::TimedOut => (
            "connection_timeout",
            "does not answer: a firewall drops the packets, or the host is down".to_owned(),
            network(format!(
                "the firewall or security group must admit TCP port {port} to {}",
                address.ip()
            )),
        ),
        io::ErrorKind::AddrNotAvailable if address.port() != 0 => (
            "local_address",
            format!("cannot be reached from the local address: {error}"),
            Remedy::Client("--bind with an address of this machine"),
        ),
        _ => (
            "unreachable",
            format!("cannot be reached: {error}"),
            network(format!("a route from this machine to {}", address.ip())),
        ),
    }
}
