//! The contract's rules, checked against what processes have noted. Knows nothing of how the library goes about it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

use crvideo_proto::code;
use crvideo_proto::id::TaskId;

use crate::journal::{Entry, Kind, Note, Sha};

/// How much later than its deadline a task may end.
const LATE: Duration = Duration::from_secs(2);
/// A stall may be noted so much later than it was.
const WATCHED: Duration = Duration::from_millis(100);
/// What a library has taken over is delivered to an application that does nothing else within this time.
const DELIVERY: Duration = Duration::from_secs(1);
/// Violations that are told in full.
const TOLD: usize = 20;

/// One process's notes, and what became of the process.
#[derive(Debug, Clone, Default)]
pub struct Process {
    /// In order.
    pub entries: Vec<Entry>,
    /// It was killed: its tasks may have no end, and what it was told last may not have been noted.
    pub killed: bool,
    /// Time for which it was stopped from outside, which delays its results.
    pub stopped: Duration,
}

/// What the ledger has found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Tasks that the library accepted.
    pub tasks: u64,
    /// How they ended.
    pub ends: BTreeMap<i32, u64>,
    /// Tasks whose sender was killed before it could note their end.
    pub unended: u64,
    /// Deliveries.
    pub delivered: u64,
    /// Tasks that ended well at a receiver which was killed before it could note the delivery, but confirmed on the
    /// wire.
    pub confirmed: u64,
    /// Tasks that ended well at a session whose application destroyed it before it was told: what a library has taken
    /// over and not delivered is discarded then, says the contract.
    pub discarded: u64,
    /// Tasks of each kind, how many of them have ended with an unknown outcome, and how many of those were delivered.
    pub by_kind: BTreeMap<Kind, [u64; 3]>,
    /// Every breach of a rule, in words.
    pub violations: Vec<String>,
}

impl Report {
    /// Tasks whose outcome is unknown.
    pub fn unknown(&self) -> u64 {
        self.ends.get(&code::SEND_OUTCOME_UNKNOWN).copied().unwrap_or(0)
    }

    /// Adds another run.
    pub fn add(&mut self, other: Report) {
        self.tasks += other.tasks;
        self.unended += other.unended;
        self.delivered += other.delivered;
        self.confirmed += other.confirmed;
        self.discarded += other.discarded;
        for (err, count) in other.ends {
            *self.ends.entry(err).or_default() += count;
        }
        for (kind, counts) in other.by_kind {
            let sum = self.by_kind.entry(kind).or_default();
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        self.violations.extend(other.violations);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tasks, ends, unended, delivered, confirmed, discarded, violations, .. } = self;
        let count = violations.len();
        write!(f, "{tasks} tasks, {delivered} delivered, ends {ends:?}, {unended} without an end by a kill, ")?;
        write!(f, "{confirmed} confirmed before a kill, {discarded} discarded by a destroy, {count} violations")?;
        violations.iter().take(TOLD).try_for_each(|violation| write!(f, "\n  {violation}"))
    }
}

/// A task as its sender noted it.
struct Task<'a> {
    process: usize,
    session: u64,
    kind: Kind,
    target: &'a str,
    size: u64,
    sha: Sha,
    timeout: Duration,
    /// Its place among all notes of its process.
    place: usize,
    /// When it was accepted, or when it last went on.
    moved: Duration,
    progress: Option<u64>,
    refused: bool,
    ends: Vec<i32>,
    /// When the first of its ends was noted.
    ended_at: Option<Duration>,
    cancels: (usize, Vec<i32>),
    deliveries: Vec<Delivery>,
}

#[derive(Clone, Copy)]
struct Delivery {
    process: usize,
    session: u64,
    place: usize,
}

/// Judges what the processes of one run have noted. `confirmed` are tasks that a receiver was seen to confirm on the
/// wire before it was killed.
pub fn check(processes: &[Process], confirmed: &BTreeSet<TaskId>) -> Report {
    let mut ledger = Ledger::default();
    for (process, notes) in processes.iter().enumerate() {
        ledger.read_senders(process, notes);
    }
    for (process, notes) in processes.iter().enumerate() {
        ledger.read_receivers(process, notes);
    }
    ledger.judge(processes, confirmed);
    ledger.report
}

#[derive(Default)]
struct Ledger<'a> {
    tasks: BTreeMap<TaskId, Task<'a>>,
    /// Project and user of a process's session.
    sessions: BTreeMap<(usize, u64), (i64, &'a str)>,
    /// Sessions whose destroy has been called: progress that waited for their applications is discarded.
    ending: BTreeSet<(usize, u64)>,
    /// When the machine let a process wait, and how long.
    stalls: BTreeMap<usize, Vec<(Duration, Duration)>>,
    report: Report,
}

