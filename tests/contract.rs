//! `docs/contract.md` names a test for every rule, `docs/assurance.md` for every invariant, threat and fault; here it is
//! made sure that they exist.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

/// All test sources of the repository, as one text.
fn sources(dir: &Path, text: &mut String, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().unwrap() != "target" {
                sources(&path, text, names);
            }
        } else {
            names.push(path.file_name().unwrap().to_string_lossy().into_owned());
            if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
}

#[test]
fn every_rule_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut text, mut names) = (String::new(), Vec::new());
    for dir in ["tests", "crates"] {
        sources(&root.join(dir), &mut text, &mut names);
    }
    let contract = std::fs::read_to_string(root.join("docs/contract.md")).unwrap();
    let rules = contract.lines().skip_while(|line| *line != "## Rules").take_while(|line| *line != "## Codes");
    let mut checked = 0;
    for rule in rules.filter(|line| line.starts_with("| ") && !line.starts_with("| # ") && !line.starts_with("| ---")) {
        let shown_by = rule.split('|').nth(3).unwrap();
        let mut tests = shown_by.split('`').skip(1).step_by(2).peekable();
        assert!(tests.peek().is_some(), "no test is named in: {rule}");
        for test in tests {
            let exists = names.iter().any(|name| name == test) || text.contains(&format!("fn {test}("));
            assert!(exists, "there is no test {test}");
            checked += 1;
        }
    }
    assert!(checked > 40, "{checked} tests are named");
}

#[test]
fn every_invariant_threat_and_fault_names_what_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut text, mut names) = (String::new(), Vec::new());
    for dir in ["tests", "crates", "src"] {
        sources(&root.join(dir), &mut text, &mut names);
    }
    let commands = std::fs::read_to_string(root.join("xtask/src/main.rs")).unwrap();
    let assurance = std::fs::read_to_string(root.join("docs/assurance.md")).unwrap();
    let mut checked = 0;
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| # ") && !line.starts_with("| ---");
    for row in assurance.lines().filter(is_row) {
        let shown_by = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        for name in shown_by.split('`').skip(1).step_by(2) {
            let exists = match name.strip_prefix("cargo xtask ") {
                Some(command) => {
                    let command = command.split(' ').next().unwrap();
                    commands.contains(&format!("name: \"{command}\""))
                }
                None => {
                    let file = format!("{name}.rs");
                    names.iter().any(|it| it == name || *it == file) || text.contains(&format!("fn {name}("))
                }
            };
            assert!(exists || name == "tests/c", "there is no {name}, which is named in: {row}");
            checked += 1;
        }
    }
    assert!(checked > 150, "{checked} names");
}
