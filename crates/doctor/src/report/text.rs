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
    let verdict = match (count(Severity::Failure), count(Severity::Warning)) {
        (0, 0) => "nothing is wrong".to_owned(),
        (0, warnings) => format!("{warnings} of {} findings are warnings", report.findings.len()),
        (failures, 0) => format!("{failures} of {} findings are failures", report.findings.len()),
        (failures, warnings) => {
            format!(
                "{failures} of {} findings are failures, {warnings} are warnings",
                report.findings.len()
            )
        }
    };
    let _ = writeln!(text, "\n{verdict}");
    text
}
