//! The library's main job, shown: a command, a buffer and files from one C program to another.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::artefacts::{Profile, library, relay};
use crate::process::{
    self, Beside, Failure, Outcome, Scratch, cannot, output_of, root, run_within, target_dir, value_in,
};
use crate::tools;

const COMMAND: &str = "open door 4";
const BUFFER_SIZE: u64 = 20 * 1024 * 1024;
const LARGE_FILE_SIZE: u64 = 256 * 1024 * 1024;
/// The sizes above are whole numbers of these.
const BLOCK_SIZE: usize = 1024 * 1024;
/// A name and a content that are not ASCII.
const TEXT_FILE: (&str, &str) = ("问候.txt", "你好, Bob! 这是一个小文件。\n");

/// For what takes milliseconds when all is well.
const SOON: Duration = Duration::from_secs(30);
/// For sending a file on a slow and busy machine.
const SENT: Duration = Duration::from_secs(300);

/// Builds, sends, compares.
pub fn run() -> Outcome<()> {
    let place = Place::prepare()?;
    println!("\n== Building the library, the relay and the C examples");
    let start = Instant::now();
    let library = library(Profile::Release)?;
    let relay = relay(Profile::Release)?;
    for example in ["receiver", "send_cmd", "send_buffer", "send_file"] {
        place.compile(example, &library)?;
    }
    println!("built in {:.0} s", start.elapsed().as_secs_f64());
    send_everything(&place, &relay)
        .map_err(|failure| Failure::new(format!("{failure} (the relay's log is {})", place.relay_log().display())))
}

fn send_everything(place: &Place, relay: &Path) -> Outcome<()> {
    println!("\n== Starting a relay, and bob, who receives");
    let mut command = place.command(relay);
    let log = File::create(place.relay_log()).map_err(cannot("create", &place.relay_log()))?;
    let relay = Beside::start("the relay", command.arg("--dev").stderr(log))?;
    let login = Login::of(&relay.wait_for(SOON, |line| line.contains(" ready ").then(|| line.to_owned()))?, place)?;
    println!("the relay listens on {}", login.address);

    let rows = exchange(place, &login)?;
    relay.stop(SOON)?;

    println!("\n== What arrived\n");
    print_table(&rows);
    match rows.iter().find(|row| !row.equal) {
        Some(row) => Err(Failure::new(format!("{} did not arrive as it was sent", row.what))),
        None => {
            println!("\nAll {} arrived as they were sent.", rows.len());
            Ok(())
        }
    }
}

/// Sends everything from alice to bob.
fn exchange(place: &Place, login: &Login) -> Outcome<Vec<Row>> {
    let text = place.file(TEXT_FILE.0, |file| file.write_all(TEXT_FILE.1.as_bytes()))?;
    let empty = place.file("empty.txt", |_| Ok(()))?;
    let large = place.file("large.bin", |file| write_noise(file, LARGE_FILE_SIZE))?;
    let buffer = place.file("buffer.bin", |file| write_noise(file, BUFFER_SIZE))?;
    let inbox = place.scratch.path().join("inbox");
    let files = [&text, &empty, &large];

    let mut command = login.program(place, "receiver", "bob");
    command.arg(&inbox).args(["--count", &(files.len() + 2).to_string()]);
    let receiver = Beside::start("the receiver", &mut command)?;
    receiver.wait_for(SOON, |line| (line == "ready").then_some(()))?;
    println!("bob is logged in");

    let send = |what: &str, program: &'static str, argument: &Path| {
        println!("\n== alice sends bob {what}");
        run_within(SENT, program, login.program(place, program, "alice").arg("bob").arg(argument))
    };
    let content_line =
        |prefix: &'static str| receiver.wait_for(SOON, |line| line.strip_prefix(prefix).map(str::to_owned));

    send("a command", "send_cmd", Path::new(COMMAND))?;
    let command = content_line("command from alice: ")?;
    let (size, shown) = command.split_once(" bytes: ").unwrap_or((&command, ""));
    let mut rows = vec![Row {
        what: "command".into(),
        sent: COMMAND.len() as u64,
        received: size.parse().ok(),
        check: "text".into(),
        equal: shown == COMMAND,
    }];

    send("a buffer", "send_buffer", &buffer)?;
    let received = content_line("buffer from alice: ")?.split(' ').next().and_then(|size| size.parse().ok());
    let equal = received == Some(BUFFER_SIZE);
    rows.push(Row { what: "buffer".into(), sent: BUFFER_SIZE, received, check: "size".into(), equal });

    for file in files {
        let name = name_of(file);
        send(&format!("the file {name}"), "send_file", file)?;
        content_line("file from alice: ")?;
        rows.push(compare(file, &inbox.join(&name))?);
    }
    receiver.finish(SOON)?;
    Ok(rows)
}

/// One thing that was sent, and what was found at the other end.
struct Row {
    what: String,
    sent: u64,
    received: Option<u64>,
    /// What was compared besides the size.
    check: String,
    equal: bool,
}

/// Compares two files by a program that knows nothing of ours.
fn compare(source: &Path, received: &Path) -> Outcome<Row> {
    let size = |path: &Path| std::fs::metadata(path).map(|data| data.len()).map_err(cannot("find", path));
    let (expected, found) = (sha256(source)?, sha256(received)?);
    let (sent, received) = (size(source)?, Some(size(received)?));
    let equal = expected == found && Some(sent) == received;
    Ok(Row { what: name_of(source), sent, received, check: format!("SHA-256 {found:.12}…"), equal })
}

