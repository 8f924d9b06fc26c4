//! The program `crvideo-relay`: what it prints, how it fails, how it stops.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod rtm;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};

use crvideo_proto::message::{Hello, Login};
use crvideo_proto::out::OutQueue;
use crvideo_proto::token;
use rtm::{Link, Value, frame};

fn relay(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crvideo-relay"));
    // What the tests' own environment says must not change what they find.
    command.env_clear().args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Ended with its test, whatever becomes of that.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(mut command: Command) -> (Self, String) {
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (Self(child), line.trim_end().to_owned())
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{signal} {}", self.0.id())).status().unwrap();
        assert!(sent.success());
    }

    fn end(mut self) -> (Option<i32>, String) {
        let code = self.0.wait().unwrap().code();
        let mut log = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (code, log)
    }
}

fn value<'a>(line: &'a str, key: &str) -> &'a str {
    line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('=')).unwrap_or_else(|| panic!("{line:?}"))
}

fn failed(output: &Output, code: i32) -> String {
    let error = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{error}");
    assert_eq!(error.trim_end().lines().count(), 1, "one sentence: {error:?}");
    error
}

#[test]
fn dev_prints_one_line_that_a_script_can_read_and_stops_with_0() {
    for signal in ["TERM", "INT"] {
        let (running, line) = Running::start(relay(&["--dev", "--http", "127.0.0.1:0"]));
        assert!(line.starts_with("crvideo-relay ready listen=127.0.0.1:"), "{line:?}");
        assert_eq!((value(&line, "project"), value(&line, "secret").len()), ("1", 64));
        TcpStream::connect(value(&line, "listen")).unwrap();
        TcpStream::connect(value(&line, "http")).unwrap();
        TcpStream::connect(value(&line, "rtm")).unwrap();
        running.signal(signal);
        let (code, log) = running.end();
        assert_eq!(code, Some(0), "{log}");
        assert!(!log.contains(value(&line, "secret")), "a secret in the log: {log}");
    }
}

#[test]
fn without_dev_the_line_has_no_secret() {
    let mut command = relay(&["--listen", "127.0.0.1:0"]);
    command.env("CRVIDEO_RELAY_PROJECTS", "5:hush,6:hush");
    let (_running, line) = Running::start(command);
    assert_eq!(value(&line, "project"), "5,6");
    assert!(!line.contains("hush") && !line.contains("secret"), "{line:?}");
}

#[test]
fn rtm_is_off_unless_it_is_asked_for_and_may_have_files_elsewhere() {
    let projects = ["--listen", "127.0.0.1:0", "--project", "5:hush"];
    let (_running, line) = Running::start(relay(&projects));
    assert!(!line.contains("rtm"), "{line:?}");
    let rtm = ["--rtm", "127.0.0.1:0", "--rtm-users", "127.0.0.1:0", "--rtm-files", "127.0.0.1:0"];
    let (_running, line) = Running::start(relay(&[&projects[..], &rtm].concat()));
    for key in ["rtm", "rtm_users", "rtm-files"] {
        TcpStream::connect(value(&line, key)).unwrap();
    }
}

#[test]
fn rtm_on_the_network_is_named_as_plain_when_it_starts() {
    let (running, _) = Running::start(relay(&["--dev", "--rtm", "0.0.0.0:0", "--allow-plain"]));
    running.signal("TERM");
    let (code, log) = running.end();
    assert!(code == Some(0) && log.contains("RTM is not encrypted"), "{log}");
}

