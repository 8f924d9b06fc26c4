//! What Linux tells of a process: memory, processor time, threads.

use std::path::Path;

use crate::process::{Failure, Outcome, cannot};

/// Memory of a process in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memory {
    /// Now.
    pub rss: f64,
    /// The most there was since the start, or since `reset_peak`.
    pub peak: f64,
}

/// Reads how much memory a process has.
pub fn memory(pid: u32) -> Outcome<Memory> {
    parse_status(&read(pid, "status")?)
}

fn parse_status(status: &str) -> Outcome<Memory> {
    let field = |name: &str| {
        let rest = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = rest.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        number.map(|kib| kib * 1024.0).ok_or_else(|| Failure::new(format!("there is no {name} in a process's status")))
    };
    Ok(Memory { rss: field("VmRSS")?, peak: field("VmHWM")? })
}

/// Makes the present size the peak. Where that is not allowed the peak goes back to the start, and a growth that is
/// computed from it is too large rather than too small.
pub fn reset_peak(pid: u32) {
    let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

/// Linux counts in these for programs, whatever the kernel's own clock is.
const TICKS_A_SECOND: f64 = 100.0;

/// Reads the processor time that all threads of a process have used, those that have ended, too; in seconds.
pub fn cpu_seconds(pid: u32) -> Outcome<f64> {
    let stat = read(pid, "stat")?;
    stat_fields(&stat)
        .and_then(|fields| Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?))
        .map(|ticks| ticks / TICKS_A_SECOND)
        .ok_or_else(|| Failure::new("a process's stat cannot be read"))
}

/// Reads the processor time of all programs that we have started and waited for, and of those that they have.
pub fn cpu_seconds_of_ended() -> Outcome<f64> {
    let stat = read(std::process::id(), "stat")?;
    stat_fields(&stat)
        .and_then(|fields| Some(fields.get(13)?.parse::<f64>().ok()? + fields.get(14)?.parse::<f64>().ok()?))
        .map(|ticks| ticks / TICKS_A_SECOND)
        .ok_or_else(|| Failure::new("our own stat cannot be read"))
}

/// Whether a process has been stopped by a signal.
pub fn is_stopped(pid: u32) -> Outcome<bool> {
    Ok(stat_fields(&read(pid, "stat")?).is_some_and(|fields| fields.first() == Some(&"T")))
}

/// The fields of `stat` from the third on: the second is the program's name, which may contain anything.
fn stat_fields(stat: &str) -> Option<Vec<&str>> {
    Some(stat.rsplit_once(')')?.1.split_whitespace().collect())
}

/// The threads of a process: number and name.
pub fn threads(pid: u32) -> Outcome<Vec<(u32, String)>> {
    let dir = format!("/proc/{pid}/task");
    let entries = std::fs::read_dir(&dir).map_err(cannot("read", Path::new(&dir)))?;
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let mut threads: Vec<_> = numbers
        // One that has just ended has no name any more.
        .filter_map(|tid| Some((tid, std::fs::read_to_string(format!("{dir}/{tid}/comm")).ok()?.trim().to_owned())))
        .collect();
    threads.sort();
    Ok(threads)
}

/// How many threads wanted to run during the last minute; 0 when unknown.
pub fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

fn read(pid: u32, name: &str) -> Outcome<String> {
    let path = format!("/proc/{pid}/{name}");
    std::fs::read_to_string(&path).map_err(cannot("read", Path::new(&path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_a_status() {
        let status = "Name:\tpeer\nVmHWM:\t    5124 kB\nVmRSS:\t    4096 kB\nThreads:\t3\n";
        assert_eq!(parse_status(status).unwrap(), Memory { rss: 4_194_304.0, peak: 5_246_976.0 });
        assert!(parse_status("Name:\tpeer\n").is_err());
    }

    #[test]
    fn a_program_may_have_any_name() {
        let stat = "12 (a) b (c) T 1 12 12 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0";
        let fields = stat_fields(stat).unwrap();
        assert_eq!((fields[0], fields[11], fields[12]), ("T", "250", "50"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_described() {
        let me = std::process::id();
        assert!(memory(me).unwrap().rss > 0.0);
        assert!(cpu_seconds(me).unwrap() >= 0.0);
        assert!(!is_stopped(me).unwrap());
        assert!(!threads(me).unwrap().is_empty());
    }
}
