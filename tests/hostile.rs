//! Surroundings that a library does not choose, and names that a stranger chooses: `tests/c/hostile.c`,
//! `tests/c/names.c` and others against the real library and a real relay. `CRVIDEO_THOROUGH=1` (set by `cargo xtask
//! torture`) asks for the full numbers, `CRVIDEO_TIMES` for one of its own, else a part of them is run.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

#[path = "common/certificates.rs"]
mod certificates;
#[path = "c/harness.rs"]
mod harness;
#[path = "common/hostile_names.rs"]
mod hostile_names;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::{Finished, Mode, PATIENCE, Relay, Running, Scratch, artefacts};

/// How many times something is done: as often as `CRVIDEO_TIMES` says, or all of them where that is asked for.
fn times(sample: u32, all: u32) -> String {
    if let Ok(asked) = std::env::var("CRVIDEO_TIMES") {
        return asked;
    }
    let thorough = std::env::var_os("CRVIDEO_THOROUGH").is_some();
    if thorough { all.to_string() } else { sample.to_string() }
}

/// How long so many of something may take, where all of them are run: `each` is what one takes on a busy machine.
fn patience(number: &str, each: Duration) -> Duration {
    number.parse::<u32>().map_or(PATIENCE, |number| PATIENCE + each * number)
}

/// Runs `hostile WHAT NUMBER` with this directory for temporary files, or one of its own.
fn hostile(what: &str, number: &str, tmp: Option<&Path>) -> Finished {
    hostile_within(PATIENCE, what, number, tmp)
}

fn hostile_within(patience: Duration, what: &str, number: &str, tmp: Option<&Path>) -> Finished {
    let relay = Relay::start();
    let scratch = Scratch::new();
    for dir in ["tmp", "sources"] {
        std::fs::create_dir(scratch.path(dir)).unwrap();
    }
    let mut command = Mode::Plain.command("tests/c/hostile.c", relay.args());
    command.args([what, number]).env("SOURCES", scratch.path("sources"));
    command.env("TMPDIR", tmp.map_or_else(|| scratch.path("tmp"), Path::to_owned));
    let done = Running::start(command).finish_within(patience).exits(0);
    eprintln!("{}", done.stdout);
    done
}

#[test]
fn sessions_that_come_and_go_with_tasks_in_flight_leave_nothing_behind() {
    let count = times(60, 10_000);
    hostile_within(patience(&count, Duration::from_millis(200)), "cycles", &count, None);
}

#[test]
fn a_received_file_and_its_directory_are_private_whatever_the_umask() {
    for mask in ["0", "077", "0777"] {
        hostile("umask", mask, None);
    }
}

#[test]
fn closed_standard_streams_and_high_descriptors_do_no_harm() {
    hostile("bare", "1100", None);
}

#[test]
fn a_timer_that_interrupts_the_host_a_thousand_times_a_second_disturbs_nothing() {
    hostile("signals", "1000", None);
}

#[test]
fn a_directory_that_is_swapped_for_a_link_leads_no_file_astray() {
    let count = times(100, 5_000);
    hostile_within(patience(&count, Duration::from_millis(200)), "swap", &count, None);
}

#[test]
fn a_host_that_closes_all_descriptors_gets_one_result_for_each_task_and_can_log_in_again() {
    let count = times(3, 100);
    hostile_within(patience(&count, Duration::from_secs(2)), "closed", &count, None);
}

#[test]
fn another_program_that_the_host_starts_finds_no_descriptor_of_ours() {
    hostile("exec", &times(5, 200), None);
}

/// A file system of its own, unmounted with the value.
struct Mounted(PathBuf);

