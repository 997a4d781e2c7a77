//! Checks the fields of an HTTP/2 request, and encodes a header block that h2 accepts (RFC 9113, section
//! 8).

use hyper::header::{HeaderName, HeaderValue};
use hyper::http::uri::{Authority, Parts, PathAndQuery, Scheme};
use hyper::{Method, Uri};
use transport::Rejection;

use crate::http::http2::hpack::encode;
use crate::http::request_limits::MAX_TARGET_BYTES;

/// The separator between the values of several `Cookie` fields (RFC 9113, section 8.2.3).
const COOKIE_SEPARATOR: &[u8] = b"; ";

/// Bytes of an HTTP/1.1 field line besides its name and value: colon, space, CR and LF.
const LINE_OVERHEAD: usize = 4;

/// The limits of a head, as the size of the same head in HTTP/1.1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    pub(crate) bytes: usize,
    pub(crate) fields: usize,
}

/// The fields of a request's head so far, and their first violation.
///
/// The check uses the constructors of the `http` crate, as h2 does. So h2 accepts each request that is
/// accepted here. It does not get the others: a block that it accepts replaces theirs.
#[derive(Debug)]
pub(crate) struct RequestHead {
    method: Option<String>,
    protocol: Option<String>,
    scheme: Option<String>,
    authority: Option<String>,
    path: Option<String>,
    content_length: Option<u64>,
    /// The values of all `Cookie` fields, joined (RFC 9113, section 8.2.3).
    cookie: Option<Vec<u8>>,
    /// The other fields, encoded.
    encoded_fields: Vec<u8>,
    bytes: usize,
    field_count: usize,
    limits: HeadLimits,
    rejection: Option<Rejection>,
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
            encoded_fields: Vec::new(),
            bytes: 0,
            field_count: 0,
            limits,
            rejection: None,
        }
    }

    /// Adds the next field, unless it is invalid or exceeds a limit.
    pub(crate) fn add(&mut self, name: &[u8], value: &[u8]) {
        let is_pseudo = name.starts_with(b":");
        let is_repeated_cookie = name == b"cookie" && self.cookie.is_some();
        let overhead =
            if is_repeated_cookie { COOKIE_SEPARATOR.len() } else { name.len() + LINE_OVERHEAD };
        let bytes = self.bytes + overhead + value.len();
        let field_count = self.field_count + usize::from(!is_pseudo && !is_repeated_cookie);
        let is_target = name == b":path";
        if bytes >= self.limits.bytes || is_target && value.len() > MAX_TARGET_BYTES {
            let too_large =
                if is_target { Rejection::UriTooLong } else { Rejection::HeaderTooLarge };
            self.rejection.get_or_insert(too_large);
            return;
        }
        if field_count > self.limits.fields {
            self.rejection.get_or_insert(Rejection::HeaderTooLarge);
            // More fields are accepted, up to twice the limit: one of them may have the client's
            // address.
            if field_count > 2 * self.limits.fields {
                return;
            }
        }
        (self.bytes, self.field_count) = (bytes, field_count);
        let is_valid = match name {
            _ if is_pseudo => self.add_pseudo(name, value),
            b"content-length" => self.add_content_length(value),
            b"cookie" => self.add_cookie(value),
            _ if is_regular_field(name, value) => {
                encode(name, value, &mut self.encoded_fields);
                true
            }
            _ => false,
        };
        if !is_valid {
            self.rejection.get_or_insert(Rejection::Malformed);
        }
    }

    /// Returns a block for h2, and a rejection if the request is to be refused.
    ///
    /// The block of a refused request has a path that is not routed. It keeps the valid fields, which
    /// may have the client's address, and the method `HEAD`, whose response has no body.
    pub(crate) fn finish(self, is_end_stream: bool) -> (Vec<u8>, Option<Rejection>) {
        let is_valid = self.is_valid_request(is_end_stream);
        let rejection = self.rejection.or((!is_valid).then_some(Rejection::Malformed));
        let mut block = Vec::with_capacity(self.bytes);
        if rejection.is_some() {
            let is_head = self.method.as_deref() == Some("HEAD");
            encode(b":method", if is_head { b"HEAD" } else { b"GET" }, &mut block);
            encode(b":scheme", b"http", &mut block);
            encode(b":path", b"/", &mut block);
        } else {
            // Data after CONNECT is not content, so h2 must not compare it with this length (RFC 9110,
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
        block.extend(self.encoded_fields);
        if let Some(cookie) = self.cookie {
            encode(b"cookie", &cookie, &mut block);
        }
        (block, rejection)
    }

    /// Adds a pseudo-header field. They precede other fields, and each occurs once (RFC 9113, section
    /// 8.3).
    fn add_pseudo(&mut self, name: &[u8], value: &[u8]) -> bool {
        let is_after_fields = self.field_count > 0;
        let field = match name {
            b":method" => &mut self.method,
            b":protocol" => &mut self.protocol,
            b":scheme" => &mut self.scheme,
            b":authority" => &mut self.authority,
            b":path" => &mut self.path,
            _ => return false,
        };
        let Ok(value) = str::from_utf8(value) else { return false };
        !is_after_fields && field.replace(value.to_owned()).is_none()
    }

    /// Adds a `Content-Length` (RFC 9110, section 8.6). A repeated one is refused even if it is equal:
    /// another implementation may choose either.
    fn add_content_length(&mut self, value: &[u8]) -> bool {
        let digits = str::from_utf8(value).ok().filter(|text| !text.starts_with('+'));
        let Some(length) = digits.and_then(|digits| digits.parse().ok()) else { return false };
        match self.content_length.replace(length) {
            Some(other) if other == length => {
                self.rejection.get_or_insert(Rejection::HasBody);
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

    /// Returns whether h2 accepts the fields as a request.
    fn is_valid_request(&self, is_end_stream: bool) -> bool {
        let method = self.method.as_deref().map(str::parse::<Method>);
        let Some(Ok(method)) = method else { return false };
        let is_target_valid = match (method == Method::CONNECT, &self.protocol) {
            // RFC 9113, section 8.5
            (true, None) => self.scheme.is_none() && self.path.is_none(),
            // RFC 8441, section 4
            (false, Some(_)) => false,
            //= rfc8441#4-1
            (false, None) | (true, Some(_)) => {
                //= rfc6455#3-1
                // A path has no fragment, which the `http` crate would drop (RFC 9113, section 8.3.1).
                let is_path = |path: &str| !path.is_empty() && !path.contains('#');
                self.scheme.is_some() && self.path.as_deref().is_some_and(is_path)
            }
        };
        // RFC 9113, section 8.1.1
        let is_body_missing = is_end_stream && self.content_length.is_some_and(|length| length > 0);
        is_target_valid && !is_body_missing && self.uri().is_some()
    }

    fn uri(&self) -> Option<Uri> {
        let mut parts = Parts::default();
        let scheme = self.scheme.as_deref().map(str::parse::<Scheme>).transpose().ok()?;
        parts.authority =
            self.authority.as_deref().map(str::parse::<Authority>).transpose().ok()?;
        parts.path_and_query =
            self.path.as_deref().map(str::parse::<PathAndQuery>).transpose().ok()?;
        // A URI with a scheme has an authority.
        parts.scheme = scheme.filter(|_| parts.authority.is_some());
        Uri::from_parts(parts).ok()
    }
}

/// Returns whether a request or its trailers may have this field (RFC 9113, section 8.2).
pub(crate) fn is_regular_field(name: &[u8], value: &[u8]) -> bool {
    let (Ok(name), Ok(value)) = (HeaderName::from_lowercase(name), HeaderValue::from_bytes(value))
    else {
        return false;
    };
    // RFC 9113, section 8.2.2
    match name.as_str() {
        //= rfc8441#5-2
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" => false,
        "te" => value == "trailers",
        _ => true,
    }
}
