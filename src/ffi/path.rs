//! Paths: the bytes that open(2) takes on POSIX, UTF-8 on Windows.

use std::path::Path;

use crate::client::Code;

/// The path that these bytes name.
#[cfg(unix)]
pub(super) fn from_bytes(bytes: &[u8]) -> Result<&Path, Code> {
    use std::os::unix::ffi::OsStrExt;
    Ok(Path::new(std::ffi::OsStr::from_bytes(bytes)))
}

/// The path that these bytes name.
#[cfg(not(unix))]
pub(super) fn from_bytes(bytes: &[u8]) -> Result<&Path, Code> {
    std::str::from_utf8(bytes).map(Path::new).map_err(|_| crvideo_proto::code::PARAM_ERR)
}

/// The bytes that name `path` in C; `from_bytes` reads them back.
pub(super) fn to_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}