#[test]
fn flags_go_before_the_environment_and_that_before_the_file() {
    let path = std::env::temp_dir().join(format!("crvideo-relay-{}.toml", std::process::id()));
    std::fs::write(&path, "listen = ['nonsense']\n[[project]]\nid = 1\nsecrets = ['s']\n").unwrap();
    let file = path.to_str().unwrap();
    let error = failed(&relay(&["--config", file]).output().unwrap(), 2);
    assert!(error.contains("line 1: listen: \"nonsense\" is not an address"), "{error}");
    std::fs::write(&path, "listen = ['127.0.0.2:0']\n[[project]]\nid = 1\nsecrets = ['s']\n").unwrap();
    let listen = |environment: Option<&str>, words: &[&str]| {
        let mut command = relay(words);
        command.env("CRVIDEO_RELAY_CONFIG", file);
        command.envs(environment.map(|address| ("CRVIDEO_RELAY_LISTEN", address)));
        let (_running, line) = Running::start(command);
        value(&line, "listen").split(':').next().unwrap().to_owned()
    };
    assert_eq!(listen(None, &[]), "127.0.0.2");
    assert_eq!(listen(Some("127.0.0.3:0"), &[]), "127.0.0.3");
    assert_eq!(listen(Some("127.0.0.3:0"), &["--listen", "127.0.0.4:0"]), "127.0.0.4");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn without_a_project_it_says_so_and_exits_with_2() {
    let error = failed(&relay(&[]).output().unwrap(), 2);
    assert!(error.contains("no project is configured"), "{error}");
}

#[test]
fn a_port_in_use_is_one_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = failed(&relay(&["--dev", "--log", "off", "--listen", &address]).output().unwrap(), 1);
    assert!(error.contains(&format!("the address {address} is in use")), "{error}");
}

#[test]
fn a_data_directory_that_cannot_be_used_is_one_sentence() {
    let error = failed(&relay(&["--dev", "--log", "off", "--data", "/dev/null/x"]).output().unwrap(), 1);
    assert!(error.contains("the data directory \"/dev/null/x\" cannot be used"), "{error}");
}

/// Whether a relay at this address answers a hello.
fn greets(address: &str) -> bool {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(9))).unwrap();
    let mut out = OutQueue::default();
    out.quest(1, &Hello { lowest: 1, highest: 1, features: 0, agent: "x".repeat(1_000) });
    stream.write_all(&out.take()).unwrap();
    stream.read(&mut [0; 1]).is_ok_and(|count| count == 1)
}

#[test]
fn regression_a_log_that_nobody_reads_stops_nothing() {
    for reader_is_gone in [true, false] {
        let (mut running, line) = Running::start(relay(&["--dev", "--log", "debug"]));
        if reader_is_gone {
            running.0.stderr = None;
        }
        // Each says more than a thousand bytes in the log, so that a pipe which is not read is full.
        for round in 0..200 {
            assert!(greets(value(&line, "listen")), "round {round}, reader is gone: {reader_is_gone}");
        }
    }
}

/// Text after `mark` that begins a line of its own, takes over a terminal and turns the direction of what follows
/// around, wherever it is printed as it is.
fn hostile(mark: &str) -> String {
    format!("{mark}\r\n2026-01-01T00:00:00.000000Z  INFO forged\u{1b}[2J\u{7}\u{9b}31m\u{85}\u{2028}\u{202e}\u{7f}")
}

/// All that a client of our own dialect can say of itself.
fn log_in_hostilely(line: &str) {
    let secret = value(line, "secret");
    for (user, token) in [("stranger", None), ("member", Some(secret))] {
        let user = hostile(user);
        let token = token.map_or_else(|| hostile("token"), |secret| token::mint(1, &user, 4_000_000_000, secret));
        let mut stream = TcpStream::connect(value(line, "listen")).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(9))).unwrap();
        let mut out = OutQueue::default();
        out.quest(1, &Hello { lowest: 1, highest: 1, features: 0, agent: hostile("agent") });
        out.quest(2, &Login { project: 1, user, token, session: [7; 16], epoch: 0 });
        stream.write_all(&out.take()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
    }
    let mut stream = TcpStream::connect(value(line, "listen")).unwrap();
    stream.write_all(&frame(1, 0x80, 1, &hostile("command"), Some(1), b"\x80")).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
}

