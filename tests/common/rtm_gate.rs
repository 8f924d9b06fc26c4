//! An RTM gate of the test's own: it answers in the manner of a stock server, checks every signature, remembers what it
//! was asked, and makes the faults that it is told to make.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, reason = "each test program uses a part of it")]

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crvideo_proto::frame::{Frame, FrameReader, Kind};
use crvideo_proto::rtm::params::{Fields, Params};
use crvideo_proto::rtm::sign::{FileHasher, is_file_sign, is_request_sign};
use crvideo_proto::rtm::{answer, attrs::Attrs, code, error, quest};

/// Nothing that a test waits for takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// The project that every gate serves, and its secret.
pub const PROJECT: i64 = 11_000_001;
pub const SECRET: &str = "mock-secret-0000";
/// The token that is given for every file; the published example's.
pub const TOKEN: &str = "TOKEN0123456789ABCDEF";
/// The time that every message gets.
pub const MTIME: i64 = 1_795_293_738_123;

/// What a gate does instead of answering.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It closes the connection.
    Close,
    /// It says nothing.
    Silent,
    /// It answers with an error.
    Error(i32, &'static str),
    /// It answers with other parameters.
    Answer(Vec<(&'static str, &'static str)>),
    /// It sends bytes that are no answer.
    Bytes(Vec<u8>),
    /// It answers after a while.
    Slow(Duration),
}

/// What a gate was asked.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub params: Params,
    /// Counts connections, of both gates.
    pub connection: u64,
    /// Whether it came to the file gate.
    pub at_files: bool,
}

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    faults_by_method: HashMap<String, VecDeque<Fault>>,
    connections: u64,
    open: HashMap<u64, TcpStream>,
    listeners: BTreeMap<u64, TcpStream>,
    /// What the client has answered to pushes, by connection and sequence number.
    push_answers: Vec<Frame>,
    groups: BTreeMap<i64, BTreeSet<i64>>,
    rooms: BTreeMap<i64, BTreeSet<i64>>,
    endpoint: String,
    stopped: bool,
    /// Connections are closed as soon as they come.
    unwilling: bool,
    /// The file gate reads nothing once a connection has this many bytes.
    file_limit: Option<usize>,
}

/// A gate and its file gate.
pub struct Gate {
    pub address: SocketAddr,
    pub files: SocketAddr,
    shared: Arc<(Mutex<State>, Condvar)>,
}

