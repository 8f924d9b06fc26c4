//! Files from servers over real sockets: the token, the upload, the push, and the download.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod rtm;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crvideo_proto::rtm::code;
use crvideo_proto::rtm::sign::{FileHasher, file_sign};
use crvideo_relay::{BlockingRelay, Config};
use rtm::{Link, PATIENCE, Value, by_key, dev, frame, golden, ints, map_owned, relay, text};

type Params = Vec<(String, Value)>;

/// The five ways to send a file: the method, and the parameters that name the target.
fn kinds() -> [(&'static str, Params); 5] {
    let target = |key: &str, value: Value| vec![(key.to_owned(), value)];
    [
        ("sendfile", target("to", 200.into())),
        ("sendfiles", target("tos", ints(&[200, 201]))),
        ("sendgroupfile", target("gid", 300.into())),
        ("sendroomfile", target("rid", 400.into())),
        ("broadcastfile", Vec::new()),
    ]
}

fn to(user: i64) -> Params {
    vec![("to".to_owned(), user.into())]
}

/// A token, and where to send the file.
fn token(link: &mut Link, cmd: &str, target: &Params) -> (String, SocketAddr) {
    let mut params = vec![("from".to_owned(), 100.into()), ("cmd".to_owned(), cmd.into())];
    params.extend(target.clone());
    let answer = link.ask_owned_signed("filetoken", &params).unwrap();
    (text(&by_key(&answer, "token")), text(&by_key(&answer, "endpoint")).parse().unwrap())
}

fn sign(content: &[u8], token: &str) -> String {
    let mut hasher = FileHasher::default();
    hasher.update(content);
    file_sign(&hasher.finish(), token)
}

/// The parameters of a good upload.
fn upload(relay: &BlockingRelay, token: &str, target: &Params, content: &[u8]) -> Params {
    let attrs =
        format!(r#"{{"rtm":{{"sign":"{}","ext":"txt","filename":"报告"}},"custom":{{"k":1}}}}"#, sign(content, token));
    let fixed: [(&str, Value); 7] = [
        ("pid", relay.project().into()),
        ("token", token.into()),
        ("mtype", 50.into()),
        ("from", 100.into()),
        ("mid", 77.into()),
        ("file", content.to_vec().into()),
        ("attrs", attrs.as_str().into()),
    ];
    fixed.into_iter().map(|(key, value)| (key.to_owned(), value)).chain(target.iter().cloned()).collect()
}

fn with(mut params: Params, key: &str, value: impl Into<Value>) -> Params {
    params.retain(|(other, _)| other != key);
    params.push((key.to_owned(), value.into()));
    params
}

/// Somebody who hears everything.
fn listener(relay: &BlockingRelay) -> Link {
    let mut link = Link::open(relay);
    let all = ["p2p", "group", "room", "ev"].map(|key| (key, Value::Bool(true)));
    link.ask("setlisten", &all).unwrap();
    link
}

/// What a push says of its file: where it is.
fn path(push: &Value) -> String {
    let msg = text(&by_key(push, "msg"));
    let url = msg.split(r#""url":""#).nth(1).unwrap().split('"').next().unwrap();
    format!("/{}", url.splitn(4, '/').nth(3).unwrap())
}

fn get(relay: &BlockingRelay, path: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(relay.http_address().unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
    let status = std::str::from_utf8(&bytes[9..12]).unwrap().parse().unwrap();
    (status, bytes.split_off(end + 4))
}

/// Files below a directory.
fn count(path: &Path) -> usize {
    std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| if path.is_dir() { count(&path) } else { 1 })
        .sum()
}

/// Waits until a condition holds.
fn until(condition: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "it does not come true");
        std::thread::yield_now();
    }
}

#[test]
fn each_kind_of_file_reaches_its_listeners_and_can_be_downloaded() {
    let relay = dev();
    let mut link = Link::open(&relay);
    link.ask("addgroupmembers", &[("gid", 300.into()), ("uids", ints(&[200]))]).unwrap();
    link.ask("addroommember", &[("rid", 400.into()), ("uid", 200.into())]).unwrap();
    let mut hears = listener(&relay);
    for (method, target) in kinds() {
        let content = format!("content of {method}").into_bytes();
        let (token, endpoint) = token(&mut link, method, &target);
        assert_eq!(endpoint, relay.rtm_address().unwrap());
        let mut gate = Link::open_at(endpoint, &relay);
        let answer = gate.ask_owned(method, &upload(&relay, &token, &target, &content)).unwrap();
        let mtime = by_key(&answer, "mtime");
        let pushes = hears.pushes_so_far();
        let expected: &[(&str, &str, i64)] = match method {
            "sendfile" => &[("pushmsg", "to", 200)],
            "sendfiles" => &[("pushmsg", "to", 200), ("pushmsg", "to", 201)],
            "sendgroupfile" => &[("pushgroupmsg", "gid", 300)],
            "sendroomfile" => &[("pushroommsg", "rid", 400)],
            _ => &[],
        };
        assert_eq!(pushes.len(), expected.len(), "{method}: {pushes:?}");
        for ((name, push), (pushed, key, id)) in pushes.iter().zip(expected) {
            assert_eq!((name.as_str(), by_key(push, key).int()), (*pushed, *id));
            assert_eq!((by_key(push, "from").int(), by_key(push, "mid").int()), (100, 77));
            assert_eq!((by_key(push, "mtype").int(), by_key(push, "mtime")), (50, mtime.clone()));
            let attrs = r#"{"custom":{"k":1},"rtm":{"ext":"txt","filename":"报告"}}"#;
            assert_eq!(text(&by_key(push, "attrs")), attrs);
            let size = format!(r#""size":{}"#, content.len());
            assert!(text(&by_key(push, "msg")).contains(&size), "{push:?}");
            assert!(path(push).ends_with("/%E6%8A%A5%E5%91%8A.txt"), "{push:?}");
            assert_eq!(get(&relay, &path(push)), (200, content.clone()));
        }
        // All of them have the same address: it is stored once.
        assert!(pushes.windows(2).all(|two| path(&two[0].1) == path(&two[1].1)));
    }
}

#[test]
fn files_are_taken_on_a_listener_of_their_own_where_nothing_else_is_served() {
    let relay = relay(|config| config.rtm.files = Some("127.0.0.1:0".parse().unwrap()));
    let (token, endpoint) = token(&mut Link::open(&relay), "sendfile", &to(200));
    assert_eq!(endpoint, relay.rtm_files_address().unwrap());
    assert_ne!(endpoint, relay.rtm_address().unwrap());
    let mut gate = Link::open_at(endpoint, &relay);
    assert_eq!(gate.ask("gettoken", &[("uid", 7.into())]).unwrap_err().0, code::UNKNOWN_METHOD);
    gate.ask_owned("sendfile", &upload(&relay, &token, &to(200), b"x")).unwrap();
}

#[test]
fn each_fault_of_an_upload_has_its_code_and_the_connection_lives() {
    let relay = relay(|config| config.files.max_size = 1_000);
    let mut link = Link::open(&relay);
    let (token, _) = token(&mut link, "sendfile", &to(200));
    let good = || upload(&relay, &token, &to(200), b"x");
    let faults = [
        (with(good(), "pid", 12_345), code::BAD_ID, "project"),
        (with(good(), "token", "0".repeat(32).as_str()), code::BAD_FILE, "token"),
        (with(good(), "from", 101), code::BAD_FILE, "sender"),
        (with(good(), "to", 201), code::BAD_FILE, "target"),
        (with(good(), "mtype", 0), code::BAD_MTYPE, "mtype"),
        (with(good(), "mtype", 128), code::BAD_MTYPE, "mtype"),
        (with(good(), "mtype", 39), code::BAD_FILE_MTYPE, "mtype"),
        (with(good(), "mtype", 51), code::BAD_FILE_MTYPE, "mtype"),
        (with(good(), "file", b"y".to_vec()), code::BAD_FILE, "signature"),
        (with(good(), "file", Value::Bool(false)), code::WRONG_TYPE, "file"),
        (with(good(), "file", Value::Nil), code::MISSING, "file"),
        (with(good(), "file", vec![0; 1_001]), code::TOO_LARGE, "1000"),
        (with(good(), "file", vec![0; 900_000]), code::TOO_LARGE, "1000"),
        (with(good(), "attrs", "x".repeat(2_049).as_str()), code::TOO_LARGE, "attrs"),
        (with(good(), "attrs", "[1]"), code::BAD_PARAM, "attrs"),
        (with(good(), "attrs", Value::RawStr(vec![0xff])), code::WRONG_TYPE, "attrs"),
        (with(good(), "mid", "x"), code::WRONG_TYPE, "mid"),
    ];
    for (params, code, word) in faults {
        let (got, text) = link.ask_owned("sendfile", &params).unwrap_err();
        assert!(got == code && text.contains(word), "{got} {text:?} instead of {code} {word:?}");
    }
    for key in ["pid", "token", "from", "to", "mid", "mtype", "attrs", "file"] {
        let mut params = good();
        params.retain(|(other, _)| other != key);
        let (got, text) = link.ask_owned("sendfile", &params).unwrap_err();
        assert!(got == code::MISSING && text.contains(key), "{got} {text:?} without {key}");
    }
    let (got, text) = link.ask_owned("sendgroupfile", &with(good(), "gid", 200)).unwrap_err();
    assert!(got == code::BAD_FILE && text.contains("sendfile"), "{text}");
    assert!(link.ask_owned("sendfile", &good()).is_ok());
    let (got, text) = link.ask_owned("sendfile", &good()).unwrap_err();
    assert!(got == code::BAD_FILE && text.contains("used"), "{text}");
}

#[test]
fn a_file_for_a_group_without_members_is_refused_and_its_token_stays_good() {
    let directory = tempfile::tempdir().unwrap();
    let relay = relay(|config| config.data = Some(directory.path().to_owned()));
    let mut link = Link::open(&relay);
    let target = vec![("gid".to_owned(), Value::Int(300))];
    let (token, _) = token(&mut link, "sendgroupfile", &target);
    let params = upload(&relay, &token, &target, b"x");
    assert_eq!(link.ask_owned("sendgroupfile", &params).unwrap_err().0, code::GROUP_EMPTY);
    assert_eq!(count(&directory.path().join("files")), 0);
    link.ask("addgroupmembers", &[("gid", 300.into()), ("uids", ints(&[200]))]).unwrap();
    link.ask_owned("sendgroupfile", &params).unwrap();
    assert_eq!(count(&directory.path().join("files")), 1);
}

#[test]
fn tokens_of_real_sdks_requests_work_for_what_they_name_and_for_nothing_else() {
    // A captured request asks for a group under a name of its own, another one sends all targets at once.
    let relay = relay(|config| {
        config.projects[0].id = 11_000_001;
        config.projects[0].secrets = vec![rtm::SECRET.to_owned()];
        config.rtm.clock_window = std::time::Duration::from_secs(300_000_000);
    });
    for name in ["01-filetoken-quest-python", "03-filetoken-quest-node", "04-filetoken-quest-cpp-group"] {
        let mut link = Link::open(&relay);
        link.write(&golden(name));
        let answer = link.next().unwrap();
        assert_eq!(answer.status, 0, "{name}: {answer:?}");
        let (token, group) = (text(&by_key(&answer.value(), "token")), name.ends_with("group"));
        let target = if group { vec![("gid".to_owned(), Value::Int(300))] } else { to(200) };
        link.ask("addgroupmembers", &[("gid", 300.into()), ("uids", ints(&[200]))]).unwrap();
        let (method, other) = if group { ("sendgroupfile", "sendfile") } else { ("sendfile", "sendgroupfile") };
        let params = upload(&relay, &token, &target, b"x");
        let both = with(with(params.clone(), "to", 200), "gid", 300);
        assert_eq!(link.ask_owned(other, &both).unwrap_err().0, code::BAD_FILE, "{name}");
        link.ask_owned(method, &params).unwrap();
    }
}

#[test]
fn an_upload_cut_off_anywhere_leaves_nothing_and_its_token_good() {
    let directory = tempfile::tempdir().unwrap();
    let relay = relay(|config| config.data = Some(directory.path().to_owned()));
    let mut link = Link::open(&relay);
    let (token, _) = token(&mut link, "sendfile", &to(200));
    let content = vec![7; 900_000];
    let params = upload(&relay, &token, &to(200), &content);
    let bytes = frame(1, 0x80, 1, "sendfile", Some(1), &map_owned(&params));
    for cut in [5, 20, 40, bytes.len() / 2, bytes.len() - 1] {
        Link::open(&relay).write(&bytes[..cut]);
    }
    let files = directory.path().join("files");
    link.ask_owned("sendfile", &params).unwrap();
    until(|| count(&files) == 1);
}

#[test]
fn an_upload_may_trickle_in_beside_others_and_be_answered_in_order() {
    let relay = dev();
    let mut link = Link::open(&relay);
    let content = b"slowly".to_vec();
    let mut bytes = Vec::new();
    for seq in [10, 11] {
        let (token, _) = token(&mut link, "sendfile", &to(200));
        let params = upload(&relay, &token, &to(200), &content);
        bytes.extend(frame(1, 0x80, 1, "sendfile", Some(seq), &map_owned(&params)));
        bytes.extend(frame(0, 0x80, 1, "*ping", Some(seq + 10), &[0x80]));
    }
    let mut slow = Link::open(&relay);
    for byte in bytes {
        slow.write(&[byte]);
    }
    for seq in [10, 20, 11, 21] {
        let answer = slow.next().unwrap();
        assert_eq!((answer.seq, answer.status), (seq, 0), "{answer:?}");
    }
}

#[test]
fn files_and_what_is_known_of_them_outlive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let start = || relay(|config: &mut Config| config.data = Some(directory.path().to_owned()));
    let first = start();
    let mut hears = listener(&first);
    let mut link = Link::open(&first);
    let content: Vec<u8> = (0..700_000_u32).map(|at| (at % 241) as u8).collect();
    let (token, _) = token(&mut link, "sendfile", &to(200));
    link.ask_owned("sendfile", &upload(&first, &token, &to(200), &content)).unwrap();
    let path = path(&hears.push().1);
    first.kill();
    let second = start();
    assert!(get(&second, &path) == (200, content));
}

#[test]
fn without_http_files_are_refused_in_words_that_say_why() {
    let relay = relay(|config| config.http = None);
    let mut link = Link::open(&relay);
    let params = [("from", Value::Int(1)), ("cmd", "sendfile".into()), ("to", 2.into())];
    let (code, text) = link.ask("filetoken", &params).unwrap_err();
    assert!(code == code::NOT_ENABLED && text.contains("HTTP"), "{code} {text}");
    let (code, _) = link.ask_owned("sendfile", &upload(&relay, "t", &to(200), b"x")).unwrap_err();
    assert_eq!(code, code::NOT_ENABLED);
}

#[test]
fn a_file_in_chunks_goes_on_after_a_break_on_another_connection() {
    let relay = relay(|config| config.files.max_size = 1_000);
    let mut hears = listener(&relay);
    let mut link = Link::open(&relay);
    let content: Vec<u8> = (0..500_000_u32).map(|at| (at % 233) as u8).collect();
    let asked = [("from", Value::Int(100)), ("cmd", "sendfile".into()), ("to", 200.into())];
    let answer = link.ask("filetoken", &asked).unwrap();
    assert!(by_key(&answer, "chunked").int() >= 500_000);
    let token = text(&by_key(&answer, "token"));
    let mut begin = upload(&relay, &token, &to(200), &content);
    begin.retain(|(key, _)| ["pid", "from", "token", "to"].contains(&key.as_str()));
    begin.extend([("cmd".to_owned(), "sendfile".into()), ("size".to_owned(), (content.len() as i64).into())]);
    let begun = link.ask_owned("crupbegin", &begin).unwrap();
    let (id, max) = (by_key(&begun, "id"), by_key(&begun, "max").int() as usize);
    let data = |link: &mut Link, at: usize, bytes: &[u8]| {
        let params = [("id", id.clone()), ("o", Value::Int(at as i64)), ("d", bytes.to_vec().into())];
        by_key(&link.ask_plain("crupdata", &params).unwrap(), "o").int()
    };
    assert_eq!(data(&mut link, 0, &content[..max]), max as i64);
    drop(link);
    let mut link = Link::open(&relay);
    let mut at = data(&mut link, 0, &[]) as usize;
    assert_eq!(at, max);
    while at < content.len() {
        let end = content.len().min(at + max);
        assert_eq!(data(&mut link, at, &content[at..end]), end as i64);
        at = end;
    }
    let mut end = upload(&relay, &token, &to(200), &content);
    end.retain(|(key, _)| ["mtype", "mid", "attrs"].contains(&key.as_str()));
    end.push(("id".to_owned(), id.clone()));
    link.ask_owned("crupend", &end).unwrap();
    assert!(get(&relay, &path(&hears.push().1)) == (200, content));
}

#[test]
fn one_file_for_ten_thousand_users_is_stored_once() {
    let directory = tempfile::tempdir().unwrap();
    let relay = relay(|config| config.data = Some(directory.path().to_owned()));
    let mut link = Link::open(&relay);
    let mut hears = Link::open(&relay);
    hears.ask("setlisten", &[("uids", ints(&[1, 10_000]))]).unwrap();
    let users: Vec<i64> = (1..=10_000).collect();
    let target = vec![("tos".to_owned(), ints(&users))];
    let (token, _) = token(&mut link, "sendfiles", &target);
    link.ask_owned("sendfiles", &upload(&relay, &token, &target, b"x")).unwrap();
    let pushes = hears.pushes_so_far();
    assert_eq!(pushes.iter().map(|(_, push)| by_key(push, "to").int()).collect::<Vec<_>>(), [1, 10_000]);
    assert_eq!(count(&directory.path().join("files")), 1);
}

#[test]
fn programs_that_people_use_can_download() {
    let relay = dev();
    let mut hears = listener(&relay);
    let mut link = Link::open(&relay);
    let content: Vec<u8> = (0..300_000_u32).map(|at| (at % 239) as u8).collect();
    let (token, _) = token(&mut link, "sendfile", &to(200));
    link.ask_owned("sendfile", &upload(&relay, &token, &to(200), &content)).unwrap();
    let url = format!("http://{}{}", relay.http_address().unwrap(), path(&hears.push().1));
    let python = "import sys, urllib.request as r; \
                  a = r.urlopen(r.Request(sys.argv[1], headers={'Range': 'bytes=100-'})); \
                  assert a.status == 206; sys.stdout.buffer.write(a.read())";
    let directory = tempfile::tempdir().unwrap();
    let run = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).arg(&url).current_dir(directory.path()).output();
        // Where a program is missing there is nothing to try.
        output.ok().inspect(|output| assert!(output.status.success(), "{program}: {output:?}")).map(|it| it.stdout)
    };
    if let Some(got) = run("curl", &["-sS", "--fail", "--noproxy", "*"]) {
        assert!(got == content);
    }
    if run("curl", &["-sS", "--fail", "--noproxy", "*", "-C", "100", "-o", "rest"]).is_some() {
        assert!(std::fs::read(directory.path().join("rest")).unwrap() == content[100..]);
    }
    if let Some(got) = run("python3", &["-c", python]) {
        assert!(got == content[100..]);
    }
}

