//! What is listened to, and what is pushed.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::Value;

use super::types::*;
use super::{Client, GATE};
use crate::frame::{Frame, Kind};
use crate::rtm::attrs::Attrs;
use crate::rtm::params::{Fields, ParamError, Params};
use crate::rtm::{FILE_MTYPES, answer, code, error};

/// Each list of what is listened to has at most this many entries.
const MAX_WANTED: usize = 100_000;

impl Listen {
    /// Whether it names everything of a kind.
    fn has_flags(&self) -> bool {
        self.all_users || self.all_groups || self.all_rooms || self.all_events
    }

    fn has_lists(&self) -> bool {
        !(self.users.is_empty() && self.groups.is_empty() && self.rooms.is_empty() && self.events.is_empty())
    }

    /// Whether it can be said in one quest: either everything of some kinds, or lists.
    pub fn is_sound(&self, change: Change) -> bool {
        match change {
            Change::Set => !(self.has_flags() && self.has_lists()),
            Change::Add | Change::Remove => !self.has_flags() && self.has_lists(),
        }
    }

    pub(super) fn fields(&self, change: Change, fields: Fields) -> Fields {
        if change == Change::Set && !self.has_lists() {
            let fields = fields.bool("p2p", self.all_users).bool("group", self.all_groups);
            return fields.bool("room", self.all_rooms).bool("ev", self.all_events);
        }
        fields
            .ints("gids", &self.groups)
            .ints("rids", &self.rooms)
            .ints("uids", &self.users)
            .texts("events", &self.events)
    }
}

/// What the server has agreed to tell us.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    flags: Listen,
    users: BTreeSet<i64>,
    groups: BTreeSet<i64>,
    rooms: BTreeSet<i64>,
    events: BTreeSet<String>,
}

/// Adds the parameters of a quest to the signed ones.
type AddFields = Box<dyn FnOnce(Fields) -> Fields>;

impl Wanted {
    /// Whether a change keeps every list within its limit.
    pub fn has_room(&self, change: Change, listen: &Listen) -> bool {
        let fits = |have: usize, more: usize| match change {
            Change::Set => more <= MAX_WANTED,
            Change::Add => have + more <= MAX_WANTED,
            Change::Remove => true,
        };
        fits(self.users.len(), listen.users.len())
            && fits(self.groups.len(), listen.groups.len())
            && fits(self.rooms.len(), listen.rooms.len())
            && fits(self.events.len(), listen.events.len())
    }

    pub fn apply(&mut self, change: Change, listen: &Listen) {
        if change == Change::Set {
            let Listen { all_users, all_groups, all_rooms, all_events, .. } = *listen;
            let flags = Listen { all_users, all_groups, all_rooms, all_events, ..Listen::default() };
            *self = Self { flags, ..Self::default() };
        }
        let remove = change == Change::Remove;
        merge(&mut self.users, &listen.users, remove);
        merge(&mut self.groups, &listen.groups, remove);
        merge(&mut self.rooms, &listen.rooms, remove);
        merge(&mut self.events, &listen.events, remove);
    }

    /// The quests that say all of it on a new connection.
    pub fn quests(&self) -> Vec<(&'static str, AddFields)> {
        let lists = Listen {
            users: self.users.iter().copied().collect(),
            groups: self.groups.iter().copied().collect(),
            rooms: self.rooms.iter().copied().collect(),
            events: self.events.iter().cloned().collect(),
            ..Listen::default()
        };
        let mut quests: Vec<(&'static str, AddFields)> = Vec::new();
        let has_flags = self.flags.has_flags();
        if has_flags {
            let flags = self.flags.clone();
            quests.push(("setlisten", Box::new(move |fields| flags.fields(Change::Set, fields))));
        }
        if lists.has_lists() {
            let (method, change) = if has_flags { ("addlisten", Change::Add) } else { ("setlisten", Change::Set) };
            quests.push((method, Box::new(move |fields| lists.fields(change, fields))));
        }
        quests
    }
}

fn merge<T: Ord + Clone>(set: &mut BTreeSet<T>, list: &[T], remove: bool) {
    for value in list {
        if remove {
            set.remove(value);
        } else {
            set.insert(value.clone());
        }
    }
}

impl Client {
    /// The server asks something of us, or tells us something.
    pub(super) fn asked(&mut self, frame: &Frame) {
        let outcome = match frame.method() {
            "ping" => Ok(()),
            "pushmsg" => self.pushed(frame, PushKind::User),
            "pushgroupmsg" => self.pushed(frame, PushKind::Group),
            "pushroommsg" => self.pushed(frame, PushKind::Room),
            "crreceipt" => self.receipts_came(frame),
            "pushevent" => self.user_event(frame),
            method => Err((code::UNKNOWN_METHOD, format!("Unknow method: {method}"))),
        };
        if let Err((code, text)) = &outcome
            && *code != code::QUEUE_FULL
        {
            log::warn!("the RTM gate sent {:?}, which cannot be taken: {text}", frame.method());
        }
        if frame.kind == Kind::OneWay {
            return;
        }
        let answer = match outcome {
            Ok(()) => answer(frame, Fields::new()),
            Err((code, text)) => error(frame, code, &text),
        };
        if let Some(out) = self.out(GATE) {
            out.whole(&answer);
        }
    }

