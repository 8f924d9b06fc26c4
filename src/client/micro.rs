//! An event queue by itself, for those who count what it costs; only with the feature `micro`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crvideo_proto::id::TaskId;

use super::config::SessionConfig;
use super::event::{Event, EventHandler};
use super::queue::{EventQueue, Item};
use super::session::{After, Delivery, Shared};

/// A polled queue with a session whose events go through it.
pub struct Events {
    queue: Arc<EventQueue>,
    session: Arc<Shared>,
    heard: Arc<Heard>,
}

#[derive(Default)]
struct Heard(AtomicUsize);

impl EventHandler for Heard {
    fn handle(&self, _session: u64, _event: &Event) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn wants_offers(&self) -> bool {
        false
    }

    fn wants_receive_progress(&self) -> bool {
        false
    }
}

impl Events {
    /// An empty queue.
    pub fn new() -> std::io::Result<Self> {
        let queue = Arc::new(EventQueue::new(true)?);
        let heard = Arc::new(Heard::default());
        let session = Arc::new(Shared::new(1, SessionConfig::default(), queue.clone(), heard.clone()));
        Ok(Self { queue, session, heard })
    }

    /// Puts in the results of `count` commands and polls once; how many the handler has heard.
    pub fn pass(&self, count: usize) -> usize {
        let before = self.heard.0.load(Ordering::Relaxed);
        for number in 0..count {
            let event = Event::SendCmdRlst { task: TaskId::from_bytes([7; 16]), err: 0, cookie: number };
            let delivery = Delivery { event, slot: None, after: After::default() };
            self.queue.put(Item::Event(self.session.clone(), delivery));
        }
        // As the network thread does at the end of its turn.
        self.queue.ring();
        let _ = self.queue.poll(Some(Duration::ZERO));
        self.heard.0.load(Ordering::Relaxed) - before
    }
}
