//! Checks the documents: rustdoc builds, links are valid, and the code map, quotes and tables match the
//! code.

use std::path::{Path, PathBuf};

use crate::code_map;
use crate::files::read;
use crate::tools::{Failure, cargo, command, output, root, succeed};

pub(crate) fn check() -> Result<(), Failure> {
    code_map::check()?;
    succeed(
        command(&["cargo", "doc", "--workspace", "--no-deps", "--locked", "--quiet"])
            .args(["--features", "broadcast/prometheus"])
            .env("RUSTDOCFLAGS", "-D warnings"),
        "fix the errors that rustdoc reports above",
    )?;
    check_links()?;
    for (guide, sources) in GUIDES {
        check_quotes(guide, sources)?;
    }
    // Settings, close codes, causes and refusals: a test of the server compares them with its types.
    cargo(
        &["test", "--package", "server", "--test", "documents", "--locked", "--quiet"],
        "update the table that the test names",
    )
}

/// The guides that quote Rust code, and the sources of the quotes.
const GUIDES: &[(&str, &[&str])] = &[
    (
        "docs/guides/a-driver-for-ws-core.md",
        &[
            "examples/blocking-client/src/client.rs",
            "examples/blocking-client/src/deadline_stream.rs",
        ],
    ),
    (
        "docs/guides/admission.md",
        &[
            "examples/teams/examples/who.rs",
            "examples/teams/examples/what_for.rs",
            "examples/teams/src/main.rs",
            "examples/teams/src/tests.rs",
        ],
    ),
    (
        "docs/guides/build-a-feature.md",
        &[
            "examples/ticker/src/main.rs",
            "examples/ticker/tests/handler.rs",
            "crates/transport/src/handler.rs",
        ],
    ),
];

/// Checks that every Rust block of a guide occurs in one of its sources, line by line. Indentation is
/// ignored.
fn check_quotes(guide: &str, sources: &[&str]) -> Result<(), Failure> {
    let text = read(&root().join(guide))?;
    let mut code = String::new();
    for source in sources {
        code += &flush_left(&read(&root().join(source))?);
    }
    let quotes = text.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next());
    for quote in quotes {
        if !code.contains(&format!("\n{}", flush_left(quote))) {
            let problem = format!("{guide}: this quote is not in {}:\n{quote}", sources.join(", "));
            return Err(Failure::new(problem, "update the quote and the text around it"));
        }
    }
    Ok(())
}

fn flush_left(code: &str) -> String {
    code.lines().flat_map(|line| [line.trim_start(), "\n"]).collect()
}

/// Checks that every relative link of every Markdown file leads to an existing file and heading.
fn check_links() -> Result<(), Failure> {
    let listed = output(
        &mut command(&["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]),
        "run this command in a git checkout",
    )?;
    let mut links = 0;
    for file in listed.lines().map(|name| root().join(name)) {
        let text = read(&file)?;
        for target in link_targets(&text) {
            links += 1;
            check_link(&file, target)?;
        }
    }
    println!("{links} links are valid");
    Ok(())
}

fn check_link(file: &Path, target: &str) -> Result<(), Failure> {
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let linked: PathBuf = match path {
        "" => file.to_owned(),
        path => file.parent().unwrap_or(file).join(path),
    };
    let broken = |problem: &str| {
        let at = file.strip_prefix(root()).unwrap_or(file).display().to_string();
        Failure::new(format!("{at}: the link to {target} leads to no {problem}"), "fix the link")
    };
    if !linked.exists() {
        return Err(broken("file"));
    }
    let has_target_heading = |heading| read(&linked).map(|text| has_heading(&text, heading));
    if !heading.is_empty() && !has_target_heading(heading)? {
        return Err(broken("heading"));
    }
    Ok(())
}

/// Returns the targets of inline links, `[text](target)`, without http and https URLs.
fn link_targets(text: &str) -> impl Iterator<Item = &str> {
    let prose = text.split("```").step_by(2);
    let ends = prose.flat_map(|prose| prose.split("](").skip(1));
    ends.filter_map(|end| end.split(')').next())
        .filter(|target| !target.starts_with("http:") && !target.starts_with("https:"))
}

/// Whether a heading has this anchor: its text in lower case, without punctuation, with hyphens for
/// spaces.
fn has_heading(text: &str, anchor: &str) -> bool {
    text.lines().filter(|line| line.starts_with('#')).any(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).eq(anchor.chars())
    })
}
