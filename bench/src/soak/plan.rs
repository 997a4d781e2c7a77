//! What a client does, chosen at random, and the requests that say it.

use std::time::Duration;

use fastrand::Rng;

use super::world::{ORIGIN, Way};

/// The parameters of a client.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) ask: Ask,
    pub(super) offers_deflate: bool,
    pub(super) have: Have,
    /// The time until it ends the session; `None` if only the server may.
    pub(super) lifetime: Option<Duration>,
    pub(super) ending: Ending,
}

/// What is requested.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Ask {
    ForeignOrigin,
    OtherPath,
    OtherVersion,
    Session,
}

/// What the request says about the state that the client has.
#[derive(Clone, PartialEq)]
pub(super) enum Have {
    Nothing,
    /// The state with this number and this tag; 0 and no tag if there is none.
    State(u64, String),
    /// No parameter: states come without tags.
    Unsaid,
}

/// How a client ends a session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Ending {
    /// The closing handshake.
    Close,
    /// The end of the client's side, without a Close frame.
    Finish,
    /// Half a frame, and then the end of the client's side.
    FinishInFrame,
    InvalidUtf8,
    ProtocolError,
    RateExceeded,
    /// Half a frame, and then nothing.
    RemainInFrame,
    Reset,
    /// Half a frame, and then a reset.
    ResetInFrame,
    /// It reads, and sends nothing, also no pongs.
    Silence,
    /// It does not read.
    Stall,
    TooBig,
}

impl Ending {
    /// The endings, the usual ones several times.
    const CHOICES: [Self; 20] = [
        Self::Close,
        Self::Close,
        Self::Close,
        Self::Close,
        Self::Close,
        Self::Finish,
        Self::Finish,
        Self::Finish,
        Self::FinishInFrame,
        Self::InvalidUtf8,
        Self::ProtocolError,
        Self::RateExceeded,
        Self::RemainInFrame,
        Self::Reset,
        Self::Reset,
        Self::Reset,
        Self::ResetInFrame,
        Self::Silence,
        Self::Stall,
        Self::TooBig,
    ];

    /// The code of the Close frame with which the server ends it, if it must.
    pub(super) fn close_code(self) -> Option<u16> {
        match self {
            Self::Close => Some(1000),
            Self::ProtocolError => Some(1002),
            Self::InvalidUtf8 => Some(1007),
            Self::RateExceeded | Self::RemainInFrame => Some(1008),
            Self::TooBig => Some(1009),
            Self::Finish
            | Self::FinishInFrame
            | Self::Reset
            | Self::ResetInFrame
            | Self::Silence
            | Self::Stall => None,
        }
    }

    /// Whether the server may end it without a Close frame.
    pub(super) fn may_be_cut(self) -> bool {
        // A pong may be due while the message is incomplete.
        self.close_code().is_none() || self == Self::RemainInFrame
    }
}

impl Plan {
    /// Chooses a client that goes away.
    pub(super) fn transient(rng: &mut Rng, way: Way, known: Option<(u64, String)>) -> Self {
        let lifetime = match rng.u8(..10) {
            0..8 => Duration::from_millis(rng.u64(..3000)),
            _ => Duration::from_millis(rng.u64(3000..25_000)),
        };
        let ask = match rng.u8(..20) {
            0 => Ask::ForeignOrigin,
            1 => Ask::OtherPath,
            2 => Ask::OtherVersion,
            _ => Ask::Session,
        };
        let mut ending = Ending::CHOICES[rng.usize(..Ending::CHOICES.len())];
        // On a shared connection a stalled client would stall the others.
        if way.http2 && ending == Ending::Stall {
            ending = Ending::Silence;
        }
        let have = Have::choose(rng, known);
        Self { ask, offers_deflate: rng.bool(), have, lifetime: Some(lifetime), ending }
    }

    /// Chooses a client that stays until the server ends its session.
    pub(super) fn resident(rng: &mut Rng, known: Option<(u64, String)>) -> Self {
        let have = Have::choose(rng, known);
        let ending = Ending::Close;
        Self { ask: Ask::Session, offers_deflate: rng.bool(), have, lifetime: None, ending }
    }

    /// Returns the request over HTTP/1.1.
    pub(super) fn request(&self) -> Vec<u8> {
        let (path, version, origin) = (self.path(), self.version(), self.origin());
        let offer = if self.offers_deflate {
            format!("Sec-WebSocket-Extensions: {OFFER}\r\n")
        } else {
            String::new()
        };
        format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: {version}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Origin: {origin}\r\n{offer}\r\n"
        )
        .into_bytes()
    }

    /// Returns the fields of the request over HTTP/2, as literals (RFC 7541, section 6.2.2).
    pub(super) fn fields(&self) -> Vec<u8> {
        let (path, version, origin) = (self.path(), self.version(), self.origin());
        let fields = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "https"),
            (":path", &*path),
            (":authority", "a"),
            ("sec-websocket-version", version),
            ("origin", origin),
            ("sec-websocket-extensions", OFFER),
        ];
        let count = fields.len() - usize::from(!self.offers_deflate);
        let literal = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
        let field = |(name, value)| [vec![0], literal(name), literal(value)].concat();
        fields.into_iter().take(count).flat_map(field).collect()
    }

    fn path(&self) -> String {
        let path = if self.ask == Ask::OtherPath { "/ws/other" } else { "/ws/status" };
        match &self.have {
            Have::Unsaid => path.to_owned(),
            Have::Nothing => format!("{path}?have="),
            Have::State(_, tag) => format!("{path}?have={tag}"),
        }
    }

    fn version(&self) -> &'static str {
        if self.ask == Ask::OtherVersion { "8" } else { "13" }
    }

    fn origin(&self) -> &'static str {
        if self.ask == Ask::ForeignOrigin { "https://other.example" } else { ORIGIN }
    }
}

/// The offer that Chromium makes.
const OFFER: &str = "permessage-deflate; client_max_window_bits";

impl Ask {
    /// The status of the response over HTTP/1.1.
    pub(super) fn status(self) -> &'static str {
        match self {
            Self::ForeignOrigin => "403",
            Self::OtherPath => "404",
            Self::OtherVersion => "426",
            Self::Session => "101",
        }
    }
}

impl Have {
    fn choose(rng: &mut Rng, known: Option<(u64, String)>) -> Self {
        match (rng.u8(..4), known) {
            (0, _) => Self::Nothing,
            (1, Some((number, tag))) => Self::State(number, tag),
            _ => Self::Unsaid,
        }
    }
}
