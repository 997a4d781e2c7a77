//! The negotiation of extensions (RFC 6455, section 9.1): permessage-deflate (RFC 7692), and no other.
//!
//! It reads each byte of the header once and allocates nothing.

use std::mem;

use hyper::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS, USER_AGENT};

use super::origin::Permission;
use crate::compression::Compression;

/// Whether and how sessions are compressed whose clients offer permessage-deflate (RFC 7692).
///
/// ```
/// use transport::hyper::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS};
/// use transport::{Compression, CompressionOptions, Permission};
///
/// let options =
///     CompressionOptions { mode: Some(Compression::Shared), webkit: Permission::Refuse };
/// let mut headers = HeaderMap::new();
/// assert_eq!(options.negotiate(&headers), None);
///
/// headers.insert(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static("permessage-deflate"));
/// let (compression, response) = options.negotiate(&headers).unwrap();
/// assert_eq!(compression, Compression::Shared);
/// assert_eq!(response, "permessage-deflate; client_no_context_takeover");
/// assert_eq!(CompressionOptions::default().negotiate(&headers), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressionOptions {
    /// The mode of compressed sessions, or `None` if no session is compressed. If a client offers
    /// `server_no_context_takeover`, its session is [`Compression::Fresh`] in either mode.
    pub mode: Option<Compression>,
    /// Whether browsers with WebKit may use compression: Safari, every browser on iOS, and others that
    /// send `AppleWebKit/` without `Chrome/` or `Chromium/` in `User-Agent`. WebKit fails sessions on
    /// valid compressed messages.
    pub webkit: Permission,
}

/// No session is compressed.
impl Default for CompressionOptions {
    fn default() -> Self {
        Self { mode: None, webkit: Permission::Refuse }
    }
}

impl CompressionOptions {
    /// Returns the mode of the session, and the value of `Sec-WebSocket-Extensions` in the response, or
    /// `None` if the session is not compressed and the response must not have this header.
    ///
    /// `headers` are those of the request. An [`Endpoint`](crate::Endpoint) calls this itself.
    #[must_use]
    pub fn negotiate(self, headers: &HeaderMap) -> Option<(Compression, HeaderValue)> {
        //= rfc6455#4.2.2-8 rfc6455#9-1
        let mode = self.mode?;
        // RFC 6455, section 9.1, wants a malformed header to fail the connection. But whether the server
        // compresses must not decide who may connect, and without compression nothing reads the header.
        //= rfc6455#9.1-1 rfc7692#5-5
        let offer = acceptable_offer(headers).ok()??;
        if self.webkit == Permission::Refuse && is_webkit(headers) {
            return None;
        }
        //= rfc7692#7.1.1.1-1
        let compression = if offer.server_no_context_takeover { Compression::Fresh } else { mode };
        Some((compression, offer.response(compression)))
    }
}

/// An offer of permessage-deflate: the parameters that it has (RFC 7692, section 7.1).
#[derive(Clone, Copy, Default)]
struct Offer {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: bool,
    client_max_window_bits: bool,
}

impl Offer {
    /// Adds a parameter. Returns `None` if the offer is to be declined: the parameter is unknown or
    /// repeated, or its value is invalid (RFC 7692, section 7.1) or not supported.
    fn with(mut self, name: &[u8], value: Option<Value<'_>>) -> Option<Self> {
        let (is_present, is_acceptable) = match name {
            b"server_no_context_takeover" => {
                (&mut self.server_no_context_takeover, value.is_none())
            }
            b"client_no_context_takeover" => {
                (&mut self.client_no_context_takeover, value.is_none())
            }
            // The compressor has a window of 15 bits, so a lower limit cannot be met.
            //= rfc7692#5-3 rfc7692#7-4 rfc7692#7.2.1-4
            b"server_max_window_bits" => {
                (&mut self.server_max_window_bits, value.is_some_and(|value| value.is(b"15")))
            }
            b"client_max_window_bits" => {
                (&mut self.client_max_window_bits, value.is_none_or(Value::is_window_bits))
            }
            //= rfc6455#9.1-3 rfc7692#7-1
            _ => return None,
        };
        let is_repeated = mem::replace(is_present, true);
        //= rfc7692#7-2 rfc7692#7-3
        (is_acceptable && !is_repeated).then_some(self)
    }

    /// Returns the response to the offer (RFC 7692, section 7.1).
    ///
    /// `client_no_context_takeover` does not have to be offered (section 7.1.1.2); with it, the server
    /// keeps nothing of a client's messages. `client_max_window_bits` needs no answer (section 7.1.2.2):
    /// the inflater has a window of 15 bits.
    fn response(self, compression: Compression) -> HeaderValue {
        //= rfc6455#9-2 rfc6455#9.1-2 rfc7692#5-2 rfc7692#7.1.1.1-2 rfc7692#7.1.1.2-1
        //= rfc7692#7.1.2.1-1 rfc7692#7.1.2.1-2 rfc7692#7.1.2.2-1 rfc7692#7.2.2-2
        HeaderValue::from_static(match (compression, self.server_max_window_bits) {
            (Compression::Shared, false) => "permessage-deflate; client_no_context_takeover",
            (Compression::Shared, true) => {
                "permessage-deflate; client_no_context_takeover; server_max_window_bits=15"
            }
            (Compression::Fresh, false) => {
                "permessage-deflate; client_no_context_takeover; server_no_context_takeover"
            }
            (Compression::Fresh, true) => {
                "permessage-deflate; client_no_context_takeover; server_no_context_takeover; \
                 server_max_window_bits=15"
            }
        })
    }
}

