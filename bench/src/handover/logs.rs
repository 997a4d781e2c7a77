//! The logs of all processes together: each session has one `opened` and one `closed`.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader};

use super::servers::ProcessLog;
use crate::process::field;

/// The sessions of all logs.
#[derive(Default)]
pub struct LoggedSessions {
    /// Sessions with at least one line.
    pub count: usize,
    /// Sessions with `opened` not once.
    pub wrongly_opened: Vec<String>,
    /// Sessions with `closed` more than once.
    pub wrongly_closed: Vec<String>,
    /// Sessions without `closed`.
    pub never_closed: Vec<String>,
    /// The events that were expected, with how often they occurred.
    pub expected: BTreeMap<String, usize>,
    /// Other warnings, errors, and lines that are no events.
    pub unexpected: Vec<String>,
}

impl LoggedSessions {
    /// Reads the logs, in which there may be warnings with the events of `expected`.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub fn read(logs: &[ProcessLog], expected: &[&str]) -> io::Result<Self> {
        let mut lines: HashMap<(usize, u64), [usize; 2]> = HashMap::new();
        let mut all = Self::default();
        for log in logs {
            for line in BufReader::new(File::open(&log.path)?).lines() {
                let line = line?;
                let which = match (field(&line, "event"), field(&line, "level")) {
                    (Some("opened"), _) => 0,
                    (Some("closed"), _) => 1,
                    (Some(event), _) if expected.contains(&event) => {
                        *all.expected.entry(event.to_owned()).or_default() += 1;
                        continue;
                    }
                    (Some(_), Some("INFO")) => continue,
                    // What a successor says of a predecessor that was killed. An event has no such text.
                    (None, _) if line.contains(": cannot take over from ") => continue,
                    _ => {
                        all.unexpected.push(line);
                        continue;
                    }
                };
                if let Some(id) = field(&line, "id").and_then(|id| id.parse().ok()) {
                    lines.entry((log.generation, id)).or_default()[which] += 1;
                }
            }
        }
        all.count = lines.len();
        for ((generation, id), [opened, closed]) in lines {
            let text = || {
                format!(
                    "session {id} of generation {generation}: {opened} `opened`, {closed} `closed`"
                )
            };
            if opened != 1 {
                all.wrongly_opened.push(text());
            }
            match closed {
                0 => all.never_closed.push(text()),
                1 => {}
                _ => all.wrongly_closed.push(text()),
            }
        }
        Ok(all)
    }
}
