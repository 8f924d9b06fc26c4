//! Torture: the real library in scenarios in which the Nth call that it makes fails, for each N. `tests/c/torture.c` has
//! the scenarios and the judgement, `tests/c/fault_shim.c` makes calls fail.
//!
//! `CRVIDEO_TORTURE` says which: nothing: each scenario with a few N, drawn from a seed that is printed; `seed=NUMBER`:
//! the same draw again; `all`: every N of every scenario; a scenario's name: every N of that one; `NAME/N/VARIANT`: that
//! very run.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

#[path = "c/harness.rs"]
mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use crvideo_proto::token;
use harness::{Finished, Mode, Relay, Running, Scratch, artefacts, output, root, run_dir};

/// Runs at a time: they wait most of the time.
const LANES: usize = 6;
/// Faults drawn for each scenario where not all are run.
const SAMPLE: u64 = 5;

fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let shim = run_dir().join("fault_shim.so");
        let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        cc.args(["-shared", "-fPIC", "-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-g"]);
        output(cc.arg(root().join("tests/c/fault_shim.c")).arg("-o").arg(&shim).arg("-ldl"));
        shim
    })
}

fn scenarios() -> Vec<String> {
    let listed = Mode::Plain.run("tests/c/torture.c", ["--list"]).exits(0).stdout;
    listed.lines().map(str::to_owned).collect()
}

/// One run: a scenario, the call that fails (0: none), and with which of its errors.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    scenario: String,
    nth: u64,
    variant: u64,
}

/// What a run has shown.
struct Shown {
    calls: u64,
    fired: Option<String>,
    fds: u64,
}

impl Run {
    /// Runs it, and waits until no more than `fds` descriptors are open; how it has gone wrong, if it has.
    fn run(&self, relay: &Relay, fds: Option<u64>) -> Result<Shown, String> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let scratch = Scratch::new();
        let base = format!("t{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 600;
        let token = token::mint(relay.project.parse().unwrap(), &format!("{base}a"), expires, &relay.secret);
        for dir in ["tmp", "dir"] {
            std::fs::create_dir(scratch.path(dir)).unwrap();
        }
        let (nth, variant) = (self.nth.to_string(), self.variant.to_string());
        let mut command = Mode::Plain.command("tests/c/torture.c", relay.args());
        command.args([&self.scenario, &nth, &variant, &relay.rtm, &base, &token]).arg(scratch.path("dir"));
        command.env("LD_PRELOAD", shim()).env("TMPDIR", scratch.path("tmp"));
        if let Some(fds) = fds {
            command.env("CRVIDEO_FDS", fds.to_string());
        }
        let done = Running::start(command).finish();
        if done.status.success() { Ok(Shown::read(&done)) } else { Err(done.report()) }
    }
}

impl Shown {
    fn read(done: &Finished) -> Self {
        let after = |key: &str| done.stdout.lines().find_map(|line| line.strip_prefix(key));
        let calls = after("calls ").and_then(|number| number.parse().ok()).expect("the number of calls");
        let left = after("left fds=").and_then(|left| left.split(' ').next()?.parse().ok());
        Self { calls, fired: after("fired ").map(str::to_owned), fds: left.expect("the number of descriptors") }
    }
}

/// All runs so far.
#[derive(Default)]
struct Tally {
    runs: usize,
    fired: BTreeMap<String, usize>,
    failures: Vec<String>,
}

struct Torture {
    relay: Relay,
    tally: Mutex<Tally>,
}

impl Torture {
    fn new() -> Self {
        // Both are built before anything runs side by side.
        shim();
        Mode::Plain.program("tests/c/torture.c");
        Self { relay: Relay::start(), tally: Mutex::default() }
    }

    /// Runs one, and keeps what it has shown; whether its fault has fired.
    fn one(&self, run: &Run, fds: u64) -> bool {
        let shown = run.run(&self.relay, Some(fds));
        let mut tally = self.tally.lock().unwrap();
        tally.runs += 1;
        let name = format!("{}/{}/{}", run.scenario, run.nth, run.variant);
        match shown {
            Ok(shown) => {
                if shown.fds != fds {
                    tally.failures.push(format!("{name}: {} descriptors are open, not {fds}", shown.fds));
                }
                let Some(fired) = shown.fired else { return false };
                *tally.fired.entry(fired).or_default() += 1;
                true
            }
            Err(report) => {
                eprintln!("FAILED: CRVIDEO_TORTURE={name}\n{report}");
                tally.failures.push(format!("CRVIDEO_TORTURE={name}"));
                true
            }
        }
    }

    /// A scenario without a fault: the calls that it makes, and the descriptors that are open afterwards.
    fn quiet(&self, scenario: &str) -> Shown {
        let run = Run { scenario: scenario.to_owned(), nth: 0, variant: 0 };
        run.run(&self.relay, None).unwrap_or_else(|report| panic!("{scenario} without a fault: {report}"))
    }

