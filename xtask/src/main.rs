//! The project's own commands: `cargo xtask help` lists them.
#![forbid(unsafe_code)]
// A command-line program talks to its user by printing.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod abi;
mod artefacts;
mod attack;
mod bench;
mod chaos;
mod checks;
mod demo;
mod fuzz;
mod mutants;
mod process;
mod release;
mod size;
mod supply;
mod tools;

use std::process::ExitCode;

use process::{Failure, Outcome};

/// One command: its name, the words that may follow, what it does in a line, and the whole story.
struct Command {
    name: &'static str,
    arguments: &'static str,
    summary: &'static str,
    details: &'static str,
    run: fn(&[String]) -> Outcome<()>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "demo",
        arguments: "",
        summary: "build everything, send a command, a buffer and files from C to C, and check what arrived",
        details: "Builds libcrvideo.so, crvideo-relay and the C examples, starts a relay on a free port of this machine
and a receiver, sends a command, a buffer and three files (one of 256 MiB), and compares the SHA-256 of
each file with sha256sum. Needs a C compiler (cc) and sha256sum. Leaves nothing outside the target directory.",
        run: |arguments| no_arguments(arguments).and_then(|()| demo::run()),
    },
    Command {
        name: "test",
        arguments: "[FILTER]",
        summary: "install what the tests need, build what they test, and run them",
        details: "Runs the documentation tests and then all others, with cargo-nextest where it is present. FILTER is passed on
to the test runner and leaves the documentation tests out. As root on Debian missing tools are installed with
apt-get; elsewhere they are named and nothing runs (exit code 2).",
        run: checks::test,
    },
    Command {
        name: "torture",
        arguments: "[SCENARIO | --calls N]",
        summary: "let every call of the library fail once in every scenario, and abuse it in full numbers",
        details: "Each scenario of tests/c/torture.c runs with its first, second, third … fallible call failing, until none is left; it
prints how many faults have fired. Then tests/hostile.rs runs with its full numbers: 10,000 sessions that come and
go, 100,000 swapped links, all names, 1,000,000 random calls under AddressSanitizer (or as many as --calls says). SCENARIO: the faults of that one alone; NAME/N/VARIANT repeats one run.
`cargo xtask test` runs a sample of all this.",
        run: checks::torture,
    },
    Command {
        name: "asan",
        arguments: "",
        summary: "build libcrvideo.so with AddressSanitizer and print its directory",
        details: "A C program that uses the library must be built with -fsanitize=address, too. x86-64 Linux only.",
        run: |arguments| {
            no_arguments(arguments)?;
            println!("{}", artefacts::asan_library()?.display());
            Ok(())
        },
    },
    Command {
        name: "header",
        arguments: "",
        summary: "write include/crvideo.h again from src/ffi",
        details: "Runs the header test in the mode in which it rewrites the committed header instead of comparing it.",
        run: |arguments| no_arguments(arguments).and_then(|()| checks::header()),
    },
    Command {
        name: "sim",
        arguments: "[OPTION…]",
        summary: "run whole systems in virtual time, each drawn from a seed, and judge what happens",
        details: "Runs sessions and a relay that lose links, bytes, files and each other, thousands of times, and checks the
contract's rules. A seed that breaks one is printed, and `cargo xtask sim --seed S` shows all that happens in
it. `cargo xtask sim --help` explains the options, which are --seeds N, --from S, --minutes M, --defect NAME
and --threads T.",
        run: checks::simulate,
    },
    Command {
        name: "bench",
        arguments: "[FIGURE…] [OPTION…]",
        summary: "measure memory, throughput and latency, and print a table",
        details: bench::DETAILS,
        run: bench::run,
    },
    Command {
        name: "fuzz",
        arguments: "[--seconds N] [TARGET…]",
        summary: "bring the fuzz targets any input for a while, and print a table",
        details: fuzz::DETAILS,
        run: fuzz::fuzz,
    },
    Command {
        name: "abi",
        arguments: "[--accept]",
        summary: "compare the library's C interface with the one that is written down",
        details: abi::DETAILS,
        run: abi::abi,
    },
    Command {
        name: "deny",
        arguments: "",
        summary: "check licences and origins of all dependencies, and that none is banned",
        details: supply::DETAILS,
        run: supply::deny,
    },
    Command {
        name: "mutants",
        arguments: "[--minutes N]",
        summary: "change the protocol in one place after the other, and see whether a test notices",
        details: mutants::DETAILS,
        run: mutants::mutants,
    },
    Command {
        name: "chaos",
        arguments: "[OPTION…]",
        summary: "the library and the relay under faults, judged by a ledger",
        details: chaos::DETAILS,
        run: chaos::chaos,
    },
    Command {
        name: "soak",
        arguments: "--minutes N [--seed S]",
        summary: "rounds of mixed faults: memory, threads and descriptors stay where they were",
        details: "Runs a crowd of users through random faults in rounds of 20 seconds, with everything ended in between, and fails
when a descriptor or thread is left behind or resident memory grows: in the library's process, and in the relay.",
        run: chaos::soak,
    },
    Command {
        name: "attack",
        arguments: "[--sample] [--memory MIB] [NAME…]",
        summary: "flood a relay while users work, and print what came of it",
        details: attack::DETAILS,
        run: attack::attack,
    },
    Command {
        name: "size",
        arguments: "",
        summary: "how large the shipped library is, by crates",
        details: size::DETAILS,
        run: size::size,
    },
    Command {
        name: "release-check",
        arguments: "[--minutes N] [NAME…]",
        summary: "do some of what a release must have gone through, and print how far each figure has come",
        details: release::DETAILS,
        run: release::release_check,
    },
    Command {
        name: "ci",
        arguments: "",
        summary: "formatting, clippy, dependencies, all tests, simulation, faults, the C interface, the size and some fuzzing: what must pass before a change goes in",
        details: "Runs `cargo fmt --check`, `cargo clippy` with warnings as errors, `cargo xtask deny`, `cargo xtask test`,
50,000 simulated systems, 3,000 cuts of links, `cargo xtask abi`, `cargo xtask size` and ten seconds of each fuzz target,
in this order, stops at the first that fails and prints how long each one took.",
        run: |arguments| no_arguments(arguments).and_then(|()| checks::ci()),
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(arguments: &[String]) -> Outcome<()> {
    let asks_for_help = |word: &String| matches!(word.as_str(), "help" | "-h" | "--help");
    let Some((name, rest)) = arguments.split_first().filter(|(name, _)| !asks_for_help(name)) else {
        match arguments.get(1).and_then(|name| find(name)) {
            Some(command) => print_details(command),
            None => print_overview(),
        }
        return Ok(());
    };
    let Some(command) = find(name) else {
        return Err(Failure::usage(format!("there is no command `{name}`; `cargo xtask help` lists them")));
    };
    if rest.first().is_some_and(asks_for_help) && name != "sim" {
        print_details(command);
        return Ok(());
    }
    (command.run)(rest)
}

fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

fn no_arguments(arguments: &[String]) -> Outcome<()> {
    match arguments.first() {
        None => Ok(()),
        Some(word) => Err(Failure::usage(format!("this command takes no arguments, but `{word}` was given"))),
    }
}

fn print_overview() {
    println!("Usage: cargo xtask COMMAND\n");
    for command in COMMANDS {
        println!("  {:27} {}", format!("{} {}", command.name, command.arguments), command.summary);
    }
    println!("\n`cargo xtask help COMMAND` says more about one of them.");
}

fn print_details(command: &Command) {
    println!("cargo xtask {} {}\n\n{}.\n\n{}", command.name, command.arguments, command.summary, command.details);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn an_unknown_command_is_an_error_that_names_it() {
        let failure = dispatch(&words("dmeo")).unwrap_err();
        assert!(failure.to_string().contains("`dmeo`"), "{failure}");
        assert_eq!(failure.exit_code(), 2);
    }

    #[test]
    fn a_command_without_arguments_refuses_one() {
        assert_eq!(dispatch(&words("demo fast")).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn help_is_given_in_every_spelling() {
        for line in ["", "help", "--help", "-h", "help demo", "demo --help", "test -h"] {
            dispatch(&words(line)).unwrap();
        }
    }
}
