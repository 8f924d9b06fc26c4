//! Instructions of the smallest pieces of work: the codec, a command there and back without sockets, the event queue.
//! `cargo xtask bench micro` runs this; docs/performance.md tells how.
#![allow(missing_docs)] // The macros make public items of their own.

use std::hint::black_box;

use bytes::Bytes;
use crvideo::client::micro::Events;
use crvideo_micro::Exchange;
use crvideo_proto::frame::{FrameReader, SESSION_LIMIT};
use crvideo_proto::id::TaskId;
use crvideo_proto::message::{Address, Body, Command};
use crvideo_proto::out::OutQueue;
use gungraun::prelude::*;

fn command(bytes: usize) -> Command {
    let data = Bytes::from(vec![b'x'; bytes]);
    let (position, base, settled) = (4_000_000_000, 3_999_000_000, 3_999_000_000);
    Command { position, base, settled, task: TaskId::from_bytes([7; 16]), chosen: false, data }
}

fn encoded(bytes: usize) -> Vec<u8> {
    let mut out = OutQueue::default();
    out.routed("bob", 12_345_678, &command(bytes));
    out.take()
}

fn exchange() -> Exchange {
    // Whoever counts has nobody to report to; a broken exchange shows as a count of 0.
    Exchange::new().unwrap_or_else(|trouble| panic!("the exchange did not begin: {trouble:?}"))
}

fn events() -> Events {
    Events::new().unwrap_or_else(|error| panic!("there is no event queue: {error}"))
}

#[library_benchmark]
#[bench::of_100_bytes(command(100))]
#[bench::of_64_kib(command(65_536))]
fn encode(command: Command) -> OutQueue {
    let mut out = OutQueue::default();
    out.routed("bob", 12_345_678, black_box(&command));
    out
}

#[library_benchmark]
#[bench::of_100_bytes(encoded(100))]
#[bench::of_64_kib(encoded(65_536))]
fn decode(bytes: Vec<u8>) -> (u64, Command) {
    let mut reader = FrameReader::new(SESSION_LIMIT);
    reader.feed(black_box(&bytes));
    let frame = reader.next_frame().ok().flatten();
    let payload = frame.map(|frame| frame.payload).unwrap_or_default();
    let address = Address::to(&payload).map(|address| address.epoch);
    match (address, Command::read(&payload)) {
        (Ok(epoch), Ok(command)) => (epoch, command),
        (address, command) => panic!("not read: {address:?}, {command:?}"),
    }
}

// Two sessions and the relay's core.
#[library_benchmark]
#[bench::one_in_flight(exchange(), 1, 100)]
#[bench::sixty_four_in_flight(exchange(), 64, 100)]
#[bench::fifteen_of_64_kib(exchange(), 15, 65_536)]
fn there_and_back(mut exchange: Exchange, count: usize, bytes: usize) -> Exchange {
    assert_eq!(exchange.commands(black_box(count), bytes), Ok(count));
    exchange
}

#[library_benchmark]
#[bench::one(events(), 1)]
#[bench::sixty_four(events(), 64)]
fn pass_events(events: Events, count: usize) -> Events {
    assert_eq!(events.pass(black_box(count)), count);
    events
}

library_benchmark_group!(name = codec, benchmarks = [encode, decode]);
library_benchmark_group!(name = session, benchmarks = there_and_back);
library_benchmark_group!(name = queue, benchmarks = pass_events);

// The same build counts the same within a thousandth; only hash maps differ, by their seeds.
main!(library_benchmark_groups = [codec, session, queue]);
