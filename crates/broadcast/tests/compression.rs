//! States that are compressed: whatever is skipped, repeated or sent in between, each client inflates
//! exactly what was published.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod state_client;
#[path = "../../transport/tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use broadcast::{Publisher, Subscription};
use state_client::{Client, Rng, next_state, other};
use support::{SIZES, config, spawned_drain};
use tokio::io::{AsyncReadExt, duplex};
use tokio::time::timeout;
use transport::ws_core::Limits;
use transport::{Compression, Drain, Handler, Message, Next, WebSocket, run};

/// Sends states, and messages of its own behind some of them.
struct Mixed {
    states: Subscription,
    rng: Rng,
    others: usize,
}

impl Handler for Mixed {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if self.others > 0 {
            self.others -= 1;
            let message = Message::from(other(self.rng.below(20)));
            let is_plain = self.rng.below(2) == 0;
            return Poll::Ready(if is_plain {
                Next::Send(message)
            } else {
                Next::SendCompressed(message)
            });
        }
        self.states.poll_update(cx).map(|update| {
            self.others = self.rng.below(6).saturating_sub(3);
            Next::SendPrepared(update.message)
        })
    }

    fn receive(&mut self, _: Message) {}
}

#[tokio::test(start_paused = true)]
async fn each_client_inflates_exactly_the_states_whatever_it_skips() {
    for seed in 0..100 {
        let mut rng = Rng(seed);
        let drain = spawned_drain();
        let publisher = Publisher::new();
        let modes = [None, Some(Compression::Fresh), Some(Compression::Shared)];
        let mut clients: Vec<Client> = (0..6)
            .map(|index| {
                // So little that a client that does not read makes its session skip states.
                let (near, stream) = duplex(64 << rng.below(8));
                let socket = WebSocket::new(near, SIZES).with_compression(modes[index % 3]);
                let states = publisher.subscribe();
                let others = Rng(rng.below(1 << 30).try_into().unwrap());
                let session = if index < 3 {
                    tokio::spawn(run(socket, config(Limits::default()), states, drain.token()))
                } else {
                    let handler = Mixed { states, rng: others, others: 0 };
                    tokio::spawn(run(socket, config(Limits::default()), handler, drain.token()))
                };
                drop(session); // It goes on.
                Client::new(stream)
            })
            .collect();
        let mut words = vec![0; 10 + rng.below(200)];
        let mut states = Vec::new();
        for number in 0..40 {
            if rng.below(5) == 0 {
                publisher.republish();
            } else {
                states.push(next_state(number, &mut words, &mut rng));
                publisher.publish(states.last().unwrap().as_str());
            }
            for client in &mut clients {
                let times = [0, 1, 1000][rng.below(3)];
                client.read(times, &states).await;
            }
        }
        for client in &mut clients {
            client.read(10_000, &states).await;
            let latest = states.iter().rposition(|state| Some(state) == states.last());
            assert_eq!(client.latest, latest, "the newest state arrives, seed {seed}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_told_each_state_is_sent_the_differences() {
    let drain = spawned_drain();
    let publisher = Publisher::new();
    let mut open = |compression| {
        let (near, stream) = duplex(64 * 1024);
        let socket = WebSocket::new(near, SIZES).with_compression(Some(compression));
        let states = publisher.subscribe();
        drop(tokio::spawn(run(socket, config(Limits::default()), states, drain.token())));
        stream
    };
    let [mut fresh, mut shared] = [Compression::Fresh, Compression::Shared].map(&mut open);
    let mut rng = Rng(1);
    let mut words: Vec<usize> = (0..200).map(|_| rng.below(1 << 20)).collect();
    let mut sent = [0, 0];
    for number in 0..50 {
        let index = rng.below(words.len());
        words[index] = rng.below(1 << 20);
        publisher.publish(format!("state {number}: {words:?}"));
        for (stream, sent) in [&mut fresh, &mut shared].into_iter().zip(&mut sent) {
            let mut frame = Vec::with_capacity(64 * 1024);
            let read = timeout(Duration::from_millis(1), stream.read_buf(&mut frame));
            *sent += read.await.unwrap().unwrap();
        }
    }
    assert!(sent[1] * 5 < sent[0], "{sent:?}");
}

/// Opens a session whose handler sends the states of one publisher or several, for a client that keeps
/// its window.
fn open_shared(handler: impl Handler, drain: &Drain) -> Client {
    let (near, stream) = duplex(64 * 1024);
    let socket = WebSocket::new(near, SIZES).with_compression(Some(Compression::Shared));
    drop(tokio::spawn(run(socket, config(Limits::default()), handler, drain.token())));
    Client::new(stream)
}

#[tokio::test(start_paused = true)]
async fn a_client_inflates_the_states_of_two_publishers_and_those_after_a_clear() {
    struct Two([Subscription; 2]);
    impl Handler for Two {
        fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
            for states in &mut self.0 {
                if let Poll::Ready(update) = states.poll_update(cx) {
                    return Poll::Ready(Next::SendPrepared(update.message));
                }
            }
            Poll::Pending
        }

        fn receive(&mut self, _: Message) {}
    }
    let drain = spawned_drain();
    let publishers = [Publisher::new(), Publisher::new()];
    let mut client = open_shared(Two(publishers.each_ref().map(Publisher::subscribe)), &drain);
    let (mut rng, mut words, mut states) = (Rng(7), vec![0; 100], Vec::new());
    for number in 0..200 {
        let publisher = &publishers[rng.below(2)];
        match rng.below(6) {
            0 => publisher.clear(),
            1 => publisher.republish(),
            _ => {
                states.push(next_state(number, &mut words, &mut rng));
                publisher.publish(states.last().unwrap().as_str());
            }
        }
        // Republished states are older than those of the other publisher.
        client.latest = None;
        client.read(1000, &states).await;
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_handover_a_client_is_sent_one_whole_state_and_then_differences() {
    let drain = spawned_drain();
    let (old, new) = (Publisher::new(), Publisher::new());
    let session = old.subscribe();
    let (mut rng, mut states) = (Rng(3), Vec::new());
    let mut words: Vec<usize> = (0..200).map(|_| rng.below(1 << 20)).collect();
    let mut publish = |publisher: &Publisher, number: usize| {
        let index = rng.below(words.len());
        words[index] = rng.below(1 << 20);
        states.push(format!("state {number}: {words:?}"));
        publisher.publish(states.last().unwrap().as_str());
        states.clone()
    };
    // The session's handler is in the session, so another one stands for it when it is frozen.
    let mut twin = session.clone();
    let mut client = open_shared(session, &drain);
    client.read(10, &publish(&old, 0)).await;
    let whole = client.bytes;
    client.read(10, &publish(&old, 1)).await;
    assert!((client.bytes - whole) * 5 < whole, "the second state is a difference");

    assert!(twin.poll_next(&mut Context::from_waker(Waker::noop())).is_ready());
    assert!(new.restore(&old.freeze()));
    let (near, stream) = duplex(64 * 1024);
    let socket = WebSocket::new(near, SIZES).with_compression(Some(Compression::Shared));
    let session = new.thaw(&twin.freeze()).unwrap();
    drop(tokio::spawn(run(socket, config(Limits::default()), session, drain.token())));
    client.continue_on(stream);
    for number in 2..10 {
        let start = client.bytes;
        let states = publish(&new, number);
        client.read(10, &states).await;
        assert_eq!(client.latest, Some(number));
        let is_whole = (client.bytes - start) * 2 > whole;
        assert_eq!(is_whole, number == 2, "{} of {whole} bytes", client.bytes - start);
    }
}

#[test]
fn clients_on_several_threads_inflate_exactly_the_states() {
    // More sessions than share one copy of a state, on threads that need the same frames at once.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
    runtime.unwrap().block_on(async {
        let drain = spawned_drain();
        let publisher = Arc::new(Publisher::new());
        let mut rng = Rng(5);
        let mut words: Vec<usize> = (0..300).map(|_| rng.below(1 << 20)).collect();
        let states: Vec<String> =
            (0..60).map(|number| next_state(number, &mut words, &mut rng)).collect();
        let states = Arc::new(states);
        let clients: Vec<_> = (0..100)
            .map(|_| {
                let mut client = open_shared(publisher.subscribe(), &drain);
                let states = Arc::clone(&states);
                tokio::spawn(async move {
                    while client.latest != Some(states.len() - 1) {
                        client.read(1, &states).await;
                    }
                })
            })
            .collect();
        for state in states.iter() {
            publisher.publish(state.as_str());
            tokio::task::yield_now().await;
        }
        for client in clients {
            client.await.unwrap();
        }
    });
}
