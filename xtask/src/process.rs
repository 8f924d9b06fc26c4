//! Running other programs: to the end, or beside us until a guard is dropped.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

#[path = "../../tests/common/cargo.rs"]
mod cargo_command;

use cargo_command::cargo_command;

/// Why a command of ours failed, in one sentence for its user.
#[derive(Debug)]
pub struct Failure {
    text: String,
    exit_code: u8,
}

/// What our functions return.
pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// Something did not work (exit code 1).
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit_code: 1 }
    }

    /// The call or the machine must be changed first (exit code 2).
    pub fn usage(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit_code: 2 }
    }

    /// What `main` returns.
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Makes an I/O error a sentence: "cannot `what` `path`: …".
pub fn cannot<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Failure + 'a {
    move |error| Failure::new(format!("cannot {what} {}: {error}", path.display()))
}

/// The repository.
pub fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.parent().map(Path::to_owned).unwrap_or(here)
}

/// Where cargo builds.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// The cargo that runs us, in the repository.
pub fn cargo<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = cargo_command();
    command.args(arguments).current_dir(root()).env("CARGO_TARGET_DIR", target_dir());
    command
}

/// Runs a program to its end with our input and output.
pub fn run(command: &mut Command) -> Outcome<()> {
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("`{}` failed ({status})", line_of(command)))) }
}

/// Runs a program to its end and returns what it printed.
pub fn output_of(command: &mut Command) -> Outcome<String> {
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| cannot_start(command, &error))?;
    if !output.status.success() {
        return Err(Failure::new(format!("`{}` failed ({})", line_of(command), output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program to its end with our output, but kills it when it takes too long.
pub fn run_within(timeout: Duration, name: &str, command: &mut Command) -> Outcome<()> {
    let child = command.stdin(Stdio::null()).spawn().map_err(|error| cannot_start(command, &error))?;
    let status = Killed(child).wait(timeout, name)?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("{name} failed ({status})"))) }
}

/// A program that is killed when the guard is dropped.
struct Killed(Child);

impl Killed {
    fn wait(&mut self, timeout: Duration, name: &str) -> Outcome<ExitStatus> {
        let deadline = Instant::now() + timeout;
        while Instant::now() < deadline {
            match self.0.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => sleep(Duration::from_millis(5)),
                Err(error) => return Err(Failure::new(format!("cannot wait for {name}: {error}"))),
            }
        }
        Err(Failure::new(format!("{name} did not end within {timeout:?}")))
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program that runs beside us and tells us things line by line. Dropping the guard kills it.
pub struct Beside {
    name: &'static str,
    child: Killed,
    /// Its standard input, when it takes one.
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Beside {
    /// Starts a program and reads its standard output.
    pub fn start(name: &'static str, command: &mut Command) -> Outcome<Self> {
        Self::begin(name, command.stdin(Stdio::null()))
    }

    /// The same for a program that `tell` gives lines to.
    pub fn start_told(name: &'static str, command: &mut Command) -> Outcome<Self> {
        Self::begin(name, command.stdin(Stdio::piped()))
    }

    fn begin(name: &'static str, command: &mut Command) -> Outcome<Self> {
        command.stdout(Stdio::piped());
        let mut child = command.spawn().map(Killed).map_err(|error| cannot_start(command, &error))?;
        let (sender, lines) = channel();
        if let Some(stdout) = child.0.stdout.take() {
            std::thread::spawn(move || {
                // Reads to the end even when nobody listens any more, so that the program never blocks on its output.
                for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                    let _ = sender.send(String::from_utf8_lossy(&line).trim_end().to_owned());
                }
            });
        }
        let input = child.0.stdin.take();
        Ok(Self { name, child, input, lines })
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.0.id()
    }

    /// Writes a line to the program's standard input.
    pub fn tell(&mut self, line: &str) -> Outcome<()> {
        let written = self.input.as_mut().map(|input| writeln!(input, "{line}").and_then(|()| input.flush()));
        match written {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(Failure::new(format!("{} takes no more lines: {error}", self.name))),
            None => Err(Failure::new(format!("{} takes no lines", self.name))),
        }
    }

    /// Sends the program a signal, by name.
    pub fn signal(&self, signal: &str) -> Outcome<()> {
        run(Command::new("kill").arg("-s").arg(signal).arg(self.id().to_string()))
    }

    /// Waits for a line that `wanted` makes something of; other lines are passed over.
    pub fn wait_for<T>(&self, timeout: Duration, wanted: impl Fn(&str) -> Option<T>) -> Outcome<T> {
        let deadline = Instant::now() + timeout;
        let name = self.name;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(found) = wanted(&line) {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Failure::new(format!("{name} did not say what was expected within {timeout:?}")));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(Failure::new(format!("{name} ended too early"))),
            }
        }
    }

    /// Waits for the program's own, successful end.
    pub fn finish(mut self, timeout: Duration) -> Outcome<()> {
        let status = self.child.wait(timeout, self.name)?;
        if status.success() { Ok(()) } else { Err(Failure::new(format!("{} failed ({status})", self.name))) }
    }

    /// Asks the program to end, and waits until it has.
    pub fn stop(mut self, timeout: Duration) -> Outcome<()> {
        self.signal("TERM")?;
        self.child.wait(timeout, self.name).map(drop)
    }
}

