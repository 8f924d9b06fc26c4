//! Runs scenarios; `cargo xtask chaos` and `cargo xtask soak` start it.

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let seed = words.get(1).and_then(|it| it.parse().ok()).unwrap_or_else(crvideo_chaos::rng::fresh_seed);
    let n: u64 = words.get(2).and_then(|it| it.parse().ok()).unwrap_or(100);
    use crvideo_chaos::storm;
    use std::time::Duration;
    let o = match words.first().map(String::as_str) {
        Some("cuts") => storm::cuts(seed, n),
        Some("restarts") => storm::restarts(seed, n),
        Some("stopped") => storm::relay_stopped(seed, n, Duration::from_secs(5)),
        Some("starvation") => storm::starvation(seed, Duration::from_secs(n)),
        Some("clock") => storm::clock_jumps(seed, n, "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1".as_ref()),
        _ => storm::mixed(seed, Duration::from_secs(n)),
    };
    println!("{o}");
}
