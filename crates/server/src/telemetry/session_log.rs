//! The lines that sessions and refusals leave in the log.

use tracing::info;
use transport::ws_core::{Closure, Initiator};
use transport::{Event, Protocol, StreamEnd};

use crate::telemetry::peer_text::truncated;
use crate::time::milliseconds;

/// Writes a line for each opening, closing and refusal.
pub(crate) fn log_event(event: &Event<'_>) {
    match *event {
        Event::Closed { id, closure, stream_end, .. } => log_closed(id, closure, stream_end),
        Event::Opened { id, peer, protocol, request, .. } => info!(
            event = "opened",
            id,
            %peer,
            protocol = protocol.as_str(),
            origin = &*truncated(request.origin().unwrap_or_default()),
            user_agent = &*truncated(request.user_agent().unwrap_or_default()),
        ),
        Event::Refused { peer, protocol, request, rejection, .. } => info!(
            event = "refused",
            %peer,
            protocol = protocol.map_or("", Protocol::as_str),
            origin = &*truncated(request.origin().unwrap_or_default()),
            refusal = rejection.as_str(),
            status = rejection.status().as_u16(),
        ),
        // The panic itself has left a line.
        Event::Panicked { .. } | Event::Tally { .. } | _ => {}
    }
}

fn log_closed(id: u64, closure: &Closure, stream_end: Option<StreamEnd>) {
    info!(
        event = "closed",
        id,
        cause = closure.cause.as_str(),
        code = u16::from(closure.code),
        reason = &*truncated(closure.reason.as_str()),
        clean = closure.clean,
        initiator = match closure.initiator {
            Initiator::Local => "server",
            Initiator::Nobody => "none",
            Initiator::Peer => "peer",
        },
        error = stream_end.map_or("", StreamEnd::as_str),
        duration_ms = milliseconds(closure.duration),
        rtt_ms = closure.round_trip.map(milliseconds),
        messages_in = closure.received.messages,
        messages_out = closure.sent.messages,
        bytes_in = closure.received.bytes,
        bytes_out = closure.sent.bytes,
    );
}
