//! What works when nothing goes wrong.

use crvideo::client::Event;
use crvideo_proto::code;

use crate::world::{World, content};

#[test]
fn a_command_reaches_its_target_and_the_sender_hears_so() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let task = alice.send_cmd("bob", b"hello");
    assert_eq!(bob.command(), ("alice".to_owned(), task, b"hello".to_vec()));
    assert_eq!(alice.result(task), code::NOERR);
}

#[test]
fn commands_of_every_size_arrive_whole() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    for size in [0, 1, 4_095, 4_096, 65_535, 65_536] {
        let task = alice.send_cmd("bob", &content(size));
        assert_eq!(bob.command().2, content(size));
        assert_eq!(alice.result(task), code::NOERR);
    }
}

#[test]
fn commands_arrive_in_the_order_of_their_calls() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let tasks: Vec<_> = (0..20_000u32).map(|number| alice.send_cmd("bob", &number.to_le_bytes())).collect();
    for (number, task) in tasks.iter().enumerate() {
        assert_eq!(bob.command(), ("alice".to_owned(), *task, (number as u32).to_le_bytes().to_vec()));
    }
    for task in tasks {
        assert_eq!(alice.result(task), code::NOERR);
    }
}

#[test]
fn buffers_of_every_size_arrive_whole() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    for size in [0, 1, 65_537, 262_143, 262_144, 262_145, 3_000_000] {
        let task = alice.send_buffer("bob", &content(size));
        let (source, received, data) = bob.buffer();
        assert_eq!((source.as_str(), received), ("alice", task));
        assert!(data == content(size), "{size} bytes");
        assert_eq!(alice.result(task), code::NOERR);
    }
}

#[test]
fn files_of_every_size_arrive_whole_under_a_cleaned_name() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    for size in [0, 1, 262_144, 10_000_000] {
        let path = world.file("报告 2026.bin", size);
        let task = alice.send_file("bob", &path);
        let (source, received, at, name) = bob.file();
        assert_eq!((source.as_str(), received, name.as_str()), ("alice", task, "报告 2026.bin"));
        assert!(std::fs::read(&at).unwrap() == content(size), "{size} bytes");
        assert_eq!(alice.result(task), code::NOERR);
        std::fs::remove_file(at).unwrap();
    }
}

#[test]
fn sending_to_oneself_is_legal() {
    let world = World::new();
    let alice = world.user("alice");
    let task = alice.send_cmd("alice", b"note");
    assert_eq!(alice.command().2, b"note");
    assert_eq!(alice.result(task), code::NOERR);
    let task = alice.send_buffer("alice", &content(1_000_000));
    assert!(alice.buffer().2 == content(1_000_000));
    assert_eq!(alice.result(task), code::NOERR);
}

#[test]
fn progress_begins_at_zero_ends_at_the_total_and_never_goes_back() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    for size in [0, 30_000_000] {
        let task = alice.send_buffer("bob", &content(size));
        let mut seen = Vec::new();
        let err = loop {
            match alice.next() {
                Event::SendProgress { task: of, sent, total, cookie } => {
                    assert_eq!((of, total, cookie), (task, size as u64, 2));
                    seen.push(sent);
                }
                Event::SendBufferRlst { err, .. } => break err,
                _ => {}
            }
        };
        assert_eq!(err, code::NOERR);
        assert_eq!((seen.first(), seen.last()), (Some(&0), Some(&(size as u64))));
        assert!(seen.is_sorted());
        drop(bob.buffer());
    }
}

#[test]
fn presence_says_who_is_online_and_who_comes_and_goes() {
    let world = World::new();
    let alice = world.user("alice");
    crvideo::client::set_status_push(alice.session, true, 4).unwrap();
    alice.wait(|event| matches!(event, Event::StatusPushRslt { err: 0, cookie: 4 }).then_some(()));
    let bob = world.user("bob");
    let status = |user: &str, wanted: bool| {
        alice.wait(|event| match event {
            Event::UserStatus { user: of, online } if of == user && online == wanted => Some(()),
            _ => None,
        });
    };
    status("bob", true);
    let online = |user: Option<&str>| {
        crvideo::client::get_user_status(alice.session, user, 5).unwrap();
        alice.wait(|event| match event {
            Event::UserStatusRslt { err: 0, users, cookie: 5 } => Some(users),
            _ => None,
        })
    };
    assert_eq!(online(None), ["alice", "bob"]);
    assert_eq!(online(Some("bob")), ["bob"]);
    assert_eq!(online(Some("nobody")), Vec::<String>::new());
    assert_eq!(bob.logout(), code::NOERR);
    status("bob", false);
    assert_eq!(online(None), ["alice"]);
}
