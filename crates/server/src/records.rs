//! What becomes of the facts that `transport` tells: lines of the log, counts, rows of the table.

use transport::{Event, Observer};

use crate::config::{Config, Switch};
use crate::log;
use crate::metrics::Metrics;
use crate::table::Table;

/// Everything that is kept of what happens to sessions.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) metrics: Metrics,
    pub(crate) table: Option<Table>,
}

impl Records {
    pub(crate) fn new(config: &Config) -> Self {
        let table = match config.connection_table {
            Switch::Off => None,
            Switch::On => Some(Table::default()),
        };
        Self { metrics: Metrics::new(), table }
    }
}

impl Observer for Records {
    fn observe(&self, event: &Event<'_>) {
        self.metrics.count(event);
        if let Some(table) = &self.table {
            table.note(event);
        }
        log::write(event);
    }
}
