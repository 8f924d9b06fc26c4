//! F14 and F15 at the users: the process of a sender or receiver stands still for a while, or its wall clock jumps.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::ledger::{Process, check};
use crate::outcome::Outcome;
use crate::peer::{Peer, Work};
use crate::proxy::Proxy;
use crate::relay::Setup;
use crate::rng::Rng;

/// Tasks of one trial.
const TASKS: u64 = 20;
/// Largest payload; it takes the proxy's rate a few seconds.
const LARGEST: u64 = 3_000_000;
/// How long a sender may take for its work, the standstill aside.
const PATIENCE: Duration = Duration::from_secs(90);

/// Sender and receiver stand still in turn, for up to `longest`; `shim` fakes the time, and lets clocks jump meanwhile.
pub fn peers(seed: u64, count: u64, longest: Duration, shim: Option<&Path>, program: &Path) -> Outcome {
    let mut outcome = Outcome::new(if shim.is_some() { "peers' clocks" } else { "peers stopped" }, seed);
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("files")).unwrap();
    let setup = Setup::in_dir(dir.path());
    let relay = setup.start().unwrap();
    let clock = dir.path().join("now");
    let jump = |offset: &str| {
        let new = clock.with_extension("new");
        std::fs::write(&new, offset).and_then(|()| std::fs::rename(&new, &clock)).unwrap();
    };
    let text = |path: &Path| path.display().to_string();
    let faked = shim.map(|shim| (text(shim), text(&clock)));
    let env: Vec<(&str, &str)> = match &faked {
        Some((shim, clock)) => vec![
            ("LD_PRELOAD", shim),
            ("FAKETIME_TIMESTAMP_FILE", clock),
            ("DONT_FAKE_MONOTONIC", "1"),
            ("FAKETIME_CACHE_DURATION", "1"),
        ],
        None => Vec::new(),
    };
    for trial in 0..count {
        let mut rng = Rng::of_part(seed, trial);
        jump("+0");
        let proxy = Proxy::new(relay.clients);
        let (alice, bob) = (format!("alice-{trial}"), format!("bob-{trial}"));
        let mut receiver = Peer::start(program, dir.path(), &bob, proxy.address(), None, &env);
        let work = Work { target: bob, seed: rng.next(), largest: LARGEST, tasks: TASKS };
        let mut sender = Peer::start(program, dir.path(), &alice, relay.clients, Some(&work), &env);
        crate::party::until(PATIENCE, || proxy.forwarded() > rng.below(LARGEST) || sender.has_ended());
        if shim.is_some() {
            jump(rng.pick(&["-3600", "+3600", "+315360000", "-315360000"]));
            outcome.fired("clock jump", 1);
        } else {
            let who = if trial % 2 == 0 { &mut sender } else { &mut receiver };
            who.stop_for(rng.millis(500, longest.as_millis() as u64));
            outcome.fired(if trial % 2 == 0 { "SIGSTOP sender" } else { "SIGSTOP receiver" }, 1);
        }
        let Some(mut sent) = sender.end(PATIENCE + longest) else {
            outcome.violated(format!("I1: trial {trial}: the sender's tasks do not end"));
            continue;
        };
        // The receiver's last notes are written by a thread of its own.
        std::thread::sleep(Duration::from_millis(100));
        let received = receiver.kill();
        sent.stopped += received.stopped;
        let mut report = check(&[sent, Process { killed: false, ..received }], &BTreeSet::new());
        report.violations.iter_mut().for_each(|it| *it = format!("trial {trial}: {it}"));
        if shim.is_some() && report.ends.keys().any(|err| *err != 0) {
            report
                .violations
                .push(format!("C27: trial {trial}: a clock that jumped has ended tasks: {:?}", report.ends));
        }
        outcome.report.add(report);
        outcome.trials += 1;
    }
    outcome.report.violations.extend(setup.panics());
    outcome
}
