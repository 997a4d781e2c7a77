//! What the server itself says of a handshake: by the word of its answer, and by the counters of its admin
//! listener.

use transport::Rejection;

use crate::admin::Counters;
use crate::client::{Attempt, Shown};
use crate::context::Context;

/// What the admin listener counted during a handshake.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// It cannot be read, or counted several.
    Unknown,
    /// No handshake.
    Nothing,
    Opened,
    Refused(Rejection),
}

impl Counted {
    /// Requests a session once more if only the counters say what became of it: another client may have been
    /// counted in its place.
    pub(crate) async fn confirmed(self, context: &Context<'_>, attempt: &Attempt) -> Self {
        if said(attempt).is_some() || matches!(self, Self::Unknown) {
            return self;
        }
        let before = context.counters().await;
        let _ = context.open().await;
        let again = Self::since(context, before.as_ref()).await;
        if again == self { self } else { Self::Unknown }
    }

    pub(crate) async fn since(context: &Context<'_>, before: Option<&Counters>) -> Self {
        let (Some(before), Some(after)) = (before, context.counters().await) else {
            return Self::Unknown;
        };
        let refused = after.refused_since(before);
        match refused.as_slice() {
            [] if after.opened > before.opened => Self::Opened,
            [] => Self::Nothing,
            [word] => rejection(word).map_or(Self::Unknown, Self::Refused),
            [_, ..] => Self::Unknown,
        }
    }
}

/// The word of an answer that the server itself gave.
pub(crate) fn said(attempt: &Attempt) -> Option<Rejection> {
    let refused = match attempt {
        Attempt::Refused(refused) => refused,
        // Any other word is the application's.
        Attempt::Shown(Shown { reason, .. }) => {
            let word = str::from_utf8(reason).unwrap_or_default();
            return Some(rejection(word).unwrap_or(Rejection::Application));
        }
        Attempt::HeldBack | Attempt::NoAnswer(_) | Attempt::Open(_) => return None,
    };
    let text = str::from_utf8(refused.body.get(..64).unwrap_or(&refused.body));
    let (word, _) = text.unwrap_or_default().split_once(": ")?;
    rejection(word).filter(|rejection| rejection.status() == refused.head.status)
}

fn rejection(word: &str) -> Option<Rejection> {
    Rejection::ALL.iter().copied().find(|rejection| rejection.as_str() == word)
}
