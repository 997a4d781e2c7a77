//! `examine`: the order of the probes, and which of them need which.

use std::net::SocketAddr;

use crate::admin::Admin;
use crate::client::{Dialer, Target, Trust, resolve};
use crate::context::Context;
use crate::finding::{Finding, Question};
use crate::options::Options;
use crate::probes::{
    TlsOutcome, Upgraded, address, buffering, close, http2, keep_alive, origin, ping, reach, tls,
    upgrade,
};
use crate::remedies::{Place, Remedy};
use crate::report::Report;

/// Examines the path to an endpoint. It takes as long as the server's ping interval; `progress` is called
/// with sentences for people while it waits.
///
/// ```no_run
/// use doctor::{Options, examine};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let options = Options::from_arguments(["wss://status.example.com".into()])?;
/// let report = examine(&options, &|sentence| eprintln!("{sentence}")).await;
/// println!("{}", report.text());
/// # Ok(())
/// # }
/// ```
pub async fn examine(options: &Options, progress: &dyn Fn(&str)) -> Report {
    let mut report = Report::new(&options.target);
    report.likely = run(options, progress, &mut report.findings).await;
    report
}

/// Stops where nothing further can be found out. Returns the proxy that answers name.
async fn run(
    options: &Options,
    progress: &dyn Fn(&str),
    findings: &mut Vec<Finding>,
) -> Option<Place> {
    progress("connecting");
    let (found, address) = reach(options).await;
    findings.extend(found);
    let address = address?;
    let trust = encryption(options, address, findings).await.ok()?;
    let admin = admin(options, findings).await;
    let mut context = Context {
        options,
        dialer: dialer(options, options.target.clone(), address, trust),
        admin,
        origin: options.origin.as_deref(),
        progress,
    };
    progress("requesting sessions");
    let Upgraded { findings: found, is_open, likely } = upgrade(&mut context).await;
    findings.extend(found);
    if !is_open {
        return likely;
    }
    findings.push(http2(&context).await);
    findings.extend(origin(&context).await);
    progress("sending pings and Close frames");
    let (found, pings) = ping(&context).await;
    findings.push(found);
    if let Some(pings) = pings {
        findings.extend(buffering(&context, pings).await);
    }
    findings.extend(close(&context).await);
    findings.extend(self::address(&context).await);
    findings.extend(keep_alive(&context).await);
    likely
}

/// Nothing further can be examined.
struct Stopped;

/// Returns what certificates are verified with, or `None` for a URL without TLS.
async fn encryption(
    options: &Options,
    address: SocketAddr,
    findings: &mut Vec<Finding>,
) -> Result<Option<Trust>, Stopped> {
    if !options.target.is_tls {
        if !options.target.is_loopback() {
            let sentence = "the URL has no TLS: the traffic can be read, and pages that were loaded over https \
                            cannot connect";
            let url = Remedy::Client("a URL that begins with wss://");
            findings.push(Finding::note(Question::Tls, "plaintext", sentence, [url]));
        }
        return Ok(None);
    }
    let trust = match Trust::load(options.ca_file.as_deref()) {
        Ok(trust) => trust,
        Err(problem) => {
            let remedy = Remedy::Client("--ca-file with a PEM file of root certificates");
            findings.push(Finding::failure(Question::Tls, "no_roots", problem, [remedy]));
            return Err(Stopped);
        }
    };
    let (finding, outcome) = tls(options, &trust, address).await;
    findings.push(finding);
    match outcome {
        TlsOutcome::Failed => Err(Stopped),
        // What --header has is not shown to a server that is not proven to be the right one.
        TlsOutcome::Insecure if !options.headers.is_empty() => Err(Stopped),
        TlsOutcome::Insecure | TlsOutcome::Secure => Ok(Some(trust)),
    }
}

async fn admin(options: &Options, findings: &mut Vec<Finding>) -> Option<Admin> {
    let target = options.admin.clone()?;
    let remedy = || {
        [
            Remedy::Client(
                "--admin with the URL of the server's admin listener, such as http://127.0.0.1:9090",
            ),
            Remedy::Server(
                "WS_STATUS_ADMIN_LISTEN, and WS_STATUS_ADMIN_HOST for a name".to_owned(),
            ),
        ]
    };
    let address = resolve(&target.host, target.port, options.timeout_secs).await;
    let Some(address) = address.ok().and_then(|addresses| addresses.first().copied()) else {
        let sentence = format!("{} does not resolve", target.host);
        findings.push(Finding::warning(Question::Admin, "admin_unreachable", sentence, remedy()));
        return None;
    };
    let mut dialer = dialer(options, target, address, None);
    dialer.bind = None;
    match Admin::connect(dialer).await {
        Ok(admin) => {
            let sentence = "the admin listener answers; what the server saw is compared";
            findings.push(Finding::ok(Question::Admin, "admin_read", sentence));
            Some(admin)
        }
        Err(problem) => {
            let sentence = format!("the admin listener does not help: {problem}");
            findings.push(Finding::warning(
                Question::Admin,
                "admin_unreachable",
                sentence,
                remedy(),
            ));
            None
        }
    }
}

fn dialer(options: &Options, target: Target, address: SocketAddr, trust: Option<Trust>) -> Dialer {
    Dialer { target, address, bind: options.bind, trust, limit: options.timeout_secs }
}
