//! F10, R8: the disk of the relay's data is full, for its database, for files in its memory and for those on their way to
//! the disk. It refuses, says so, and serves what needs no room; when there is room it goes on, and nothing that it had
//! acknowledged is missing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crvideo::client::rtm::{self, Action, Answer, CallOptions, Content, Done, FileInfo, Outcome as Ended, Target};

use crvideo_proto::code;

use crate::journal::sha256;
use crate::outcome::Outcome;
use crate::party::until;
use crate::relay::{Relay, Setup};
use crate::rng::Rng;
use crate::store::{Deaf, PATIENCE, SENDER, Sent, USER, login_with, receive, server_client};

/// What a store that cannot be written answers (docs/rtm.md).
const UNKNOWN_ERROR: i32 = 20_001;
/// Bytes of a message; the disk holds fewer than so many of them.
const MESSAGE: usize = 10_000;
const MOST: i64 = 2_000;

/// A small disk of its own, unmounted with the value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(at).map_err(|error| error.to_string())?;
        mount(at, "size=3m").map(|()| Self(at.to_owned()))
    }

    fn grow(&self) -> Result<(), String> {
        mount(&self.0, "remount,size=64m")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn mount(at: &Path, options: &str) -> Result<(), String> {
    let done = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).output();
    let done = done.map_err(|error| error.to_string())?;
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).trim().to_owned()) }
}

/// Why no small disk can be had here: only root may mount.
pub fn no_small_disk() -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    SmallDisk::mount(&dir.path().join("disk")).err()
}

/// Fills the disk, asks for everything meanwhile, and makes room.
pub fn disk(seed: u64) -> Outcome {
    let mut outcome = Outcome::new("full", seed);
    let dir = tempfile::tempdir().unwrap();
    if let Err(error) = fill(dir.path(), &mut Rng::new(seed), &mut outcome) {
        outcome.violated(error);
    }
    outcome.must_have_fired("", 3);
    outcome
}

fn fill(dir: &Path, rng: &mut Rng, outcome: &mut Outcome) -> Result<(), String> {
    let data = dir.join("data");
    let disk = SmallDisk::mount(&data)?;
    let mut setup = Setup::in_dir(dir);
    setup.data = Some(data);
    setup.more.push(("files".to_owned(), "min_free_percent = 0".to_owned()));
    let relay = setup.start()?;
    let mut server = Server { client: server_client(&relay, Arc::new(Deaf)), sent: Sent::new(), mid: 0 };
    while server.message(rng).is_ok() && server.mid < MOST {}
    outcome.trials += 1;
    refuses(&mut server, &relay, dir, rng, outcome);
    outcome.report.violations.extend(unsaid(&setup));
    disk.grow()?;
    // The first may still be answered by a transaction that had begun.
    if !until(PATIENCE, || server.message(rng).is_ok()) {
        outcome.violated("there is room, and nothing can be stored");
    }
    for size in [3_000, 300_000] {
        if let Err(failure) = server.file(rng, size) {
            outcome.violated(format!("there is room, and a file of {size} bytes fails: {failure:?}"));
        }
    }
    let received = dir.join("received");
    std::fs::create_dir_all(&received).map_err(|error| error.to_string())?;
    outcome.report.violations.extend(receive(&relay, &received, &server.sent));
    let _ = rtm::destroy(server.client);
    relay.stop()?;
    // A second life finds nothing wrong.
    setup.start()?.stop()?;
    outcome.report.tasks += server.sent.len() as u64;
    outcome.report.delivered += server.sent.values().filter(|it| it.1).count() as u64;
    outcome.report.violations.extend(setup.panics());
    Ok(())
}

/// Everything that needs room is refused with the code for that, and everything else works.
fn refuses(server: &mut Server, relay: &Relay, dir: &Path, rng: &mut Rng, outcome: &mut Outcome) {
    let small = server.file(rng, 200_000).map(drop);
    let large = server.file(rng, 3_000_000).map(drop);
    let refused = [
        ("a message", server.message(rng).map(drop)),
        ("a file that fits into memory", small),
        ("a file that does not", large),
    ];
    for (what, ended) in refused {
        match ended {
            Err((UNKNOWN_ERROR, text)) if text.contains("disk is full") || text.contains("cannot use its store") => {
                outcome.fired(what, 1);
            }
            other => outcome.violated(format!("the disk is full, and {what} ends with {other:?}")),
        }
    }
    if let Err(failure) = server.call(Action::OnlineUsers { uids: vec![USER] }) {
        outcome.violated(format!("the disk is full, and asking who is online fails: {failure:?}"));
    }
    match server.call(Action::GetToken { uid: SENDER }) {
        Ok(Answer::Token(token)) => {
            let login = login_with(relay, dir, SENDER, &token);
            if login != Some(code::NOERR) {
                outcome.violated(format!("the disk is full, and a login ends with {login:?}"));
            }
        }
        other => outcome.violated(format!("the disk is full, and asking for a token ends with {other:?}")),
    }
}

/// Why something has failed: a code and a text.
type Failure = (i32, String);

/// A server that sends, and notes what it has sent.
struct Server {
    client: u64,
    sent: Sent,
    mid: i64,
}

impl Server {
    fn message(&mut self, rng: &mut Rng) -> Result<Answer, Failure> {
        let (body, options) = (rng.bytes(MESSAGE), self.options());
        let done = rtm::send_message(self.client, (SENDER, Target::User(USER)), 66, &body, "", options, None);
        self.note(&body, false, done)
    }

    fn file(&mut self, rng: &mut Rng, size: usize) -> Result<Answer, Failure> {
        let (body, options) = (rng.bytes(size), self.options());
        let file = (Content::Memory(&body), FileInfo { name: Some("a.bin"), custom: None });
        let done = rtm::send_file(self.client, (SENDER, Target::User(USER)), 50, file, options, None);
        self.note(&body, true, done)
    }

    fn call(&self, action: Action) -> Result<Answer, Failure> {
        ended(rtm::call(self.client, action, CallOptions::default(), None))
    }

    fn options(&mut self) -> CallOptions {
        self.mid += 1;
        CallOptions { mid: Some(self.mid), ..CallOptions::default() }
    }

    fn note(&mut self, body: &[u8], is_file: bool, done: Result<Option<Done>, i32>) -> Result<Answer, Failure> {
        let ended = ended(done);
        self.sent.insert(self.mid, (sha256(body), ended.is_ok(), is_file));
        ended
    }
}

fn ended(done: Result<Option<Done>, i32>) -> Result<Answer, Failure> {
    let outcome: Ended = match done {
        Ok(Some(done)) => done.outcome,
        Ok(None) => return Err((0, "the call has not waited".to_owned())),
        Err(code) => return Err((code, String::new())),
    };
    outcome.map_err(|failure| (failure.code, failure.text))
}

/// An operator must find the cause in the log.
fn unsaid(setup: &Setup) -> Option<String> {
    let said = setup.said();
    let told = said.lines().any(|line| line.contains("ERROR") && line.contains("full"));
    (!told).then(|| format!("no error in the log says that the disk is full: {said}"))
}
