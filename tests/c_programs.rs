//! Programs in C and C++ against the real library and a real relay: the examples as a user would run them, and the
//! programs of `tests/c`, which do what the worst of applications does. Each is run as it is, many under valgrind's
//! memcheck and under AddressSanitizer, too.
//!
//! `CRVIDEO_LIB_DIR` and `CRVIDEO_RELAY_BIN` name the library's directory and the relay's program; what is not given
//! is built. The sanitizer's part needs `CRVIDEO_ASAN_LIB_DIR`, a library built with `-Zsanitizer=address`, and by
//! default gcc's own runtime, which serves rustc's instrumentation as well (`CRVIDEO_ASAN_CC`, `CRVIDEO_ASAN_CXX`).
//! `cargo xtask test` sees to all of it; without it, the tests that lack something fail and say so.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

#[path = "common/certificates.rs"]
mod certificates;
#[path = "c/harness.rs"]
mod harness;
#[path = "common/rtm_gate.rs"]
mod rtm_gate;

use std::path::Path;
use std::process::Command;

use harness::{DEFECT, Finished, Mode, Relay, Running, Scratch, artefacts, installed, noise, output, root, sha256};

const SEND_CMD: &str = "c-examples/send_cmd.c";
const SEND_BUFFER: &str = "c-examples/send_buffer.c";
const SEND_FILE: &str = "c-examples/send_file.c";
const CANCEL_SEND: &str = "c-examples/cancel_send.c";
const RECEIVER: &str = "c-examples/receiver.c";
const EVENT_LOOP: &str = "c-examples/event_loop.c";
const CHAT: &str = "c-examples/chat.cpp";
const RTM_SEND_FILE: &str = "c-examples/rtm_send_file.c";
const RTM_SEND_FILES: &str = "c-examples/rtm_send_files_async.c";
const RTM_LISTEN: &str = "c-examples/rtm_listen.c";

/// A relay, a directory, and a way of running programs.
struct Stage {
    mode: Mode,
    relay: Relay,
    scratch: Scratch,
}

impl Stage {
    fn new(mode: Mode) -> Self {
        Self::with(mode, Relay::start())
    }

    /// With a relay that encrypts, whose authority the programs trust.
    fn encrypted(mode: Mode) -> Self {
        let authority = certificates::Authority::new("the test's authority");
        let pair = authority.issue(&certificates::HERE);
        Self::with(mode, Relay::start_encrypted(&pair.chain, &pair.key, &authority.pem))
    }

    fn with(mode: Mode, relay: Relay) -> Self {
        let scratch = Scratch::new();
        std::fs::create_dir(scratch.path("tmp")).unwrap();
        Self { mode, relay, scratch }
    }

    /// Starts a program with these arguments alone. What it or the library puts into the system's temporary directory
    /// is the stage's.
    fn start_with(&self, source: &str, args: &[&str]) -> Running {
        let mut command = self.mode.command(source, args);
        command.env("TMPDIR", self.scratch.path("tmp"));
        command.envs(self.relay.authority.as_ref().map(|path| ("CRVIDEO_TEST_CA", path)));
        Running::start(command)
    }

    fn start(&self, source: &str, args: &[&str]) -> Running {
        self.start_with(source, &[&self.relay.args(), args].concat())
    }

    /// Runs a program to its end, without standard input.
    fn run(&self, source: &str, args: &[&str]) -> Finished {
        let mut running = self.start(source, args);
        running.hang_up();
        running.finish()
    }

    /// Asserts that no received file was left in the temporary directory.
    fn is_clean(&self) {
        assert_eq!(files_below(&self.scratch.path("tmp")), 0, "files are left in the temporary directory");
    }

    /// `user` with the receiver example; its files go to the directory `user`. Returns when it is logged in.
    fn receiver(&self, user: &str, count: u32) -> Running {
        let inbox = self.path(user);
        let receiver = self.start(RECEIVER, &[user, &inbox, "--count", &count.to_string()]);
        receiver.wait_for("ready");
        receiver
    }

    fn path(&self, name: &str) -> String {
        self.scratch.path(name).into_os_string().into_string().unwrap()
    }

    fn file(&self, name: &str, content: &[u8]) -> String {
        self.scratch.file(name, content).into_os_string().into_string().unwrap()
    }
}

