//! Rules 6, 12, 13, 14, 15 and caller-chosen ids: cancels, offers, sources, sinks.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crvideo::client::{self, Event, SendOptions, TransferKind};
use crvideo_proto::code;
use crvideo_proto::id::TaskId;

use crate::world::{User, World, content};

fn cancel_result(user: &User) -> i32 {
    user.wait(|event| match event {
        Event::CancelSendRlst { err, cookie: 9, .. } => Some(err),
        _ => None,
    })
}

fn offer(user: &User) -> (TaskId, TransferKind, String, u64) {
    user.wait(|event| match event {
        Event::TransferOffer { task, kind, name, size, .. } => Some((task, kind, name, size)),
        _ => None,
    })
}

fn ended(user: &User) -> (TaskId, i32) {
    user.wait(|event| match event {
        Event::NotifyCancelSend { task, err, .. } => Some((task, err)),
        _ => None,
    })
}

#[test]
fn a_cancelled_transfer_ends_on_both_sides_and_leaves_no_file() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    bob.ask_for_progress();
    let path = world.file("big.bin", 300_000_000);
    let task = alice.send_file("bob", &path);
    bob.wait(|event| matches!(event, Event::ReceiveProgress { .. }).then_some(()));
    client::cancel_send(alice.session, task, 9).unwrap();
    assert_eq!(cancel_result(&alice), code::NOERR);
    assert_eq!(world.leftovers(), Vec::<std::path::PathBuf>::new(), "the file is gone before the cancel is confirmed");
    assert_eq!(alice.result(task), code::SEND_CANCELLED);
    assert_eq!(ended(&bob), (task, code::SEND_CANCELLED));
}

#[test]
fn a_cancel_before_anything_was_sent_is_immediate() {
    let world = World::new();
    let alice = world.user("alice");
    let task = alice.send_buffer("nobody", &content(10));
    client::cancel_send(alice.session, task, 9).unwrap();
    // Either the relay's word or the cancel came first; both ends are whole.
    match alice.result_or_cancel(task) {
        (code::SENDDATA_TARGETINVALID, cancel) => assert_eq!(cancel, code::TRANSID_INVALID),
        (code::SEND_CANCELLED, cancel) => assert_eq!(cancel, code::NOERR),
        other => panic!("{other:?}"),
    }
}

#[test]
fn unknown_finished_and_command_tasks_cannot_be_cancelled() {
    let world = World::new();
    let (alice, _bob) = (world.user("alice"), world.user("bob"));
    let finished = alice.send_buffer("bob", b"x");
    assert_eq!(alice.result(finished), code::NOERR);
    let command = alice.send_cmd("bob", b"x");
    for task in [finished, command, TaskId::random([5; 16])] {
        client::cancel_send(alice.session, task, 9).unwrap();
        assert_eq!(cancel_result(&alice), code::TRANSID_INVALID);
    }
}

#[test]
fn an_offer_waits_for_the_application_and_may_be_accepted_to_a_path() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    bob.ask_for_offers();
    let path = world.file("src.bin", 5_000_000);
    let options = SendOptions { display_name: Some("../evil/name.pdf".to_owned()), ..SendOptions::default() };
    let task = client::send_file(alice.session, "bob", &path, options, 0).unwrap();
    assert_eq!(offer(&bob), (task, TransferKind::File, "name.pdf".to_owned(), 5_000_000));
    let own = world.dir.path().join("mine.pdf");
    client::accept_transfer(bob.session, "alice", task, Some(own.clone())).unwrap();
    assert_eq!(client::accept_transfer(bob.session, "alice", task, None), Err(code::TRANSID_INVALID));
    let (_, received, at, name) = bob.file();
    assert_eq!((received, &at, name.as_str()), (task, &own, "name.pdf"));
    assert!(std::fs::read(own).unwrap() == content(5_000_000));
    assert_eq!(alice.result(task), code::NOERR);
}

