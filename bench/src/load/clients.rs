//! Thousands of client sessions in one thread. The load generator has to be cheaper than any server: one
//! read for each readiness event, one write for each answer, and no allocation in between.

mod inbound;

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::connection::Connection;
use super::protocol::Protocol;
use super::session::{Counters, Event, OnEvent, Session};
use super::slab::Slab;

/// The most sessions that may be in their opening handshake at once.
const MAX_PENDING: usize = 256;
/// Number of loopback addresses to connect from, so that the ephemeral ports of one are not exhausted.
const SOURCES: usize = 40;

pub struct Clients {
    pub counters: Counters,
    /// The close code that the server may send; `None` if it must not close.
    pub expected_close: Option<u16>,
    /// Whether the server may send text messages.
    pub expects_messages: bool,
    server: SocketAddr,
    deadline: Instant,
    epoll: Epoll,
    protocol: Protocol,
    sessions: Slab<Session>,
    connections: Slab<Rc<RefCell<Connection>>>,
    /// The connection that takes the next session, if it has a stream left.
    next: Option<usize>,
    connections_started: usize,
    buffer: Vec<u8>,
}

impl Clients {
    /// Creates clients without a connection. Every later call fails after `time`.
    ///
    /// # Errors
    ///
    /// `epoll_create1` failed.
    pub fn new(server: SocketAddr, protocol: &Protocol, time: Duration) -> io::Result<Self> {
        Ok(Self {
            counters: Counters::default(),
            expected_close: None,
            expects_messages: false,
            server,
            deadline: Instant::now() + time,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            protocol: protocol.clone(),
            sessions: Slab::default(),
            connections: Slab::default(),
            next: None,
            connections_started: 0,
            buffer: vec![0; 1 << 16],
        })
    }

    /// Starts a session, on an existing connection if one has a stream left.
    ///
    /// # Errors
    ///
    /// The connection could not be started, or was lost.
    pub fn start(&mut self) -> io::Result<()> {
        let connection_key = match self.next {
            Some(key) => key,
            None => self.connect()?,
        };
        let connection = self.connection(connection_key)?;
        let key = self.sessions.reserve();
        let mut session = Session::start(key, Rc::clone(&connection));
        self.next = Some(connection_key)
            .filter(|_| session.stream + 1 < self.protocol.sessions_per_connection());
        if connection.borrow().is_ready() {
            session.request()?;
        }
        self.sessions.entries[key] = Some(session);
        self.counters.started += 1;
        self.update_interest(connection_key)
    }

    fn connect(&mut self) -> io::Result<usize> {
        let last = u8::try_from(2 + self.connections_started % SOURCES).unwrap_or(2);
        let source = Ipv4Addr::new(127, 0, 0, last);
        let connection = Connection::start(self.server, source, &self.protocol)?;
        let key = self.connections.reserve();
        self.epoll.add(
            &connection.byte_stream.stream,
            EpollEvent::new(connection.interest, key as u64),
        )?;
        self.connections.entries[key] = Some(Rc::new(RefCell::new(connection)));
        self.connections_started += 1;
        Ok(key)
    }

    /// Opens `count` more sessions.
    ///
    /// # Errors
    ///
    /// A session was refused or lost, or the deadline has passed.
    pub fn open(&mut self, count: usize) -> io::Result<()> {
        let all = self.counters.open + count;
        while self.counters.open < all {
            while self.counters.started < all
                && self.counters.started - self.counters.open < MAX_PENDING
            {
                self.start()?;
            }
            self.poll(Duration::from_secs(1), &mut ignore_events)?;
        }
        Ok(())
    }

    /// Writes the same bytes in every open session, and waits for `pongs` pongs from each.
    ///
    /// # Errors
    ///
    /// A connection was lost, or the deadline has passed.
    pub fn send_to_all(&mut self, bytes: &[u8], pongs: usize) -> io::Result<()> {
        let all = self.counters.pongs + self.counters.open * pongs;
        for key in 0..self.sessions.entries.len() {
            if let Some(session) =
                self.sessions.entries[key].as_mut().filter(|session| session.is_open())
            {
                session.send(bytes)?;
            }
            // Handle answers in between.
            if key % MAX_PENDING == 0 {
                self.poll(Duration::ZERO, &mut ignore_events)?;
            }
        }
        while self.counters.pongs < all {
            self.poll(Duration::from_secs(1), &mut ignore_events)?;
        }
        Ok(())
    }

    /// Closes every session with a closing handshake.
    ///
    /// # Errors
    ///
    /// A connection was lost, or the deadline has passed.
    pub fn close_all(&mut self) -> io::Result<()> {
        for session in self.sessions.entries.iter_mut().flatten() {
            session.start_close()?;
        }
        while self.counters.started > 0 {
            self.poll(Duration::from_secs(1), &mut ignore_events)?;
        }
        Ok(())
    }

    /// Verifies that exactly `count` sessions are open, on the expected number of connections.
    ///
    /// # Errors
    ///
    /// The numbers differ.
    pub fn verify_open(&self, count: usize) -> io::Result<()> {
        let Counters { started, open, .. } = self.counters;
        let connections = self.connections.entries.iter().flatten().count();
        if (started, open, connections)
            == (count, count, count.div_ceil(self.protocol.sessions_per_connection()))
        {
            return Ok(());
        }
        let message = format!("{open} of {count} sessions are open, on {connections} connections");
        Err(io::Error::other(message))
    }

