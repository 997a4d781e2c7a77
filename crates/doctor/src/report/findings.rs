//! `Report`: the findings of an examination, and what follows from all of them.

use crate::client::Target;
use crate::finding::{Finding, Question, Severity};
use crate::remedies::Place;

/// The result of an examination.
#[derive(Clone, Debug)]
pub struct Report {
    /// The URL that was examined.
    pub target: Target,
    /// The findings, in the order in which they were made.
    pub findings: Vec<Finding>,
    /// The proxy that the answers name, whose lines are shown first.
    pub(crate) likely: Option<Place>,
}

impl Report {
    pub(crate) fn new(target: &Target) -> Self {
        Self { target: target.clone(), findings: Vec::new(), likely: None }
    }

    /// The severity of the worst finding.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok)
    }

    /// The exit code of the program: 0 for nothing worse than a note, 1 for a warning, 3 for a failure. 2 is
    /// for a wrong command line.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.severity() {
            Severity::Ok | Severity::Note => 0,
            Severity::Warning => 1,
            Severity::Failure => 3,
        }
    }

    /// The questions that could not be asked, because an earlier one failed.
    #[must_use]
    pub fn unanswered(&self) -> Vec<Question> {
        let is_answered = |question| self.findings.iter().any(|it| it.question == question);
        let is_optional = |question| matches!(question, Question::Admin | Question::Tls);
        let questions = Question::ALL.iter().copied();
        questions.filter(|question| !is_answered(*question) && !is_optional(*question)).collect()
    }

    /// The lines that remove the cause of a finding, the likely proxy's first.
    #[must_use]
    pub fn remedies(&self, finding: &Finding) -> Vec<(Place, String)> {
        let lines = finding.remedies.iter().flat_map(|remedy| remedy.lines());
        let mut lines: Vec<_> = lines.collect();
        lines.sort_by_key(|(place, _)| Some(*place) != self.likely);
        lines
    }
}