#[test]
fn an_offer_to_a_path_that_exists_fails_and_keeps_what_is_there() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    bob.ask_for_offers();
    let taken = world.file("taken.txt", 3);
    let task = alice.send_file("bob", &world.file("src.bin", 1_000));
    offer(&bob);
    client::accept_transfer(bob.session, "alice", task, Some(taken.clone())).unwrap();
    assert_eq!(alice.result(task), code::FILE_ALREADY_EXIST);
    assert_eq!(ended(&bob), (task, code::FILE_ALREADY_EXIST));
    assert_eq!(std::fs::read(taken).unwrap(), content(3));
}

#[test]
fn a_refused_offer_and_one_that_nobody_answers_end_with_peer_refuse() {
    let world = World::new();
    let alice = world.user("alice");
    let bob = world.user_with("bob", |config| config.offer_timeout = Duration::from_millis(300));
    bob.ask_for_offers();
    let refused = alice.send_buffer("bob", &content(1_000_000));
    assert_eq!(offer(&bob).0, refused);
    client::refuse_transfer(bob.session, "alice", refused).unwrap();
    assert_eq!(alice.result(refused), code::PEER_REFUSE);
    assert_eq!(ended(&bob), (refused, code::PEER_REFUSE));
    let forgotten = alice.send_buffer("bob", b"x");
    assert_eq!(alice.result(forgotten), code::PEER_REFUSE);
    assert_eq!(ended(&bob), (forgotten, code::PEER_REFUSE));
}

#[test]
fn the_receiver_may_cancel_too() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    bob.ask_for_progress();
    let task = alice.send_file("bob", &world.file("big.bin", 300_000_000));
    bob.wait(|event| matches!(event, Event::ReceiveProgress { .. }).then_some(()));
    client::cancel_receive(bob.session, "alice", task).unwrap();
    assert_eq!(alice.result(task), code::PEER_REFUSE);
    assert_eq!(ended(&bob), (task, code::PEER_REFUSE));
    assert_eq!(client::cancel_receive(bob.session, "alice", task), Err(code::TRANSID_INVALID));
    assert!(world.leftovers().is_empty());
}

#[test]
fn received_files_are_private_and_unguessable() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    alice.send_file("bob", &world.file("a.txt", 10));
    let (_, _, at, _) = bob.file();
    assert_eq!(std::fs::metadata(&at).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(at.file_name().unwrap().len(), "crvideo-".len() + 32);
}

#[test]
fn without_a_download_directory_files_go_to_a_private_one_that_ends_with_the_last_session() {
    // Other tests of this process have sessions too, so only what is certain is asserted.
    let world = World::new();
    let alice = world.user("alice");
    let bob = world.user_with("bob", |config| config.download_dir = None);
    alice.send_file("bob", &world.file("a.txt", 10));
    let (_, _, at, _) = bob.file();
    let dir = at.parent().unwrap();
    assert_eq!(std::fs::metadata(dir).unwrap().permissions().mode() & 0o777, 0o700);
    std::fs::remove_file(at).unwrap();
}

#[test]
fn a_received_file_that_nobody_takes_away_is_removed_after_its_time() {
    let world = World::new();
    let alice = world.user("alice");
    let bob = world.user_with("bob", |config| config.file_ttl = Duration::from_millis(200));
    alice.send_file("bob", &world.file("a.txt", 10));
    let (_, _, at, _) = bob.file();
    let until = std::time::Instant::now() + crate::world::PATIENCE;
    while at.exists() {
        assert!(std::time::Instant::now() < until);
        std::thread::yield_now();
    }
}

#[test]
fn regression_a_received_file_of_which_nobody_hears_is_removed() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    bob.stop_listening_for_files();
    assert_eq!(alice.result(alice.send_file("bob", &world.file("a.txt", 10))), code::NOERR);
    // Events are handled in order: when the command is heard, the file's event is done with.
    alice.send_cmd("bob", b"after the file");
    bob.command();
    assert!(world.leftovers().is_empty());
}

