//! Reading what `strace -f -tt` writes: who woke up, and who read something.

use std::collections::HashMap;

/// System calls that a thread sleeps in.
const SLEEPS: [&str; 8] =
    ["epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "select", "clock_nanosleep", "futex"];
/// System calls that take bytes from a socket.
const READS: [&str; 5] = ["read", "readv", "recv", "recvfrom", "recvmsg"];

/// What was seen of one thread.
#[derive(Debug, Default, PartialEq)]
pub struct Thread {
    /// How often it came back from a sleep.
    pub wakes: usize,
    /// How often it was given bytes.
    pub reads: usize,
    /// All its calls that ended, as strace wrote them.
    pub lines: Vec<String>,
}

/// Reads a whole trace: what was seen of each thread, by its number.
pub fn parse(trace: &str) -> HashMap<u32, Thread> {
    let mut threads: HashMap<u32, Thread> = HashMap::new();
    // How a call began whose end stands in a later line.
    let mut begun: HashMap<u32, &str> = HashMap::new();
    for line in trace.lines() {
        // Numbers of threads are padded with spaces.
        let Some((tid, line_rest)) = line.split_once(' ') else { continue };
        let (Ok(tid), Some((_time, rest))) = (tid.parse::<u32>(), line_rest.trim_start().split_once(' ')) else {
            continue;
        };
        if rest.ends_with("<unfinished ...>") {
            begun.insert(tid, rest);
            continue;
        }
        let beginning = if rest.starts_with("<... ") { begun.remove(&tid).unwrap_or(rest) } else { rest };
        let Some(result) = result(rest) else { continue };
        let name = name(beginning);
        let thread = threads.entry(tid).or_default();
        thread.lines.push(line.to_owned());
        // One that wakes another thread by a futex does not sleep.
        if SLEEPS.contains(&name) && !beginning.contains("FUTEX_WAKE") {
            thread.wakes += 1;
        }
        if READS.contains(&name) && result > 0 {
            thread.reads += 1;
        }
    }
    threads
}

/// `name` of `name(…` and of `<... name resumed>…`.
fn name(call: &str) -> &str {
    let call = call.strip_prefix("<... ").unwrap_or(call);
    call.split(['(', ' ']).next().unwrap_or_default()
}

/// The number behind the last ` = `; none for a call that strace did not see to its end.
fn result(call: &str) -> Option<i64> {
    call.rsplit_once(" = ")?.1.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = r#"71 10:00:00.000001 futex(0x5581, FUTEX_WAIT_BITSET_PRIVATE|FUTEX_CLOCK_REALTIME, 0, NULL, FUTEX_BITSET_MATCH_ANY <unfinished ...>
72    10:00:00.000002 epoll_wait(5,  <unfinished ...>
72    10:00:10.000000 <... epoll_wait resumed>[{events=EPOLLIN, data=0x3}], 1024, 50000) = 1
72    10:00:10.000100 recvfrom(7, "FPNN = \1"..., 65536, 0, NULL, NULL) = 30
72    10:00:10.000200 recvfrom(7, 0x55, 65536, 0, NULL, NULL) = -1 EAGAIN (Resource temporarily unavailable)
72    10:00:10.000300 futex(0x5581, FUTEX_WAKE_PRIVATE, 1) = 1
71 10:00:10.000400 <... futex resumed>) = 0
72    10:00:10.000500 epoll_wait(5, [], 1024, 100) = 0
72    10:00:10.000600 epoll_wait(5,  <detached ...>
"#;

    #[test]
    fn wake_ups_and_reads_are_counted_for_each_thread() {
        let threads = parse(TRACE);
        assert_eq!((threads[&71].wakes, threads[&71].reads, threads[&71].lines.len()), (1, 0, 1));
        assert_eq!((threads[&72].wakes, threads[&72].reads, threads[&72].lines.len()), (2, 1, 5));
        assert_eq!(threads.len(), 2);
    }
}
