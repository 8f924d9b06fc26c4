//! A memory cgroup of the kernel's around a relay, in which it is killed when it takes more than it may. Needs root and a
//! machine that lets groups be made.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the kernel shows all groups, and those for memory alone where each controller has a tree of its own.
const ALL: &str = "/sys/fs/cgroup";
const MEMORY: &str = "/sys/fs/cgroup/memory";

/// The files of a group: the limit, the most that was taken, and what counts the kills.
const UNIFIED: [&str; 3] = ["memory.max", "memory.peak", "memory.events"];
const SEPARATE: [&str; 3] = ["memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"];

/// A group, which is removed when the value goes away. Its processes must have ended by then.
pub struct Group {
    dir: PathBuf,
    files: [&'static str; 3],
}

impl Group {
    /// Makes one for so many MiB.
    pub fn new(mib: u64) -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("crvideo-attack-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let unified = Path::new(ALL).join("cgroup.controllers").exists();
        let (parent, files) = if unified { (ALL, UNIFIED) } else { (MEMORY, SEPARATE) };
        let group = Self { dir: Path::new(parent).join(name), files };
        let made = std::fs::create_dir(&group.dir).and_then(|()| {
            std::fs::write(group.dir.join(files[0]), (mib * 1024 * 1024).to_string())?;
            if unified { std::fs::write(group.dir.join("memory.swap.max"), "0") } else { Ok(()) }
        });
        made.map(|()| group).map_err(|error| format!("no memory cgroup can be made in {parent}: {error}"))
    }

    /// The file in which a process writes its number to be in the group.
    pub fn door(&self) -> PathBuf {
        self.dir.join("cgroup.procs")
    }

    /// The most that its processes have had, in MiB, with what the kernel keeps for them.
    pub fn peak(&self) -> f64 {
        let peak = std::fs::read_to_string(self.dir.join(self.files[1])).unwrap();
        peak.trim().parse::<f64>().unwrap() / 1_048_576.0
    }

    /// How many of its processes were killed because they had too much.
    pub fn kills(&self) -> u32 {
        let counts = std::fs::read_to_string(self.dir.join(self.files[2])).unwrap();
        counts
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill "))
            .expect("a count of kills")
            .trim()
            .parse()
            .unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.dir);
    }
}