impl<'a> Ledger<'a> {
    fn violated(&mut self, what: String) {
        self.report.violations.push(what);
    }

    /// What senders have asked for and heard. A result may be noted before the call that it belongs to, because the
    /// two come from different threads; so calls are read first.
    fn read_senders(&mut self, process: usize, notes: &'a Process) {
        for (place, entry) in notes.entries.iter().enumerate() {
            match &entry.note {
                Note::Session { session, project, user } => {
                    self.sessions.insert((process, *session), (*project, user));
                }
                Note::Sent { session, task, kind, target, size, sha, timeout } => {
                    let new = Task {
                        process,
                        session: *session,
                        kind: *kind,
                        target,
                        size: *size,
                        sha: *sha,
                        timeout: *timeout,
                        place,
                        moved: entry.at,
                        progress: None,
                        refused: false,
                        ends: Vec::new(),
                        ended_at: None,
                        cancels: (0, Vec::new()),
                        deliveries: Vec::new(),
                    };
                    if self.tasks.insert(*task, new).is_some() {
                        self.violated(format!("the application has used the id {task:?} twice"));
                    }
                }
                _ => {}
            }
        }
        let stalls = stalls(notes);
        for entry in &notes.entries {
            if let Note::DestroyCalled { session } = entry.note {
                self.ending.insert((process, session));
            }
            self.read_result(process, entry, notes.stopped, &stalls);
        }
        self.stalls.insert(process, stalls);
        self.check_silence(process, notes);
    }

    fn read_result(&mut self, process: usize, entry: &Entry, stopped: Duration, stalls: &[(Duration, Duration)]) {
        let (session, id) = match &entry.note {
            Note::Refused { session, task, .. }
            | Note::Ended { session, task, .. }
            | Note::Progress { session, task, .. }
            | Note::CancelCalled { session, task }
            | Note::CancelEnded { session, task, .. } => (*session, *task),
            _ => return,
        };
        let Some(task) = self.tasks.get_mut(&id).filter(|it| (it.process, it.session) == (process, session)) else {
            return self.violated(format!("I1: {:?} belongs to no call", entry.note));
        };
        let mut wrong = None;
        match &entry.note {
            Note::Refused { .. } => task.refused = true,
            Note::Ended { err, .. } => {
                let late = entry.at.saturating_sub(task.moved + task.timeout);
                let lost: Duration =
                    stalls.iter().filter(|(at, _)| *at >= task.moved && *at <= entry.at + WATCHED).map(|it| it.1).sum();
                // That all bytes are confirmed is told with the success alone, and gives a transfer its time once more.
                let unseen = if task.kind == Kind::Command { Duration::ZERO } else { task.timeout };
                if late > LATE + unseen + stopped + lost {
                    wrong = Some(format!("I1: ended with {err}, {late:?} after its deadline"));
                }
                let told_all = task.progress == Some(task.size) || self.ending.contains(&(process, session));
                if task.kind != Kind::Command && *err == code::NOERR && !told_all {
                    wrong = Some(format!("I6: ended well with progress {:?} of {}", task.progress, task.size));
                }
                task.ends.push(*err);
                task.ended_at.get_or_insert(entry.at);
            }
            Note::Progress { sent, total, .. } => {
                let back = task.progress.is_some_and(|before| *sent < before);
                if back || sent > total || *total != task.size || !task.ends.is_empty() {
                    let ended = !task.ends.is_empty();
                    wrong = Some(format!(
                        "I6: progress {sent}/{total} of {} after {:?}, ended {ended}",
                        task.size, task.progress
                    ));
                }
                if task.progress.is_none_or(|before| *sent > before) {
                    task.moved = entry.at;
                }
                task.progress = Some(*sent);
            }
            Note::CancelCalled { .. } => task.cancels.0 += 1,
            Note::CancelEnded { err, .. } => task.cancels.1.push(*err),
            _ => {}
        }
        if let Some(wrong) = wrong {
            let told = format!("{wrong}: task {id:?}, {:?} of {} bytes to {}", task.kind, task.size, task.target);
            self.violated(told);
        }
    }

    /// I5: nothing of a session is heard when its destroy has returned.
    fn check_silence(&mut self, process: usize, notes: &Process) {
        let mut destroyed = BTreeSet::new();
        for entry in &notes.entries {
            let session = match &entry.note {
                Note::Destroyed { session } => {
                    destroyed.insert(*session);
                    continue;
                }
                Note::Ended { session, .. }
                | Note::Progress { session, .. }
                | Note::CancelEnded { session, .. }
                | Note::Delivered { session, .. }
                | Note::LineOff { session }
                | Note::Heard { session } => session,
                _ => continue,
            };
            if destroyed.contains(session) {
                self.violated(format!("I5: process {process} heard {:?} after the destroy", entry.note));
            }
        }
    }