    fn pushed(&mut self, frame: &Frame, kind: PushKind) -> Result<(), (i32, String)> {
        let push = read_push(frame, kind).map_err(refusal)?;
        let cost = push.cost();
        self.take_room(cost)?;
        self.outputs.push_back(Output::Event(Event::Push(push)));
        Ok(())
    }

    fn user_event(&mut self, frame: &Frame) -> Result<(), (i32, String)> {
        let event = read_user_event(frame).map_err(refusal)?;
        self.take_room(event.cost())?;
        self.outputs.push_back(Output::Event(Event::User(event)));
        Ok(())
    }

    /// What comes while the application has not handled what came before is refused above a limit, with an error
    /// answer that tells the server so.
    pub(super) fn take_room(&mut self, cost: u64) -> Result<(), (i32, String)> {
        let waiting = self.delivered - self.handled;
        if waiting > 0 && waiting + cost > PUSH_LIMIT {
            if !std::mem::replace(&mut self.refusing, true) {
                log::warn!("pushes are refused: the application has not handled {waiting} bytes of earlier ones");
            }
            return Err((code::QUEUE_FULL, "the receiver has too many pushes to handle".to_owned()));
        }
        self.refusing = false;
        self.delivered += cost;
        Ok(())
    }
}

fn refusal(error: ParamError) -> (i32, String) {
    (error.code(), error.to_string())
}

impl Push {
    /// What it counts while it waits for the application.
    pub fn cost(&self) -> u64 {
        // The parts of a file are copies out of body and attributes.
        let copies = if self.file.is_some() { 2 } else { 1 };
        (self.body.len() + self.attrs.len()) as u64 * copies + PUSH_OVERHEAD
    }
}

impl UserEvent {
    /// What it counts while it waits for the application.
    pub fn cost(&self) -> u64 {
        (self.event.len() + self.endpoint.len() + self.data.len()) as u64 + PUSH_OVERHEAD
    }
}

fn read_push(frame: &Frame, kind: PushKind) -> Result<Push, ParamError> {
    let params = Params::of(frame)?;
    let target = match kind {
        PushKind::User => params.opt_int("to")?.unwrap_or_default(),
        PushKind::Group => params.int("gid")?,
        PushKind::Room => params.int("rid")?,
    };
    let mtype = params.lenient_int("mtype")?;
    // The payload's memory is as large as the frame; a message that waits should hold its own bytes only.
    let body = Bytes::copy_from_slice(&params.bytes("msg")?);
    let attrs = if params.has("attrs") { params.bytes("attrs")? } else { Bytes::new() };
    let attrs = String::from_utf8_lossy(&attrs).into_owned();
    let file = FILE_MTYPES.contains(&i64::from(mtype)).then(|| read_file(&body, &attrs)).flatten();
    Ok(Push {
        kind,
        from: params.int("from")?,
        target,
        mid: params.int("mid")?,
        mtype,
        mtime: params.opt_int("mtime")?.unwrap_or_default(),
        body,
        attrs,
        file,
    })
}

/// The parts of a file message; `None` when it is not in the form that files have.
fn read_file(body: &[u8], attrs: &str) -> Option<PushedFile> {
    let root: Value = serde_json::from_slice(body).ok()?;
    let text = |key: &str| root.get(key).and_then(Value::as_str).map(str::to_owned);
    Some(PushedFile {
        url: text("url")?,
        thumbnail: text("surl").unwrap_or_default(),
        size: root.get("size").and_then(Value::as_u64).unwrap_or_default(),
        attrs: Attrs::parse(attrs),
    })
}

fn read_user_event(frame: &Frame) -> Result<UserEvent, ParamError> {
    let params = Params::of(frame)?;
    Ok(UserEvent {
        event: params.text("event")?,
        uid: params.int("uid")?,
        time: params.opt_int("time")?.unwrap_or_default(),
        endpoint: params.opt_text("endpoint")?.unwrap_or_default(),
        data: params.opt_text("data")?.unwrap_or_default(),
    })
}
