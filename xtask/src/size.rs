//! `cargo xtask size`: how large the shipped library is, and what each crate has to do with it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::no_arguments;
use crate::process::{Failure, Outcome, cannot, cargo, output_of, run, target_dir};

/// Text of `cargo xtask help size`.
pub const DETAILS: &str =
    "Builds libcrvideo.so in the profile `dist`, with encryption and without, and prints the size of the stripped file,
what it aims at, and what it may be at most: exit code 1 above that. Then the share of each crate in code and constants, by
the symbols that the file has before it is stripped, and the other sections. A generic function counts for the first
crate in its name that is not the standard library. Needs binutils (nm, readelf, strip).";

/// A library that is shipped.
struct Variant {
    name: &'static str,
    options: &'static [&'static str],
    /// Bytes that it aims at.
    goal: u64,
    /// Bytes above which the command fails: what is there, and some reserve for the next change.
    limit: u64,
}

const VARIANTS: [Variant; 2] = [
    Variant { name: "with encryption", options: &[], goal: 2_500_000, limit: 2_500_000 },
    Variant { name: "without encryption", options: &["--no-default-features"], goal: 1_000_000, limit: 1_450_000 },
];

/// Crates of which the standard library consists, or which it brings for printing back-traces.
const STANDARD: [&str; 5] = ["core", "alloc", "std", "hashbrown", "panic_unwind"];
const BACK_TRACES: [&str; 5] = ["gimli", "addr2line", "miniz_oxide", "rustc_demangle", "backtrace_rs"];

/// Bytes by row of the table.
type Shares = BTreeMap<String, u64>;

/// Runs the command.
pub fn size(arguments: &[String]) -> Outcome<()> {
    no_arguments(arguments)?;
    let mut tables = Vec::new();
    let mut too_large = Vec::new();
    for variant in &VARIANTS {
        let (whole, stripped) = build(variant)?;
        let bytes = std::fs::metadata(&stripped).map_err(cannot("read", &stripped))?.len();
        tables.push((bytes, shares(&whole, bytes)?));
        if bytes > variant.limit {
            too_large.push(format!("{bytes} bytes {} are more than {}", variant.name, variant.limit));
        }
    }
    print!("{}", table(&tables));
    if too_large.is_empty() { Ok(()) } else { Err(Failure::new(format!("libcrvideo.so: {}", too_large.join("; ")))) }
}

/// Builds the library and returns it with its symbols, and stripped. In a directory of its own, because symbols are
/// mangled in the way that names the crates of generic functions.
fn build(variant: &Variant) -> Outcome<(PathBuf, PathBuf)> {
    let directory = target_dir().join("size");
    let mut command = cargo(["rustc", "--profile", "dist", "--package", "crvideo", "--lib", "--crate-type", "cdylib"]);
    command.args(variant.options).args(["--config", "profile.dist.strip=\"none\""]);
    command.env("CARGO_TARGET_DIR", &directory).env("RUSTFLAGS", "-Csymbol-mangling-version=v0");
    run(command.env_remove("CARGO_ENCODED_RUSTFLAGS"))?;
    let whole = directory.join("dist/libcrvideo.so");
    let stripped = directory.join("libcrvideo-stripped.so");
    run(Command::new("strip").arg("--strip-all").arg("-o").arg(&stripped).arg(&whole))?;
    Ok((whole, stripped))
}

/// A section of the file: where it is loaded, and its length.
struct Section {
    name: String,
    start: u64,
    len: u64,
}

