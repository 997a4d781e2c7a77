//! What an HTTP/2 request's fields have to be, and a block that h2 takes in any case
//! (RFC 9113, section 8).

use hyper::header::{HeaderName, HeaderValue};
use hyper::http::uri::{Authority, Parts, PathAndQuery, Scheme};
use hyper::{Method, Uri};
use transport::Rejection;

use crate::http::http2::hpack::encode;
use crate::http::request_limits::MAX_TARGET_BYTES;

/// What is between the parts of a `Cookie` that came in several fields (RFC 9113, section 8.2.3).
const COOKIE_SEPARATOR: &[u8] = b"; ";

/// What a line of HTTP/1.1 has besides a name and a value: a colon, a space and its end.
const LINE_OVERHEAD: usize = 4;

/// How much a head may have, counted as HTTP/1.1 would show it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    pub(crate) bytes: usize,
    pub(crate) lines: usize,
}

/// The fields of a request's head so far, and what is wrong with them.
///
/// The constructors of the `http` crate decide, as they do in h2. So a request that passes here is one
/// for h2, too, and one that does not is refused without h2's help.
#[derive(Debug)]
pub(crate) struct RequestHead {
    method: Option<String>,
    protocol: Option<String>,
    scheme: Option<String>,
    authority: Option<String>,
    path: Option<String>,
    content_length: Option<u64>,
    /// All of them as one (RFC 9113, section 8.2.3).
    cookie: Option<Vec<u8>>,
    /// The other fields, as a block.
    fields: Vec<u8>,
    bytes: usize,
    lines: usize,
    limits: HeadLimits,
    fault: Option<Rejection>,
}

impl RequestHead {
    pub(crate) fn new(limits: HeadLimits) -> Self {
        Self {
            method: None,
            protocol: None,
            scheme: None,
            authority: None,
            path: None,
            content_length: None,
            cookie: None,
            fields: Vec::new(),
            bytes: 0,
            lines: 0,
            limits,
            fault: None,
        }
    }

    /// Takes the next field. One that is wrong or does not fit is left out.
    pub(crate) fn add(&mut self, name: &[u8], value: &[u8]) {
        let is_pseudo = name.starts_with(b":");
        let is_another_cookie = name == b"cookie" && self.cookie.is_some();
        let overhead =
            if is_another_cookie { COOKIE_SEPARATOR.len() } else { name.len() + LINE_OVERHEAD };
        let bytes = self.bytes + overhead + value.len();
        let lines = self.lines + usize::from(!is_pseudo && !is_another_cookie);
        let is_target = name == b":path";
        if bytes >= self.limits.bytes || is_target && value.len() > MAX_TARGET_BYTES {
            let fault = if is_target { Rejection::UriTooLong } else { Rejection::HeaderTooLarge };
            self.fault.get_or_insert(fault);
            return;
        }
        if lines > self.limits.lines {
            self.fault.get_or_insert(Rejection::HeaderTooLarge);
            // Some more are taken, since one of them may say who asks.
            if lines > 2 * self.limits.lines {
                return;
            }
        }
        (self.bytes, self.lines) = (bytes, lines);
        let is_good = match name {
            _ if is_pseudo => self.add_pseudo(name, value),
            b"content-length" => self.add_content_length(value),
            b"cookie" => self.add_cookie(value),
            _ if is_regular_field(name, value) => {
                encode(name, value, &mut self.fields);
                true
            }
            _ => false,
        };
        if !is_good {
            self.fault.get_or_insert(Rejection::Malformed);
        }
    }

    /// A block for h2, and why the request is to be refused, if it is.
    ///
    /// Then the block asks for nothing that there is. It keeps the fields that are good, since they may
    /// say who asks, and a `HEAD`, whose answer has no body.
    pub(crate) fn finish(self, is_end_stream: bool) -> (Vec<u8>, Option<Rejection>) {
        let is_good = self.is_request(is_end_stream);
        let fault = self.fault.or((!is_good).then_some(Rejection::Malformed));
        let mut block = Vec::with_capacity(self.bytes);
        if fault.is_some() {
            let is_head = self.method.as_deref() == Some("HEAD");
            encode(b":method", if is_head { b"HEAD" } else { b"GET" }, &mut block);
            encode(b":scheme", b"http", &mut block);
            encode(b":path", b"/", &mut block);
        } else {
            // What is behind a CONNECT is no content, so h2 must not hold it against this length (RFC 9110,
            // section 9.3.6).
            let is_connect = self.method.as_deref() == Some("CONNECT");
            let length = self.content_length.filter(|length| !is_connect || *length > 0);
            let content_length = length.map(|length| length.to_string());
            let fields = [
                (":method", self.method),
                (":protocol", self.protocol),
                (":scheme", self.scheme),
                (":authority", self.authority),
                (":path", self.path),
                ("content-length", content_length),
            ];
            for (name, value) in fields {
                if let Some(value) = value {
                    encode(name.as_bytes(), value.as_bytes(), &mut block);
                }
            }
        }
        block.extend(self.fields);
        if let Some(cookie) = self.cookie {
            encode(b"cookie", &cookie, &mut block);
        }
        (block, fault)
    }