impl Mounted {
    /// `None` where this user may not mount.
    fn new(scratch: &Scratch, options: &str) -> Option<Self> {
        let dir = scratch.path("mounted");
        std::fs::create_dir(&dir).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&dir);
        mount.output().is_ok_and(|done| done.status.success()).then_some(Self(dir))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_file_without_room_at_its_target_ends_with_1402_and_leaves_nothing() {
    // No room for the bytes; none for the directory; none for the file in it; no leave to write at all.
    for (options, size) in [("size=1m", "3000000"), ("nr_inodes=1", "10"), ("nr_inodes=2", "10"), ("ro", "10")] {
        let scratch = Scratch::new();
        let Some(mounted) = Mounted::new(&scratch, options) else {
            eprintln!("SKIPPED: mounting a tmpfs needs root; no full disk was tried");
            return;
        };
        hostile("full", size, Some(&mounted.0));
    }
}

#[test]
fn no_name_that_a_stranger_chooses_leads_out_of_the_directory() {
    let corpus = hostile_names::corpus();
    let thorough = std::env::var_os("CRVIDEO_THOROUGH").is_some();
    // Through the wire go those that a sender can give: 1 to 255 bytes without a NUL.
    let sendable = corpus.iter().filter(|name| (1..=255).contains(&name.len()) && !name.contains('\0'));
    let names: Vec<_> = sendable.step_by(if thorough { 1 } else { 67 }).collect();
    let (relay, scratch) = (Relay::start(), Scratch::new());
    let (tmp, home) = (scratch.path("tmp"), scratch.path("home"));
    for dir in [&tmp, &home] {
        std::fs::create_dir(dir).unwrap();
    }
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let list: String = names.iter().map(|name| hex(name) + "\n").collect();
    let list = scratch.file("names", list.as_bytes());
    let mut command = Mode::Plain.command("tests/c/names.c", relay.args());
    command.arg(&list).current_dir(&home).env("TMPDIR", &tmp).env("HOME", &home);
    let done = Running::start(command).finish().exits(0);
    let told: Vec<_> = done.stdout.lines().filter_map(|line| line.strip_prefix("name ")).collect();
    assert_eq!(told.len(), names.len(), "{}", done.report());
    for (name, told) in names.iter().zip(told) {
        let told: Vec<u8> =
            (0..told.len() / 2).map(|at| u8::from_str_radix(&told[2 * at..2 * at + 2], 16).unwrap()).collect();
        hostile_names::judge(name, std::str::from_utf8(&told).expect("UTF-8"));
    }
    assert_eq!(std::fs::read_dir(&home).unwrap().count(), 0, "something was put where the program runs");
    assert_eq!(std::fs::read_dir(&tmp).unwrap().count(), 0, "something is left, or was put outside the directory");
    eprintln!("{} names through the relay", names.len());
}

#[test]
fn no_file_is_made_but_those_with_names_of_our_own() {
    if !harness::installed("strace") {
        eprintln!("SKIPPED: strace is not installed; no call was looked at");
        return;
    }
    // Each would lead somewhere if it were ever part of a path, or do something as a path of its own.
    let names =
        ["../../planted", "/tmp/planted", "planted", "a/b/planted", "..\\planted", ".bashrc", "-rf", "$(planted)"];
    let (relay, scratch) = (Relay::start(), Scratch::new());
    let tmp = scratch.path("tmp");
    std::fs::create_dir(&tmp).unwrap();
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let list: String = names.iter().map(|name| hex(name) + "\n").collect();
    let (list, calls) = (scratch.file("names", list.as_bytes()), scratch.path("calls"));
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=file", "-e", "signal=none", "-s", "4096", "-o"]).arg(&calls);
    command.arg(Mode::Plain.program("tests/c/names.c")).args(relay.args()).arg(&list).env("TMPDIR", &tmp);
    Running::start(command).finish().exits(0);
    let made: Vec<_> = std::fs::read_to_string(&calls).unwrap().lines().filter_map(name_made).collect();
    let own_directory =
        |name: &str| name.strip_prefix(tmp.to_str().unwrap()).is_some_and(|it| it.starts_with("/crvideo-"));
    let digits =
        |name: &str| name.len() == 32 && name.bytes().all(|it| it.is_ascii_digit() || (b'a'..=b'f').contains(&it));
    let strange: Vec<_> = made.iter().filter(|name| !own_directory(name) && !digits(name)).collect();
    assert!(strange.is_empty(), "{strange:?}");
    assert_eq!(made.iter().filter(|name| digits(name)).count(), names.len(), "{made:?}");
}

/// The path that a call, as strace shows it, gives to something new: the last of its paths.
fn name_made(line: &str) -> Option<String> {
    let (call, rest) = line.split_once(' ')?.1.trim_start().split_once('(')?;
    let makes = ["mkdir", "rename", "link", "symlink", "mknod", "creat"].iter().any(|it| call.starts_with(it));
    let paths: Vec<_> = rest.split('"').skip(1).step_by(2).collect();
    (makes || call.starts_with("open") && rest.contains("O_CREAT")).then(|| (*paths.last().unwrap()).to_owned())
}

#[test]
fn random_calls_from_all_sides_leave_nothing_wrong_behind() {
    Mode::Asan.must_be_possible();
    let asked = std::env::var("CRVIDEO_RANDOM_CALLS").unwrap_or_default();
    // `SEED` or `SEED:CALLS`, to have a run again as far as threads allow.
    let (seed, calls) = asked.split_once(':').unwrap_or((&asked, ""));
    let drawn = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = if seed.is_empty() { drawn } else { seed.parse().expect("a number as seed") };
    let calls = if calls.is_empty() { times(20_000, 1_000_000) } else { calls.to_owned() };
    eprintln!("CRVIDEO_RANDOM_CALLS={seed}:{calls}");
    let (relay, scratch) = (Relay::start(), Scratch::new());
    for dir in ["tmp", "files"] {
        std::fs::create_dir(scratch.path(dir)).unwrap();
    }
    let mut command = Mode::Asan.command("tests/c/random_api.c", relay.args());
    command.arg(&relay.rtm).arg(scratch.path("files")).arg(seed.to_string()).arg(&calls);
    command.env("TMPDIR", scratch.path("tmp"));
    let done = Running::start(command).finish_within(patience(&calls, Duration::from_millis(20))).exits(0);
    eprintln!("{}", done.stdout);
}

/// Runs `leave WHAT`.
fn leave(what: &str) -> Finished {
    run_with("tests/c/leave.c", &[what])
}

/// Runs a program where a core that it may leave behind is removed.
fn run_with(source: &str, args: &[&str]) -> Finished {
    let relay = Relay::start();
    let mut command = Mode::Plain.command(source, relay.args());
    command.args(args).current_dir(harness::run_dir());
    Running::start(command).finish()
}

/// Asserts that it has ended by an abort of its own, after a line with `text`.
#[track_caller]
fn aborted(done: Finished, text: &str) -> Finished {
    assert_eq!(done.status.signal(), Some(libc::SIGABRT), "{}", done.report());
    done.complains(text)
}

#[test]
fn a_callback_that_ends_its_thread_ends_the_process_and_says_why() {
    for what in ["exit", "exit-poll"] {
        aborted(leave(what), "crvideo: a callback was left by an exception, or has ended its thread");
    }
}

#[test]
fn a_cpp_callback_that_throws_through_the_c_interface_ends_the_process_and_says_why() {
    let done = run_with("tests/c/throw.cpp", &[]);
    aborted(done, "crvideo: a callback was left by an exception, or has ended its thread");
}

#[test]
fn a_callback_that_is_left_by_longjmp_harms_no_other_session_until_the_threads_next_call_ends_the_process() {
    aborted(leave("jump"), "crvideo: a callback was left by longjmp").says("others work");
}

#[test]
fn a_call_on_a_stack_of_its_own_inside_a_callback_is_not_taken_for_a_jump() {
    leave("fiber").exits(0);
}

#[test]
fn our_threads_cannot_be_cancelled() {
    leave("cancel").exits(0);
}

#[test]
fn a_thread_that_is_cancelled_while_it_polls_ends_after_the_call_and_loses_nothing() {
    leave("cancel-poll").exits(0);
}

#[test]
fn a_thread_that_is_cancelled_anywhere_in_our_calls_makes_each_of_them_whole() {
    leave("cancel-calls").exits(0);
}

#[test]
fn copies_of_the_library_in_one_process_work_side_by_side() {
    let (relay, scratch) = (Relay::start(), Scratch::new());
    let library = std::fs::read(artefacts().lib_dir.join("libcrvideo.so")).unwrap();
    let copies = ["one.so", "two.so"].map(|name| scratch.file(name, &library));
    let mut command = Mode::Plain.command("tests/c/copies.c", relay.args());
    Running::start({
        command.args(copies);
        command
    })
    .finish()
    .exits(0);
}

#[test]
fn a_host_with_openssl_uses_both_at_once() {
    if !Path::new("/usr/include/openssl/ssl.h").exists() {
        eprintln!("SKIPPED: there is no OpenSSL to build with; install libssl-dev to run this test");
        return;
    }
    let authority = certificates::Authority::new("the test's authority");
    let pair = authority.issue(&certificates::HERE);
    let relay = Relay::start_encrypted(&pair.chain, &pair.key, &authority.pem);
    let scratch = Scratch::new();
    let files =
        [("chain.pem", &pair.chain), ("key.pem", &pair.key)].map(|(name, pem)| scratch.file(name, pem.as_bytes()));
    let mut command = Mode::Plain.command("tests/c/openssl.c", relay.args());
    command.args(files).env("CRVIDEO_TEST_CA", relay.authority.as_ref().unwrap());
    Running::start(command).finish().exits(0).says("by OpenSSL");
}

#[test]
fn a_host_whose_address_space_is_used_up_gets_errors_and_goes_on_when_there_is_more() {
    for kib in [0, 100, 300, 1_000, 2_500, 5_000, 7_000, 10_000, 12_000, 14_000, 16_000, 20_000, 80_000] {
        let relay = Relay::start();
        let scratch = Scratch::new();
        for dir in ["tmp", "sources"] {
            std::fs::create_dir(scratch.path(dir)).unwrap();
        }
        let mut command = Mode::Plain.command("tests/c/hostile.c", relay.args());
        // A core that it may leave behind is removed.
        command.args(["scarce", &kib.to_string()]).env("SOURCES", scratch.path("sources"));
        command.env("TMPDIR", scratch.path("tmp")).current_dir(harness::run_dir());
        let done = Running::start(command).finish();
        eprintln!("{kib} KiB: {}, {} {}", done.status, done.stdout, done.stderr);
        if done.status.code() == Some(0) {
            continue;
        }
        // Small allocations cannot fail in Rust: then the process ends, and says how much was asked for.
        let asked = done
            .stderr
            .lines()
            .find_map(|line| line.strip_prefix("memory allocation of ")?.split(' ').next()?.parse::<u64>().ok());
        assert!(asked.is_some_and(|bytes| bytes < 65_536), "{kib} KiB: {}", done.report());
        assert_eq!(done.status.signal(), Some(libc::SIGABRT), "{}", done.report());
    }
}
