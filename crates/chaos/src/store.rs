//! R8, F8, F10: calls that change something in the relay's store fail or are the relay's last ones, one after the other.
//! Afterwards the relay starts again with a disk that works, and all that was acknowledged reaches its user, whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crvideo::client::rtm::{self, Answer, CallOptions, Content, Done, FileInfo, Handler, Target};
use crvideo::client::{self, Credential, Event, EventHandler, LoginInfo, ServerAddress, SessionConfig, TlsSettings};
use crvideo_proto::id::TaskId;

use crate::journal::{Sha, sha256};
use crate::outcome::Outcome;
use crate::party::until;
use crate::proxy::lock;
use crate::relay::{PROJECT, Relay, SECRET, Setup};
use crate::rng::Rng;

/// What happens to a call.
const HOWS: [&str; 5] = ["eio", "enospc", "short", "kill", "killed"];
/// What is sent in one trial: messages, and files of these sizes. The last does not fit into the relay's memory.
const FILES: [usize; 2] = [3_000, 300_000];
const MESSAGES: usize = 3;
/// A call of a server's client may take this long.
const CALL: Duration = Duration::from_secs(5);
/// What was acknowledged comes within this time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Whom everything is for, who is not there while it is sent.
pub(crate) const USER: i64 = 8;
pub(crate) const SENDER: i64 = 7;
/// No run has more calls.
const MOST_CALLS: u64 = 5_000;

/// Lets one call after the other go wrong, all of them or every `step`th, in every way; begins with the `first`.
pub fn faults(seed: u64, first: u64, step: u64) -> Outcome {
    let mut outcome = Outcome::new("store", seed);
    let dir = tempfile::tempdir().unwrap();
    let shim = match build_shim("store_shim", dir.path()) {
        Ok(shim) => shim,
        Err(error) => {
            outcome.violated(format!("the shim cannot be built: {error}"));
            return outcome;
        }
    };
    for (part, how) in HOWS.iter().enumerate() {
        let mut at = first + part as u64 % step;
        while at < MOST_CALLS {
            let trial = Trial { shim: &shim, at, how, rng: Rng::of_part(seed, at) };
            let Some(fired) = trial.run(&mut outcome) else { break };
            let name = fired.split(' ').next().unwrap_or_default();
            outcome.fired(format!("{how} {name}"), 1);
            outcome.trials += 1;
            at += step;
        }
    }
    outcome.must_have_fired("", 1);
    outcome
}

/// Builds a source file of `c/` that is loaded into the relay; returns the library.
pub(crate) fn build_shim(name: &str, dir: &Path) -> Result<PathBuf, String> {
    let shim = dir.join(name).with_extension("so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("c").join(name).with_extension("c");
    let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    cc.args(["-shared", "-fPIC", "-std=c11", "-Wall", "-Wextra", "-O1"]).arg(source).arg("-o").arg(&shim).arg("-ldl");
    let done = cc.output().map_err(|error| error.to_string())?;
    if done.status.success() { Ok(shim) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
}

/// One fault.
struct Trial<'a> {
    shim: &'a Path,
    at: u64,
    how: &'a str,
    rng: Rng,
}

/// What was sent, by its message's number; whether it was acknowledged, and whether it is a file.
pub(crate) type Sent = BTreeMap<i64, (Sha, bool, bool)>;

impl Trial<'_> {
    /// What call it was; `None` when there were fewer.
    fn run(mut self, outcome: &mut Outcome) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let mut setup = Setup::in_dir(dir.path());
        let (data, log) = (dir.path().join("data"), dir.path().join("fired"));
        std::fs::create_dir(&data).unwrap();
        std::fs::create_dir(dir.path().join("received")).unwrap();
        setup.data = Some(data.clone());
        let text = |path: &Path| path.display().to_string();
        let env = [
            ("LD_PRELOAD", text(self.shim)),
            ("CRVIDEO_STORE_DIR", text(&data)),
            ("CRVIDEO_STORE_AT", self.at.to_string()),
            ("CRVIDEO_STORE_HOW", self.how.to_owned()),
            ("CRVIDEO_STORE_LOG", text(&log)),
        ];
        setup.env = env.map(|(name, value)| (name.to_owned(), value)).into();
        let mut sent = Sent::new();
        if let Ok(relay) = setup.start() {
            self.send(&relay, &mut sent);
            // Also the calls of its end are tried.
            let _ = relay.stop();
        }
        let fired = std::fs::read_to_string(&log).ok()?;
        setup.env.clear();
        let name = format!("call {} ({}): {}", self.at, self.how, fired.trim());
        match setup.start() {
            Ok(relay) => {
                let wrong = receive(&relay, &dir.path().join("received"), &sent);
                outcome.report.violations.extend(wrong.into_iter().map(|it| format!("{name}: {it}; {}", setup.said())));
                if let Err(error) = relay.stop() {
                    outcome.violated(format!("{name}: {error}"));
                }
            }
            Err(error) => outcome.violated(format!("{name}: the relay does not start again: {error}")),
        }
        outcome.report.tasks += sent.len() as u64;
        outcome.report.delivered += sent.values().filter(|it| it.1).count() as u64;
        outcome.report.violations.extend(setup.panics());
        Some(fired)
    }

    fn send(&mut self, relay: &Relay, sent: &mut Sent) {
        let client = server_client(relay, Arc::new(Deaf));
        send(client, &mut self.rng, |mid, it| {
            sent.insert(mid, it);
        });
        let _ = rtm::destroy(client);
    }
}

