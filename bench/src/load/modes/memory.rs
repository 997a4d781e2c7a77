//! The memory of idle connections: after each has exchanged a ping, and after each has sent 64 messages
//! at once. The second figure shows whether the server frees the buffers of the burst.

use std::io;
use std::time::Duration;

use super::{Mode, Outcome, PAYLOAD, Size, TIME_LIMIT, less};
use crate::client::{BINARY, PING, frame};
use crate::load::clients::Clients;
use crate::load::peer::Peer;
use crate::load::peer_process::PeerProcess;
use crate::load::process_stats::{kernel_memory, private_memory};

pub(super) const MODE: Mode = Mode {
    name: "memory",
    meaning: "idle connections, 10,000 of them (quick: 5,000), beyond those of a warmed-up server",
    measures: &[
        less("after a ping and a flood", "bytes per connection"),
        less("after a ping", "bytes per connection"),
        less("in the kernel, both ends", "bytes per connection"),
    ],
    run,
};

const WARM_UP: usize = 200;
const FLOOD: usize = 64;

fn run(peer: &Peer, size: Size) -> io::Result<Outcome> {
    let main = size.pick(5_000, 10_000);
    let counts: &[usize] = size.pick(&[1_000, 5_000], &[1_000, 5_000, 10_000, 19_000]);
    let mut outcome = Outcome::of([]);
    for count in counts {
        let [flooded, pinged, kernel] = measure(peer, *count, size)?;
        outcome.series.push((*count as f64, flooded));
        if *count == main {
            outcome.values = vec![flooded, pinged, kernel];
        }
    }
    Ok(outcome)
}

/// Returns the memory that each of `count` connections adds: after the burst, after a ping, and in the
/// kernel.
fn measure(peer: &Peer, count: usize, size: Size) -> io::Result<[f64; 3]> {
    let peer_process = PeerProcess::start(peer, 0)?;
    let ping = frame(PING, PAYLOAD);
    let flood = [frame(BINARY, PAYLOAD).repeat(FLOOD), ping.clone()].concat();
    let mut clients = Clients::new(peer_process.address, &peer_process.protocol, TIME_LIMIT)?;
    clients.open(WARM_UP)?;
    clients.send_to_all(&flood, 1)?;
    clients.close_all()?;
    clients.idle_for(Duration::from_millis(500))?;

    let process = peer_process.process;
    let (private, kernel) = (private_memory(process)?, kernel_memory()?);
    let each = |now: u64, before: u64| (now as f64 - before as f64) / count as f64;
    clients.open(count)?;
    clients.send_to_all(&ping, 1)?;
    clients.idle_for(Duration::from_millis(500))?;
    let pinged = each(private_memory(process)?, private);
    clients.send_to_all(&flood, 1)?;
    clients.idle_for(Duration::from_secs(size.pick(1, 2)))?;
    let flooded = each(private_memory(process)?, private);
    let kernel = each(kernel_memory()?, kernel);
    clients.verify_open(count)?;
    Ok([flooded, pinged, kernel])
}
