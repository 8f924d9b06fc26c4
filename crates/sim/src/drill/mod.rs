//! Drills: situations that three users and chance hardly bring about, played move by move with one machine alone, and
//! judged by what `docs/wire.md` says. They draw nothing from a run's own numbers.
//!
//! * `desk`: a relay's core and clients that say what a drill wants. `logins`: who may come back as whom.
//!   `peers`: what sessions hear of each other. `queues`: who must wait, and who may go on.
//! * `bench`: a session and a relay that says what a drill wants. `senders`, `receivers`: commands, both ways.
//!   `offers`: transfers.

mod bench;
mod desk;
mod logins;
mod offers;
mod peers;
mod queues;
mod receivers;
mod senders;

/// One seed in so many also does a drill.
const EVERY: u64 = 16;

/// The drill of a seed; what it found wrong.
pub(crate) fn of(seed: u64) -> Option<String> {
    if !seed.is_multiple_of(EVERY) {
        return None;
    }
    let drills = [logins::run, peers::run, queues::run, senders::run, receivers::run, offers::run];
    drills[(seed / EVERY) as usize % drills.len()]().err()
}
