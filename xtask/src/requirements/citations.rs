//! The citations in a file: `//= rfc6455#5.1-1` before the code that keeps a requirement, and the same with
//! `test` at the end before a test that shows it. A line may cite several.

use std::collections::BTreeSet;

const PREFIX: &str = "//=";
const TEST: &str = "test";

/// A requirement that a line cites.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Citation {
    /// Such as `rfc6455#5.1-1`.
    pub(super) requirement: String,
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Code,
    /// With the name of the function.
    Test {
        name: String,
    },
}

/// Returns the citations of a file in their order, or what is wrong with one.
pub(super) fn citations(file: &str, text: &str) -> Result<Vec<Citation>, String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut citations = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(cited) = line.strip_prefix(PREFIX) else {
            continue;
        };
        let (number, behind) = (index + 1, lines.get(index + 1..).unwrap_or_default());
        let mut cited: Vec<&str> = cited.split_whitespace().collect();
        let is_test = cited.pop_if(|last| *last == TEST).is_some();
        let kind = if is_test {
            let name = test_name(behind).ok_or(format!("line {number}: no test follows"))?;
            Kind::Test { name: name.to_owned() }
        } else if file.contains("/tests/") {
            return Err(format!("line {number}: a citation in a test ends with `{TEST}`"));
        } else if behind.iter().find(|line| !is_comment(line)).is_none_or(|line| line.is_empty()) {
            return Err(format!("line {number}: no code follows"));
        } else {
            Kind::Code
        };
        let mut distinct = BTreeSet::new();
        for requirement in cited {
            if !distinct.insert(requirement) {
                return Err(format!("line {number}: {requirement} is cited twice"));
            }
            let (requirement, file) = (requirement.to_owned(), file.to_owned());
            citations.push(Citation { requirement, file, line: number, kind: kind.clone() });
        }
        if distinct.is_empty() {
            return Err(format!("line {number}: nothing is cited"));
        }
    }
    Ok(citations)
}

/// Returns the name of the test that the lines begin with. Comments and attributes may precede it.
fn test_name<'a>(lines: &[&'a str]) -> Option<&'a str> {
    let is_before = |line: &&&str| is_comment(line) || line.starts_with("#[");
    let (before, rest) = lines.split_at(lines.iter().take_while(is_before).count());
    let is_test =
        before.iter().any(|line| line.starts_with("#[test") || line.starts_with("#[tokio::test"));
    let function = rest.first()?.trim_start_matches("async ").strip_prefix("fn ")?;
    function.split('(').next().filter(|_| is_test)
}

fn is_comment(line: &&str) -> bool {
    line.starts_with("//")
}
