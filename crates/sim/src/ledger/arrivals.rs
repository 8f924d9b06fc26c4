//! What reaches its target: once, whole, in order, and no longer than its sender wants it to.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::code;
use crvideo_proto::id::TaskId;
use crvideo_proto::session::Kind;

use super::{Incoming, Ledger, PROGRESS_EVERY, RECOVERY, What};

/// Names of files are cut to this many bytes.
const LONGEST_NAME: usize = 255;

impl Ledger {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn delivered(
        &mut self,
        party: usize,
        user: (i64, &str),
        source: &str,
        task: TaskId,
        what: What,
        data: &[u8],
        name: Option<&str>,
    ) {
        let Some(at) = self.calls_by_task.get(&task).and_then(|calls| calls.first()).copied() else {
            return self.violated(format!("I2: party {party} received task {task:?}, which nobody sent"));
        };
        let call = self.entries[at].call.clone();
        if (call.project, call.target) != user || call.user != source || call.what != what {
            self.violated(format!("I11: task {task:?} came to {user:?} from {source} as {what:?}"));
        }
        let calls = self.calls_by_task.get(&task).into_iter().flatten();
        let mut contents = calls.map(|at| &self.entries[*at].call.content);
        if contents.all(|content| content != data) {
            self.violated(format!("I3: task {task:?} came with other content ({} bytes)", data.len()));
        }
        let calls = self.calls_by_task.get(&task).into_iter().flatten();
        let mut names = calls.map(|at| cut(&self.entries[*at].call.name));
        if name.is_some_and(|name| names.all(|it| it != name)) {
            self.violated(format!("I3: task {task:?} came under another name: {name:?}"));
        }
        let limit = match what {
            What::Command => Some(65_536),
            What::Transfer(Kind::Buffer) => Some(self.buffer_limit),
            What::Transfer(Kind::File) => self.file_limit,
        };
        if limit.is_some_and(|limit| data.len() as u64 > limit) {
            self.violated(format!(
                "task {task:?} ({what:?}) of {} bytes was delivered, more than {limit:?}",
                data.len()
            ));
        }
        let deliveries = self.deliveries.entry(task).or_default();
        deliveries.push(party);
        let (all, to_this) = (deliveries.len(), deliveries.iter().filter(|to| **to == party).count());
        let parties = deliveries.clone();
        let again = self.used_again(task);
        if to_this > 1 || (all > 1 && !again) {
            return self.violated(format!("I2: task {task:?} was delivered more than once, to {parties:?}"));
        }
        let calls = self.calls_by_task.get(&task).cloned().unwrap_or_default();
        let ends: Vec<i32> = calls.iter().filter_map(|at| self.entries[*at].ended).map(|(err, _)| err).collect();
        let open = again && ends.len() < calls.len();
        if !ends.is_empty() && !open && !ends.contains(&code::SEND_OUTCOME_UNKNOWN) {
            self.violated(format!("I2: task {task:?} was delivered after it had ended with {ends:?}"));
        }
        if what == What::Command
            && !again
            && let Some(last) = self.last_command.insert((call.party, self.entries[at].spell, party), at)
            && last > at
        {
            self.violated(format!("I4: task {task:?} from party {} to {party} came out of order", call.party));
        }
    }

    /// A transfer as its receiver sees it. Another incarnation of its sender may begin again what has failed.
    pub(super) fn incoming(&mut self, party: usize, source: &Arc<str>, task: TaskId) -> &mut Incoming {
        let again = self.used_again(task);
        let incoming = self.incoming.entry((party, source.clone(), task)).or_default();
        if incoming.ended && again {
            *incoming = Incoming::default();
        }
        incoming
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn delivered_transfer(
        &mut self,
        party: usize,
        user: (i64, &str),
        source: &Arc<str>,
        task: TaskId,
        kind: Kind,
        content: Option<Bytes>,
        name: Option<&str>,
    ) {
        let Some(content) = content else {
            return self.violated(format!("I2: task {task:?} was told to party {party} before it was complete"));
        };
        let incoming = self.incoming(party, source, task);
        if std::mem::replace(&mut incoming.ended, true) {
            self.violated(format!("task {task:?} ended twice at party {party}"));
        }
        self.delivered(party, user, source, task, What::Transfer(kind), &content, name);
    }

    pub(super) fn receive_progress(
        &mut self,
        party: usize,
        source: &Arc<str>,
        task: TaskId,
        (received, total): (u64, u64),
        now: Duration,
    ) {
        let incoming = self.incoming(party, source, task);
        let wrong = incoming.ended || received < incoming.received || received > total;
        incoming.heard = true;
        incoming.received = received;
        let told_before = incoming.told_at.replace(now);
        if received < total && told_before.is_some_and(|at| now < at + PROGRESS_EVERY) {
            self.violated(format!("receive progress of task {task:?} is told too often"));
        }
        if wrong {
            self.violated(format!("I6: receive progress {received} of {total} of task {task:?} at party {party}"));
        }
    }

    pub(super) fn transfer_ended(&mut self, party: usize, source: &Arc<str>, task: TaskId, err: i32) {
        let incoming = self.incoming(party, source, task);
        let (heard, ended) = (incoming.heard, std::mem::replace(&mut incoming.ended, true));
        self.saw_times("transfers ended at the receiver with", Some(err), 1);
        if !heard || ended || err == code::NOERR {
            self.violated(format!(
                "party {party} hears that task {task:?} ended with {err} (heard of it: {heard}, ended before: {ended})"
            ));
        }
    }

    /// When all is healed, a receiver does not wait for long for what its sender has ended, unless the relay has said to
    /// that one, after a restart, that the receiver were gone, or the news of the end was lost with the receiver's link.
    pub(crate) fn must_let_go(&mut self, now: Duration) {
        let Some(healed_at) = self.healed_at.filter(|at| now > *at + RECOVERY && !self.restarts) else { return };
        let waits = self.incoming.iter().find(|((party, _, task), it)| {
            let calls = self.calls_by_task.get(task).map_or(&[][..], Vec::as_slice);
            let [at] = calls else { return false };
            let ended = self.entries[*at].ended.map(|(_, at)| at.max(healed_at));
            let broke = self.last_line_off.get(party).is_some_and(|(_, off)| *off >= self.entries[*at].call.at);
            it.heard && !it.ended && !broke && ended.is_some_and(|at| now > at + RECOVERY)
        });
        if let Some(((party, _, task), _)) = waits {
            let text = format!("party {party} waits for task {task:?}, which its sender has ended long ago");
            self.violated(text);
        }
    }
}

/// A name as its receiver hears it: no more whole characters of it than there is room for.
fn cut(name: &str) -> &str {
    let ends = name.char_indices().map(|(at, char)| at + char.len_utf8());
    &name[..ends.take_while(|end| *end <= LONGEST_NAME).last().unwrap_or(0)]
}
