//! Parses and compares origins and patterns. The first line is the pattern, each further line an origin.

use std::slice;

use crate::naive_origin::NaiveOrigin;
use transport::{Origin, OriginPattern};

/// Checks one input.
///
/// # Panics
///
/// If a property does not hold for it.
pub fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let pattern_text = text.lines().next().unwrap_or_default();
    let pattern = pattern_text.parse::<OriginPattern>();
    let origins: Vec<(&str, Origin)> =
        text.lines().filter_map(|line| Some((line, line.parse().ok()?))).take(4).collect();

    for (text, origin) in &origins {
        let naive = NaiveOrigin::parse(text);
        let formatted = origin.to_string();
        assert_eq!(formatted.parse().as_ref(), Ok(origin), "a formatted origin can be parsed");
        assert_eq!(NaiveOrigin::parse(&formatted), naive, "a formatted origin is unchanged");
        if let Ok(pattern) = &pattern {
            assert_eq!(pattern.matches(origin, &[]), naive.matches_pattern(pattern_text));
            let is_own = pattern_text == "self";
            assert_eq!(
                pattern.matches(origin, slice::from_ref(origin)),
                is_own || naive.matches_pattern(pattern_text)
            );
        }
        for (other_text, other) in &origins {
            let other_naive = NaiveOrigin::parse(other_text);
            assert_eq!(origin == other, naive == other_naive, "{text} and {other_text}");
            assert_eq!(
                origin == other,
                formatted == other.to_string(),
                "equal origins have one format"
            );
        }
    }
}