/// A directory that is removed with all its content when the guard is dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes the directory, empty even when an interrupted run has left one.
    pub fn create(path: PathBuf) -> Outcome<Self> {
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).map_err(cannot("create", &path))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The value of a word `key=value` in a line.
pub fn value_in(line: &str, key: &str) -> Outcome<String> {
    let found = line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    found.map(str::to_owned).ok_or_else(|| Failure::new(format!("there is no {key} in the line `{line}`")))
}

fn cannot_start(command: &Command, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot start `{}`: {error}", line_of(command)))
}

fn line_of(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_failed_program_is_named_with_its_arguments() {
        let failure = run(&mut shell("exit 3")).unwrap_err();
        assert!(failure.to_string().contains("sh -c exit 3"), "{failure}");
    }

    #[test]
    fn a_line_is_found_behind_others() {
        let beside = Beside::start("the shell", &mut shell("echo one; echo two; exec sleep 60")).unwrap();
        let found = beside.wait_for(Duration::from_secs(20), |line| line.strip_prefix("tw").map(str::to_owned));
        assert_eq!(found.unwrap(), "o");
    }

    #[test]
    fn a_program_is_told_lines_and_answers() {
        let mut told = Beside::start_told("cat", &mut Command::new("cat")).unwrap();
        told.tell("size=12 name=x").unwrap();
        let line = told.wait_for(Duration::from_secs(20), |line| Some(line.to_owned())).unwrap();
        assert_eq!(value_in(&line, "name").unwrap(), "x");
        assert!(value_in(&line, "nam").is_err());
        assert!(Beside::start("the shell", &mut shell("exec sleep 60")).unwrap().tell("x").is_err());
    }

    #[test]
    fn an_early_end_and_a_silent_program_are_told_apart() {
        let ended = Beside::start("the shell", &mut shell("exit 0")).unwrap();
        let failure = ended.wait_for(Duration::from_secs(20), |_| Some(())).unwrap_err();
        assert!(failure.to_string().contains("ended too early"), "{failure}");

        let silent = Beside::start("the shell", &mut shell("exec sleep 60")).unwrap();
        let failure = silent.wait_for(Duration::from_millis(50), |_| Some(())).unwrap_err();
        assert!(failure.to_string().contains("within 50ms"), "{failure}");
    }

    #[test]
    fn a_program_that_takes_too_long_is_an_error() {
        let limit = Duration::from_millis(50);
        let failure = run_within(limit, "the shell", &mut shell("exec sleep 60")).unwrap_err();
        assert!(failure.to_string().contains("the shell did not end within 50ms"), "{failure}");
        run_within(Duration::from_secs(20), "the shell", &mut shell("exit 0")).unwrap();
    }

    #[test]
    fn a_program_is_stopped_or_ends_by_itself() {
        Beside::start("the shell", &mut shell("exec sleep 60")).unwrap().stop(Duration::from_secs(20)).unwrap();
        Beside::start("the shell", &mut shell("exit 0")).unwrap().finish(Duration::from_secs(20)).unwrap();
        let failure = Beside::start("the shell", &mut shell("exit 1")).unwrap().finish(Duration::from_secs(20));
        assert!(failure.unwrap_err().to_string().contains("the shell failed"));
    }

    #[test]
    fn dropping_the_guard_kills_the_program() {
        let beside = Beside::start("the shell", &mut shell("exec sleep 60")).unwrap();
        let process = PathBuf::from(format!("/proc/{}", beside.child.0.id()));
        drop(beside);
        assert!(!process.exists());
    }
}
