//! The readings of a run, and their medians.

use serde_json::{Value, json};

use super::modes::{Mode, Outcome};
use super::peer::Peer;

/// The outcome of one mode for one peer in one round.
pub struct Reading {
    pub mode: &'static Mode,
    pub peer: &'static str,
    pub round: usize,
    pub outcome: Result<Outcome, String>,
}

#[derive(Default)]
pub struct Results(pub Vec<Reading>);

impl Results {
    fn of(&self, mode: &str, peer: &str) -> impl Iterator<Item = &Outcome> {
        let readings = self.0.iter().filter(move |it| it.mode.name == mode && it.peer == peer);
        readings.filter_map(|it| it.outcome.as_ref().ok())
    }

    /// Returns the median over the rounds of a measure.
    #[must_use]
    pub fn median(&self, mode: &str, measure: usize, peer: &str) -> Option<f64> {
        let values = self.of(mode, peer).filter_map(|it| it.values.get(measure).copied());
        let mut values: Vec<f64> = values.collect();
        values.sort_unstable_by(f64::total_cmp);
        values.get(values.len().saturating_sub(1) / 2).copied()
    }

    /// Returns the points of the round whose first measure is the median.
    #[must_use]
    pub fn series(&self, mode: &str, peer: &str) -> Option<&[(f64, f64)]> {
        let median = self.median(mode, 0, peer)?;
        let mut outcomes = self.of(mode, peer);
        outcomes.find(|it| it.values.first() == Some(&median)).map(|it| &*it.series)
    }

    /// Returns a message for each reading that failed.
    pub fn failures(&self) -> impl Iterator<Item = String> {
        self.0.iter().filter_map(|Reading { mode, peer, round, outcome }| {
            let error = outcome.as_ref().err()?;
            Some(format!("{peer}, {}, round {round}: {error}", mode.name))
        })
    }

    /// Serializes all readings as JSON, one reading per line, so that two runs can be compared with a
    /// diff.
    #[must_use]
    pub fn json(&self, about: &[(&'static str, String)], peers: &[Peer]) -> String {
        let about: serde_json::Map<_, _> =
            about.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let versions: serde_json::Map<_, _> =
            peers.iter().map(|peer| (peer.name.to_owned(), json!(peer.version))).collect();
        let readings: Vec<String> = self.0.iter().map(|it| reading(it).to_string()).collect();
        let (about, versions, readings) = (json!(about), json!(versions), readings.join(",\n"));
        format!(
            "{{\n\"about\":{about},\n\"peers\":{versions},\n\"readings\":[\n{readings}\n]\n}}\n"
        )
    }
}

fn reading(reading: &Reading) -> Value {
    let Reading { mode, peer, round, outcome } = reading;
    let mut value = json!({ "mode": mode.name, "peer": peer, "round": round });
    match outcome {
        Ok(outcome) => {
            let measures = mode.measures.iter().zip(&outcome.values);
            value["measures"] = measures
                .map(|(measure, value)| {
                    json!({ "name": measure.name, "unit": measure.unit, "value": value })
                })
                .collect();
            value["series"] = json!(outcome.series);
        }
        Err(error) => value["error"] = json!(error),
    }
    value
}
