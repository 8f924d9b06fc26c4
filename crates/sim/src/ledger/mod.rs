//! The book of all that was asked for and all that happened, and the rules that it must obey.
//! It knows the contract and nothing of how the code under test goes about it.

mod arrivals;
mod outcomes;
mod posts;
mod presence;
mod resources;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::code;
use crvideo_proto::id::TaskId;
use crvideo_proto::session::{Event, Kind};

/// So long after all faults have stopped, whatever can go on goes on: a session may wait 20 s before it comes back.
const RECOVERY: Duration = Duration::from_secs(28);
/// Progress is told every 50 ms at most; the shell may pass it on with a delay that varies by a little.
const PROGRESS_EVERY: Duration = Duration::from_millis(45);

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Command,
    Transfer(Kind),
}

/// One accepted call to send.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) party: usize,
    pub(crate) project: i64,
    pub(crate) user: &'static str,
    pub(crate) target: &'static str,
    pub(crate) what: What,
    pub(crate) task: TaskId,
    pub(crate) name: String,
    pub(crate) content: Bytes,
    pub(crate) cookie: usize,
    pub(crate) at: Duration,
    pub(crate) timeout: Duration,
    /// The earlier call whose outcome this one must repeat.
    pub(crate) repeats: Option<usize>,
    /// Another incarnation of the user has used the id before. The target takes it once all the same; how the earlier
    /// call ended is unknown to the session of this one.
    pub(crate) again: bool,
    /// It must succeed.
    pub(crate) probe: bool,
    /// Its target is not there: it must fail with 1102, and soon.
    pub(crate) in_vain: bool,
    /// The application chose the id.
    pub(crate) chosen: bool,
}

#[derive(Debug)]
struct Entry {
    call: Call,
    /// The spell of its party in which it was called.
    spell: u32,
    /// Progress told last, and when.
    told: Option<(u64, Duration)>,
    /// Progress told last that had to keep its distance from the one before.
    paced: Option<Duration>,
    /// Some progress was told between the beginning and the end.
    told_between: bool,
    /// A cancel has been answered, which did not succeed, and it still ran.
    wished: bool,
    /// `CancelRslt` has promised that it ends as cancelled.
    cancelled: bool,
    /// `CancelRslt` has said that the task's own end will tell.
    left_open: bool,
    ended: Option<(i32, Duration)>,
}

#[derive(Debug)]
struct Cancel {
    party: usize,
    task: TaskId,
    at: Duration,
    answered: bool,
}

/// A transfer as its receiver sees it.
#[derive(Debug, Default)]
struct Incoming {
    heard: bool,
    offered: bool,
    received: u64,
    told_at: Option<Duration>,
    ended: bool,
}

