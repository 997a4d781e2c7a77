//! The handover to a successor process: its listening sockets, and its sessions.
//!
//! `channel` carries the messages and the descriptors.

#![cfg_attr(not(test), expect(dead_code, reason = "nothing serves the takeover listener yet"))]

pub(crate) mod channel;