    /// What receivers were given.
    fn read_receivers(&mut self, process: usize, notes: &Process) {
        for (place, entry) in notes.entries.iter().enumerate() {
            let Note::Delivered { session, source, task: id, kind, size, sha } = &entry.note else { continue };
            self.report.delivered += 1;
            let of_receiver = self.sessions.get(&(process, *session)).copied();
            let Some(task) = self.tasks.get_mut(id) else {
                self.violated(format!("I3: {kind:?} {id:?} from {source} was sent by nobody"));
                continue;
            };
            let of_sender = self.sessions.get(&(task.process, task.session)).copied();
            task.deliveries.push(Delivery { process, session: *session, place });
            let whole = (task.kind, task.size, task.sha) == (*kind, *size, *sha);
            let mut wrong = Vec::new();
            if !whole {
                wrong.push(format!(
                    "I3: {:?} of {} bytes arrived as {kind:?} of {size} other bytes",
                    task.kind, task.size
                ));
            }
            match (of_sender, of_receiver) {
                (Some((from, name)), Some((to, user))) => {
                    if from != to {
                        wrong.push(format!("I11: it went from project {from} to project {to}"));
                    }
                    if name != source || task.target != user {
                        wrong.push(format!("I11: {name} sent it to {}, {user} got it as from {source}", task.target));
                    }
                }
                _ => wrong.push("a session of it was never noted".to_owned()),
            }
            for wrong in wrong {
                self.violated(format!("{wrong}: task {id:?}"));
            }
        }
    }

    fn judge(&mut self, processes: &[Process], confirmed: &BTreeSet<TaskId>) {
        let mut wrong = Vec::new();
        for (id, task) in self.tasks.iter().filter(|(_, task)| !task.refused) {
            self.report.tasks += 1;
            let by_kind = self.report.by_kind.entry(task.kind).or_default();
            let unknown = task.ends.first() == Some(&code::SEND_OUTCOME_UNKNOWN);
            let counts = [true, unknown, unknown && !task.deliveries.is_empty()];
            by_kind.iter_mut().zip(counts).for_each(|(sum, counts)| *sum += u64::from(counts));
            let (killed, delivered) = (processes[task.process].killed, task.deliveries.len());
            let told = |rule: &str, what: String| {
                format!("{rule}: task {id:?} ({:?}, {} bytes, to {}) {what}", task.kind, task.size, task.target)
            };
            match task.ends[..] {
                [] if killed => self.report.unended += 1,
                [] => wrong.push(told("I1", "never ended".to_owned())),
                [err] => *self.report.ends.entry(err).or_default() += 1,
                ref ends => wrong.push(told("I1", format!("ended {} times: {ends:?}", ends.len()))),
            }
            let seen = confirmed.contains(id);
            let right = match task.ends.first() {
                Some(&code::NOERR) if delivered == 0 && seen => {
                    self.report.confirmed += 1;
                    true
                }
                Some(&code::NOERR) if delivered == 0 && self.was_destroyed(processes, task) => {
                    self.report.discarded += 1;
                    true
                }
                Some(&code::NOERR) => delivered == 1,
                Some(&code::SEND_OUTCOME_UNKNOWN) | None => delivered <= 1,
                Some(_) => delivered == 0 && !seen,
            };
            if !right {
                let ended = task.ends.first();
                wrong.push(told("I2", format!("ended with {ended:?}, delivered {delivered} times, confirmed {seen}")));
            }
            if task.ends.first().is_some_and(|err| !code::ALL.contains(err)) {
                wrong.push(told("I2", format!("ended with {:?}, which is no code", task.ends)));
            }
            let (called, answers) = &task.cancels;
            let cancelled = task.ends.first() == Some(&code::SEND_CANCELLED);
            if answers.len() > *called || (answers.len() < *called && !killed) {
                wrong.push(told("I7", format!("was cancelled {called} times, answered {answers:?}")));
            }
            if answers.contains(&code::NOERR) && !cancelled && !task.ends.is_empty() {
                wrong.push(told("I7", format!("ended with {:?} after its cancelling had succeeded", task.ends)));
            }
            if cancelled && *called == 0 {
                wrong.push(told("I7", "ended as cancelled, which nobody asked for".to_owned()));
            }
        }
        wrong.extend(self.out_of_order());
        self.report.violations.extend(wrong);
    }

