//! `crvideo-relay token`: tokens like those of a backend.

use std::fs;
use std::path::PathBuf;

use clap::Parser;
use crvideo_proto::id::is_user_id;
use crvideo_proto::token;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::file;
use crate::shared::unix_micros;

/// Which token is wanted.
#[derive(Debug, Parser)]
pub struct TokenArgs {
    /// Project id.
    #[arg(long, value_name = "PID", allow_negative_numbers = true)]
    pub project: i64,

    /// User id.
    #[arg(long, value_name = "UID")]
    pub user: String,

    /// How long it is good: a number with s, m, h or d.
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub expires: String,

    /// The token's own id, by which it can be revoked.
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,

    /// A file with nothing but the project's secret.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub secret_file: Option<PathBuf>,

    /// The relay's configuration file; the project's first secret is taken.
    #[arg(long, value_name = "FILE", env = "CRVIDEO_RELAY_CONFIG")]
    pub config: Option<PathBuf>,
}

impl TokenArgs {
    /// The token, or in one sentence why there is none.
    pub fn run(self) -> Result<String, String> {
        if !is_user_id(&self.user) {
            return Err(format!("--user: {:?} is not a user id; give 1 to 128 bytes of UTF-8 without NUL", self.user));
        }
        let life = parse_life(&self.expires).map_err(|why| format!("--expires: {why}"))?;
        let secret = self.secret()?;
        let now = unix_micros() / 1_000_000;
        let expires = now.saturating_add(life);
        let token = token::issue_with_id(self.project, &self.user, now, expires, self.id.as_deref(), &secret);
        if token.len() > token::MAX_TOKEN {
            return Err(format!("the token would be longer than {} bytes; give a shorter --id", token::MAX_TOKEN));
        }
        Ok(token)
    }

    fn secret(&self) -> Result<Zeroizing<String>, String> {
        if let Some(path) = &self.secret_file {
            let text = fs::read_to_string(path).map(Zeroizing::new);
            let text = text.map_err(|error| format!("--secret-file: {} cannot be read ({error})", path.display()))?;
            let secret = text.trim_end_matches(['\r', '\n']);
            if secret.is_empty() {
                return Err(format!("--secret-file: {} is empty; put the project's secret into it", path.display()));
            }
            return Ok(Zeroizing::new(secret.to_owned()));
        }
        let Some(path) = &self.config else {
            return Err("there is no secret to sign with; give --secret-file or --config".to_owned());
        };
        let mut config = Config::default();
        file::read(path, &mut config).map_err(|error| error.to_string())?;
        let project = config.projects.iter().find(|project| project.id == self.project);
        let secret = project.and_then(|project| project.secrets.first());
        let missing = || format!("{} has no project {}; correct --project", path.display(), self.project);
        secret.map(|secret| Zeroizing::new(secret.clone())).ok_or_else(missing)
    }
}

/// Reads a time as in `90s`, `10m`, `1h` or `7d`, in seconds.
pub(crate) fn parse_life(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a time; write it as 90s, 10m, 1h or 7d");
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 24 * 3_600,
        _ => return Err(wrong()),
    };
    let number: u64 = text.get(..text.len() - 1).and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
    number.checked_mul(unit).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        for (text, expected) in [("90s", 90), ("10m", 600), ("1h", 3_600), ("7d", 604_800), ("0s", 0)] {
            assert_eq!(parse_life(text), Ok(expected));
        }
        for bad in ["", "h", "1", "-1h", "1.5h", "1 h", "1ü", "999999999999999999d", "+1h "] {
            assert!(parse_life(bad).is_err(), "{bad:?}");
        }
    }
}
