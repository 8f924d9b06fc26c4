//! Single stories about links that fail in one way.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::Duration;

use crvideo_chaos::journal::{Journal, Kind};
use crvideo_chaos::party::{Habits, Party, until};
use crvideo_chaos::proxy::{Cut, Fault, Plan, Proxy, Way};
use crvideo_chaos::relay::{Relay, Setup};

const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    dir: tempfile::TempDir,
    relay: Relay,
    journal: Arc<Journal>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut setup = Setup::in_dir(dir.path());
        setup.heartbeat = 0.3;
        let relay = setup.start().unwrap();
        Self { dir, relay, journal: Arc::default() }
    }

    fn user(&self, name: &str, proxy: &Proxy) -> Party {
        let mut habits = Habits::in_dir(self.dir.path());
        // Far longer than silence may go unnoticed.
        habits.transfer_timeout = PATIENCE;
        habits.cmd_timeout = PATIENCE;
        Party::logged_in(name, &habits, &self.journal, proxy.address())
    }
}

/// A proxy whose second connection, which is the first bulk connection, breaks as planned; others are whole.
fn breaking_bulk(world: &World, plan: Plan) -> Proxy {
    let draw =
        move |number: u64, _: &mut crvideo_chaos::rng::Rng| if number == 1 { plan.clone() } else { Plan::default() };
    Proxy::with_plan(world.relay.clients, 1, Box::new(draw))
}

#[test]
fn regression_a_bulk_connection_that_has_gone_silent_is_replaced_while_transfers_need_it() {
    for (plan, receiving) in
        [(Plan::cut(Way::Up, 300_000, Cut::Silence), false), (Plan::cut(Way::Down, 300_000, Cut::Silence), true)]
    {
        let world = World::new();
        let (broken, whole) = (breaking_bulk(&world, plan), Proxy::new(world.relay.clients));
        let (alice, bob) = if receiving { (&whole, &broken) } else { (&broken, &whole) };
        let (alice, bob) = (world.user("alice", alice), world.user("bob", bob));
        let content = vec![7; 3_000_000];
        assert_eq!(alice.result(Kind::Buffer, "bob", &content, PATIENCE), Some(0), "receiving: {receiving}");
        assert_eq!(broken.count("cut Silence"), 1);
        assert!(until(PATIENCE, || bob.delivered() == 1));
        assert_eq!((alice.lines(), bob.lines()), ((0, 0), (0, 0)), "the command connections were whole");
    }
}

#[test]
fn a_link_whose_other_end_has_vanished_is_noticed_and_repaired() {
    let world = World::new();
    let (near, far) = (Proxy::new(world.relay.clients), Proxy::new(world.relay.clients));
    let (alice, _bob) = (world.user("alice", &near), world.user("bob", &far));
    near.cut(Cut::Silence);
    assert!(until(PATIENCE, || alice.lines() == (1, 1)), "{:?}", alice.lines());
    assert_eq!(alice.result(Kind::Command, "bob", b"x", PATIENCE), Some(0));
}

#[test]
fn an_upload_goes_on_by_a_second_connection_while_the_first_hangs() {
    for offset in [700, 150_000, 400_000, 3_000_000] {
        let world = World::new();
        let plan = Plan::default().with(Way::Up, |lane| lane.faults.push((offset, Fault::Stall(PATIENCE * 10))));
        let proxy = breaking_bulk(&world, plan);
        let alice = world.user("alice", &proxy);
        let whole = Proxy::new(world.relay.clients);
        let bob = world.user("bob", &whole);
        assert_eq!(alice.result(Kind::File, "bob", &vec![3; 5_000_000], PATIENCE), Some(0), "at {offset}");
        assert_eq!(proxy.count("stall"), 1, "at {offset}");
        assert!(until(PATIENCE, || bob.delivered() == 1));
    }
}

#[test]
fn one_byte_at_a_time_and_late_is_enough() {
    let world = World::new();
    let slow = |_: u64, _: &mut crvideo_chaos::rng::Rng| {
        let slow = |plan: Plan, way| {
            plan.with(way, |lane| {
                lane.slice = Some(1);
                lane.latency = Duration::from_millis(20);
                lane.jitter = Duration::from_millis(20);
            })
        };
        slow(slow(Plan::default(), Way::Up), Way::Down)
    };
    let proxy = Proxy::with_plan(world.relay.clients, 1, Box::new(slow));
    let (alice, bob) = (world.user("alice", &proxy), world.user("bob", &proxy));
    for kind in storm_kinds() {
        assert_eq!(alice.result(kind, "bob", &[1; 5_000], PATIENCE), Some(0), "{kind:?}");
    }
    assert!(until(PATIENCE, || bob.delivered() == 3));
}

fn storm_kinds() -> [Kind; 3] {
    crvideo_chaos::storm::KINDS
}
