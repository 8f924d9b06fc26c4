//! A session that receives commands: its grants, its memory of senders, and its count of what the application has handled
//! (`docs/wire.md`, section 4.1).

use bytes::Bytes;
use crvideo_proto::id::TaskId;
use crvideo_proto::message::{self as msg, PeerState};
use crvideo_proto::session::{COMMAND_OVERHEAD, MAX_COMMAND, Receipt};

use super::bench::{Bench, EPOCH};
use super::desk::{Verdict, must};

const BOB: u64 = 2_000;
const AFTER: u64 = 2_100;
/// What a source may be ahead of the application.
const WINDOW: u64 = 1_024 * 1_024;
const LARGEST: u64 = MAX_COMMAND as u64 + COMMAND_OVERHEAD;

pub(super) fn run() -> Verdict {
    counts().map_err(|it| format!("counts: {it}"))?;
    other_epochs().map_err(|it| format!("other_epochs: {it}"))?;
    back_again().map_err(|it| format!("back_again: {it}"))?;
    own_epoch().map_err(|it| format!("own_epoch: {it}"))?;
    refusals().map_err(|it| format!("refusals: {it}"))?;
    room().map_err(|it| format!("room: {it}"))
}

/// A sender's next commands.
struct Sender {
    user: &'static str,
    epoch: u64,
    position: u64,
    settled: u64,
}

impl Sender {
    fn new(user: &'static str, epoch: u64) -> Self {
        Self { user, epoch, position: 0, settled: 0 }
    }

    /// Sends so many large commands; what the session acknowledges last.
    fn send(&mut self, bench: &mut Bench, count: usize) -> Result<msg::CommandAck, String> {
        for _ in 0..count {
            let data = Bytes::from(vec![1; MAX_COMMAND]);
            let task = TaskId::from_bytes([self.position.to_le_bytes()[2]; 16]);
            let (position, base, settled) = (self.position, self.position, self.settled);
            let command = msg::Command { position, base, settled, task, chosen: false, data };
            bench.from(self.user, self.epoch, &command);
            self.position += LARGEST;
        }
        let epoch = self.epoch;
        let acks = bench.sent::<msg::CommandAck>();
        let last = acks.into_iter().rfind(|(to, _)| *to == epoch).map(|(_, ack)| ack);
        last.ok_or_else(|| format!("no acknowledgement to {} of epoch {epoch}", self.user))
    }
}

fn last_receipt(bench: &mut Bench) -> Result<Receipt, String> {
    bench.commands().into_iter().flatten().next_back().ok_or_else(|| "no receipt is asked for".to_owned())
}

/// The application's count never goes back, nor beyond what it was handed.
fn counts() -> Verdict {
    let mut bench = Bench::new(1 << 30)?;
    Sender::new("bob", BOB).send(&mut bench, 3)?;
    bench.session.handled_in_all(2 * LARGEST);
    bench.session.handled_in_all(LARGEST);
    let held = bench.session.held();
    must(held == LARGEST, || format!("I8: {held} bytes are held, and one command of {LARGEST} waits"))?;
    bench.session.handled_in_all(9 * LARGEST);
    let held = bench.session.held();
    must(held == 0, || format!("I8: {held} bytes are held, and nothing waits"))
}

/// What the application has handled of one epoch says nothing of another.
fn other_epochs() -> Verdict {
    let mut bench = Bench::new(1 << 30)?;
    let (mut earlier, mut later) = (Sender::new("bob", BOB), Sender::new("bob", AFTER));
    earlier.send(&mut bench, 8)?;
    let receipt = last_receipt(&mut bench)?;
    later.send(&mut bench, 8)?;
    bench.session.handled_in_all(8 * LARGEST);
    bench.session.receipt(receipt, bench.now);
    bench.look();
    bench.sent::<msg::CommandAck>();
    let ack = later.send(&mut bench, 1)?;
    let most = (ack.position + WINDOW - 9 * LARGEST).max(ack.position + LARGEST);
    must(ack.limit <= most, || format!("I8: a grant up to {}, and {most} is right", ack.limit))?;
    // A relay that has restarted lets the earlier one come back: what was handled of it meanwhile counts.
    let ack = earlier.send(&mut bench, 1)?;
    let least = ack.position + WINDOW - LARGEST;
    must(ack.limit >= least, || format!("F2: a grant up to {}, and {least} is right", ack.limit))
}

