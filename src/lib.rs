//! `libcrvideo`: commands, memory buffers and files from user to user, behind a C ABI.
//!
//! * [`ffi`]: the exported functions; all that C sees.
//! * [`client`]: sessions, tasks, the io thread and the event queues.
//! * `sys`: the few system calls that need libc.
//! * [`crvideo_proto`]: the protocol, without I/O.
#![deny(unsafe_code)]

pub mod client;
#[allow(unsafe_code)]
pub mod ffi;
#[allow(unsafe_code)]
mod sys;
