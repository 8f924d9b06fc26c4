//! The contract, rule by rule, as stories with a real relay. `docs/contract.md` names the test of each rule.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod basics;
#[path = "../common/certificates.rs"]
mod certificates;
mod limits;
mod links;
mod logins;
mod proxy;
mod rtm_bridge;
mod rtm_calls;
mod rtm_files;
#[path = "../common/rtm_gate.rs"]
mod rtm_gate;
mod rtm_receipts;
mod rtm_relay;
mod rtm_world;
mod stopped;
mod tls;
mod transfers;
mod world;
