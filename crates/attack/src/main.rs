//! Runs the floods and prints what came of them; `cargo xtask attack` starts it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use crvideo_attack::floods::{FLOODS, Size};
use crvideo_attack::table::Table;

fn main() -> ExitCode {
    let mut size = Size::WHOLE;
    let mut names = Vec::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--sample" => size = Size { memory: size.memory, ..Size::SAMPLE },
            "--memory" => match words.next().and_then(|word| word.parse().ok()) {
                Some(mib) => size.memory = Some(mib),
                None => {
                    eprintln!("crvideo-attack: --memory needs a number of MiB");
                    return ExitCode::from(2);
                }
            },
            name if FLOODS.iter().any(|flood| flood.name == name) => names.push(name.to_owned()),
            other => {
                let known: Vec<_> = FLOODS.iter().map(|flood| flood.name).collect();
                eprintln!("crvideo-attack: {other:?} is none of --sample, --memory, {}", known.join(", "));
                return ExitCode::from(2);
            }
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut table = Table::default();
    for flood in FLOODS.iter().filter(|flood| names.is_empty() || names.iter().any(|name| name == flood.name)) {
        println!("attack: {}: {}", flood.name, flood.description);
        runtime.block_on((flood.run)(size, &mut table));
    }
    println!("\n{table}");
    match table.broken() {
        broken if broken.is_empty() => ExitCode::SUCCESS,
        broken => {
            eprintln!("crvideo-attack: not as it should be: {}", broken.join("; "));
            ExitCode::FAILURE
        }
    }
}
