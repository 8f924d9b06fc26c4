//! R23: a whole herd of users loses its relay at once, and finds it again without trampling it down.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crvideo_proto::code;

use crate::journal::{Journal, Kind};
use crate::outcome::Outcome;
use crate::party::{Habits, Party, until};
use crate::relay::Setup;

/// All are back within this time (figure R23).
const BACK: Duration = Duration::from_secs(60);
/// Threads that log users in.
const THREADS: usize = 16;
/// One of so many users sends something to the next one when all are back.
const SAMPLE: usize = 50;
/// How long the herd may take to gather, and a task to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// So many users of one process; the relay is killed and starts again at once, `kills` times.
pub fn relay_killed(seed: u64, users: usize, kills: u64) -> Outcome {
    let mut outcome = Outcome::new("herd", seed);
    let dir = tempfile::tempdir().unwrap();
    let mut setup = Setup::in_dir(dir.path());
    setup.heartbeat = 5.0;
    let mut relay = setup.start().unwrap();
    let journal = Arc::new(Journal::default());
    let habits = Habits::in_dir(dir.path());
    let at = relay.clients;
    let herd: Vec<Party> = std::thread::scope(|scope| {
        let gather = |thread: usize| {
            let (journal, habits) = (&journal, &habits);
            scope.spawn(move || {
                let mine = (thread..users).step_by(THREADS);
                mine.map(|number| Party::logged_in(&format!("user-{number}"), habits, journal, at)).collect::<Vec<_>>()
            })
        };
        let threads: Vec<_> = (0..THREADS).map(gather).collect();
        threads.into_iter().flat_map(|it| it.join().expect("the herd gathers")).collect()
    });
    for kill in 1..=kills {
        relay.kill();
        let start = Instant::now();
        relay = setup.start().unwrap();
        outcome.fired("SIGKILL relay", 1);
        let back = || herd.iter().filter(|it| it.lines() == (kill, kill)).count();
        if !until(BACK.saturating_sub(start.elapsed()), || back() == users) {
            outcome.violated(format!("R23: {} of {users} are back after {:?}", back(), start.elapsed()));
        }
        println!("{users} users are back {:.1} s after kill {kill}", start.elapsed().as_secs_f64());
        for pair in herd.chunks(2).step_by(SAMPLE).filter(|pair| pair.len() == 2) {
            let end = pair[0].result(Kind::Command, &pair[1].user, b"here again", PATIENCE);
            outcome.report.tasks += 1;
            *outcome.report.ends.entry(end.unwrap_or(code::UNKNOWNERR)).or_default() += 1;
            if end != Some(code::NOERR) {
                outcome.violated(format!("R23: a command of {} ended with {end:?}", pair[0].user));
            }
        }
        outcome.trials += users as u64;
    }
    drop(herd);
    outcome.report.violations.extend(setup.panics());
    outcome
}
