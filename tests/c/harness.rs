//! What the tests of C and Python programs need: the library and the relay as files, a scratch directory, programs
//! that run with their output captured, and ways of waiting that end.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

#[path = "../common/cargo.rs"]
mod cargo_command;

use cargo_command::cargo_command;

/// Nothing that is awaited here takes this long unless it hangs. Valgrind on a busy two-core machine is the measure.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// The top of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What is under test, as files.
pub struct Artefacts {
    /// Has `libcrvideo.so`, also under its soname.
    pub lib_dir: PathBuf,
    /// The relay's program.
    pub relay: PathBuf,
}

/// From `CRVIDEO_LIB_DIR` and `CRVIDEO_RELAY_BIN`; what is not given is built.
pub fn artefacts() -> &'static Artefacts {
    static ARTEFACTS: OnceLock<Artefacts> = OnceLock::new();
    ARTEFACTS.get_or_init(|| {
        let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("artefacts");
        let lib_dir = std::env::var_os("CRVIDEO_LIB_DIR").map(PathBuf::from).unwrap_or_else(|| {
            cargo(&built, &["rustc", "--package", "crvideo", "--lib", "--crate-type", "cdylib"]);
            built.join("debug")
        });
        let relay = std::env::var_os("CRVIDEO_RELAY_BIN").map(PathBuf::from).unwrap_or_else(|| {
            cargo(&built, &["build", "--package", "crvideo-relay", "--bin", "crvideo-relay"]);
            built.join("debug/crvideo-relay")
        });
        assert!(relay.is_file(), "no relay at {}", relay.display());
        Artefacts { lib_dir: with_soname(&lib_dir), relay }
    })
}

/// Where the library is that was built with `-Zsanitizer=address`, if there is one.
pub fn asan_lib_dir() -> Option<&'static Path> {
    static DIR: OnceLock<Option<PathBuf>> = OnceLock::new();
    DIR.get_or_init(|| std::env::var_os("CRVIDEO_ASAN_LIB_DIR").map(|dir| with_soname(Path::new(&dir)))).as_deref()
}

fn cargo(target_dir: &Path, args: &[&str]) {
    let status = cargo_command()
        .args(args)
        .arg("--quiet")
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(root())
        .status()
        .expect("cargo runs");
    assert!(status.success(), "cargo {args:?}: {status}");
}

/// The loader looks for the soname, but cargo writes the plain name: a directory of links that has both.
fn with_soname(lib_dir: &Path) -> PathBuf {
    let library = lib_dir.join("libcrvideo.so").canonicalize().unwrap_or_else(|error| {
        panic!("no libcrvideo.so in {}: {error}", lib_dir.display());
    });
    let dynamic = output(Command::new("readelf").arg("-dW").arg(&library));
    let soname = dynamic.lines().find(|line| line.contains("(SONAME)"));
    let soname = soname.and_then(|line| line.split('[').nth(1)?.split(']').next());
    let soname = soname.unwrap_or("libcrvideo.so").to_owned();
    if library.with_file_name(&soname).exists() {
        return library.parent().unwrap().to_owned();
    }
    let links = run_dir().join("lib").join(library.to_string_lossy().replace('/', "-"));
    std::fs::create_dir_all(&links).unwrap();
    for name in ["libcrvideo.so", soname.as_str()] {
        std::os::unix::fs::symlink(&library, links.join(name)).unwrap();
    }
    links
}

