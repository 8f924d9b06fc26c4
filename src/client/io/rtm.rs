//! One RTM client on the io thread: its state machine, its files, the ends of its calls.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::code;
use crvideo_proto::frame::FrameReader;
use crvideo_proto::out::OutQueue;
use crvideo_proto::rtm::client::{Action, Call, Client, Config, Event, Failure, Outcome, Output, PUSH_OVERHEAD, Place};
use crvideo_proto::rtm::code as rtm_code;
use crvideo_proto::rtm::sign::FileHasher;
use crvideo_proto::session::Now;
use mio::Registry;

use super::super::Code;
use super::super::fault;
use super::super::numbers::ByNumber;
use super::super::queue::{EventQueue, Item};
use super::super::rtm::{Delivery, Done, Reply, Shared};
use super::super::source::Source;
use super::links::{Link, Links, Machine, Tokens};
use super::{Context, Entry, Order, give};

/// What an RTM client is told to do.
pub enum RtmOrder {
    /// Begin a call.
    Call {
        /// What is asked.
        action: Action,
        /// The file's bytes.
        source: Option<Arc<Source<FileHasher>>>,
        /// The message's id, if it is one.
        mid: i64,
        /// How long it may take.
        timeout: Duration,
        /// Bytes that its reservation holds.
        charge: u64,
        /// Who is told of its end.
        reply: Reply,
    },
    /// A piece of a file has been read, for a call and a generation of it.
    Read(u64, u32, Result<(Bytes, Option<String>), Code>),
    /// Watch what is sent from now on by this name, or (`None`) do not.
    Watch(Option<[u8; 16]>),
}

impl Machine for Client {
    fn out(&mut self, link: Link) -> Option<&mut OutQueue> {
        self.out(link)
    }

    fn reader(&mut self, link: Link) -> Option<&mut FrameReader> {
        self.reader(link)
    }

    fn generation(&mut self, link: Link) -> u32 {
        Client::generation(self, link)
    }

    fn connected(&mut self, link: Link, now: Now) {
        self.connected(link, now);
    }

    fn connect_failed(&mut self, link: Link, err: Code, now: Now) {
        self.connect_failed(link, err, now);
    }

    fn closed(&mut self, link: Link, err: Code, now: Now) {
        self.closed(link, err, now);
    }

    fn written(&mut self, link: Link, now: Now) {
        self.written(link, now);
    }

    fn received(&mut self, link: Link, now: Now) {
        self.received(link, now);
    }
}

/// A call, as the shell sees it.
struct Pending {
    reply: Reply,
    mid: i64,
    charge: u64,
    source: Option<Arc<Source<FileHasher>>>,
}

/// One client.
pub struct RtmEntry {
    shared: Arc<Shared>,
    proto: Client,
    links: Links,
    pending_by_call: ByNumber<u64, Pending>,
    next_call: u64,
    destroyed: bool,
    /// A fault has ended everything, and perhaps lost the end of a call.
    failed: Option<Code>,
}

impl RtmEntry {
    /// A client without a connection.
    pub fn new(shared: Arc<Shared>, seed: u64) -> Self {
        let (project, secret) = shared.identity();
        let config = Config { project, secret: secret.to_owned(), servers: shared.servers().len() };
        Self {
            proto: Client::new(config, seed),
            links: Links::new(shared.life().handle()),
            shared,
            pending_by_call: ByNumber::default(),
            next_call: 1,
            destroyed: false,
            failed: None,
        }
    }

    fn connect(&mut self, link: Link, to: Place, context: &mut Context<'_>) {
        match to {
            Place::Gate(server) => {
                let Some(server) = self.shared.servers().get(server) else { return };
                log::debug!("RTM client {:#x} connects to the gate", self.shared.life().handle());
                self.links.connect(link, (&server.host, server.port), None, context);
            }
            Place::Files(address) => {
                log::debug!("RTM client {:#x} connects to a file gate", self.shared.life().handle());
                self.links.connect(link, (&address.host, address.port), None, context);
            }
        }
    }

    fn output(&mut self, output: Output, context: &mut Context<'_>) {
        match output {
            Output::Connect { link, to } => self.connect(link, to, context),
            Output::Close { link } => self.links.close(link, &mut self.proto, context.registry, context.tokens),
            Output::Read { call, offset, len, generation } => {
                let client = self.shared.life().handle();
                if let Some(source) = self.pending_by_call.get(&call).and_then(|pending| pending.source.as_ref()) {
                    source.read(offset, len, move |piece| {
                        give(Order::Rtm(client, Box::new(RtmOrder::Read(call, generation, piece))));
                    });
                }
            }
            Output::Ended { call, outcome } => self.ended(call, outcome),
            Output::Event(event) => {
                let cost = match &event {
                    Event::Push(push) => push.cost(),
                    Event::User(event) => event.cost(),
                    Event::Receipt(_) => PUSH_OVERHEAD,
                    Event::Line(_) => 0,
                };
                self.shared.deliver(Delivery::Event { event, cost });
            }
        }
    }

