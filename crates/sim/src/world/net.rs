//! The connections between sessions and the relay: how they come about, carry bytes and end.

use crvideo_proto::code;
use crvideo_proto::session::Conn;

use super::{Happening, Link, Way, World, index};
use crate::meddler::Meddler;
use crate::party::Wired;
use crate::pipe::{Got, Pipe};
use crate::plan::Plan;

impl World {
    pub(super) fn connect(&mut self, party: usize, conn: Conn) {
        if conn == Conn::Command {
            self.ledger.tries_to_connect(party, self.now);
        }
        self.hang_up(party, conn, false);
        let link = self.number();
        let bulk = conn == Conn::Bulk;
        let (up, down) = (self.plan.manner(&mut self.rng, bulk), self.plan.manner(&mut self.rng, bulk));
        let (up, down) = if self.healed { (Plan::good_manner(), Plan::good_manner()) } else { (up, down) };
        let (mut up, mut down) = (Pipe::new(up), Pipe::new(down));
        let meddled = self.haunted || self.hardship.taped || !self.healed && self.rng.percent(self.plan.meddled);
        if meddled {
            let taped = self.hardship.taped;
            let often = if self.haunted || taped { 0 } else { self.rng.pick(&[1, 5, 20]) };
            for pipe in [&mut up, &mut down] {
                let replays_after = self.rng.pick(&[None, None, Some(0), Some(0), Some(1), Some(3)]);
                let replays_after = if self.haunted { Some(0) } else { replays_after.filter(|_| !taped) };
                pipe.meddler = Some(Box::new(Meddler::new(often, bulk && !self.haunted && !taped, replays_after)));
            }
        }
        self.links.insert(link, Link { party, conn, client: true, hub: None, up, down, meddled });
        self.parties[party].wired[index(conn)] = Some(Wired { link, open: false, given_up: false });
        let patience = if self.healed || self.plan.calm || !self.rng.percent(self.plan.slow_connects) {
            self.rng.millis(0, 20)
        } else {
            self.rng.millis(100, 12_000)
        };
        let patience = patience.max(self.hardship.unreachable_for(party, self.now));
        self.later(patience, Happening::Connect(link));
    }

    pub(super) fn connect_now(&mut self, link: u64) {
        let Some(line) = self.links.get(&link) else { return };
        let (party, conn) = (line.party, line.conn);
        if !line.client {
            self.links.remove(&link);
            return;
        }
        let now = self.now_of_session();
        let accepted = self.accept(link);
        self.trace.note(8, party as u64, link, || format!("party {party} {conn:?} connects: {accepted:?}"));
        if accepted.is_none() {
            self.links.remove(&link);
            self.parties[party].wired[index(conn)] = None;
            self.parties[party].session.connect_failed(conn, code::CREATE_CONN_FAILED, now);
            return self.touch(party);
        }
        if let Some(line) = self.links.get_mut(&link) {
            line.hub = accepted;
        }
        if let Some(wired) = &mut self.parties[party].wired[index(conn)] {
            wired.open = true;
        }
        self.parties[party].session.connected(conn, now);
        self.touch(party);
        if conn == Conn::Bulk && self.hardship.breaks_bulk_of(party) {
            let after = self.rng.millis(0, 6);
            self.later(after, Happening::Break(link));
        }
    }

    /// Makes sure that somebody looks when the pipe has something to give.
    pub(crate) fn look_later(&mut self, link: u64, way: Way) {
        let Some(line) = self.links.get_mut(&link) else { return };
        let pipe = line.pipe(way);
        let Some(at) = pipe.ready_at().map(|at| at.max(self.now)) else { return };
        if pipe.look_at.is_none_or(|before| before > at) {
            pipe.look_at = Some(at);
            self.at(at, Happening::Look(link, way));
        }
    }

    pub(super) fn look_after_pause(&mut self, link: u64, way: Way) {
        let Some(line) = self.links.get_mut(&link) else { return };
        let wired = self.parties[line.party].wired[index(line.conn)];
        let read = match way {
            Way::Up => line.hub.is_some(),
            Way::Down => wired.is_some_and(|wired| wired.link == link && !wired.given_up),
        };
        let pipe = line.pipe(way);
        if pipe.look_at.is_some() || !read {
            return;
        }
        let Some(at) = pipe.ready_at() else { return };
        let at = at.max(self.now + pipe.manner.pause);
        pipe.look_at = Some(at);
        self.at(at, Happening::Look(link, way));
    }

    /// A reader has taken bytes: the writer may go on.
    pub(crate) fn room_made(&mut self, link: u64, way: Way) {
        let Some(line) = self.links.get(&link) else { return };
        match (way, line.hub) {
            (Way::Up, _) if line.client => {
                let party = line.party;
                self.touch(party);
            }
            (Way::Down, Some(id)) => self.hub_may_write(id),
            _ => {}
        }
    }

