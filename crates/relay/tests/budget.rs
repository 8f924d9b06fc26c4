//! What the core is charged for is what the allocator has given it: any traffic, clients that stop reading and go on,
//! connections that come and go.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::frame::{FrameReader, Kind, SESSION_LIMIT};
use crvideo_proto::id::TaskId;
use crvideo_proto::message::{self as msg, Body, Message, read_answer};
use crvideo_proto::out::OutQueue;
use crvideo_proto::token;
use crvideo_relay::GuardSettings;
use crvideo_relay::core::{ConnectionId, Core, Epochs, Now, Output, Settings, Tenant};

/// Counts what this thread has and has not given back.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that is ending has no counter any more.
    let _ = LIVE.try_with(|live| live.set(live.get() + bytes));
}

// SAFETY: all memory comes from the system's allocator, which gets exactly what was asked for; counting allocates
// nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract, which is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the pointer is one that `alloc` has given for this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const SECRET: &str = "secret";
const START: u64 = 1_000_000_000_000_000;
const USERS: usize = 12;
const STEPS: usize = 4_000;
/// How often it is compared.
const EVERY: usize = 100;
/// Less memory than this is not compared: names and sets of senders who wait would count for too much of it.
const ENOUGH: u64 = 1_000_000;

/// Random numbers that repeat (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

/// A connection as the relay's shell has it.
struct Socket {
    id: ConnectionId,
    reader: FrameReader,
    taken: OutQueue,
    stuck: bool,
}

struct User {
    name: String,
    epoch: u64,
    ticket: [u8; 16],
    command: Socket,
    bulk: Socket,
}

struct World {
    core: Core,
    now: Now,
    seq: u32,
}

impl World {
    fn new() -> Self {
        let settings = Settings {
            max_connections: 1_000,
            max_before_login: 1_000,
            login_deadline: Duration::from_secs(10),
            heartbeat: Duration::from_secs(20),
            resume_window: Duration::from_secs(60),
            startup_grace: Duration::ZERO,
            stall_timeout: Duration::from_secs(30),
            command_queue: 64 * 1024,
            bulk_queue: 2 * 1024 * 1024,
            guard: GuardSettings::default(),
        };
        let tenant = Tenant { id: 1, secrets: vec![SECRET.into()], max_file: 0 };
        let mut drawn = 0u128;
        let random = move || {
            drawn += 1;
            Some(drawn.to_be_bytes())
        };
        let core = Core::new(settings, vec![tenant], Epochs::by_clock(START), Box::new(random));
        Self { core, now: Now { at: Duration::ZERO, unix_micros: START }, seq: 0 }
    }

    fn open(&mut self) -> Socket {
        let id = self.core.opened(self.now).unwrap();
        let reader = FrameReader::new(SESSION_LIMIT).keep_apart();
        Socket { id, reader, taken: OutQueue::default(), stuck: false }
    }

    /// Bytes have come on a socket.
    fn feed(&mut self, socket: &mut Socket, bytes: &[u8]) {
        socket.reader.feed(bytes);
        while let Some(frame) = socket.reader.next_frame().unwrap() {
            self.core.frame(socket.id, &frame, self.now);
        }
        self.core.take_woken();
    }

    /// The socket takes up to `most` bytes.
    fn write(&mut self, socket: &mut Socket, most: usize) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            if socket.taken.is_empty() {
                match self.core.flush(socket.id, 0, self.now) {
                    Output::Write(out) => socket.taken = out,
                    _ => break,
                }
            }
            let mut slices = [std::io::IoSlice::new(&[]); 8];
            let count = socket.taken.slices(&mut slices);
            let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
            let count = bytes.len().min(most - all.len());
            if count == 0 {
                break;
            }
            all.extend_from_slice(&bytes[..count]);
            socket.taken.advance(count);
            if let Output::Write(out) = self.core.flush(socket.id, count, self.now) {
                socket.taken = out;
            }
        }
        self.core.take_woken();
        all
    }

    fn ask<M: Message, A: Body>(&mut self, socket: &mut Socket, message: &M) -> A {
        self.seq += 1;
        let mut out = OutQueue::default();
        out.quest(self.seq, message);
        self.feed(socket, &out.take());
        let mut answers = FrameReader::new(SESSION_LIMIT);
        answers.feed(&self.write(socket, usize::MAX));
        while let Some(frame) = answers.next_frame().unwrap() {
            if frame.kind == Kind::Answer && frame.seq == self.seq {
                return read_answer(&frame).unwrap().unwrap();
            }
        }
        panic!("no answer to {}", M::METHOD)
    }

    fn hello(&mut self) -> Socket {
        let mut socket = self.open();
        let hello = msg::Hello { lowest: 1, highest: 1, features: 0, agent: "test".into() };
        let _: msg::HelloAnswer = self.ask(&mut socket, &hello);
        socket
    }

    fn bulk(&mut self, ticket: &mut [u8; 16]) -> Socket {
        let mut bulk = self.hello();
        let answer: msg::BulkAnswer = self.ask(&mut bulk, &msg::Bulk { ticket: *ticket, lost: None });
        *ticket = answer.ticket;
        bulk
    }

    fn login(&mut self, number: usize) -> User {
        let name = format!("user{number}");
        let mut command = self.hello();
        let token = token::mint(1, &name, START / 1_000_000 + 3_600, SECRET);
        let session = (number as u128 + 1).to_le_bytes();
        let login = msg::Login { project: 1, user: name.clone(), token, session, epoch: 0 };
        let answer: msg::LoginAnswer = self.ask(&mut command, &login);
        let mut ticket = answer.ticket;
        let bulk = self.bulk(&mut ticket);
        User { name, epoch: answer.epoch, ticket, command, bulk }
    }
}