/// A sender that was said to be gone is back.
fn back_again() -> Verdict {
    let mut bench = Bench::new(1 << 30)?;
    let mut bob = Sender::new("bob", BOB);
    bob.send(&mut bench, 1)?;
    bench.news("bob", BOB, PeerState::Gone);
    let ack = bob.send(&mut bench, 14)?;
    let receipt = last_receipt(&mut bench)?;
    bench.session.handled_in_all(15 * LARGEST);
    bench.session.receipt(receipt, bench.now);
    bench.look();
    let granted = bench.sent::<msg::CommandAck>().pop().map_or(ack.limit, |(_, ack)| ack.limit);
    must(granted > ack.limit, || format!("a sender that is back is granted {granted} after {}", ack.limit))
}

/// Our own epoch has ended: the same sender begins again, and receipts of before count for nothing.
fn own_epoch() -> Verdict {
    let mut bench = Bench::new(1 << 30)?;
    let mut bob = Sender::new("bob", BOB);
    bob.send(&mut bench, 8)?;
    let receipt = last_receipt(&mut bench)?;
    bench.relink(EPOCH + 1)?;
    let mut bob = Sender::new("bob", BOB);
    bob.send(&mut bench, 1)?;
    let arrived = bench.commands().len();
    must(arrived == 1, || format!("I2: a command to a new incarnation arrived {arrived} times"))?;
    bench.session.handled_in_all(8 * LARGEST);
    bench.session.receipt(receipt, bench.now);
    bench.look();
    bench.sent::<msg::CommandAck>();
    let ack = bob.send(&mut bench, 2)?;
    let (least, most) = (ack.position + WINDOW - 3 * LARGEST, ack.position + WINDOW);
    must((least..=most).contains(&ack.limit), || format!("a grant up to {}, not {least} to {most}", ack.limit))
}

/// A refusal is repeated until the sender knows of it, and no longer.
fn refusals() -> Verdict {
    let mut bench = Bench::new(2 * LARGEST)?;
    let mut bob = Sender::new("bob", BOB);
    let ack = bob.send(&mut bench, 3)?;
    must(ack.refused == [(2 * LARGEST, 3 * LARGEST)], || format!("{:?} are refused", ack.refused))?;
    bob.settled = bob.position;
    bench.session.handled_in_all(2 * LARGEST);
    let ack = bob.send(&mut bench, 1)?;
    must(ack.refused.is_empty(), || format!("{:?} are refused, of which the sender knows", ack.refused))
}

/// A session that is short of room still grants one command to whom no receipt will make it grant more.
fn room() -> Verdict {
    let mut bench = Bench::new(12 * LARGEST)?;
    let (mut bob, mut carol) = (Sender::new("bob", BOB), Sender::new("carol", AFTER));
    // No receipt has been asked for of these.
    bob.send(&mut bench, 3)?;
    carol.send(&mut bench, 3)?;
    let asked = bench.commands().into_iter().flatten().count();
    must(asked == 0, || "a receipt was asked for too early for this drill".to_owned())?;
    // The session grows short of room by this.
    carol.send(&mut bench, 4)?;
    // What bob is told now is all that he will be told.
    let probe = msg::Command {
        position: bob.position - 1,
        base: bob.position - 1,
        settled: bob.position,
        task: TaskId::from_bytes([0; 16]),
        chosen: false,
        data: Bytes::new(),
    };
    let mut ack = msg::CommandAck { position: 0, limit: 0, refused: Vec::new() };
    for _ in 0..2 {
        bench.from("bob", BOB, &probe);
        ack = bench.sent::<msg::CommandAck>().pop().map(|(_, ack)| ack).ok_or("a probe has no answer")?;
    }
    must(ack.limit >= ack.position + LARGEST, || {
        format!("a sender at {} is granted {}, and nothing will change that", ack.position, ack.limit)
    })
}
