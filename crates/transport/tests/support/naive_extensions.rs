//! A naive implementation of the negotiation of extensions. The fuzzer uses this file, too.

/// What is accepted: whether `server_no_context_takeover` and `server_max_window_bits` are answered.
pub(crate) type Accepted = (bool, bool);

/// An extension, or a parameter with its value.
pub(crate) type Parameter = (String, Option<String>);

/// Splits header lines into extensions, by RFC 6455, section 9.1. `None` if they are malformed.
///
/// A valid value has no separator, so they can be split without regard to quotes.
pub(crate) fn parse(lines: &[Vec<u8>]) -> Option<Vec<Vec<Parameter>>> {
    let mut extensions = Vec::new();
    for line in lines {
        let line = str::from_utf8(line).ok()?;
        for element in line.split(',').map(trim).filter(|element| !element.is_empty()) {
            let mut parameters = element.split(';').map(trim);
            let name = (token(parameters.next()?)?, None);
            let parameters: Option<Vec<Parameter>> = parameters.map(parameter).collect();
            extensions.push([vec![name], parameters?].concat());
        }
    }
    Some(extensions)
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

fn token(text: &str) -> Option<String> {
    const SEPARATORS: &str = "()<>@,;:\\\"/[]?={} \t";
    let is_token = text.bytes().all(|byte| (0x21..0x7f).contains(&byte))
        && !text.contains(|c| SEPARATORS.contains(c));
    (is_token && !text.is_empty()).then(|| text.to_owned())
}

fn parameter(text: &str) -> Option<Parameter> {
    let Some((name, value)) = text.split_once('=') else { return Some((token(text)?, None)) };
    let value = trim(value);
    let value = match value.strip_prefix('"') {
        None => value.to_owned(),
        Some(quoted) => unescape(quoted.strip_suffix('"')?)?,
    };
    Some((token(trim(name))?, Some(token(&value)?)))
}

fn unescape(text: &str) -> Option<String> {
    let mut characters = text.chars();
    let mut unescaped = String::new();
    while let Some(c) = characters.next() {
        unescaped.push(if c == '\\' { characters.next()? } else { c });
    }
    Some(unescaped)
}

/// Decides about an extension, by RFC 7692, section 7.1.
fn accept(extension: &[Parameter]) -> Option<Accepted> {
    let (name, parameters) = extension.split_first()?;
    let has = |name: &str| parameters.iter().any(|(it, _)| it == name);
    let is_acceptable = |(name, value): &Parameter| {
        let bits = value.as_deref().map(|value| value.parse::<u8>().map(|bits| (bits, value)));
        let is_number = |bits: u8, text: &str| bits.to_string() == text;
        let is_single = parameters.iter().filter(|(it, _)| it == name).count() == 1;
        is_single
            && match (name.as_str(), bits) {
                ("server_no_context_takeover" | "client_no_context_takeover", bits) => {
                    bits.is_none()
                }
                ("server_max_window_bits", Some(Ok((15, text)))) => is_number(15, text),
                ("client_max_window_bits", None) => true,
                ("client_max_window_bits", Some(Ok((bits @ 8..=15, text)))) => {
                    is_number(bits, text)
                }
                _ => false,
            }
    };
    (name.0 == "permessage-deflate" && parameters.iter().all(is_acceptable))
        .then(|| (has("server_no_context_takeover"), has("server_max_window_bits")))
}

pub(crate) fn naive(lines: &[Vec<u8>]) -> Option<Accepted> {
    parse(lines)?.iter().find_map(|extension| accept(extension))
}
