//! Rule 11 and everything a login can meet: wrong servers, wrong credentials, tokens that end.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use crvideo::client::{self, Credential, Event, SendOptions, ServerAddress};
use crvideo_proto::token;
use crvideo_proto::{code, message, out::OutQueue};

use crate::world::{User, World, address};

fn unix() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// A server that does one thing with every connection.
fn server(serve: impl Fn(std::net::TcpStream) + Send + 'static) -> ServerAddress {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = address(listener.local_addr().unwrap());
    std::thread::spawn(move || listener.incoming().flatten().for_each(serve));
    at
}

fn refused_port() -> ServerAddress {
    address(TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

fn name(host: &str, port: u16) -> ServerAddress {
    ServerAddress { host: host.to_owned(), port }
}

fn login_at(server: ServerAddress) -> i32 {
    let world = World::new();
    let mut info = world.info("alice", server);
    // These servers are no relays, and none of them encrypts.
    info.tls = client::TlsSettings::default();
    world.stranger(|_| {}).login(info)
}

/// The log: its lines at INFO and more urgent levels that contain `word`, one by one, and all lines in the end.
struct Lines {
    lines: crossbeam_channel::Receiver<String>,
    word: &'static str,
    seen: std::cell::RefCell<Vec<String>>,
}

impl Lines {
    fn with(word: &'static str) -> Self {
        let (sender, lines) = crossbeam_channel::unbounded();
        let sink = move |level: u8, _: &str, text: &str| drop(sender.send(format!("{level} {text}")));
        client::set_log(0, 5, Some(Box::new(sink))).unwrap();
        Self { lines, word, seen: std::cell::RefCell::default() }
    }

    /// The next line. Other tests of this process may log, too.
    fn next(&self) -> String {
        loop {
            let line = self.lines.recv_timeout(crate::world::PATIENCE).expect("a line in time");
            self.seen.borrow_mut().push(line.clone());
            if line.contains(self.word) && line.as_str() < "4" {
                return line;
            }
        }
    }

    fn next_is(&self, expected: &str) {
        assert_eq!(self.next(), expected);
    }
}

#[test]
fn regression_the_log_tells_of_logins_lost_links_and_ends_and_of_no_secret() {
    let world = World::new();
    let proxy = crate::proxy::Proxy::new(world.relay.address());
    let lines = Lines::with("diarist");
    let diarist = world.stranger(|_| {});
    let mut info = world.info("diarist", refused_port());
    info.servers.push(proxy.address());
    assert_eq!(diarist.login(info), code::NOERR);
    let epoch = |line: &str| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
    lines.next_is("3 the login of \"diarist\" at server 1 of 2 failed with 203; trying the next address");
    let line = lines.next();
    let project = world.relay.project();
    let number = epoch(&line);
    assert_eq!(line, format!("3 \"diarist\" of project {project} is logged in at server 2 of 2, epoch {number}"));
    proxy.cut();
    let line = lines.next();
    assert!(line.starts_with("2 \"diarist\" has lost the link to the relay at server 2 of 2 ("), "{line}");
    lines.next_is(&format!("3 \"diarist\" has its link back at server 2 of 2: epoch {number} goes on"));
    let task = diarist.send_cmd("diarist", b"a secret of the content's");
    assert_eq!(diarist.result(task), code::NOERR);
    assert_eq!(diarist.logout(), code::NOERR);
    lines.next_is("3 \"diarist\" logs out");
    lines.next_is("3 \"diarist\" is logged out");
    let mut info = world.info("diarist", world.address());
    info.credential = Credential::Secret("a wrong secret".to_owned());
    assert_eq!(diarist.login(info), code::ANCTPSWD_ERR);
    lines.next_is("2 the login of \"diarist\" has failed with 7");
    client::set_log(0, 0, None).unwrap();
    let told = |line: String| lines.seen.borrow().contains(&line);
    assert!(told(format!("4 command {task} of 25 bytes to \"diarist\"")));
    assert!(told(format!("4 command {task} of 25 bytes has come from \"diarist\"")));
    assert!(told(format!("4 command {task} has ended with 0")));
    let message = |line: &String| line.starts_with("5 \"diarist\" reads OneWay \"crcmd\"");
    assert!(lines.seen.borrow().iter().any(message), "each message on the wire is a line at TRACE");
    // "eyJ" begins every token.
    for line in lines.seen.borrow().iter() {
        assert!(
            ![world.relay.secret(), "a wrong secret", "a secret of the content's", "eyJ"]
                .iter()
                .any(|text| line.contains(text)),
            "{line}"
        );
    }
}

#[test]
fn a_relay_that_is_not_there_is_a_failed_connection() {
    assert_eq!(login_at(refused_port()), code::CREATE_CONN_FAILED);
}

#[test]
fn a_name_that_does_not_resolve_is_no_server() {
    assert_eq!(login_at(name("no-such-host.invalid", 1)), code::NO_SERVERINFO);
}

#[test]
fn a_server_that_closes_at_once_is_a_forced_close() {
    let err = login_at(server(drop));
    assert!([code::FORCEDCLOSECONNECTION, code::SOCKETEXCEPTION].contains(&err), "{err}");
}

#[test]
fn a_server_that_is_no_relay_answers_nonsense() {
    let serve = |mut stream: std::net::TcpStream| {
        let mut hello = [0; 16];
        let _ = stream.read(&mut hello);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = stream.read(&mut hello);
    };
    assert_eq!(login_at(server(serve)), code::RSPDAT_ERR);
}

/// The number of the quest that bytes begin with.
fn seq_of(quest: &[u8]) -> u32 {
    u32::from_le_bytes(quest[12..16].try_into().unwrap())
}

#[test]
fn a_relay_of_another_version_is_a_mismatch() {
    let serve = |mut stream: std::net::TcpStream| {
        let mut hello = [0; 256];
        let _ = stream.read(&mut hello);
        let mut out = OutQueue::default();
        out.error(seq_of(&hello), code::MISMATCHCLIENTVER, "versions 7 to 9 only");
        let _ = stream.write_all(&out.take());
        let _ = stream.read(&mut hello);
    };
    assert_eq!(login_at(server(serve)), code::MISMATCHCLIENTVER);
    let lying = |mut stream: std::net::TcpStream| {
        let mut hello = [0; 256];
        let _ = stream.read(&mut hello);
        let mut out = OutQueue::default();
        out.answer(seq_of(&hello), &message::HelloAnswer { version: 9, features: 0, agent: "x".into(), salt: None });
        let _ = stream.write_all(&out.take());
        let _ = stream.read(&mut hello);
    };
    assert_eq!(login_at(server(lying)), code::MISMATCHCLIENTVER);
}

#[test]
fn addresses_are_tried_in_turn() {
    let world = World::new();
    let user = world.stranger(|_| {});
    let mut info = world.info("alice", refused_port());
    info.servers.push(name("no-such-host.invalid", 1));
    info.servers.push(world.address());
    assert_eq!(user.login(info), code::NOERR);
}

#[test]
fn a_relay_is_reached_by_name_and_by_ipv6() {
    let world = World::new();
    let user = world.stranger(|_| {});
    assert_eq!(user.login(world.info("alice", name("localhost", world.address().port))), code::NOERR);
    let six = World::with(|config| config.listen = vec!["[::1]:0".parse().unwrap()]);
    let user = six.stranger(|_| {});
    assert_eq!(user.login(six.info("alice", six.address())), code::NOERR);
}

#[test]
fn wrong_projects_and_secrets_are_named_as_such() {
    let world = World::new();
    let user = world.stranger(|_| {});
    let with = |change: &dyn Fn(&mut client::LoginInfo)| {
        let mut info = world.info("alice", world.address());
        change(&mut info);
        user.login(info)
    };
    assert_eq!(with(&|info| info.credential = Credential::Secret("wrong".into())), code::ANCTPSWD_ERR);
    assert_eq!(with(&|info| info.project += 1), code::ANCTPSWD_ERR);
    let secret = world.relay.secret();
    let token = |project, user: &str, expires, secret: &str| {
        let credential = Credential::Token(token::mint(project, user, expires, secret));
        with(&|info| info.credential = credential.clone())
    };
    let project = world.relay.project();
    assert_eq!(token(project, "alice", unix() + 60, "wrong"), code::TOKEN_AUTH_FAILED);
    assert_eq!(token(project, "bob", unix() + 60, secret), code::TOKEN_AUTHINFOERR);
    assert_eq!(token(project, "alice", unix() - 3_600, secret), code::TOKEN_TIMEOUT);
    assert_eq!(with(&|info| info.credential = Credential::Token("nonsense".into())), code::TOKEN_NOTTOKENTYPE);
    let unknown = token::mint(project + 1, "alice", unix() + 60, secret);
    let unknown = |info: &mut client::LoginInfo| {
        info.project += 1;
        info.credential = Credential::Token(unknown.clone());
    };
    assert_eq!(with(&unknown), code::TOKEN_APPIDNOTEXIST);
    assert_eq!(token(project, "alice", unix() + 60, secret), code::NOERR);
}

fn token_user(world: &World, user: &str, lasts: u64) -> User {
    let stranger = world.stranger(|_| {});
    let mut info = world.info(user, world.address());
    info.credential = Credential::Token(token::mint(world.relay.project(), user, unix() + lasts, world.relay.secret()));
    assert_eq!(stranger.login(info), code::NOERR);
    stranger
}

#[test]
fn a_token_that_ends_is_announced_and_can_be_replaced() {
    let world = World::new();
    let alice = token_user(&world, "alice", 31);
    alice.wait(|event| matches!(event, Event::TokenWillExpire).then_some(()));
    let next = token::mint(world.relay.project(), "alice", unix() + 3_600, world.relay.secret());
    client::update_token(alice.session, &next).unwrap();
    assert_eq!(alice.result(alice.send_cmd("alice", b"x")), code::NOERR);
}

#[test]
fn calls_that_do_not_fit_the_state_are_refused() {
    let world = World::new();
    let user = world.stranger(|_| {});
    let send = || client::send_cmd(user.session, "bob", b"x", SendOptions::default(), 0);
    assert_eq!(send(), Err(code::NOT_LOGIN));
    assert_eq!(client::logout(user.session, 0), Err(code::NOT_LOGIN));
    assert_eq!(user.login(world.info("alice", world.address())), code::NOERR);
    let again = client::login(user.session, world.info("alice", world.address()), 0);
    assert_eq!(again, Err(code::LOGINSTATE_ERROR));
    assert_eq!(user.logout(), code::NOERR);
    assert_eq!(send(), Err(code::NOT_LOGIN));
    assert_eq!(user.login(world.info("alice", world.address())), code::NOERR, "a session can log in again");
}

#[test]
fn users_of_different_projects_never_see_each_other() {
    let world = World::with(|config| {
        let mut other = config.projects[0].clone();
        other.id += 1;
        other.secrets = vec!["other secret".to_owned()];
        config.projects.push(other);
    });
    let alice = world.user("alice");
    let bob = world.stranger(|_| {});
    let mut info = world.info("bob", world.address());
    info.project += 1;
    info.credential = Credential::Secret("other secret".to_owned());
    assert_eq!(bob.login(info), code::NOERR);
    assert_eq!(alice.result(alice.send_cmd("bob", b"x")), code::SENDDATA_TARGETINVALID);
    client::get_user_status(alice.session, None, 1).unwrap();
    let online = alice.wait(|event| match event {
        Event::UserStatusRslt { users, .. } => Some(users),
        _ => None,
    });
    assert_eq!(online, ["alice"]);
}

#[test]
fn a_server_that_never_answers_ends_the_login_by_its_deadline() {
    let world = World::new();
    let silent = server(std::mem::forget);
    let user = world.stranger(|_| {});
    let info = client::LoginInfo { tls: client::TlsSettings::default(), ..world.info("alice", silent) };
    client::login(user.session, info, 7).unwrap();
    let err = user.wait_for(Duration::from_secs(15), |event| match event {
        Event::LoginRslt { err, .. } => Some(err),
        _ => None,
    });
    assert_eq!(err, Some(code::NOSERVER_RSP));
}

#[test]
fn a_login_can_be_given_up() {
    let world = World::new();
    let silent = server(std::mem::forget);
    let user = world.stranger(|_| {});
    client::login(user.session, world.info("alice", silent), 7).unwrap();
    client::logout(user.session, 8).unwrap();
    assert!(matches!(user.next(), Event::LoginRslt { err: code::NOT_LOGIN, .. }));
    assert!(matches!(user.next(), Event::LogoutRslt { .. }));
}

#[test]
fn regression_a_logout_that_meets_the_end_of_its_login_leaves_the_next_login_alone() {
    let world = World::new();
    let user = world.stranger(|_| {});
    let nobody = refused_port();
    let over = AtomicBool::new(false);
    let begun = std::thread::scope(|scope| {
        // Two threads of one application, neither of which knows what the other does.
        let logouts = scope.spawn(|| {
            let mut begun = 0;
            while !over.load(Ordering::SeqCst) {
                begun += usize::from(client::logout(user.session, 0).is_ok());
            }
            begun
        });
        let mut begun = 0;
        while begun < 5_000 {
            begun += usize::from(client::login(user.session, world.info("alice", nobody.clone()), 0).is_ok());
        }
        over.store(true, Ordering::SeqCst);
        (begun, logouts.join().unwrap())
    });
    let mut ends = (0, 0);
    while ends.0 < begun.0 || ends.1 < begun.1 {
        match user.next() {
            Event::LoginRslt { .. } => ends.0 += 1,
            Event::LogoutRslt { .. } => ends.1 += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ends, begun, "each login and each logout has one end");
    assert!(begun.1 > 0, "no logout was accepted");
    assert_eq!(user.login(world.info("alice", world.address())), code::NOERR);
}
