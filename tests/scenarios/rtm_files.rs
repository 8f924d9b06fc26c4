//! The six calls for files, sync and async, from memory and from a path, in THREAD and PUMP mode, with a gate that answers
//! as a stock one does.

use std::collections::BTreeSet;
use std::time::Duration;

use crvideo::client::rtm::{self, Action, Answer, CallOptions, Content, FileInfo, Target};
use crvideo_proto::code as contract;
use crvideo_proto::rtm::attrs::Attrs;
use crvideo_proto::rtm::code as rtm_code;
use crvideo_proto::rtm::params::Params;

use crate::rtm_gate::{Fault, Gate, MTIME, TOKEN};
use crate::rtm_world::{Server, code, text};
use crate::world::content;

fn targets() -> [(Target, &'static str); 5] {
    [
        (Target::User(2), "sendfile"),
        (Target::Users(vec![2, 3, -4, i64::MAX]), "sendfiles"),
        (Target::Group(5), "sendgroupfile"),
        (Target::Room(6), "sendroomfile"),
        (Target::All, "broadcastfile"),
    ]
}

/// What a quest says of its target.
fn target_of(params: &Params) -> Target {
    if let Some(tos) = params.opt_ints("tos", 100).unwrap() {
        return Target::Users(tos);
    }
    let id = |key| params.opt_int::<i64>(key).unwrap();
    match (id("to"), id("gid"), id("rid")) {
        (Some(to), None, None) => Target::User(to),
        (None, Some(gid), None) => Target::Group(gid),
        (None, None, Some(rid)) => Target::Room(rid),
        (None, None, None) => Target::All,
        _ => panic!("a quest names one target: {params:?}"),
    }
}

#[test]
fn a_file_token_is_given_for_every_kind_of_sending() {
    let gate = Gate::start();
    for server in [Server::new(&gate), Server::pumping(&gate)] {
        for (target, cmd) in targets() {
            let action = || Action::FileToken { from: 7, target: target.clone() };
            let expected = Answer::FileToken { token: TOKEN.to_owned(), endpoint: gate.files.to_string() };
            assert_eq!(server.ask(action()), expected);
            let (callback, ended) = Server::callback();
            assert!(rtm::call(server.client, action(), CallOptions::default(), Some(callback)).unwrap().is_none());
            assert_eq!(server.next(&ended).outcome, Ok(expected));
            let seen = gate.seen().pop().unwrap();
            assert_eq!((seen.method.as_str(), seen.params.text("cmd").unwrap().as_str()), ("filetoken", cmd));
            assert_eq!((seen.params.int("from"), target_of(&seen.params)), (Ok(7_i64), target.clone()));
        }
    }
}

#[test]
fn every_kind_of_file_arrives_by_every_way_of_calling() {
    let gate = Gate::start();
    let dir = tempfile::tempdir().unwrap();
    let bytes = content(700_000);
    let path = dir.path().join("original.bin");
    std::fs::write(&path, &bytes).unwrap();
    let mut mids = BTreeSet::new();
    for server in [Server::new(&gate), Server::pumping(&gate)] {
        for (target, method) in targets() {
            for from_path in [false, true] {
                for waiting in [false, true] {
                    let content = if from_path { Content::Path(&path) } else { Content::Memory(&bytes) };
                    let (callback, ended) = Server::callback();
                    let callback = (!waiting).then_some(callback);
                    let done = server.send_by(target.clone(), content, callback, CallOptions::default()).unwrap();
                    let done = done.unwrap_or_else(|| server.next(&ended));
                    assert_eq!(done.outcome, Ok(Answer::Sent { mtime: MTIME, watched: false }));
                    assert!(mids.insert(done.mid), "a mid comes twice");
                    let seen = gate.seen().pop().unwrap();
                    assert_eq!((seen.method.as_str(), seen.at_files), (method, true));
                    assert_eq!(target_of(&seen.params), target);
                    assert!(seen.params.bytes("file").unwrap() == bytes);
                    assert_eq!((seen.params.int("mid"), seen.params.int("mtype")), (Ok(done.mid), Ok(50)));
                    let attrs = Attrs::parse(&seen.params.text("attrs").unwrap()).unwrap();
                    assert_eq!((attrs.filename().as_str(), attrs.ext()), ("报告.txt", "txt"));
                    assert_eq!(attrs.custom_text(), "{\"k\":1}");
                }
            }
        }
    }
}

#[test]
fn the_published_example_has_the_published_signature() {
    let gate = Gate::start();
    let server = Server::new(&gate);
    assert_eq!(code(&server.send(Target::User(2), b"hello rtm file\n")), 0);
    let attrs = gate.wait_for("sendfile", 1).params.text("attrs").unwrap();
    assert_eq!(Attrs::parse(&attrs).unwrap().sign.unwrap(), "06034655594d0bf7831262432915420d");
}

#[test]
fn files_of_every_size_arrive_whole() {
    let gate = Gate::start();
    let server = Server::new(&gate);
    for size in [0, 1, 255, 256, 65_535, 65_536, 262_143, 262_144, 262_145, 5_000_000] {
        assert_eq!(code(&server.send(Target::User(2), &content(size))), 0, "{size}");
        assert!(gate.seen().pop().unwrap().params.bytes("file").unwrap() == content(size), "{size}");
    }
    // All of them went over one connection to each gate.
    assert_eq!(gate.connections(), 2);
}

#[test]
fn the_name_of_a_path_and_a_mid_of_ones_own_are_used() {
    let gate = Gate::start();
    let server = Server::new(&gate);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("年报 2026.pdf");
    std::fs::write(&path, b"x").unwrap();
    let info = FileInfo { name: None, custom: None };
    let options = CallOptions { mid: Some(-77), timeout: None };
    let file = (Content::Path(&path), info);
    let done = rtm::send_file(server.client, (7, Target::User(2)), 40, file, options, None).unwrap().unwrap();
    assert_eq!((done.mid, code(&done)), (-77, 0));
    let seen = gate.wait_for("sendfile", 1).params;
    let attrs = Attrs::parse(&seen.text("attrs").unwrap()).unwrap();
    assert_eq!((attrs.filename().as_str(), attrs.custom_text().as_str()), ("年报 2026.pdf", ""));
    assert_eq!((seen.int("mid"), seen.int("mtype")), (Ok(-77_i64), Ok(40_i64)));
}

#[test]
fn a_hundred_files_at_once_share_a_few_connections() {
    let gate = Gate::start();
    let server = Server::new(&gate);
    let (sender, ended) = crossbeam_channel::unbounded();
    for _ in 0..100 {
        let sender = sender.clone();
        let callback: rtm::Callback = Box::new(move |done| sender.send(code(done)).unwrap());
        let content = content(100_000);
        server.send_by(Target::User(2), Content::Memory(&content), Some(callback), CallOptions::default()).unwrap();
    }
    assert!((0..100).all(|_| server.next(&ended) == 0));
    assert!(gate.connections() <= 5, "{}", gate.connections());
}

#[test]
fn what_is_wrong_with_a_call_is_said_at_once_and_nothing_is_sent() {
    let gate = Gate::start();
    let server = Server::new(&gate);
    let send = |target, mtype, content: Content<'_>, custom: &str| {
        let info = FileInfo { name: None, custom: Some(custom) };
        rtm::send_file(server.client, (7, target), mtype, (content, info), CallOptions::default(), None).err()
    };
    let memory = || Content::Memory(b"x");
    for mtype in [i64::MIN, 0, 1, 39, 51, 127, 306] {
        assert_eq!(send(Target::User(2), mtype, memory(), ""), Some(rtm_code::BAD_FILE_MTYPE), "{mtype}");
    }
    assert_eq!(send(Target::Users(vec![]), 50, memory(), ""), Some(rtm_code::EMPTY));
    assert_eq!(send(Target::Users(vec![1; 20_001]), 50, memory(), ""), Some(rtm_code::TOO_MANY));
    assert_eq!(send(Target::User(2), 50, memory(), &"a".repeat(2_048)), Some(rtm_code::TOO_LARGE));
    let missing = std::path::Path::new("/nowhere/at/all");
    assert_eq!(send(Target::User(2), 50, Content::Path(missing), ""), Some(contract::SENDFILE_FILEINERROR));
    assert_eq!(send(Target::User(2), 50, Content::Path(std::path::Path::new("/")), ""), Some(1103));
    assert_eq!(gate.connections(), 0);
    assert_eq!(rtm::call(server.client + 1, Action::GetToken { uid: 1 }, CallOptions::default(), None).err(), Some(11));
}

