//! Any text as an origin and as a pattern. A line is a text; the first is the pattern.
#![no_main]

use std::slice;

use fuzz::NaiveOrigin;
use libfuzzer_sys::fuzz_target;
use transport::{Origin, OriginPattern};

fuzz_target!(|text: &str| {
    let pattern_text = text.lines().next().unwrap_or_default();
    let pattern = pattern_text.parse::<OriginPattern>();
    let origins: Vec<(&str, Origin)> =
        text.lines().filter_map(|line| Some((line, line.parse().ok()?))).take(4).collect();

    for (text, origin) in &origins {
        let naive = NaiveOrigin::of(text);
        let written = origin.to_string();
        assert_eq!(written.parse().as_ref(), Ok(origin), "what is written can be read");
        assert_eq!(NaiveOrigin::of(&written), naive, "and is the same");
        if let Ok(pattern) = &pattern {
            assert_eq!(pattern.matches(origin, &[]), naive.is_meant_by(pattern_text));
            let is_own = pattern_text == "self";
            assert_eq!(
                pattern.matches(origin, slice::from_ref(origin)),
                is_own || naive.is_meant_by(pattern_text)
            );
        }
        for (other_text, other) in &origins {
            let other_naive = NaiveOrigin::of(other_text);
            assert_eq!(origin == other, naive == other_naive, "{text} and {other_text}");
            assert_eq!(origin == other, written == other.to_string(), "there is one way to write");
        }
    }
});
