//! msgpack for maps of a few known keys, on `rmp`. Reading never recurses and never allocates by a claimed length.

use bytes::{Bytes, BytesMut};
use rmp::Marker;
use rmp::decode::{RmpRead, read_marker};

/// Containers may stand in each other this deep, the root map included.
pub const MAX_DEPTH: usize = 16;

/// Byte strings from this length on travel behind the head of a frame without being copied.
pub(crate) const TAIL_FROM: usize = 4 * 1024;

/// Why a payload cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackError {
    /// The payload ends too early.
    Truncated,
    /// Something stands behind the root map.
    Trailing,
    /// The payload's root is not a map.
    NotAMap,
    /// A map key is not a string.
    Key,
    /// Containers are nested deeper than [`MAX_DEPTH`].
    Depth,
    /// A key that must be there is missing.
    Missing(&'static str),
    /// A key stands twice.
    Twice(&'static str),
    /// A value has the wrong type or is out of range.
    Type(&'static str),
    /// A byte that msgpack does not use.
    Reserved,
}

impl core::fmt::Display for PackError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            PackError::Truncated => f.write_str("the payload is cut short"),
            PackError::Trailing => f.write_str("bytes stand behind the payload's map"),
            PackError::NotAMap => f.write_str("the payload is not a map"),
            PackError::Key => f.write_str("a map key is not text"),
            PackError::Depth => write!(f, "the payload is nested deeper than {MAX_DEPTH}"),
            PackError::Missing(key) => write!(f, "the key {key:?} is missing"),
            PackError::Twice(key) => write!(f, "the key {key:?} stands twice"),
            PackError::Type(key) => write!(f, "the value of {key:?} has the wrong type or range"),
            PackError::Reserved => f.write_str("the payload has a reserved type byte"),
        }
    }
}

/// A key as it is written, one byte longer than its text, which has 31 bytes at most.
pub(crate) const fn packed_key<const N: usize>(text: &str) -> [u8; N] {
    let bytes = text.as_bytes();
    assert!(bytes.len() + 1 == N && bytes.len() <= 31);
    let mut packed = [0xa0 | bytes.len() as u8; N];
    let mut at = 0;
    while at < bytes.len() {
        packed[at + 1] = bytes[at];
        at += 1;
    }
    packed
}

/// Writes msgpack. One large byte string at the end is kept apart instead of being copied.
#[derive(Debug)]
pub struct Writer<'a> {
    /// What has been written so far.
    pub(crate) buffer: &'a mut BytesMut,
    /// The byte string to send behind `buffer`.
    pub(crate) tail: Option<Bytes>,
}

impl<'a> Writer<'a> {
    /// A writer that appends to `buffer`.
    pub fn new(buffer: &'a mut BytesMut) -> Self {
        Self { buffer, tail: None }
    }

    /// The byte string to send behind the buffer, if one is kept apart.
    pub fn take_tail(&mut self) -> Option<Bytes> {
        self.tail.take()
    }

    /// Appends bytes. Where their number is known to the compiler, that is a comparison and a store or two.
    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Writes a key as [`packed_key`] has made it.
    #[inline(never)]
    pub(crate) fn key(&mut self, packed: &[u8]) {
        self.put(packed);
    }

    /// Begins a map of `len` pairs.
    pub fn map(&mut self, len: usize) {
        match len {
            0..=15 => self.put(&[0x80 | len as u8]),
            16..=0xffff => {
                self.put(&[0xde]);
                self.put(&(len as u16).to_be_bytes());
            }
            _ => {
                self.put(&[0xdf]);
                self.put(&(len as u32).to_be_bytes());
            }
        }
    }

    /// Begins an array of `len` values.
    pub fn array(&mut self, len: usize) {
        match len {
            0..=15 => self.put(&[0x90 | len as u8]),
            16..=0xffff => {
                self.put(&[0xdc]);
                self.put(&(len as u16).to_be_bytes());
            }
            _ => {
                self.put(&[0xdd]);
                self.put(&(len as u32).to_be_bytes());
            }
        }
    }

    /// Writes text.
    pub fn str(&mut self, text: &str) {
        let len = text.len();
        match len {
            0..=31 => self.put(&[0xa0 | len as u8]),
            32..=0xff => self.put(&[0xd9, len as u8]),
            0x100..=0xffff => {
                self.put(&[0xda]);
                self.put(&(len as u16).to_be_bytes());
            }
            _ => {
                self.put(&[0xdb]);
                self.put(&(len as u32).to_be_bytes());
            }
        }
        self.put(text.as_bytes());
    }