/// The header violates the grammar.
struct Malformed;

/// Returns the first offer of permessage-deflate that is acceptable. The client prefers the first of its
/// offers (RFC 7692, section 5).
fn acceptable_offer(headers: &HeaderMap) -> Result<Option<Offer>, Malformed> {
    let mut acceptable = None;
    // One list may span several lines (RFC 9110, section 5.3). A value that would continue in another
    // line has a comma, so it is no token.
    //= rfc6455#9.1-4
    for line in headers.get_all(SEC_WEBSOCKET_EXTENSIONS) {
        let mut scanner = Scanner::new(line.as_bytes());
        while !scanner.is_at_end() {
            // An element may be empty (RFC 9110, section 5.6.1.2).
            if scanner.take(b',') {
                continue;
            }
            let offer = scanner.extension()?;
            //= rfc7692#5-1
            acceptable = acceptable.or(offer);
            if !scanner.is_at_end() && !scanner.take(b',') {
                return Err(Malformed);
            }
        }
    }
    Ok(acceptable)
}

/// The value of a parameter, without its quotes: a token, in which a backslash may stand before each
/// character.
#[derive(Clone, Copy)]
struct Value<'a>(&'a [u8]);

impl Value<'_> {
    fn is(self, token: &[u8]) -> bool {
        self.0.iter().filter(|byte| **byte != b'\\').eq(token)
    }

    /// Returns whether the value is a number from 8 to 15 without leading zeros (RFC 7692,
    /// section 7.1.2).
    fn is_window_bits(self) -> bool {
        let numbers: [&[u8]; 8] = [b"8", b"9", b"10", b"11", b"12", b"13", b"14", b"15"];
        numbers.iter().any(|number| self.is(number))
    }
}

/// The rest of a header line. Whitespace before it is skipped: the grammar of RFC 6455, section 9.1,
/// implies it between any two words and separators (RFC 2616, section 2.1).
struct Scanner<'a>(&'a [u8]);

impl<'a> Scanner<'a> {
    fn new(line: &'a [u8]) -> Self {
        Self(line.trim_ascii_start())
    }

    fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes this separator, if it is next.
    fn take(&mut self, separator: u8) -> bool {
        match self.0.split_first() {
            Some((byte, rest)) if *byte == separator => {
                *self = Self::new(rest);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Takes an extension with its parameters. Returns it if it is an acceptable offer of
    /// permessage-deflate.
    fn extension(&mut self) -> Result<Option<Offer>, Malformed> {
        //= rfc7692#5-4
        let mut offer = (self.token()? == b"permessage-deflate").then(Offer::default);
        while self.take(b';') {
            let name = self.token()?;
            let value = if self.take(b'=') { Some(self.value()?) } else { None };
            offer = offer.and_then(|offer| offer.with(name, value));
        }
        Ok(offer)
    }

    fn token(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.0.iter().take_while(|byte| is_tchar(**byte)).count();
        let (token, rest) = self.0.split_at(length);
        if token.is_empty() {
            return Err(Malformed);
        }
        *self = Self::new(rest);
        Ok(token)
    }

    /// Takes a token, or a quoted string whose content is a token after unescaping.
    fn value(&mut self) -> Result<Value<'a>, Malformed> {
        let Some(quoted) = self.0.strip_prefix(b"\"") else { return self.token().map(Value) };
        // A token has no quotation mark, so there cannot be an escaped one before the end.
        let mut parts = quoted.splitn(2, |byte| *byte == b'"');
        let (Some(content), Some(rest)) = (parts.next(), parts.next()) else {
            return Err(Malformed);
        };
        // Nor has it a backslash, so each one escapes another character.
        //= rfc6455#4.3-1
        let is_token = !content.is_empty()
            && content.iter().all(|byte| *byte == b'\\' || is_tchar(*byte))
            && !content.ends_with(b"\\")
            && !content.windows(2).any(|pair| pair == b"\\\\");
        if !is_token {
            return Err(Malformed);
        }
        *self = Self::new(rest);
        Ok(Value(content))
    }
}

/// Returns whether a token may have this byte (RFC 9110, section 5.6.2; the same as in RFC 2616,
/// section 2.2).
pub(crate) fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Returns whether the browser's engine is WebKit. Chrome's engine names WebKit for compatibility.
fn is_webkit(headers: &HeaderMap) -> bool {
    let has = |line: &[u8], product: &[u8]| line.windows(product.len()).any(|it| it == product);
    headers.get_all(USER_AGENT).iter().map(HeaderValue::as_bytes).any(|line| {
        has(line, b"AppleWebKit/") && !has(line, b"Chrome/") && !has(line, b"Chromium/")
    })
}
