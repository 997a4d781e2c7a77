//! Which origins are let in, and do `Origin` and `Host` arrive unchanged?

use transport::Rejection;

use crate::client::Attempt;
use crate::context::Context;
use crate::finding::{Finding, Question};
use crate::probes::refusal::{Counted, explain, said};
use crate::remedies::Remedy;

const QUESTION: Question = Question::Origin;

/// An origin that no operator allows (RFC 2606, section 2).
const FOREIGN: &str = "https://doctor.invalid";

/// A value that is not an origin: a server that sees it refuses it as such.
const MALFORMED: &str = "not an origin";

/// The own origin is tried only if the settings say that it is let in.
pub(crate) async fn origin(context: &Context<'_>) -> Vec<Finding> {
    let mut findings = vec![foreign(context).await];
    findings.extend(host(context).await);
    findings
}

async fn foreign(context: &Context<'_>) -> Finding {
    let before = context.counters().await;
    let attempt = context.open_from(Some(FOREIGN)).await;
    match (&attempt, said(&attempt)) {
        (Attempt::Open(_), _) => admitted(context).await,
        (_, Some(Rejection::OriginRefused)) => Finding::ok(
            QUESTION,
            "foreign_refused",
            format!("a foreign origin ({FOREIGN}) is refused"),
        ),
        (Attempt::Refused(refused), None) if refused.head.status == 403 => {
            let sentence = format!("a foreign origin ({FOREIGN}) is refused with 403");
            Finding::ok(QUESTION, "foreign_refused", sentence)
        }
        _ => {
            let counted = Counted::since(context, before.as_ref()).await;
            explain(QUESTION, &attempt, &counted, context, Some(FOREIGN))
        }
    }
}

/// A foreign origin was let in: because all are, or because the server does not see it.
async fn admitted(context: &Context<'_>) -> Finding {
    let attempt = context.open_from(Some(MALFORMED)).await;
    if matches!(attempt, Attempt::Open(_)) {
        let sentence = format!(
            "a foreign origin ({FOREIGN}) is let in, and so is a malformed one: Origin does not arrive as it \
             is sent, so any page may connect"
        );
        let refuse = Remedy::Server(
            "WS_STATUS_MISSING_ORIGIN=refuse, so that a lost Origin lets no page in".to_owned(),
        );
        return Finding::failure(QUESTION, "origin_lost", sentence, [Remedy::PassOrigin, refuse]);
    }
    let sentence = format!("a foreign origin ({FOREIGN}) is let in: any page may connect");
    let remedy =
        Remedy::Server("WS_STATUS_ALLOWED_ORIGINS with the origins of your pages only".to_owned());
    Finding::failure(QUESTION, "foreign_admitted", sentence, [remedy])
}

/// Finds out whether `Host` arrives: a port that does not exist is refused by a server that sees it.
async fn host(context: &Context<'_>) -> Option<Finding> {
    let uses_self =
        context.admin.as_ref().map(|it| it.list("allowed_origins").any(|it| it == "self"));
    if uses_self == Some(true) {
        return Some(own_origin(context).await);
    }
    let attempt = context.open_with_wrong_port().await;
    match (&attempt, said(&attempt)) {
        (_, Some(Rejection::BadHost)) => {
            Some(Finding::ok(QUESTION, "host_unchanged", "Host arrives unchanged"))
        }
        (Attempt::Open(_), _) => {
            let sentence = "Host does not arrive as it is sent, so \"self\" in allowed_origins does not mean the \
                            host that clients see";
            Some(if uses_self == Some(false) {
                let sentence = format!("{sentence}; it is not used");
                Finding::note(QUESTION, "host_changed", sentence, [Remedy::PassHost])
            } else {
                Finding::warning(QUESTION, "host_changed", sentence, [Remedy::PassHost])
            })
        }
        // Something on the way refuses such a port itself, and nothing is known.
        _ => None,
    }
}

/// "self" is allowed: then the origin of the URL is let in exactly if `Host` arrives.
async fn own_origin(context: &Context<'_>) -> Finding {
    let own = context.dialer.target.own_origin();
    let attempt = context.open_from(Some(&own)).await;
    if matches!(attempt, Attempt::Open(_)) {
        let sentence = format!("the server's own origin ({own}) is let in, as \"self\" says");
        return Finding::ok(QUESTION, "host_unchanged", sentence);
    }
    let sentence = format!(
        "\"self\" is in allowed_origins, and the server's own origin ({own}) is refused: Host does not arrive \
         as it is sent"
    );
    Finding::failure(QUESTION, "host_changed", sentence, [Remedy::PassHost])
}
