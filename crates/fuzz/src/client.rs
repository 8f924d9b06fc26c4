//! A session, and around it the shell and the application that a target plays: what the io thread, the files and the
//! callbacks are in the library. Whatever comes to the session, its contract is checked here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::code;
use crvideo_proto::id::TaskId;
use crvideo_proto::session::{
    COMMAND_OVERHEAD, CommandCall, Config, Conn, Credential, Event, Identity, Kind, Now, Output, Receipt, Session,
    TransferCall,
};

use crate::input::Input;

/// The only project.
pub(crate) const PROJECT: i64 = 7;
/// Its secret.
pub(crate) const SECRET: &str = "a secret of tests";
/// When everything begins, in seconds since 1970.
pub(crate) const START: u64 = 1_795_000_000;
/// Both connections.
pub(crate) const CONNS: [Conn; 2] = [Conn::Command, Conn::Bulk];
/// Largest buffer that is taken.
const BUFFER_LIMIT: u64 = 300_000;
/// What may wait for the application.
const INBOUND_LIMIT: u64 = 700_000;
/// Tasks under way at a time; the library has such a limit, too.
const MOST_TASKS: usize = 24;
/// A session whose connections are gone and whose files work must come to rest within so many deadlines.
const MOST_DEADLINES: usize = 2_000;

/// Whether the application may use the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Out,
    Entering,
    In,
    Leaving,
}

/// What files have to do, in this order.
#[derive(Debug)]
enum Job {
    Read { task: TaskId, offset: u64, len: usize, generation: u32 },
    Write { id: u64, data: Bytes },
    Finish { id: u64, hash: [u8; 32] },
    Abort { id: u64 },
}

#[derive(Debug)]
struct Sink {
    kind: Kind,
    size: u64,
    data: Vec<u8>,
    /// It has failed or is being given up: nothing more is written.
    stopped: bool,
    finished: bool,
}

/// What waits for the application.
#[derive(Debug)]
enum Letter {
    Handle { charge: u64, receipt: Option<Receipt> },
    Offer { source: Arc<str>, task: TaskId },
}

/// Content that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) source: Arc<str>,
    pub(crate) task: TaskId,
    pub(crate) content: Bytes,
}

/// One user with all that is around its session.
#[derive(Debug)]
pub(crate) struct Party {
    pub(crate) session: Session,
    pub(crate) user: &'static str,
    pub(crate) now: Duration,
    pub(crate) stage: Stage,
    /// The session wants a connection, which is not there yet.
    pub(crate) wants: [bool; 2],
    /// The session has given a connection up.
    pub(crate) gives_up: [bool; 2],
    sources: BTreeMap<TaskId, Bytes>,
    /// Tasks whose end has not been told.
    running: BTreeSet<TaskId>,
    /// Ended tasks and how.
    pub(crate) ended: BTreeMap<TaskId, i32>,
    /// Calls that one result answers: login, logout, users, watch.
    cookies: BTreeSet<usize>,
    sinks: BTreeMap<u64, Sink>,
    jobs: VecDeque<Job>,
    letters: VecDeque<Letter>,
    handled: u64,
    pub(crate) commands: Vec<Arrived>,
    pub(crate) transfers: Vec<Arrived>,
    last_cookie: usize,
    last_task: u64,
}

impl Party {
    pub(crate) fn new(user: &'static str, number: u8) -> Self {
        let config = Config {
            command_timeout: Duration::from_secs(10),
            transfer_timeout: Duration::from_secs(20),
            offer_timeout: Duration::from_secs(5),
            buffer_limit: BUFFER_LIMIT,
            inbound_limit: INBOUND_LIMIT,
            max_send_bytes_per_s: 0,
            agent: "fuzz",
        };
        Self {
            session: Session::new(config, [number; 16], u64::from(number)),
            user,
            now: Duration::ZERO,
            stage: Stage::Out,
            wants: [false; 2],
            gives_up: [false; 2],
            sources: BTreeMap::new(),
            running: BTreeSet::new(),
            ended: BTreeMap::new(),
            cookies: BTreeSet::new(),
            sinks: BTreeMap::new(),
            jobs: VecDeque::new(),
            letters: VecDeque::new(),
            handled: 0,
            commands: Vec::new(),
            transfers: Vec::new(),
            last_cookie: 0,
            last_task: u64::from(number) << 32,
        }
    }

