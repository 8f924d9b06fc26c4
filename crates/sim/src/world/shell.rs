//! What the library's io thread does for a session: its wishes carried out, its files, its end.

use std::time::Duration;

use crvideo_proto::code;
use crvideo_proto::session::Output;

use super::{CONNS, Happening, Way, World, index};
use crate::defect::Defect;
use crate::files::{Done, Job, Sink};
use crate::party::Stage;

impl World {
    /// A session has been given something: its shell's turn comes soon.
    pub(crate) fn touch(&mut self, party: usize) {
        if self.parties[party].vanished {
            return;
        }
        self.parties[party].deadline = self.parties[party].session.deadline();
        if std::mem::replace(&mut self.parties[party].turn, true) {
            return;
        }
        let after = if self.rng.percent(80) { Duration::ZERO } else { self.rng.millis(0, 2) };
        self.later(after, Happening::Turn(party));
    }

    /// A destroyed session is over when it says so, or when its shell's patience ends.
    pub(super) fn bury(&mut self, party: usize) {
        for conn in CONNS {
            self.hang_up(party, conn, true);
        }
    }

    /// What was going to break does not.
    pub(crate) fn forget_faults(&mut self) {
        self.queue.retain(|what| !matches!(what, Happening::KillHub));
    }

    pub(super) fn turn(&mut self, party: usize) {
        if self.parties[party].vanished {
            return;
        }
        self.parties[party].turn = false;
        loop {
            let mut moved = false;
            while let Some(output) = self.parties[party].session.poll_output() {
                self.output(party, output);
                moved = true;
            }
            for conn in CONNS {
                if self.parties[party].wired[index(conn)].is_some_and(|wired| wired.given_up) {
                    self.hang_up(party, conn, false);
                }
                self.write(party, conn);
            }
            if !moved {
                break;
            }
        }
        self.parties[party].deadline = self.parties[party].session.deadline();
        let [command, bulk] = self.parties[party].wired.map(|wired| wired.is_some());
        if bulk && !command || command && self.parties[party].stage == Stage::Out && !self.parties[party].destroyed {
            self.ledger.violated(format!("I9: party {party} keeps a connection that it has no use for"));
        }
        if self.parties[party].destroyed && self.parties[party].session.is_quiet() {
            self.bury(party);
        }
    }

    fn output(&mut self, party: usize, output: Output) {
        match output {
            Output::Connect { conn, .. } => self.connect(party, conn),
            Output::Close { conn } => self.hang_up(party, conn, true),
            Output::Event(event) => self.told(party, event),
            Output::Read { task, offset, len, generation } => {
                self.ledger.source_read(party, task);
                self.parties[party].asked += len as u64;
                let slow = self.rng.millis(0, if self.healed { 3 } else { self.plan.disk });
                let Some(source) = self.parties[party].sources.get_mut(&task) else { return };
                source.busy_until = source.busy_until.max(self.now) + slow;
                let at = source.busy_until;
                self.at(at, Happening::SourceRead { party, task, offset, len, generation });
            }
            Output::CloseSource { task } => self.ledger.source_closed(party, task),
            Output::OpenSink { id, size, kind } => {
                self.ledger.sink_opened(party, id);
                let bad = self.rng.percent(self.plan.bad_files) && !self.healed;
                let fails = bad.then(|| (self.rng.between(1, 4) as u32, code::FILE_WRITE_ERR));
                let mut sink = Sink::new(kind, size, fails);
                sink.rots = bad && !self.plan.calm && self.rng.percent(30);
                sink.trusting = self.defect == Some(Defect::FlipChunkByte);
                self.parties[party].sinks.insert(id, sink);
                self.sink_job(party, id, Job::Open);
                self.check_bound(party);
            }
            Output::Write { id, mut data } => {
                self.ledger.sink_used(party, id);
                if self.defect == Some(Defect::FlipChunkByte) && !data.is_empty() && self.strikes() {
                    let mut bytes = data.to_vec();
                    bytes[0] ^= 1;
                    data = bytes.into();
                }
                self.sink_job(party, id, Job::Write(data));
            }
            Output::FinishSink { id, hash } => {
                self.ledger.sink_used(party, id);
                if let Some(sink) = self.parties[party].sinks.get_mut(&id) {
                    sink.complete = true;
                }
                self.sink_job(party, id, Job::Finish(hash));
            }
            Output::AbortSink { id } => {
                self.ledger.saw("sinks aborted");
                self.ledger.sink_used(party, id);
                if let Some(sink) = self.parties[party].sinks.get_mut(&id) {
                    sink.stop();
                }
                let slowest = if self.healed { 5 } else { self.plan.disk };
                let after = self.rng.millis(0, slowest).max(self.hardship.removal);
                self.later(after, Happening::SinkDone { party, id, done: Done::Aborted });
            }
        }
    }

    /// Jobs of one sink are done in order; their reports may take a while.
    fn sink_job(&mut self, party: usize, id: u64, job: Job) {
        let slowest = if self.healed { 3 } else { self.plan.disk };
        let hangs = !self.healed && self.rng.percent(self.plan.hangs);
        let work = if hangs { self.rng.millis(1_000, 8_000) } else { self.rng.millis(0, slowest) };
        let report = self.rng.millis(0, 1);
        let work = work.max(self.hardship.work(&job));
        let Some(sink) = self.parties[party].sinks.get_mut(&id) else { return };
        let at = sink.busy_until.max(self.now) + work;
        let report_at = at + report;
        sink.busy_until = report_at;
        self.at(at, Happening::SinkJob { party, id, job, report_at });
    }

    pub(super) fn sink_done(&mut self, party: usize, id: u64, done: Done) {
        let now = self.now_of_session();
        self.trace.note(11, party as u64, id, || format!("party {party} sink {id}: {done:?}"));
        if done == Done::Aborted {
            if self.defect == Some(Defect::KeepSink) && self.strikes() {
                return;
            }
            self.parties[party].sinks.remove(&id);
            self.ledger.sink_closed(party, id);
        }
        let session = &mut self.parties[party].session;
        match done {
            Done::Silent => {}
            Done::Written(written) => session.sink_written(id, written, now),
            Done::Finished => session.sink_finished(id, now),
            Done::Failed(err) => session.sink_failed(id, err, now),
            Done::Aborted => session.sink_aborted(id, now),
        }
        self.touch(party);
    }

    /// The program of a party ends at once, and says nothing to anybody.
    pub(crate) fn vanish(&mut self, party: usize) {
        self.trace.note(33, party as u64, 0, || format!("party {party} vanishes"));
        self.parties[party].vanished = true;
        self.parties[party].destroyed = true;
        self.parties[party].deadline = None;
        let silently = self.rng.percent(50);
        for conn in CONNS {
            let Some(wired) = self.parties[party].wired[index(conn)].take() else { continue };
            let Some(line) = self.links.get_mut(&wired.link) else { continue };
            line.client = false;
            if silently {
                line.up.swallow();
                line.down.swallow();
            } else {
                line.up.end(usize::MAX, self.now + line.up.manner.latency);
            }
            self.look_later(wired.link, Way::Up);
        }
    }
}