    /// Keeps the sessions idle for `time`; pings are answered.
    ///
    /// # Errors
    ///
    /// A connection was lost, or the deadline has passed.
    pub fn idle_for(&mut self, time: Duration) -> io::Result<()> {
        self.run_for(time, &mut ignore_events)
    }

    /// Polls for `time`, and calls `on_event` for each event.
    ///
    /// # Errors
    ///
    /// A connection was lost, `on_event` failed, or the deadline has passed.
    pub fn run_for(&mut self, time: Duration, on_event: &mut impl OnEvent) -> io::Result<()> {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            self.poll(left, on_event)?;
        }
        Ok(())
    }

    /// Returns the session with this key.
    ///
    /// # Errors
    ///
    /// The session has ended.
    pub fn session(&mut self, key: usize) -> io::Result<&mut Session> {
        let session = self.sessions.entries.get_mut(key).and_then(Option::as_mut);
        session.ok_or_else(|| io::Error::other("the session or its connection has ended"))
    }

    /// Stops reading for a session, which the server may then close.
    ///
    /// # Errors
    ///
    /// The session has ended.
    pub fn pause(&mut self, key: usize) -> io::Result<()> {
        let session = self.session(key)?;
        session.may_be_disconnected = true;
        session.connection.borrow_mut().is_paused = true;
        self.update_all_interests()
    }

    /// Resumes reading for every paused session.
    ///
    /// # Errors
    ///
    /// `epoll_ctl` failed.
    pub fn resume_all(&mut self) -> io::Result<()> {
        for connection in self.connections.entries.iter().flatten() {
            connection.borrow_mut().is_paused = false;
        }
        self.update_all_interests()
    }

    /// Requests [`Event::Writable`] for every session.
    ///
    /// # Errors
    ///
    /// `epoll_ctl` failed.
    pub fn request_writable(&mut self) -> io::Result<()> {
        for session in self.sessions.entries.iter_mut().flatten() {
            session.wants_write = true;
        }
        self.update_all_interests()
    }

    /// Waits for readiness, for `max_wait` at most, and handles it. Returns the number of connections
    /// that were ready.
    ///
    /// # Errors
    ///
    /// A connection was lost, `on_event` failed, or the deadline has passed.
    pub fn poll(&mut self, max_wait: Duration, on_event: &mut impl OnEvent) -> io::Result<usize> {
        if Instant::now() > self.deadline {
            return Err(io::Error::other("the deadline has passed"));
        }
        // A small batch, so that a burst on some connections does not delay the others.
        let mut events = [EpollEvent::empty(); 128];
        let max_wait = EpollTimeout::try_from(max_wait).unwrap_or(EpollTimeout::MAX);
        let count = match self.epoll.wait(&mut events, max_wait) {
            Err(nix::errno::Errno::EINTR) => 0,
            outcome => outcome?,
        };
        for event in &events[..count] {
            let key = usize::try_from(event.data()).unwrap_or(usize::MAX);
            let Ok(connection) = self.connection(key) else { continue };
            if event.events().contains(EpollFlags::EPOLLOUT) {
                self.write(&connection, on_event)?;
            }
            let inbound = EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
            let is_open =
                !event.events().intersects(inbound) || self.read(&connection, on_event)?;
            if is_open {
                self.request(&connection)?;
                self.update_interest(key)?;
            } else {
                self.connections.remove(key);
                self.next = self.next.filter(|next| *next != key);
            }
        }
        Ok(count)
    }

    fn connection(&self, key: usize) -> io::Result<Rc<RefCell<Connection>>> {
        let connection = self.connections.entries.get(key).and_then(Option::as_ref);
        connection
            .map(Rc::clone)
            .ok_or_else(|| io::Error::other("the session or its connection has ended"))
    }

    fn update_all_interests(&mut self) -> io::Result<()> {
        (0..self.connections.entries.len()).try_for_each(|key| self.update_interest(key))
    }

    /// Updates the epoll registration of a connection if its interest changed.
    fn update_interest(&mut self, key: usize) -> io::Result<()> {
        let Ok(connection) = self.connection(key) else { return Ok(()) };
        let mut connection = connection.borrow_mut();
        let session_keys = connection.session_keys.iter().flatten();
        let mut sessions = session_keys.filter_map(|key| self.sessions.entries[*key].as_ref());
        let wants_write =
            connection.wants_write() || sessions.any(|session| session.can_write(&connection));
        let mut interest = EpollFlags::empty();
        interest.set(EpollFlags::EPOLLIN, !connection.is_paused);
        interest.set(EpollFlags::EPOLLOUT, wants_write);
        if interest != connection.interest {
            connection.interest = interest;
            let mut event = EpollEvent::new(interest, key as u64);
            self.epoll.modify(&connection.byte_stream.stream, &mut event)?;
        }
        Ok(())
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.connections
            .entries
            .drain(..)
            .flatten()
            .for_each(|connection| connection.borrow().byte_stream.reset_on_close());
    }
}

/// An [`OnEvent`] that ignores every event.
pub fn ignore_events(_: &mut Session, _: Event<'_>) -> io::Result<()> {
    Ok(())
}
