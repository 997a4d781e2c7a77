//! Drives rustls' unbuffered state machine: decrypts records, and encrypts data and alerts.

use std::error::Error;
use std::io;
use std::ops::ControlFlow;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};

/// Space for the overhead of a record, and for a key update before it.
const RECORD_OVERHEAD: usize = 256;

/// What to encrypt when the state machine allows it.
#[derive(Clone, Copy)]
pub(crate) enum Outbound<'a> {
    CloseNotify,
    Data(&'a [u8]),
    None,
}

/// The result of processing incoming records.
#[derive(Default)]
pub(crate) struct Inbound {
    pub(crate) plaintext: Vec<u8>,
    /// Whether the client sent a `close_notify` alert.
    pub(crate) is_closed: bool,
    /// Leading bytes of the input that are processed.
    consumed: usize,
}

/// Processes the records in `incoming` and removes them, then encrypts `outbound`. Bytes to send are
/// appended to `outgoing`, on an error including the alert.
///
/// An error of kind `InvalidData` is a violation by the client. Afterwards, or after `CloseNotify`, the
/// connection must not be processed again: rustls panics when it has to send a second alert.
pub(crate) fn process_records(
    tls: &mut UnbufferedServerConnection,
    incoming: &mut Vec<u8>,
    outbound: Outbound<'_>,
    outgoing: &mut Vec<u8>,
) -> (Inbound, io::Result<()>) {
    let mut inbound = Inbound::default();
    let result = loop {
        let input = incoming.get_mut(inbound.consumed..).unwrap_or_default();
        let UnbufferedStatus { discard, state, .. } = tls.process_tls_records(input);
        let step = process_state(state, outbound, &mut inbound, outgoing);
        inbound.consumed += discard;
        match step {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    if result.is_err() {
        // Pending output, with the alert at its end, precedes the report of the error.
        while tls.wants_write() {
            let input = incoming.get_mut(inbound.consumed..).unwrap_or_default();
            let UnbufferedStatus { discard, state, .. } = tls.process_tls_records(input);
            let encoded = match state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(outgoing, &mut data),
                Ok(_) | Err(_) => Err(io::ErrorKind::Unsupported.into()),
            };
            inbound.consumed += discard;
            if encoded.is_err() {
                break;
            }
        }
    }
    incoming.drain(..inbound.consumed.min(incoming.len()));
    (inbound, result)
}

/// Handles one state of rustls. Breaks when nothing is left to do.
fn process_state(
    state: Result<ConnectionState<'_, '_, ServerConnectionData>, rustls::Error>,
    outbound: Outbound<'_>,
    inbound: &mut Inbound,
    outgoing: &mut Vec<u8>,
) -> io::Result<ControlFlow<()>> {
    let violation = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    match state {
        Err(error) => return Err(violation(error)),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            while let Some(record) = traffic.next_record() {
                let record = record.map_err(violation)?;
                inbound.plaintext.extend_from_slice(record.payload);
                inbound.consumed += record.discard;
            }
        }
        Ok(ConnectionState::EncodeTlsData(mut data)) => encode(outgoing, &mut data)?,
        Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
        Ok(ConnectionState::PeerClosed) => inbound.is_closed = true,
        Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => match outbound {
            // In these states nothing can be encrypted, so the close_notify alert is omitted.
            Outbound::CloseNotify | Outbound::None => return Ok(ControlFlow::Break(())),
            Outbound::Data(_) => return Err(io::ErrorKind::NotConnected.into()),
        },
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            match outbound {
                Outbound::CloseNotify => {
                    append(outgoing, RECORD_OVERHEAD, |free| traffic.queue_close_notify(free))?;
                }
                Outbound::Data(bytes) => append(outgoing, bytes.len() + RECORD_OVERHEAD, |free| {
                    traffic.encrypt(bytes, free)
                })?,
                Outbound::None => {}
            }
            return Ok(ControlFlow::Break(()));
        }
        // The remaining state is early data, which is not offered.
        Ok(_) => return Err(io::ErrorKind::Unsupported.into()),
    }
    Ok(ControlFlow::Continue(()))
}

/// Appends handshake data or an alert to `buffer`. The buffer grows by the exact size, because larger
/// temporary allocations fragment the heap.
fn encode<D>(buffer: &mut Vec<u8>, data: &mut EncodeTlsData<'_, D>) -> io::Result<()> {
    match data.encode(&mut []) {
        Err(EncodeError::InsufficientSize(error)) => {
            append(buffer, error.required_size, |free| data.encode(free))
        }
        Ok(_) | Err(EncodeError::AlreadyEncoded) => Ok(()),
    }
}

/// Appends up to `limit` bytes that `write` produces to `buffer`.
fn append<E: Error + Send + Sync + 'static>(
    buffer: &mut Vec<u8>,
    limit: usize,
    write: impl FnOnce(&mut [u8]) -> Result<usize, E>,
) -> io::Result<()> {
    let length = buffer.len();
    buffer.resize(length + limit, 0);
    let written = write(buffer.get_mut(length..).unwrap_or_default());
    buffer.truncate(length + *written.as_ref().unwrap_or(&0));
    written.map(drop).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_refused_in_a_state_in_which_it_cannot_be_sent() {
        let states = || [ConnectionState::BlockedHandshake, ConnectionState::Closed];
        for state in states() {
            let mut outgoing = Vec::new();
            let data = Outbound::Data(b"a");
            let error = process_state(Ok(state), data, &mut Inbound::default(), &mut outgoing);
            assert_eq!(error.unwrap_err().kind(), io::ErrorKind::NotConnected);
            assert!(outgoing.is_empty());
        }
        for (state, outbound) in states().into_iter().zip([Outbound::None, Outbound::CloseNotify]) {
            let (mut inbound, mut outgoing) = (Inbound::default(), Vec::new());
            let done = process_state(Ok(state), outbound, &mut inbound, &mut outgoing);
            assert_eq!(done.unwrap(), ControlFlow::Break(()));
        }
    }

    #[test]
    fn an_error_of_rustls_is_a_violation_by_the_client() {
        let state = Err(rustls::Error::DecryptError);
        let (mut inbound, mut outgoing) = (Inbound::default(), Vec::new());
        let error = process_state(state, Outbound::None, &mut inbound, &mut outgoing);
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
