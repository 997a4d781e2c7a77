//! The labels of the metrics. Clients cannot increase the number of their values.

use prometheus_client::encoding::EncodeLabelSet;
use transport::ws_core::{Cause, CloseStatus};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Refused {
    pub(crate) refusal: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Closed {
    pub(crate) cause: &'static str,
    pub(crate) code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Direction {
    pub(crate) direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reload {
    pub(crate) result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Handover {
    pub(crate) result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Build {
    pub(crate) version: &'static str,
    pub(crate) commit: &'static str,
}

/// The close codes expected with a cause, for the series that exist from the start.
pub(crate) fn usual_codes(cause: Cause) -> &'static [&'static str] {
    match cause {
        Cause::Disconnected | Cause::PongTimeout | Cause::WriteTimeout => &["1006"],
        // The code is chosen by the operator or the application.
        Cause::DisconnectRequested => &["3000", "3003", "4xxx"],
        Cause::Drained => &["1001", "1012"],
        Cause::Expired => &["3000"],
        Cause::HandlerClosed => &[],
        Cause::InvalidUtf8 => &["1007"],
        Cause::MaxAge => &["1001"],
        Cause::MessageTimeout | Cause::RateLimited => &["1008"],
        Cause::Panicked => &["1011"],
        Cause::PeerClosed => &["1000", "1001", "1005"],
        Cause::ProtocolError => &["1002"],
        Cause::TooBig => &["1009"],
        // `Cause` is non-exhaustive. A test fails until a new cause has its series.
        _ => &[],
    }
}

/// Returns the label of a close code. Codes that peers choose freely are labelled by their range, because
/// each of the 2,000 codes would be a time series (RFC 6455, section 7.4.2).
pub(crate) fn code_label(code: CloseStatus) -> &'static str {
    match u16::from(code) {
        1000 => "1000",
        1001 => "1001",
        1002 => "1002",
        1003 => "1003",
        1005 => "1005",
        1006 => "1006",
        1007 => "1007",
        1008 => "1008",
        1009 => "1009",
        1010 => "1010",
        1011 => "1011",
        1012 => "1012",
        1013 => "1013",
        1014 => "1014",
        3000 => "3000",
        3003 => "3003",
        3001..=3999 => "3xxx",
        _ => "4xxx",
    }
}
