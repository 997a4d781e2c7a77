//! Lists and citations that are wrong, and the page of those that are right.

use super::citations::{Citation, Kind, citations};
use super::compare;
use super::list::Rfc;
use super::page::page;

const LIST: &str = "\
RFC 1: Example
An introduction.

1.2-1 MUST
It does this,
and nothing else.

1.2-2 SHOULD NOT
It does not do that.
exception: It is of
no use.

1.10-1 rule
It ends.
";

const CODE: &str = "
fn run() {
    //= rfc1#1.2-1 rfc1#1.10-1
    // Why it is so.
    stop();
}
";

const TEST: &str = "
//= rfc1#1.2-1 rfc1#1.10-1 test
#[tokio::test(start_paused = true)]
async fn it_stops() {}
";

fn rfc() -> Rfc {
    Rfc::parse("rfc1", LIST).unwrap()
}

fn cited() -> Vec<Citation> {
    let mut cited = citations("crates/a/src/b.rs", CODE).unwrap();
    cited.extend(citations("crates/a/tests/c.rs", TEST).unwrap());
    cited
}

#[test]
fn a_requirement_that_code_and_a_test_cite_passes() {
    assert_eq!(compare(&[rfc()], &cited()), "");
}

#[test]
fn a_requirement_without_code_or_without_a_test_is_reported() {
    let mut code = cited();
    code.retain(|it| it.kind == Kind::Code && it.requirement == "rfc1#1.2-1");
    let expected = "rfc1#1.2-1: no test cites it\n\
                    rfc1#1.10-1: no code cites it\n\
                    rfc1#1.10-1: no test cites it\n";
    assert_eq!(compare(&[rfc()], &code), expected);
}

#[test]
fn a_citation_of_an_unknown_requirement_is_reported() {
    let mut cited = cited();
    let code = CODE.replace("rfc1#1.10-1", "rfc1#1.2-3");
    cited.extend(citations("crates/a/src/d.rs", &code).unwrap());
    assert_eq!(compare(&[rfc()], &cited), "crates/a/src/d.rs:3: rfc1#1.2-3 is in no list\n");
}

#[test]
fn a_list_that_is_out_of_order_or_malformed_is_refused() {
    for (from, to, expected) in [
        ("1.2-2", "1.2-1", "1.2-1 is out of order"),
        ("1.2-2", "1.2-3", "1.2-3 is out of order"),
        ("1.2-1", "1.2-2", "1.2-2 is out of order"),
        ("1.10-1", "1.1-1", "1.1-1 is out of order"),
        ("1.10-1", "1.10-2", "1.10-2 is out of order"),
        ("1.2-1 MUST", "1.2-1 must", "`1.2-1 must` is no number and level"),
        ("1.2-1 MUST", "1.2 MUST", "`1.2 MUST` is no number and level"),
        ("1.2-1 MUST", "MUST", "`MUST` is no number and level"),
        ("It ends.", "", "1.10-1 is no sentence that a table can have"),
        ("It ends.", "It | ends.", "1.10-1 is no sentence that a table can have"),
        ("no use.", "no use", "1.2-2 is no sentence that a table can have"),
        ("An introduction.\n", "", "the first lines are no title and introduction"),
    ] {
        let list = LIST.replacen(from, to, 1);
        assert_eq!(Rfc::parse("rfc1", &list), Err(expected.to_owned()), "{from} {to}");
    }
}

#[test]
fn a_citation_that_belongs_to_nothing_is_refused() {
    let in_test = |text: &str| citations("crates/a/tests/c.rs", text).unwrap_err();
    assert_eq!(in_test(CODE), "line 3: a citation in a test ends with `test`");
    assert_eq!(
        in_test(&TEST.replace("#[tokio::test(start_paused = true)]\n", "")),
        "line 2: no test follows"
    );
    assert_eq!(in_test(&TEST.replace("async fn", "const fn")), "line 2: no test follows");
    let in_code = |text: &str| citations("crates/a/src/b.rs", text).unwrap_err();
    assert_eq!(in_code(&CODE.replace("stop();", "")), "line 3: no code follows");
    assert_eq!(in_code(&CODE.replace("1.10-1", "1.2-1")), "line 3: rfc1#1.2-1 is cited twice");
    assert_eq!(in_code("//=  \nlet x;"), "line 1: nothing is cited");
}

#[test]
fn the_page_has_a_row_for_each_requirement() {
    let page = page(&[rfc()], &cited());
    let (_, table) = page.split_once("## RFC 1: Example\n").unwrap();
    let url = "https://www.rfc-editor.org/rfc/rfc1#section-1";
    let code = "[`a/b.rs`](../crates/a/src/b.rs)";
    let test = "[`it_stops`](../crates/a/tests/c.rs)";
    let expected = format!(
        "\nAn introduction.\n\
         There are 3 requirements.\n\
         All are kept except [1.2-2]({url}.2).\n\n\
         | | level | requirement | code | tests |\n|---|---|---|---|---|\n\
         | [1.2-1]({url}.2) | MUST | It does this, and nothing else. | {code} | {test} |\n\
         | [1.2-2]({url}.2) | SHOULD NOT | It does not do that. | **Not kept.** It is of no use. |  |\n\
         | [1.10-1]({url}.10) | rule | It ends. | {code} | {test} |\n"
    );
    assert_eq!(table, expected);
}
