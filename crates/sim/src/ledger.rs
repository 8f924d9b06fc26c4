//! The book of all that was asked for and all that happened, and the rules that it must obey.
//! It knows the contract and nothing of how the code under test goes about it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::code;
use crvideo_proto::id::TaskId;
use crvideo_proto::session::{Event, Kind};

/// So long after all faults have stopped, whatever can go on goes on: a session may wait 20 s before it comes back.
const RECOVERY: Duration = Duration::from_secs(28);
/// How late a result may be.
const LATE: Duration = Duration::from_secs(2);
/// Progress is told every 50 ms at most; the shell may pass it on with a delay that varies by a little.
const PROGRESS_EVERY: Duration = Duration::from_millis(45);

/// So many attempts to come back take longer than this, because the pauses between them grow.
const MANY_ATTEMPTS: u32 = 14;
const MANY_ATTEMPTS_IN: Duration = Duration::from_secs(12);
/// A transfer of so many bytes that takes long tells how it gets on.
const LONG: u64 = 400_000;
/// Beyond the time in which a dead link is noticed, a cancel takes no longer than this over a slow one.
const CANCEL_PATIENCE: Duration = Duration::from_secs(30);
/// Whoever sends to a user who is not there hears so within this time.
const AWAY_IS_TOLD: Duration = Duration::from_secs(11);
/// Names of files are cut to this many bytes.
const LONGEST_NAME: usize = 255;
/// A session whose speed is limited may be ahead by so much time.
const AHEAD: Duration = Duration::from_millis(400);

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
    /// Progress told last, and when.
    told: Option<(u64, Duration)>,
    /// Progress told last that had to keep its distance from the one before.
    paced: Option<Duration>,
    /// Some progress was told between the beginning and the end.
    told_between: bool,
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