#[test]
fn the_servers_errors_come_through_unchanged_with_their_texts() {
    let gate = Gate::start();
    let server = Server::new(&gate);
    gate.fault("filetoken", Fault::Error(200_041, "not a member, says the gate"));
    let done = server.send(Target::Group(5), b"x");
    assert_eq!((code(&done), text(&done).as_str()), (200_041, "not a member, says the gate"));
    assert!(done.mid != 0, "a failure has its mid, too");
    gate.fault("sendgroupfile", Fault::Error(123_456, ""));
    let done = server.send(Target::Group(5), b"x");
    assert_eq!(code(&done), 123_456);
    assert!(!text(&done).is_empty(), "a number without a text gets one");
    gate.fault("sendgroupfile", Fault::Error(0, "an error that is none"));
    assert_eq!(code(&server.send(Target::Group(5), b"x")), rtm_code::UNKNOWN);
    // The connections live on.
    assert_eq!(code(&server.send(Target::Group(5), b"x")), 0);
    assert_eq!(gate.connections(), 2);
}

#[test]
fn token_answers_without_what_they_need_fail_the_call_and_name_it() {
    let gate = Gate::start();
    let server = Server::new(&gate);
    for (answer, named) in [
        (vec![("token", "t")], "endpoint"),
        (vec![("endpoint", "127.0.0.1:1")], "token"),
        (vec![("token", "t"), ("endpoint", "nowhere")], "nowhere"),
        (vec![("token", "t"), ("endpoint", "host:0")], "host:0"),
        (vec![], "token"),
    ] {
        gate.fault("filetoken", Fault::Answer(answer));
        let done = server.send(Target::User(2), b"x");
        assert_eq!(code(&done), rtm_code::DECODE);
        assert!(text(&done).contains(named), "{:?} does not name {named}", text(&done));
    }
    gate.fault("sendfile", Fault::Answer(vec![]));
    assert_eq!(
        server.send(Target::User(2), b"x").outcome,
        Ok(Answer::Sent { mtime: 0, watched: false }),
        "an old server says nothing"
    );
    gate.fault("sendfile", Fault::Answer(vec![("mtime", "now")]));
    assert_eq!(code(&server.send(Target::User(2), b"x")), rtm_code::DECODE);
}

