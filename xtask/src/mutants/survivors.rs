//! The mutants that no test can detect: `docs/mutation.md` lists them, each with a reason.

use std::fmt::Write as _;

const HEADING: &str = "## Surviving mutants";

/// Returns the mutants in the list of the document, as cargo-mutants names them, but without their lines.
///
/// A line such as `` `crates/ws-core/src/rate.rs`: `` begins the list of a file, and an item of that has the
/// changes as code, a colon and the reason. A change that survives at two places is there twice.
pub(super) fn listed(document: &str) -> Vec<String> {
    let begin = document.find(&format!("{HEADING}\n")).unwrap_or(document.len());
    let section = document.get(begin + HEADING.len()..).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut file = "";
    let mut found = Vec::new();
    for line in section.lines() {
        if let Some(path) = line.strip_prefix("`crates/").and_then(|_| line.strip_suffix("`:")) {
            file = path.trim_start_matches('`');
        }
        let Some((changes, _reason)) = line.strip_prefix("- `").and_then(|it| it.split_once("`: "))
        else {
            continue;
        };
        found.extend(changes.split("`, `").map(|change| format!("{file}: {change}")));
    }
    found
}

/// Returns a line for each mutant of these files that survived and is not listed, or is listed and did not
/// survive.
pub(super) fn compare(listed: &[String], survived: &[String], files: &[String]) -> String {
    let is_here =
        |mutant: &&String| files.iter().any(|file| mutant.starts_with(&format!("{file}: ")));
    let mut expected: Vec<&String> = listed.iter().filter(is_here).collect();
    let mut differences = String::new();
    for mutant in survived {
        match expected.iter().position(|it| *it == mutant) {
            Some(at) => _ = expected.swap_remove(at),
            None => _ = writeln!(differences, "no test detects {mutant}"),
        }
    }
    for mutant in expected {
        _ = writeln!(differences, "a test detects {mutant}, which is listed");
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "
## Before

- `not one`: no.

## Surviving mutants

`crates/a/src/b.rs`:

- `replace > with >= in ahead`: they differ by nothing.
- `replace | with ^ in word`, `replace | with ^ in word`, `delete ! in f`: the halves do not overlap: none.

`crates/a/src/c.rs`:

- `replace f with ()`: it costs a lock.

## After

- `nor this`: no.
";

    fn all() -> Vec<String> {
        listed(LIST)
    }

    #[test]
    fn each_change_in_the_list_is_a_mutant_of_the_file_above_it() {
        let expected = [
            "crates/a/src/b.rs: replace > with >= in ahead",
            "crates/a/src/b.rs: replace | with ^ in word",
            "crates/a/src/b.rs: replace | with ^ in word",
            "crates/a/src/b.rs: delete ! in f",
            "crates/a/src/c.rs: replace f with ()",
        ];
        assert_eq!(all(), expected);
    }

    #[test]
    fn survivors_that_are_listed_as_often_as_they_survive_are_no_difference() {
        let files = ["crates/a/src/b.rs".to_owned(), "crates/a/src/c.rs".to_owned()];
        assert_eq!(compare(&all(), &all(), &files), "");
    }

    #[test]
    fn a_survivor_that_is_not_listed_is_a_difference() {
        let file = "crates/a/src/c.rs";
        let survived = ["replace f with ()", "replace f with ()"];
        let survived = survived.map(|change| format!("{file}: {change}"));
        let differences = compare(&all(), &survived, &[file.to_owned()]);
        assert_eq!(differences, "no test detects crates/a/src/c.rs: replace f with ()\n");
    }

    #[test]
    fn a_listed_mutant_that_is_detected_is_a_difference_if_its_file_was_mutated() {
        let files = ["crates/a/src/c.rs".to_owned(), "crates/a/src/d.rs".to_owned()];
        let differences = compare(&all(), &[], &files);
        let expected = "a test detects crates/a/src/c.rs: replace f with (), which is listed\n";
        assert_eq!(differences, expected);
    }
}
