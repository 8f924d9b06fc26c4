//! FPNN's own encryption over real sockets: what real SDKs have sent is replayed to a relay that has the key with which
//! it was captured.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod rtm;

use std::path::Path;
use std::time::Duration;

use crvideo_relay::{BlockingRelay, Config, Project};
use rtm::{Link, SECRET, golden, relay};

/// What a captured file's comments say.
fn said(name: &str, what: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../proto/tests/golden/{name}.hex"));
    let text = std::fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("# ")?.strip_prefix(what)).expect(what).trim().to_owned();
    (0..line.len()).step_by(2).map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap()).collect()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number = three.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for digit in 0..4 {
            let value = number >> (18 - 6 * digit) & 63;
            text.push(if digit <= three.len() { char::from(DIGITS[value as usize]) } else { '=' });
        }
    }
    text
}

/// A private key as `openssl` writes it (RFC 5915).
fn pem(scalar: &[u8], curve: &str) -> String {
    let curve: &[u8] = match curve {
        "k1" => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a],
        _ => &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
    };
    let body = [&[0x02, 0x01, 0x01, 0x04, 0x20], scalar, &[0xa0, curve.len() as u8], curve].concat();
    let der = [&[0x30, body.len() as u8], &body[..]].concat();
    // 48 bytes make a line of 64 characters.
    let lines: Vec<String> = der.chunks(48).map(base64).collect();
    format!("-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----\n", lines.join("\n"))
}

/// A relay that has the key of a captured conversation, and the project that it was signed for.
fn relay_of(name: &str, dir: &Path) -> BlockingRelay {
    let path = dir.join("key.pem");
    let curve = if name.contains("-r1-") { "r1" } else { "k1" };
    std::fs::write(&path, pem(&said(name, "server private scalar"), curve)).unwrap();
    relay(|config: &mut Config| {
        config.projects = vec![Project { id: 11_000_001, secrets: vec![SECRET.to_owned()], max_file_size: 0 }];
        config.rtm.clock_window = Duration::from_secs(10 * 365 * 24 * 3600);
        config.rtm.insecure_keys = Some(path);
    })
}

/// In package mode a length stands before each package.
const LENGTH: usize = 4;

const CONVERSATIONS: [&str; 6] = [
    "70?-*-python-k1-pkg-128",
    "71?-*-cpp-k1-pkg-128",
    "72?-*-node-k1-pkg-256",
    "73?-*-go-k1-stream-128",
    "74?-*-cpp-r1-stream-256",
    "75?-*-java-r1-pkg-128",
];

#[test]
fn conversations_of_real_sdks_are_answered_byte_for_byte_and_go_on() {
    for conversation in CONVERSATIONS {
        let name = |letter: &str, what: &str| conversation.replacen('?', letter, 1).replacen('*', what, 1);
        let (key, answer, first) = (name("a", "key-quest"), name("b", "key-answer"), name("c", "first-quest"));
        let dir = tempfile::tempdir().unwrap();
        let relay = relay_of(&key, dir.path());
        for at_once in [true, false] {
            let mut link = Link::open(&relay);
            if at_once {
                // A client need not wait for the answer to its key.
                link.write(&[golden(&key), golden(&first)].concat());
            } else {
                link.write(&golden(&key));
            }
            // The captured server answered a quest of version 0 in version 1; we repeat the version of the quest. What
            // is behind the first block of the cipher depends on it.
            let version = golden(&key)[4];
            let mut expected = golden(&answer);
            if version == 0 {
                expected[LENGTH + 4] ^= 1;
                expected.truncate(LENGTH + 16);
                link.expect_bytes(&expected);
                link.expect_len(1);
            } else {
                link.expect_bytes(&expected);
            }
            if !at_once {
                for byte in golden(&first) {
                    link.write(&[byte]);
                }
            }
            // Package mode begins each package alike, so the answer's beginning is known: header and size.
            if conversation.contains("-pkg-") {
                let (sealed, plain) = (golden(&answer), said(&answer, "plaintext"));
                let stream: Vec<u8> =
                    sealed[LENGTH..].iter().zip(&plain).map(|(sealed, plain)| sealed ^ plain).collect();
                let head = [b"FPNN".as_slice(), &[version], &plain[5..12]].concat();
                let expected: Vec<u8> = head.iter().zip(&stream).map(|(plain, key)| plain ^ key).collect();
                link.expect_bytes(&17_u32.to_le_bytes());
                link.expect_bytes(&expected);
            } else {
                // An empty map under a header with a sequence number.
                link.expect_len(17);
            }
        }
    }
}

#[test]
fn a_key_that_is_of_no_use_or_too_late_closes_the_connection_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let key = "70a-key-quest-python-k1-pkg-128";
    let relay = relay_of(key, dir.path());
    // Its point lies on the other curve, for which this relay has no key.
    let mut link = Link::open(&relay);
    link.write(&golden("75a-key-quest-java-r1-pkg-128"));
    assert!(link.next().is_none());
    let mut bad_point = golden(key);
    let last = bad_point.len() - 40;
    bad_point[last] ^= 1;
    let mut link = Link::open(&relay);
    link.write(&bad_point);
    assert!(link.next().is_none());
    let mut link = Link::open(&relay);
    assert!(link.ask_plain("*ping", &[]).is_ok());
    link.write(&golden(key));
    assert!(link.next().is_none());
    // Others talk in plain as before.
    assert!(Link::open(&relay).ask_plain("*ping", &[]).is_ok());
}
