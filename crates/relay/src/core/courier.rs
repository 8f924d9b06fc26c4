//! What the relay itself sends to sessions for servers that speak RTM, and what the sessions answer:
//! `docs/wire.md` section 4.3.

use std::collections::VecDeque;
use std::sync::Arc;

use crvideo_proto::frame::Frame;
use crvideo_proto::id::TaskId;
use crvideo_proto::message::{self as msg, Address, Body, Message};
use crvideo_proto::pack::{PackError, Writer};

use super::session::Class;
use super::{Core, Now, SessionId};

/// Stands for the relay where a session is expected that sends; no session has it.
pub(super) const COURIER: SessionId = 0;

/// News for the courier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Project id.
    pub project: i64,
    /// Whose session it is from.
    pub user: Arc<str>,
    /// What it says.
    pub news: News,
}

/// What a session has said or done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// It has logged in, come back, or lost what was on its way to it: what is unanswered is to be sent again.
    Here,
    /// The application has handled a message.
    Got(TaskId),
    /// Start a transfer, or start again.
    Go(msg::Go),
    /// How far a transfer has come.
    Confirm(msg::Confirm),
    /// How a transfer ended.
    Done(msg::Done),
}

/// The courier's half of the core.
#[derive(Debug, Default)]
pub(super) struct Courier {
    /// The epoch in which the relay itself sends; 0 while nobody asked for a courier.
    epoch: u64,
    /// Later epochs, the first first, for what is sent anew.
    renewed: VecDeque<u64>,
    mail: Vec<Mail>,
}

/// Epochs for what is sent anew that count at the same time. A transfer whose epoch has been forgotten hears nothing
/// any more and is tried once again.
const MAX_RENEWED: usize = 4_096;

impl Courier {
    /// Letters of which the courier has not heard.
    pub(super) fn letters(&self) -> usize {
        self.mail.len()
    }
}

impl Core {
    /// Begins to collect mail for the courier, which sends in an epoch of its own.
    pub fn start_courier(&mut self, now: Now) {
        self.now = now;
        self.courier.epoch = self.epochs.next(now.unix_micros);
    }

    /// The epoch in which the courier sends.
    pub fn courier_epoch(&self) -> u64 {
        self.courier.epoch
    }

    /// Another epoch to send in: a session remembers how a transfer has failed, and only to a later incarnation of its
    /// sender does it not give the same answer again.
    pub fn renew_courier_epoch(&mut self, now: Now) -> u64 {
        self.now = now;
        let epoch = self.epochs.next(now.unix_micros);
        self.courier.renewed.push_back(epoch);
        if self.courier.renewed.len() > MAX_RENEWED {
            self.courier.renewed.pop_front();
        }
        epoch
    }

    /// The mail since the last call.
    pub fn take_mail(&mut self) -> Vec<Mail> {
        std::mem::take(&mut self.courier.mail)
    }

    /// Sends a user's session a message of the relay's own; `false` when there is no session with a link and room.
    pub fn post<M: Message>(&mut self, project: i64, user: &str, message: &M, now: Now) -> bool {
        self.now = now;
        let Some(id) = self.session_with_link(project, user) else { return false };
        let Some(mut queue) = self.room(id, Class::Commands, COURIER) else { return false };
        queue.one_way(message);
        drop(queue);
        self.pushed(id, Class::Commands, COURIER);
        true
    }

    /// Offers a user's session a file as if the user `from` did in one of the courier's epochs, on its command connection; `false` when there is no
    /// session with a link and room.
    pub fn post_offer(&mut self, project: i64, user: &str, from: (&str, u64), offer: &msg::Offer, now: Now) -> bool {
        self.post_routed(Class::Commands, project, user, from, offer, now)
    }

    /// Sends a user's session a piece of a transfer, as if the user `from` had; `false` when there is no session with a
    /// link and room.
    pub fn post_bulk<M: Message>(
        &mut self,
        project: i64,
        user: &str,
        from: (&str, u64),
        message: &M,
        now: Now,
    ) -> bool {
        self.post_routed(Class::Bulk, project, user, from, message, now)
    }

    fn post_routed<M: Message>(
        &mut self,
        class: Class,
        project: i64,
        user: &str,
        (from, epoch): (&str, u64),
        message: &M,
        now: Now,
    ) -> bool {
        self.now = now;
        let Some(id) = self.session_with_link(project, user) else { return false };
        let Some(mut queue) = self.room(id, class, COURIER) else { return false };
        let mut pairs = bytes::BytesMut::new();
        let mut writer = Writer::new(&mut pairs);
        message.put_pairs(&mut writer);
        let tail = writer.take_tail();
        queue.forward_with_tail(M::METHOD, message.pairs() + 2, from, epoch, pairs.freeze(), tail);
        drop(queue);
        self.pushed(id, class, COURIER);
        true
    }

    /// Whether a user has a session with a link.
    pub fn is_reachable(&self, project: i64, user: &str) -> bool {
        self.session_with_link(project, user).is_some()
    }

    fn session_with_link(&self, project: i64, user: &str) -> Option<SessionId> {
        let id = *self.projects.get(&project)?.session_by_user.get(user)?;
        self.sessions.get(&id)?.command.map(|_| id)
    }

    /// Whether a routed message is an answer to the courier.
    pub(super) fn is_for_courier(&self, address: &Address<'_>) -> bool {
        let Courier { epoch, renewed, .. } = &self.courier;
        *epoch != 0 && (address.epoch == *epoch || renewed.binary_search(&address.epoch).is_ok())
    }

    /// A session has answered the courier.
    pub(super) fn courier_heard(&mut self, from: SessionId, frame: &Frame) -> Result<(), PackError> {
        let news = match frame.method() {
            msg::Go::METHOD => News::Go(msg::Go::read(&frame.payload)?),
            msg::Confirm::METHOD => News::Confirm(msg::Confirm::read(&frame.payload)?),
            msg::Done::METHOD => News::Done(msg::Done::read(&frame.payload)?),
            // Nothing else is an answer to what the courier sends.
            _ => return Ok(()),
        };
        self.put_mail(from, news);
        Ok(())
    }

    /// Puts a session's news into the courier's mail, if there is a courier.
    pub(super) fn put_mail(&mut self, from: SessionId, news: News) {
        if self.courier.epoch == 0 {
            return;
        }
        if let Some(session) = self.sessions.get(&from) {
            let (project, user) = (session.project, session.user.clone());
            self.courier.mail.push(Mail { project, user, news });
        }
    }
}
