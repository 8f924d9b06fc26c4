//! The share of the scenarios that each change must pass. `cargo xtask chaos` runs as much of them as one likes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::path::Path;
use std::time::Duration;

use crvideo_chaos::{flips, full, herd, kills, power, store, storm, troubled};

#[test]
fn every_task_ends_once_and_as_said_through_300_cuts_of_the_links() {
    storm::cuts(1, 300).must_be_good();
}

#[test]
fn success_is_true_when_processes_are_killed() {
    let program = Path::new(env!("CARGO_BIN_EXE_crvideo-chaos"));
    kills::kills(5, 12, 5_000_000, program).must_be_good();
}

#[test]
fn content_that_changes_on_the_wire_is_always_noticed() {
    flips::content(1, 300).must_be_good();
}

#[test]
fn bits_that_change_on_the_wire_crash_nothing_and_leave_every_task_an_end() {
    flips::any_bit(1, 25).must_be_good();
}

#[test]
fn frames_that_come_twice_or_in_another_order_deliver_nothing_twice() {
    flips::frames(1, 300).must_be_good();
}

#[test]
fn a_relay_that_restarts_under_load_has_told_no_false_success() {
    storm::restarts(1, 2).must_be_good();
}

#[test]
fn a_relay_that_stands_still_costs_no_task_its_end() {
    storm::relay_stopped(1, 2, Duration::from_secs(4)).must_be_good();
}

#[test]
fn a_sender_or_receiver_that_stands_still_costs_no_task_its_end() {
    let program = Path::new(env!("CARGO_BIN_EXE_crvideo-chaos"));
    troubled::peers(1, 2, Duration::from_secs(4), None, program).must_be_good();
}

#[test]
fn a_herd_finds_its_relay_again_after_a_kill() {
    herd::relay_killed(1, 300, 1).must_be_good();
}

#[test]
fn lost_packets_and_resets_from_nowhere_cost_no_task_its_end() {
    if let Some(why) = storm::no_packets() {
        eprintln!("SKIPPED: no packets can be lost here: {why}");
        return;
    }
    let program = Path::new(env!("CARGO_BIN_EXE_crvideo-chaos"));
    storm::packets(1, Duration::from_secs(5), program).must_be_good();
}

#[test]
fn work_goes_on_when_processors_are_busy() {
    storm::starvation(1, Duration::from_secs(4)).must_be_good();
}

#[test]
fn a_wall_clock_that_jumps_ends_no_task() {
    let shim = Path::new("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1");
    if !shim.exists() {
        eprintln!("SKIPPED: {} is not there; install libfaketime to run this test", shim.display());
        return;
    }
    storm::clock_jumps(1, 3, shim).must_be_good();
}

#[test]
fn what_was_acknowledged_survives_whatever_call_of_the_store_fails_or_is_the_last() {
    store::faults(1, 1, 41).must_be_good();
}

#[test]
fn what_was_acknowledged_survives_a_loss_of_power_with_all_or_some_of_what_was_not_synced() {
    power::losses(1, 30).must_be_good();
}

#[test]
fn a_relay_whose_disk_is_full_refuses_what_needs_room_and_goes_on_when_there_is_some() {
    if let Some(why) = full::no_small_disk() {
        eprintln!("SKIPPED: no small disk can be had here: {why}");
        return;
    }
    full::disk(1).must_be_good();
}

#[test]
fn seeds_that_have_found_something_find_nothing_any_more() {
    let program = Path::new(env!("CARGO_BIN_EXE_crvideo-chaos"));
    for seed in crvideo_chaos::command::regressions("cuts") {
        storm::cuts(seed, 100).must_be_good();
    }
    for seed in crvideo_chaos::command::regressions("kills") {
        kills::kills(seed, 5, 1_000_000, program).must_be_good();
    }
    for seed in crvideo_chaos::command::regressions("mixed") {
        storm::mixed(seed, Duration::from_secs(15)).must_be_good();
    }
}
