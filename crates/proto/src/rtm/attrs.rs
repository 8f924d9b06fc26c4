//! The attributes of a file message: JSON text, in the shapes that real SDKs send.

use serde_json::{Map, Value, json};

/// What a sender's attributes say.
#[derive(Debug, Clone, PartialEq)]
pub struct Attrs {
    /// The file's signature, from `rtm.sign` or (older form) from the top.
    pub sign: Option<String>,
    /// The sender's `rtm` object without the signature; in the older form what stood at the top.
    rtm: Map<String, Value>,
    /// What the sender's application gave.
    custom: Value,
}

impl Attrs {
    /// Reads attributes; `None` when they are no JSON object. Empty text stands for an empty object.
    pub fn parse(text: &str) -> Option<Self> {
        let root: Value = if text.trim().is_empty() { json!({}) } else { serde_json::from_str(text).ok()? };
        let Value::Object(mut root) = root else { return None };
        let custom = root.remove("custom").filter(|custom| !custom.is_null()).unwrap_or_else(|| json!(""));
        let mut rtm = match root.remove("rtm") {
            Some(Value::Object(rtm)) => rtm,
            _ => Map::new(),
        };
        // The older form has everything at the top.
        for key in ["sign", "ext", "filename"] {
            if let Some(value) = root.remove(key)
                && !rtm.contains_key(key)
            {
                rtm.insert(key.to_owned(), value);
            }
        }
        let sign = rtm.remove("sign").and_then(|sign| sign.as_str().map(str::to_owned));
        Some(Self { sign, rtm, custom })
    }

    /// Attributes of a file that we send: its name for people, whose ending is the extension.
    pub fn of_file(sign: String, name: &str, custom: Option<&str>) -> Self {
        let mut rtm = Map::new();
        let ext = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map_or("", |(_, ext)| ext);
        rtm.insert("ext".to_owned(), json!(ext));
        rtm.insert("filename".to_owned(), json!(name));
        let custom = custom.map_or_else(|| json!(""), custom_value);
        Self { sign: Some(sign), rtm, custom }
    }

    /// The text that a sender puts on the wire.
    pub fn to_send(&self) -> String {
        let mut rtm = self.rtm.clone();
        if let Some(sign) = &self.sign {
            rtm.insert("sign".to_owned(), json!(sign));
        }
        json!({ "rtm": rtm, "custom": self.custom }).to_string()
    }

    /// The text that receivers get: always `rtm` (without the signature) and `custom`.
    pub fn to_push(&self) -> String {
        json!({ "rtm": self.rtm, "custom": self.custom }).to_string()
    }

    /// What the sender's application gave, as text: a string as it is, anything else as JSON.
    pub fn custom_text(&self) -> String {
        match &self.custom {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// A text inside `rtm`.
    fn text(&self, key: &str) -> &str {
        self.rtm.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// The extension without a dot; empty when there is none.
    pub fn ext(&self) -> &str {
        self.text("ext")
    }

    /// The file's name for people; some senders leave the extension out of it, some give no name at all (then it is
    /// empty). Not cleaned.
    pub fn filename(&self) -> String {
        let (name, ext) = (self.text("filename"), self.ext());
        let ends = |name: &str| name.rsplit_once('.').is_some_and(|(_, last)| last.eq_ignore_ascii_case(ext));
        if name.is_empty() || ext.is_empty() || ends(name) { name.to_owned() } else { format!("{name}.{ext}") }
    }
}

/// A caller's own attributes: an object stays one, everything else is text.
fn custom_value(custom: &str) -> Value {
    serde_json::from_str(custom).ok().filter(Value::is_object).unwrap_or_else(|| json!(custom))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn every_known_shape_is_read() {
        let nested = Attrs::parse(r#"{"rtm":{"sign":"s","ext":"txt","filename":"name"},"custom":{"a":1}}"#).unwrap();
        assert_eq!((nested.sign.as_deref(), nested.ext(), nested.filename().as_str()), (Some("s"), "txt", "name.txt"));
        assert_eq!(nested.custom_text(), r#"{"a":1}"#);
        let flat = Attrs::parse(r#"{"sign":"s","ext":"txt"}"#).unwrap();
        assert_eq!((flat.sign.as_deref(), flat.ext(), flat.filename().as_str()), (Some("s"), "txt", ""));
        let bare = Attrs::parse(r#"{"custom":"x"}"#).unwrap();
        assert_eq!((bare.sign.as_deref(), bare.custom_text().as_str()), (None, "x"));
        let null = Attrs::parse(r#"{"rtm":{"sign":"s","ext":null,"filename":"a.b"}}"#).unwrap();
        assert_eq!((null.ext(), null.filename().as_str()), ("", "a.b"));
        assert!(Attrs::parse("").is_some());
        for bad in ["[]", "text", "1", "{", "null"] {
            assert!(Attrs::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn receivers_always_get_rtm_and_custom_and_never_the_signature() {
        let pushed = |text: &str| -> Value { serde_json::from_str(&Attrs::parse(text).unwrap().to_push()).unwrap() };
        assert_eq!(pushed("{}"), json!({"rtm": {}, "custom": ""}));
        assert_eq!(pushed(r#"{"sign":"s","ext":"txt"}"#), json!({"rtm": {"ext": "txt"}, "custom": ""}));
        let audio = r#"{"rtm":{"sign":"s","type":"audiomsg","duration":7},"custom":"c"}"#;
        assert_eq!(pushed(audio), json!({"rtm": {"type": "audiomsg", "duration": 7}, "custom": "c"}));
    }

    #[test]
    fn what_we_send_is_read_back() {
        let sent = Attrs::of_file("s".to_owned(), "报告.pdf", Some(r#"{"k":1}"#));
        assert_eq!(Attrs::parse(&sent.to_send()).unwrap(), sent);
        assert_eq!((sent.ext(), sent.filename().as_str()), ("pdf", "报告.pdf"));
        assert_eq!(Attrs::of_file(String::new(), ".profile", None).ext(), "");
    }
}
