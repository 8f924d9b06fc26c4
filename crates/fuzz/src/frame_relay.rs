//! Any bytes into the relay's core, on several connections, before and after login.

use std::time::Duration;

use crvideo_proto::frame::Kind;
use crvideo_proto::message as msg;
use crvideo_proto::out::OutQueue;
use crvideo_relay::core::ConnectionId;

use crate::client::content;
use crate::input::Input;
use crate::pair::{Relay, USERS, frame};

/// Methods that a client can use, and two that it cannot.
const METHODS: [&str; 26] = [
    "crhello", "crlogin", "crbulk", "crticket", "crtoken", "crlogout", "crclose", "crpong", "crfind", "crusers",
    "crwatch", "crcmd", "crack", "croffer", "crdata", "crend", "crgo", "crconf", "crcancel", "crdone", "crgot",
    "crping", "crbye", "crpeer", "nobody", "sendmsg",
];
/// Steps of one input.
const MOST_STEPS: usize = 200;

struct Play {
    relay: Relay,
    /// Connections, and the tickets and epochs that have been given.
    connections: Vec<ConnectionId>,
    tickets: Vec<[u8; 16]>,
    epochs: Vec<u64>,
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut play = Play { relay: Relay::new(), connections: Vec::new(), tickets: Vec::new(), epochs: vec![0] };
    // The simplest inputs are a stranger's bytes.
    play.connect();
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        play.step(&mut input);
        play.deliver();
    }
    play.relay.finish();
}

impl Play {
    fn connect(&mut self) {
        self.connections.extend(self.relay.open());
    }

    fn some_connection(&self, input: &mut Input<'_>) -> ConnectionId {
        let at = input.below(self.connections.len());
        self.connections.get(at).copied().unwrap_or_default()
    }

    fn some_epoch(&self, input: &mut Input<'_>) -> u64 {
        match input.below(self.epochs.len() + 1) {
            at if at < self.epochs.len() => self.epochs[at],
            _ => input.u64(),
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(10) {
            0 => self.connect(),
            1 => {
                let id = self.some_connection(input);
                self.relay.hear(id, input.bytes());
            }
            2 => {
                let (id, kind) = (self.some_connection(input), input.pick(&[Kind::Quest, Kind::OneWay, Kind::Answer]));
                let (status, seq, method) = (input.u8(), input.u32(), input.pick(&METHODS));
                self.relay.hear(id, &frame(kind, status, seq, method, input.bytes()));
            }
            3 => self.log_in(input),
            4 => self.open_bulk(input),
            5 => self.routed(input),
            6 => self.relay.pass(Duration::from_millis(u64::from(input.u16()) * 4)),
            7 => {
                let id = self.some_connection(input);
                self.relay.lose(id);
            }
            8 => {
                let (id, user) = (self.some_connection(input), input.pick(&USERS).to_owned());
                if let Some(Ok(found)) = self.relay.ask::<_, msg::FindAnswer>(id, &msg::Find { user }) {
                    assert!(found.epoch == 0 || self.epochs.contains(&found.epoch), "an epoch that nobody was given");
                }
            }
            _ => {
                let id = self.some_connection(input);
                self.relay.ask::<_, msg::Empty>(id, &msg::Watch { on: input.bool() });
            }
        }
    }

    fn log_in(&mut self, input: &mut Input<'_>) {
        let (user, epoch) = (input.pick(&USERS), self.some_epoch(input));
        let Some((id, answer)) = self.relay.try_log_in(user, epoch) else { return };
        self.connections.push(id);
        if let Ok(answer) = answer {
            assert!(answer.epoch != 0, "nobody has the epoch 0");
            assert!(!answer.resumed || answer.epoch == epoch, "another epoch is resumed than was asked for");
            assert!(!self.tickets.contains(&answer.ticket), "a ticket is given twice");
            self.epochs.push(answer.epoch);
            self.tickets.push(answer.ticket);
        }
    }

    fn open_bulk(&mut self, input: &mut Input<'_>) {
        let Some(id) = self.relay.open() else { return };
        self.connections.push(id);
        let at = input.below(self.tickets.len().max(1));
        let ticket = self.tickets.get(at).copied().unwrap_or([7; 16]);
        if self.relay.hello(id).is_none() {
            return;
        }
        let bulk = msg::Bulk { ticket, lost: input.bool().then_some(true) };
        if let Some(Ok(answer)) = self.relay.ask::<_, msg::BulkAnswer>(id, &bulk) {
            assert!(self.tickets.contains(&ticket), "a ticket is taken that was not given");
            // It opens one connection only.
            self.tickets[at] = answer.ticket;
        }
    }

    /// A routed message of the right form, with numbers from the input.
    fn routed(&mut self, input: &mut Input<'_>) {
        let (id, to) = (self.some_connection(input), input.pick(&["alice", "bob", "carol", "nobody"]));
        let epoch = self.some_epoch(input);
        let task = crvideo_proto::id::TaskId::from_bytes([input.u8(); 16]);
        let mut out = OutQueue::default();
        match input.below(6) {
            0 => {
                let data = content(task, usize::from(input.u16()));
                let (position, base, settled) = (input.u64(), input.u64(), input.u64());
                out.routed(to, epoch, &msg::Command { position, base, settled, task, chosen: input.bool(), data });
            }
            1 => {
                let (kind, size) = (input.u8(), input.u64());
                let name = String::from_utf8_lossy(input.short()).into_owned();
                out.routed(to, epoch, &msg::Offer { task, kind, name, size, repeated: input.bool() });
            }
            2 => {
                let data = content(task, usize::from(input.u16()) * 4);
                out.routed(to, epoch, &msg::Data { task, offset: input.u64(), data });
            }
            3 => out.routed(to, epoch, &msg::End { task, hash: [input.u8(); 32] }),
            4 => out.routed(to, epoch, &msg::Go { task, offset: input.u64(), limit: input.u64() }),
            _ => out.routed(to, epoch, &msg::Done { task, code: input.u64() as i64 }),
        }
        self.relay.hear(id, &out.take());
    }

    /// Connections that have something to take take it.
    fn deliver(&mut self) {
        for id in self.relay.woken() {
            self.relay.say(id, usize::MAX);
        }
        self.connections.retain(|id| self.relay.is_open(*id));
    }
}
