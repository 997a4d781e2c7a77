//! Rust as far as imports need it: its words and marks, without comments, strings, characters and
//! lifetimes.

/// A word, `::`, or a mark of one character.
pub(super) struct Token {
    /// A literal's is [`LITERAL`].
    pub(super) text: String,
    pub(super) line: usize,
}

/// Stands for a string or a character, so that its neighbours are not neighbours of each other.
const LITERAL: &str = "\"";

impl Token {
    pub(super) fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c == '_' || c.is_alphabetic())
    }
}

pub(super) fn tokens(code: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (code, 1);
    while let Some((piece, len)) = next(rest) {
        let (taken, left) = rest.split_at(len);
        let text = match piece {
            Piece::Literal => LITERAL,
            Piece::Skipped => "",
            Piece::Text => taken,
        };
        if !text.is_empty() {
            tokens.push(Token { text: text.to_owned(), line });
        }
        line += taken.matches('\n').count();
        rest = left;
    }
    tokens
}

enum Piece {
    Literal,
    Skipped,
    Text,
}

/// What the code begins with, and how many bytes of it that is.
fn next(code: &str) -> Option<(Piece, usize)> {
    let first = code.chars().next()?;
    if code.starts_with("//") {
        return Some((Piece::Skipped, code.find('\n').unwrap_or(code.len())));
    }
    if code.starts_with("/*") {
        return Some((Piece::Skipped, block_comment(code)));
    }
    if let Some(len) = string(code) {
        return Some((Piece::Literal, len));
    }
    if first == '\'' {
        return Some(quote(code));
    }
    Some(match first {
        c if c.is_whitespace() => (Piece::Skipped, c.len_utf8()),
        c if c.is_alphanumeric() || c == '_' => (Piece::Text, word(code)),
        _ if code.starts_with("::") => (Piece::Text, 2),
        c => (Piece::Text, c.len_utf8()),
    })
}

/// A word, of digits too, and `r#type`, which is one as well.
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

/// Comments within comments are part of it.
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

/// A character, or a lifetime or a label.
fn quote(code: &str) -> (Piece, usize) {
    let text = code.strip_prefix('\'').unwrap_or(code);
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => (Piece::Literal, 1 + escaped(text, '\'').unwrap_or(text.len())),
        (Some(c), Some('\'')) => (Piece::Literal, c.len_utf8() + 2),
        _ => (Piece::Skipped, 1 + word(text)),
    }
}

/// The length up to the end and including it, past what has a backslash before it.
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