    pub(crate) fn time(&self) -> Now {
        Now { mono: self.now, unix: START + self.now.as_secs() }
    }

    fn cookie(&mut self) -> usize {
        self.last_cookie += 1;
        self.last_cookie
    }

    /// A cookie of a call that one result must answer.
    fn asked(&mut self) -> usize {
        let cookie = self.cookie();
        self.cookies.insert(cookie);
        cookie
    }

    // ---- calls of the application -------------------------------------------------------------------------

    pub(crate) fn log_in(&mut self) {
        if self.stage != Stage::Out {
            return;
        }
        self.stage = Stage::Entering;
        let credential = Credential::Secret(SECRET.to_owned());
        let identity = Identity { servers: 2, project: PROJECT, user: self.user.to_owned(), credential };
        let cookie = self.asked();
        self.session.login(identity, cookie, self.time());
        self.outputs();
    }

    pub(crate) fn log_out(&mut self) {
        if self.stage != Stage::In {
            return;
        }
        self.stage = Stage::Leaving;
        let cookie = self.asked();
        self.session.logout(cookie, self.time());
        self.outputs();
    }

    pub(crate) fn send_command(&mut self, target: &str, size: usize, chosen: bool) {
        if self.stage != Stage::In || self.running.len() >= MOST_TASKS {
            return;
        }
        let (task, cookie) = (self.next_task(), self.cookie());
        let data = content(task, size);
        self.running.insert(task);
        let call = CommandCall { target: target.into(), task, chosen, data, timeout: None, cookie };
        self.session.send_command(call, self.time());
        self.outputs();
    }

    pub(crate) fn send_transfer(&mut self, target: &str, kind: Kind, size: usize) {
        if self.stage != Stage::In || self.running.len() >= MOST_TASKS {
            return;
        }
        let (task, cookie) = (self.next_task(), self.cookie());
        self.running.insert(task);
        self.sources.insert(task, content(task, size));
        let (name, size) = ("a name.txt".to_owned(), size as u64);
        let call = TransferCall { target: target.into(), task, kind, name, size, timeout: None, cookie };
        self.session.send_transfer(call, self.time());
        self.outputs();
    }

