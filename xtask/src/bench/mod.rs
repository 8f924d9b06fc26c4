//! `cargo xtask bench`: figures of the whole, measured with C programs (`bench/`) and a relay on this machine.

mod beside;
mod cores;
mod fan;
mod figure;
mod files;
mod files_others;
mod flame;
mod ground;
mod idle;
mod json;
mod latency;
mod memory;
mod micro;
mod options;
mod peers;
mod plot;
mod proc;
mod rtm;
mod sessions;
mod stall;
mod stats;
mod strace;
mod systems;

use std::path::Path;
use std::time::Instant;

use crate::process::{Failure, Outcome, cannot, target_dir};
use figure::{Figure, Rows};
use ground::Ground;
use json::Json;
use options::Options;

/// What `cargo xtask help bench` says.
pub const DETAILS: &str = "Without FIGURE all of them are measured: memory, stall, latency, files, sessions, idle, rtm, cores, peers. docs/performance.md says what each
one means. Ratios are taken within one run, because other work on the machine moves all absolute numbers. All
numbers go to target/bench/figures.json, too. Exit code 1 when a limit is broken.

  --runs N            how often memory, latency, files, sessions, rtm, cores and peers are measured (default 3)
  --size SIZE         the file of memory, for instance 256MiB (default 5GiB; needs twice that on the disk)
  --seconds N         how long each measurement of latency, cores and peers takes (default 3)
  --stall-seconds N   how long stall stops the receiver (default 60)
  --idle-seconds N    how long idle watches (default 65)
  --sessions N        how many sessions sessions opens (default 1000)
  --users N           how many users rtm sends a file to, and peers a message (default 10000)
  --part NAME         only this part of peers, and others that are named so: commands, file, fan, logins, idle
  --unshipped         build in the profile release, in a fraction of the time, instead of as it is shipped
  --plot              also write a chart of each figure that has one, target/bench/FIGURE.svg

`bench micro` counts the instructions of the smallest pieces of work by valgrind, and fails when they are more than
crates/micro/instructions.txt says; `bench micro --accept` writes that file. `bench flame` samples
sender, relay and receiver of commands and of files by perf, and draws docs/flame-commands.svg and docs/flame-file.svg.

Needs a C compiler, sha256sum (or b3sum) and, for idle, strace.";

/// All figures, in the order of the table. One that compares with another system belongs here, too: it is a function
/// that fills rows, and a row may be against any other row of its figure.
const FIGURES: &[Figure] = &[
    memory::FIGURE,
    stall::FIGURE,
    latency::FIGURE,
    files::FIGURE,
    sessions::FIGURE,
    idle::FIGURE,
    rtm::FIGURE,
    cores::FIGURE,
    peers::FIGURE,
];

/// Builds, measures, prints.
pub fn run(arguments: &[String]) -> Outcome<()> {
    match arguments.split_first() {
        Some((first, rest)) if first == "micro" => return micro::run(rest),
        Some((first, rest)) if first == "flame" => return flame::run(rest),
        _ => {}
    }
    let options = Options::parse(arguments)?;
    let wanted = match options.figures.as_slice() {
        [] => FIGURES.iter().collect(),
        names => names.iter().map(|name| find(name)).collect::<Outcome<Vec<_>>>()?,
    };
    let ground = Ground::prepare(options)?;
    let load_before = proc::load_average();
    let mut done = Vec::new();
    let mut failed = Vec::new();
    for figure in wanted {
        println!("bench: {}: {}", figure.name, figure.description);
        let start = Instant::now();
        let mut rows = Rows::default();
        let outcome = (figure.measure)(&ground, &mut rows);
        println!("bench: {} took {:.0} s", figure.name, start.elapsed().as_secs_f64());
        if let Err(failure) = outcome {
            println!("bench: {} FAILED: {failure}", figure.name);
            failed.push(format!("{} did not come to its end: {failure}", figure.name));
        }
        failed.extend(rows.broken().into_iter().map(|what| format!("{}: {what}", figure.name)));
        done.push((figure, rows));
    }
    let load = (load_before, proc::load_average());
    println!("\n{} cores, load average {:.1} before and {:.1} after", cores(), load.0, load.1);
    for (figure, rows) in &done {
        println!("\n{}", rows.table(figure.name));
    }
    if ground.options.plot {
        for (figure, rows) in &done {
            let path = target_dir().join(format!("bench/{}.svg", figure.name));
            if plot::write(&path, figure.description, rows)? {
                println!("\nchart of {} written to {}", figure.name, path.display());
            }
        }
    }
    let path = target_dir().join("bench/figures.json");
    write_json(&path, &done, load)?;
    println!("\nwritten to {}", path.display());
    match failed.as_slice() {
        [] => Ok(()),
        reasons => Err(Failure::new(format!("not as it should be:\n  {}", reasons.join("\n  ")))),
    }
}

fn find(name: &str) -> Outcome<&'static Figure> {
    FIGURES.iter().find(|figure| figure.name == name).ok_or_else(|| {
        let names: Vec<_> = FIGURES.iter().map(|figure| figure.name).collect();
        Failure::usage(format!("there is no figure `{name}`; there are {}", names.join(", ")))
    })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

fn write_json(path: &Path, done: &[(&Figure, Rows)], load: (f64, f64)) -> Outcome<()> {
    let figures = done.iter().map(|(figure, rows)| {
        Json::Object(vec![
            ("name", Json::text(figure.name)),
            ("description", Json::text(figure.description)),
            ("rows", rows.json()),
            ("notes", Json::List(rows.notes.iter().map(Json::text).collect())),
        ])
    });
    let all = Json::Object(vec![
        ("cores", Json::Number(cores() as f64)),
        ("load_average_before", Json::Number(load.0)),
        ("load_average_after", Json::Number(load.1)),
        ("figures", Json::List(figures.collect())),
    ]);
    std::fs::write(path, format!("{all}\n")).map_err(cannot("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_that_does_not_exist_is_named_and_nothing_is_built() {
        let failure = run(&["speed".to_owned()]).unwrap_err();
        assert!(failure.to_string().contains("`speed`"), "{failure}");
        assert_eq!(failure.exit_code(), 2);
    }
}
