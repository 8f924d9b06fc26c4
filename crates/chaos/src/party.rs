//! An application with one session: it notes all that it does and hears.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crvideo::client::{
    self, Credential, Event, EventHandler, LoginInfo, SendOptions, ServerAddress, SessionConfig, TlsSettings,
};
use crvideo_proto::code;
use crvideo_proto::id::TaskId;

use crate::journal::{Journal, Kind, Note, sha256};
use crate::proxy::lock;
use crate::relay::{PROJECT, SECRET};
use crate::rng::Rng;

/// Longest wait for the end of a login.
const LOGIN: Duration = Duration::from_secs(60);
/// What `Ear::login` holds until the login has ended.
const PENDING: i32 = -1;

/// Times and places of a session.
#[derive(Debug, Clone)]
pub struct Habits {
    /// Where received files are put, and sources made.
    pub dir: PathBuf,
    /// A command's deadline.
    pub cmd_timeout: Duration,
    /// A transfer's.
    pub transfer_timeout: Duration,
    /// Received files are left where they are.
    pub keep_files: bool,
}

impl Habits {
    /// Short deadlines.
    pub fn in_dir(dir: &Path) -> Self {
        let timeout = Duration::from_secs(10);
        Self { dir: dir.to_owned(), cmd_timeout: timeout, transfer_timeout: timeout, keep_files: false }
    }
}

struct Ear {
    number: u64,
    journal: Arc<Journal>,
    keep_files: bool,
    login: AtomicI32,
    out: AtomicBool,
    lines_lost: AtomicU64,
    lines_found: AtomicU64,
    ended: AtomicU64,
    delivered: AtomicU64,
    cancels_ended: AtomicU64,
    last_end: Mutex<Option<(TaskId, i32)>>,
}

impl EventHandler for Ear {
    fn handle(&self, _session: u64, event: &Event) -> bool {
        let session = self.number;
        match event {
            Event::SendCmdRlst { task, err, .. }
            | Event::SendBufferRlst { task, err, .. }
            | Event::SendFileRlst { task, err, .. } => {
                self.journal.note(Note::Ended { session, task: *task, err: *err });
                *lock(&self.last_end) = Some((*task, *err));
                self.ended.fetch_add(1, Ordering::SeqCst);
            }
            Event::SendProgress { task, sent, total, .. } => {
                self.journal.note(Note::Progress { session, task: *task, sent: *sent, total: *total });
            }
            Event::CancelSendRlst { task, err, .. } => {
                self.journal.note(Note::CancelEnded { session, task: *task, err: *err });
                self.cancels_ended.fetch_add(1, Ordering::SeqCst);
            }
            Event::NotifyCmdData { source, task, data } => self.delivered(source, *task, Kind::Command, data),
            Event::NotifyBufferData { source, task, data } => self.delivered(source, *task, Kind::Buffer, data),
            Event::NotifyFileData { source, task, path, .. } => {
                let content = std::fs::read(path).unwrap_or_else(|error| format!("lost: {error}").into_bytes());
                self.delivered(source, *task, Kind::File, &content);
                if !self.keep_files {
                    let _ = std::fs::remove_file(path);
                }
            }
            other => self.heard(other),
        }
        true
    }
    fn wants_offers(&self) -> bool {
        false
    }
    fn wants_receive_progress(&self) -> bool {
        false
    }
}

impl Ear {
    fn delivered(&self, source: &str, task: TaskId, kind: Kind, content: &[u8]) {
        let (source, size, sha) = (source.to_owned(), content.len() as u64, sha256(content));
        self.journal.note(Note::Delivered { session: self.number, source, task, kind, size, sha });
        self.delivered.fetch_add(1, Ordering::SeqCst);
    }

    fn heard(&self, event: &Event) {
        let session = self.number;
        self.journal.note(Note::Heard { session });
        match event {
            Event::LoginRslt { err, .. } => self.login.store(*err, Ordering::SeqCst),
            Event::LogoutRslt { .. } => self.out.store(true, Ordering::SeqCst),
            Event::LineOff { err } => {
                self.lines_lost.fetch_add(1, Ordering::SeqCst);
                if [code::KICKOUT_BY_RELOGIN, code::TOKEN_TIMEOUT].contains(err) {
                    self.out.store(true, Ordering::SeqCst);
                }
            }
            Event::LineOn => {
                self.lines_found.fetch_add(1, Ordering::SeqCst);
            }
            _ => {}
        }
    }
}