#[test]
fn a_file_of_which_nobody_hears_stays_at_a_path_of_the_applications_own() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    bob.ask_for_offers();
    bob.stop_listening_for_files();
    let task = alice.send_file("bob", &world.file("a.txt", 10));
    offer(&bob);
    let own = world.dir.path().join("mine.txt");
    client::accept_transfer(bob.session, "alice", task, Some(own.clone())).unwrap();
    assert_eq!(alice.result(task), code::NOERR);
    alice.send_cmd("bob", b"after the file");
    bob.command();
    assert_eq!(std::fs::read(own).unwrap(), content(10));
}

#[test]
fn regression_destroy_removes_the_files_of_which_nobody_has_heard_but_those_at_paths_of_the_applications_own() {
    let world = World::new();
    let alice = world.user("alice");
    let queue = client::create_queue().unwrap();
    let bob = world.stranger(|config| config.queue = queue);
    let poll_until = |heard: fn(&Event) -> bool| {
        while !bob.events.try_iter().any(|event| heard(&event)) {
            client::poll_events(queue, Some(Duration::from_millis(50))).unwrap();
        }
    };
    client::login(bob.session, world.info("bob", world.address()), 7).unwrap();
    poll_until(|event| matches!(event, Event::LoginRslt { err: code::NOERR, .. }));
    bob.ask_for_offers();
    let path = world.file("a.txt", 10);
    let (ours, own) = (alice.send_file("bob", &path), alice.send_file("bob", &path));
    let mut offers = 0;
    while offers < 2 {
        client::poll_events(queue, Some(Duration::from_millis(50))).unwrap();
        offers += bob.events.try_iter().filter(|event| matches!(event, Event::TransferOffer { .. })).count();
    }
    let own_path = world.dir.path().join("mine.txt");
    client::accept_transfer(bob.session, "alice", ours, None).unwrap();
    client::accept_transfer(bob.session, "alice", own, Some(own_path.clone())).unwrap();
    let mut results = [ours, own].map(|task| (task, None));
    while results.iter().any(|(_, err)| err.is_none()) {
        let (task, err) = alice.wait(|event| match event {
            Event::SendFileRlst { task, err, .. } => Some((task, err)),
            _ => None,
        });
        results.iter_mut().filter(|(of, _)| *of == task).for_each(|(_, result)| *result = Some(err));
    }
    assert!(results.iter().all(|(_, err)| *err == Some(code::NOERR)));
    assert_eq!(world.leftovers().len(), 1);
    client::destroy_session(bob.session).unwrap();
    assert!(world.leftovers().is_empty());
    assert_eq!(std::fs::read(own_path).unwrap(), content(10));
}

#[test]
fn sources_that_are_no_readable_regular_file_are_refused_by_the_call() {
    let world = World::new();
    let alice = world.user("alice");
    let send = |path: &std::path::Path| client::send_file(alice.session, "bob", path, SendOptions::default(), 0);
    assert_eq!(send(&world.dir.path().join("missing")), Err(code::SENDFILE_FILEINERROR));
    assert_eq!(send(world.dir.path()), Err(code::SENDFILE_FILEINERROR));
    let fifo = world.dir.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    assert_eq!(send(&fifo), Err(code::SENDFILE_FILEINERROR));
}

/// Sends a file that is changed while the receiver has not yet accepted it.
fn send_changed(change: impl FnOnce(&std::path::Path)) -> (i32, Option<Vec<u8>>) {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    bob.ask_for_offers();
    let path = world.file("src.bin", 3_000_000);
    let task = alice.send_file("bob", &path);
    offer(&bob);
    change(&path);
    client::accept_transfer(bob.session, "alice", task, None).unwrap();
    let err = alice.result(task);
    let received = (err == code::NOERR).then(|| std::fs::read(bob.file().2).unwrap());
    if err != code::NOERR {
        assert_eq!(ended(&bob).0, task);
        assert!(world.leftovers().is_empty());
    }
    (err, received)
}

