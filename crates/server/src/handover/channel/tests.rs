//! Tests of the control connection.

use std::fs;
use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net;

use futures_util::FutureExt;
use rustix::io::{FdFlags, fcntl_getfd};
use tokio::join;

use super::*;

#[tokio::test]
async fn the_most_descriptors_of_a_frame_arrive_in_their_order_and_are_closed_on_exec() {
    let (mut sender, mut receiver) = channels();
    let pipes: Vec<Pipe> = (0..3).map(|_| Pipe::new()).collect();
    let descriptors: Vec<BorrowedFd<'_>> =
        pipes.iter().cycle().take(MAX_DESCRIPTORS).map(Pipe::descriptor).collect();
    sender.send(b"all", &descriptors).await.unwrap();
    let frame = receiver.recv().await.unwrap().unwrap();
    assert_eq!(frame.bytes, "all");
    let names = |descriptors: &[BorrowedFd<'_>]| -> Vec<_> {
        descriptors.iter().map(|it| name_of(it.as_raw_fd())).collect()
    };
    let received: Vec<_> = frame.descriptors.iter().map(AsFd::as_fd).collect();
    assert_eq!(names(&received), names(&descriptors));
    for descriptor in received {
        assert!(fcntl_getfd(descriptor).unwrap().contains(FdFlags::CLOEXEC));
    }
}

#[tokio::test]
async fn a_frame_that_is_larger_than_the_buffer_of_the_socket_arrives_before_the_next_one() {
    let (mut sender, mut receiver) = channels();
    let (first, second) = (Pipe::new(), Pipe::new());
    let large: Vec<u8> = (0..=u8::MAX).cycle().take(3 << 20).collect();
    let send = async {
        sender.send(&large, &[first.descriptor()]).await.unwrap();
        sender.send(b"", &[second.descriptor(), first.descriptor()]).await.unwrap();
    };
    let receive = async {
        let frames = [receiver.recv().await.unwrap(), receiver.recv().await.unwrap()];
        frames.map(Option::unwrap)
    };
    let ((), [frame, next]) = join!(send, receive);
    assert!(frame.bytes == large);
    assert_eq!(frame.descriptors.len(), 1);
    assert!(next.bytes.is_empty());
    let names: Vec<_> = next.descriptors.iter().map(|it| name_of(it.as_raw_fd())).collect();
    assert_eq!(names, [second.name(), first.name()]);
}

#[tokio::test]
async fn a_frame_arrives_byte_by_byte_although_each_receive_is_dropped() {
    let (mut peer, mut receiver) = raw_peer();
    let bytes = [&header(3, 0).unwrap()[..], b"abc"].concat();
    let (last, others) = bytes.split_last().unwrap();
    for byte in others {
        peer.write_all(&[*byte]).unwrap();
        receiver.stream.readable().await.unwrap();
        assert!(receiver.recv().now_or_never().is_none());
    }
    peer.write_all(&[*last]).unwrap();
    assert_eq!(receiver.recv().await.unwrap().unwrap().bytes, "abc");
}

