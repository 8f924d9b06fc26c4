//! What one connection of a server listens to.

use std::collections::HashSet;
use std::hash::Hash;

use crvideo_proto::rtm::code;
use crvideo_proto::rtm::params::Params;

use super::Refusal;

/// Ids of one kind that a connection listens to.
const MAX_LISTENED: usize = 10_000;
/// Kinds of events that a connection listens to, and the bytes of a name.
const MAX_EVENTS: usize = 64;
const MAX_EVENT_NAME: usize = 64;

/// Everything of a kind, or what is listed.
#[derive(Debug, Clone)]
pub(super) struct Choice<T> {
    all: bool,
    some: HashSet<T>,
}

impl<T> Default for Choice<T> {
    fn default() -> Self {
        Self { all: false, some: HashSet::new() }
    }
}

impl<T: Eq + Hash> Choice<T> {
    fn is_empty(&self) -> bool {
        !self.all && self.some.is_empty()
    }

    fn add(&mut self, more: HashSet<T>, most: usize, kind: &str) -> Result<(), Refusal> {
        self.some.extend(more);
        if self.some.len() > most {
            return Err(Refusal::new(code::TOO_MANY, format!("more than {most} {kind} would be listened to")));
        }
        Ok(())
    }
}

impl Choice<i64> {
    pub(super) fn has(&self, id: i64) -> bool {
        self.all || self.some.contains(&id)
    }
}

/// What a connection listens to.
#[derive(Debug, Clone, Default)]
pub(super) struct Listening {
    /// Messages to these users.
    pub(super) users: Choice<i64>,
    /// Messages to these groups.
    pub(super) groups: Choice<i64>,
    /// Messages to these rooms.
    pub(super) rooms: Choice<i64>,
    events: Choice<String>,
}

impl Listening {
    /// What a quest names: lists, and for `setlisten` also flags that stand for everything of a kind. What is absent
    /// is empty.
    pub(super) fn read(params: &Params, flags: bool) -> Result<Self, Refusal> {
        let all = |key| -> Result<bool, Refusal> { Ok(flags && params.opt_bool(key)?.unwrap_or(false)) };
        let ids = |flag, key| -> Result<Choice<i64>, Refusal> {
            let some = params.opt_ints(key, MAX_LISTENED)?.unwrap_or_default();
            Ok(Choice { all: all(flag)?, some: some.into_iter().collect() })
        };
        let events = params.opt_texts("events", MAX_EVENTS)?.unwrap_or_default();
        if events.iter().any(|event| event.len() > MAX_EVENT_NAME) {
            return Err(Refusal::new(
                code::BAD_PARAM,
                format!("an event's name is longer than {MAX_EVENT_NAME} bytes"),
            ));
        }
        Ok(Self {
            users: ids("p2p", "uids")?,
            groups: ids("group", "gids")?,
            rooms: ids("room", "rids")?,
            events: Choice { all: all("ev")?, some: events.into_iter().collect() },
        })
    }

    /// Listens to `more` as well.
    pub(super) fn add(&mut self, more: Self) -> Result<(), Refusal> {
        let mut sum = self.clone();
        sum.users.add(more.users.some, MAX_LISTENED, "users")?;
        sum.groups.add(more.groups.some, MAX_LISTENED, "groups")?;
        sum.rooms.add(more.rooms.some, MAX_LISTENED, "rooms")?;
        sum.events.add(more.events.some, MAX_EVENTS, "events")?;
        *self = sum;
        Ok(())
    }

    /// Listens to what `less` lists no longer. Who listens to everything of a kind goes on.
    pub(super) fn remove(&mut self, less: &Self) {
        self.users.some.retain(|id| !less.users.some.contains(id));
        self.groups.some.retain(|id| !less.groups.some.contains(id));
        self.rooms.some.retain(|id| !less.rooms.some.contains(id));
        self.events.some.retain(|event| !less.events.some.contains(event));
    }

    pub(super) fn hears(&self, event: &str) -> bool {
        self.events.all || self.events.some.contains(event)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty() && self.rooms.is_empty() && self.events.is_empty()
    }
}
