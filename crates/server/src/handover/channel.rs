//! The control connection of a handover: frames with descriptors over a Unix stream socket.
//!
//! A frame on the wire is the length of its bytes and the number of its descriptors, as 32-bit integers in
//! network byte order, and then its bytes. The descriptors are sent with the first byte (`SCM_RIGHTS`).

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::{self, MaybeUninit};
use std::os::fd::{BorrowedFd, OwnedFd};

use hyper::body::Bytes;
use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown,
};
use rustix::process::geteuid;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Maximum number of descriptors of a frame: `SCM_MAX_FD` of Linux.
pub(crate) const MAX_DESCRIPTORS: usize = 253;

/// Maximum number of bytes of a frame: the states of a program are in one.
pub(crate) const MAX_FRAME_BYTES: usize = 64 << 20;

const HEADER_BYTES: usize = 8;

/// Space for the descriptors of a frame in the control data of the system.
const CONTROL_BYTES: usize = cmsg_space!(ScmRights(MAX_DESCRIPTORS));

/// One end of a control connection.
///
/// After an error of [`send`](Self::send), frames can still be received. After an error of
/// [`recv`](Self::recv), nothing can.
#[derive(Debug)]
pub(crate) struct Channel {
    stream: UnixStream,
    incoming: IncomingFrame,
    /// Whether the latest frame was sent in part.
    is_cut: bool,
}

/// A frame that was received.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    /// In the order in which they were sent; each is closed on exec.
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Channel {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream, incoming: IncomingFrame::new(), is_cut: false }
    }

    /// Checks that the peer runs as the same user as this process.
    ///
    /// The system recorded the user of the peer when it connected, or when it began to listen.
    ///
    /// # Errors
    ///
    /// `PermissionDenied`: the peer runs as another user.
    pub(crate) fn check_peer(&self) -> io::Result<()> {
        expect_same_user(self.stream.peer_cred()?.uid(), geteuid().as_raw())
    }

    /// Sends a frame, and waits while the socket's buffer is full. A frame that fits into the buffer is sent as
    /// a whole or not at all.
    ///
    /// Not cancel safe: if it is dropped, a part of the frame may have been sent. Then nothing else can be sent.
    ///
    /// # Errors
    ///
    /// `InvalidInput`: the frame has more than [`MAX_FRAME_BYTES`] or [`MAX_DESCRIPTORS`]; nothing was sent.
    /// `BrokenPipe`: the peer has closed its end, or does not receive any longer.
    pub(crate) async fn send(
        &mut self,
        frame: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        if self.is_cut {
            return Err(io::Error::other("an earlier frame was sent in part"));
        }
        let header = header(frame.len(), descriptors.len())?;
        let mut sent = 0;
        while sent < HEADER_BYTES + frame.len() {
            let send = || send_part(&self.stream, &header, frame, descriptors, sent);
            sent += self.stream.async_io(Interest::WRITABLE, send).await?;
            self.is_cut = sent < HEADER_BYTES + frame.len();
        }
        Ok(())
    }

    /// Receives the next frame, or `None` if the peer has closed its end, or
    /// [`shutdown_receive`](Self::shutdown_receive) was called, and all frames were received. Cancel safe.
    ///
    /// # Errors
    ///
    /// `ConnectionReset`: the peer has closed its end, and has not received all frames from here.
    /// `InvalidData`: the frame is larger than allowed, or its descriptors are not as many as it says.
    /// `UnexpectedEof`: the peer has closed its end within a frame.
    pub(crate) async fn recv(&mut self) -> io::Result<Option<Frame>> {
        let Self { stream, incoming, .. } = self;
        while !incoming.is_complete() {
            let count = stream.async_io(Interest::READABLE, || incoming.receive(stream)).await?;
            match count {
                0 if incoming.received == 0 => return Ok(None),
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                _ => {}
            }
        }
        Ok(Some(mem::replace(incoming, IncomingFrame::new()).into_frame()))
    }

    /// Ends both directions, as [`shutdown_receive`](Self::shutdown_receive) ends one: the peer receives what
    /// was sent, and then the end.
    pub(crate) fn shutdown(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.stream, Shutdown::Both)?)
    }

    /// Makes each later write of the peer fail with `BrokenPipe`. What it has written before can be received.
    ///
    /// This holds on Linux. Other systems may discard what has not been received.
    pub(crate) fn shutdown_receive(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.stream, Shutdown::Read)?)
    }
}

/// A frame that is being received.
#[derive(Debug)]
struct IncomingFrame {
    /// The header. Once it has been received, space for the bytes of the frame follows.
    buffer: Vec<u8>,
    /// How much of the buffer has been received.
    received: usize,
    descriptors: Vec<OwnedFd>,
}

impl IncomingFrame {
    fn new() -> Self {
        Self { buffer: vec![0; HEADER_BYTES], received: 0, descriptors: Vec::new() }
    }

