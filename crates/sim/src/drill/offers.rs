//! A session that is offered transfers, by incarnations that end and follow each other, and one that cancels what its
//! target cannot hear of (`docs/wire.md`, section 4.2).

use bytes::Bytes;
use crvideo_proto::code;
use crvideo_proto::id::TaskId;
use crvideo_proto::message::{self as msg, Message, PeerState};
use crvideo_proto::session::{Event, Kind, Output, TransferCall};

use super::bench::{Bench, EPOCH, frame_from};
use super::desk::{Verdict, must};

const BOB: u64 = 2_000;
const BETWEEN: u64 = 2_050;
const AFTER: u64 = 2_100;

pub(super) fn run() -> Verdict {
    own_epoch()?;
    own_epoch_while_one_waits()?;
    incarnations()?;
    cancels_of_incarnations()?;
    pieces()?;
    given_up_link()?;
    cancels()?;
    farewells()
}

fn offer() -> msg::Offer {
    msg::Offer { task: task(), kind: 1, name: String::new(), size: 9, repeated: false }
}

fn task() -> TaskId {
    TaskId::from_bytes([5; 16])
}

/// The sinks that a session has opened and wants removed since the last call.
fn sinks(bench: &mut Bench) -> (Vec<u64>, Vec<u64>) {
    let (mut opened, mut aborted) = (Vec::new(), Vec::new());
    for wish in bench.wishes.drain(..) {
        match wish {
            Output::OpenSink { id, .. } => opened.push(id),
            Output::AbortSink { id } => aborted.push(id),
            _ => {}
        }
    }
    (opened, aborted)
}

/// What was coming in ends with the session's own epoch.
fn own_epoch() -> Verdict {
    let mut bench = Bench::new(1 << 30)?;
    bench.from("bob", BOB, &offer());
    let (opened, aborted) = sinks(&mut bench);
    must(opened.len() == 1 && aborted.is_empty(), || format!("an offer opens {opened:?} and removes {aborted:?}"))?;
    bench.relink(EPOCH + 1)?;
    let (_, aborted) = sinks(&mut bench);
    must(aborted == opened, || format!("I9: of {opened:?} only {aborted:?} end with the epoch that they came to"))
}

/// So does an offer that waits for the end of an earlier incarnation's transfer.
fn own_epoch_while_one_waits() -> Verdict {
    let mut bench = Bench::new(1 << 30)?;
    bench.from("bob", BOB, &offer());
    bench.from("bob", AFTER, &offer());
    let (first, _) = sinks(&mut bench);
    bench.relink(EPOCH + 1)?;
    bench.session.sink_aborted(first[0], bench.now);
    bench.look();
    let (opened, _) = sinks(&mut bench);
    must(opened.is_empty(), || format!("what was offered to an epoch that has ended opens {opened:?}"))
}

/// Bytes that come twice, cut into other pieces, are taken once.
fn pieces() -> Verdict {
    const SENT: &[u8; 9] = b"123456789";
    let mut bench = Bench::new(1 << 30)?;
    bench.from("bob", BOB, &offer());
    for (from, to) in [(0, 4), (2, 6), (4, 9)] {
        let data = msg::Data { task: task(), offset: from as u64, data: Bytes::from_static(&SENT[from..to]) };
        bench.from("bob", BOB, &data);
    }
    let pieces =
        bench.wishes.drain(..).filter_map(|it| if let Output::Write { data, .. } = it { Some(data) } else { None });
    let taken: Vec<u8> = pieces.flatten().collect();
    must(taken == SENT, || format!("I3: of {SENT:?} these are taken: {taken:?}"))
}

/// What a connection has brought that is given up since is not heard, nor is a part of it taken for the beginning of what
/// the next one brings.
fn given_up_link() -> Verdict {
    let mut bench = Bench::new(1 << 30)?;
    bench.break_link();
    let frame = frame_from("bob", BOB, &offer());
    bench.feed_bytes(&frame);
    bench.feed_bytes(&frame[..frame.len() / 2]);
    let (opened, _) = sinks(&mut bench);
    must(opened.is_empty(), || format!("an offer on a connection that is given up opens {opened:?}"))?;
    bench.link(EPOCH, true)
}