/// Names of a directory's entries, sorted.
fn entries(dir: &str) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names.into_iter().map(|name| name.into_string().unwrap()).collect()
}

mod example {
    use super::*;

    pub fn a_command_arrives_as_it_was_sent(stage: &Stage) {
        let bob = stage.receiver("bob", 1);
        stage.run(SEND_CMD, &["alice", "bob", "open door 4"]).exits(0).says("delivered");
        bob.finish().exits(0).says("command from alice: 11 bytes: open door 4");
    }

    pub fn an_empty_command_arrives(stage: &Stage) {
        let bob = stage.receiver("bob", 1);
        stage.run(SEND_CMD, &["alice", "bob", ""]).exits(0).says("delivered");
        bob.finish().exits(0).says("command from alice: 0 bytes");
    }

    pub fn a_buffer_arrives_with_progress_from_nothing_to_everything(stage: &Stage) {
        let file = stage.file("content", &noise(3_000_001));
        let bob = stage.receiver("bob", 1);
        let alice = stage.run(SEND_BUFFER, &["alice", "bob", &file]).exits(0);
        let progress: Vec<_> = alice.stdout.lines().filter(|line| line.starts_with("progress ")).collect();
        assert_eq!(progress.first(), Some(&"progress 0 of 3000001"), "{}", alice.report());
        assert_eq!(progress.last(), Some(&"progress 3000001 of 3000001"), "{}", alice.report());
        alice.says("delivered 3000001 bytes");
        bob.finish().exits(0).says("buffer from alice: 3000001 bytes: ");
    }

    pub fn two_files_of_one_name_arrive_side_by_side(stage: &Stage) {
        let first = stage.file("年报 2024.pdf", &noise(5_000_000));
        let bob = stage.receiver("bob", 3);
        stage.run(SEND_FILE, &["alice", "bob", &first]).exits(0).says("delivered in").says("100 %");
        let expected = sha256(Path::new(&first));
        let second = stage.file("年报 2024.pdf", b"another content");
        stage.run(SEND_FILE, &["alice", "bob", &second]).exits(0);
        let empty = stage.file("empty.txt", b"");
        stage.run(SEND_FILE, &["alice", "bob", &empty]).exits(0);
        bob.finish().exits(0).says("bob/年报 2024.pdf").says("bob/1-年报 2024.pdf").says("bob/empty.txt");

        let inbox = stage.path("bob");
        assert_eq!(entries(&inbox), [".incoming", "1-年报 2024.pdf", "empty.txt", "年报 2024.pdf"]);
        assert_eq!(sha256(&Path::new(&inbox).join("年报 2024.pdf")), expected);
        assert_eq!(sha256(&Path::new(&inbox).join("1-年报 2024.pdf")), sha256(Path::new(&second)));
        assert_eq!(std::fs::metadata(Path::new(&inbox).join("empty.txt")).unwrap().len(), 0);
        assert_eq!(files_below(&Path::new(&inbox).join(".incoming")), 0, "no temporary file is left");
    }

    pub fn a_cancelled_file_leaves_nothing_behind(stage: &Stage) {
        // 3 GiB that take no room at the sender; far more than is sent until the cancel.
        let file = stage.file("large.bin", b"");
        std::fs::File::options().write(true).open(&file).unwrap().set_len(3 << 30).unwrap();
        let bob = stage.receiver("bob", 1);
        let alice = stage.run(CANCEL_SEND, &["alice", "bob", &file, "1"]).exits(0);
        alice.says("cancel: Success.").says("file: The sender cancelled it.");
        // The contract: when the cancel is confirmed, the temporary file is gone.
        assert_eq!(files_below(Path::new(&stage.path("bob"))), 0);
        stage.run(SEND_CMD, &["alice", "bob", "still there?"]).exits(0);
        bob.finish().exits(0).says("still there?");
    }

    pub fn a_cancel_that_comes_too_late_is_told_apart(stage: &Stage) {
        let file = stage.file("small.txt", b"a few bytes");
        let bob = stage.receiver("bob", 1);
        // 200 % are never reached.
        stage.run(CANCEL_SEND, &["alice", "bob", &file, "200"]).exits(2).says("file: Success.");
        bob.finish().exits(0);
    }

