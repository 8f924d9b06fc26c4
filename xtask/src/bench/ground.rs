//! What every figure stands on: the programs, built; relays; users; files to send. All of it ends with its guards.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::options::Options;
use super::proc::{self, Memory};
use super::stats::Times;
use crate::artefacts::{Profile, library, relay};
use crate::process::{self, Beside, Failure, Outcome, Scratch, cannot, output_of, root, target_dir, value_in};
use crate::tools;

/// For what takes milliseconds when all is well.
pub const SOON: Duration = Duration::from_secs(60);
/// For a large file on a slow and busy machine.
pub const SENT: Duration = Duration::from_secs(900);
/// Until a program that has logged in has come to rest.
pub const SETTLED: Duration = Duration::from_millis(500);

pub const MIB: f64 = 1024.0 * 1024.0;
pub const GIB: f64 = 1024.0 * MIB;

/// Where everything is.
pub struct Ground {
    /// What the user wants.
    pub options: Options,
    dir: PathBuf,
    relay: PathBuf,
    scratch: Scratch,
}

impl Ground {
    /// Builds the library, the relay and the C programs.
    pub fn prepare(options: Options) -> Outcome<Self> {
        if !cfg!(target_os = "linux") {
            return Err(Failure::usage("the figures are taken on Linux only"));
        }
        let needed = ["cc", "readelf", "sha256sum", "strace"];
        if let Some(missing) = needed.into_iter().find(|program| !tools::is_present(program)) {
            return Err(Failure::usage(format!("the figures need the program {missing}, please install it")));
        }
        let dir = target_dir().join("bench");
        let scratch = Scratch::create(dir.join("scratch"))?;
        let profile = if options.unshipped { Profile::Release } else { Profile::Dist };
        let library = library(profile)?;
        let relay = relay(profile)?;
        for name in ["peer", "sessions", "rtm", "pairs", "fan"] {
            compile(name, &library, &dir)?;
        }
        let ground = Self { options, dir, relay, scratch };
        ground.compile_other("file_floor", &[])?;
        let log = ground.relay_log();
        File::create(&log).map_err(cannot("create", &log))?;
        Ok(ground)
    }

    /// What all relays have logged.
    fn relay_log(&self) -> PathBuf {
        self.dir.join("relay.log")
    }

    /// Compiles a C program that measures others, without our library, and returns where it is.
    pub fn compile_other(&self, name: &str, libraries: &[&str]) -> Outcome<PathBuf> {
        let mut cc = compiler(name, &self.dir);
        cc.arg("-Werror").args(libraries.iter().map(|library| format!("-l{library}")));
        process::run(&mut cc)?;
        Ok(self.dir.join(name))
    }

    /// A path in the scratch directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Starts a relay on a free port. All log to `relay.log` next to the programs.
    pub fn relay(&self) -> Outcome<Relay> {
        self.start_relay(&[])
    }

    /// The same with a data directory.
    pub fn relay_with_data(&self, data: &Path) -> Outcome<Relay> {
        self.start_relay(&["--data".as_ref(), data.as_os_str()])
    }

    /// The same on several addresses of this machine, whose names its clients get with commas between them: a machine has
    /// so many ports for connections to each.
    pub fn relay_on(&self, addresses: &str) -> Outcome<Relay> {
        self.start_relay(&["--listen".as_ref(), addresses.as_ref()])
    }

    /// The same with encryption; `certificate` is also what its clients trust.
    pub fn relay_with_tls(&self, certificate: &Certificate) -> Outcome<Relay> {
        let (cert, key) = (certificate.path.as_os_str(), certificate.key.as_os_str());
        self.start_relay(&["--tls-loopback".as_ref(), "--tls-cert".as_ref(), cert, "--tls-key".as_ref(), key])
    }

