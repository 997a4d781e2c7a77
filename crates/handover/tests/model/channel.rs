//! One direction of a Unix socket, or a pipe, as the kernel has it.

use std::collections::VecDeque;

/// What was written and not yet read, in order, and who still has an end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Channel<T> {
    queue: VecDeque<T>,
    has_writer: bool,
    /// Whether writing succeeds. What was written before stays readable.
    is_writable: bool,
}

/// The result of a read that does not wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<T> {
    End,
    Message(T),
    Nothing,
}

impl<T: PartialEq> Channel<T> {
    pub fn new() -> Self {
        Self { queue: VecDeque::new(), has_writer: true, is_writable: true }
    }

    /// Returns whether the message was written: not after the reader's death or its `SHUT_RD`.
    pub fn write(&mut self, message: T) -> bool {
        if self.is_writable {
            self.queue.push_back(message);
        }
        self.is_writable
    }

    pub fn read(&mut self) -> Read<T> {
        match self.queue.pop_front() {
            Some(message) => Read::Message(message),
            None if self.has_writer => Read::Nothing,
            None => Read::End,
        }
    }

    pub fn close_writer(&mut self) {
        self.has_writer = false;
    }

    /// `SHUT_RD`: what was written before can still be read.
    pub fn shut_reader(&mut self) {
        self.is_writable = false;
    }

    /// The last descriptor of the reader is closed, and what it has not read is lost.
    pub fn close_reader(&mut self) {
        self.is_writable = false;
        self.queue.clear();
    }

    pub fn is_shut(&self) -> bool {
        !self.is_writable
    }

    pub fn contains(&self, message: &T) -> bool {
        self.queue.contains(message)
    }
}
