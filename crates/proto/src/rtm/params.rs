//! Maps of named parameters, as RTM's quests and answers carry them: any key in any place, of any type.

use core::fmt;
use core::ops::Range;

use bytes::{Bytes, BytesMut};
use rmp::Marker;
use serde_json::Value as Json;

use super::code;
use crate::frame::{FLAG_JSON, Frame};
use crate::pack::{MAX_DEPTH, PackError, Reader, Writer};

/// A map has at most this many parameters.
pub const MAX_PARAMS: usize = 64;
/// A JSON payload has at most this many bytes: it takes much more memory than it has bytes.
pub const MAX_JSON: usize = 256 * 1024;

/// What is wrong with a parameter, or with all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParamError {
    /// The payload is no map of parameters.
    Payload(PackError),
    /// A JSON payload that is not JSON, or too large.
    Json,
    /// More than [`MAX_PARAMS`] parameters.
    TooManyParams,
    /// A parameter that must be there is missing.
    Missing(&'static str),
    /// A parameter has the wrong type or is out of range.
    Type(&'static str),
    /// A list has more elements than are allowed.
    TooMany(&'static str, usize),
    /// What is named has more bytes than are allowed.
    TooLarge(&'static str, usize),
}

impl ParamError {
    /// The number that an error answer carries.
    pub fn code(&self) -> i32 {
        match self {
            ParamError::Payload(PackError::NotAMap) => code::NOT_A_MAP,
            ParamError::Payload(PackError::Key) => code::KEY_NOT_TEXT,
            ParamError::Payload(PackError::Twice(_)) => code::BAD_PARAM,
            ParamError::Payload(_) => code::DECODE,
            ParamError::Json => code::JSON,
            ParamError::TooManyParams | ParamError::TooMany(..) => code::TOO_MANY,
            ParamError::TooLarge(..) => code::TOO_LARGE,
            ParamError::Missing(_) => code::MISSING,
            ParamError::Type(_) => code::WRONG_TYPE,
        }
    }
}

impl fmt::Display for ParamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParamError::Payload(error) => error.fmt(f),
            ParamError::Json => write!(f, "the payload is not a JSON object of at most {MAX_JSON} bytes"),
            ParamError::TooManyParams => write!(f, "the payload has more than {MAX_PARAMS} parameters"),
            ParamError::Missing(key) => write!(f, "the parameter {key:?} is missing"),
            ParamError::Type(key) => write!(f, "the parameter {key:?} has the wrong type or is out of range"),
            ParamError::TooMany(key, most) => write!(f, "the parameter {key:?} has more than {most} elements"),
            ParamError::TooLarge(what, most) => write!(f, "{what} has more than {most} bytes"),
        }
    }
}

impl std::error::Error for ParamError {}

impl From<PackError> for ParamError {
    fn from(error: PackError) -> Self {
        match error {
            PackError::Type(key) => ParamError::Type(key),
            other => ParamError::Payload(other),
        }
    }
}

/// The parameters of one payload. Values are decoded when they are asked for, so no claimed length allocates.
#[derive(Debug, Clone)]
pub struct Params {
    payload: Bytes,
    spans: Vec<(Range<usize>, Range<usize>)>,
}

impl Params {
    /// The parameters of a frame, msgpack or JSON.
    pub fn of(frame: &Frame) -> Result<Self, ParamError> {
        if frame.flags == FLAG_JSON {
            Self::read(from_json(&frame.payload)?)
        } else {
            Self::read(frame.payload.clone())
        }
    }

    /// The parameters of a msgpack payload. A key that stands twice is an error.
    pub fn read(payload: Bytes) -> Result<Self, ParamError> {
        let mut spans: Vec<(Range<usize>, Range<usize>)> = Vec::new();
        let mut reader = Reader::new(&payload);
        let pairs = reader.map()?;
        if pairs > MAX_PARAMS {
            return Err(ParamError::TooManyParams);
        }
        for _ in 0..pairs {
            let key = reader.key()?;
            let end = reader.position();
            let key = end - key.len()..end;
            if spans.iter().any(|(other, _)| payload.get(other.clone()) == payload.get(key.clone())) {
                return Err(ParamError::Payload(PackError::Twice("a parameter")));
            }
            reader.skip(1)?;
            spans.push((key, end..reader.position()));
        }
        reader.finish()?;
        Ok(Self { payload, spans })
    }