type Shared = Arc<(Mutex<State>, Condvar)>;

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Gate {
    pub fn start() -> Self {
        let gate = TcpListener::bind("127.0.0.1:0").unwrap();
        let files = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, files_at) = (gate.local_addr().unwrap(), files.local_addr().unwrap());
        let shared: Shared = Arc::default();
        lock(&shared).endpoint = files_at.to_string();
        for (listener, at_files) in [(gate, false), (files, true)] {
            let shared = shared.clone();
            std::thread::spawn(move || accept(&listener, at_files, &shared));
        }
        Self { address, files: files_at, shared }
    }

    /// The next quest of this method meets a fault; faults of one method stand in line.
    pub fn fault(&self, method: &str, fault: Fault) {
        lock(&self.shared).faults_by_method.entry(method.to_owned()).or_default().push_back(fault);
    }

    /// Names this file gate from now on.
    pub fn name_file_gate(&self, endpoint: &str) {
        lock(&self.shared).endpoint = endpoint.to_owned();
    }

    /// The file gate closes a connection that has sent more than this.
    pub fn limit_files(&self, bytes: usize) {
        lock(&self.shared).file_limit = Some(bytes);
    }

    /// Connections are closed as soon as they come, or (false) served again.
    pub fn be_unwilling(&self, unwilling: bool) {
        lock(&self.shared).unwilling = unwilling;
    }

    /// Closes every connection.
    pub fn drop_connections(&self) {
        let mut state = lock(&self.shared);
        state.listeners.clear();
        for (_, stream) in state.open.drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How many connections have come so far, to both gates.
    pub fn connections(&self) -> u64 {
        lock(&self.shared).connections
    }

    /// Everything that was asked so far.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared).seen.clone()
    }

    /// Quests of one method so far.
    pub fn seen_of(&self, method: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.method == method).collect()
    }

    /// Waits until `count` quests of a method have come; the last of them.
    pub fn wait_for(&self, method: &str, count: usize) -> Seen {
        self.wait(|state| {
            let mut of = state.seen.iter().filter(|seen| seen.method == method);
            of.nth(count - 1).cloned()
        })
    }

    /// Waits until somebody listens on `count` connections.
    pub fn wait_for_listeners(&self, count: usize) {
        self.wait(|state| (state.listeners.len() == count).then_some(()));
    }

    /// Sends a quest to everybody who listens; returns what they answer.
    pub fn push(&self, method: &'static str, fields: Fields) -> Frame {
        self.push_without_waiting(method, fields);
        self.next_push_answer()
    }

    /// Sends a quest to everybody who listens.
    pub fn push_without_waiting(&self, method: &'static str, fields: Fields) {
        push(&mut lock(&self.shared), method, fields);
    }

    /// The answer to a push, in their order.
    pub fn next_push_answer(&self) -> Frame {
        self.wait(|state| (!state.push_answers.is_empty()).then(|| state.push_answers.remove(0)))
    }

    fn wait<T>(&self, mut found: impl FnMut(&mut State) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        let mut state = lock(&self.shared);
        loop {
            if let Some(found) = found(&mut state) {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            let methods: Vec<_> = state.seen.iter().map(|seen| seen.method.clone()).collect();
            assert!(!left.is_zero(), "it does not come; so far: {methods:?}");
            state = self.shared.1.wait_timeout(state, left).unwrap().0;
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        lock(&self.shared).stopped = true;
        self.drop_connections();
        // Both accept for the last time.
        for address in [self.address, self.files] {
            let _ = TcpStream::connect(address);
        }
    }
}

fn accept(listener: &TcpListener, at_files: bool, shared: &Shared) {
    loop {
        let (stream, _) = listener.accept().unwrap();
        let mut state = lock(shared);
        if state.stopped {
            return;
        }
        state.connections += 1;
        let connection = state.connections;
        if state.unwilling {
            continue;
        }
        state.open.insert(connection, stream.try_clone().unwrap());
        drop(state);
        let shared = shared.clone();
        std::thread::spawn(move || {
            serve(stream, connection, at_files, &shared);
            let mut state = lock(&shared);
            state.open.remove(&connection);
            state.listeners.remove(&connection);
            shared.1.notify_all();
        });
    }
}

fn serve(mut stream: TcpStream, connection: u64, at_files: bool, shared: &Shared) {
    stream.set_nodelay(true).unwrap();
    let mut reader = FrameReader::new(256 * 1024 * 1024);
    let mut buffer = vec![0; 64 * 1024];
    let mut read = 0;
    while let Ok(len @ 1..) = stream.read(&mut buffer) {
        read += len;
        if at_files && lock(shared).file_limit.is_some_and(|limit| read > limit) {
            return;
        }
        reader.feed(&buffer[..len]);
        while let Some(frame) = reader.next_frame().expect("the client sends sound frames") {
            if frame.kind == Kind::Answer {
                lock(shared).push_answers.push(frame);
                shared.1.notify_all();
                continue;
            }
            assert_eq!((frame.kind, frame.version, frame.flags), (Kind::Quest, 1, 0x80), "{frame:?}");
            let params = Params::of(&frame).expect("the client sends sound parameters");
            let method = frame.method().to_owned();
            let seen = Seen { method: method.clone(), params: params.clone(), connection, at_files };
            let fault = {
                let mut state = lock(shared);
                state.seen.push(seen);
                shared.1.notify_all();
                state.faults_by_method.get_mut(&method).and_then(VecDeque::pop_front)
            };
            // One group is a hole for the programs of tests/c.
            let hole = method == "getgroupcount" && params.int("gid") == Ok(404);
            let reply = match fault {
                _ if hole => continue,
                Some(Fault::Close) => return,
                Some(Fault::Silent) => continue,
                Some(Fault::Error(code, text)) => error(&frame, code, text),
                Some(Fault::Answer(pairs)) => {
                    let fields = pairs.iter().fold(Fields::new(), |fields, (key, value)| fields.text(key, value));
                    answer(&frame, fields)
                }
                Some(Fault::Bytes(bytes)) => {
                    let _ = stream.write_all(&bytes);
                    continue;
                }
                Some(Fault::Slow(pause)) => {
                    std::thread::sleep(pause);
                    reply(&frame, &params, at_files, connection, &stream, shared)
                }
                None => reply(&frame, &params, at_files, connection, &stream, shared),
            };
            let mut bytes = Vec::new();
            reply.encode(&mut bytes);
            if stream.write_all(&bytes).is_err() {
                return;
            }
        }
    }
}

fn reply(
    quest: &Frame,
    params: &Params,
    at_files: bool,
    connection: u64,
    stream: &TcpStream,
    shared: &Shared,
) -> Frame {
    let outcome = if at_files {
        file(quest.method(), params, shared)
    } else {
        signed(quest.method(), params).and_then(|()| handle(quest.method(), params, connection, stream, shared))
    };
    outcome.map_or_else(|(code, text)| error(quest, code, &text), |fields| answer(quest, fields))
}

type Refusal = (i32, String);

fn bad(error: crvideo_proto::rtm::params::ParamError) -> Refusal {
    (error.code(), error.to_string())
}

fn signed(method: &str, params: &Params) -> Result<(), Refusal> {
    if method == "*ping" {
        return Ok(());
    }
    let (pid, salt, ts): (i64, i64, i64) =
        (params.int("pid").map_err(bad)?, params.int("salt").map_err(bad)?, params.int("ts").map_err(bad)?);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    if (ts - now).abs() > 600 {
        return Err((code::BAD_TS, "the clocks differ".to_owned()));
    }
    let sign = params.text("sign").map_err(bad)?;
    let good = pid == PROJECT && is_request_sign(sign.as_bytes(), pid, [SECRET], salt, method, ts);
    if good { Ok(()) } else { Err((code::BAD_SIGN, "the signature is wrong".to_owned())) }
}

fn handle(
    method: &str,
    params: &Params,
    connection: u64,
    stream: &TcpStream,
    shared: &Shared,
) -> Result<Fields, Refusal> {
    let mut state = lock(shared);
    let fields = Fields::new();
    let int = |key| params.int::<i64>(key).map_err(bad);
    let ints = |key| params.ints(key, 100_000).map_err(bad);
    Ok(match method {
        "*ping" => fields.int("ts", MTIME),
        "filetoken" => {
            int("from")?;
            match params.text("cmd").map_err(bad)?.as_str() {
                "sendfile" => drop(int("to")?),
                "sendfiles" => drop(ints("tos")?),
                "sendgroupfile" => drop(int("gid")?),
                "sendroomfile" => drop(int("rid")?),
                "broadcastfile" => {}
                cmd => return Err((code::BAD_PARAM, format!("no cmd {cmd:?}"))),
            }
            fields.text("token", TOKEN).text("endpoint", &state.endpoint)
        }
        "sendmsg" | "sendmsgs" | "sendgroupmsg" | "sendroommsg" | "broadcastmsg" => {
            int("from")?;
            params.int::<i8>("mtype").map_err(bad)?;
            params.text("attrs").map_err(bad)?;
            fields.int("mtime", MTIME)
        }
        "setlisten" | "addlisten" | "removelisten" => {
            state.listeners.insert(connection, stream.try_clone().unwrap());
            shared.1.notify_all();
            fields
        }
        "gettoken" => fields.text("token", &format!("token of {}", int("uid")?)),
        "removetoken" | "kickout" => {
            int("uid")?;
            fields
        }
        "getonlineusers" => {
            let online: Vec<i64> = ints("uids")?.into_iter().filter(|uid| uid % 2 == 0).collect();
            fields.ints("uids", &online)
        }
        "addgroupmembers" => {
            state.groups.entry(int("gid")?).or_default().extend(ints("uids")?);
            fields
        }
        "delgroupmembers" => {
            let uids = ints("uids")?;
            state.groups.entry(int("gid")?).or_default().retain(|uid| !uids.contains(uid));
            fields
        }
        "delgroup" => {
            state.groups.remove(&int("gid")?);
            fields
        }
        "getgroupmembers" => fields.ints("uids", &members(&state.groups, int("gid")?)),
        "getgroupcount" => fields.int("cn", members(&state.groups, int("gid")?).len() as i64),
        "isgroupmember" => fields.bool("ok", members(&state.groups, int("gid")?).contains(&int("uid")?)),
        "getusergroups" => {
            let uid = int("uid")?;
            let of: Vec<i64> =
                state.groups.iter().filter(|(_, uids)| uids.contains(&uid)).map(|(gid, _)| *gid).collect();
            fields.ints("gids", &of)
        }
        "addroommember" => {
            state.rooms.entry(int("rid")?).or_default().insert(int("uid")?);
            fields
        }
        "delroommember" => {
            state.rooms.entry(int("rid")?).or_default().remove(&int("uid")?);
            fields
        }
        "getroommembers" => fields.ints("uids", &members(&state.rooms, int("rid")?)),
        "getroomcount" => {
            let count = |rid: i64| (rid.to_string(), members(&state.rooms, rid).len() as i64);
            let counts: Vec<_> = ints("rids")?.into_iter().map(count).collect();
            fields.int_by_text("cn", &counts)
        }
        method => return Err((code::UNKNOWN_METHOD, format!("Unknow method: {method}"))),
    })
}

fn members(of: &BTreeMap<i64, BTreeSet<i64>>, id: i64) -> Vec<i64> {
    of.get(&id).map(|uids| uids.iter().copied().collect()).unwrap_or_default()
}

/// The file gate: takes a file, and pushes it to everybody who listens.
fn file(method: &str, params: &Params, shared: &Shared) -> Result<Fields, Refusal> {
    let int = |key| params.int::<i64>(key).map_err(bad);
    if params.text("token").map_err(bad)? != TOKEN || int("pid")? != PROJECT {
        return Err((code::BAD_FILE, "the token is wrong".to_owned()));
    }
    let mtype = params.int::<i8>("mtype").map_err(bad)?;
    let content = params.bytes("file").map_err(bad)?;
    let attrs = Attrs::parse(&params.text("attrs").map_err(bad)?).ok_or((code::WRONG_TYPE, "attrs".to_owned()))?;
    let mut hasher = FileHasher::default();
    hasher.update(&content);
    if !is_file_sign(attrs.sign.as_deref().unwrap_or_default(), &hasher.finish(), TOKEN) {
        return Err((code::BAD_FILE, "the file's signature is wrong".to_owned()));
    }
    let pushes: Vec<(&str, &str, i64)> = match method {
        "sendfile" => vec![("pushmsg", "to", int("to")?)],
        "sendfiles" => params.ints("tos", 100_000).map_err(bad)?.into_iter().map(|to| ("pushmsg", "to", to)).collect(),
        "sendgroupfile" => vec![("pushgroupmsg", "gid", int("gid")?)],
        "sendroomfile" => vec![("pushroommsg", "rid", int("rid")?)],
        "broadcastfile" => vec![],
        method => return Err((code::UNKNOWN_METHOD, format!("Unknow method: {method}"))),
    };
    let msg = format!("{{\"url\":\"http://files.invalid/{}\",\"size\":{},\"surl\":\"\"}}", int("mid")?, content.len());
    for (method, key, target) in pushes {
        let fields = Fields::new().int("from", int("from")?).int(key, target).int("mid", int("mid")?);
        let fields = fields.int("mtype", mtype.into()).text("msg", &msg).text("attrs", &attrs.to_push());
        let fields = if key == "to" { fields } else { fields.int("to", target) };
        let method = if method == "pushmsg" {
            "pushmsg"
        } else if key == "gid" {
            "pushgroupmsg"
        } else {
            "pushroommsg"
        };
        push(&mut lock(shared), method, fields.int("mtime", MTIME));
    }
    Ok(Fields::new().int("mtime", MTIME))
}

fn push(state: &mut State, method: &'static str, fields: Fields) {
    let mut bytes = Vec::new();
    quest(77, method, fields).encode(&mut bytes);
    for stream in state.listeners.values_mut() {
        let _ = stream.write_all(&bytes);
    }
}
