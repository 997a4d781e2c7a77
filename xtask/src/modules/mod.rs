//! The order of the modules: each file on a floor, and no import that leads upward, in a circle or to
//! the crate's root.

mod circles;
mod resolve;
mod source;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::files::{folders, read, tree};
use crate::floors::{CRATES, Floor, Room};
use crate::tools::{Failure, root};

use resolve::{Crate, Target, is_root};

/// What is wrong, and what to do about it.
struct Problem {
    what: String,
    remedy: &'static str,
}

/// One file names another.
#[derive(Clone)]
struct Arrow {
    from: usize,
    to: usize,
    line: usize,
    /// The path that stands there.
    path: String,
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
    for name in
        CRATES.iter().map(|(name, _)| *name).filter(|name| !there.iter().any(|it| it == name))
    {
        problems.push(Problem { what: format!("there is no crates/{name}"), remedy: TABLE });
    }
    for name in &there {
        let floors =
            CRATES.iter().find(|(it, _)| it == name).map_or(&[][..], |(_, floors)| *floors);
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
    let sentences: Vec<String> = problems.iter().map(Problem::to_string).collect();
    Err(Failure::new(sentences.join("\n"), remedies.join("\n            ")))
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

struct Outcome {
    problems: Vec<Problem>,
    arrows: usize,
}

/// The files of a crate, each with its text, against its floors.
fn held_against(src: &str, floors: &[Floor], texts: &[(String, String)]) -> Outcome {
    let mut problems = Vec::new();
    let of_files = places(src, floors, texts, &mut problems);
    let krate = Crate::new(texts);
    let mut arrows = Vec::new();
    for file in 0..krate.files.len() {
        arrows.extend(arrows_from(&krate, file, src, &mut problems));
    }
    let name = |file: usize| krate.files.get(file).map_or("", |it| it.path.as_str());
    for arrow in &arrows {
        let floor = |file: usize| of_files.get(name(file));
        if let (Some(from), Some(to)) = (floor(arrow.from), floor(arrow.to))
            && to < from
        {
            let Arrow { line, path, .. } = arrow;
            let (from, to) = (name(arrow.from), name(arrow.to));
            let what =
                format!("{src}/{from}:{line}: `{path}` is in {src}/{to}, which stands above");
            problems.push(Problem { what, remedy: UPWARD });
        }
    }
    for circle in circles::shortest(&arrows) {
        let lines = circle.iter().map(|Arrow { from, to, line, path }| {
            format!("\n    {src}/{}:{line} names {src}/{}: `{path}`", name(*from), name(*to))
        });
        let what = format!(
            "{} files of {src} name each other:{}",
            circle.len(),
            lines.collect::<String>()
        );
        problems.push(Problem { what, remedy: CIRCLE });
    }
    Outcome { problems, arrows: arrows.len() }
}

/// The floor of each file, counted from the top. A folder's entry is for those of its files that have
/// none of their own.
fn places<'a>(
    src: &str,
    floors: &[Floor],
    texts: &'a [(String, String)],
    problems: &mut Vec<Problem>,
) -> BTreeMap<&'a str, usize> {
    let mut rooms: BTreeMap<&str, usize> = BTreeMap::new();
    for (floor, Room(path, _)) in
        floors.iter().enumerate().flat_map(|(at, floor)| floor.iter().map(move |room| (at, room)))
    {
        if rooms.insert(path, floor).is_some() {
            let what = format!("{src}/{path} has two entries");
            problems.push(Problem { what, remedy: TABLE });
        }
    }
    let mut unused: BTreeSet<&str> = rooms.keys().copied().collect();
    let mut places = BTreeMap::new();
    for (path, _) in texts {
        let folders = path.rmatch_indices('/').filter_map(|(at, _)| path.get(..=at));
        let mut entries = std::iter::once(path.as_str()).chain(folders);
        match entries.find_map(|entry| rooms.get_key_value(entry)) {
            Some((room, floor)) => {
                unused.remove(room);
                places.insert(path.as_str(), *floor);
            }
            None => {
                let what = format!("{src}/{path} is on no floor");
                problems.push(Problem { what, remedy: TABLE });
            }
        }
    }
    problems.extend(unused.into_iter().map(|room| {
        let what = format!("{src}/{room} is on a floor, and there is no such file of its own");
        Problem { what, remedy: TABLE }
    }));
    places
}

/// Which files a file names. The root may name everything.
fn arrows_from(krate: &Crate, file: usize, src: &str, problems: &mut Vec<Problem>) -> Vec<Arrow> {
    let Some(it) = krate.files.get(file).filter(|it| !is_root(&it.path)) else { return Vec::new() };
    let mut arrows: Vec<Arrow> = Vec::new();
    let mut name =
        |module: &Vec<String>, path: &[String], line: usize, re_exported: Option<&str>| {
            let target = krate.target(module, path);
            let path = path.join("::");
            match target {
                None => {}
                Some(Target::Root(defined)) => {
                    let defined = defined.and_then(|file| krate.files.get(file));
                    let defined = defined.map(|it| format!(", and is in {src}/{}", it.path));
                    let defined = defined.unwrap_or_default();
                    let what =
                        format!("{src}/{}:{line}: `{path}` is of the root{defined}", it.path);
                    problems.push(Problem { what, remedy: ROOT });
                }
                Some(Target::Files(named)) => {
                    for to in named.into_iter().filter(|to| *to != file) {
                        // The face of a folder hands on what is in it, and uses it only where it says so.
                        let mut line = line;
                        if let Some(name) = re_exported.filter(|_| krate.is_face_of(file, to)) {
                            match it.source.used.get(name) {
                                Some(used) => line = *used,
                                None => continue,
                            }
                        }
                        if !arrows.iter().any(|arrow| arrow.to == to) {
                            arrows.push(Arrow { from: file, to, line, path: path.clone() });
                        }
                    }
                }
            }
        };
    for (module, import) in krate.imports(file) {
        let re_exported = import.is_public.then(|| import.name.as_deref().unwrap_or("*"));
        name(module, &import.path, import.line, re_exported);
    }
    for mention in &it.source.mentions {
        name(&mention.module, &mention.path, mention.line, None);
    }
    arrows
}
