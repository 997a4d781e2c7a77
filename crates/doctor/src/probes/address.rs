//! Does the server know the client's address, and does it believe a forged one?

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::{Instant, sleep};

use crate::admin::{Admin, Row};
use crate::client::{Attempt, CLOSE, Opened, PING, Received, Request};
use crate::context::Context;
use crate::escape::escape;
use crate::finding::{Finding, Question};
use crate::remedies::Remedy;

const QUESTION: Question = Question::Address;

/// An address of the documentation (RFC 5737), which no client has.
const FORGED: &str = "192.0.2.77";

/// Other clients may open and close sessions at the same moment, and a balancer may choose another server.
const ATTEMPTS: usize = 4;

/// The time until a closed session has left the table.
const TABLE_DELAY: Duration = Duration::from_secs(1);

/// Compares this machine's address with the peer in the table of sessions.
pub(crate) async fn address(context: &Context<'_>) -> Vec<Finding> {
    let Some(admin) = &context.admin else {
        let sentence = "without --admin it is not known which address the server sees";
        let remedy = Remedy::Client("--admin with the URL of the server's admin listener");
        return vec![Finding::note(QUESTION, "address_unknown", sentence, [remedy])];
    };
    let mut findings = match session_row(context, admin, &[]).await {
        Ok(Some((row, local))) => vec![judge(admin, &row.peer, local)],
        Ok(None) => return vec![not_found()],
        Err(problem) => return vec![no_table(&problem)],
    };
    let forged = ["X-Forwarded-For", "X-Real-IP", "Forwarded"].map(|name| {
        let value = if name == "Forwarded" { format!("for={FORGED}") } else { FORGED.to_owned() };
        (name.to_owned(), value)
    });
    if let Ok(Some((row, _))) = session_row(context, admin, &forged).await {
        findings.push(if ip(&row.peer) == FORGED.parse().ok() {
            let sentence = format!(
                "the server believes an invented address ({FORGED}) that a client sends in X-Forwarded-For: \
                 log and limits can be deceived"
            );
            Finding::failure(QUESTION, "address_forged", sentence, [Remedy::ReplaceAddress])
        } else {
            let sentence = "an invented address in X-Forwarded-For is not believed";
            Finding::ok(QUESTION, "address_not_forged", sentence)
        });
    }
    findings
}

fn no_table(problem: &str) -> Finding {
    let sentence = format!("which address the server sees is not known: {problem}");
    let remedy = Remedy::Server("WS_STATUS_CONNECTION_TABLE=true, and a restart".to_owned());
    Finding::note(QUESTION, "no_connection_table", sentence, [remedy])
}

fn not_found() -> Finding {
    let sentence = "the session is not in the table of --admin: another server has it, or many clients connect \
                    at this moment";
    let remedy =
        Remedy::Client("--admin with the admin listener of the server that the proxy chooses");
    Finding::note(QUESTION, "session_elsewhere", sentence, [remedy])
}

/// Opens a session and closes it. Its row is the one that comes and goes with it.
async fn session_row(
    context: &Context<'_>,
    admin: &Admin,
    headers: &[(String, String)],
) -> Result<Option<(Row, SocketAddr)>, String> {
    let headers = [context.options.headers.as_slice(), headers].concat();
    for _ in 0..ATTEMPTS {
        let last = admin.sessions_after(0).await?.last().map_or(0, |row| row.id);
        let request = Request { headers: &headers, ..context.usual() };
        let Attempt::Open(Opened { mut session, local, .. }) = context.request(request).await
        else {
            return Ok(None);
        };
        let until = Instant::now() + context.limit();
        // The row is there when the session works.
        let _ = session.send(PING, b"doctor").await;
        while matches!(session.next(until).await, Ok(Received::Data | Received::Ping)) {}
        let mut open = admin.sessions_after(last).await?;
        let is_ours = |row: &Row| row.origin == context.origin.unwrap_or_default();
        if open.iter().any(is_ours) {
            open.retain(is_ours);
        }
        let _ = session.send(CLOSE, &1000_u16.to_be_bytes()).await;
        while session.next(until).await.is_ok() {}
        drop(session);
        let gone = Instant::now() + TABLE_DELAY;
        loop {
            let still = admin.sessions_after(last).await?;
            let mut ended = open.iter().filter(|row| !still.iter().any(|it| it.id == row.id));
            match (ended.next(), ended.next()) {
                (Some(row), None) => return Ok(Some((row.clone(), local))),
                (None, _) if !open.is_empty() && Instant::now() < gone => {
                    sleep(TABLE_DELAY / 20).await;
                }
                _ => break,
            }
        }
    }
    Ok(None)
}

