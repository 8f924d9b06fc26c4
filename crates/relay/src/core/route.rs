//! Where a routed message goes.

use crvideo_proto::code;
use crvideo_proto::frame::Frame;
use crvideo_proto::id::TaskId;
use crvideo_proto::message::{self as msg, Address, Body, CLASS_BULK, CLASS_COMMANDS, Message, PeerState, Routed};
use tracing::debug;

use super::session::Class;
use super::{Breach, ConnectionId, Core, SessionId};

/// A routed message has at most this many pairs, the address included.
const MAX_PAIRS: usize = 32;
/// Keys that only an address has.
const ADDRESS_KEYS: [&[u8]; 4] = [b"to", b"te", b"fr", b"fe"];

/// Which connection a routed message travels on; `None` for messages that are not routed.
pub(super) fn class_of(method: &str) -> Option<Class> {
    match method {
        msg::Command::METHOD
        | msg::CommandAck::METHOD
        | msg::Go::METHOD
        | msg::Confirm::METHOD
        | msg::Cancel::METHOD
        | msg::Done::METHOD => Some(Class::Commands),
        msg::Offer::METHOD | msg::Data::METHOD | msg::End::METHOD => Some(Class::Bulk),
        _ => None,
    }
}

/// Checks a routed message as a whole, and returns its address. What stands behind the address is passed on
/// unseen, so it must not contain what the target could take for an address.
fn check(frame: &Frame, both_epochs: bool) -> Result<Address<'_>, Breach> {
    let (address, mut reader) = Address::to_with_rest(&frame.payload)?;
    if address.pairs > MAX_PAIRS {
        return Err(Breach::Address("too many pairs"));
    }
    if address.own.is_some() != both_epochs {
        return Err(Breach::Address("the sender's own epoch, missing or not agreed upon"));
    }
    let mut keys = [(0, &[][..]); MAX_PAIRS];
    for pair in 0..address.behind() {
        let key = reader.key()?;
        let mark = mark_of(key);
        let twice = keys[..pair].iter().any(|(other, known)| *other == mark && *known == key);
        if twice || ADDRESS_KEYS.contains(&key) {
            return Err(Breach::Address("a key that stands twice"));
        }
        keys[pair] = (mark, key);
        reader.skip(1)?;
    }
    reader.finish()?;
    Ok(address)
}

/// A number that equal keys have in common, and few others.
fn mark_of(key: &[u8]) -> u64 {
    let length = key.len() as u64;
    key.iter().take(size_of::<u64>() - 1).fold(length, |mark, byte| mark << 8 | u64::from(*byte))
}

impl Core {
    pub(super) fn route(
        &mut self,
        id: ConnectionId,
        from: SessionId,
        class: Class,
        method: &str,
        frame: &Frame,
    ) -> Result<(), Breach> {
        let both_epochs = self.connections.get(&id).is_some_and(|connection| connection.both_epochs);
        let address = check(frame, both_epochs)?;
        let epoch = self.sessions.get(&from).map_or(0, |session| session.epoch);
        if address.own.is_some_and(|own| own != epoch) {
            debug!(connection = id, ?method, "dropped: an earlier session's, repeated on the way");
            return Ok(());
        }
        if self.is_for_courier(&address) {
            return Ok(self.courier_heard(from, frame)?);
        }
        if method == msg::Offer::METHOD && self.is_too_large(from, &address, frame)? {
            return Ok(());
        }
        self.count_end(from, &address, method, frame);
        let Some(target) = self.target(from, &address) else { return Ok(()) };
        if !self.count_transfer(from, target, &address, method, frame)? {
            return Ok(());
        }
        let Some(sender) = self.sessions.get(&from) else { return Ok(()) };
        let (user, epoch) = (sender.user.clone(), sender.epoch);
        let rest = frame.payload.slice(address.rest..);
        let Some(mut queue) = self.room(target, class, from) else { return Ok(()) };
        queue.forward(method, address.pairs, &user, epoch, rest);
        drop(queue);
        self.pushed(target, class, from);
        Ok(())
    }

