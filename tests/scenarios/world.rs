//! Alice, Bob, and the relay between them.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use crvideo::client::{
    self, Credential, Event, EventHandler, LoginInfo, SendOptions, ServerAddress, SessionConfig, TlsMode, TlsSettings,
};
use crvideo_proto::code;
use crvideo_proto::id::TaskId;
use crvideo_relay::{BlockingRelay, Config, TlsConfig};

use crate::certificates::{Authority, HERE};

/// How long a test waits for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How often it looks, where nobody tells it.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Waits until something is so.
pub fn eventually(what: &str, so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A relay of the test's own.
pub struct World {
    pub relay: BlockingRelay,
    pub dir: tempfile::TempDir,
    /// How the relay encrypts.
    relay_tls: TlsConfig,
    /// How its users do.
    pub tls: TlsSettings,
}

/// Whether every relay encrypts, though all is on loopback: `CRVIDEO_TEST_TLS=1`.
fn everything_is_encrypted() -> bool {
    std::env::var_os("CRVIDEO_TEST_TLS").is_some_and(|value| value == "1")
}

impl World {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        if everything_is_encrypted() { Self::encrypted_with(change) } else { Self::build(change, None) }
    }

    /// One that encrypts, with users who trust its authority alone.
    pub fn encrypted() -> Self {
        Self::encrypted_with(|_| {})
    }

    pub fn encrypted_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::build(change, Some(Authority::new("the test's authority")))
    }

    fn build(change: impl FnOnce(&mut Config), authority: Option<Authority>) -> Self {
        let (mut config, dir) = (Config::dev().unwrap(), tempfile::tempdir().unwrap());
        let mut tls = TlsSettings::default();
        if let Some(authority) = authority {
            let (cert, key) = authority.issue(&HERE).write(dir.path());
            config.tls = TlsConfig { cert: Some(cert), key: Some(key), loopback: true, http: false };
            let ca_file = dir.path().join("authority.pem");
            std::fs::write(&ca_file, &authority.pem).unwrap();
            tls = TlsSettings { mode: TlsMode::Always, ca_file: Some(ca_file), ..TlsSettings::default() };
        }
        change(&mut config);
        let relay_tls = config.tls.clone();
        Self { relay: BlockingRelay::start(config).unwrap(), dir, relay_tls, tls }
    }

    pub fn address(&self) -> ServerAddress {
        address(self.relay.address())
    }

    /// Stops the relay and starts it again at the same address, with the same projects.
    pub fn restart(&mut self) {
        let mut config = Config::dev().unwrap();
        config.listen = vec![self.relay.address()];
        config.tls = self.relay_tls.clone();
        if let Some(project) = config.projects.first_mut() {
            project.id = self.relay.project();
            project.secrets = vec![self.relay.secret().to_owned()];
        }
        let other = BlockingRelay::start_dev().unwrap();
        std::mem::replace(&mut self.relay, other).stop();
        self.relay = BlockingRelay::start(config).unwrap();
    }

    /// A session that is not logged in.
    pub fn stranger(&self, change: impl FnOnce(&mut SessionConfig)) -> User {
        let mut config = SessionConfig { download_dir: Some(self.dir.path().to_owned()), ..SessionConfig::default() };
        change(&mut config);
        User::new(config)
    }

    /// A user who is logged in.
    pub fn user(&self, name: &str) -> User {
        self.user_with(name, |_| {})
    }

    pub fn user_with(&self, name: &str, change: impl FnOnce(&mut SessionConfig)) -> User {
        self.user_via(name, self.address(), change)
    }

    pub fn user_via(&self, name: &str, server: ServerAddress, change: impl FnOnce(&mut SessionConfig)) -> User {
        let user = self.stranger(change);
        assert_eq!(user.login(self.info(name, server)), code::NOERR);
        user
    }

    pub fn info(&self, name: &str, server: ServerAddress) -> LoginInfo {
        LoginInfo {
            servers: vec![server],
            project: self.relay.project(),
            user: name.to_owned(),
            credential: Credential::Secret(self.relay.secret().to_owned()),
            tls: self.tls.clone(),
        }
    }

    /// A file with `size` bytes that no two places share.
    pub fn file(&self, name: &str, size: usize) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content(size)).unwrap();
        path
    }

    /// What lies in the directory of received files, beside the sources.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let all = std::fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        all.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains("crvideo-"))).collect()
    }
}

pub fn address(address: std::net::SocketAddr) -> ServerAddress {
    ServerAddress { host: address.ip().to_string(), port: address.port() }
}

/// Bytes of which no stretch repeats soon.
pub fn content(size: usize) -> Vec<u8> {
    let mut reader = blake3::Hasher::new().finalize_xof();
    let mut bytes = vec![0; size];
    reader.fill(&mut bytes);
    bytes
}

struct Ear {
    events: Sender<Event>,
    offers: AtomicBool,
    progress: AtomicBool,
    /// As if no function were set for files.
    deaf_to_files: AtomicBool,
}

impl EventHandler for Ear {
    fn handle(&self, _session: u64, event: &Event) -> bool {
        if matches!(event, Event::NotifyFileData { .. }) && self.deaf_to_files.load(Ordering::SeqCst) {
            return false;
        }
        let _ = self.events.send(event.clone());
        true
    }
    fn wants_offers(&self) -> bool {
        self.offers.load(Ordering::SeqCst)
    }
    fn wants_receive_progress(&self) -> bool {
        self.progress.load(Ordering::SeqCst)
    }
}