/// Runs a command that must succeed; returns its standard output.
pub fn output(command: &mut Command) -> String {
    let done = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stdout = String::from_utf8_lossy(&done.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {}\n{stdout}\n{stderr}", done.status);
    stdout
}

/// Whether there is a program of this name.
pub fn installed(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// A directory of its own that disappears with the value.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Creates it.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = run_dir().join(format!("scratch-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A path inside.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file inside; returns its path.
    pub fn file(&self, name: impl AsRef<Path>, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Bytes that repeat nowhere within any buffer of ours (xorshift64).
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The SHA-256 of a file, by sha256sum.
pub fn sha256(path: &Path) -> String {
    output(Command::new("sha256sum").arg("--").arg(path)).split([' ', '\\']).find(|s| s.len() == 64).unwrap().to_owned()
}

/// A relay with one project.
pub struct Relay {
    running: Running,
    /// `host:port`.
    pub address: String,
    /// `host:port` of the RTM gate.
    pub rtm: String,
    /// Number of the project, as text.
    pub project: String,
    /// The project's secret.
    pub secret: String,
    /// The file with the authority of its certificate, where it encrypts.
    pub authority: Option<PathBuf>,
    /// Where it keeps files; a relay that is killed leaves them behind.
    _scratch: Scratch,
}

impl Relay {
    /// Starts one on a free port.
    pub fn start() -> Self {
        Self::start_with(Scratch::new(), &[], None)
    }

    /// Starts one that encrypts with this certificate and key, of this authority, all in PEM form.
    pub fn start_encrypted(chain: &str, key: &str, authority: &str) -> Self {
        let scratch = Scratch::new();
        let [cert, key, authority] = [("cert.pem", chain), ("key.pem", key), ("authority.pem", authority)]
            .map(|(name, pem)| scratch.file(name, pem.as_bytes()));
        let [cert, key] = [cert, key].map(|path| path.into_os_string().into_string().unwrap());
        Self::start_with(scratch, &["--tls-loopback", "--tls-cert", &cert, "--tls-key", &key], Some(authority))
    }

    fn start_with(scratch: Scratch, more: &[&str], authority: Option<PathBuf>) -> Self {
        let mut command = Command::new(&artefacts().relay);
        command.arg("--dev").args(more).env("TMPDIR", scratch.path(""));
        let running = Running::start(command);
        let ready = running.wait_for("crvideo-relay ready");
        let value = |key: &str| {
            let word = ready.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            word.unwrap_or_else(|| panic!("no {key} in {ready:?}")).to_owned()
        };
        Self {
            address: value("listen"),
            rtm: value("rtm"),
            project: value("project"),
            secret: value("secret"),
            running,
            authority,
            _scratch: scratch,
        }
    }

    /// RELAY PROJECT SECRET, as the programs take them.
    pub fn args(&self) -> [&str; 3] {
        [&self.address, &self.project, &self.secret]
    }

    /// SIGKILL, as a crash would look.
    pub fn kill(&mut self) {
        self.running.kill();
    }
}

#[derive(Default)]
struct Captured {
    stdout: Vec<String>,
    stderr: Vec<String>,
    open: u32,
}

/// A program that runs with its output captured. It is killed when the value goes away.
pub struct Running {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    captured: Arc<(Mutex<Captured>, Condvar)>,
    seen: usize,
}

/// How a program ended.
pub struct Finished {
    name: String,
    /// Exit status.
    pub status: ExitStatus,
    /// Lines.
    pub stdout: String,
    /// Lines.
    pub stderr: String,
}

impl Running {
    /// Starts a program.
    pub fn start(mut command: Command) -> Self {
        let name = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let captured = Arc::new((Mutex::new(Captured { open: 2, ..Captured::default() }), Condvar::new()));
        read_lines(child.stdout.take().unwrap(), Arc::clone(&captured), |captured| &mut captured.stdout);
        read_lines(child.stderr.take().unwrap(), Arc::clone(&captured), |captured| &mut captured.stderr);
        let stdin = child.stdin.take();
        Self { name, child, stdin, captured, seen: 0 }
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The first line of standard output, from the beginning, that contains `text`.
    pub fn wait_for(&self, text: &str) -> String {
        self.wait_until(|lines| lines.iter().find(|line| line.contains(text)).cloned(), text)
    }

    fn wait_until<T>(&self, found: impl Fn(&[String]) -> Option<T>, what: &str) -> T {
        let deadline = Instant::now() + PATIENCE;
        let (lock, changed) = &*self.captured;
        let mut captured = lock.lock().unwrap();
        loop {
            if let Some(found) = found(&captured.stdout) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || captured.open == 0 {
                let end = if left.is_zero() { "time is up" } else { "it has ended" };
                let (stdout, stderr) = (captured.stdout.join("\n"), captured.stderr.join("\n"));
                drop(captured);
                let stacks = if left.is_zero() { self.stacks() } else { String::new() };
                panic!("{}: no {what:?}, {end}\n-- stdout\n{stdout}\n-- stderr\n{stderr}\n{stacks}", self.name);
            }
            captured = changed.wait_timeout(captured, left).unwrap().0;
        }
    }

    /// Writes a line to its standard input.
    pub fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        stdin.write_all(line.as_bytes()).and_then(|()| stdin.write_all(b"\n")).and_then(|()| stdin.flush()).unwrap();
    }

    /// Ends its standard input.
    pub fn hang_up(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal by name ("TERM").
    pub fn signal(&self, name: &str) {
        output(Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()));
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end. Its standard input stays as it is.
    pub fn finish(self) -> Finished {
        self.finish_within(PATIENCE)
    }

    /// The same for a program that takes longer when all is well.
    pub fn finish_within(mut self, patience: Duration) -> Finished {
        let deadline = Instant::now() + patience;
        let shared = Arc::clone(&self.captured);
        let (lock, changed) = &*shared;
        let captured = lock.lock().unwrap();
        let (captured, _) = changed.wait_timeout_while(captured, patience, |captured| captured.open > 0).unwrap();
        let (stdout, stderr) = (captured.stdout.join("\n"), captured.stderr.join("\n"));
        drop(captured);
        // Its output is closed, so this turns once or twice; there is no way to wait for a child with a time limit.
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
                None => {
                    let stacks = self.stacks();
                    panic!("{}: does not end\n-- stdout\n{stdout}\n-- stderr\n{stderr}\n{stacks}", self.name);
                }
            }
        };
        Finished { name: self.name.clone(), status, stdout, stderr }
    }

    /// All stacks of a program that hangs, where gdb is at hand.
    fn stacks(&self) -> String {
        let mut gdb = Command::new("gdb");
        gdb.args(["-batch", "-ex", "thread apply all bt", "-p", &self.id().to_string()]);
        let done = gdb.stdin(Stdio::null()).stderr(Stdio::null()).output();
        done.map(|done| String::from_utf8_lossy(&done.stdout).into_owned()).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read_lines(from: impl Read + Send + 'static, to: Arc<(Mutex<Captured>, Condvar)>, part: Part) {
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|got| got > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
            part(&mut to.0.lock().unwrap()).push(text);
            to.1.notify_all();
            line.clear();
        }
        to.0.lock().unwrap().open -= 1;
        to.1.notify_all();
    });
}

type Part = fn(&mut Captured) -> &mut Vec<String>;

impl Finished {
    /// Asserts the exit status.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{}", self.report());
        self
    }

    /// Asserts that standard output has a line with `text`.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stdout.lines().any(|line| line.contains(text)), "no {text:?}: {}", self.report());
        self
    }

    /// Asserts that standard error has a line with `text`.
    #[track_caller]
    pub fn complains(self, text: &str) -> Self {
        assert!(self.stderr.lines().any(|line| line.contains(text)), "no {text:?}: {}", self.report());
        self
    }

    /// Everything that is known about its end.
    pub fn report(&self) -> String {
        format!("{}: {}\n-- stdout\n{}\n-- stderr\n{}", self.name, self.status, self.stdout, self.stderr)
    }
}

