//! What has to hold of a run: mostly that what was measured happened as often as it should.

use std::fmt::Display;

/// What was found, and what was required.
pub struct Check {
    pub name: &'static str,
    pub found: String,
    pub required: String,
    pub holds: bool,
}

/// All checks of a run.
#[derive(Default)]
pub struct Checks(Vec<Check>);

impl Checks {
    /// Adds a check.
    pub fn add(
        &mut self,
        name: &'static str,
        found: impl Display,
        required: impl Display,
        holds: bool,
    ) {
        let (found, required) = (found.to_string(), required.to_string());
        self.0.push(Check { name, found, required, holds });
    }

    /// Adds a count that has to be exact.
    pub fn count(&mut self, name: &'static str, found: usize, required: usize) {
        self.add(name, found, required, found == required);
    }

    /// Adds what there must not be. The first ones are shown.
    pub fn none(&mut self, name: &'static str, found: &[String]) {
        let examples: String = found.iter().take(3).map(|text| format!(" {text}")).collect();
        self.add(name, format!("{}{examples}", found.len()), 0, found.is_empty());
    }

    /// Returns the checks.
    #[must_use]
    pub fn all(&self) -> &[Check] {
        &self.0
    }
}
