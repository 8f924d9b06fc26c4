//! The RTM dialect at the relay: servers with a project's secret send messages and files to its users, and users with a
//! token to each other.
//!
//! * `config`: what an operator can set.
//! * `gate`: who is let in, and what all connections share.
//! * `link`: one TCP connection.
//! * `web`: one WebSocket connection.
//! * `desk`: what is done with what comes on a connection.
//! * `outbox`: what waits to be written to it.
//! * `cipher`: FPNN's own encryption, for old SDKs.
//! * `auth`: whose quest it is.
//! * `methods`: what can be asked for.
//! * `courier`: brings messages and files to sessions of our own dialect.
//! * `fan_out`, `lane`: its short way to those for whom nothing else waits; what is on that way to one user.
//! * `carrier`: brings messages to users who speak RTM.
//! * `online`: who is online, in which dialect.
//! * `hub`: who listens, and who is reached by a message.
//! * `listening`: what one connection listens to.
//! * `rooms`: who is in which room.
//! * `receipts`: tells servers what becomes of what they watch.
//! * `push`: a message as it is pushed.
//! * `message`: what travels, and why it may be refused.
//! * `files`: files that servers send.

mod auth;
mod carrier;
mod cipher;
mod config;
mod courier;
mod desk;
mod fan_out;
mod files;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod gate;
mod hub;
mod lane;
mod link;
mod listening;
mod message;
mod methods;
mod online;
mod outbox;
mod push;
mod receipts;
mod rooms;
mod signatures;
mod web;

pub(crate) use cipher::Keys;
pub use config::RtmConfig;
pub(crate) use desk::Door;
pub use files::FileSettings;
pub(crate) use files::Section as FilesSection;
pub(crate) use gate::Gate;
pub(crate) use message::{Message, Refusal, Target};
pub(crate) use web::{Ends, routes as web_routes};
