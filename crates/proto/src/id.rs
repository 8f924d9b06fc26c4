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

    /// Reads the text form, 36 characters in either case.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 36 {
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
        // Not by `{:02x}` for each byte, which takes as long as a tenth of a command.
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 36];
        let places = (0..text.len()).filter(|at| !HYPHENS.contains(at));
        let halves = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        for (place, half) in places.zip(halves) {
            text[place] = DIGITS[usize::from(half)];
        }
        f.write_str(core::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
