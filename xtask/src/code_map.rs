//! The code map of docs/architecture.md: it lists every folder and file of the crates, and nothing else.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::files::{folders, read, tree};
use crate::tools::{Failure, root};

const DOCUMENT: &str = "docs/architecture.md";
const HEADING: &str = "## Code map";
const REMEDY: &str = "in the section `## Code map` each crate has a block that begins with ```text \
                      and the path of its src; each line has two spaces for each level, the name, \
                      two spaces or more, and the purpose";

pub(crate) fn check() -> Result<(), Failure> {
    let mut existing = BTreeSet::new();
    for name in folders("crates")? {
        let src = format!("crates/{name}/src/");
        existing.extend(tree(&src)?.into_iter().map(|path| format!("{src}{path}")));
        existing.insert(src);
    }
    let text = read(&root().join(DOCUMENT))?;
    compare(section(&text), &existing).map_err(|message| Failure::new(message, REMEDY))?;
    println!("the code map names {} folders and files", existing.len());
    Ok(())
}

/// Returns the text from the heading to the next heading of the same level.
fn section(text: &str) -> &str {
    let begin = text.find(&format!("{HEADING}\n")).unwrap_or(text.len());
    let section = text.get(begin..).unwrap_or_default();
    let end = section.find("\n## ").unwrap_or(section.len());
    section.get(..end).unwrap_or_default()
}

/// Returns all differences: unknown and duplicate paths, and then the missing lines as a skeleton.
fn compare(section: &str, existing: &BTreeSet<String>) -> Result<(), String> {
    let mut problems = String::new();
    let mut named = BTreeSet::new();
    // Other blocks are diagrams.
    let blocks = section.split("```text\n").skip(1).filter_map(|rest| rest.split("```").next());
    for block in blocks.filter(|block| block.starts_with("crates/")) {
        for entry in entries(block) {
            match entry {
                Ok(path) if named.contains(&path) => {
                    _ = writeln!(problems, "{DOCUMENT} names {path} twice");
                }
                Ok(path) => _ = named.insert(path),
                Err(problem) => _ = writeln!(problems, "{DOCUMENT}: {problem}"),
            }
        }
    }
    for path in named.difference(existing) {
        _ = writeln!(problems, "{DOCUMENT} names {path}, which does not exist");
    }
    let missing: BTreeSet<&str> = existing.difference(&named).map(String::as_str).collect();
    if !missing.is_empty() {
        _ = write!(problems, "{DOCUMENT} does not name:\n{}", skeleton(&missing));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.trim_end().to_owned()) }
}

/// Returns the path of each line of a block, folders with a trailing slash, or an error for a line.
fn entries(block: &str) -> impl Iterator<Item = Result<String, String>> {
    let mut parents: Vec<String> = Vec::new();
    block.lines().filter(|line| !line.trim().is_empty()).map(move |line| {
        let text = line.trim_start();
        let indentation = line.len() - text.len();
        if indentation == 0 {
            parents = vec![format!("{}/", text.trim_end_matches('/'))];
            return Ok(parents.concat());
        }
        let level = indentation / 2;
        if indentation % 2 != 0 || level > parents.len() {
            return Err(format!("this line is in no folder: {line}"));
        }
        let (name, meaning) = text.split_once("  ").unwrap_or((text, ""));
        let is_name = !name.contains(' ');
        if meaning.trim().is_empty() || !is_name {
            return Err(format!("this line has no purpose after two spaces: {line}"));
        }
        parents.truncate(level);
        let path = format!("{}{name}", parents.concat());
        if name.ends_with('/') {
            parents.push(name.to_owned());
        }
        Ok(path)
    })
}

/// Returns map lines for these paths and their parent folders.
fn skeleton(paths: &BTreeSet<&str>) -> String {
    let mut all: BTreeSet<&str> = BTreeSet::new();
    for path in paths {
        // `crates/NAME/src/` is the outermost.
        let folders = path.match_indices('/').skip(2).filter_map(|(at, _)| path.get(..=at));
        all.extend(folders.chain([*path]));
    }
    let mut text = String::new();
    for path in all {
        let bare = path.trim_end_matches('/');
        let level = bare.matches('/').count().saturating_sub(2);
        let (_, name) = path.split_at(bare.rfind('/').filter(|_| level > 0).map_or(0, |at| at + 1));
        let name = if level == 0 { bare } else { name };
        _ = writeln!(text, "{}{name}", "  ".repeat(level));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "
```text
crates/a/src
  lib.rs        the root
  net/          sockets
    mod.rs      its public items
    page.html   a page
```

```text
   a diagram
```
";

    fn existing() -> BTreeSet<String> {
        ["", "lib.rs", "net/", "net/mod.rs", "net/page.html"]
            .map(|path| format!("crates/a/src/{path}"))
            .into()
    }

    #[test]
    fn a_map_with_every_path_passes() {
        assert_eq!(compare(MAP, &existing()), Ok(()));
    }

    #[test]
    fn a_missing_path_is_printed_with_its_folders() {
        let mut existing = existing();
        existing.insert("crates/a/src/net/client/mod.rs".to_owned());
        existing.insert("crates/a/src/net/client/".to_owned());
        let error = compare(MAP, &existing).unwrap_err();
        let lines = "crates/a/src\n  net/\n    client/\n      mod.rs";
        assert_eq!(error, format!("{DOCUMENT} does not name:\n{lines}"));
    }

    #[test]
    fn without_a_section_everything_is_missing() {
        let error = compare(section("# Architecture\n"), &existing()).unwrap_err();
        assert!(error.ends_with("crates/a/src\n  lib.rs\n  net/\n    mod.rs\n    page.html"));
    }

    #[test]
    fn an_unknown_path_is_reported() {
        let mut existing = existing();
        existing.remove("crates/a/src/net/mod.rs");
        let error = compare(MAP, &existing).unwrap_err();
        assert_eq!(
            error,
            format!("{DOCUMENT} names crates/a/src/net/mod.rs, which does not exist")
        );
    }

    #[test]
    fn a_line_needs_a_purpose_and_a_folder() {
        let error = compare(&MAP.replace("its public items", ""), &existing()).unwrap_err();
        assert!(error.contains("has no purpose after two spaces:     mod.rs"), "{error}");
        let error = compare(&MAP.replace("    mod.rs", "      mod.rs"), &existing()).unwrap_err();
        assert!(error.contains("is in no folder:       mod.rs"), "{error}");
    }

    #[test]
    fn the_section_ends_at_the_next_heading() {
        let text =
            format!("# A\n\n## Code map\n{MAP}\n### Within\n\n## Then\n\n```text\ncrates/b\n```\n");
        assert_eq!(compare(section(&text), &existing()), Ok(()));
        assert!(section(&text).contains("### Within"));
    }
}
