//! RTM server clients.
//!
//! * `types`: what all calls have in common: the handle, options, results and their callbacks.
//! * `run`: one call, with a callback or waiting for its end.
//! * `life`, `file`, `message`, `user`, `group`, `listen`, `recipient`: the exports, by area.
#![allow(
    clippy::too_many_arguments,
    reason = "options, callback, cookie and result come on top of what a call is about"
)]

mod file;
mod group;
mod life;
mod listen;
mod message;
mod recipient;
mod run;
mod types;
mod user;

pub use file::*;
pub use group::*;
pub use life::*;
pub use listen::*;
pub use message::*;
pub use recipient::*;
pub use types::*;
pub use user::*;