    fn next_task(&mut self) -> TaskId {
        self.last_task += 1;
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&self.last_task.to_le_bytes());
        TaskId::from_bytes(bytes)
    }

    /// One of the tasks that have been sent, ended or not.
    pub(crate) fn cancel_some(&mut self, which: u8) {
        let tasks: Vec<TaskId> = self.running.iter().chain(self.ended.keys()).copied().collect();
        if let Some(task) = tasks.get(usize::from(which) % tasks.len().max(1)) {
            let cookie = self.cookie();
            self.session.cancel_send(*task, cookie);
            self.outputs();
        }
    }

    pub(crate) fn ask_users(&mut self, one: Option<String>) {
        let cookie = self.asked();
        self.session.query_users(one, cookie);
        self.outputs();
    }

    pub(crate) fn watch(&mut self, on: bool) {
        let cookie = self.asked();
        self.session.watch_users(on, cookie);
        self.outputs();
    }

    pub(crate) fn replace_token(&mut self, text: String) {
        if self.stage == Stage::In {
            self.session.update_token(text);
            self.outputs();
        }
    }

    /// The application handles what waits for it, at most `count` events.
    pub(crate) fn handle(&mut self, count: usize, accept: bool) {
        for _ in 0..count {
            let Some(letter) = self.letters.pop_front() else { break };
            let now = self.time();
            match letter {
                Letter::Handle { charge, receipt } => {
                    self.handled += charge;
                    self.session.handled_in_all(self.handled);
                    if let Some(receipt) = receipt {
                        self.session.receipt(receipt, now);
                    }
                }
                Letter::Offer { source, task } if accept => drop(self.session.accept(&source, task, now)),
                Letter::Offer { source, task } => drop(self.session.refuse(&source, task, now)),
            }
            self.outputs();
        }
    }

    pub(crate) fn cancel_receiving(&mut self, source: &str, task: TaskId) {
        self.session.cancel_receive(&source.into(), task, self.time());
        self.outputs();
    }

    // ---- files --------------------------------------------------------------------------------------------

    /// Files do what they were told, at most `count` things. `fails` makes the first of them fail.
    pub(crate) fn work(&mut self, count: usize, mut fails: bool) {
        for _ in 0..count {
            let Some(job) = self.jobs.pop_front() else { break };
            self.do_job(job, std::mem::take(&mut fails));
            self.outputs();
        }
    }

    fn do_job(&mut self, job: Job, fails: bool) {
        let now = self.time();
        match job {
            Job::Read { task, .. } if fails => self.session.source_failed(task, code::FILE_READ_ERR, now),
            Job::Read { task, offset, len, generation } => {
                let Some(source) = self.sources.get(&task) else { return };
                let (start, end) = (offset as usize, offset as usize + len);
                assert!(end <= source.len(), "a read of {len} bytes at {offset} of {} bytes", source.len());
                let hash = (end == source.len()).then(|| *blake3::hash(source).as_bytes());
                self.session.source_read(task, generation, source.slice(start..end), hash, now);
            }
            Job::Write { id, data } => {
                let Some(sink) = self.sinks.get_mut(&id).filter(|sink| !sink.stopped) else { return };
                sink.stopped = fails;
                if fails {
                    return self.session.sink_failed(id, code::FILE_WRITE_ERR, now);
                }
                sink.data.extend_from_slice(&data);
                let written = sink.data.len() as u64;
                assert!(written <= sink.size, "{written} bytes are written of {} that were announced", sink.size);
                self.session.sink_written(id, written, now);
            }
            Job::Finish { id, hash } => {
                let Some(sink) = self.sinks.get_mut(&id).filter(|sink| !sink.stopped) else { return };
                sink.stopped = true;
                assert_eq!(sink.data.len() as u64, sink.size, "a transfer is finished that is not complete");
                if fails || *blake3::hash(&sink.data).as_bytes() != hash {
                    return self.session.sink_failed(id, code::ERR_DATA, now);
                }
                sink.finished = true;
                self.session.sink_finished(id, now);
            }
            Job::Abort { id } => {
                assert!(self.sinks.remove(&id).is_some(), "a sink that is not there is given up");
                self.session.sink_aborted(id, now);
            }
        }
    }

    // ---- what the session says ----------------------------------------------------------------------------

    pub(crate) fn outputs(&mut self) {
        while let Some(output) = self.session.poll_output() {
            self.output(output);
        }
        let held = self.held();
        assert!(held <= INBOUND_LIMIT, "{held} bytes wait for the application; {INBOUND_LIMIT} may");
    }

    /// Bytes of commands and buffers that come in or wait for the application.
    fn held(&self) -> u64 {
        let buffers = self.sinks.values().filter(|sink| sink.kind == Kind::Buffer && !sink.stopped);
        let waiting = self.letters.iter().map(|letter| match letter {
            Letter::Handle { receipt: Some(Receipt::Buffer { size }), .. } => *size,
            Letter::Handle { charge, .. } => *charge,
            Letter::Offer { .. } => 0,
        });
        buffers.map(|sink| sink.size).chain(waiting).sum()
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Connect { conn, server } => {
                assert!(server < 2, "there is no server {server}");
                self.wants[index(conn)] = true;
            }
            Output::Close { conn } => {
                self.wants[index(conn)] = false;
                self.gives_up[index(conn)] = true;
            }
            Output::Read { task, offset, len, generation } => {
                self.jobs.push_back(Job::Read { task, offset, len, generation });
            }
            Output::CloseSource { task } => drop(self.sources.remove(&task)),
            Output::OpenSink { id, kind, size } => {
                assert!(kind == Kind::File || size <= BUFFER_LIMIT, "a buffer of {size} bytes is taken");
                let sink = Sink { kind, size, data: Vec::new(), stopped: false, finished: false };
                assert!(self.sinks.insert(id, sink).is_none(), "two sinks have the number {id}");
            }
            Output::Write { id, data } => self.jobs.push_back(Job::Write { id, data }),
            Output::FinishSink { id, hash } => self.jobs.push_back(Job::Finish { id, hash }),
            Output::AbortSink { id } => {
                if let Some(sink) = self.sinks.get_mut(&id) {
                    sink.stopped = true;
                    sink.data = Vec::new();
                }
                self.jobs.push_back(Job::Abort { id });
            }
            Output::Event(event) => self.told(event),
        }
    }

    fn told(&mut self, event: Event) {
        match event {
            Event::LoginRslt { err, cookie } => {
                assert!(self.cookies.remove(&cookie), "a login is answered twice");
                self.stage = if err == code::NOERR { Stage::In } else { Stage::Out };
            }
            Event::LogoutRslt { cookie, .. } => {
                assert!(self.cookies.remove(&cookie), "a logout is answered twice");
                self.stage = Stage::Out;
            }
            Event::LineOff { .. } if !self.session.is_logged_in() => self.stage = Stage::Out,
            Event::UsersRslt { cookie, .. } | Event::WatchRslt { cookie, .. } => {
                assert!(self.cookies.remove(&cookie), "a question is answered twice");
            }
            Event::CommandRslt { task, err, .. } | Event::TransferRslt { task, err, .. } => {
                assert!(self.running.remove(&task), "the end of {task} is told twice");
                self.ended.insert(task, err);
            }
            Event::Progress { sent, total, .. } => assert!(sent <= total, "{sent} of {total} bytes are sent"),
            Event::ReceiveProgress { received, total, .. } => assert!(received <= total),
            Event::Command { source, task, data, receipt } => {
                let charge = data.len() as u64 + COMMAND_OVERHEAD;
                self.letters.push_back(Letter::Handle { charge, receipt });
                self.commands.push(Arrived { source, task, content: data });
            }
            Event::Buffer { source, task, receipt, id } => self.arrived(source, task, id, Some(receipt)),
            Event::File { source, task, id, name } => {
                assert!(!name.is_empty() && !name.contains(['/', '\\', '\0']), "a file is shown as {name:?}");
                self.arrived(source, task, id, None);
            }
            Event::Offer { source, task, .. } => self.letters.push_back(Letter::Offer { source, task }),
            Event::Rtm { receipt, .. } => {
                self.letters.push_back(Letter::Handle { charge: 0, receipt: Some(receipt) });
            }
            _ => {}
        }
    }

    fn arrived(&mut self, source: Arc<str>, task: TaskId, id: u64, receipt: Option<Receipt>) {
        let sink = self.sinks.remove(&id).filter(|sink| sink.finished);
        let Some(sink) = sink else { panic!("{task} has arrived before it was complete") };
        self.transfers.push(Arrived { source, task, content: sink.data.into() });
        self.letters.push_back(Letter::Handle { charge: 0, receipt });
    }

    /// No task is under way, and nothing waits.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.running.is_empty() && self.cookies.is_empty() && self.letters.is_empty() && self.jobs.is_empty()
    }

    // ---- time and the end ---------------------------------------------------------------------------------

    /// Time passes; deadlines are kept on the way.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.session.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.session.timeout(self.time());
            self.outputs();
            if self.wants != [false; 2] {
                break;
            }
        }
        self.now = end;
    }

    /// A connection is there; whether the session wanted it.
    pub(crate) fn connected(&mut self, conn: Conn) -> bool {
        let wanted = std::mem::take(&mut self.wants[index(conn)]);
        if wanted {
            self.session.connected(conn, self.time());
            self.outputs();
        }
        wanted
    }

    /// A connection could not be made.
    pub(crate) fn connect_failed(&mut self, conn: Conn) {
        if std::mem::take(&mut self.wants[index(conn)]) {
            self.session.connect_failed(conn, code::FORCEDCLOSECONNECTION, self.time());
            self.outputs();
        }
    }

    /// A connection that was there has ended.
    pub(crate) fn closed(&mut self, conn: Conn) {
        self.session.closed(conn, code::FORCEDCLOSECONNECTION, self.time());
        self.outputs();
    }

    /// Bytes have come.
    pub(crate) fn hear(&mut self, conn: Conn, bytes: &[u8]) {
        self.session.reader(conn).feed(bytes);
        self.session.handled_in_all(self.handled);
        self.session.received(conn, self.time());
        self.outputs();
    }

    /// Everything that is to be written on a connection.
    pub(crate) fn say(&mut self, conn: Conn, most: usize) -> Vec<u8> {
        let mut said = Vec::new();
        while said.len() < most && !self.session.out(conn).is_empty() {
            said.extend(self.session.out(conn).take());
            self.session.written(conn, self.time());
            self.outputs();
        }
        said
    }

    /// The session is shut down while nobody is there to talk to. Every call gets its end, and nothing stays.
    pub(crate) fn finish(&mut self) {
        self.session.shut_down(self.time());
        self.outputs();
        for _ in 0..MOST_DEADLINES {
            for conn in CONNS {
                if std::mem::take(&mut self.gives_up[index(conn)]) {
                    self.session.out(conn).take();
                }
                self.connect_failed(conn);
            }
            self.work(usize::MAX, false);
            self.handle(usize::MAX, false);
            if self.session.is_quiet() {
                break;
            }
            let Some(at) = self.session.deadline() else { break };
            self.pass(at.saturating_sub(self.now));
        }
        assert!(self.session.is_quiet(), "the session does not come to rest");
        assert!(self.running.is_empty(), "nobody has heard of the end of {:?}", self.running);
        assert!(self.cookies.is_empty(), "calls without an answer: {:?}", self.cookies);
        assert!(self.sinks.is_empty(), "sinks are left: {:?}", self.sinks.keys());
        for conn in CONNS {
            self.session.out(conn).take();
        }
        assert_eq!(self.session.held(), 0, "bytes are held for nobody");
    }

    /// One thing that the application or the files may do at any time.
    pub(crate) fn act(&mut self, input: &mut Input<'_>, targets: &[&str]) {
        match input.below(14) {
            0 => self.send_command(input.pick(targets), usize::from(input.u16()), false),
            1 => self.send_command(input.pick(targets), usize::from(input.u8()), true),
            2 => self.send_transfer(input.pick(targets), Kind::Buffer, usize::from(input.u16()) * 4),
            3 => self.send_transfer(input.pick(targets), Kind::File, usize::from(input.u16()) * 8),
            4 => self.cancel_some(input.u8()),
            5 => self.handle(input.below(8), true),
            6 => self.handle(input.below(8), false),
            7 => self.work(input.below(16), false),
            8 => self.work(input.below(4), true),
            9 => self.ask_users(input.bool().then(|| input.pick(targets).to_owned())),
            10 => self.watch(input.bool()),
            11 => self.log_in(),
            12 => self.log_out(),
            _ => self.session.set_wants(input.bool(), input.bool()),
        }
    }
}

/// What a task carries: nobody else's bytes.
pub(crate) fn content(task: TaskId, size: usize) -> Bytes {
    task.as_bytes().iter().copied().cycle().take(size).collect::<Vec<u8>>().into()
}

/// A connection's place in a pair.
pub(crate) fn index(conn: Conn) -> usize {
    match conn {
        Conn::Command => 0,
        Conn::Bulk => 1,
    }
}
