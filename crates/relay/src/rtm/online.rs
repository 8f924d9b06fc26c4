//! Who is online, in which dialect, and the connections of users who speak RTM.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::carrier::Flight;
use super::hub::LinkId;
use super::outbox::Outbox;
use crate::store::{CR, RTM};

/// A user of a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct User {
    pub(super) project: i64,
    pub(super) id: i64,
}

/// The connection of a user who speaks RTM.
#[derive(Clone)]
pub(super) struct EndUser {
    pub(super) link: LinkId,
    pub(super) out: Arc<Outbox>,
    pub(super) flight: Arc<Flight>,
    /// Where he has logged in from.
    pub(super) endpoint: String,
    /// Since when, in seconds since 1970.
    pub(super) since: u64,
    /// The id of his token, if that has one.
    pub(super) token_id: Option<String>,
}

/// How a user is online.
#[derive(Default)]
struct Here {
    /// Where he has logged in from with our own dialect.
    cr: Option<String>,
    rtm: Option<EndUser>,
}

impl Here {
    fn dialects(&self) -> u8 {
        let cr = if self.cr.is_some() { CR } else { 0 };
        let rtm = if self.rtm.is_some() { RTM } else { 0 };
        cr | rtm
    }
}

/// Who is online, as far as his name is a number. It calls nobody, so it may be asked under any lock.
#[derive(Default)]
pub(super) struct Online(Mutex<BTreeMap<User, Here>>);

impl Online {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<User, Here>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A user has come with our own dialect; whether he was not there before.
    pub(super) fn cr_has_come(&self, user: User, endpoint: String) -> bool {
        let mut users = self.lock();
        let here = users.entry(user).or_default();
        here.cr = Some(endpoint);
        here.rtm.is_none()
    }

    /// A user's session of our own dialect has ended. His address, when he is not there any more.
    pub(super) fn cr_has_gone(&self, user: User) -> Option<String> {
        let mut users = self.lock();
        let here = users.get_mut(&user)?;
        let endpoint = here.cr.take();
        if here.rtm.is_none() {
            users.remove(&user);
            return Some(endpoint.unwrap_or_default());
        }
        None
    }

    /// A user has come with RTM: his connection of before, if any, and whether he was not there before.
    pub(super) fn has_come(&self, user: User, by: EndUser) -> (Option<EndUser>, bool) {
        let mut users = self.lock();
        let here = users.entry(user).or_default();
        let was_there = here.dialects() != 0;
        (here.rtm.replace(by), !was_there)
    }

    /// A user's connection has ended, unless he has another one by now: that connection, and whether he is not there
    /// any more.
    pub(super) fn has_gone(&self, user: User, link: LinkId) -> Option<(EndUser, bool)> {
        let mut users = self.lock();
        let here = users.get_mut(&user)?;
        let gone = here.rtm.take_if(|rtm| rtm.link == link)?;
        let last = here.cr.is_none();
        if last {
            users.remove(&user);
        }
        Some((gone, last))
    }

    /// The dialects in which a user is there.
    pub(super) fn dialects(&self, user: User) -> u8 {
        self.lock().get(&user).map_or(0, Here::dialects)
    }

    /// The dialects in which each of many users is there.
    pub(super) fn dialects_of(&self, project: i64, ids: Vec<i64>) -> Vec<(i64, u8)> {
        let users = self.lock();
        let dialects = |id| users.get(&User { project, id }).map_or(0, Here::dialects);
        ids.into_iter().map(|id| (id, dialects(id))).collect()
    }

    /// All who are there, with their dialects.
    pub(super) fn all(&self, project: i64) -> Vec<(i64, u8)> {
        let users = self.lock();
        let range = User { project, id: i64::MIN }..=User { project, id: i64::MAX };
        users.range(range).map(|(user, here)| (user.id, here.dialects())).collect()
    }

    /// A user's connection.
    pub(super) fn end_user(&self, user: User) -> Option<EndUser> {
        self.lock().get(&user)?.rtm.clone()
    }

    /// The connections of those of many users who have one.
    pub(super) fn end_users(&self, project: i64, ids: &[i64]) -> Vec<EndUser> {
        let users = self.lock();
        ids.iter().filter_map(|id| users.get(&User { project, id: *id })?.rtm.clone()).collect()
    }

    /// The connections of a project's users behind one of them, by number, `most` of them at most.
    pub(super) fn page(&self, project: i64, after: Option<i64>, most: usize) -> Vec<(i64, EndUser)> {
        use std::ops::Bound::{Excluded, Included};
        let bound = |id| User { project, id };
        let from = after.map_or(Included(bound(i64::MIN)), |id| Excluded(bound(id)));
        if after == Some(i64::MAX) {
            return Vec::new();
        }
        let users = self.lock();
        let page = users.range((from, Included(bound(i64::MAX))));
        page.filter_map(|(user, here)| Some((user.id, here.rtm.clone()?))).take(most).collect()
    }

    /// All connections.
    pub(super) fn all_end_users(&self) -> Vec<EndUser> {
        self.lock().values().filter_map(|here| here.rtm.clone()).collect()
    }
}
