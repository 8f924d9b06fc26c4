//! The C boundary: every exported function, nothing else that C sees, and no logic.
//!
//! * `guard`: what surrounds every call: the check for a fork, and the net under panics.
//! * `args`, `path`: what comes in from C, checked once, here.
//! * `callback`: the application's functions, and how an event becomes a call of one.
//! * `error`, `version`, `session`, `send`, `receive`, `presence`, `events`, `queue`, `log`: the exports, by area.
//! * `rtm`: RTM server clients, again by area.
//!
//! The documentation of an exported item is written for the C reader; `include/crvideo.h` is made from it.
#![deny(unsafe_op_in_unsafe_fn)]
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals, reason = "these are the C names")]
#![allow(clippy::missing_safety_doc, reason = "the documentation is the C reader's; it says what each pointer must be")]

mod args;
mod callback;
mod error;
mod events;
#[cfg(test)]
mod faults;
mod guard;
mod log;
mod path;
mod presence;
mod queue;
mod receive;
mod rtm;
mod send;
mod session;
mod version;

pub use callback::{
    CRVIDEO_RTM_TO_ALL, CRVIDEO_RTM_TO_GROUP, CRVIDEO_RTM_TO_ROOM, CRVIDEO_RTM_TO_USER, CRVideo_LineOffCallback,
    CRVideo_NoticeCallback, CRVideo_NotifyCancelSendCallback, CRVideo_NotifyDataCallback, CRVideo_NotifyFileCallback,
    CRVideo_NotifyRtmMessageCallback, CRVideo_ReceiveProgressCallback, CRVideo_RsltCallback, CRVideo_RtmMessage,
    CRVideo_SendFileRlstCallback, CRVideo_SendProgressCallback, CRVideo_SendRlstCallback,
    CRVideo_TransferOfferCallback, CRVideo_UserStatusCallback, CRVideo_UserStatusRsltCallback,
};
pub use error::*;
pub use events::*;
pub use log::*;
pub use presence::*;
pub use queue::*;
pub use receive::*;
pub use rtm::*;
pub use send::*;
pub use session::*;
pub use version::*;
