//! The crvideo protocol, without I/O.
//!
//! Nothing here knows a socket, a thread, a file or a clock. Bytes, calls and the time go in;
//! bytes, events and the next deadline come out. `docs/wire.md` is the specification.
#![forbid(unsafe_code)]

pub mod code;
pub mod frame;
pub mod id;
pub mod message;
pub mod name;
pub mod out;
pub mod pack;
pub mod rtm;
pub mod seal;
pub mod session;
pub mod shelf;
pub mod token;
