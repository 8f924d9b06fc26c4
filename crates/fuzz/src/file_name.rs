//! Names that other users give their files: what is shown is never a path, whoever cleans it again changes nothing, and
//! harmless names stay.

use crvideo_proto::name::clean;

/// Longest cleaned name in bytes, as the contract has it.
const LONGEST: usize = 255;
/// Letters of which no name can do harm, whatever their order.
const HARMLESS: &[u8] = b"abcdefgXYZ0123456789_-";

pub(crate) fn run(data: &[u8]) {
    let name = String::from_utf8_lossy(data);
    let cleaned = clean(&name);
    check(&name, &cleaned);
    assert_eq!(clean(&cleaned), cleaned, "{name:?} changes when it is cleaned again");
    // The same name behind any directory is the same name.
    for before in ["/", "..\\", "/etc/", "C:\\x\\"] {
        assert_eq!(clean(&format!("{before}{name}")), cleaned, "{name:?} behind {before:?}");
    }
    harmless(data);
}

fn check(name: &str, cleaned: &str) {
    assert!(!cleaned.is_empty() && cleaned.len() <= LONGEST, "{name:?} became {cleaned:?}");
    assert!(!cleaned.contains(['/', '\\', ':', '\0', '<', '>', '"', '|', '?', '*']), "{name:?} became {cleaned:?}");
    assert!(!cleaned.chars().any(char::is_control), "{name:?} became {cleaned:?}");
    assert!(!cleaned.chars().any(turns_text_around), "{name:?} became {cleaned:?}");
    assert!(!cleaned.ends_with(['.', ' ']) && !cleaned.starts_with(' '), "{name:?} became {cleaned:?}");
    assert!(!is_device(cleaned), "{name:?} became {cleaned:?}");
    let path = std::path::Path::new(cleaned);
    assert_eq!(path.file_name(), Some(cleaned.as_ref()), "{name:?} became {cleaned:?}");
}

/// Unicode's Bidi_Control property (PropList.txt), and the byte order mark.
fn turns_text_around(char: char) -> bool {
    "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}\u{feff}"
        .contains(char)
}

/// As Windows sees it: in front of the first dot, blanks at its end left out, in either case.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end_matches(' ').to_uppercase();
    let numbered = |prefix: &str| {
        stem.strip_prefix(prefix).is_some_and(|rest| {
            let mut chars = rest.chars();
            matches!((chars.next(), chars.next()), (Some('1'..='9' | '¹' | '²' | '³'), None))
        })
    };
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL") || numbered("COM") || numbered("LPT")
}

/// A name of harmless letters, with dots inside it and letters of other scripts, stays as it is.
fn harmless(data: &[u8]) {
    let mut name = String::from("n");
    for byte in data.iter().take(200) {
        match byte {
            0..=9 => name.push('.'),
            10..=19 => name.push('é'),
            20..=29 => name.push('报'),
            byte => name.push(char::from(HARMLESS[usize::from(*byte) % HARMLESS.len()])),
        }
    }
    let name = name.trim_end_matches('.');
    if name.len() <= LONGEST && !is_device(name) {
        assert_eq!(clean(name), name);
    }
}