/// A small disk of its own; `None` where that is not allowed.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a Path, options: &str) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // Lazily, because the relay may still have a file open.
        let _ = Command::new("umount").arg("-l").arg(self.0).output();
    }
}

#[test]
fn a_full_disk_refuses_a_file_and_harms_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let files = directory.path().join("files");
    std::fs::create_dir(&files).unwrap();
    // Only root may mount; the refusal before the disk is full is tested without it.
    let Some(_disk) = SmallDisk::mount(&files, "size=1m") else { return };
    let relay = relay(|config| {
        config.data = Some(directory.path().to_owned());
        config.files.min_free_percent = 0;
    });
    let mut link = Link::open(&relay);
    let content = vec![1; 700_000];
    let quests = [0, 1, 2].map(|_| {
        let (token, _) = token(&mut link, "sendfile", &to(200));
        upload(&relay, &token, &to(200), &content)
    });
    let bytes = |at: usize| frame(1, 0x80, 1, "sendfile", Some(1), &map_owned(&quests[at]));
    // Each fits by itself and is let in; together they do not fit.
    let mut links = [Link::open(&relay), Link::open(&relay)];
    for (at, link) in links.iter_mut().enumerate() {
        link.write(&bytes(at)[..300_000]);
    }
    until(|| count(&files) == 2);
    for (at, link) in links.iter_mut().enumerate() {
        link.write(&bytes(at)[300_000..650_000]);
    }
    // The third is not let in.
    until(|| std::fs::read_dir(files.join("tmp")).unwrap().count() < 2 || on_disk(&files) > 512 * 1024);
    let (code, text) = link.ask_owned("sendfile", &quests[2]).unwrap_err();
    assert!(code == code::UNKNOWN && text.contains("disk is full"), "{code} {text}");
    let mut stored = 0;
    for (at, mut link) in links.into_iter().enumerate() {
        link.write(&bytes(at)[650_000..]);
        let answer = link.next().unwrap();
        match answer.status {
            0 => stored += 1,
            _ => assert!(text_of(&answer.value()).contains("disk is full"), "{answer:?}"),
        }
    }
    assert!(stored < 2);
    until(|| count(&files) == stored);
}