/// How a program is built and run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// As users do.
    Plain,
    /// As users build it, run under valgrind's memcheck.
    Valgrind,
    /// Built with AddressSanitizer, against the library that was built with it.
    Asan,
}

/// Exit status of valgrind and of AddressSanitizer when they have found something.
pub const DEFECT: i32 = 99;

impl Mode {
    /// Fails where something is missing that programs need to run like this: a test that has tested nothing must not
    /// look like one that has passed.
    #[track_caller]
    pub fn must_be_possible(self) {
        let missing = match self {
            Mode::Valgrind if !installed("valgrind") => "valgrind, which is not installed",
            Mode::Asan if asan_lib_dir().is_none() => {
                "the library built with AddressSanitizer, and CRVIDEO_ASAN_LIB_DIR does not say where that is"
            }
            Mode::Plain | Mode::Valgrind | Mode::Asan => return,
        };
        panic!("this test needs {missing}: run it by `cargo xtask test FILTER`, which sees to that");
    }

    fn lib_dir(self) -> &'static Path {
        match self {
            Mode::Plain | Mode::Valgrind => &artefacts().lib_dir,
            Mode::Asan => asan_lib_dir().expect("it must have been asked before whether this is possible"),
        }
    }

    /// Compiles one source file of `c-examples` or `tests/c`, once for each process; returns the program.
    pub fn program(self, source: &str) -> PathBuf {
        static BUILT: Mutex<Vec<(bool, String, PathBuf)>> = Mutex::new(Vec::new());
        let asan = self == Mode::Asan;
        let mut built = BUILT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((_, _, program)) = built.iter().find(|entry| entry.0 == asan && entry.1 == source) {
            return program.clone();
        }
        let dir = run_dir().join(if asan { "asan" } else { "plain" });
        std::fs::create_dir_all(&dir).unwrap();
        let program = dir.join(Path::new(source).file_stem().unwrap());
        let mut cc = compiler(source, asan);
        if asan {
            cc.args(["-fsanitize=address", "-fno-omit-frame-pointer"]);
        }
        cc.arg(root().join(source)).arg("-o").arg(&program);
        cc.arg("-L").arg(self.lib_dir()).arg(concat_os("-Wl,-rpath,", self.lib_dir()));
        cc.args(["-lcrvideo", "-lpthread", "-ldl"]);
        cc.args(MORE_LIBRARIES.iter().filter(|(of, _)| *of == source).flat_map(|(_, libraries)| *libraries));
        output(&mut cc);
        built.push((asan, source.to_owned(), program.clone()));
        program
    }

    /// A command that runs `source`'s program with arguments.
    pub fn command<A: AsRef<OsStr>>(self, source: &str, args: impl IntoIterator<Item = A>) -> Command {
        let program = self.program(source);
        let mut command = match self {
            Mode::Valgrind => {
                let mut valgrind = Command::new("valgrind");
                valgrind.arg(format!("--error-exitcode={DEFECT}"));
                valgrind.args(["--quiet", "--leak-check=full", "--errors-for-leak-kinds=definite"]);
                valgrind.args(["--show-leak-kinds=definite", "--fair-sched=yes", "--num-callers=30"]);
                valgrind.arg(concat_os("--suppressions=", &suppressions()));
                valgrind.arg(program);
                valgrind
            }
            Mode::Plain | Mode::Asan => Command::new(program),
        };
        command.args(args).env("ASAN_OPTIONS", format!("exitcode={DEFECT}:detect_stack_use_after_return=1"));
        command.env("CRVIDEO_LIBRARY", self.lib_dir().join("libcrvideo.so"));
        command.env("CRVIDEO_SLOW", if self == Mode::Plain { "1" } else { "10" });
        command
    }

    /// Starts `source`'s program.
    pub fn start<A: AsRef<OsStr>>(self, source: &str, args: impl IntoIterator<Item = A>) -> Running {
        Running::start(self.command(source, args))
    }

    /// Runs `source`'s program to its end, without standard input.
    pub fn run<A: AsRef<OsStr>>(self, source: &str, args: impl IntoIterator<Item = A>) -> Finished {
        let mut running = self.start(source, args);
        running.hang_up();
        running.finish()
    }
}