    /// Makes a certificate for this machine's loopback address.
    pub fn certificate(&self) -> Outcome<Certificate> {
        let certificate = Certificate { path: self.path("cert.pem"), key: self.path("key.pem") };
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        openssl.args(["-days", "2", "-subj", "/CN=crvideo bench", "-addext", "subjectAltName=IP:127.0.0.1"]);
        // Clients refuse an authority's certificate as a server's.
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        openssl.arg("-out").arg(&certificate.path).arg("-keyout").arg(&certificate.key);
        process::run(openssl.stderr(std::process::Stdio::null()))?;
        Ok(certificate)
    }

    /// The path of one of our C programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn start_relay(&self, arguments: &[&OsStr]) -> Outcome<Relay> {
        let log_path = self.relay_log();
        let log = File::options().append(true).open(&log_path).map_err(cannot("open", &log_path))?;
        let mut command = with_many_files(&self.relay);
        let process = Beside::start(
            "the relay",
            command.arg("--dev").args(arguments).env("TMPDIR", self.scratch.path()).stderr(log),
        )?;
        let line = process.wait_for(SOON, |line| line.contains(" ready ").then(|| line.to_owned()))?;
        let secret = self.path(&format!("secret-{}", process.id()));
        std::fs::write(&secret, value_in(&line, "secret")?).map_err(cannot("write", &secret))?;
        let secret = format!("@{}", secret.display());
        let rtm = value_in(&line, "rtm")?;
        Ok(Relay { process, rtm, login: [value_in(&line, "listen")?, value_in(&line, "project")?, secret] })
    }

    /// A command line of one of our C programs, up to the relay's particulars.
    pub fn command(&self, program: &str, relay: &Relay) -> Command {
        let mut command = with_many_files(&self.dir.join(program));
        command.args(&relay.login).current_dir(self.scratch.path()).env("TMPDIR", self.scratch.path());
        command
    }

    /// Starts a user and waits for the login.
    pub fn peer(&self, relay: &Relay, name: &'static str, mode: Mode, files: Files) -> Outcome<Peer> {
        self.peer_with(relay, name, self.path(&format!("inbox-{name}")), mode, files, &[])
    }

    /// The same, with files in a directory of the caller's choice, and with more arguments.
    pub fn peer_with(
        &self,
        relay: &Relay,
        name: &'static str,
        inbox: PathBuf,
        mode: Mode,
        files: Files,
        arguments: &[String],
    ) -> Outcome<Peer> {
        let inbox = Scratch::create(inbox)?;
        let mut command = self.command("peer", relay);
        command.arg(name).arg(inbox.path()).arg(mode.word()).arg(match files {
            Files::Kept => "keep",
            Files::Discarded => "discard",
        });
        command.args(arguments);
        let process = Beside::start_told(name, &mut command)?;
        process.wait_for(SOON, |line| (line == "ready").then_some(()))?;
        Ok(Peer { name, process, _inbox: inbox })
    }

    /// Makes a file that does not compress and has no holes: one random block again and again, each time with another
    /// number at its beginning. Dropping the guard deletes it.
    pub fn noise(&self, name: &str, size: u64) -> Outcome<Noise> {
        const BLOCK: usize = 64 << 20;
        let noise = Noise(self.path(name));
        let mut block = vec![0; BLOCK.min(size as usize)];
        let random = Path::new("/dev/urandom");
        File::open(random).and_then(|mut file| file.read_exact(&mut block)).map_err(cannot("read", random))?;
        let mut write = || {
            let mut file = File::create(&noise.0)?;
            let mut left = size;
            for number in 0_u64.. {
                if left == 0 {
                    break;
                }
                let len = block.len().min(left as usize);
                if len >= 8 {
                    block[..8].copy_from_slice(&number.to_le_bytes());
                }
                file.write_all(&block[..len])?;
                left -= len as u64;
            }
            // Or the disk writes it while the clock runs.
            file.sync_all()
        };
        write().map_err(cannot("write", &noise.0))?;
        Ok(noise)
    }
}

/// Takes as many descriptors as the system lets a program have.
const MANY_FILES: &str = "ulimit -n 65536 2>/dev/null || ulimit -n \"$(ulimit -H -n)\"";