/// The application.
pub struct Party {
    /// Whose session it is.
    pub user: String,
    session: u64,
    ear: Arc<Ear>,
    habits: Habits,
    sent: AtomicU64,
    cancels: AtomicU64,
    /// Buffers and files that were sent last.
    transfers: Mutex<Vec<TaskId>>,
}

impl Party {
    /// A session that is not logged in.
    pub fn new(user: &str, habits: &Habits, journal: &Arc<Journal>) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let ear = Arc::new(Ear {
            number,
            journal: journal.clone(),
            keep_files: habits.keep_files,
            login: AtomicI32::new(PENDING),
            out: AtomicBool::new(true),
            lines_lost: AtomicU64::new(0),
            lines_found: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            cancels_ended: AtomicU64::new(0),
            last_end: Mutex::default(),
        });
        journal.note(Note::Session { session: number, project: PROJECT, user: user.to_owned() });
        let config = SessionConfig {
            download_dir: Some(habits.dir.clone()),
            cmd_timeout: habits.cmd_timeout,
            transfer_timeout: habits.transfer_timeout,
            ..SessionConfig::default()
        };
        let session = client::create_session(config, ear.clone()).unwrap();
        let (sent, cancels) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { user: user.to_owned(), session, ear, habits: habits.clone(), sent, cancels, transfers: Mutex::default() }
    }

    /// Logs in once; how that ended.
    pub fn login(&self, at: SocketAddr) -> i32 {
        let info = LoginInfo {
            servers: vec![ServerAddress { host: at.ip().to_string(), port: at.port() }],
            project: PROJECT,
            user: self.user.clone(),
            credential: Credential::Secret(SECRET.to_owned()),
            tls: TlsSettings::default(),
        };
        self.ear.login.store(PENDING, Ordering::SeqCst);
        self.ear.out.store(false, Ordering::SeqCst);
        if let Err(err) = client::login(self.session, info, 0) {
            return err;
        }
        let result = || self.ear.login.load(Ordering::SeqCst);
        assert!(until(LOGIN, || result() != PENDING), "a login of {} does not end", self.user);
        if result() != code::NOERR {
            self.ear.out.store(true, Ordering::SeqCst);
        }
        result()
    }

    /// Logs in, again and again until it works or the time is over.
    pub fn log_in_within(&self, patience: Duration, at: SocketAddr) -> bool {
        until(patience, || self.login(at) == code::NOERR)
    }

    /// One that is logged in.
    pub fn logged_in(user: &str, habits: &Habits, journal: &Arc<Journal>, at: SocketAddr) -> Self {
        let party = Self::new(user, habits, journal);
        assert!(party.log_in_within(LOGIN, at), "{user} cannot log in");
        party
    }

    /// Whether nobody is logged in (any more).
    pub fn is_out(&self) -> bool {
        self.ear.out.load(Ordering::SeqCst)
    }

    /// Logs out; the result comes later.
    pub fn logout(&self) {
        let _ = client::logout(self.session, 0);
    }

    /// Sends something; `None` when the call is refused. With `chosen` the call is noted before it is made.
    pub fn send(&self, kind: Kind, target: &str, content: &[u8], chosen: Option<TaskId>) -> Option<TaskId> {
        let timeout = if kind == Kind::Command { self.habits.cmd_timeout } else { self.habits.transfer_timeout };
        let note = |task: TaskId| {
            let (session, size, sha) = (self.ear.number, content.len() as u64, sha256(content));
            self.ear.journal.note(Note::Sent { session, task, kind, target: target.to_owned(), size, sha, timeout });
        };
        if let Some(task) = chosen {
            note(task);
        }
        let options = SendOptions { task: chosen, ..SendOptions::default() };
        let sent = match kind {
            Kind::Command => client::send_cmd(self.session, target, content, options, 0),
            Kind::Buffer => client::send_buffer(self.session, target, content, options, 0),
            Kind::File => self.send_file(target, content, options),
        };
        match (sent, chosen) {
            (Ok(task), _) => {
                if chosen.is_none() {
                    note(task);
                }
                self.sent.fetch_add(1, Ordering::SeqCst);
                if kind != Kind::Command {
                    let mut transfers = lock(&self.transfers);
                    transfers.push(task);
                    let surplus = transfers.len().saturating_sub(8);
                    transfers.drain(..surplus);
                }
                Some(task)
            }
            (Err(err), Some(task)) => {
                self.ear.journal.note(Note::Refused { session: self.ear.number, task, err });
                None
            }
            (Err(_), None) => None,
        }
    }

    fn send_file(&self, target: &str, content: &[u8], options: SendOptions) -> Result<TaskId, i32> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let path = self.habits.dir.join(format!("source-{}-{number}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        let sent = client::send_file(self.session, target, &path, options, 0);
        // It is open, so its name is no longer needed.
        std::fs::remove_file(&path).unwrap();
        sent
    }

    /// Cancels one of the last transfers, which may have ended.
    pub fn cancel_some(&self, rng: &mut Rng) {
        let transfers = lock(&self.transfers).clone();
        if transfers.is_empty() {
            return;
        }
        let task = rng.pick(&transfers);
        self.ear.journal.note(Note::CancelCalled { session: self.ear.number, task });
        if client::cancel_send(self.session, task, 0).is_ok() {
            self.cancels.fetch_add(1, Ordering::SeqCst);
        } else {
            // A refused call is answered by its return; so the notes of call and answer still match.
            self.ear.journal.note(Note::CancelEnded { session: self.ear.number, task, err: code::NOT_LOGIN });
        }
    }

    /// Tasks and cancels that have not ended.
    pub fn open(&self) -> u64 {
        let tasks = self.sent.load(Ordering::SeqCst).saturating_sub(self.ear.ended.load(Ordering::SeqCst));
        let cancels = self.cancels.load(Ordering::SeqCst).saturating_sub(self.ear.cancels_ended.load(Ordering::SeqCst));
        tasks + cancels
    }

    /// Tasks that were accepted.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// Things that have come.
    pub fn delivered(&self) -> u64 {
        self.ear.delivered.load(Ordering::SeqCst)
    }

    /// How often the line was lost, and found again.
    pub fn lines(&self) -> (u64, u64) {
        (self.ear.lines_lost.load(Ordering::SeqCst), self.ear.lines_found.load(Ordering::SeqCst))
    }

    /// Waits until everything that was sent has ended.
    pub fn settle(&self, patience: Duration) -> bool {
        until(patience, || self.open() == 0)
    }

    /// Sends something and waits for its end.
    pub fn result(&self, kind: Kind, target: &str, content: &[u8], patience: Duration) -> Option<i32> {
        let task = self.send(kind, target, content, None)?;
        let end = || self.ear.journal.look(|entries| entries.iter().rev().find_map(|it| end_of(&it.note, task)));
        until(patience, || end().is_some());
        end()
    }

    /// Ends the session; nothing is heard of it afterwards.
    pub fn destroy(&self) {
        self.ear.journal.note(Note::DestroyCalled { session: self.ear.number });
        if client::destroy_session(self.session).is_ok() {
            self.ear.journal.note(Note::Destroyed { session: self.ear.number });
        }
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        self.destroy();
    }
}

fn end_of(note: &Note, wanted: TaskId) -> Option<i32> {
    match note {
        Note::Ended { task, err, .. } if *task == wanted => Some(*err),
        _ => None,
    }
}

/// Waits for something; false when the time is over.
pub fn until(patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// An id of the application's own.
pub fn own_id(rng: &mut Rng) -> TaskId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&rng.next().to_le_bytes());
    bytes[8..].copy_from_slice(&rng.next().to_le_bytes());
    TaskId::random(bytes)
}

/// Notes, while it lives, how late a thread is woken that does nothing else.
pub struct StallWatch {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// A thread that is woken later than this was not simply scheduled.
const NOTED_STALL: Duration = Duration::from_millis(50);

impl StallWatch {
    /// Watches on behalf of a journal.
    pub fn start(journal: &Arc<Journal>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (journal, ended) = (journal.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let nap = Duration::from_millis(10);
            while !ended.load(Ordering::SeqCst) {
                let before = Instant::now();
                std::thread::sleep(nap);
                let longest = before.elapsed().saturating_sub(nap);
                if longest > NOTED_STALL {
                    journal.note(Note::Stalled { longest });
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for StallWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