    /// Writes what stands before the bytes of a byte string.
    pub(crate) fn bin_head(&mut self, len: usize) {
        match len {
            0..=0xff => self.put(&[0xc4, len as u8]),
            0x100..=0xffff => {
                self.put(&[0xc5]);
                self.put(&(len as u16).to_be_bytes());
            }
            _ => {
                self.put(&[0xc6]);
                self.put(&(len as u32).to_be_bytes());
            }
        }
    }

    /// Writes a byte string by copying it.
    pub fn bin(&mut self, bytes: &[u8]) {
        self.bin_head(bytes.len());
        self.put(bytes);
    }

    /// Writes the payload's last value: a large one is not copied.
    pub fn last_bin(&mut self, bytes: &Bytes) {
        if bytes.len() < TAIL_FROM {
            self.bin(bytes);
        } else {
            self.bin_head(bytes.len());
            self.tail = Some(bytes.clone());
        }
    }

    /// Writes an unsigned integer in the fewest bytes.
    pub fn uint(&mut self, value: u64) {
        match value {
            0..=0x7f => self.put(&[value as u8]),
            0x80..=0xff => self.put(&[0xcc, value as u8]),
            0x100..=0xffff => {
                self.put(&[0xcd]);
                self.put(&(value as u16).to_be_bytes());
            }
            0x1_0000..=0xffff_ffff => {
                self.put(&[0xce]);
                self.put(&(value as u32).to_be_bytes());
            }
            _ => {
                self.put(&[0xcf]);
                self.put(&value.to_be_bytes());
            }
        }
    }

    /// Writes a signed integer in the fewest bytes.
    pub fn int(&mut self, value: i64) {
        if let Ok(value) = u64::try_from(value) {
            return self.uint(value);
        }
        match value {
            -32..=-1 => self.put(&(value as i8).to_be_bytes()),
            -128..=-33 => {
                self.put(&[0xd0]);
                self.put(&(value as i8).to_be_bytes());
            }
            -32768..=-129 => {
                self.put(&[0xd1]);
                self.put(&(value as i16).to_be_bytes());
            }
            -2_147_483_648..=-32769 => {
                self.put(&[0xd2]);
                self.put(&(value as i32).to_be_bytes());
            }
            _ => {
                self.put(&[0xd3]);
                self.put(&value.to_be_bytes());
            }
        }
    }

    /// Writes nil.
    pub fn nil(&mut self) {
        self.put(&[0xc0]);
    }

    /// Writes a floating-point number.
    pub fn float(&mut self, value: f64) {
        self.put(&[0xcb]);
        self.put(&value.to_be_bytes());
    }

    /// Writes true or false.
    pub fn bool(&mut self, value: bool) {
        self.put(&[if value { 0xc3 } else { 0xc2 }]);
    }
}

