//! Display names of received files: text for people, never a path.

/// Longest cleaned name in bytes.
const MAX_NAME: usize = 255;
/// Longest extension that is kept when a name is cut.
const MAX_EXTENSION: usize = 32;
/// What a name becomes of which nothing is left.
const NAMELESS: &str = "unnamed";

/// What Windows allows in no name.
const FORBIDDEN: [char; 7] = ['<', '>', ':', '"', '|', '?', '*'];

/// Names that Windows gives to devices, whatever follows the first dot.
/// Source: Microsoft, "Naming Files, Paths, and Namespaces".
const RESERVED: [&str; 30] = [
    "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "COM1", "COM2", "COM3", "COM4", "COM5", "COM6", "COM7", "COM8",
    "COM9", "COM¹", "COM²", "COM³", "LPT1", "LPT2", "LPT3", "LPT4", "LPT5", "LPT6", "LPT7", "LPT8", "LPT9", "LPT¹",
    "LPT²", "LPT³",
];

/// Takes from a name all that could harm whoever uses it: path parts, control and bidirectional characters, device
/// names, trailing dots and spaces, excess length. Harmless names stay as they are, and cleaning twice changes nothing.
pub fn clean(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let kept: String = last.chars().filter(|char| !is_harmful(*char) && !FORBIDDEN.contains(char)).collect();
    let mut kept = trim(&kept).to_owned();
    if kept.len() > MAX_NAME {
        kept = shorten(&kept);
    }
    let stem = kept.split('.').next().unwrap_or_default().trim_end();
    if RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(stem)) {
        kept.insert(0, '_');
        if kept.len() > MAX_NAME {
            kept = shorten(&kept);
        }
    }
    if kept.is_empty() { NAMELESS.to_owned() } else { kept }
}

/// A name of dots alone means a directory, and Windows drops trailing dots and spaces.
fn trim(name: &str) -> &str {
    name.trim_end_matches(['.', ' ']).trim_start_matches(' ')
}

/// Whether a character could begin another line, command a terminal, or change the order in which text is read.
pub fn is_harmful(char: char) -> bool {
    char.is_control()
        // Line and paragraph separators, and everything that turns the direction of text around.
        || matches!(char, '\u{2028}' | '\u{2029}' | '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn shorten(name: &str) -> String {
    let extension = match name.rfind('.') {
        Some(at) if at > 0 && name.len() - at <= MAX_EXTENSION => &name[at..],
        _ => "",
    };
    let stem = &name[..name.len() - extension.len()];
    let cut = stem.floor_char_boundary(MAX_NAME - extension.len());
    let stem = trim(&stem[..cut]);
    format!("{stem}{extension}")
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn harmless_names_stay() {
        for name in ["a..b.pdf", "报告 2026.docx", ".profile", "x", "Zoë’s file (1).tar.gz", "console.txt", "COM10"]
        {
            assert_eq!(clean(name), name);
        }
    }

    #[test]
    fn names_above_255_bytes_are_cut_and_keep_their_extension() {
        let x = |count: usize| "x".repeat(count);
        assert_eq!(clean(&x(255)), x(255));
        assert_eq!(clean(&x(256)), x(255));
        assert_eq!(clean(&format!("{}.tar.gz", x(300))), format!("{}.gz", x(252)));
        // A device's name grows by one letter, and has no more room for it.
        assert_eq!(clean(&format!("CON.{}", x(251))), format!("_CON.{}", x(250)));
    }

    #[test]
    fn harmful_parts_go() {
        for (name, cleaned) in [
            ("../../etc/passwd", "passwd"),
            ("C:\\Windows\\system32\\cmd.exe", "cmd.exe"),
            ("a/b\\c", "c"),
            ("", "unnamed"),
            ("..", "unnamed"),
            (". .", "unnamed"),
            ("dir/", "unnamed"),
            ("nul", "_nul"),
            ("CON.txt", "_CON.txt"),
            ("lpt².log", "_lpt².log"),
            ("aux .c", "_aux .c"),
            ("name.txt. . ", "name.txt"),
            ("in\u{202e}fdp.exe", "infdp.exe"),
            ("two\r\nlines\u{1b}[2J", "twolines[2J"),
            ("nul\0byte", "nulbyte"),
            ("stream:ads", "streamads"),
        ] {
            assert_eq!(clean(name), cleaned, "{name:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn cleaning_is_idempotent_and_bounded(name in "(?s).{0,400}") {
            let once = clean(&name);
            proptest::prop_assert_eq!(&clean(&once), &once);
            proptest::prop_assert!((1..=255).contains(&once.len()));
            proptest::prop_assert!(!once.contains(['/', '\\', '\0']));
            proptest::prop_assert!(once != "." && once != "..");
        }
    }
}
