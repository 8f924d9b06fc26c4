//! What users do and what goes wrong, drawn step by step; then the healing, and the proof that all is well again.

use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::code;
use crvideo_proto::id::TaskId;
use crvideo_proto::session::{CommandCall, Conn, Credential, Identity, Kind, TransferCall};
use crvideo_proto::token::{CLOCK_TOLERANCE_S, mint};

use crate::files::Source;
use crate::ledger::{Call, What};
use crate::party::{Party, Stage};
use crate::plan::{BULK_IDLE, FILE_LIMIT, PROJECTS, Plan, Project, RESTLESS, USERS};
use crate::world::{CONNS, Happening, START_MICROS, Way, World, index};

/// The relay gives a connection that it closes so much time to take its last words.
const RELAY_LETS_GO: Duration = Duration::from_secs(32);
/// Out of a hundred runs, so many end with the ghosts of earlier logins.
const HAUNTED: u64 = 10;
/// Of the others, in so many somebody ends a transfer of which its target cannot hear.
const FORSAKEN: u64 = 10;
/// Of the rest, so many go through one of the trials.
const TRIED: u64 = 25;
/// The size of that transfer, and how soon after its sender's return the target must know.
const FORSAKEN_SIZE: usize = 500_000;
const FORSAKEN_HEARS: Duration = Duration::from_secs(6);
/// After the healing, everybody is there by now.
pub(crate) const EVERYBODY_BACK: Duration = Duration::from_secs(200);
/// Calls of its other incarnations that each user repeats after the healing.
const REPEATED_AFTER_HEALING: usize = 2;
/// Whoever sends to a user who has gone for good hears so within this time.
const GONE_IS_TOLD: Duration = Duration::from_secs(12);
/// A session reads no further ahead of what it sends, and queues no more on its connections.
pub(crate) const MOST_READ_AHEAD: usize = (4 * 1_024 + 256) * 1_024;
pub(crate) const MOST_QUEUED: [usize; 2] = [(256 + 64 + 64) * 1_024, (512 + 256 + 64) * 1_024];
/// How long the shell waits for a destroyed session's farewell and files.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(2);
/// A command after the healing must be there by now.
pub(crate) const PROBE_PATIENCE: Duration = Duration::from_secs(30);
/// What may wait at the relay beyond a queue's limit: one message, and news of the relay's own.
const LARGEST_COMMAND_FRAME: usize = 65_536 + 8_192;
const LARGEST_BULK_FRAME: usize = 256 * 1_024 + 8_192;
/// The largest content of a transfer; a little more than buffers may have.
const LARGEST: u64 = 1_536 * 1_024;

impl World {
    /// Everything that a seed stands for.
    pub(crate) fn run(&mut self) {
        for party in 0..self.parties.len() {
            if self.parties[party].device == 0 && (self.plan.calm || self.rng.percent(90)) {
                self.login(party);
            }
        }
        if self.plan.calm || self.rng.percent(70) {
            self.run_until(self.now + Duration::from_secs(2));
        }
        for _ in 0..self.plan.rounds {
            for _ in 0..self.plan.steps {
                if self.ledger.violation.is_some() {
                    return;
                }
                self.check_tokens();
                self.check_queues();
                self.act();
                let pause = self.plan.rest + self.rng.millis(0, self.plan.step.as_millis() as u64);
                self.run_until(self.now + pause);
            }
            if self.rng.percent(1) {
                // Long enough for tokens to end that sessions make themselves.
                self.run_until(self.now + Duration::from_secs(2 * crvideo_proto::session::MINTED_LIFE_S));
            }
            if !self.plan.calm && self.rng.percent(30) {
                // Long enough for epochs to end.
                let pause = self.rng.millis(1_000, 90_000);
                self.run_until(self.now + pause);
            }
            self.heal();
            self.probe();
            self.healed = false;
            self.ledger.healed_at = None;
        }
        self.leave();
    }

    fn act(&mut self) {
        let it = self.plan.weights;
        let weights = [
            it.command,
            it.flood,
            it.transfer,
            it.cancel,
            it.repeat,
            it.receiver,
            it.mood,
            it.ask,
            it.login,
            it.logout,
            it.destroy,
            it.cut,
            it.freeze,
            it.relay,
            it.post,
            it.operator,
        ];
        let mut drawn = self.rng.between(0, weights.iter().sum::<u64>() - 1);
        let mut action = 0;
        while drawn >= weights[action] {
            drawn -= weights[action];
            action += 1;
        }
        let alive: Vec<usize> = (0..self.parties.len()).filter(|at| !self.parties[*at].destroyed).collect();
        let in_now: Vec<usize> = alive.iter().filter(|at| self.parties[**at].stage == Stage::In).copied().collect();
        // Some calls come at the wrong time; all else is for those who can do it.
        let wrong_time = in_now.is_empty() || action >= 6 || self.rng.percent(5);
        let mut party = self.rng.pick(if wrong_time { &alive } else { &in_now });
        if self.plan.restless && matches!(action, 8..=10) {
            let restless = alive.iter().find(|at| self.parties[**at].user == RESTLESS);
            party = restless.copied().unwrap_or(party);
        }
        match action {
            0 => self.send_commands(party),
            1 => self.flood(party),
            2 => self.send_transfer(party, false, None),
            3 => self.cancel(party),
            4 => self.repeat(party),
            5 => self.cancel_receive(party),
            6 => self.change_mood(party),
            7 => self.ask(party),
            8 => self.login(party),
            9 => self.logout(party),
            10 => self.destroy(party),
            11 => self.cut(),
            12 => self.freeze(),
            13 => self.restart(),
            14 => self.post_somebody(),
            _ => self.operate(),
        }
    }

