//! Building what is shipped, shown and tested.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Failure, Outcome, cannot, cargo, output_of, run, target_dir};

/// How a build is optimised.
#[derive(Clone, Copy)]
pub enum Profile {
    /// Fast to build, with debug assertions: what the tests use.
    Dev,
    /// Optimised.
    Release,
    /// Optimised as it is shipped, which takes minutes.
    Dist,
}

impl Profile {
    /// What cargo calls it for the library.
    fn of_library(self) -> &'static str {
        match self {
            Profile::Dev => "dev",
            Profile::Release => "release",
            Profile::Dist => "dist",
        }
    }

    /// And for the relay.
    fn of_relay(self) -> &'static str {
        match self {
            Profile::Dist => "dist-relay",
            other => other.of_library(),
        }
    }
}

/// Where cargo puts what it builds in a profile.
fn built_in(profile: &str) -> PathBuf {
    target_dir().join(if profile == "dev" { "debug" } else { profile })
}

/// Builds libcrvideo.so and returns a directory that has it under all its names.
///
/// Only the cdylib: with the rlib in the same compilation there is no link-time optimisation. And in a directory of its
/// own, where the test runner's builds do not replace it.
pub fn library(profile: Profile) -> Outcome<PathBuf> {
    let profile = profile.of_library();
    run(cargo(LIBRARY).args(["--profile", profile]))?;
    with_all_names(&built_in(profile))
}

const LIBRARY: [&str; 6] = ["rustc", "--package", "crvideo", "--lib", "--crate-type", "cdylib"];

/// Copies the library that cargo built into a directory in which the linker finds it (libcrvideo.so), and the loader,
/// too (its soname).
fn with_all_names(built: &Path) -> Outcome<PathBuf> {
    let dir = built.join("libcrvideo");
    let library = dir.join("libcrvideo.so");
    std::fs::create_dir_all(&dir).map_err(cannot("create", &dir))?;
    // A running program may have the old copy open, so that one is left to it and not written into.
    let _ = std::fs::remove_file(&library);
    std::fs::copy(built.join("libcrvideo.so"), &library).map_err(cannot("copy libcrvideo.so to", &dir))?;
    let dynamic_section = output_of(Command::new("readelf").args(["--dynamic", "--wide"]).arg(&library))?;
    if let Some(soname) = soname(&dynamic_section).filter(|soname| *soname != "libcrvideo.so") {
        let link = dir.join(soname);
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink("libcrvideo.so", &link).map_err(cannot("create", &link))?;
    }
    Ok(dir)
}

/// The soname in what `readelf --dynamic` prints.
fn soname(dynamic_section: &str) -> Option<&str> {
    let line = dynamic_section.lines().find(|line| line.contains("(SONAME)"))?;
    Some(line.split_once('[')?.1.split_once(']')?.0)
}

/// Builds crvideo-relay and returns the program.
pub fn relay(profile: Profile) -> Outcome<PathBuf> {
    let profile = profile.of_relay();
    run(&mut cargo(["build", "--package", "crvideo-relay", "--bin", "crvideo-relay", "--profile", profile]))?;
    Ok(built_in(profile).join("crvideo-relay"))
}

/// The one target that AddressSanitizer is used on.
const ASAN_TARGET: &str = "x86_64-unknown-linux-gnu";

/// Whether AddressSanitizer can be used on this machine.
pub const ASAN_WORKS: bool = cfg!(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"));

/// Builds libcrvideo.so with AddressSanitizer and returns the directory that it is in.
///
/// The sanitizer is an unstable option of rustc, so a stable rustc must be told that this is meant. With an explicit
/// target the flag reaches neither build scripts nor procedural macros.
pub fn asan_library() -> Outcome<PathBuf> {
    if !ASAN_WORKS {
        return Err(Failure::usage("AddressSanitizer is used on x86-64 Linux with glibc only"));
    }
    let target_dir = target_dir().join("asan");
    let mut command = cargo(LIBRARY);
    command
        .args(["--target", ASAN_TARGET])
        .env("CARGO_TARGET_DIR", &target_dir)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Zsanitizer=address")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    run(&mut command)?;
    with_all_names(&target_dir.join(ASAN_TARGET).join("debug"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soname_is_found_in_what_readelf_prints() {
        let printed = "Dynamic section at offset 0x2d90 contains 27 entries:\n  Tag        Type                         Name/Value\n 0x000000000000000e (SONAME)             Library soname: [libcrvideo.so.0]\n";
        assert_eq!(soname(printed), Some("libcrvideo.so.0"));
        assert_eq!(soname(" 0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]\n"), None);
    }
}
