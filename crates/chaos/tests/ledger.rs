//! The ledger finds what it is there to find: faults are planted in notes that are good without them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::time::Duration;

use crvideo_chaos::journal::{Entry, Kind, Note, sha256};
use crvideo_chaos::ledger::{Holdings, Process, Report, check, check_rounds};
use crvideo_proto::id::TaskId;

const ALICE: u64 = 1;
const BOB: u64 = 2;

fn id(number: u8) -> TaskId {
    TaskId::from_bytes([number; 16])
}

fn sent(number: u8, kind: Kind, content: &[u8]) -> Note {
    let (size, sha, timeout) = (content.len() as u64, sha256(content), Duration::from_secs(5));
    Note::Sent { session: ALICE, task: id(number), kind, target: "bob".to_owned(), size, sha, timeout }
}

fn ended(number: u8, err: i32) -> Note {
    Note::Ended { session: ALICE, task: id(number), err }
}

fn progress(number: u8, sent: u64, total: u64) -> Note {
    Note::Progress { session: ALICE, task: id(number), sent, total }
}

fn delivered(number: u8, kind: Kind, content: &[u8]) -> Note {
    let (size, sha) = (content.len() as u64, sha256(content));
    Note::Delivered { session: BOB, source: "alice".to_owned(), task: id(number), kind, size, sha }
}

/// Two users at work: commands 1 and 2, buffer 3, buffer 4 that is cancelled.
fn good() -> Vec<Note> {
    vec![
        Note::Session { session: ALICE, project: 1, user: "alice".to_owned() },
        Note::Session { session: BOB, project: 1, user: "bob".to_owned() },
        sent(1, Kind::Command, b"one"),
        sent(2, Kind::Command, b"two"),
        delivered(1, Kind::Command, b"one"),
        ended(1, 0),
        delivered(2, Kind::Command, b"two"),
        ended(2, 0),
        sent(3, Kind::Buffer, b"three"),
        progress(3, 0, 5),
        progress(3, 5, 5),
        delivered(3, Kind::Buffer, b"three"),
        ended(3, 0),
        sent(4, Kind::Buffer, b"four"),
        Note::CancelCalled { session: ALICE, task: id(4) },
        Note::CancelEnded { session: ALICE, task: id(4), err: 0 },
        ended(4, 1105),
        Note::Destroyed { session: ALICE },
        Note::Destroyed { session: BOB },
    ]
}

fn judge(notes: Vec<Note>) -> Report {
    judge_at(notes.into_iter().map(|note| (0, note)).collect(), false)
}

fn judge_at(notes: Vec<(u64, Note)>, killed: bool) -> Report {
    let entries = notes.into_iter().map(|(at, note)| Entry { at: Duration::from_secs(at), note }).collect();
    check(&[Process { entries, killed, stopped: Duration::ZERO }], &BTreeSet::new())
}

fn is_found(report: &Report, rule: &str) {
    assert!(report.violations.iter().any(|it| it.contains(rule)), "{rule} is not found: {report}");
}

fn place(notes: &[Note], wanted: &Note) -> usize {
    notes.iter().position(|it| it == wanted).unwrap()
}

#[test]
fn good_notes_break_no_rule() {
    let report = judge(good());
    assert_eq!((report.violations.len(), report.tasks, report.delivered), (0, 4, 3), "{report}");
}

#[test]
fn a_final_event_that_is_missing_or_comes_twice_is_found() {
    let mut notes = good();
    notes.retain(|it| *it != ended(2, 0));
    is_found(&judge(notes), "I1");
    let mut notes = good();
    notes.insert(place(&notes, &ended(2, 0)), ended(2, 0));
    is_found(&judge(notes), "I1");
}

#[test]
fn an_end_after_the_deadline_is_found_and_one_that_the_machine_has_delayed_is_none() {
    let with = |stall: Option<u64>| {
        let mut notes: Vec<_> = good().into_iter().map(|note| (0, note)).collect();
        let at = notes.iter().position(|it| it.1 == ended(2, 0)).unwrap();
        if let Some(longest) = stall {
            notes.insert(at, (6, Note::Stalled { longest: Duration::from_secs(longest) }));
        }
        for note in notes.iter_mut().skip(at) {
            note.0 = 8;
        }
        judge_at(notes, false)
    };
    is_found(&with(None), "I1");
    assert!(with(Some(2)).violations.is_empty());
}

#[test]
fn a_transfer_has_its_time_once_more_when_all_of_it_is_confirmed_and_no_longer() {
    let ended_at = |seconds: u64| {
        let notes = vec![(0, sent(3, Kind::Buffer, b"three")), (0, progress(3, 0, 5)), (seconds, ended(3, 1107))];
        judge_at(notes, false)
    };
    assert!(ended_at(11).violations.is_empty());
    is_found(&ended_at(13), "I1");
}