/// A client of the relay's server gate.
pub(crate) fn server_client(relay: &Relay, handler: Arc<dyn Handler>) -> u64 {
    let servers = vec![ServerAddress { host: relay.rtm.ip().to_string(), port: relay.rtm.port() }];
    let config = rtm::Config { queue: 0, project: PROJECT, secret: SECRET.to_owned(), servers, timeout: CALL };
    rtm::create(config, handler).unwrap()
}

/// Sends the messages and files of a trial to the user; `note` hears of each as soon as it has ended.
pub(crate) fn send(client: u64, rng: &mut Rng, mut note: impl FnMut(i64, (Sha, bool, bool))) {
    let target = || (SENDER, Target::User(USER));
    let mut mid = 0;
    let mut options = || {
        mid += 1;
        CallOptions { mid: Some(mid), ..CallOptions::default() }
    };
    let mut ended = |content: &[u8], is_file: bool, done: Result<Option<Done>, i32>| {
        if let Ok(Some(Done { mid, outcome })) = done {
            note(mid, (sha256(content), matches!(outcome, Ok(Answer::Sent { .. })), is_file));
        }
    };
    for at in 0..MESSAGES.max(FILES.len()) {
        if at < MESSAGES {
            let body = rng.bytes(500);
            ended(&body, false, rtm::send_message(client, target(), 66, &body, "", options(), None));
        }
        if let Some(size) = FILES.get(at) {
            let body = rng.bytes(*size);
            let info = FileInfo { name: Some("a.bin"), custom: None };
            let file = (Content::Memory(&body), info);
            ended(&body, true, rtm::send_file(client, target(), 50, file, options(), None));
        }
    }
}

pub(crate) struct Deaf;

impl Handler for Deaf {
    fn handle(&self, _client: u64, _event: &rtm::Event) {}
}

/// What has reached the user.
#[derive(Default)]
struct Heard {
    login: Option<i32>,
    /// Messages by their ids: their numbers, and what they say.
    messages: BTreeMap<TaskId, (i64, Sha)>,
    files: BTreeMap<TaskId, Sha>,
    wrong: Vec<String>,
}

#[derive(Default)]
struct Ear(Mutex<Heard>);

impl EventHandler for Ear {
    fn handle(&self, _session: u64, event: &Event) -> bool {
        let mut heard = lock(&self.0);
        match event {
            Event::LoginRslt { err, .. } => heard.login = Some(*err),
            Event::NotifyRtmMessage { message } => {
                let told = (message.mid, sha256(&message.data));
                if heard.messages.insert(message.id, told).is_some() {
                    heard.wrong.push(format!("I2: message {} came twice", message.mid));
                }
            }
            Event::NotifyFileData { task, path, .. } => {
                let content = std::fs::read(path).unwrap_or_else(|error| format!("lost: {error}").into_bytes());
                if heard.files.insert(*task, sha256(&content)).is_some() {
                    heard.wrong.push(format!("I2: file {task:?} came twice"));
                }
            }
            _ => {}
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

fn enter(relay: &Relay, dir: &Path, user: i64, credential: Credential) -> (u64, Arc<Ear>) {
    let ear = Arc::new(Ear::default());
    let config = SessionConfig { download_dir: Some(dir.to_owned()), ..SessionConfig::default() };
    let session = client::create_session(config, ear.clone()).unwrap();
    let info = LoginInfo {
        servers: vec![ServerAddress { host: relay.clients.ip().to_string(), port: relay.clients.port() }],
        project: PROJECT,
        user: user.to_string(),
        credential,
        tls: TlsSettings::default(),
    };
    client::login(session, info, 0).unwrap();
    (session, ear)
}

/// The result of a login with a token; `None` when there is none in time.
pub(crate) fn login_with(relay: &Relay, dir: &Path, user: i64, token: &str) -> Option<i32> {
    let (session, ear) = enter(relay, dir, user, Credential::Token(token.to_owned()));
    until(PATIENCE, || lock(&ear.0).login.is_some());
    let _ = client::destroy_session(session);
    lock(&ear.0).login
}

/// Logs the user in, waits for what was acknowledged, and compares everything that comes with what was sent.
pub(crate) fn receive(relay: &Relay, dir: &Path, sent: &Sent) -> Vec<String> {
    let (session, ear) = enter(relay, dir, USER, Credential::Secret(SECRET.to_owned()));
    let has_all = || {
        let heard = lock(&ear.0);
        sent.iter().filter(|(_, (_, acknowledged, _))| *acknowledged).all(|(mid, (_, _, is_file))| {
            let found = heard.messages.iter().find(|(_, (its, _))| its == mid);
            found.is_some_and(|(id, _)| !is_file || heard.files.contains_key(id))
        })
    };
    let all = until(PATIENCE, has_all);
    let _ = client::destroy_session(session);
    let heard = lock(&ear.0);
    let mut wrong = heard.wrong.clone();
    if !all {
        let came: Vec<_> = heard.messages.values().map(|it| it.0).collect();
        let owed: Vec<_> = sent.iter().filter(|it| it.1.1).map(|it| it.0).collect();
        wrong.push(format!(
            "I2: acknowledged were {owed:?}, and there came {came:?} and {} files; login {:?}",
            heard.files.len(),
            heard.login
        ));
    }
    for (id, (mid, sha)) in &heard.messages {
        match sent.get(mid) {
            None => wrong.push(format!("I3: message {mid} was sent by nobody")),
            Some((whole, _, false)) if whole != sha => wrong.push(format!("I3: message {mid} has other bytes")),
            Some((whole, _, true)) if heard.files.get(id).is_some_and(|it| it != whole) => {
                wrong.push(format!("I3: the file of message {mid} has other bytes"));
            }
            Some(_) => {}
        }
    }
    wrong
}
