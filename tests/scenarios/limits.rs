//! Rule 16, queues and teardown: nothing is unbounded, nothing is lost, nothing comes late.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use crvideo::client::{self, Event, EventHandler, SendOptions, SessionConfig};
use crvideo_proto::code;

use crate::world::{PATIENCE, World, content};

fn send(session: u64, data: &[u8]) -> Result<crvideo_proto::id::TaskId, i32> {
    client::send_cmd(session, "bob", data, SendOptions::default(), 0)
}

#[test]
fn a_full_queue_is_an_error_at_the_next_send_and_room_comes_back() {
    let world = World::new();
    let (alice, bob) = (world.user_with("alice", |config| config.task_limit = 100), world.user("bob"));
    let accepted: Vec<_> = (0..100_000).map_while(|_| send(alice.session, b"x").ok()).collect();
    assert!(accepted.len() >= 100);
    for task in &accepted {
        assert_eq!(alice.result(*task), code::NOERR);
    }
    let task = send(alice.session, b"x").unwrap();
    assert_eq!(alice.result(task), code::NOERR);
    drop(bob);
}

#[test]
fn bytes_that_wait_are_limited_too() {
    let world = World::new();
    let alice = world.user_with("alice", |config| config.outbound_limit = 1_000_000);
    let bob = world.user("bob");
    bob.ask_for_offers();
    let buffer = |size| client::send_buffer(alice.session, "bob", &content(size), SendOptions::default(), 0);
    let first = buffer(900_000).unwrap();
    assert_eq!(buffer(200_000), Err(code::SEND_QUEUE_FULL));
    bob.wait(|event| matches!(event, Event::TransferOffer { .. }).then_some(()));
    client::refuse_transfer(bob.session, "alice", first).unwrap();
    assert_eq!(alice.result(first), code::PEER_REFUSE);
    let until = std::time::Instant::now() + PATIENCE;
    while buffer(200_000).is_err() {
        assert!(std::time::Instant::now() < until);
    }
}

#[test]
fn a_buffer_over_the_limit_is_refused_by_the_call_and_one_over_the_targets_by_the_target() {
    let world = World::new();
    let alice = world.user_with("alice", |config| config.buffer_limit = 1_000);
    let bob = world.user_with("bob", |config| config.buffer_limit = 999);
    let buffer = |size| client::send_buffer(alice.session, "bob", &content(size), SendOptions::default(), 0);
    assert_eq!(buffer(1_001), Err(code::SENDBUFFER_LARGE));
    assert_eq!(alice.result(buffer(1_000).unwrap()), code::PEER_REFUSE);
    assert_eq!(alice.result(buffer(999).unwrap()), code::NOERR);
    drop(bob);
}

#[test]
fn a_file_over_the_relays_limit_is_refused() {
    let world = World::with(|config| config.projects[0].max_file_size = 1_000);
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    assert_eq!(alice.result(alice.send_file("bob", &world.file("large", 1_001))), code::FILE_SIZE_UNSUPPORT);
    assert_eq!(alice.result(alice.send_file("bob", &world.file("small", 1_000))), code::NOERR);
    drop(bob);
}

/// An application that handles nothing until it is told to.
struct Slow {
    gate: Receiver<()>,
    events: Sender<Event>,
}

impl EventHandler for Slow {
    fn handle(&self, _session: u64, event: &Event) -> bool {
        if matches!(event, Event::NotifyCmdData { .. }) {
            let _ = self.gate.recv();
        }
        let _ = self.events.send(event.clone());
        true
    }
    fn wants_offers(&self) -> bool {
        false
    }
    fn wants_receive_progress(&self) -> bool {
        false
    }
}