/// What programs are linked with beside the library.
const MORE_LIBRARIES: [(&str, &[&str]); 1] = [("tests/c/openssl.c", &["-lssl", "-lcrypto"])];

/// The compiler with the flags that every source file here must pass.
fn compiler(source: &str, asan: bool) -> Command {
    let cpp = source.ends_with(".cpp");
    let (variable, default) = match (cpp, asan) {
        (false, false) => ("CC", "cc"),
        (true, false) => ("CXX", "c++"),
        (false, true) => ("CRVIDEO_ASAN_CC", "cc"),
        (true, true) => ("CRVIDEO_ASAN_CXX", "c++"),
    };
    let mut cc = Command::new(std::env::var_os(variable).unwrap_or_else(|| default.into()));
    cc.arg(if cpp { "-std=c++11" } else { "-std=c99" });
    cc.args(["-Wall", "-Wextra", "-pedantic", "-Werror", "-O1", "-g", "-pthread"]);
    cc.arg("-I").arg(root().join("include")).arg("-I").arg(root().join("c-examples"));
    cc
}

/// What memcheck is wrong about: the tags of encrypted records, which ring computes in assembler that it cannot follow.
/// It takes their sixteen bytes for uninitialised, though the other side finds them right. Nothing else that is sent
/// or compared is left out.
fn suppressions() -> PathBuf {
    let compared = "{\ntag_compared\nMemcheck:Cond\nfun:*ring*verify_slices_are_equal*\n}\n".to_owned();
    // One for each piece of a vectored write: memcheck knows no wildcard there.
    let sent = |piece: u32| {
        format!(
            "{{\ntag_sent\nMemcheck:Param\nsendmsg(msg.msg_iov[{piece}])\n...\nfun:*rustls*ChunkVecBuffer*write_to*\n}}\n"
        )
    };
    let path = run_dir().join("memcheck.supp");
    std::fs::write(&path, (0..64).map(sent).fold(compared, |all, one| all + &one)).unwrap();
    path
}

fn concat_os(prefix: &str, path: &Path) -> OsString {
    let mut text = OsString::from(prefix);
    text.push(path);
    text
}

/// Where this process puts what it makes: a directory named by its process id, in which dead runs' are removed.
pub fn run_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let runs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("runs");
        let dir = runs.join(std::process::id().to_string());
        let _ = std::fs::remove_dir_all(&dir);
        for entry in std::fs::read_dir(&runs).into_iter().flatten().flatten() {
            if !Path::new("/proc").join(entry.file_name()).exists() {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        std::fs::create_dir_all(&dir).unwrap();
        dir
    })
}