/// A session and everything it has heard.
pub struct User {
    pub session: u64,
    pub events: Receiver<Event>,
}

impl User {
    pub fn new(config: SessionConfig) -> Self {
        let (sender, events) = crossbeam_channel::unbounded();
        let ear = Ear {
            events: sender,
            offers: AtomicBool::new(false),
            progress: AtomicBool::new(false),
            deaf_to_files: AtomicBool::new(false),
        };
        Self { session: client::create_session(config, Arc::new(ear)).unwrap(), events }
    }

    pub fn ask_for_offers(&self) {
        self.change(|ear| ear.offers.store(true, Ordering::SeqCst));
    }

    pub fn ask_for_progress(&self) {
        self.change(|ear| ear.progress.store(true, Ordering::SeqCst));
    }

    pub fn stop_listening_for_files(&self) {
        self.change(|ear| ear.deaf_to_files.store(true, Ordering::SeqCst));
    }

    fn change(&self, change: impl FnOnce(&Ear)) {
        client::change_handler(self.session, |handler: &dyn Any| change(handler.downcast_ref().unwrap())).unwrap();
    }

    /// The next event.
    pub fn next(&self) -> Event {
        self.events.recv_timeout(PATIENCE).expect("an event in time")
    }

    /// The next event that `pick` wants; others are passed over.
    pub fn wait<T>(&self, pick: impl Fn(Event) -> Option<T>) -> T {
        self.wait_for(PATIENCE, pick).expect("the event in time")
    }

    pub fn wait_for<T>(&self, patience: Duration, pick: impl Fn(Event) -> Option<T>) -> Option<T> {
        let until = Instant::now() + patience;
        loop {
            let event = self.events.recv_deadline(until).ok()?;
            if let Some(found) = pick(event) {
                return Some(found);
            }
        }
    }

    /// The code with which the link is lost or the session ends.
    pub fn line_off(&self) -> i32 {
        self.wait(|event| match event {
            Event::LineOff { err } => Some(err),
            _ => None,
        })
    }

    /// Until the link is back.
    pub fn line_on(&self) {
        self.wait(|event| matches!(event, Event::LineOn).then_some(()));
    }

    pub fn login(&self, info: LoginInfo) -> i32 {
        client::login(self.session, info, 7).unwrap();
        self.wait(|event| match event {
            Event::LoginRslt { err, cookie } => {
                assert_eq!(cookie, 7);
                Some(err)
            }
            _ => None,
        })
    }

    pub fn logout(&self) -> i32 {
        client::logout(self.session, 8).unwrap();
        self.wait(|event| match event {
            Event::LogoutRslt { err, .. } => Some(err),
            _ => None,
        })
    }

    pub fn send_cmd(&self, target: &str, data: &[u8]) -> TaskId {
        client::send_cmd(self.session, target, data, SendOptions::default(), 1).unwrap()
    }

    pub fn send_buffer(&self, target: &str, data: &[u8]) -> TaskId {
        client::send_buffer(self.session, target, data, SendOptions::default(), 2).unwrap()
    }

    pub fn send_file(&self, target: &str, path: &Path) -> TaskId {
        client::send_file(self.session, target, path, SendOptions::default(), 3).unwrap()
    }

    /// How a task ended.
    pub fn result(&self, wanted: TaskId) -> i32 {
        self.wait(|event| match event {
            Event::SendCmdRlst { task, err, .. }
            | Event::SendBufferRlst { task, err, .. }
            | Event::SendFileRlst { task, err, .. }
                if task == wanted =>
            {
                Some(err)
            }
            _ => None,
        })
    }

    /// How a task ended, and how its cancel (cookie 9) did, whichever came first.
    pub fn result_or_cancel(&self, wanted: TaskId) -> (i32, i32) {
        let (mut result, mut cancel) = (None, None);
        while result.is_none() || cancel.is_none() {
            match self.next() {
                Event::SendBufferRlst { task, err, .. } | Event::SendFileRlst { task, err, .. } if task == wanted => {
                    result = Some(err);
                }
                Event::CancelSendRlst { task, err, cookie: 9 } if task == wanted => cancel = Some(err),
                _ => {}
            }
        }
        (result.unwrap(), cancel.unwrap())
    }

    pub fn command(&self) -> (String, TaskId, Vec<u8>) {
        self.wait(|event| match event {
            Event::NotifyCmdData { source, task, data } => Some((source.to_string(), task, data.to_vec())),
            _ => None,
        })
    }

    pub fn buffer(&self) -> (String, TaskId, Vec<u8>) {
        self.wait(|event| match event {
            Event::NotifyBufferData { source, task, data } => Some((source.to_string(), task, data.to_vec())),
            _ => None,
        })
    }

    pub fn file(&self) -> (String, TaskId, PathBuf, String) {
        self.wait(|event| match event {
            Event::NotifyFileData { source, task, path, name } => Some((source.to_string(), task, path, name)),
            _ => None,
        })
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = client::destroy_session(self.session);
    }
}