/// Memory of everything that is under way, as it is charged: in the core, and in the hands of the shell.
fn charged(world: &World, users: &[User]) -> u64 {
    let sockets = users.iter().flat_map(|user| [&user.command, &user.bulk]);
    let here: usize = sockets.map(|socket| socket.reader.memory() + socket.taken.memory()).sum();
    world.core.memory_used() + here as u64
}

fn sockets(user: &mut User) -> [&mut Socket; 2] {
    [&mut user.command, &mut user.bulk]
}

/// A routed message: small ones together, pieces of files of many sizes, or an unfinished one.
fn traffic(dice: &mut Dice, to: &User, bulk: bool) -> Vec<u8> {
    let mut out = OutQueue::default();
    let task = TaskId::from_bytes([1; 16]);
    for _ in 0..=dice.below(20) {
        if bulk {
            let len = [10, 3_000, 5_000, 30_000, 131_072][dice.below(5)];
            out.routed(&to.name, to.epoch, &msg::Data { task, offset: 0, data: Bytes::from(vec![7; len]) });
        } else {
            out.routed(&to.name, to.epoch, &msg::Confirm { task, offset: 1, limit: 9 });
        }
    }
    out.take()
}

#[test]
fn what_is_charged_is_what_the_allocator_has_given_and_nothing_when_all_is_quiet() {
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let mut world = World::new();
    let mut users: Vec<User> = (0..USERS).map(|number| world.login(number)).collect();
    for one in 0..USERS {
        for other in 0..USERS {
            let name = users[other].name.clone();
            let _: msg::FindAnswer = world.ask(&mut users[one].command, &msg::Find { user: name });
        }
    }
    assert_eq!(charged(&world, &users), 0);
    let quiet = LIVE.get();
    let (mut compared, mut highest) = (0, 0);
    for step in 0..STEPS {
        let (from, to) = (dice.below(USERS), dice.below(USERS));
        let bulk = dice.below(3) > 0;
        match dice.below(16) {
            0 => {
                let socket = if bulk { &mut users[to].bulk } else { &mut users[to].command };
                socket.stuck = !socket.stuck;
            }
            1 => {
                // A link is lost, and what was on its way with it.
                world.core.lost(users[to].bulk.id, world.now);
                world.core.take_woken();
                let mut ticket = users[to].ticket;
                users[to].bulk = world.bulk(&mut ticket);
                users[to].ticket = ticket;
            }
            2..=4 => {
                let most = dice.below(300_000);
                let mut user = users.swap_remove(to);
                for socket in [&mut user.command, &mut user.bulk] {
                    if !socket.stuck {
                        world.write(socket, most);
                    }
                }
                users.push(user);
            }
            _ => {
                let bytes = traffic(&mut dice, &users[to], bulk);
                let mut user = users.swap_remove(from);
                let socket = if bulk { &mut user.bulk } else { &mut user.command };
                // Any number of pieces, as reads give them.
                let cut = dice.below(bytes.len());
                for piece in bytes[..cut].chunks(65_536).chain(bytes[cut..].chunks(65_536)) {
                    world.feed(socket, piece);
                }
                users.push(user);
            }
        }
        if step % EVERY != 0 {
            continue;
        }
        let (charged, live) = (charged(&world, &users), (LIVE.get() - quiet) as u64);
        highest = highest.max(charged);
        if charged > ENOUGH {
            compared += 1;
            let off = charged.abs_diff(live) as f64 / live as f64;
            assert!(off <= 0.05, "step {step}: {charged} bytes are charged, and {live} are in use");
        }
    }
    assert!(compared > STEPS / EVERY / 2 && highest > 10 * ENOUGH, "too little was tried: {compared}, {highest}");
    // With the next small message no reader expects large ones any more, and keeps no buffers for them.
    for at in 0..users.len() {
        for bulk in [false, true] {
            let bytes = traffic(&mut dice, &users[(at + 1) % USERS], false);
            let socket = if bulk { &mut users[at].bulk } else { &mut users[at].command };
            world.feed(socket, &bytes);
        }
    }
    // What one takes is news for those who waited for that.
    while charged(&world, &users) > 0
        && !users.iter_mut().flat_map(sockets).all(|it| world.write(it, usize::MAX).is_empty())
    {}
    assert_eq!(charged(&world, &users), 0, "nothing waits any more");
    for user in &users {
        world.core.lost(user.command.id, world.now);
        world.core.lost(user.bulk.id, world.now);
    }
    world.core.take_woken();
    assert_eq!(world.core.memory_used(), 0);
}
