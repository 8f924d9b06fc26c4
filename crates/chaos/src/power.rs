//! F9: the power goes, and what the relay had not brought to the disk is lost, all of it or some. Whatever it had
//! acknowledged is there when it starts again: messages, files, members of groups, void tokens, and what servers are to
//! hear of their messages.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crvideo::client::rtm::{self, Action, Answer, CallOptions, Event, Handler, Standing};
use crvideo_proto::code;

use crate::image::{Image, Journal, Loss};
use crate::outcome::Outcome;
use crate::party::until;
use crate::proxy::lock;
use crate::relay::{Relay, Setup};
use crate::rng::Rng;
use crate::store::{PATIENCE, Sent, build_shim, login_with, receive, send, server_client};

/// The group, and whom it gets.
const GROUP: i64 = 5;
const MEMBERS: [i64; 2] = [11, 12];
/// Whose token is made void, and whose is not.
const REVOKED: i64 = 9;
const TRUSTED: i64 = 10;

/// What was acknowledged, each with the number of calls that had returned by then.
#[derive(Default)]
struct Acknowledged {
    sent: BTreeMap<i64, (u64, crate::journal::Sha, bool, bool)>,
    members: Option<u64>,
    revoked: Option<u64>,
    tokens: [String; 2],
}

/// Records one life of a relay, and starts it `images` times on what a loss of power at some moment has left of it.
pub fn losses(seed: u64, images: u64) -> Outcome {
    let mut outcome = Outcome::new("power", seed);
    let dir = tempfile::tempdir().unwrap();
    if let Err(error) = Trial::record(seed, dir.path()).and_then(|trial| trial.judge(images, &mut outcome)) {
        outcome.violated(error);
    }
    outcome.must_have_fired("", images);
    outcome
}

struct Trial<'a> {
    dir: &'a Path,
    setup: Setup,
    rng: Rng,
    journal: Journal,
    acknowledged: Acknowledged,
    /// When everything had been sent.
    quiet: u64,
    client: u64,
    watcher: Arc<Watcher>,
}

impl<'a> Trial<'a> {
    fn record(seed: u64, dir: &'a Path) -> Result<Self, String> {
        let mut rng = Rng::new(seed);
        let shim = build_shim("power_shim", dir)?;
        let (data, journal) = (dir.join("data"), dir.join("journal"));
        std::fs::create_dir(&data).map_err(|error| error.to_string())?;
        let mut setup = Setup::in_dir(dir);
        setup.data = Some(data.clone());
        let text = |path: &Path| path.display().to_string();
        let env = [("LD_PRELOAD", &shim), ("CRVIDEO_POWER_DIR", &data), ("CRVIDEO_POWER_JOURNAL", &journal)];
        setup.env = env.map(|(name, value)| (name.to_owned(), text(value))).into();
        let relay = setup.start()?;
        let watcher = Arc::new(Watcher::default());
        let client = server_client(&relay, watcher.clone());
        rtm::watch_recipients(client, true).map_err(|error| format!("watching fails with {error}"))?;
        let so_far = || std::fs::metadata(&journal).map_or(0, |it| it.len());
        let acknowledged = acknowledge(client, &mut rng, &so_far)?;
        proves_something(&journal, &data)?;
        let quiet = so_far();
        relay.stop()?;
        setup.env.clear();
        let journal = Journal::read(&journal).map_err(|error| error.to_string())?;
        Ok(Self { dir, setup, rng, journal, acknowledged, quiet, client, watcher })
    }

    fn judge(mut self, images: u64, outcome: &mut Outcome) -> Result<(), String> {
        for at in 0..images {
            let calls = match at {
                // The first is the moment at which all is acknowledged; the client is the one that has sent it.
                0 => self.journal.calls_at(self.quiet),
                1 => self.journal.len(),
                _ => self.rng.below(self.journal.len() as u64 + 1) as usize,
            };
            let loss = if at % 2 == 0 { Loss::All } else { Loss::Some };
            self.lose(calls, loss, at, outcome)?;
        }
        let _ = rtm::destroy(self.client);
        Ok(())
    }

    /// Starts a relay on what is left after so many calls.
    fn lose(&mut self, calls: usize, loss: Loss, at: u64, outcome: &mut Outcome) -> Result<(), String> {
        let dir = self.dir.join(format!("image-{at}"));
        let (data, received) = (dir.join("data"), dir.join("received"));
        std::fs::create_dir_all(&received).map_err(|error| error.to_string())?;
        let image = self.journal.replay(calls).after(&self.dir.join("data"), loss, &mut self.rng);
        image.write_to(&data).map_err(|error| error.to_string())?;
        let mut setup = Setup { dir: dir.clone(), data: Some(data), ..self.setup.clone() };
        if at > 0 {
            setup.ports = Setup::in_dir(&dir).ports;
        }
        let name = format!("after {calls} of {} calls ({loss:?} lost)", self.journal.len());
        match setup.start() {
            Err(error) => outcome.violated(format!("{name}: the relay does not start again: {error}")),
            Ok(relay) => {
                let wrong = self.check(&relay, &received, calls, at == 0, outcome);
                outcome.report.violations.extend(wrong.into_iter().map(|it| format!("{name}: {it}; {}", setup.said())));
                if let Err(error) = relay.stop() {
                    outcome.violated(format!("{name}: {error}"));
                }
            }
        }
        outcome.report.violations.extend(setup.panics());
        outcome.fired(format!("{loss:?} lost"), 1);
        outcome.trials += 1;
        let _ = std::fs::remove_dir_all(&dir);
        Ok(())
    }

