//! Starting cargo from a program that cargo itself has started.

use std::ffi::OsStr;
use std::process::Command;

/// The cargo that runs us, without what it has told us about the package that we are. Build scripts look at these
/// variables (that of ring does), and cargo would run them again, and build all that depends on them, whenever another
/// package asks for the same thing.
pub fn cargo_command() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for name in std::env::vars_os().map(|(name, _)| name).filter(|name| is_about_us(name)) {
        command.env_remove(name);
    }
    command
}

fn is_about_us(name: &OsStr) -> bool {
    const NAMES: [&str; 7] = [
        "CARGO_BIN_NAME",
        "CARGO_CRATE_NAME",
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_LINKS",
        "CARGO_MANIFEST_PATH",
        "CARGO_PRIMARY_PACKAGE",
        "OUT_DIR",
    ];
    name.to_str().is_some_and(|name| NAMES.contains(&name) || name.starts_with("CARGO_PKG_"))
}
