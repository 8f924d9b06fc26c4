//! A session that is offered transfers, by incarnations that end and follow each other, and one that cancels what its
//! target cannot hear of (`docs/wire.md`, section 4.2).

use crvideo_proto::code;
use crvideo_proto::id::TaskId;
use crvideo_proto::message::{self as msg, Message, PeerState};
use crvideo_proto::session::{Event, Kind, Output, TransferCall};

use super::bench::{Bench, EPOCH};
use super::desk::{Verdict, must};

const BOB: u64 = 2_000;
const AFTER: u64 = 2_100;

pub(super) fn run() -> Verdict {
    own_epoch()?;
    incarnations()?;
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

/// A later incarnation offers the same once more: what the earlier one has begun makes room for it.
fn incarnations() -> Verdict {
    let mut bench = Bench::new(1 << 30)?;
    bench.from("bob", BOB, &offer());
    let (first, _) = sinks(&mut bench);
    bench.from("bob", AFTER, &offer());
    let (opened, aborted) = sinks(&mut bench);
    must(opened.is_empty() && aborted == first, || format!("a later offer opens {opened:?} and removes {aborted:?}"))?;
    bench.session.sink_aborted(first[0], bench.now);
    bench.look();
    let (opened, _) = sinks(&mut bench);
    must(opened.len() == 1, || format!("the later offer opens {opened:?} when there is room for it"))
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