/// A later incarnation offers the same once more: what the earlier one has begun makes room for it.
fn incarnations() -> Verdict {
    let mut bench = Bench::new(1 << 30)?;
    bench.from("bob", BOB, &offer());
    let (first, _) = sinks(&mut bench);
    bench.from("bob", AFTER, &offer());
    let (opened, aborted) = sinks(&mut bench);
    must(opened.is_empty() && aborted == first, || format!("a later offer opens {opened:?} and removes {aborted:?}"))?;
    // One of an incarnation between the two comes late.
    bench.from("bob", BETWEEN, &offer());
    bench.session.sink_aborted(first[0], bench.now);
    bench.look();
    let (opened, _) = sinks(&mut bench);
    must(opened.len() == 1, || format!("the later offer opens {opened:?} when there is room for it"))?;
    // What followed it meanwhile has been dropped.
    let told = bench.sent::<msg::Go>();
    must(told.len() == 1 && told[0].0 == AFTER && told[0].1.offset == 0, || {
        format!("a sender whose offer had to wait is told {told:?}")
    })
}

/// A cancel is about the transfer of its own incarnation; one whose offer has not come yet is remembered.
fn cancels_of_incarnations() -> Verdict {
    const NEXT: u64 = AFTER + 1;
    let cancel = msg::Cancel { task: task(), code: code::SEND_CANCELLED.into() };
    let mut bench = Bench::new(1 << 30)?;
    bench.from("bob", AFTER, &offer());
    let (first, _) = sinks(&mut bench);
    bench.from("bob", BOB, &cancel);
    let (_, aborted) = sinks(&mut bench);
    must(aborted.is_empty(), || "I2: an earlier incarnation's cancel ends a later one's transfer".to_owned())?;
    bench.from("bob", NEXT, &cancel);
    bench.from("bob", AFTER, &cancel);
    bench.session.sink_aborted(first[0], bench.now);
    bench.look();
    bench.from("bob", NEXT, &offer());
    let (opened, _) = sinks(&mut bench);
    must(opened.is_empty(), || "a cancel that came before its offer is forgotten".to_owned())?;

    let mut bench = Bench::new(1 << 30)?;
    bench.from("bob", BOB, &offer());
    let (first, _) = sinks(&mut bench);
    bench.from("bob", AFTER, &offer());
    bench.from("bob", AFTER, &cancel);
    bench.session.sink_aborted(first[0], bench.now);
    bench.look();
    let (opened, _) = sinks(&mut bench);
    must(opened.is_empty(), || "an offer that waited is heard although it has been cancelled".to_owned())
}

/// A transfer that its target has been offered.
fn offered() -> Result<Bench, String> {
    let mut bench = Bench::new(1 << 30)?;
    bench.link_bulk()?;
    let (target, name) = ("bob".into(), String::new());
    let call = TransferCall { target, task: task(), kind: Kind::Buffer, name, size: 9, timeout: None, cookie: 1 };
    bench.session.send_transfer(call, bench.now);
    bench.look();
    bench.found("bob", BOB, PeerState::On)?;
    bench.look();
    let offers = bench.taken(msg::Offer::METHOD).len();
    must(offers == 1, || format!("a transfer is offered {offers} times"))?;
    Ok(bench)
}

/// A cancel of which the target cannot hear is answered at once.
fn cancels() -> Verdict {
    let mut bench = offered()?;
    bench.session.cancel_send(task(), 7);
    bench.look();
    let asked = bench.sent::<msg::Cancel>().len();
    must(asked == 1, || format!("a target is told {asked} times that a transfer is cancelled"))?;
    bench.news("bob", BOB, PeerState::Away);
    let told = |it: &Event| matches!(it, Event::CancelRslt { err: code::CONNECTIONLOST, cookie: 7, .. });
    must(bench.events.iter().any(told), || "I7: nobody says that a cancel could not be delivered".to_owned())
}

/// That a transfer has ended is said to the incarnation that it was offered to, and to no other.
fn farewells() -> Verdict {
    let mut bench = offered()?;
    bench.session.source_failed(task(), code::SENDFILE_FILEINERROR, bench.now);
    bench.look();
    let told = bench.sent::<msg::Cancel>();
    must(told.len() == 1 && told[0].0 == BOB, || format!("the end of a transfer is told {told:?}"))?;
    bench.news("bob", AFTER, PeerState::On);
    let told = bench.sent::<msg::Cancel>();
    must(told.is_empty(), || format!("another incarnation is told {told:?}"))
}
