//! Messages.

use bytes::Bytes;
use crvideo_proto::rtm::params::{Fields, Params};
use crvideo_proto::rtm::{MAX_ATTRS, MAX_MESSAGE, MTYPES, code};

use super::{Call, Outcome, now_ms, some_users};
use crate::rtm::{Message, Refusal, Target};

/// `sendmsg`, `sendmsgs`, `sendgroupmsg`, `sendroommsg` and `broadcastmsg`.
pub(super) async fn send(call: &Call<'_>, method: &str) -> Outcome {
    let params = call.params;
    let target = match method {
        "sendmsg" => Target::User(params.int("to")?),
        "sendmsgs" => Target::Users(some_users(params, "tos", call.gate.config.max_targets)?),
        "sendgroupmsg" => Target::Group(params.int("gid")?),
        "sendroommsg" => Target::Room(params.int("rid")?),
        _ => Target::Everyone,
    };
    match target {
        Target::Group(group) => call.check_group(group).await?,
        Target::Room(room) => call.check_room(room)?,
        Target::User(_) | Target::Users(_) | Target::Everyone => {}
    }
    let mtime = now_ms();
    let message = Message {
        project: call.project,
        from: call.actor("from")?,
        target,
        mtype: mtype(params)?,
        mid: params.int("mid")?,
        mtime,
        body: body(params)?,
        attrs: attrs(params)?,
        blob: None,
        watch: call.watch()?,
    };
    call.gate.hub.send(message).await?;
    Ok(Fields::new().int("mtime", mtime))
}

fn mtype(params: &Params) -> Result<i8, Refusal> {
    let mtype: i64 = params.lenient_int("mtype")?;
    let legal = i8::try_from(mtype).ok().filter(|_| MTYPES.contains(&mtype));
    legal.ok_or_else(|| {
        let (first, last) = (MTYPES.start(), MTYPES.end());
        Refusal::new(code::BAD_MTYPE, format!("mtype is {mtype}, but must be from {first} to {last}"))
    })
}

fn body(params: &Params) -> Result<Bytes, Refusal> {
    let body = params.bytes("msg")?;
    if body.len() > MAX_MESSAGE {
        let text = format!("msg has {} bytes; at most {MAX_MESSAGE} are allowed", body.len());
        return Err(Refusal::new(code::MESSAGE_TOO_LARGE, text));
    }
    // The body may outlive its quest by far, and must not keep all of that in memory.
    Ok(Bytes::copy_from_slice(&body))
}

fn attrs(params: &Params) -> Result<String, Refusal> {
    if !params.has("attrs") {
        return Ok(String::new());
    }
    let attrs = params.bytes("attrs")?;
    if attrs.len() > MAX_ATTRS {
        let text = format!("attrs has {} bytes; at most {MAX_ATTRS} are allowed", attrs.len());
        return Err(Refusal::new(code::TOO_LARGE, text));
    }
    // Receivers take attributes as text only, so what is none becomes some.
    Ok(String::from_utf8_lossy(&attrs).into_owned())
}
