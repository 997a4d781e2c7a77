//! Each rule fails where it is broken, and nowhere else.

use super::{held_against, tokens::tokens};
use crate::floors::{Floor, Room};

const FLOORS: &[Floor] = &[
    &[Room("lib.rs", "the root")],
    &[Room("http/", "above")],
    &[Room("net/", "below"), Room("limits.rs", "below as well")],
    &[Room("net/tcp.rs", "below its folder")],
];

/// Files that are there if a test says nothing of them.
const EMPTY: &[&str] = &[
    "lib.rs",
    "http/mod.rs",
    "http/frame.rs",
    "limits.rs",
    "net/mod.rs",
    "net/stream.rs",
    "net/tcp.rs",
];

fn problems(texts: &[(&str, &str)]) -> Vec<String> {
    let mut texts: Vec<(String, String)> =
        texts.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    for path in EMPTY {
        if !texts.iter().any(|(it, _)| it == path) {
            texts.push(((*path).to_owned(), String::new()));
        }
    }
    let problems = held_against("src", FLOORS, &texts).problems;
    problems.into_iter().map(|problem| problem.what).collect()
}

#[track_caller]
fn refused(texts: &[(&str, &str)], sentence: &str) {
    assert_eq!(problems(texts), [sentence]);
}

#[track_caller]
fn allowed(texts: &[(&str, &str)]) {
    assert_eq!(problems(texts), [""; 0]);
}

#[test]
fn downward_and_sideways_is_allowed() {
    allowed(&[
        (
            "http/mod.rs",
            "use crate::net::{self, stream::{Stream, read as take}};\nuse super::limits::*;",
        ),
        ("limits.rs", "use crate::net::tcp::Tcp;"),
        ("net/mod.rs", "fn f() -> tcp::Tcp {}\nmod tcp;"),
    ]);
}

#[test]
fn the_root_may_name_everything() {
    allowed(&[("lib.rs", "use crate::http::Http;"), ("http/mod.rs", "struct Http;")]);
}

#[test]
fn an_arrow_upward_is_refused() {
    let upward = "src/limits.rs:2: `crate::http::frame::Frame` is in src/http/frame.rs, which stands above (http/: above)";
    refused(&[("limits.rs", "use std::{\n  io}; use crate::http::frame::Frame;")], upward);
    refused(&[("limits.rs", "\nfn f() -> Vec<crate::http::frame::Frame> {}")], upward);
    let nested = "use crate::{net::tcp,\n http::{frame::{Frame}}};";
    refused(&[("limits.rs", nested)], upward);
    refused(&[("net/stream.rs", "fn f() { super::super::http::open::<u8>() }")], {
        "src/net/stream.rs:1: `super::super::http::open` is in src/http/mod.rs, which stands above (http/: above)"
    });
    refused(&[("net/tcp.rs", "use super::stream;")], {
        "src/net/tcp.rs:1: `super::stream` is in src/net/stream.rs, which stands above (net/: below)"
    });
}

#[test]
fn a_module_that_was_imported_leads_on() {
    let texts = [
        ("limits.rs", "use crate::net;\nfn f() { net::Stream::new() }"),
        ("net/mod.rs", "pub use crate::http::Stream;"),
    ];
    assert_eq!(
        problems(&texts),
        [
            "src/limits.rs:2: `net::Stream::new` is in src/http/mod.rs, which stands above (http/: above)",
            "src/net/mod.rs:1: `crate::http::Stream` is in src/http/mod.rs, which stands above (http/: above)",
        ]
    );
}

#[test]
fn two_files_that_name_each_other_are_refused() {
    refused(
        &[
            ("net/stream.rs", "use crate::limits::Limit;"),
            ("limits.rs", "\nfn f(s: crate::net::stream::Stream) {}"),
        ],
        "2 files of src name each other:\
         \n    src/net/stream.rs:1 names src/limits.rs: `crate::limits::Limit`\
         \n    src/limits.rs:2 names src/net/stream.rs: `crate::net::stream::Stream`",
    );
}

#[test]
fn a_circle_of_three_files_is_refused() {
    refused(
        &[
            ("http/mod.rs", "use super::http::frame::A;"),
            ("http/frame.rs", "use super::head::B;"),
            ("http/head.rs", "use crate::http::C;"),
        ],
        "3 files of src name each other:\
         \n    src/http/mod.rs:1 names src/http/frame.rs: `super::http::frame::A`\
         \n    src/http/frame.rs:1 names src/http/head.rs: `super::head::B`\
         \n    src/http/head.rs:1 names src/http/mod.rs: `crate::http::C`",
    );
}

#[test]
fn a_re_export_leads_to_the_file_that_defines() {
    let face = (
        "net/mod.rs",
        "mod stream;\npub(crate) use stream::Stream;\npub(in crate::net) use self::stream::*;",
    );
    let stream =
        ("net/stream.rs", "use crate::limits::Limit;\npub struct Stream;\npub fn open() {}");
    let circle = "2 files of src name each other:\
         \n    src/net/stream.rs:1 names src/limits.rs: `crate::limits::Limit`\
         \n    src/limits.rs:1 names src/net/stream.rs: `crate::net::Stream`";
    refused(&[face, stream, ("limits.rs", "use crate::net::Stream;")], circle);
    let by_glob = circle.replace("net::Stream", "net::open");
    refused(&[face, stream, ("limits.rs", "use crate::net::open;")], &by_glob);
}