    /// The value of a key, as bytes of msgpack. Nil counts as absent.
    fn value(&self, key: &'static str) -> Option<Bytes> {
        let same = |(name, _): &&(Range<usize>, Range<usize>)| self.payload.get(name.clone()) == Some(key.as_bytes());
        let (_, value) = self.spans.iter().find(same)?;
        let value = self.payload.slice(value.clone());
        (value.first() != Some(&Marker::Null.to_u8())).then_some(value)
    }

    fn get<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&mut Reader<'_>) -> Result<T, PackError>,
    ) -> Result<Option<T>, ParamError> {
        self.value(key).map(|value| read(&mut Reader::new(&value)).map_err(|_| ParamError::Type(key))).transpose()
    }

    /// Whether a parameter is there.
    pub fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// An integer that fits `T`, if it is there.
    pub fn opt_int<T: TryFrom<i128>>(&self, key: &'static str) -> Result<Option<T>, ParamError> {
        self.get(key, |reader| reader.int(key))
    }

    /// An integer that fits `T`.
    pub fn int<T: TryFrom<i128>>(&self, key: &'static str) -> Result<T, ParamError> {
        self.opt_int(key)?.ok_or(ParamError::Missing(key))
    }

    /// An integer that an old SDK may have written as decimal text.
    pub fn lenient_int<T: TryFrom<i128>>(&self, key: &'static str) -> Result<T, ParamError> {
        match self.int(key) {
            Err(ParamError::Type(_)) => {
                let number = self.text(key)?.parse::<i128>().map_err(|_| ParamError::Type(key))?;
                T::try_from(number).map_err(|_| ParamError::Type(key))
            }
            other => other,
        }
    }

    /// Text (str or bin that is UTF-8), if it is there.
    pub fn opt_text(&self, key: &'static str) -> Result<Option<String>, ParamError> {
        self.get(key, |reader| reader.str(key).map(str::to_owned))
    }

    /// Text (str or bin that is UTF-8).
    pub fn text(&self, key: &'static str) -> Result<String, ParamError> {
        self.opt_text(key)?.ok_or(ParamError::Missing(key))
    }

    /// The bytes of a str or bin, sharing the payload's memory.
    pub fn bytes(&self, key: &'static str) -> Result<Bytes, ParamError> {
        self.get(key, |reader| reader.bytes(key))?.ok_or(ParamError::Missing(key))
    }

    /// True or false, if it is there.
    pub fn opt_bool(&self, key: &'static str) -> Result<Option<bool>, ParamError> {
        self.get(key, |reader| reader.bool(key))
    }

    /// True or false, if it is there; PHP programs may write 1 and 0, as comments in their SDK tell them to.
    pub fn lenient_bool(&self, key: &'static str) -> Result<Option<bool>, ParamError> {
        match self.opt_bool(key) {
            Err(ParamError::Type(_)) => match self.int::<i64>(key)? {
                0 => Ok(Some(false)),
                1 => Ok(Some(true)),
                _ => Err(ParamError::Type(key)),
            },
            other => other,
        }
    }

    /// A list of at most `most` values, if it is there.
    fn list<T>(
        &self,
        key: &'static str,
        most: usize,
        mut read: impl FnMut(&mut Reader<'_>) -> Result<T, PackError>,
    ) -> Result<Option<Vec<T>>, ParamError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let mut reader = Reader::new(&value);
        let len = reader.array(key).map_err(|_| ParamError::Type(key))?;
        if len > most {
            return Err(ParamError::TooMany(key, most));
        }
        let values: Result<Vec<T>, PackError> = (0..len).map(|_| read(&mut reader)).collect();
        values.map(Some).map_err(|_| ParamError::Type(key))
    }

    /// A list of at most `most` integers, if it is there.
    pub fn opt_ints(&self, key: &'static str, most: usize) -> Result<Option<Vec<i64>>, ParamError> {
        self.list(key, most, |reader| reader.int(key))
    }

    /// A list of at most `most` integers.
    pub fn ints(&self, key: &'static str, most: usize) -> Result<Vec<i64>, ParamError> {
        self.opt_ints(key, most)?.ok_or(ParamError::Missing(key))
    }

    /// A list of at most `most` texts, if it is there.
    pub fn opt_texts(&self, key: &'static str, most: usize) -> Result<Option<Vec<String>>, ParamError> {
        self.list(key, most, |reader| reader.str(key).map(str::to_owned))
    }

    /// A list of at most `most` lists, of each the first `N` integers; what follows them is passed over.
    pub fn rows<const N: usize>(&self, key: &'static str, most: usize) -> Result<Vec<[i64; N]>, ParamError> {
        let row = |reader: &mut Reader<'_>| {
            let len = reader.array(key)?;
            let more = len.checked_sub(N).ok_or(PackError::Type(key))?;
            let mut row = [0; N];
            for value in &mut row {
                *value = reader.int(key)?;
            }
            (0..more).try_for_each(|_| reader.skip(2))?;
            Ok(row)
        };
        self.list(key, most, row)?.ok_or(ParamError::Missing(key))
    }

    /// A map from text to integer with at most `most` pairs.
    pub fn int_by_text(&self, key: &'static str, most: usize) -> Result<Vec<(String, i64)>, ParamError> {
        let value = self.value(key).ok_or(ParamError::Missing(key))?;
        let mut reader = Reader::new(&value);
        let len = reader.map().map_err(|_| ParamError::Type(key))?;
        if len > most {
            return Err(ParamError::TooMany(key, most));
        }
        let mut pair = || Ok((reader.str(key)?.to_owned(), reader.int(key)?));
        let pairs: Result<Vec<_>, PackError> = (0..len).map(|_| pair()).collect();
        pairs.map_err(|_| ParamError::Type(key))
    }
}

