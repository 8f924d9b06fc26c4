//! Pushes: encoded once, whoever gets them.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use crvideo_proto::pack::Writer;
use crvideo_proto::rtm::params::Fields;

use super::listening::Choice;
use super::outbox::Outbox;
use super::{Message, Target};
use crate::guard::{Budget, hold};
use crate::store::{Draft, Kind};

/// A stored message as it is pushed to a user who speaks RTM: the method and the payload.
pub(super) fn stored_push(draft: &Draft, user: i64) -> (&'static str, Bytes) {
    let fields = Fields::new()
        .int("from", draft.from)
        .int("mid", draft.mid)
        .int("mtype", draft.mtype.into())
        .message("msg", &draft.body)
        .text("attrs", &draft.attrs)
        .int("mtime", draft.mtime);
    // Some SDKs also read a `to` where a group or room is named.
    let (method, to, fields) = match draft.kind {
        Kind::User => ("pushmsg", user, fields),
        Kind::Group => ("pushgroupmsg", draft.place, fields.int("gid", draft.place)),
        Kind::Room => ("pushroommsg", draft.place, fields.int("rid", draft.place)),
        Kind::Everyone => ("pushbroadcastmsg", user, fields),
    };
    (method, fields.int("to", to).finish())
}

/// A push without its `to`, which differs from one recipient to the next.
pub(super) struct Push {
    method: &'static str,
    /// Key-value pairs, the recipient included.
    pairs: usize,
    /// The pairs but for the recipient.
    rest: Bytes,
}

impl Push {
    /// The push of a message, whose memory is charged to `outboxes`; `None` for messages to everybody, of which servers hear nothing.
    pub(super) fn of(message: &Message, outboxes: &Arc<Budget>) -> Option<Self> {
        let fields = Fields::new()
            .int("from", message.from)
            .int("mid", message.mid)
            .int("mtype", message.mtype.into())
            .message("msg", &message.body)
            .text("attrs", &message.attrs)
            .int("mtime", message.mtime);
        let (method, fields) = match message.target {
            Target::User(_) | Target::Users(_) => ("pushmsg", fields),
            Target::Group(group) => ("pushgroupmsg", fields.int("gid", group)),
            Target::Room(room) => ("pushroommsg", fields.int("rid", room)),
            Target::Everyone => return None,
        };
        let payload = hold(outboxes, fields.finish());
        // A map of up to 15 pairs begins with one byte that counts them.
        let pairs = usize::from(payload.first().copied().unwrap_or_default() & 0x0f) + 1;
        Some(Self { method, pairs, rest: payload.slice(1..) })
    }

    /// Queues the push once for each target that the connection listens to. Group and room messages also have a `to`:
    /// an SDK loses them without.
    pub(super) fn send(&self, out: &Outbox, targets: &[i64], listens_to: &Choice<i64>) {
        let mut start = BytesMut::with_capacity(16);
        for to in targets.iter().filter(|to| listens_to.has(**to)) {
            start.clear();
            let mut writer = Writer::new(&mut start);
            writer.map(self.pairs);
            writer.str("to");
            writer.int(*to);
            out.quest(self.method, &start, &self.rest);
        }
    }
}