#[tokio::test]
async fn an_invalid_frame_is_an_error_and_its_descriptors_are_closed() {
    let header = |length: u32, count: u32| [length.to_be_bytes(), count.to_be_bytes()].concat();
    let frame = |length, count, bytes: &[u8]| [&header(length, count), bytes].concat();
    // The parts that are sent, each with a number of descriptors.
    let invalid: [&[(Vec<u8>, usize)]; 9] = [
        &[(header(u32::MAX, 0), 0)],
        &[(header(u32::try_from(MAX_FRAME_BYTES).unwrap() + 1, 1), 1)],
        &[(header(0, u32::MAX), 1)],
        &[(frame(3, 0, b"abc"), 1)],
        &[(frame(3, 1, b"abc"), 0)],
        &[(frame(3, 1, b"abc"), 2)],
        &[(frame(3, 2, b"abc"), 1)],
        &[(frame(3, 1, b"ab"), 1), (b"c".to_vec(), 1)],
        &[(frame(3, 0, b"abc"), 0), (frame(3, 0, b"abc"), MAX_DESCRIPTORS)],
    ];
    for parts in invalid {
        let (peer, mut receiver) = raw_peer();
        let pipe = Pipe::new();
        for (bytes, count) in parts {
            send_raw(&peer, bytes, &vec![pipe.descriptor(); *count]);
        }
        let error = loop {
            match receiver.recv().await {
                Ok(frame) => assert_eq!(frame.unwrap().bytes, "abc"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{parts:?}");
        drop((peer, receiver));
        assert_eq!(pipe.open_descriptors(), Pipe::ITS_OWN, "{parts:?}");
    }
}

#[tokio::test]
async fn an_end_between_frames_is_no_error_and_an_end_within_a_frame_is() {
    let (sender, mut receiver) = channels();
    drop(sender);
    assert!(receiver.recv().await.unwrap().is_none());
    let whole = [&header(3, 1).unwrap()[..], b"abc"].concat();
    for length in 1..whole.len() {
        let (peer, mut receiver) = raw_peer();
        let pipe = Pipe::new();
        send_raw(&peer, &whole[..length], &[pipe.descriptor()]);
        drop(peer);
        let error = receiver.recv().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{length}");
        drop(receiver);
        assert_eq!(pipe.open_descriptors(), Pipe::ITS_OWN, "{length}");
    }
}

#[tokio::test]
async fn after_the_receiving_side_is_shut_down_writes_fail_and_earlier_frames_are_received() {
    let (mut sender, mut receiver) = channels();
    let pipe = Pipe::new();
    sender.send(b"earlier", &[pipe.descriptor()]).await.unwrap();
    receiver.shutdown_receive().unwrap();
    let error = sender.send(b"later", &[pipe.descriptor()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    let frame = receiver.recv().await.unwrap().unwrap();
    assert_eq!((frame.bytes, frame.descriptors.len()), ("earlier".into(), 1));
    assert!(receiver.recv().await.unwrap().is_none());
    receiver.send(b"revoked", &[]).await.unwrap();
    assert_eq!(sender.recv().await.unwrap().unwrap().bytes, "revoked");
}

#[tokio::test]
async fn a_receive_that_waits_ends_when_the_receiving_side_is_shut_down() {
    let (_sender, mut receiver) = channels();
    assert!(receiver.recv().now_or_never().is_none());
    receiver.shutdown_receive().unwrap();
    assert!(receiver.recv().await.unwrap().is_none());
}

#[tokio::test]
async fn a_frame_above_a_limit_is_not_sent() {
    let (mut sender, mut receiver) = channels();
    let pipe = Pipe::new();
    let too_many = vec![pipe.descriptor(); MAX_DESCRIPTORS + 1];
    let too_large = vec![0; MAX_FRAME_BYTES + 1];
    for error in [sender.send(b"", &too_many).await, sender.send(&too_large, &[]).await] {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    sender.send(b"next", &[]).await.unwrap();
    assert_eq!(receiver.recv().await.unwrap().unwrap().bytes, "next");
}

#[tokio::test]
async fn a_frame_of_the_greatest_length_is_not_too_large() {
    let (mut peer, mut receiver) = raw_peer();
    peer.write_all(&header(MAX_FRAME_BYTES, 0).unwrap()).unwrap();
    receiver.stream.readable().await.unwrap();
    assert!(receiver.recv().now_or_never().is_none(), "it waits for the rest");
}

#[tokio::test]
async fn after_a_dropped_send_nothing_is_sent_if_a_part_of_the_frame_was() {
    let (mut sender, mut receiver) = channels();
    let large = vec![0; 3 << 20];
    assert!(sender.send(&large, &[]).now_or_never().is_none());
    assert!(sender.send(b"next", &[]).await.is_err());
    drop(sender);
    assert_eq!(receiver.recv().await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_peer_must_run_as_the_same_user() {
    let (channel, _peer) = channels();
    channel.check_peer().unwrap();
    let error = expect_same_user(1001, 1000).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert_eq!(error.to_string(), "the peer runs as user 1001, and this process as user 1000");
}

fn channels() -> (Channel, Channel) {
    let (one, other) = UnixStream::pair().unwrap();
    (Channel::new(one), Channel::new(other))
}

/// A peer that writes what it likes.
fn raw_peer() -> (net::UnixStream, Channel) {
    let (peer, own) = net::UnixStream::pair().unwrap();
    own.set_nonblocking(true).unwrap();
    (peer, Channel::new(UnixStream::from_std(own).unwrap()))
}

fn send_raw(peer: &net::UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); CONTROL_BYTES];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    let parts = [IoSlice::new(bytes)];
    let sent = rustix::net::sendmsg(peer, &parts, &mut control, SendFlags::empty());
    assert_eq!(sent, Ok(bytes.len()));
}

/// A pipe, of which the system tells how many descriptors the process has.
struct Pipe {
    reader: PipeReader,
    _writer: PipeWriter,
}

impl Pipe {
    const ITS_OWN: usize = 2;

    fn new() -> Self {
        let (reader, _writer) = pipe().unwrap();
        Self { reader, _writer }
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    fn name(&self) -> String {
        name_of(self.reader.as_raw_fd())
    }

    fn open_descriptors(&self) -> usize {
        let all = fs::read_dir("/proc/self/fd").unwrap();
        let names = all.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        names.filter(|name| name.to_string_lossy() == self.name()).count()
    }
}

/// Returns a text that is the same for all descriptors of a file.
fn name_of(descriptor: i32) -> String {
    let name = fs::read_link(format!("/proc/self/fd/{descriptor}")).unwrap();
    name.to_string_lossy().into_owned()
}
