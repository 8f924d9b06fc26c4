//! Who is in a room.

use std::collections::BTreeSet;

use crvideo_proto::rtm::params::Fields;

use super::{Call, Outcome, some_users};
use crate::rtm::Refusal;

/// Users that one quest adds or removes.
const MAX_CHANGED: usize = 100;
/// Rooms in one question for how many are in them.
const MAX_ASKED: usize = 200;

/// The users of a quest, of which there are forms with one and with many.
fn users(call: &Call<'_>) -> Result<Vec<i64>, Refusal> {
    if call.params.has("uids") {
        return some_users(call.params, "uids", MAX_CHANGED);
    }
    Ok(vec![call.params.int("uid")?])
}

/// `addroommember` and `addroommembers`
pub(super) fn enter(call: &Call<'_>) -> Outcome {
    let (room, users) = (call.params.int("rid")?, users(call)?);
    call.gate.hub.rooms(call.project, |rooms| rooms.put(room, &users))?;
    Ok(Fields::new())
}

/// `delroommember` and `delroommembers`
pub(super) fn leave(call: &Call<'_>) -> Outcome {
    let (room, users) = (call.params.int("rid")?, users(call)?);
    call.gate.hub.kick_out_of_room(call.project, room, &users);
    Ok(Fields::new())
}

/// `enterroom`: until the user's connection ends.
pub(super) fn come(call: &Call<'_>, user: i64) -> Outcome {
    let room = call.params.int("rid")?;
    call.gate.hub.rooms(call.project, |rooms| rooms.come(room, user))?;
    Ok(Fields::new())
}

/// `leaveroom`
pub(super) fn go(call: &Call<'_>, user: i64) -> Outcome {
    let room = call.params.int("rid")?;
    call.gate.hub.rooms(call.project, |rooms| rooms.leave(room, &[user]));
    Ok(Fields::new())
}

/// `getuserrooms`
pub(super) fn of_user(call: &Call<'_>, user: i64) -> Outcome {
    let rooms = call.gate.hub.rooms(call.project, |rooms| rooms.of_user(user));
    Ok(Fields::new().ints("rooms", &rooms))
}

/// `getroommembers`
pub(super) fn members(call: &Call<'_>) -> Outcome {
    let room = call.params.int("rid")?;
    let members = call.gate.hub.rooms(call.project, |rooms| rooms.members(room));
    Ok(Fields::new().ints("uids", &members))
}

/// `getroomcount`: by the room's id as text, because keys of a map are text.
pub(super) fn counts(call: &Call<'_>) -> Outcome {
    let asked: BTreeSet<i64> = call.params.ints("rids", MAX_ASKED)?.into_iter().collect();
    let counts: Vec<(String, i64)> = call.gate.hub.rooms(call.project, |rooms| {
        let count = |room: &i64| (room.to_string(), i64::try_from(rooms.count(*room)).unwrap_or(i64::MAX));
        asked.iter().map(count).collect()
    });
    Ok(Fields::new().int_by_text("cn", &counts))
}