#[test]
fn a_gate_that_closes_ends_the_call_as_unknown_and_it_is_not_sent_again() {
    let gate = Gate::start();
    let server = Server::new(&gate);
    gate.fault("filetoken", Fault::Close);
    assert_eq!(code(&server.send(Target::User(2), b"x")), rtm_code::CONNECTION_CLOSED);
    assert_eq!(gate.seen().len(), 1);
    gate.fault("sendfile", Fault::Close);
    assert_eq!(code(&server.send(Target::User(2), b"x")), rtm_code::CONNECTION_CLOSED);
    assert_eq!(gate.seen_of("sendfile").len(), 1);
    // The next call makes its own connections.
    assert_eq!(code(&server.send(Target::User(2), b"x")), 0);
}

#[test]
fn a_file_gate_that_stops_reading_is_told_apart() {
    let gate = Gate::start();
    let server = Server::new(&gate);
    gate.limit_files(1_000_000);
    let done = server.send(Target::User(2), &content(20_000_000));
    assert_eq!(code(&done), rtm_code::CONNECTION_CLOSED);
    assert!(text(&done).contains("cannot have taken"), "{:?}", text(&done));
}

#[test]
fn silence_ends_a_call_by_its_one_deadline_wherever_it_is() {
    let gate = Gate::start();
    let server = Server::new(&gate);
    let options = CallOptions { timeout: Some(Duration::from_millis(1_500)), mid: None };
    for method in ["filetoken", "sendfile"] {
        gate.fault(method, Fault::Silent);
        let done = server.send_by(Target::User(2), Content::Memory(b"x"), None, options).unwrap().unwrap();
        assert_eq!(code(&done), rtm_code::TIMEOUT, "{method}");
    }
    // A token that comes late leaves less time for the rest.
    gate.fault("filetoken", Fault::Slow(Duration::from_millis(900)));
    gate.fault("sendfile", Fault::Slow(Duration::from_millis(900)));
    let done = server.send_by(Target::User(2), Content::Memory(b"x"), None, options).unwrap().unwrap();
    assert_eq!(code(&done), rtm_code::TIMEOUT);
    assert_eq!(code(&server.send(Target::User(2), b"x")), 0);
}