/// A message that a server has sent.
#[derive(Debug)]
struct Post {
    project: i64,
    user: &'static str,
    data: Bytes,
    /// Sessions whose applications have heard it.
    seen_by: BTreeSet<usize>,
    handled: bool,
    got: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    posts: BTreeMap<TaskId, Post>,
    /// Largest buffer that any session takes.
    pub(crate) buffer_limit: u64,
    /// Disks may change bytes.
    pub(crate) rotten: bool,
    /// Largest file that the projects allow, if they limit it.
    pub(crate) file_limit: Option<u64>,
    entries: Vec<Entry>,
    calls_by_task: BTreeMap<TaskId, Vec<usize>>,
    entry_by_cookie: BTreeMap<usize, usize>,
    cancels: BTreeMap<usize, Cancel>,
    /// Calls that must be answered exactly once, by party and cookie.
    questions: BTreeSet<(usize, &'static str, usize)>,
    deliveries: BTreeMap<TaskId, Vec<usize>>,
    /// The last command that came from one party's spell to another party, as its place in `entries`.
    last_command: BTreeMap<(usize, u32, usize), usize>,
    /// How often parties have had their links. Where a box repeats what was lost before its target saw it, only what was
    /// sent in one such spell keeps its order: nobody can tell such a frame from one of an epoch that has come back.
    spells: BTreeMap<usize, u32>,
    incoming: BTreeMap<(usize, Arc<str>, TaskId), Incoming>,
    open_sinks: BTreeSet<(usize, u64)>,
    open_sources: BTreeSet<(usize, TaskId)>,
    line_off: BTreeMap<usize, bool>,
    /// Whether the status push was last switched on or off, by the cookie of the call and, when that had succeeded, by
    /// party.
    watch_by_cookie: BTreeMap<usize, bool>,
    watches: BTreeMap<usize, bool>,
    /// What parties have heard last of users, since they began to watch or had their link back.
    statuses: BTreeMap<(usize, String), bool>,
    /// What the answer to a question about users must be, by its cookie, where it is known.
    users_by_cookie: BTreeMap<usize, Vec<String>>,
    /// With which code a login with a bad credential must be refused, by its cookie.
    refusal_by_cookie: BTreeMap<usize, i32>,
    /// How often parties have tried to come back since they had their link, and since when.
    attempts: BTreeMap<usize, (u32, Duration)>,
    /// Boxes on the way repeat what the relay says of users, too; who keeps them out by encryption has no such boxes.
    pub(crate) boxes: bool,
    /// The relay may be restarted.
    pub(crate) restarts: bool,
    /// The user who comes and goes where nothing else is broken.
    pub(crate) restless: Option<&'static str>,
    /// Parties that are no more.
    gone: BTreeSet<usize>,
    /// The relay's heart-beat.
    pub(crate) heartbeat: Duration,
    /// All transfers take long, and must tell how they get on.
    pub(crate) patient: bool,
    /// Parties that an operator has had to do with.
    operated: BTreeSet<usize>,
    /// With which code parties have lost their lines last, and when.
    last_line_off: BTreeMap<usize, (i32, Duration)>,
    /// Bytes of transfers that a session may send in a second, if that is limited.
    pub(crate) send_rate: Option<u64>,
    /// Since when nothing is broken any more.
    pub(crate) healed_at: Option<Duration>,
    /// Nothing is broken on purpose: outcomes that only faults explain are wrong.
    pub(crate) calm: bool,
    /// How often what has happened.
    sights: BTreeMap<(&'static str, Option<i32>), u64>,
    pub(crate) violation: Option<String>,
}

impl Ledger {
    pub(crate) fn violated(&mut self, what: impl Into<String>) {
        self.violation.get_or_insert(what.into());
    }

    pub(crate) fn saw(&mut self, what: &'static str) {
        self.saw_times(what, None, 1);
    }

    fn saw_times(&mut self, what: &'static str, code: Option<i32>, times: u64) {
        *self.sights.entry((what, code)).or_default() += times;
    }

    /// How often what has happened.
    pub(crate) fn sights(&self) -> BTreeMap<String, u64> {
        let text = |what: &str, code: Option<i32>| code.map_or(what.to_owned(), |code| format!("{what} {code}"));
        self.sights.iter().map(|((what, code), times)| (text(what, *code), *times)).collect()
    }

    /// A box on the way has meddled with frames.
    pub(crate) fn meddled(&mut self, times: u64) {
        if times > 0 {
            self.saw_times("frames meddled with", None, times);
        }
    }

    // ---- what was asked for -------------------------------------------------------------------------------

    pub(crate) fn called(&mut self, call: Call) {
        let at = self.entries.len();
        self.saw("calls");
        if call.repeats.is_some() {
            self.saw("repeated calls");
        }
        self.calls_by_task.entry(call.task).or_default().push(at);
        self.entry_by_cookie.insert(call.cookie, at);
        if call.what != What::Command {
            self.open_sources.insert((call.party, call.task));
        }
        let spell = if self.boxes { self.spells.get(&call.party).copied().unwrap_or(0) } else { 0 };
        let entry = Entry {
            call,
            spell,
            told: None,
            paced: None,
            told_between: false,
            wished: false,
            cancelled: false,
            left_open: false,
            ended: None,
        };
        self.entries.push(entry);
    }

    /// A party is no more: nobody waits for what it had asked for.
    pub(crate) fn vanished(&mut self, party: usize) {
        self.gone.insert(party);
        self.open_sources.retain(|(of, _)| *of != party);
        self.open_sinks.retain(|(of, _)| *of != party);
        self.incoming.retain(|(of, ..), _| *of != party);
    }

    /// The target of the task that was called last has gone.
    pub(crate) fn must_find_nobody(&mut self) {
        if let Some(last) = self.entries.last_mut() {
            last.call.in_vain = true;
        }
    }

    pub(crate) fn cancel_called(&mut self, party: usize, task: TaskId, cookie: usize, at: Duration) {
        self.cancels.insert(cookie, Cancel { party, task, at, answered: false });
    }

    pub(crate) fn running(&self, party: usize) -> Vec<TaskId> {
        let of = |entry: &&Entry| entry.call.party == party && entry.ended.is_none();
        self.entries.iter().filter(of).map(|entry| entry.call.task).collect()
    }

    /// Calls of a party that have ended and whose outcome the party's session remembers.
    pub(crate) fn repeatable(&self, party: usize) -> Vec<usize> {
        let ended = |entry: &Entry| entry.ended.is_some_and(|(err, _)| err != code::NOT_LOGIN);
        let of = |entry: &Entry| entry.call.party == party && entry.call.repeats.is_none();
        (0..self.entries.len()).filter(|at| of(&self.entries[*at]) && ended(&self.entries[*at])).collect()
    }

    /// Calls of other incarnations of a party's user that have ended and whose ids the target must know again.
    pub(crate) fn repeatable_elsewhere(&self, party: usize, of: (i64, &str)) -> Vec<usize> {
        let over = |task: &TaskId| {
            let calls = self.calls_by_task.get(task).into_iter().flatten();
            calls.into_iter().all(|at| self.entries[*at].ended.is_some() && self.entries[*at].call.party != party)
        };
        let fits = |it: &Entry| {
            (it.call.project, it.call.user) == of
                && (it.call.chosen || it.call.what != What::Command)
                && over(&it.call.task)
        };
        (0..self.entries.len()).filter(|at| fits(&self.entries[*at])).collect()
    }

    fn used_again(&self, task: TaskId) -> bool {
        self.calls_by_task.get(&task).is_some_and(|calls| calls.iter().any(|at| self.entries[*at].call.again))
    }

    pub(crate) fn call(&self, at: usize) -> &Call {
        &self.entries[at].call
    }

    /// Transfers that a party's application has heard of and that go on.
    pub(crate) fn coming_in(&self, party: usize) -> Vec<(Arc<str>, TaskId)> {
        let goes_on = self.incoming.iter().filter(|((of, ..), it)| *of == party && it.heard && !it.ended);
        goes_on.map(|((_, source, task), _)| (source.clone(), *task)).collect()
    }

    /// How a task that was called has ended.
    pub(crate) fn end_of(&self, task: TaskId) -> Option<i32> {
        let last = self.calls_by_task.get(&task)?.last()?;
        self.entries[*last].ended.map(|(err, _)| err)
    }

    /// Whether a task has been delivered.
    pub(crate) fn has_arrived(&self, task: TaskId) -> bool {
        self.deliveries.contains_key(&task)
    }

    /// Whether all cancels of a task have been answered.
    pub(crate) fn cancels_are_answered(&self, task: TaskId) -> bool {
        self.cancels.values().all(|cancel| cancel.task != task || cancel.answered)
    }

    pub(crate) fn is_line_off(&self, party: usize) -> bool {
        self.line_off.get(&party).copied().unwrap_or(false)
    }

    pub(crate) fn all_ended(&self) -> bool {
        self.entries.iter().all(|entry| entry.ended.is_some() || self.gone.contains(&entry.call.party))
            && self.cancels.values().all(|cancel| cancel.answered)
            && self.questions.is_empty()
    }

    // ---- what happened ------------------------------------------------------------------------------------

    /// A session has told its application something. `content` is what a finished sink holds.
    pub(crate) fn heard(
        &mut self,
        party: usize,
        user: (i64, &str),
        event: &Event,
        content: Option<Bytes>,
        now: Duration,
    ) {
        match event {
            Event::LoginRslt { cookie, err } => self.login_ended(party, *err, *cookie),
            Event::LogoutRslt { cookie, .. } => {
                self.watches_no_more(party);
                self.answered(party, "logout", *cookie);
            }
            Event::UsersRslt { cookie, users, err } => self.users_are(party, *err, users, *cookie),
            Event::WatchRslt { cookie, err } => {
                self.answered(party, "watch", *cookie);
                self.watch_ended(party, *err, *cookie);
            }
            Event::CommandRslt { task, err, cookie, size, .. } => {
                if let Some(at) = self.task_of(party, *task, *cookie) {
                    if *size != self.entries[at].call.content.len() {
                        self.violated(format!("a result of {size} bytes for another command"));
                    }
                    self.ended(at, What::Command, *err, now);
                }
            }
            Event::TransferRslt { task, kind, err, cookie } => {
                if let Some(at) = self.task_of(party, *task, *cookie) {
                    self.ended(at, What::Transfer(*kind), *err, now);
                }
            }
            Event::Progress { task, sent, total, cookie } => {
                if let Some(at) = self.task_of(party, *task, *cookie) {
                    self.progress(at, *sent, *total, now);
                }
            }
            Event::CancelRslt { task, err, cookie } => self.cancel_answered(party, *task, *err, *cookie, now),
            Event::Command { source, task, data, .. } => {
                self.delivered(party, user, source, *task, What::Command, data, None);
            }
            Event::Buffer { source, task, .. } => {
                self.delivered_transfer(party, user, source, *task, Kind::Buffer, content, None);
            }
            Event::File { source, task, name, .. } => {
                self.delivered_transfer(party, user, source, *task, Kind::File, content, Some(name));
            }
            Event::Offer { source, task, .. } => {
                let incoming = self.incoming(party, source, *task);
                let again = std::mem::replace(&mut incoming.offered, true);
                incoming.heard = true;
                if again {
                    self.violated(format!("task {task:?} was offered twice to party {party}"));
                }
            }
            Event::ReceiveProgress { source, task, received, total } => {
                self.receive_progress(party, source, *task, (*received, *total), now);
            }
            Event::TransferEnded { source, task, err } => self.transfer_ended(party, source, *task, *err),
            Event::LineOff { err } => {
                self.saw_times("lines lost with", Some(*err), 1);
                if self.calm && *err != code::TOKEN_TIMEOUT && !self.operated.contains(&party) {
                    self.violated(format!("party {party} has lost its link ({err}) although nothing was broken"));
                }
                self.line_off.insert(party, true);
                self.forget_statuses(party);
                self.last_line_off.insert(party, (*err, now));
                self.attempts.remove(&party);
            }
            Event::LineOn => {
                // One that was called just now is answered by what comes behind this.
                let lost_at = self.last_line_off.get(&party).map_or(now, |(_, at)| *at);
                let open = |it: &&Cancel| it.party == party && !it.answered && it.at <= lost_at;
                if let Some(cancel) = self.cancels.values().find(open) {
                    let task = cancel.task;
                    self.violated(format!("I7: the link is back, and nobody has said that cancelling {task:?} failed"));
                }
                self.attempts.remove(&party);
                *self.spells.entry(party).or_default() += 1;
                if self.line_off.insert(party, false) != Some(true) {
                    self.violated(format!("party {party}: LineOn without LineOff"));
                }
            }
            Event::Rtm { message, .. } => self.rtm_came(party, user, message.id, &message.data),
            Event::UserStatus { user, online } => self.status_is(party, user, *online),
            Event::TokenWillExpire => self.saw("tokens that end"),
        }
    }

    fn task_of(&mut self, party: usize, task: TaskId, cookie: usize) -> Option<usize> {
        let found = self.entry_by_cookie.get(&cookie).copied();
        let fits = |at: &usize| self.entries[*at].call.party == party && self.entries[*at].call.task == task;
        let found = found.filter(fits);
        if found.is_none() {
            self.violated(format!("an event of party {party} for a call never made: task {task:?}, cookie {cookie}"));
        }
        found
    }

    // ---- the end ------------------------------------------------------------------------------------------

    /// What must be true when nothing moves any more.
    pub(crate) fn settle(&mut self, now: Duration) {
        for at in 0..self.entries.len() {
            if !self.gone.contains(&self.entries[at].call.party) {
                self.must_have_ended(at, now);
            }
        }
        let unanswered = self.cancels.values().find(|cancel| !cancel.answered).map(|cancel| cancel.task);
        if let Some(task) = unanswered {
            self.violated(format!("I7: no cancel result for task {task:?}"));
        }
        if let Some((party, what, _)) = self.questions.first().copied() {
            self.violated(format!("I1: no {what} result for party {party}"));
        }
        if let Some((id, _)) = self.posts.iter().find(|(_, post)| !post.got) {
            self.violated(format!("RTM message {id:?} has not come to its user"));
        }
        let dangling = self.incoming.iter().find(|(_, it)| it.heard && !it.ended);
        if let Some(((party, _, task), _)) = dangling {
            self.violated(format!("party {party} has heard of task {task:?} and never of its end"));
        }
        if let Some((party, id)) = self.open_sinks.first().copied() {
            self.violated(format!("I9: sink {id} of party {party} is still open"));
        }
        if let Some((party, task)) = self.open_sources.first().copied() {
            self.violated(format!("I9: the source of task {task:?} of party {party} is still open"));
        }
    }
}
