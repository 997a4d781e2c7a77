//! Which frame a session sends, what its client makes of it, and what is kept.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

use std::ptr;
use std::sync::Barrier;
use std::thread;

use allocation_counter::measure;

use super::{Form, PreparedMessage};
use crate::compression::tests::{ClientInflater, Rng, Services};
use crate::compression::{Compression, WindowId, compress};
use crate::frame::append_compressed_frame;
use crate::message::Message;

/// A session with compression, and its client.
struct Session {
    compression: Compression,
    window: WindowId,
    inflater: ClientInflater,
}

impl Session {
    fn new(compression: Compression) -> Self {
        Self { compression, window: WindowId::default(), inflater: ClientInflater::new() }
    }

    /// Returns the form that the session sends, and expects that the client gets the message from it.
    fn send(&mut self, message: &PreparedMessage) -> Form {
        let form = message.select(self.compression, &mut self.window);
        assert_eq!(self.receive(message.frame(form)), message.payload());
        assert!(message.frame(form).len() <= message.frame(Form::Plain).len());
        form
    }

    /// Sends a message that was made for this session alone. Returns whether it was compressed.
    fn send_alone(&mut self, message: &Message) -> bool {
        let mut frame = Vec::new();
        let is_compressed = append_compressed_frame(message, &mut self.window, &mut frame);
        if is_compressed {
            assert_eq!(self.receive(&frame), message.payload());
        } else {
            assert!(frame.is_empty());
        }
        is_compressed
    }

    /// Returns the payload of a text or binary frame, as the client sees it.
    fn receive(&mut self, frame: &[u8]) -> Vec<u8> {
        let (length, payload) = match frame[1] {
            126 => (u64::from(u16::from_be_bytes(frame[2..4].try_into().unwrap())), &frame[4..]),
            127 => (u64::from_be_bytes(frame[2..10].try_into().unwrap()), &frame[10..]),
            short => (u64::from(short), &frame[2..]),
        };
        assert_eq!(u64::try_from(payload.len()).unwrap(), length);
        match frame[0] {
            0x81 | 0x82 => payload.to_vec(),
            0xc1 | 0xc2 => {
                if self.compression == Compression::Fresh {
                    self.inflater = ClientInflater::new();
                }
                self.inflater.inflate(payload)
            }
            other => panic!("an unexpected first byte: {other:x}"),
        }
    }
}

fn prepared(text: impl Into<Message>) -> PreparedMessage {
    PreparedMessage::compressible(&text.into())
}

/// Returns states in JSON of which each differs from the one before by 5 %.
fn states<const N: usize>(seed: u64, entries: usize) -> [String; N] {
    let mut rng = Rng(seed);
    let mut services = Services::new(&mut rng, entries);
    [(); N].map(|()| {
        services.change(&mut rng, entries.div_ceil(20));
        services.json()
    })
}

#[test]
fn each_client_gets_each_message_that_its_session_sends() {
    for seed in 0..100 {
        let mut rng = Rng(seed);
        let most = [10, 100, 300, 1000][rng.below(4)];
        let entries = 1 + rng.below(most);
        let mut services = Services::new(&mut rng, entries);
        let mut sessions =
            [Compression::Shared, Compression::Shared, Compression::Shared, Compression::Fresh]
                .map(Session::new);
        let mut newest = prepared("");
        for _ in 0..20 {
            services.change(&mut rng, 2);
            let count = rng.below(1000);
            let state = match rng.below(10) {
                0 => prepared(rng.bytes(count)),
                1 => prepared("short"),
                _ => prepared(services.json()),
            };
            newest = match rng.below(10) {
                0 => newest.with_own_refcount(),
                1 => state,
                2 => state.following(&newest.with_own_refcount()),
                _ => state.following(&newest),
            };
            for session in &mut sessions {
                match rng.below(10) {
                    0..3 => {} // It skips the state.
                    3 => _ = session.send_alone(&services.json().into()),
                    _ => _ = session.send(&newest),
                }
            }
        }
    }
}

