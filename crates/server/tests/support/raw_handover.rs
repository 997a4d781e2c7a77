//! One side of a handover, which sends what a test wants (`handover/channel.rs` has the format of a frame).

use std::io::{self, IoSlice, IoSliceMut, PipeWriter, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The version of the protocol.
pub(crate) const PROTOCOL: u32 = 1;

/// The control connection.
pub(crate) struct Channel(pub(crate) UnixStream);

/// The records and the descriptors of sessions.
pub(crate) type Batch = Vec<(Bytes, OwnedFd)>;

/// What the predecessor says, without what no test reads.
#[derive(Debug, Deserialize)]
pub(crate) enum FromPredecessor {
    Refused { reason: String },
    Welcome { pid: u32 },
    Sessions { records: Vec<Bytes> },
    Sealed(serde::de::IgnoredAny),
    Finished { open: u64 },
    Draining { open: u64 },
}

/// What the predecessor says of sessions.
#[derive(Debug, Serialize)]
pub(crate) enum Sessions {
    Sessions { records: Vec<Bytes> },
}

impl Channel {
    /// Connects to a predecessor.
    pub(crate) fn connect(path: &Path) -> Self {
        Self::over(UnixStream::connect(path).unwrap())
    }

    pub(crate) fn over(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self(stream)
    }

    /// Accepts a successor, and sends the Welcome without any listening socket. Returns also the writing end of
    /// the pipe.
    pub(crate) fn welcome(listener: &UnixListener) -> (Self, PipeWriter) {
        let mut channel = Self::over(listener.accept().unwrap().0);
        let hello = channel.receive_value().expect("the successor says Hello");
        assert_eq!(hello["Hello"]["protocol"], PROTOCOL);
        let (reader, writer) = io::pipe().unwrap();
        let listeners: [Value; 0] = [];
        let fields = json!({ "pid": 1, "wait_ms": 2000, "next_id": 1000, "listeners": listeners });
        channel.send_with(&json!({ "Welcome": fields }), &[reader.as_fd()]);
        assert_eq!(channel.receive_value().unwrap(), "Ready");
        (channel, writer)
    }

    /// Connects, says Hello, and expects the Welcome. Returns also the pipe.
    pub(crate) fn greet(path: &Path) -> (Self, OwnedFd) {
        let mut channel = Self::connect(path);
        channel.send(&hello(PROTOCOL));
        let (message, mut descriptors) = channel.receive().expect("the predecessor answers");
        assert!(matches!(message, FromPredecessor::Welcome { .. }), "{message:?}");
        (channel, descriptors.remove(0))
    }

    /// Says Ready as well, and receives a batch of this number of sessions. Returns also the pipe.
    pub(crate) fn receive_sessions(path: &Path, count: usize) -> (Self, OwnedFd, Batch) {
        loop {
            let (mut channel, pipe) = Self::greet(path);
            channel.send(&"Ready");
            let batch = channel.receive_batch();
            // A session whose thread has no processor is not at rest.
            if batch.len() == count {
                return (channel, pipe, batch);
            }
        }
    }

    /// Sends a message: a text without fields, or an object of one field, whose name is the kind.
    pub(crate) fn send(&mut self, message: &impl Serialize) {
        self.send_with(message, &[]);
    }

    pub(crate) fn send_with(&mut self, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) {
        let bytes = rmp_serde::to_vec_named(message).unwrap();
        let frame = [&header(bytes.len(), descriptors.len())[..], &bytes].concat();
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(16))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(
            descriptors.is_empty() || control.push(SendAncillaryMessage::ScmRights(descriptors))
        );
        let sent = sendmsg(&self.0, &[IoSlice::new(&frame)], &mut control, SendFlags::NOSIGNAL);
        assert_eq!(sent.unwrap(), frame.len());
    }

    /// Receives a message of the predecessor and its descriptors, or `None` at the end.
    pub(crate) fn receive(&mut self) -> Option<(FromPredecessor, Vec<OwnedFd>)> {
        let (bytes, descriptors) = self.receive_frame().unwrap()?;
        Some((rmp_serde::from_slice(&bytes).unwrap(), descriptors))
    }

    /// Receives a message of the successor, or `None` at the end.
    pub(crate) fn receive_value(&mut self) -> Option<Value> {
        let (bytes, _) = self.receive_frame().unwrap()?;
        Some(rmp_serde::from_slice(&bytes).unwrap())
    }

    /// Receives the sessions of a batch.
    pub(crate) fn receive_batch(&mut self) -> Batch {
        let mut batch = Vec::new();
        loop {
            match self.receive().expect("the batch is sealed") {
                (FromPredecessor::Sessions { records }, descriptors) => {
                    assert_eq!(records.len(), descriptors.len());
                    batch.extend(records.into_iter().zip(descriptors));
                }
                (FromPredecessor::Sealed(_), _) => return batch,
                (other, _) => panic!("{other:?}"),
            }
        }
    }

    fn receive_frame(&mut self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        let mut header = [0; 8];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(253))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let parts = &mut [IoSliceMut::new(&mut header)];
        let received = recvmsg(self.0.as_fd(), parts, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
        if received == 0 {
            return Ok(None);
        }
        let mut descriptors = Vec::new();
        for ancillary in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = ancillary {
                descriptors.extend(received);
            }
        }
        self.0.read_exact(&mut header[received..])?;
        let [length, count] = [0, 4].map(|at| header[at..at + 4].try_into().unwrap());
        assert_eq!(u32::from_be_bytes(count), u32::try_from(descriptors.len()).unwrap());
        let mut bytes = vec![0; u32::from_be_bytes(length).try_into().unwrap()];
        self.0.read_exact(&mut bytes)?;
        Ok(Some((bytes, descriptors)))
    }

    /// Sends bytes although the other side may close the connection meanwhile.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }
}

/// The header of a frame.
pub(crate) fn header(length: usize, descriptors: usize) -> Vec<u8> {
    [length, descriptors].map(|it| u32::try_from(it).unwrap().to_be_bytes()).concat()
}

/// The first message of a successor. Sessions that stay are closed with code 1012 over no time, and are told
/// to come back within a minute.
pub(crate) fn hello(protocol: u32) -> Value {
    let drain =
        json!({ "code": 1012, "spread_ms": 0, "reconnect_spread_ms": 60_000, "grace_ms": 10_000 });
    json!({ "Hello": { "protocol": protocol, "pid": std::process::id(), "drain": drain } })
}