/// A program that may have as many descriptors as the system lets it: thousands of users are in one process.
pub fn with_many_files(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{MANY_FILES}; exec \"$0\" \"$@\"")).arg(program);
    command
}

/// How many descriptors that are.
pub fn most_files() -> Outcome<u64> {
    let said = process::output_of(Command::new("sh").arg("-c").arg(format!("{MANY_FILES}; ulimit -n")))?;
    // A system without a limit says so in a word.
    Ok(said.trim().parse().unwrap_or(u64::MAX))
}

/// As a user would compile it.
fn compile(name: &str, library: &Path, dir: &Path) -> Outcome<()> {
    let mut cc = compiler(name, dir);
    cc.arg("-I").arg(root().join("include"));
    cc.arg("-L").arg(library).arg("-lcrvideo").arg(format!("-Wl,-rpath,{}", library.display()));
    process::run(&mut cc)
}

/// The command line for a program of `bench/`, with every warning that C99 has.
fn compiler(name: &str, dir: &Path) -> Command {
    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-Wall", "-Wextra", "-pedantic", "-O2", "-pthread"]);
    cc.arg(root().join("bench").join(name).with_extension("c")).arg("-o").arg(dir.join(name));
    cc
}

/// A file to send.
pub struct Noise(PathBuf);

impl Noise {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Noise {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The hash of a file by a program that knows nothing of ours: BLAKE3 where it is installed, for it is faster.
pub fn hash(path: &Path) -> Outcome<String> {
    let program = if tools::is_present("b3sum") { "b3sum" } else { "sha256sum" };
    let line = output_of(Command::new(program).arg(path))?;
    line.split_whitespace().next().map(str::to_owned).ok_or_else(|| Failure::new(format!("{program} says nothing")))
}

/// A certificate and its key, as PEM files.
pub struct Certificate {
    /// The certificate, which is its own authority.
    pub path: PathBuf,
    key: PathBuf,
}

/// A relay that runs.
pub struct Relay {
    process: Beside,
    rtm: String,
    login: [String; 3],
}

impl Relay {
    /// Where RTM servers connect.
    pub fn rtm(&self) -> &str {
        &self.rtm
    }
}

/// How a user gets events.
#[derive(Clone, Copy, PartialEq)]
pub enum Mode {
    /// On the library's callback thread.
    Thread,
    /// On a thread of its own that polls.
    Pump,
}

impl Mode {
    /// Both.
    pub const ALL: [Mode; 2] = [Mode::Thread, Mode::Pump];

    /// What the programs and the table call it.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Thread => "thread",
            Mode::Pump => "pump",
        }
    }
}

/// What a user does with received files.
#[derive(Clone, Copy)]
pub enum Files {
    Kept,
    Discarded,
}

/// Anything whose memory and processor time we watch.
pub trait Watched {
    /// The number of the process.
    fn pid(&self) -> u32;

    /// Its memory now, and the most since it settled.
    fn memory(&self) -> Outcome<Memory> {
        proc::memory(self.pid())
    }

    /// Its memory now, which becomes the new peak.
    fn settle(&self) -> Outcome<Memory> {
        proc::reset_peak(self.pid());
        proc::memory(self.pid())
    }
}

impl Watched for Relay {
    fn pid(&self) -> u32 {
        self.process.id()
    }
}

/// A user who is logged in: `bench/peer.c`.
pub struct Peer {
    /// The user id.
    pub name: &'static str,
    /// The program.
    pub process: Beside,
    _inbox: Scratch,
}

impl Watched for Peer {
    fn pid(&self) -> u32 {
        self.process.id()
    }
}

/// How a run of commands went.
pub struct Commands {
    /// From each call to its result.
    pub times: Times,
    /// Commands that the target has, and others.
    pub done: f64,
    pub failed: f64,
    /// Length of the run.
    pub seconds: f64,
}

/// The one result of a file.
pub struct FileResult {
    /// The code.
    pub code: i64,
    /// From the call to the result.
    pub seconds: f64,
    /// The wall clock at the result, in nanoseconds since 1970.
    pub date: u128,
}

