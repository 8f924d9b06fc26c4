//! What users can ask for: nothing of it is signed, because a connection is a user's from `auth` on.

use crvideo_proto::frame::Frame;
use crvideo_proto::rtm::code;
use crvideo_proto::rtm::params::{Fields, Params};
use crvideo_proto::{code as cr, token};
use tracing::debug;

use super::{Call, Outcome, file_token, groups, history, rooms, send, unknown, users};
use crate::rtm::Refusal;
use crate::rtm::desk::{Client, Login};
use crate::rtm::gate::Gate;
use crate::rtm::online::User;
use crate::store::Group;

/// Methods of users who have logged in.
const METHODS: [&str; 22] = [
    "bye",
    "filetoken",
    "sendmsg",
    "sendgroupmsg",
    "sendroommsg",
    "enterroom",
    "leaveroom",
    "getuserrooms",
    "getroommembers",
    "getroomcount",
    "addgroupmembers",
    "delgroupmembers",
    "getgroupmembers",
    "getgroupcount",
    "getusergroups",
    "getonlineusers",
    "getp2pmsg",
    "getgroupmsg",
    "getroommsg",
    "getbroadcastmsg",
    "getmsg",
    "delmsg",
];

/// Does what a user's quest asks for.
pub(super) async fn serve(gate: &Gate, client: &Client, frame: &Frame) -> Outcome {
    let method = frame.method();
    if method == "auth" {
        return auth(gate, client, &Params::of(frame)?);
    }
    let Some(user) = client.user().filter(|_| !client.out.is_closed()) else {
        return Err(Refusal::new(code::NOT_AUTHENTICATED, format!("{method:?} comes before auth; authenticate first")));
    };
    if !METHODS.contains(&method) {
        return Err(unknown(method));
    }
    let params = &Params::of(frame)?;
    let call = Call { gate, client, project: user.project, user: Some(user.id), params };
    match method {
        "bye" => Ok(Fields::new()),
        "filetoken" => file_token::issue(&call).await,
        "sendmsg" | "sendgroupmsg" | "sendroommsg" => send::send(&call, method).await,
        "enterroom" => rooms::come(&call, user.id),
        "leaveroom" => rooms::go(&call, user.id),
        "getuserrooms" => rooms::of_user(&call, user.id),
        "getroommembers" => rooms::members(&call),
        "getroomcount" => rooms::counts(&call),
        "addgroupmembers" => groups::add(&call).await,
        "delgroupmembers" => groups::remove(&call).await,
        "getgroupmembers" => groups::members(&call).await,
        "getgroupcount" => groups::count(&call).await,
        "getusergroups" => groups::of_user(&call).await,
        "getonlineusers" => users::online(&call),
        "getp2pmsg" | "getgroupmsg" | "getroommsg" | "getbroadcastmsg" => history::read(&call, method).await,
        "getmsg" => history::get(&call).await,
        "delmsg" => history::delete(&call).await,
        method => Err(unknown(method)),
    }
}

/// `auth`: the connection is a user's from now on. What is wrong with a token is not told to strangers.
fn auth(gate: &Gate, client: &Client, params: &Params) -> Outcome {
    if client.user().is_some() {
        return Err(Refusal::new(code::ALREADY_AUTHENTICATED, "this connection has authenticated already"));
    }
    let (project, id): (i64, i64) = (params.int("pid")?, params.int("uid")?);
    let token = params.text("token")?;
    let checked =
        gate.core.with(None, |core, now| core.check_token(project, &id.to_string(), &token, client.block(), now));
    let elsewhere = token::peek(&token).is_ok_and(|claims| claims.project != project);
    let token_id = match checked {
        Err(cr::SEND_QUEUE_FULL) => {
            return Err(Refusal::new(code::QUEUE_FULL, "too many logins; try again later"));
        }
        Err(cr::TOKEN_APPIDNOTEXIST) => {
            return Err(Refusal::new(code::BAD_ID, format!("there is no project {project}")));
        }
        Err(_) if elsewhere => {
            return Err(Refusal::new(code::BAD_ID, format!("the token is not of project {project}")));
        }
        Err(code) => {
            debug!(link = client.id, from = %client.from, project, user = id, code, "login refused");
            return Ok(Fields::new().bool("ok", false));
        }
        Ok(token_id) => token_id,
    };
    client.trust(Some(project));
    let user = User { project, id };
    let flight = gate.hub.log_in(user, client.id, &client.out, client.from.to_string(), token_id);
    client.set_login(Login { user, flight });
    debug!(link = client.id, from = %client.from, project, user = id, "logged in");
    Ok(Fields::new().bool("ok", true))
}

impl Call<'_> {
    /// Who asks: the user himself, or the one whom a server names by `key`.
    pub(super) fn actor(&self, key: &'static str) -> Result<i64, Refusal> {
        match self.user {
            Some(user) => Ok(user),
            None => Ok(self.params.int(key)?),
        }
    }

    /// Refuses users who are no members of a group. Servers may do everything.
    pub(super) async fn check_group(&self, id: i64) -> Result<(), Refusal> {
        let Some(user) = self.user else { return Ok(()) };
        if self.gate.directory.is_member(Group { project: self.project, id }, user).await? {
            return Ok(());
        }
        Err(Refusal::new(code::NOT_IN_GROUP, format!("user {user} is not a member of group {id}")))
    }

    /// Refuses users who are not in a room. Servers may do everything.
    pub(super) fn check_room(&self, room: i64) -> Result<(), Refusal> {
        let Some(user) = self.user else { return Ok(()) };
        if self.gate.hub.rooms(self.project, |rooms| rooms.has(room, user)) {
            return Ok(());
        }
        Err(Refusal::new(code::NOT_IN_ROOM, format!("user {user} is not in room {room}; enter it first")))
    }
}
