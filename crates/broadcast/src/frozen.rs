//! What is handed over to another process, as bytes.
//!
//! ```text
//!  subscription   version   form     tag of the state that the client has, or nothing
//!  state          version   opcode   revision   length of the tag   tag   payload
//!                                    8 bytes    1 byte
//! ```
//!
//! The form is 0 for bare states and 1 for tagged ones. The opcode is that of RFC 6455, section 5.2. A change
//! of the format needs another version, which processes that do not know it refuse.

use std::str;

use transport::{Bytes, Message, PreparedMessage};

use crate::tag::{Form, Tag};

const VERSION: u8 = 1;

const BARE: u8 = 0;
const TAGGED: u8 = 1;

const TEXT: u8 = 1;
const BINARY: u8 = 2;

/// A subscription keeps a revision in 60 bits, and those of later states have to fit as well.
const MAX_REVISION: u64 = 1 << 56;

/// A state that has a tag.
#[derive(Debug)]
pub(crate) struct FrozenState {
    pub(crate) revision: u64,
    pub(crate) tag: Tag,
    pub(crate) message: PreparedMessage,
}

/// Encodes in which form a session sends states, and which one its client has.
pub(crate) fn encode_subscription(form: Form, tag: Option<&Tag>) -> Bytes {
    let form = match form {
        Form::Bare => BARE,
        Form::Tagged => TAGGED,
    };
    let tag = tag.map_or("", Tag::as_str);
    [&[VERSION, form], tag.as_bytes()].concat().into()
}

/// Returns `None` for bytes of another version, or that are malformed.
pub(crate) fn decode_subscription(bytes: &[u8]) -> Option<(Form, Option<Tag>)> {
    let (form, tag) = match bytes {
        [VERSION, BARE, tag @ ..] => (Form::Bare, tag),
        [VERSION, TAGGED, tag @ ..] => (Form::Tagged, tag),
        _ => return None,
    };
    let tag = if tag.is_empty() { None } else { Some(parse_tag(tag)?) };
    Some((form, tag))
}

pub(crate) fn encode_state(state: &FrozenState) -> Bytes {
    let FrozenState { revision, tag, message } = state;
    let (tag, payload) = (tag.as_str().as_bytes(), message.payload());
    let opcode = if message.is_text() { TEXT } else { BINARY };
    let length = u8::try_from(tag.len()).expect("a tag has at most 64 characters");
    [&[VERSION, opcode], &revision.to_be_bytes()[..], &[length], tag, payload].concat().into()
}

/// Returns `None` for bytes of another version, or that are malformed.
pub(crate) fn decode_state(bytes: &[u8]) -> Option<FrozenState> {
    let [VERSION, opcode, bytes @ ..] = bytes else { return None };
    let (revision, bytes) = bytes.split_first_chunk()?;
    let revision = Some(u64::from_be_bytes(*revision)).filter(|it| *it <= MAX_REVISION)?;
    let (length, bytes) = bytes.split_first()?;
    let (tag, payload) = bytes.split_at_checked(usize::from(*length))?;
    let message = match *opcode {
        TEXT => Message::from(str::from_utf8(payload).ok()?),
        BINARY => Message::from(payload.to_vec()),
        _ => return None,
    };
    let message = PreparedMessage::compressible(&message);
    Some(FrozenState { revision, tag: parse_tag(tag)?, message })
}

fn parse_tag(bytes: &[u8]) -> Option<Tag> {
    str::from_utf8(bytes).ok()?.parse().ok()
}