    fn is_complete(&self) -> bool {
        self.received == self.buffer.len()
    }

    /// Receives a part of this frame, and nothing beyond its end, so that all descriptors belong to it. Returns
    /// the number of bytes.
    fn receive(&mut self, stream: &UnixStream) -> io::Result<usize> {
        let is_first = self.received == 0;
        let rest = self.buffer.get_mut(self.received..).unwrap_or_default();
        let mut space = [MaybeUninit::uninit(); CONTROL_BYTES];
        // Dropping it closes the descriptors that were not taken.
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let parts = &mut [IoSliceMut::new(rest)];
        let message = rustix::net::recvmsg(stream, parts, &mut control, RECV_FLAGS)?;
        if message.flags.contains(ReturnFlags::CTRUNC) {
            let sentence = "descriptors were lost; the limit of open files may be reached";
            return Err(io::Error::other(sentence));
        }
        for ancillary in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = ancillary {
                if !is_first {
                    return Err(invalid("descriptors arrived within a frame"));
                }
                self.descriptors.extend(descriptors);
            }
        }
        self.received += message.bytes;
        if self.received == HEADER_BYTES
            && let Some(header) = self.buffer.first_chunk()
        {
            let (length, count) = parse_header(*header);
            self.expect(length, count)?;
        }
        Ok(message.bytes)
    }

    /// Checks what the header says, and makes space for the bytes of the frame.
    fn expect(&mut self, length: usize, count: usize) -> io::Result<()> {
        if length > MAX_FRAME_BYTES {
            return Err(invalid(format!(
                "a frame has {length} bytes, more than {MAX_FRAME_BYTES}"
            )));
        }
        let descriptors = self.descriptors.len();
        if count != descriptors {
            let sentence =
                format!("a frame must have {count} descriptors, and arrived with {descriptors}");
            return Err(invalid(sentence));
        }
        self.buffer.resize(HEADER_BYTES + length, 0);
        Ok(())
    }

    fn into_frame(self) -> Frame {
        let bytes = Bytes::from(self.buffer).slice(HEADER_BYTES..);
        Frame { bytes, descriptors: self.descriptors }
    }
}

/// Encodes a header.
fn header(length: usize, count: usize) -> io::Result<[u8; HEADER_BYTES]> {
    if length > MAX_FRAME_BYTES || count > MAX_DESCRIPTORS {
        let sentence = format!("a frame cannot have {length} bytes and {count} descriptors");
        return Err(io::Error::new(ErrorKind::InvalidInput, sentence));
    }
    let number = |number| u64::try_from(number).expect("it was compared with a limit");
    Ok((number(length) << 32 | number(count)).to_be_bytes())
}

/// Decodes a header: the number of bytes, and of descriptors.
fn parse_header(header: [u8; HEADER_BYTES]) -> (usize, usize) {
    let header = u64::from_be_bytes(header);
    let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
    (number(header >> 32), number(header & u64::from(u32::MAX)))
}

/// Sends what follows the first `sent` bytes of a frame and its header, or a part of it.
fn send_part(
    stream: &UnixStream,
    header: &[u8],
    frame: &[u8],
    descriptors: &[BorrowedFd<'_>],
    sent: usize,
) -> io::Result<usize> {
    let mut parts = [IoSlice::new(header), IoSlice::new(frame)];
    let mut rest = parts.as_mut_slice();
    IoSlice::advance_slices(&mut rest, sent);
    let mut space = [MaybeUninit::uninit(); CONTROL_BYTES];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if sent == 0 && !descriptors.is_empty() {
        let has_space = control.push(SendAncillaryMessage::ScmRights(descriptors));
        debug_assert!(has_space, "the space is that for the maximum");
    }
    Ok(rustix::net::sendmsg(stream, rest, &mut control, SEND_FLAGS)?)
}

#[cfg(not(target_vendor = "apple"))]
const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL;
#[cfg(not(target_vendor = "apple"))]
const RECV_FLAGS: RecvFlags = RecvFlags::CMSG_CLOEXEC;

/// Apple's systems have neither flag. The Rust runtime ignores `SIGPIPE`, and the server executes nothing.
#[cfg(target_vendor = "apple")]
const SEND_FLAGS: SendFlags = SendFlags::empty();
#[cfg(target_vendor = "apple")]
const RECV_FLAGS: RecvFlags = RecvFlags::empty();

fn expect_same_user(peer: u32, own: u32) -> io::Result<()> {
    if peer == own {
        return Ok(());
    }
    let sentence = format!("the peer runs as user {peer}, and this process as user {own}");
    Err(io::Error::new(ErrorKind::PermissionDenied, sentence))
}

fn invalid(sentence: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, sentence.into())
}

#[cfg(test)]
mod tests;