/// Polls a queue on a thread of its own until it is told to stop.
struct Poller {
    stop: Arc<AtomicUsize>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Poller {
    fn new(queue: u64) -> Self {
        let stop = Arc::new(AtomicUsize::new(0));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while stopped.load(Ordering::SeqCst) == 0 {
                client::poll_events(queue, Some(Duration::from_millis(20))).unwrap();
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.stop.store(1, Ordering::SeqCst);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

#[test]
fn an_application_that_handles_nothing_holds_its_senders_back_and_gets_everything_later() {
    let world = World::new();
    let alice = world.user("alice");
    let queue = client::create_queue().unwrap();
    let (open, gate) = crossbeam_channel::unbounded();
    let (events, heard) = crossbeam_channel::unbounded();
    let config = SessionConfig { queue, ..SessionConfig::default() };
    let bob = client::create_session(config, Arc::new(Slow { gate, events })).unwrap();
    let poller = Poller::new(queue);
    client::login(bob, world.info("bob", world.address()), 0).unwrap();
    assert!(matches!(heard.recv_timeout(PATIENCE), Ok(Event::LoginRslt { err: 0, .. })));
    // Four megabytes: more than Bob's library takes ahead of its application.
    let tasks: Vec<_> = (0..1_000u32).map(|number| send(alice.session, &vec![number as u8; 4_000]).unwrap()).collect();
    let mut early = 0;
    while alice
        .wait_for(Duration::from_millis(500), |event| matches!(event, Event::SendCmdRlst { .. }).then_some(()))
        .is_some()
    {
        early += 1;
    }
    assert!((50..500).contains(&early), "{early} commands were taken before the application moved");
    drop(open);
    for number in 0..1_000u32 {
        match heard.recv_timeout(PATIENCE) {
            Ok(Event::NotifyCmdData { task, data, .. }) => {
                assert_eq!((task, data[0]), (tasks[number as usize], number as u8));
            }
            other => panic!("{other:?}"),
        }
    }
    drop(poller);
    client::destroy_session(bob).unwrap();
    client::destroy_queue(queue).unwrap();
}

#[test]
fn commands_beyond_what_a_target_may_hold_are_refused_or_wait_but_never_lost() {
    let world = World::new();
    let queue = client::create_queue().unwrap();
    let (events, heard) = crossbeam_channel::unbounded();
    let (open, gate) = crossbeam_channel::unbounded();
    let config = SessionConfig { queue, inbound_limit: 100_000, ..SessionConfig::default() };
    let bob = client::create_session(config, Arc::new(Slow { gate, events })).unwrap();
    let poller = Poller::new(queue);
    client::login(bob, world.info("bob", world.address()), 0).unwrap();
    heard.recv_timeout(PATIENCE).unwrap();
    let alice = world.user("alice");
    let tasks: Vec<_> =
        (0..200u32).map(|number| (send(alice.session, &vec![number as u8; 1_000]).unwrap(), number)).collect();
    let results: Vec<_> = tasks.iter().map(|(task, _)| alice.result(*task)).collect();
    assert!(results.iter().all(|err| [code::NOERR, code::SEND_QUEUE_FULL].contains(err)));
    assert!(results.contains(&code::SEND_QUEUE_FULL));
    drop(open);
    let delivered = results.iter().filter(|err| **err == code::NOERR).count();
    for _ in 0..delivered {
        let Ok(Event::NotifyCmdData { data, .. }) = heard.recv_timeout(PATIENCE) else { panic!() };
        assert_eq!(results[data[0] as usize], code::NOERR);
    }
    let task = send(alice.session, b"room again").unwrap();
    assert_eq!(alice.result(task), code::NOERR);
    drop(poller);
    client::destroy_session(bob).unwrap();
    client::destroy_queue(queue).unwrap();
}

#[test]
fn destroy_ends_every_task_before_it_returns() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    bob.ask_for_offers();
    let mut tasks: Vec<_> = (0..50).map(|_| alice.send_buffer("bob", &content(1_000_000))).collect();
    tasks.extend((0..50).map(|_| alice.send_cmd("nobody", b"x")));
    client::destroy_session(alice.session).unwrap();
    let mut ended = Vec::new();
    for event in alice.events.try_iter() {
        if let Event::SendBufferRlst { task, .. } | Event::SendCmdRlst { task, .. } = event {
            ended.push(task);
        }
    }
    ended.sort();
    tasks.sort();
    assert_eq!(ended, tasks);
    assert_eq!(client::destroy_session(alice.session), Err(code::NOT_INIT));
    assert_eq!(send(alice.session, b"x"), Err(code::NOT_INIT));
}

#[test]
fn logout_ends_every_task_before_its_own_result() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    bob.ask_for_offers();
    let mut open: Vec<_> = (0..20).map(|_| alice.send_buffer("bob", &content(1_000_000))).collect();
    client::logout(alice.session, 8).unwrap();
    loop {
        match alice.next() {
            Event::SendBufferRlst { task, err, .. } => {
                assert!([code::NOT_LOGIN, code::SEND_OUTCOME_UNKNOWN].contains(&err));
                open.retain(|other| *other != task);
            }
            Event::LogoutRslt { err, .. } => {
                assert_eq!(err, code::NOERR);
                break;
            }
            _ => {}
        }
    }
    assert!(open.is_empty());
}

#[test]
fn a_thousand_sessions_share_one_queue_and_all_talk() {
    let world = World::new();
    let alice = world.user("alice");
    let users: Vec<_> = (0..1_000).map(|number| world.user(&format!("user{number}"))).collect();
    let tasks: Vec<_> = (0..1_000).map(|number| alice.send_cmd(&format!("user{number}"), b"hello")).collect();
    for user in &users {
        assert_eq!(user.command().2, b"hello");
    }
    // Results of different targets come in any order.
    for _ in &tasks {
        let err = alice.wait(|event| match event {
            Event::SendCmdRlst { err, .. } => Some(err),
            _ => None,
        });
        assert_eq!(err, code::NOERR);
    }
}

#[test]
fn calls_that_race_with_destroy_are_either_refused_or_ended() {
    let world = World::new();
    let bob = world.user("bob");
    for _ in 0..20 {
        let alice = world.user_with("alice", |config| config.task_limit = 1_000);
        let session = alice.session;
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(move || {
                    let mut accepted = Vec::new();
                    loop {
                        match send(session, b"x") {
                            Ok(task) => accepted.push(task),
                            Err(code::SEND_QUEUE_FULL) => {}
                            Err(code::NOT_INIT) => return accepted,
                            Err(err) => panic!("{err}"),
                        }
                    }
                })
            })
            .collect();
        alice.wait(|event| matches!(event, Event::SendCmdRlst { .. }).then_some(()));
        client::destroy_session(session).unwrap();
        let ended: std::collections::HashSet<_> = alice
            .events
            .try_iter()
            .filter_map(|event| match event {
                Event::SendCmdRlst { task, .. } => Some(task),
                _ => None,
            })
            .collect();
        let accepted: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(accepted.iter().filter(|task| !ended.contains(task)).count(), 1, "the one awaited above");
    }
    drop(bob);
}