    /// Every N until a fault does not fire any more.
    fn exhaust(&self, scenario: &str, seed: u64) {
        let fds = self.quiet(scenario).fds;
        let fires =
            |nth: u64| self.one(&Run { scenario: scenario.to_owned(), nth, variant: nth.wrapping_add(seed) }, fds);
        (1..).take_while(|nth| fires(*nth)).count();
    }

    fn sample(&self, scenario: &str, seed: u64) {
        let quiet = self.quiet(scenario);
        let mut state = seed ^ scenario.bytes().fold(0, |sum: u64, byte| sum.rotate_left(7) ^ u64::from(byte));
        let mut draw = |below: u64| {
            // SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ (mixed >> 31)) % below
        };
        for _ in 0..SAMPLE {
            let run = Run { scenario: scenario.to_owned(), nth: 1 + draw(quiet.calls), variant: draw(60) };
            self.one(&run, quiet.fds);
        }
    }

    /// Runs `work` for all scenarios, a few at a time.
    fn each(&self, scenarios: &[String], work: impl Fn(&str) + Sync) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..LANES {
                scope.spawn(|| {
                    while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                        work(scenario);
                    }
                });
            }
        });
    }

    fn conclude(self) {
        let tally = self.tally.into_inner().unwrap();
        let fired: usize = tally.fired.values().sum();
        for (fault, times) in &tally.fired {
            eprintln!("{times:6} × {fault}");
        }
        eprintln!("torture: {} sites, {fired} faults fired, {} failures", tally.runs, tally.failures.len());
        assert!(tally.failures.is_empty(), "{:#?}", tally.failures);
        assert!(fired > 0, "no fault has fired");
    }
}

#[test]
fn whatever_call_fails_each_task_has_one_end_and_the_library_goes_on() {
    let torture = Torture::new();
    let asked = std::env::var("CRVIDEO_TORTURE").unwrap_or_default();
    let drawn = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = asked.strip_prefix("seed=").map_or(drawn, |seed| seed.parse().expect("a number as seed"));
    eprintln!("CRVIDEO_TORTURE=seed={seed}");
    let all = scenarios();
    assert!(all.len() >= 20);
    match asked.as_str() {
        "all" => torture.each(&all, |scenario| torture.exhaust(scenario, seed)),
        name if all.iter().any(|scenario| scenario == name) => torture.exhaust(name, seed),
        run if run.contains('/') => {
            let mut parts = run.split('/');
            let scenario = parts.next().unwrap_or_default().to_owned();
            let mut number = || parts.next().and_then(|part| part.parse().ok()).expect("NAME/N/VARIANT");
            let run = Run { scenario, nth: number(), variant: number() };
            let fds = torture.quiet(&run.scenario).fds;
            torture.one(&run, fds);
        }
        _ => torture.each(&all, |scenario| torture.sample(scenario, seed)),
    }
    torture.conclude();
}

/// Functions of libc that the library calls and that cannot fail, or whose failure is not an error of the system's.
const NOT_FALLIBLE: &str = "__cxa_finalize __cxa_thread_atexit_impl __errno_location __res_init __tls_get_addr \
    __xpg_strerror_r abort bcmp clock_gettime clock_nanosleep closedir dirfd dl_iterate_phdr dlsym fcntl free freeaddrinfo \
    gai_strerror getauxval getcwd getenv getpid gettid gnu_get_libc_version ioctl lseek64 memchr memcmp memcpy memmove \
    memrchr memset mmap64 mprotect munmap pause poll pthread_attr_destroy pthread_attr_getguardsize \
    pthread_attr_getstack pthread_attr_init pthread_attr_setstacksize pthread_detach pthread_getattr_np \
    pthread_key_create pthread_key_delete pthread_mutex_lock pthread_mutex_unlock pthread_self pthread_setcancelstate pthread_setname_np pthread_setspecific pthread_sigmask readlink \
    realpath sched_getaffinity sched_yield sigaltstack sigfillset strlen syscall sysconf geteuid getuid umask";

#[test]
fn the_shim_knows_every_call_of_the_library_that_can_fail() {
    let names = |arguments: &[&str], path: &Path| -> BTreeSet<String> {
        let listed = output(Command::new("nm").args(arguments).arg(path));
        let names = listed.lines().filter_map(|line| line.split_whitespace().last()?.split('@').next());
        names.filter(|name| !name.starts_with("_Unwind") && !name.starts_with("_ITM")).map(str::to_owned).collect()
    };
    let called = names(&["-D", "--undefined-only"], &artefacts().lib_dir.join("libcrvideo.so"));
    let shimmed = names(&["-D", "--defined-only"], shim());
    let others: BTreeSet<_> = NOT_FALLIBLE.split_whitespace().map(str::to_owned).collect();
    assert!(called.contains("sendmsg") && shimmed.contains("sendmsg"), "{called:?}");
    let unknown: Vec<_> = called.iter().filter(|name| !shimmed.contains(*name) && !others.contains(*name)).collect();
    assert_eq!(unknown, ["__gmon_start__"], "add these to tests/c/fault_shim.c, or say that they cannot fail");
}