#[test]
fn a_face_that_only_hands_on_is_in_no_circle() {
    let sibling = ("net/stream.rs", "use super::Tcp;\npub struct Stream;");
    allowed(&[
        ("net/mod.rs", "mod stream;\nmod tcp;\npub use self::stream::Stream;\npub use tcp::Tcp;"),
        ("net/tcp.rs", "pub struct Tcp;"),
        sibling,
    ]);
}

#[test]
fn a_face_that_uses_what_its_child_has_is_in_a_circle_with_it() {
    let child = ("net/stream.rs", "use super::Face;\npub struct Stream;");
    let circle = |line, path| {
        format!(
            "2 files of src name each other:\
             \n    src/net/mod.rs:{line} names src/net/stream.rs: `{path}`\
             \n    src/net/stream.rs:1 names src/net/mod.rs: `super::Face`"
        )
    };
    let uses = ("net/mod.rs", "pub use stream::Stream;\nmod stream;\nstruct Face(Stream);");
    refused(&[uses, child], &circle(3, "stream::Stream"));
    let imports = ("net/mod.rs", "mod stream;\nuse stream::Stream;\nstruct Face;");
    refused(&[imports, child], &circle(2, "stream::Stream"));
    let calls = ("net/mod.rs", "mod stream;\nstruct Face;\nfn f() { stream::open(); }");
    refused(&[calls, child], &circle(3, "stream::open"));
    allowed(&[("net/mod.rs", "mod stream;\npub use stream::Stream;\nstruct Face;"), child]);
}

#[test]
fn a_name_of_the_root_is_refused() {
    let root = ("lib.rs", "pub use http::frame::Frame;\nmod http;\npub struct Plan;");
    let frame = ("http/frame.rs", "pub struct Frame;");
    let plan = "src/http/mod.rs:1: `crate::Plan` is of the root, src/lib.rs";
    refused(&[root, frame, ("http/mod.rs", "use crate::Plan;")], plan);
    refused(&[root, frame, ("http/mod.rs", "use crate::{net, Plan};")], plan);
    refused(&[root, frame, ("http/mod.rs", "fn f(p: crate::Plan) {}")], plan);
    let exported =
        "src/limits.rs:1: `super::Frame` is of the root, src/lib.rs, and is in src/http/frame.rs";
    refused(&[root, frame, ("limits.rs", "use super::Frame;")], exported);
    refused(
        &[("limits.rs", "use super::*;")],
        "src/limits.rs:1: `super` is of the root, src/lib.rs",
    );
}

#[test]
fn a_test_module_names_its_own_file() {
    let text = "struct A;\nfn f() {}\nmod tests {\n  use super::{A, f};\n  use super::*;\n  mod more { use super::super::A; }\n}";
    allowed(&[("limits.rs", text)]);
    let upward = "mod tests { use super::super::http::Http; }";
    refused(&[("limits.rs", upward)], {
        "src/limits.rs:1: `super::super::http::Http` is in src/http/mod.rs, which stands above (http/: above)"
    });
}

#[test]
fn each_file_has_one_entry_and_each_entry_a_file() {
    refused(&[("time.rs", "")], "src/time.rs is on no floor");
    let texts: Vec<_> = EMPTY.iter().map(|path| ((*path).to_owned(), String::new())).collect();
    let said = |floors: &[Floor]| -> Vec<String> {
        held_against("src", floors, &texts)
            .problems
            .into_iter()
            .map(|problem| problem.what)
            .collect()
    };
    let more = [FLOORS, &[&[Room("time.rs", ""), Room("tls/", "")]]].concat();
    let nothing = "is on a floor, and there is no such file, or all in it have their own entries";
    assert_eq!(said(&more), [format!("src/time.rs {nothing}"), format!("src/tls/ {nothing}")]);
    let twice = [FLOORS, &[&[Room("limits.rs", "")]]].concat();
    assert_eq!(said(&twice), ["src/limits.rs has two entries"]);
}

#[test]
fn comments_strings_and_other_crates_name_nothing() {
    allowed(&[(
        "limits.rs",
        r####"
//! [`crate::http::A`]
/* use crate::http::A; /* nested */ use crate::http::B; */
use ::http::A;
use http::{B, frame::C};
const S: &str = "use crate::http::A; \" crate::http::B";
const R: &str = r##"crate::http::A "# crate::http::B"##;
const C: [char; 3] = ['"', '\'', '/']; // crate::http::A
const B: (&[u8], u8) = (b"crate::http::A", b'"');
fn f<'a>(it: &'a str) -> impl Iterator<Item = &'a str> + use<'a> { it.split("crate::http::A") }
pub(in crate::limits) struct A;
"####,
    )]);
}

#[test]
fn lines_are_counted_through_everything() {
    let code = "/*\n*/ \"\n\\\n\" r#\"\n\"# 'a' 'b\n// '\nlast";
    let last = tokens(code).pop().unwrap();
    assert_eq!((last.text.as_str(), last.line), ("last", 7));
}
