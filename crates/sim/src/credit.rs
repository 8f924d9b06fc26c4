//! What senders have been granted by their targets, read off the wire at the relay (`docs/wire.md`, section 4): whoever
//! sends more makes its target refuse it, or hold more than it wants to.

use std::collections::HashMap;

use crvideo_proto::frame::Frame;
use crvideo_proto::id::TaskId;
use crvideo_proto::message::{Address, Command, CommandAck, Confirm, Data, Go, Message};
use crvideo_proto::session::{COMMAND_OVERHEAD, INITIAL_COMMAND_LIMIT, INITIAL_WINDOW};

/// The grants of all sequences and transfers.
#[derive(Debug, Default)]
pub(crate) struct Credit {
    /// Up to where commands may go, by the epochs of their sender and their target.
    commands: HashMap<(u64, u64), Sequence>,
    /// Up to where the bytes of a transfer may go, by the epoch of its sender.
    transfers: HashMap<(u64, TaskId), Transfer>,
    /// Frames come in order, and none of them again.
    in_order: bool,
    /// What went beyond a grant.
    pub(crate) breach: Option<String>,
}

/// One transfer.
#[derive(Debug)]
struct Transfer {
    /// Its bytes may go up to here.
    limit: u64,
    /// What is at which epoch of its target.
    confirmed_by: Option<(u64, u64)>,
}

impl Default for Transfer {
    fn default() -> Self {
        Self { limit: INITIAL_WINDOW, confirmed_by: None }
    }
}

/// Commands of one epoch to another.
#[derive(Debug, Default)]
struct Sequence {
    limit: u64,
    /// Its first command has been seen: what lies behind that needs no grant for a while.
    begun: bool,
}

impl Credit {
    /// Grants of a world in which frames come in order, or not.
    pub(crate) fn judging(in_order: bool) -> Self {
        Self { in_order, ..Self::default() }
    }

    /// Boxes on the way repeat frames from now on.
    pub(crate) fn expect_repetitions(&mut self) {
        self.in_order = false;
    }

    /// A frame comes from a client; what it says of itself must be covered by what it was granted.
    pub(crate) fn check(&mut self, frame: &Frame) {
        let judged = self.judge(frame);
        self.breach = self.breach.take().or(judged.err());
    }

    fn judge(&mut self, frame: &Frame) -> Result<(), String> {
        match frame.method() {
            Command::METHOD => {
                let Some((own, to, command)) = read::<Command>(frame) else { return Ok(()) };
                // An empty command that asks for a limit takes nothing.
                if command.task.as_bytes() == &[0; 16] {
                    return Ok(());
                }
                let sequence = self.commands.entry((own, to)).or_default();
                if !std::mem::replace(&mut sequence.begun, true) {
                    sequence.limit = sequence.limit.max(command.position.saturating_add(INITIAL_COMMAND_LIMIT));
                }
                let limit = sequence.limit;
                let end = command.position.saturating_add(command.data.len() as u64 + COMMAND_OVERHEAD);
                within(end, limit, "a command")
            }
            CommandAck::METHOD => {
                let Some((own, to, ack)) = read::<CommandAck>(frame) else { return Ok(()) };
                let sequence = self.commands.entry((to, own)).or_default();
                sequence.limit = sequence.limit.max(ack.limit);
                Ok(())
            }
            Data::METHOD => {
                let Some((own, _, data)) = read::<Data>(frame) else { return Ok(()) };
                let transfer = self.transfers.entry((own, data.task)).or_default();
                let limit = transfer.limit;
                within(data.offset.saturating_add(data.data.len() as u64), limit, "a piece of a transfer")
            }
            Go::METHOD => {
                let Some((own, to, go)) = read::<Go>(frame) else { return Ok(()) };
                let transfer = self.grant(to, go.task, go.limit);
                let confirmed = transfer.confirmed_by.filter(|(by, _)| *by == own).map_or(0, |(_, offset)| offset);
                if self.in_order && go.offset < confirmed {
                    return Err(format!("a target wants what it has: from {}, and has {confirmed}", go.offset));
                }
                Ok(())
            }
            Confirm::METHOD => {
                let Some((own, to, confirm)) = read::<Confirm>(frame) else { return Ok(()) };
                self.grant(to, confirm.task, confirm.limit).confirmed_by = Some((own, confirm.offset));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn grant(&mut self, to: u64, task: TaskId, limit: u64) -> &mut Transfer {
        let transfer = self.transfers.entry((to, task)).or_default();
        transfer.limit = limit.max(transfer.limit);
        transfer
    }
}

fn within(end: u64, limit: u64, what: &str) -> Result<(), String> {
    if end > limit { Err(format!("I8: {what} goes up to {end}, and its target takes {limit}")) } else { Ok(()) }
}

/// A routed message on its way up, with the epochs of both sides.
fn read<M: Message>(frame: &Frame) -> Option<(u64, u64, M)> {
    let (address, mut reader) = Address::to_with_rest(&frame.payload).ok()?;
    let message = M::read_pairs(&mut reader, address.behind()).ok()?;
    Some((address.own?, address.epoch, message))
}
