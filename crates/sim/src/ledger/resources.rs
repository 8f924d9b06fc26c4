//! Sources and sinks: opened, used and let go once.

use crvideo_proto::id::TaskId;

use super::Ledger;

impl Ledger {
    pub(crate) fn source_read(&mut self, party: usize, task: TaskId) {
        if !self.open_sources.contains(&(party, task)) {
            self.violated(format!("I9: the source of task {task:?} is read after it was let go"));
        }
    }

    pub(crate) fn source_closed(&mut self, party: usize, task: TaskId) {
        if !self.open_sources.remove(&(party, task)) {
            self.violated(format!("I9: the source of task {task:?} is let go twice"));
        }
    }

    pub(crate) fn sink_opened(&mut self, party: usize, id: u64) {
        if !self.open_sinks.insert((party, id)) {
            self.violated(format!("I9: sink {id} of party {party} is opened twice"));
        }
    }

    pub(crate) fn sink_used(&mut self, party: usize, id: u64) {
        if !self.open_sinks.contains(&(party, id)) {
            self.violated(format!("I9: sink {id} of party {party} is used and not open"));
        }
    }

    pub(crate) fn sink_closed(&mut self, party: usize, id: u64) {
        if !self.open_sinks.remove(&(party, id)) {
            self.violated(format!("I9: sink {id} of party {party} is closed and not open"));
        }
    }
}