#[test]
fn a_session_may_be_destroyed_inside_its_own_callback_and_inside_another_sessions() {
    struct Bomb {
        victim: std::sync::Mutex<Option<u64>>,
        events: Sender<(u64, Event)>,
        released: Sender<u64>,
        name: u64,
    }
    impl EventHandler for Bomb {
        fn handle(&self, session: u64, event: &Event) -> bool {
            let _ = self.events.send((session, event.clone()));
            if matches!(event, Event::NotifyCmdData { .. })
                && let Some(victim) = self.victim.lock().unwrap().take()
            {
                client::destroy_session(victim).unwrap();
            }
            true
        }
        fn wants_offers(&self) -> bool {
            false
        }
        fn wants_receive_progress(&self) -> bool {
            false
        }
        fn released(&self) {
            let _ = self.released.send(self.name);
        }
    }
    let world = World::new();
    let alice = world.user("alice");
    for polled in [false, true] {
        let queue = if polled { client::create_queue().unwrap() } else { 0 };
        let (events, heard) = crossbeam_channel::unbounded();
        let (released, releases) = crossbeam_channel::unbounded();
        let make = |name: u64| {
            let bomb = Bomb { victim: None.into(), events: events.clone(), released: released.clone(), name };
            let bomb = Arc::new(bomb);
            let config = SessionConfig { queue, ..SessionConfig::default() };
            (client::create_session(config, bomb.clone()).unwrap(), bomb)
        };
        let (own, own_bomb) = make(1);
        let (other, _) = make(2);
        let poller = polled.then(|| Poller::new(queue));
        for (session, name) in [(own, "own"), (other, "other")] {
            client::login(session, world.info(name, world.address()), 0).unwrap();
            assert!(matches!(heard.recv_timeout(PATIENCE), Ok((_, Event::LoginRslt { err: 0, .. }))));
        }
        for (victim, tasks) in [(other, 3), (own, 3)] {
            *own_bomb.victim.lock().unwrap() = Some(victim);
            for _ in 0..tasks {
                client::send_buffer(victim, "alice", &content(40_000_000), SendOptions::default(), 0).unwrap();
            }
            alice.send_cmd("own", b"fire");
            let mut ended = 0;
            while ended < tasks {
                match heard.recv_timeout(PATIENCE).unwrap() {
                    (session, Event::SendBufferRlst { .. }) if session == victim => ended += 1,
                    _ => {}
                }
            }
            let name = if victim == own { 1 } else { 2 };
            assert_eq!(releases.recv_timeout(PATIENCE), Ok(name));
            let late = heard.try_iter().filter(|(session, _)| *session == victim).count();
            assert_eq!(late, 0, "nothing follows the release");
        }
        drop(poller);
        if polled {
            client::destroy_queue(queue).unwrap();
        }
    }
}
