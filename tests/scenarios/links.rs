//! Rules 4, 5, 9 and 10: lost links, absent targets, other incarnations.

use std::time::Duration;

use crvideo::client::{self, Event, SendOptions};
use crvideo_proto::code;

use crate::proxy::Proxy;
use crate::world::{PATIENCE, World, content};

#[test]
fn a_target_that_is_not_logged_in_is_invalid() {
    let world = World::new();
    let alice = world.user("alice");
    assert_eq!(alice.result(alice.send_cmd("nobody", b"x")), code::SENDDATA_TARGETINVALID);
    assert_eq!(alice.result(alice.send_buffer("nobody", b"x")), code::SENDDATA_TARGETINVALID);
    let path = world.file("a.bin", 10);
    assert_eq!(alice.result(alice.send_file("nobody", &path)), code::SENDDATA_TARGETINVALID);
}

#[test]
fn a_target_that_logs_out_is_invalid_and_back_after_its_next_login() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    assert_eq!(alice.result(alice.send_cmd("bob", b"1")), code::NOERR);
    assert_eq!(bob.logout(), code::NOERR);
    assert_eq!(alice.result(alice.send_cmd("bob", b"2")), code::SENDDATA_TARGETINVALID);
    let again = world.user("bob");
    assert_eq!(alice.result(alice.send_cmd("bob", b"3")), code::NOERR);
    assert_eq!(again.command().2, b"3");
}

#[test]
fn a_session_comes_back_by_itself_and_commands_go_on() {
    let world = World::new();
    let proxy = Proxy::new(world.relay.address());
    let alice = world.user_via("alice", proxy.address(), |_| {});
    let bob = world.user("bob");
    for round in 0..5u8 {
        let before: Vec<_> = (0..100u8).map(|number| alice.send_cmd("bob", &[round, 0, number])).collect();
        proxy.cut();
        let after: Vec<_> = (0..100u8).map(|number| alice.send_cmd("bob", &[round, 1, number])).collect();
        assert_eq!(alice.line_off(), code::FORCEDCLOSECONNECTION);
        alice.line_on();
        for (part, tasks) in [(0, before), (1, after)] {
            for (number, task) in tasks.into_iter().enumerate() {
                assert_eq!(bob.command(), ("alice".to_owned(), task, vec![round, part, number as u8]));
            }
        }
    }
    assert!(bob.events.is_empty(), "nothing came twice");
}

#[test]
fn commands_to_a_target_whose_link_breaks_arrive_once_and_in_order() {
    let world = World::new();
    let proxy = Proxy::new(world.relay.address());
    let bob = world.user_via("bob", proxy.address(), |_| {});
    let alice = world.user("alice");
    let mut tasks = Vec::new();
    for round in 0..5u32 {
        for number in 0..200u32 {
            tasks.push(alice.send_cmd("bob", &(round * 200 + number).to_le_bytes()));
        }
        proxy.cut();
        bob.line_on();
    }
    for task in tasks.iter() {
        assert_eq!(alice.result(*task), code::NOERR);
    }
    // `line_on` passes events over, so what the application saw is counted by the relay's other end: each once.
    drop(bob);
}

#[test]
fn a_target_hears_each_command_once_through_cuts_of_its_link() {
    let world = World::new();
    let proxy = Proxy::new(world.relay.address());
    let bob = world.user_via("bob", proxy.address(), |_| {});
    let alice = world.user("alice");
    let sent: Vec<_> = (0..2_000u32)
        .map(|number| {
            if number % 400 == 200 {
                proxy.cut();
            }
            alice.send_cmd("bob", &number.to_le_bytes())
        })
        .collect();
    for (number, task) in sent.iter().enumerate() {
        assert_eq!(bob.command(), ("alice".to_owned(), *task, (number as u32).to_le_bytes().to_vec()));
        assert_eq!(alice.result(*task), code::NOERR);
    }
    assert!(!bob.events.try_iter().any(|event| matches!(event, Event::NotifyCmdData { .. })));
}

