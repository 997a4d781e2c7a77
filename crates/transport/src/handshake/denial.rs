//! A refusal by the application, after the checks of the handshake.

use std::borrow::Cow;

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
    WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use ws_core::{CloseCode, CloseFrame};

use super::rejection::Rejection;

/// The reason why an application refuses a request that is a valid opening handshake.
///
/// The response has its status and headers, and a body of the word and the sentence. A page in a browser
/// sees none of them (WebSockets Standard, section 4.1, hides the response), so they are for other clients and for
/// the log. A page sees the word if refusals are [visible](crate::Policy::visible_refusals).
///
/// ```
/// use transport::Denial;
/// use transport::hyper::header::{HeaderValue, RETRY_AFTER};
///
/// let denial = Denial::forbidden("not_in_team", "the user is not a member of this team");
/// assert_eq!((denial.status().as_u16(), denial.word()), (403, "not_in_team"));
///
/// let later = Denial::unavailable("store_down", "the store of users does not answer")
///     .header(RETRY_AFTER, HeaderValue::from_static("5"));
/// assert_eq!(later.status().as_u16(), 503);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a denial is returned from `admit`"]
pub struct Denial {
    rejection: Rejection,
    status: StatusCode,
    word: &'static str,
    sentence: Cow<'static, str>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Denial {
    /// Creates a denial. `word` identifies the reason in the log, such as `not_in_team`, and `sentence`
    /// explains it to the developer of a client.
    ///
    /// # Panics
    ///
    /// Panics if `status` is neither 4xx nor 503: no other status refuses a request for a reason that an
    /// application has.
    pub fn new(
        status: StatusCode,
        word: &'static str,
        sentence: impl Into<Cow<'static, str>>,
    ) -> Self {
        assert!(
            status.is_client_error() || status == StatusCode::SERVICE_UNAVAILABLE,
            "a denial has a status of 4xx or 503, and not {status}"
        );
        let (rejection, headers) = (Rejection::Application, Vec::new());
        Self { rejection, status, word, sentence: sentence.into(), headers }
    }

    /// Creates a 401: the request says not who the client is, or not validly. `challenge` is the value of
    /// `WWW-Authenticate`, such as `Bearer`, which a 401 must have (RFC 9110, section 15.5.2).
    pub fn unauthorized(
        word: &'static str,
        sentence: impl Into<Cow<'static, str>>,
        challenge: &'static str,
    ) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, word, sentence)
            .header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }

    /// Creates a 403: it is known who the client is, and it may not connect.
    pub fn forbidden(word: &'static str, sentence: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, word, sentence)
    }

    /// Creates a 503: the application cannot decide now.
    pub fn unavailable(word: &'static str, sentence: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, word, sentence)
    }

    /// Adds a header to the response. It replaces one that every refusal has, such as `Cache-Control`.
    ///
    /// # Panics
    ///
    /// Panics if it frames the body, or is specific to the connection: `Connection`, `Content-Length`,
    /// `Keep-Alive`, `Proxy-Connection`, `TE`, `Transfer-Encoding` or `Upgrade`.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        assert!(!belongs_to_http(&name), "HTTP decides on the header {name}");
        self.headers.push((name, value));
        self
    }

    /// Returns the status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the word for the reason.
    #[must_use]
    pub fn word(&self) -> &'static str {
        self.word
    }

    /// Returns the sentence for the developer of a client.
    #[must_use]
    pub fn sentence(&self) -> &str {
        &self.sentence
    }

    /// Returns the rejection under which it is counted: [`Rejection::Application`], unless it was made
    /// of another.
    #[must_use]
    pub fn rejection(&self) -> Rejection {
        self.rejection
    }

    /// Returns the Close frame that tells a page the same ([`VisibleRefusal`](crate::VisibleRefusal)). Its
    /// reason is the word, and its code says whether to try again: 1013 (later) for 429 and 503, 3000
    /// (authenticate first) for 401, and 3003 (forbidden) for every other 4xx. `None` for an error of the
    /// server.
    ///
    /// ```
    /// use transport::Denial;
    ///
    /// let denial = Denial::forbidden("not_in_team", "the user is not a member of this team");
    /// let close = denial.close_frame().unwrap();
    /// assert_eq!((u16::from(close.code), close.reason.as_str()), (3003, "not_in_team"));
    /// ```
    #[must_use]
    pub fn close_frame(&self) -> Option<CloseFrame> {
        let code = match self.status {
            StatusCode::UNAUTHORIZED => CloseCode::UNAUTHORIZED,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                CloseCode::TRY_AGAIN_LATER
            }
            status if status.is_client_error() => CloseCode::FORBIDDEN,
            _ => return None,
        };
        Some(CloseFrame { code, reason: self.word.into() })
    }

    pub(crate) fn response(&self) -> Response<String> {
        let mut response = self.rejection.response();
        if self.rejection == Rejection::Application {
            *response.body_mut() = format!("{}: {}\n", self.word, self.sentence);
        }
        *response.status_mut() = self.status;
        // A map, because it replaces headers where single fields would be appended.
        let headers: HeaderMap = self.headers.iter().cloned().collect();
        response.headers_mut().extend(headers);
        response
    }
}

/// Returns whether an application must not set this header: it frames the body, or it is specific to the
/// connection, which makes an HTTP/2 response malformed (RFC 9113, section 8.2.2).
pub(crate) fn belongs_to_http(name: &HeaderName) -> bool {
    [CONNECTION, CONTENT_LENGTH, TE, TRANSFER_ENCODING, UPGRADE].contains(name)
        || ["keep-alive", "proxy-connection"].contains(&name.as_str())
}

/// A refusal for one of the reasons that this crate knows.
impl From<Rejection> for Denial {
    fn from(rejection: Rejection) -> Self {
        let (word, sentence) = (rejection.as_str(), rejection.sentence().into());
        Self { rejection, status: rejection.status(), word, sentence, headers: Vec::new() }
    }
}
