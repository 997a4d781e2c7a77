//! Truncation of text from peers before it is stored or logged.

use std::borrow::Cow;

/// Maximum length in bytes. Origins and most user agents are shorter; a request head has room for
/// thousands of bytes, and escaping extends a byte to up to six.
const MAX_BYTES: usize = 256;

/// Returns the text, or its first 256 bytes, cut between characters, followed by `…`.
pub(crate) fn truncated(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_BYTES {
        return text.into();
    }
    let end = (0..=MAX_BYTES).rev().find(|index| text.is_char_boundary(*index));
    let beginning = end.and_then(|end| text.get(..end)).unwrap_or_default();
    format!("{beginning}…").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters_and_marked() {
        let longest = "x".repeat(MAX_BYTES);
        for short in ["", "https://a.example", &longest] {
            assert_eq!(truncated(short), short);
        }
        for (width, text) in ["x", "é", "…", "🦀"].map(|c| (c.len(), c.repeat(300))) {
            let cut = truncated(&text);
            let beginning = cut.strip_suffix('…').expect("it is marked");
            assert!(text.starts_with(beginning), "{cut}");
            assert!((MAX_BYTES + 1 - width..=MAX_BYTES).contains(&beginning.len()), "{cut}");
        }
    }
}
