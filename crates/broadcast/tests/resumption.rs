//! Clients that connect again and again, with what they have: each ends with the newest state, gets no older
//! one after a newer one, and is told nothing if, and only if, it has the newest one.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod state_client;
#[path = "../../transport/tests/support/mod.rs"]
mod support;

use broadcast::{Have, Publisher};
use state_client::{Client, Rng, next_state};
use support::{SIZES, config, spawned_drain};
use tokio::io::duplex;
use transport::ws_core::Limits;
use transport::{Compression, Drain, WebSocket, run};

const COMPRESSION: [Option<Compression>; 3] =
    [None, Some(Compression::Fresh), Some(Compression::Shared)];

/// Returns the query of a client, of whose latest states these are the tags.
fn query(tags: &[String], rng: &mut Rng) -> String {
    let newest = tags.last().cloned().unwrap_or_default();
    match rng.below(8) {
        0 => String::new(),
        1 => "have=".to_owned(),
        2 => "have=unknown".to_owned(),
        3 => format!("have={}", "x".repeat(1000)),
        4 if !tags.is_empty() => format!("have={}", tags[rng.below(tags.len())]),
        _ => format!("have={newest}"),
    }
}

fn connect(
    publisher: &Publisher,
    query: &str,
    compression: Option<Compression>,
    pipe_bytes: usize,
    drain: &Drain,
) -> Client {
    let (near, stream) = duplex(pipe_bytes);
    let socket = WebSocket::new(near, SIZES).with_compression(compression);
    let handler = publisher.subscribe_having(&Have::from_query(Some(query)));
    drop(tokio::spawn(run(socket, config(Limits::default()), handler, drain.token())));
    Client::new(stream)
}

#[tokio::test(start_paused = true)]
async fn each_client_ends_with_the_newest_state_and_is_not_told_what_it_has() {
    for seed in 0..60 {
        let mut rng = Rng(seed);
        let drain = spawned_drain();
        let publisher = Publisher::new();
        let mut states: Vec<String> = Vec::new();
        let mut words = vec![0; 10 + rng.below(200)];
        // Each client, with the tags that it was told on all its connections.
        let mut clients: Vec<(Option<Client>, Vec<String>)> =
            (0..6).map(|_| (None, Vec::new())).collect();
        let mut newest_tag: Option<String> = None;
        for number in 0..60 {
            if number > 0 && rng.below(6) == 0 {
                publisher.republish();
            } else {
                states.push(next_state(number, &mut words, &mut rng));
                let state = states.last().unwrap().as_str();
                // Some states have a tag of the application.
                if rng.below(2) == 0 {
                    publisher.publish_tagged(format!("v{number}").parse().unwrap(), state);
                } else {
                    publisher.publish(state);
                }
                newest_tag = None;
            }
            for (index, (client, tags)) in clients.iter_mut().enumerate() {
                if client.is_none() || rng.below(4) == 0 {
                    let query = query(tags, &mut rng);
                    let pipe_bytes = 64 << rng.below(8);
                    let compression = COMPRESSION[index % 3];
                    let mut new = connect(&publisher, &query, compression, pipe_bytes, &drain);
                    new.read(1000, &states).await;
                    let has_newest = newest_tag.is_some()
                        && query.strip_prefix("have=") == newest_tag.as_deref();
                    assert_eq!(new.received == 0, has_newest, "seed {seed}: {query}");
                    assert_eq!(new.tag.is_some(), !query.is_empty() && !has_newest);
                    if has_newest {
                        (new.latest, new.tag) = (Some(states.len() - 1), newest_tag.clone());
                    }
                    *client = Some(new);
                }
                let client = client.as_mut().unwrap();
                client.read([0, 1, 1000][rng.below(3)], &states).await;
                if let Some(tag) = &client.tag
                    && tags.last() != Some(tag)
                {
                    tags.push(tag.clone());
                }
                if client.tag.is_some() && client.latest == Some(states.len() - 1) {
                    assert!(
                        newest_tag.is_none() || newest_tag == client.tag,
                        "one tag for a state"
                    );
                    newest_tag.clone_from(&client.tag);
                }
            }
        }
        for (client, _) in &mut clients {
            let client = client.as_mut().unwrap();
            client.read(10_000, &states).await;
            let newest = states.iter().rposition(|state| Some(state) == states.last());
            assert_eq!(client.latest, newest, "seed {seed}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_resumed_client_is_sent_one_whole_state_and_then_differences() {
    let drain = spawned_drain();
    let publisher = Publisher::new();
    let (mut rng, mut states) = (Rng(3), Vec::new());
    let mut words: Vec<usize> = (0..200).map(|_| rng.below(1 << 20)).collect();
    let mut publish = |number: usize| {
        let index = rng.below(words.len());
        words[index] = rng.below(1 << 20);
        states.push(format!("state {number}: {words:?}"));
        publisher.publish(states.last().unwrap().as_str());
        states.clone()
    };
    let shared = Some(Compression::Shared);
    let open = |have: &str| connect(&publisher, &format!("have={have}"), shared, 65_536, &drain);
    let mut first = open("");
    first.read(10, &publish(0)).await;
    let whole = first.bytes;
    let mut resumed = open(first.tag.as_ref().unwrap());
    resumed.read(10, &publish(1)).await;
    assert!(resumed.bytes * 2 > whole, "its window is empty: {} of {whole}", resumed.bytes);
    for number in 2..10 {
        let before = resumed.bytes;
        let states = publish(number);
        resumed.read(10, &states).await;
        assert_eq!(resumed.latest, Some(number));
        let difference = resumed.bytes - before;
        assert!(difference * 5 < whole, "{difference} of {whole}");
    }
}
