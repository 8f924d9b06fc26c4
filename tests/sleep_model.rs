//! The hand-over between threads that sleep until something is in their queue and those who put it in, as the library
//! has it (`src/client/sleep.rs`), run by a scheduler that decides which thread makes the next step. A wake-up that is
//! lost leaves everybody asleep, which the scheduler reports as a deadlock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

/// What the file takes from its parent module.
mod primitives {
    pub use std::sync::PoisonError;
    pub use std::time::Duration;

    pub use shuttle::sync::atomic::{AtomicBool, Ordering};
    pub use shuttle::sync::{Condvar, Mutex, MutexGuard};
}

#[path = "../src/client/sleep.rs"]
#[allow(dead_code, reason = "it is the library's")]
mod sleep;

use std::collections::VecDeque;
use std::sync::Arc;

use primitives::{Condvar, Mutex};
use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler};
use shuttle::thread;
use sleep::{Asleep, Bed};

/// Schedules of each kind, unless `CRVIDEO_SCHEDULES` says how many.
const SCHEDULES: usize = 2_000;
/// Switches at awkward moments that the second kind of scheduler makes.
const DEPTH: usize = 4;

fn schedules() -> usize {
    std::env::var("CRVIDEO_SCHEDULES").map_or(SCHEDULES, |text| text.parse().expect("CRVIDEO_SCHEDULES: a number"))
}

/// Runs something under each order of steps that the scheduler wants to see, and says how many those were.
fn run(scheduler: impl Scheduler + 'static, model: fn(usize, usize), givers: usize, each: usize) -> usize {
    shuttle::Runner::new(scheduler, shuttle::Config::default()).run(move || model(givers, each))
}

/// Every order of steps where they are few, and many by chance where they are not.
fn explore(model: fn(usize, usize)) {
    let all = run(DfsScheduler::new(Some(2_000_000), false), model, 1, 1);
    assert!((10..2_000_000).contains(&all), "{all} orders of one giver's steps with one thing");
    for (givers, each) in [(1, 3), (2, 2), (3, 1)] {
        let count = schedules();
        assert_eq!(run(RandomScheduler::new(count), model, givers, each), count);
        assert_eq!(run(PctScheduler::new(DEPTH, count), model, givers, each), count);
    }
    eprintln!("all {all} orders of the smallest case, {} by chance", 6 * schedules());
}

/// A channel: what is in it is seen by all at once.
#[derive(Default)]
struct Channel(Mutex<VecDeque<usize>>);

impl Channel {
    fn put(&self, thing: usize) {
        self.0.lock().unwrap().push_back(thing);
    }

    fn take(&self) -> Option<usize> {
        self.0.lock().unwrap().pop_front()
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// Starts those who give, takes what they give, and checks that each has been heard in his order.
fn exchange<W: Default + Send + Sync + 'static>(
    givers: usize,
    each: usize,
    give: fn(&Channel, &W, usize),
    take: fn(&Channel, &W) -> usize,
) {
    let shared = Arc::new((Channel::default(), W::default()));
    let threads: Vec<_> = (0..givers)
        .map(|giver| {
            let shared = shared.clone();
            thread::spawn(move || (0..each).for_each(|number| give(&shared.0, &shared.1, giver * each + number)))
        })
        .collect();
    let mut next: Vec<usize> = (0..givers).map(|giver| giver * each).collect();
    for _ in 0..givers * each {
        let thing = take(&shared.0, &shared.1);
        let expected = &mut next[thing / each];
        assert_eq!(thing, *expected, "not in the order of its giver");
        *expected += 1;
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(shared.0.len(), 0);
}

/// As `EventQueue::push` does it.
fn put_and_ring(channel: &Channel, bed: &Bed, thing: usize) {
    channel.put(thing);
    bed.ring(|| channel.len());
}

/// As `EventQueue::next` does it.
fn event_queue(givers: usize, each: usize) {
    let take = |channel: &Channel, bed: &Bed| loop {
        if let Some(thing) = channel.take() {
            return thing;
        }
        bed.sleep(|| channel.len() == 0, None);
    };
    exchange(givers, each, put_and_ring, take);
}

/// What the io thread sleeps on: a waker, which is remembered when nobody waits yet.
#[derive(Default)]
struct Poll {
    asleep: Asleep,
    raised: Mutex<bool>,
    ready: Condvar,
}

impl Poll {
    fn wake(&self) {
        *self.raised.lock().unwrap() = true;
        self.ready.notify_one();
    }

    fn wait(&self, long: bool) {
        let mut raised = self.raised.lock().unwrap();
        while long && !*raised {
            raised = self.ready.wait(raised).unwrap();
        }
        *raised = false;
    }
}

/// As orders are given to the io thread, and as it takes them in its turns.
fn io_thread(givers: usize, each: usize) {
    let give = |channel: &Channel, poll: &Poll, thing| {
        channel.put(thing);
        if poll.asleep.must_be_ended() {
            poll.wake();
        }
    };
    let take = |channel: &Channel, poll: &Poll| loop {
        let long = channel.len() == 0 && poll.asleep.may_sleep(|| channel.len() == 0);
        poll.wait(long);
        poll.asleep.is_over();
        if let Some(thing) = channel.take() {
            return thing;
        }
    };
    exchange(givers, each, give, take);
}

#[test]
fn no_order_of_steps_loses_the_wake_up_of_whoever_takes_events() {
    explore(event_queue);
}

#[test]
fn no_order_of_steps_loses_the_wake_up_of_the_io_thread() {
    explore(io_thread);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_thread_that_looks_before_it_says_that_it_sleeps_is_found_out() {
    explore(|givers, each| {
        let take = |channel: &Channel, bed: &Bed| loop {
            if let Some(thing) = channel.take() {
                return thing;
            }
            let empty = channel.len() == 0;
            bed.sleep(|| empty, None);
        };
        exchange(givers, each, put_and_ring, take);
    });
}