impl Peer {
    /// Exchanges commands of 100 bytes with somebody for a while.
    pub fn commands(
        &mut self,
        ground: &Ground,
        target: &Peer,
        in_flight: usize,
        duration: Duration,
    ) -> Outcome<Commands> {
        let path = ground.path(&format!("times-{}", self.name));
        let (target, ms) = (target.name, duration.as_millis());
        self.process.tell(&format!("commands {target} 100 {in_flight} {ms} {}", path.display()))?;
        let line = self.line("commands ", SOON + duration)?;
        let times = Times::read(&path)?;
        let _ = std::fs::remove_file(&path);
        Ok(Commands {
            times,
            done: number(&line, "done")?,
            failed: number(&line, "failed")?,
            seconds: number(&line, "ns")? / 1e9,
        })
    }

    /// Starts to send a file.
    pub fn send(&mut self, target: &Peer, file: &Noise) -> Outcome<()> {
        self.process.tell(&format!("file {} {}", target.name, file.path().display()))
    }

    /// Waits for the file's result.
    pub fn sent(&self, timeout: Duration) -> Outcome<FileResult> {
        let line = self.line("file ", timeout)?;
        let date = value_in(&line, "date")?.parse().map_err(|_| Failure::new("a date is not a number"))?;
        Ok(FileResult { code: number(&line, "code")? as i64, seconds: number(&line, "ns")? / 1e9, date })
    }

    /// Starts to send a file again and again.
    pub fn flood(&mut self, target: &Peer, file: &Noise) -> Outcome<()> {
        self.process.tell(&format!("flood {} {}", target.name, file.path().display()))
    }

    /// Ends that, and returns the files that have arrived and the seconds that it took.
    pub fn dry(&mut self) -> Outcome<(f64, f64)> {
        self.process.tell("dry")?;
        let line = self.line("flooded ", SENT)?;
        match number(&line, "failed")? {
            0.0 => Ok((number(&line, "files")?, number(&line, "ns")? / 1e9)),
            _ => Err(Failure::new("a file that was sent meanwhile has failed")),
        }
    }

    /// Sends a file so many times at once, and returns the seconds until the first and the last of them had arrived.
    pub fn batch(&mut self, target: &Peer, count: usize, file: &Noise) -> Outcome<(f64, f64)> {
        self.process.tell(&format!("batch {} {count} {}", target.name, file.path().display()))?;
        let line = self.line("batch ", SENT)?;
        match number(&line, "failed")? {
            0.0 => Ok((number(&line, "first_ns")? / 1e9, number(&line, "ns")? / 1e9)),
            failed => Err(Failure::new(format!("{failed} of {count} files have failed"))),
        }
    }

    /// Waits for a received file and says whether it is like another one, byte for byte; the received one is deleted.
    pub fn received_like(&self, source: &Noise) -> Outcome<bool> {
        let path = PathBuf::from(value_in(&self.line("received ", SENT)?, "path")?);
        let same = Command::new("cmp").args(["--silent"]).arg(&path).arg(source.path()).status();
        std::fs::remove_file(&path).map_err(cannot("delete", &path))?;
        Ok(same.map_err(|error| Failure::new(format!("cannot run cmp: {error}")))?.success())
    }

    /// Waits for a received file and returns its hash; the file is deleted.
    pub fn received(&self, timeout: Duration) -> Outcome<String> {
        let path = PathBuf::from(value_in(&self.line("received ", timeout)?, "path")?);
        let hash = hash(&path)?;
        std::fs::remove_file(&path).map_err(cannot("delete", &path))?;
        Ok(hash)
    }

    /// Waits for a line.
    pub fn line(&self, beginning: &str, timeout: Duration) -> Outcome<String> {
        self.process.wait_for(timeout, |line| line.starts_with(beginning).then(|| line.to_owned()))
    }
}

/// The number in a word `key=number`.
pub fn number(line: &str, key: &str) -> Outcome<f64> {
    let value = value_in(line, key)?;
    value.parse().map_err(|_| Failure::new(format!("{key}={value} is not a number")))
}
