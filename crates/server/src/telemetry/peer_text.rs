//! Text that a peer chose, cut to what is kept and logged of it.

use std::borrow::Cow;

/// How many bytes of a text are kept. Origins and most user agents are shorter; the request's head has
/// room for thousands, and escaping makes up to six bytes of one.
const MAX_BYTES: usize = 256;

/// The beginning of a text, with `…` behind it where that is not all.
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
    fn a_text_is_cut_between_two_characters_and_shows_it() {
        let longest = "x".repeat(MAX_BYTES);
        for short in ["", "https://a.example", &longest] {
            assert_eq!(truncated(short), short);
        }
        for (width, text) in ["x", "é", "…", "🦀"].map(|c| (c.len(), c.repeat(300))) {
            let cut = truncated(&text);
            let beginning = cut.strip_suffix('…').expect("it shows");
            assert!(text.starts_with(beginning), "{cut}");
            assert!((MAX_BYTES + 1 - width..=MAX_BYTES).contains(&beginning.len()), "{cut}");
        }
    }
}
