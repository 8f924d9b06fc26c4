//! What the wire tests share: reading commented hex, and a second msgpack writer that knows nothing of the first.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use crvideo_proto::frame::{Frame, FrameError, FrameReader};

/// Bytes from hex digits; blanks are passed over, and so is what follows a semicolon up to the end of its line.
pub fn hex(text: &str) -> Vec<u8> {
    let digits = |line: &str| -> Vec<u32> {
        let code = line.split(';').next().unwrap();
        code.chars().filter(|char| !char.is_whitespace()).map(|char| char.to_digit(16).unwrap()).collect()
    };
    let digits: Vec<u32> = text.lines().flat_map(digits).collect();
    assert_eq!(digits.len() % 2, 0, "an odd number of hex digits");
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// Every whole frame in `bytes`, read by `reader`, with `bytes` fed in pieces that end at `ends`.
pub fn frames(mut reader: FrameReader, bytes: &[u8], ends: &[usize]) -> Result<Vec<Frame>, FrameError> {
    let mut frames = Vec::new();
    let mut start = 0;
    for end in ends.iter().copied().chain([bytes.len()]) {
        reader.feed(&bytes[start..end]);
        start = end;
        while let Some(frame) = reader.next_frame()? {
            frames.push(frame);
        }
    }
    assert_eq!(reader.buffered(), 0, "bytes are left that are no frame");
    Ok(frames)
}

/// A map's head in the shortest form.
pub fn map_head(len: usize) -> Vec<u8> {
    match u8::try_from(len) {
        Ok(len @ 0..=15) => vec![0x80 + len],
        _ => [&[0xde], &u16::try_from(len).unwrap().to_be_bytes()[..]].concat(),
    }
}

/// Text of at most 255 bytes.
pub fn text(text: &str) -> Vec<u8> {
    let len = u8::try_from(text.len()).unwrap();
    let head = if len < 32 { vec![0xa0 + len] } else { vec![0xd9, len] };
    [head, text.as_bytes().to_vec()].concat()
}

/// A map of pairs whose values are msgpack already.
pub fn map<K: AsRef<str>, V: AsRef<[u8]>>(pairs: &[(K, V)]) -> Bytes {
    let mut bytes = map_head(pairs.len());
    for (key, value) in pairs {
        bytes.extend(text(key.as_ref()));
        bytes.extend(value.as_ref());
    }
    bytes.into()
}
