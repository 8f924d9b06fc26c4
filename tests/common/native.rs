//! C and C++ compilers, and the library as they see it.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

#[path = "cargo.rs"]
mod cargo;

use cargo::cargo_command;

/// The languages of the floor, and some above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    C99,
    Cpp98,
    Cpp11,
    Cpp17,
    Cpp20,
}

impl Language {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::C99 => &["-x", "c", "-std=c99", "-Wstrict-prototypes"],
            Self::Cpp98 => &["-x", "c++", "-std=c++98"],
            Self::Cpp11 => &["-x", "c++", "-std=c++11"],
            Self::Cpp17 => &["-x", "c++", "-std=c++17"],
            Self::Cpp20 => &["-x", "c++", "-std=c++20"],
        }
    }

    /// The compilers of this language that this machine has; there is at least one.
    pub fn compilers(self) -> Vec<&'static str> {
        let known = if self == Self::C99 { ["gcc", "clang"] } else { ["g++", "clang++"] };
        let found: Vec<_> =
            known.into_iter().filter(|name| Command::new(name).arg("--version").output().is_ok()).collect();
        assert!(!found.is_empty(), "none of {known:?} is installed");
        found
    }
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A path for what one test makes, below the build directory.
pub fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("native-{}-{name}", std::process::id()))
}

/// Compiles `source` with every compiler of `language`, every warning an error, and what follows in `more`. What was
/// made is given to `then`, and removed after it.
pub fn compile(language: Language, source: &Path, more: &[&OsStr], then: impl Fn(&Path)) {
    for compiler in language.compilers() {
        compile_with(compiler, language, source, more, &then);
    }
}

/// Like [`compile`], with one compiler.
pub fn compile_with(compiler: &str, language: Language, source: &Path, more: &[&OsStr], then: impl Fn(&Path)) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let made = scratch(&COUNT.fetch_add(1, Ordering::Relaxed).to_string());
    let mut command = Command::new(compiler);
    command.args(language.flags()).args(["-Wall", "-Wextra", "-pedantic", "-Werror", "-pthread", "-I"]);
    command.arg(root().join("include")).arg(source).args(["-x", "none"]).args(more).arg("-o").arg(&made);
    output(&mut command);
    then(&made);
    std::fs::remove_file(&made).unwrap();
}

/// Runs a command, which must succeed without a word on standard error; returns what it has printed.
pub fn output(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && errors.is_empty(), "{command:?}: {}\n{errors}", done.status);
    String::from_utf8(done.stdout).unwrap()
}

/// The directory of libcrvideo.so: the one that `CRVIDEO_LIB_DIR` names, or it is built.
pub fn library_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        if let Some(given) = std::env::var_os("CRVIDEO_LIB_DIR") {
            return given.into();
        }
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("artefacts");
        let mut cargo = cargo_command();
        cargo.args(["rustc", "--package", "crvideo", "--lib", "--crate-type", "cdylib", "--quiet", "--target-dir"]);
        let status = cargo.arg(&target).current_dir(root()).status().unwrap();
        assert!(status.success(), "{cargo:?}: {status}");
        target.join("debug")
    })
}

/// The functions that include/crvideo.h declares, sorted.
pub fn declared_functions() -> Vec<String> {
    let header = without_comments(&std::fs::read_to_string(root().join("include/crvideo.h")).unwrap());
    let mut names: Vec<String> = header
        .split(';')
        .filter(|item| !item.contains("typedef") && !item.contains("(*"))
        .filter_map(|item| item.split_once('(')?.0.split([' ', '*', '\n']).next_back())
        .filter(|name| name.starts_with("CRVideo_") || name.starts_with("RTM_"))
        .map(str::to_owned)
        .collect();
    names.sort();
    // A macro may have the name of a function.
    names.dedup();
    names
}

/// The macros that include/crvideo.h defines, but for its guard.
pub fn defined_macros() -> Vec<String> {
    let header = std::fs::read_to_string(root().join("include/crvideo.h")).unwrap();
    let names = header.lines().filter_map(|line| line.strip_prefix("#define ")?.split([' ', '(']).next());
    names.filter(|name| *name != "CRVIDEO_H").map(str::to_owned).collect()
}

fn without_comments(text: &str) -> String {
    let mut parts = text.split("/*");
    let mut code = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        code += part.split_once("*/").unwrap().1;
    }
    code
}
