//! The order of the modules: each file is on a floor, and no import leads to a higher floor, forms a
//! cycle or uses the crate's root.

mod cycles;
mod dependencies;
mod resolve;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::files::{folders, read, tree};
use crate::floors::{CRATES, Entry, Floor};
use crate::tools::{Failure, root};

use dependencies::Dependency;
use resolve::Crate;

/// A violation, and how to fix it.
struct Problem {
    message: String,
    remedy: &'static str,
}

const TABLE: &str =
    "a file was added, moved or removed: update its crate's table in xtask/src/floors.rs";
const UPWARD: &str = "an upward dependency: move the item down to the floor of its subject, or pass it as an \
                      argument; change xtask/src/floors.rs only if the order itself is wrong";
const CYCLE: &str =
    "a cycle: move the shared items into a file below both, or pass them as arguments";
const ROOT: &str =
    "a name of the root: import it from the module that defines it, as in `crate::routes::Router`";

pub(crate) fn check() -> Result<(), Failure> {
    let mut problems = Vec::new();
    let (mut files, mut dependencies) = (0, 0);
    let crates_found = folders("crates")?;
    for (name, _) in CRATES.iter().filter(|(name, _)| !crates_found.iter().any(|it| it == name)) {
        problems.push(Problem { message: format!("crates/{name} does not exist"), remedy: TABLE });
    }
    for name in &crates_found {
        let table = CRATES.iter().find(|(it, _)| it == name);
        let floors = table.map_or(&[][..], |(_, floors)| *floors);
        let src = format!("crates/{name}/src");
        let mut texts = Vec::new();
        for path in tree(&src)?.into_iter().filter(|path| path.ends_with(".rs")) {
            let text = read(&root().join(&src).join(&path))?;
            texts.push((path, text));
        }
        let outcome = check_crate(&src, floors, &texts);
        problems.extend(outcome.problems);
        files += texts.len();
        dependencies += outcome.dependencies;
    }
    if problems.is_empty() {
        println!("{dependencies} imports between {files} files lead downward");
        return Ok(());
    }
    let remedies: BTreeSet<&str> = problems.iter().map(|problem| problem.remedy).collect();
    let remedies: Vec<&str> = remedies.into_iter().collect();
    let sentences: Vec<&str> = problems.iter().map(|problem| &*problem.message).collect();
    Err(Failure::new(sentences.join("\n"), remedies.join("\n        ")))
}

struct Outcome {
    problems: Vec<Problem>,
    dependencies: usize,
}

/// Checks the files of a crate, given as paths and texts, against its floors.
fn check_crate(src: &str, floors: &[Floor], texts: &[(String, String)]) -> Outcome {
    let mut problems = Vec::new();
    let files = texts.iter().map(|(path, _)| path.as_str());
    let positions = table::positions(src, floors, files, &mut problems);
    let krate = Crate::new(texts);
    let dependencies = dependencies::dependencies(&krate, src, &mut problems);
    let name = |file: usize| krate.files.get(file).map_or("", |it| it.path.as_str());
    for Dependency { from, to, line, path } in &dependencies {
        let (from, to) = (name(*from), name(*to));
        if let (Some(lower), Some(upper)) = (positions.get(from), positions.get(to))
            && upper.floor < lower.floor
        {
            let Entry(entry, meaning) = upper.entry;
            let message = format!(
                "{src}/{from}:{line}: `{path}` is in {src}/{to}, on a higher floor ({entry}: {meaning})"
            );
            problems.push(Problem { message, remedy: UPWARD });
        }
    }
    for cycle in cycles::shortest(&dependencies) {
        let mut message = format!("{} files of {src} depend on each other:", cycle.len());
        for Dependency { from, to, line, path } in &cycle {
            let (from, to) = (name(*from), name(*to));
            _ = write!(message, "\n    {src}/{from}:{line} uses {src}/{to}: `{path}`");
        }
        problems.push(Problem { message, remedy: CYCLE });
    }
    Outcome { problems, dependencies: dependencies.len() }
}
