//! The parameters of each call, and what its answer must have.

use super::super::params::{Fields, ParamError, Params};
use super::super::sign::request_sign;
use super::types::*;

/// A list in an answer has at most this many elements.
const MAX_ANSWER: usize = 500_000;

impl Action {
    /// The method of the quest to the server gate. A file begins with a token.
    pub(super) fn method(&self) -> &'static str {
        match self {
            Action::Message(message) => message.target.message_method(),
            Action::File(_) | Action::FileToken { .. } => "filetoken",
            Action::Listen { change: Change::Set, .. } => "setlisten",
            Action::Listen { change: Change::Add, .. } => "addlisten",
            Action::Listen { change: Change::Remove, .. } => "removelisten",
            Action::GetToken { .. } => "gettoken",
            Action::RemoveToken { .. } => "removetoken",
            Action::Kickout { .. } => "kickout",
            Action::OnlineUsers { .. } => "getonlineusers",
            Action::AddGroupMembers { .. } => "addgroupmembers",
            Action::DelGroupMembers { .. } => "delgroupmembers",
            Action::DelGroup { .. } => "delgroup",
            Action::GroupMembers { .. } => "getgroupmembers",
            Action::GroupCount { .. } => "getgroupcount",
            Action::IsGroupMember { .. } => "isgroupmember",
            Action::UserGroups { .. } => "getusergroups",
            Action::AddRoomMember { .. } => "addroommember",
            Action::DelRoomMember { .. } => "delroommember",
            Action::RoomMembers { .. } => "getroommembers",
            Action::RoomCount { .. } => "getroomcount",
        }
    }

    /// Adds the parameters of the quest to the server gate to the signed ones.
    pub(super) fn fields(&self, fields: Fields) -> Fields {
        match self {
            Action::Message(message) => {
                let fields = fields.int("mtype", message.mtype.into()).int("from", message.from);
                let fields = message.target.field(fields).int("mid", message.mid);
                fields.message("msg", &message.body).text("attrs", &message.attrs)
            }
            Action::File(File { from, target, .. }) | Action::FileToken { from, target } => {
                target.field(fields.int("from", *from).text("cmd", target.file_method()))
            }
            Action::Listen { change, listen } => listen.fields(*change, fields),
            Action::GetToken { uid }
            | Action::RemoveToken { uid }
            | Action::Kickout { uid }
            | Action::UserGroups { uid } => fields.int("uid", *uid),
            Action::OnlineUsers { uids } => fields.ints("uids", uids),
            Action::AddGroupMembers { gid, uids } | Action::DelGroupMembers { gid, uids } => {
                fields.int("gid", *gid).ints("uids", uids)
            }
            Action::DelGroup { gid } | Action::GroupMembers { gid } | Action::GroupCount { gid } => {
                fields.int("gid", *gid)
            }
            Action::IsGroupMember { gid, uid } => fields.int("gid", *gid).int("uid", *uid),
            Action::AddRoomMember { rid, uid } | Action::DelRoomMember { rid, uid } => {
                fields.int("rid", *rid).int("uid", *uid)
            }
            Action::RoomMembers { rid } => fields.int("rid", *rid),
            Action::RoomCount { rid } => fields.ints("rids", &[*rid]),
        }
    }

    /// What the answer of the server gate says.
    pub(super) fn answer(&self, params: &Params) -> Result<Answer, ParamError> {
        Ok(match self {
            // An old document calls this answer empty, so its one parameter may be missing.
            Action::Message(_) => Answer::Sent { mtime: params.opt_int("mtime")?.unwrap_or_default(), watched: false },
            Action::File(_) | Action::FileToken { .. } => Answer::FileToken {
                token: short_text(params, "token", MAX_TOKEN)?,
                endpoint: short_text(params, "endpoint", MAX_ENDPOINT)?,
            },
            Action::GetToken { .. } => Answer::Token(short_text(params, "token", MAX_TOKEN)?),
            Action::OnlineUsers { .. } | Action::GroupMembers { .. } | Action::RoomMembers { .. } => {
                Answer::Ids(params.ints("uids", MAX_ANSWER)?)
            }
            Action::UserGroups { .. } => Answer::Ids(params.ints("gids", MAX_ANSWER)?),
            Action::GroupCount { .. } => Answer::Number(params.int("cn")?),
            Action::IsGroupMember { .. } => {
                let is = params.opt_bool("ok")?.ok_or(ParamError::Missing("ok"))?;
                Answer::Number(is.into())
            }
            Action::RoomCount { rid } => {
                let counts = params.int_by_text("cn", MAX_ANSWER)?;
                let count = counts.iter().find(|(room, _)| *room == rid.to_string());
                Answer::Number(count.map_or(0, |(_, count)| *count))
            }
            _ => Answer::Done,
        })
    }
}

fn short_text(params: &Params, key: &'static str, max: usize) -> Result<String, ParamError> {
    let text = params.text(key)?;
    if text.len() > max { Err(ParamError::Type(key)) } else { Ok(text) }
}

impl Target {
    /// Adds the target's parameter.
    pub(super) fn field(&self, fields: Fields) -> Fields {
        match self {
            Target::User(uid) => fields.int("to", *uid),
            Target::Users(uids) => fields.ints("tos", uids),
            Target::Group(gid) => fields.int("gid", *gid),
            Target::Room(rid) => fields.int("rid", *rid),
            Target::All => fields,
        }
    }
}

impl Config {
    /// The parameters that sign a quest.
    pub(super) fn signed(&self, method: &str, salt: i64, unix: u64) -> Fields {
        let ts = i64::try_from(unix).unwrap_or(i64::MAX);
        let sign = request_sign(self.project, &self.secret, salt, method, ts);
        Fields::new().int("pid", self.project).text("sign", &sign).int("salt", salt).int("ts", ts)
    }
}
