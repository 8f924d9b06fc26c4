//! What the application's threads, the io thread and the queues share of an RTM client.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

use super::{Callback, Config, Event, Outcome};
use crate::client::ServerAddress;
use crate::client::life::{Life, Party};
use crate::client::queue::{EventQueue, Item};

/// Calls that are accepted and not ended.
const CALL_LIMIT: u32 = 65_536;
/// Bytes of messages and of files in memory that are accepted and not ended.
const OUTBOUND_LIMIT: u64 = 256 * 1024 * 1024;

/// Takes what a client is told, on the callback thread or the thread that polls. No lock is held while it runs.
pub trait Handler: Any + Send + Sync {
    /// Handles one event.
    fn handle(&self, client: u64, event: &Event);
    /// The client has ended and this was its last event: nothing of it is used any more. Called once, where events are
    /// handled.
    fn released(&self) {}
}

/// How a call has ended.
#[derive(Debug, Clone)]
pub struct Done {
    /// The message's id; 0 where nothing was sent.
    pub mid: i64,
    /// How.
    pub outcome: Outcome,
}

/// Who is told how a call has ended.
pub enum Reply {
    /// A thread that waits.
    Waiter(Sender<Done>),
    /// A function, called where events are handled.
    Callback(Callback),
}

/// Something in a queue.
pub enum Delivery {
    /// A call has ended.
    Ended {
        /// What is to be called.
        callback: Callback,
        /// How.
        done: Done,
        /// Bytes that its reservation holds.
        charge: u64,
    },
    /// The client is told something.
    Event {
        /// What.
        event: Event,
        /// What it counts while it waits.
        cost: u64,
    },
}

/// What remains to be done when something has been handled.
pub enum After {
    /// A call's reservation is given back.
    Release(u64),
    /// So many bytes do not wait any more.
    Handled(u64),
}

impl Delivery {
    /// What remains to be done afterwards.
    pub(in crate::client) fn after(&self) -> After {
        match self {
            Delivery::Ended { charge, .. } => After::Release(*charge),
            Delivery::Event { cost, .. } => After::Handled(*cost),
        }
    }
}

/// The shared half of a client.
pub struct Shared {
    life: Life,
    config: Config,
    handler: Arc<dyn Handler>,
}

impl Party for Shared {
    fn life(&self) -> &Life {
        &self.life
    }

    fn released(&self) {
        self.handler.released();
    }
}

impl Shared {
    pub(super) fn new(handle: u64, config: Config, queue: Arc<EventQueue>, handler: Arc<dyn Handler>) -> Self {
        Self { life: Life::new(handle, queue, CALL_LIMIT, OUTBOUND_LIMIT), config, handler }
    }

    pub(in crate::client) fn life(&self) -> &Life {
        &self.life
    }

    pub(super) fn handler(&self) -> &Arc<dyn Handler> {
        &self.handler
    }

    pub(super) fn timeout(&self) -> Duration {
        self.config.timeout
    }

    /// Project and secret.
    pub(in crate::client) fn identity(&self) -> (i64, &str) {
        (self.config.project, &self.config.secret)
    }

    /// The gate's addresses.
    pub(in crate::client) fn servers(&self) -> &[ServerAddress] {
        &self.config.servers
    }

    /// Puts something into the queue.
    pub(in crate::client) fn deliver(self: &Arc<Self>, delivery: Delivery) {
        self.life.queue().push(Item::Rtm(self.clone(), Box::new(delivery)));
    }

    /// Calls the application, where events are handled; whether there was something to call it for. Ends of calls
    /// survive a destroy, what the client is told does not.
    pub(in crate::client) fn hand_over(&self, delivery: Delivery) -> bool {
        match delivery {
            Delivery::Ended { callback, done, .. } => callback(&done),
            Delivery::Event { .. } if self.life.is_destroyed() => return false,
            Delivery::Event { event, .. } => self.handler.handle(self.life.handle(), &event),
        }
        true
    }

    /// Does what remains to be done.
    pub(in crate::client) fn settle(&self, after: After) {
        match after {
            After::Release(charge) => self.life.release(charge),
            After::Handled(cost) => self.life.has_handled(cost),
        }
    }
}
