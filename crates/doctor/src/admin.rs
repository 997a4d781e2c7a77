//! `Admin`: what the server's admin listener knows. `docs/operations.md` describes its paths.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BytesMut;
use serde_json::Value;
use tokio::time::Instant;

use crate::client::{Dialer, read_body, read_head, send};
use crate::escape::escape;

/// A longer answer is cut.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Pages of the table that are read, of 1000 sessions each.
const MAX_PAGES: usize = 100;

/// The admin listener of one server.
pub(crate) struct Admin {
    dialer: Dialer,
    settings: BTreeMap<String, String>,
}

/// A row of the table of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: u64,
    pub(crate) peer: String,
    pub(crate) origin: String,
}

/// The counters of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) opened: u64,
    refused: BTreeMap<String, u64>,
}

impl Counters {
    /// The refusals that were counted since then.
    pub(crate) fn refused_since(&self, before: &Self) -> Vec<String> {
        let grown = self.refused.iter().filter(|(word, count)| {
            **count > before.refused.get(*word).copied().unwrap_or_default()
        });
        grown.map(|(word, _)| word.clone()).collect()
    }
}

impl Admin {
    /// Reads the settings of the server.
    ///
    /// # Errors
    ///
    /// A sentence: there is no admin listener at this address.
    pub(crate) async fn connect(dialer: Dialer) -> Result<Self, String> {
        let mut admin = Self { dialer, settings: BTreeMap::new() };
        let config = admin.json("/config").await?;
        let config = config.as_object().ok_or("its /config is not that of the server")?;
        admin.settings = config
            .iter()
            .filter_map(|(key, entry)| {
                Some((key.clone(), entry.get("value")?.as_str()?.to_owned()))
            })
            .collect();
        if admin.settings.contains_key("ping_interval_secs") {
            return Ok(admin);
        }
        Err("its /config is not that of the server".to_owned())
    }

    /// The value of a setting as TOML has it, without quotes.
    pub(crate) fn setting(&self, key: &str) -> &str {
        self.settings.get(key).map(|value| value.trim_matches('"')).unwrap_or_default()
    }

    /// The elements of a setting that is a list.
    pub(crate) fn list(&self, key: &str) -> impl Iterator<Item = &str> {
        let elements = self.setting(key).trim_matches(['[', ']']).split(',');
        elements.map(|it| it.trim().trim_matches('"')).filter(|it| !it.is_empty())
    }

    /// The interval of the server's pings.
    pub(crate) fn ping_interval(&self) -> Option<Duration> {
        let seconds = self.setting("ping_interval_secs").parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// The counters now, or `None` if they cannot be read.
    pub(crate) async fn counters(&self) -> Option<Counters> {
        let (status, text) = self.get("/metrics").await.ok()?;
        if status != 200 {
            return None;
        }
        let mut counters = Counters::default();
        for line in text.lines() {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let Some(value) = value.parse().ok() else { continue };
            if name == "ws_status_sessions_opened_total" {
                counters.opened = value;
            }
            let refusal = name.strip_prefix("ws_status_handshakes_refused_total{refusal=\"");
            if let Some(word) = refusal.and_then(|rest| rest.strip_suffix("\"}")) {
                counters.refused.insert(escape(word.as_bytes()), value);
            }
        }
        Some(counters)
    }

    /// The sessions with an id above this one.
    ///
    /// # Errors
    ///
    /// A sentence: the table is disabled, or cannot be read.
    pub(crate) async fn sessions_after(&self, mut id: u64) -> Result<Vec<Row>, String> {
        let mut rows = Vec::new();
        for _ in 0..MAX_PAGES {
            let page = self.json(&format!("/connections?limit=1000&after={id}")).await?;
            let listed = page.get("connections").and_then(Value::as_array);
            rows.extend(listed.into_iter().flatten().filter_map(row));
            match page.get("next").and_then(Value::as_u64) {
                Some(next) => id = next,
                None => break,
            }
        }
        Ok(rows)
    }

    async fn json(&self, path: &str) -> Result<Value, String> {
        let (status, text) = self.get(path).await?;
        if status != 200 {
            return Err(format!(
                "{path} of it is answered with {status}: {}",
                escape(text.as_bytes())
            ));
        }
        serde_json::from_str(&text).map_err(|_| format!("{path} of it is no JSON"))
    }

    async fn get(&self, path: &str) -> Result<(u16, String), String> {
        let limit = self.dialer.limit;
        let until = Instant::now() + limit;
        let fail = |problem: String| format!("{path} of it cannot be read: {problem}");
        let connection = self.dialer.dial(&["http/1.1"]).await;
        let mut stream = connection.map_err(|error| fail(error.to_string()))?.stream;
        let host = self.dialer.target.authority();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let mut input = BytesMut::new();
        let head = async {
            send(&mut stream, request.as_bytes(), until).await?;
            read_head(&mut stream, &mut input, until).await
        };
        let head = head.await.map_err(|failure| fail(failure.to_string()))?;
        let body = read_body(&mut stream, &head, input, MAX_ANSWER_BYTES, limit).await;
        Ok((head.status, String::from_utf8_lossy(&body).into_owned()))
    }
}

fn row(value: &Value) -> Option<Row> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(Row { id: value.get("id")?.as_u64()?, peer: text("peer"), origin: text("origin") })
}
