//! Versions below which a dependency had a fault that matters here. They hold for whatever of these crates is present.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

/// Crate, first good version, and the fault before it. Each number is that of the advisory, as it stands in the RustSec
/// database (https://rustsec.org/advisories/), where a crate with several has the latest one. A crate may stand here once
/// for each series that was mended. SQLite's is the first release that brings SQLite 3.54.1, by https://github.com/ThirtyFile/ThirtyFile/releases/tag/v1.0.3.
const FLOORS: [(&str, [u64; 3], &str); 16] = [
    ("rustls", [0, 23, 45], "RUSTSEC-2026-0285: handshake messages were taken that should have been encrypted"),
    ("rustls-webpki", [0, 103, 13], "RUSTSEC-2026-0104: a panic in revocation lists (0098, 0099: name constraints)"),
    ("ring", [0, 17, 12], "RUSTSEC-2025-0009: a panic where overflows are checked"),
    ("crossbeam-channel", [0, 5, 15], "RUSTSEC-2025-0024: a double free when a channel is dropped"),
    ("tokio", [1, 44, 2], "RUSTSEC-2025-0023: a broadcast channel called clone from two threads"),
    ("mio", [0, 8, 11], "RUSTSEC-2024-0019: events of closed named pipes"),
    ("bytes", [1, 11, 1], "RUSTSEC-2026-0007: reserving could overflow"),
    ("slab", [0, 4, 11], "RUSTSEC-2025-0047: access beyond the end"),
    ("rand", [0, 8, 6], "RUSTSEC-2026-0097: unsound with a logger that draws numbers"),
    ("rand", [0, 9, 3], "RUSTSEC-2026-0097: unsound with a logger that draws numbers"),
    ("h2", [0, 4, 16], "RUSTSEC-2026-0258: empty frames without end took memory (2024-0332: the processor)"),
    ("axum-core", [0, 3, 0], "RUSTSEC-2022-0055: bodies had no limit"),
    ("tungstenite", [0, 20, 1], "RUSTSEC-2023-0065: a long header kept the processor busy"),
    ("time", [0, 3, 47], "RUSTSEC-2026-0009: a stack that was used up"),
    ("tracing-subscriber", [0, 3, 20], "RUSTSEC-2025-0055: escape sequences of strangers reached the terminal"),
    ("libsqlite3-sys", [0, 39, 1], "RUSTSEC-2026-0459: SQLite before 3.54.1 (CVE-2025-6965: before 3.50.2)"),
];

fn version(text: &str) -> [u64; 3] {
    let mut numbers = text.split(['.', '-', '+']).map(|part| part.parse().unwrap_or(0));
    [0; 3].map(|_: u64| numbers.next().unwrap_or(0))
}

/// Crates and versions of a lock file.
fn locked(lock: &str) -> Vec<(&str, [u64; 3])> {
    lock.split("[[package]]")
        .filter_map(|part| {
            let of = |key: &str| part.lines().find_map(|line| Some(line.strip_prefix(key)?.trim_matches('"')));
            Some((of("name = ")?, version(of("version = ")?)))
        })
        .collect()
}

fn below_its_floor(lock: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (name, present) in locked(lock) {
        let floors = || FLOORS.iter().filter(|(of, ..)| *of == name);
        let mended_in_its_series = floors().any(|(_, floor, _)| floor[..2] == present[..2] && present >= *floor);
        if let Some((_, floor, fault)) = floors().max_by_key(|(_, floor, _)| floor)
            && present < *floor
            && !mended_in_its_series
        {
            found.push(format!("{name} {present:?} is below {floor:?}: {fault}"));
        }
    }
    found
}

#[test]
fn no_dependency_is_below_its_floor() {
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let text = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(lock)).unwrap();
        assert!(locked(&text).len() > 20, "{lock} is not read");
        assert_eq!(below_its_floor(&text), Vec::<String>::new(), "{lock}");
    }
}

#[test]
fn a_version_below_its_floor_is_named() {
    let lock = "[[package]]\nname = \"rustls\"\nversion = \"0.23.9\"\n\n[[package]]\nname = \"rustls\"\nversion = \"0.23.45\"\n";
    let found = below_its_floor(lock);
    assert!(found.len() == 1 && found[0].contains("rustls [0, 23, 9]"), "{found:?}");
    let rand =
        |version: &str| below_its_floor(&format!("[[package]]\nname = \"rand\"\nversion = \"{version}\"\n")).len();
    assert_eq!(["0.8.5", "0.8.6", "0.9.2", "0.9.3", "0.10.0"].map(rand), [1, 0, 1, 0, 0]);
}
