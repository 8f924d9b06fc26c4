//! The RTM dialect: FPNN frames whose payloads are maps of named parameters, signed by a project's secret.
//!
//! * `code`: FPNN's and RTM's error numbers with their texts.
//! * `params`: reading and writing maps of named parameters, in msgpack and JSON.
//! * `sign`: signatures of requests and of files.
//! * `attrs`: the attributes of a file message.
//! * `reader`: frames out of a byte stream, and the bytes of files as they arrive.
//! * `mid`: ids of messages that never repeat.
//! * `client`: one server's client of a gate, as a state machine.
//!
//! The wire is not ours: `docs/rtm.md` says what real SDKs send and expect.

pub mod attrs;
pub mod client;
pub mod code;
pub mod mid;
pub mod params;
pub mod reader;
pub mod sign;

use bytes::Bytes;

use crate::frame::{FLAG_JSON, FLAG_MSGPACK, Frame, Kind, VERSION};
use params::{Fields, to_json};

/// Lowest and highest message type of a file.
pub const FILE_MTYPES: core::ops::RangeInclusive<i64> = 40..=50;
/// Legal message types.
pub const MTYPES: core::ops::RangeInclusive<i64> = 1..=127;
/// Attributes have at most this many bytes.
pub const MAX_ATTRS: usize = 2_048;
/// A message has at most this many bytes.
pub const MAX_MESSAGE: usize = 20_480;

/// The user's RTM number, if a user id is one: `0`, or a decimal i64 without leading zeros or plus sign.
pub fn number_of(user: &str) -> Option<i64> {
    let number: i64 = user.parse().ok()?;
    (number.to_string() == user).then_some(number)
}

/// A quest of ours.
pub fn quest(seq: u32, method: &'static str, fields: Fields) -> Frame {
    Frame {
        kind: Kind::Quest,
        version: VERSION,
        flags: FLAG_MSGPACK,
        status: 0,
        seq,
        method: Bytes::from_static(method.as_bytes()),
        payload: fields.finish(),
    }
}

/// A one-way message of ours.
pub fn one_way(method: &'static str, fields: Fields) -> Frame {
    Frame { kind: Kind::OneWay, ..quest(0, method, fields) }
}

/// The answer to a quest, in the version and encoding of the quest.
pub fn answer(quest: &Frame, fields: Fields) -> Frame {
    reply(quest, 0, fields)
}

/// The error answer to a quest, in the version and encoding of the quest. `text` says what was wrong.
pub fn error(quest: &Frame, code: i32, text: &str) -> Frame {
    reply(quest, 1, Fields::new().int("code", code.into()).text("ex", text))
}

fn reply(quest: &Frame, status: u8, fields: Fields) -> Frame {
    let payload = fields.finish();
    let payload = if quest.flags == FLAG_JSON { to_json(&payload) } else { payload };
    let Frame { version, flags, seq, .. } = *quest;
    Frame { kind: Kind::Answer, version, flags, status, seq, method: Bytes::new(), payload }
}

/// What an answer says: its parameters, or the error's number and text. An answer that cannot be read is
/// [`code::DECODE`].
pub fn read_answer(frame: &Frame) -> Result<params::Params, (i32, String)> {
    let params = params::Params::of(frame).map_err(|error| (code::DECODE, error.to_string()))?;
    if frame.status == 0 {
        return Ok(params);
    }
    let number = params.int::<i32>("code").unwrap_or(code::UNKNOWN);
    // Some programs put a number into `ex`.
    let text = params.text("ex").unwrap_or_default();
    Err((number, text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_numbers_are_rtm_users() {
        for (user, number) in [("0", 0), ("-7", -7), ("9223372036854775807", i64::MAX)] {
            assert_eq!(number_of(user), Some(number));
        }
        for user in ["", "+7", "07", "-0", "9223372036854775808", "7 ", "seven"] {
            assert_eq!(number_of(user), None, "{user}");
        }
    }
}