#[test]
fn growth_and_removal_of_the_source_are_ignored_shrinking_and_change_are_errors() {
    let append = |path: &std::path::Path| {
        std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"more").unwrap();
    };
    let (err, received) = send_changed(append);
    assert_eq!(err, code::NOERR);
    assert!(received.unwrap() == content(3_000_000));
    let (err, received) = send_changed(|path| std::fs::remove_file(path).unwrap());
    assert_eq!(err, code::NOERR);
    assert!(received.unwrap() == content(3_000_000));
    let shrink = |path: &std::path::Path| {
        std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(1_000_000).unwrap();
    };
    assert_eq!(send_changed(shrink).0, code::SENDFILE_FILEINERROR);
    let touch = |path: &std::path::Path| {
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    };
    assert_eq!(send_changed(touch).0, code::SENDFILE_FILEINERROR);
}

#[test]
fn a_chosen_id_is_refused_while_it_runs_and_repeats_its_outcome_after() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    bob.ask_for_offers();
    let id = TaskId::random([1; 16]);
    let options = || SendOptions { task: Some(id), ..SendOptions::default() };
    assert_eq!(client::send_buffer(alice.session, "bob", b"once", options(), 2), Ok(id));
    offer(&bob);
    let again = client::send_buffer(alice.session, "bob", b"once", options(), 2);
    assert_eq!(again, Err(code::LOGINSTATE_ERROR));
    client::accept_transfer(bob.session, "alice", id, None).unwrap();
    assert_eq!(alice.result(id), code::NOERR);
    assert_eq!(bob.buffer().2, b"once");
    assert_eq!(client::send_buffer(alice.session, "bob", b"once", options(), 2), Ok(id));
    assert_eq!(alice.result(id), code::NOERR);
    assert!(bob.events.try_iter().all(|event| !matches!(event, Event::NotifyBufferData { .. })));
}

#[test]
fn a_sender_that_died_and_repeats_its_chosen_ids_delivers_nothing_twice() {
    let world = World::new();
    let bob = world.user("bob");
    let (command, buffer) = (TaskId::random([2; 16]), TaskId::random([3; 16]));
    let with = |task| SendOptions { task: Some(task), ..SendOptions::default() };
    for _ in 0..2 {
        let alice = world.user("alice");
        client::send_cmd(alice.session, "bob", b"c", with(command), 1).unwrap();
        assert_eq!(alice.result(command), code::NOERR);
        client::send_buffer(alice.session, "bob", b"b", with(buffer), 2).unwrap();
        assert_eq!(alice.result(buffer), code::NOERR);
    }
    assert_eq!((bob.command().1, bob.buffer().1), (command, buffer));
    let twice = |event| matches!(event, Event::NotifyCmdData { .. } | Event::NotifyBufferData { .. });
    assert!(!bob.events.try_iter().any(twice));
}

#[test]
fn a_small_transfer_is_not_held_up_by_a_large_one() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let large = alice.send_file("bob", &world.file("large.bin", 400_000_000));
    alice.wait(|event| matches!(event, Event::SendProgress { sent: 1.., .. }).then_some(()));
    let small = alice.send_buffer("bob", &content(100_000));
    let first = alice.wait(|event| match event {
        Event::SendBufferRlst { task, err, .. } | Event::SendFileRlst { task, err, .. } => Some((task, err)),
        _ => None,
    });
    assert_eq!(first, (small, code::NOERR));
    assert_eq!(alice.result(large), code::NOERR);
    drop(bob);
}

#[test]
fn many_transfers_at_once_all_arrive() {
    let world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let tasks: Vec<_> = (0..200).map(|number| alice.send_buffer("bob", &content(number * 3_001))).collect();
    let mut left: std::collections::HashMap<_, _> = tasks.iter().zip(0usize..).collect();
    while !left.is_empty() {
        let (_, task, data) = bob.buffer();
        let number = left.remove(&task).expect("each once");
        assert!(data == content(number * 3_001));
    }
    for _ in 0..200 {
        let err = alice.wait(|event| match event {
            Event::SendBufferRlst { err, .. } => Some(err),
            _ => None,
        });
        assert_eq!(err, code::NOERR);
    }
}

