//! Why a handshake was not answered with 101. The server's own refusals begin with a word, which names the
//! cause; any other answer is from something on the way.

mod counted;
mod of_path;
mod of_server;

use transport::Rejection;

use crate::client::{Attempt, NoHead, Refused, Shown};
use crate::context::Context;
use crate::escape::escape;
use crate::finding::{Finding, Question};
use crate::probes::tls::late_failure;
use crate::remedies::Remedy;

use of_path::{TLS_ALERT, of_silence, of_status, speaks_tls};
use of_server::of_server;

pub(super) use counted::{Counted, said};

/// Explains an attempt that did not open a session. `origin` is what was sent.
pub(super) fn explain(
    question: Question,
    attempt: &Attempt,
    counted: &Counted,
    context: &Context<'_>,
    origin: Option<&str>,
) -> Finding {
    let answer = match attempt {
        Attempt::Refused(refused) => describe(refused),
        Attempt::NoAnswer(failure) => failure.to_string(),
        Attempt::Shown(Shown { code, reason, .. }) => {
            format!("101, and at once a Close with {code} \"{}\"", escape(reason))
        }
        Attempt::HeldBack | Attempt::Open(_) => "the answer was held back".to_owned(),
    };
    if let Some(rejection) = said(attempt) {
        let (sentence, remedies) = of_server(rejection, attempt, context, origin);
        let sentence = format!("the server refuses the handshake ({answer}): {sentence}");
        return Finding::failure(question, word(rejection, origin), sentence, remedies);
    }
    if let Counted::Refused(rejection) = *counted {
        let (sentence, remedies) = of_server(rejection, attempt, context, origin);
        let sentence = format!(
            "the server refused the request as {rejection}, and what arrived is: {answer}. {sentence}"
        );
        return Finding::failure(question, word(rejection, origin), sentence, remedies);
    }
    let (word, cause, mut remedies) = match attempt {
        Attempt::Refused(refused)
            if question != Question::Upgrade && matches!(refused.head.status, 429 | 503) =>
        {
            let cause = "earlier handshakes were accepted, so something on the way limits how many \
                         one client may try";
            ("limited", cause.to_owned(), vec![Remedy::RateLimit])
        }
        Attempt::Refused(refused) => of_status(refused),
        Attempt::NoAnswer(NoHead::NotHttp(bytes)) if bytes.starts_with(TLS_ALERT) => {
            speaks_tls(context.dialer.target.is_tls)
        }
        Attempt::NoAnswer(failure) => {
            if let NoHead::Failed(error) = failure
                && let Some(finding) = late_failure(error)
            {
                return finding;
            }
            of_silence(failure)
        }
        Attempt::HeldBack | Attempt::Open(_) | Attempt::Shown(_) => (
            "answer_held_back",
            "the 101 arrived only after further bytes were sent".to_owned(),
            vec![Remedy::ForwardAtOnce],
        ),
    };
    let seen = match counted {
        Counted::Nothing => {
            // Where something on the way refuses by a rule of its own, forwarding is not what is missing.
            let is_rule = matches!(word, "access_denied" | "head_limit" | "limited" | "redirected");
            if !is_rule {
                remedies.retain(|remedy| *remedy != Remedy::Forward);
                remedies.insert(0, Remedy::Forward);
            }
            "; the server of --admin counted no request, so it did not reach that server"
        }
        Counted::Opened => {
            "; the server of --admin opened a session meanwhile, so its answer may have been replaced"
        }
        Counted::Unknown | Counted::Refused(_) => "",
    };
    Finding::failure(question, word, format!("{answer}: {cause}{seen}"), remedies)
}

fn word(rejection: Rejection, origin: Option<&str>) -> &'static str {
    match (rejection, origin) {
        (Rejection::OriginMissing, Some(_)) => "origin_dropped",
        (Rejection::OriginRefused, None) => "origin_added",
        _ => rejection.as_str(),
    }
}

fn describe(refused: &Refused) -> String {
    let first =
        refused.body.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty());
    let status = refused.head.status;
    match first {
        Some(line) => format!("{status}, \"{}\"", escape(line.trim_ascii())),
        None => format!("{status} without a text"),
    }
}