/// What each crate and each section has of the `bytes` of the stripped file.
fn shares(library: &Path, bytes: u64) -> Outcome<Shares> {
    let sections = output_of(Command::new("readelf").args(["--sections", "--wide"]).arg(library))?;
    let symbols = output_of(Command::new("nm").args(["--numeric-sort", "--defined-only"]).arg(library))?;
    let (sections, symbols) = (read_sections(&sections), read_symbols(&symbols));
    let mut shares = Shares::new();
    for section in &sections {
        let row = match section.name.as_str() {
            ".text" => {
                share_out(section, &symbols, &mut shares);
                continue;
            }
            ".rodata" => "[constants]",
            ".eh_frame" | ".eh_frame_hdr" | ".gcc_except_table" => "[unwinding]",
            _ => "[linking and the rest]",
        };
        *shares.entry(row.to_owned()).or_default() += section.len;
    }
    let known: u64 = shares.values().sum();
    *shares.entry("[linking and the rest]".to_owned()).or_default() += bytes.saturating_sub(known);
    Ok(shares)
}

/// Gives each crate its part of the code: a symbol reaches to the next one, for those of assembler say no length.
fn share_out(section: &Section, symbols: &[(u64, String)], shares: &mut Shares) {
    let end = section.start + section.len;
    let inside: Vec<_> = symbols.iter().filter(|(at, _)| (section.start..end).contains(at)).collect();
    for (index, (at, name)) in inside.iter().enumerate() {
        let next = inside.get(index + 1).map_or(end, |(next, _)| *next);
        *shares.entry(owner(name)).or_default() += next - at;
    }
}

/// The sections that are in the stripped file, from what readelf prints.
fn read_sections(printed: &str) -> Vec<Section> {
    let hexadecimal = |text: &str| u64::from_str_radix(text, 16).ok();
    let read = |line: &str| {
        let (_, rest) = line.split_once(']')?;
        let words: Vec<&str> = rest.split_whitespace().collect();
        let [name, kind, start, _, len, ..] = words[..] else { return None };
        let (start, len) = (hexadecimal(start)?, hexadecimal(len)?);
        (kind != "NOBITS" && start > 0).then(|| Section { name: name.to_owned(), start, len })
    };
    printed.lines().filter_map(read).collect()
}

/// Addresses and names, from what nm prints.
fn read_symbols(printed: &str) -> Vec<(u64, String)> {
    let read = |line: &str| {
        let mut words = line.split_whitespace();
        let (at, _, name) = (words.next()?, words.next()?, words.next()?);
        Some((u64::from_str_radix(at, 16).ok()?, name.to_owned()))
    };
    printed.lines().filter_map(read).collect()
}

/// The row of the table to which a symbol belongs.
fn owner(symbol: &str) -> String {
    if symbol.starts_with("CRVideo_") || symbol.starts_with("RTM_") {
        return "crvideo".to_owned();
    }
    if symbol.starts_with("blake3") {
        return "blake3 (C, assembler)".to_owned();
    }
    if !symbol.starts_with("_R") {
        // The start-up code of the C library has some bytes, too.
        return "ring (C, assembler)".to_owned();
    }
    let crates = crates_in(symbol);
    if crates.iter().any(|name| BACK_TRACES.contains(name)) || symbol.contains("backtrace_rs") {
        return "the standard library's back-traces".to_owned();
    }
    match crates.iter().find(|name| !STANDARD.contains(name)) {
        Some(name) => (*name).to_owned(),
        None => "the standard library".to_owned(),
    }
}

/// The crates that a symbol names, in order: `C`, perhaps `s`, a disambiguator and `_`, then the name and its length before
/// it (RFC 2603).
fn crates_in(symbol: &str) -> Vec<&str> {
    let name_at = |rest: &str| -> Option<(usize, usize)> {
        let digits = match rest.strip_prefix('s') {
            Some(tail) => rest.len() - tail.split_once('_').filter(|(mark, _)| is_base_62(mark))?.1.len(),
            None => 0,
        };
        let end = digits + rest[digits..].find(|c: char| !c.is_ascii_digit())?;
        let len: usize = rest[digits..end].parse().ok()?;
        Some((end, len))
    };
    let mut crates = Vec::new();
    for (at, _) in symbol.match_indices('C') {
        let rest = &symbol[at + 1..];
        let Some((start, len)) = name_at(rest) else { continue };
        let name = rest.get(start..start + len).unwrap_or_default();
        if !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        {
            crates.push(name);
        }
    }
    crates
}

