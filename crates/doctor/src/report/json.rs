//! The report for scripts.

use serde_json::{Map, Value, json};

use crate::finding::Finding;
use crate::report::findings::Report;

impl Report {
    /// The report as one JSON document, which `docs/doctor.md` describes.
    #[must_use]
    pub fn json(&self) -> String {
        json(self)
    }
}

fn json(report: &Report) -> String {
    let document = json!({
        "url": report.target.to_string(),
        "severity": report.severity().as_str(),
        "exit_code": report.exit_code(),
        "findings": report.findings.iter().map(|it| finding(report, it)).collect::<Vec<_>>(),
        "not_examined": report.unanswered().iter().map(|it| it.as_str()).collect::<Vec<_>>(),
    });
    format!("{document:#}\n")
}

fn finding(report: &Report, finding: &Finding) -> Value {
    let remedies = report.remedies(finding);
    let remedies =
        remedies.iter().map(|(place, line)| json!({ "where": place.as_str(), "line": line }));
    let round = |value: f64| (value * 1e3).round() / 1e3;
    let measured =
        finding.measured.iter().map(|(name, value)| ((*name).to_owned(), json!(round(*value))));
    json!({
        "question": finding.question.as_str(),
        "finding": finding.word,
        "severity": finding.severity.as_str(),
        "sentence": finding.sentence,
        "measured": measured.collect::<Map<_, _>>(),
        "remedies": remedies.collect::<Vec<_>>(),
    })
}
