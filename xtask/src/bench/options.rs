//! What the user wants to be measured, and how.

use crate::process::{Failure, Outcome};

/// The command line, read.
#[derive(Debug, PartialEq)]
pub struct Options {
    /// Names of figures; none means all.
    pub figures: Vec<String>,
    /// How often figures are measured that are not too long for it.
    pub runs: usize,
    /// Bytes of the file of `memory`.
    pub size: u64,
    /// Length of each measurement of `latency`.
    pub seconds: u64,
    /// How long `stall` stops the receiver.
    pub stall_seconds: u64,
    /// How long `idle` watches.
    pub idle_seconds: u64,
    /// How many sessions `sessions` opens.
    pub sessions: u64,
    /// How many users `rtm` sends a file to, and `peers` a message.
    pub users: u64,
    /// The parts of `peers` that are measured; none means all.
    pub parts: Vec<String>,
    /// Whether figures that have a chart write it.
    pub plot: bool,
    /// Whether what is measured is built quickly and not as it is shipped.
    pub unshipped: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            figures: Vec::new(),
            runs: 3,
            size: 5 << 30,
            seconds: 3,
            stall_seconds: 60,
            idle_seconds: 65,
            sessions: 1_000,
            users: 10_000,
            parts: Vec::new(),
            plot: false,
            unshipped: false,
        }
    }
}

impl Options {
    /// Reads the words behind `cargo xtask bench`.
    pub fn parse(arguments: &[String]) -> Outcome<Self> {
        let mut options = Self::default();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            if !word.starts_with('-') {
                options.figures.push(word.clone());
                continue;
            }
            match word.as_str() {
                "--plot" => options.plot = true,
                "--unshipped" => options.unshipped = true,
                _ => options.set(word, &mut words)?,
            }
        }
        Ok(options)
    }

    /// Takes an option that has a value, behind a `=` or as the next word.
    fn set<'a>(&mut self, word: &'a str, words: &mut impl Iterator<Item = &'a String>) -> Outcome<()> {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, words.next().map(String::as_str)),
        };
        if name == "--part" {
            let part = value.ok_or_else(|| Failure::usage("--part needs the name of a part of peers"))?;
            self.parts.push(part.to_owned());
            return Ok(());
        }
        let number = value.and_then(size).filter(|number| *number > 0);
        let number = number.ok_or_else(|| Failure::usage(format!("{name} needs a number above 0")));
        match name {
            "--runs" => self.runs = number? as usize,
            "--size" => self.size = number?,
            "--seconds" => self.seconds = number?,
            "--stall-seconds" => self.stall_seconds = number?,
            "--idle-seconds" => self.idle_seconds = number?,
            "--users" => self.users = number?,
            "--sessions" => self.sessions = number?,
            _ => return Err(Failure::usage(format!("there is no option {name}; `cargo xtask help bench`"))),
        }
        Ok(())
    }
}

/// A number, or one with KiB, MiB or GiB behind it.
fn size(text: &str) -> Option<u64> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let (digits, shift) =
        units.into_iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift))).unwrap_or((text, 0));
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Outcome<Options> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("5GiB"), Some(5_368_709_120));
        assert_eq!(size("64KiB"), Some(65_536));
        assert_eq!(size("12"), Some(12));
        assert_eq!(size("12 GB"), None);
        assert_eq!(size("99999999999GiB"), None);
    }

    #[test]
    fn figures_and_options_come_in_any_order() {
        let options = parse("stall --size=1MiB --plot --unshipped --part fan memory --runs 1 --part=logins").unwrap();
        assert_eq!((options.size, options.runs, options.plot, options.unshipped), (1_048_576, 1, true, true));
        assert_eq!(options.parts, ["fan", "logins"]);
        assert_eq!(options.figures, ["stall", "memory"]);
        assert_eq!(parse("").unwrap(), Options::default());
    }

    #[test]
    fn what_is_not_understood_is_a_usage_error() {
        for line in ["--fast 1", "--part", "--runs", "--runs 0", "--runs many"] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
