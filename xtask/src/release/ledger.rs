//! What has been run: a line of text for each slice.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::figures::Sum;
use crate::process::{Failure, Outcome, cannot, value_in};

/// One slice that was run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// On which code.
    pub code: String,
    pub figure: String,
    pub amount: u64,
    pub failures: u64,
    /// How long it took.
    pub seconds: u64,
}

impl Slice {
    fn line(&self) -> String {
        let Self { code, figure, amount, failures, seconds } = self;
        let figure = figure.replace(' ', "/");
        format!("code={code} figure={figure} amount={amount} failures={failures} seconds={seconds}\n")
    }

    fn read(line: &str) -> Outcome<Self> {
        let number = |key: &str| -> Outcome<u64> {
            let value = value_in(line, key)?;
            value.parse().map_err(|_| Failure::new(format!("{key} is no number in the line `{line}`")))
        };
        Ok(Self {
            code: value_in(line, "code")?,
            figure: value_in(line, "figure")?.replace('/', " "),
            amount: number("amount")?,
            failures: number("failures")?,
            seconds: number("seconds")?,
        })
    }
}

/// All slices.
pub struct Ledger {
    path: PathBuf,
    slices: Vec<Slice>,
}

impl Ledger {
    /// Reads the file, which need not be there. One that cannot be read as it should is an error, lest work be forgotten.
    pub fn open(path: PathBuf) -> Outcome<Self> {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(cannot("read", &path)(error)),
        };
        let slices = text.lines().map(Slice::read).collect::<Outcome<_>>()?;
        Ok(Self { path, slices })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a slice to the file, at once.
    pub fn add(&mut self, slice: Slice) -> Outcome<()> {
        let file = OpenOptions::new().create(true).append(true).open(&self.path);
        file.and_then(|mut file| file.write_all(slice.line().as_bytes())).map_err(cannot("write", &self.path))?;
        self.slices.push(slice);
        Ok(())
    }

    fn of<'a>(&'a self, figure: &'a str) -> impl Iterator<Item = &'a Slice> {
        self.slices.iter().filter(move |slice| slice.figure == figure)
    }

    /// How far a figure has come on this code.
    pub fn amount(&self, figure: &str, code: &str, sum: Sum) -> u64 {
        sum.of(self.of(figure).filter(|slice| slice.code == code))
    }

    /// The same on any code.
    pub fn ever(&self, figure: &str, sum: Sum) -> u64 {
        sum.of(self.of(figure))
    }

    pub fn failures(&self, figure: &str, code: &str) -> u64 {
        self.of(figure).filter(|slice| slice.code == code).map(|slice| slice.failures).sum()
    }

    /// Amount in a second, by the last slice that has taken any time.
    pub fn rate(&self, figure: &str) -> Option<f64> {
        let last = self.of(figure).filter(|slice| slice.seconds > 0 && slice.amount > 0).last()?;
        Some(last.amount as f64 / last.seconds as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Scratch;

    fn slice(code: &str, amount: u64, failures: u64) -> Slice {
        Slice { code: code.to_owned(), figure: "fuzz token".to_owned(), amount, failures, seconds: 2 }
    }

    #[test]
    fn runs_add_up_and_another_code_begins_anew() {
        let scratch = std::env::temp_dir().join(format!("xtask-release-ledger-{}", std::process::id()));
        let scratch = Scratch::create(scratch).unwrap();
        let path = scratch.path().join("ledger.txt");
        let mut ledger = Ledger::open(path.clone()).unwrap();
        for slice in [slice("a", 5, 0), slice("a", 7, 1), slice("b", 20, 0)] {
            ledger.add(slice).unwrap();
        }
        let ledger = Ledger::open(path.clone()).unwrap();
        assert_eq!(ledger.amount("fuzz token", "a", Sum::Added), 12);
        assert_eq!(ledger.amount("fuzz token", "a", Sum::Longest), 7);
        assert_eq!(ledger.amount("fuzz token", "c", Sum::Added), 0);
        assert_eq!(ledger.ever("fuzz token", Sum::Added), 32);
        assert_eq!((ledger.failures("fuzz token", "a"), ledger.failures("fuzz token", "b")), (1, 0));
        assert_eq!(ledger.rate("fuzz token"), Some(10.0));
        assert_eq!(ledger.rate("sim"), None);

        std::fs::write(&path, "code=a figure=sim amount=many failures=0 seconds=1\n").unwrap();
        let Err(failure) = Ledger::open(path) else { panic!("a line without a number is taken") };
        assert!(failure.to_string().contains("amount"), "{failure}");
    }

    #[test]
    fn a_failure_ends_a_row_of_successes() {
        let slices = [slice("a", 3, 0), slice("a", 1, 1), slice("a", 2, 0), slice("a", 2, 0)];
        assert_eq!(Sum::InARow.of(slices.iter()), 4);
        assert_eq!(Sum::InARow.of(slices[..2].iter()), 0);
    }
}
