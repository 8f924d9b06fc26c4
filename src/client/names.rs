//! Names of servers, resolved on helper threads. Whoever has asked has a deadline of its own and gives up; a look-up
//! cannot be given up, so what matters here is that those which hang are few, and in nobody's way.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crvideo_proto::code;
use crvideo_proto::session::CONNECT_DEADLINE;

use super::Code;
use super::io::Link;
use super::pool::NAMES;

/// A look-up that takes longer is taken for one that hangs: whoever asks then gets another one, which may do better.
const PATIENCE: Duration = Duration::from_secs(CONNECT_DEADLINE.as_secs() / 2);
/// Look-ups of one name that run at a time: a name that hangs must leave threads to the others.
const LOOK_UPS_A_NAME: usize = 2;
/// Sessions that wait for names. Those that have given up count until the look-up ends.
const MAX_ASKERS: usize = 65_536;

/// Who waits for a name: a session's connection.
pub type Asker = (u64, Link);
/// Which port it wants to connect to, and the number of its attempt.
pub type Wish = (u16, u64);
/// Tells one asker, with the number of its attempt, what has been found.
pub type Tell = fn(Asker, u64, Vec<SocketAddr>);

/// One name under look-up.
struct LookUp {
    /// When the latest look-up of it began.
    began: Instant,
    running: usize,
    /// Each with its latest wish.
    askers: HashMap<Asker, Wish>,
}

static LOOK_UPS: Mutex<Option<HashMap<String, LookUp>>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<HashMap<String, LookUp>>> {
    LOOK_UPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes sure that names can be looked up at all.
pub fn ready() -> Result<(), Code> {
    NAMES.ready().map_err(|error| {
        log::error!("cannot start a thread that resolves names: {error}");
        code::NETWORK_INITFAILED
    })
}

/// Looks a name up, together with all others who wait for the same one; `tell` is called on a helper thread.
pub fn look_up(host: &str, asker: Asker, wish: Wish, tell: Tell) {
    let mut guard = lock();
    let look_ups = guard.get_or_insert_default();
    if look_ups.values().map(|look_up| look_up.askers.len()).sum::<usize>() >= MAX_ASKERS {
        log::warn!("too many sessions wait for names; {host:?} is not looked up");
        drop(guard);
        return NAMES.run(move || tell(asker, wish.1, Vec::new()));
    }
    let now = Instant::now();
    let look_up =
        look_ups.entry(host.to_owned()).or_insert_with(|| LookUp { began: now, running: 0, askers: HashMap::new() });
    look_up.askers.insert(asker, wish);
    let hangs = now.duration_since(look_up.began) >= PATIENCE;
    if look_up.running > 0 && !(hangs && look_up.running < LOOK_UPS_A_NAME) {
        return;
    }
    look_up.began = now;
    look_up.running += 1;
    drop(guard);
    let host = host.to_owned();
    NAMES.run(move || resolve(&host, tell));
}

fn resolve(host: &str, tell: Tell) {
    let found = (host, 0).to_socket_addrs();
    let addresses: Vec<SocketAddr> = found.map_or_else(
        |error| {
            log::warn!("cannot resolve {host:?}: {error}");
            Vec::new()
        },
        Iterator::collect,
    );
    for (asker, (port, attempt)) in answered(host) {
        let with_port = |mut address: SocketAddr| {
            address.set_port(port);
            address
        };
        tell(asker, attempt, addresses.iter().copied().map(with_port).collect());
    }
}

/// Takes out those who wait for a name.
fn answered(host: &str) -> HashMap<Asker, Wish> {
    let mut guard = lock();
    let look_ups = guard.get_or_insert_default();
    let Some(look_up) = look_ups.get_mut(host) else { return HashMap::new() };
    look_up.running = look_up.running.saturating_sub(1);
    let askers = std::mem::take(&mut look_up.askers);
    if look_up.running == 0 {
        look_ups.remove(host);
    }
    askers
}
