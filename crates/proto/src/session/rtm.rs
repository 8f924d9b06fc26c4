//! Messages that servers send in the RTM dialect: `docs/wire.md` section 4.3.

use super::Session;
use super::link::Line;
use super::types::*;
use crate::id::TaskId;
use crate::message::{Got, Rtm};

/// Messages that may wait for the application; a relay that keeps to the protocol never sends more.
const MAX_WAITING: usize = 256;

impl Session {
    /// A message has come, perhaps again.
    pub(super) fn rtm_arrived(&mut self, message: Rtm) {
        let id = message.id;
        match self.rtm_seen.get(&id) {
            Some(true) => self.tell_got(id),
            Some(false) => {}
            None if self.rtm_waiting >= MAX_WAITING => {
                log::warn!("the relay sends more messages than it may; one is left for later");
            }
            None => {
                self.rtm_seen.insert(id, false);
                self.rtm_waiting += 1;
                self.event(Event::Rtm { message: Box::new(message), receipt: Receipt::Rtm { id } });
            }
        }
    }

    /// The application has handled a message.
    pub(super) fn rtm_handled(&mut self, id: TaskId) {
        self.rtm_waiting = self.rtm_waiting.saturating_sub(1);
        self.rtm_seen.insert(id, true);
        self.tell_got(id);
    }

    /// Without a link the relay repeats the message after the next login, and hears then.
    fn tell_got(&mut self, id: TaskId) {
        if matches!(self.line, Line::Up { .. }) {
            self.wire.out.one_way(&Got { id });
        }
    }
}
