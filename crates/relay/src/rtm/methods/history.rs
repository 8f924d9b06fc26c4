//! What was sent before.

use bytes::Bytes;
use crvideo_proto::pack::Writer;
use crvideo_proto::rtm::code;
use crvideo_proto::rtm::params::{Fields, Params};

use super::{Call, Outcome};
use crate::rtm::Refusal;
use crate::store::{Conversation, Kind, Query, Stored};

/// Messages of one answer.
const MAX_ROWS: i64 = 20;
/// Types that can be asked for at once: all there are.
const MAX_MTYPES: usize = 127;

/// `getp2pmsg`, `getgroupmsg`, `getroommsg` and `getbroadcastmsg`.
pub(super) async fn read(call: &Call<'_>, method: &str) -> Outcome {
    let params = call.params;
    let user = call.actor("uid")?;
    let of = match method {
        "getp2pmsg" => Conversation::Between(user, params.int("ouid")?),
        "getgroupmsg" => Conversation::Group(params.int("gid")?),
        "getroommsg" => Conversation::Room(params.int("rid")?),
        _ => Conversation::Everyone,
    };
    match of {
        Conversation::Group(group) => call.check_group(group).await?,
        Conversation::Room(room) => call.check_room(room)?,
        Conversation::Between(..) | Conversation::Everyone => {}
    }
    let query = query(params)?;
    let (begin, end) = (query.begin.unwrap_or_default(), query.end.unwrap_or_default());
    let rows = call.gate.hub.messages().history(call.project, of, query).await?;
    let last = rows.last().map_or(0, |row| row.id);
    let fields = Fields::new().int("num", rows.len() as i64).int("lastid", last).int("begin", begin).int("end", end);
    Ok(fields.write("msgs", |writer| {
        writer.array(rows.len());
        rows.iter().for_each(|row| put_row(writer, row, user));
    }))
}

fn query(params: &Params) -> Result<Query, Refusal> {
    let count: i64 = params.int("num")?;
    if !(1..=MAX_ROWS).contains(&count) {
        return Err(Refusal::new(code::TOO_MANY, format!("num is {count}, but must be from 1 to {MAX_ROWS}")));
    }
    // Some SDKs write 0 for what they do not mean.
    let given = |key| params.opt_int::<i64>(key).map(|value| value.filter(|value| *value != 0));
    Ok(Query {
        newest_first: params.lenient_bool("desc")?.unwrap_or_default(),
        count: count as u32,
        begin: given("begin")?,
        end: given("end")?,
        last_id: given("lastid")?,
        mtypes: params.opt_ints("mtypes", MAX_MTYPES)?.unwrap_or_default(),
    })
}

/// Between two users the second element is the direction, seen from the one who asks; else it is the sender.
fn put_row(writer: &mut Writer<'_>, row: &Stored, user: i64) {
    let draft = &row.draft;
    let who = match draft.kind {
        Kind::User if draft.from == user => 1,
        Kind::User => 2,
        _ => draft.from,
    };
    writer.array(8);
    writer.int(row.id);
    writer.int(who);
    writer.int(draft.mtype.into());
    writer.int(draft.mid);
    writer.bool(false);
    put_body(writer, &draft.body);
    writer.str(&draft.attrs);
    writer.int(draft.mtime);
}

/// Text where it is some: some SDKs read nothing else.
fn put_body(writer: &mut Writer<'_>, body: &Bytes) {
    match core::str::from_utf8(body) {
        Ok(text) => writer.str(text),
        Err(_) => writer.bin(body),
    }
}

/// Which message `getmsg` and `delmsg` mean: sender, place and kind.
fn named(params: &Params) -> Result<(Kind, i64, i64, i64), Refusal> {
    let kind = match params.int::<i64>("type")? {
        1 => Kind::User,
        2 => Kind::Group,
        3 => Kind::Room,
        4 => Kind::Everyone,
        other => return Err(Refusal::new(code::BAD_PARAM, format!("type is {other}, but must be from 1 to 4"))),
    };
    let place = if kind == Kind::Everyone { 0 } else { params.int("xid")? };
    Ok((kind, params.int("from")?, place, params.int("mid")?))
}

fn not_found(mid: i64) -> Refusal {
    Refusal::new(code::MESSAGE_NOT_FOUND, format!("there is no such message with mid {mid}"))
}

/// `getmsg`.
pub(super) async fn get(call: &Call<'_>) -> Outcome {
    let (kind, from, place, mid) = named(call.params)?;
    match (kind, call.user) {
        (Kind::User, Some(user)) if user != from && user != place => return Err(not_found(mid)),
        (Kind::Group, _) => call.check_group(place).await?,
        (Kind::Room, _) => call.check_room(place)?,
        (Kind::User | Kind::Everyone, _) => {}
    }
    let found = call.gate.hub.messages().find(call.project, kind, from, place, mid).await?;
    let Stored { id, draft, .. } = found.ok_or_else(|| not_found(mid))?;
    let fields = Fields::new().int("id", id).int("mtype", draft.mtype.into()).message("msg", &draft.body);
    Ok(fields.text("attrs", &draft.attrs).int("mtime", draft.mtime))
}

/// `delmsg`.
pub(super) async fn delete(call: &Call<'_>) -> Outcome {
    let (kind, from, place, mid) = named(call.params)?;
    if call.user.is_some_and(|user| user != from) {
        return Err(Refusal::new(code::NO_PERMISSION, "users may delete their own messages only"));
    }
    let gone = call.gate.hub.messages().forget(call.project, kind, from, place, mid).await?;
    if gone { Ok(Fields::new()) } else { Err(not_found(mid)) }
}
