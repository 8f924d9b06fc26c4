//! Names of files as strangers choose them, and what may be made of them. Judged by rules of its own, which share
//! nothing with the code that cleans.
#![allow(dead_code)]

use std::collections::BTreeSet;

/// Harmless names from many languages and habits: each must stay as it is.
const HARMLESS: &str = include_str!("harmless_names.txt");
/// Picked by hand: what has broken other programs. One a line, with `\n`, `\r`, `\t`, `\0`, `\\` and `\u{…}` as escapes.
const HARMFUL: &str = include_str!("harmful_names.txt");

fn unescape(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (escape, len) = match rest.chars().next() {
            Some('n') => ('\n', 1),
            Some('r') => ('\r', 1),
            Some('t') => ('\t', 1),
            Some('0') => ('\0', 1),
            Some('\\') => ('\\', 1),
            Some('u') => {
                let end = rest.find('}').expect("an escape ends");
                (char::from_u32(u32::from_str_radix(&rest[2..end], 16).expect("hex")).expect("a character"), end + 1)
            }
            other => panic!("an escape that is none: {other:?}"),
        };
        out.push(escape);
        rest = &rest[len..];
    }
    out + rest
}

/// Names that must stay as they are.
pub fn harmless() -> Vec<String> {
    HARMLESS.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// All of them: picked by hand, and each combination of what attackers put before, into and behind a name.
pub fn corpus() -> Vec<String> {
    let mut names: BTreeSet<String> = HARMFUL.lines().filter(|line| !line.is_empty()).map(unescape).collect();
    names.extend(harmless());
    let before = [
        "",
        "/",
        "//",
        "\\",
        "..",
        "../",
        "..\\",
        "../../../../",
        "..\\..\\..\\",
        "/etc/",
        "C:\\",
        "c:",
        "\\\\host\\share\\",
        "\\\\?\\C:\\",
        "\\\\.\\",
        "file:///",
        "~/",
        "./",
        "....//",
        "%2e%2e%2f",
        "..%c0%af",
        "a/../../",
        "~root/",
        "/proc/self/",
        "/dev/",
        "\u{202e}",
        "\u{2066}",
        "\u{feff}",
        "\0",
        "\r\n",
        "\u{1b}[2J",
        " ",
        "-",
        ".",
        "\u{ff0e}\u{ff0e}\u{ff0f}",
    ];
    let middle = [
        "",
        "passwd",
        "a",
        "..",
        ".",
        "con",
        "NUL",
        "aux",
        "COM1",
        "lpt9",
        "COM\u{b9}",
        "CONIN$",
        "clock$",
        ".bashrc",
        ".ssh",
        "autorun.inf",
        "desktop.ini",
        "x y",
        "a\u{202e}fdp",
        "a\u{200f}b",
        "a\nb",
        "a\tb",
        "a\0b",
        "年报",
    ];
    let behind =
        ["", ".txt", ".", " ", ". .", "/", "\\", ":ads", "::$DATA", ".exe\u{202e}", ".tar.gz", "\0.png", "/.", "/.."];
    for before in before {
        for middle in middle {
            names.extend(behind.iter().map(|behind| format!("{before}{middle}{behind}")));
        }
    }
    for unit in ["a", "é", "年", "😀", "."] {
        for bytes in [200, 250, 254, 255, 256, 257, 300, 4096] {
            let long = unit.repeat(bytes / unit.len() + 1);
            names.extend([long.clone(), format!("{long}.pdf"), format!("{long}/{long}"), format!("a.{long}")]);
        }
    }
    names.into_iter().collect()
}

const DEVICES: &str = "CON PRN AUX NUL CONIN$ CONOUT$ COM1 COM2 COM3 COM4 COM5 COM6 COM7 COM8 COM9 COM¹ COM² COM³ \
    LPT1 LPT2 LPT3 LPT4 LPT5 LPT6 LPT7 LPT8 LPT9 LPT¹ LPT² LPT³";

/// Asserts that `told` is a name that harms nobody who uses it as one.
pub fn judge(name: &str, told: &str) {
    let from = || format!("{told:?}, made of {name:?}");
    assert!((1..=255).contains(&told.len()), "{}", from());
    assert!(!told.contains(['/', '\\', ':', '\0']), "{}", from());
    assert!(!told.chars().any(char::is_control), "{}", from());
    let turns =
        ["\u{202a}", "\u{202b}", "\u{202c}", "\u{202d}", "\u{202e}", "\u{2066}", "\u{2067}", "\u{2068}", "\u{2069}"];
    assert!(!turns.iter().any(|turn| told.contains(turn)), "{}", from());
    assert!(!told.trim_matches('.').is_empty() && !told.ends_with('.') && !told.ends_with(' '), "{}", from());
    let stem = told.split('.').next().unwrap_or_default().trim_end_matches(' ').to_uppercase();
    assert!(!DEVICES.split_whitespace().any(|device| device == stem), "{}", from());
    if harmless().iter().any(|harmless| harmless == name) {
        assert_eq!(told, name);
    }
    // As a file system sees it: one component, which stays in its directory.
    let inside = std::path::Path::new("dir").join(told);
    assert_eq!(inside.parent(), Some(std::path::Path::new("dir")), "{}", from());
    assert_eq!(inside.components().count(), 2, "{}", from());
}