    /// RFC 9113, section 8.3: pseudo-header fields come first, and each once.
    fn add_pseudo(&mut self, name: &[u8], value: &[u8]) -> bool {
        let is_late = self.lines > 0;
        let field = match name {
            b":method" => &mut self.method,
            b":protocol" => &mut self.protocol,
            b":scheme" => &mut self.scheme,
            b":authority" => &mut self.authority,
            b":path" => &mut self.path,
            _ => return false,
        };
        let Ok(value) = str::from_utf8(value) else { return false };
        !is_late && field.replace(value.to_owned()).is_none()
    }

    /// RFC 9110, section 8.6. A second one that is the same is refused as well, since somebody else might
    /// go by the one or the other.
    fn add_content_length(&mut self, value: &[u8]) -> bool {
        let digits = str::from_utf8(value).ok().filter(|text| !text.starts_with('+'));
        let Some(length) = digits.and_then(|digits| digits.parse().ok()) else { return false };
        match self.content_length.replace(length) {
            Some(other) if other == length => {
                self.fault.get_or_insert(Rejection::HasBody);
                true
            }
            Some(_) => false,
            None => true,
        }
    }

    fn add_cookie(&mut self, value: &[u8]) -> bool {
        if !is_regular_field(b"cookie", value) {
            return false;
        }
        match &mut self.cookie {
            Some(cookie) => {
                cookie.extend_from_slice(COOKIE_SEPARATOR);
                cookie.extend_from_slice(value);
            }
            None => self.cookie = Some(value.to_vec()),
        }
        true
    }

    /// Whether h2 makes a request of what has come.
    fn is_request(&self, is_end_stream: bool) -> bool {
        let method = self.method.as_deref().map(str::parse::<Method>);
        let Some(Ok(method)) = method else { return false };
        let is_target_good = match (method == Method::CONNECT, &self.protocol) {
            // RFC 9113, section 8.5
            (true, None) => self.scheme.is_none() && self.path.is_none(),
            // RFC 8441, section 4
            (false, Some(_)) => false,
            (false, None) | (true, Some(_)) => {
                // RFC 9113, section 8.3.1: the path has no fragment, which the library would drop.
                let is_path = |path: &str| !path.is_empty() && !path.contains('#');
                self.scheme.is_some() && self.path.as_deref().is_some_and(is_path)
            }
        };
        // RFC 9113, section 8.1.1
        let has_end_too_soon = is_end_stream && self.content_length.is_some_and(|it| it > 0);
        is_target_good && !has_end_too_soon && self.uri().is_some()
    }

    fn uri(&self) -> Option<Uri> {
        let mut parts = Parts::default();
        let scheme = self.scheme.as_deref().map(str::parse::<Scheme>).transpose().ok()?;
        parts.authority =
            self.authority.as_deref().map(str::parse::<Authority>).transpose().ok()?;
        parts.path_and_query =
            self.path.as_deref().map(str::parse::<PathAndQuery>).transpose().ok()?;
        // There is no URI with the one and without the other.
        parts.scheme = scheme.filter(|_| parts.authority.is_some());
        Uri::from_parts(parts).ok()
    }
}

/// Whether this is a field that a request or its trailers may have (RFC 9113, section 8.2).
pub(crate) fn is_regular_field(name: &[u8], value: &[u8]) -> bool {
    let (Ok(name), Ok(value)) = (HeaderName::from_lowercase(name), HeaderValue::from_bytes(value))
    else {
        return false;
    };
    // RFC 9113, section 8.2.2
    match name.as_str() {
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" => false,
        "te" => value == "trailers",
        _ => true,
    }
}
