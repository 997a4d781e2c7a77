//! The log events of sessions and refusals.

use tracing::info;
use transport::ws_core::{CloseRecord, Initiator};
use transport::{Compression, Denial, EndpointEvent, Identity, Protocol, StreamEnd};

use crate::telemetry::peer_text::truncated;
use crate::time::milliseconds;

/// Logs `opened`, `closed` and `refused`.
pub(crate) fn log_event(event: &EndpointEvent<'_>) {
    match *event {
        EndpointEvent::Closed { id, identity, record, stream_end, .. } => {
            log_closed(id, identity, record, stream_end);
        }
        EndpointEvent::Opened { id, identity, peer, protocol, compression, request, .. } => info!(
            event = "opened",
            id,
            identity = identity.map(Identity::as_str),
            %peer,
            protocol = protocol.as_str(),
            compression = compression.map(Compression::as_str),
            origin = &*truncated(request.origin().unwrap_or_default()),
            user_agent = &*truncated(request.user_agent().unwrap_or_default()),
            traceparent = request.traceparent(),
            request_id = request.request_id(),
        ),
        EndpointEvent::Refused { peer, protocol, request, rejection, denial, close, .. } => info!(
            event = "refused",
            %peer,
            protocol = protocol.map_or("", Protocol::as_str),
            origin = &*truncated(request.origin().unwrap_or_default()),
            refusal = rejection.as_str(),
            status = denial.map_or(rejection.status(), Denial::status).as_u16(),
            close_code = close.map(|close| u16::from(close.code)),
            denial = denial.map(Denial::word),
            sentence = denial.map(|denial| truncated(denial.sentence())).as_deref(),
            traceparent = request.traceparent(),
            request_id = request.request_id(),
        ),
        // The panic hook has logged the panic.
        EndpointEvent::Panicked { .. } | EndpointEvent::Traffic { .. } | _ => {}
    }
}

fn log_closed(
    id: u64,
    identity: Option<&Identity>,
    record: &CloseRecord,
    stream_end: Option<StreamEnd>,
) {
    info!(
        event = "closed",
        id,
        identity = identity.map(Identity::as_str),
        //= rfc6455#7.1.7-2
        cause = record.cause.as_str(),
        code = u16::from(record.code),
        reason = &*truncated(record.reason.as_str()),
        clean = record.clean,
        initiator = match record.initiator {
            Initiator::Local => "server",
            Initiator::None => "none",
            Initiator::Peer => "peer",
        },
        error = stream_end.map_or("", StreamEnd::as_str),
        duration_ms = milliseconds(record.duration),
        rtt_ms = record.round_trip.map(milliseconds),
        messages_in = record.received.messages,
        messages_out = record.sent.messages,
        bytes_in = record.received.bytes,
        bytes_out = record.sent.bytes,
    );
}
