//! The report for people.

use std::fmt::Write as _;

use crate::finding::Severity;
use crate::report::findings::Report;

impl Report {
    /// The report for people.
    #[must_use]
    pub fn text(&self) -> String {
        text(self)
    }
}

fn text(report: &Report) -> String {
    let mut text = format!("{}\n\n", report.target);
    for finding in &report.findings {
        let _ = writeln!(text, "{:8} {}", finding.severity.as_str(), finding.sentence);
        for (place, line) in report.remedies(finding) {
            let _ = writeln!(text, "         → {place}: {line}");
        }
    }
    let unanswered: Vec<&str> = report.unanswered().iter().map(|it| it.as_str()).collect();
    if !unanswered.is_empty() {
        let _ = writeln!(text, "\nnot examined: {}", unanswered.join(", "));
    }
    let count = |severity| report.findings.iter().filter(|it| it.severity == severity).count();
    let counts = [(count(Severity::Failure), "failure"), (count(Severity::Warning), "warning")];
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}{}", if count == 1 { "" } else { "s" }))
        .collect();
    let verdict = if counts.is_empty() { "nothing is wrong".to_owned() } else { counts.join(", ") };
    let _ = writeln!(text, "\n{verdict}");
    text
}
