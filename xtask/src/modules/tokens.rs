//! A minimal Rust tokenizer: words and punctuation, without comments, literals and lifetimes.

/// A word, `::`, or one punctuation character.
pub(super) struct Token {
    /// The text; [`LITERAL`] for a string or a character.
    pub(super) text: String,
    pub(super) line: usize,
}

/// The placeholder for a string or a character, which separates the tokens around it.
const LITERAL: &str = "\"";

impl Token {
    pub(super) fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c == '_' || c.is_alphabetic())
    }
}

pub(super) fn tokens(code: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (code, 1);
    while let Some((kind, len)) = next(rest) {
        let (current, remaining) = rest.split_at(len);
        let text = match kind {
            Kind::Literal => LITERAL,
            Kind::Skipped => "",
            Kind::Text => current,
        };
        if !text.is_empty() {
            tokens.push(Token { text: text.to_owned(), line });
        }
        line += current.matches('\n').count();
        rest = remaining;
    }
    tokens
}

enum Kind {
    Literal,
    Skipped,
    Text,
}

/// Returns the kind and the length in bytes of the first token.
fn next(code: &str) -> Option<(Kind, usize)> {
    let first = code.chars().next()?;
    if code.starts_with("//") {
        return Some((Kind::Skipped, code.find('\n').unwrap_or(code.len())));
    }
    if code.starts_with("/*") {
        return Some((Kind::Skipped, block_comment(code)));
    }
    if let Some(len) = string(code) {
        return Some((Kind::Literal, len));
    }
    if first == '\'' {
        return Some(quote(code));
    }
    Some(match first {
        c if c.is_whitespace() => (Kind::Skipped, c.len_utf8()),
        c if c.is_alphanumeric() || c == '_' => (Kind::Text, word(code)),
        _ if code.starts_with("::") => (Kind::Text, 2),
        c => (Kind::Text, c.len_utf8()),
    })
}

/// Returns the length of a word: an identifier, a raw identifier or a number.
fn word(code: &str) -> usize {
    let plain = |code: &str| {
        let end = code.find(|c: char| c != '_' && !c.is_alphanumeric());
        end.unwrap_or(code.len())
    };
    match code.strip_prefix("r#") {
        Some(raw) => 2 + plain(raw),
        None => plain(code),
    }
}

/// Returns the length of a block comment, with nested ones.
fn block_comment(code: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(rest) = code.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

fn string(code: &str) -> Option<usize> {
    let raw = ["r", "br", "cr"].into_iter().find_map(|prefix| {
        let rest = code.strip_prefix(prefix)?;
        let text = rest.trim_start_matches('#');
        let end = format!("\"{}", "#".repeat(rest.len() - text.len()));
        let begin = code.len() - text.len() + 1;
        Some(begin + text.strip_prefix('"')?.find(&end)? + end.len())
    });
    raw.or_else(|| {
        ["", "b", "c"].into_iter().find_map(|prefix| {
            let text = code.strip_prefix(prefix)?.strip_prefix('"')?;
            Some(code.len() - text.len() + escaped(text, '"')?)
        })
    })
}

/// Distinguishes a character literal from a lifetime or a label.
fn quote(code: &str) -> (Kind, usize) {
    let text = code.strip_prefix('\'').unwrap_or(code);
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => (Kind::Literal, 1 + escaped(text, '\'').unwrap_or(text.len())),
        (Some(c), Some('\'')) => (Kind::Literal, c.len_utf8() + 2),
        _ => (Kind::Skipped, 1 + word(text)),
    }
}

/// Returns the length up to and including the closing quote; escaped characters are skipped.
fn escaped(text: &str, end: char) -> Option<usize> {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == end {
            return Some(at + c.len_utf8());
        }
        if c == '\\' {
            chars.next();
        }
    }
    None
}