/// The same in the RTM dialect: methods, parameters, answers, and files.
fn speak_rtm_hostilely(line: &str) {
    let open = || Link::open_to(value(line, "rtm").parse().unwrap(), 1, value(line, "secret"));
    let mut link = open();
    link.ask_plain(&hostile("method"), &[]).unwrap_err();
    let said = rtm::map(&[("code", 1.into()), ("ex", hostile("answer").as_str().into())]);
    link.write(&rtm::answer(1, 77, &said));
    let message = [("from", 1.into()), ("to", 2.into()), ("mid", 3.into()), ("mtype", 51.into())];
    let words = [("msg", hostile("message").as_str().into()), ("attrs", hostile("attributes").as_str().into())];
    link.ask("sendmsg", &[&message[..], &words].concat()).unwrap();
    link.ask("filetoken", &[("from", 1.into()), ("cmd", hostile("cmd").as_str().into())]).unwrap_err();
    let attrs = format!(r#"{{"rtm":{{"filename":{:?},"ext":"\\r\\n"}}}}"#, hostile("file"));
    let file = [("pid", 1.into()), ("token", hostile("file-token").as_str().into()), ("file", b"x".to_vec().into())];
    link.ask_plain("sendfile", &[&message[..], &file, &[("attrs", attrs.as_str().into())]].concat()).unwrap_err();
    link.ask("addgroupmembers", &[("gid", 1.into()), ("uids", hostile("uids").as_str().into())]).unwrap_err();
    // What is no text at all: a method, and a parameter with its name.
    let mut no_text = frame(1, 0x80, 1, "raw-method", Some(9), b"\x80");
    let end = no_text.len() - 1;
    no_text[end - 2..end].copy_from_slice(b"\xff\x1b");
    let params = rtm::map(&[(hostile("key").as_str(), Value::RawStr(b"\xff\n".to_vec()))]);
    for bytes in [no_text, frame(1, 0x80, 1, "sendmsg", Some(10), &params)] {
        let mut link = open();
        link.write(&bytes);
        link.stream().shutdown(Shutdown::Write).unwrap();
        while link.next().is_some() {}
    }
}

/// The same over HTTP.
fn request_hostilely(line: &str) {
    let heads: [&[u8]; 4] = [
        b"GET /files/%0d%0a%1b[2Jpath/\xc2\x9b31m HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /files/\x1b[2J\xff HTTP/1.1\r\nHost: \x1b[2J\r\n\r\n",
        b"\x1b[2J\n\xff\xfe forged\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-\x1b[2J: \x1b\x07\r\n\r\n",
    ];
    for head in heads {
        let mut stream = TcpStream::connect(value(line, "http")).unwrap();
        stream.write_all(head).unwrap();
        // Whether it is answered or closed does not matter here.
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

#[test]
fn whatever_strangers_say_of_themselves_each_event_is_one_harmless_line_of_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let mut command = relay(&["--dev", "--http", "127.0.0.1:0", "--log", "trace"]);
    // A pipe that nobody reads would lose lines.
    command.stderr(std::fs::File::create(&path).unwrap());
    let (mut running, line) = Running::start(command);
    log_in_hostilely(&line);
    speak_rtm_hostilely(&line);
    request_hostilely(&line);
    running.signal("TERM");
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    let log = String::from_utf8(std::fs::read(path).unwrap()).expect("a log of text");
    for line in log.lines() {
        let mut words = line.split_ascii_whitespace();
        let (time, level) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let event = time.ends_with('Z') && ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level);
        assert!(event, "not the beginning of an event: {line:?}");
        assert_ne!(words.next(), Some("forged"), "{line:?}");
        let raw = |char: char| char.is_control() || matches!(char, '\u{2028}' | '\u{202e}');
        assert!(!line.contains(raw), "something raw: {line:?}");
    }
    // What is to be seen there has come that far.
    for mark in ["agent", "stranger", "member", "method", "answer", "cmd", "no valid method", "command"] {
        assert!(log.contains(mark), "nothing about {mark}: {log}");
    }
}

#[test]
fn help_teaches_by_example() {
    let help = relay(&["--help"]).output().unwrap();
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(help.status.success() && text.contains("EXAMPLES") && text.contains("crvideo-relay --dev"), "{text}");
    for flag in [
        "--config",
        "--listen",
        "--http",
        "--rtm",
        "--rtm-users",
        "--rtm-files",
        "--data",
        "--project",
        "--allow-plain",
        "--log",
    ] {
        assert!(text.contains(flag), "{flag} is missing in {text}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn it_goes_on_accepting_after_it_has_run_out_of_descriptors() {
    let program = env!("CARGO_BIN_EXE_crvideo-relay");
    let mut shell = Command::new("sh");
    let script = format!("ulimit -n 40; exec {program} --dev");
    shell.arg("-c").arg(script).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (running, line) = Running::start(shell);
    let address = value(&line, "listen");
    let crowd: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    drop(crowd);
    let mut stranger = TcpStream::connect(address).unwrap();
    stranger.set_read_timeout(Some(std::time::Duration::from_secs(9))).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let closed = stranger.read(&mut [0; 1]);
    assert!(!matches!(&closed, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock), "not accepted any more");
    running.signal("TERM");
    let (code, log) = running.end();
    assert_eq!(code, Some(0));
    assert_eq!(log.matches("cannot accept connections").count(), 1, "{log}");
}

#[test]
fn regression_a_relay_that_keeps_nothing_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = relay(&["--dev"]);
    command.env("TMPDIR", temporary.path());
    let (running, line) = Running::start(command);
    let left = || std::fs::read_dir(temporary.path()).unwrap().count();
    assert_eq!(left(), 1, "files of RTM servers need a place");
    // A connection of each kind is there when it stops.
    let _connections = ["listen", "http", "rtm", "rtm_users"].map(|key| TcpStream::connect(value(&line, key)).unwrap());
    running.signal("TERM");
    let (code, log) = running.end();
    assert_eq!((code, left()), (Some(0), 0), "{log}");
}

/// The parts of a token, and what another implementation says is its signature.
fn signed_by_openssl(token: &str, secret: &str) -> bool {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let script = "printf %s \"$1\" | openssl dgst -sha256 -hmac \"$2\" -binary | base64 | tr '+/' '-_' | tr -d '=\\n'";
    let output = Command::new("sh").args(["-c", script, "sh", signed, secret]).output().unwrap();
    String::from_utf8(output.stdout).unwrap() == signature
}

#[test]
fn a_token_of_the_command_is_a_jwt_that_another_implementation_would_have_made() {
    let directory = tempfile::tempdir().unwrap();
    let (secret, config) = (directory.path().join("secret"), directory.path().join("relay.toml"));
    std::fs::write(&secret, "hush-hush\n").unwrap();
    std::fs::write(&config, "[[project]]\nid = 7\nsecrets = ['hush-hush']\n").unwrap();
    let user = ["--project", "7", "--user", "alice", "--expires", "10m", "--id", "one"];
    for source in [["--secret-file", secret.to_str().unwrap()], ["--config", config.to_str().unwrap()]] {
        let output = relay(&[&["token"], &user[..], &source].concat()).output().unwrap();
        let token = String::from_utf8(output.stdout).unwrap();
        let token = token.strip_suffix('\n').unwrap();
        assert!(output.status.success() && signed_by_openssl(token, "hush-hush"), "{token}");
        assert!(!signed_by_openssl(token, "hush-husH"));
        let claims = crvideo_proto::token::peek(token).unwrap();
        assert_eq!((claims.project, claims.user.as_str(), claims.id.as_deref()), (7, "alice", Some("one")));
        assert_eq!(claims.expires - claims.issued.unwrap(), 600);
    }
    for (words, expected) in [
        (&["--expires", "soon", "--project", "7", "--user", "a"][..], "\"soon\" is not a time"),
        (&["--project", "7", "--user", ""], "is not a user id"),
        (&["--project", "7", "--user", "a"], "there is no secret to sign with"),
        (&["--project", "8", "--user", "a", "--config", config.to_str().unwrap()], "has no project 8"),
        (&["--project", "8", "--user", "a", "--secret-file", "/nowhere"], "/nowhere cannot be read"),
    ] {
        let error = failed(&relay(&[&["token"], words].concat()).output().unwrap(), 1);
        assert!(error.contains(expected) && !error.contains("hush"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn the_operator_asks_by_command_and_revocations_outlive_the_relay() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let serve = ["--listen", "127.0.0.1:0", "--project", "1:hush", "--data", data, "--log", "trace"];
    let admin = |words: &[&str]| {
        let output = relay(&[&["admin", "--data", data], words].concat()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let token = crvideo_proto::token::issue_with_id(1, "alice", 1_000, 4_000_000_000, Some("one"), "hush");
    let login = |line: &str| {
        let mut stream = TcpStream::connect(value(line, "listen")).unwrap();
        let mut out = OutQueue::default();
        out.quest(1, &Hello { lowest: 1, highest: 1, features: 0, agent: "test".into() });
        let (project, user) = (1, "alice".to_owned());
        out.quest(
            2,
            &crvideo_proto::message::Login { project, user, token: token.clone(), session: [1; 16], epoch: 0 },
        );
        stream.write_all(&out.take()).unwrap();
        stream
    };
    let mut logs = String::new();
    let (running, line) = Running::start(relay(&serve));
    let mut stream = login(&line);
    let start = std::time::Instant::now();
    let users = loop {
        let users = admin(&["users", "--project", "1"]);
        if users.lines().count() > 1 {
            break users;
        }
        assert!(start.elapsed().as_secs() < 20, "{users}");
    };
    let row: Vec<_> = users.lines().nth(1).unwrap().split('\t').collect();
    assert_eq!((row[0], row[1], row[2], row[6]), ("1", "alice", "cr", "0"), "{users}");
    assert_eq!(row[3], stream.local_addr().unwrap().to_string());
    let revoked = admin(&["revoke", "--project", "1", "--token-id", "one", "--expires", "1d"]);
    assert_eq!(revoked, "revoked; a session has ended\n");
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    assert!(said.windows(5).any(|part| part == b"crbye"));
    let counters = admin(&["counters", "--json"]);
    assert!(counters.contains("\"logins\":1"), "{counters}");
    running.signal("TERM");
    logs.push_str(&running.end().1);
    let (running, line) = Running::start(relay(&serve));
    let mut said = Vec::new();
    let _ = login(&line).read_to_end(&mut said);
    assert!(said.windows(7).any(|part| part == b"expired"), "{said:?}");
    running.signal("TERM");
    logs.push_str(&running.end().1);
    assert!(!logs.contains("hush") && !logs.contains(&token), "a secret in the log");
}

#[cfg(target_os = "linux")]
#[test]
fn a_relay_without_descriptors_refuses_and_goes_on_when_there_are_some() {
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_crvideo-relay");
    command.env_clear().args(["-c", "ulimit -n 256; exec \"$0\" \"$@\"", program, "--dev"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (running, line) = Running::start(command);
    let greeted = || {
        let mut stream = TcpStream::connect(value(&line, "listen")).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let mut out = OutQueue::default();
        out.quest(1, &Hello { lowest: 1, highest: 1, features: 0, agent: "test".into() });
        stream.write_all(&out.take()).is_ok() && stream.read_exact(&mut [0; 4]).is_ok()
    };
    let cycles = std::env::var("CRVIDEO_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    for _ in 0..cycles {
        let crowd: Vec<_> = (0..400).map(|_| TcpStream::connect(value(&line, "listen")).unwrap()).collect();
        // The last of them is told no at once; it does not wait for ever.
        let last = crowd.last().unwrap();
        last.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        match (&*last).read(&mut [0]) {
            Ok(count) => assert_eq!(count, 0),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
        drop(crowd);
        let start = std::time::Instant::now();
        while !greeted() {
            assert!(start.elapsed().as_secs() < 20, "it accepts nobody any more");
        }
    }
    running.signal("TERM");
    let (code, log) = running.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("cannot accept connections for now"), "{log}");
}

#[test]
#[cfg(unix)]
fn a_relay_without_a_descriptor_left_closes_who_comes_and_takes_in_the_next_one_when_there_is_room() {
    let mut command = Command::new("sh");
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.args(["-c", "ulimit -n 48; exec \"$0\" --dev"]).arg(env!("CARGO_BIN_EXE_crvideo-relay"));
    let (_running, line) = Running::start(command);
    let greeted = || {
        let mut stream = TcpStream::connect(value(&line, "listen")).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let mut out = OutQueue::default();
        out.quest(1, &Hello { lowest: 1, highest: 1, features: 0, agent: "test".into() });
        let _ = stream.write_all(&out.take());
        match stream.read(&mut [0; 4]) {
            Ok(4) => Some(stream),
            Ok(_) => None,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("a client waits for a relay that is full: {error}"),
        }
    };
    let mut served = Vec::new();
    while let Some(stream) = greeted() {
        served.push(stream);
        assert!(served.len() < 48, "the limit of descriptors does not hold");
    }
    assert!(!served.is_empty());
    for _ in 0..3 {
        assert!(greeted().is_none(), "nobody has gone");
    }
    served.clear();
    // A place is free a moment after its connection has gone.
    let start = std::time::Instant::now();
    while greeted().is_none() {
        assert!(start.elapsed() < std::time::Duration::from_secs(20), "nobody is taken in any more");
    }
}