#[test]
fn a_session_sends_the_difference_if_its_client_has_the_base_and_the_whole_message_otherwise() {
    let [first, second, third] = states(1, 100).map(prepared);
    let [mut follows, mut skips, mut joins] = [Compression::Shared; 3].map(Session::new);
    assert_eq!([&mut follows, &mut skips].map(|it| it.send(&first)), [Form::Fresh; 2]);
    let second = second.following(&first);
    assert_eq!(
        [&mut follows, &mut joins].map(|it| it.send(&second)),
        [Form::Difference, Form::Fresh]
    );
    let third = third.following(&second);
    let forms = [&mut follows, &mut skips, &mut joins].map(|it| it.send(&third));
    assert_eq!(forms, [Form::Difference, Form::Fresh, Form::Difference]);
    let mut alone = Session::new(Compression::Fresh);
    assert_eq!([&second, &third, &third].map(|it| alone.send(it)), [Form::Fresh; 3]);
}

#[test]
fn a_difference_and_a_repetition_are_a_small_part_of_the_message() {
    for (entries, length, difference, repetition) in [(2, 150, 60, 10), (100, 9000, 400, 100)] {
        let [first, second] = states(2, entries).map(prepared);
        assert!(first.payload_len() > length, "{} bytes", first.payload_len());
        let mut session = Session::new(Compression::Shared);
        session.send(&first);
        let second = second.following(&first);
        let sent = [&second, &second].map(|it| it.frame(session.send(it)).len());
        assert!(sent[0] < difference, "{} bytes", sent[0]);
        assert!(sent[1] < repetition, "{} bytes", sent[1]);
    }
}

#[test]
fn a_message_that_was_sent_again_is_still_the_base_of_the_next() {
    let [first, second] = states(3, 100).map(prepared);
    let [mut one, mut other] = [Compression::Shared; 2].map(Session::new);
    assert_eq!([one.send(&first), other.send(&first)], [Form::Fresh; 2]);
    assert_eq!(one.send(&first), Form::Repeated);
    let second = second.following(&first);
    assert_eq!([one.send(&second), other.send(&second)], [Form::Difference; 2]);
}

#[test]
fn a_message_follows_the_last_one_that_was_sent_compressed() {
    let [first, skipped, last] = states(4, 100).map(prepared);
    let mut session = Session::new(Compression::Shared);
    session.send(&first);
    // Random bytes go out as they are, so they are not in the window.
    let plain = prepared(Rng(4).bytes(1000)).following(&first);
    assert_eq!(session.send(&plain), Form::Plain);
    let last = last.following(&skipped.following(&plain));
    assert_eq!(session.send(&last), Form::Difference);
}

#[test]
fn a_message_for_one_session_has_no_difference_after_it() {
    let [first, second] = states(5, 100).map(prepared);
    let mut session = Session::new(Compression::Shared);
    session.send(&first);
    assert!(!session.send_alone(&Message::from("short")), "it was not compressed");
    let second = second.following(&first);
    assert!(session.send_alone(&Message::from("long ".repeat(100))));
    assert_eq!(session.send(&second), Form::Fresh);
}

#[test]
fn a_message_beyond_the_window_is_no_base_and_a_very_long_one_is_not_compressed() {
    let [large, small] = ["large ", "small "].map(|it| prepared(it.repeat(6000)));
    let mut session = Session::new(Compression::Shared);
    assert_eq!([session.send(&large), session.send(&large)], [Form::Fresh; 2]);
    assert_eq!(session.send(&small.following(&large)), Form::Fresh);
    for (length, form) in [(256 * 1024, Form::Fresh), (256 * 1024 + 1, Form::Plain)] {
        let message = "x".repeat(length);
        assert_eq!(session.send(&prepared(message.clone()).following(&large)), form);
        assert_eq!(session.send_alone(&message.into()), form == Form::Fresh);
    }
}

#[test]
fn a_message_is_compressed_only_if_that_makes_it_shorter() {
    let mut session = Session::new(Compression::Fresh);
    let mut equal = 0;
    for length in 1..40 {
        let text = "x".repeat(length);
        let compressed = compress(text.as_bytes(), None).len();
        equal += usize::from(compressed == length);
        let form = if compressed < length { Form::Fresh } else { Form::Plain };
        assert_eq!(session.send(&prepared(text)), form, "{length} bytes");
    }
    assert!(equal > 0, "a length has to be the same with and without compression");
}