    // ---- users --------------------------------------------------------------------------------------------

    pub(crate) fn login(&mut self, party: usize) {
        if self.parties[party].stage != Stage::Out {
            return;
        }
        let cookie = self.number() as usize;
        let user = self.parties[party].user;
        self.trace.note(20, party as u64, 0, || format!("party {party} ({user}) logs in"));
        self.ledger.asked(party, "login", cookie);
        let now = self.now_of_session();
        let project = self.parties[party].project;
        self.parties[party].expires = None;
        self.parties[party].first_expires = None;
        self.parties[party].latest_expires = None;
        let credential = if !self.healed && self.rng.percent(self.plan.forged) {
            let (credential, err) = self.bad_credential(project, user);
            self.ledger.login_must_fail(cookie, err);
            credential
        } else if !self.plan.calm && self.rng.percent(self.plan.tokens) {
            Credential::Token(self.short_token(party))
        } else {
            Credential::Secret(project.secret.to_owned())
        };
        let identity =
            Identity { servers: 1 + self.rng.below(2), project: project.id, user: user.to_owned(), credential };
        self.parties[party].stage = Stage::Entering;
        self.parties[party].session.login(identity, cookie, now);
        self.touch(party);
    }

    /// A credential that is no good, and what the relay says to it.
    fn bad_credential(&mut self, project: Project, user: &str) -> (Credential, i32) {
        let now = START_MICROS / 1_000_000 + self.now.as_secs();
        let good = now + 1_000;
        let other = PROJECTS.into_iter().find(|other| *other != project).unwrap_or(project);
        let somebody = USERS.into_iter().find(|it| *it != user).unwrap_or_default();
        let (token, err) = match self.rng.below(7) {
            0 => return (Credential::Secret(other.secret.to_owned()), code::ANCTPSWD_ERR),
            1 => (mint(project.id, user, good, other.secret), code::TOKEN_AUTH_FAILED),
            2 => (mint(project.id, somebody, good, project.secret), code::TOKEN_AUTHINFOERR),
            3 => (mint(other.id, user, good, project.secret), code::TOKEN_AUTHINFOERR),
            4 => (mint(project.id, user, now - CLOCK_TOLERANCE_S, project.secret), code::TOKEN_TIMEOUT),
            5 => ("not a token".to_owned(), code::TOKEN_NOTTOKENTYPE),
            _ => {
                let token = mint(project.id, user, good, project.secret);
                let (signed, signature) = token.rsplit_once('.').unwrap_or_default();
                let other = if signature.starts_with('A') { "B" } else { "A" };
                let token = format!("{signed}.{other}{}", signature.get(1..).unwrap_or_default());
                (token, code::TOKEN_AUTH_FAILED)
            }
        };
        (Credential::Token(token), err)
    }

    pub(crate) fn logout(&mut self, party: usize) {
        if self.parties[party].destroyed || !matches!(self.parties[party].stage, Stage::In | Stage::Entering) {
            return;
        }
        let cookie = self.number() as usize;
        self.trace.note(21, party as u64, 0, || format!("party {party} logs out"));
        self.ledger.asked(party, "logout", cookie);
        let now = self.now_of_session();
        self.parties[party].stage = Stage::Leaving;
        self.parties[party].session.logout(cookie, now);
        self.touch(party);
    }

    /// The application destroys its session and makes a new one.
    pub(crate) fn destroy(&mut self, party: usize) {
        if self.parties.len() > 12 {
            return;
        }
        self.trace.note(22, party as u64, 0, || format!("party {party} is destroyed"));
        let now = self.now_of_session();
        self.parties[party].session.shut_down(now);
        self.ledger.watches_no_more(party);
        self.parties[party].destroyed = true;
        self.touch(party);
        self.later(REMOVAL_PATIENCE, Happening::Bury(party));
        let (user, device) = (self.parties[party].user, self.parties[party].device);
        self.add_party(self.parties[party].project, user, device);
    }

    fn send_commands(&mut self, party: usize) {
        let burst = if self.rng.percent(70) { 1 } else { 1 + self.rng.below(30) };
        let target = self.rng.pick(&USERS[..self.plan.users]);
        for _ in 0..burst {
            let largest = if self.rng.percent(85) { self.plan.command_size } else { 65_536 };
            let size = self.rng.below(largest + 1);
            let chosen = self.rng.percent(40);
            let target = if self.rng.percent(80) { target } else { self.somebody() };
            self.send_command(party, target, size, chosen, false);
        }
    }

