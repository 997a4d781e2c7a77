//! The list of an RFC: blocks of lines, with an empty line between two.
//!
//! The first block has the title, and an introduction. Each other block is a requirement: a line with its
//! number and its level, the paraphrase, and for an exception a line that begins with `exception:`.

use std::fmt;

const EXCEPTION: &str = "exception:";

/// The levels: the key words of RFC 2119, and `rule` for what an RFC says without one.
const LEVELS: &[&str] = &["MUST", "MUST NOT", "RECOMMENDED", "SHOULD", "SHOULD NOT", "rule"];

/// The requirements of one RFC.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rfc {
    /// The name of the file without its ending, such as `rfc6455`.
    pub(super) id: String,
    pub(super) title: String,
    pub(super) introduction: String,
    /// In the order of their numbers.
    pub(super) requirements: Vec<Requirement>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Requirement {
    pub(super) number: Number,
    pub(super) level: &'static str,
    pub(super) text: String,
    /// Why it is not kept.
    pub(super) exception: Option<String>,
}

/// The number of a requirement: a section, and a position in it from 1 on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Number {
    section: Vec<u32>,
    position: u32,
}

impl Rfc {
    pub(super) fn parse(id: &str, text: &str) -> Result<Self, String> {
        let mut blocks = text.split("\n\n").map(str::trim).filter(|block| !block.is_empty());
        let (title, introduction) = split(blocks.next().unwrap_or_default());
        if introduction.is_empty() {
            return Err("the first lines are no title and introduction".to_owned());
        }
        let mut requirements: Vec<Requirement> = Vec::new();
        for block in blocks {
            let requirement = Requirement::parse(block)?;
            let before = requirements.last().map(|it| &it.number);
            if !requirement.number.follows(before) {
                return Err(format!("{} is out of order", requirement.number));
            }
            requirements.push(requirement);
        }
        Ok(Self {
            id: id.to_owned(),
            title: title.to_owned(),
            introduction: introduction.to_owned(),
            requirements,
        })
    }

    /// Returns the name of a requirement in citations, such as `rfc6455#5.1-1`.
    pub(super) fn name(&self, requirement: &Requirement) -> String {
        format!("{}#{}", self.id, requirement.number)
    }
}

impl Requirement {
    fn parse(block: &str) -> Result<Self, String> {
        let (head, body) = split(block);
        let malformed = || format!("`{head}` is no number and level");
        let (number, level) = head.split_once(' ').ok_or_else(malformed)?;
        let number = Number::parse(number).ok_or_else(malformed)?;
        let level = LEVELS.iter().find(|it| **it == level).ok_or_else(malformed)?;
        let (text, exception) = match body.split_once(EXCEPTION) {
            Some((text, exception)) => (text, Some(one_line(exception))),
            None => (body, None),
        };
        let text = one_line(text);
        let is_sentence = |text: &str| text.ends_with('.') && !text.contains('|');
        if !is_sentence(&text) || !exception.as_deref().is_none_or(is_sentence) {
            return Err(format!("{number} is no sentence that a table can have"));
        }
        Ok(Self { number, level, text, exception })
    }
}

impl Number {
    fn parse(text: &str) -> Option<Self> {
        let (section, position) = text.split_once('-')?;
        let section: Result<_, _> = section.split('.').map(str::parse).collect();
        Some(Self { section: section.ok()?, position: position.parse().ok()? })
    }

    pub(super) fn section(&self) -> String {
        let parts: Vec<String> = self.section.iter().map(u32::to_string).collect();
        parts.join(".")
    }

    /// Returns whether it is the next of the same section, or the first of a later one.
    fn follows(&self, before: Option<&Self>) -> bool {
        match before {
            Some(before) if before.section == self.section => self.position == before.position + 1,
            Some(before) => before.section < self.section && self.position == 1,
            None => self.position == 1,
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.section(), self.position)
    }
}

/// Returns the first line of a block, and the others.
fn split(block: &str) -> (&str, &str) {
    block.split_once('\n').unwrap_or((block, ""))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