#[test]
fn a_full_disk_at_the_receiver_is_a_write_error() {
    let world = World::new();
    let small = world.dir.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let mount =
        std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&small).status();
    if !mount.is_ok_and(|status| status.success()) {
        // Only root may mount; the same is tested with /dev/full below the sink's own tests.
        return;
    }
    let alice = world.user("alice");
    let bob = world.user_with("bob", |config| config.download_dir = Some(small.clone()));
    let task = alice.send_file("bob", &world.file("big.bin", 5_000_000));
    assert_eq!(alice.result(task), code::FILE_WRITE_ERR);
    assert_eq!(std::fs::read_dir(&small).unwrap().count(), 0);
    drop(bob);
    assert!(std::process::Command::new("umount").arg(&small).status().unwrap().success());
}

#[test]
fn a_cancel_without_a_link_is_answered_at_once_and_kept() {
    let world = World::new();
    let proxy = crate::proxy::Proxy::new(world.relay.address());
    let alice = world.user_via("alice", proxy.address(), |_| {});
    let bob = world.user("bob");
    bob.ask_for_offers();
    let task = alice.send_file("bob", &world.file("a.bin", 2_000_000));
    offer(&bob);
    proxy.refuse(true);
    proxy.cut();
    alice.line_off();
    client::cancel_send(alice.session, task, 9).unwrap();
    assert_eq!(cancel_result(&alice), code::CONNECTIONLOST);
    proxy.refuse(false);
    assert_eq!(alice.result(task), code::SEND_CANCELLED);
    assert_eq!(ended(&bob), (task, code::SEND_CANCELLED));
}

#[test]
fn a_sender_that_died_in_the_middle_may_send_the_same_id_again() {
    let world = World::new();
    let bob = world.user("bob");
    bob.ask_for_offers();
    let id = TaskId::random([4; 16]);
    let send = |user: &User| {
        let options = SendOptions { task: Some(id), ..SendOptions::default() };
        client::send_buffer(user.session, "bob", &content(1_000_000), options, 2).unwrap();
        assert_eq!(offer(&bob).0, id);
    };
    let first = world.user("alice");
    send(&first);
    // A new login takes the place of the one whose program has died.
    let second = world.user("alice");
    assert_eq!(ended(&bob), (id, code::CONNECTIONLOST));
    send(&second);
    client::accept_transfer(bob.session, "alice", id, None).unwrap();
    assert_eq!(second.result(id), code::NOERR);
    assert!(bob.buffer().2 == content(1_000_000));
}

#[test]
fn a_session_that_caps_its_bandwidth_sends_no_faster() {
    let world = World::new();
    let alice = world.user_with("alice", |config| config.max_send_bytes_per_s = 200_000);
    let bob = world.user("bob");
    let began = std::time::Instant::now();
    let tasks = [alice.send_buffer("bob", &content(150_000)), alice.send_buffer("bob", &content(150_000))];
    for task in tasks {
        assert_eq!(alice.result(task), code::NOERR);
    }
    // Both share the limit, and the last piece and a tenth of a second may come for nothing.
    assert!(began.elapsed() >= Duration::from_millis(1_200), "{:?}", began.elapsed());
    drop(bob);
}

#[test]
fn files_that_would_go_beyond_a_quota_are_refused_until_there_is_room() {
    let world = World::new();
    let alice = world.user("alice");
    let bob = world.user_with("bob", |config| config.download_quota = 1_000);
    let send = |size| alice.result(alice.send_file("bob", &world.file("a.txt", size)));
    assert_eq!(send(600), code::NOERR);
    let (_, _, first, _) = bob.file();
    assert_eq!(send(401), code::FILE_WRITE_ERR);
    assert_eq!(send(400), code::NOERR);
    bob.file();
    assert_eq!(send(1), code::FILE_WRITE_ERR);
    std::fs::remove_file(first).unwrap();
    assert_eq!(send(600), code::NOERR, "what has been taken away does not count");
}