    /// Calls of which the state machine knows nothing any more end here: their ends were lost in a fault.
    fn end_lost_calls(&mut self, err: Code) {
        let text = code::text(err).to_str().unwrap_or_default();
        let calls: Vec<u64> = self.pending_by_call.keys().copied().collect();
        for call in calls {
            self.ended(call, Err(Failure::new(err, text)));
        }
    }

    fn ended(&mut self, call: u64, outcome: Outcome) {
        fault::point("io: the end of a call");
        let Some(Pending { reply, mid, charge, .. }) = self.pending_by_call.remove(&call) else { return };
        let client = self.shared.life().handle();
        match &outcome {
            Ok(_) => log::debug!("call {call} of RTM client {client:#x} has ended well"),
            Err(failure) => {
                log::debug!("call {call} of RTM client {client:#x} failed: {} {:?}", failure.code, failure.text);
            }
        }
        let done = Done { mid, outcome };
        match reply {
            Reply::Callback(callback) => self.shared.deliver(Delivery::Ended { callback, done, charge }),
            Reply::Waiter(waiter) => {
                self.shared.life().release(charge);
                // A thread that waits does so until this comes.
                let _ = waiter.send(done);
            }
        }
    }
}

impl Entry for RtmEntry {
    fn carry_out(&mut self, order: &mut Option<Order>, now: Now) {
        let Some(order) = order.take() else { return };
        let Order::Rtm(_, order) = order else { return };
        match *order {
            RtmOrder::Call { action, source, mid, timeout, charge, reply } => {
                let id = self.next_call;
                self.next_call += 1;
                self.pending_by_call.insert(id, Pending { reply, mid, charge, source });
                self.proto.call(Call { id, action, timeout }, now);
            }
            RtmOrder::Read(call, generation, Ok((data, md5))) => {
                self.proto.source_read(call, generation, data, md5.as_deref(), now);
            }
            RtmOrder::Watch(watch) => self.proto.want_receipts(watch, now),
            RtmOrder::Read(call, generation, Err(err)) => self.proto.source_failed(call, generation, err, now),
        }
    }

    fn links(&mut self) -> &mut Links {
        &mut self.links
    }

    fn read(&mut self, link: Link, scratch: &mut [u8], now: Now) -> bool {
        self.proto.handled_in_all(self.shared.life().handled());
        self.links.read(link, &mut self.proto, scratch, now)
    }

    /// Events reach their queue before the bytes that acknowledge them reach the socket.
    fn drive(&mut self, context: &mut Context<'_>) {
        loop {
            while let Some(output) = self.proto.poll_output() {
                self.output(output, context);
            }
            self.links.drive(&mut self.proto, context);
            // Connecting and writing may have moved the state machine on.
            if !self.proto.has_output() {
                break;
            }
        }
        if let Some(err) = self.failed.take() {
            self.end_lost_calls(err);
        }
    }

    fn deadline(&self) -> Option<Duration> {
        self.proto.deadline()
    }

    fn timeout(&mut self, now: Now) {
        self.links.give_names_up(&mut self.proto, now);
        self.proto.timeout(now);
    }

    fn destroy(&mut self, _now: Now, _ends_at: Duration) {
        self.proto.end(rtm_code::CANCELLED, "the client was destroyed before the answer came");
        self.destroyed = true;
    }

    /// Asked after [`drive`](Self::drive): the ends of all calls are in the queue by then.
    fn is_over(&self, _now: Now) -> bool {
        self.destroyed
    }

    fn queue(&self) -> &Arc<EventQueue> {
        self.shared.life().queue()
    }

    fn fail(&mut self, err: Code) {
        self.proto.end(err, code::text(err).to_str().unwrap_or_default());
        self.failed = Some(err);
    }

    fn close_all(&mut self, registry: &Registry, tokens: &mut Tokens) {
        self.links.close_all(&mut self.proto, registry, tokens);
    }

    fn descriptors_lost(&mut self, now: Now) {
        self.links.descriptors_lost(&mut self.proto, now);
    }

    fn last_word(&self) {
        self.shared.life().queue().push(Item::Fence(self.shared.clone()));
    }
}