#[test]
fn each_frame_is_made_once_for_all_clones_and_threads() {
    let [first, second] = states(6, 100).map(prepared);
    let mut session = Session::new(Compression::Shared);
    session.send(&first);
    let second = second.following(&first);
    let barrier = Barrier::new(4);
    let frames: Vec<[usize; 3]> = thread::scope(|scope| {
        let select = || {
            let own = second.with_own_refcount();
            barrier.wait();
            [session.window, WindowId::default(), own.compressed().window].map(|mut window| {
                let form = own.select(Compression::Shared, &mut window);
                own.clone().frame(form).as_ptr().addr()
            })
        };
        let threads = [(); 4].map(|()| scope.spawn(select));
        threads.map(|it| it.join().unwrap()).to_vec()
    });
    assert!(frames.iter().all(|it| *it == frames[0]));
    let forms = [Form::Difference, Form::Fresh, Form::Repeated];
    assert_eq!(frames[0], forms.map(|form| second.frame(form).as_ptr().addr()));
    let info = measure(|| {
        let mut window = session.window;
        assert_eq!(second.clone().select(Compression::Shared, &mut window), Form::Difference);
    });
    assert_eq!(info.count_total, 0);
}

#[test]
fn without_compression_a_message_is_two_allocations_and_keeps_nothing_of_the_one_before() {
    let states: [String; 10] = states(7, 100);
    let messages = states.map(Message::from);
    let mut newest = prepared("");
    for message in &messages {
        let info = measure(|| newest = prepared(message.clone()).following(&newest));
        assert_eq!(info.count_total, 2);
    }
    let expected = i64::try_from(newest.frame(Form::Plain).len()).unwrap() + 72;
    let info = measure(|| drop(newest));
    assert_eq!(-info.bytes_current, expected);
}

#[test]
fn a_message_keeps_the_payload_of_its_base_until_the_difference_is_made_and_no_others() {
    let states: [String; 10] = states(8, 100);
    let messages = states.map(Message::from);
    let [mut session, mut fresh] = [Compression::Shared, Compression::Fresh].map(Session::new);
    // Allocates the buffers of the thread.
    session.send(&prepared(messages[0].clone()));
    let mut held = Vec::with_capacity(messages.len());
    let mut newest = prepared("");
    let info = measure(|| {
        for message in &messages {
            newest = prepared(message.clone()).following(&newest);
            fresh.send(&newest);
            held.push(measure(|| _ = session.send(&newest)).bytes_current);
        }
    });
    // It has the plain frame, the fresh one and the difference.
    let frames = [Form::Plain, Form::Fresh, Form::Difference].map(|it| newest.frame(it).len());
    let kept = info.bytes_current - i64::try_from(frames.iter().sum::<usize>()).unwrap();
    assert!((0..2000).contains(&kept), "{kept} bytes beside the frames");
    // The difference is shorter than the base that it replaces.
    assert!(held[1..].iter().all(|it| *it < -8000), "{held:?}");
}

#[test]
fn messages_are_equal_if_kind_and_payload_are() {
    let text = prepared("abc");
    let info = measure(|| assert!(text == text.with_own_refcount() && text == text.clone()));
    assert_eq!(info.count_total, 1);
    assert_eq!(text, prepared("abc"));
    assert_ne!(text, prepared(b"abc".to_vec()));
    assert_ne!(text, prepared("abd"));
    assert!(ptr::eq(text.payload(), text.with_own_refcount().payload()));
}

#[test]
#[cfg(target_pointer_width = "64")]
fn a_prepared_message_takes_two_words_and_a_window_six_bytes() {
    assert_eq!(size_of::<PreparedMessage>(), 16);
    assert_eq!(size_of::<Option<PreparedMessage>>(), 16);
    assert_eq!(size_of::<WindowId>(), 6);
}
