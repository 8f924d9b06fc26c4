//! What servers and users can ask for.
//!
//! * `listen`: what a connection listens to.
//! * `send`: messages.
//! * `users`: tokens, who is online, kicking out.
//! * `groups`, `rooms`: who is a member.
//! * `history`: what was sent before.
//! * `receipts`: what becomes of messages.
//! * `file_token`: leave to send a file.
//! * `end_users`: logging in, and which of these users can ask for.

mod end_users;
mod file_token;
mod groups;
mod history;
mod listen;
mod receipts;
mod rooms;
mod send;
mod users;

use crvideo_proto::frame::Frame;
use crvideo_proto::rtm::code;
use crvideo_proto::rtm::params::{Fields, Params};

use super::Refusal;
use super::desk::{Client, Door};
use super::gate::Gate;
use crate::shared::unix_micros;

/// What every quest comes with that is signed, or of a user who has logged in.
struct Call<'a> {
    gate: &'a Gate,
    client: &'a Client,
    /// The project whose secret has signed the quest, or that the user has logged in to.
    project: i64,
    /// The user who asks; `None` when a server does.
    user: Option<i64>,
    params: &'a Params,
}

type Outcome = Result<Fields, Refusal>;

/// Methods that a project's secret must sign.
const SIGNED: [&str; 33] = [
    "addlisten",
    "removelisten",
    "setlisten",
    "sendmsg",
    "sendmsgs",
    "sendgroupmsg",
    "sendroommsg",
    "broadcastmsg",
    "gettoken",
    "removetoken",
    "kickout",
    "getonlineusers",
    "addgroupmembers",
    "delgroupmembers",
    "delgroup",
    "getgroupmembers",
    "getgroupcount",
    "isgroupmember",
    "getusergroups",
    "addroommember",
    "addroommembers",
    "delroommember",
    "delroommembers",
    "getroommembers",
    "getroomcount",
    "filetoken",
    "getp2pmsg",
    "getgroupmsg",
    "getroommsg",
    "getbroadcastmsg",
    "getmsg",
    "delmsg",
    "crreceipts",
];

/// Does what a quest asks for.
pub(super) async fn serve(gate: &Gate, client: &Client, frame: &Frame) -> Outcome {
    let method = frame.method();
    match method {
        "*ping" => return Ok(Fields::new().int("ts", now_ms())),
        "*key" => {
            let text = "this relay does not offer FPNN's own encryption; connect without it";
            return Err(Refusal::new(code::PROTOCOL, text));
        }
        _ if client.door == Door::Users => return end_users::serve(gate, client, frame).await,
        _ if client.door == Door::Files || !SIGNED.contains(&method) => return Err(unknown(method)),
        _ => {}
    }
    let params = &Params::of(frame)?;
    let project = signed(gate, client, method, params)?;
    let call = Call { gate, client, project, user: None, params };
    match method {
        "addlisten" | "removelisten" | "setlisten" => listen::change(&call, method),
        "sendmsg" | "sendmsgs" | "sendgroupmsg" | "sendroommsg" | "broadcastmsg" => send::send(&call, method).await,
        "gettoken" => users::get_token(&call),
        "removetoken" => users::remove_token(&call).await,
        "kickout" => users::kick_out(&call),
        "getonlineusers" => users::online(&call),
        "addgroupmembers" => groups::add(&call).await,
        "delgroupmembers" => groups::remove(&call).await,
        "delgroup" => groups::remove_all(&call).await,
        "getgroupmembers" => groups::members(&call).await,
        "getgroupcount" => groups::count(&call).await,
        "isgroupmember" => groups::is_member(&call).await,
        "getusergroups" => groups::of_user(&call).await,
        "addroommember" | "addroommembers" => rooms::enter(&call),
        "delroommember" | "delroommembers" => rooms::leave(&call),
        "getroommembers" => rooms::members(&call),
        "getroomcount" => rooms::counts(&call),
        "getp2pmsg" | "getgroupmsg" | "getroommsg" | "getbroadcastmsg" => history::read(&call, method).await,
        "getmsg" => history::get(&call).await,
        "delmsg" => history::delete(&call).await,
        "crreceipts" => receipts::begin(&call).await,
        "filetoken" => file_token::issue(&call).await,
        method => Err(unknown(method)),
    }
}

/// The project that has signed a quest. Who has shown that he knows a project's secret is not held up by others at his
/// address who do not.
fn signed(gate: &Gate, client: &Client, method: &str, params: &Params) -> Result<i64, Refusal> {
    let (claimed, block) = (params.int("pid")?, client.block());
    if client.project() != Some(claimed) {
        gate.signatures.may_try(claimed, block)?;
    }
    let checked = gate.secrets.project(method, params, now_s());
    match &checked {
        Ok(project) => client.trust(Some(*project)),
        Err(refusal) if refusal.code == code::BAD_SIGN => gate.signatures.failed(claimed, block),
        Err(_) => {}
    }
    checked
}

/// The words are those of FPNN's own server, misspelt as they are: programs look for them.
fn unknown(method: &str) -> Refusal {
    Refusal::new(code::UNKNOWN_METHOD, format!("Unknow method:{method}"))
}

/// A list of users that must not be empty.
fn some_users(params: &Params, key: &'static str, most: usize) -> Result<Vec<i64>, Refusal> {
    let users = params.ints(key, most)?;
    if users.is_empty() {
        return Err(Refusal::new(code::EMPTY, format!("the list {key:?} is empty")));
    }
    Ok(users)
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    i64::try_from(unix_micros() / 1_000).unwrap_or(i64::MAX)
}

/// Seconds since 1970.
pub(super) fn now_s() -> i64 {
    now_ms() / 1_000
}