fn is_base_62(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Crates with less than so many bytes in both libraries are one row.
const SMALL: u64 = 2_000;

/// The figures, and the shares, largest first.
fn table(tables: &[(u64, Shares)]) -> String {
    let mut text = String::from("| libcrvideo.so, bytes |");
    let names = VARIANTS.map(|variant| variant.name);
    let _ = writeln!(text, " {} |\n| --- | --- | --- |", names.join(" | "));
    let mut row = |name: &str, numbers: Vec<u64>| {
        let numbers: Vec<String> = numbers.into_iter().map(grouped).collect();
        let _ = writeln!(text, "| {name} | {} |", numbers.join(" | "));
    };
    row("**stripped**", tables.iter().map(|(bytes, _)| *bytes).collect());
    row("aim", VARIANTS.iter().map(|variant| variant.goal).collect());
    row("at most", VARIANTS.iter().map(|variant| variant.limit).collect());
    let of = |name: &str| tables.iter().map(|(_, shares)| shares.get(name).copied().unwrap_or(0)).collect::<Vec<_>>();
    let mut names: Vec<&String> = tables.iter().flat_map(|(_, shares)| shares.keys()).collect();
    names.sort_by_key(|name| (std::cmp::Reverse(of(name).into_iter().max()), *name));
    names.dedup();
    let (large, small): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| of(name).iter().any(|it| *it >= SMALL));
    for name in large {
        row(name, of(name));
    }
    let sum = |index: usize| small.iter().map(|name| of(name)[index]).sum();
    row("smaller crates", (0..tables.len()).map(sum).collect());
    text
}

/// A number with commas between its thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generic_function_belongs_to_the_first_crate_that_is_not_the_standard_library() {
        // As rustc 1.95 has written them.
        let insert = "_RNvMsi_NtNtNtCslNYArtu3iFV_5alloc11collections5btree3mapINtB5_8BTreeMapmNtNtNtCsewIYDujV4z7_13crvideo_proto7session4link7PendingE6insertB1e_";
        assert_eq!(crates_in(insert), ["alloc", "crvideo_proto"]);
        assert_eq!(owner(insert), "crvideo_proto");
        assert_eq!(owner("_RNvNtNtCsgEmfK2I1SDS_4core3str5count14do_count_chars"), "the standard library");
        assert_eq!(
            owner("_RNvNtNtNtNtCsjrHSEGnQ3l9_3std12backtrace_rs9symbolize5gimli4mmap"),
            "the standard library's back-traces"
        );
        assert_eq!(owner("CRVideo_Login"), "crvideo");
        assert_eq!(owner("fiat_25519_to_bytes"), "ring (C, assembler)");
    }

    #[test]
    fn the_code_is_shared_out_to_its_last_byte() {
        let sections = read_sections(
            "  [12] .text             PROGBITS        0000000000001000 001000 000100 00  AX  0   0 16\n\
             \u{20} [13] .bss              NOBITS          0000000000003000 002000 000040 00  WA  0   0 16\n\
             \u{20} [14] .comment          PROGBITS        0000000000000000 002000 000040 00  WA  0   0 16\n",
        );
        assert_eq!(sections.len(), 1);
        let symbols =
            read_symbols("0000000000001000 t blake3_a\n0000000000001020 T CRVideo_Login\n0000000000003000 b x\n");
        let mut shares = Shares::new();
        share_out(&sections[0], &symbols, &mut shares);
        let expected = [("blake3 (C, assembler)".to_owned(), 0x20), ("crvideo".to_owned(), 0xe0)];
        assert_eq!(shares, Shares::from(expected));
    }

    #[test]
    fn numbers_have_commas_between_their_thousands() {
        assert_eq!([0, 999, 1_000, 2_912_664].map(grouped), ["0", "999", "1,000", "2,912,664"]);
    }
}
