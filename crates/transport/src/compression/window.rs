//! What is known of the window of a client's inflater.

use std::sync::atomic::{AtomicU64, Ordering};

/// Which prepared message a client has inflated last, as a number in six bytes.
///
/// What an inflater keeps of that message is the dictionary of the next one (RFC 7692, section 7.1.1). A
/// message that is sent as it is does not get into the window. The default says that nothing is known:
/// no message was compressed, or the last one was made for this session alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WindowId([u8; 6]);

/// The number of messages that are told apart. A million compressed messages a second use them up in nine
/// years, and then only a session that sent none since would be mistaken.
const NUMBERS: u64 = (1 << 48) - 1;

impl WindowId {
    /// Returns the window of a client after a message that has no number yet.
    pub(crate) fn of_new_message() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // 0 is the default.
        let number = NEXT.fetch_add(1, Ordering::Relaxed) % NUMBERS + 1;
        let [a, b, c, d, e, f, _, _] = number.to_le_bytes();
        Self([a, b, c, d, e, f])
    }
}
