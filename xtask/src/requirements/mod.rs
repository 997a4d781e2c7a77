//! The requirements of the RFCs for a server: each is kept by code and shown by a test, or is an exception
//! with a reason. The lists are in docs/requirements, and the citations in the crates; docs/conformance.md
//! is generated from both.

mod citations;
mod list;
mod page;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use self::citations::{Citation, Kind, citations};
use self::list::Rfc;
use crate::files::{read, tree};
use crate::tools::{Failure, root};

const LISTS: &str = "docs/requirements";
const PAGE: &str = "docs/conformance.md";
const CRATES: &str = "crates";
const REMEDY: &str =
    "CONTRIBUTING.md says how to cite a requirement; the lists are in docs/requirements";

/// Checks that each requirement is cited, and that the page is current.
pub(crate) fn check() -> Result<(), Failure> {
    let Report { page, summary } = report()?;
    if read(&root().join(PAGE))? != page {
        let problem = format!("{PAGE} is not what the lists and the citations say");
        return Err(Failure::new(problem, "run `cargo xtask requirements --write`"));
    }
    println!("{summary}");
    Ok(())
}

/// Checks that each requirement is cited, and writes the page.
pub(crate) fn write() -> Result<(), Failure> {
    let Report { page, summary } = report()?;
    let failed = |error| Failure::new(format!("{PAGE}: {error}"), "see the message of the system");
    fs::write(root().join(PAGE), page).map_err(failed)?;
    println!("{summary}");
    Ok(())
}

/// What the lists and the citations amount to.
struct Report {
    page: String,
    summary: String,
}

fn report() -> Result<Report, Failure> {
    let mut rfcs = Vec::new();
    let mut problems = String::new();
    for file in tree(LISTS)? {
        let text = read(&root().join(LISTS).join(&file))?;
        match Rfc::parse(file.trim_end_matches(".txt"), &text) {
            Ok(rfc) => rfcs.push(rfc),
            Err(problem) => _ = writeln!(problems, "{LISTS}/{file}: {problem}"),
        }
    }
    let mut cited = Vec::new();
    for file in tree(CRATES)?.into_iter().filter(|file| file.ends_with(".rs")) {
        let file = format!("{CRATES}/{file}");
        match citations(&file, &read(&root().join(&file))?) {
            Ok(citations) => cited.extend(citations),
            Err(problem) => _ = writeln!(problems, "{file}: {problem}"),
        }
    }
    // A list that cannot be read would make each of its citations unknown.
    if problems.is_empty() {
        problems = compare(&rfcs, &cited);
    }
    if !problems.is_empty() {
        return Err(Failure::new(problems.trim_end(), REMEDY));
    }
    let exceptions = rfcs.iter().flat_map(|rfc| &rfc.requirements);
    let exceptions = exceptions.filter(|it| it.exception.is_some()).count();
    let count: usize = rfcs.iter().map(|rfc| rfc.requirements.len()).sum();
    let summary =
        format!("{} requirements are kept, {exceptions} are exceptions", count - exceptions);
    Ok(Report { page: page::page(&rfcs, &cited), summary })
}

/// Returns a line for each citation of an unknown requirement, and for each requirement that no code or no
/// test cites.
fn compare(rfcs: &[Rfc], cited: &[Citation]) -> String {
    let mut problems = String::new();
    let known: BTreeSet<String> =
        rfcs.iter().flat_map(|rfc| rfc.requirements.iter().map(|it| rfc.name(it))).collect();
    for Citation { requirement, file, line, .. } in cited {
        if !known.contains(requirement) {
            _ = writeln!(problems, "{file}:{line}: {requirement} is in no list");
        }
    }
    for (rfc, requirement) in
        rfcs.iter().flat_map(|rfc| rfc.requirements.iter().map(move |it| (rfc, it)))
    {
        if requirement.exception.is_some() {
            continue;
        }
        let name = rfc.name(requirement);
        let is_cited = |is_of_kind: fn(&Kind) -> bool| {
            cited.iter().any(|it| it.requirement == name && is_of_kind(&it.kind))
        };
        if !is_cited(|kind| matches!(kind, Kind::Code)) {
            _ = writeln!(problems, "{name}: no code cites it");
        }
        if !is_cited(|kind| matches!(kind, Kind::Test { .. })) {
            _ = writeln!(problems, "{name}: no test cites it");
        }
    }
    problems
}