/// Reads msgpack out of a payload; text and byte strings come out as views of it.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    payload: &'a Bytes,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `payload`.
    pub fn new(payload: &'a Bytes) -> Self {
        Self { payload, rest: payload }
    }

    /// How far the reader has come.
    pub fn position(&self) -> usize {
        self.payload.len() - self.rest.len()
    }

    /// An error if anything is left.
    pub fn finish(&self) -> Result<(), PackError> {
        if self.rest.is_empty() { Ok(()) } else { Err(PackError::Trailing) }
    }

    fn marker(&mut self) -> Result<Marker, PackError> {
        read_marker(&mut self.rest).map_err(|_| PackError::Truncated)
    }

    /// The type of the next value.
    pub(crate) fn peek(&self) -> Result<Marker, PackError> {
        self.rest.first().map(|byte| Marker::from_u8(*byte)).ok_or(PackError::Truncated)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], PackError> {
        let Some((head, rest)) = self.rest.split_at_checked(len) else {
            return Err(PackError::Truncated);
        };
        self.rest = rest;
        Ok(head)
    }

    fn len8(&mut self) -> Result<usize, PackError> {
        self.rest.read_data_u8().map(usize::from).map_err(|_| PackError::Truncated)
    }

    fn len16(&mut self) -> Result<usize, PackError> {
        self.rest.read_data_u16().map(usize::from).map_err(|_| PackError::Truncated)
    }

    fn len32(&mut self) -> Result<usize, PackError> {
        let len = self.rest.read_data_u32().map_err(|_| PackError::Truncated)?;
        usize::try_from(len).map_err(|_| PackError::Truncated)
    }

    /// A map's number of pairs. More pairs than bytes are refused here.
    pub fn map(&mut self) -> Result<usize, PackError> {
        let len = match self.marker()? {
            Marker::FixMap(len) => usize::from(len),
            Marker::Map16 => self.len16()?,
            Marker::Map32 => self.len32()?,
            _ => return Err(PackError::NotAMap),
        };
        if len > self.rest.len() { Err(PackError::Truncated) } else { Ok(len) }
    }

    /// An array's number of values. More values than bytes are refused here.
    pub fn array(&mut self, key: &'static str) -> Result<usize, PackError> {
        let len = match self.marker()? {
            Marker::FixArray(len) => usize::from(len),
            Marker::Array16 => self.len16()?,
            Marker::Array32 => self.len32()?,
            _ => return Err(PackError::Type(key)),
        };
        if len > self.rest.len() { Err(PackError::Truncated) } else { Ok(len) }
    }

    /// Takes a value whose length is in its first byte, as that of every short text is.
    #[inline]
    fn short(&mut self) -> Option<&'a [u8]> {
        let (first, rest) = self.rest.split_first()?;
        let (head, rest) = rest.split_at_checked(usize::from(first & 0x1f)).filter(|_| first & 0xe0 == 0xa0)?;
        self.rest = rest;
        Some(head)
    }

    /// A map key.
    pub fn key(&mut self) -> Result<&'a [u8], PackError> {
        if let Some(key) = self.short() {
            return Ok(key);
        }
        match self.peek()? {
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => self.slice("key"),
            _ => Err(PackError::Key),
        }
    }

    /// Takes the next key if it is this one; nothing is taken of another.
    #[inline(always)]
    pub(crate) fn passes(&mut self, key: &str) -> Result<bool, PackError> {
        let before = self.rest;
        let fits = self.key()? == key.as_bytes();
        if !fits {
            self.rest = before;
        }
        Ok(fits)
    }

    /// The bytes of a str or a bin, whichever was written.
    pub fn slice(&mut self, key: &'static str) -> Result<&'a [u8], PackError> {
        if let Some(text) = self.short() {
            return Ok(text);
        }
        let len = match self.marker()? {
            Marker::FixStr(len) => usize::from(len),
            Marker::Str8 | Marker::Bin8 => self.len8()?,
            Marker::Str16 | Marker::Bin16 => self.len16()?,
            Marker::Str32 | Marker::Bin32 => self.len32()?,
            _ => return Err(PackError::Type(key)),
        };
        self.take(len)
    }

    /// Text: a str or bin that is UTF-8.
    pub fn str(&mut self, key: &'static str) -> Result<&'a str, PackError> {
        core::str::from_utf8(self.slice(key)?).map_err(|_| PackError::Type(key))
    }

    /// The bytes of a str or bin, sharing the payload's memory.
    pub fn bytes(&mut self, key: &'static str) -> Result<Bytes, PackError> {
        let slice = self.slice(key)?;
        Ok(self.payload.slice_ref(slice))
    }

    /// Any integer, as a signed 128-bit one so that both 64-bit ranges fit.
    fn integer(&mut self, key: &'static str) -> Result<i128, PackError> {
        let cut = |_| PackError::Truncated;
        Ok(match self.marker()? {
            Marker::FixPos(value) => value.into(),
            Marker::FixNeg(value) => value.into(),
            Marker::U8 => self.rest.read_data_u8().map_err(cut)?.into(),
            Marker::U16 => self.rest.read_data_u16().map_err(cut)?.into(),
            Marker::U32 => self.rest.read_data_u32().map_err(cut)?.into(),
            Marker::U64 => self.rest.read_data_u64().map_err(cut)?.into(),
            Marker::I8 => self.rest.read_data_i8().map_err(cut)?.into(),
            Marker::I16 => self.rest.read_data_i16().map_err(cut)?.into(),
            Marker::I32 => self.rest.read_data_i32().map_err(cut)?.into(),
            Marker::I64 => self.rest.read_data_i64().map_err(cut)?.into(),
            _ => return Err(PackError::Type(key)),
        })
    }

    /// An unsigned integer in the shape that every writer of ours gives it; nothing is taken of another one.
    #[inline]
    fn plain_uint(&mut self) -> Option<u64> {
        let (first, rest) = self.rest.split_first()?;
        let value;
        (value, self.rest) = match first {
            0..=0x7f => (u64::from(*first), rest),
            0xcc => rest.split_first().map(|(value, rest)| (u64::from(*value), rest))?,
            0xcd => rest.split_first_chunk().map(|(value, rest)| (u16::from_be_bytes(*value).into(), rest))?,
            0xce => rest.split_first_chunk().map(|(value, rest)| (u32::from_be_bytes(*value).into(), rest))?,
            0xcf => rest.split_first_chunk().map(|(value, rest)| (u64::from_be_bytes(*value), rest))?,
            _ => return None,
        };
        Some(value)
    }

    /// An unsigned integer that fits `T`.
    pub fn uint<T: TryFrom<u64>>(&mut self, key: &'static str) -> Result<T, PackError> {
        T::try_from(self.any_uint(key)?).map_err(|_| PackError::Type(key))
    }

    #[inline(never)]
    fn any_uint(&mut self, key: &'static str) -> Result<u64, PackError> {
        match self.plain_uint() {
            Some(value) => Ok(value),
            None => self.int(key),
        }
    }

    /// An integer that fits `T`.
    pub fn int<T: TryFrom<i128>>(&mut self, key: &'static str) -> Result<T, PackError> {
        T::try_from(self.integer(key)?).map_err(|_| PackError::Type(key))
    }

    /// True or false.
    pub fn bool(&mut self, key: &'static str) -> Result<bool, PackError> {
        match self.marker()? {
            Marker::True => Ok(true),
            Marker::False => Ok(false),
            _ => Err(PackError::Type(key)),
        }
    }

    /// Passes over a number, a truth or a short string of text or bytes; nothing is passed over of another value.
    #[inline]
    fn skip_plain(&mut self) -> Option<()> {
        let (first, rest) = self.rest.split_first()?;
        let bytes = match first {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => 0,
            0xa0..=0xbf => usize::from(first & 0x1f),
            0xc4 | 0xd9 => 1 + usize::from(*rest.first()?),
            0xcc => 1,
            0xcd => 2,
            0xce => 4,
            0xcf => 8,
            _ => return None,
        };
        self.rest = rest.get(bytes..)?;
        Some(())
    }

    /// Passes over one value, whatever it is; `depth` containers already surround it.
    pub fn skip(&mut self, depth: usize) -> Result<(), PackError> {
        if self.skip_plain().is_some() {
            return Ok(());
        }
        // How many values are still to come in each open container.
        let mut open = [0usize; MAX_DEPTH];
        let mut level = depth;
        loop {
            // Bytes that a plain value takes, or the number of values in a container.
            let (bytes, values) = match self.marker()? {
                Marker::FixPos(_) | Marker::FixNeg(_) | Marker::Null | Marker::True | Marker::False => (0, None),
                Marker::U8 | Marker::I8 => (1, None),
                Marker::U16 | Marker::I16 => (2, None),
                Marker::U32 | Marker::I32 | Marker::F32 => (4, None),
                Marker::U64 | Marker::I64 | Marker::F64 => (8, None),
                Marker::FixStr(len) => (usize::from(len), None),
                Marker::Str8 | Marker::Bin8 => (self.len8()?, None),
                Marker::Str16 | Marker::Bin16 => (self.len16()?, None),
                Marker::Str32 | Marker::Bin32 => (self.len32()?, None),
                Marker::FixExt1 => (2, None),
                Marker::FixExt2 => (3, None),
                Marker::FixExt4 => (5, None),
                Marker::FixExt8 => (9, None),
                Marker::FixExt16 => (17, None),
                Marker::Ext8 => (self.len8()?.saturating_add(1), None),
                Marker::Ext16 => (self.len16()?.saturating_add(1), None),
                Marker::Ext32 => (self.len32()?.saturating_add(1), None),
                Marker::FixArray(len) => (0, Some(usize::from(len))),
                Marker::Array16 => (0, Some(self.len16()?)),
                Marker::Array32 => (0, Some(self.len32()?)),
                Marker::FixMap(len) => (0, Some(usize::from(len).saturating_mul(2))),
                Marker::Map16 => (0, Some(self.len16()?.saturating_mul(2))),
                Marker::Map32 => (0, Some(self.len32()?.saturating_mul(2))),
                Marker::Reserved => return Err(PackError::Reserved),
            };
            self.take(bytes)?;
            if let Some(values) = values {
                let Some(slot) = open.get_mut(level) else {
                    return Err(PackError::Depth);
                };
                if values > self.rest.len() {
                    return Err(PackError::Truncated);
                }
                if values > 0 {
                    *slot = values;
                    level += 1;
                    continue;
                }
            }
            // One value is done: close every container that it completes.
            loop {
                if level == depth {
                    return Ok(());
                }
                let Some(slot) = open.get_mut(level - 1) else {
                    return Err(PackError::Depth);
                };
                *slot -= 1;
                if *slot > 0 {
                    break;
                }
                level -= 1;
            }
        }
    }
}

/// Checks that `payload` is exactly one map with text keys at its root, nested no deeper than [`MAX_DEPTH`].
pub fn validate(payload: &Bytes) -> Result<(), PackError> {
    let mut reader = Reader::new(payload);
    for _ in 0..reader.map()? {
        reader.key()?;
        reader.skip(1)?;
    }
    reader.finish()
}