/// Parameters on their way out, in the order in which they are added.
#[derive(Debug, Default)]
pub struct Fields {
    count: usize,
    body: BytesMut,
}

impl Fields {
    /// No parameter yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds whatever `write` writes: one value.
    pub fn write(mut self, key: &str, write: impl FnOnce(&mut Writer<'_>)) -> Self {
        self.count += 1;
        let mut writer = Writer::new(&mut self.body);
        writer.str(key);
        write(&mut writer);
        self
    }

    /// Adds an integer.
    pub fn int(self, key: &str, value: i64) -> Self {
        self.write(key, |writer| writer.int(value))
    }

    /// Adds text.
    pub fn text(self, key: &str, value: &str) -> Self {
        self.write(key, |writer| writer.str(value))
    }

    /// Adds bytes, as bin.
    pub fn bytes(self, key: &str, value: &[u8]) -> Self {
        self.write(key, |writer| writer.bin(value))
    }

    /// Adds a message's body: text where it is UTF-8 (some SDKs read nothing else), else bin.
    pub fn message(self, key: &str, value: &[u8]) -> Self {
        match core::str::from_utf8(value) {
            Ok(text) => self.text(key, text),
            Err(_) => self.bytes(key, value),
        }
    }

    /// Adds true or false.
    pub fn bool(self, key: &str, value: bool) -> Self {
        self.write(key, |writer| writer.bool(value))
    }

    /// Adds a list of integers.
    pub fn ints(self, key: &str, values: &[i64]) -> Self {
        self.write(key, |writer| {
            writer.array(values.len());
            values.iter().for_each(|value| writer.int(*value));
        })
    }

    /// Adds a list of texts.
    pub fn texts(self, key: &str, values: &[String]) -> Self {
        self.write(key, |writer| {
            writer.array(values.len());
            values.iter().for_each(|value| writer.str(value));
        })
    }

    /// Adds a map from text to integer.
    pub fn int_by_text(self, key: &str, values: &[(String, i64)]) -> Self {
        self.write(key, |writer| {
            writer.map(values.len());
            for (name, value) in values {
                writer.str(name);
                writer.int(*value);
            }
        })
    }

    /// The payload.
    pub fn finish(self) -> Bytes {
        let mut payload = BytesMut::with_capacity(self.body.len() + 3);
        Writer::new(&mut payload).map(self.count);
        payload.extend_from_slice(&self.body);
        payload.freeze()
    }
}

/// A JSON payload as msgpack.
pub fn from_json(payload: &Bytes) -> Result<Bytes, ParamError> {
    if payload.len() > MAX_JSON {
        return Err(ParamError::Json);
    }
    let root: Json = serde_json::from_slice(payload).map_err(|_| ParamError::Json)?;
    if !root.is_object() {
        return Err(ParamError::Payload(PackError::NotAMap));
    }
    let mut packed = BytesMut::with_capacity(payload.len());
    put_json(&mut Writer::new(&mut packed), &root, 0)?;
    Ok(packed.freeze())
}

fn put_json(writer: &mut Writer<'_>, value: &Json, depth: usize) -> Result<(), ParamError> {
    if depth > MAX_DEPTH {
        return Err(ParamError::Payload(PackError::Depth));
    }
    match value {
        Json::Null => writer.nil(),
        Json::Bool(value) => writer.bool(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => writer.int(value),
            (None, Some(value)) => writer.uint(value),
            (None, None) => writer.float(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => writer.str(text),
        Json::Array(values) => {
            writer.array(values.len());
            for value in values {
                put_json(writer, value, depth + 1)?;
            }
        }
        Json::Object(pairs) => {
            writer.map(pairs.len());
            for (key, value) in pairs {
                writer.str(key);
                put_json(writer, value, depth + 1)?;
            }
        }
    }
    Ok(())
}

/// A msgpack payload as JSON; bytes that are not UTF-8 become replacement characters. The payload is one of ours.
pub fn to_json(payload: &Bytes) -> Bytes {
    let mut reader = Reader::new(payload);
    let value = json_value(&mut reader, 0).unwrap_or_else(|_| Json::Object(serde_json::Map::new()));
    Bytes::from(value.to_string())
}

fn json_value(reader: &mut Reader<'_>, depth: usize) -> Result<Json, PackError> {
    if depth > MAX_DEPTH {
        return Err(PackError::Depth);
    }
    Ok(match reader.peek()? {
        Marker::True | Marker::False => Json::Bool(reader.bool("value")?),
        Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => {
            let mut object = serde_json::Map::new();
            for _ in 0..reader.map()? {
                let key = String::from_utf8_lossy(reader.key()?).into_owned();
                object.insert(key, json_value(reader, depth + 1)?);
            }
            Json::Object(object)
        }
        Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
            let len = reader.array("value")?;
            Json::Array((0..len).map(|_| json_value(reader, depth + 1)).collect::<Result<_, _>>()?)
        }
        Marker::FixStr(_)
        | Marker::Str8
        | Marker::Str16
        | Marker::Str32
        | Marker::Bin8
        | Marker::Bin16
        | Marker::Bin32 => Json::String(String::from_utf8_lossy(reader.slice("value")?).into_owned()),
        Marker::Null | Marker::F32 | Marker::F64 => {
            reader.skip(depth)?;
            Json::Null
        }
        _ => match reader.clone().int::<i64>("value") {
            Ok(_) => Json::from(reader.int::<i64>("value")?),
            Err(_) => Json::from(reader.int::<u64>("value")?),
        },
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn packed(bytes: &[u8]) -> Result<Params, ParamError> {
        Params::read(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn what_is_written_is_read_back() {
        let fields = Fields::new()
            .int("i", -5)
            .text("t", "text")
            .bytes("b", &[0xff, 0])
            .message("m", &[0xfe])
            .message("u", b"utf")
            .bool("f", true)
            .ints("l", &[1, i64::MIN, i64::MAX])
            .texts("s", &["a".to_owned()])
            .int_by_text("c", &[("7".to_owned(), 3)]);
        let params = Params::read(fields.finish()).unwrap();
        assert_eq!(params.int::<i64>("i").unwrap(), -5);
        assert_eq!(params.text("t").unwrap(), "text");
        assert_eq!(params.bytes("b").unwrap().as_ref(), &[0xff, 0]);
        assert_eq!(params.bytes("m").unwrap().as_ref(), &[0xfe]);
        assert_eq!(params.text("u").unwrap(), "utf");
        assert_eq!(params.opt_bool("f").unwrap(), Some(true));
        assert_eq!(params.ints("l", 3).unwrap(), [1, i64::MIN, i64::MAX]);
        assert_eq!(params.opt_texts("s", 1).unwrap().unwrap(), ["a"]);
        assert_eq!(params.int_by_text("c", 1).unwrap(), [("7".to_owned(), 3)]);
        assert_eq!(params.ints("l", 2), Err(ParamError::TooMany("l", 2)));
        assert_eq!(params.int::<u8>("i"), Err(ParamError::Type("i")));
        assert_eq!(params.text("i"), Err(ParamError::Type("i")));
        assert_eq!(params.text("none"), Err(ParamError::Missing("none")));
    }

    #[test]
    fn integers_of_every_width_and_old_texts_are_taken() {
        // {"a": int64 5, "b": uint64 2^63-1, "c": "50"}
        let bytes = b"\x83\xa1a\xd3\0\0\0\0\0\0\0\x05\xa1b\xcf\x7f\xff\xff\xff\xff\xff\xff\xff\xa1c\xa250";
        let params = packed(bytes).unwrap();
        assert_eq!(params.int::<i8>("a").unwrap(), 5);
        assert_eq!(params.int::<i64>("b").unwrap(), i64::MAX);
        assert_eq!(params.lenient_int::<i8>("c").unwrap(), 50);
        assert_eq!(params.int::<i8>("c"), Err(ParamError::Type("c")));
        assert_eq!(packed(b"\x81\xa1c\xa3x50").unwrap().lenient_int::<i8>("c"), Err(ParamError::Type("c")));
    }

    #[test]
    fn what_is_no_map_of_parameters_is_named() {
        let code = |bytes: &[u8]| packed(bytes).unwrap_err().code();
        assert_eq!(code(b"\x90"), code::NOT_A_MAP);
        assert_eq!(code(b"\x81\x01\x01"), code::KEY_NOT_TEXT);
        assert_eq!(code(b"\x81\xa1a"), code::DECODE);
        assert_eq!(code(b"\x82\xa1a\x01\xa1a\x02"), code::BAD_PARAM);
        assert_eq!(code(b"\x80\x00"), code::DECODE);
        let deep: Vec<u8> = [b"\x81\xa1a".as_slice(), &[0x91; 1000]].concat();
        assert_eq!(code(&deep), code::DECODE);
        let many: Vec<u8> =
            std::iter::once(0xde).chain([0, 65]).chain((0..65u8).flat_map(|at| [0xa1, at + 32, 0])).collect();
        assert_eq!(code(&many), code::TOO_MANY);
    }

    #[test]
    fn json_is_read_and_answered() {
        let text = br#"{"a":1,"b":"x","c":[1,2],"d":true,"e":null,"f":18446744073709551615}"#;
        let params = Params::read(from_json(&Bytes::from_static(text)).unwrap()).unwrap();
        assert_eq!(params.int::<i64>("a").unwrap(), 1);
        assert_eq!(params.ints("c", 9).unwrap(), [1, 2]);
        assert!(!params.has("e"));
        assert_eq!(params.int::<u64>("f").unwrap(), u64::MAX);
        let fields = Fields::new().int("mtime", 7).text("t", "a\"b").ints("u", &[1]);
        assert_eq!(to_json(&fields.finish()).as_ref(), br#"{"mtime":7,"t":"a\"b","u":[1]}"#);
        for bad in ["[]", "nonsense", "7"] {
            assert!(from_json(&Bytes::copy_from_slice(bad.as_bytes())).is_err(), "{bad}");
        }
    }
}
