//! `cargo xtask bench flame`: pictures of where the processor's time goes, for the documents.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::ground::{Files, Ground, Mode, Watched};
use super::options::Options;
use crate::process::{Failure, Outcome, cannot, output_of, root};
use crate::tools;

/// Who draws them.
const INFERNO: (&str, &str) = ("inferno", "0.12.8");
/// Samples a second, not in step with anything that happens every millisecond.
const RATE: &str = "499";
/// Bytes of stack that are kept with a sample and unwound later: optimised programs keep no frame pointers.
const STACK: &str = "dwarf,16384";
/// How long is sampled.
const SECONDS: u64 = 10;
/// Commands that are under way at once.
const IN_FLIGHT: usize = 64;
/// The file that travels again and again.
const SIZE: u64 = 256 << 20;
/// What is narrower, in parts of a hundred, is left out of a picture.
const NARROWEST: &str = "0.6";
/// A picture is no larger, in bytes: it is committed.
const LARGEST: usize = 150_000;

/// Draws both.
pub fn run(arguments: &[String]) -> Outcome<()> {
    if let Some(word) = arguments.first() {
        return Err(Failure::usage(format!("bench flame takes no arguments, but `{word}` was given")));
    }
    tools::prepare_for_sampling()?;
    let (name, version) = INFERNO;
    let inferno = tools::from_crates_io(name, version, &["--no-default-features", "--features", "cli"])?;
    let ground = Ground::prepare(Options::default())?;
    let file = ground.noise("flame.bin", SIZE)?;
    let relay = ground.relay()?;
    let peer = |user| ground.peer(&relay, user, Mode::Thread, Files::Discarded);
    let (mut alice, bob) = (peer("alice")?, peer("bob")?);
    let who = [("sender", alice.pid()), ("relay", relay.pid()), ("receiver", bob.pid())];

    let samples = Samples::begin(&ground, who)?;
    alice.commands(&ground, &bob, IN_FLIGHT, Duration::from_secs(SECONDS + 1))?;
    let title = format!("commands of 100 bytes, {IN_FLIGHT} in flight: from the C call to the callback of its result");
    samples.draw(&inferno, &title, &root().join("docs/flame-commands.svg"))?;

    alice.flood(&bob, &file)?;
    let samples = Samples::begin(&ground, who)?;
    let title = "files of 256 MiB, one after the other: from CRVideo_SendFile to the callback of its result";
    samples.draw(&inferno, title, &root().join("docs/flame-file.svg"))?;
    alice.dry().map(drop)
}

/// What is being sampled: each process by its part, the sampler, and where that writes.
struct Samples(Vec<(&'static str, Child, PathBuf)>);

impl Samples {
    fn begin(ground: &Ground, who: [(&'static str, u32); 3]) -> Outcome<Self> {
        let mut all = Vec::new();
        for (part, process) in who {
            let path = ground.path(&format!("{part}.perf"));
            let mut perf = Command::new("perf");
            perf.args(["record", "--quiet", "-F", RATE, "--call-graph", STACK, "--pid", &process.to_string(), "-o"]);
            perf.arg(&path).args(["--", "sleep", &SECONDS.to_string()]);
            let child = perf.stdin(Stdio::null()).spawn();
            all.push((part, child.map_err(|error| Failure::new(format!("cannot start perf: {error}")))?, path));
        }
        Ok(Self(all))
    }

    /// Waits for their end, and draws one picture with a tower for each process.
    fn draw(self, inferno: &Path, title: &str, picture: &Path) -> Outcome<()> {
        let mut folded = String::new();
        for (part, mut perf, path) in self.0 {
            let status = perf.wait().map_err(|error| Failure::new(format!("perf: {error}")))?;
            if !status.success() {
                return Err(Failure::new(format!("perf cannot sample the {part} ({status})")));
            }
            let script = path.with_extension("txt");
            let text = output_of(Command::new("perf").args(["script", "--no-inline", "-i"]).arg(&path))?;
            std::fs::write(&script, text).map_err(cannot("write", &script))?;
            let stacks = output_of(Command::new(inferno.join("inferno-collapse-perf")).arg(&script))?;
            folded.extend(stacks.lines().map(|stack| format!("{part};{}\n", shorten(stack))));
            let _ = (std::fs::remove_file(path), std::fs::remove_file(script));
        }
        let stacks = picture.with_extension("folded");
        std::fs::write(&stacks, folded).map_err(cannot("write", &stacks))?;
        let mut draw = Command::new(inferno.join("inferno-flamegraph"));
        draw.args(["--title", title, "--minwidth", NARROWEST, "--hash", "--countname", "ns"]).arg(&stacks);
        let drawn = output_of(&mut draw);
        let _ = std::fs::remove_file(&stacks);
        let drawn = drawn?;
        if drawn.len() > LARGEST {
            return Err(Failure::new(format!("{} would have {} bytes", picture.display(), drawn.len())));
        }
        std::fs::write(picture, drawn).map_err(cannot("write", picture))?;
        println!("written to {}", picture.display());
        Ok(())
    }
}

/// Stacks with short names.
fn shorten(stack: &str) -> String {
    stack.split(';').map(short_name).collect::<Vec<_>>().join(";")
}

/// A name without type parameters, which fill a picture and say little; of `<Type as Trait>` the type is left.
fn short_name(name: &str) -> String {
    let Some((own, rest)) = name.strip_prefix('<').and_then(split_at_its_end) else { return without_parameters(name) };
    without_parameters(own.split(" as ").next().unwrap_or(own)) + &without_parameters(rest)
}

/// What stands before and behind the sign that closes what an earlier one has opened.
fn split_at_its_end(text: &str) -> Option<(&str, &str)> {
    let mut depth = 1;
    for (at, char) in text.char_indices() {
        match char {
            '<' => depth += 1,
            '>' if !text[..at].ends_with('-') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((&text[..at], &text[at + 1..]));
        }
    }
    None
}

fn without_parameters(name: &str) -> String {
    let Some((before, rest)) = name.split_once('<') else { return name.to_owned() };
    let behind = split_at_its_end(rest).map_or_else(String::new, |(_, behind)| without_parameters(behind));
    before.to_owned() + &behind
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_frames_stay_apart() {
        let stack = "io;core::ops::FnOnce<fn() -> u8>::call_once;<std::vec::Vec<T,A> as Push<T>>::push;a<b;[kernel] 12";
        assert_eq!(shorten(stack), "io;core::ops::FnOnce::call_once;std::vec::Vec::push;a;[kernel] 12");
    }

    #[test]
    fn a_word_is_a_usage_error() {
        assert_eq!(run(&["--fast".to_owned()]).unwrap_err().exit_code(), 2);
    }
}
