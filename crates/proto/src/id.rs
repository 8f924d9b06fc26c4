//! Names of users and tasks.

use core::fmt;

/// A user id has at most this many bytes.
pub const MAX_USER_ID: usize = 128;

/// Whether `text` may name a user: 1 to 128 bytes without NUL.
pub fn is_user_id(text: &str) -> bool {
    (1..=MAX_USER_ID).contains(&text.len()) && !text.contains('\0')
}

/// A task's id: the 16 bytes of a UUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId([u8; 16]);

/// Where the text of a UUID has its hyphens.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];
/// Where it has the first digit of each byte.
const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
/// Bytes of that text.
const TEXT_LEN: usize = 36;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

impl TaskId {
    /// A random UUID (RFC 9562, version 4) from 16 random bytes.
    pub fn random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }

    /// The id with these bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The id's bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The text form, in small letters.
    pub fn text(&self) -> [u8; TEXT_LEN] {
        let mut text = [b'-'; TEXT_LEN];
        for (byte, at) in self.0.iter().zip(PLACES) {
            text[at] = DIGITS[usize::from(byte >> 4)];
            text[at + 1] = DIGITS[usize::from(byte & 15)];
        }
        text
    }

    /// Reads the text form, 36 characters in either case.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != TEXT_LEN {
            return None;
        }
        let mut bytes = [0; 16];
        let mut digits = 0;
        for (at, char) in text.iter().enumerate() {
            if HYPHENS.contains(&at) {
                if *char != b'-' {
                    return None;
                }
                continue;
            }
            let digit = char::from(*char).to_digit(16)? as u8;
            let byte = bytes.get_mut(digits / 2)?;
            *byte = *byte << 4 | digit;
            digits += 1;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(core::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
