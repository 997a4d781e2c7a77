//! The parameters of `POST /disconnect`.

use form_urlencoded::parse;
use transport::ws_core::{CloseCode, CloseFrame};

/// A request to end the sessions of an identity.
#[derive(Debug)]
pub(super) struct Disconnect {
    pub(super) identity: String,
    pub(super) frame: CloseFrame,
}

impl Disconnect {
    /// Parses the query: `identity`, and optionally `code` (3000, 3003 or 4000 to 4999; 3000 by default)
    /// and `reason` (at most 123 bytes).
    pub(super) fn parse(query: &str) -> Result<Self, &'static str> {
        const PARAMETERS: &str =
            "the query must be identity=TEXT, and may have code=CODE and reason=TEXT, each once";
        let (mut identity, mut code, mut reason) = (None, None, None);
        for (name, value) in parse(query.as_bytes()) {
            let parameter = match &*name {
                "identity" => &mut identity,
                "code" => &mut code,
                "reason" => &mut reason,
                _ => return Err(PARAMETERS),
            };
            if parameter.replace(value).is_some() {
                return Err(PARAMETERS);
            }
        }
        let code = match code {
            None => CloseCode::UNAUTHORIZED,
            Some(code) => match code.parse() {
                Ok(code @ (3000 | 3003 | 4000..=4999)) => CloseCode::try_from(code).ok(),
                Ok(_) | Err(_) => None,
            }
            .ok_or("the code must be 3000, 3003 or from 4000 to 4999")?,
        };
        let reason = reason.unwrap_or_default();
        if reason.len() > MAX_REASON_BYTES {
            return Err("the reason must have at most 123 bytes");
        }
        match identity.filter(|identity| !identity.is_empty()) {
            Some(identity) => {
                let frame = CloseFrame { code, reason: reason.into_owned().into() };
                Ok(Self { identity: identity.into_owned(), frame })
            }
            None => Err(PARAMETERS),
        }
    }
}

/// What a Close frame has room for behind its code (RFC 6455, section 5.5).
const MAX_REASON_BYTES: usize = 123;
