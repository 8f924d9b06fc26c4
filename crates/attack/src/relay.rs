//! The relay as a process: started, watched from outside, and killed when it is dropped.

use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use tempfile::TempDir;

use crate::cgroup::Group;
use crate::relay_process::{RelayProcess, program};
use crate::table::Table;

/// The project of every flood.
pub const PROJECT: i64 = 1;
/// Its secret, another one in each run: the encrypted listener can be reached from outside.
pub static SECRET: LazyLock<String> = LazyLock::new(|| {
    let random = || RandomState::new().hash_one(0);
    format!("{:016x}{:016x}", random(), random())
});
/// Ticks of processor time in a second, as /proc counts them on every Linux.
const TICKS_PER_S: f64 = 100.0;

/// A relay that runs.
pub struct Relay {
    process: RelayProcess,
    /// After the process, which must have left it.
    group: Option<Group>,
    /// Where clients connect without encryption.
    pub address: SocketAddr,
    /// Where they connect with it, if anywhere.
    pub encrypted: Option<SocketAddr>,
    _dir: TempDir,
}

/// How it is set up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setup {
    /// With another address, which is encrypted.
    pub tls: bool,
    /// So many descriptors and no more.
    pub descriptors: Option<u32>,
    /// `guard.max_queued`.
    pub max_queued: Option<u64>,
    /// In a cgroup with so many MiB of memory and no more.
    pub memory: Option<u64>,
}

impl Setup {
    /// Starts it, and waits until it is ready.
    pub fn start(self) -> Relay {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("relay.toml");
        std::fs::write(&config, self.config(dir.path())).unwrap();
        let group = self.memory.map(|mib| Group::new(mib).unwrap());
        let mut before = String::new();
        if let Some(group) = &group {
            let _ = write!(before, "echo $$ > {}; ", group.door().display());
        }
        if let Some(most) = self.descriptors {
            let _ = write!(before, "ulimit -n {most}; ");
        }
        let mut command = Command::new("sh");
        command.args(["-ec", &format!("{before}exec \"$0\" \"$@\"")]).arg(program());
        command.arg("--config").arg(&config).args(["--log", "error"]);
        let (process, line) = RelayProcess::start(command).unwrap();
        let addresses = line.split(' ').find_map(|word| word.strip_prefix("listen=")).expect("a relay that is ready");
        let mut addresses = addresses.trim().split(',').map(|address| address.parse::<SocketAddr>().unwrap());
        let address = addresses.next().unwrap();
        let encrypted = addresses.next().map(|public| SocketAddr::new(address.ip(), public.port()));
        Relay { address, encrypted, process, group, _dir: dir }
    }

    fn config(self, dir: &Path) -> String {
        // Public addresses are encrypted where there is a certificate, and those of this machine are not.
        let public = if self.tls { ", \"0.0.0.0:0\"" } else { "" };
        let mut text = format!("listen = [\"127.0.0.1:0\"{public}]\n");
        if let Some(most) = self.max_queued {
            text.push_str(&format!("[guard]\nmax_queued = {most}\n"));
        }
        if self.tls {
            let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
            let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
            std::fs::write(&cert, made.cert.pem()).unwrap();
            std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
            text.push_str(&format!("[tls]\ncert = {cert:?}\nkey = {key:?}\n"));
        }
        text.push_str(&format!("[[project]]\nid = {PROJECT}\nsecrets = [\"{}\"]\n", *SECRET));
        text
    }
}

impl Relay {
    fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.process.id()))
    }

    /// Resident memory in KiB.
    pub fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a relay that runs");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// Processor time so far.
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(self.proc("stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum();
        Duration::from_secs_f64(ticks / TICKS_PER_S)
    }

    /// Notes what its cgroup has counted, where it has one.
    pub fn note_group(&self, flood: &'static str, table: &mut Table) {
        if let Some(group) = &self.group {
            table.note(flood, "memory of its cgroup, at most", group.peak(), "MiB");
            table.limited(flood, "killed for its memory", group.kills().into(), "", 0.0);
        }
    }
}