#[test]
fn nobody_at_an_address_is_told_and_the_next_address_is_tried() {
    let gate = Gate::start();
    let nobody = || {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        crate::world::address(free.local_addr().unwrap())
    };
    let lost = Server::at(vec![nobody(), nobody()], |_| {});
    let done = lost.send(Target::User(2), b"x");
    assert_eq!(code(&done), rtm_code::CONNECTION);
    let found = Server::at(vec![nobody(), crate::world::address(gate.address)], |_| {});
    assert_eq!(code(&found.send(Target::User(2), b"x")), 0);
    gate.name_file_gate(&format!("127.0.0.1:{}", nobody().port));
    assert_eq!(code(&found.send(Target::User(2), b"x")), rtm_code::CONNECTION);
}

#[test]
fn an_answer_that_makes_no_sense_ends_the_connection_and_the_call() {
    let gate = Gate::start();
    let server = Server::new(&gate);
    for bytes in
        [b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), b"FPNN\x01\x80\x02\x00\xff\xff\xff\xff\0\0\0\0".to_vec()]
    {
        gate.fault("filetoken", Fault::Bytes(bytes));
        assert_eq!(code(&server.send(Target::User(2), b"x")), rtm_code::CONNECTION_CLOSED);
    }
    assert_eq!(code(&server.send(Target::User(2), b"x")), 0);
}

#[test]
fn a_file_that_changes_while_it_is_sent_is_never_taken() {
    let gate = Gate::start();
    let server = Server::new(&gate);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shrinking");
    std::fs::write(&path, content(10_000_000)).unwrap();
    gate.fault("filetoken", Fault::Slow(Duration::from_millis(100)));
    let (callback, ended) = Server::callback();
    server.send_by(Target::User(2), Content::Path(&path), Some(callback), CallOptions::default()).unwrap();
    std::fs::write(&path, b"short").unwrap();
    assert_eq!(code(&server.next(&ended)), contract::SENDFILE_FILEINERROR);
    assert!(gate.seen_of("sendfile").is_empty());
}

#[test]
fn destroying_a_client_ends_each_of_its_calls_once() {
    let gate = Gate::start();
    for server in [Server::new(&gate), Server::pumping(&gate)] {
        let (sender, ended) = crossbeam_channel::unbounded();
        for at in 0..50 {
            for method in ["filetoken", "gettoken"] {
                gate.fault(method, Fault::Silent);
            }
            let tell = |sender: &crossbeam_channel::Sender<_>| -> rtm::Callback {
                let sender = sender.clone();
                Box::new(move |done| sender.send((at, code(done))).unwrap())
            };
            server
                .send_by(Target::User(2), Content::Memory(b"x"), Some(tell(&sender)), CallOptions::default())
                .unwrap();
            rtm::call(server.client, Action::GetToken { uid: at }, CallOptions::default(), Some(tell(&sender)))
                .unwrap();
        }
        let waiter = {
            gate.fault("gettoken", Fault::Silent);
            let client = server.client;
            std::thread::spawn(move || rtm::call(client, Action::GetToken { uid: 0 }, CallOptions::default(), None))
        };
        gate.wait_for("filetoken", 50);
        rtm::destroy(server.client).unwrap();
        drop(sender);
        let all: Vec<_> = ended.iter().collect();
        assert_eq!(all.len(), 100);
        assert!(all.iter().all(|(_, code)| *code == rtm_code::CANCELLED), "{all:?}");
        // The one that waits has been cancelled, or came too late.
        match waiter.join().unwrap() {
            Ok(done) => assert_eq!(code(&done.unwrap()), rtm_code::CANCELLED),
            Err(err) => assert_eq!(err, contract::NOT_INIT),
        }
        assert_eq!(rtm::destroy(server.client), Err(contract::NOT_INIT));
    }
}
