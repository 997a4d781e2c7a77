//! Thousands of connections in one thread. The client has to be cheaper than any server: one read
//! for each readiness, one write for each answer, and no allocation in between.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::link::{Event, Link, Script, Tally};

/// How many handshakes may be under way at once while a fleet is opened.
const AT_ONCE: usize = 256;
/// Addresses of the loopback to connect from, so that the ports of one do not run out.
const SOURCES: usize = 40;

pub struct Fleet {
    pub tally: Tally,
    /// The code with which the server may close; until then it may not.
    pub may_be_told: Option<u16>,
    server: SocketAddr,
    deadline: Instant,
    epoll: Epoll,
    links: Vec<Option<Link>>,
    free: Vec<usize>,
    started: usize,
    buffer: Vec<u8>,
}

impl Fleet {
    /// A fleet that fails if it is not done within this time.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn new(server: SocketAddr, time: Duration) -> io::Result<Self> {
        Ok(Self {
            tally: Tally::default(),
            may_be_told: None,
            server,
            deadline: Instant::now() + time,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            links: Vec::new(),
            free: Vec::new(),
            started: 0,
            buffer: vec![0; 1 << 16],
        })
    }

    /// Begins to connect.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn start(&mut self) -> io::Result<()> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.links.push(None);
            self.links.len() - 1
        });
        let last = u8::try_from(2 + self.started % SOURCES).unwrap_or(2);
        let link = Link::start(self.server, Ipv4Addr::new(127, 0, 0, last), slot)?;
        self.epoll.add(&link.stream, interest(&link))?;
        self.links[slot] = Some(link);
        self.started += 1;
        self.tally.begun += 1;
        Ok(())
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
        for slot in 0..self.links.len() {
            if let Some(link) = self.links[slot].as_mut().filter(|link| link.is_open()) {
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
        for link in self.links.iter_mut().flatten() {
            link.leave()?;
        }
        while self.tally.begun > 0 {
            self.turn(Duration::from_secs(1), &mut nothing)?;
        }
        Ok(())
    }

    /// Makes sure that so many connections are open, and no more.
    ///
    /// # Errors
    ///
    /// They are not.
    pub fn check_open(&self, count: usize) -> io::Result<()> {
        let Tally { begun, open, .. } = self.tally;
        if (begun, open) == (count, count) {
            return Ok(());
        }
        Err(io::Error::other(format!("{open} of {count} connections are open")))
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
        let link = self.links.get_mut(slot).and_then(Option::as_mut);
        link.ok_or_else(|| io::Error::other("a connection is gone"))
    }

    /// Tells the script of [`Event::Room`] on these connections, wherever there is some.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn want_room(&mut self) -> io::Result<()> {
        for link in self.links.iter_mut().flatten() {
            link.wants_room = true;
            renew(&self.epoll, link)?;
        }
        Ok(())
    }

    /// Waits for so long at most, and handles what is there then.
    ///
    /// # Errors
    ///
    /// A connection is lost, the script fails, or time is up.
    pub fn turn(&mut self, patience: Duration, script: &mut impl Script) -> io::Result<()> {
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
            let slot = usize::try_from(event.data()).unwrap_or(usize::MAX);
            let Some(link) = self.links.get_mut(slot).and_then(Option::as_mut) else { continue };
            if event.events().contains(EpollFlags::EPOLLOUT) {
                link.write(script)?;
            }
            let inbound = EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
            let goes_on = !event.events().intersects(inbound)
                || link.read(&mut self.buffer, self.may_be_told, &mut self.tally, script)?;
            if goes_on {
                renew(&self.epoll, link)?;
            } else {
                self.links[slot] = None;
                self.free.push(slot);
            }
        }
        Ok(())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.links.drain(..).flatten().for_each(Link::cut);
    }
}

/// The script of those who only wait.
pub fn nothing(_: &mut Link, _: Event) -> io::Result<()> {
    Ok(())
}

fn interest(link: &Link) -> EpollEvent {
    let room = if link.wants_room { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
    EpollEvent::new(EpollFlags::EPOLLIN | room, link.slot as u64)
}

/// Tells epoll if a link has changed its mind.
fn renew(epoll: &Epoll, link: &mut Link) -> io::Result<()> {
    if link.wants_room != link.is_told_of_room {
        link.is_told_of_room = link.wants_room;
        epoll.modify(&link.stream, &mut interest(link))?;
    }
    Ok(())
}
