//! Each rule reports its violations, and nothing else.

use super::{check_crate, tokens::tokens};
use crate::floors::{Entry, Floor};

const FLOORS: &[Floor] = &[
    &[Entry("lib.rs", "the root")],
    &[Entry("http/", "above")],
    &[Entry("net/", "below"), Entry("limits.rs", "below as well")],
    &[Entry("net/tcp.rs", "below its folder")],
];

/// Files that exist, empty, unless a test defines them.
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
    let problems = check_crate("src", FLOORS, &texts).problems;
    problems.into_iter().map(|problem| problem.message).collect()
}

#[track_caller]
fn rejected(texts: &[(&str, &str)], sentence: &str) {
    assert_eq!(problems(texts), [sentence]);
}

#[track_caller]
fn allowed(texts: &[(&str, &str)]) {
    assert_eq!(problems(texts), [""; 0]);
}

#[test]
fn imports_from_the_same_or_a_lower_floor_are_allowed() {
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
fn the_root_may_import_everything() {
    allowed(&[("lib.rs", "use crate::http::Http;"), ("http/mod.rs", "struct Http;")]);
}

#[test]
fn an_upward_dependency_is_rejected() {
    let upward = "src/limits.rs:2: `crate::http::frame::Frame` is in src/http/frame.rs, on a higher floor (http/: above)";
    rejected(&[("limits.rs", "use std::{\n  io}; use crate::http::frame::Frame;")], upward);
    rejected(&[("limits.rs", "\nfn f() -> Vec<crate::http::frame::Frame> {}")], upward);
    let nested = "use crate::{net::tcp,\n http::{frame::{Frame}}};";
    rejected(&[("limits.rs", nested)], upward);
    rejected(&[("net/stream.rs", "fn f() { super::super::http::open::<u8>() }")], {
        "src/net/stream.rs:1: `super::super::http::open` is in src/http/mod.rs, on a higher floor (http/: above)"
    });
    rejected(&[("net/tcp.rs", "use super::stream;")], {
        "src/net/tcp.rs:1: `super::stream` is in src/net/stream.rs, on a higher floor (net/: below)"
    });
}

#[test]
fn a_path_through_an_imported_module_is_resolved() {
    let texts = [
        ("limits.rs", "use crate::net;\nfn f() { net::Stream::new() }"),
        ("net/mod.rs", "pub use crate::http::Stream;"),
    ];
    assert_eq!(
        problems(&texts),
        [
            "src/limits.rs:2: `net::Stream::new` is in src/http/mod.rs, on a higher floor (http/: above)",
            "src/net/mod.rs:1: `crate::http::Stream` is in src/http/mod.rs, on a higher floor (http/: above)",
        ]
    );
}

#[test]
fn a_cycle_of_two_files_is_rejected() {
    rejected(
        &[
            ("net/stream.rs", "use crate::limits::Limit;"),
            ("limits.rs", "\nfn f(s: crate::net::stream::Stream) {}"),
        ],
        "2 files of src depend on each other:\
         \n    src/net/stream.rs:1 uses src/limits.rs: `crate::limits::Limit`\
         \n    src/limits.rs:2 uses src/net/stream.rs: `crate::net::stream::Stream`",
    );
}

#[test]
fn a_cycle_of_three_files_is_rejected() {
    rejected(
        &[
            ("http/mod.rs", "use super::http::frame::A;"),
            ("http/frame.rs", "use super::head::B;"),
            ("http/head.rs", "use crate::http::C;"),
        ],
        "3 files of src depend on each other:\
         \n    src/http/mod.rs:1 uses src/http/frame.rs: `super::http::frame::A`\
         \n    src/http/frame.rs:1 uses src/http/head.rs: `super::head::B`\
         \n    src/http/head.rs:1 uses src/http/mod.rs: `crate::http::C`",
    );
}

#[test]
fn a_re_export_is_resolved_to_the_defining_file() {
    let mod_rs = (
        "net/mod.rs",
        "mod stream;\npub(crate) use stream::Stream;\npub(in crate::net) use self::stream::*;",
    );
    let stream =
        ("net/stream.rs", "use crate::limits::Limit;\npub struct Stream;\npub fn open() {}");
    let cycle = "2 files of src depend on each other:\
         \n    src/net/stream.rs:1 uses src/limits.rs: `crate::limits::Limit`\
         \n    src/limits.rs:1 uses src/net/stream.rs: `crate::net::Stream`";
    rejected(&[mod_rs, stream, ("limits.rs", "use crate::net::Stream;")], cycle);
    let by_glob = cycle.replace("net::Stream", "net::open");
    rejected(&[mod_rs, stream, ("limits.rs", "use crate::net::open;")], &by_glob);
}

#[test]
fn a_mod_rs_that_only_re_exports_is_in_no_cycle() {
    let sibling = ("net/stream.rs", "use super::Tcp;\npub struct Stream;");
    allowed(&[
        ("net/mod.rs", "mod stream;\nmod tcp;\npub use self::stream::Stream;\npub use tcp::Tcp;"),
        ("net/tcp.rs", "pub struct Tcp;"),
        sibling,
    ]);
}

#[test]
fn a_mod_rs_that_uses_an_item_of_its_child_can_form_a_cycle() {
    let child = ("net/stream.rs", "use super::Face;\npub struct Stream;");
    let cycle = |line, path| {
        format!(
            "2 files of src depend on each other:\
             \n    src/net/mod.rs:{line} uses src/net/stream.rs: `{path}`\
             \n    src/net/stream.rs:1 uses src/net/mod.rs: `super::Face`"
        )
    };
    let uses = ("net/mod.rs", "pub use stream::Stream;\nmod stream;\nstruct Face(Stream);");
    rejected(&[uses, child], &cycle(3, "stream::Stream"));
    let imports = ("net/mod.rs", "mod stream;\nuse stream::Stream;\nstruct Face;");
    rejected(&[imports, child], &cycle(2, "stream::Stream"));
    let calls = ("net/mod.rs", "mod stream;\nstruct Face;\nfn f() { stream::open(); }");
    rejected(&[calls, child], &cycle(3, "stream::open"));
    allowed(&[("net/mod.rs", "mod stream;\npub use stream::Stream;\nstruct Face;"), child]);
}

#[test]
fn a_name_of_the_root_is_rejected() {
    let root = ("lib.rs", "pub use http::frame::Frame;\nmod http;\npub struct Plan;");
    let frame = ("http/frame.rs", "pub struct Frame;");
    let plan = "src/http/mod.rs:1: `crate::Plan` is of the root, src/lib.rs";
    rejected(&[root, frame, ("http/mod.rs", "use crate::Plan;")], plan);
    rejected(&[root, frame, ("http/mod.rs", "use crate::{net, Plan};")], plan);
    rejected(&[root, frame, ("http/mod.rs", "fn f(p: crate::Plan) {}")], plan);
    let exported =
        "src/limits.rs:1: `super::Frame` is of the root, src/lib.rs, and is in src/http/frame.rs";
    rejected(&[root, frame, ("limits.rs", "use super::Frame;")], exported);
    rejected(
        &[("limits.rs", "use super::*;")],
        "src/limits.rs:1: `super` is of the root, src/lib.rs",
    );
}

#[test]
fn a_test_module_may_import_from_its_own_file() {
    let text = "struct A;\nfn f() {}\nmod tests {\n  use super::{A, f};\n  use super::*;\n  mod more { use super::super::A; }\n}";
    allowed(&[("limits.rs", text)]);
    let upward = "mod tests { use super::super::http::Http; }";
    rejected(&[("limits.rs", upward)], {
        "src/limits.rs:1: `super::super::http::Http` is in src/http/mod.rs, on a higher floor (http/: above)"
    });
}

#[test]
fn each_file_has_one_entry_and_each_entry_matches_a_file() {
    rejected(&[("time.rs", "")], "src/time.rs is on no floor");
    let texts: Vec<_> = EMPTY.iter().map(|path| ((*path).to_owned(), String::new())).collect();
    let said = |floors: &[Floor]| -> Vec<String> {
        check_crate("src", floors, &texts)
            .problems
            .into_iter()
            .map(|problem| problem.message)
            .collect()
    };
    let more = [FLOORS, &[&[Entry("time.rs", ""), Entry("tls/", "")]]].concat();
    let nothing = "is on a floor, but it does not exist, or all its files have their own entries";
    assert_eq!(said(&more), [format!("src/time.rs {nothing}"), format!("src/tls/ {nothing}")]);
    let twice = [FLOORS, &[&[Entry("limits.rs", "")]]].concat();
    assert_eq!(said(&twice), ["src/limits.rs has two entries"]);
}

#[test]
fn comments_literals_and_other_crates_are_ignored() {
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
fn line_numbers_include_comments_and_literals() {
    let code = "/*\n*/ \"\n\\\n\" r#\"\n\"# 'a' 'b\n// '\nlast";
    let last = tokens(code).pop().unwrap();
    assert_eq!((last.text.as_str(), last.line), ("last", 7));
}
