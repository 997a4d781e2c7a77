//! Tests the tests: `cargo xtask mutants CRATE [AREA]` changes the code in one place at a time, and fails for
//! each change that no test of the area detects, unless docs/mutation.md lists it with a reason.

mod areas;
mod survivors;

use std::fs;
use std::path::Path;

use self::areas::{Area, CRATES, Crate, UNIT_TESTS};
use self::survivors::{compare, listed};
use crate::files::read;
use crate::tools::{CARGO_MUTANTS, Failure, Tool, command, root, target};

const DOCUMENT: &str = "docs/mutation.md";

/// Exit codes of cargo-mutants: all mutants were detected, some were not, some by a timeout. All others are
/// errors.
const COMPLETE: [i32; 3] = [0, 2, 3];

/// Mutates all areas of a crate, or one.
pub(crate) fn run(name: &str, area: Option<&str>) -> Result<(), Failure> {
    let Tool { name: tool, install, .. } = CARGO_MUTANTS;
    if !CARGO_MUTANTS.is_installed() {
        return Err(Failure::new(format!("mutants needs {tool}"), install));
    }
    let (mutated, areas) = find(name, area)?;
    let listed = listed(&read(&root().join(DOCUMENT))?);
    let mut differences = String::new();
    for area in areas {
        let files = mutated.files(area)?;
        let found = mutate(mutated, area, &files)?;
        differences += &compare(&listed, &found, &files);
    }
    if differences.is_empty() {
        return Ok(());
    }
    let remedy = "add a test that detects the mutant, or list it with a reason in docs/mutation.md; \
                  remove from there what is detected";
    Err(Failure::new(differences.trim_end(), remedy))
}

fn find(name: &str, area: Option<&str>) -> Result<(&'static Crate, Vec<&'static Area>), Failure> {
    let names = |names: Vec<&str>| format!("name one of these: {}", names.join(", "));
    let Some(found) = CRATES.iter().find(|it| it.name == name) else {
        let remedy = names(CRATES.iter().map(|it| it.name).collect());
        return Err(Failure::new(format!("{name} is no crate that is mutated"), remedy));
    };
    let is_chosen = |it: &&Area| area.is_none_or(|area| it.name == area);
    let areas: Vec<&Area> = found.areas.iter().filter(is_chosen).collect();
    if areas.is_empty() {
        let remedy = names(found.areas.iter().map(|it| it.name).collect());
        return Err(Failure::new(format!("{name} has no such area"), remedy));
    }
    Ok((found, areas))
}

/// Mutates an area, prints its numbers, and returns the names of the mutants that no test detects.
fn mutate(mutated: &Crate, area: &Area, files: &[String]) -> Result<Vec<String>, Failure> {
    let (name, area_name) = (mutated.name, area.name);
    let folder = target().join("mutants");
    let output = folder.join(format!("{name}-{area_name}"));
    create(&output)?;

    let mut mutants = command(&["cargo", "mutants", "--package", name, "--all-features"]);
    mutants.args(["--jobs", "1", "--colors", "never"]).arg("--output").arg(&output);
    mutants.args(files.iter().flat_map(|file| ["--file", file]));
    // Not after `--`: that selects what runs, but all would be built.
    mutants.args(area.tests.iter().map(|test| match *test {
        UNIT_TESTS => "--cargo-arg=--lib".to_owned(),
        file => format!("--cargo-arg=--test={file}"),
    }));
    // cargo-mutants copies the checkout to a new folder each time, which would be built from nothing.
    mutants.env("CARGO_TARGET_DIR", &folder);
    let status = mutants.status().map_err(|error| {
        Failure::new(format!("cargo mutants did not start: {error}"), CARGO_MUTANTS.install)
    })?;
    if !status.code().is_some_and(|code| COMPLETE.contains(&code)) {
        let problem = format!("cargo mutants failed for {name} {area_name} ({status})");
        return Err(Failure::new(problem, "fix the tests, which have to pass without a mutant"));
    }

    let found =
        |kind: &str| read(&output.join(format!("mutants.out/{kind}.txt"))).map(|list| names(&list));
    let (caught, timeout, unviable, missed) =
        (found("caught")?, found("timeout")?, found("unviable")?, found("missed")?);
    let all = caught.len() + timeout.len() + unviable.len() + missed.len();
    println!("for the table in {DOCUMENT}:");
    println!(
        "| `{name}` | `{area_name}` | {all} | {} | {} | {} | {} |",
        caught.len(),
        timeout.len(),
        unviable.len(),
        missed.len()
    );
    Ok(missed)
}

fn create(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| {
        Failure::new(format!("{}: {error}", folder.display()), "create that folder")
    })
}

/// Returns the mutants in a list of cargo-mutants, each with its file and without its line, which changes with
/// any edit: `crates/ws-core/src/rate.rs: replace + with - in Bucket::take`.
fn names(list: &str) -> Vec<String> {
    let without_line = |line: &str| {
        let mut parts = line.splitn(4, ':');
        let (file, _line, _column, change) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        Some(format!("{file}:{change}"))
    };
    list.lines().filter_map(without_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_in_the_list_of_the_document_is_in_a_file_of_an_area() {
        let mut files = Vec::new();
        for mutated in CRATES {
            for area in mutated.areas {
                files.extend(mutated.files(area).unwrap());
            }
        }
        let listed = listed(&read(&root().join(DOCUMENT)).unwrap());
        assert!(!listed.is_empty());
        for mutant in listed {
            let (file, _change) = mutant.split_once(": ").unwrap();
            assert!(files.iter().any(|it| it == file), "{mutant}");
        }
    }

    #[test]
    fn the_document_has_a_row_for_each_area() {
        let document = read(&root().join(DOCUMENT)).unwrap();
        for mutated in CRATES {
            for area in mutated.areas {
                let row = format!("\n| `{}` | `{}` |", mutated.name, area.name);
                assert_eq!(document.matches(&row).count(), 1, "{row}");
            }
        }
    }

    #[test]
    fn a_mutant_is_named_without_its_line() {
        let names = names("crates/a/src/b.rs:12:3: replace || with && in A::b\n");
        assert_eq!(names, ["crates/a/src/b.rs: replace || with && in A::b"]);
    }
}