/// A name as its receiver hears it: no more whole characters of it than there is room for.
fn cut(name: &str) -> &str {
    let ends = name.char_indices().map(|(at, char)| at + char.len_utf8());
    &name[..ends.take_while(|end| *end <= LONGEST_NAME).last().unwrap_or(0)]
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
    /// The last command that came from one party to another, as its place in `entries`.
    last_command: BTreeMap<(usize, usize), usize>,
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
        let entry = Entry {
            call,
            told: None,
            paced: None,
            told_between: false,
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

    pub(crate) fn asked(&mut self, party: usize, what: &'static str, cookie: usize) {
        self.questions.insert((party, what, cookie));
    }

    /// A login whose credential is bad: with which code it must fail.
    pub(crate) fn login_must_fail(&mut self, cookie: usize, err: i32) {
        self.refusal_by_cookie.insert(cookie, err);
    }

    /// An operator ends the session of a party's user.
    pub(crate) fn operator_ends(&mut self, party: usize) {
        self.operated.insert(party);
    }

    /// Whether an operator may have revoked the token of a party.
    pub(crate) fn may_be_revoked(&self, party: usize) -> bool {
        self.operated.contains(&party)
    }

    /// A session tries to make its connection to the relay. It must not do so all the time.
    pub(crate) fn tries_to_connect(&mut self, party: usize, now: Duration) {
        let (count, since) = self.attempts.entry(party).or_insert((0, now));
        *count += 1;
        let (count, time) = (*count, now - *since);
        if count > MANY_ATTEMPTS && time < MANY_ATTEMPTS_IN {
            self.violated(format!("party {party} has tried to connect {count} times within {time:?}"));
        }
    }

    /// With which code a party has lost its line last.
    pub(crate) fn last_line_off(&self, party: usize) -> Option<i32> {
        self.last_line_off.get(&party).map(|(err, _)| *err)
    }

    /// A question about users whose answer is known, because nobody comes or goes.
    pub(crate) fn asked_for_users(&mut self, party: usize, cookie: usize, expected: Vec<String>) {
        self.asked(party, "users", cookie);
        self.users_by_cookie.insert(cookie, expected);
    }

    pub(crate) fn watch_called(&mut self, party: usize, cookie: usize, on: bool) {
        self.asked(party, "watch", cookie);
        self.watch_by_cookie.insert(cookie, on);
    }

    /// Somebody has gone, and those who watch must have heard it.
    pub(crate) fn must_know_gone(&mut self, watcher: usize, user: &str) {
        let knows = self.statuses.get(&(watcher, user.to_owned())) == Some(&false);
        if self.watches.get(&watcher) == Some(&true) && !knows && !self.boxes {
            self.violated(format!("party {watcher} watches and has not heard that {user} is gone"));
        }
    }

    /// A party has logged out, or is destroyed.
    pub(crate) fn watches_no_more(&mut self, party: usize) {
        self.watches.remove(&party);
        self.forget_statuses(party);
    }

    /// Everybody is there and has been for a while: nobody may believe that somebody is gone.
    pub(crate) fn must_know_all_are_there(&mut self) {
        let wrong = self.statuses.iter().find(|((watcher, _), on)| self.watches.get(watcher) == Some(&true) && !**on);
        if let Some((watcher, user)) = wrong.filter(|_| !self.boxes).map(|(key, _)| key.clone()) {
            self.violated(format!("party {watcher} watches and has not heard that {user} is back"));
        }
    }

    /// A login has come to its end.
    fn login_ended(&mut self, party: usize, err: i32, cookie: usize) {
        self.line_off.remove(&party);
        self.attempts.remove(&party);
        self.forget_statuses(party);
        self.watches.insert(party, false);
        self.answered(party, "login", cookie);
        self.saw_times("logins with", Some(err), 1);
        let due = self.refusal_by_cookie.remove(&cookie);
        let by_credential = [
            code::NOERR,
            code::ANCTPSWD_ERR,
            code::TOKEN_AUTHINFOERR,
            code::TOKEN_APPIDNOTEXIST,
            code::TOKEN_AUTH_FAILED,
            code::TOKEN_NOTTOKENTYPE,
        ];
        let wrong = match due {
            Some(due) => err != due && (by_credential.contains(&err) || err == code::TOKEN_TIMEOUT),
            None => err != code::NOERR && by_credential.contains(&err),
        };
        if wrong {
            self.violated(format!("the login of party {party} ended with {err}; its credential is due {due:?}"));
        }
    }

    fn forget_statuses(&mut self, party: usize) {
        self.statuses.retain(|(watcher, _), _| *watcher != party);
    }

    fn users_are(&mut self, party: usize, err: i32, users: &[String], cookie: usize) {
        self.answered(party, "users", cookie);
        if !users.is_sorted_by(|one, next| one < next) {
            self.violated(format!("the users that party {party} hears of do not ascend: {users:?}"));
        }
        let Some(expected) = self.users_by_cookie.remove(&cookie) else { return };
        if err == code::NOERR && users != expected {
            self.violated(format!("party {party} hears that {users:?} are there, and there are {expected:?}"));
        }
    }

    fn watch_ended(&mut self, party: usize, err: i32, cookie: usize) {
        let Some(on) = self.watch_by_cookie.remove(&cookie) else { return };
        self.forget_statuses(party);
        match err {
            code::NOERR => self.watches.insert(party, on),
            // The relay may have heard it all the same.
            _ => self.watches.remove(&party),
        };
    }

    fn status_is(&mut self, party: usize, user: &str, online: bool) {
        self.saw("status news");
        let before = self.statuses.insert((party, user.to_owned()), online);
        if before == Some(online) && !self.boxes {
            self.violated(format!("party {party} hears twice in a row that {user} is there: {online}"));
        }
        // Who has not had the answer to a call may or may not watch.
        let unasked = self.watches.get(&party) == Some(&false) && self.watch_by_cookie.is_empty();
        if unasked && !self.boxes {
            self.violated(format!("party {party} hears of {user} and does not watch"));
        }
    }

    fn answered(&mut self, party: usize, what: &'static str, cookie: usize) {
        if !self.questions.remove(&(party, what, cookie)) {
            self.violated(format!("I1: a {what} result to party {party} that nobody waits for"));
        }
    }

    /// Tasks of a party that run.
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
                if let Some(cancel) = self.cancels.values().find(|it| it.party == party && !it.answered) {
                    let task = cancel.task;
                    self.violated(format!("I7: the link is back, and nobody has said that cancelling {task:?} failed"));
                }
                self.attempts.remove(&party);
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

    fn ended(&mut self, at: usize, what: What, err: i32, now: Duration) {
        let entry = &mut self.entries[at];
        let call = entry.call.clone();
        let task = call.task;
        if let Some((before, _)) = entry.ended.replace((err, now)) {
            return self.violated(format!("I1: task {task:?} ended twice, with {before} and {err}"));
        }
        let told_between = entry.told_between;
        let (told, cancelled, left_open) = (entry.told, entry.cancelled, entry.left_open);
        if what != call.what {
            self.violated(format!("task {task:?} is {:?} and ended as {what:?}", call.what));
        }
        if !code::ALL.contains(&err) {
            self.violated(format!("task {task:?} ended with {err}, which is no code of the contract"));
        }
        let whats = if what == What::Command { "commands with" } else { "transfers with" };
        self.saw_times(whats, Some(err), 1);
        self.check_outcome(task, err);
        if let Some(first) = call.repeats {
            let expected = self.entries[first].ended.map(|(err, _)| err);
            if err != code::NOT_LOGIN && Some(err) != expected {
                self.violated(format!("task {task:?} was repeated and ended with {err} instead of {expected:?}"));
            }
        }
        let total = call.content.len() as u64;
        if what != What::Command && err == code::NOERR && told.map(|(sent, _)| sent) != Some(total) {
            self.violated(format!("I6: task {task:?} succeeded with progress {told:?} of {total}"));
        }
        if what != What::Command && err != code::NOERR && total > 0 && told.is_some_and(|(sent, _)| sent == total) {
            self.violated(format!("I6: task {task:?} failed with {err} after full progress"));
        }
        if let Some(rate) = self
            .send_rate
            .filter(|_| what != What::Command && err == code::NOERR && call.repeats.is_none() && !call.again)
            && now + AHEAD < call.at + Duration::from_micros(total * 1_000_000 / rate)
        {
            self.violated(format!("task {task:?} of {total} bytes took {:?} at {rate} a second", now - call.at));
        }
        let first = call.repeats.is_none() && !call.again;
        if self.patient && first && total > LONG && what != What::Command && err == code::NOERR && !told_between {
            self.violated(format!("I6: task {task:?} of {total} bytes took long and told nothing of it"));
        }
        let none_there = [code::SENDDATA_TARGETINVALID, code::FILE_SIZE_UNSUPPORT].contains(&err);
        if call.in_vain && (!none_there || now > call.at + AWAY_IS_TOLD) {
            self.violated(format!("task {task:?} to a user who has gone ended with {err} after {:?}", now - call.at));
        }
        if cancelled && err != code::SEND_CANCELLED {
            self.violated(format!("I7: task {task:?} ended with {err} though its cancelling had succeeded"));
        }
        if call.repeats.is_none() && err == code::SEND_CANCELLED && !cancelled && !left_open {
            self.violated(format!("I7: task {task:?} ended as cancelled, and no CancelRslt said so before"));
        }
        if call.probe && err != code::NOERR {
            self.violated(format!(
                "I12: {:?} to {} ended with {err} after everything was healed",
                call.what, call.target
            ));
        }
        let stuck = [code::SEND_OUTCOME_UNKNOWN, code::SOCKETTIMEOUT, code::CONNECTIONLOST].contains(&err);
        if stuck && self.healed_at.is_some_and(|at| now >= at + RECOVERY) {
            self.violated(format!("I12: task {task:?} ({what:?}) was stuck long after everything was healed: {err}"));
        }
        let only_by_faults = [
            code::SEND_OUTCOME_UNKNOWN,
            code::SOCKETTIMEOUT,
            code::CONNECTIONLOST,
            code::SENDDATA_TARGETINVALID,
            code::NOT_LOGIN,
            code::KICKOUT_BY_RELOGIN,
            code::ERR_DATA,
            code::INNER_ERR,
        ];
        let limit = self.file_limit.filter(|_| what == What::Transfer(Kind::File)).unwrap_or(u64::MAX);
        if (err == code::FILE_SIZE_UNSUPPORT) != (total > limit)
            && [code::FILE_SIZE_UNSUPPORT, code::NOERR].contains(&err)
        {
            self.violated(format!("task {task:?} of {total} bytes ended with {err}, and the limit is {limit}"));
        }
        // Only a disk that changes bytes explains content that does not fit its hash.
        if err == code::ERR_DATA && !self.rotten {
            self.violated(format!("I3: task {task:?} ended with {err}, and no byte was changed on purpose"));
        }
        let unsettled = self.restless.is_some_and(|it| it == call.user || it == call.target);
        if self.calm && only_by_faults.contains(&err) && !call.in_vain && !unsettled {
            self.violated(format!("task {task:?} ({what:?}) ended with {err} although nothing was broken"));
        }
    }

    /// NOERR: it is there, once. 1107: anything up to once. All else: it is not there.
    fn check_outcome(&mut self, task: TaskId, err: i32) {
        let delivered = self.deliveries.get(&task).map_or(0, Vec::len);
        let again = self.used_again(task);
        let wrong = match err {
            // Each incarnation of the target may have taken it.
            code::NOERR if again => delivered == 0,
            // What an earlier attempt has delivered stays delivered.
            _ if again => false,
            code::NOERR => delivered != 1,
            code::SEND_OUTCOME_UNKNOWN => delivered > 1,
            _ => delivered != 0,
        };
        // A repeated call may also fail before it comes to asking for the stored outcome.
        let repeat = self.calls_by_task.get(&task).is_some_and(|calls| calls.len() > 1);
        if wrong && !(repeat && err == code::NOT_LOGIN) {
            self.violated(format!("I2: task {task:?} ended with {err}, delivered {delivered} times"));
        }
    }

    fn progress(&mut self, at: usize, sent: u64, total: u64, now: Duration) {
        let entry = &mut self.entries[at];
        let task = entry.call.task;
        let size = entry.call.content.len() as u64;
        let before = entry.told.replace((sent, now));
        let wrong = match before {
            _ if entry.ended.is_some() => Some("after the end"),
            _ if total != size || sent > total => Some("beyond the size"),
            None if sent != 0 => Some("not from 0"),
            Some((before, _)) if sent < before => Some("backwards"),
            _ => None,
        };
        let too_often = sent != total && entry.paced.is_some_and(|last| now < last + PROGRESS_EVERY);
        entry.paced = Some(now);
        entry.told_between |= sent > 0 && sent < total;
        if let Some(wrong) = wrong {
            self.violated(format!("I6: progress of task {task:?} {wrong}: {sent} of {total} after {before:?}"));
        } else if too_often {
            self.violated(format!("progress of task {task:?} is told too often"));
        }
    }

    fn cancel_answered(&mut self, party: usize, task: TaskId, err: i32, cookie: usize, now: Duration) {
        let Some(cancel) = self.cancels.get_mut(&cookie).filter(|it| it.party == party && it.task == task) else {
            return self.violated(format!("I7: a cancel result for a cancel never called: task {task:?}"));
        };
        if std::mem::replace(&mut cancel.answered, true) {
            return self.violated(format!("I7: two cancel results for task {task:?}"));
        }
        if now > cancel.at + self.heartbeat * 2 + CANCEL_PATIENCE {
            let late = now - cancel.at;
            return self.violated(format!("I7: the cancel result of task {task:?} took {late:?}"));
        }
        self.saw_times("cancels with", Some(err), 1);
        let calls = self.calls_by_task.get(&task).cloned().unwrap_or_default();
        let runs = |at: &&usize| self.entries[**at].ended.is_none() && self.entries[**at].call.party == party;
        match (err, calls.iter().find(runs)) {
            (code::NOERR, Some(at)) => self.entries[*at].cancelled = true,
            (code::CONNECTIONLOST, Some(at)) => self.entries[*at].left_open = true,
            (code::NOERR | code::CONNECTIONLOST, None) => {
                self.violated(format!("I7: cancelling task {task:?} gave {err}, and there is no such task"));
            }
            _ => {}
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn delivered(
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
        if call.content != data {
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
            && let Some(last) = self.last_command.insert((call.party, party), at)
            && last > at
        {
            self.violated(format!("I4: task {task:?} from party {} to {party} came out of order", call.party));
        }
    }

    /// A transfer as its receiver sees it. Another incarnation of its sender may begin again what has failed.
    fn incoming(&mut self, party: usize, source: &Arc<str>, task: TaskId) -> &mut Incoming {
        let again = self.used_again(task);
        let incoming = self.incoming.entry((party, source.clone(), task)).or_default();
        if incoming.ended && again {
            *incoming = Incoming::default();
        }
        incoming
    }

    #[allow(clippy::too_many_arguments)]
    fn delivered_transfer(
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

    fn receive_progress(
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

    fn transfer_ended(&mut self, party: usize, source: &Arc<str>, task: TaskId, err: i32) {
        let incoming = self.incoming(party, source, task);
        let (heard, ended) = (incoming.heard, std::mem::replace(&mut incoming.ended, true));
        self.saw_times("transfers ended at the receiver with", Some(err), 1);
        if !heard || ended || err == code::NOERR {
            self.violated(format!(
                "party {party} hears that task {task:?} ended with {err} (heard of it: {heard}, ended before: {ended})"
            ));
        }
    }

    // ---- messages that servers send -----------------------------------------------------------------------

    pub(crate) fn posted(&mut self, id: TaskId, project: i64, user: &'static str, data: Bytes) {
        self.saw("RTM messages");
        self.posts.insert(id, Post { project, user, data, seen_by: BTreeSet::new(), handled: false, got: false });
    }

    fn rtm_came(&mut self, party: usize, user: (i64, &str), id: TaskId, data: &[u8]) {
        let Some(post) = self.posts.get_mut(&id) else {
            return self.violated(format!("party {party} hears RTM message {id:?}, which nobody sent"));
        };
        let again = !post.seen_by.insert(party);
        if again || (post.project, post.user) != user || post.data != data {
            self.violated(format!(
                "RTM message {id:?} came to party {party} of {user:?} (again: {again}) or with other content"
            ));
        }
    }

    pub(crate) fn rtm_handled(&mut self, id: TaskId) {
        if let Some(post) = self.posts.get_mut(&id) {
            post.handled = true;
        }
    }

    /// A session says that its application has handled a message.
    pub(crate) fn got(&mut self, id: TaskId, project: i64, user: &str) {
        let Some(post) = self.posts.get_mut(&id).filter(|it| (it.project, it.user) == (project, user)) else {
            return self.violated(format!("{user} of {project} confirms RTM message {id:?}, which nobody sent to him"));
        };
        post.got = true;
        if post.seen_by.is_empty() || !post.handled {
            self.violated(format!("RTM message {id:?} is confirmed, and nobody has handled it"));
        }
    }

    /// Whether every message has come to its user.
    pub(crate) fn all_got(&self) -> bool {
        self.posts.values().all(|post| post.got)
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

    // ---- files --------------------------------------------------------------------------------------------

    pub(crate) fn source_read(&mut self, party: usize, task: TaskId) {
        if !self.open_sources.contains(&(party, task)) {
            self.violated(format!("I9: the source of task {task:?} is read after it was let go"));
        }
    }

    pub(crate) fn source_closed(&mut self, party: usize, task: TaskId) {
        if !self.open_sources.remove(&(party, task)) {
            self.violated(format!("I9: the source of task {task:?} is let go twice"));
        }
    }

    pub(crate) fn sink_opened(&mut self, party: usize, id: u64) {
        if !self.open_sinks.insert((party, id)) {
            self.violated(format!("I9: sink {id} of party {party} is opened twice"));
        }
    }

    pub(crate) fn sink_used(&mut self, party: usize, id: u64) {
        if !self.open_sinks.contains(&(party, id)) {
            self.violated(format!("I9: sink {id} of party {party} is used and not open"));
        }
    }

    pub(crate) fn sink_closed(&mut self, party: usize, id: u64) {
        if !self.open_sinks.remove(&(party, id)) {
            self.violated(format!("I9: sink {id} of party {party} is closed and not open"));
        }
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

    fn must_have_ended(&mut self, at: usize, now: Duration) {
        let Entry { call, told, ended, .. } = &self.entries[at];
        let (task, what) = (call.task, call.what);
        let Some((err, ended)) = *ended else {
            return self.violated(format!("I1: task {task:?} ({what:?}) of party {} has not ended", call.party));
        };
        let by = match (what, told) {
            (What::Command, _) => call.at + call.timeout,
            // After the last progress that is told, others may count that are held back: those within a moment, and
            // the one that completes the content.
            (_, Some((_, last))) if err != code::NOERR => *last + PROGRESS_EVERY + call.timeout * 2,
            (_, Some(_)) => now,
            (_, None) => call.at + call.timeout,
        };
        if ended > by + LATE {
            self.violated(format!("I1: task {task:?} ({what:?}) ended with {err} at {ended:?}, due by {by:?}"));
        }
    }
}