#[test]
fn transfers_go_on_where_the_target_confirmed_them() {
    let world = World::new();
    let (near, far) = (Proxy::new(world.relay.address()), Proxy::new(world.relay.address()));
    let alice = world.user_via("alice", near.address(), |_| {});
    let bob = world.user_via("bob", far.address(), |_| {});
    let path = world.file("big.bin", 200_000_000);
    let task = alice.send_file("bob", &path);
    let mut last = 0;
    let mut cuts = 0;
    let err = loop {
        match alice.next() {
            Event::SendProgress { sent, .. } => {
                assert!(sent >= last, "progress never goes back");
                last = sent;
                if sent > 30_000_000 * (cuts + 1) && cuts < 5 {
                    [&near, &far][(cuts % 2) as usize].cut();
                    cuts += 1;
                }
            }
            Event::SendFileRlst { err, .. } => break err,
            _ => {}
        }
    };
    assert!(cuts >= 3, "{cuts} cuts");
    assert_eq!(err, code::NOERR);
    let (_, received, at, _) = bob.file();
    assert_eq!(received, task);
    assert!(std::fs::read(at).unwrap() == std::fs::read(path).unwrap());
}

#[test]
fn a_second_login_ends_the_first_session_and_all_its_tasks() {
    let world = World::new();
    let first = world.user("alice");
    let bob = world.user("bob");
    bob.ask_for_offers();
    // Larger than what goes out before the target has answered, so that nothing of it can have been completed.
    let path = world.file("a.bin", 1_000_000);
    let waiting = first.send_file("bob", &path);
    bob.wait(|event| matches!(event, Event::TransferOffer { .. }).then_some(()));
    let second = world.user("alice");
    assert_eq!(first.result(waiting), code::KICKOUT_BY_RELOGIN);
    assert_eq!(first.line_off(), code::KICKOUT_BY_RELOGIN);
    let refused = client::send_cmd(first.session, "bob", b"x", SendOptions::default(), 0);
    assert_eq!(refused, Err(code::NOT_LOGIN));
    assert_eq!(second.result(second.send_cmd("bob", b"y")), code::NOERR);
    bob.wait(|event| matches!(event, Event::NotifyCancelSend { err: code::CONNECTIONLOST, .. }).then_some(()));
}

#[test]
fn a_command_that_waits_for_an_absent_target_ends_by_its_deadline_and_never_arrives() {
    let world = World::new();
    let proxy = Proxy::new(world.relay.address());
    let bob = world.user_via("bob", proxy.address(), |_| {});
    let alice = world.user("alice");
    assert_eq!(alice.result(alice.send_cmd("bob", b"first")), code::NOERR);
    proxy.refuse(true);
    proxy.cut();
    bob.line_off();
    // As long as alice does not know that bob's link is lost, she cannot know whether what she sends arrives.
    let late = |number: u8| {
        let options = SendOptions { timeout: Some(Duration::from_millis(600)), ..SendOptions::default() };
        alice.result(client::send_cmd(alice.session, "bob", &[number], options, 0).unwrap())
    };
    let number = (0..10).find(|number| match late(*number) {
        code::SOCKETTIMEOUT => true,
        unknown => {
            assert_eq!(unknown, code::SEND_OUTCOME_UNKNOWN);
            false
        }
    });
    let number = number.expect("alice never learns that bob is away");
    proxy.refuse(false);
    bob.line_on();
    assert_eq!(alice.result(alice.send_cmd("bob", b"last")), code::NOERR);
    bob.wait(|event| match event {
        Event::NotifyCmdData { data, .. } => {
            assert_ne!(data[..], [number], "it was said that it would never arrive");
            (&data[..] == b"last").then_some(())
        }
        _ => None,
    });
}

#[test]
fn without_a_link_of_ones_own_a_command_fails_with_connection_lost() {
    let world = World::new();
    let proxy = Proxy::new(world.relay.address());
    let alice = world.user_via("alice", proxy.address(), |config| config.cmd_timeout = Duration::from_millis(500));
    let _bob = world.user("bob");
    proxy.refuse(true);
    proxy.cut();
    alice.line_off();
    assert_eq!(alice.result(alice.send_cmd("bob", b"x")), code::CONNECTIONLOST);
}

