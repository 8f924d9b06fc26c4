//! What a file is called in HTTP, and what it is.

/// Types that no browser runs as a program, by extension.
const TYPES: [(&str, &str); 24] = [
    ("aac", "audio/aac"),
    ("amr", "audio/amr"),
    ("bmp", "image/bmp"),
    ("csv", "text/csv; charset=utf-8"),
    ("flac", "audio/flac"),
    ("gif", "image/gif"),
    ("heic", "image/heic"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("json", "application/json"),
    ("m4a", "audio/mp4"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("oga", "audio/ogg"),
    ("ogg", "audio/ogg"),
    ("opus", "audio/ogg"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("txt", "text/plain; charset=utf-8"),
    ("wav", "audio/wav"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
    ("zip", "application/zip"),
];

/// A file's type by its name.
pub(super) fn content_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let known = TYPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension));
    known.map_or("application/octet-stream", |(_, kind)| kind)
}

/// Text as a part of a path or of a header (RFC 5987): all but letters, digits and a few marks as `%` and digits.
pub(super) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The header that makes a browser save a file, under its name (RFC 6266). Old programs get a name in ASCII.
pub(super) fn disposition(name: &str) -> String {
    let plain = |char: char| char.is_ascii_graphic() && !matches!(char, '"' | '\\' | '%') || char == ' ';
    let ascii: String = name.chars().map(|char| if plain(char) { char } else { '_' }).collect();
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{}", percent_encoded(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_types_are_named() {
        assert_eq!(content_type("a.b.PNG"), "image/png");
        for other in ["page.html", "picture.svg", "script.js", "noextension", "png", ""] {
            assert_eq!(content_type(other), "application/octet-stream", "{other}");
        }
    }

    #[test]
    fn names_of_any_language_fit_into_headers_and_paths() {
        // The second form is the example of RFC 5987, section 3.2.2.
        assert_eq!(percent_encoded("a b.txt"), "a%20b.txt");
        assert_eq!(percent_encoded("£ and € rates"), "%C2%A3%20and%20%E2%82%AC%20rates");
        assert_eq!(
            disposition("报告 \"1\"\r\n.pdf"),
            "attachment; filename=\"__ _1___.pdf\"; \
             filename*=UTF-8''%E6%8A%A5%E5%91%8A%20%221%22%0D%0A.pdf"
        );
    }
}
