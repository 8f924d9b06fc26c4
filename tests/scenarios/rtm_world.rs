//! An RTM client of the test's own, and what it hears.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use crvideo::client::rtm::{
    self, Action, Answer, CallOptions, Callback, Config, Content, Done, Event, FileInfo, Handler, Push, Target,
};
use crvideo::client::{self, ServerAddress};

use crate::rtm_gate::{Gate, PROJECT, SECRET};
use crate::world::{PATIENCE, address};

struct Ear(Sender<Event>);

impl Handler for Ear {
    fn handle(&self, _client: u64, event: &Event) {
        let _ = self.0.send(event.clone());
    }
}

/// A client and everything it has heard.
pub struct Server {
    pub client: u64,
    pub events: Receiver<Event>,
    /// The queue that is polled while something is awaited; 0: the callback thread.
    pub queue: u64,
}

impl Server {
    pub fn new(gate: &Gate) -> Self {
        Self::with(gate, |_| {})
    }

    pub fn pumping(gate: &Gate) -> Self {
        Self::with(gate, |config| config.queue = client::create_queue().unwrap())
    }

    pub fn with(gate: &Gate, change: impl FnOnce(&mut Config)) -> Self {
        Self::at(vec![address(gate.address)], change)
    }

    pub fn at(servers: Vec<ServerAddress>, change: impl FnOnce(&mut Config)) -> Self {
        let (sender, events) = crossbeam_channel::unbounded();
        let secret = SECRET.to_owned();
        let mut config = Config { queue: 0, project: PROJECT, secret, servers, timeout: rtm::DEFAULT_TIMEOUT };
        change(&mut config);
        let queue = config.queue;
        Self { client: rtm::create(config, Arc::new(Ear(sender))).unwrap(), events, queue }
    }

    /// A call that waits.
    pub fn call(&self, action: Action) -> Done {
        rtm::call(self.client, action, CallOptions::default(), None).unwrap().unwrap()
    }

    /// Its answer.
    pub fn ask(&self, action: Action) -> Answer {
        self.call(action).outcome.unwrap()
    }

    /// A file from memory, waiting.
    pub fn send(&self, target: Target, content: &[u8]) -> Done {
        self.send_by(target, Content::Memory(content), None, CallOptions::default()).unwrap().unwrap()
    }

    pub fn send_by(
        &self,
        target: Target,
        content: Content<'_>,
        callback: Option<Callback>,
        options: CallOptions,
    ) -> Result<Option<Done>, i32> {
        let info = FileInfo { name: Some("报告.txt"), custom: Some("{\"k\":1}") };
        rtm::send_file(self.client, (7, target), 50, (content, info), options, callback)
    }

    /// A callback, and where its call ends.
    pub fn callback() -> (Callback, Receiver<Done>) {
        let (sender, ended) = crossbeam_channel::unbounded();
        (Box::new(move |done| sender.send(done.clone()).unwrap()), ended)
    }

    /// The next of something; polls the queue where there is one.
    pub fn next<T>(&self, from: &Receiver<T>) -> T {
        if self.queue == 0 {
            return from.recv_timeout(PATIENCE).expect("it comes in time");
        }
        let until = std::time::Instant::now() + PATIENCE;
        loop {
            if let Ok(there) = from.try_recv() {
                return there;
            }
            assert!(std::time::Instant::now() < until, "it comes in time");
            client::poll_events(self.queue, Some(Duration::from_millis(20))).unwrap();
        }
    }

    pub fn push(&self) -> Push {
        loop {
            if let Event::Push(push) = self.next(&self.events) {
                return push;
            }
        }
    }

    /// Whether the connection that listens is lost (its code) or there again (0), whichever comes next.
    pub fn line(&self) -> i32 {
        loop {
            if let Event::Line(failure) = self.next(&self.events) {
                return failure.code;
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = rtm::destroy(self.client);
        if self.queue != 0 {
            let _ = client::destroy_queue(self.queue);
        }
    }
}

pub fn code(done: &Done) -> i32 {
    done.outcome.as_ref().err().map_or(0, |failure| failure.code)
}

pub fn text(done: &Done) -> String {
    done.outcome.as_ref().err().map(|failure| failure.text.clone()).unwrap_or_default()
}