#[test]
fn silence_on_the_link_is_noticed_and_what_was_sent_into_it_is_repaired() {
    let world = World::with(|config| config.heartbeat = Duration::from_millis(200));
    let proxy = Proxy::new(world.relay.address());
    let alice = world.user_via("alice", proxy.address(), |_| {});
    let bob = world.user("bob");
    assert_eq!(alice.result(alice.send_cmd("bob", b"1")), code::NOERR);
    proxy.go_silent(true);
    let task = alice.send_cmd("bob", b"2");
    assert_eq!(alice.line_off(), code::CONNECTIONLOST);
    proxy.go_silent(false);
    assert_eq!(alice.result(task), code::NOERR);
    assert_eq!((bob.command().2, bob.command().2), (b"1".to_vec(), b"2".to_vec()));
}

#[test]
fn a_relay_that_restarts_finds_its_sessions_again() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let task = alice.send_cmd("bob", b"before");
    assert_eq!(alice.result(task), code::NOERR);
    world.restart();
    alice.line_on();
    let task = alice.send_cmd("bob", b"after");
    assert_eq!(alice.result(task), code::NOERR);
    assert_eq!((bob.command().2, bob.command().2), (b"before".to_vec(), b"after".to_vec()));
}

#[test]
fn a_transfer_survives_a_restart_of_the_relay() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let path = world.file("big.bin", 150_000_000);
    let task = alice.send_file("bob", &path);
    alice.wait(|event| match event {
        Event::SendProgress { sent, .. } if sent > 20_000_000 => Some(()),
        Event::SendFileRlst { .. } => panic!("too fast for this test"),
        _ => None,
    });
    world.restart();
    assert_eq!(alice.result(task), code::NOERR);
    let (_, _, at, _) = bob.file();
    assert!(std::fs::read(at).unwrap() == content(150_000_000));
}

#[test]
fn a_transfer_without_progress_ends_by_its_deadline_and_leaves_nothing() {
    let world = World::new();
    let proxy = Proxy::new(world.relay.address());
    let alice = world.user_with("alice", |config| config.transfer_timeout = Duration::from_millis(1_500));
    let bob = world.user_via("bob", proxy.address(), |_| {});
    bob.ask_for_progress();
    let task = alice.send_buffer("bob", &content(90_000_000));
    bob.wait(|event| matches!(event, Event::ReceiveProgress { .. }).then_some(()));
    proxy.go_silent(true);
    let err = alice.result(task);
    assert!(err == code::SOCKETTIMEOUT, "{err}");
    proxy.go_silent(false);
    proxy.cut();
    let ended = bob.wait_for(PATIENCE, |event| match event {
        Event::NotifyCancelSend { task: of, err, .. } if of == task => Some(err),
        Event::NotifyBufferData { .. } => panic!("must not arrive"),
        _ => None,
    });
    assert_eq!(ended, Some(code::SOCKETTIMEOUT));
}

#[test]
fn a_session_whose_epoch_has_ended_says_so_and_goes_on_with_a_new_one() {
    let world = World::with(|config| config.resume_window = Duration::from_millis(300));
    let proxy = Proxy::new(world.relay.address());
    let alice = world.user_via("alice", proxy.address(), |_| {});
    let bob = world.user("bob");
    bob.ask_for_offers();
    let open = alice.send_buffer("bob", &content(1_000_000));
    bob.wait(|event| matches!(event, Event::TransferOffer { .. }).then_some(()));
    proxy.refuse(true);
    proxy.cut();
    alice.line_off();
    // Bob hears that Alice's incarnation has ended, and so does she when she is back.
    bob.wait(|event| matches!(event, Event::NotifyCancelSend { err: code::CONNECTIONLOST, .. }).then_some(()));
    proxy.refuse(false);
    assert_eq!(alice.result(open), code::CONNECTIONLOST);
    assert_eq!(alice.result(alice.send_cmd("bob", b"new")), code::NOERR);
    assert_eq!(bob.command().2, b"new");
}

#[test]
fn commands_overtake_a_transfer() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let file = alice.send_file("bob", &world.file("large.bin", 300_000_000));
    alice.wait(|event| matches!(event, Event::SendProgress { sent: 1.., .. }).then_some(()));
    let command = alice.send_cmd("bob", b"overtakes");
    let first = alice.wait(|event| match event {
        Event::SendCmdRlst { task, .. } | Event::SendFileRlst { task, .. } => Some(task),
        _ => None,
    });
    assert_eq!(first, command);
    assert_eq!(alice.result(file), code::NOERR);
    drop(bob);
}