    pub fn two_event_loops_talk(stage: &Stage) {
        let mut bob = stage.start(EVENT_LOOP, &["bob", "alice"]);
        let mut alice = stage.start(EVENT_LOOP, &["alice", "bob"]);
        bob.wait_for("ready");
        alice.wait_for("ready");
        alice.say("knock knock");
        bob.wait_for("alice: knock knock");
        bob.say("who is there?");
        bob.say("");
        bob.say("hello?");
        alice.wait_for("bob: hello?");
        alice.hang_up();
        bob.hang_up();
        let alice = alice.finish().exits(0);
        let heard: Vec<_> = alice.stdout.lines().filter(|line| line.starts_with("bob: ")).collect();
        assert_eq!(heard, ["bob: who is there?", "bob: ", "bob: hello?"], "in order");
        bob.finish().exits(0);
    }

    pub fn two_people_chat_and_hand_over_a_file(stage: &Stage) {
        let file = stage.file("notes.txt", &noise(200_000));
        let mut bob = stage.start(CHAT, &["bob", "alice", &stage.path("bob-inbox")]);
        let mut alice = stage.start(CHAT, &["alice", "bob", &stage.path("alice-inbox")]);
        bob.wait_for("ready");
        alice.wait_for("ready");
        alice.say("你好, Bob");
        bob.wait_for("alice: 你好, Bob");
        bob.say(&format!("/file {file}"));
        bob.wait_for("delivered");
        alice.wait_for("notes.txt");
        alice.hang_up();
        bob.hang_up();
        alice.finish().exits(0);
        bob.finish().exits(0);
        let received = Path::new(&stage.path("alice-inbox")).join("notes.txt");
        assert_eq!(sha256(&received), sha256(Path::new(&file)));
    }

    pub fn errors_are_told_in_words_and_by_the_exit_status(stage: &Stage) {
        let file = stage.file("some.txt", b"content");
        stage.run(SEND_CMD, &["alice", "nobody", "x"]).exits(1).complains("(error 1102)");
        stage.run(SEND_FILE, &["alice", "nobody", &file]).exits(1).complains("(error 1102)");
        stage.run(SEND_FILE, &["alice", "nobody", &stage.path("missing")]).exits(1).complains("(error 1103)");
        stage.run(SEND_CMD, &["alice", "", "x"]).exits(1).complains("(error 5)");
        let wrong = [&stage.relay.address, stage.relay.project.as_str(), "not the secret", "alice", "bob", "x"];
        stage.start_with(SEND_CMD, &wrong).finish().exits(1).complains("login:").complains("(error 7)");
    }

    pub fn a_receiver_stops_on_a_signal(stage: &Stage) {
        let bob = stage.receiver("bob", 0);
        bob.signal("TERM");
        bob.finish().exits(0);
        let bob = stage.receiver("bob", 0);
        bob.signal("INT");
        bob.finish().exits(0);
    }

    pub fn the_older_of_two_receivers_is_told_that_it_was_replaced(stage: &Stage) {
        let older = stage.receiver("bob", 1);
        let newer = stage.receiver("bob", 1);
        older.finish().exits(1).says("The same user has logged in elsewhere");
        stage.run(SEND_CMD, &["alice", "bob", "to the newer one"]).exits(0);
        newer.finish().exits(0).says("to the newer one");
    }

    pub fn a_token_from_a_file_is_as_good_as_the_secret(stage: &Stage) {
        let bob = stage.receiver("bob", 1);
        let [address, project, secret] = stage.relay.args();
        let token = stage.file("token", format!("token:{}\n", token(project, "alice", secret, 600)).as_bytes());
        let args = [address, project, &format!("@{token}"), "alice", "bob", "by token"];
        stage.start_with(SEND_CMD, &args).finish().exits(0);
        bob.finish().exits(0).says("command from alice: 8 bytes: by token");
    }
}

/// The RTM examples, and a program that uses all of an RTM client, with a gate that answers as a stock one does.
mod rtm {
    use super::*;
    use crate::rtm_gate::{Fault, Gate, PROJECT, SECRET};
    use crvideo_proto::rtm::params::Fields;

    /// GATE PROJECT SECRET, as the programs take them.
    fn with_gate(gate: &Gate, args: &[&str]) -> Vec<String> {
        let first = [gate.address.to_string(), PROJECT.to_string(), SECRET.to_owned()];
        first.into_iter().chain(args.iter().map(|arg| (*arg).to_owned())).collect()
    }

