//! README's programs compile without a warning, and the lists in the documents are complete.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

#[path = "c/harness.rs"]
mod harness;
#[path = "common/rtm_gate.rs"]
mod rtm_gate;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Mode, PATIENCE, Relay, Running, Scratch, output, root};

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// The programs of README: name and text of each C block that a marker comment names.
fn programs() -> Vec<(String, String)> {
    let readme = read("README.md");
    let marked = readme.split("<!-- example: ").skip(1);
    let programs: Vec<_> = marked
        .map(|part| {
            let (name, rest) = part.split_once(" -->\n```c\n").unwrap();
            (name.to_owned(), rest.split_once("```\n").unwrap().0.to_owned())
        })
        .collect();
    assert_eq!(readme.matches("```c\n").count(), programs.len(), "each C block of README is a marked example");
    programs
}

#[test]
fn the_programs_in_readme_compile_without_a_warning() {
    let dir = Scratch::new();
    let programs = programs();
    assert_eq!(programs.len(), 3);
    for (name, text) in programs {
        let source = dir.file(&name, text.as_bytes());
        let mut cc = Command::new("cc");
        cc.args(["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-c", "-I"]).arg(root().join("include"));
        output(cc.arg(&source).arg("-o").arg(source.with_extension("o")));
    }
}

#[test]
fn the_programs_in_readme_send_and_receive_a_file() {
    let dir = Scratch::new();
    let relay = Relay::start();
    let command = |name: &str, user: &[&str]| {
        let (_, text) = programs().into_iter().find(|program| program.0 == name).unwrap();
        let source = dir.file(name, text.as_bytes());
        let mut command = Mode::Plain.command(source.to_str().unwrap(), relay.args().iter().chain(user));
        command.current_dir(dir.path(""));
        command
    };
    let mut bob = Running::start(command("receiver.c", &["bob"]));
    bob.wait_for("login: Success.");
    let readme = root().join("README.md");
    let alice = Running::start(command("sender.c", &["alice", "bob", readme.to_str().unwrap()])).finish().exits(0);
    alice.says("Success.");

    let received = dir.path("received.bin");
    let deadline = Instant::now() + PATIENCE;
    while !received.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(std::fs::read(received).unwrap(), std::fs::read(&readme).unwrap());
    bob.hang_up();
    bob.finish().exits(0).says("README.md from alice is in ");
}

#[test]
fn the_rtm_program_in_readme_sends_a_file() {
    let dir = Scratch::new();
    let gate = rtm_gate::Gate::start();
    let (_, text) = programs().into_iter().find(|program| program.0 == "rtm_sender.c").unwrap();
    let source = dir.file("rtm_sender.c", text.as_bytes());
    let (address, project) = (gate.address.to_string(), rtm_gate::PROJECT.to_string());
    let readme = root().join("README.md");
    let args = [address.as_str(), &project, rtm_gate::SECRET, readme.to_str().unwrap()];
    Mode::Plain.run(source.to_str().unwrap(), args).exits(0).says("0  (message ");
    let sent = gate.wait_for("sendfile", 1).params;
    assert_eq!(sent.bytes("file").unwrap().as_ref(), std::fs::read(&readme).unwrap());
}

/// The names in all dependency sections of a manifest.
fn dependencies(manifest: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('#') {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = section.ends_with("dependencies") && section != "workspace.dependencies";
        } else if inside && let Some((name, _)) = line.split_once(['.', '=', ' ']) {
            names.push(name);
        }
    }
    names
}

#[test]
fn every_direct_dependency_is_explained() {
    let page = read("docs/dependencies.md");
    for manifest in [
        "Cargo.toml",
        "crates/proto/Cargo.toml",
        "crates/relay/Cargo.toml",
        "crates/fuzz/Cargo.toml",
        "fuzz/Cargo.toml",
        "crates/chaos/Cargo.toml",
        "crates/micro/Cargo.toml",
        "xtask/Cargo.toml",
    ] {
        // What stands between this manifest's heading and the next one.
        let heading = format!("(`{manifest}`)\n");
        let section = page.split(&heading).nth(1).unwrap().split("\n## ").next().unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let mut explained: Vec<_> = rows.map(|(name, _)| name).collect();
        let manifest_text = read(manifest);
        let mut used = dependencies(&manifest_text);
        used.sort();
        // The tests of a package may use what it uses itself only with some feature.
        used.dedup();
        explained.sort();
        assert_eq!(used, explained, "docs/dependencies.md, the section of {manifest}");
    }
}

/// The functions that the header declares.
fn functions(header: &str) -> Vec<&str> {
    let code = header.lines().filter(|line| !line.trim_start().starts_with(['*', '/']));
    let mentions = code.flat_map(|line| {
        let prefixed = |prefix| line.match_indices(prefix).map(|(at, _)| &line[at..]);
        prefixed("CRVideo_").chain(prefixed("RTM_")).collect::<Vec<_>>()
    });
    mentions.filter_map(|text| text.split_once('(').map(|(name, _)| name)).filter(|name| is_name(name)).collect()
}

fn is_name(text: &str) -> bool {
    text.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
}

#[test]
fn the_changelog_names_every_function_of_the_header() {
    let (header, changelog) = (read("include/crvideo.h"), read("CHANGELOG.md"));
    let functions = functions(&header);
    assert!(functions.contains(&"CRVideo_SendFile"), "{functions:?}");
    for name in functions {
        assert!(changelog.contains(&format!("`{name}`")), "CHANGELOG.md does not name {name}");
    }
}

/// The Rust files below a directory, as paths relative to it; test modules are left out.
fn sources(dir: &Path, below: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir.join(below)).unwrap().map(Result::unwrap) {
        let name = Path::new(below).join(entry.file_name()).into_os_string().into_string().unwrap();
        if entry.path().is_dir() && !name.ends_with("tests") {
            found.extend(sources(dir, &name));
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            found.push(name);
        }
    }
    found
}

#[test]
fn the_architecture_names_every_source_file() {
    let page = read("ARCHITECTURE.md");
    for dir in ["src/", "crates/proto/src/", "crates/relay/src/", "crates/fuzz/src/", "xtask/src/"] {
        let section = page.split(&format!("| **`{dir}`** |")).nth(1).unwrap();
        let section = section.split("| **`").next().unwrap();
        for file in sources(&root().join(dir), "") {
            assert!(section.contains(&format!("`{file}`")), "ARCHITECTURE.md does not name {file} of {dir}");
        }
    }
}