    pub(super) fn client_reads(&mut self, link: u64) {
        let Some(line) = self.links.get_mut(&link) else { return };
        let (party, conn) = (line.party, line.conn);
        let wired = self.parties[party].wired[index(conn)];
        if !line.client || wired.is_none_or(|wired| wired.link != link || wired.given_up || !wired.open) {
            return;
        }
        let now = self.now_of_session();
        let Some(line) = self.links.get_mut(&link) else { return };
        let got = line.down.read(self.now, &mut self.rng);
        let handled = self.parties[party].handled;
        let session = &mut self.parties[party].session;
        match got {
            Got::Nothing => return,
            Got::Bytes(bytes) => {
                self.trace
                    .note(9, link, bytes.len() as u64, || format!("client reads {} of {link} {conn:?}", bytes.len()));
                let generation = session.generation(conn);
                session.reader(conn).feed(&bytes);
                session.handled_in_all(handled);
                session.received(conn, now);
                if session.generation(conn) != generation {
                    self.give_up(party, conn);
                }
            }
            Got::End => {
                self.trace.note(10, party as u64, link, || format!("party {party} sees the end of {conn:?}"));
                self.give_up(party, conn);
                let err = self.rng.pick(&[code::FORCEDCLOSECONNECTION, code::SOCKETEXCEPTION]);
                self.parties[party].session.closed(conn, err, now);
            }
        }
        self.touch(party);
        self.room_made(link, Way::Down);
    }

    fn give_up(&mut self, party: usize, conn: Conn) {
        if let Some(wired) = &mut self.parties[party].wired[index(conn)] {
            wired.given_up = true;
        }
    }

    /// The client's shell closes a connection, after one attempt to write what is queued.
    pub(super) fn hang_up(&mut self, party: usize, conn: Conn, flush: bool) {
        if flush {
            self.write(party, conn);
        }
        let Some(wired) = self.parties[party].wired[index(conn)].take() else { return };
        let Some(line) = self.links.get_mut(&wired.link) else { return };
        line.client = false;
        // Unread bytes make the kernel reset the connection, and a reset can destroy what is on its way.
        let reset = line.down.held() > 0 && self.rng.percent(50);
        let keep = if reset { self.rng.below(line.up.held() + 1) } else { usize::MAX };
        line.up.end(keep, self.now + line.up.manner.latency);
        if wired.open && line.hub.is_none() {
            self.links.remove(&wired.link);
        } else {
            self.look_later(wired.link, Way::Up);
        }
    }

    /// The relay's end of a connection is closed: what is on its way to the client may be lost.
    pub(crate) fn close_at_hub(&mut self, link: u64, hard: bool) {
        let Some(line) = self.links.get_mut(&link) else { return };
        line.hub = None;
        if !line.client {
            self.links.remove(&link);
            return;
        }
        let keep = if hard && self.rng.percent(50) { self.rng.below(line.down.held() + 1) } else { usize::MAX };
        line.down.end(keep, self.now + line.down.manner.latency);
        self.look_later(link, Way::Down);
    }

    /// The relay will write no more on a connection.
    pub(crate) fn shut_down_at_hub(&mut self, link: u64) {
        let Some(line) = self.links.get_mut(&link) else { return };
        line.down.end(usize::MAX, self.now + line.down.manner.latency);
        self.look_later(link, Way::Down);
    }

    /// What has just been written passes the box on the way.
    pub(crate) fn meddle(&mut self, link: u64, way: Way) {
        let Some(line) = self.links.get_mut(&link).filter(|line| line.meddled) else { return };
        let tape = self.tapes.entry((line.party, index(line.conn), way)).or_default();
        self.ledger.meddled(line.pipe(way).meddle(tape, &mut self.rng));
    }

    pub(super) fn write(&mut self, party: usize, conn: Conn) {
        let Some(wired) = self.parties[party].wired[index(conn)].filter(|it| it.open && !it.given_up) else { return };
        let now = self.now_of_session();
        let Some(line) = self.links.get_mut(&wired.link) else { return };
        let session = &mut self.parties[party].session;
        let mut wrote = false;
        let meddled = line.meddled;
        while !session.out(conn).is_empty() && line.up.write(session.out(conn), self.now) > 0 {
            if meddled {
                let tape = self.tapes.entry((party, index(conn), Way::Up)).or_default();
                self.ledger.meddled(line.up.meddle(tape, &mut self.rng));
            }
            session.written(conn, now);
            wrote = true;
        }
        if line.hub.is_none() {
            // The other end is closed: what is written goes nowhere.
            session.out(conn).take();
        } else if wrote {
            self.look_later(wired.link, Way::Up);
        }
    }
}
