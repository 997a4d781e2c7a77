//! The order of the modules: each file on a floor, and no import that leads upward, in a circle or to
//! the crate's root.

mod arrows;
mod circles;
mod resolve;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::files::{folders, read, tree};
use crate::floors::{CRATES, Floor, Room};
use crate::tools::{Failure, root};

use arrows::Arrow;
use resolve::Crate;

/// What is wrong, and what to do about it.
struct Problem {
    what: String,
    remedy: &'static str,
}

const TABLE: &str =
    "a file that is new, moved or gone: change its crate's table in xtask/src/floors.rs";
const UPWARD: &str = "an arrow upward: move what is needed down to the floor of its subject, or hand it \
                      in as an argument; only if the order itself is wrong, change xtask/src/floors.rs";
const CIRCLE: &str = "a circle: move what both need into a file below both, or hand it in";
const ROOT: &str =
    "a name of the root: name the module that defines it, as in `crate::routes::Router`";

pub(crate) fn check() -> Result<(), Failure> {
    let mut problems = Vec::new();
    let (mut files, mut arrows) = (0, 0);
    let there = folders("crates")?;
    for (name, _) in CRATES.iter().filter(|(name, _)| !there.iter().any(|it| it == name)) {
        problems.push(Problem { what: format!("there is no crates/{name}"), remedy: TABLE });
    }
    for name in &there {
        let table = CRATES.iter().find(|(it, _)| it == name);
        let floors = table.map_or(&[][..], |(_, floors)| *floors);
        let src = format!("crates/{name}/src");
        let mut texts = Vec::new();
        for path in tree(&src)?.into_iter().filter(|path| path.ends_with(".rs")) {
            let text = read(&root().join(&src).join(&path))?;
            texts.push((path, text));
        }
        let outcome = held_against(&src, floors, &texts);
        problems.extend(outcome.problems);
        files += texts.len();
        arrows += outcome.arrows;
    }
    if problems.is_empty() {
        println!("{arrows} imports between {files} files lead downward");
        return Ok(());
    }
    let remedies: BTreeSet<&str> = problems.iter().map(|problem| problem.remedy).collect();
    let remedies: Vec<&str> = remedies.into_iter().collect();
    let sentences: Vec<&str> = problems.iter().map(|problem| &*problem.what).collect();
    Err(Failure::new(sentences.join("\n"), remedies.join("\n            ")))
}

struct Outcome {
    problems: Vec<Problem>,
    arrows: usize,
}

/// The files of a crate, each with its text, against its floors.
fn held_against(src: &str, floors: &[Floor], texts: &[(String, String)]) -> Outcome {
    let mut problems = Vec::new();
    let files = texts.iter().map(|(path, _)| path.as_str());
    let places = table::places(src, floors, files, &mut problems);
    let krate = Crate::new(texts);
    let arrows = arrows::arrows(&krate, src, &mut problems);
    let name = |file: usize| krate.files.get(file).map_or("", |it| it.path.as_str());
    for Arrow { from, to, line, path } in &arrows {
        let (from, to) = (name(*from), name(*to));
        if let (Some(lower), Some(upper)) = (places.get(from), places.get(to))
            && upper.floor < lower.floor
        {
            let Room(room, meaning) = upper.room;
            let what = format!(
                "{src}/{from}:{line}: `{path}` is in {src}/{to}, which stands above ({room}: {meaning})"
            );
            problems.push(Problem { what, remedy: UPWARD });
        }
    }
    for circle in circles::shortest(&arrows) {
        let mut what = format!("{} files of {src} name each other:", circle.len());
        for Arrow { from, to, line, path } in &circle {
            let (from, to) = (name(*from), name(*to));
            _ = write!(what, "\n    {src}/{from}:{line} names {src}/{to}: `{path}`");
        }
        problems.push(Problem { what, remedy: CIRCLE });
    }
    Outcome { problems, arrows: arrows.len() }
}