fn sha256(path: &Path) -> Outcome<String> {
    // Read as standard input, so that no special character of the name changes the form of the output.
    let file = File::open(path).map_err(cannot("open", path))?;
    let line = output_of(Command::new("sha256sum").stdin(file))?;
    Ok(line.split_whitespace().next().unwrap_or_default().to_owned())
}

fn print_table(rows: &[Row]) {
    println!("{}{:>15}{:>15}   {:23}result", padded("what", 14), "sent (bytes)", "received", "compared");
    for Row { what, sent, received, check, equal } in rows {
        let received = received.map_or_else(|| "?".to_owned(), |size| size.to_string());
        let result = if *equal { "equal" } else { "DIFFERENT" };
        println!("{}{sent:>15}{received:>15}   {check:23}{result}", padded(what, 14));
    }
}

/// Fills up with spaces to a width on a terminal, where a Chinese character takes two columns.
fn padded(text: &str, width: usize) -> String {
    let columns: usize = text.chars().map(|char| if char.is_ascii() { 1 } else { 2 }).sum();
    format!("{text}{}", " ".repeat(width.saturating_sub(columns)))
}

/// What every program must know of the relay.
struct Login {
    address: String,
    project: String,
    /// `@` and the file with the secret: on the command line all users of the machine could read it.
    secret: String,
}

impl Login {
    fn of(ready_line: &str, place: &Place) -> Outcome<Self> {
        let value = |key| value_in(ready_line, key);
        let (address, project, secret) = (value("listen")?, value("project")?, value("secret")?);
        let secret_file = place.file("secret", |file| file.write_all(secret.as_bytes()))?;
        Ok(Self { address, project, secret: format!("@{}", secret_file.display()) })
    }

    fn program(&self, place: &Place, example: &str, user: &str) -> Command {
        let mut command = place.command(&place.program(example));
        command.args([&self.address, &self.project, &self.secret, user]);
        command
    }
}

/// Where the demo keeps things: programs and the relay's log in `target/demo`, the rest in a scratch directory there.
struct Place {
    dir: PathBuf,
    scratch: Scratch,
}

impl Place {
    fn prepare() -> Outcome<Self> {
        if !cfg!(target_os = "linux") {
            return Err(Failure::usage("the demo runs on Linux only"));
        }
        if let Some(missing) = ["cc", "readelf", "sha256sum"].into_iter().find(|program| !tools::is_present(program)) {
            return Err(Failure::usage(format!("the demo needs the program {missing}, please install it")));
        }
        let dir = target_dir().join("demo");
        let scratch = Scratch::create(dir.join("scratch"))?;
        Ok(Self { dir, scratch })
    }

    fn program(&self, example: &str) -> PathBuf {
        self.dir.join(example)
    }

    fn relay_log(&self) -> PathBuf {
        self.dir.join("relay.log")
    }

    /// As a user would compile it, with a search path for the library that was not installed.
    fn compile(&self, example: &str, library: &Path) -> Outcome<()> {
        let mut cc = Command::new("cc");
        cc.args(["-std=c99", "-Wall", "-Wextra", "-O2", "-pthread", "-I"]).arg(root().join("include"));
        cc.arg(root().join("c-examples").join(example).with_extension("c")).arg("-o").arg(self.program(example));
        cc.arg("-L").arg(library).arg("-lcrvideo").arg(format!("-Wl,-rpath,{}", library.display()));
        process::run(&mut cc)
    }

    /// A program that works in the scratch directory and puts its temporary files there, too.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.scratch.path()).env("TMPDIR", self.scratch.path());
        command
    }

    /// Writes a file into the scratch directory.
    fn file(&self, name: &str, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Outcome<PathBuf> {
        let path = self.scratch.path().join(name);
        let written = File::create(&path).and_then(|file| {
            let mut file = BufWriter::new(file);
            write(&mut file)?;
            file.flush()
        });
        written.map_err(cannot("write", &path))?;
        Ok(path)
    }
}

/// Writes noise (xorshift64), in blocks that differ by the number they begin with, so that none can be taken for another.
fn write_noise(to: &mut dyn Write, size: u64) -> std::io::Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut block = Vec::with_capacity(BLOCK_SIZE);
    while block.len() < BLOCK_SIZE {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        block.extend_from_slice(&state.to_le_bytes());
    }
    for number in 0..size / BLOCK_SIZE as u64 {
        to.write_all(&number.to_le_bytes())?;
        to.write_all(&block[8..])?;
    }
    Ok(())
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_a_chinese_character_twice() {
        assert_eq!(padded("ab", 4), "ab  ");
        assert_eq!(padded("问候", 6), "问候  ");
        assert_eq!(padded("longer", 2), "longer");
    }

    #[test]
    fn noise_has_the_size_that_was_asked_for_and_does_not_repeat() {
        let mut noise = Vec::new();
        write_noise(&mut noise, 2 * BLOCK_SIZE as u64).unwrap();
        assert_eq!(noise.len(), 2 * BLOCK_SIZE);
        assert_ne!(noise[..BLOCK_SIZE], noise[BLOCK_SIZE..]);
        assert_ne!(noise[8..16], noise[16..24]);
    }
}
