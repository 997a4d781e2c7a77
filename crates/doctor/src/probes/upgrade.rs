//! Is the upgrade passed on over HTTP/1.1?

use crate::client::{Attempt, Head, Opened};
use crate::context::{Context, time};
use crate::finding::{Finding, Question};
use crate::probes::refusal::{Counted, explain, said};
use crate::remedies::{Place, Remedy};

const QUESTION: Question = Question::Upgrade;

/// What the first handshakes showed.
pub(crate) struct Upgraded {
    pub(crate) findings: Vec<Finding>,
    /// Whether sessions can be opened with the context's origin.
    pub(crate) is_open: bool,
    /// The proxy that the headers of the answer name.
    pub(crate) likely: Option<Place>,
}

/// Opens a session, with the origin of the options; if that is refused, without one.
pub(crate) async fn upgrade(context: &mut Context<'_>) -> Upgraded {
    let mut findings = Vec::new();
    let before = context.counters().await;
    let attempt = context.open().await;
    let likely = likely(&attempt);
    if let Attempt::Open(opened) = attempt {
        findings.extend(judge(&opened));
        findings.extend(context.origin.map(|origin| {
            Finding::ok(Question::Origin, "origin_admitted", format!("{origin} is let in"))
        }));
        return Upgraded { findings, is_open: true, likely };
    }
    let counted = Counted::since(context, before.as_ref()).await;
    let counted = counted.confirmed(context, &attempt).await;
    let is_refused_origin = said(&attempt) == Some(transport::Rejection::OriginRefused);
    if let Some(origin) = context.origin.filter(|_| is_refused_origin) {
        findings.push(explain(Question::Origin, &attempt, &counted, context, Some(origin)));
        context.origin = None;
        if let Attempt::Open(opened) = context.open().await {
            findings.extend(judge(&opened));
            return Upgraded { findings, is_open: true, likely };
        }
        return Upgraded { findings, is_open: false, likely };
    }
    findings.push(explain(QUESTION, &attempt, &counted, context, context.origin));
    Upgraded { findings, is_open: false, likely }
}

fn likely(attempt: &Attempt) -> Option<Place> {
    let head = match attempt {
        Attempt::Open(opened) => &opened.head,
        Attempt::Refused(refused) => &refused.head,
        Attempt::Shown(shown) => &shown.head,
        Attempt::HeldBack | Attempt::NoAnswer(_) => return None,
    };
    let named = |name| head.header(name).and_then(Place::named_by);
    named("server").or_else(|| named("via"))
}

/// What a browser would object to in a 101 (RFC 6455, section 4.1).
fn judge(opened: &Opened) -> Vec<Finding> {
    let Opened { head, .. } = opened;
    let mut findings = Vec::new();
    let mut fail = |word, sentence: &str, remedy| {
        findings.push(Finding::failure(QUESTION, word, sentence, [remedy]));
    };
    if !head.is_http11 {
        fail("answer_http10", "the 101 arrives as HTTP/1.0, which browsers refuse", Remedy::Http11);
    }
    if !opened.is_accept_right {
        let sentence = "Sec-WebSocket-Accept does not answer the key: something on the way answers in place \
                        of the server, or changes the key";
        fail("accept_wrong", sentence, Remedy::PassHandshake);
    }
    if !(head.has_token("upgrade", "websocket") && head.has_token("connection", "upgrade")) {
        let sentence = "the 101 arrives without Upgrade: websocket or Connection: Upgrade, which browsers \
                        refuse";
        fail("answer_without_upgrade", sentence, Remedy::PassHandshake);
    }
    if let Some(name) = unrequested(head) {
        let sentence = format!("the 101 has {name}, which was not asked for; browsers refuse that");
        fail("unrequested", &sentence, Remedy::PassHandshake);
    }
    if findings.is_empty() {
        let sentence = format!("the upgrade is answered with 101 in {}", time(opened.took));
        findings
            .push(Finding::ok(QUESTION, "upgraded", sentence).measuring("upgrade_ms", opened.took));
    }
    findings
}

fn unrequested(head: &Head) -> Option<&'static str> {
    ["sec-websocket-protocol", "sec-websocket-extensions"]
        .into_iter()
        .find(|name| head.header(name).is_some())
}
