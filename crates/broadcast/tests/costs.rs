//! The costs of a state that are the same in each run: writes and allocations. The benchmark measures
//! times.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "../../transport/tests/support/mod.rs"]
mod support;

use std::future::Future;
use std::io;
use std::mem;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use broadcast::{
    Have, KeyedMailbox, Mailboxes, Publisher, Subscription, Tag, TopicSubscription, Topics,
    WhenFull, mailbox,
};
use support::{SIZES, config};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use transport::ws_core::{CloseCode, Limits};
use transport::{Drain, Handler, Next, WebSocket, run};

const CAPACITY: NonZeroUsize = NonZeroUsize::new(100).unwrap();

/// The output of a stream.
#[derive(Default)]
struct Wire {
    output: Vec<u8>,
    writes: usize,
    /// The address of the buffer of the last write.
    buffer_address: usize,
}

/// A stream in memory that never has input.
#[derive(Clone, Default)]
struct Stream(Arc<Mutex<Wire>>);

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wire = &mut *self.0.lock().unwrap();
        wire.writes += 1;
        wire.buffer_address = bytes.as_ptr().addr();
        wire.output.extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Runs sessions, and expects each round to be written in one call by each of them, from the same bytes.
/// Returns the number of allocations of the second round.
fn allocations_of_a_round<H: Handler>(open: impl Fn() -> H, send: impl Fn(&'static str)) -> u64 {
    const COUNT: usize = 100;
    let (drain, _timers) = Drain::new();
    let open = |stream: &Stream| {
        let socket = WebSocket::new(stream.clone(), SIZES);
        run(socket, config(Limits::default()), open(), drain.token())
    };
    let streams: [Stream; COUNT] = std::array::from_fn(|_| Stream::default());
    let mut sessions = streams.each_ref().map(open);
    let mut cx = Context::from_waker(Waker::noop());
    // The first round also allocates the registrations of the wakers and the buffers of the streams.
    let allocations = ["a first message", "another one"].map(|round| {
        send(round);
        let info = measure(|| {
            for session in &mut sessions {
                assert!(Pin::new(session).poll(&mut cx).is_pending());
            }
        });
        let wires = streams.each_ref().map(|stream| {
            let wire = &mut *stream.0.lock().unwrap();
            assert!(wire.output.ends_with(round.as_bytes()));
            wire.output.clear();
            (mem::take(&mut wire.writes), wire.buffer_address)
        });
        assert_eq!(wires, [(1, wires[0].1); COUNT]);
        info.count_total
    });
    allocations[1]
}

#[test]
fn each_session_writes_a_state_in_one_call_and_from_the_same_bytes() {
    let publisher = Publisher::new();
    let allocations = allocations_of_a_round(|| publisher.subscribe(), |it| publisher.publish(it));
    assert_eq!(allocations, 1, "for the reference count of this thread");
}

#[test]
fn each_session_writes_a_tagged_state_in_one_call_and_from_the_same_bytes() {
    let publisher = Publisher::new();
    let subscribe = || publisher.subscribe_having(&Have::Nothing);
    let allocations = allocations_of_a_round(subscribe, |it| publisher.publish(it));
    assert_eq!(allocations, 3, "for the reference counts of this thread");
}

#[test]
fn a_tagged_state_costs_nothing_before_the_first_session_that_needs_it() {
    let publish = |publisher: &Publisher, tag: &Tag| {
        publisher.publish("warm up");
        let bare = measure(|| publisher.publish(vec![b'x'; 9000]));
        publisher.publish("warm up");
        let tag = tag.clone();
        let tagged = measure(|| publisher.publish_tagged(tag, vec![b'x'; 9000]));
        [bare, tagged].map(|info| (info.count_total, info.bytes_total))
    };
    let tag: Tag = "v1".parse().unwrap();
    let publisher = Publisher::new();
    drop(waiting(publisher.subscribe()));
    // The state, its frame, and what clones of the message share; the tag is in a box.
    let [bare, tagged] = publish(&publisher, &tag);
    assert_eq!(bare, (3, 9000 + 9004 + 72));
    assert_eq!((tagged.0 - bare.0, tagged.1 - bare.1), (1, 40));

    drop(publisher.subscribe_having(&Have::Nothing));
    let [bare, tagged] = publish(&publisher, &tag);
    assert!(bare.1 > 3 * 9000 && tagged.1 > 3 * 9000, "{bare:?} {tagged:?}");
}

#[test]
fn measuring_allocates_nothing_for_a_state() {
    let publisher = Publisher::new();
    publisher.measure();
    let mut sessions: Vec<_> = (0..200).map(|_| waiting(publisher.subscribe())).collect();
    let mut cx = Context::from_waker(Waker::noop());
    let mut pings = 0;
    for round in 0..=3 * 64 {
        publisher.publish("state");
        let info = measure(|| {
            for session in &mut sessions {
                assert!(session.poll_next(&mut cx).is_ready());
                if session.poll_next(&mut cx).is_ready() {
                    pings += 1;
                    session.pong();
                }
            }
        });
        // The first rounds make room for the measurements.
        assert!(round < 64 || info.count_total == 1, "for the reference count of this thread");
    }
    assert_eq!(pings, 3 * 200);
}

#[test]
fn sessions_that_end_with_an_open_measurement_leave_nothing_behind() {
    let publisher = Publisher::new();
    // Makes room for the wakers.
    drop((0..1000).map(|_| waiting(publisher.subscribe())).collect::<Vec<_>>());
    publisher.measure();
    let mut cx = Context::from_waker(Waker::noop());
    let mut is_ping = |session: &mut Subscription| {
        let next = session.poll_next(&mut cx);
        matches!(next, Poll::Ready(Next::Ping))
    };
    let mut measure_all = |count: usize| {
        let mut sessions: Vec<_> = (0..count).map(|_| publisher.subscribe()).collect();
        publisher.publish("first");
        sessions.iter_mut().for_each(|session| assert!(!is_ping(session)));
        (0..64).for_each(|_| publisher.publish("of its turn"));
        for session in &mut sessions {
            assert!(!is_ping(session) && is_ping(session));
        }
    };
    let info = measure(|| measure_all(1000));
    // Each takes more than 24 bytes while it waits for its pong. A small map is not made smaller.
    assert!(info.bytes_max > 24 * 1000);
    assert!(info.bytes_current < 4000, "{} bytes", info.bytes_current);
}

#[test]
fn what_a_client_has_takes_no_memory() {
    let publisher = Publisher::new();
    publisher.publish("state");
    let have = Have::State("x".repeat(Tag::MAX_LEN).parse().unwrap());
    drop(publisher.subscribe_having(&have));
    let info = measure(|| drop(publisher.subscribe_having(&have)));
    assert_eq!(info.count_total, 0);
    let query = format!("have={}", "x".repeat(1 << 20));
    let info = measure(|| assert_eq!(Have::from_query(Some(&query)), Have::Nothing));
    assert_eq!(info.count_total, 0);
}

#[test]
fn each_session_of_a_key_writes_an_event_in_one_call_and_from_the_same_bytes() {
    let mailboxes = Mailboxes::new(CAPACITY, WhenFull::Refuse);
    let allocations =
        allocations_of_a_round(|| mailboxes.open(1_u8), |it| _ = mailboxes.send(&1, it));
    assert_eq!(allocations, 0);
}

#[test]
fn a_thread_that_serves_many_publishers_in_turn_allocates_for_each_state_and_not_for_each_session()
{
    const PUBLISHERS: usize = 100;
    // For more than 64 sessions, the reference count of this thread.
    for (sessions, expected) in [(64, 0), (100, 1)] {
        let publishers: Vec<Publisher> = (0..PUBLISHERS).map(|_| Publisher::new()).collect();
        let subscribe = |_| publishers.iter().map(Publisher::subscribe).collect();
        let mut in_turn: Vec<Vec<Subscription>> = (0..sessions).map(subscribe).collect();
        let mut cx = Context::from_waker(Waker::noop());
        for round in ["a first state", "another one"] {
            publishers.iter().for_each(|publisher| publisher.publish(round));
            let info = measure(|| {
                for subscription in in_turn.iter_mut().flatten() {
                    assert!(subscription.poll_next(&mut cx).is_ready());
                }
            });
            if round == "another one" {
                let allocations = usize::try_from(info.count_total).unwrap();
                assert_eq!(allocations, expected * PUBLISHERS, "{sessions} sessions");
            }
        }
    }
}

/// Returns the bytes that each of many items holds on the heap.
fn heap_bytes<T>(create: impl Fn(u64) -> T) -> i64 {
    const COUNT: u64 = 10_000;
    let mut items = Vec::with_capacity(10_000);
    let info = measure(|| items.extend((0..COUNT).map(create)));
    info.bytes_current / 10_000
}

/// Returns the handler after it has begun to wait.
fn waiting<H: Handler>(mut handler: H) -> H {
    assert!(handler.poll_next(&mut Context::from_waker(Waker::noop())).is_pending());
    handler
}

#[test]
#[cfg(target_pointer_width = "64")]
fn the_memory_of_publishers_topics_and_mailboxes_is_what_their_documentation_says() {
    let with_one_session = heap_bytes(|_| {
        let publisher = Publisher::new();
        let subscription = waiting(publisher.subscribe());
        (publisher, subscription)
    });
    assert!(with_one_session <= 260, "a publisher takes {with_one_session} bytes");

    let with_sessions = |count: usize| {
        let mut cx = Context::from_waker(Waker::noop());
        let mut subscriptions = Vec::with_capacity(count);
        let info = measure(|| {
            let publisher = Publisher::new();
            subscriptions.extend((0..count).map(|_| waiting(publisher.subscribe())));
            publisher.publish("");
            assert!(subscriptions.iter_mut().all(|it| it.poll_next(&mut cx).is_ready()));
        });
        info.bytes_current
    };
    let more = with_sessions(65) - with_sessions(64);
    assert!(more <= 2048, "a publisher takes {more} bytes more for more than 64 sessions");
    let each = with_sessions(10_000) / 10_000;
    assert!(each <= 32, "each session takes {each} bytes");

    let topics = Topics::new();
    let topic = heap_bytes(|key: u64| waiting(topics.subscribe(key)));
    assert!(topic <= 300, "a topic takes {topic} bytes");
    assert_eq!(size_of::<TopicSubscription<()>>(), 48);

    let idle = heap_bytes(|_| mailbox(CAPACITY, WhenFull::DropOldest));
    assert!(idle <= 150, "an idle mailbox takes {idle} bytes");
    let mailboxes = Mailboxes::new(CAPACITY, WhenFull::Close(CloseCode::NORMAL, "full".into()));
    let with_key = heap_bytes(|key: u64| waiting(mailboxes.open(key)));
    assert!(with_key <= 300, "a key with an idle mailbox takes {with_key} bytes");
    assert_eq!(size_of::<KeyedMailbox<()>>(), 24);
}

#[test]
fn a_publisher_keeps_one_state_and_its_bytes() {
    let publisher = Publisher::new();
    let mut subscription = waiting(publisher.subscribe());
    let mut cx = Context::from_waker(Waker::noop());
    let info = measure(|| {
        for round in 0..10 {
            publisher.publish(vec![round; 9000]);
            assert!(subscription.poll_next(&mut cx).is_ready());
            publisher.republish();
            assert!(subscription.poll_next(&mut cx).is_ready());
        }
    });
    assert_eq!(info.bytes_current, 9000 + 4 + 72, "the payload, the header and what clones share");
}

#[test]
fn a_mailbox_frees_its_queue_when_it_is_empty() {
    let (sender, mut mailbox) = mailbox(CAPACITY, WhenFull::Refuse);
    let mut cx = Context::from_waker(Waker::noop());
    let info = measure(|| {
        (0..100).for_each(|_| assert!(sender.send("an event").is_ok()));
        (0..100).for_each(|_| assert!(mailbox.poll_event(&mut cx).is_ready()));
    });
    assert_eq!(info.bytes_current, 0);
}