/// The address of a peer in the table: with a port if it is that of a socket or of a PROXY header, without
/// one if a header named it.
fn ip(peer: &str) -> Option<IpAddr> {
    let address = peer.parse::<SocketAddr>().map(|it| it.ip());
    address
        .or_else(|_| peer.trim_matches(['[', ']']).parse())
        .ok()
        .map(|ip: IpAddr| ip.to_canonical())
}

fn judge(admin: &Admin, peer: &str, local: SocketAddr) -> Finding {
    let shown = escape(peer.as_bytes());
    let local_ip = local.ip().to_canonical();
    let seen = ip(peer);
    // A port other than ours: something on this machine has connected in our place.
    let is_other_port = peer.parse::<SocketAddr>().is_ok_and(|it| it.port() != local.port());
    if seen == Some(local_ip) && !is_other_port {
        return Finding::ok(
            QUESTION,
            "address_seen",
            format!("the server sees this client as {shown}"),
        );
    }
    let is_named = peer.parse::<SocketAddr>().is_err() && seen.is_some();
    let is_trusted = seen.is_some_and(|ip| {
        admin.list("trusted_proxies").any(|it| {
            it.parse::<IpNet>()
                .map_or_else(|_| it.parse() == Ok(ip), |network| network.contains(&ip))
        })
    }) || seen.is_none();
    let uses_header = admin.setting("forwarded_header") != "off";
    let uses_proxy = admin.setting("proxy_protocol") != "off";
    if is_named && !is_trusted {
        // Behind NAT the server sees another address than this machine has.
        let sentence = format!(
            "a proxy has named the client {shown}; this machine has {local_ip}, so there is a NAT, or a proxy in \
             front of that proxy"
        );
        let remedy = Remedy::ForwardAddress(shown);
        return if is_nat(local_ip, seen) {
            Finding::ok(QUESTION, "address_seen", sentence)
        } else {
            Finding::warning(QUESTION, "address_of_proxy", sentence, [remedy])
        };
    }
    let sentence = format!("the server sees {shown} and not this client ({local})");
    let (sentence, remedies) = if is_trusted && (uses_header || uses_proxy) {
        let remedies = if uses_header {
            vec![Remedy::ForwardAddress(String::new())]
        } else {
            vec![Remedy::SendProxyHeader]
        };
        (format!("{sentence}: that is a trusted proxy, and it does not name its clients"), remedies)
    } else if is_trusted {
        let sentence =
            format!("{sentence}: that is a trusted proxy, and no setting lets it name its clients");
        (sentence, vec![Remedy::ForwardAddress(String::new()), Remedy::SendProxyHeader])
    } else if is_nat(local_ip, seen) && !uses_header && !uses_proxy {
        let sentence = format!("{sentence}, which is the address of a NAT, or of a proxy");
        return Finding::note(
            QUESTION,
            "address_of_nat",
            sentence,
            [Remedy::ForwardAddress(String::new())],
        );
    } else {
        let peer = seen.map(|ip| ip.to_string()).unwrap_or_default();
        let sentence = format!(
            "{sentence}: if that is a proxy, it is not trusted; all clients share its address in the log and in \
             limits"
        );
        (sentence, vec![Remedy::ForwardAddress(peer)])
    };
    Finding::warning(QUESTION, "address_of_proxy", sentence, remedies)
}

/// Whether a private address has become a public one.
fn is_nat(local: IpAddr, seen: Option<IpAddr>) -> bool {
    let is_private = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback(),
    };
    is_private(local) && !seen.is_some_and(is_private)
}
