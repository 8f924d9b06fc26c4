//! Tokens: what verifies was signed with the secret and says what it says; nothing else does. A live session whose
//! token is replaced by anything lives on, and with a token that is not its own it is refused.

use crvideo_proto::token::{self, CLOCK_TOLERANCE_S, MAX_TOKEN, TokenError};

use crate::input::Input;
use crate::pair::Relay;

const SECRET: &str = "a secret of tests";
/// Somewhere in 2026, in seconds since 1970.
const NOW: u64 = 1_795_000_000;
const PROJECT: i64 = 7;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(4) {
        0 => any_text(input.all()),
        1 => any_claims(&mut input),
        2 => one_change(&mut input),
        _ => replaced(&mut input),
    }
}

/// Bytes as a token. A fuzzer cannot make an HMAC, so none of them is good.
fn any_text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let peeked = token::peek(&text);
    let verified = token::verify(&text, [SECRET, "another"], NOW);
    assert!(verified.is_err(), "{text:?} is taken for {verified:?}");
    if text.len() > MAX_TOKEN || peeked == Err(TokenError::NotAToken) {
        assert_eq!(verified, Err(TokenError::NotAToken));
    }
}

/// A token that was signed, whatever it claims.
fn any_claims(input: &mut Input<'_>) {
    let (project, expires) = (input.u64() as i64, input.u64());
    let user = String::from_utf8_lossy(input.all()).into_owned();
    let text = token::mint(project, &user, expires, SECRET);
    let verified = token::verify(&text, ["another", SECRET], NOW);
    if text.len() > MAX_TOKEN {
        assert_eq!(verified, Err(TokenError::NotAToken));
    } else if expires.saturating_add(CLOCK_TOLERANCE_S) <= NOW {
        assert_eq!(verified, Err(TokenError::Expired));
    } else {
        let claims = verified.unwrap_or_else(|error| panic!("{text:?} is refused: {error:?}"));
        assert_eq!((claims.project, &claims.user, claims.expires), (project, &user, expires));
        assert_eq!(token::peek(&text), Ok(claims));
        assert_eq!(token::verify(&text, ["another"], NOW), Err(TokenError::Signature));
    }
}

/// A good token of which one place is changed, taken out or put in twice is none.
fn one_change(input: &mut Input<'_>) {
    let text = token::mint(PROJECT, "alice", NOW + 60, SECRET);
    let at = usize::from(input.u16()) % text.len();
    let mut bytes = text.clone().into_bytes();
    match input.below(3) {
        0 => bytes[at] = input.u8() & 0x7f,
        1 => drop(bytes.remove(at)),
        _ => bytes.insert(at, input.u8() & 0x7f),
    }
    let changed = String::from_utf8(bytes).unwrap_or_default();
    let verified = token::verify(&changed, [SECRET], NOW);
    if changed == text {
        assert!(verified.is_ok());
    } else {
        assert!(verified.is_err(), "{changed:?} is taken like {text:?}");
    }
}

/// `crtoken` with anything in it.
fn replaced(input: &mut Input<'_>) {
    let mut relay = Relay::new();
    let alice = relay.log_in("alice");
    let good = input.bool();
    let text = if good {
        relay.token_for(input.pick(&["alice", "bob", ""]), input.u64())
    } else {
        String::from_utf8_lossy(input.all()).into_owned()
    };
    relay.replace_token(alice, &text);
}