fn text_of(error: &Value) -> String {
    text(&by_key(error, "ex"))
}

/// Bytes below a directory.
fn on_disk(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    // What is listed may be gone a moment later.
    entries
        .map(|path| if path.is_dir() { on_disk(&path) } else { std::fs::metadata(path).map_or(0, |it| it.len()) })
        .sum()
}

/// A relay as a program of its own, so that its memory can be looked at. Ended with its test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    fn start(words: &[&str]) -> (Self, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crvideo-relay"));
        command.env_clear().args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (Self(child), line.trim_end().to_owned())
    }

    /// KiB by a line of the system's account of the process.
    #[cfg(target_os = "linux")]
    fn memory(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
    }
}

#[cfg(target_os = "linux")]
#[test]
fn many_uploads_at_once_take_little_memory_wherever_their_token_stands() {
    const UPLOADS: usize = 50;
    const LEN: usize = 2 * 1024 * 1024;
    const MOST_KIB: u64 = 64 * 1024;
    let (program, line) = Program::start(&["--dev", "--project", "1:a secret"]);
    let word = line.split(' ').find_map(|word| word.strip_prefix("rtm=")).unwrap();
    let address: SocketAddr = word.parse().unwrap();
    let embedded = dev();
    let send = |first: bool| {
        let mut link = Link::open_at(address, &embedded);
        let (token, _) = token(&mut link, "sendfile", &to(200));
        let mut params = upload(&embedded, &token, &to(200), &vec![5; LEN]);
        params.sort_by_key(|(key, _)| (key == "file") != first);
        link.ask_owned("sendfile", &params).unwrap();
    };
    send(true);
    let idle = program.memory("VmRSS");
    let all = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..UPLOADS).map(|at| scope.spawn(move || send(at % 2 == 0))).collect();
        threads.into_iter().all(|thread| thread.join().is_ok())
    });
    assert!(all);
    let peak = program.memory("VmHWM");
    assert!(peak < idle + MOST_KIB, "{idle} KiB idle, {peak} KiB at most");
}