#[test]
fn a_byte_that_has_changed_is_found() {
    let mut notes = good();
    let at = place(&notes, &delivered(3, Kind::Buffer, b"three"));
    notes[at] = delivered(3, Kind::Buffer, b"threE");
    is_found(&judge(notes), "I3");
}

#[test]
fn what_is_delivered_twice_or_not_at_all_or_although_it_failed_is_found() {
    let mut notes = good();
    notes.insert(5, delivered(1, Kind::Command, b"one"));
    is_found(&judge(notes), "I2");
    let mut notes = good();
    notes.retain(|it| *it != delivered(1, Kind::Command, b"one") && *it != Note::Destroyed { session: BOB });
    is_found(&judge(notes), "I2");
    let mut notes = good();
    let at = place(&notes, &ended(1, 0));
    notes[at] = ended(1, 1102);
    is_found(&judge(notes), "I2");
}

#[test]
fn a_success_without_a_delivery_is_excused_by_a_destroy_in_between_and_by_no_later_one() {
    let with_destroy_at = |called: u64| {
        let mut notes: Vec<_> = good().into_iter().map(|note| (10, note)).collect();
        notes.retain(|it| it.1 != delivered(1, Kind::Command, b"one") && !matches!(it.1, Note::Destroyed { .. }));
        notes.push((called, Note::DestroyCalled { session: BOB }));
        notes.push((called, Note::Destroyed { session: BOB }));
        judge_at(notes, false)
    };
    let excused = with_destroy_at(10);
    assert_eq!((excused.violations.len(), excused.discarded), (0, 1), "{excused}");
    is_found(&with_destroy_at(20), "I2");
}

#[test]
fn what_nobody_has_sent_is_found() {
    let mut notes = good();
    notes.insert(5, delivered(9, Kind::Command, b"nine"));
    is_found(&judge(notes), "I3");
}

#[test]
fn commands_in_another_order_are_found() {
    let mut notes = good();
    let (one, two) = (delivered(1, Kind::Command, b"one"), delivered(2, Kind::Command, b"two"));
    let (first, second) = (place(&notes, &one), place(&notes, &two));
    notes.swap(first, second);
    is_found(&judge(notes), "I4");
}

#[test]
fn a_callback_after_the_destroy_is_found() {
    let mut notes = good();
    notes.push(Note::Heard { session: BOB });
    is_found(&judge(notes), "I5");
}

#[test]
fn progress_that_goes_back_or_never_ends_is_found() {
    let mut notes = good();
    notes.insert(place(&notes, &ended(3, 0)), progress(3, 4, 5));
    is_found(&judge(notes), "I6");
    let mut notes = good();
    notes.retain(|it| *it != progress(3, 5, 5));
    is_found(&judge(notes), "I6");
}

#[test]
fn a_cancel_without_an_answer_or_against_the_end_is_found() {
    let mut notes = good();
    notes.retain(|it| !matches!(it, Note::CancelEnded { .. }));
    is_found(&judge(notes), "I7");
    let mut notes = good();
    let at = place(&notes, &ended(4, 1105));
    notes[at] = ended(4, 205);
    is_found(&judge(notes), "I7");
}

#[test]
fn what_reaches_another_project_or_user_is_found() {
    let mut notes = good();
    notes[1] = Note::Session { session: BOB, project: 2, user: "bob".to_owned() };
    is_found(&judge(notes), "I11");
    let mut notes = good();
    notes[1] = Note::Session { session: BOB, project: 1, user: "eve".to_owned() };
    is_found(&judge(notes), "I11");
}

#[test]
fn a_killed_sender_owes_no_end_and_a_living_one_does() {
    let notes = || good().into_iter().filter(|it| *it != ended(2, 0)).map(|note| (0, note)).collect::<Vec<_>>();
    assert!(judge_at(notes(), true).violations.is_empty());
    is_found(&judge_at(notes(), false), "I1");
}

#[test]
fn a_descriptor_and_a_mebibyte_that_leak_each_round_are_found() {
    let mut kept = Vec::new();
    let mut rounds = Vec::new();
    for _ in 0..6 {
        rounds.push(Holdings::of(None));
        kept.push((std::fs::File::open("/dev/null").unwrap(), vec![1u8; 1 << 20]));
    }
    let found = check_rounds(&rounds, 1, 512 * 1024);
    assert!(found.iter().any(|it| it.starts_with("I9")) && found.iter().any(|it| it.starts_with("I8")), "{found:?}");
    drop(kept);
    let still = vec![rounds[0]; 6];
    assert_eq!(check_rounds(&still, 1, 512 * 1024), Vec::<String>::new());
}
