//! Two users and a relay's core between them: commands, buffers and files, connections that are cut anywhere, files
//! that fail, time that passes, all in any order. Afterwards everything is made well again, and then each task must
//! have had one end, the true one, and what has arrived must be what was sent, once.

use std::collections::BTreeSet;
use std::time::Duration;

use crvideo_proto::code;
use crvideo_proto::session::Conn;
use crvideo_relay::core::ConnectionId;

use crate::client::{Arrived, CONNS, Party, Stage, content, index};
use crate::input::Input;
use crate::pair::Relay;

/// Steps of one input.
const MOST_STEPS: usize = 150;
/// Rounds in which everything must be over once nothing is broken any more.
const MOST_ROUNDS: usize = 400;
/// More than any deadline of a task that makes progress.
const ROUND: Duration = Duration::from_millis(500);

/// A connection between a user and the relay: what is on its way.
#[derive(Debug, Default)]
struct Link {
    id: ConnectionId,
    up: Vec<u8>,
    down: Vec<u8>,
}

struct Two {
    parties: [Party; 2],
    links: [[Option<Link>; 2]; 2],
    relay: Relay,
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut two =
        Two { parties: [Party::new("alice", 1), Party::new("bob", 2)], links: Default::default(), relay: Relay::new() };
    for party in &mut two.parties {
        party.session.set_wants(false, false);
        party.log_in();
    }
    two.settle();
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        two.step(&mut input);
    }
    two.heal();
    two.judge();
    for party in &mut two.parties {
        party.finish();
    }
    two.relay.finish();
}

impl Two {
    fn step(&mut self, input: &mut Input<'_>) {
        let who = input.below(2);
        let conn = if input.bool() { Conn::Bulk } else { Conn::Command };
        match input.below(9) {
            0 => self.write(who, conn, usize::from(input.u16()) * 16),
            1 => self.carry_up(who, conn, usize::from(input.u16()) * 8),
            2 => self.carry_down(who, conn, usize::from(input.u16()) * 8),
            3 => self.cut(who, conn, input.u8()),
            4 => self.connect(who, conn),
            5 => self.settle(),
            6 => self.pass(Duration::from_millis(u64::from(input.u16()))),
            _ => {
                let target = self.parties[1 - who].user;
                self.parties[who].act(input, &[target, target, "nobody"]);
            }
        }
        self.notice();
    }

    fn connect(&mut self, who: usize, conn: Conn) {
        if !self.parties[who].wants[index(conn)] {
            return;
        }
        match self.relay.open() {
            Some(id) => {
                self.links[who][index(conn)] = Some(Link { id, ..Link::default() });
                self.parties[who].connected(conn);
            }
            None => self.parties[who].connect_failed(conn),
        }
    }

    /// A session's bytes go on their way.
    fn write(&mut self, who: usize, conn: Conn, most: usize) {
        let Some(link) = &mut self.links[who][index(conn)] else { return };
        link.up.extend(self.parties[who].say(conn, most.max(1)));
    }

    fn carry_up(&mut self, who: usize, conn: Conn, most: usize) {
        let Some(link) = &mut self.links[who][index(conn)] else { return };
        let some: Vec<u8> = link.up.drain(..most.min(link.up.len())).collect();
        if !some.is_empty() {
            self.relay.hear(link.id, &some);
        }
    }

    fn carry_down(&mut self, who: usize, conn: Conn, most: usize) {
        let Some(link) = &mut self.links[who][index(conn)] else { return };
        link.down.extend(self.relay.say(link.id, usize::MAX));
        let some: Vec<u8> = link.down.drain(..most.min(link.down.len())).collect();
        if !some.is_empty() {
            self.parties[who].hear(conn, &some);
        }
        self.notice();
    }

    /// A connection breaks; a part of what is on its way may still arrive.
    fn cut(&mut self, who: usize, conn: Conn, keep: u8) {
        let Some(mut link) = self.links[who][index(conn)].take() else { return };
        let part = |len: usize| len * usize::from(keep & 15) / 15;
        let (up, down) = (part(link.up.len()), part(link.down.len()));
        self.relay.hear(link.id, &link.up.drain(..up).collect::<Vec<u8>>());
        self.relay.lose(link.id);
        let heard: Vec<u8> = link.down.drain(..down).collect();
        self.parties[who].hear(conn, &heard);
        if !std::mem::take(&mut self.parties[who].gives_up[index(conn)]) {
            self.parties[who].closed(conn);
        }
    }

    /// Connections that one end has given up end at the other one, too, after what was on its way.
    fn notice(&mut self) {
        for who in 0..2 {
            for conn in CONNS {
                if std::mem::take(&mut self.parties[who].gives_up[index(conn)]) {
                    let said = self.parties[who].say(conn, usize::MAX);
                    if let Some(mut link) = self.links[who][index(conn)].take() {
                        link.up.extend(said);
                        self.relay.hear(link.id, &link.up);
                        self.relay.lose(link.id);
                    }
                }
                let closed = self.links[who][index(conn)].as_ref().is_some_and(|link| !self.relay.is_open(link.id));
                if closed && let Some(link) = self.links[who][index(conn)].take() {
                    self.parties[who].hear(conn, &link.down);
                    if !std::mem::take(&mut self.parties[who].gives_up[index(conn)]) {
                        self.parties[who].closed(conn);
                    }
                }
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.relay.pass(time);
        for party in &mut self.parties {
            party.pass(time);
        }
        // What a session's deadlines ask for in between is done at the end; it is late, as on a busy machine.
        self.notice();
    }

    /// Everything that is on its way arrives.
    fn settle(&mut self) {
        for _ in 0..12 {
            for who in 0..2 {
                for conn in CONNS {
                    self.connect(who, conn);
                    self.write(who, conn, usize::MAX);
                    self.carry_up(who, conn, usize::MAX);
                    self.notice();
                    self.carry_down(who, conn, usize::MAX);
                }
            }
        }
    }

    /// Nothing is broken any more, and everybody does what is to be done.
    fn heal(&mut self) {
        for _ in 0..MOST_ROUNDS {
            for party in &mut self.parties {
                party.work(usize::MAX, false);
                party.handle(usize::MAX, true);
                party.log_in();
            }
            self.settle();
            if self.parties.iter().all(|party| party.stage == Stage::In && party.is_at_rest()) {
                return;
            }
            self.pass(ROUND);
        }
        panic!("with nothing broken, tasks do not come to their end");
    }

    fn judge(&self) {
        for who in 0..2 {
            let (sender, target) = (&self.parties[who], &self.parties[1 - who]);
            judge(sender, target.user, &target.commands);
            judge(sender, target.user, &target.transfers);
            for (task, err) in &sender.ended {
                let came = target.commands.iter().chain(&target.transfers).any(|it| it.task == *task);
                match *err {
                    code::NOERR => assert!(came, "{task} was told to have arrived"),
                    code::SEND_OUTCOME_UNKNOWN => {}
                    err => assert!(!came, "{task} has arrived, and its sender was told {err}"),
                }
            }
        }
    }
}

/// What has arrived was sent, byte for byte, and none of it twice.
fn judge(sender: &Party, target: &str, arrived: &[Arrived]) {
    let mut seen = BTreeSet::new();
    for it in arrived {
        assert_eq!(&*it.source, sender.user);
        assert!(sender.ended.contains_key(&it.task), "{} was never sent to {target}", it.task);
        assert!(seen.insert(it.task), "{} has arrived twice at {target}", it.task);
        assert!(it.content == content(it.task, it.content.len()), "{} has other bytes", it.task);
    }
}
