//! The identity of a session: which texts are one, and how it is found by its text.
#![allow(clippy::unwrap_used, reason = "a test says what it expects in the shortest way")]

use std::collections::{BTreeSet, HashSet};

use transport::Identity;

#[test]
fn an_identity_has_1_to_256_bytes() {
    for (length, is_one) in [(0, false), (1, true), (256, true), (257, false)] {
        let text = "x".repeat(length);
        assert_eq!(Identity::try_from(text.as_str()).is_ok(), is_one, "{length} bytes");
    }
    let error = Identity::try_from("").unwrap_err();
    assert_eq!(error.to_string(), "an identity must have 1 to 256 bytes");
}

#[test]
fn an_identity_is_found_by_its_text() {
    let identities = ["alice", "bob"].map(|text| Identity::try_from(text).unwrap());
    let hashed = HashSet::from(identities.clone());
    let ordered = BTreeSet::from(identities);
    for (text, is_there) in [("alice", true), ("bob", true), ("carol", false)] {
        assert_eq!((hashed.contains(text), ordered.contains(text)), (is_there, is_there), "{text}");
    }
}