    /// More commands than a sleeping application may have waiting.
    fn flood(&mut self, party: usize) {
        let target = self.rng.pick(&USERS[..self.plan.users]);
        let until = self.now + self.rng.millis(10, 5_000);
        for it in self.parties.iter_mut().filter(|it| it.user == target) {
            it.asleep_until = it.asleep_until.max(until);
        }
        for _ in 0..40 {
            let size = self.rng.between(30_000, 65_536) as usize;
            self.send_command(party, target, size, false, false);
        }
    }

    pub(crate) fn send_command(&mut self, party: usize, target: &'static str, size: usize, chosen: bool, probe: bool) {
        let content = self.content(size);
        let task = TaskId::random(self.rng.bytes());
        let timeout = self.timeout(self.plan.config.command_timeout, probe);
        self.call(party, target, What::Command, task, content, timeout, None, probe, chosen);
    }

    fn send_transfer(&mut self, party: usize, probe: bool, target: Option<&'static str>) {
        if self.plan.patient && !probe && !self.ledger.running(party).is_empty() {
            return;
        }
        let some = self.somebody();
        let size = match self.rng.below(10) {
            // More than a target takes before it is asked.
            0 if probe && self.plan.config.inbound_limit >= 2_048 * 1_024 && self.ledger.send_rate.is_none() => 300_000,
            _ if probe => 20_000,
            0 if self.plan.limits_files => FILE_LIMIT + self.rng.between(0, 1),
            0 => self.rng.pick(&[0, 1, 262_143, 262_144, 262_145]),
            1 if self.rng.percent(40) => self.rng.between(0, LARGEST),
            2 => self.rng.between(0, 400_000),
            _ => self.rng.between(0, self.plan.transfer_size),
        };
        let content = self.content(size as usize);
        let kind = if probe || self.rng.percent(50) { Kind::Buffer } else { Kind::File };
        let task = TaskId::random(self.rng.bytes());
        let timeout = self.timeout(self.plan.config.transfer_timeout, probe);
        let target = target.unwrap_or(some);
        self.call(party, target, What::Transfer(kind), task, content, timeout, None, probe, true);
    }

