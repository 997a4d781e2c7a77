//! Thousands of sessions in one thread. The client has to be cheaper than any server: one read
//! for each readiness, one write for each answer, and no allocation in between.

mod inbound;

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::carrier::Carrier;
use super::link::{Event, Link, Script, Tally};
use super::slab::Slab;
use super::way::Way;

/// How many handshakes may be under way at once while a fleet is opened.
const AT_ONCE: usize = 256;
/// Addresses of the loopback to connect from, so that the ports of one do not run out.
const SOURCES: usize = 40;

pub struct Fleet {
    pub tally: Tally,
    /// The code with which the server may close; until then it may not.
    pub may_be_told: Option<u16>,
    /// Whether the server may send texts.
    pub may_be_sent: bool,
    server: SocketAddr,
    deadline: Instant,
    epoll: Epoll,
    way: Way,
    links: Slab<Link>,
    carriers: Slab<Rc<RefCell<Carrier>>>,
    /// The carrier of the next session, if it has room for one.
    next: Option<usize>,
    started: usize,
    buffer: Vec<u8>,
}

impl Fleet {
    /// A fleet that fails if it is not done within this time.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn new(server: SocketAddr, way: &Way, time: Duration) -> io::Result<Self> {
        Ok(Self {
            tally: Tally::default(),
            may_be_told: None,
            may_be_sent: false,
            server,
            deadline: Instant::now() + time,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            way: way.clone(),
            links: Slab::default(),
            carriers: Slab::default(),
            next: None,
            started: 0,
            buffer: vec![0; 1 << 16],
        })
    }

    /// Begins a session, on a connection that carries others if there is one.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn start(&mut self) -> io::Result<()> {
        let place = match self.next {
            Some(place) => place,
            None => self.connect()?,
        };
        let carrier = self.carrier(place)?;
        let slot = self.links.place();
        let mut link = Link::start(slot, Rc::clone(&carrier));
        self.next = Some(place).filter(|_| link.stream + 1 < self.way.sessions());
        if carrier.borrow().is_ready() {
            link.ask()?;
        }
        self.links.0[slot] = Some(link);
        self.tally.begun += 1;
        self.renew(place)
    }

    fn connect(&mut self) -> io::Result<usize> {
        let last = u8::try_from(2 + self.started % SOURCES).unwrap_or(2);
        let source = Ipv4Addr::new(127, 0, 0, last);
        let carrier = Carrier::start(self.server, source, &self.way)?;
        let place = self.carriers.place();
        self.epoll.add(&carrier.wire.stream, EpollEvent::new(carrier.interest, place as u64))?;
        self.carriers.0[place] = Some(Rc::new(RefCell::new(carrier)));
        self.started += 1;
        Ok(place)
    }

    /// Opens so many connections more.
    ///
    /// # Errors
    ///
    /// One of them was refused or lost, or time is up.
    pub fn open(&mut self, count: usize) -> io::Result<()> {
        let all = self.tally.open + count;
        while self.tally.open < all {
            while self.tally.begun < all && self.tally.begun - self.tally.open < AT_ONCE {
                self.start()?;
            }
            self.turn(Duration::from_secs(1), &mut nothing)?;
        }
        Ok(())
    }

    /// Writes the same on every open connection, and waits until so many pongs have come on each.
    ///
    /// # Errors
    ///
    /// A connection is lost, or time is up.
    pub fn ask_all(&mut self, bytes: &[u8], pongs: usize) -> io::Result<()> {
        let all = self.tally.pongs + self.tally.open * pongs;
        for slot in 0..self.links.0.len() {
            if let Some(link) = self.links.0[slot].as_mut().filter(|link| link.is_open()) {
                link.say(bytes)?;
            }
            // So that no answer waits for long.
            if slot % AT_ONCE == 0 {
                self.turn(Duration::ZERO, &mut nothing)?;
            }
        }
        while self.tally.pongs < all {
            self.turn(Duration::from_secs(1), &mut nothing)?;
        }
        Ok(())
    }

    /// Closes every connection well.
    ///
    /// # Errors
    ///
    /// A connection is lost, or time is up.
    pub fn leave(&mut self) -> io::Result<()> {
        for link in self.links.0.iter_mut().flatten() {
            link.leave()?;
        }
        while self.tally.begun > 0 {
            self.turn(Duration::from_secs(1), &mut nothing)?;
        }
        Ok(())
    }

    /// Makes sure that so many sessions are open, on as many connections as it takes, and no more.
    ///
    /// # Errors
    ///
    /// They are not.
    pub fn check_open(&self, count: usize) -> io::Result<()> {
        let Tally { begun, open, .. } = self.tally;
        let connections = self.carriers.0.iter().flatten().count();
        if (begun, open, connections) == (count, count, count.div_ceil(self.way.sessions())) {
            return Ok(());
        }
        let what = format!("{open} of {count} sessions are open, on {connections} connections");
        Err(io::Error::other(what))
    }

    /// Answers whatever comes for so long.
    ///
    /// # Errors
    ///
    /// A connection is lost, or time is up.
    pub fn rest(&mut self, time: Duration) -> io::Result<()> {
        self.play(time, &mut nothing)
    }

    /// Follows a script for so long.
    ///
    /// # Errors
    ///
    /// A connection is lost, the script fails, or time is up.
    pub fn play(&mut self, time: Duration, script: &mut impl Script) -> io::Result<()> {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            self.turn(left, script)?;
        }
        Ok(())
    }

    /// The open connection in a slot.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn link(&mut self, slot: usize) -> io::Result<&mut Link> {
        let link = self.links.0.get_mut(slot).and_then(Option::as_mut);
        link.ok_or_else(|| io::Error::other("a connection is gone"))
    }

    /// Does not read any more what comes to a session, which the server may then give up.
    ///
    /// # Errors
    ///
    /// There is none in this slot.
    pub fn pause(&mut self, slot: usize) -> io::Result<()> {
        let link = self.link(slot)?;
        link.may_be_cut = true;
        link.carrier.borrow_mut().is_paused = true;
        self.renew_all()
    }

    /// Reads again wherever it was paused.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn resume_all(&mut self) -> io::Result<()> {
        for carrier in self.carriers.0.iter().flatten() {
            carrier.borrow_mut().is_paused = false;
        }
        self.renew_all()
    }

    /// Tells the script of [`Event::Room`] on these connections, wherever there is some.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn want_room(&mut self) -> io::Result<()> {
        for link in self.links.0.iter_mut().flatten() {
            link.wants_room = true;
        }
        self.renew_all()
    }

    /// Waits for so long at most, and handles what is there then: gives back on how many connections.
    ///
    /// # Errors
    ///
    /// A connection is lost, the script fails, or time is up.
    pub fn turn(&mut self, patience: Duration, script: &mut impl Script) -> io::Result<usize> {
        if Instant::now() > self.deadline {
            return Err(io::Error::other("it took longer than it may"));
        }
        // Few, so that a storm of some does not keep others waiting.
        let mut events = [EpollEvent::empty(); 128];
        let patience = EpollTimeout::try_from(patience).unwrap_or(EpollTimeout::MAX);
        let count = match self.epoll.wait(&mut events, patience) {
            Err(nix::errno::Errno::EINTR) => 0,
            outcome => outcome?,
        };
        for event in &events[..count] {
            let place = usize::try_from(event.data()).unwrap_or(usize::MAX);
            let Ok(carrier) = self.carrier(place) else { continue };
            if event.events().contains(EpollFlags::EPOLLOUT) {
                self.write(&carrier, script)?;
            }
            let inbound = EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
            let goes_on = !event.events().intersects(inbound) || self.read(&carrier, script)?;
            if goes_on {
                self.ask(&carrier)?;
                self.renew(place)?;
            } else {
                self.carriers.leave(place);
                self.next = self.next.filter(|next| *next != place);
            }
        }
        Ok(count)
    }

    fn carrier(&self, place: usize) -> io::Result<Rc<RefCell<Carrier>>> {
        let carrier = self.carriers.0.get(place).and_then(Option::as_ref);
        carrier.map(Rc::clone).ok_or_else(|| io::Error::other("a connection is gone"))
    }

    fn renew_all(&mut self) -> io::Result<()> {
        (0..self.carriers.0.len()).try_for_each(|place| self.renew(place))
    }

    /// Tells epoll if a connection has changed its mind.
    fn renew(&mut self, place: usize) -> io::Result<()> {
        let Ok(carrier) = self.carrier(place) else { return Ok(()) };
        let mut carrier = carrier.borrow_mut();
        let slots = carrier.slots.iter().flatten();
        let mut links = slots.filter_map(|slot| self.links.0[*slot].as_ref());
        let wants_room = carrier.is_waiting() || links.any(|link| link.can_use_room(&carrier));
        let mut interest = EpollFlags::empty();
        interest.set(EpollFlags::EPOLLIN, !carrier.is_paused);
        interest.set(EpollFlags::EPOLLOUT, wants_room);
        if interest != carrier.interest {
            carrier.interest = interest;
            let mut event = EpollEvent::new(interest, place as u64);
            self.epoll.modify(&carrier.wire.stream, &mut event)?;
        }
        Ok(())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.carriers.0.drain(..).flatten().for_each(|carrier| carrier.borrow().wire.cut());
    }
}

/// The script of those who only wait.
pub fn nothing(_: &mut Link, _: Event<'_>) -> io::Result<()> {
    Ok(())
}
