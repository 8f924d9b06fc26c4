//! Every committed input goes through its target, without a fuzzer. Inputs that once broke a rule are among them; their
//! names begin with `regression`.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

fn corpus(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../fuzz/corpus", name].iter().collect()
}

/// A committed corpus is no larger, in bytes.
const LARGEST: u64 = 220_000;

fn run_all(name: &str) {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(corpus(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 3, "the corpus of {name} is missing");
    let mut size = 0;
    for path in paths {
        let data = std::fs::read(&path).unwrap();
        size += data.len() as u64;
        let outcome = std::panic::catch_unwind(|| crvideo_fuzz::run(name, &data));
        assert!(outcome.is_ok(), "{} breaks a rule, see above", path.display());
    }
    assert!(size <= LARGEST, "the corpus of {name} has {size} bytes");
}

/// One test for all, because memory is counted for the whole process.
#[test]
fn every_committed_input_keeps_the_rules() {
    for target in crvideo_fuzz::TARGETS {
        run_all(target.name);
    }
}

#[test]
fn each_target_has_a_program() {
    let manifest = std::fs::read_to_string(corpus("../Cargo.toml")).unwrap();
    let programs: Vec<&str> =
        manifest.lines().filter_map(|line| line.strip_prefix("path = \"targets/")?.strip_suffix(".rs\"")).collect();
    let targets: Vec<&str> = crvideo_fuzz::TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(programs, targets);
    for name in targets {
        let program = std::fs::read_to_string(corpus("../targets").join(format!("{name}.rs"))).unwrap();
        assert!(program.contains(&format!("run(\"{name}\"")), "{program}");
    }
}
