//! What libcrvideo.so shows to the linker and the loader, and that it is the library that the header describes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "common/native.rs"]
mod native;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

use native::{Language, compile, declared_functions, library_dir, output, root};

fn frozen_exports() -> Vec<String> {
    let list = std::fs::read_to_string(root().join("tests/abi/exports.txt")).unwrap();
    list.lines().map(str::to_owned).collect()
}

fn dynamic_section() -> String {
    output(Command::new("readelf").arg("-dW").arg(library_dir().join("libcrvideo.so")))
}

#[test]
fn the_library_exports_what_the_header_declares_and_nothing_else() {
    let symbols = output(Command::new("nm").args(["-D", "--defined-only"]).arg(library_dir().join("libcrvideo.so")));
    let mut exported: Vec<_> = symbols.lines().map(|line| line.split(' ').next_back().unwrap().to_owned()).collect();
    exported.sort();
    assert_eq!(exported, frozen_exports());
    assert_eq!(declared_functions(), frozen_exports());
}

#[test]
fn the_library_says_its_soname_and_stays_loaded() {
    let section = dynamic_section();
    let has = |tag: &str, value: &str| section.lines().any(|line| line.contains(tag) && line.contains(value));
    assert!(has("(SONAME)", "[libcrvideo.so.0]"), "{section}");
    assert!(has("(FLAGS_1)", "NODELETE"), "{section}");
    assert!(has("(SYMBOLIC)", "") || has("(FLAGS)", "SYMBOLIC"), "{section}");
}

#[test]
fn the_library_needs_nothing_but_the_c_runtime() {
    let allowed = ["libc.so.", "libgcc_s.so.", "libm.so.", "libpthread.so.", "libdl.so.", "ld-linux"];
    for line in dynamic_section().lines().filter(|line| line.contains("(NEEDED)")) {
        let name = line.split('[').nth(1).unwrap();
        assert!(allowed.iter().any(|allowed| name.starts_with(allowed)), "{line}");
    }
}

#[test]
fn c_and_cpp_programs_find_in_the_library_what_the_header_says() {
    let library = library_dir().join("libcrvideo.so");
    let more: [&OsStr; 1] = [library.as_os_str()];
    let run = |program: &Path| {
        // The soname is not the file's name, so the loader is told the file.
        let mut preload = OsString::from(&library);
        if library.with_file_name("libcrvideo.so.0").exists() {
            preload.clear();
        }
        output(Command::new(program).env("LD_LIBRARY_PATH", library_dir()).env("LD_PRELOAD", preload));
    };
    compile(Language::C99, &root().join("tests/c/header_use.c"), &more, run);
    compile(Language::Cpp98, &root().join("tests/c/header_use.cpp"), &more, run);
    compile(Language::Cpp11, &root().join("tests/c/header_use.cpp"), &more, run);
}