    fn check(&self, relay: &Relay, received: &Path, calls: usize, first: bool, outcome: &mut Outcome) -> Vec<String> {
        let owed = |journal_len: u64| self.journal.calls_at(journal_len) <= calls;
        let told = |(mid, it): (&i64, &(u64, _, bool, bool))| (*mid, (it.1, it.2 && owed(it.0), it.3));
        let sent: Sent = self.acknowledged.sent.iter().map(told).collect();
        outcome.report.tasks += sent.len() as u64;
        outcome.report.delivered += sent.values().filter(|it| it.1).count() as u64;
        let mut wrong = receive(relay, received, &sent);
        if first {
            wrong.extend(self.watcher.misses(&sent));
        }
        if self.acknowledged.members.is_some_and(owed) {
            wrong.extend(members_missing(relay));
        }
        if self.acknowledged.revoked.is_some_and(owed) {
            let login = |at: usize, user| login_with(relay, received, user, &self.acknowledged.tokens[at]);
            let logins = [login(0, REVOKED), login(1, TRUSTED)];
            if logins != [Some(code::TOKEN_TIMEOUT), Some(code::NOERR)] {
                wrong.push(format!("a void token and a good one log in with {logins:?}"));
            }
        }
        wrong
    }
}

/// All calls replayed make the directory that is there: the shim misses none.
fn proves_something(journal: &Path, data: &Path) -> Result<(), String> {
    let mut missed = vec!["nothing was compared".to_owned()];
    // A call may have returned a moment ago whose record is still to come.
    let same = until(PATIENCE, || {
        let (Ok(journal), Ok(found)) = (Journal::read(journal), Image::of(data)) else { return false };
        let replayed = journal.replay(journal.len()).after(data, Loss::Nothing, &mut Rng::new(0));
        missed = replayed.differences(&found);
        missed.is_empty()
    });
    if same { Ok(()) } else { Err(format!("the shim has missed something, the run proves nothing: {missed:?}")) }
}

/// Sends, fills a group, makes a token void; all of it is acknowledged.
fn acknowledge(client: u64, rng: &mut Rng, so_far: &impl Fn() -> u64) -> Result<Acknowledged, String> {
    let mut all = Acknowledged::default();
    let call = |action: Action| match rtm::call(client, action, CallOptions::default(), None) {
        Ok(Some(rtm::Done { outcome: Ok(answer), .. })) => Ok(answer),
        other => Err(format!("a call fails with {:?}", other.map(|it| it.map(|it| it.outcome)))),
    };
    for (place, uid) in [REVOKED, TRUSTED].into_iter().enumerate() {
        match call(Action::GetToken { uid })? {
            Answer::Token(token) => all.tokens[place] = token,
            other => return Err(format!("instead of a token there is {other:?}")),
        }
    }
    call(Action::RemoveToken { uid: REVOKED })?;
    all.revoked = Some(so_far());
    send(client, rng, |mid, (sha, acknowledged, is_file)| {
        all.sent.insert(mid, (so_far(), sha, acknowledged, is_file));
    });
    call(Action::AddGroupMembers { gid: GROUP, uids: MEMBERS.into() })?;
    all.members = Some(so_far());
    match all.sent.values().find(|it| !it.2) {
        None => Ok(all),
        Some(_) => Err("something that was sent is not acknowledged".to_owned()),
    }
}

fn members_missing(relay: &Relay) -> Option<String> {
    let client = server_client(relay, Arc::new(Watcher::default()));
    let answer = rtm::call(client, Action::GroupMembers { gid: GROUP }, CallOptions::default(), None);
    let _ = rtm::destroy(client);
    match answer {
        Ok(Some(rtm::Done { outcome: Ok(Answer::Ids(mut ids)), .. })) => {
            ids.sort_unstable();
            (ids != MEMBERS).then(|| format!("the group has the members {ids:?}"))
        }
        other => Some(format!("the group's members cannot be had: {:?}", other.map(|it| it.map(|it| it.outcome)))),
    }
}

/// The last that a server has heard of each message.
#[derive(Default)]
struct Watcher(Mutex<BTreeMap<i64, Standing>>);

impl Handler for Watcher {
    fn handle(&self, _client: u64, event: &Event) {
        if let Event::Receipt(receipt) = event {
            lock(&self.0).insert(receipt.mid, receipt.state);
        }
    }
}

impl Watcher {
    /// What was delivered, and is not told so in time.
    fn misses(&self, sent: &Sent) -> Option<String> {
        let open = || -> Vec<i64> {
            let heard = lock(&self.0);
            sent.keys().filter(|mid| heard.get(mid) != Some(&Standing::Delivered)).copied().collect()
        };
        let all = until(PATIENCE, || open().is_empty());
        (!all).then(|| format!("of {:?} it was never heard that they were delivered", open()))
    }
}
