//! The mixed life: clients that stay, clients that come and go, clients that misbehave, and clients for
//! which there is no room.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fastrand::Rng;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, interval, sleep};

use super::client::HangUp;
use super::connection::{self, Cut};
use super::plan::Plan;
use super::world::{Resident, Way, World};
use crate::client::{connect, upgrade};
use crate::handover::faults::Kind;
use crate::misbehaving;

/// Sessions that stay, of each way, and how many of them share a connection of HTTP/2.
const RESIDENTS: usize = 50;
const SHARING: usize = 5;
/// New connections of clients that come and go, and the most sessions on one of HTTP/2.
const CONNECTIONS_PER_SECOND: u32 = 90;
const MAX_SHARING: usize = 6;
/// Clients that misbehave, without TLS.
const MISBEHAVING: usize = 100;
/// Connections at once from one address, with the time between, and those that an address may have.
const CROWD: usize = 100;
const CROWD_INTERVAL: Duration = Duration::from_secs(4);
pub(super) const MAX_PER_ADDRESS: usize = 80;
/// Time after which a client that stays connects again.
const RETRY: Duration = Duration::from_millis(50);

/// The clients that stay. They connect again whenever their session ends. Dropping them ends their
/// connections.
pub struct Residents {
    all: Vec<Arc<Resident>>,
    /// Their connections.
    pub connections: usize,
    tasks: JoinSet<()>,
}

impl Residents {
    /// Connects them, on this runtime.
    pub fn start(world: &Arc<World>, rng: &mut Rng) -> Self {
        let mut residents = Self { all: Vec::new(), connections: 0, tasks: JoinSet::new() };
        for way in Way::ALL {
            let sharing = if way.http2 { SHARING } else { 1 };
            for _ in 0..RESIDENTS / sharing {
                let group: Vec<Arc<Resident>> = (0..sharing).map(|_| Arc::default()).collect();
                residents.all.extend(group.iter().cloned());
                residents.connections += 1;
                residents.tasks.spawn(reside(Arc::clone(world), way, group, rng.fork()));
            }
        }
        residents
    }

    /// Returns how many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Returns how many have an open session.
    #[must_use]
    pub fn open(&self) -> usize {
        self.all.iter().filter(|resident| resident.is_open.load(Ordering::SeqCst)).count()
    }

    /// Returns how many have this state.
    #[must_use]
    pub fn having(&self, state: u64) -> usize {
        let has = |resident: &&Arc<Resident>| resident.newest.load(Ordering::SeqCst) == state;
        self.all.iter().filter(has).count()
    }
}

/// Never returns.
async fn reside(world: Arc<World>, way: Way, group: Vec<Arc<Resident>>, mut rng: Rng) {
    loop {
        let known = world.known();
        let plan = |resident: &Arc<Resident>| {
            (Plan::resident(&mut rng, known.clone()), Some(Arc::clone(resident)))
        };
        let plans = group.iter().map(plan).collect();
        connection::run(Arc::clone(&world), way, plans, None, rng.fork()).await;
        sleep(RETRY).await;
    }
}

/// Lets clients come and go for this time, and then drops those that are left.
pub async fn live(world: Arc<World>, mut rng: Rng, time: Duration) {
    let started = Instant::now();
    let (address, seed) = (world.addresses.plain, rng.u64(..));
    let _misbehaving = misbehaving::start(address, MISBEHAVING, seed, &Arc::default());
    let mut tasks = JoinSet::new();
    let mut connections = interval(Duration::from_secs(1) / CONNECTIONS_PER_SECOND);
    let mut crowds = interval(CROWD_INTERVAL);
    while started.elapsed() < time {
        tokio::select! {
            _ = connections.tick() => tasks.spawn(come_and_go(&world, &mut rng)),
            _ = crowds.tick() => tasks.spawn(crowd(Arc::clone(&world))),
        };
        while let Some(outcome) = tasks.try_join_next() {
            report_panic(&world, &outcome);
        }
    }
}

fn report_panic(world: &World, outcome: &Result<(), JoinError>) {
    if let Err(error) = outcome {
        world.faults.add(Kind::Connect, format!("a client panicked: {error}"));
    }
}

/// Returns a connection whose clients go away.
fn come_and_go(world: &Arc<World>, rng: &mut Rng) -> impl Future<Output = ()> + use<> {
    let way = Way::ALL[rng.usize(..Way::ALL.len())];
    let sessions = if way.http2 { rng.usize(1..=MAX_SHARING) } else { 1 };
    let known = world.known();
    let plans = (0..sessions).map(|_| (Plan::transient(rng, way, known.clone()), None)).collect();
    let cut = (rng.u8(..10) == 0).then(|| Cut {
        after: Duration::from_millis(rng.u64(..2000)),
        hang_up: if rng.bool() { HangUp::Finish } else { HangUp::Reset },
    });
    connection::run(Arc::clone(world), way, plans, cut, rng.fork())
}

/// Opens more connections from one address than it may have, and counts the statuses.
async fn crowd(world: Arc<World>) {
    let server = world.addresses.plain;
    let mut clients = JoinSet::new();
    for _ in 0..CROWD {
        clients.spawn(async move {
            let mut stream = connect(server, Ipv4Addr::new(127, 0, 0, 100), None).await?;
            let status = upgrade(&mut stream).await;
            sleep(Duration::from_millis(500)).await;
            status
        });
    }
    for outcome in clients.join_all().await {
        let status = outcome.map_or("no answer".to_owned(), |status| status.to_string());
        world.count(format!("crowd: {status}"));
    }
}
