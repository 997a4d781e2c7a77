//! What clients and other processes say of the states of the crate `broadcast`: the query parameter
//! `have`, and what is handed over. The first byte chooses which; the rest is the text.

use broadcast::{Have, Publisher};

/// Checks one input.
///
/// # Panics
///
/// If a property does not hold for it.
pub fn run(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    match choice % 3 {
        0 => {
            let Ok(query) = str::from_utf8(data) else { return };
            assert_eq!(tag(Have::from_query(Some(query))), naive_tag(query), "{query}");
        }
        1 => check_subscription(data),
        _ => check_state(data),
    }
}

/// `None` without the parameter, and no tag if the client has no state.
fn tag(have: Have) -> Option<Option<String>> {
    match have {
        Have::Absent => None,
        Have::Nothing => Some(None),
        Have::State(tag) => Some(Some(tag.as_str().to_owned())),
    }
}

/// Finds the first parameter by its text.
fn naive_tag(query: &str) -> Option<Option<String>> {
    let query = format!("&{query}&");
    let places = ["&have=", "&have&"].map(|name| query.find(name).map(|at| at + name.len()));
    let at = places.into_iter().flatten().min()?;
    let has_value = query[..at].ends_with('=');
    let end = query[at..].find('&').map_or(query.len(), |end| at + end);
    let value = if has_value { &query[at..end] } else { "" };
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_tag = !value.is_empty() && value.len() <= 64 && value.chars().all(is_allowed);
    Some(is_tag.then(|| value.to_owned()))
}

/// Checks that a subscription that continues is frozen to the same bytes.
fn check_subscription(frozen: &[u8]) {
    let publisher = Publisher::new();
    if let Some(subscription) = publisher.thaw(frozen) {
        let again = subscription.freeze();
        assert!(again == frozen || again == frozen[..2], "{frozen:02x?} becomes {again:02x?}");
        assert!(frozen.len() <= 66);
    }
}

/// Checks that a state that continues is frozen to the same bytes.
fn check_state(frozen: &[u8]) {
    let publisher = Publisher::new();
    if publisher.restore(frozen) {
        let mut expected = frozen.to_vec();
        // The first revision is 1, so that a new publisher makes no state with 0.
        if expected[2..10] == [0; 8] {
            expected[9] = 1;
        }
        assert_eq!(publisher.freeze(), expected);
    }
}
