//! Figure 2: processes are killed at random bytes of random payloads, and success stays true.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::journal::{Journal, sha256};
use crate::ledger::{Process, Report, check, files_below};
use crate::outcome::Outcome;
use crate::party::{Habits, Party, StallWatch, until};
use crate::peer::{Peer, Witness, Work, send_one};
use crate::proxy::{Proxy, lock};
use crate::relay::{Relay, Setup};
use crate::rng::Rng;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The relay, which is started again at once.
    Relay,
    /// The receiving program, which is started again at once.
    Receiver,
    /// The sending program.
    Sender,
}

/// Tasks of one trial: the large one, and small ones around it.
const TASKS: u64 = 8;
/// How long a trial may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// Unknown outcomes, in hundredths, that figure 2 allows.
const MOST_UNKNOWN: f64 = 5.0;
/// Over fewer tasks a share says nothing.
const JUDGED_FROM: u64 = 800;

/// Adds to the last of some runs a violation if too many outcomes of all of them are unknown.
pub fn judge_unknown(runs: &mut [Outcome]) {
    let tasks: u64 = runs.iter().map(|it| it.report.tasks).sum();
    let unknown: u64 = runs.iter().map(|it| it.report.unknown()).sum();
    let percent = 100.0 * unknown as f64 / tasks.max(1) as f64;
    if let Some(last) = runs.last_mut().filter(|_| tasks >= JUDGED_FROM && percent > MOST_UNKNOWN) {
        last.violated(format!("figure 2: {percent:.1} % of {tasks} outcomes are unknown"));
    }
}

/// Kills so often; payloads are up to `largest` bytes. `program` is the one that peers are started from.
pub fn kills(seed: u64, count: u64, largest: u64, program: &Path) -> Outcome {
    let mut outcome = Outcome::new("kills", seed);
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("files")).unwrap();
    let mut setup = Setup::in_dir(dir.path());
    setup.data = Some(dir.path().join("data"));
    // An incarnation that was killed is soon known to be gone.
    setup.resume_window = 3.0;
    let mut relay = setup.start().unwrap();
    for trial in 0..count {
        let mut rng = Rng::of_part(seed, trial);
        // Figure 2 has one receiver in five.
        let victim = rng.pick(&[Victim::Relay, Victim::Relay, Victim::Relay, Victim::Receiver, Victim::Sender]);
        let size = rng.magnitude(1, largest);
        let trial = Trial { dir: dir.path(), setup: &setup, program, victim, size, trial, rng };
        let (next, report) = trial.run(relay, &mut outcome);
        relay = next;
        outcome.note_unknown(&format!("{victim:?} killed"), &report);
        outcome.report.add(report);
        outcome.trials += 1;
    }
    outcome.report.violations.extend(setup.panics());
    outcome.must_have_fired("SIGKILL", count);
    outcome
}

struct Trial<'a> {
    dir: &'a Path,
    setup: &'a Setup,
    program: &'a Path,
    victim: Victim,
    size: u64,
    trial: u64,
    rng: Rng,
}

impl Trial<'_> {
    /// One kill. Receiver and sender are users of their own, so that no trial meets another.
    fn run(mut self, relay: Relay, outcome: &mut Outcome) -> (Relay, Report) {
        let proxy = Proxy::new(relay.clients);
        let witness = Arc::new(Mutex::new(Witness::default()));
        let seen = witness.clone();
        proxy.tap(Arc::new(move |way, frame| lock(&seen).see(way, frame)));
        let user = |what: &str| format!("{what}-{}", self.trial);
        let (alice, bob) = (user("alice"), user("bob"));
        let mut processes = Vec::new();
        // Bob stands behind the proxy: what passes it says how far the payload has come.
        let start_bob = || Peer::start(self.program, self.dir, &bob, proxy.address(), None, &[]);
        let mut receiver = start_bob();
        let before = proxy.forwarded();
        // A little is spent on protocol, so that small payloads are also caught in the middle of it.
        let kill_at = before + self.rng.below(self.size + 4_000);
        let seed = self.rng.next();
        let relay = if self.victim == Victim::Sender {
            let work = Work { target: bob.clone(), seed, largest: self.size, tasks: TASKS };
            let mut sender = Peer::start(self.program, self.dir, &alice, relay.clients, Some(&work), &[]);
            until(PATIENCE, || proxy.forwarded() >= kill_at || sender.has_ended());
            processes.push(sender.kill());
            outcome.fired("SIGKILL Sender", 1);
            // What is on its way may still arrive.
            std::thread::sleep(Duration::from_millis(200));
            relay
        } else {
            let journal = Arc::new(Journal::default());
            let watch = StallWatch::start(&journal);
            let habits = Habits::in_dir(&self.dir.join("files"));
            let party = Party::logged_in(&alice, &habits, &journal, relay.clients);
            let mut rng = Rng::new(seed);
            for _ in 0..TASKS {
                send_one(&party, &bob, self.size, &mut rng);
            }
            until(PATIENCE, || proxy.forwarded() >= kill_at || party.open() == 0);
            let relay = if self.victim == Victim::Relay {
                relay.kill();
                self.setup.start().unwrap()
            } else {
                processes.push(receiver.kill());
                receiver = start_bob();
                relay
            };
            outcome.fired(format!("SIGKILL {:?}", self.victim), 1);
            party.settle(PATIENCE);
            party.destroy();
            drop(watch);
            processes.push(Process { entries: journal.entries(), killed: false, stopped: Duration::ZERO });
            relay
        };
        // The last deliveries are noted by a thread of the receiver's.
        std::thread::sleep(Duration::from_millis(50));
        processes.push(receiver.kill());
        let mut report = check(&processes, lock(&witness).confirmed());
        report.violations.iter_mut().for_each(|it| *it = format!("trial {} ({:?}): {it}", self.trial, self.victim));
        report.violations.extend(self.lost_files(&processes));
        self.tidy();
        (relay, report)
    }

    /// A file that its receiver was seen to have confirmed lies in its directory, whole, although the receiver was
    /// killed before its application heard of it.
    fn lost_files(&self, processes: &[Process]) -> Vec<String> {
        use crate::journal::{Kind, Note};
        use std::collections::BTreeSet;
        let notes = || processes.iter().flat_map(|it| &it.entries).map(|it| &it.note);
        let delivered: BTreeSet<_> =
            notes().filter_map(|it| if let Note::Delivered { task, .. } = it { Some(task) } else { None }).collect();
        let good: BTreeSet<_> = notes()
            .filter_map(|it| if let Note::Ended { task, err: 0, .. } = it { Some(task) } else { None })
            .collect();
        let unseen = notes().filter_map(|it| match it {
            Note::Sent { task, kind: Kind::File, sha, .. } if good.contains(task) && !delivered.contains(task) => {
                Some((task, sha))
            }
            _ => None,
        });
        let unseen: Vec<_> = unseen.collect();
        if unseen.is_empty() {
            return Vec::new();
        }
        let files = files_below(&self.dir.join("files"));
        let there: BTreeSet<_> =
            files.iter().filter_map(|path| std::fs::read(path).ok()).map(|it| sha256(&it)).collect();
        let lost = unseen.into_iter().filter(|(_, sha)| !there.contains(*sha));
        lost.map(|(task, _)| format!("I2: the file {task:?} ended well and lies nowhere")).collect()
    }

    /// Removes what the trial's receivers have left.
    fn tidy(&self) {
        for path in files_below(&self.dir.join("files")) {
            let _ = std::fs::remove_file(path);
        }
        for entry in std::fs::read_dir(self.dir).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("journal-") {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}