    /// Whether the application has destroyed a session of the task's target while its library had taken the task over
    /// and not yet delivered it: after the task was sent, and no later than a delivery may take after the task's end.
    fn was_destroyed(&self, processes: &[Process], task: &Task<'_>) -> bool {
        // Times of different processes cannot be compared, and no scenario destroys a receiver in another process.
        let notes = &processes[task.process];
        let (sent_at, Some(ended_at)) = (notes.entries[task.place].at, task.ended_at) else { return false };
        let of_target =
            |session: u64| self.sessions.get(&(task.process, session)).is_some_and(|it| it.1 == task.target);
        let mut destroy_called = BTreeMap::new();
        notes.entries.iter().any(|entry| match entry.note {
            Note::DestroyCalled { session } if of_target(session) => {
                destroy_called.insert(session, entry.at);
                false
            }
            Note::Destroyed { session } if of_target(session) && entry.at >= sent_at => {
                let called_at = destroy_called.get(&session).copied().unwrap_or(entry.at);
                let during = |at: &Duration| *at >= ended_at && *at <= called_at + WATCHED;
                let lost: Duration = self
                    .stalls
                    .get(&task.process)
                    .into_iter()
                    .flatten()
                    .filter(|it| during(&it.0))
                    .map(|it| it.1)
                    .sum();
                called_at <= ended_at + DELIVERY + lost
            }
            _ => false,
        })
    }

    /// I4: commands of one session to one session arrive in the order of their calls.
    fn out_of_order(&self) -> Vec<String> {
        let mut by_pair: BTreeMap<_, Vec<(usize, usize, TaskId)>> = BTreeMap::new();
        for (id, task) in self.tasks.iter().filter(|(_, task)| task.kind == Kind::Command) {
            for delivery in &task.deliveries {
                let pair = ((task.process, task.session), (delivery.process, delivery.session));
                by_pair.entry(pair).or_default().push((delivery.place, task.place, *id));
            }
        }
        let mut wrong = Vec::new();
        for deliveries in by_pair.values_mut() {
            deliveries.sort();
            for pair in deliveries.windows(2) {
                if pair[0].1 > pair[1].1 {
                    wrong.push(format!("I4: command {:?} arrived before {:?}, sent earlier", pair[0].2, pair[1].2));
                }
            }
        }
        wrong
    }
}

/// When the machine let a process wait, and how long, as its stall watch has noted: where a thread that does nothing
/// was woken late, others were, too.
fn stalls(notes: &Process) -> Vec<(Duration, Duration)> {
    let of = |entry: &Entry| if let Note::Stalled { longest } = entry.note { Some((entry.at, longest)) } else { None };
    notes.entries.iter().filter_map(of).collect()
}

/// What a process holds: to be as before when all is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holdings {
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Resident memory in bytes.
    pub resident: u64,
}

impl Holdings {
    /// Of this process, or another one.
    pub fn of(process: Option<u32>) -> Self {
        let dir = process.map_or("/proc/self".to_owned(), |id| format!("/proc/{id}"));
        let count = |name: &str| std::fs::read_dir(Path::new(&dir).join(name)).map_or(0, Iterator::count);
        let status = std::fs::read_to_string(format!("{dir}/status")).unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
        let resident = resident.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) * 1024;
        // Reading one's own directory of descriptors takes one for the while.
        let own = usize::from(process.is_none());
        Self { descriptors: count("fd").saturating_sub(own), threads: count("task"), resident }
    }
}

/// I9 and I8: whether repeated rounds leave something behind. One holding for each round that is over; the first ones
/// are the warm-up.
pub fn check_rounds(rounds: &[Holdings], warm_up: usize, growth_a_round: u64) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some([first, .., last]) = rounds.get(warm_up..) else { return vec!["too few rounds to judge".to_owned()] };
    if last.descriptors > first.descriptors {
        wrong.push(format!("I9: {} descriptors became {}", first.descriptors, last.descriptors));
    }
    if last.threads > first.threads {
        wrong.push(format!("I9: {} threads became {}", first.threads, last.threads));
    }
    let kept: Vec<_> = rounds.iter().skip(warm_up).collect();
    let slope = slope(&kept.iter().map(|it| it.resident as f64).collect::<Vec<_>>());
    if slope > growth_a_round as f64 {
        wrong.push(format!("I8: resident memory grows by {:.0} KiB a round", slope / 1024.0));
    }
    wrong
}

/// By how much the values grow from one to the next: the median of all pairs' slopes (Theil and Sen), which single
/// outliers do not move.
pub fn slope(values: &[f64]) -> f64 {
    let mut slopes = Vec::new();
    for (at, one) in values.iter().enumerate() {
        slopes.extend(values.iter().enumerate().skip(at + 1).map(|(later, other)| (other - one) / (later - at) as f64));
    }
    slopes.sort_by(f64::total_cmp);
    slopes.get(slopes.len() / 2).copied().unwrap_or(0.0)
}

/// Files below a directory.
pub fn files_below(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files_below(&entry.path())),
            _ => found.push(entry.path()),
        }
    }
    found.sort();
    found
}