    /// The session that a message is for, if it may have it now. If not, the sender knows why or is told.
    fn target(&mut self, from: SessionId, address: &Address<'_>) -> Option<SessionId> {
        let Some((target, epoch, away)) = self.look_up(from, address.user) else {
            let later = self.ask_later(from, address.user, address.epoch);
            self.not_there(from, address, if later { PeerState::Away } else { PeerState::Gone });
            return None;
        };
        if epoch != address.epoch {
            debug!(to = ?address.user, epoch = address.epoch, "dropped: not the live epoch");
            self.not_there(from, address, PeerState::Gone);
            return None;
        }
        // Those who were joined in an earlier run of the relay need not say so again.
        if !self.joined(from, target) && !self.join(from, target) {
            debug!(to = ?address.user, "dropped: too many correspondents");
            return None;
        }
        // The sender has been told that the target is away, and hears when it is back.
        (!away).then_some(target)
    }

    fn joined(&self, one: SessionId, other: SessionId) -> bool {
        self.sessions.get(&one).is_some_and(|session| session.peers.contains_key(&other))
    }

    fn not_there(&mut self, from: SessionId, address: &Address<'_>, state: PeerState) {
        let (user, epoch) = (address.user.to_owned(), address.epoch);
        self.tell(from, &msg::Peer { user, epoch, state: state as u8, class: CLASS_COMMANDS | CLASS_BULK });
    }

    /// Answers an offer in the target's place when the project does not allow files of that size.
    fn is_too_large(&mut self, from: SessionId, address: &Address<'_>, frame: &Frame) -> Result<bool, Breach> {
        let offer = msg::Offer::read(&frame.payload)?;
        let project = self.sessions.get(&from).and_then(|session| self.projects.get(&session.project));
        let limit = project.map_or(0, |project| project.tenant.max_file);
        if limit == 0 || offer.size <= limit || offer.kind == KIND_BUFFER {
            return Ok(false);
        }
        self.end_transfer(from, address, offer.task, code::FILE_SIZE_UNSUPPORT);
        Ok(true)
    }

    /// Tells a sender in the target's place how a transfer has ended.
    fn end_transfer(&mut self, from: SessionId, address: &Address<'_>, task: TaskId, code: i32) {
        let message = msg::Done { task, code: code.into() };
        self.tell_routed(from, Routed { from: address.user.to_owned(), epoch: address.epoch, message });
    }

    /// Counts the transfers of a session that are under way; `false` when an offer is one too many. One that is
    /// repeated goes on whatever the limit: its target may have it already.
    fn count_transfer(
        &mut self,
        from: SessionId,
        target: SessionId,
        address: &Address<'_>,
        method: &str,
        frame: &Frame,
    ) -> Result<bool, Breach> {
        if method == msg::Offer::METHOD {
            let offer = msg::Offer::read(&frame.payload)?;
            let most = self.settings.guard.session_transfers;
            let Some(sender) = self.sessions.get_mut(&from) else { return Ok(false) };
            let known = sender.transfers.contains_key(&offer.task);
            if most > 0 && sender.transfers.len() >= most && !known && !offer.repeated {
                debug!(user = ?sender.user, "refused: too many transfers under way");
                self.end_transfer(from, address, offer.task, code::SEND_QUEUE_FULL);
                return Ok(false);
            }
            if known || most == 0 || sender.transfers.len() < most {
                sender.transfers.insert(offer.task, target);
            }
        }
        Ok(true)
    }

    /// A transfer that its sender or its target ends is not under way any more, whether the other one can hear of it or
    /// not: who has ended it does not say so again on its own.
    fn count_end(&mut self, from: SessionId, address: &Address<'_>, method: &str, frame: &Frame) {
        match method {
            msg::Cancel::METHOD => {
                if let Ok(cancel) = msg::Cancel::read(&frame.payload)
                    && let Some(sender) = self.sessions.get_mut(&from)
                {
                    sender.transfers.remove(&cancel.task);
                }
            }
            msg::Done::METHOD => {
                if let Ok(done) = msg::Done::read(&frame.payload)
                    && let Some((id, epoch, _)) = self.look_up(from, address.user)
                    && epoch == address.epoch
                    && let Some(sender) = self.sessions.get_mut(&id)
                    && sender.transfers.get(&done.task) == Some(&from)
                {
                    sender.transfers.remove(&done.task);
                }
            }
            _ => {}
        }
    }
}

/// [`msg::Offer::kind`] of a buffer; buffers have a limit of their own, which the libraries keep.
const KIND_BUFFER: u8 = 1;
