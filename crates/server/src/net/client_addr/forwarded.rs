//! The headers `Forwarded` (RFC 7239) and `X-Forwarded-For`, read from the right.

use std::net::IpAddr;

use hyper::header::{FORWARDED, HeaderMap, HeaderValue};

/// hyper has no constant for it.
const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Returns the hops of `Forwarded`, the last one first. `None` is a hop without an address.
pub(crate) fn forwarded(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let elements = lines_from_last(headers, FORWARDED.as_str()).flat_map(elements);
    elements.filter(is_element).map(forwarded_for).collect()
}

/// Returns the hops of `X-Forwarded-For`, the last one first. `None` is a hop without an address.
pub(crate) fn x_forwarded_for(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let lines = lines_from_last(headers, X_FORWARDED_FOR);
    let elements = lines.flat_map(|line| line.rsplit(|byte| *byte == b','));
    elements.filter(is_element).map(node).collect()
}

/// Returns the lines of a header, the last one first.
fn lines_from_last<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    lines.into_iter().rev()
}

/// Returns whether a list element is not empty. Empty ones do not count (RFC 9110, section 5.6.1.2).
fn is_element(element: &&[u8]) -> bool {
    !element.trim_ascii().is_empty()
}

/// Returns the elements of a line of `Forwarded` (RFC 7239, section 4), the last one first.
///
/// The line is parsed from the right, where trusted proxies append: an unclosed quote from a client must
/// not hide their elements.
fn elements(line: &[u8]) -> Vec<&[u8]> {
    let mut elements = Vec::new();
    let (mut rest, mut is_quoted) = (line, false);
    for (index, byte) in line.iter().enumerate().rev() {
        let before = line.get(..index).unwrap_or_default();
        match byte {
            b'"' if !is_quoted || !ends_in_escape(before) => is_quoted = !is_quoted,
            b',' if !is_quoted => {
                elements.push(rest.get(index + 1..).unwrap_or_default());
                rest = before;
            }
            _ => {}
        }
    }
    elements.push(rest);
    elements
}

/// Returns whether a quote after `text` is escaped (RFC 9110, section 5.6.4).
fn ends_in_escape(text: &[u8]) -> bool {
    text.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// Returns the address in the `for` parameter of an element. A hop without one hides its client.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let is_separator = |byte: &u8| {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            _ => {}
        }
        *byte == b';' && !is_quoted
    };
    let value = element.split(is_separator).find_map(|pair| {
        let (name, value) = pair.split_at(pair.iter().position(|byte| *byte == b'=')?);
        name.trim_ascii().eq_ignore_ascii_case(b"for").then(|| value.trim_ascii())
    })?;
    let value = value.strip_prefix(b"=").unwrap_or_default().trim_ascii();
    let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    node(quoted.unwrap_or(value))
}

/// Parses a node: an address, with or without a port and brackets (RFC 7239, section 6). `unknown` and
/// obfuscated identifiers are not addresses.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text.trim_ascii()).ok()?;
    let bracketed = text.strip_prefix('[').and_then(|text| text.split_once(']'));
    let address = match bracketed {
        Some((address, port)) => {
            let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            address.parse().ok().filter(|address: &IpAddr| is_port && address.is_ipv6())
        }
        None => text.parse().ok().or_else(|| {
            let (address, port) = text.split_once(':')?;
            address.parse().ok().filter(|address: &IpAddr| is_port(port) && address.is_ipv4())
        }),
    };
    address.map(|address| address.to_canonical())
}

/// Returns whether `text` is a port, which may be obfuscated (RFC 7239, section 6.3).
fn is_port(text: &str) -> bool {
    let is_obfuscated = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    text.parse::<u16>().is_ok()
        || text.strip_prefix('_').is_some_and(|name| name.chars().all(is_obfuscated))
}
