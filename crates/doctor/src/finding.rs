//! `Finding`: what is said about one question, and what to change.

use std::fmt;
use std::time::Duration;

use crate::remedies::Remedy;

/// How bad a finding is. The order is that of the exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It is as it should be.
    Ok,
    /// It works, and could be different.
    Note,
    /// Clients connect, and something will go wrong or is not seen.
    Warning,
    /// Clients cannot connect, or lose their connections, or the wrong ones get in.
    Failure,
}

impl Severity {
    /// The word in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Does the host resolve, and do its addresses accept connections?
    Reach,
    /// Does TLS work, and is the certificate valid?
    Tls,
    /// What does the admin listener say?
    Admin,
    /// Is the upgrade passed on over HTTP/1.1?
    Upgrade,
    /// Is extended CONNECT offered and passed on over HTTP/2?
    Http2,
    /// Which origins are let in?
    Origin,
    /// Do pings come back, and how fast?
    Ping,
    /// Is data held back on the way?
    Buffering,
    /// Do close codes and reasons arrive?
    Close,
    /// Does the server know the client's address?
    Address,
    /// Do the server's pings arrive before the path is cut?
    KeepAlive,
}

impl Question {
    /// All questions, in the order in which they are asked.
    pub const ALL: &'static [Self] = &[
        Self::Reach,
        Self::Tls,
        Self::Admin,
        Self::Upgrade,
        Self::Http2,
        Self::Origin,
        Self::Ping,
        Self::Buffering,
        Self::Close,
        Self::Address,
        Self::KeepAlive,
    ];

    /// The word in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reach => "reach",
            Self::Tls => "tls",
            Self::Admin => "admin",
            Self::Upgrade => "upgrade",
            Self::Http2 => "http2",
            Self::Origin => "origin",
            Self::Ping => "ping",
            Self::Buffering => "buffering",
            Self::Close => "close",
            Self::Address => "address",
            Self::KeepAlive => "keep_alive",
        }
    }
}

/// One finding.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What was asked.
    pub question: Question,
    /// A word for scripts, which stays the same. `docs/doctor.md` lists them.
    pub word: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was observed, as a sentence for people. Text of peers is escaped.
    pub sentence: String,
    /// What was measured: names with their units, and values.
    pub measured: Vec<(&'static str, f64)>,
    /// What to change, the most likely cause first.
    pub(crate) remedies: Vec<Remedy>,
}

impl Finding {
    pub(crate) fn ok(question: Question, word: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(question, word, Severity::Ok, sentence, Vec::new())
    }

    pub(crate) fn note(
        question: Question,
        word: &'static str,
        sentence: impl Into<String>,
        remedies: impl Into<Vec<Remedy>>,
    ) -> Self {
        Self::new(question, word, Severity::Note, sentence, remedies)
    }

    pub(crate) fn warning(
        question: Question,
        word: &'static str,
        sentence: impl Into<String>,
        remedies: impl Into<Vec<Remedy>>,
    ) -> Self {
        Self::new(question, word, Severity::Warning, sentence, remedies)
    }

    pub(crate) fn failure(
        question: Question,
        word: &'static str,
        sentence: impl Into<String>,
        remedies: impl Into<Vec<Remedy>>,
    ) -> Self {
        Self::new(question, word, Severity::Failure, sentence, remedies)
    }

    /// Adds a time.
    pub(crate) fn measuring(mut self, name: &'static str, time: Duration) -> Self {
        self.measured.push((name, time.as_secs_f64() * 1e3));
        self
    }

    fn new(
        question: Question,
        word: &'static str,
        severity: Severity,
        sentence: impl Into<String>,
        remedies: impl Into<Vec<Remedy>>,
    ) -> Self {
        let (sentence, remedies) = (sentence.into(), remedies.into());
        Self { question, word, severity, sentence, measured: Vec::new(), remedies }
    }
}
