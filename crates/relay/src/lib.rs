//! The crvideo relay.
//!
//! [`core`] decides who is online and where a frame goes, without knowing a socket, a clock, a thread or a file.
//! The rest is the shell around it: configuration, sockets, HTTP and storage.
//!
//! Tests embed a relay as [`BlockingRelay`], programs with a tokio runtime as [`Relay`].
#![deny(unsafe_code)]

pub mod admin;
pub mod args;
mod blocking;
pub mod config;
mod connection;
pub mod core;
mod epoch_file;
mod file;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod guard;
mod http;
mod rtm;
mod seldom;
mod server;
mod shared;
mod store;
#[allow(unsafe_code)]
mod sys;
mod tls;
pub mod tokens;

pub use blocking::BlockingRelay;
pub use config::{Config, ConfigError, Project};
pub use guard::GuardSettings;
pub use rtm::{FileSettings, RtmConfig};
pub use server::{Relay, StartError};
pub use sys::be_prompt;
pub use tls::TlsConfig;
