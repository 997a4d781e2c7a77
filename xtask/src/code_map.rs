//! The code map of docs/architecture.md: it names every folder and file of the crates, and nothing
//! else.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::files::{folders, read, tree};
use crate::tools::{Failure, root};

const DOCUMENT: &str = "docs/architecture.md";
const HEADING: &str = "## Code map";
const REMEDY: &str = "in the section `## Code map` each crate has a block that begins with ```text \
                      and the path of its src; two spaces for each level, the name, two spaces or \
                      more, what it is";

pub(crate) fn check() -> Result<(), Failure> {
    let mut there = BTreeSet::new();
    for name in folders("crates")? {
        let src = format!("crates/{name}/src/");
        there.extend(tree(&src)?.into_iter().map(|path| format!("{src}{path}")));
        there.insert(src);
    }
    let text = read(&root().join(DOCUMENT))?;
    compare(section(&text), &there).map_err(|what| Failure::new(what, REMEDY))?;
    println!("the code map names {} folders and files", there.len());
    Ok(())
}

/// From the heading to the next of its level.
fn section(text: &str) -> &str {
    let begin = text.find(&format!("{HEADING}\n")).unwrap_or(text.len());
    let section = text.get(begin..).unwrap_or_default();
    let end = section.find("\n## ").unwrap_or(section.len());
    section.get(..end).unwrap_or_default()
}

/// Says all that is wrong: paths without end, and behind them the lines that are missing, ready to be
/// filled in.
fn compare(section: &str, there: &BTreeSet<String>) -> Result<(), String> {
    let mut problems = String::new();
    let mut named = BTreeSet::new();
    // Other blocks are drawings.
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
    for path in named.difference(there) {
        _ = writeln!(problems, "{DOCUMENT} names {path}, which is not there");
    }
    let missing: BTreeSet<&str> = there.difference(&named).map(String::as_str).collect();
    if !missing.is_empty() {
        _ = write!(problems, "{DOCUMENT} does not name:\n{}", skeleton(&missing));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.trim_end().to_owned()) }
}

/// The paths of a block, folders with a slash at their end, or what is wrong with a line.
fn entries(block: &str) -> impl Iterator<Item = Result<String, String>> {
    let mut around: Vec<String> = Vec::new();
    block.lines().filter(|line| !line.trim().is_empty()).map(move |line| {
        let text = line.trim_start();
        let indentation = line.len() - text.len();
        if indentation == 0 {
            around = vec![format!("{}/", text.trim_end_matches('/'))];
            return Ok(around.concat());
        }
        let level = indentation / 2;
        if indentation % 2 != 0 || level > around.len() {
            return Err(format!("this line stands in no folder: {line}"));
        }
        let (name, meaning) = text.split_once("  ").unwrap_or((text, ""));
        let is_name = !name.contains(' ');
        if meaning.trim().is_empty() || !is_name {
            return Err(format!("this line does not say what it is, two spaces behind: {line}"));
        }
        around.truncate(level);
        let path = format!("{}{name}", around.concat());
        if name.ends_with('/') {
            around.push(name.to_owned());
        }
        Ok(path)
    })
}

/// Lines as in the map for these paths and the folders around them.
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
    mod.rs      its face
    page.html   a page
```

```text
   a drawing
```
";

    fn there() -> BTreeSet<String> {
        ["", "lib.rs", "net/", "net/mod.rs", "net/page.html"]
            .map(|path| format!("crates/a/src/{path}"))
            .into()
    }

    #[test]
    fn a_map_with_every_path_passes() {
        assert_eq!(compare(MAP, &there()), Ok(()));
    }

    #[test]
    fn a_missing_path_is_printed_with_its_folders() {
        let mut there = there();
        there.insert("crates/a/src/net/client/mod.rs".to_owned());
        there.insert("crates/a/src/net/client/".to_owned());
        let said = compare(MAP, &there).unwrap_err();
        let lines = "crates/a/src\n  net/\n    client/\n      mod.rs";
        assert_eq!(said, format!("{DOCUMENT} does not name:\n{lines}"));
    }

    #[test]
    fn without_a_section_everything_is_missing() {
        let said = compare(section("# Architecture\n"), &there()).unwrap_err();
        assert!(said.ends_with("crates/a/src\n  lib.rs\n  net/\n    mod.rs\n    page.html"));
    }

    #[test]
    fn a_surplus_path_is_named() {
        let mut there = there();
        there.remove("crates/a/src/net/mod.rs");
        let said = compare(MAP, &there).unwrap_err();
        assert_eq!(said, format!("{DOCUMENT} names crates/a/src/net/mod.rs, which is not there"));
    }

    #[test]
    fn a_line_says_what_it_is_and_stands_in_a_folder() {
        let said = compare(&MAP.replace("its face", ""), &there()).unwrap_err();
        assert!(said.contains("does not say what it is, two spaces behind:     mod.rs"), "{said}");
        let said = compare(&MAP.replace("    mod.rs", "      mod.rs"), &there()).unwrap_err();
        assert!(said.contains("stands in no folder:       mod.rs"), "{said}");
    }

    #[test]
    fn the_section_ends_at_the_next_heading() {
        let text =
            format!("# A\n\n## Code map\n{MAP}\n### Within\n\n## Then\n\n```text\ncrates/b\n```\n");
        assert_eq!(compare(section(&text), &there()), Ok(()));
        assert!(section(&text).contains("### Within"));
    }
}
