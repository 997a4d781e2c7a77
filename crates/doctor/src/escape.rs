//! Text of peers, made safe for a terminal.

/// Longer texts are cut.
const MAX_CHARS: usize = 120;

/// Returns the text with control characters escaped, and at most 120 characters of it.
pub(crate) fn escape(bytes: &[u8]) -> String {
    // A character has at most four bytes; the rest of an endless text is not looked at.
    let bytes = bytes.get(..4 * MAX_CHARS).unwrap_or(bytes);
    let text = String::from_utf8_lossy(bytes);
    let mut escaped: String = text.chars().take(MAX_CHARS).flat_map(printable).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        escaped.push('…');
    }
    escaped
}

/// Format characters are escaped as well: some reorder the text around them.
fn printable(c: char) -> impl Iterator<Item = char> {
    let is_format = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    let is_escaped = c.is_control() || is_format;
    let escaped = is_escaped.then(|| c.escape_default());
    escaped.into_iter().flatten().chain((!is_escaped).then_some(c))
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn control_and_format_characters_are_escaped_and_the_rest_stays() {
        assert_eq!(escape("a\u{1b}[31m\r\nü\u{202e}".as_bytes()), "a\\u{1b}[31m\\r\\nü\\u{202e}");
        assert_eq!(escape(b"\xff"), "\u{fffd}");
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(escape(&[b'a'; 10_000]).chars().count(), 121);
    }
}
