//! A relay under floods, and users who go on working meanwhile. Not shipped.
//!
//! [`relay`] is the relay as a process whose memory, descriptors and processor time are read; [`wire`] speaks to it;
//! [`work`] are users who must not notice anything; [`floods`] are the attacks; [`table`] is what came of them.
#![forbid(unsafe_code)]
// It is a test: what cannot go on ends with a message.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod cgroup;
pub mod floods;
pub mod relay;
pub mod table;
pub mod wire;
pub mod work;

#[path = "../../../tests/common/relay_process.rs"]
#[allow(dead_code, reason = "a flood never asks it to stop")]
mod relay_process;
