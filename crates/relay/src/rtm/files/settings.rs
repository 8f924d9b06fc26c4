//! What an operator can set about files.

use std::time::Duration;

use serde::Deserialize;

/// A single quest may carry a file of at most this size, whatever is configured: the frame's header has no room for
/// more.
const MAX_SINGLE: u64 = 1024 * 1024 * 1024;
/// Nothing is kept longer than this.
const MAX_KEEP: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
/// A token lives at least this long: some SDKs fetch one long before they use it.
const MIN_TOKEN_LIFE: Duration = Duration::from_secs(60);

/// Files that servers send through the RTM dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSettings {
    /// Largest file of a single quest, in bytes.
    pub max_size: u64,
    /// Largest file that is sent in chunks, in bytes; 0 takes none.
    pub max_chunked_size: u64,
    /// How long a stored file can be downloaded.
    pub keep: Duration,
    /// Bytes that the stored files of one project may take; 0 is no limit.
    pub project_quota: u64,
    /// This much of the disk stays free, in hundredths.
    pub min_free_percent: u8,
    /// How long a token may wait to be used.
    pub token_life: Duration,
    /// Refuse files without a signature. One SDK never signs.
    pub require_sign: bool,
    /// Bytes of all uploads under way.
    pub max_uploading: u64,
    /// Bytes of those uploads under way whose token has not been seen yet.
    pub max_unauthorised: u64,
    /// What the addresses of files begin with, as clients reach the HTTP listener; by default `http://` and its address.
    pub public_url: Option<String>,
}

impl Default for FileSettings {
    fn default() -> Self {
        Self {
            max_size: 64 * 1024 * 1024,
            max_chunked_size: 2 * 1024 * 1024 * 1024,
            keep: Duration::from_secs(7 * 24 * 3600),
            project_quota: 10 * 1024 * 1024 * 1024,
            min_free_percent: 5,
            token_life: Duration::from_secs(120),
            require_sign: false,
            max_uploading: 4 * 1024 * 1024 * 1024,
            max_unauthorised: 256 * 1024 * 1024,
            public_url: None,
        }
    }
}

impl FileSettings {
    /// Says in one sentence why a relay cannot run like this.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.max_size == 0 || self.max_size > MAX_SINGLE {
            return Err(format!("files.max_size is 0 or above {MAX_SINGLE} bytes; correct it"));
        }
        if self.keep.is_zero() || self.keep > MAX_KEEP {
            return Err("files.keep is 0 or above ten years; correct it".to_owned());
        }
        if self.min_free_percent > 90 {
            return Err("files.min_free_percent is above 90; make it smaller".to_owned());
        }
        if self.token_life < MIN_TOKEN_LIFE {
            return Err(format!("files.token_life is below {MIN_TOKEN_LIFE:?}; make it longer"));
        }
        if self.max_uploading < self.max_size.max(self.max_chunked_size) {
            let text = "files.max_uploading is below files.max_size or files.max_chunked_size; make it larger";
            return Err(text.to_owned());
        }
        self.public_url.as_deref().map_or(Ok(()), check_url)
    }
}

fn check_url(url: &str) -> Result<(), String> {
    let good = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    if rest.is_some_and(good) && !url.contains(['?', '#', '\\']) {
        return Ok(());
    }
    Err(format!("the public URL {url:?} is not of the form https://NAME[:PORT][/PATH]; correct it"))
}

/// The `[files]` section of the configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    max_size: Option<u64>,
    max_chunked_size: Option<u64>,
    keep: Option<u64>,
    project_quota: Option<u64>,
    min_free_percent: Option<u8>,
    token_life: Option<u64>,
    require_sign: Option<bool>,
    max_uploading: Option<u64>,
    max_unauthorised: Option<u64>,
    public_url: Option<String>,
}

impl Section {
    /// Puts what stands there over what was set before.
    pub(crate) fn apply(self, to: &mut FileSettings) {
        to.max_size = self.max_size.unwrap_or(to.max_size);
        to.max_chunked_size = self.max_chunked_size.unwrap_or(to.max_chunked_size);
        to.keep = self.keep.map_or(to.keep, Duration::from_secs);
        to.project_quota = self.project_quota.unwrap_or(to.project_quota);
        to.min_free_percent = self.min_free_percent.unwrap_or(to.min_free_percent);
        to.token_life = self.token_life.map_or(to.token_life, Duration::from_secs);
        to.require_sign = self.require_sign.unwrap_or(to.require_sign);
        to.max_uploading = self.max_uploading.unwrap_or(to.max_uploading);
        to.max_unauthorised = self.max_unauthorised.unwrap_or(to.max_unauthorised);
        to.public_url = self.public_url.or(to.public_url.take());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_that_can_be_put_before_a_path_is_a_public_url() {
        for good in ["http://127.0.0.1:80", "https://files.example.com/base/", "http://[::1]:9"] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in
            ["", "files.example.com", "https://", "ftp://x", "http://a b", "http://a\"b", "http://a?b", "http://ä"]
        {
            assert!(check_url(bad).unwrap_err().contains("correct it"), "{bad}");
        }
    }

    #[test]
    fn what_cannot_work_is_named() {
        let named = |change: fn(&mut FileSettings)| {
            let mut settings = FileSettings::default();
            change(&mut settings);
            settings.check().unwrap_err()
        };
        assert!(FileSettings::default().check().is_ok());
        assert!(named(|it| it.max_size = 0).contains("max_size"));
        assert!(named(|it| it.keep = Duration::ZERO).contains("keep"));
        assert!(named(|it| it.min_free_percent = 91).contains("min_free_percent"));
        assert!(named(|it| it.token_life = Duration::from_secs(59)).contains("token_life"));
        assert!(named(|it| it.max_uploading = 1).contains("max_uploading"));
        assert!(named(|it| it.public_url = Some("x".to_owned())).contains("public URL"));
    }
}