    /// A user, sometimes one who never logs in.
    fn somebody(&mut self) -> &'static str {
        let users = if self.plan.calm { &USERS[..self.plan.users] } else { &USERS[..] };
        self.rng.pick(users)
    }

    fn timeout(&mut self, usual: Duration, probe: bool) -> Option<Duration> {
        if probe {
            return Some(PROBE_PATIENCE);
        }
        (self.rng.percent(10) && !self.plan.calm).then(|| self.rng.millis(1, 2 * usual.as_millis() as u64))
    }

    pub(crate) fn content(&mut self, size: usize) -> Bytes {
        let from = self.rng.below(self.material.len() - size);
        self.material.slice(from..from + size)
    }

    #[allow(clippy::too_many_arguments)]
    pub(crate) fn call(
        &mut self,
        party: usize,
        target: &'static str,
        what: What,
        task: TaskId,
        content: Bytes,
        timeout: Option<Duration>,
        repeats: Option<usize>,
        probe: bool,
        chosen: bool,
    ) {
        let cookie = self.number() as usize;
        let size = content.len() as u64;
        self.trace.note(23, party as u64, size, || {
            format!("party {party} sends {what:?} {task} of {size} bytes to {target} (chosen {chosen}, {timeout:?})")
        });
        let usual = match what {
            What::Command => self.plan.config.command_timeout,
            What::Transfer(_) => self.plan.config.transfer_timeout,
        };
        let name = if self.rng.percent(2) { format!("{cookie}.{}", "é".repeat(200)) } else { format!("{cookie}.bin") };
        let again = self.again;
        self.ledger.called(Call {
            party,
            project: self.parties[party].project.id,
            user: self.parties[party].user,
            target,
            what,
            task,
            name: name.clone(),
            content: content.clone(),
            cookie,
            at: self.now,
            timeout: timeout.unwrap_or(usual),
            repeats,
            again,
            probe,
            in_vain: false,
            chosen,
        });
        let now = self.now_of_session();
        match what {
            What::Command => {
                let call = CommandCall { target: target.into(), task, chosen, data: content, timeout, cookie };
                self.parties[party].session.send_command(call, now);
            }
            What::Transfer(kind) => {
                let bad = self.rng.percent(self.plan.bad_files) && !self.healed;
                let changes = bad && self.rng.percent(50);
                let fails_at = (bad && !changes).then(|| self.rng.below(content.len() + 1));
                let mut source = Source::new(content, fails_at);
                source.reads_left = changes.then(|| self.rng.below(8) as u32);
                self.parties[party].sources.insert(task, source);
                let call = TransferCall { target: target.into(), task, kind, name, size, timeout, cookie };
                self.parties[party].session.send_transfer(call, now);
            }
        }
        self.touch(party);
    }

    /// The application uses the id of an ended task again.
    fn repeat(&mut self, party: usize) {
        if self.rng.percent(60) && self.repeat_elsewhere(party) {
            return;
        }
        let repeatable = self.ledger.repeatable(party);
        if repeatable.is_empty() {
            return;
        }
        let first = self.rng.pick(&repeatable);
        let call = self.ledger.call(first).clone();
        // The library refuses the id of a task that runs.
        let runs = self.ledger.running(party).contains(&call.task);
        if runs || call.what == What::Command && !call.chosen {
            return;
        }
        self.call(party, call.target, call.what, call.task, call.content, None, Some(first), false, true);
    }

    /// It uses an id of another incarnation of its user, because it does not know what has become of that; whether
    /// there is one.
    fn repeat_elsewhere(&mut self, party: usize) -> bool {
        let it = &self.parties[party];
        let elsewhere = self.ledger.repeatable_elsewhere(party, (it.project.id, it.user));
        if elsewhere.is_empty() {
            return false;
        }
        let call = self.ledger.call(self.rng.pick(&elsewhere)).clone();
        self.trace.note(31, party as u64, 0, || "the id of another incarnation is used again".to_owned());
        self.ledger.saw("ids of other incarnations");
        self.again = true;
        // Whoever begins a transfer anew may have another content by then, and nothing may come of two of them mixed.
        let content = match call.what {
            What::Transfer(_) if self.rng.percent(50) => self.content(call.content.len()),
            _ => call.content,
        };
        self.call(party, call.target, call.what, call.task, content, None, None, false, true);
        self.again = false;
        true
    }

    fn cancel(&mut self, party: usize) {
        let running = self.ledger.running(party);
        let task = match running.is_empty() || self.rng.percent(10) {
            true => TaskId::random(self.rng.bytes()),
            false => self.rng.pick(&running),
        };
        let cookie = self.number() as usize;
        self.trace.note(24, party as u64, 0, || format!("party {party} cancels {task}"));
        self.ledger.cancel_called(party, task, cookie, self.now);
        self.parties[party].session.cancel_send(task, cookie);
        self.touch(party);
    }

    fn cancel_receive(&mut self, party: usize) {
        let coming = self.ledger.coming_in(party);
        if coming.is_empty() {
            return;
        }
        let (source, task) = coming[self.rng.below(coming.len())].clone();
        self.trace.note(25, party as u64, 0, || format!("party {party} cancels receiving {task}"));
        let now = self.now_of_session();
        self.parties[party].session.cancel_receive(&source, task, now);
        self.touch(party);
    }

    fn change_mood(&mut self, party: usize) {
        if self.rng.percent(50) {
            let nap = self.rng.millis(10, if self.plan.calm { 1_000 } else { 60_000 });
            self.parties[party].asleep_until = self.now + nap;
        } else {
            let (offers, progress) = (self.rng.percent(50), self.rng.percent(50));
            self.parties[party].wants_offers = offers;
            self.parties[party].session.set_wants(offers, progress);
        }
    }

    fn ask(&mut self, party: usize) {
        let cookie = self.number() as usize;
        let session = &mut self.parties[party].session;
        match self.rng.below(3) {
            0 => {
                self.ledger.asked(party, "users", cookie);
                session.query_users(self.rng.percent(30).then(|| USERS[0].to_owned()), cookie);
            }
            1 => {
                let on = self.rng.percent(70);
                self.ledger.watch_called(party, cookie, on);
                session.watch_users(on, cookie);
            }
            _ => {
                if self.parties[party].stage == Stage::In {
                    let it = &mut self.parties[party];
                    it.expires = Some(Duration::MAX / 2);
                    it.latest_expires = it.expires;
                    let token = crvideo_proto::token::mint(it.project.id, it.user, u64::MAX / 4, it.project.secret);
                    it.session.update_token(token);
                }
            }
        }
        self.touch(party);
    }

    /// An operator, or a server of the project, ends the session of a user.
    fn operate(&mut self) {
        let members = self.members();
        let (project, user) = self.rng.pick(&members);
        let err = self.rng.pick(&[code::KICKOUT_BY_RELOGIN, code::TOKEN_TIMEOUT]);
        self.end_by_operator(project, user, err);
    }

    // ---- faults -------------------------------------------------------------------------------------------

    fn some_link(&mut self) -> Option<u64> {
        let open: Vec<u64> =
            self.links.iter().filter(|(_, it)| it.client && it.hub.is_some()).map(|(id, _)| *id).collect();
        (!open.is_empty()).then(|| self.rng.pick(&open))
    }

    /// A connection breaks, and its ends may or may not hear of it.
    fn cut(&mut self) {
        let Some(link) = self.some_link() else { return };
        let how = self.rng.below(6);
        self.trace.note(26, link, how as u64, || format!("connection {link} is cut ({how})"));
        let (blind_up, blind_down) = match how {
            0..=2 => (false, false),
            3 => (true, false),
            4 => (false, true),
            _ => (true, true),
        };
        for (way, blind) in [(Way::Up, blind_up), (Way::Down, blind_down)] {
            let late = if self.rng.percent(70) { Duration::ZERO } else { self.rng.millis(0, 3_000) };
            let now = self.now;
            let Some(line) = self.links.get_mut(&link) else { return };
            let pipe = line.pipe(way);
            if blind {
                pipe.swallow();
                let by = self.plan.settings.heartbeat * 2 + Duration::from_secs(1);
                self.later(by, Happening::Noticed(link, way));
                self.later(by + RELAY_LETS_GO, Happening::Closed(link));
            } else {
                let keep = self.rng.below(pipe.held() + 1);
                pipe.end(keep, now + late);
            }
            self.look_later(link, way);
        }
    }

    /// Nothing comes through for a while.
    fn freeze(&mut self) {
        let Some(link) = self.some_link() else { return };
        let until = self.now + self.rng.millis(10, 40_000);
        self.trace.note(27, link, 0, || format!("connection {link} is frozen until {until:?}"));
        let ways = self.rng.pick(&[[true, true], [true, false], [false, true]]);
        let Some(line) = self.links.get_mut(&link) else { return };
        for (way, frozen) in [Way::Up, Way::Down].into_iter().zip(ways) {
            if frozen {
                line.pipe(way).freeze(until);
            }
        }
    }

    fn restart(&mut self) {
        if self.hub.is_none() {
            return;
        }
        let down_for = match self.rng.below(3) {
            0 => self.rng.millis(0, 50),
            1 => self.rng.millis(0, 3_000),
            _ => self.rng.millis(0, 90_000),
        };
        let mut killed = Duration::ZERO;
        if self.rng.percent(50) {
            self.stop_hub();
            killed = self.rng.millis(0, 2_000);
        }
        self.later(killed, Happening::KillHub);
        self.later(killed + down_for, Happening::StartHub);
    }

    // ---- the end ------------------------------------------------------------------------------------------

    /// All faults stop; whatever has begun comes to its end.
    fn heal(&mut self) {
        self.trace.note(28, 0, 0, || "everything is healed".to_owned());
        self.forget_faults();
        self.healed = true;
        self.ledger.healed_at = Some(self.now);
        if self.hub.as_ref().is_some_and(|hub| hub.stopping) {
            self.kill_hub();
        }
        self.start_hub();
        let links: Vec<u64> = self.links.keys().copied().collect();
        for link in links {
            for way in [Way::Up, Way::Down] {
                let Some(line) = self.links.get_mut(&link) else { continue };
                let meddled = line.meddled;
                let pipe = line.pipe(way);
                pipe.thaw();
                if meddled {
                    // Whoever takes the box away breaks the connections through it.
                    pipe.end(0, self.now);
                }
                pipe.manner = Plan::good_manner();
                if pipe.swallows() {
                    pipe.end(0, self.now);
                    pipe.surface();
                }
                self.look_later(link, way);
            }
        }
        for party in 0..self.parties.len() {
            self.parties[party].asleep_until = self.now;
            self.later(Duration::ZERO, Happening::Read(party));
            self.later(Duration::ZERO, Happening::Renew(party));
            for (source, task) in self.ledger.coming_in(party) {
                self.later(Duration::ZERO, Happening::Decide { party, source, task, accept: true });
            }
        }
        self.wait_for(EVERYBODY_BACK, |world| world.everybody_is_in());
        // What was held up has its effect.
        self.run_until(self.now + Duration::from_secs(3));
        if !self.wait_for(EVERYBODY_BACK, |world| world.everybody_is_in()) {
            self.ledger.violated("I12: not everybody is there after the healing, or somebody does not know it");
        }
        // What there was no room for is repeated, as the relay does now and then.
        for (project, user) in self.members() {
            self.deliver_mail((project.id, user), false);
        }
        self.tend_hub();
        let patience = self.plan.config.transfer_timeout * 5 + self.plan.settings.resume_window;
        let quiet =
            self.wait_for(patience, |world| world.ledger.all_ended() && world.is_quiet() && world.ledger.all_got());
        if !quiet {
            let now = self.now;
            self.ledger.settle(now);
            let who = self.parties.iter().position(|party| !party.session.is_quiet());
            self.ledger.violated(format!("I9: no quiet after the healing: session of party {who:?}"));
        }
    }

    /// Runs until something is true, or for `patience`.
    pub(crate) fn wait_for(&mut self, patience: Duration, what: impl Fn(&mut Self) -> bool) -> bool {
        let end = self.now + patience;
        while self.ledger.violation.is_none() {
            if what(self) {
                return true;
            }
            if self.now >= end {
                return false;
            }
            self.run_until(self.now + Duration::from_millis(250));
            self.ledger.must_let_go(self.now);
        }
        false
    }

    /// Whether one device of each user is logged in, with a connection that is whole. Who is missing logs in.
    pub(crate) fn everybody_is_in(&mut self) -> bool {
        let mut all = !self.links.values_mut().any(|line| line.up.has_ended() || line.down.has_ended());
        for member in self.members() {
            let of = |it: &Party| (it.project, it.user) == member && !it.destroyed;
            let devices: Vec<usize> = (0..self.parties.len()).filter(|at| of(&self.parties[*at])).collect();
            let stage = |stage| devices.iter().filter(|at| self.parties[**at].stage == stage).count();
            if stage(Stage::In) == 1 && stage(Stage::Out) + 1 == devices.len() {
                all &= devices.iter().all(|at| !self.ledger.is_line_off(*at) || self.parties[*at].stage == Stage::Out);
                continue;
            }
            all = false;
            if stage(Stage::Out) == devices.len() {
                self.login(devices[0]);
            }
        }
        all
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.parties.iter().all(|party| party.session.is_quiet() && party.letters.is_empty())
    }

    /// What is sent now must arrive.
    fn probe(&mut self) {
        if self.ledger.violation.is_some() {
            return;
        }
        let in_now: Vec<usize> = (0..self.parties.len()).filter(|at| self.parties[*at].is_in()).collect();
        for member in self.members() {
            let of = |at: &&usize| (self.parties[**at].project, self.parties[**at].user) == member;
            let logged_in = in_now.iter().filter(of).count();
            if logged_in != 1 {
                self.ledger.violated(format!("I11: {member:?} is logged in {logged_in} times"));
            }
        }
        for party in in_now.clone() {
            for _ in 0..REPEATED_AFTER_HEALING {
                self.repeat_elsewhere(party);
            }
        }
        // What is repeated may be large, and needs the room that the probes need.
        let patience = self.plan.config.transfer_timeout * 2;
        self.wait_for(patience, |world| world.ledger.all_ended() && world.is_quiet());
        self.trace.note(29, 0, 0, || "the probes".to_owned());
        for party in in_now {
            for target in &USERS[..self.plan.users] {
                self.send_command(party, target, 1_000, false, true);
                self.send_transfer(party, true, Some(target));
            }
        }
        self.ask_who_is_there();
        self.wait_for(PROBE_PATIENCE, |world| world.ledger.all_ended() && world.is_quiet() && world.ledger.all_got());
        self.ledger.must_know_all_are_there();
        self.settle();
        self.check_relay();
    }

    /// Somebody logs in again and again, and each time all that he said and heard before comes once more. What he sends
    /// arrives all the same, and nothing of the earlier does.
    fn haunt(&mut self) {
        let mut in_now = (0..self.parties.len()).filter(|at| self.parties[*at].is_in());
        let Some(ghost) = in_now.next() else { return };
        let (project, user) = (self.parties[ghost].project, self.parties[ghost].user);
        let other = in_now.find(|at| self.parties[*at].project == project).unwrap_or(ghost);
        let target = self.parties[other].user;
        self.trace.note(35, ghost as u64, 0, || format!("party {ghost} is haunted"));
        // Of what had seals, the relay could make nothing on a connection without.
        self.tapes.clear();
        self.haunted = true;
        self.credit.expect_repetitions();
        for _ in 0..3 {
            if other != ghost && !self.plan.calm {
                self.break_links_of(other);
                self.wait_for(PROBE_PATIENCE, |world| world.ledger.is_line_off(other));
                self.wait_for(PROBE_PATIENCE, |world| !world.ledger.is_line_off(other));
            }
            self.logout(ghost);
            self.wait_for(PROBE_PATIENCE, |world| world.parties[ghost].stage == Stage::Out);
            self.login(ghost);
            self.wait_for(PROBE_PATIENCE, |world| world.parties[ghost].is_in());
            // More than a target takes that has not said yet what it takes.
            for _ in 0..6 {
                self.send_command(other, user, 60_000, false, true);
            }
            for (from, to) in [(ghost, target), (other, user)] {
                for _ in 0..2 {
                    self.send_command(from, to, 200, false, true);
                }
                self.send_transfer(from, true, Some(to));
            }
            self.wait_for(PROBE_PATIENCE, |world| world.ledger.all_ended() && world.is_quiet());
        }
        self.haunted = false;
        self.settle();
    }

    /// A transfer ends at its sender while that one's links swallow everything, so that its target cannot hear so. When
    /// the link is back it does, long before its own patience ends.
    fn forsake(&mut self) {
        let noticed = self.plan.settings.heartbeat * 2 + Duration::from_secs(5);
        if self.plan.config.transfer_timeout < noticed + FORSAKEN_HEARS {
            return;
        }
        let mut in_now = (0..self.parties.len()).filter(|at| self.parties[*at].is_in());
        let Some(sender) = in_now.next() else { return };
        let project = self.parties[sender].project;
        let Some(target) = in_now.find(|at| self.parties[*at].project == project) else { return };
        self.parties[target].wants_offers = false;
        self.parties[target].session.set_wants(false, true);
        let (user, content) = (self.parties[target].user, self.content(FORSAKEN_SIZE));
        let task = TaskId::random(self.rng.bytes());
        let (what, timeout) = (What::Transfer(Kind::Buffer), Some(Duration::from_secs(1)));
        self.trace.note(36, sender as u64, 0, || format!("party {sender} forsakes party {target}"));
        self.call(sender, user, what, task, content, timeout, None, false, true);
        let begun = self.now + Duration::from_secs(1);
        while self.now < begun && self.ledger.coming_in(target).is_empty() {
            self.run_until(self.now + Duration::from_millis(1));
        }
        for line in self.links.values_mut().filter(|line| line.party == sender) {
            line.up.swallow();
            line.down.swallow();
        }
        self.run_until(self.now + noticed);
        self.wait_for(FORSAKEN_HEARS, |world| !world.ledger.is_line_off(sender));
        self.wait_for(FORSAKEN_HEARS, |world| world.ledger.coming_in(target).is_empty());
        if !self.ledger.coming_in(target).is_empty() {
            self.ledger.violated(format!("party {target} has not heard that party {sender} has given up {task}"));
        }
        self.wait_for(PROBE_PATIENCE, |world| world.ledger.all_ended() && world.is_quiet());
    }

    pub(crate) fn break_links_of(&mut self, party: usize) {
        let links: Vec<u64> = self.links.iter().filter(|(_, it)| it.party == party).map(|(id, _)| *id).collect();
        for link in links {
            for way in [Way::Up, Way::Down] {
                let Some(line) = self.links.get_mut(&link) else { continue };
                line.pipe(way).end(0, self.now);
                self.look_later(link, way);
            }
        }
    }

    /// Somebody asks who is there, and it is everybody.
    fn ask_who_is_there(&mut self) {
        let Some(party) = (0..self.parties.len()).find(|at| self.parties[*at].is_in()) else { return };
        let everybody: Vec<String> = USERS[..self.plan.users].iter().map(|user| (*user).to_owned()).collect();
        for who in [None, Some(USERS[0].to_owned()), Some("nobody".to_owned())] {
            let cookie = self.number() as usize;
            let expected = match &who {
                None => everybody.clone(),
                Some(user) => everybody.iter().filter(|it| *it == user).cloned().collect(),
            };
            self.ledger.asked_for_users(party, cookie, expected);
            self.parties[party].session.query_users(who, cookie);
        }
        self.touch(party);
    }

    /// When all are there and nothing is under way, the relay keeps nothing of what was.
    fn check_relay(&mut self) {
        let Some(hub) = self.hub.as_ref().filter(|_| self.ledger.violation.is_none()) else { return };
        let open: Vec<_> = hub.core.open_matters().into_iter().filter(|(_, count)| *count > 0).collect();
        if !open.is_empty() {
            self.ledger.violated(format!("I8: the relay keeps {open:?} while nothing is under way"));
        }
        let sessions: usize = hub.core.project_ids().iter().map(|id| hub.core.list_sessions(*id, None).0.len()).sum();
        let members = self.members().len();
        if sessions != members {
            self.ledger.violated(format!("I11: the relay knows {sessions} sessions of {members} users"));
        }
    }

    /// A server sends a message to somebody, who may not be there.
    fn post_somebody(&mut self) {
        let members = self.members();
        let (project, user) = self.rng.pick(&members);
        self.post(project.id, user);
    }

    /// What the relay has waiting for a session has a limit, which one message may exceed.
    fn check_queues(&mut self) {
        let Some(hub) = &self.hub else { return };
        let [commands, bulk] = hub.core.longest_queues();
        let it = &self.plan.settings;
        if commands > it.command_queue + LARGEST_COMMAND_FRAME || bulk > it.bulk_queue + LARGEST_BULK_FRAME {
            self.ledger.violated(format!("I8: {commands} and {bulk} bytes wait at the relay for one session"));
        }
        for party in 0..self.parties.len() {
            let session = &mut self.parties[party].session;
            let queued = CONNS.map(|conn| session.out(conn).len());
            let ahead = session.read_ahead();
            let wired = self.parties[party].wired;
            let open = |conn| wired[index(conn)].is_some_and(|it| !it.given_up);
            if !open(Conn::Bulk) && ahead > 0 {
                self.ledger.violated(format!("I8: party {party} has read {ahead} bytes ahead that it cannot send"));
            }
            let session = &mut self.parties[party].session;
            let rest = CONNS.map(|conn| if open(conn) { 0 } else { session.reader(conn).buffered() });
            if rest != [0, 0] {
                self.ledger.violated(format!("I8: party {party} keeps {rest:?} bytes of frames of no connection"));
            }
            if ahead > MOST_READ_AHEAD || queued[0] > MOST_QUEUED[0] || queued[1] > MOST_QUEUED[1] {
                self.ledger.violated(format!("I8: party {party} has read {ahead} bytes ahead and queued {queued:?}"));
            }
        }
    }

    /// Everybody logs out, and nothing is left.
    fn leave(&mut self) {
        if self.ledger.violation.is_some() {
            return;
        }
        self.healed = true;
        if self.rng.percent(HAUNTED) {
            self.haunt();
        } else if !self.plan.calm && self.rng.percent(FORSAKEN) {
            self.forsake();
        } else if !self.plan.calm && self.rng.percent(TRIED) {
            self.trial();
        }
        self.trace.note(30, 0, 0, || "everybody leaves".to_owned());
        if self.rng.percent(20) {
            self.run_until(self.now + BULK_IDLE + Duration::from_secs(5));
            self.check_relay();
            let bulk = self.links.values().filter(|line| line.conn == Conn::Bulk).count();
            if bulk > 0 {
                self.ledger.violated(format!("{bulk} bulk connections stay that nothing needs"));
            }
        }
        if self.rng.percent(10) {
            return self.leave_one_by_one();
        }
        let first = (0..self.parties.len()).find(|at| self.parties[*at].is_in());
        if let Some(first) = first {
            let (project, user) = (self.parties[first].project, self.parties[first].user);
            let ousted = [code::KICKOUT_BY_RELOGIN, code::TOKEN_TIMEOUT].get(self.rng.below(6)).copied();
            match ousted {
                Some(err) => self.end_by_operator(project, user, err),
                None => self.logout(first),
            }
            self.run_until(self.now + Duration::from_secs(1));
            let heard = self.ledger.last_line_off(first);
            if ousted.is_some() && (heard != ousted || self.parties[first].stage != Stage::Out) {
                self.ledger
                    .violated(format!("party {first} should have been ended with {ousted:?}, and heard {heard:?}"));
            }
            for at in (0..self.parties.len()).filter(|at| *at != first) {
                if self.parties[at].is_in() && self.parties[at].project == project && !self.ledger.is_line_off(at) {
                    self.ledger.must_know_gone(at, user);
                }
            }
        }
        for party in 0..self.parties.len() {
            self.logout(party);
        }
        self.all_must_be_gone();
    }

    /// Nobody is there any more, and nothing is left.
    fn all_must_be_gone(&mut self) {
        if self.rng.percent(20) {
            self.strangers_come();
        }
        let patience = self.plan.settings.resume_window + self.plan.settings.heartbeat * 3;
        self.run_until(self.now + patience.max(Duration::from_secs(40)));
        self.settle();
        if let Some(hub) = &self.hub {
            let left: Vec<_> = hub.core.tables().into_iter().filter(|(_, count)| *count > 0).collect();
            let queued = (hub.core.queued_bytes() as u64).max(hub.core.memory_used());
            if !left.is_empty() || queued > 0 || !hub.is_empty() {
                self.ledger.violated(format!("I8: the relay keeps {queued} bytes and {left:?} with nobody there"));
            }
        }
        if !self.links.is_empty() {
            self.ledger.violated(format!("I9: connections are left over: {:?}", self.links.keys()));
        }
    }

    /// Somebody vanishes, and everybody else must get over it.
    fn leave_one_by_one(&mut self) {
        let in_now: Vec<usize> = (0..self.parties.len()).filter(|at| self.parties[*at].is_in()).collect();
        let Some((first, others)) = in_now.split_first() else { return };
        let (project, user) = (self.parties[*first].project, self.parties[*first].user);
        // It leaves something behind that has begun and will never be whole.
        if let Some(target) = others.iter().find(|at| self.parties[**at].project == project) {
            let target = self.parties[*target].user;
            self.send_transfer(*first, false, Some(target));
            self.run_until(self.now + Duration::from_millis(3));
        }
        self.vanish(*first);
        self.ledger.vanished(*first);
        // What is read of a connection that broke can be news of its end.
        self.run_until(self.now + self.plan.settings.heartbeat * 2 + Duration::from_secs(12));
        for at in others.iter().filter(|at| self.parties[**at].project == project) {
            self.ledger.must_know_gone(*at, user);
        }
        let from = others.iter().copied().find(|at| self.parties[*at].project == project);
        if let Some(from) = from {
            let until = self.now + GONE_IS_TOLD;
            for _ in 0..2 {
                self.send_command(from, user, 100, true, false);
                self.ledger.must_find_nobody();
                self.send_transfer(from, false, Some(user));
                self.ledger.must_find_nobody();
                self.run_until(until);
            }
            self.wait_for(GONE_IS_TOLD, |world| world.ledger.all_ended());
        }
        self.run_until(self.now + self.plan.settings.resume_window);
        let sessions = self.hub.as_ref().map_or(0, |hub| hub.core.sessions());
        if sessions != others.len() {
            self.ledger.violated(format!("I11: {sessions} sessions, and {} users are there", others.len()));
        }
        let waits = others.iter().find(|at| !self.parties[**at].session.is_quiet());
        if let Some(at) = waits {
            self.ledger.violated(format!("party {at} waits for what somebody has begun who is gone"));
        }
        for party in 0..self.parties.len() {
            self.logout(party);
        }
        self.all_must_be_gone();
    }

    fn settle(&mut self) {
        // An answer to a heart-beat may be on its way.
        self.wait_for(Duration::from_secs(1), |world| world.who_holds().is_none());
        let now = self.now;
        self.ledger.settle(now);
        if let Some((party, held)) = self.who_holds() {
            self.ledger.violated(format!("I8: the session of party {party} holds {held} bytes for nothing"));
        }
        for party in 0..self.parties.len() {
            let left: Vec<_> = self.parties[party].session.tables().into_iter().filter(|(_, n)| *n > 0).collect();
            if !left.is_empty() && !self.parties[party].destroyed {
                self.ledger.violated(format!("I8: the session of party {party} keeps {left:?} for nothing"));
            }
        }
    }

    fn who_holds(&mut self) -> Option<(usize, u64)> {
        let parties = self.parties.iter_mut().enumerate().filter(|(_, party)| !party.destroyed);
        let mut held = parties.map(|(at, party)| {
            party.session.handled_in_all(party.handled);
            (at, party.session.held())
        });
        held.find(|(_, held)| *held > 0)
    }
}