    pub fn every_call_of_a_client_works(stage: &Stage) {
        let gate = Gate::start();
        stage.mode.run("tests/c/rtm_calls.c", with_gate(&gate, &[])).exits(0);
    }

    pub fn a_server_sends_files_and_another_hears_of_them(stage: &Stage) {
        let gate = Gate::start();
        let report = stage.file("report.txt", &noise(1_000_000));
        let second = stage.file("second.txt", b"x");
        let listener = stage.mode.start(RTM_LISTEN, with_gate(&gate, &["7"]));
        listener.wait_for("ready");
        let sent = stage.mode.run(RTM_SEND_FILE, with_gate(&gate, &["100", "200", &report])).exits(0);
        sent.says("sent: mid ").says(", mtime ");
        listener.wait_for(r#"to user 200 from 100, type 50"#);
        let args = with_gate(&gate, &["100", "200,-201", &report, &second]);
        stage.mode.run(RTM_SEND_FILES, args).exits(0).says("report.txt: mid ").says("second.txt: mid ");
        let event = Fields::new().text("event", "login").int("uid", 9).text("endpoint", "1.2.3.4:5");
        gate.push("pushevent", event);
        let fields = Fields::new().int("from", 1).int("gid", 5).int("mid", 3).int("mtype", 66);
        gate.push("pushgroupmsg", fields.text("msg", "hello").text("attrs", ""));
        let heard = listener.finish().exits(0);
        let heard = heard.says(r#"file "report.txt" of 1000000 bytes at http://"#).says(r#"{"from":"example"}"#);
        heard
            .says("to user -201 from 100")
            .says("user 9: login at 1.2.3.4:5")
            .says("in group 5 from 1")
            .says(": hello");
    }

    pub fn the_relay_carries_files_from_server_to_server(stage: &Stage) {
        let Relay { rtm, project, secret, .. } = &stage.relay;
        let args = |more: &[&str]| -> Vec<String> {
            [rtm.as_str(), project, secret].iter().chain(more).map(|arg| (*arg).to_owned()).collect()
        };
        let report = stage.file("report.txt", &noise(20_000_000));
        let listener = stage.mode.start(RTM_LISTEN, args(&["3"]));
        listener.wait_for("ready");
        stage.mode.run(RTM_SEND_FILE, args(&["100", "200", &report])).exits(0).says("sent: mid ");
        stage
            .mode
            .run(RTM_SEND_FILES, args(&["100", "200,201", &report]))
            .exits(0)
            .says("report.txt: mid ")
            .says("report.txt for 200: stored")
            .says("report.txt for 201: stored");
        let heard = listener.finish().exits(0).says(r#"file "report.txt" of 20000000 bytes at http://"#);
        heard.says("to user 201 from 100");
    }

    pub fn failures_are_told_in_the_servers_words(stage: &Stage) {
        let gate = Gate::start();
        let file = stage.file("some.txt", b"content");
        gate.fault("filetoken", Fault::Error(200_041, "not a member, says the gate"));
        let args = with_gate(&gate, &["100", "200", &file]);
        let failed = stage.mode.run(RTM_SEND_FILE, &args).exits(1);
        failed.complains("not a member, says the gate (error 200041: ");
        let missing = with_gate(&gate, &["100", "200", &stage.path("missing")]);
        stage.mode.run(RTM_SEND_FILE, &missing).exits(1).complains("(error 1103: ");
        stage.mode.run(RTM_SEND_FILES, &missing).exits(1).complains("(error 1103)");
        let wrong = ["127.0.0.1:1", "1", "secret", "1"];
        stage.mode.run(RTM_LISTEN, wrong).exits(1).complains("(error 20012: ");
    }
}

/// What a backend would mint, by another implementation than ours.
fn token(project: &str, user: &str, secret: &str, seconds: u32) -> String {
    let script = r#"
import base64, hashlib, hmac, json, sys, time
project, user, secret, seconds = sys.argv[1:]
part = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")
claims = {"pid": int(project), "sub": user, "exp": int(time.time()) + int(seconds)}
head = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
print((head + b"." + part(hmac.new(secret.encode(), head, hashlib.sha256).digest())).decode())
"#;
    output(Command::new("python3").args(["-c", script, project, user, secret, &seconds.to_string()])).trim().to_owned()
}

/// Regular files in a directory and below it.
fn files_below(dir: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries.flatten().map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
}

mod abuse {
    use super::*;

    /// Functions that the header declares.
    pub fn declared() -> Vec<String> {
        let header = std::fs::read_to_string(root().join("include/crvideo.h")).unwrap();
        let mut names = Vec::new();
        // A declaration stands at the beginning of a line; the name is the word before the first parenthesis.
        for line in header.lines().filter(|line| {
            line.starts_with("CRVideo_Err ") || line.starts_with("void ") || line.starts_with("const char *")
        }) {
            let name = line.split('(').next().unwrap().rsplit([' ', '*']).next().unwrap();
            if (name.starts_with("CRVideo_") || name.starts_with("RTM_")) && line.contains('(') {
                names.push(name.to_owned());
            }
        }
        names.sort();
        names
    }

    pub fn every_wrong_argument_has_its_code_and_no_function_is_left_out(stage: &Stage) {
        let done = stage.run("tests/c/abuse_args.c", &[]).exits(0);
        let mut covered: Vec<_> = done.stdout.lines().filter_map(|line| line.strip_prefix("covers ")).collect();
        covered.sort_unstable();
        assert_eq!(covered, declared());
    }

    pub fn every_function_may_be_called_in_every_callback(stage: &Stage) {
        let [_, project, secret] = stage.relay.args();
        stage.run("tests/c/reentry.c", &[&token(project, "alice", secret, 25)]).exits(0);
        stage.is_clean();
    }

    pub fn destroy_in_a_callback_leaves_each_send_with_one_end(stage: &Stage) {
        stage.run("tests/c/destroy_inside.c", &[]).exits(0);
        stage.is_clean();
    }

    pub fn one_thread_that_polls_is_enough(stage: &Stage) {
        stage.run("tests/c/pump_single_thread.c", &[]).exits(0);
        stage.is_clean();
    }

    pub fn a_forked_child_is_refused_and_its_parent_goes_on(stage: &Stage) {
        stage.run("tests/c/fork_child.c", &[]).exits(0);
    }

    pub fn a_process_may_end_at_any_time(stage: &Stage, rounds: u32) {
        for _ in 0..rounds {
            for how in ["return", "exit", "callback", "thread"] {
                stage.run("tests/c/exit_in_flight.c", &[how]).exits(42);
            }
        }
    }

    pub fn regression_a_received_file_of_which_nobody_hears_is_removed(stage: &Stage) {
        let mut program = stage.start("tests/c/unheard_file.c", &[]);
        program.wait_for("nobody listens");
        stage.is_clean();
        program.say("");
        program.wait_for("destroyed unheard");
        stage.is_clean();
        assert_eq!(std::fs::read_dir(stage.scratch.path("tmp")).unwrap().count(), 0, "the directory went, too");
        program.say("");
        program.finish().exits(0);
    }

    pub fn a_name_server_that_does_not_answer_harms_only_those_who_wait_for_it(stage: &Stage) {
        stage.run("tests/c/slow_names.c", &[]).exits(0);
        stage.is_clean();
    }

    pub fn the_library_may_be_unloaded_while_it_works(stage: &Stage) {
        stage.run("tests/c/dlclose.c", &["20"]).exits(0);
    }

    pub fn stacks_of_64_kib_are_enough(stage: &Stage) {
        stage.run("tests/c/small_stack.c", &[]).exits(0);
        stage.is_clean();
    }

    pub fn broken_connections_raise_no_sigpipe(mut stage: Stage) {
        let program = stage.start("tests/c/sigpipe.c", &[]);
        program.wait_for("kill the relay");
        stage.relay.kill();
        program.finish().exits(0);
    }

    pub fn what_cpp_callbacks_throw_is_caught(stage: &Stage) {
        stage.run("tests/c/hpp_throw.cpp", &[]).exits(0);
        stage.is_clean();
    }
}

/// Tests of the same stories in several modes.
macro_rules! stories {
    ($mode:expr => $($name:ident: $story:expr;)*) => {
        $(
            #[test]
            fn $name() {
                $mode.must_be_possible();
                $story(&Stage::new($mode));
            }
        )*
    };
}

mod plain {
    use super::*;

    stories! { Mode::Plain =>
        a_command_arrives_as_it_was_sent: example::a_command_arrives_as_it_was_sent;
        an_empty_command_arrives: example::an_empty_command_arrives;
        a_buffer_arrives_with_progress_from_nothing_to_everything:
            example::a_buffer_arrives_with_progress_from_nothing_to_everything;
        two_files_of_one_name_arrive_side_by_side: example::two_files_of_one_name_arrive_side_by_side;
        a_cancelled_file_leaves_nothing_behind: example::a_cancelled_file_leaves_nothing_behind;
        a_cancel_that_comes_too_late_is_told_apart: example::a_cancel_that_comes_too_late_is_told_apart;
        two_event_loops_talk: example::two_event_loops_talk;
        two_people_chat_and_hand_over_a_file: example::two_people_chat_and_hand_over_a_file;
        errors_are_told_in_words_and_by_the_exit_status: example::errors_are_told_in_words_and_by_the_exit_status;
        a_receiver_stops_on_a_signal: example::a_receiver_stops_on_a_signal;
        the_older_of_two_receivers_is_told_that_it_was_replaced:
            example::the_older_of_two_receivers_is_told_that_it_was_replaced;
        a_token_from_a_file_is_as_good_as_the_secret: example::a_token_from_a_file_is_as_good_as_the_secret;

        every_wrong_argument_has_its_code_and_no_function_is_left_out:
            abuse::every_wrong_argument_has_its_code_and_no_function_is_left_out;
        every_function_may_be_called_in_every_callback: abuse::every_function_may_be_called_in_every_callback;
        destroy_in_a_callback_leaves_each_send_with_one_end:
            abuse::destroy_in_a_callback_leaves_each_send_with_one_end;
        one_thread_that_polls_is_enough: abuse::one_thread_that_polls_is_enough;
        a_forked_child_is_refused_and_its_parent_goes_on: abuse::a_forked_child_is_refused_and_its_parent_goes_on;
        a_process_may_end_at_any_time: |stage: &Stage| abuse::a_process_may_end_at_any_time(stage, 25);
        regression_a_received_file_of_which_nobody_hears_is_removed:
            abuse::regression_a_received_file_of_which_nobody_hears_is_removed;
        regression_a_name_server_that_does_not_answer_harms_only_those_who_wait_for_it:
            abuse::a_name_server_that_does_not_answer_harms_only_those_who_wait_for_it;
        the_library_may_be_unloaded_while_it_works: abuse::the_library_may_be_unloaded_while_it_works;
        stacks_of_64_kib_are_enough: abuse::stacks_of_64_kib_are_enough;
        every_rtm_call_works: rtm::every_call_of_a_client_works;
        a_server_sends_files_and_another_hears_of_them: rtm::a_server_sends_files_and_another_hears_of_them;
        the_relay_carries_files_from_server_to_server: rtm::the_relay_carries_files_from_server_to_server;
        rtm_failures_are_told_in_the_servers_words: rtm::failures_are_told_in_the_servers_words;
        what_cpp_callbacks_throw_is_caught: abuse::what_cpp_callbacks_throw_is_caught;
    }

    #[test]
    fn broken_connections_raise_no_sigpipe() {
        abuse::broken_connections_raise_no_sigpipe(Stage::new(Mode::Plain));
    }

    #[test]
    fn encrypted_connections_that_break_raise_no_sigpipe_either() {
        abuse::broken_connections_raise_no_sigpipe(Stage::encrypted(Mode::Plain));
    }

    #[test]
    fn what_is_encrypted_arrives_as_well() {
        abuse::one_thread_that_polls_is_enough(&Stage::encrypted(Mode::Plain));
    }

    #[test]
    fn the_table_of_exports_is_the_headers() {
        let table = std::fs::read_to_string(root().join("tests/c/exports.h")).unwrap();
        let mut listed: Vec<_> =
            table.lines().filter_map(|line| line.trim().strip_prefix("X(")?.split([')', ',']).next()).collect();
        // Those that return no code cannot fail, and are called in `abuse_args.c`.
        listed.extend([
            "CRVideo_ConfigInit",
            "CRVideo_ConfigInitSized",
            "CRVideo_LoginInfoInit",
            "CRVideo_LoginInfoInitSized",
            "CRVideo_SendOptionsInit",
        ]);
        listed.extend(["CRVideo_ErrText", "CRVideo_Version"]);
        listed.extend(["RTM_ConfigInit", "RTM_FileInit", "RTM_ListenInit", "RTM_CallOptionsInit", "RTM_ResultInit"]);
        listed.extend(["RTM_SendResultInit", "RTM_TokenResultInit", "RTM_ListResultInit"]);
        listed.sort_unstable();
        // An RTM call stands with its arguments, too.
        listed.dedup();
        assert_eq!(listed, abuse::declared());
    }

    /// Builds the examples as a user would, with warnings as errors; returns where.
    fn make(cc: &str, cxx: &str, out: &Path) {
        let mut make = Command::new("make");
        make.arg("-C").arg(root().join("c-examples")).args(["all", "CFLAGS=-O2 -Werror", "CXXFLAGS=-O2 -Werror"]);
        make.arg(format!("CC={cc}")).arg(format!("CXX={cxx}")).arg(format!("OUT={}", out.display()));
        make.arg(format!("CRVIDEO_LIB={}", artefacts().lib_dir.display()));
        // A test runner's own make must not lend this one its job server.
        output(make.env_remove("MAKEFLAGS").env_remove("MFLAGS"));
    }

    #[test]
    fn the_makefile_builds_programs_that_run_with_gcc_and_with_clang() {
        for (cc, cxx) in [("gcc", "g++"), ("clang", "clang++")] {
            if !installed(cc) {
                eprintln!("skipped: {cc} is not installed");
                continue;
            }
            let stage = Stage::new(Mode::Plain);
            let out = stage.scratch.path(cc);
            make(cc, cxx, &out);
            for name in ["send_cmd", "send_buffer", "send_file", "cancel_send", "receiver", "event_loop", "chat"] {
                let usage = Running::start(Command::new(out.join(name))).finish().exits(1);
                usage.complains(&format!("{name} RELAY PROJECT SECRET USER"));
            }
            for name in ["rtm_send_file", "rtm_send_files_async", "rtm_listen"] {
                let usage = Running::start(Command::new(out.join(name))).finish().exits(1);
                usage.complains(&format!("{name} GATE PROJECT SECRET"));
            }
            let mut send = Command::new(out.join("send_cmd"));
            send.args(stage.relay.args()).args(["alice", "alice", "to myself"]);
            Running::start(send).finish().exits(0).says("delivered");
        }
    }
}

mod valgrind {
    use super::*;

    stories! { Mode::Valgrind =>
        a_command_arrives_as_it_was_sent: example::a_command_arrives_as_it_was_sent;
        a_buffer_arrives_with_progress_from_nothing_to_everything:
            example::a_buffer_arrives_with_progress_from_nothing_to_everything;
        two_files_of_one_name_arrive_side_by_side: example::two_files_of_one_name_arrive_side_by_side;
        a_cancelled_file_leaves_nothing_behind: example::a_cancelled_file_leaves_nothing_behind;
        two_event_loops_talk: example::two_event_loops_talk;
        two_people_chat_and_hand_over_a_file: example::two_people_chat_and_hand_over_a_file;
        every_wrong_argument_has_its_code_and_no_function_is_left_out:
            abuse::every_wrong_argument_has_its_code_and_no_function_is_left_out;
        destroy_in_a_callback_leaves_each_send_with_one_end:
            abuse::destroy_in_a_callback_leaves_each_send_with_one_end;
        one_thread_that_polls_is_enough: abuse::one_thread_that_polls_is_enough;
        a_process_may_end_at_any_time: |stage: &Stage| abuse::a_process_may_end_at_any_time(stage, 1);
        every_rtm_call_works: rtm::every_call_of_a_client_works;
        a_server_sends_files_and_another_hears_of_them: rtm::a_server_sends_files_and_another_hears_of_them;
        the_relay_carries_files_from_server_to_server: rtm::the_relay_carries_files_from_server_to_server;
        rtm_failures_are_told_in_the_servers_words: rtm::failures_are_told_in_the_servers_words;
        what_cpp_callbacks_throw_is_caught: abuse::what_cpp_callbacks_throw_is_caught;
    }

    #[test]
    fn what_is_encrypted_arrives_as_well() {
        Mode::Valgrind.must_be_possible();
        abuse::one_thread_that_polls_is_enough(&Stage::encrypted(Mode::Valgrind));
    }

    #[test]
    fn valgrind_would_have_told() {
        Mode::Valgrind.must_be_possible();
        let stage = Stage::new(Mode::Valgrind);
        stage.run("tests/c/defect.c", &["read"]).exits(DEFECT).complains("Invalid read");
        stage.run("tests/c/defect.c", &["leak"]).exits(DEFECT).complains("definitely lost");
    }
}

/// Where AddressSanitizer is used: `cargo xtask test` builds a library with it here, and nowhere else.
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
mod asan {
    use super::*;

    stories! { Mode::Asan =>
        a_command_arrives_as_it_was_sent: example::a_command_arrives_as_it_was_sent;
        a_buffer_arrives_with_progress_from_nothing_to_everything:
            example::a_buffer_arrives_with_progress_from_nothing_to_everything;
        two_files_of_one_name_arrive_side_by_side: example::two_files_of_one_name_arrive_side_by_side;
        a_cancelled_file_leaves_nothing_behind: example::a_cancelled_file_leaves_nothing_behind;
        two_event_loops_talk: example::two_event_loops_talk;
        two_people_chat_and_hand_over_a_file: example::two_people_chat_and_hand_over_a_file;
        errors_are_told_in_words_and_by_the_exit_status: example::errors_are_told_in_words_and_by_the_exit_status;
        the_older_of_two_receivers_is_told_that_it_was_replaced:
            example::the_older_of_two_receivers_is_told_that_it_was_replaced;
        every_wrong_argument_has_its_code_and_no_function_is_left_out:
            abuse::every_wrong_argument_has_its_code_and_no_function_is_left_out;
        every_function_may_be_called_in_every_callback: abuse::every_function_may_be_called_in_every_callback;
        destroy_in_a_callback_leaves_each_send_with_one_end:
            abuse::destroy_in_a_callback_leaves_each_send_with_one_end;
        one_thread_that_polls_is_enough: abuse::one_thread_that_polls_is_enough;
        a_process_may_end_at_any_time: |stage: &Stage| abuse::a_process_may_end_at_any_time(stage, 3);
        every_rtm_call_works: rtm::every_call_of_a_client_works;
        a_server_sends_files_and_another_hears_of_them: rtm::a_server_sends_files_and_another_hears_of_them;
        the_relay_carries_files_from_server_to_server: rtm::the_relay_carries_files_from_server_to_server;
        rtm_failures_are_told_in_the_servers_words: rtm::failures_are_told_in_the_servers_words;
        what_cpp_callbacks_throw_is_caught: abuse::what_cpp_callbacks_throw_is_caught;
    }

    #[test]
    fn broken_connections_raise_no_sigpipe() {
        Mode::Asan.must_be_possible();
        abuse::broken_connections_raise_no_sigpipe(Stage::new(Mode::Asan));
    }

    #[test]
    fn what_is_encrypted_arrives_as_well() {
        Mode::Asan.must_be_possible();
        abuse::one_thread_that_polls_is_enough(&Stage::encrypted(Mode::Asan));
        abuse::broken_connections_raise_no_sigpipe(Stage::encrypted(Mode::Asan));
    }

    /// The program reads past the end of memory that the library has allocated, in a callback; and it leaks.
    #[test]
    fn the_sanitizer_would_have_told() {
        Mode::Asan.must_be_possible();
        let stage = Stage::new(Mode::Asan);
        stage.run("tests/c/defect.c", &["read"]).exits(DEFECT).complains("heap-buffer-overflow");
        stage.run("tests/c/defect.c", &["leak"]).exits(DEFECT).complains("LeakSanitizer");
        // The library itself is instrumented, too.
        let library = harness::asan_lib_dir().unwrap().join("libcrvideo.so");
        let symbols = output(Command::new("nm").arg("-D").arg(library));
        assert!(symbols.contains("__asan_report_load"), "the library is not instrumented");
    }

    #[test]
    fn regression_a_test_that_lacks_the_sanitizers_library_fails_and_says_how_it_is_run() {
        let mut test = Command::new(std::env::current_exe().unwrap());
        test.args(["--exact", "asan::a_command_arrives_as_it_was_sent", "--nocapture"]);
        let done = test.env_remove("CRVIDEO_ASAN_LIB_DIR").output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && said.contains("cargo xtask test FILTER"), "{}: {said}", done.status);
    }
}
