//! What an HTTP/2 request's fields have to be, and a block that h2 takes in any case
//! (RFC 9113, section 8).

use hyper::header::{HeaderName, HeaderValue};
use hyper::http::uri::{Authority, Parts, PathAndQuery, Scheme};
use hyper::{Method, Uri};
use transport::Rejection;

use crate::hpack::{FIELD_OVERHEAD, encode};

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
    /// The other fields, as a block.
    fields: Vec<u8>,
    /// As `SETTINGS_MAX_HEADER_LIST_SIZE` counts it (RFC 9113, section 6.5.2).
    size: usize,
    most_bytes: usize,
    fault: Option<Rejection>,
}

impl RequestHead {
    pub(crate) fn new(most_bytes: usize) -> Self {
        Self {
            method: None,
            protocol: None,
            scheme: None,
            authority: None,
            path: None,
            content_length: None,
            fields: Vec::new(),
            size: 0,
            most_bytes,
            fault: None,
        }
    }

    /// Takes the next field. One that is wrong or does not fit is left out.
    pub(crate) fn add(&mut self, name: &[u8], value: &[u8]) {
        let size = self.size + name.len() + value.len() + FIELD_OVERHEAD;
        if size >= self.most_bytes {
            self.fault.get_or_insert(Rejection::HeaderTooLarge);
            return;
        }
        self.size = size;
        let is_good = match name {
            [b':', ..] => self.add_pseudo(name, value),
            b"content-length" => self.add_content_length(value),
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
        let mut block = Vec::with_capacity(self.size);
        if fault.is_some() {
            let is_head = self.method.as_deref() == Some("HEAD");
            encode(b":method", if is_head { b"HEAD" } else { b"GET" }, &mut block);
            encode(b":scheme", b"http", &mut block);
            encode(b":path", b"/", &mut block);
        } else {
            let content_length = self.content_length.map(|length| length.to_string());
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
        (block, fault)
    }

    /// RFC 9113, section 8.3: pseudo-header fields come first, and each once.
    fn add_pseudo(&mut self, name: &[u8], value: &[u8]) -> bool {
        let is_late = !self.fields.is_empty() || self.content_length.is_some();
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

    /// RFC 9110, section 8.6: several are good if they are the same.
    fn add_content_length(&mut self, value: &[u8]) -> bool {
        let digits = str::from_utf8(value).ok().filter(|text| !text.starts_with('+'));
        let Some(length) = digits.and_then(|digits| digits.parse().ok()) else { return false };
        self.content_length.replace(length).is_none_or(|other| other == length)
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
                self.scheme.is_some() && self.path.as_deref().is_some_and(|path| !path.is_empty())
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
