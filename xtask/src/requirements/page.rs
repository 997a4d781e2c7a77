//! The page docs/conformance.md: a table for each RFC.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::citations::{Citation, Kind};
use super::list::{Requirement, Rfc};

const INTRODUCTION: &str = "\
# Conformance

This page is for you if you ask whether the server keeps a rule of the WebSocket RFCs; after it you know the code that keeps each, and the test that shows it.

It lists what three RFCs demand of a server, in our words, and leaves out what they demand of clients and intermediaries, and what they only permit.
The level is the key word of the RFC; `rule` is what an RFC says without one.
A requirement that is not kept has the reason in the place of code and tests.

This page is generated: `cargo xtask requirements --write` makes it from the lists in [`requirements`](requirements) and the citations in the code, and `cargo xtask requirements` checks both.
";

pub(super) fn page(rfcs: &[Rfc], cited: &[Citation]) -> String {
    let mut page = INTRODUCTION.to_owned();
    for rfc in rfcs {
        let exceptions = rfc.requirements.iter().filter(|it| it.exception.is_some());
        let exceptions: Vec<String> = exceptions.map(|it| link(rfc, it)).collect();
        let Rfc { title, introduction, requirements, .. } = rfc;
        let kept = match exceptions.as_slice() {
            [] => "All are kept.".to_owned(),
            exceptions => format!("All are kept except {}.", exceptions.join(", ")),
        };
        let count = requirements.len();
        _ = write!(
            page,
            "\n## {title}\n\n{introduction}\nThere are {count} requirements.\n{kept}\n\n"
        );
        page += "| | level | requirement | code | tests |\n|---|---|---|---|---|\n";
        for requirement in requirements {
            page += &row(rfc, requirement, cited);
        }
    }
    page
}

fn row(rfc: &Rfc, requirement: &Requirement, cited: &[Citation]) -> String {
    let Requirement { level, text, exception, .. } = requirement;
    let name = rfc.name(requirement);
    // Sets, because a file may cite a requirement several times.
    let (mut code, mut tests) = (BTreeSet::new(), BTreeSet::new());
    for Citation { file, kind, .. } in cited.iter().filter(|it| it.requirement == name) {
        match kind {
            Kind::Code => {
                let short = file.trim_start_matches("crates/").replacen("/src/", "/", 1);
                code.insert(format!("[`{short}`](../{file})"));
            }
            Kind::Test { name } => _ = tests.insert(format!("[`{name}`](../{file})")),
        }
    }
    let [mut code, tests] = [code, tests].map(|it| it.into_iter().collect::<Vec<_>>().join(", "));
    if let Some(reason) = exception {
        let separator = if code.is_empty() { "" } else { " " };
        code = format!("**Not kept.** {reason}{separator}{code}");
    }
    format!("| {} | {level} | {text} | {code} | {tests} |\n", link(rfc, requirement))
}

/// Returns the number of a requirement, as a link to its section.
fn link(Rfc { id, .. }: &Rfc, Requirement { number, .. }: &Requirement) -> String {
    format!("[{number}](https://www.rfc-editor.org/rfc/{id}#section-{})", number.section())
}
