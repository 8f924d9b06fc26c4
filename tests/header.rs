//! include/crvideo.h is what cbindgen makes of src/ffi; every compiler of the floor takes it without a warning; and
//! what it says is true. include/crvideo.hpp keeps what its opening promises.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "common/native.rs"]
mod native;

use std::path::Path;
use std::process::Command;

use native::{Language, compile, compile_with, declared_functions, defined_macros, output, root, scratch};

/// The sources, in the order in which the header has their items.
const SOURCES: [&str; 18] = [
    "version",
    "error",
    "session",
    "send",
    "receive",
    "presence",
    "callback",
    "events",
    "queue",
    "log",
    "rtm/types",
    "rtm/life",
    "rtm/file",
    "rtm/message",
    "rtm/user",
    "rtm/group",
    "rtm/listen",
    "rtm/recipient",
];

fn generated() -> String {
    let mut config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    config.after_includes = Some(format!(
        "\n/** The version of this header; `CRVideo_Version` tells the library's. */\n\
         #define CRVIDEO_VERSION \"{}\"\n\
         #define CRVIDEO_VERSION_MAJOR {}\n\
         #define CRVIDEO_VERSION_MINOR {}\n\
         #define CRVIDEO_VERSION_PATCH {}",
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR"),
        env!("CARGO_PKG_VERSION_PATCH"),
    ));
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(root().join("src/ffi").join(source).with_extension("rs"));
    }
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    String::from_utf8(header).unwrap()
}

#[test]
fn the_committed_header_is_what_the_sources_say() {
    let path = root().join("include/crvideo.h");
    let fresh = generated();
    if std::env::var_os("CRVIDEO_UPDATE_HEADER").is_some_and(|value| value == "1") {
        std::fs::write(&path, &fresh).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == fresh, "include/crvideo.h is stale: cargo xtask header writes it again");
}

#[test]
fn the_headers_are_ascii_so_that_no_code_page_garbles_them() {
    for header in ["include/crvideo.h", "include/crvideo.hpp"] {
        assert!(std::fs::read_to_string(root().join(header)).unwrap().is_ascii(), "{header}");
    }
}

#[test]
fn no_source_with_exports_is_missing_in_the_header() {
    for dir in ["", "rtm/"] {
        for entry in std::fs::read_dir(root().join("src/ffi").join(dir)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                let exports = std::fs::read_to_string(&path).unwrap().contains("#[unsafe(no_mangle)]");
                let name = format!("{dir}{}", path.file_stem().unwrap().to_str().unwrap());
                assert!(SOURCES.contains(&name.as_str()) || !exports, "{} is not among SOURCES", path.display());
            }
        }
    }
}

#[test]
fn every_macro_and_function_of_the_header_is_used_by_a_c_file() {
    let uses = std::fs::read_to_string(root().join("tests/c/header_use.c")).unwrap();
    let words: Vec<_> = uses.split(|char: char| !char.is_alphanumeric() && char != '_').collect();
    let (macros, functions) = (defined_macros(), declared_functions());
    assert!(macros.len() > 50 && functions.len() > 40);
    for name in macros.iter().chain(&functions) {
        assert!(words.contains(&name.as_str()), "tests/c/header_use.c does not use {name}");
    }
}

#[test]
fn the_header_means_the_same_in_c99_and_cpp98_and_cpp11() {
    let no_link = ["-c".as_ref()];
    compile(Language::C99, &root().join("tests/c/header_use.c"), &no_link, |_| ());
    compile(Language::Cpp98, &root().join("tests/c/header_use.cpp"), &no_link, |_| ());
    compile(Language::Cpp11, &root().join("tests/c/header_use.cpp"), &no_link, |_| ());
}

#[test]
fn the_example_in_the_headers_opening_compiles() {
    let header = std::fs::read_to_string(root().join("include/crvideo.h")).unwrap();
    let opening = header.split("*/").next().unwrap();
    let example: Vec<_> = opening.lines().filter_map(|line| line.strip_prefix(" *     ")).collect();
    let example: Vec<_> = example.into_iter().filter(|line| !line.starts_with("      ")).collect();
    assert!(example.iter().any(|line| line.starts_with("int main")));
    let source = scratch("example.c");
    std::fs::write(&source, format!("#include <crvideo.h>\n#include <stdio.h>\n{}\n", example.join("\n"))).unwrap();
    compile(Language::C99, &source, &["-c".as_ref()], |_| ());
    compile(Language::Cpp98, &source, &["-c".as_ref(), "-Wno-unused-parameter".as_ref()], |_| ());
    std::fs::remove_file(source).unwrap();
}

#[test]
fn the_cpp_header_compiles_in_every_cpp_since_11() {
    for language in [Language::Cpp11, Language::Cpp17, Language::Cpp20] {
        let more = ["-c", "-Wshadow", "-Wold-style-cast", "-Wnon-virtual-dtor"].map(AsRef::as_ref);
        compile(language, &root().join("tests/c/hpp_use.cpp"), &more, |_| ());
    }
}

#[test]
fn the_cpp_header_contains_exceptions_and_keeps_functions_as_long_as_they_are_needed() {
    let run = |program: &Path| drop(output(&mut Command::new(program)));
    let mock = root().join("tests/c/hpp_mock.cpp");
    compile(Language::Cpp11, &mock, &["-g".as_ref()], run);
    // Of the compilers only gcc is sure to have its sanitizers' run-time with it.
    let sanitized = ["-g", "-fsanitize=address,undefined"].map(AsRef::as_ref);
    compile_with("g++", Language::Cpp20, &mock, &sanitized, run);
}
